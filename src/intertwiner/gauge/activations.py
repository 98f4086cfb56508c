r"""The table of pointwise nonlinearities, with the rule of each (theory 2); parameters mean what they mean in PyTorch.

``POINTWISE[name]`` has the default parameters, ``pointwise("leaky_relu", 0.2)`` or ``pointwise("leaky_relu(0.2)")``
any others. One law tests every row: ``s(P z + tau) = phi(P, tau) s(z)`` on random elements of its gauge.

Not used, though true: ``relu6(6 - z) = 6 - relu6(z)`` (a sign about the point 3, theory 2).
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
from numpy import ndarray
from scipy import special

from intertwiner.errors import WrongUse
from intertwiner.gauge.pointwise import Function, Pointwise, Post

SQRT_2 = math.sqrt(2.0)


def _unsigned(factor: ndarray, shift: ndarray) -> tuple[ndarray, ndarray]:
    """Even functions: the sign is invisible, a scale passes."""
    return np.abs(factor), np.zeros_like(shift)


def _turns(shift: ndarray) -> ndarray:
    return np.where(np.round(shift / np.pi) % 2 == 0, 1.0, -1.0)


def _complement(total: float) -> Post:
    """``s(-z) = total - s(z)``."""
    return lambda factor, shift: (factor, np.where(factor < 0, total, 0.0))


def _constant(value: float) -> Function:
    return lambda b: np.full(b.shape, value)


def _same(b: ndarray) -> ndarray:
    return b


def _phi_density(z: ndarray) -> ndarray:
    return np.exp(-z * z / 2) / math.sqrt(2 * math.pi)


def identity() -> Pointwise:
    """No nonlinearity: every affine map passes."""
    return Pointwise(
        "identity", sign=True, scale="nonzero", shift="real", mixing="linear", parity="odd",
        linear_on_positive=True, value=_same, slope_bound=_constant(1.0), value_bound=_same,
    )  # fmt: skip


def relu() -> Pointwise:
    return Pointwise(
        "relu", scale="positive", linear_part=1.0, dead_on_negative=True, linear_on_positive=True,
        value=lambda z: np.maximum(z, 0.0), slope_bound=_constant(1.0), value_bound=_same,
    )  # fmt: skip


def leaky_relu(negative_slope: float = 0.01) -> Pointwise:
    """``max(z, 0) + a min(z, 0)``; a = 0, 1 and -1 are relu, identity and abs."""
    a = float(negative_slope)
    special_case = {0.0: relu, 1.0: identity, -1.0: absolute}.get(a)
    if special_case is not None:
        return special_case()
    top = max(1.0, abs(a))
    return Pointwise(
        f"leaky_relu({a!r})", scale="positive", linear_part=1 + a, linear_on_positive=True,
        value=lambda z: np.where(z > 0, z, a * z), slope_bound=_constant(top), value_bound=lambda b: top * b,
    )  # fmt: skip


def absolute() -> Pointwise:
    return Pointwise(
        "abs", sign=True, scale="nonzero", parity="even", linear_on_positive=True,
        value=np.abs, slope_bound=_constant(1.0), value_bound=_same, post=_unsigned,
    )  # fmt: skip


def _odd(name: str, value: Function, slope_bound: Function, value_bound: Function | None = None) -> Pointwise:
    """Odd and nondecreasing unless a bound of its values is given: signed permutations."""
    return Pointwise(
        name, sign=True, parity="odd", value=value, slope_bound=slope_bound, value_bound=value_bound or value
    )


def tanh() -> Pointwise:
    return _odd("tanh", np.tanh, _constant(1.0))


def erf() -> Pointwise:
    return _odd("erf", special.erf, _constant(2 / math.sqrt(math.pi)))


def atan() -> Pointwise:
    return _odd("atan", np.arctan, _constant(1.0))


def asinh() -> Pointwise:
    return _odd("asinh", np.arcsinh, _constant(1.0))


def sinh() -> Pointwise:
    return _odd("sinh", np.sinh, np.cosh)


def softsign() -> Pointwise:
    return _odd("softsign", lambda z: z / (1 + np.abs(z)), _constant(1.0))


def tanhshrink() -> Pointwise:
    # z - tanh z is z^3/3 near 0 and cancels there; the absolute error stays below 1e-15.
    return _odd(
        "tanhshrink",
        lambda z: z - np.tanh(z),
        lambda b: np.tanh(b) ** 2,
        lambda b: b - np.tanh(b) + np.finfo(float).eps * b,
    )


def softshrink(lambd: float = 0.5) -> Pointwise:
    width = float(lambd)
    return _odd(f"softshrink({width!r})", lambda z: np.sign(z) * np.maximum(np.abs(z) - width, 0.0), _constant(1.0))


def hardshrink(lambd: float = 0.5) -> Pointwise:
    width = float(lambd)
    return _odd(
        f"hardshrink({width!r})",
        lambda z: np.where(np.abs(z) > width, z, 0.0),
        lambda b: np.where(b > width, np.inf, 0.0),  # it jumps at the edge
    )


def hardtanh(min_val: float = -1.0, max_val: float = 1.0) -> Pointwise:
    low, high = float(min_val), float(max_val)
    odd = low == -high

    def value(z: ndarray) -> ndarray:
        return np.clip(z, low, high)

    return Pointwise(
        "relu6" if (low, high) == (0.0, 6.0) else f"hardtanh({low!r}, {high!r})", sign=odd,
        parity="odd" if odd else "none", dead_on_negative=low == 0, value=value,
        slope_bound=_constant(1.0), value_bound=lambda b: np.maximum(np.abs(value(b)), np.abs(value(-b))),
    )  # fmt: skip


def relu6() -> Pointwise:
    return hardtanh(0.0, 6.0)


def sigmoid() -> Pointwise:
    return Pointwise(
        "sigmoid", sign=True, value=special.expit, slope_bound=_constant(0.25), value_bound=special.expit,
        post=_complement(1.0),
    )  # fmt: skip


def _hard_sigmoid(z: ndarray) -> ndarray:
    return np.clip(z + 3, 0.0, 6.0) / 6


def hardsigmoid() -> Pointwise:
    return Pointwise(
        "hardsigmoid", sign=True, value=_hard_sigmoid, slope_bound=_constant(1 / 6), value_bound=_hard_sigmoid,
        post=_complement(1.0),
    )  # fmt: skip


def gelu(approximate: str = "none") -> Pointwise:
    """``z Phi(z)``, or its tanh approximation. Both rise from 0 on the positive side and stay above |s(-z)| there."""
    if approximate == "tanh":
        root = math.sqrt(2 / math.pi)
        return Pointwise(
            "gelu(tanh)", linear_part=1.0, value=lambda z: z / 2 * (1 + np.tanh(root * (z + 0.044715 * z**3))),
            slope_bound=_constant(1.1291), value_bound=lambda b: b / 2 * (1 + np.tanh(root * (b + 0.044715 * b**3))),
        )  # fmt: skip
    if approximate != "none":
        raise WrongUse(f"gelu knows the approximations 'none' and 'tanh', not {approximate!r}")

    def slope(b: ndarray) -> ndarray:
        # s' = Phi + z phi rises on [0, sqrt 2], where s'' = (2 - z^2) phi vanishes; s'(-z) = 1 - s'(z).
        z = np.minimum(b, SQRT_2)
        return special.ndtr(z) + z * _phi_density(z)

    return Pointwise(
        "gelu", linear_part=1.0, value=lambda z: z * special.ndtr(z), slope_bound=slope,
        value_bound=lambda b: b * special.ndtr(b),
    )  # fmt: skip


def silu() -> Pointwise:
    return Pointwise(
        "silu", linear_part=1.0, value=lambda z: z * special.expit(z), slope_bound=_constant(1.0999),
        value_bound=lambda b: b * special.expit(b),
    )  # fmt: skip


def hardswish() -> Pointwise:
    def value(z: ndarray) -> ndarray:
        return z * _hard_sigmoid(z)

    return Pointwise(
        "hardswish", linear_part=1.0, value=value, value_bound=value,
        slope_bound=lambda b: np.minimum((2 * b + 3) / 6, 1.5),
    )  # fmt: skip


def mish() -> Pointwise:
    def value(z: ndarray) -> ndarray:
        return z * np.tanh(np.logaddexp(0.0, z))

    return Pointwise("mish", value=value, slope_bound=_constant(1.0886), value_bound=value)


def softplus(beta: float = 1.0, threshold: float = 20.0) -> Pointwise:
    """``log(1 + e^(beta z)) / beta``, and z itself above ``threshold / beta``, as PyTorch computes it.

    The jump there, ``e^-threshold / beta``, breaks ``s(z) - s(-z) = z`` where the threshold is below the usual 20.
    """
    beta, threshold = float(beta), float(threshold)

    def value(z: ndarray) -> ndarray:
        return np.where(beta * z > threshold, z, np.logaddexp(0.0, beta * z) / beta)

    return Pointwise(
        f"softplus({beta!r}, {threshold!r})", linear_part=float(threshold >= 20), value=value,
        slope_bound=lambda b: special.expit(beta * b), value_bound=lambda b: np.logaddexp(0.0, beta * b) / beta,
    )  # fmt: skip


def logsigmoid() -> Pointwise:
    return Pointwise(
        "logsigmoid", linear_part=1.0, value=special.log_expit, slope_bound=special.expit,
        value_bound=lambda b: np.logaddexp(0.0, b),
    )  # fmt: skip


def elu(alpha: float = 1.0) -> Pointwise:
    a = float(alpha)
    top = max(1.0, abs(a))
    return Pointwise(
        f"elu({a!r})", linear_on_positive=True, value=lambda z: np.where(z > 0, z, a * np.expm1(np.minimum(z, 0.0))),
        slope_bound=_constant(top), value_bound=lambda b: np.maximum(b, -abs(a) * np.expm1(-b)),
    )  # fmt: skip


def celu(alpha: float = 1.0) -> Pointwise:
    a = float(alpha)
    if a <= 0:
        raise WrongUse(f"celu needs a positive alpha, got {a}")
    return Pointwise(
        f"celu({a!r})", linear_on_positive=True, slope_bound=_constant(1.0), value_bound=_same,
        value=lambda z: np.where(z > 0, z, a * np.expm1(np.minimum(z, 0.0) / a)),
    )  # fmt: skip


def selu() -> Pointwise:
    scale, alpha = 1.0507009873554805, 1.6732632423543772
    return Pointwise(
        "selu", value=lambda z: scale * np.where(z > 0, z, alpha * np.expm1(np.minimum(z, 0.0))),
        slope_bound=_constant(scale * alpha),
        value_bound=lambda b: scale * np.maximum(b, -alpha * np.expm1(-b)),
    )  # fmt: skip


def exp() -> Pointwise:
    return Pointwise(
        "exp", shift="real", value=np.exp, slope_bound=np.exp, value_bound=np.exp,
        post=lambda factor, shift: (np.exp(shift), np.zeros_like(shift)),
    )  # fmt: skip


def log() -> Pointwise:
    """On positive numbers: a scale before is a shift after."""
    return Pointwise(
        "log", scale="positive", domain="positive", value=np.log,
        post=lambda factor, shift: (np.ones_like(factor), np.log(factor)),
    )  # fmt: skip


def sin() -> Pointwise:
    return Pointwise(
        "sin", sign=True, shift="pi", parity="odd", value=np.sin, slope_bound=_constant(1.0),
        value_bound=lambda b: np.sin(np.minimum(b, np.pi / 2)),
        post=lambda factor, shift: (factor * _turns(shift), np.zeros_like(shift)),
    )  # fmt: skip


def cos() -> Pointwise:
    return Pointwise(
        "cos", sign=True, shift="pi", parity="even", value=np.cos, value_bound=_constant(1.0),
        slope_bound=lambda b: np.sin(np.minimum(b, np.pi / 2)),
        post=lambda factor, shift: (_turns(shift), np.zeros_like(shift)),
    )  # fmt: skip


def cosh() -> Pointwise:
    return Pointwise(
        "cosh", sign=True, parity="even", value=np.cosh, slope_bound=np.sinh, value_bound=np.cosh, post=_unsigned
    )


def gaussian() -> Pointwise:
    """``exp(-z^2)``."""
    return Pointwise(
        "gaussian", sign=True, parity="even", value=lambda z: np.exp(-z * z), value_bound=_constant(1.0),
        post=_unsigned,
        slope_bound=lambda b: 2 * np.minimum(b, 1 / SQRT_2) * np.exp(-(np.minimum(b, 1 / SQRT_2) ** 2)),
    )  # fmt: skip


def sign() -> Pointwise:
    return Pointwise(
        "sign", sign=True, scale="nonzero", parity="odd", value=np.sign, value_bound=_constant(1.0),
        post=lambda factor, shift: (np.sign(factor), np.zeros_like(shift)),
    )  # fmt: skip


def power(exponent: float) -> Pointwise:
    """``z^r``; on nonnegative numbers where r is no integer, on positive ones where r is negative too.

    Raises:
        WrongUse: For r = 0, which is no function of z.
    """
    r = float(exponent)
    if r in (0.0, 1.0):
        if r:
            return identity()
        raise WrongUse("z^0 is constant: no nonlinearity, fold it into the bias of the next layer")
    whole = r == int(r)
    even, odd = whole and r % 2 == 0, whole and r % 2 == 1
    exponent_text = str(int(r)) if whole else repr(r)
    exact = int(r) if whole else r

    def post(factor: ndarray, shift: ndarray) -> tuple[ndarray, ndarray]:
        size = np.abs(factor) ** exact
        return np.where(factor < 0, -size, size) if odd else size, np.zeros_like(shift)

    return Pointwise(
        f"pow({exponent_text})", sign=whole, scale="nonzero" if whole else "positive", post=post,
        parity="even" if even else "odd" if odd else "none",
        domain="real" if whole and r > 0 else "nonnegative" if r > 0 else "nonzero" if whole else "positive",
        value=lambda z: z**exact if r > 0 else 1 / z**-exact,
        slope_bound=(lambda b: r * b ** (exact - 1)) if r >= 1 else None,
        value_bound=(lambda b: b**exact) if r > 0 else None,
    )  # fmt: skip


FAMILIES: dict[str, Callable[..., Pointwise]] = {
    "identity": identity, "relu": relu, "leaky_relu": leaky_relu, "abs": absolute, "tanh": tanh, "erf": erf,
    "atan": atan, "asinh": asinh, "sinh": sinh, "softsign": softsign, "tanhshrink": tanhshrink,
    "softshrink": softshrink, "hardshrink": hardshrink, "hardtanh": hardtanh, "relu6": relu6, "sigmoid": sigmoid,
    "hardsigmoid": hardsigmoid, "gelu": gelu, "silu": silu, "hardswish": hardswish, "mish": mish,
    "softplus": softplus, "logsigmoid": logsigmoid, "elu": elu, "celu": celu, "selu": selu, "exp": exp, "log": log,
    "sin": sin, "cos": cos, "cosh": cosh, "gaussian": gaussian, "sign": sign, "pow": power,
    "square": lambda: power(2), "cube": lambda: power(3), "sqrt": lambda: power(0.5),
    "rsqrt": lambda: power(-0.5), "reciprocal": lambda: power(-1),
}  # fmt: skip
"""Constructor by name; its arguments are the parameters, by default those of PyTorch."""

POINTWISE: dict[str, Pointwise] = {name: family() for name, family in FAMILIES.items() if name != "pow"}
"""Every nonlinearity that has a rule, with its default parameters."""


def pointwise(name: str, *parameters: float | str) -> Pointwise:
    """The nonlinearity of this name, or an unknown one (permutations only) where there is no rule.

    Args:
        name: A name of the table, bare or with its parameters in brackets as ``Pointwise.name`` spells them.
        parameters: The parameters, where the name has none.

    Example:
        >>> pointwise("leaky_relu", 0.2) == pointwise("leaky_relu(0.2)")
        True
        >>> print(pointwise("pow", 3).gauge(5))
        permutations x nonzero scales
        >>> pointwise("my_own").known
        False
    """
    bare, bracket, inside = name.partition("(")
    if bracket and not parameters:
        parameters = tuple(_parse(word) for word in inside.rstrip(")").split(",") if word.strip())
    family = FAMILIES.get(bare)
    return Pointwise.unknown(name) if family is None else family(*parameters)


def _parse(word: str) -> float | str:
    word = word.strip().strip("'\"")
    try:
        return float(word)
    except ValueError:
        return word
