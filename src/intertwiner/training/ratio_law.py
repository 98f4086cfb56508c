r"""Conserved quotients of linear forms in the parameters: confirmed exactly, and searched for by linear algebra.

``p / q`` is constant along a field X if and only if ``X(p) q - p X(q) = 0``. For linear forms that is linear in the
Pluecker coordinates ``w_ij = p_i q_j - p_j q_i``: ``sum_{i<j} w_ij (X_i theta_j - X_j theta_i) = 0``. So all w are the
solutions of linear equations at random points, and the quotients are those of rank 2. Not every solution is one, so a
search can miss some; what it returns is confirmed by exact multiplication.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import numpy as np
from flint import fmpq, fmpq_mat
from jaxtyping import Float
from numpy import ndarray

from intertwiner.errors import WrongUse
from intertwiner.numerics.modular import PRIMES, Modulus
from intertwiner.numerics.modular_echelon import Echelon
from intertwiner.numerics.rational import lifted, reduced_rows
from intertwiner.numerics.seeds import rng
from intertwiner.training.polynomial_law import PolynomialLaw, law_of
from intertwiner.training.polynomial_map import PolynomialMap, rational
from intertwiner.training.potentials import residues

MOST_PARAMETERS = 60
"""Parameters up to which quotients are searched for: 1770 pairs."""

SPARE = 8
"""Equations beyond the number of unknowns."""


@dataclass(frozen=True)
class RatioLaw:
    """A quotient of two linear forms in the parameters that gradient flow conserves.

    Args:
        numerator: A linear form.
        denominator: A linear form; the law exists where it is not zero.

    Example:
        >>> names = ("w1", "w2")
        >>> law = RatioLaw(law_of({(0, 1): Fraction(1)}, names), law_of({(1, 0): Fraction(1)}, names))
        >>> law.formula, law.value(np.array([2.0, 1.0])), law.gradient(np.array([2.0, 1.0]))
        ('w2 / w1', 0.5, array([-0.25,  0.5 ]))
    """

    numerator: PolynomialLaw
    denominator: PolynomialLaw

    @property
    def formula(self) -> str:
        parts = (self.numerator, self.denominator)
        return " / ".join(part.formula if len(part.terms) == 1 else f"({part.formula})" for part in parts)

    def value(self, theta: Float[ndarray, " D"]) -> float:
        """Its value at flat parameters."""
        return self.numerator.value(theta) / self.denominator.value(theta)

    def gradient(self, theta: Float[ndarray, " D"]) -> Float[ndarray, " D"]:
        """Its gradient at flat parameters."""
        below = self.denominator.value(theta)
        return (self.numerator.gradient(theta) - self.value(theta) * self.denominator.gradient(theta)) / below

    def to_json(self) -> dict[str, Any]:
        """The record as plain values."""
        return {
            "numerator": self.numerator.to_json(),
            "denominator": self.denominator.to_json(),
            "formula": self.formula,
        }

    @classmethod
    def from_json(cls, record: Mapping[str, Any]) -> RatioLaw:
        """The record that ``to_json`` wrote."""
        return cls(*(PolynomialLaw.from_json(record[part]) for part in ("numerator", "denominator")))

    def __str__(self) -> str:
        return f"{self.formula} = const"


def is_ratio_conserved(law: RatioLaw, phi: PolynomialMap) -> bool:
    """Whether the quotient is constant along every gradient of the polynomials: an identity of polynomials, exact.

    Example:
        >>> names = ("w1", "w2")
        >>> law = RatioLaw(law_of({(0, 1): Fraction(1)}, names), law_of({(1, 0): Fraction(1)}, names))
        >>> turned, stretched = {(2, 0): 1, (0, 2): 1}, {(2, 0): 1}
        >>> [is_ratio_conserved(law, PolynomialMap.from_terms([q], names)) for q in (turned, stretched)]
        [True, False]
    """
    above, below = law.numerator.polynomial(), law.denominator.polynomial()
    for entry in phi.entries:
        slopes = [entry.derivative(j) for j in range(phi.parameters)]
        rates = [sum(p.derivative(j) * s for j, s in enumerate(slopes)) for p in (above, below)]
        if rates[0] * below - above * rates[1]:
            return False
    return True


def ratio_residues(law: RatioLaw, theta: Float[ndarray, " D"], field: Modulus) -> Float[ndarray, " D"]:
    """The gradient of the law modulo p, times the square of the denominator.

    Example:
        >>> names = ("w1", "w2")
        >>> law = RatioLaw(law_of({(0, 1): Fraction(1)}, names), law_of({(1, 0): Fraction(1)}, names))
        >>> ratio_residues(law, np.array([2.0, 1.0]), Modulus())
        array([-1.,  2.])
    """
    above, below = (_form(part, len(theta)) for part in (law.numerator, law.denominator))
    values = field.reduce(np.array([field.reduce(form * theta).sum() for form in (above, below)]))
    return field.reduce(field.mul(above, values[1]) - field.mul(below, values[0]))


def _form(law: PolynomialLaw, size: int) -> Float[ndarray, " D"]:
    out = np.zeros(size)
    for c, ((j, _),) in law.terms:
        out[j] = c
    return out


def search_ratios(phi: PolynomialMap, *, seed: int = 0) -> tuple[RatioLaw, ...]:
    """Independent quotients of linear forms that every gradient flow of ``l(phi(theta))`` conserves.

    Args:
        phi: Polynomials whose gradients span the fields.
        seed: Decides the random points.

    Returns:
        Quotients that were confirmed exactly; there may be others.

    Raises:
        WrongUse: More than ``MOST_PARAMETERS``.

    Cost:
        An elimination of ``D^2 / 2`` unknowns, twice.

    Example:
        >>> phi = PolynomialMap.from_terms([{(2, 0, 1): 1, (0, 2, 1): 1}], ("a", "b", "c"))
        >>> [law.formula for law in search_ratios(phi)]
        ['a / b']
    """
    size = phi.parameters
    if size > MOST_PARAMETERS:
        raise WrongUse(
            f"quotients of {size} parameters are {size * (size - 1) // 2} unknowns, the bound is {MOST_PARAMETERS} "
            "parameters. Next step: a narrower network. Nothing was computed."
        )
    first, second = np.triu_indices(size, 1)
    found = [_solutions(phi, Modulus(p), first, second, seed) for p in PRIMES]
    vectors = lifted(found, PRIMES) if len(first) else []
    laws, field = [], Modulus(PRIMES[0])
    space, point = Echelon(size, field), residues((size,), field, rng(seed))
    for vector in vectors or []:
        law = _quotient(vector, first, second, phi.names)
        if law is not None and is_ratio_conserved(law, phi) and space.add(ratio_residues(law, point, field)[None]):
            laws.append(law)
    return tuple(laws)


def _solutions(
    phi: PolynomialMap, field: Modulus, first: ndarray, second: ndarray, seed: int
) -> Float[ndarray, "k pairs"]:
    """The Pluecker coordinates that satisfy the equations at random points, in reduced echelon form."""
    random, count = rng(seed), len(first) + SPARE
    points = residues((count, phi.parameters), field, random)
    weights = residues((count, 1, phi.dimension), field, random)
    speeds = field.matmul(weights, phi.jacobian(points, field))[:, 0]
    rows = field.mul(speeds[:, first], points[:, second]) - field.mul(speeds[:, second], points[:, first])
    space = Echelon(len(first), field)
    space.add(field.reduce(rows))
    return reduced_rows(field.reduce(space.null_space().T.copy()), field.prime)[0]


def _quotient(vector: list[Fraction], first: ndarray, second: ndarray, names: tuple[str, ...]) -> RatioLaw | None:
    """The two forms whose Pluecker coordinates these are, or None where they are of no two forms."""
    size = len(names)
    matrix = [[fmpq(0)] * size for _ in range(size)]
    for i, j, c in zip(first.tolist(), second.tolist(), vector, strict=True):
        matrix[i][j], matrix[j][i] = fmpq(c.numerator, c.denominator), fmpq(-c.numerator, c.denominator)
    rows, rank = fmpq_mat(matrix).rref()
    if rank != 2:
        return None
    forms = [{tuple(int(j == k) for k in range(size)): rational(rows[n, j]) for j in range(size)} for n in range(2)]
    return RatioLaw(law_of(forms[0], names), law_of(forms[1], names))
