r"""Neurons whose sign can hide in a linear map beside the layer: ``s(z) - s(-z) = k z``.

ReLU, leaky ReLU, GELU, SiLU, softplus and hardswish satisfy it (theory 1). A neuron j with ``z_j = -c z_i`` is
``s(z_j) = c (s(z_i) - k z_i)``: it joins neuron i, and ``-k c W_j (x) w_i`` goes into the linear map. A neuron that is
proved to stay where s is the identity is all linear map.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy import ndarray

from intertwiner.identify.reducing.beside import Route, composed, fits, gathered, routes, with_linear
from intertwiner.identify.reducing.edit import columns, snapped_sum, with_columns, with_constant, with_op
from intertwiner.identify.reducing.redundancy import Seen, seen_by
from intertwiner.identify.reducing.rows import Reader, classes
from intertwiner.network import node as ir
from intertwiner.network.resize import Places, keep
from intertwiner.network.resize import places as find_places

Graph = Mapping[str, ir.Node]


@dataclass(frozen=True, eq=False)
class Opposite:
    """The coordinates that become part of another one and of a linear map.

    Args:
        into: By coordinate, the one that takes over; itself where it stays.
        residual: Relative residual of ``z_j = -c z_i`` or ``c z_i``, by coordinate.
        routes: The readers, with the way from the nonlinearity to each.
        factor: Per reader, by coordinate: ``z_j = factor_j z_first`` up to a common sign of the class.
        seen: Per reader without a nonlinearity before it, what it sees.
    """

    into: ndarray
    residual: ndarray
    routes: tuple[Route, ...]
    factor: tuple[ndarray, ...]
    seen: tuple[Seen | None, ...]

    @property
    def kept(self) -> ndarray:
        return self.into == np.arange(len(self.into))


def find_opposite(graph: Graph, reader: Reader) -> Opposite | None:
    """Pairs of coordinates that are opposite before every nonlinearity, up to a positive factor where it scales."""
    places, tolerance = reader.places, reader.tolerance
    ways, rows = routes(graph, places), reader.rows()
    if not any(w.sigma and w.pointwise(graph).bypass for w in ways):
        return None
    labels, factors, seens, residuals = [], [], [], []
    for way in ways:
        if way.sigma and way.pointwise(graph).bypass:
            found = classes(rows[way.before], replace(way.pointwise(graph), sign=True), tolerance)
            present = np.isin(np.arange(places.dimension), places.owner[way.value])
            alone = places.dimension + np.arange(places.dimension)  # a constant here is like no other
            labels.append(np.where(present, np.where(found.label < 0, alone, found.label), -2))
            factors.append(found.factor)
            seens.append(None)
            residuals.append(found.residual)
        else:
            seen = seen_by(graph, places, way.reader, way.value, rows[way.value], tolerance)
            labels.append(seen.label)
            factors.append(seen.size)
            seens.append(seen)
            residuals.append(seen.residual)
    into, first = np.arange(places.dimension), {}
    for i, key in enumerate(map(tuple, np.array(labels).T)):
        if max(key) >= 0:
            into[i] = first.setdefault(key, i)
    if (into == np.arange(len(into))).all():
        return None
    residual = np.max([reader.residual, *residuals], axis=0)
    return Opposite(into, np.maximum(residual, residual[into]), ways, tuple(factors), tuple(seens))


def apply_opposite(graph: Graph, places: Places, found: Opposite) -> dict[str, ir.Node]:
    """The graph without them, with a linear map beside each reader, composed or a copy of it."""
    joined = np.flatnonzero(~found.kept)
    extras: list[ndarray] = []
    out = dict(graph)
    for way, factor, seen in zip(found.routes, found.factor, found.seen, strict=True):
        op: Any = graph[way.reader].op
        weight, extra = columns(op).copy(), {}
        shift = np.zeros(graph[way.reader].shape[-1 if isinstance(op, ir.Linear) else 1])
        onto: dict[int, list[tuple[int, float]]] = {}
        for j in joined:
            i = int(found.into[j])
            if not len(places.positions(way.value, int(j))):
                continue
            ratio = factor[j] / factor[i] if factor[i] else 0.0
            if seen is None and ratio < 0:
                extra.setdefault(i, []).append((int(j), way.pointwise(graph).linear_part * ratio))
            elif seen is not None:
                mine = weight[places.positions(way.value, int(j))]
                offset = seen.constant[j] - ratio * seen.constant[i]
                shift = shift + offset * np.moveaxis(mine, 1, 0).reshape(len(shift), -1).sum(axis=1)
            onto.setdefault(i, []).append((int(j), abs(ratio) if seen is None else ratio))
        extras.append(gathered(way, graph, places, extra))
        moved = gathered(way, graph, places, onto)
        for i in onto:
            at = places.positions(way.value, i)
            weight[at] = snapped_sum(np.stack([weight[at], moved[at]]))
        with_op(out, way.reader, with_constant(with_columns(op, weight), shift))
    for way, extra in zip(found.routes, extras, strict=True):
        out = with_linear(out, places, way, extra)
    return _without(out, places, found.kept)


def move_linear(
    graph: Graph, places: Places, linear: Mapping[str, ndarray]
) -> tuple[dict[str, ir.Node], ndarray] | None:
    """Neurons that are proved to stay on the linear side, put into linear maps beside the readers.

    Returns:
        The graph without them and their mask; None where there are none, or where no single linear map replaces them.
    """
    ways = routes(graph, places)
    sigmas = {w.sigma for w in ways}
    mask = linear.get(next(iter(sigmas), ""), np.zeros(0, dtype=bool))
    if len(sigmas) != 1 or "" in sigmas or not mask.any():
        return None
    extras = []
    for way in ways:
        extra = columns(graph[way.reader].op).copy()
        owner = places.owner[way.value]
        extra[(owner < 0) | ~mask[owner]] = 0.0
        found = composed(graph, places, way, extra)
        if found is None or not fits(graph, way, found[0]):
            return None
        extras.append(extra)
    if mask.all():
        mask = mask.copy()
        mask[0] = False  # a layer keeps at least one neuron
        for way, extra in zip(ways, extras, strict=True):
            extra[places.owner[way.value] == 0] = 0.0
    if not mask.any():
        return None
    out = dict(graph)
    for way, extra in zip(ways, extras, strict=True):
        op: Any = out[way.reader].op
        with_op(out, way.reader, with_columns(op, columns(op) - extra))
        out = with_linear(out, places, way, extra)
    return _without(out, places, ~mask), mask


def _without(graph: dict[str, ir.Node], places: Places, kept: ndarray) -> dict[str, ir.Node]:
    """Cut the space once more where it stands now: the new nodes read it too."""
    return keep(graph, find_places(graph, *places.seed), kept)
