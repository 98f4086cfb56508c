r"""The group average followed through a graph by weights: at every nonlinearity the moved neurons are added and merged.

Where ``transport.carry`` asks whether a neuron moved by g is a neuron of the layer, the lift takes it in: the rows
before a nonlinearity are closed under the generators, equal rows up to the neuron gauge counting once, and what is
there then is what the next layer reads [theory 7]. Linear operators, pools over positions, flattening, adds and
concatenations are those of ``transport``: a stream is the sum of what was written to it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import scipy.sparse as sp
from jaxtyping import Float
from numpy import ndarray

from intertwiner.errors import CannotRewrite
from intertwiner.gauge import Pointwise
from intertwiner.gauge.normal import stable_norm
from intertwiner.network import Embedding, Network, Node
from intertwiner.numerics.monomial import Monomial
from intertwiner.rewrite.layers import after, coefficients, signs_allowed
from intertwiner.rewrite.lift import Closure, closure
from intertwiner.rewrite.tied import Action, direct_sum
from intertwiner.symmetry import BoundSymmetry
from intertwiner.transport.carry import followed
from intertwiner.transport.picture import Block, Lost, Picture, Source, fresh
from intertwiner.transport.table import Run


@dataclass(frozen=True, eq=False)
class Closed:
    """Rows closed under G up to the neuron gauge: ``row_i = factor_i * rows[label_i]``.

    Args:
        closure: The distinct rows with how G moves them.
        factor: Scale and sign of every given row.
    """

    closure: Closure
    factor: Float[ndarray, " n"]


def closed_rows(
    rows: Float[ndarray, "n r"],
    moves: Action,
    *,
    signed: bool,
    scaled: bool,
    tolerance: float,
    limit: int,
    where: str,
) -> Closed:
    """Close rows under the generators, equal ones up to scale and sign counting once.

    Args:
        rows: One row per neuron over coordinates that G moves.
        moves: How, one signed permutation per generator.
        signed: Whether a row and its negative are one neuron.
        scaled: Whether a row and its positive multiples are.
        tolerance: Largest relative difference of equal rows.
        limit: Most rows there may be in the end.
        where: Tap of the layer, for the message.

    Raises:
        LiftTooWide: More than ``limit`` rows.
    """
    size = np.ones(len(rows))
    if scaled:
        norm = stable_norm(rows)
        size = np.where(norm > 0, norm, 1.0)
    found = closure(rows / size[:, None], moves, signed=signed, tolerance=tolerance, limit=limit, where=where)
    return Closed(found, size * found.sign)


@dataclass(frozen=True, eq=False)
class Closing:
    """Chooses the coordinates after every nonlinearity: the closed rows before it.

    Args:
        tolerance: Largest relative difference of neurons that are one.
        limits: Most neurons by node that a nonlinearity reads.
        names: Taps, for messages.
    """

    tolerance: float
    limits: Mapping[str, int]
    names: Mapping[str, str]

    def pointwise(self, picture: Picture, pointwise: Pointwise, node: Node) -> Picture:
        if pointwise.value is None:
            raise Lost("nothing is known about this nonlinearity")
        closed = self._closed([picture], node, signed=signs_allowed(pointwise), scaled=pointwise.scale != "none")
        factor = coefficients(pointwise, closed.factor)
        source = _source(node.name, after(pointwise, closed.closure.rho))
        return fresh(picture, source, block=_block(factor, closed.closure))

    def joint(
        self, pictures: Sequence[Picture], node: Node, *, signed: bool, scaled: bool, norm: str
    ) -> tuple[list[Source], Block | None]:
        if norm:
            raise Lost("a norm over features counts every neuron, so neurons cannot be merged or added before it")
        if len(pictures) > 1:
            raise Lost("a product of features")
        closed = self._closed(pictures, node, signed=signed, scaled=scaled)
        return [_source(f"{node.name}#0", closed.closure.rho)], _block(closed.factor, closed.closure)

    def embedding(self, picture: Picture, op: Embedding, node: Node) -> Picture:
        raise Lost("tokens are looked up in a table")

    def _closed(self, pictures: Sequence[Picture], node: Node, *, signed: bool, scaled: bool) -> Closed:
        rows, moves = rows_and_moves(pictures)
        at = node.inputs[0]
        return closed_rows(
            live(rows, self.tolerance), moves, signed=signed, scaled=scaled, tolerance=self.tolerance,
            limit=self.limits.get(at, 1 << 30), where=self.names.get(at) or at,
        )  # fmt: skip


def live(rows: Float[ndarray, "n r"], tolerance: float) -> Float[ndarray, "n r"]:
    """The rows, those that are rounding beside the largest set to zero."""
    size = np.linalg.norm(rows, axis=1)
    return np.where((size <= tolerance * size.max(initial=0.0))[:, None], 0.0, rows)


def rows_and_moves(pictures: Sequence[Picture]) -> tuple[Float[ndarray, "n r"], Action]:
    """The rows of some values of equally many features over all their sources, and how G moves those."""
    moves = []
    for picture in pictures:
        for name in picture.names:
            actions = picture.sources[name].actions
            if not all(isinstance(a, Monomial) and a.is_signed_permutation for a in actions):
                raise Lost("the group acts by something else than signed permutations")
            moves.append(actions)
    count = pictures[0].generators
    whole = np.concatenate([p.dense() for p in pictures], axis=1)
    return whole, direct_sum(moves, count) if moves else (Monomial.identity(0),) * count


def _source(name: str, actions: Action) -> Source:
    count = actions[0].dimension
    return Source(name, actions, np.ones(count), np.zeros(count))


def _block(factor: Float[ndarray, " n"], closure: Closure) -> Block:
    rows = np.arange(len(factor))
    return sp.csr_array((factor, (rows, closure.label)), shape=(len(factor), len(closure.rows)))


def lifted_pictures(
    network: Network, symmetry: BoundSymmetry, *, tolerance: float, limits: Mapping[str, int]
) -> dict[str, Picture]:
    """The values of a network pictured in the coordinates of its group average.

    Args:
        network: The network, affine maps folded.
        symmetry: The action on its input.
        tolerance: Largest relative difference of neurons that are one.
        limits: Most neurons by node that a nonlinearity reads.

    Raises:
        CannotRewrite: An operator through which the lift does not pass; the message names it.
        LiftTooWide: A layer needs more neurons than its limit.

    Cost:
        Per nonlinearity a sort of the rows for every round of their closure.
    """
    names = {node.name: node.tap for node in network.nodes}
    run = Run(tolerance, follower=Closing(tolerance, limits, names))
    pictures, lost, _ = followed(run, network, symmetry)
    reason = next(((name, why) for name, why in lost.items() if why), None)
    if reason is not None:
        raise CannotRewrite(f"{names[reason[0]] or reason[0]}: {reason[1]}. Nothing was rewritten.")
    return pictures
