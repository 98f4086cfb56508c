"""Rules for what acts on each entry: nonlinearities, sums, products, quotients, masks."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import torch

from intertwiner.gauge import Pointwise, pointwise
from intertwiner.network import node as ir
from intertwiner.network.broadcast import aligned, expand, level, meet, reshape
from intertwiner.network.rule import Call, Fixed, Unruled, Value, literal, register_rule, scalar

PLAIN = [
    "relu",
    "tanh",
    "erf",
    "atan",
    "asinh",
    "sinh",
    "cosh",
    "sigmoid",
    "silu",
    "hardswish",
    "hardsigmoid",
    "mish",
    "exp",
    "log",
    "sin",
    "cos",
    "abs",
    "square",
    "sqrt",
    "rsqrt",
    "reciprocal",
    "sign",
    "selu",
    "relu6",
]
"""Operators of one tensor, spelt alike here and in the activation table."""

SPELT = {"log_sigmoid": "logsigmoid", "arctan": "atan", "absolute": "abs", "arcsinh": "asinh", "special_erf": "erf",
         "special_expit": "sigmoid"}  # fmt: skip

PARAMETERS = {
    "leaky_relu": ("leaky_relu", ("negative_slope",)),
    "softplus": ("softplus", ("beta", "threshold")),
    "celu": ("celu", ("alpha",)),
    "softshrink": ("softshrink", ("lambd",)),
    "hardshrink": ("hardshrink", ("lambd",)),
    "gelu": ("gelu", ("approximate",)),
}
"""Operator: name in the activation table, and the arguments that are its parameters."""

UNKNOWN = {
    "tan": np.tan, "expm1": np.expm1, "log1p": np.log1p, "log2": np.log2, "log10": np.log10, "exp2": np.exp2,
    "acos": np.arccos, "asin": np.arcsin, "atanh": np.arctanh, "acosh": np.arccosh, "floor": np.floor,
    "ceil": np.ceil, "round": np.round, "trunc": np.trunc, "frac": lambda z: z - np.trunc(z),
}  # fmt: skip
"""Functions of one number without a row in the table: permutations."""


def _apply(call: Call, function: Pointwise, argument: str = "self") -> Value:
    return call.emit(ir.PointwiseOp(function), call.value(argument))


@register_rule(*(f"aten.{name}" for name in (*PLAIN, *SPELT)))
def plain(call: Call) -> Value:
    name = call.target.split(".")[1]
    return _apply(call, pointwise(SPELT.get(name, name)))


@register_rule(*(f"aten.{name}" for name in PARAMETERS))
def parametrised(call: Call) -> Value:
    name, arguments = PARAMETERS[call.target.split(".")[1]]
    given = [call[a] for a in arguments]
    return _apply(call, pointwise(name, *(a if isinstance(a, str) else float(a) for a in given)))


@register_rule(*(f"aten.{name}" for name in UNKNOWN))
def unknown(call: Call) -> Value:
    name = call.target.split(".")[1]
    return _apply(call, Pointwise.unknown(name, UNKNOWN[name]))


@register_rule("aten.elu")
def elu(call: Call) -> Value:
    alpha, scale, inner = (float(call[k]) for k in ("alpha", "scale", "input_scale"))
    if scale == 1 and inner == 1:
        return _apply(call, pointwise("elu", alpha))

    def value(z: np.ndarray) -> np.ndarray:
        return scale * np.where(z > 0, z, alpha * np.expm1(np.minimum(z, 0) * inner))

    return _apply(call, Pointwise.unknown(f"elu({alpha!r}, {scale!r}, {inner!r})", value))


@register_rule("aten.prelu")
def prelu(call: Call) -> Value:
    """One slope for all is a leaky ReLU; a slope per channel is ``relu(x) - a relu(-x)``."""
    x, slope = call.value("self"), call.fixed("weight")
    if slope is None:
        raise Unruled("no slope")
    if slope.tensor.numel() == 1:
        return _apply(call, pointwise("leaky_relu", float(slope.tensor)))
    relu, minus = ir.PointwiseOp(pointwise("relu")), literal(-1.0, x.ndim)
    per_channel = slope.rearranged(lambda t: t.reshape(1, -1, *(1,) * (x.ndim - 2)))
    flipped = call.emit(ir.ChannelAffine(minus), x, shape=x.shape)
    low = call.emit(relu, flipped, shape=x.shape)
    low = call.emit(ir.ChannelAffine(per_channel.param()), low, shape=x.shape)
    return call.emit(ir.Add((1.0, -1.0)), call.emit(relu, x, shape=x.shape), low)


@register_rule("aten.rrelu")
def rrelu(call: Call) -> Value:
    return _apply(call, pointwise("leaky_relu", (float(call["lower"]) + float(call["upper"])) / 2))


@register_rule("aten.hardtanh", "aten.clamp", "aten.clamp_min", "aten.clamp_max", "aten.clip")
def clamp(call: Call) -> Value:
    names = ("min_val", "max_val") if "hardtanh" in call.target else ("min", "max")
    low, high = (scalar(call.get(k)) for k in names)
    if any(isinstance(call.get(k), (Value, Fixed)) and scalar(call.get(k)) is None for k in names):
        raise Unruled("bounds that are tensors")
    if low == 0 and high is None:
        return _apply(call, pointwise("relu"))
    if low is not None and high is not None:
        return _apply(call, pointwise("hardtanh", low, high))
    name = f"clamp({-math.inf if low is None else low!r}, {math.inf if high is None else high!r})"
    return _apply(call, Pointwise.unknown(name, lambda z: np.clip(z, low, high)))


@register_rule("aten.threshold")
def threshold(call: Call) -> Value:
    edge, other = float(call["threshold"]), float(call["value"])
    if edge == 0 and other == 0:
        return _apply(call, pointwise("relu"))
    return _apply(call, Pointwise.unknown(f"threshold({edge!r}, {other!r})", lambda z: np.where(z > edge, z, other)))


@register_rule("aten.pow", "pow")
def power(call: Call) -> Value:
    base, exponent = (call.arguments[k] for k in (("self", "exponent") if "self" in call.arguments else ("a", "b")))
    r = scalar(exponent)
    if not isinstance(base, Value) or r is None:
        raise Unruled("only a fixed exponent is understood")
    if r == 0:
        raise Unruled("a power of zero")
    return call.emit(ir.Identity("pow(1)") if r == 1 else ir.PointwiseOp(pointwise("pow", r)), base)


@register_rule("aten.neg", "aten.negative")
def negate(call: Call) -> Value:
    x = call.value("self")
    return call.emit(ir.ChannelAffine(literal(-1.0, x.ndim)), x)


@register_rule("aten.add", "aten.sub", "aten.rsub", "aten.subtract", "add", "sub")
def add(call: Call) -> Value:
    a, b = (call[k] for k in (("self", "other") if "self" in call.arguments else ("a", "b")))
    alpha = float(call.get("alpha", 1) or 0)
    first, second = (1.0, alpha) if "add" in call.target else (1.0, -alpha)
    if "rsub" in call.target:
        first, second = -alpha, 1.0
    return _sum(call, a, first, b, second)


def _sum(call: Call, a: Any, first: float, b: Any, second: float) -> Value:
    if isinstance(a, Value) and isinstance(b, Value):
        if not (a.is_float or b.is_float):
            raise Unruled("arithmetic of whole numbers")
        return call.emit(ir.Add((first, second)), *level(call, a, b))
    value, weight, constant, factor = (a, first, b, second) if isinstance(a, Value) else (b, second, a, first)
    number = scalar(constant)
    if number is not None:
        shift, x = literal(factor * number, value.ndim), value
        x = expand(call, x, call.shape)
        shift = literal(factor * number, x.ndim)
    else:
        x, fixed = meet(call, value, constant)
        shift = _times(fixed, factor)
    return call.emit(ir.ChannelAffine(None if weight == 1 else literal(weight, x.ndim), shift), x)


def _times(fixed: Fixed, factor: float) -> ir.Param:
    if factor == 1:
        return fixed.param()
    # Negation and powers of two are exact in every float type; other factors are as good as float64.
    tensor = fixed.tensor.double() * factor
    return Fixed(tensor, f"{fixed.name}*{factor:g}", fixed.sources, None, computed=True).param()


@register_rule("aten.mul", "aten.multiply", "mul")
def multiply(call: Call) -> Value:
    a, b = (call[k] for k in (("self", "other") if "self" in call.arguments else ("a", "b")))
    if isinstance(a, Value) and isinstance(b, Value):
        return call.emit(ir.Multiply(), *level(call, a, b))
    return _scaled(call, *((a, b) if isinstance(a, Value) else (b, a)))


def _scaled(call: Call, value: Value, constant: Any) -> Value:
    number = scalar(constant)
    if number is not None:
        x = expand(call, value, call.shape)
        return call.emit(ir.ChannelAffine(literal(number, x.ndim)), x)
    x, fixed = meet(call, value, constant)
    return call.emit(ir.ChannelAffine(fixed.param()), x)


@register_rule("aten.addcmul")
def scale_and_shift(call: Call) -> Value:
    """``shift + x * scale`` with both of them fixed: one record."""
    shift, a, b = (call[k] for k in ("self", "tensor1", "tensor2"))
    x, scale = (a, b) if isinstance(a, Value) else (b, a)
    if not isinstance(x, Value) or not isinstance(scale, Fixed) or not isinstance(shift, Fixed) or call["value"] != 1:
        raise Unruled("only fixed + x * fixed is understood")
    for fixed in (scale, shift):
        x, _ = meet(call, x, fixed)
    scale, shift = (aligned(call, fixed, x.ndim, x.batch_axis) for fixed in (scale, shift))
    return call.emit(ir.ChannelAffine(scale.param(), shift.param()), x)


@register_rule("aten.glu")
def glu(call: Call) -> Value:
    """``a * sigmoid(b)`` for the two halves of an axis."""
    x = call.value("self")
    axis = call.axis("dim", x.ndim)
    half = x.shape[axis] // 2
    a, b = (call.emit(ir.Index(axis, tuple(range(start, start + half))), x, shape=call.shape) for start in (0, half))
    gate = call.emit(ir.PointwiseOp(pointwise("sigmoid")), b, shape=call.shape)
    return call.emit(ir.Multiply(), a, gate)


@register_rule("aten.div", "aten.divide", "aten.true_divide", "truediv")
def divide(call: Call) -> Value:
    a, b = (call[k] for k in (("self", "other") if "self" in call.arguments else ("a", "b")))
    if call.get("rounding_mode"):
        raise Unruled("a division that rounds")
    if isinstance(a, Value) and isinstance(b, Value):
        return call.emit(ir.Divide(), *level(call, a, b))
    if isinstance(a, Value):
        number = scalar(b)
        if number is not None:
            return _scaled(call, a, 1.0 / number)
        return _scaled(call, a, Fixed(1.0 / b.tensor.double(), f"1/{b.name}", b.sources, None, computed=True))
    inverse = call.emit(ir.PointwiseOp(pointwise("reciprocal")), b, shape=b.shape)
    return _scaled(call, inverse, a)


@register_rule("aten.masked_fill")
def masked_fill(call: Call) -> Value:
    x, mask, number = call.value("self"), call.fixed("mask"), scalar(call["value"])
    if mask is None or number is None:
        raise Unruled("a mask or a filling that is computed from the input")
    x, mask = meet(call, x, mask)
    return _fill(call, x, mask, number)


@register_rule("aten.where.self", "aten.where.ScalarOther", "aten.where.ScalarSelf")
def where(call: Call) -> Value:
    """A constant choice between two: ``a * m + b * (1 - m)``."""
    mask = call.fixed("condition")
    a, b = call["self"], call["other"]
    if mask is None:
        raise Unruled("no condition")
    if scalar(b) is not None and isinstance(a, Value):
        x, mask = meet(call, a, mask)
        return _fill(call, x, mask.rearranged(lambda t: t), scalar(b), keep=True)
    if scalar(a) is not None and isinstance(b, Value):
        x, mask = meet(call, b, mask)
        return _fill(call, x, mask, scalar(a))
    x, y = level(call, call.as_value(a), call.as_value(b))
    ndim = len(call.shape)
    mask = aligned(call, mask, ndim, x.batch_axis if x.ndim == ndim else None)
    x, y = (reshape(call, v, (1,) * (ndim - v.ndim) + v.shape) for v in (x, y))
    on = Fixed(mask.tensor.double(), "mask", mask.sources, None, computed=True)
    off = Fixed(1 - mask.tensor.double(), "mask", mask.sources, None, computed=True)
    sizes = [tuple(np.broadcast_shapes(v.shape, mask.shape)) for v in (x, y)]
    x, y = (expand(call, v, s) for v, s in zip((x, y), sizes, strict=True))
    parts = [call.emit(ir.ChannelAffine(m.param()), v, shape=v.shape) for m, v in ((on, x), (off, y))]
    return call.emit(ir.Add(), *parts)


def _fill(call: Call, x: Value, mask: Fixed, number: float | None, *, keep: bool = False) -> Value:
    filled = ~mask.tensor.bool() if keep else mask.tensor.bool()
    number = 0.0 if number is None else number

    def record(tensor: torch.Tensor) -> ir.Param:
        return Fixed(tensor, "mask", mask.sources, None, computed=True).param()

    if math.isinf(number):  # zero times a finite number plus infinity, without a zero to multiply
        return call.emit(ir.ChannelAffine(None, record(torch.where(filled, number, 0.0).double())), x)
    shift = None if number == 0 else record(torch.where(filled, number, 0.0).double())
    return call.emit(ir.ChannelAffine(record((~filled).double()), shift), x)
