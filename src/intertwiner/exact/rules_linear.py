"""Exact rules for what carries weights: linear maps, convolutions, embeddings, scales and shifts, constants."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import numpy as np
from numpy import ndarray

from intertwiner.exact.gather import Gather, patches
from intertwiner.exact.numbers import Numbers
from intertwiner.exact.table import BackwardRun, no_rule, register, unbroadcast
from intertwiner.network import ChannelAffine, Constant, Conv, Embedding, Linear, Node


def linear(numbers: Numbers, node: Node, op: Linear, x: Any) -> Any:
    out = numbers.matmul(x, _transposed(numbers, op.weight.array))
    return out if op.bias is None else numbers.add(out, numbers.fixed(op.bias.array))


def _transposed(numbers: Numbers, weight: ndarray) -> Any:
    return numbers.move([numbers.fixed(weight)], lambda w: w.T)


def linear_back(run: BackwardRun, node: Node, op: Linear, g: ndarray) -> None:
    field, x = run.numbers.field, run.values[node.inputs[0]]
    run.give(node.inputs[0], field.matmul(g, run.numbers.fixed(op.weight.array)))
    batch, outputs = g.shape[:2]
    rows, flat = g.reshape(batch, outputs, -1, g.shape[-1]), x.reshape(batch, 1, -1, x.shape[-1])
    if rows.shape[2] == 1:
        run.collect(op.weight, lambda: field.mul(rows[:, :, 0, :, None], flat[:, :, 0, None, :]))
        run.collect(op.bias, lambda: rows[:, :, 0])
    else:
        run.collect(op.weight, lambda: field.matmul(rows.swapaxes(2, 3), flat))
        run.collect(op.bias, lambda: run.numbers.sum(rows, (2,), False))


@lru_cache(maxsize=64)
def _patches(op: Conv, shape: tuple[int, ...]) -> Gather:
    return patches(op, shape)


def conv(numbers: Numbers, node: Node, op: Conv, x: Any) -> Any:
    if op.transposed:
        raise no_rule(node, "a transposed convolution")
    shape = x.value.shape[1:] if hasattr(x, "value") else x.shape[1:]
    windows = numbers.move([x], lambda v: _patches(op, shape).apply(v.reshape(len(v), -1)))
    weight = numbers.move([numbers.fixed(op.weight.array)], lambda w: w.reshape(op.groups, -1, w[0].size))
    out = numbers.matmul(weight, windows)
    out = numbers.move([out], lambda v: v.reshape(len(v), *node.sample_shape))
    if op.bias is None:
        return out
    bias = numbers.move([numbers.fixed(op.bias.array)], lambda b: b.reshape(-1, *(1,) * len(op.kernel)))
    return numbers.add(out, bias)


def conv_back(run: BackwardRun, node: Node, op: Conv, g: ndarray) -> None:
    field, x = run.numbers.field, run.values[node.inputs[0]]
    gather = _patches(op, x.shape[1:])
    batch, outputs = g.shape[:2]
    weight = run.numbers.fixed(op.weight.array).reshape(op.groups, -1, op.weight.array[0].size)
    rows = g.reshape(batch, outputs, op.groups, weight.shape[1], -1)
    back = field.matmul(weight.swapaxes(1, 2), rows)
    summed = field.reduce(gather.transpose(back.reshape(batch * outputs, -1)))
    run.give(node.inputs[0], summed.reshape(batch, outputs, *x.shape[1:]))
    windows = gather.apply(x.reshape(batch, -1))[:, None]

    def by_weight() -> ndarray:
        return field.matmul(rows, windows.swapaxes(-1, -2)).reshape(batch, outputs, *op.weight.shape)

    run.collect(op.weight, by_weight)
    run.collect(op.bias, lambda: run.numbers.sum(rows.reshape(batch, outputs, op.weight.shape[0], -1), (3,), False))


def embedding(numbers: Numbers, node: Node, op: Embedding, x: Any) -> Any:
    tokens = _tokens(x)
    return numbers.move([numbers.fixed(op.weight.array)], lambda w: w[tokens])


def _tokens(x: Any) -> ndarray:
    return np.rint(getattr(x, "value", x)).astype(np.int64)


def embedding_back(run: BackwardRun, node: Node, op: Embedding, g: ndarray) -> None:
    tokens = _tokens(run.values[node.inputs[0]])
    batch, outputs = g.shape[:2]

    def by_weight() -> ndarray:
        onehot = (tokens.reshape(batch, 1, 1, -1) == np.arange(op.weight.shape[0])[:, None]).astype(float)
        return run.numbers.field.matmul(onehot, g.reshape(batch, outputs, -1, g.shape[-1]))

    run.collect(op.weight, by_weight)


def affine(numbers: Numbers, node: Node, op: ChannelAffine, x: Any) -> Any:
    if op.scale is not None:
        x = numbers.mul(x, numbers.fixed(op.scale.array))
    return x if op.shift is None else numbers.add(x, numbers.fixed(op.shift.array))


def affine_back(run: BackwardRun, node: Node, op: ChannelAffine, g: ndarray) -> None:
    field, x = run.numbers.field, run.values[node.inputs[0]]
    run.collect(op.shift, lambda: _by_fixed(run, g, op.shift))
    if op.scale is None:
        run.give(node.inputs[0], unbroadcast(g, x.shape[1:], run.numbers))
        return
    run.collect(op.scale, lambda: _by_fixed(run, field.mul(g, x[:, None]), op.scale))
    scale = run.numbers.fixed(op.scale.array)
    run.give(node.inputs[0], unbroadcast(field.mul(g, scale), x.shape[1:], run.numbers))


def _by_fixed(run: BackwardRun, g: ndarray, param: Any) -> ndarray:
    """Sum over the axes along which the parameter is broadcast; its first axis is that of the batch."""
    return unbroadcast(g, param.shape[1:], run.numbers).reshape(*g.shape[:2], *param.shape)


def constant(numbers: Numbers, node: Node, op: Constant) -> Any:
    return numbers.fixed(op.value.array)


def constant_back(run: BackwardRun, node: Node, op: Constant, g: ndarray) -> None:
    run.collect(op.value, lambda: _by_fixed(run, g, op.value))


register(Linear, linear, linear_back)
register(Conv, conv, conv_back)
register(Embedding, embedding, embedding_back)
register(ChannelAffine, affine, affine_back)
register(Constant, constant, constant_back)
