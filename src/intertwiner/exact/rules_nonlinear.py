"""Exact rules for nonlinearities, products and pools."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import numpy as np
from numpy import ndarray

from intertwiner.exact.gather import Gather, pool_windows
from intertwiner.exact.numbers import Numbers
from intertwiner.exact.polynomial import PiecewisePolynomial, piecewise
from intertwiner.exact.table import BackwardRun, no_rule, register, unbroadcast
from intertwiner.network import MatMul, Multiply, Node, PointwiseOp, Pool, Reduce


def _pieces(node: Node, op: PointwiseOp) -> PiecewisePolynomial:
    pieces = piecewise(op.pointwise)
    if pieces is None:
        raise no_rule(node, f"{op.pointwise.name} is no piecewise polynomial")
    return pieces


def pointwise(numbers: Numbers, node: Node, op: PointwiseOp, z: Any) -> Any:
    return numbers.nonlinear(node.name, _pieces(node, op), z)


def pointwise_back(run: BackwardRun, node: Node, op: PointwiseOp, g: ndarray) -> None:
    z = run.values[node.inputs[0]]
    slope = run.numbers.slope(node.name, _pieces(node, op), z)
    run.give(node.inputs[0], run.numbers.mul(g, slope[:, None]))


def multiply(numbers: Numbers, node: Node, op: Multiply, a: Any, b: Any) -> Any:
    return numbers.mul(a, b)


def multiply_back(run: BackwardRun, node: Node, op: Multiply, g: ndarray) -> None:
    a, b = (run.values[i] for i in node.inputs)
    for name, other in zip(node.inputs, (b, a), strict=True):
        shape = run.values[name].shape[1:]
        run.give(name, unbroadcast(run.numbers.mul(g, other[:, None]), shape, run.numbers))


def matmul(numbers: Numbers, node: Node, op: MatMul, a: Any, b: Any) -> Any:
    return numbers.matmul(a, b)


def matmul_back(run: BackwardRun, node: Node, op: MatMul, g: ndarray) -> None:
    a, b = (run.values[i] for i in node.inputs)
    left = run.numbers.matmul(g, b[:, None].swapaxes(-1, -2))
    right = run.numbers.matmul(a[:, None].swapaxes(-1, -2), g)
    run.give(node.inputs[0], unbroadcast(left, a.shape[1:], run.numbers))
    run.give(node.inputs[1], unbroadcast(right, b.shape[1:], run.numbers))


@lru_cache(maxsize=64)
def _windows(op: Pool, shape: tuple[int, ...], out: tuple[int, ...]) -> tuple[Gather, ndarray]:
    return pool_windows(op, shape, out)


def pool(numbers: Numbers, node: Node, op: Pool, x: Any) -> Any:
    gather, counts = _windows(op, _shape(x), node.sample_shape)
    windows = numbers.move([x], lambda v: gather.apply(v.reshape(len(v), -1)))
    if op.reduction == "max":
        out = numbers.largest(node.name, windows, (gather.index >= 0).reshape(gather.shape))
    else:
        out = numbers.divide(numbers.sum(windows, (3,), False), counts)
    return numbers.move([out], lambda v: v.reshape(len(v), *node.sample_shape))


def _shape(x: Any) -> tuple[int, ...]:
    return x.value.shape[1:] if hasattr(x, "value") else x.shape[1:]


def pool_back(run: BackwardRun, node: Node, op: Pool, g: ndarray) -> None:
    x = run.values[node.inputs[0]]
    gather, counts = _windows(op, x.shape[1:], node.sample_shape)
    batch, outputs = g.shape[:2]
    rows = g.reshape(batch, outputs, gather.shape[0], gather.shape[1], 1)
    if op.reduction == "max":
        winner = run.numbers.choices[node.name]
        back = rows * (np.arange(gather.shape[2]) == winner[..., None])[:, None]
    else:
        back = np.broadcast_to(run.numbers.divide(rows, counts[:, None]), (*rows.shape[:-1], gather.shape[2]))
    summed = run.numbers.field.reduce(gather.transpose(back.reshape(batch * outputs, -1)))
    run.give(node.inputs[0], summed.reshape(batch, outputs, *x.shape[1:]))


def reduce(numbers: Numbers, node: Node, op: Reduce, x: Any) -> Any:
    if 0 in op.axes:
        raise no_rule(node, "a reduction over the batch")
    if op.reduction in ("mean", "sum"):
        out = numbers.sum(x, op.axes, op.keepdim)
        count = int(np.prod([_shape(x)[a - 1] for a in op.axes]))
        return numbers.divide(out, np.array(count)) if op.reduction == "mean" else out
    if op.reduction != "amax":
        raise no_rule(node, f"a reduction by {op.reduction}")
    moved, _ = _reduced_last(op, _shape(x))
    rows = numbers.move([x], lambda v: moved.apply(v.reshape(len(v), -1)))
    out = numbers.largest(node.name, rows, np.ones(moved.shape, dtype=bool))
    return numbers.move([out], lambda v: v.reshape(len(v), *node.sample_shape))


def _reduced_last(op: Reduce, shape: tuple[int, ...]) -> tuple[Gather, tuple[int, ...]]:
    axes = [a - 1 for a in op.axes]
    kept = [a for a in range(len(shape)) if a not in axes]

    def move(x: ndarray) -> ndarray:
        moved = x.transpose(*kept, *axes)
        return moved.reshape(*moved.shape[: len(kept)], -1)

    return Gather.of(move, shape), tuple(shape[a] for a in kept)


def reduce_back(run: BackwardRun, node: Node, op: Reduce, g: ndarray) -> None:
    x = run.values[node.inputs[0]]
    batch, outputs = g.shape[:2]
    wide = tuple(1 if a + 1 in op.axes else n for a, n in enumerate(x.shape[1:]))
    if op.reduction == "amax":
        moved, kept = _reduced_last(op, x.shape[1:])
        winner = run.numbers.choices[node.name]
        rows = g.reshape(batch, outputs, *kept, 1) * (np.arange(moved.shape[-1]) == winner[..., None])[:, None]
        run.give(
            node.inputs[0], moved.transpose(rows.reshape(batch * outputs, -1)).reshape(batch, outputs, *x.shape[1:])
        )
        return
    g = g.reshape(batch, outputs, *wide)
    if op.reduction == "mean":
        g = run.numbers.divide(g, np.array(int(np.prod([x.shape[a] for a in op.axes]))))
    run.give(node.inputs[0], np.broadcast_to(g, (batch, outputs, *x.shape[1:])))


register(PointwiseOp, pointwise, pointwise_back)
register(Multiply, multiply, multiply_back)
register(MatMul, matmul, matmul_back)
register(Pool, pool, pool_back)
register(Reduce, reduce, reduce_back)
