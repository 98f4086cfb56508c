"""Exact rules for what only moves, adds or joins entries."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import numpy as np
from numpy import ndarray

from intertwiner.exact.gather import Gather, padded
from intertwiner.exact.numbers import Numbers
from intertwiner.exact.table import BackwardRun, no_rule, register, unbroadcast
from intertwiner.network import Add, Concat, Expand, Identity, Index, Node, Op, Pad, Permute, Reshape

MOVES = (Reshape, Permute, Index, Expand, Pad, Concat)


@lru_cache(maxsize=256)
def gather_of(node: Node, shapes: tuple[tuple[int, ...], ...]) -> Gather:
    """The moving operator as a gather on samples of these shapes; axis 0 of the record is the batch."""
    op = node.op
    match op:
        case Reshape():
            return Gather.of(lambda x: x.reshape(node.sample_shape), *shapes)
        case Expand():
            return Gather.of(lambda x: np.broadcast_to(x, node.sample_shape), *shapes)
        case Permute() if op.dims[0] == 0:
            return Gather.of(lambda x: x.transpose([d - 1 for d in op.dims[1:]]), *shapes)
        case Index() if op.axis > 0:
            entries = op.index[0] if op.squeeze else np.array(op.index, dtype=np.int64)
            return Gather.of(lambda x: np.take(x, entries, axis=op.axis - 1), *shapes)
        case Pad():
            return padded(op, shapes[0], node.tap or node.name)
        case Concat() if op.axis > 0:
            wide = node.sample_shape
            axis = op.axis - 1

            def join(*xs: ndarray) -> ndarray:
                sizes = [(*wide[:axis], x.shape[axis], *wide[axis + 1 :]) for x in xs]
                return np.concatenate([np.broadcast_to(x, s) for x, s in zip(xs, sizes, strict=True)], axis=axis)

            return Gather.of(join, *shapes)
    raise no_rule(node, f"{op.kind} moves entries between samples of a batch")


def _shape(x: Any) -> tuple[int, ...]:
    return x.value.shape[1:] if hasattr(x, "value") else x.shape[1:]


def move(numbers: Numbers, node: Node, op: Op, *xs: Any) -> Any:
    gather = gather_of(node, tuple(_shape(x) for x in xs))

    def apply(*arrays: ndarray) -> ndarray:
        batch = max(len(a) for a in arrays)
        flat = [np.broadcast_to(a.reshape(len(a), -1), (batch, a[0].size)) for a in arrays]
        return gather.apply(flat[0] if len(flat) == 1 else np.concatenate(flat, axis=1))

    return numbers.move(xs, apply)


def move_back(run: BackwardRun, node: Node, op: Op, g: ndarray) -> None:
    shapes = tuple(run.values[i].shape[1:] for i in node.inputs)
    gather = gather_of(node, shapes)
    batch, outputs = g.shape[:2]
    back = run.numbers.field.reduce(gather.transpose(g.reshape(batch * outputs, -1)))
    start = 0
    for name, shape in zip(node.inputs, shapes, strict=True):
        size = int(np.prod(shape))
        run.give(name, back[:, start : start + size].reshape(batch, outputs, *shape))
        start += size


@lru_cache(maxsize=64)
def _number(value: float) -> ndarray:
    return np.array(value)


def add(numbers: Numbers, node: Node, op: Add, *xs: Any) -> Any:
    parts = [x if w == 1 else numbers.mul(x, numbers.fixed(_number(w))) for w, x in zip(op.weights, xs, strict=True)]
    total = parts[0]
    for part in parts[1:]:
        total = numbers.add(total, part)
    return total


def add_back(run: BackwardRun, node: Node, op: Add, g: ndarray) -> None:
    for name, w in zip(node.inputs, op.weights, strict=True):
        part = g if w == 1 else run.numbers.mul(g, run.numbers.field.of(w))
        run.give(name, unbroadcast(part, run.values[name].shape[1:], run.numbers))


def identity(numbers: Numbers, node: Node, op: Identity, x: Any) -> Any:
    return x


def identity_back(run: BackwardRun, node: Node, op: Identity, g: ndarray) -> None:
    run.give(node.inputs[0], g)


for _op in MOVES:
    register(_op, move, move_back)
register(Add, add, add_back)
register(Identity, identity, identity_back)
