"""Rules for what carries weights: linear maps, convolutions, embeddings, batch norm."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import Any

import numpy as np
import torch

from intertwiner.errors import ModelInTrainingMode
from intertwiner.network import node as ir
from intertwiner.network.broadcast import level, reshape
from intertwiner.network.rule import Call, Fixed, Unruled, Value, literal, register_rule


@register_rule("aten.linear")
def linear(call: Call) -> Value:
    x, weight = call.value("input"), call["weight"]
    if isinstance(weight, Value):
        raise Unruled("its weight is computed from the input")
    if len(weight.shape) == 1:
        raise Unruled("a weight with one axis")
    return call.emit(ir.Linear(weight.param(), call.param("bias")), x)


@register_rule("aten.addmm")
def addmm(call: Call) -> Value:
    x, weight, bias = call["mat1"], call["mat2"], call["self"]
    if isinstance(x, Fixed) or not isinstance(weight, Fixed) or not isinstance(bias, Fixed) or len(bias.shape) != 1:
        raise Unruled("only bias + x @ parameter is understood")
    if float(call["beta"]) != 1 or float(call["alpha"]) != 1:
        raise Unruled("beta or alpha is not 1")
    bias = bias if bias.shape[0] == weight.shape[1] else bias.rearranged(lambda t: t.expand(weight.shape[1]))
    return call.emit(ir.Linear(weight.rearranged(lambda t: t.T).param(), bias.param()), x)


@register_rule("aten.matmul", "aten.mm", "aten.bmm", "aten.mv")
def matmul(call: Call) -> Value:
    names = ("self", "vec") if "aten.mv" in call.target else ("self", "mat2" if "mat2" in call.arguments else "other")
    return product(call, call[names[0]], call[names[1]])


@register_rule("matmul")
def operator_matmul(call: Call) -> Value:
    return product(call, call["a"], call["b"])


def product(call: Call, a: Any, b: Any) -> Value:
    """``a @ b``: a linear map where one of them is a matrix of parameters."""
    if isinstance(b, Fixed) and len(b.shape) <= 2:
        weight = b.rearranged(lambda t: t.reshape(-1, 1).T if t.ndim == 1 else t.T)
        op = ir.Linear(weight.param())
        if len(b.shape) == 2:
            return call.emit(op, a)
        return reshape(call, call.emit(op, a, shape=(*a.shape[:-1], 1)), call.shape, final=True)
    if isinstance(a, Fixed) and len(a.shape) == 2 and isinstance(b, Value) and b.ndim >= 2:
        turned = _swap(call, b)
        out = call.emit(ir.Linear(a.param()), turned, shape=(*turned.shape[:-1], a.shape[0]))
        return _swap(call, out, final=True)
    left, right = call.as_value(a), call.as_value(b)
    if min(left.ndim, right.ndim) < 2:
        raise Unruled("a product with a vector that is computed from the input")
    return call.emit(ir.MatMul(), *level(call, left, right))


def _swap(call: Call, x: Value, *, final: bool = False) -> Value:
    dims = (*range(x.ndim - 2), x.ndim - 1, x.ndim - 2)
    return call.emit(ir.Permute(dims), x, shape=None if final else tuple(x.shape[d] for d in dims))


@register_rule("aten.embedding")
def embedding(call: Call) -> Value:
    return call.emit(ir.Embedding(_need(call, "weight").param()), call.value("indices"))


@register_rule("aten.one_hot")
def one_hot(call: Call) -> Value:
    n = int(call["num_classes"])
    if n < 0:
        raise Unruled("the number of classes depends on the data")
    return call.emit(ir.Embedding(literal(np.eye(n), 2, "one hot")), call.value("self"))


@register_rule("aten.conv1d", "aten.conv2d", "aten.conv3d", "aten.convolution")
@register_rule("aten.conv_transpose1d", "aten.conv_transpose2d", "aten.conv_transpose3d")
def convolution(call: Call) -> Value:
    x, weight = call.value("input"), _need(call, "weight")
    n = len(weight.shape) - 2
    if x.ndim != n + 2:
        raise Unruled("a convolution of a single sample, without a batch axis")

    def per_axis(name: str, default: int) -> tuple[int, ...]:
        given = call.get(name, default)
        given = [given] if isinstance(given, int) else list(given)
        return tuple(int(v) for v in (given * n if len(given) == 1 else given))

    dilation = per_axis("dilation", 1)
    transposed = bool(call.get("transposed", "conv_transpose" in call.target))
    op = ir.Conv(
        weight.param(), call.param("bias"), per_axis("stride", 1), _padding(call, weight.shape[2:], dilation), dilation,
        int(call.get("groups", 1)), transposed, per_axis("output_padding", 0) if transposed else (0,) * n,
    )  # fmt: skip
    pad = call.producer(x)
    if isinstance(pad.op, ir.Pad) and not transposed:
        folded = _fold_pad(op, pad.op)
        if folded is not None:
            before = call.producer_input(x)
            return call.emit(folded, before)
    return call.emit(op, x)


def _padding(call: Call, kernel: tuple[int, ...], dilation: tuple[int, ...]) -> ir.Pairs:
    given = call.get("padding", 0)
    if given == "valid":
        given = 0
    if given == "same":
        totals = [d * (k - 1) for d, k in zip(dilation, kernel, strict=True)]
        return tuple((t // 2, t - t // 2) for t in totals)  # torch puts the odd one at the end
    sizes = [given] * len(kernel) if isinstance(given, int) else list(given)
    sizes = sizes * len(kernel) if len(sizes) == 1 else sizes
    return tuple((int(s), int(s)) for s in sizes)


def _fold_pad(conv: ir.Conv, pad: ir.Pad) -> ir.Conv | None:
    """A convolution that pads by itself, where the padding before it is on the grid only."""
    none = all(p == (0, 0) for p in conv.padding)
    grid = pad.padding[2:]
    if any(p != (0, 0) for p in pad.padding[:2]) or any(v < 0 for p in grid for v in p):
        return None
    if pad.mode == "constant" and pad.value == 0:
        both = tuple((a + c, b + d) for (a, b), (c, d) in zip(conv.padding, grid, strict=True))
        return replace(conv, padding=both)
    if pad.mode != "constant" and none:
        return replace(conv, padding=grid, padding_mode=pad.mode)
    return None


@register_rule("aten.batch_norm", "aten._native_batch_norm_legit_no_training", "aten.native_batch_norm")
def batch_norm(call: Call) -> Value:
    """In evaluation mode: scale = weight / sqrt(var + eps), shift = bias - mean * scale, per channel."""
    x = call.value("input")
    if call.get("training"):
        where = call.arguments.get("running_mean")
        name = where.name if isinstance(where, Fixed) else "batch norm"
        raise ModelInTrainingMode(
            f"batch norm at {name.removesuffix('.running_mean')!r} is in training mode: every answer depends on the "
            "whole batch.\n  Call model.eval() first. Nothing was traced."
        )
    mean, var = _need(call, "running_mean"), _need(call, "running_var")
    weight, bias = call.fixed("weight"), call.fixed("bias")
    root = torch.sqrt(var.tensor.double() + float(call["eps"]))
    scale = (1.0 if weight is None else weight.tensor.double()) / root
    shift = (0.0 if bias is None else bias.tensor.double()) - mean.tensor.double() * scale
    shape = (1, -1) + (1,) * (x.ndim - 2)

    def record(tensor: torch.Tensor, *parts: Fixed | None) -> ir.Param:
        sources = tuple(s for p in parts if p is not None for s in p.sources)
        return Fixed(tensor.reshape(shape), "+".join(sources) + "~batch_norm", sources, None, computed=True).param()

    return call.emit(ir.ChannelAffine(record(scale, weight, var), record(shift, bias, weight, mean, var)), x)


@register_rule("aten.einsum")
def einsum(call: Call) -> Value:
    """Two operands without repeated letters: permute, multiply matrices, permute back."""
    equation, operands = call["equation"].replace(" ", ""), list(call["tensors"])
    if not re.fullmatch(r"[a-zA-Z]+,[a-zA-Z]+->[a-zA-Z]*", equation) or len(operands) != 2:
        raise Unruled("only einsum of two operands with letters is understood")
    left, out = equation.split("->")
    a, b = left.split(",")
    if any(len(set(term)) != len(term) for term in (a, b, out)):
        raise Unruled("a repeated letter in one term")
    if isinstance(operands[0], Fixed):
        operands, (a, b) = operands[::-1], (b, a)
    shared = [c for c in a if c in b and c in out]
    summed = [c for c in a if c in b and c not in out]
    rest_a, rest_b = [c for c in a if c not in b], [c for c in b if c not in a]
    if any(c not in out for c in rest_a + rest_b) or not summed:
        raise Unruled("an outer product, or a sum over one operand alone")
    if isinstance(operands[1], Fixed) and not shared:
        return _einsum_linear(call, operands, (a, b, out), (summed, rest_a, rest_b))
    sizes = dict(zip(a, operands[0].shape, strict=True)) | dict(zip(b, operands[1].shape, strict=True))
    x = _ordered(call, call.as_value(operands[0]), a, (shared, rest_a, summed))
    y = _ordered(call, call.as_value(operands[1]), b, (shared, summed, rest_b))
    flat = (*(sizes[c] for c in shared), x.shape[-2], y.shape[-1])
    z = call.emit(ir.MatMul(), x, y, shape=flat)
    letters = shared + rest_a + rest_b
    z = reshape(call, z, tuple(sizes[c] for c in letters))
    return call.emit(ir.Permute(tuple(letters.index(c) for c in out)), z)


def _ordered(call: Call, x: Value, term: str, groups: tuple[list[str], list[str], list[str]]) -> Value:
    """Axes in the order shared, rows, columns; rows and columns merged to one axis each."""
    shared, rows, columns = groups
    sizes = dict(zip(term, x.shape, strict=True))
    order = [term.index(c) for c in shared + rows + columns]
    x = call.emit(ir.Permute(tuple(order)), x, shape=tuple(x.shape[i] for i in order))
    merged = [int(np.prod([sizes[c] for c in group])) for group in (rows, columns)]
    return reshape(call, x, (*(sizes[c] for c in shared), *merged))


def _einsum_linear(
    call: Call, operands: list[Any], terms: tuple[str, str, str], groups: tuple[list[str], ...]
) -> Value:
    (a, b, out), (summed, rest_a, rest_b) = terms, groups
    x, weight = operands
    order = [a.index(c) for c in rest_a + summed]
    x = call.emit(ir.Permute(tuple(order)), x, shape=tuple(x.shape[i] for i in order))
    kept = x.shape[: len(rest_a)]
    x = reshape(call, x, (*kept, int(np.prod(x.shape[len(rest_a) :]))))
    places = [b.index(c) for c in rest_b + summed]
    rows = int(np.prod([weight.shape[b.index(c)] for c in rest_b]))
    matrix = weight.rearranged(lambda t: t.permute(places).reshape(rows, -1))
    y = call.emit(ir.Linear(matrix.param()), x, shape=(*kept, rows))
    letters = rest_a + rest_b
    y = reshape(call, y, (*kept, *(weight.shape[b.index(c)] for c in rest_b)))
    return call.emit(ir.Permute(tuple(letters.index(c) for c in out)), y)


def _need(call: Call, name: str) -> Fixed:
    fixed = call.fixed(name)
    if fixed is None:
        raise Unruled(f"it has no {name}")
    return fixed
