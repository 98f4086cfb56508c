r"""Values and parameter Jacobians of polynomial networks at given inputs, without ever expanding a polynomial.

Backwards: with ``G_l = d f / d z_l`` the rows are ``d f_o / d W_l[i, j] = G_l[o, i] a_{l-1}[j]``, and
``G_{l-1} = (G_l W_l) sigma'(z_{l-1})``. A row is a linear combination of the derivatives of the coefficients of f,
with the monomials of the input as factors, so the rows of many inputs span what the coefficients do. One code runs on
residues modulo a prime (``Modulus``) and on fractions (``Rationals``).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import numpy as np
from jaxtyping import Float
from numpy import ndarray

from intertwiner.errors import WrongUse
from intertwiner.numerics.modular import Modulus
from intertwiner.variety.activation import Arithmetic
from intertwiner.variety.architecture import Architecture


@dataclass(frozen=True)
class Rationals:
    """Fractions in object arrays: slow, for small sizes and as a check.

    Example:
        >>> net = Architecture((1, 1, 1), "t^2")
        >>> jacobian(net, Rationals().array(["1/2", 3]), Rationals().array([[2]]), Rationals())
        array([[Fraction(12, 1), Fraction(1, 1)]], dtype=object)
    """

    def array(self, values: Any) -> ndarray:
        """Numbers or texts as fractions, floats as the dyadic rationals that they are."""
        array = np.asarray(values, dtype=object)
        out = np.empty(array.shape, dtype=object)
        out.reshape(-1)[:] = [Fraction(v) for v in array.reshape(-1)]
        return out

    def fraction(self, value: Fraction) -> Fraction:
        return value

    def reduce(self, x: ndarray) -> ndarray:
        return x

    def mul(self, a: ndarray, b: Any) -> ndarray:
        return np.multiply(a, b)

    def add(self, a: ndarray, b: Any) -> ndarray:
        return np.add(a, b)

    def matmul(self, a: ndarray, b: ndarray) -> ndarray:
        return np.matmul(a, b)

    def power(self, x: ndarray, exponent: int) -> ndarray:
        return np.power(x, exponent)


def residues(values: Sequence[Any] | ndarray, field: Modulus) -> Float[ndarray, "..."]:
    """Residues of rational numbers: whole numbers, fractions, texts such as ``"1/3"``, floats as dyadic rationals.

    Raises:
        WrongUse: Where the prime divides a denominator; another prime will do.

    Example:
        >>> residues([[1, Fraction(1, 2)]], Modulus(7))
        array([[ 1., -3.]])
    """
    exact = Rationals().array(values)
    return np.array([field.fraction(v) for v in exact.reshape(-1)], dtype=np.float64).reshape(exact.shape)


def values(
    architecture: Architecture, theta: Float[ndarray, " P"], x: Float[ndarray, "n d"], field: Arithmetic
) -> Float[ndarray, "n o"]:
    """The outputs at some inputs."""
    return _forward(architecture, theta, x, field)[1][-1]


def jacobian(
    architecture: Architecture, theta: Float[ndarray, " P"], x: Float[ndarray, "n d"], field: Arithmetic
) -> Float[ndarray, "rows P"]:
    """The derivative of every output at every input after every parameter.

    Args:
        architecture: The network.
        theta: Its parameters, as numbers of ``field``.
        x: Inputs, likewise.
        field: A ``Modulus``, or ``Rationals()``.

    Returns:
        Rows ordered by input, then by output; columns as the parameters are.

    Raises:
        WrongUse: For parameters or inputs of another shape.

    Cost: ``n o P`` numbers, and a few times as many multiplications.

    Example:
        The one function ``w_2 (w_1 x)^2`` at x = 1, w = (2, 3): derivatives ``2 w_1 w_2`` and ``w_1^2``.

        >>> jacobian(Architecture((1, 1, 1), "t^2"), np.array([2.0, 3.0]), np.ones((1, 1)), Modulus())
        array([[12.,  4.]])
    """
    layers = architecture.unflatten(theta)
    read, z = _forward(architecture, theta, x, field)
    n, o = len(read[0]), architecture.outputs
    G = np.zeros((n, o, o), dtype=read[0].dtype)
    G[:, np.arange(o), np.arange(o)] = field.fraction(Fraction(1))
    parts: list[ndarray] = []
    for l in reversed(range(len(layers))):
        W, b = layers[l]
        if b is not None:
            parts.append(G)
        products = field.mul(G[:, :, :, None], read[l][:, None, None, :])
        parts.append(products.reshape(n, o, -1))
        if l:
            slopes = architecture.activation.slope(z[l - 1], field)
            G = field.mul(field.matmul(G.reshape(n * o, -1), W).reshape(n, o, -1), slopes[:, None, :])
    return np.concatenate(parts[::-1], axis=2).reshape(n * o, -1)


def _forward(
    architecture: Architecture, theta: ndarray, x: ndarray, field: Arithmetic
) -> tuple[list[ndarray], list[ndarray]]:
    """What every layer reads, and its pre-activations."""
    if x.ndim != 2 or x.shape[1] != architecture.inputs:
        raise WrongUse(
            f"{architecture} takes inputs of {architecture.inputs} numbers, one row each, got shape {x.shape}. "
            "Nothing was computed."
        )
    read, z = [x], []
    for l, (W, b) in enumerate(architecture.unflatten(theta)):
        if l:
            read.append(architecture.activation.value(z[-1], field))
        linear = field.matmul(read[-1], np.ascontiguousarray(W.T))
        z.append(linear if b is None else field.add(linear, b))
    return read, z
