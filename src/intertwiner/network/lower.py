"""The value of a node in torch, with what torch asks for beside the record: casts, and one sample repeated for all.

``value_of`` runs on tensors and on fx proxies alike: it writes modules (``emit``) and checks records that were read
from a file without any numbers (``record_check``).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from intertwiner.errors import CannotEmit
from intertwiner.network import node as ir
from intertwiner.network.operations import Bench, compute

KEEP_TYPE = (ir.Index, ir.Reshape, ir.Permute, ir.Identity, ir.Expand, ir.Constant)
"""Records that move numbers and compute none."""


def value_of(node: ir.Node, values: Sequence[Any], sources: Sequence[ir.Node], bench: Bench) -> Any:
    """The value of a node.

    Args:
        node: Any node but inputs and the output.
        values: Of the nodes that it reads, as tensors or proxies.
        sources: These nodes.
        bench: How numbers become tensors.

    Raises:
        CannotEmit: The node is opaque or has no function in torch; the message names it.
    """
    read = list(values)
    if isinstance(node.op, ir.Embedding):
        read = [_whole(v, s) for v, s in zip(read, sources, strict=True)]
    elif not isinstance(node.op, KEEP_TYPE):
        read = [_floating(v, s, bench) for v, s in zip(read, sources, strict=True)]
    if isinstance(node.op, ir.Identity) and is_float(node) and not is_float(sources[0]):
        return _floating(read[0], sources[0], bench)
    if isinstance(node.op, ir.Concat):
        read = [_repeated(v, s, node, bench) for v, s in zip(read, sources, strict=True)]
    if isinstance(node.op, ir.Expand) and sources[0].batch_axis is None and node.batch_axis is not None:
        sizes: list[Any] = list(node.shape)
        sizes[node.batch_axis] = _entries(bench, node)
        return read[0].expand(*sizes)
    return compute(node, read, bench)


def is_float(node: ir.Node) -> bool:
    """Whether a value is of a floating type."""
    return node.dtype.startswith(("float", "bfloat"))


def _floating(value: Any, source: ir.Node, bench: Bench) -> Any:
    """Whole numbers and truth values count as floats where they are computed with."""
    return value if is_float(source) else value.type_as(bench.hold(ir.Param("one", np.ones(1))))


def _whole(value: Any, source: ir.Node) -> Any:
    return value.long() if is_float(source) or source.dtype in ("bool", "uint8", "int8", "int16") else value


def _repeated(value: Any, source: ir.Node, node: ir.Node, bench: Bench) -> Any:
    """A part of a concatenation, with its axes of size one repeated as those of the others."""
    axis = node.op.axis if isinstance(node.op, ir.Concat) else -1
    per_sample = source.batch_axis is None and node.batch_axis is not None
    short = [a for a, s in enumerate(source.shape) if a != axis and s != node.shape[a]]
    if not short and not per_sample:
        return value
    sizes: list[Any] = list(node.shape)
    sizes[axis] = source.shape[axis]
    if node.batch_axis is not None:
        sizes[node.batch_axis] = _entries(bench, node) if per_sample else -1
    return value.expand(*sizes)


def _entries(bench: Bench, node: ir.Node) -> Any:
    size = bench.batch()
    if size is None:
        raise CannotEmit(f"{node.tap or node.name} is repeated once per sample, but no input has a batch axis")
    return size if node.batch_multiple == 1 else size * node.batch_multiple
