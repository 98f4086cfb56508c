"""Small edits of a graph of records: another operator at a node, nodes put in, users and dead nodes put right."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any

import numpy as np
from numpy import ndarray

from intertwiner.network import node as ir
from intertwiner.numerics.tolerance import ROUNDING

Graph = Mapping[str, ir.Node]


def changed(param: ir.Param, array: ndarray) -> ir.Param:
    """The parameter with other numbers: no longer those of the state_dict."""
    return replace(param, array=array, places=None, computed=True)


def with_op(graph: dict[str, ir.Node], name: str, op: ir.Op) -> None:
    graph[name] = replace(graph[name], op=op)


def columns_axis(op: ir.Op) -> int:
    """The axis of a weight that reads."""
    return 0 if isinstance(op, ir.Conv) and op.transposed else 1


def columns(op: Any) -> ndarray:
    """The weight of a linear map or convolution with the axis that reads first: (in, ...)."""
    return np.moveaxis(op.weight.array, columns_axis(op), 0)


def with_columns(op: Any, array: ndarray) -> Any:
    """The operator with the columns that `columns` would give."""
    return replace(op, weight=changed(op.weight, np.moveaxis(array, 0, columns_axis(op))))


def with_constant(op: Any, constant: ndarray) -> Any:
    """The operator with something added to its bias; without change where it is zero."""
    if not constant.any():
        return op
    if op.bias is not None:
        return replace(op, bias=changed(op.bias, op.bias.array + constant))
    owner, _, leaf = op.weight.name.rpartition(".")
    name = f"{owner}.bias" if owner else "bias" if leaf == "weight" else f"{op.weight.name}.bias"
    return replace(op, bias=ir.Param(name, constant, op.weight.sources, None, True))


def snapped_sum(terms: ndarray) -> ndarray:
    """The sum over the first axis; what cancels but for rounding is zero.

    >>> snapped_sum(np.array([0.1, 0.2, -0.3]))
    array(0.)
    """
    total = terms.sum(axis=0)
    return np.where(np.abs(total) <= ROUNDING * np.abs(terms).sum(axis=0), 0.0, total)


def snapped_product(left: ndarray, right: ndarray) -> ndarray:
    """``left @ right``; entries that cancel but for rounding are zero."""
    total = left @ right
    return np.where(np.abs(total) <= ROUNDING * (np.abs(left) @ np.abs(right)), 0.0, total)


def inserted(graph: Graph, after: str, nodes: Iterable[ir.Node]) -> dict[str, ir.Node]:
    """The graph with nodes put in behind one, in order."""
    out: dict[str, ir.Node] = {}
    for name, node in graph.items():
        out[name] = node
        if name == after:
            out |= {n.name: n for n in nodes}
    return out


def redirected(graph: Graph, old: str, new: str, *, but: frozenset[str] = frozenset()) -> dict[str, ir.Node]:
    """What read one node reads another, but for some nodes."""
    return {
        name: replace(n, inputs=tuple(new if i == old else i for i in n.inputs)) if name not in but else n
        for name, n in graph.items()
    }


def tidied(graph: Graph) -> dict[str, ir.Node]:
    """Without nodes that reach no output, and with the right users."""
    live, todo = set(), [n.name for n in graph.values() if isinstance(n.op, (ir.Output, ir.Input))]
    while todo:
        name = todo.pop()
        if name not in live:
            live.add(name)
            todo.extend(graph[name].inputs)
    users: dict[str, list[str]] = {name: [] for name in live}
    for name in graph:
        for source in dict.fromkeys(graph[name].inputs) if name in live else ():
            users[source].append(name)
    return {name: replace(n, users=tuple(users[name])) for name, n in graph.items() if name in live}
