r"""A twin of any graph under a budget: orbits of channels are chosen for every latent space, then each layer is refitted.

For every latent space the channels of the lift, (i, g) for the original's channel i, are offered in orbits G/H, H the
stabiliser of i on the data; those are kept without which the readers of the space would miss most
(``orbit_choice``). Then the twin is assembled node by node: what a representative of an orbit reads is the
least-squares fit, on what the twin computes so far, of what the original's channel answers on symmetrised data; the
output is fitted to the group average. Ties make every layer an intertwiner, whatever the fit.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from numpy import ndarray
from torch import Tensor

from intertwiner.errors import BudgetTooSmall, CannotRewrite
from intertwiner.network import Network
from intertwiner.network import node as ir
from intertwiner.numerics.monomial import Monomial
from intertwiner.rewrite.assemble import Assembler, Write, continued_rows
from intertwiner.rewrite.coordinates import Coordinates, channel_axis, given_action, written_spaces
from intertwiner.rewrite.elements import coset_action
from intertwiner.rewrite.lifted import Lifted, values_of
from intertwiner.rewrite.moments import Moments
from intertwiner.rewrite.orbit_choice import Chosen, Problem, choose_orbits
from intertwiner.rewrite.readers import GIVEN, Reader, readers
from intertwiner.rewrite.refit import Fit, refit
from intertwiner.rewrite.select import centred
from intertwiner.rewrite.tied import direct_sum
from intertwiner.rewrite.twin import TwinGraph
from intertwiner.rewrite.window_moments import Batches, Seen, window_moments
from intertwiner.symmetry import BoundSymmetry
from intertwiner.transport import layouts
from intertwiner.transport.rules_linear import induced_by

WIDEST_CHOICE = 12_000
"""Most columns that a choice looks at: beyond it only channels, not places, are told apart."""


@dataclass(frozen=True, eq=False)
class GraphTask:
    """What is rewritten, with its data.

    Args:
        network: The original, affine maps folded.
        symmetry: The task.
        batches: The data, from the start.
        seed: Of the windows drawn.
    """

    network: Network
    symmetry: BoundSymmetry
    batches: Batches
    seed: int = 0

    @cached_property
    def readers(self) -> tuple[Reader, ...]:
        return readers(self.network)

    @cached_property
    def given(self) -> dict[str, Coordinates]:
        """The spaces whose action is part of the task."""
        spaces = {s.name: s for s in written_spaces(self.network).values() if s.given}
        return {
            name: Coordinates.of_task(given_action(self.network, self.symmetry, s)) for name, s in spaces.items()
        }  # fmt: skip

    @cached_property
    def hidden(self) -> dict[str, int]:
        """The other spaces that are written, in order, with their dimensions."""
        found = {s.name: s.dimension for s in written_spaces(self.network).values() if not s.given}
        read = {name for r in self.readers for name, _, _ in r.owners}
        unread = [name for name in found if name not in read]
        if unread:
            raise CannotRewrite(f"no linear map or convolution reads {unread[0]}. Nothing was rewritten.")
        return found

    @cached_property
    def generators_on_places(self) -> Mapping[str, tuple[Monomial, ...]]:
        """By reader, how the generators move the places of its windows."""
        found, _ = layouts(self.network, self.symmetry)
        out = {}
        for r in self.readers:
            source = self.network.node(r.source)
            positions = tuple(a for a in range(len(source.sample_shape)) if a != r.axis - 1)
            if isinstance(r.node.op, ir.Conv):
                size = tuple(source.sample_shape[a] for a in positions)
                out[r.node.name] = tuple(induced_by(r.node.op, g, size)[1] for g in found[r.source].grids)
            elif r.places > 1:
                out[r.node.name] = tuple(g.matrix_on(positions) for g in found[r.source].grids)
            else:
                out[r.node.name] = (Monomial.identity(1),) * len(self.symmetry.group.generators)
        return out

    def elements(self, generators: Sequence[Monomial]) -> list[Monomial]:
        """One per element of G."""
        identity = Monomial.identity(generators[0].dimension)
        return self.symmetry.group.extend(generators, lambda a, b: a @ b, identity)

    def lifted(self, names: Sequence[str]) -> Lifted:
        """The lifted values of some nodes, channels where their readers or writers have them."""
        axes = {r.source: r.axis for r in self.readers} | {
            r.node.name: channel_axis(r.node) for r in self.readers
        }  # fmt: skip
        return Lifted(self.network, self.symmetry, {n: axes[n] for n in dict.fromkeys(names)})

    def given_elements(self, reader: Reader) -> list[Monomial] | None:
        return self.elements(self.given[reader.space].rho) if reader.space in self.given else None


@dataclass(frozen=True, eq=False)
class Offer:
    """The orbits offered for one latent space, in the order in which they are taken.

    Args:
        space: Its name.
        stabilisers: By orbit, the stabiliser of its channel.
        sizes: By orbit, its channels.
        chosen: The order.
    """

    space: str
    stabilisers: Bool[ndarray, "o order"]
    sizes: Int[ndarray, " o"]
    chosen: Chosen

    def within(self, width: int) -> tuple[int, ...]:
        """The orbits taken first, up to a width."""
        return tuple(o for o, w in zip(self.chosen.orbits, self.chosen.width, strict=True) if w <= width)

    def coordinates(self, task: GraphTask, width: int) -> Coordinates:
        """The channels of the twin under a width."""
        group = task.symmetry.group
        taken = self.within(width)
        ones = np.ones(group.order, dtype=np.int64)
        parts = [coset_action(group, self.stabilisers[o], ones) for o in taken]
        starts = np.cumsum([0, *(p[0].dimension for p in parts)])[:-1]
        rho = direct_sum(parts, len(group.generators))
        return Coordinates(rho, starts, np.array(taken), np.ones(len(taken)))


def offer(task: GraphTask, space: str, width: int, *, cosine: float, weights: Mapping[str, ndarray]) -> Offer:
    """The orbits of one latent space in the order in which its readers need them.

    Args:
        task: What is rewritten.
        space: Name of the space.
        width: Most channels that will be wanted.
        cosine: A channel is given the stabiliser H if averaging it over H keeps this share of its variance.
        weights: By reader, how much an error of each target counts.
    """
    group, dimension = task.symmetry.group, task.hidden[space]
    problems, stabilisers = [], np.zeros((dimension, group.order), dtype=bool)
    for r in task.readers:
        mine = [(start, n) for name, start, n in r.owners if name == space]
        for start, _ in mine:
            moments = _offered_moments(task, r, start, dimension)
            if not stabilisers.any():
                stabilisers = _stabilisers(task, moments, dimension, r.places, cosine)
            square, cross, total = centred(moments, weights[r.node.name])
            problems.append(_problem(task, square, cross, total, stabilisers, r.places))
    sizes = group.order // stabilisers.sum(1)
    return Offer(space, stabilisers, sizes, choose_orbits(problems, sizes.tolist(), width))


def _offered_moments(task: GraphTask, r: Reader, start: int, dimension: int) -> Moments:
    group, source = task.symmetry.group, r.source
    columns = dimension * group.order * r.places
    if columns > WIDEST_CHOICE:
        raise CannotRewrite(
            f"{r.node.tap or r.node.name} reads {dimension} channels at {r.places} places: the choice of orbits would "
            f"look at {columns} columns, more than {WIDEST_CHOICE}. Nothing was rewritten."
        )
    lifted = task.lifted([source, r.node.name])
    shape = tuple(n for a, n in enumerate(task.network.node(source).sample_shape) if a != r.axis - 1)
    cut = slice(start * group.order, (start + dimension) * group.order)
    channels = [Monomial(_regular(group.table, dimension, k)) for k in range(group.order)]
    places = task.elements(task.generators_on_places[r.node.name])
    elements = [c.kron(p) for c, p in zip(channels, places, strict=True)]
    seen = Seen(lambda inputs, values: values[source][:, cut], shape, elements)
    return window_moments(
        task.batches, lifted, r, seen, given=task.given_elements(r), rows=_rows_for(columns, 3), seed=task.seed
    )  # fmt: skip


def _rows_for(columns: int, times: int) -> int:
    return int(np.clip(times * columns, 8192, 1 << 17))


def _regular(table: ndarray, dimension: int, k: int) -> Int[ndarray, " n"]:
    """Where k sends channel ``i * order + g``: to ``i * order + kg``."""
    order = len(table)
    return (np.arange(dimension)[:, None] * order + table[k][None, :]).ravel()


def _problem(
    task: GraphTask, square: ndarray, cross: ndarray, total: float, stabilisers: Bool[ndarray, "o order"], places: int
) -> Problem:
    """Columns of the orbits: means over the stabiliser's cosets where it is not trivial."""
    group = task.symmetry.group
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
        square[:] = _averaged_columns(square, base, mixed)
        square[:] = _averaged_columns(square.T, base, mixed).T
        cross[:] = _averaged_columns(cross, base, mixed)
        columns.append(base[first].ravel())
    return Problem(square, cross, total, columns)


