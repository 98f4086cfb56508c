r"""Which channels of the lift a twin keeps: orbits, chosen backwards from what the output needs.

For every latent space the channels of the lift, (i, g) for the original's channel i, are offered in orbits G/H, H the
stabiliser of i on the data. Spaces are gone through from the last to the first: the last ones are chosen by how much of
the output they explain after refit; then those before by how much they explain of what the chosen ones compute, errors
there counting by the weight that the refit gives them. A channel that nobody chose needs no explanation.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
from jaxtyping import Bool, Float, Int
from numpy import ndarray
from torch import Tensor

from intertwiner.errors import BudgetTooSmall, CannotRewrite, DataTooSmall
from intertwiner.numerics.monomial import Monomial
from intertwiner.numerics.tolerance import MOMENT_RANK
from intertwiner.rewrite.coordinates import Coordinates
from intertwiner.rewrite.copies import copied, copy_coordinates, copy_moments
from intertwiner.rewrite.elements import coset_action
from intertwiner.rewrite.graph_task import GraphTask
from intertwiner.rewrite.moments import Moments
from intertwiner.rewrite.orbit_choice import Chosen, Problem, choose_orbits
from intertwiner.rewrite.readers import Reader
from intertwiner.rewrite.select import centred
from intertwiner.rewrite.tied import direct_sum
from intertwiner.rewrite.window_moments import Seen, window_moments

WIDEST_CHOICE = 12_000
"""Most columns that a choice looks at."""
COPY_ROWS = 4
"""Copies of one window are not independent: so many times the rows are taken where each of them counts."""


@dataclass(frozen=True, eq=False)
class Offer:
    """The orbits offered for one latent space, and those that were chosen.

    Args:
        space: Its name.
        stabilisers: By orbit, the stabiliser of its channel.
        sizes: By orbit, its channels.
        chosen: What was chosen, in that order.
        copies: Whether channels stand copy by copy (``copies``).
    """

    space: str
    stabilisers: Bool[ndarray, "o order"]
    sizes: Int[ndarray, " o"]
    chosen: Chosen
    copies: bool = False

    @property
    def width(self) -> int:
        return self.chosen.width[-1] if self.chosen.width else 0

    def coordinates(self, task: GraphTask) -> Coordinates:
        """The channels of the twin."""
        group, taken = task.symmetry.group, self.chosen.orbits
        if self.copies:
            return copy_coordinates(group, taken)
        ones = np.ones(group.order, dtype=np.int64)
        parts = [coset_action(group, self.stabilisers[o], ones) for o in taken]
        starts = np.cumsum([0, *(p[0].dimension for p in parts)])[:-1]
        return Coordinates(direct_sum(parts, len(group.generators)), starts, np.array(taken), np.ones(len(taken)))


@dataclass
class Survey:
    """The moments that choices are made from, taken once.

    Args:
        task: What is rewritten.
        cosine: A channel is given the stabiliser H if it correlates with its images under H at least so much.
        seen: Moments by reader and first channel.
        stabilisers: By space, the stabiliser of every channel.
        copies: Whether convolutions will read their own copy only: all orbits are regular then.
    """

    task: GraphTask
    cosine: float = 0.95
    copies: bool = False
    seen: dict[tuple[str, int], Moments] = field(default_factory=dict)
    stabilisers: dict[str, Bool[ndarray, "d order"]] = field(default_factory=dict)

    def offers(self, widths: Mapping[str, int]) -> dict[str, Offer]:
        """Orbits of every space under its width, chosen from the last space to the first.

        Raises:
            BudgetTooSmall: Not one orbit of a space fits; the message names the smallest.
            DataTooSmall: Nothing varies over the data.
            CannotRewrite: A reader sees too many columns to choose from.
        """
        weights: dict[str, ndarray] = {}
        for r in self.task.readers:
            if r.space in self.task.given:
                weights[r.node.name] = np.ones(self.task.given[r.space].width)
        # A branch that is added to the stream it reads writes a space that comes before its own: what that needs is
        # known only after a first round, in which every channel there counts alike.
        places = {space: n for n, space in enumerate(self.task.hidden)}
        back = [
            r for r in self.task.readers
            if r.space in places and any(places[name] >= places[r.space] for name, _, _ in r.owners if name in places)
        ]  # fmt: skip
        weights |= {r.node.name: np.ones(self.task.hidden[r.space]) for r in back}
        out = self._round(widths, weights)
        if back:
            out = self._round(widths, weights)
        return {space: out[space] for space in self.task.hidden}

    def _round(self, widths: Mapping[str, int], weights: dict[str, ndarray]) -> dict[str, Offer]:
        """One choice for every space; what each needs of its writers is left in ``weights``."""
        out = {}
        for space in reversed(list(self.task.hidden)):
            found, need = self._offer(space, widths[space], weights)
            if not found.chosen.orbits:
                raise _nothing_taken(space, found.sizes, widths[space])
            out[space] = found
            for r in self.task.readers:
                if r.space == space:
                    weights[r.node.name] = need
        return out

    def _offer(self, space: str, width: int, weights: Mapping[str, ndarray]) -> tuple[Offer, Float[ndarray, " d"]]:
        """The orbits of a space, and how much an error of each of its channels counts then."""
        task, problems, fits = self.task, [], []
        alone = copied(task) if self.copies else frozenset()
        for r in task.readers:
            for start in (start for name, start, _ in r.owners if name == space):
                moments = self.moments(r, space, start, alone=r.node.name in alone)
                if self.copies:
                    self.stabilisers[space] = np.tile(task.symmetry.group.elements == 0, (task.hidden[space], 1))
                if space not in self.stabilisers:
                    self.stabilisers[space] = _stabilisers(task, moments, task.hidden[space], r.places, self.cosine)
                square, cross, total = centred(moments, weights[r.node.name])
                if r.node.name in alone:
                    problems.append(_copy_problem(square, cross, total, r.places))
                else:
                    problems.append(_problem(task, square, cross, total, self.stabilisers[space], r))
                fits.append((square, cross.copy(), problems[-1].columns))
        sizes = task.symmetry.group.order // self.stabilisers[space].sum(1)
        found = Offer(
            space, self.stabilisers[space], sizes, choose_orbits(problems, sizes.tolist(), width), self.copies
        )
        need = np.zeros(task.hidden[space])
        for square, cross, columns in fits:
            need += _needed(square, cross, columns, found.chosen.orbits, len(need))
        return found, np.sqrt(need)

    def moments(self, r: Reader, space: str, start: int, *, alone: bool = False) -> Moments:
        """Of all channels of the lift of a space (of one copy, if ``alone``), as one reader sees them."""
        key = r.node.name, start
        if key not in self.seen:
            offered = _offered_copy_moments if alone else _offered_moments
            self.seen[key] = offered(self.task, r, start, self.task.hidden[space])
        return self.seen[key]


def _nothing_taken(space: str, sizes: Int[ndarray, " o"], width: int) -> CannotRewrite:
    """Why no orbit was taken: none fits, or nothing that reads the space varies over the data."""
    least = int(sizes.min())
    if least <= width:
        return DataTooSmall(
            f"nothing varies over the data that is computed from {space}: no orbit is better than none.\n"
            "  Give more data. Nothing was rewritten."
        )
    return BudgetTooSmall(
        f"the budget leaves {width} channels for {space}, the smallest orbit there has {least}.\n  An orbit fits there "
        f"at about {least / max(width, 1):.3g} times the budget. Nothing was rewritten."
    )


def _needed(
    square: ndarray, cross: ndarray, columns: list[ndarray], orbits: tuple[int, ...], count: int
) -> Float[ndarray, " d"]:
    """Square of the weight that the refit on the chosen orbits gives to each channel: 0 for the others."""
    out = np.zeros(count)
    if not orbits:
        return out
    at = np.concatenate([columns[o] for o in orbits])
    own = square[np.ix_(at, at)]
    scale = np.sqrt(np.maximum(np.diagonal(own), np.finfo(float).tiny))
    ridge = np.sqrt(MOMENT_RANK) * np.eye(len(at))
    fitted = np.linalg.solve(own / scale[:, None] / scale + ridge, (cross[:, at] / scale).T).T / scale
    ends = np.cumsum([0, *(len(columns[o]) for o in orbits)])
    for o, a, b in zip(orbits, ends, ends[1:], strict=False):
        out[o] = (fitted[:, a:b] ** 2).sum()
    return out


def _offered_moments(task: GraphTask, r: Reader, start: int, dimension: int) -> Moments:
    group, source = task.symmetry.group, r.source
    columns = dimension * group.order * r.places
    if columns > WIDEST_CHOICE:
        raise CannotRewrite(
            f"{r.node.tap or r.node.name} reads {dimension} channels at {r.places} places: the choice of orbits would "
            f"look at {columns} columns, more than {WIDEST_CHOICE}. Nothing was rewritten."
        )
    lifted = task.lifted([source, r.node.name])
    shape = task.grid(r)
    cut = slice(start * group.order, (start + dimension) * group.order)
    seen = Seen(lambda inputs, values: values[source][:, cut], shape, column_moves(task, r, dimension))
    return window_moments(
        task.batches, lifted, r, seen, given=task.given_elements(r), rows=rows_for(columns, 3), seed=task.seed
    )  # fmt: skip


def _offered_copy_moments(task: GraphTask, r: Reader, start: int, dimension: int) -> Moments:
    source, order = r.source, task.symmetry.group.order
    shape = task.grid(r)
    cut = slice(start * order, (start + dimension) * order)

    def copies(inputs: tuple[Tensor, ...], values: dict[str, Tensor]) -> Tensor:
        value = values[source][:, cut]
        return value.reshape(len(value), dimension, order, -1).transpose(1, 2)

    lifted = task.lifted([source, r.node.name])
    rows = COPY_ROWS * rows_for(dimension * r.places, 24)
    return copy_moments(task, lifted, r, copies, shape, rows=rows, seed=task.seed)


def _copy_problem(square: ndarray, cross: ndarray, total: float, places: int) -> Problem:
    """Every channel with its places is an orbit of columns: nothing moves within a copy."""
    every = np.arange(len(square))
    return Problem(square.copy(), cross, total, list(every.reshape(-1, places)), every[None], every)


def column_moves(task: GraphTask, r: Reader, dimension: int) -> list[Monomial]:
    """By element, how the columns (channel of the lift, place) of a reader move."""
    order = task.symmetry.group.order
    channels = [Monomial(_regular(task.symmetry.group.table, dimension, k)) for k in range(order)]
    places = task.elements(task.generators_on_places[r.node.name])
    return [c.kron(p) for c, p in zip(channels, places, strict=True)]


def rows_for(columns: int, times: int) -> int:
    """How many windows determine moments of so many columns well enough."""
    return int(np.clip(times * columns, 8192, 1 << 17))


def _regular(table: ndarray, dimension: int, k: int) -> Int[ndarray, " n"]:
    """Where k sends channel ``i * order + g``: to ``i * order + kg``."""
    order = len(table)
    return (np.arange(dimension)[:, None] * order + table[k][None, :]).ravel()


def _problem(
    task: GraphTask, square: ndarray, cross: ndarray, total: float, stabilisers: Bool[ndarray, "o order"], r: Reader
) -> Problem:
    """Columns of the orbits: means over the stabiliser's cosets where it is not trivial."""
    group, places = task.symmetry.group, r.places
    columns = []
    for i, members in enumerate(stabilisers):
        base = (i * group.order + np.arange(group.order))[:, None] * places + np.arange(places)
        h = np.flatnonzero(members)
        if len(h) == 1:
            columns.append(base.ravel())
            continue
        cosets = group.multiply(np.arange(group.order)[:, None], h[None, :])
        first = np.unique(cosets.min(1))
        mixed = base[cosets]  # (g, h, place)
        square[:, base] = square[:, mixed].mean(2)
        square[base] = square[mixed].mean(1)
        cross[:, base] = cross[:, mixed].mean(2)
        columns.append(base[first].ravel())
    elements = column_moves(task, r, len(stabilisers))
    moves = np.stack([m.index for m in elements])
    first = (np.arange(len(stabilisers))[:, None] * group.order * r.places + np.arange(r.places)).ravel()
    return Problem(square[first], cross, total, columns, moves, first)


def _stabilisers(task: GraphTask, moments: Moments, dimension: int, places: int, cosine: float) -> Bool[ndarray, "d g"]:
    """By channel the elements that leave it unchanged on the data, where they form a subgroup."""
    group = task.symmetry.group
    middle = places // 2
    at = np.arange(dimension * group.order) * places + middle
    mean = moments.square[-1, at].reshape(dimension, group.order)
    square = moments.square[np.ix_(at, at)].reshape(dimension, group.order, dimension, group.order)
    own = square[np.arange(dimension), :, np.arange(dimension), :] - mean[:, :, None] * mean[:, None, :]
    first = own[:, 0]
    size = np.sqrt(np.maximum(own[:, 0, 0][:, None] * np.einsum("igg->ig", own), 0.0))
    correlation = np.divide(first, size, out=np.zeros_like(first), where=size > 0)
    alike = correlation >= cosine
    alike[:, 0] = True
    out = np.zeros_like(alike)
    for i, members in enumerate(alike):
        h = np.flatnonzero(members)
        closed = members[group.multiply(h[:, None], h[None, :])].all()
        out[i] = members if closed else np.arange(group.order) == 0
    return out
