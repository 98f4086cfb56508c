r"""A model given by polynomials in its parameters: their gradients and Hessians along curves, modulo a prime.

``phi = (phi_1, ..., phi_m)`` in D parameters, with rational coefficients, held by flint as sparse polynomials: exact,
and differentiable by hand. Modulo p every derivative is a table of monomials, evaluated for many points, or on
truncated power series, at once. Meant for small models whose phi can be written out; chains of layers have a fast
implementation of the same protocol (``potentials.py``).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from functools import cached_property, reduce
from typing import Any

import numpy as np
from flint import Ordering, fmpq, fmpq_mpoly_ctx
from jaxtyping import Float, Int
from numpy import ndarray

from intertwiner.errors import WrongUse
from intertwiner.numerics.modular import Modulus
from intertwiner.training.potentials import residues

MOST_TERMS = 200_000
"""Terms of all polynomials together, above which nothing is tabulated: second derivatives have as many, times the
square of the degree."""

Exponents = tuple[int, ...]
Terms = Mapping[Exponents, Fraction | int]


def ring(names: Sequence[str]) -> Any:
    """The ring of polynomials over Q in these variables; flint has one object per list of names."""
    # flint takes identifiers only, so the names stay outside.
    return fmpq_mpoly_ctx.get([f"t{k}" for k in range(len(names))], Ordering.degrevlex)


def rational(value: Any) -> Fraction:
    """A number of flint as a fraction of Python."""
    value = fmpq(value)
    return Fraction(int(value.p), int(value.q))


def terms_of(polynomial: Any) -> Iterator[tuple[Exponents, Fraction]]:
    """Exponents and coefficient of every term."""
    return ((tuple(int(a) for a in exponents), rational(c)) for exponents, c in polynomial.to_dict().items())


@dataclass(frozen=True, eq=False)
class PolynomialMap:
    """Polynomials ``phi_1, ..., phi_m`` in named parameters, as a local reparametrisation.

    Args:
        entries: Polynomials of ``ring(names)``.
        names: Name of every parameter, in the order of the flat vector.
        title: What they belong to, in words.

    Raises:
        WrongUse: No parameter, or more than ``MOST_TERMS`` terms.

    Example:
        >>> phi = PolynomialMap.from_terms([{(1, 1): 1}], ("w1", "w2"))
        >>> phi.parameters, phi.dimension
        (2, 1)
        >>> phi.jacobian(np.array([[2.0, 3.0]]), Modulus())
        array([[[3., 2.]]])
    """

    entries: tuple[Any, ...]
    names: tuple[str, ...]
    title: str = "polynomial map"

    def __post_init__(self) -> None:
        if not self.names:
            raise WrongUse("a polynomial map needs at least one parameter. Nothing was computed.")
        size = sum(len(entry.to_dict()) for entry in self.entries)
        if size > MOST_TERMS:
            raise WrongUse(
                f"the {self.title} has {size} terms written out, the bound is {MOST_TERMS}. Next step: a smaller "
                "model, or count_laws, which never writes the polynomials out. Nothing was computed."
            )

    @classmethod
    def from_terms(cls, entries: Sequence[Terms], names: Sequence[str], title: str = "polynomial map") -> PolynomialMap:
        """From one mapping of exponents to coefficients per polynomial.

        Raises:
            WrongUse: Exponents that are not as many as there are names, or negative.
        """
        context = ring(names)
        for exponents in (e for entry in entries for e in entry):
            if len(exponents) != len(names) or min(exponents, default=0) < 0:
                raise WrongUse(
                    f"a monomial in {len(names)} parameters has as many exponents of at least 0, got {exponents}. "
                    "Nothing was computed."
                )
        made = [
            context.from_dict({e: fmpq(Fraction(c).numerator, Fraction(c).denominator) for e, c in entry.items()})
            for entry in entries
        ]
        return cls(tuple(made), tuple(names), title)

    @property
    def parameters(self) -> int:
        """Number of parameters D."""
        return len(self.names)

    @property
    def dimension(self) -> int:
        """Number of polynomials."""
        return len(self.entries)

    def __str__(self) -> str:
        return self.title

    def draw(self, count: int, field: Modulus, random: np.random.Generator) -> Combinations:
        """Random combinations of the polynomials."""
        return Combinations(self, residues((count, self.dimension), field, random))

    @cached_property
    def _terms(self) -> list[tuple[int, Exponents, Fraction]]:
        return [(i, e, c) for i, entry in enumerate(self.entries) for e, c in terms_of(entry)]

    @cached_property
    def zeroth(self) -> Derivatives:
        """The polynomials themselves, target the entry."""
        return Derivatives.of([(i, e, c) for i, e, c in self._terms], len(self.entries), source=None)

    @cached_property
    def first(self) -> Derivatives:
        """All first derivatives, target ``(entry, parameter)``."""
        rows = [(i * self.parameters + j, _lower(e, j), c * e[j]) for i, e, c in self._terms for j in _support(e)]
        return Derivatives.of(rows, len(self.entries) * self.parameters, source=None)

    @cached_property
    def second(self) -> Derivatives:
        """All second derivatives, target a pair of parameters, each term with the entry it comes from."""
        rows, source = [], []
        for i, e, c in self._terms:
            for j in _support(e):
                lower = _lower(e, j)
                for k in _support(lower):
                    rows.append((j * self.parameters + k, _lower(lower, k), c * e[j] * lower[k]))
                    source.append(i)
        return Derivatives.of(rows, self.parameters**2, source=source)

    def jacobian(self, points: Float[ndarray, "n D"], field: Modulus) -> Float[ndarray, "n m D"]:
        """The gradients of all polynomials at several points modulo p."""
        values = self.first.at(points, field)
        return values.reshape(len(points), self.dimension, self.parameters)


def _support(exponents: Exponents) -> list[int]:
    return [j for j, a in enumerate(exponents) if a]


def _lower(exponents: Exponents, j: int) -> Exponents:
    return (*exponents[:j], exponents[j] - 1, *exponents[j + 1 :])


@dataclass(frozen=True, eq=False)
class Derivatives:
    """A table of terms, ``out[target] += coefficient * monomial``, sorted by target.

    Args:
        factors: The variables of every distinct monomial, filled up with D, which stands for 1.
        monomial: The monomial of every term.
        coefficients: Its coefficient.
        source: The polynomial that it comes from; empty where nobody asks.
        targets: The targets that occur, ascending.
        starts: The first term of each.
        size: Number of targets in all.
    """

    factors: Int[ndarray, "monomials degree"]
    monomial: Int[ndarray, " terms"]
    coefficients: tuple[Fraction, ...]
    source: Int[ndarray, " terms"]
    targets: Int[ndarray, " k"]
    starts: Int[ndarray, " k"]
    size: int

    @classmethod
    def of(
        cls, rows: Sequence[tuple[int, Exponents, Fraction]], size: int, *, source: Sequence[int] | None
    ) -> Derivatives:
        order = sorted(range(len(rows)), key=lambda n: rows[n][0])
        number: dict[Exponents, int] = {}
        monomial = [number.setdefault(rows[n][1], len(number)) for n in order]
        degree = max((sum(e) for e in number), default=0)
        factors = np.zeros((len(number), degree), dtype=np.int64)
        for e, n in number.items():
            listed = [j for j, a in enumerate(e) for _ in range(a)]
            factors[n] = listed + [len(e)] * (degree - len(listed))
        targets, starts = np.unique([rows[n][0] for n in order], return_index=True)
        return cls(
            factors,
            np.array(monomial, dtype=np.int64),
            tuple(rows[n][2] for n in order),
            np.array([] if source is None else [source[n] for n in order], dtype=np.int64),
            targets.astype(np.int64),
            starts,
            size,
        )

    def residues(self, field: Modulus) -> Float[ndarray, " terms"]:
        """The coefficients modulo p; kept, because they are asked for at every step of a curve."""
        if field.prime not in self._kept:
            self._kept[field.prime] = np.array([field.fraction(c) for c in self.coefficients])
            self._kept[field.prime].setflags(write=False)
        return self._kept[field.prime]

    @cached_property
    def _kept(self) -> dict[int, Float[ndarray, " terms"]]:
        return {}

    def at(self, points: Float[ndarray, "n D"], field: Modulus) -> Float[ndarray, "n size"]:
        """The values at several points."""
        padded = np.concatenate([points, np.ones((len(points), 1))], axis=1)
        columns = [padded[:, f] for f in self.factors.T]
        monomials = reduce(field.mul, columns) if columns else np.ones((len(points), len(self.factors)))
        return self._sum(monomials, self.residues(field), field)

    def real(self, point: Float[ndarray, " D"]) -> Float[ndarray, " size"]:
        """The values at one point, in float64."""
        out = np.zeros(self.size)
        if len(self.targets):
            monomials = np.append(point, 1.0)[self.factors].prod(axis=1)
            terms = monomials[self.monomial] * np.array([float(c) for c in self.coefficients])
            out[self.targets] = np.add.reduceat(terms, self.starts)
        return out

    def along(
        self, curve: Float[ndarray, "orders D"], coefficients: Float[ndarray, " terms"], field: Modulus
    ) -> Float[ndarray, "orders size"]:
        """The values along a curve, as a power series, with these coefficients."""
        one = np.zeros((len(curve), 1))
        one[0] = 1.0
        padded = np.concatenate([curve, one], axis=1)
        columns = [padded[:, f] for f in self.factors.T]
        constant = np.repeat(one, len(self.factors), axis=1)
        monomials = reduce(lambda a, b: _multiply(a, b, field), columns) if columns else constant
        return self._sum(monomials, coefficients, field)

    def _sum(self, monomials: ndarray, coefficients: ndarray, field: Modulus) -> Float[ndarray, "n size"]:
        out = np.zeros((len(monomials), self.size))
        if len(self.targets):
            terms = field.mul(monomials[:, self.monomial], coefficients)
            out[:, self.targets] = field.reduce(np.add.reduceat(terms, self.starts, axis=1))
        return out


def _multiply(a: Float[ndarray, "orders k"], b: Float[ndarray, "orders k"], field: Modulus) -> ndarray:
    """Products of power series, column by column."""
    out = [sum(field.mul(a[i], b[n - i]) for i in range(n + 1)) for n in range(len(a))]
    return field.reduce(np.stack(out))


@dataclass(frozen=True, eq=False)
class Combinations:
    """Several combinations of the polynomials.

    Args:
        phi: The polynomials.
        coefficients: Residues, one row per combination.
    """

    phi: PolynomialMap
    coefficients: Float[ndarray, "count m"]

    def gradients(self, theta: Float[ndarray, "orders D"], field: Modulus) -> Float[ndarray, "orders count D"]:
        """The gradients along a curve."""
        table = self.phi.first
        values = table.along(theta, table.residues(field), field)
        return field.matmul(self.coefficients, values.reshape(len(theta), self.phi.dimension, self.phi.parameters))

    def hessian(self, theta: Float[ndarray, "orders D"], field: Modulus) -> Float[ndarray, "orders D D"]:
        """The Hessian of the first combination along a curve."""
        table, size = self.phi.second, self.phi.parameters
        coefficients = field.mul(table.residues(field), self.coefficients[0][table.source])
        return table.along(theta, coefficients, field).reshape(len(theta), size, size)
