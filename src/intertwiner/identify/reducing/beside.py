r"""A linear map beside a layer: what a reader gets from the pre-activations, around the nonlinearity.

``reader(s(z)) + reader'(z)``. Where two linear maps enclose the nonlinearity, ``z = W u + b``, the second term is one
linear map of u, ``A = W' W``, and is put there as long as A has no more entries than the layer it stands beside.
Otherwise the pre-activations are read by a copy of the reader, through copies of whatever stands between.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from math import prod
from typing import Any

import numpy as np
from numpy import ndarray

from intertwiner.gauge import Pointwise
from intertwiner.identify.reducing.edit import (
    columns,
    inserted,
    redirected,
    snapped_product,
    snapped_sum,
    tidied,
    with_columns,
    with_constant,
    with_op,
)
from intertwiner.network import node as ir
from intertwiner.network.resize import Places

Graph = Mapping[str, ir.Node]


@dataclass(frozen=True)
class Route:
    """The way of a space from a nonlinearity to one of its readers.

    Args:
        reader: The node that reads.
        value: What it reads.
        sigma: The nonlinearity with a bypass that the value comes from; empty where there is none.
        before: The pre-activation.
        path: Nodes between the nonlinearity and the reader, in order.
    """

    reader: str
    value: str
    sigma: str = ""
    before: str = ""
    path: tuple[str, ...] = ()

    def pointwise(self, graph: Graph) -> Pointwise:
        op: Any = graph[self.sigma].op
        return op.pointwise


def routes(graph: Graph, places: Places) -> tuple[Route, ...]:
    """For every reader, the nonlinearity before it, with nothing but linear operators between."""
    return tuple(_route(graph, places, reader, value) for reader, value in places.readers)


def _route(graph: Graph, places: Places, reader: str, value: str) -> Route:
    name, path = value, []
    while name in places.owner:
        node = graph[name]
        if isinstance(node.op, ir.PointwiseOp):
            before = node.inputs[0]
            if not (node.op.pointwise.bypass or node.op.pointwise.linear_on_positive) or before not in places.owner:
                break
            return Route(reader, value, name, before, tuple(reversed(path)))
        source = next((i for i in node.inputs if i in places.owner), "")
        if name in places.writers or not source or not _is_linear(node, source, graph, places):
            break
        path.append(name)
        name = source
    return Route(reader, value)


def _is_linear(node: ir.Node, source: str, graph: Graph, places: Places) -> bool:
    """One number times a linear map that does the same to every coordinate."""
    op, axis = node.op, places.axis[source]
    if isinstance(op, ir.Concat):
        return op.axis == axis and node.inputs.count(source) == 1 and not _others(node, source, places)
    if isinstance(op, ir.Pool):
        return op.reduction == "avg"
    if isinstance(op, ir.Reduce):
        return op.reduction in ("mean", "sum")
    if isinstance(op, ir.ChannelAffine):
        return op.shift is None and op.scale is not None and op.scale.array.size == 1
    if isinstance(op, ir.Index):
        return op.axis != axis
    return isinstance(op, (ir.Identity, ir.Reshape, ir.Permute))


def _others(node: ir.Node, source: str, places: Places) -> bool:
    return any(i in places.owner for i in node.inputs if i != source)


def composed(graph: Graph, places: Places, route: Route, extra: ndarray) -> tuple[ndarray, ndarray] | None:
    """``A`` and the constant of ``reader'(z) = A u + c``, where z is a linear map of u and nothing stands between.

    Args:
        extra: The columns of reader', laid out as ``columns`` gives those of the reader.
    """
    writer: Any = graph[route.before].op
    if route.path or not isinstance(graph[route.reader].op, ir.Linear) or not isinstance(writer, ir.Linear):
        return None
    if route.before not in places.writers:
        return None
    matrix = snapped_product(extra.T, writer.weight.array)
    if writer.bias is None:
        return matrix, np.zeros(len(matrix))
    return matrix, snapped_product(extra.T, writer.bias.array[:, None])[:, 0]


def existing(graph: Graph, reader: str) -> ndarray | None:
    """The linear map that stands beside a reader already."""
    node = graph.get(_linear_name(reader))
    return node.op.weight.array if node is not None and isinstance(node.op, ir.Linear) else None


def with_linear(graph: Graph, places: Places, route: Route, extra: ndarray) -> dict[str, ir.Node]:
    """The graph with ``reader'(z)`` added to what the reader gives.

    Args:
        extra: The columns of reader' for every position that the reader reads, zero where it takes nothing.
    """
    if not extra.any():
        return dict(graph)
    found = composed(graph, places, route, extra)
    if found is not None and fits(graph, route, found[0]):
        return _with_matrix(graph, route, *found)
    return _with_copy(graph, places, route, extra)


def fits(graph: Graph, route: Route, matrix: ndarray) -> bool:
    """Whether the composed map has no more entries than the two layers that it stands beside; zero always fits."""
    both = graph[route.before].op, graph[route.reader].op
    sizes = [op.weight.array.size for op in both if isinstance(op, ir.Linear)]
    return not matrix.any() or matrix.size <= sum(sizes)


def _linear_name(reader: str) -> str:
    return f"{reader}.linear"


def _with_matrix(graph: Graph, route: Route, matrix: ndarray, constant: ndarray) -> dict[str, ir.Node]:
    out, reader, name = dict(graph), route.reader, _linear_name(route.reader)
    total = f"{name}.sum"
    op: Any = out[reader].op
    with_op(out, reader, with_constant(op, constant))
    if name in out:
        old: Any = out[name].op
        matrix = snapped_sum(np.stack([old.weight.array, matrix]))
        if not matrix.any():
            return tidied(redirected(out, total, reader))
        with_op(out, name, ir.Linear(ir.Param(old.weight.name, matrix, old.weight.sources, None, True)))
        return out
    if not matrix.any():
        return tidied(out)
    linear = ir.Linear(ir.Param(_beside(op.weight.name), matrix, op.weight.sources, None, True))
    return _added(out, reader, [_like(out[reader], name, linear, graph[route.before].inputs)], total)


def _with_copy(graph: Graph, places: Places, route: Route, extra: ndarray) -> dict[str, ir.Node]:
    owner = places.owner[route.value]
    used = np.unique(owner[(owner >= 0) & extra.reshape(len(extra), -1).any(axis=1)])
    reader, nodes = graph[route.reader], []
    count = sum(1 for name in graph if name.startswith(f"{route.reader}.copy"))
    stem = f"{route.reader}.copy{count}"
    current, axis = graph[route.before], places.axis[route.before]
    positions = np.flatnonzero(np.isin(places.owner[route.before], used))
    if len(positions) < current.shape[axis]:
        shape = (*current.shape[:axis], len(positions), *current.shape[axis + 1 :])
        op = ir.Index(axis, tuple(int(p) for p in positions), False, "gather")
        current = replace(_like(current, f"{stem}.taken", op, (route.before,)), shape=shape)
        nodes.append(current)
    for step in route.path:
        node = graph[step]
        if isinstance(node.op, ir.Concat):
            continue  # the copy reads the part that it needs and nothing else
        axis, kept = places.axis[step], np.isin(places.owner[step], used).sum()
        shape = (*node.shape[:axis], int(kept), *node.shape[axis + 1 :])
        op: Any = node.op
        if isinstance(op, ir.Reshape):
            op = replace(op, shape=tuple(-1 if s == -1 else n for s, n in zip(op.shape, shape, strict=True)))
        current = replace(_like(node, f"{stem}.{step}", op, (current.name,)), shape=shape)
        nodes.append(current)
    read = extra[np.isin(owner, used)]
    op = replace(with_columns(reader.op, read), bias=None)
    op = replace(op, weight=replace(op.weight, name=_beside(op.weight.name)))
    nodes.append(_like(reader, stem, op, (current.name,)))
    return _added(graph, route.reader, nodes, f"{stem}.sum")


def _beside(weight: str) -> str:
    owner, _, leaf = weight.rpartition(".")
    return f"{owner}.beside.{leaf}" if owner else f"{leaf}_beside"


def _like(node: ir.Node, name: str, op: ir.Op, inputs: tuple[str, ...]) -> ir.Node:
    return replace(node, name=name, op=op, inputs=tuple(inputs), tap="", source="", operator="", users=())


def _added(graph: Graph, reader: str, nodes: list[ir.Node], total: str) -> dict[str, ir.Node]:
    """The last of the new nodes added to what a reader gives."""
    add = _like(graph[reader], total, ir.Add((1.0, 1.0)), (reader, nodes[-1].name))
    out = redirected(graph, reader, total)
    return tidied(inserted(out, reader, [*nodes, add]))


def gathered(route: Route, graph: Graph, places: Places, onto: dict[int, list[tuple[int, float]]]) -> ndarray:
    """Columns of the reader moved: coordinate i gets ``sum factor * column_j`` for ``(j, factor)`` in ``onto[i]``."""
    weight = columns(graph[route.reader].op)
    out = np.zeros_like(weight)
    for i, parts in onto.items():
        terms = [factor * weight[places.positions(route.value, j)] for j, factor in parts]
        out[places.positions(route.value, i)] = snapped_sum(np.stack(terms))
    return out


def entries(graph: Graph) -> int:
    """Numbers that the operators hold."""
    return sum(prod(p.shape) for n in graph.values() for p in n.op.params if p.sources)
