"""The alignment of two networks that are only nearly the same: by their weights first, by their activations second.

By weights: layer by layer from the known input, every neuron of the second network gets the nearest one of the first,
compared over coordinates that are already aligned. Coordinate descent over all layers at once, as in git re-basin
[Ainsworth, Hayase, Srinivasa 2023], has no such anchor and misses planted permutations (theory 6). By data: the best
element of each latent space between second moments of the activations, space by space.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import torch
from numpy import ndarray
from torch import Tensor

from intertwiner.gauge import GaugeElement, GaugeGroup, PairMoments, best_in
from intertwiner.identify.matching.elements import Found, elements_of, places_of, to_parts
from intertwiner.identify.matching.probes import Inputs, widened
from intertwiner.network import LatentSpace, Network
from intertwiner.transport.pair import Paired, pair


@dataclass(frozen=True, eq=False)
class Alignment:
    """Elements from the first network to the second.

    Args:
        elements: By latent space.
        how: "weights" or "data".
        residuals: By tap: for weights the root mean square distance of the rows from their partners, relative to the
            rows; for data the share of variance that is left.
        notes: What could not be aligned.
    """

    elements: dict[str, GaugeElement]
    how: str
    residuals: dict[str, float]
    notes: tuple[str, ...]


def by_weights(first: Network, second: Network, tolerance: float) -> Alignment:
    """The nearest neuron for every neuron, from the input on.

    Cost:
        One assignment per latent space, ``O(n^3)``; 1024 neurons take about half a second.
    """
    spaces = {node: space.name for space in first.latent_spaces for node, _ in space.slots}
    gauges = {space.name: space.gauge for space in first.latent_spaces}
    paired = pair(first, second, tolerance=tolerance, spaces=spaces, gauges=gauges)
    found = elements_of(first, paired.pictures, {}, tolerance) if _has_linear(first) else {}
    found = {name: f for name, f in found.items() if gauges[name].mixing in ("linear", "orthogonal")}
    for space in first.latent_spaces:
        relation = next((paired.relations[n] for n in places_of(first, space) if n in paired.relations), None)
        if relation is not None and relation.element is not None and not space.given:
            found[space.name] = Found(relation.element)
    return _alignment(first, to_parts(first, found), "weights", _row_residuals(first, paired))


def _has_linear(network: Network) -> bool:
    return any(s.gauge.mixing in ("linear", "orthogonal") and not s.given for s in network.latent_spaces)


def _row_residuals(first: Network, paired: Paired) -> dict[str, float]:
    out = {}
    for name, relation in paired.relations.items():
        finite = relation.residual[np.isfinite(relation.residual)]
        if len(finite):
            out[first.node(name).tap or name] = float(np.sqrt(np.mean(finite**2)))
    return out


def by_data(first: Network, second: Network, batches: Iterable[Inputs]) -> Alignment:
    """The best element of every latent space between the activations of the two networks.

    Cost:
        One forward pass of both networks; memory ``O(n^2)`` per space.
    """
    order = {node.name: k for k, node in enumerate(first.nodes)}
    places = _tapped(first)
    taps = [[network.nodes[order[node]] for node, _ in places.values()] for network in (first, second)]
    runs = [network.function(nodes) for network, nodes in zip((first, second), taps, strict=True)]
    sums = {name: _Sums(space.dimension) for name, space in _free(first).items() if name in places}
    for batch in batches:
        values = [run(batch)[1] for run in runs]
        for k, (name, (_, axis)) in enumerate(places.items()):
            source, target = (_samples(values[i][taps[i][k].tap or taps[i][k].name], axis) for i in range(2))
            sums[name].add(target, source)
    found, residuals = {}, {}
    for name, total in sums.items():
        fit = best_in(_free(first)[name].gauge, total.moments())
        found[name] = Found(fit.element)
        residuals[first.node(places[name][0]).tap] = 1 - fit.r2
    return _alignment(first, to_parts(first, found), "data", residuals)


def _free(network: Network) -> dict[str, LatentSpace]:
    return {
        s.name: s
        for s in network.latent_spaces
        if not s.given and not s.opaque and s.gauge != GaugeGroup.trivial(s.dimension)
    }


def _tapped(network: Network) -> dict[str, tuple[str, int]]:
    """For every free space the last node with a value of its own at which its coordinates are the writers'."""
    out = {}
    for name, space in _free(network).items():
        axes = dict(space.slots)
        seen = [n for n in places_of(network, space) if network.node(n).source and network.node(n).batch_axis == 0]
        if seen:
            out[name] = seen[-1], axes[seen[-1]]
    return out


def _samples(value: Tensor, axis: int) -> ndarray:
    """Samples (and positions) in rows, in float64."""
    moved = widened(value).movedim(axis, -1)
    return moved.reshape(-1, moved.shape[-1]).cpu().numpy()


class _Sums:
    """Sums of two arrays and of their products, streamed."""

    def __init__(self, n: int) -> None:
        self.count, self.first, self.second = 0, np.zeros(n), np.zeros(n)
        self.C, self.X, self.D = np.zeros((n, n)), np.zeros((n, n)), np.zeros(n)

    def add(self, target: ndarray, source: ndarray) -> None:
        self.count += len(source)
        self.first += source.sum(0)
        self.second += target.sum(0)
        self.C += source.T @ source
        self.X += target.T @ source
        self.D += (target * target).sum(0)

    def moments(self) -> PairMoments:
        mean, moved = self.first / self.count, self.second / self.count
        spread = np.maximum(self.D / self.count - moved**2, 0.0)
        return PairMoments(
            self.C / self.count - np.outer(mean, mean), self.X / self.count - np.outer(moved, mean), spread, mean, moved
        )


def _alignment(network: Network, found: dict[str, Found], how: str, residuals: dict[str, float]) -> Alignment:
    """The invertible ones among the elements that were found."""
    elements, notes = {}, []
    gauges = {space.name: space.gauge for space in network.latent_spaces}
    for name, part in found.items():
        element = part.element
        if element is None or not _invertible(element):
            notes.append(f"{name}: {part.note or 'no invertible element'}")
        elif element not in gauges[name]:
            notes.append(f"{name}: what fits best is not in its gauge group")
        else:
            elements[name] = element
            notes += [f"{name}: {part.note}"] if part.note else []
    return Alignment(elements, how, residuals, tuple(notes))


def _invertible(element: GaugeElement) -> bool:
    if element.is_monomial:
        return True
    return bool(np.linalg.cond(element.dense()) < 1 / np.sqrt(torch.finfo(torch.float64).eps))
