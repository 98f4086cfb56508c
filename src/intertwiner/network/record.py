"""A graph as JSON and named arrays, and back: a network is kept without its class and without any code.

``record["nodes"]`` lists the nodes in topological order, each with its operator spelt as ``{"kind": ..., fields}``;
``record["outputs"]`` says how the outputs nest. A parameter is ``{"param": name, "shape", "buffer"}``, its numbers
stand under that name. Reading lets in only what ``record_kinds`` lists and checks every value (``record_fields``), who
reads whom and all shapes (``record_check``). What tracing knows beside that (module paths, torch operators) is left
out: a trace of the written module finds it again.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from numpy import ndarray
from torch import fx

from intertwiner.errors import CannotEmit, CorruptFile, WrongUse
from intertwiner.network import node as ir
from intertwiner.network.emit import Frame, frame_of, write_module
from intertwiner.network.network import Network
from intertwiner.network.record_check import REFUSALS, check_graph
from intertwiner.network.record_fields import AXES, Field, Store, choice, damaged, integer, ints, keys, optional, text
from intertwiner.network.record_fields import several as listed
from intertwiner.network.record_kinds import read_op, write_op

DEPTH, NODES = 16, 2**20
NODE: dict[str, Field] = {
    "name": text,
    "inputs": listed(text),
    "shape": ints(0),
    "batch_axis": optional(integer(0, AXES - 1)),
    "tap": text,
    "dtype": choice(
        "float16", "bfloat16", "float32", "float64", "bool", "uint8", "int8", "int16", "int32", "int64"
    ),
    "batch_multiple": integer(1),
    "batch_lead": integer(1),
}  # fmt: skip


def graph_to_record(
    network: Network | Frame, graph: Mapping[str, ir.Node] | None = None
) -> tuple[dict[str, Any], dict[str, ndarray]]:
    """A graph as plain data.

    Args:
        network: A traced network, or the frame of one: it says how the outputs nest.
        graph: Its nodes, or others to be written instead, in topological order; needed with a frame.

    Returns:
        A record that JSON can hold, and the arrays of its parameters by name, in float64.

    Raises:
        CannotEmit: A node is opaque, a parameter holds NaN, or outputs stand under keys that are no text.
        WrongUse: A frame without nodes.

    Cost:
        One pass over the nodes; the arrays are not copied.

    Example:
        >>> from intertwiner.network import trace
        >>> net = trace(torch.nn.Sequential(torch.nn.Linear(3, 4), torch.nn.ReLU()), torch.zeros(2, 3))
        >>> record, arrays = graph_to_record(net)
        >>> record["nodes"][2]["op"], sorted(arrays)
        ({'kind': 'pointwise', 'pointwise': 'relu'}, ['0.bias', '0.weight'])
        >>> module_from_record(record, arrays, dtype=net.dtype)(torch.zeros(5, 3)).shape
        torch.Size([5, 4])
    """
    if graph is None:
        if isinstance(network, Frame):
            raise WrongUse("a frame has no nodes of its own: pass graph=. Nothing was written.")
        graph = network.graph
    store, nodes = Store(), []
    for node in graph.values():
        op = write_op(node.op, node.tap or node.name, store)
        nodes.append({key: f.write(getattr(node, key), store) for key, f in NODE.items()} | {"op": op})
    frame = network if isinstance(network, Frame) else frame_of(network, graph)
    return {"name": frame.name, "nodes": nodes, "outputs": _write_nesting(frame.nesting)}, dict(store.tensors)


def module_from_record(
    record: Mapping[str, Any], tensors: Mapping[str, ndarray], *, dtype: torch.dtype
) -> fx.GraphModule:
    """The module of a record.

    Args:
        record: What `graph_to_record` wrote; from a file, it may be anything.
        tensors: The arrays by name.
        dtype: Type of the weights.

    Returns:
        A plain module in evaluation mode, as `to_module` writes it.

    Raises:
        CorruptFile: Anything that is not as `graph_to_record` writes it; the message names the node and the field.

    Cost:
        One copy of the weights, two passes over the nodes without numbers.
    """
    graph, name, nesting = graph_from_record(record, tensors)
    try:
        return write_module(graph, Frame(name, nesting, dtype))
    except (CannotEmit, SyntaxError, KeyError, *REFUSALS) as error:
        raise CorruptFile(f"the nodes cannot be written as a module: {error}") from error


def graph_from_record(record: Mapping[str, Any], tensors: Mapping[str, ndarray]) -> tuple[dict[str, ir.Node], str, Any]:
    """The nodes of a record by name, the name of the network, and how its outputs nest.

    Raises:
        CorruptFile: As `module_from_record`.
    """
    keys(record, ("name", "nodes", "outputs"), "graph")
    arrays = {name: np.asarray(array, dtype=np.float64) for name, array in tensors.items()}
    store, graph = Store(arrays), {}
    if not isinstance(record["nodes"], list) or len(record["nodes"]) > NODES:
        raise damaged("nodes", f"a list of at most {NODES}", record["nodes"])
    for number, spelt in enumerate(record["nodes"]):
        node = _read_node(spelt, number, store)
        if node.name in graph:
            raise damaged(f"node {node.name!r}", "a name of its own", node.name)
        graph[node.name] = node
    if store.unasked():
        raise damaged("tensors", "only those that a node names", store.unasked()[:5])
    check_graph(graph)
    numbers: list[int] = []
    nesting = _read_nesting(record["outputs"], numbers, 0)
    count = len(next(reversed(graph.values())).inputs)
    if sorted(numbers) != list(range(count)):
        raise damaged("outputs", f"every number from 0 to {count - 1} once", numbers)
    return _with_users(graph), text.read(record["name"], "name", store), nesting


def _read_node(record: Any, number: int, store: Store) -> ir.Node:
    keys(record, ("op", *NODE), f"node {number}")
    name = text.read(record["name"], f"node {number}.name", store)
    where = f"node {name!r}"
    values = {key: f.read(record[key], f"{where}.{key}", store) for key, f in NODE.items()}
    if len(values["shape"]) > AXES:
        raise damaged(f"{where}.shape", f"at most {AXES} axes", list(values["shape"]))
    return ir.Node(op=read_op(record["op"], f"{where}.op", store), **values)


def _with_users(graph: Mapping[str, ir.Node]) -> dict[str, ir.Node]:
    users: dict[str, list[str]] = {name: [] for name in graph}
    for node in graph.values():
        for name in dict.fromkeys(node.inputs):
            users[name].append(node.name)
    return {name: replace(node, users=tuple(users[name])) for name, node in graph.items()}


def _write_nesting(nesting: Any) -> Any:
    if isinstance(nesting, dict):
        if not all(isinstance(key, str) for key in nesting):
            raise CannotEmit(f"outputs under keys that are no text: {list(nesting)}. Nothing was written.")
        return {"dict": [[key, _write_nesting(inside)] for key, inside in nesting.items()]}
    if isinstance(nesting, list | tuple):
        return {type(nesting).__name__: [_write_nesting(inside) for inside in nesting]}
    return int(nesting)


def _read_nesting(record: Any, numbers: list[int], depth: int) -> Any:
    if type(record) is int:
        numbers.append(record)
        return record
    kind = next(iter(record)) if isinstance(record, dict) and len(record) == 1 else None
    if kind not in ("tuple", "list", "dict") or not isinstance(record[kind], list) or depth >= DEPTH:
        raise damaged("outputs", f"tuples, lists and dicts, at most {DEPTH} within each other", record)
    if kind == "dict":
        pairs = record[kind]
        if not all(isinstance(p, list) and len(p) == 2 and isinstance(p[0], str) for p in pairs):
            raise damaged("outputs", "pairs of a key and what stands under it", pairs)
        if len({key for key, _ in pairs}) != len(pairs):
            raise damaged("outputs", "keys that differ", [key for key, _ in pairs])
        return {key: _read_nesting(inside, numbers, depth + 1) for key, inside in pairs}
    return {"tuple": tuple, "list": list}[kind](_read_nesting(inside, numbers, depth + 1) for inside in record[kind])
