r"""A twin under a budget: layer by layer, orbits are gathered, selected by what the rest needs, and refitted.

Layer by layer: the original's neurons, as least-squares rows over what the twin's last layer hands on, are gathered
into orbits (``candidates``); whole orbits are selected by the variance that they explain of the original's next
pre-activation (``select``), errors there counting by the norm of their outgoing weights; then that pre-activation is
refitted on what was kept (``refit``), and its rows are the neurons of the next layer. The last fit is projected to
Hom_G. Whatever is selected, the result is equivariant to the bit.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from jaxtyping import Float
from numpy import ndarray

from intertwiner.errors import BudgetTooSmall, CannotRewrite, DataTooSmall, WrongUse
from intertwiner.identify.chain import Chain, Dense
from intertwiner.numerics.tolerance import LIVE_SHARE
from intertwiner.rewrite.budget import width_within
from intertwiner.rewrite.candidates import Candidate, Layout, candidates
from intertwiner.rewrite.forward import after, before
from intertwiner.rewrite.layers import TwinChain, TwinLayer, multiply_adds, pruned, tied_layer
from intertwiner.rewrite.moments import Moments, second_moments
from intertwiner.rewrite.refit import Fit, refit
from intertwiner.rewrite.samples import Samples
from intertwiner.rewrite.select import Selection, select_and_thin
from intertwiner.rewrite.tied import direct_sum, tied, trivial


@dataclass(frozen=True)
class Choice:
    """How a twin is built.

    Args:
        cosine: Neurons whose correlation with an image of another one exceeds it are joined.
        live_share: Neurons contributing less than this share of the largest are left out.
        widest: Largest orbit that is offered, in multiples of the layer's original width.
        select_samples: Samples that the selection looks at; the refit looks at all.
        blocks: Whether fully connected layers run, and are counted, in isotypic blocks: "always", "never", or "auto":
            where all layers are fully connected and wide, and blocks are found to be faster on this machine.
    """

    cosine: float = 0.95
    live_share: float = LIVE_SHARE
    widest: float = 1.0
    select_samples: int = 8192
    blocks: str = "auto"

    def __post_init__(self) -> None:
        if self.blocks not in ("auto", "always", "never"):
            raise WrongUse(f"blocks is 'auto', 'always' or 'never', got {self.blocks!r}. Nothing was rewritten.")


@dataclass(frozen=True, eq=False)
class LayerReport:
    """How one hidden layer of the twin came about.

    Args:
        name: Tap of the original layer.
        offered: Sizes of the orbits that could be chosen.
        chosen: Sizes of the orbits that were, in the order of choice.
        explained: Share of the next pre-activation's variance explained after each, on the samples of the selection.
        fit: The refit on all samples.
    """

    name: str
    offered: tuple[int, ...]
    chosen: tuple[int, ...]
    explained: tuple[float, ...]
    fit: Fit


@dataclass(frozen=True, eq=False)
class Built:
    """A twin and how it came about."""

    chain: TwinChain
    reports: tuple[LayerReport, ...]


@dataclass(frozen=True, eq=False)
class Pool:
    """The orbits offered for one layer, with their moments: from it a layer of any width is chosen.

    Args:
        found: The orbits.
        layer: All of them as one layer.
        moments: Of all of them with the targets.
        selection: The order in which they are taken.
    """

    found: tuple[Candidate, ...]
    layer: TwinLayer
    moments: Moments
    selection: Selection

    @property
    def places(self) -> list[ndarray]:
        """The neurons of every orbit."""
        return orbit_places(self.found)


def orbit_places(found: Sequence[Candidate]) -> list[ndarray]:
    """The coordinates of every orbit, side by side."""
    ends = np.cumsum([0, *(c.size for c in found)])
    return [np.arange(a, b) for a, b in pairwise(ends)]


def build(samples: Samples, budget: float, choice: Choice) -> Built:
    """A twin within a budget.

    Args:
        samples: The task with its data.
        budget: Largest number of multiply-adds, relative to the original.
        choice: How orbits are gathered and selected.

    Raises:
        BudgetTooSmall: Not one orbit fits; the message names the least budget.
        DataTooSmall: The data do not determine a refit.

    Cost:
        Two passes over the data per hidden layer, and ``O(m^2)`` memory for the candidates of a layer, m their width.
    """
    chain, task = samples.task.chain, samples.task
    most, widths = budget * multiply_adds(chain.widths), chain.widths
    layers: list[TwinLayer] = []
    reports: list[LayerReport] = []
    rows, spent = chain.layers[0].rows, 0
    for place, layer in enumerate(chain.hidden):
        read = layers[-1].width if layers else widths[0]
        width = width_within(read, widths[place + 1 :], most - spent)
        pool = offer(samples, layers, rows, place, choice, width)
        taken = pool.selection.within(width)
        if not taken:
            raise _nothing_taken(pool, layer, budget, width)
        built = pool.layer.kept(np.concatenate([pool.places[o] for o in taken]))
        layers.append(built)
        spent += read * built.width
        fit = refit_on(samples, layers, place, choice)
        rows = fit.rows
        sizes = tuple(pool.found[o].size for o in taken)
        offered = tuple(c.size for c in pool.found)
        reports.append(LayerReport(layer.name, offered, sizes, pool.selection.explained[: len(taken)], fit))
    layers.append(tied_layer(rows[:, :-1], rows[:, -1], None, task.rho_out, layers[-1].after))
    return Built(pruned(TwinChain(tuple(layers), task.rho_in)), tuple(reports))


def offer(
    samples: Samples, layers: Sequence[TwinLayer], rows: Float[ndarray, "n d1"], place: int, choice: Choice, width: int
) -> Pool:
    """The orbits that the neurons of a layer gather into, and the order in which the rest of the network needs them."""
    chain, task = samples.task.chain, samples.task
    layer, following = chain.layers[place], chain.layers[place + 1]
    rho_read = layers[-1].after if layers else task.rho_in
    limit = None if samples.closed else choice.select_samples
    metric = second_moments(samples, after(tuple(layers)), rho_read, None, limit).square
    layout = Layout(
        task.bound.group, rows, rho_read, metric, _known(layer), _contribution(rows, metric, following)
    )  # fmt: skip
    largest = max(1, int(choice.widest * len(layer.weight)))
    found = candidates(layout, cosine=choice.cosine, live_share=choice.live_share, largest=largest)
    if not found:
        raise BudgetTooSmall(
            f"at {layer.name} every orbit of {task.bound.group.name} has more than {largest} neurons: the neurons have "
            "no stabiliser to speak of.\n  Ask for a subgroup, or allow wider orbits. Nothing was rewritten."
        )
    rho = direct_sum([c.rho for c in found], len(rho_read))
    whole = TwinLayer(
        np.concatenate([c.weight for c in found]), np.concatenate([c.bias for c in found]), layer.pointwise, rho
    )
    moments = _with_target(samples, [*layers, whole], place, limit)
    return Pool(
        tuple(found), whole, moments,
        select_and_thin(moments, orbit_places(found), weight=importance(chain, place + 1), width=max(width, 1)),
    )  # fmt: skip


def last_layer(samples: Samples, pool: Pool, orbits: Sequence[int]) -> tuple[TwinLayer, TwinLayer, Fit]:
    """The last hidden layer with some orbits of a pool, and the output refitted on it from the pool's moments."""
    neurons = np.concatenate([pool.places[o] for o in orbits])
    hidden = pool.layer.kept(neurons)
    fit = refit(pool.moments.on(neurons), symmetric_copies=1 if samples.closed else len(samples.elements))
    return hidden, tied_layer(fit.weight, fit.bias, None, samples.task.rho_out, hidden.after), fit


