r"""Lift and merge: the group average of a chain as one network of intertwiners, by weights [theory 7].

Layer l of the lift has the neurons (i, g) with rows ``w_i rho_{l-1}(g)^{-1}``; k sends (i, g) to (i, kg). Neurons that
coincide up to the neuron gauge are merged before the next layer is built, so the lift is never written out: rows are
closed under the generators, and every row that is there already is the same neuron. The last layer becomes its
Reynolds mean. The result is the group average of the network, up to the tolerance of merging; where the network is
equivariant and its parameters are globally identifiable, its widths are those of the network without redundant neurons.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from jaxtyping import Float, Int
from numpy import ndarray

from intertwiner.errors import CannotRewrite, LiftTooWide
from intertwiner.gauge import Pointwise, row_classes
from intertwiner.gauge.normal import stable_norm
from intertwiner.identify.chain import Chain, Dense
from intertwiner.numerics.monomial import Monomial
from intertwiner.rewrite.layers import TwinChain, TwinLayer, coefficients, pruned, signs_allowed, tied_layer
from intertwiner.rewrite.tied import Action, direct_sum, trivial


@dataclass(frozen=True, eq=False)
class Lifted:
    """The group average as a chain of intertwiners.

    Args:
        chain: The layers.
        live: Neurons per hidden layer of the original that depend on the input and are read.
        joined: Of these, how many are copies of another one up to the neuron gauge.
    """

    chain: TwinChain
    live: tuple[int, ...]
    joined: tuple[int, ...]


@dataclass(frozen=True, eq=False)
class _Reading:
    """What the original network's coordinates are in those of the lift: ``original = matrix @ lift + constant``."""

    matrix: Float[ndarray, "n m"]
    constant: Float[ndarray, " n"]
    rho: Action