def _averaged_columns(matrix: ndarray, base: ndarray, mixed: ndarray) -> ndarray:
    out = matrix.copy()
    out[:, base] = matrix[:, mixed].mean(2)
    return out


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


@dataclass
class Refit:
    """What representatives read, fitted on what the twin computes so far; a `Rows` for the assembler.

    Args:
        task: What is rewritten.
        fits: By node name, how it went.
    """

    task: GraphTask
    fits: dict[str, Fit] = field(default_factory=dict)

    def __call__(self, write: Write) -> tuple[Float[ndarray, "o r"], Float[ndarray, " o"]]:
        if write.value.label is not None:
            return continued_rows(write)
        task = self.task
        r = next(r for r in task.readers if r.node.name == write.node.name)
        lifted = task.lifted([r.node.name])
        run = values_of(task.network, write.twin.graph, [r.source])
        shape = tuple(n for a, n in enumerate(task.network.node(r.source).sample_shape) if a != r.axis - 1)

        def features(inputs: tuple[Tensor, ...], values: dict[str, Tensor]) -> Tensor:
            (value,) = run(*(x.to(task.network.dtype) if x.is_floating_point() else x for x in inputs))
            return value.movedim(r.axis, 1).flatten(2) if value.dim() > 2 else value[..., None]

        seen = Seen(features, shape, task.elements(write.read))
        rows = _rows_for(write.read[0].dimension, 24)
        moments = window_moments(
            task.batches, lifted, r, seen, given=task.given_elements(r), rows=rows, seed=task.seed + 1
        )  # fmt: skip
        found = refit(moments, symmetric_copies=task.symmetry.group.order)
        self.fits[write.node.name] = found
        to = write.coordinates
        return found.weight[to.channels] / to.factor[:, None], found.bias[to.channels] / to.factor