def refit_on(samples: Samples, layers: Sequence[TwinLayer], place: int, choice: Choice) -> Fit:
    """The original's next pre-activation on what the twin's layers hand on, from all data."""
    copies = 1 if samples.closed else len(samples.elements)
    return refit(_with_target(samples, layers, place, None), symmetric_copies=copies)


def _with_target(samples: Samples, layers: Sequence[TwinLayer], place: int, limit: int | None) -> Moments:
    """Moments with the original's next pre-activation; with its group average at the output."""
    chain, task = samples.task.chain, samples.task
    targets = before(chain.layers[: place + 2])
    rho = layers[-1].after
    moments = second_moments(samples, after(tuple(layers)), rho, targets, limit)
    if place + 2 < len(chain.layers):
        return moments
    return averaged(moments, task.rho_out, rho)


def averaged(moments: Moments, rho_out: tuple, rho: tuple) -> Moments:
    """The same moments with the group average of the targets in place of the targets, as far as u sees it."""
    whole = tied(rho_out, direct_sum([rho, trivial(len(rho))], len(rho)))
    return Moments(moments.square, whole.project(moments.cross), moments.target, moments.count)


def importance(chain: Chain, place: int) -> Float[ndarray, " n"]:
    """How much an error of a pre-activation counts: the norm of its outgoing weights; 1 at the output."""
    if place + 1 >= len(chain.layers):
        return np.ones(len(chain.layers[place].weight))
    return np.linalg.norm(chain.layers[place + 1].weight, axis=0)


def _known(layer: Dense):
    if layer.pointwise is None:
        raise BudgetTooSmall(f"{layer.name} has no nonlinearity after it")
    return layer.pointwise


def _contribution(rows: ndarray, metric: ndarray, following: Dense) -> Float[ndarray, " n"]:
    """Spread of the pre-activation on the data times the norm of the outgoing weights."""
    centred = metric - np.outer(metric[:, -1], metric[-1])
    spread = np.sqrt(np.maximum(np.einsum("ij,jk,ik->i", rows, centred, rows, optimize=True), 0.0))
    return spread * np.linalg.norm(following.weight, axis=0)


def _nothing_taken(pool: Pool, layer: Dense, budget: float, width: int) -> CannotRewrite:
    """Why no orbit was taken: none fits, or nothing that the next layer computes varies over the data."""
    least = min(c.size for c in pool.found)
    if least <= width:
        return DataTooSmall(
            f"over {pool.moments.count} samples nothing varies that the layer after {layer.name} computes: no orbit is "
            "better than none.\n  Give more data. Nothing was rewritten."
        )
    return BudgetTooSmall(
        f"a budget of {budget:g} leaves {width} neurons for {layer.name}, the smallest orbit there has {least}."
        f"\n  The least budget at which an orbit fits there is about {budget * least / max(width, 1):.3g}. "
        "Nothing was rewritten."
    )
