r"""A conserved polynomial: whole coprime coefficients, a formula to read, its value and gradient.

Of the two signs the one is kept that makes the last parameter in it positive: outgoing weights minus incoming ones.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from math import gcd, lcm
from typing import Any

import numpy as np
from flint import fmpq
from jaxtyping import Float
from numpy import ndarray

from intertwiner.errors import ShapeMismatch
from intertwiner.numerics.modular import Modulus
from intertwiner.training.polynomial_map import ring

Monomial = tuple[tuple[int, int], ...]
"""Pairs (parameter, power), ascending."""


@dataclass(frozen=True)
class PolynomialLaw:
    """A polynomial in the parameters that gradient flow conserves.

    Args:
        names: Name of every parameter.
        terms: ``(coefficient, ((parameter, power), ...))``, coefficients whole and coprime.

    Example:
        >>> law = law_of({(2, 0): Fraction(1, 2), (0, 2): Fraction(-1, 2)}, ("w1", "w2"))
        >>> law.formula, law.degree, law.value(np.array([1.0, 3.0])), law.gradient(np.array([1.0, 3.0]))
        ('w2^2 - w1^2', 2, 8.0, array([-2.,  6.]))
    """

    names: tuple[str, ...]
    terms: tuple[tuple[int, Monomial], ...]

    @property
    def degree(self) -> int:
        return max(sum(power for _, power in monomial) for _, monomial in self.terms)

    @property
    def formula(self) -> str:
        """The polynomial in the names of the parameters: positive terms first, high degrees before low ones."""
        out = ""
        for c, monomial in sorted(self.terms, key=lambda t: (t[0] < 0, -sum(power for _, power in t[1]), t[1])):
            sign = " - " if c < 0 else " + "
            out += (sign if out else "-" if c < 0 else "") + ("" if abs(c) == 1 else f"{abs(c)} ")
            out += " ".join(self.names[j] + (f"^{power}" if power > 1 else "") for j, power in monomial)
        return out

    def polynomial(self) -> Any:
        """The law as a polynomial of flint, in ``ring(names)``."""
        dense = {}
        for c, monomial in self.terms:
            exponents = [0] * len(self.names)
            for j, power in monomial:
                exponents[j] = power
            dense[tuple(exponents)] = fmpq(c)
        return ring(self.names).from_dict(dense)

    def value(self, theta: Float[ndarray, " D"]) -> float:
        """Its value at flat parameters.

        Raises:
            ShapeMismatch: If there are not D.
        """
        theta = self._checked(theta)
        return float(sum(c * np.prod([theta[j] ** power for j, power in monomial]) for c, monomial in self.terms))

    def gradient(self, theta: Float[ndarray, " D"]) -> Float[ndarray, " D"]:
        """Its gradient at flat parameters; raises as ``value`` does."""
        theta = self._checked(theta)
        out = np.zeros(len(theta))
        for c, monomial in self.terms:
            for j, power in monomial:
                others = np.prod([theta[k] ** (q - (k == j)) for k, q in monomial])
                out[j] += c * power * others
        return out

    def _checked(self, theta: ndarray) -> Float[ndarray, " D"]:
        theta = np.asarray(theta, dtype=np.float64)
        if theta.shape != (len(self.names),):
            raise ShapeMismatch(
                f"the law {self.formula} takes {len(self.names)} parameters in one row, got shape {theta.shape}. "
                "Usual cause: another network, or weights that were not flattened. Nothing was computed."
            )
        return theta

    def to_json(self) -> dict[str, Any]:
        """The record as plain values."""
        terms = [[c, [list(pair) for pair in monomial]] for c, monomial in self.terms]
        return {"names": list(self.names), "terms": terms, "formula": self.formula}

    @classmethod
    def from_json(cls, record: Mapping[str, Any]) -> PolynomialLaw:
        """The record that ``to_json`` wrote."""
        terms = tuple((int(c), tuple((int(j), int(a)) for j, a in monomial)) for c, monomial in record["terms"])
        return cls(tuple(record["names"]), terms)

    def __str__(self) -> str:
        return f"{self.formula} = const"


def law_of(terms: Mapping[tuple[int, ...], Fraction], names: Sequence[str]) -> PolynomialLaw:
    """The law with these rational coefficients, scaled to whole coprime ones."""
    kept = {e: Fraction(c) for e, c in terms.items() if c}
    scale = Fraction(lcm(*(c.denominator for c in kept.values())), 1)
    scale /= gcd(*(int(c * scale) for c in kept.values()))
    last = max(kept, key=lambda e: tuple(reversed(e)))
    scale = -scale if kept[last] < 0 else scale
    listed = sorted(
        (tuple((j, a) for j, a in enumerate(exponents) if a), int(c * scale)) for exponents, c in kept.items()
    )
    return PolynomialLaw(tuple(names), tuple((c, monomial) for monomial, c in listed))


def law_residues(
    laws: Sequence[PolynomialLaw], theta: Float[ndarray, " D"], field: Modulus
) -> Float[ndarray, "laws D"]:
    """Gradients of several laws at a point modulo p, one row per law.

    Example:
        >>> law = law_of({(3, 0): Fraction(1), (0, 1): Fraction(1)}, ("a", "b"))
        >>> law_residues([law], np.array([2.0, 5.0]), Modulus())
        array([[12.,  1.]])
    """
    out = np.zeros((len(laws), len(theta)))
    rows, columns, coefficients, factors = [], [], [], []
    for n, law in enumerate(laws):
        for c, monomial in law.terms:
            for j, power in monomial:
                rows.append(n)
                columns.append(j)
                coefficients.append(field.fraction(Fraction(c * power)))
                factors.append([k for k, q in monomial for _ in range(q - (k == j))])
    if not rows:
        return out
    width = max(len(f) for f in factors)
    padded, values = np.append(theta, 1.0), np.array(coefficients)
    table = np.full((len(factors), width), len(theta))
    for n, listed in enumerate(factors):
        table[n, : len(listed)] = listed
    for column in table.T:
        values = field.mul(values, padded[column])
    np.add.at(out, (np.array(rows), np.array(columns)), values)
    return field.reduce(out)
