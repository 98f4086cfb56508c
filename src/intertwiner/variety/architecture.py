r"""A fully connected polynomial network by its widths: where its parameters are, and the degrees of its outputs.

``z_l = W_l a_{l-1} + b_l``, ``a_l = sigma(z_l)``, no activation after the last layer. Parameters are flat, ``W_1`` row
by row, ``b_1`` where there are biases, ``W_2``, and so on. Outputs are sums of forms whose degrees in the input lie in
a known set D, so the functions lie in a space of ``d_L sum_{k in D} C(d_0 + k - 1, k)`` dimensions.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from math import comb, lcm, log2
from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import Float
from numpy import ndarray

from intertwiner.errors import WrongUse
from intertwiner.numerics.modular import Modulus
from intertwiner.variety.activation import LINEAR, Activation, activation, monomial, polynomial
from intertwiner.variety.family import Bound, Finite, Size, draw, permutations

__all__ = ["Activation", "Architecture", "activation", "monomial", "polynomial"]

FOLLOWED = 4096
"""Degrees up to this are followed one by one; above, all up to the largest count as possible."""


def whole_numbers(values: Sequence[int], what: str, least: int = 2) -> tuple[int, ...]:
    """Positive whole numbers, or WrongUse that says what they were to be."""
    good = isinstance(values, Sequence | np.ndarray) and not isinstance(values, str)
    numbers = list(values) if good else []
    whole = all(isinstance(v, int | np.integer) and not isinstance(v, bool) and v >= 1 for v in numbers)
    if not good or len(numbers) < least or not whole:
        raise WrongUse(
            f"{what} are at least {least} whole numbers of at least 1, got {values!r}. Usual cause: the input or "
            "output was left out, or a text that was not split. Nothing was computed."
        )
    return tuple(int(v) for v in numbers)


@dataclass(frozen=True)
class Architecture:
    """Widths, activation and whether there are biases.

    Args:
        widths: Input, hidden and output widths, at least two.
        activation: A polynomial between the layers, or its text: ``"t^2"``, ``"t^3 + 2t"``, ``"linear"``.
        bias: Whether every layer has biases.

    Raises:
        WrongUse: For widths or an activation that are no such thing.

    Example:
        >>> net = Architecture((2, 3, 3, 1), "t^2")
        >>> str(net), net.parameters, net.ambient_dimension
        ('2-3-3-1, t^2', 18, 5)
    """

    widths: tuple[int, ...]
    activation: Activation = LINEAR
    bias: bool = False

    if TYPE_CHECKING:  # texts are taken too, and stored as what they spell

        def __init__(
            self, widths: Sequence[int], activation: Activation | str = LINEAR, bias: bool = False
        ) -> None: ...

    def __post_init__(self) -> None:
        object.__setattr__(self, "widths", whole_numbers(self.widths, "widths"))
        object.__setattr__(self, "activation", activation(self.activation))
        object.__setattr__(self, "bias", bool(self.bias))

    @property
    def depth(self) -> int:
        """Number of layers L."""
        return len(self.widths) - 1

    @property
    def hidden(self) -> tuple[int, ...]:
        return self.widths[1:-1]

    @property
    def inputs(self) -> int:
        return self.widths[0]

    @property
    def outputs(self) -> int:
        return self.widths[-1]

    @property
    def parameters(self) -> int:
        """Number of parameters P."""
        return sum(b * (a + self.bias) for a, b in pairwise(self.widths))

    @property
    def degrees(self) -> frozenset[int] | int:
        """Degrees in the input that an output can have; only the largest where it is above ``FOLLOWED``."""
        return output_degrees(self.activation, self.depth, self.bias)

    @property
    def ambient_dimension(self) -> int:
        """Number of coefficients of all outputs as polynomials in the input."""
        return self.outputs * monomials(self.inputs, self.degrees)

    def unflatten(self, theta: Float[ndarray, " P"]) -> list[tuple[ndarray, ndarray | None]]:
        """``(W_l, b_l)`` by layer; b_l is None without biases.

        Raises:
            WrongUse: If there are not P parameters.
        """
        theta = np.asarray(theta)
        if theta.shape != (self.parameters,):
            raise WrongUse(
                f"{self} has {self.parameters} parameters in one row, got shape {theta.shape}. Usual cause: weights of "
                "another network, or biases left out. Nothing was computed."
            )
        out, start = [], 0
        for fan_in, fan_out in pairwise(self.widths):
            W = theta[start : start + fan_in * fan_out].reshape(fan_out, fan_in)
            start += fan_in * fan_out
            b = theta[start : start + fan_out] if self.bias else None
            start += fan_out * self.bias
            out.append((W, b))
        return out

    def jacobian(self, theta: ndarray, x: ndarray, field: Any) -> ndarray:
        """Rows (input, output), columns parameters; see ``jacobian.jacobian``."""
        from intertwiner.variety.jacobian import jacobian

        return jacobian(self, theta, x, field)

    def draw_theta(self, field: Modulus, random: np.random.Generator) -> Float[ndarray, " P"]:
        """Random parameters."""
        return draw((self.parameters,), field, random)

    def draw_inputs(self, count: int, field: Modulus, random: np.random.Generator) -> Float[ndarray, "n d"]:
        """Random inputs."""
        return draw((count, self.inputs), field, random)

    def size(self) -> Size:
        """Degrees and size of the entries of the Jacobian, denominators cleared."""
        return polynomial_size(self.widths[:-1], self.activation, self.bias)

    def bound(self) -> Bound:
        """The least proved upper bound of the dimension of its functions; see ``bounds``."""
        from intertwiner.variety.bounds import upper_bound

        return upper_bound(self)

    def finite(self) -> tuple[Finite, ...]:
        """Permutations of hidden units, with signs where the activation is even or odd and no scales hide them."""
        return hidden_permutations(self.hidden, self.activation, self.bias, "units")

    def to_json(self) -> dict[str, Any]:
        return {
            "kind": "fully connected",
            "widths": list(self.widths),
            "activation": self.activation.to_json(),
            "bias": self.bias,
        }

    @classmethod
    def from_json(cls, record: Mapping[str, Any]) -> Architecture:
        return cls(tuple(record["widths"]), Activation.from_json(record["activation"]), record["bias"])

    def __str__(self) -> str:
        return f"{'-'.join(map(str, self.widths))}, {self.activation}{', biases' if self.bias else ''}"


def polynomial_size(fan_ins: Sequence[int], sigma: Activation, bias: bool) -> Size:
    """Degrees and size of Jacobians of networks whose units of layer l read so many numbers each.

    A factor of the activation moves into the next layer, so its coefficients may be taken whole.
    """
    denominator = lcm(*(c.denominator for _, c in sigma.terms))
    weight = log2(sum(abs(int(c * denominator)) for _, c in sigma.terms))
    degree, bits = 1, log2(fan_ins[0] + bias)
    for fan_in in fan_ins[1:]:
        degree = 1 + sigma.degree * degree
        bits = log2(fan_in + bias) + max(0.0, weight + sigma.degree * bits)
    return Size(degree, sigma.degree ** (len(fan_ins) - 1), bits + log2(degree))


def is_scaled(sigma: Activation, bias: bool) -> bool:
    """Whether a hidden unit may be rescaled: monomials, and with biases those in disguise."""
    return sigma.is_monomial or (bias and sigma.centre() is not None)


def is_affine(sigma: Activation, bias: bool) -> bool:
    """Whether hidden units may be mixed: linear layers, or affine ones with biases."""
    return sigma.is_linear or (sigma.is_affine and bias)


def hidden_permutations(hidden: Sequence[int], sigma: Activation, bias: bool, what: str) -> tuple[Finite, ...]:
    """The permutations of every hidden layer; none where linear maps hold them already."""
    if is_affine(sigma, bias):
        return ()
    signed = sigma.has_parity and not is_scaled(sigma, bias)
    places = ((width, f"hidden layer {k}") for k, width in enumerate(hidden, 1) if width > 1 or signed)
    return tuple(permutations(width, place, signed=signed, what=what) for width, place in places)


def output_degrees(sigma: Activation, layers: int, bias: bool) -> frozenset[int] | int:
    """Degrees of the outputs after so many layers, or the largest where it is above ``FOLLOWED``.

    Example:
        >>> sorted(output_degrees(activation("t^3 + 2t"), 3, bias=False))
        [1, 3, 5, 7, 9]
        >>> output_degrees(activation("t^10"), 20, bias=False) == frozenset({10**19})
        True
    """
    if sigma.is_monomial and not bias:
        return frozenset({sigma.degree ** (layers - 1)})
    largest = sigma.degree ** (layers - 1)
    if largest > FOLLOWED:
        return largest
    known = frozenset({0, 1}) if bias else frozenset({1})
    for _ in range(layers - 1):
        known = frozenset().union(*(_fold(known, k) for k in sigma.exponents)) | (known & {0} if bias else frozenset())
    return known


def _fold(degrees: frozenset[int], times: int) -> frozenset[int]:
    """Sums of so many of the degrees."""
    out, square = frozenset({0}), degrees
    while times:
        out = _sums(out, square) if times & 1 else out
        times >>= 1
        square = _sums(square, square) if times else square
    return out


def _sums(a: frozenset[int], b: frozenset[int]) -> frozenset[int]:
    """All sums of one of each, by the bits of whole numbers."""
    bits, out = sum(1 << d for d in a), 0
    for d in b:
        out |= bits << d
    return frozenset(i for i in range(out.bit_length()) if out >> i & 1)


def monomials(variables: int, degrees: frozenset[int] | int) -> int:
    """Number of monomials of these degrees; of all up to the largest, where that is what is known.

    Example:
        >>> monomials(3, frozenset({2})), monomials(2, 2)
        (6, 6)
    """
    if isinstance(degrees, int):
        return comb(variables + degrees, variables)
    return sum(comb(variables + k - 1, k) for k in degrees)
