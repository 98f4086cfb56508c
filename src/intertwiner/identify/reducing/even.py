r"""The even form of a layer: ``s(z) = k z / 2 + e(z)``, e even, with the linear parts of all neurons in one map.

``c e(z) + A u``, ``A = k/2 sum_i c_i (x) w_i``, is the same function, and the signs of its neurons are free: a
symmetry that flips ReLU neurons, and hides the difference in the linear map, shows as a signed permutation here
(theory 1). For ReLU and leaky ReLU with slope a, ``e(z) = (1 - a)/2 |z|``.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from intertwiner.gauge import pointwise
from intertwiner.identify.reducing.beside import Route, composed, existing, routes, with_linear
from intertwiner.identify.reducing.edit import columns, snapped_sum, with_columns, with_op
from intertwiner.network import node as ir
from intertwiner.network.resize import Places

Graph = Mapping[str, ir.Node]


def even_reason(graph: Graph, places: Places) -> str:
    """Why a space has no even form here; empty where it has one."""
    ways = routes(graph, places)
    sigmas = {w.sigma for w in ways}
    if not ways or sigmas == {""}:
        return "no nonlinearity with a bypass"
    if len(sigmas) != 1:
        return "its readers see it through several nonlinearities, or around them"
    function = ways[0].pointwise(graph)
    if not function.bypass:
        return f"{function.name} has no linear part to take out"
    if not (function.scale == "positive" and function.linear_on_positive):
        return f"the even part of {function.name} is no nonlinearity of the table"
    others = set(graph[ways[0].sigma].users) - {w.path[0] if w.path else w.reader for w in ways}
    return "something else reads its nonlinearity" if others else ""


def cancels(graph: Graph, places: Places) -> bool:
    """Whether there is a linear map beside every reader, and the even form makes it vanish."""
    if even_reason(graph, places):
        return False
    for way in routes(graph, places):
        there, found = existing(graph, way.reader), composed(graph, places, way, _half(graph, places, way))
        if there is None or found is None or snapped_sum(np.stack([there, found[0]])).any():
            return False
    return True


def to_even(graph: Graph, places: Places) -> dict[str, ir.Node]:
    """The graph with absolute values in place of one nonlinearity, and a linear map beside each reader."""
    out, ways = dict(graph), routes(graph, places)
    half = ways[0].pointwise(graph).linear_part / 2
    with_op(out, ways[0].sigma, ir.PointwiseOp(pointwise("abs")))
    for way in ways:
        op: Any = out[way.reader].op
        factor = np.where(places.owner[way.value] >= 0, 1 - half, 1.0)
        with_op(out, way.reader, with_columns(op, columns(op) * factor.reshape(-1, *[1] * (op.weight.array.ndim - 1))))
    for way in ways:
        out = with_linear(out, places, way, _half(graph, places, way))
    return out


def _half(graph: Graph, places: Places, way: Route) -> np.ndarray:
    """The columns of the linear part: k/2 times those of the reader."""
    columns_ = columns(graph[way.reader].op)
    inside = places.owner[way.value] >= 0
    return columns_ * (inside * way.pointwise(graph).linear_part / 2).reshape(-1, *[1] * (columns_.ndim - 1))
