r"""Two networks of one architecture followed side by side: the neurons of the first are the coordinates of both.

At a nonlinearity the rows of both networks, over coordinates that they already share, are matched up to the neuron
gauge, as the rows moved by a group element are matched in ``solve.py``; every neuron of the second network is then a
multiple of a coordinate of the first. A neuron without a partner gets a coordinate of its own and rides along: if
nothing reads it in the end, the functions are the same all the same.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import scipy.sparse as sp
from numpy import ndarray

from intertwiner.gauge import GaugeElement, GaugeGroup, Pointwise, match_rows
from intertwiner.network import Embedding, Node
from intertwiner.numerics.monomial import Monomial
from intertwiner.transport.isometry import isometry, reached
from intertwiner.transport.layer import SAME, Layer, Parents, embedded, snapped
from intertwiner.transport.nearest import nearest_pairs
from intertwiner.transport.picture import ONE, Block, Picture, Source
from intertwiner.transport.side import Side, bounds_of, side_by_side
from intertwiner.transport.solve import Broken, Rows, monomial_of, rows_of, split_constant
from intertwiner.transport.solve import keys_of as gauge_keys


@dataclass(frozen=True, eq=False)
class PairRelation:
    """How the neurons of two networks correspond before one operator.

    Args:
        name: The node whose value is compared.
        residual: Per neuron of the second network, the distance of its row from that of its partner, relative to it.
        unmatched: Neurons of the second network without a partner.
        unused: Neurons of the first network that are nobody's partner.
        exact: Every row is that of its partner bit for bit, up to signs and powers of two.
        bypass: The operator hides flipped neurons, so a missing partner refutes nothing.
        element: From the first to the second network, where every neuron was given a partner of its own.
        joined: Some neurons are equal up to the gauge, or constant: who is whose partner is not unique.
    """

    name: str
    residual: ndarray
    unmatched: ndarray
    unused: ndarray
    exact: bool
    bypass: bool = False
    element: GaugeElement | None = None
    joined: bool = False

    @property
    def complete(self) -> bool:
        return not len(self.unmatched) and not len(self.unused)

    @property
    def worst(self) -> float:
        return float(self.residual.max(initial=0.0))


@dataclass(frozen=True, eq=False)
class Pairing:
    """For every row of the second network its partner among those of the first: ``row = sign * partner``, or -1."""

    partner: ndarray
    sign: ndarray
    residual: ndarray
    exact: bool


@dataclass(eq=False)
class Leader:
    """Follows the first network: every distinct neuron is a coordinate, with the scale and sign that it has.

    Args:
        tolerance: Largest relative residual at which two neurons are one.
        joined: Whether equal neurons share a coordinate; without, every neuron has its own, dead ones included.
        turned: Whether layers before a norm are compared up to isometries in place of permutations.
        norms: Whether a norm was met.
        stands: What was met, by name of the reading node: the pictures, and the rows before a pointwise operator.
    """

    tolerance: float
    joined: bool = True
    turned: bool = False
    norms: bool = False
    stands: dict[str, tuple[Sequence[Picture], Rows | None]] = field(default_factory=dict)

    def pointwise(self, picture: Picture, pointwise: Pointwise, node: Node) -> Picture:
        rows = self.rows(picture.dense(), ONE in picture.blocks, pointwise)
        self.stands[node.name] = (picture,), rows
        first = rows.live[rows.first]
        own = Parents(rows.all[first[rows.label]], rows.constant[first[rows.label]], rows.label, len(first))
        ratio, exact = snapped(rows.all[rows.live], own.rows, rows.factor / rows.norm[rows.first][rows.label])
        sizes, errors = bounds_of(picture)
        out = Layer(picture, rows, pointwise, node.name)
        block, shift = out.block(own, ratio)
        gap = sizes.of(out.deviation(own, ratio, shift)) + errors.of(own.rows)
        gap += errors.of(rows.all[rows.live] / ratio[:, None])
        gap[rows.first] = 0.0  # a coordinate is what its first neuron computes
        return out.after(block, shift, out.source(own, gap, sizes.of(rows.all[first])), exact)

    def rows(self, whole: ndarray, constant_last: bool, pointwise: Pointwise) -> Rows:
        if self.joined:
            least = 0.0 if pointwise.value is not None else -1.0  # a constant of an unknown function is unknown
            return rows_of(whole, constant_last, pointwise, self.tolerance, least=least)
        every, ones = np.arange(len(whole)), np.ones(len(whole))
        return Rows(whole, split_constant(whole, constant_last)[1], every, whole, ones, every, ones, every)

    def joint(
        self, pictures: Sequence[Picture], node: Node, *, signed: bool, scaled: bool, norm: str
    ) -> tuple[list[Source], Block | None]:
        self.stands[node.name] = tuple(pictures), None
        self.norms |= bool(norm)
        sources = []
        for k, picture in enumerate(pictures):
            rows, zero = picture.dense(), np.zeros(picture.rows)
            bound = np.sum([bounds.of(rows) for bounds in bounds_of(picture)], axis=0)
            sources.append(Source(f"{node.name}#{k}", (SAME(picture.rows),), bound, zero))
        turned = norm and self.turned
        return sources, reached(pictures[0].dense(), norm == "centred", self.tolerance) if turned else None

    def embedding(self, picture: Picture, op: Embedding, node: Node) -> Picture:
        return embedded(picture, op, node)


@dataclass(eq=False)
class Follower:
    """Follows the second network in the coordinates of the first.

    Args:
        leader: The first network, one node ahead.
        spaces: Name of the latent space of every node, where it has one; with ``gauges`` only for the nearest match.
        gauges: What a latent space allows.
        relations: What was found, by name of the node that is read.
        chosen: The element of each latent space where it was met first.
    """

    leader: Leader
    spaces: Mapping[str, str] = field(default_factory=dict)
    gauges: Mapping[str, GaugeGroup] = field(default_factory=dict)
    relations: dict[str, PairRelation] = field(default_factory=dict)
    chosen: dict[str, Monomial] = field(default_factory=dict)

    def pointwise(self, picture: Picture, pointwise: Pointwise, node: Node) -> Picture:
        (before,), mine = self.leader.stands[node.name]
        if mine is None:
            raise Broken("the operators before this value differ")
        side, at = side_by_side(before, picture), node.inputs[0]
        rows = self.leader.rows(side.second, True, pointwise)
        pairing, scale = self._pairing(side, mine, rows, pointwise, at)
        found = pairing.partner >= 0
        first, own_first = mine.live[mine.first], rows.live[rows.first]
        extra = np.cumsum(~found) - 1 + len(first)
        column = np.where(found, pairing.partner, extra)[rows.label]
        theirs = found[rows.label]
        parent = np.where(theirs, first[np.where(found, pairing.partner, 0)][rows.label] if len(first) else 0, 0)
        own = own_first[rows.label]
        parents = Parents(
            np.where(theirs[:, None], side.first[parent], side.second[own]) if len(first) else side.second[own],
            np.where(theirs, mine.constant[parent], rows.constant[own]),
            column,
            len(first) + int((~found).sum()),
        )
        base = np.where(theirs, 1.0, rows.norm[rows.first][rows.label])
        ratio = rows.factor * np.where(theirs, pairing.sign[rows.label] * scale[rows.label], 1.0) / base
        ratio, exact = snapped(side.second[rows.live], parents.rows, ratio)
        out = Layer(replace(picture, rounded=picture.rounded or before.rounded), rows, pointwise, node.name)
        block, shift = out.block(parents, ratio)
        apart, own = out.deviation(parents, ratio, shift), side.second[rows.live] / ratio[:, None]
        slack = [error.of(parents.rows) for error in (side.first_error, side.second_error)]
        gap = side.magnitude.of(apart) + side.second_error.of(own) + np.where(theirs, *slack)
        gap[rows.first[~found]] = 0.0
        size = np.zeros(parents.width)
        np.maximum.at(size, parents.column, side.magnitude.of(parents.rows))
        source = out.source(parents, gap, size)
        if gap.any():
            source = out.together(source, side, (apart, own), parents, size)
        element = None
        if self.spaces:
            index = np.argsort(pairing.partner)
            element = GaugeElement(Monomial(index, ratio[index]), shift[0])
        first, second = mine.live[mine.first], rows.live[rows.first]
        residual = np.zeros(len(rows.all))
        residual[second] = pairing.residual
        unused = np.delete(first, pairing.partner[found])
        joined = any(len(r.first) < len(r.all) for r in (mine, rows))
        self.relations[at] = PairRelation(
            at, residual, second[~found], unused, exact, pointwise.bypass, element, joined
        )
        return out.after(block, shift, source, exact)

    def _pairing(self, side: Side, mine: Rows, rows: Rows, pointwise: Pointwise, at: str) -> tuple[Pairing, ndarray]:
        """Partners of the distinct neurons, and one over the norm of the partner."""
        if self.spaces:
            place = self.spaces.get(at, at)
            gauge = self.gauges.get(place, pointwise.gauge(len(side.first))) & pointwise.gauge(len(side.first))
            keys = [side.second, side.first]
            if gauge.shift != "none":  # constants count modulo the shift
                keys = [gauge_keys(rows, True, pointwise) for rows in keys]
            matrix = self._nearest(place, gauge, *keys)
            factor = matrix.factor[matrix.sources]
            gap = np.linalg.norm(side.second - matrix.apply(side.first), axis=1)
            return Pairing(matrix.sources, np.sign(factor), _relative(gap, side.second), False), np.abs(factor)
        norm = mine.norm[mine.first]
        target = gauge_keys(rows.balanced[rows.first], True, pointwise)
        source = gauge_keys(side.first[mine.live[mine.first]] / norm[:, None], True, pointwise)
        pairing = matched(target, source, sign=pointwise.sign, tolerance=self.leader.tolerance)
        scale = 1 / norm[np.maximum(pairing.partner, 0)] if len(norm) else np.ones(len(target))
        return pairing, scale

    def _nearest(self, place: str, gauge: GaugeGroup, target: ndarray, source: ndarray) -> Monomial:
        """One permutation for the whole latent space, chosen where it is met first; signs and scales where we are."""
        if place not in self.chosen:
            self.chosen[place] = monomial_of(nearest_pairs(gauge, target, source))
            return self.chosen[place]
        order = Monomial(self.chosen[place].index)
        diagonal = nearest_pairs(replace(gauge, mixing="none", blocks=()), target, order.apply(source))
        return monomial_of(diagonal) @ order

    def joint(
        self, pictures: Sequence[Picture], node: Node, *, signed: bool, scaled: bool, norm: str
    ) -> tuple[list[Source], Block | None]:
        before, _ = self.leader.stands[node.name]
        sides = [side_by_side(a, b) for a, b in zip(before, pictures, strict=True)]
        first, second = (np.concatenate([getattr(s, name) for s in sides], axis=1) for name in ("first", "second"))
        if len(first) != len(second):
            raise Broken(f"{node.op.kind} reads {len(first)} features in one network and {len(second)} in the other")
        if norm and self.leader.turned:
            return self._isometric(sides[0], node, centred=norm == "centred")
        gauge = self.gauges.get(self.spaces.get(node.inputs[0], ""))
        if norm and gauge is not None and gauge.mixing == "orthogonal":
            return self._turned(sides[0], node)
        pairing, ratio = self._joint_pairing(node.inputs[0], first, second, signed=signed, scaled=scaled)
        partner = pairing.partner
        if np.any(partner < 0):
            raise Broken(
                f"no permutation of the features fits {node.op.kind}: rows {np.flatnonzero(partner < 0)[:5].tolist()} "
                "of the second network are missing in the first"
            )
        block = sp.csr_array((ratio, (np.arange(len(first)), partner)), shape=(len(first), len(first)))
        sources = []
        for k, (side, picture) in enumerate(zip(sides, before, strict=True)):
            own = side.second / ratio[:, None]
            gap, size = np.zeros(len(first)), np.zeros(len(first))
            gap[partner] = side.gap(own, side.first[partner])
            size[partner] = side.magnitude.of(side.first[partner]) + side.first_error.of(side.first[partner])
            sources.append(Source(f"{node.name}#{k}", (SAME(picture.rows),), size, gap))
        return sources, block

    def _isometric(self, side: Side, node: Node, *, centred: bool) -> tuple[list[Source], Block]:
        """Before a norm: the coordinates of the first network, turned."""
        found = isometry(side, centred=centred, tolerance=self.leader.tolerance)
        count, at = len(side.first), node.inputs[0]
        closes = found.residual <= self.leader.tolerance
        none, lost = np.zeros(0, dtype=np.int64), np.arange(count)
        unmatched = none if closes else lost
        self.relations[at] = PairRelation(at, np.full(count, found.residual), unmatched, unmatched, False)
        if not closes:
            raise Broken(f"no isometry of the features fits {node.op.kind}: relative residual {found.residual:.2g}")
        size = side.magnitude.of(side.first) + side.first_error.of(side.first)
        return [Source(f"{node.name}#0", (SAME(count),), size, np.full(count, found.error))], found.matrix

    def _turned(self, side: Side, node: Node) -> tuple[list[Source], Block]:
        """The nearest orthogonal map [Schönemann 1966]."""
        left, _, right = np.linalg.svd(side.second @ side.first.T)
        count, at, none = len(side.first), node.inputs[0], np.zeros(0, dtype=np.int64)
        matrix = left @ right
        gap = np.linalg.norm(side.second - matrix @ side.first, axis=1)
        self.relations[at] = PairRelation(at, _relative(gap, side.second), none, none, False)
        zero = np.zeros(count)
        return [Source(f"{node.name}#0", (SAME(count),), zero, zero)], matrix

    def _joint_pairing(
        self, at: str, first: ndarray, second: ndarray, *, signed: bool, scaled: bool
    ) -> tuple[Pairing, ndarray]:
        if self.spaces:
            place, gauge = self.spaces.get(at, at), GaugeGroup(len(first), signed, "positive" if scaled else "none")
            matrix = self._nearest(place, gauge & self.gauges.get(place, gauge), second, first)
            factor = matrix.factor[matrix.sources]
            return Pairing(matrix.sources, np.sign(factor), np.zeros(len(first)), False), factor
        norms = [np.linalg.norm(a, axis=1) if scaled else np.ones(len(a)) for a in (first, second)]
        norms = [np.where(n > 0, n, 1.0) for n in norms]
        left, right = first / norms[0][:, None], second / norms[1][:, None]
        pairing = matched(right, left, sign=signed, tolerance=self.leader.tolerance)
        partner = np.maximum(pairing.partner, 0)
        ratio, exact = snapped(second, first[partner], pairing.sign * norms[1] / norms[0][partner])
        unused = np.delete(np.arange(len(first)), pairing.partner[pairing.partner >= 0])
        self.relations.setdefault(
            at, PairRelation(at, pairing.residual, np.flatnonzero(pairing.partner < 0), unused, exact)
        )
        return pairing, ratio

    def embedding(self, picture: Picture, op: Embedding, node: Node) -> Picture:
        return embedded(picture, op, node)


def matched(target: ndarray, source: ndarray, *, sign: bool, tolerance: float) -> Pairing:
    """Partners of the target rows among the source rows, which may be more or fewer."""
    count, used, width = len(target), len(source), target.shape[1]
    size = max(count, used)
    target, source = (np.concatenate([a, np.zeros((size - len(a), width))]) for a in (target, source))
    found = match_rows(target, source, sign=sign, tolerance=tolerance)
    partner = found.nearest.sources[:count].copy()
    factor = found.nearest.factor[found.nearest.sources][:count]
    lost = ~(found.residual[:count] <= tolerance) | (partner >= used)
    partner[lost] = -1
    return Pairing(partner, factor, found.residual[:count], found.exact)


def _relative(gap: ndarray, rows: ndarray) -> ndarray:
    size = np.linalg.norm(rows, axis=1)
    return np.divide(gap, size, out=np.where(gap > 0, np.inf, 0.0), where=size > 0)
