r"""Sets of neurons whose signs can all be flipped without any change, because their linear parts cancel.

Flipping the neurons of S changes the function by ``k sum_S c_i (x) w_i`` and a constant (theory 1). Where the sum
vanishes the parameters are not unique, however few neurons there are. Sums are searched in the null space of
``(C C^T) o (W W^T)``, the Gram matrix of the maps ``c_i (x) w_i``.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import product
from typing import Any

import numpy as np
from numpy import ndarray

from intertwiner.identify.reducing.beside import routes
from intertwiner.identify.reducing.edit import columns
from intertwiner.identify.reducing.rows import Rows
from intertwiner.network import node as ir
from intertwiner.network.resize import Places
from intertwiner.numerics.tolerance import ROUNDING

Graph = Mapping[str, ir.Node]

SEARCHED = 12
"""Null spaces up to this dimension are searched, 2^12 candidates."""


@dataclass(frozen=True)
class FlipSet:
    """Neurons whose common flip changes nothing but a constant.

    Args:
        place: The layer.
        neurons: Their numbers in the original layer.
        residual: Norm of the sum of their linear parts, relative to the sum of the norms.
    """

    place: str
    neurons: tuple[int, ...]
    residual: float

    def to_json(self) -> dict[str, Any]:
        return {"place": self.place, "neurons": list(self.neurons), "residual": self.residual}


def flip_sets(
    graph: Graph, places: Places, rows: Mapping[str, Rows], tolerance: float
) -> tuple[tuple[tuple[ndarray, float], ...], int]:
    """The smallest sets of coordinates whose flip changes nothing, each with its residual; and what was not searched.

    Returns:
        The sets, and the dimension of a null space that was too large to be searched (0 where it was searched).

    Cost:
        ``O(d^2 r + d^3)`` for d coordinates, and 2^q candidates for a null space of dimension q.
    """
    ways = routes(graph, places)
    if not ways or len({w.sigma for w in ways}) != 1 or not ways[0].sigma or not ways[0].pointwise(graph).bypass:
        return (), 0
    weights = rows[ways[0].before].weights
    outgoing = np.concatenate([_outgoing(graph, places, w.reader, w.value) for w in ways], axis=1)
    size = np.linalg.norm(weights, axis=1) * np.linalg.norm(outgoing, axis=1)
    live = np.flatnonzero(size > 0)
    unit = weights[live] / np.linalg.norm(weights[live], axis=1)[:, None]
    reach = outgoing[live] / np.linalg.norm(outgoing[live], axis=1)[:, None]
    if not len(live):
        return (), 0
    values, vectors = np.linalg.eigh((unit @ unit.T) * (reach @ reach.T))
    null = vectors[:, values <= ROUNDING * len(live)].T / size[live]
    if len(null) > SEARCHED:
        return (), len(null)
    found: list[tuple[ndarray, float]] = []
    for chosen in sorted(_zero_one(null), key=lambda c: int(c.sum())):
        inside = live[chosen]
        total = np.linalg.norm(outgoing[inside].T @ weights[inside])
        residual = float(total / size[inside].sum())
        if residual <= tolerance and not any(np.isin(smaller, inside).all() for smaller, _ in found):
            found.append((inside, residual))
    return tuple(found), 0


def _outgoing(graph: Graph, places: Places, reader: str, value: str) -> ndarray:
    """What one reader makes of each coordinate: its columns, flattened."""
    weight = columns(graph[reader].op)
    owner = places.owner[value]
    at = [weight[np.flatnonzero(owner == i)].ravel() for i in range(places.dimension)]
    width = max(map(len, at), default=0)
    return np.stack([np.pad(a, (0, width - len(a))) for a in at])


def _zero_one(null: ndarray) -> list[ndarray]:
    """All vectors of zeros and ones in the span of some rows, as masks, the empty one left out."""
    basis, pivots = _echelon(null)
    out = []
    for coefficients in product((0.0, 1.0), repeat=len(pivots)):
        vector = np.asarray(coefficients) @ basis if len(pivots) else np.zeros(0)
        mask = vector > 0.5
        if mask.any() and np.abs(vector - mask).max() < 1e-6:
            out.append(mask)
    return out


def _echelon(rows: ndarray) -> tuple[ndarray, list[int]]:
    """Reduced row echelon form with the largest entries as pivots."""
    rows, pivots = rows.copy(), []
    for k in range(len(rows)):
        place = np.unravel_index(np.argmax(np.abs(rows[k:])), rows[k:].shape)
        rows[[k, k + int(place[0])]] = rows[[k + int(place[0]), k]]
        column = int(place[1])
        rows[k] /= rows[k, column]
        others = np.arange(len(rows)) != k
        rows[others] -= rows[others, column][:, None] * rows[k]
        pivots.append(column)
    return rows, pivots
