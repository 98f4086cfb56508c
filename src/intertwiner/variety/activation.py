r"""Polynomial activations with rational coefficients: ``t^2``, ``t^3 + 2 t``, linear.

A polynomial with only one term but a constant, ``c (t + s)^r + e``, is a monomial in disguise once the layers around it
have biases: the shift s and the constant e move into them. Then a hidden unit may be rescaled, as it may for ``t^r``.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from math import comb
from typing import Any, Protocol

import numpy as np
from jaxtyping import Float
from numpy import ndarray

from intertwiner.errors import WrongUse
from intertwiner.numerics.polynomial import read_terms, write_terms

LARGEST = 1 << 20
"""Highest exponent that is taken."""


class Arithmetic(Protocol):
    """What values and Jacobians are computed with: residues modulo a prime, or fractions."""

    def fraction(self, value: Fraction) -> Any: ...
    def reduce(self, x: ndarray) -> ndarray: ...
    def mul(self, a: ndarray, b: Any) -> ndarray: ...
    def add(self, a: ndarray, b: Any) -> ndarray: ...
    def matmul(self, a: ndarray, b: ndarray) -> ndarray: ...
    def power(self, x: ndarray, exponent: int) -> ndarray: ...


@dataclass(frozen=True)
class Activation:
    """A polynomial by its terms.

    Args:
        terms: (exponent, coefficient), exponents ascending, no coefficient zero.

    Raises:
        WrongUse: For a constant, or exponents out of order, negative or above ``LARGEST``.

    Example:
        >>> sigma = activation("t^3 + 2t")
        >>> str(sigma), sigma.degree, sigma.is_monomial
        ('t^3 + 2 t', 3, False)
    """

    terms: tuple[tuple[int, Fraction], ...]

    def __post_init__(self) -> None:
        exponents = [k for k, _ in self.terms]
        if exponents != sorted(set(exponents)) or any(k < 0 for k in exponents) or not all(c for _, c in self.terms):
            raise WrongUse(
                f"an activation needs ascending exponents and coefficients other than zero, got {self.terms!r}. "
                "Next step: build it by monomial(r), polynomial([c0, c1, ...]) or a text such as 't^3 + 2t'. "
                "Nothing was computed."
            )
        if not exponents or exponents[-1] < 1:
            raise WrongUse(
                "an activation must not be constant: the network would not see its input. Next step: give a term in t, "
                "as in 't^2'. Nothing was computed."
            )
        if exponents[-1] > LARGEST:
            raise WrongUse(
                f"the highest exponent of an activation is {exponents[-1]}, the bound is {LARGEST}. Next step: a lower "
                "degree; beyond the number of functions that it can tell apart it changes no dimension. "
                "Nothing was computed."
            )

    @property
    def degree(self) -> int:
        return self.terms[-1][0]

    @property
    def is_monomial(self) -> bool:
        """``c t^r``, r >= 1."""
        return len(self.terms) == 1

    @property
    def is_linear(self) -> bool:
        """``c t``."""
        return self.is_monomial and self.degree == 1

    @property
    def is_affine(self) -> bool:
        """``c t + e``."""
        return self.degree == 1

    @property
    def has_parity(self) -> bool:
        """Whether it is even or odd: a sign of its argument is a sign of its value, or none."""
        return len({k % 2 for k in self.exponents}) == 1

    @property
    def exponents(self) -> tuple[int, ...]:
        return tuple(k for k, _ in self.terms)

    @property
    def coefficients(self) -> tuple[Fraction, ...]:
        """All coefficients, zeros too, constant first."""
        known = dict(self.terms)
        return tuple(known.get(k, Fraction(0)) for k in range(self.degree + 1))

    def coefficient(self, exponent: int) -> Fraction:
        return dict(self.terms).get(exponent, Fraction(0))

    def centre(self) -> tuple[Fraction, Fraction] | None:
        r"""The s and e of ``c (t + s)^r + e``, or None where it is not of this form.

        Example:
            >>> activation("t^2 + 2t").centre()
            (Fraction(1, 1), Fraction(-1, 1))
            >>> activation("t^3 + 2t").centre() is None
            True
        """
        r, c = self.terms[-1]
        shift = self.coefficient(r - 1) / (r * c) if r > 1 else Fraction(0)
        inner = [(k, a) for k, a in self.terms if 0 < k < r]
        if len(inner) != (r - 1 if shift else 0) or any(a != c * comb(r, k) * shift ** (r - k) for k, a in inner):
            return None
        return shift, self.coefficient(0) - c * shift**r

    def value(self, z: Float[ndarray, "..."], field: Arithmetic) -> Float[ndarray, "..."]:
        """The activation, entrywise."""
        return _horner(self.terms, z, field)

    def slope(self, z: Float[ndarray, "..."], field: Arithmetic) -> Float[ndarray, "..."]:
        """Its derivative, entrywise."""
        return _horner(tuple((k - 1, k * c) for k, c in self.terms if k), z, field)

    def to_json(self) -> list[list[Any]]:
        return [[k, str(c)] for k, c in self.terms]

    @classmethod
    def from_json(cls, record: Sequence[Sequence[Any]]) -> Activation:
        return cls(tuple((int(k), Fraction(c)) for k, c in record))

    def __str__(self) -> str:
        return write_terms(self.terms)


def _horner(terms: tuple[tuple[int, Fraction], ...], z: ndarray, field: Arithmetic) -> ndarray:
    """A sparse polynomial, highest exponent first."""
    above, out = terms[-1][0], np.full_like(z, field.fraction(terms[-1][1]))
    for k, c in reversed(terms[:-1]):
        out = field.add(field.mul(out, field.power(z, above - k)), field.fraction(c))
        above = k
    return field.mul(out, field.power(z, above)) if above else out


def monomial(r: int) -> Activation:
    """The activation ``t^r``.

    Raises:
        WrongUse: If r is no whole number of at least 1.

    Example:
        >>> str(monomial(2)), str(monomial(1))
        ('t^2', 'linear')
    """
    if isinstance(r, bool) or not isinstance(r, int | np.integer) or r < 1:
        raise WrongUse(
            f"a monomial t^r needs a whole number r of at least 1, got {r!r}. Usual cause: a degree given as a text; "
            "activation('t^2') reads those. Nothing was computed."
        )
    return Activation(((int(r), Fraction(1)),))


def polynomial(coefficients: Sequence[int | float | str | Fraction]) -> Activation:
    """The activation with these coefficients, constant first.

    Args:
        coefficients: Whole numbers, fractions, texts such as ``"1/3"``; floats are taken as the dyadic rationals that
            they are.

    Raises:
        WrongUse: For coefficients that are no rational numbers, or none beyond the constant.

    Example:
        >>> str(polynomial([0, "1/2", 0, 1]))
        't^3 + 1/2 t'
    """
    try:
        numbers = [Fraction(c) for c in coefficients]
    except (TypeError, ValueError, OverflowError, ZeroDivisionError) as error:
        raise WrongUse(
            f"the coefficients of an activation are rational numbers, constant first, got {coefficients!r} ({error}). "
            "Next step: whole numbers, fractions or texts such as '1/3'. Nothing was computed."
        ) from error
    return Activation(tuple((k, c) for k, c in enumerate(numbers) if c))


LINEAR = monomial(1)
"""No activation."""


def activation(text: str | Activation) -> Activation:
    """Read ``linear``, ``t^2``, ``t^3 + 2t``, ``1/2 t^2 - t``.

    Raises:
        WrongUse: For a text that is no polynomial in t.

    Example:
        >>> activation("2t - t^2 + t") == polynomial([0, 3, -1])
        True
    """
    if isinstance(text, Activation):
        return text
    terms = read_terms(text) if isinstance(text, str) else None
    if terms is None:
        raise WrongUse(
            f"the activation {text!r} is no polynomial in t with rational coefficients. Usual cause: a smooth or "
            "piecewise activation such as relu or tanh, whose functions are no variety. Next step: 'linear', 't^2', "
            "'t^3 + 2t', monomial(r) or polynomial([c0, c1, ...]). Nothing was computed."
        )
    return Activation(terms)
