"""Whether records that were read make one network: who reads whom, and all shapes, run without any numbers.

Every node is computed on tensors of the device "meta", which have a shape and no storage, for two batch sizes: so the
shapes that the records state are those that torch will find, and nothing large is made before that is known.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from intertwiner.errors import CannotEmit, CorruptFile
from intertwiner.network import node as ir
from intertwiner.network.emit import batch_of, inputs_of
from intertwiner.network.lower import is_float, value_of
from intertwiner.network.operations import Bench, is_index
from intertwiner.network.record_fields import LARGEST, damaged
from intertwiner.network.spelling import argument

SPREAD = 2**20
"""How far one number may be repeated to fill a parameter."""
REFUSALS = (RuntimeError, TypeError, ValueError, IndexError, ArithmeticError, AttributeError)


def check_graph(graph: Mapping[str, ir.Node]) -> None:
    """Refuse records that make no network.

    Raises:
        CorruptFile: With the node where it shows.

    Cost:
        One pass over the nodes per batch size, without numbers.
    """
    nodes = list(graph.values())
    if not nodes or [isinstance(n.op, ir.Output) for n in nodes] != [False] * (len(nodes) - 1) + [True]:
        raise CorruptFile("nodes: expected one output, as the last of them")
    known: set[str] = set()
    for node in nodes:
        _check_node(node, known, graph)
        known.add(node.name)
    inputs = inputs_of(graph)
    names = [n.op.name for n in inputs if isinstance(n.op, ir.Input)]
    if [n.op.position for n in inputs if isinstance(n.op, ir.Input)] != list(range(len(inputs))):
        raise CorruptFile("nodes: expected inputs at the positions 0, 1, ...")
    if len({argument(name) for name in names}) != len(names):
        raise CorruptFile(f"nodes: two inputs of one name among {', '.join(names)}")
    sizes = {n.shape[n.batch_axis] for n in inputs if n.batch_axis is not None}
    if len(sizes) > 1 or 0 in sizes:
        raise CorruptFile(f"nodes: the inputs are batches of different sizes, {sorted(sizes)}")
    for more in (0, 1) if sizes else (0,):
        _run(graph, next(iter(sizes), 1), more)


def _check_node(node: ir.Node, known: set[str], graph: Mapping[str, ir.Node]) -> None:
    where = f"node {node.name!r}"
    for name in node.inputs:
        if name not in known:
            raise damaged(f"{where}.inputs", "the name of an earlier node", name)
        if isinstance(graph[name].op, ir.Output):
            raise damaged(f"{where}.inputs", "a node that has a value", name)
    op, count = node.op, len(node.inputs)
    wanted = _arity(op)
    if count != wanted and not (wanted is None and count):
        raise damaged(f"{where}.inputs", f"{'one or more' if wanted is None else wanted} names", list(node.inputs))
    if node.batch_axis is not None and node.batch_axis >= len(node.shape):
        raise damaged(f"{where}.batch_axis", "an axis of the shape", node.batch_axis)
    sources = [graph[name].shape for name in node.inputs]
    if isinstance(op, ir.Index):
        size = sources[0][op.axis] if op.axis < len(sources[0]) else 0
        if not op.index or max(op.index) >= size or (op.squeeze and len(op.index) != 1):
            raise damaged(f"{where}.op.index", f"entries of an axis of size {size}", list(op.index)[:8])
    if isinstance(op, ir.Conv):
        _check_conv(op, sources[0], f"{where}.op")
    if isinstance(op, ir.Pad) and len(op.padding) != len(sources[0]):
        raise damaged(f"{where}.op.padding", f"{len(sources[0])} pairs", list(op.padding))
    if isinstance(op, ir.Pool):
        _check_pool(op, sources[0], f"{where}.op")
    if isinstance(op, ir.LayerNorm) and (not op.axes or max(op.axes) >= len(sources[0])):
        raise damaged(f"{where}.op.axes", "axes of the input", list(op.axes))


def _arity(op: ir.Op) -> int | None:
    """How many values a record reads; None for one or more."""
    if isinstance(op, ir.Add):
        return len(op.weights) or None
    if isinstance(op, (ir.Concat, ir.Output)):
        return len(op.names) or None if isinstance(op, ir.Output) else None
    if isinstance(op, (ir.Input, ir.Constant)):
        return 0
    return 2 if isinstance(op, (ir.Multiply, ir.Divide, ir.MatMul)) else 1


def _check_conv(op: ir.Conv, shape: tuple[int, ...], where: str) -> None:
    n = len(op.stride)
    fit = len(op.padding) == n == len(op.dilation) and (not op.transposed or len(op.output_padding) == n)
    if not fit or not 1 <= n <= 3 or len(shape) != n + 2 or len(op.weight.shape) != n + 2:
        raise damaged(where, "stride, padding, dilation, weight and input of one number of axes", n)
    padded = math.prod(s + a + b for s, (a, b) in zip(shape[2:], op.padding, strict=True))
    if padded * shape[1] > LARGEST:
        raise damaged(f"{where}.padding", f"at most {LARGEST} entries", list(op.padding))


def _check_pool(op: ir.Pool, shape: tuple[int, ...], where: str) -> None:
    n = len(op.kernel)
    if not 1 <= n <= 3 or len(shape) != n + 2 or len(op.stride) != n or len(op.dilation) not in (0, n):
        raise damaged(where, "kernel, stride, dilation and input of one number of axes", n)
    if op.windows is None:
        if len(op.padding) != n or any(a != b for a, b in op.padding):
            raise damaged(f"{where}.padding", f"{n} pairs of equal numbers", list(op.padding))
        return
    fine = len(op.windows) == n and all(
        a < b <= size for size, axis in zip(shape[2:], op.windows, strict=True) for a, b in axis
    )
    if not fine:
        raise damaged(f"{where}.windows", "windows within the input, per axis", "others")


def _run(graph: Mapping[str, ir.Node], batch: int, more: int) -> None:
    """All shapes, for a batch of ``batch + more``."""
    values: dict[str, Any] = {}
    bench = Bench(_hold, batch_of(graph, values))
    for node in graph.values():
        if isinstance(node.op, ir.Output):
            continue
        if math.prod(node.shape) > LARGEST * batch:
            raise damaged(f"node {node.name!r}.shape", f"at most {LARGEST} entries per sample", list(node.shape))
        if node.batch_axis is not None and node.shape[node.batch_axis] % batch:
            raise damaged(f"node {node.name!r}.shape", f"a multiple of {batch} on the batch axis", list(node.shape))
        wanted = tuple(s // batch * (batch + more) if a == node.batch_axis else s for a, s in enumerate(node.shape))
        if isinstance(node.op, ir.Input):
            dtype = torch.float32 if is_float(node) else getattr(torch, node.dtype)
            values[node.name] = torch.empty(wanted, dtype=dtype, device="meta")
            continue
        read, sources = [values[i] for i in node.inputs], [graph[i] for i in node.inputs]
        try:
            value = value_of(node, read, sources, bench)
        except CannotEmit as error:
            raise CorruptFile(f"node {node.name!r}: {error}") from error
        except REFUSALS as error:
            reason = str(error).strip().partition("\n")[0]
            raise CorruptFile(f"node {node.name!r}: torch refuses it ({reason})") from error
        if tuple(value.shape) != wanted:
            raise damaged(f"node {node.name!r}.shape", f"{list(value.shape)} for a batch of {batch + more}",
                          list(wanted))  # fmt: skip
        values[node.name] = value


def _hold(param: ir.Param) -> Tensor:
    if param.array.size > SPREAD and 0 in param.array.strides:
        raise ValueError(f"{param.name} repeats one number {param.array.size} times")
    return torch.empty(param.shape, dtype=torch.int64 if is_index(param) else torch.float32, device="meta")