def lift(
    chain: Chain,
    rho_in: Action,
    rho_out: Action,
    *,
    tolerance: float,
    width_limit: int,
    cost_limit: float = float("inf"),
) -> Lifted:
    """The group average of a chain, merged.

    Args:
        chain: The network.
        rho_in: The action on the input, one signed permutation per generator.
        rho_out: The action on the output.
        tolerance: Neurons nearer than this, relative to the larger one, are one neuron.
        width_limit: Largest width of a layer of the lift.
        cost_limit: Largest number of multiply-adds of the lift.

    Raises:
        LiftTooWide: A layer needs more neurons; the message says which.

    Cost:
        Per layer a sort of ``m`` rows for every round of the closure under the generators, m the merged width.

    Example:
        One neuron and the exchange of two inputs: the average needs its mirror image, and an invariant one does not.

        >>> from intertwiner.gauge import POINTWISE
        >>> def chain(*row):
        ...     first = Dense("0", np.array([row]), np.zeros(1), True, POINTWISE["tanh"])
        ...     return Chain((first, Dense("2", np.ones((1, 1)), np.zeros(1), True)))
        >>> swap, keep = (Monomial([1, 0]),), (Monomial([0]),)
        >>> [lift(chain(*row), swap, keep, tolerance=1e-10, width_limit=9).chain.widths for row in ((1, 2), (1, 1))]
        [(2, 2, 1), (2, 1, 1)]
    """
    dimension = rho_in[0].dimension
    reading = _Reading(np.eye(dimension), np.zeros(dimension), rho_in)
    layers: list[TwinLayer] = []
    live, joined = [], []
    for layer, after in pairwise(chain.layers):
        # Every neuron costs what it reads, and at least one reader; before the output, all of them.
        each = len(reading.rho[0].index) + (len(after.weight) if after is chain.layers[-1] else 1)
        limit = int(min(width_limit, cost_limit // each))
        built, reading, count, distinct = _hidden(layer, np.any(after.weight != 0, axis=0), reading, tolerance, limit)
        cost_limit -= built.weight.size
        layers.append(built)
        live.append(count)
        joined.append(count - distinct)
    last = chain.layers[-1]
    bias = last.bias + last.weight @ reading.constant
    layers.append(tied_layer(last.weight @ reading.matrix, bias, None, rho_out, reading.rho))
    return Lifted(pruned(TwinChain(tuple(layers), rho_in)), tuple(live), tuple(joined))


def _hidden(
    layer: Dense, wanted: ndarray, reading: _Reading, tolerance: float, width_limit: int
) -> tuple[TwinLayer, _Reading, int, int]:
    """One hidden layer of the lift, how the original reads in it, and its live and distinct neurons."""
    pointwise = _known(layer)
    rows = np.column_stack([layer.weight @ reading.matrix, layer.bias + layer.weight @ reading.constant])
    size = np.linalg.norm(rows[:, :-1], axis=1)
    fixed = size <= tolerance * size.max(initial=0.0)
    live = np.flatnonzero(~fixed & wanted)
    factor = stable_norm(rows[live]) if pointwise.scale != "none" else np.ones(len(live))
    keys = rows[live] / factor[:, None]
    moves = direct_sum([reading.rho, trivial(len(reading.rho))], len(reading.rho))
    signed = signs_allowed(pointwise)
    closed = closure(keys, moves, signed=signed, tolerance=tolerance, limit=width_limit, where=layer.name)
    built = tied_layer(closed.rows[:, :-1], closed.rows[:, -1], pointwise, closed.rho, reading.rho)
    matrix = np.zeros((len(rows), len(closed.rows)))
    matrix[live, closed.label] = coefficients(pointwise, factor * closed.sign)
    constant = np.where(fixed, pointwise.apply(rows[:, -1]), 0.0)
    return built, _Reading(matrix, constant, built.after), len(live), len(np.unique(closed.label))


def _known(layer: Dense) -> Pointwise:
    if layer.pointwise is None or layer.pointwise.value is None:
        raise CannotRewrite(f"the nonlinearity after {layer.name} is unknown. Nothing was rewritten.")
    return layer.pointwise


@dataclass(frozen=True, eq=False)
class Closure:
    """Rows closed under a group, up to sign.

    Args:
        rows: The distinct rows, those that were given first.
        label: Which of them every given row is.
        sign: The sign of every given row relative to that one.
        rho: How the generators move the distinct rows.
    """

    rows: Float[ndarray, "m d"]
    label: Int[ndarray, " n"]
    sign: Float[ndarray, " n"]
    rho: Action


def closure(
    keys: Float[ndarray, "n d"], moves: Action, *, signed: bool, tolerance: float, limit: int, where: str = "the layer"
) -> Closure:
    """Close rows under ``row -> row move(g)^{-1}`` for every generator, equal rows counting once.

    Raises:
        LiftTooWide: More than ``limit`` rows.

    Example:
        >>> closed = closure(np.array([[1.0, 0.0, 0.0]]), (Monomial([1, 2, 0]),), signed=False, tolerance=0, limit=9)
        >>> len(closed.rows), closed.rho
        (3, (Monomial(3: (0 1 2)),))
    """
    inverse = [m.inverse() for m in moves]
    first = row_classes(keys, sign=signed, tolerance=tolerance)
    rows = keys[first.representatives]
    frontier = rows
    while len(frontier):
        moved = np.concatenate([frontier, *(m.apply_right(frontier) for m in inverse)])
        classes = row_classes(np.concatenate([rows, moved]), sign=signed, tolerance=tolerance)
        fresh = classes.representatives[classes.representatives >= len(rows)] - len(rows)
        frontier = moved[fresh]
        rows = np.concatenate([rows, frontier])
        if len(rows) > limit:
            raise LiftTooWide(
                f"the group average needs more than {limit} neurons at {where}: {len(keys)} neurons and their images "
                "do not coincide.\n  Usual cause: a network that is equivariant only approximately. Give data= and "
                "budget=, so that orbits can be selected. Nothing was rewritten."
            )
    return Closure(rows, first.labels, first.sign, _permuted(rows, inverse, signed, tolerance, where))


def _permuted(rows: ndarray, inverse: Sequence[Monomial], signed: bool, tolerance: float, where: str) -> Action:
    """How the generators move rows that are closed under them."""
    count, images = len(rows), [m.apply_right(rows) for m in inverse]
    classes = row_classes(np.concatenate([rows, *images]), sign=signed, tolerance=tolerance)
    labels = [classes.labels[count * (i + 1) : count * (i + 2)] for i in range(len(inverse))]
    if any(not np.array_equal(np.sort(part), np.arange(count)) for part in labels):
        raise CannotRewrite(
            f"at {where} neurons lie about as far apart as the tolerance {tolerance:g}: which of them are one is not "
            "clear.\n  Ask for a smaller tolerance, or give data= and budget=. Nothing was rewritten."
        )
    signs = [classes.sign[count * (i + 1) : count * (i + 2)] for i in range(len(inverse))]
    return tuple(Monomial(part, sign) for part, sign in zip(labels, signs, strict=True))
