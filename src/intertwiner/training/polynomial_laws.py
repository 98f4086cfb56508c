r"""All polynomials up to a degree that gradient flow conserves, by linear algebra over the rational numbers.

h is conserved if and only if ``<grad h, grad phi_i> = 0`` identically in the parameters, for every i: linear
equations for the coefficients of h [Marcotte, Gribonval, Peyre 2023, sec. 2.4]. They split. A term ``theta^a`` of h
and a term ``theta^b`` of phi meet in ``theta^(a + b - 2 e_j)``, so every sign change of parameters under which all
phi_i are even or odd is respected, and so is the degree of h where every phi_i is homogeneous: parities, not
multidegrees (``w2^2 - w1^2`` has no multidegree).

Two sides again. At random points modulo p, each equation is a row; the rank never exceeds that over Q, so the null
space is at least as large as the space of laws. Its basis is lifted to fractions and checked by exact multiplication:
if all of it passes, nothing was missed.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from itertools import combinations_with_replacement, permutations
from math import comb
from typing import Any

import numpy as np
from flint import fmpq, fmpq_mat
from jaxtyping import Float, Int
from numpy import ndarray

from intertwiner.errors import WrongUse
from intertwiner.numerics.modular import PRIMES, Modulus
from intertwiner.numerics.modular_echelon import Echelon
from intertwiner.numerics.rational import lifted
from intertwiner.numerics.seeds import rng
from intertwiner.training.counts import bracket_ranks
from intertwiner.training.polynomial_law import PolynomialLaw, law_of, law_residues
from intertwiner.training.polynomial_map import PolynomialMap, rational
from intertwiner.training.potentials import residues
from intertwiner.verdict import Kind, Verdict

MOST_MONOMIALS = 200_000
"""Monomials that are listed at most."""

MOST_UNKNOWNS = 3_000
"""Unknowns of one system at most: a third of a gigabyte and about a minute."""

MOST_SHORTENED = 16
"""Vectors of one system up to which shorter combinations are looked for."""

SPARE = 8
"""Equations beyond the number of unknowns."""

POINTS = 512
"""Points evaluated at a time."""

DEPTH = 8
"""Most brackets nested in one another for the count that the laws are compared with."""


@dataclass(frozen=True)
class PolynomialLaws:
    """The conserved polynomials of a model up to a degree.

    Args:
        model: What it is, in words.
        names: Name of every parameter.
        degree: Up to which was searched.
        laws: Functionally independent ones, of the lowest degrees possible.
        dimensions: Dimension of the space of conserved polynomials of degree at most 1, 2, ..., without constants.
        most: Number of independent conserved functions of any kind that cannot be exceeded.
        verdict: PROVED where the search missed no polynomial up to the degree.
    """

    model: str
    names: tuple[str, ...]
    degree: int
    laws: tuple[PolynomialLaw, ...]
    dimensions: tuple[int, ...]
    most: int
    verdict: Verdict

    @property
    def missing(self) -> int:
        """How many independent conserved functions there may be besides: of higher degree, or no polynomials."""
        return self.most - len(self.laws)

    @property
    def complete(self) -> bool:
        """Whether the laws are all there are, of any kind, up to functions of them: proved where it is true."""
        return self.missing == 0

    def to_json(self) -> dict[str, Any]:
        """The record as plain values."""
        return {
            "model": self.model,
            "names": list(self.names),
            "degree": self.degree,
            "laws": [law.to_json() for law in self.laws],
            "dimensions": list(self.dimensions),
            "most": self.most,
            "verdict": self.verdict.to_json(),
        }

    @classmethod
    def from_json(cls, record: Mapping[str, Any]) -> PolynomialLaws:
        """The record that ``to_json`` wrote."""
        fields = dict(record)
        fields["names"] = tuple(fields["names"])
        fields["laws"] = tuple(PolynomialLaw.from_json(law) for law in fields["laws"])
        fields["dimensions"] = tuple(fields["dimensions"])
        fields["verdict"] = Verdict.from_json(fields["verdict"])
        return cls(**fields)

    def __str__(self) -> str:
        end = "complete" if self.complete else f"up to {self.missing} missing"
        head = f"{self.model}: {len(self.laws)} independent conserved polynomials of degree <= {self.degree}, {end}"
        return "\n".join([head, *(f"  {law}" for law in self.laws)])


def polynomial_laws(phi: PolynomialMap, degree: int = 2, *, seed: int = 0) -> PolynomialLaws:
    """All polynomials up to a degree that are conserved by every gradient flow of ``l(phi(theta))``.

    Args:
        phi: The model; ``chain_map(Chain(...))`` or ``separated(PolynomialChain(...)).phi`` write one out.
        degree: Highest degree looked at, at least 1.
        seed: Decides the random points.

    Returns:
        Independent laws, how many there are in all by degree, and how many conserved functions can still be missing.

    Raises:
        WrongUse: A degree below 1, or systems that would be too large; the message names their size.

    Cost:
        Cubic in the largest number of monomials of one parity, below ``C(D + degree, degree)``.

    Example:
        >>> from intertwiner.training.separated import chain_map
        >>> from intertwiner.training import Chain
        >>> print(polynomial_laws(chain_map(Chain((1, 1, 1), "relu", bias=True))))
        relu network (1, 1, 1) with biases: 1 independent conserved polynomials of degree <= 2, complete
          W2[0,0]^2 - W1[0,0]^2 - b1[0]^2 = const
    """
    classes = _classes(phi, degree)
    found: list[PolynomialLaw] = []
    doubtful = 0
    for k, exponents in enumerate(classes):
        laws, failed = _solve(phi, exponents, seed=seed + k)
        found += laws
        doubtful += failed
    found.sort(key=lambda law: (law.degree, len(law.terms), [(-c, monomial) for c, monomial in law.terms]))
    dimensions = tuple(sum(law.degree <= d for law in found) for d in range(1, degree + 1))
    field = Modulus(PRIMES[0])
    point = residues((phi.parameters,), field, rng(seed))
    laws = _independent(found, point, field)
    ranks = bracket_ranks(phi, point, field, depth=DEPTH, enough=phi.parameters - len(laws), seed=seed)
    verdict = _verdict(phi, degree, dimensions[-1], doubtful)
    return PolynomialLaws(str(phi), phi.names, degree, laws, dimensions, phi.parameters - ranks[-1], verdict)


def is_conserved(law: PolynomialLaw, phi: PolynomialMap) -> bool:
    """Whether ``<grad h, grad phi_i>`` is the zero polynomial for every i: exact.

    Example:
        >>> phi = PolynomialMap.from_terms([{(1, 1): 1}], ("w1", "w2"))
        >>> laws = [law_of({(2, 0): Fraction(a), (0, 2): Fraction(1)}, phi.names) for a in (-1, 1)]
        >>> [is_conserved(law, phi) for law in laws]
        [True, False]
    """
    h = law.polynomial()
    used = sorted({j for _, monomial in law.terms for j, _ in monomial})
    slopes = [(j, h.derivative(j)) for j in used]
    return all(not sum(slope * entry.derivative(j) for j, slope in slopes) for entry in phi.entries)


def _classes(phi: PolynomialMap, degree: int) -> list[Int[ndarray, "n D"]]:
    """The exponents of all monomials, split as the equations split."""
    size = phi.parameters
    if degree < 1:
        raise WrongUse(f"laws have a degree of at least 1, got {degree}. Nothing was computed.")
    total = comb(size + degree, degree) - 1
    if total > MOST_MONOMIALS:
        raise WrongUse(
            f"{size} parameters have {total} monomials up to degree {degree}, the bound is {MOST_MONOMIALS}. "
            "Next step: a lower degree or a narrower network. Nothing was computed."
        )
    signs, homogeneous = _gradings(phi)
    blocks = []
    for d in range(1, degree + 1):
        chosen = np.array(list(combinations_with_replacement(range(size), d)), dtype=np.int64)
        exponents = np.zeros((len(chosen), size), dtype=np.int64)
        np.add.at(exponents, (np.arange(len(chosen))[:, None], chosen), 1)
        blocks.append(exponents)
    exponents = np.concatenate(blocks)
    keys = exponents @ signs.T % 2
    if homogeneous:
        keys = np.concatenate([keys, exponents.sum(axis=1, keepdims=True)], axis=1)
    _, label, counts = np.unique(keys, axis=0, return_inverse=True, return_counts=True)
    if counts.max() > MOST_UNKNOWNS:
        raise WrongUse(
            f"the largest of {len(counts)} systems for the laws of the {phi} up to degree {degree} has {counts.max()} "
            f"unknowns, the bound is {MOST_UNKNOWNS}. Next step: a lower degree or a narrower network. "
            "Nothing was computed."
        )
    order = np.argsort(label.ravel(), kind="stable")
    return np.split(exponents[order], np.cumsum(counts)[:-1])


def _gradings(phi: PolynomialMap) -> tuple[Int[ndarray, "k D"], bool]:
    """Sign changes under which every polynomial is even or odd, and whether all are homogeneous."""
    homogeneous, differences = True, []
    for entry in phi.entries:
        exponents = np.array(entry.monoms(), dtype=np.int64).reshape(-1, phi.parameters)
        homogeneous &= len(set(exponents.sum(axis=1).tolist())) <= 1
        differences.append((exponents[1:] - exponents[:1]) % 2)
    rows = np.unique(np.concatenate([*differences, np.zeros((1, phi.parameters), dtype=np.int64)]), axis=0)
    return _null_space_of_parities(rows), homogeneous


def _null_space_of_parities(rows: Int[ndarray, "m n"]) -> Int[ndarray, "k n"]:
    """Basis of ``{s : rows s = 0}`` over the field of two elements."""
    work, pivots, top = rows.copy(), [], 0
    for column in range(work.shape[1]):
        below = np.flatnonzero(work[top:, column])
        if not len(below):
            continue
        work[[top, top + below[0]]] = work[[top + below[0], top]]
        others = np.flatnonzero(work[:, column])
        work[others[others != top]] ^= work[top]
        pivots.append(column)
        top += 1
    free = [c for c in range(work.shape[1]) if c not in pivots]
    basis = np.zeros((len(free), work.shape[1]), dtype=np.int64)
    for k, column in enumerate(free):
        basis[k, column] = 1
        basis[k, pivots] = work[:top, column]
    return basis


def _solve(phi: PolynomialMap, exponents: Int[ndarray, "n D"], *, seed: int) -> tuple[list[PolynomialLaw], int]:
    """The laws among combinations of some monomials, and how many candidates could not be confirmed."""
    spaces = [_null_space(phi, exponents, Modulus(prime), seed) for prime in PRIMES]
    smallest = min(space.shape[1] for _, space in spaces)
    if not smallest:
        return [], 0
    (free, one), (other_free, other) = spaces
    vectors = lifted([one.T, other.T], PRIMES) if np.array_equal(free, other_free) else None
    if vectors is None:
        return [], smallest
    # Highest degrees first: reduced rows then have the lowest degrees possible.
    order = np.argsort(-exponents.sum(axis=1), kind="stable")
    table = fmpq_mat([[fmpq(v[n].numerator, v[n].denominator) for n in order] for v in vectors]).rref()[0]
    rows = [{int(n): rational(c) for n, c in zip(order, row, strict=True) if c} for row in table.tolist()]
    rows = _shortened(rows, exponents.sum(axis=1))
    laws = [law_of({tuple(exponents[n].tolist()): c for n, c in row.items()}, phi.names) for row in rows]
    kept = [law for law in laws if is_conserved(law, phi)]
    return kept, len(laws) - len(kept)


def _shortened(rows: list[dict[int, Fraction]], degrees: Int[ndarray, " n"]) -> list[dict[int, Fraction]]:
    """The same space by shorter vectors: multiples of one are taken from another as long as terms disappear.

    Only a vector of no higher degree is taken, so no degree rises.
    """
    if len(rows) > MOST_SHORTENED:
        return rows
    shorter = True
    while shorter:
        shorter = False
        for i, j in permutations(range(len(rows)), 2):
            if max(degrees[n] for n in rows[j]) > max(degrees[n] for n in rows[i]):
                continue
            for n in sorted(rows[i].keys() & rows[j].keys()):
                if n in rows[i] and len(difference := _difference(rows[i], rows[j], n)) < len(rows[i]):
                    rows[i], shorter = difference, True
    return rows


def _difference(a: dict[int, Fraction], b: dict[int, Fraction], n: int) -> dict[int, Fraction]:
    """``a - c b`` with c such that the entry n vanishes."""
    c, out = a[n] / b[n], dict(a)
    for k, value in b.items():
        out[k] = out.get(k, Fraction(0)) - c * value
    return {k: value for k, value in out.items() if value}


def _null_space(
    phi: PolynomialMap, exponents: Int[ndarray, "n D"], field: Modulus, seed: int
) -> tuple[Int[ndarray, " f"], Float[ndarray, "n f"]]:
    """Free columns and basis of the null space of the equations at random points."""
    random = rng(seed)
    space = Echelon(len(exponents), field)
    left = len(exponents) + SPARE
    while left > 0 and not space.full:
        count = min(left, POINTS)
        points = residues((count, phi.parameters), field, random)
        points[points == 0] = 1.0
        combination = residues((count, 1, phi.dimension), field, random)
        velocities = field.matmul(combination, phi.jacobian(points, field))[:, 0]
        inverses = field.power(points, field.prime - 2)
        # grad theta^a is theta^a times a_j / theta_j.
        rates = field.matmul(field.mul(velocities, inverses), exponents.T.astype(np.float64))
        grown = space.add(field.mul(rates, _values(exponents, points, field)))
        left = min(left - count, left if grown else 0)
    return space.free, field.reduce(space.null_space())


def _values(exponents: Int[ndarray, "n D"], points: Float[ndarray, "N D"], field: Modulus) -> Float[ndarray, "N n"]:
    """All monomials at all points: one gather per degree."""
    degree = int(exponents.sum(axis=1).max())
    factors = np.full((len(exponents), degree), exponents.shape[1], dtype=np.int64)
    rows, columns = np.nonzero(exponents)
    powers = exponents[rows, columns]
    rows, columns = np.repeat(rows, powers), np.repeat(columns, powers)
    place = np.arange(len(rows)) - np.concatenate([[0], np.cumsum(exponents.sum(axis=1))])[rows]
    factors[rows, place] = columns
    padded = np.concatenate([points, np.ones((len(points), 1))], axis=1)
    out = np.ones((len(points), len(exponents)))
    for column in factors.T:
        out = field.mul(out, padded[:, column])
    return out


def _independent(
    laws: Sequence[PolynomialLaw], point: Float[ndarray, " D"], field: Modulus
) -> tuple[PolynomialLaw, ...]:
    """Those whose gradients at the point are not combinations of those before: functionally independent for certain."""
    space, kept = Echelon(len(point), field), []
    gradients = law_residues(laws, point, field)
    for law, gradient in zip(laws, gradients, strict=True):
        if space.full:
            break
        if space.add(gradient[None]):
            kept.append(law)
    return tuple(kept)


def _verdict(phi: PolynomialMap, degree: int, found: int, doubtful: int) -> Verdict:
    if doubtful:
        return Verdict(
            Kind.UNDECIDED,
            f"the conserved polynomials of the {phi} up to degree {degree} form a space of dimension {found}",
            f"{doubtful} more solutions modulo the primes could not be lifted to fractions that pass the exact check: "
            "they may be laws with large coefficients, or none",
        )
    return Verdict(
        Kind.PROVED,
        f"the conserved polynomials of the {phi} up to degree {degree} form a space of dimension {found}",
        f"the equations at random points modulo {PRIMES[0]} have no more than {found} independent solutions, "
        "and as many were confirmed by exact multiplication",
        exact=True,
        hypotheses={"plain gradient flow of a loss of phi": "assumed"},
    )
