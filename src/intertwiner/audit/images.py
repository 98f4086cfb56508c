r"""The neurons of a layer and their images under a group, known through inner products only.

G acts on the neurons from the left by ``g . (w, b) = (w rho(g)^{-1}, b)`` [theory 7]. Everything that is decided about
stabilisers and orbits needs no more than ``C[g, i, j] = <g . w_j, w_i>``, and that comes in two ways: from weights
(``WeightPart``, exact, computed in chunks) or from second moments of ``h_i(x)`` with ``h_j(g^{-1} x)`` over data
(``MomentPart``, graded). Where a product G1 x G2 acts on separate blocks of inputs, each block is one part and

    <(g, h) . w_j, w_i> = <g . a_j, a_i> + <h . b_j, b_i>,

so that S5 x S5 costs two stacks of 120 matrices and never 14,400. Coordinates that no element moves (a bias, the
other half of the input) stand in ``fixed``. Actions are orthogonal; element 0 of a group is the identity.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
from jaxtyping import Float, Int
from numpy import ndarray

from intertwiner.algebra import Group
from intertwiner.audit.image_parts import Part, checked_rows, chunks
from intertwiner.errors import ShapeMismatch


@dataclass(frozen=True, eq=False)
class NeuronImages:
    """The neurons of one layer and all their images, as inner products.

    Args:
        group: G: the group of the only part, or the product of the groups of the parts, row-major.
        parts: The blocks of coordinates that move.
        fixed: Inner products over the coordinates that no element moves (biases, other inputs).
        signed: True where the gauge holds sign changes of single neurons.
        scaled: True where it holds positive scales; the neurons then have norm one.
    """

    group: Group
    parts: tuple[Part, ...]
    fixed: Float[ndarray, "n n"]
    signed: bool = False
    scaled: bool = False

    def __post_init__(self) -> None:
        orders = [part.group.order for part in self.parts]
        if int(np.prod(orders)) != self.group.order:
            raise ShapeMismatch(f"parts with groups of orders {orders} do not make a group of order {self.group.order}")

    @property
    def count(self) -> int:
        return len(self.fixed)

    @property
    def orders(self) -> tuple[int, ...]:
        return tuple(part.group.order for part in self.parts)

    @cached_property
    def self_parts(self) -> tuple[Float[ndarray, "n order"], ...]:
        return tuple(part.self_inner() for part in self.parts)

    @cached_property
    def energy(self) -> Float[ndarray, " n"]:
        """Squared norm of every neuron."""
        return sum((s[:, 0] for s in self.self_parts), np.diag(self.fixed).copy())

    @cached_property
    def moving_energy(self) -> Float[ndarray, " n"]:
        """Squared norm of what is left of every neuron without its invariant part."""
        return np.maximum(sum((s[:, 0] - s.mean(1) for s in self.self_parts), np.zeros(self.count)), 0.0)

    def self_products(self, *, invariant: bool) -> Float[ndarray, "n order"]:
        """``<g . w_i, w_i>`` for every element of G, with the invariant part or without it."""
        total = np.diag(self.fixed)[:, None] if invariant else np.zeros((self.count, 1))
        for part in self.self_parts:
            centred = part if invariant else part - part.mean(1, keepdims=True)
            total = (total[:, :, None] + centred[:, None, :]).reshape(self.count, -1)
        return total

    def blocks(self) -> Iterator[tuple[Int[ndarray, " k"], Float[ndarray, "k n n"]]]:
        """``(elements, <g . w_j, w_i>)`` over all of G. Cost: ``|G| n^2`` numbers, a chunk at a time."""
        inners = [part.inner(np.arange(part.group.order)) for part in self.parts[:-1]]
        last, tail = self.parts[-1], self.parts[-1].group.order
        small = 8 * self.count * self.count
        for run in chunks(tail, small):
            block = self.fixed + last.inner(run)
            for head in range(self.group.order // tail):
                digits, total = np.unravel_index(head, self.orders[:-1]) if inners else (), block
                for inner, digit in zip(inners, digits, strict=True):
                    total = total + inner[digit]
                yield head * tail + run, total

    def nearest_over_group(self) -> tuple[ndarray, tuple[ndarray, ...], ndarray]:
        """Over all g the largest ``<g . w_j, w_i>`` (signed: of its absolute value), the g by factor, and its sign.

        Cost: a pass per part; a sum over parts is largest where every summand is, so products cost no more.
        """
        tops = [_extreme(part, +1) for part in self.parts]
        best, where = self.fixed + sum(t[0] for t in tops), [t[1] for t in tops]
        sign = np.ones_like(best)
        if self.signed:
            lows = [_extreme(part, -1) for part in self.parts]
            other = -self.fixed + sum(t[0] for t in lows)
            flip = other > best
            best, sign = np.where(flip, other, best), np.where(flip, -1.0, 1.0)
            where = [np.where(flip, low[1], w) for low, w in zip(lows, where, strict=True)]
        return best, tuple(where), sign

    def restricted(self, kept: Int[ndarray, " m"]) -> NeuronImages:
        return replace(self, parts=tuple(p.restricted(kept) for p in self.parts), fixed=self.fixed[np.ix_(kept, kept)])

    def normalised(self) -> NeuronImages:
        """Every neuron scaled to norm one, as a gauge with positive scales allows; zero neurons stay."""
        factor = 1.0 / np.sqrt(np.where(self.energy > 0, self.energy, 1.0))
        return replace(
            self, parts=tuple(p.rescaled(factor) for p in self.parts), fixed=self.fixed * factor[:, None] * factor
        )

    def merged(self, members: Float[ndarray, "n m"], aligners: Sequence[Int[ndarray, " n"]]) -> NeuronImages:
        """New neurons ``sum_i members[i, k] (g_i . w_i)``, with ``g_i`` given factor by factor."""
        parts = tuple(p.merged(members, a) for p, a in zip(self.parts, aligners, strict=True))
        out = replace(self, parts=parts, fixed=members.T @ self.fixed @ members)
        return out.normalised() if self.scaled else out

    def turned(self, rng: np.random.Generator) -> NeuronImages:
        """Every neuron turned by a random orthogonal element of its own in the group algebra: the null of chance.

        The element acts on each irrep by a random orthogonal matrix and leaves the invariant part alone, so that every
        neuron keeps its energy in every irrep and loses whatever relation it had to the others.
        """
        turns = [p.turned(random_turns(p.group, self.count, rng)) for p in self.parts]
        return replace(self, parts=tuple(turns))

    def under_wrong_action(self, rng: np.random.Generator) -> NeuronImages | None:
        """The same neurons under a conjugate of the action that is no symmetry; None where that cannot be had."""
        wrong = [p.under_wrong_action(rng) for p in self.parts]
        return None if any(p is None for p in wrong) else replace(self, parts=tuple(p for p in wrong if p is not None))


def random_turns(group: Group, count: int, rng: np.random.Generator) -> Float[ndarray, "count order"]:
    """Coefficients ``u[i, g]`` of random orthogonal elements ``sum_g u[g] g`` of the real group algebra.

    The polar factor of a Gaussian element: Haar on the product of the orthogonal (unitary, symplectic) groups of the
    irreps, and 1 on the trivial one. Above order 200 several neurons share a turn.
    """
    order = group.order
    distinct = min(count, max(8, int(2**30 / order**3)))
    every = np.arange(order)
    quotient = group.multiply(every[:, None], np.asarray(group.inverse(every))[None, :])
    left, _, right = np.linalg.svd(rng.normal(size=(distinct, order))[:, quotient])
    turns = np.matmul(left, right[:, :, :1])[:, :, 0]
    turns += (1 - turns.sum(1, keepdims=True)) / order
    return turns[rng.integers(distinct, size=count)] if distinct < count else turns


def _extreme(part: Part, sign: int) -> tuple[ndarray, ndarray]:
    n = part.inner(np.arange(1)).shape[1]
    best, where = np.full((n, n), -np.inf), np.zeros((n, n), dtype=np.int64)
    for run in chunks(part.group.order, 16 * n * n):
        block = sign * part.inner(run)
        local = block.argmax(0)
        value = np.take_along_axis(block, local[None], 0)[0]
        better = value > best
        best, where = np.where(better, value, best), np.where(better, run[local], where)
    return best, where


def first_layer(
    group: Group,
    parts: Sequence[Part],
    *,
    fixed: Float[ndarray, "n k"] | None = None,
    scaled: bool = False,
    signed: bool = False,
) -> NeuronImages:
    """The neurons of a layer from its weights, or from moments.

    Args:
        group: G, the product of the groups of the parts.
        parts: Blocks of inputs, each with the group that moves it.
        fixed: Columns that nothing moves: the bias, inputs on which G is trivial.
        scaled: True where the gauge holds positive scales (ReLU): neurons are then scaled to norm one.
        signed: True where the gauge holds signs (tanh).

    Example:
        Three neurons on three inputs, turned in a circle, are one orbit:

        >>> from intertwiner.algebra import cyclic
        >>> from intertwiner.audit.image_parts import WeightPart
        >>> C3, turn = cyclic(3), (np.arange(3)[:, None] + np.arange(3)) % 3
        >>> images = first_layer(C3, [WeightPart.by_permutations(C3, np.eye(3), turn)])
        >>> images.nearest_over_group()[0].min()
        np.float64(1.0)
    """
    n = parts[0].inner(np.arange(1)).shape[1]
    columns = np.zeros((n, 0)) if fixed is None else checked_rows(fixed)
    if len(columns) != n:
        raise ShapeMismatch(f"{n} neurons, but fixed columns for {len(columns)}")
    images = NeuronImages(group, tuple(parts), columns @ columns.T, signed, scaled)
    return images.normalised() if scaled else images
