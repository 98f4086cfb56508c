"""The torch function of every pointwise nonlinearity, by the name that the activation table spells it with."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F

Call = Callable[[Any], Any]


def _hardtanh(low: float = -1.0, high: float = 1.0) -> Call:
    return lambda z: F.hardtanh(z, low, high)


def _clamp(low: float, high: float) -> Call:
    bounds: dict[str, Any] = {k: v for k, v in (("min", low), ("max", high)) if abs(v) != float("inf")}
    return lambda z: torch.clamp(z, **bounds)


def _power(exponent: float) -> Call:
    exact = int(exponent) if exponent == int(exponent) else exponent
    return lambda z: torch.pow(z, exact)


def _elu(alpha: float = 1.0, scale: float = 1.0, inner: float = 1.0) -> Call:
    if scale == inner == 1:
        return lambda z: F.elu(z, alpha)
    return lambda z: torch.ops.aten.elu.default(z, alpha, scale, inner)


PLAIN: dict[str, Call] = {
    "relu": F.relu, "tanh": torch.tanh, "erf": torch.erf, "atan": torch.atan, "asinh": torch.asinh,
    "sinh": torch.sinh, "cosh": torch.cosh, "sigmoid": torch.sigmoid, "silu": F.silu, "hardswish": F.hardswish,
    "hardsigmoid": F.hardsigmoid, "mish": F.mish, "exp": torch.exp, "log": torch.log, "sin": torch.sin,
    "cos": torch.cos, "abs": torch.abs, "sign": torch.sign, "selu": F.selu, "relu6": F.relu6,
    "logsigmoid": F.logsigmoid, "softsign": F.softsign, "tanhshrink": F.tanhshrink, "tan": torch.tan,
    "expm1": torch.expm1, "log1p": torch.log1p, "log2": torch.log2, "log10": torch.log10, "exp2": torch.exp2,
    "acos": torch.acos, "asin": torch.asin, "atanh": torch.atanh, "acosh": torch.acosh, "floor": torch.floor,
    "ceil": torch.ceil, "round": torch.round, "trunc": torch.trunc, "frac": torch.frac,
    "gaussian": lambda z: torch.exp(-(z * z)), "identity": lambda z: z * 1.0,
}  # fmt: skip

FAMILIES: dict[str, Callable[..., Call]] = {
    "leaky_relu": lambda slope: partial(F.leaky_relu, negative_slope=slope),
    "gelu": lambda approximate="none": partial(F.gelu, approximate=approximate),
    "softplus": lambda beta=1.0, threshold=20.0: lambda z: F.softplus(z, beta, threshold),
    "celu": lambda alpha=1.0: lambda z: F.celu(z, alpha),
    "softshrink": lambda lambd=0.5: lambda z: F.softshrink(z, lambd),
    "hardshrink": lambda lambd=0.5: lambda z: F.hardshrink(z, lambd),
    "threshold": lambda edge, other: lambda z: F.threshold(z, edge, other),
    "hardtanh": _hardtanh, "clamp": _clamp, "pow": _power, "elu": _elu,
}  # fmt: skip


def torch_function(name: str) -> Call | None:
    """The function of this name, parameters included, or None.

    Example:
        >>> torch_function("leaky_relu(0.5)")(torch.tensor([-2.0, 3.0]))
        tensor([-1.,  3.])
    """
    if name in PLAIN:
        return PLAIN[name]
    bare, _, inside = name.partition("(")
    family = FAMILIES.get(bare)
    if family is None:
        return None
    words = [w.strip().strip("'\"") for w in inside.rstrip(")").split(",") if w.strip()]
    return family(*(w if bare == "gelu" else float(w) for w in words))