@dataclass(frozen=True, eq=False)
class GraphBuilt:
    """A twin and how it came about."""

    twin: TwinGraph
    offers: Mapping[str, Offer]
    widths: Mapping[str, int]
    fits: Mapping[str, Fit]


def outgoing(task: GraphTask) -> dict[str, Float[ndarray, " t"]]:
    """By reader, how much an error of each of its answers counts: the norm of what reads it, 1 for outputs."""
    out = {}
    for r in task.readers:
        if r.space in task.given:
            out[r.node.name] = np.ones(task.given[r.space].width)
            continue
        square = np.zeros(task.hidden[r.space])
        for other in task.readers:
            for name, start, n in other.owners:
                if name == r.space:
                    weight = other.node.op.weight.array.reshape(len(other.node.op.weight.array), -1, other.places)
                    square += (weight[:, start : start + n] ** 2).sum((0, 2))
        out[r.node.name] = np.sqrt(square)
    return out


def build_graph(task: GraphTask, widths: Mapping[str, int], *, cosine: float = 0.95) -> GraphBuilt:
    """A twin with at most so many channels per latent space.

    Args:
        task: What is rewritten.
        widths: Most channels by name of the space.
        cosine: See `offer`.

    Raises:
        BudgetTooSmall: Not one orbit fits.
        DataTooSmall: The data do not determine a refit.
    """
    weights = outgoing(task)
    offers = {name: offer(task, name, widths[name], cosine=cosine, weights=weights) for name in task.hidden}
    return assembled(task, offers, widths)


def assembled(task: GraphTask, offers: Mapping[str, Offer], widths: Mapping[str, int]) -> GraphBuilt:
    """The twin of some widths, from orbits that were offered."""
    coordinates = dict(task.given)
    for name, found in offers.items():
        if not found.within(widths[name]):
            raise BudgetTooSmall(f"no orbit of {name} has at most {widths[name]} channels. Nothing was rewritten.")
        coordinates[name] = found.coordinates(task, widths[name])
    rows = Refit(task)
    twin = Assembler(task.network, task.symmetry, coordinates, rows).run()
    return GraphBuilt(twin, offers, {n: coordinates[n].width for n in offers}, rows.fits)
