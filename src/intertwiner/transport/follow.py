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
from intertwiner.numerics.tolerance import ROUNDING
from intertwiner.transport.isometry import isometry, reached
from intertwiner.transport.nearest import nearest_pairs
from intertwiner.transport.picture import ONE, Block, Picture, Source, fresh, with_constant
from intertwiner.transport.side import Side, bounds_of, side_by_side, spectral
from intertwiner.transport.solve import Broken, Rows, monomial_of, rows_of, split_constant
from intertwiner.transport.solve import keys_of as gauge_keys

SAME = Monomial.identity


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
        ratio, exact = _snapped(rows.all[rows.live], own.rows, rows.factor / rows.norm[rows.first][rows.label])
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
        ratio, exact = _snapped(side.second[rows.live], parents.rows, ratio)
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
        ratio, exact = _snapped(second, first[partner], pairing.sign * norms[1] / norms[0][partner])
        unused = np.delete(np.arange(len(first)), pairing.partner[pairing.partner >= 0])
        self.relations.setdefault(
            at, PairRelation(at, pairing.residual, np.flatnonzero(pairing.partner < 0), unused, exact)
        )
        return pairing, ratio

    def embedding(self, picture: Picture, op: Embedding, node: Node) -> Picture:
        return embedded(picture, op, node)


@dataclass(frozen=True, eq=False)
class Parents:
    """For every live neuron, the coordinate it is a multiple of.

    Args:
        rows: Row of the neuron that the coordinate stands for.
        constant: Its constant.
        column: Number of the coordinate.
        width: How many coordinates there are.
    """

    rows: ndarray
    constant: ndarray
    column: ndarray
    width: int


@dataclass(frozen=True, eq=False)
class Layer:
    """A pointwise layer on its way through."""

    picture: Picture
    rows: Rows
    pointwise: Pointwise
    name: str

    def block(self, parents: Parents, ratio: ndarray) -> tuple[Block, tuple[ndarray, ndarray]]:
        """The rows over the coordinates; and the shifts before and the constants after the operator."""
        live = self.rows.live
        lifted = self.pointwise.lift(Monomial.diagonal(ratio), self.rows.constant[live], parents.constant)
        after = self.pointwise.phi(lifted)
        shape = (len(self.rows.all), parents.width)
        block = sp.csr_array((monomial_of(after).factor, (live, parents.column)), shape=shape)
        return block, (lifted.constant, after.constant)

    def deviation(self, parents: Parents, ratio: ndarray, shift: tuple[ndarray, ndarray]) -> ndarray:
        """``z / ratio - z_parent`` over the coordinates: what is not as it should be."""
        gap = self.rows.all[self.rows.live] / ratio[:, None] - parents.rows
        if np.any(shift[0]):
            gap[:, -1] -= shift[0] / ratio
        return gap

    def source(self, parents: Parents, gap: ndarray, size: ndarray) -> Source:
        """The coordinates after the operator: bounded over the box, and how far the neurons may be from them."""
        widest = np.zeros(parents.width)
        np.maximum.at(widest, parents.column, gap)
        with np.errstate(invalid="ignore", over="ignore"):
            error = np.where(widest > 0, self.pointwise.lipschitz(size + widest) * widest, 0.0)
        return Source(self.name, (SAME(parents.width),), self.pointwise.magnitude(size), error)

    def together(
        self, source: Source, side: Side, gaps: tuple[ndarray, ndarray], parents: Parents, size: ndarray
    ) -> Source:
        """The source with its bounds as a whole: a layer of n neurons spreads errors by its norm, not by n."""
        chosen = np.unique(parents.column, return_index=True)[1]
        rows = parents.rows[chosen]
        apart, norm = float(np.linalg.norm(gaps[0])), spectral(rows)
        # Several neurons may share a coordinate: then the rows of the second network are more than those of the first.
        own = norm + apart if len(rows) == len(gaps[1]) else spectral(gaps[1])
        slack = apart * side.magnitude.all + own * side.second_error.all
        slack += norm * max(side.first_error.all, side.second_error.all if len(rows) < len(gaps[1]) else 0.0)
        steepest = float(self.pointwise.lipschitz(size + slack).max(initial=0.0))
        zero = abs(float(self.pointwise.apply(np.zeros(()))))
        length = steepest * norm * side.magnitude.all + zero * parents.width**0.5
        return replace(source, length=length, slack=steepest * slack)

    def after(self, block: Block, shift: tuple[ndarray, ndarray], source: Source, exact: bool) -> Picture:
        constant = np.zeros(len(self.rows.all))
        constant[self.rows.live] = shift[1]
        fixed = np.setdiff1d(np.arange(len(constant)), self.rows.live)
        if len(fixed):
            constant[fixed] = self.pointwise.apply(self.rows.constant[fixed])
        out = fresh(self.picture, source, block=block, constant=constant)
        return replace(out, rounded=self.picture.rounded or not exact or len(fixed) > 0)


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


def _snapped(rows: ndarray, parents: ndarray, ratio: ndarray) -> tuple[ndarray, bool]:
    """Ratios that are powers of two up to rounding made so; and whether the rows are these multiples bit for bit."""
    with np.errstate(divide="ignore"):
        power = np.copysign(np.exp2(np.rint(np.log2(np.abs(ratio)))), ratio)
    near = np.abs(ratio / power - 1) <= ROUNDING
    ratio = np.where(near, power, ratio)
    return ratio, bool(near.all()) and bool(np.array_equal(rows, parents * ratio[:, None]))


def _relative(gap: ndarray, rows: ndarray) -> ndarray:
    size = np.linalg.norm(rows, axis=1)
    return np.divide(gap, size, out=np.where(gap > 0, np.inf, 0.0), where=size > 0)


def embedded(picture: Picture, op: Embedding, node: Node) -> Picture:
    """Looked-up vectors over the indicators of the tokens, which two networks share whatever their tables hold.

    The indicators add up to one, so the mean of the table is moved into the constant: the picture is unique then.
    """
    weight = op.weight.array
    tokens = len(weight)
    name = f"{'+'.join(picture.names)}={tokens}"
    source = Source(name, (SAME(tokens),) * picture.generators, np.ones(tokens), np.zeros(tokens))
    shape = tuple(node.sample_shape)
    grids = tuple(type(grid)(shape, grid.factors) for grid in picture.grids)
    mean = weight.mean(0)
    out = Picture(shape, (len(shape) - 1,), {name: (weight - mean).T}, {name: source}, grids, bool(np.any(mean)))
    return with_constant(out, mean)
