r"""The polynomial equations that the coefficients of the outputs satisfy: linear algebra on monomials.

The functions of widths (3, 2, 1) with activation ``t^2`` are the quadratic forms of rank two, so their coefficients
satisfy one cubic, the determinant. Candidates come from random functions modulo primes (``ideal.py``) and are lifted to
whole numbers. Where there are few terms each of them is inserted into the network as a polynomial in the parameters,
which must vanish identically: then they are PROVED, and with the rank modulo p it is proved as well that up to this
degree there are no others.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from math import prod
from typing import Any

from intertwiner.errors import WrongUse
from intertwiner.variety.architecture import Architecture
from intertwiner.variety.expansion import Coordinates
from intertwiner.variety.ideal import Ideal, Polynomial, permuted
from intertwiner.variety.insertion import inserted, unproved
from intertwiner.variety.weights import Graded, Weight, monomials
from intertwiner.verdict import Kind, Verdict

MOST_MONOMIALS = 500_000
"""Monomials in the coordinates, of one degree."""

MOST_OF_A_WEIGHT = 1_200
"""Monomials of one weight: the size of an elimination."""

SHOWN = 30
"""Equations, and terms of each, that are printed."""


@dataclass(frozen=True)
class Equation:
    """One polynomial that vanishes on all functions.

    Args:
        weight: How often each output, then each input, occurs in its monomials.
        terms: Coefficient and variables, as places among the coordinates in ascending order.
        images: How many weights permutations of inputs and outputs make of this one.
        inserted: Whether it was proved by insertion.

    Example:
        >>> Equation((2, 2, 2), ((4, (0, 2)), (-1, (1, 1)))).text(("a", "b", "c"))
        '4 a c - b^2'
    """

    weight: Weight
    terms: tuple[tuple[int, tuple[int, ...]], ...]
    images: int = 1
    inserted: bool = False

    @property
    def degree(self) -> int:
        return len(self.terms[0][1])

    def value(self, point: Sequence[Any]) -> Any:
        """Its value at coordinates; exact on whole numbers and fractions.

        Example:
            >>> Equation((2, 2, 2), ((4, (0, 2)), (-1, (1, 1)))).value([1, 2, 1])
            0
        """
        return sum(c * prod(point[v] for v in variables) for c, variables in self.terms)

    def gradient(self, point: Sequence[Any]) -> list[Any]:
        """Its derivative after every coordinate."""
        out: list[Any] = [0] * len(point)
        for c, variables in self.terms:
            for i, v in enumerate(variables):
                out[v] += c * prod(point[u] for u in variables[:i] + variables[i + 1 :])
        return out

    def text(self, names: Sequence[str], *, most: int = SHOWN) -> str:
        """As a sum of at most so many monomials."""
        out = ""
        for c, variables in self.terms[:most]:
            powers = {v: variables.count(v) for v in variables}
            factors = [names[v] + (f"^{n}" if n > 1 else "") for v, n in powers.items()]
            sign = ("-" if c < 0 else "") if not out else (" - " if c < 0 else " + ")
            out += sign + " ".join([*([] if abs(c) == 1 else [str(abs(c))]), *factors])
        left = len(self.terms) - most
        return out + (f" + ... ({left} more)" if left > 0 else "")

    def to_json(self) -> dict[str, Any]:
        return {
            "weight": list(self.weight),
            "terms": [[c, list(v)] for c, v in self.terms],
            "images": self.images,
            "inserted": self.inserted,
        }

    @classmethod
    def from_json(cls, record: Mapping[str, Any]) -> Equation:
        terms = tuple((int(c), tuple(v)) for c, v in record["terms"])
        return cls(tuple(record["weight"]), terms, record["images"], record["inserted"])


@dataclass(frozen=True)
class Equations:
    """The equations of an architecture up to a degree.

    Args:
        architecture: The network.
        generators: Equations that generate all of them, one for all its images under permutations.
        hilbert: By degree from 0, the number of monomials less the number of equations.
        equations: By degree from 0, the number of linearly independent equations.
        new: By degree from 0, how many of them no lower equations generate.
        seed: By which everything random can be drawn again.
        error: PROVED: 0. Otherwise a bound on the probability that one of them does not vanish on all functions.
        verdict: Whether these are all.
    """

    architecture: Architecture
    generators: tuple[Equation, ...]
    hilbert: tuple[int, ...]
    equations: tuple[int, ...]
    new: tuple[int, ...]
    seed: int
    error: float
    verdict: Verdict

    @property
    def max_degree(self) -> int:
        return len(self.hilbert) - 1

    @property
    def coordinates(self) -> Coordinates:
        """What the variables of the equations are."""
        return Coordinates.of(self.architecture)

    def all(self) -> list[Equation]:
        """Every generator with its images under permutations of inputs and outputs.

        Example:
            >>> len(equations(Architecture((3, 1, 1), "t^2"), 2).all())
            6
        """
        graded, out = Graded(self.coordinates), []
        for one in self.generators:
            for images in graded.arrangements(one.weight):
                moved = permuted({v: c for c, v in one.terms}, images)
                weight = tuple(int(w) for w in graded.of_variable[list(next(iter(moved)))].sum(axis=0))
                out.append(_equation(weight, moved, one.images, one.inserted))
        return out

    def to_json(self) -> dict[str, Any]:
        return {
            "architecture": self.architecture.to_json(),
            "coordinates": list(self.coordinates.names),
            "generators": [e.to_json() for e in self.generators],
            "hilbert": list(self.hilbert),
            "equations": list(self.equations),
            "new": list(self.new),
            "seed": self.seed,
            "error": self.error,
            "verdict": self.verdict.to_json(),
        }

    @classmethod
    def from_json(cls, record: Mapping[str, Any]) -> Equations:
        hilbert, counts, new = (tuple(record[name]) for name in ("hilbert", "equations", "new"))
        return cls(
            Architecture.from_json(record["architecture"]),
            tuple(Equation.from_json(e) for e in record["generators"]),
            hilbert, counts, new, record["seed"], record["error"], Verdict.from_json(record["verdict"]),
        )  # fmt: skip

    def __str__(self) -> str:
        names = self.coordinates.names
        lines = [f"{self.verdict.kind}: {self.verdict.claim}", f"  {self.verdict.reason}"]
        lines.append(f"  {len(names)} coordinates; dimensions by degree {', '.join(map(str, self.hilbert))}")
        for one in self.generators[:SHOWN]:
            others = f"   ({one.images} by permutations)" if one.images > 1 else ""
            lines.append(f"  0 = {one.text(names)}{others}")
        if len(self.generators) > SHOWN:
            lines.append(f"  and {len(self.generators) - SHOWN} more")
        return "\n".join(lines)


def equations(architecture: Architecture, max_degree: int = 3, *, seed: int = 0) -> Equations:
    """The equations of the closure of an architecture's functions, up to a degree.

    Args:
        architecture: A fully connected polynomial network.
        max_degree: Highest degree in the coefficients.
        seed: Of everything random.

    Returns:
        Generators with whole coefficients, counts by degree, and the verdict.

    Raises:
        WrongUse: For a degree below 1 or a negative seed, or where there are too many monomials.
        RankUndecided: If an equation could not be lifted to the rationals.

    Cost:
        An elimination per dominant weight, cubic in its number of monomials.

    Example:
        >>> print(equations(Architecture((2, 1, 1), "t^2"), 2))
        PROVED: the functions of 2-1-1, t^2 satisfy 1 equation up to degree 2 and those that it generates
          it vanishes identically in the parameters, and by the rank modulo a prime there are no others
          3 coordinates; dimensions by degree 1, 3, 5
          0 = 4 c[20] c[02] - c[11]^2
    """
    if not isinstance(architecture, Architecture):
        raise WrongUse(
            f"equations are found for fully connected networks, got {architecture!r}. Next step: "
            "Architecture((3, 2, 1), 't^2'), widths and activation. Nothing was computed."
        )
    space = Coordinates.of(architecture)
    _check(architecture, space, max_degree, seed)
    graded = Graded(space)
    ideal = Ideal(architecture, graded, seed)
    hilbert, counts, new = [1], [0], [0]
    found: list[Equation] = []
    for degree in range(1, max_degree + 1):
        spaces = graded.dominant(degree)
        _check_weights(architecture, spaces, degree)
        total, fresh = ideal.add(degree, spaces)
        hilbert.append(monomials(space.dimension, degree) - total)
        counts.append(total)
        new.append(sum(len(list_) * graded.orbit(w) for w, list_ in fresh.items()))
        found += [_equation(w, e, graded.orbit(w)) for w, list_ in fresh.items() for e in list_]
    proved, why_not = inserted(architecture, [e.terms for e in found])
    found = [replace(e, inserted=p) for e, p in zip(found, proved, strict=True)]
    error = unproved([e.terms for e in found if not e.inserted], ideal) if why_not else 0.0
    verdict = _verdict(architecture, new, max_degree, why_not, error)
    return Equations(architecture, tuple(found), tuple(hilbert), tuple(counts), tuple(new), seed, error, verdict)


def _check(architecture: Architecture, space: Coordinates, max_degree: int, seed: int) -> None:
    if not isinstance(max_degree, int) or max_degree < 1 or seed < 0:
        raise WrongUse(
            f"equations needs a degree of at least 1 and a seed of at least 0, got {max_degree!r} and {seed}. "
            "Nothing was computed."
        )
    count = monomials(space.dimension, max_degree)
    if count > MOST_MONOMIALS:
        fits = max((d for d in range(1, max_degree) if monomials(space.dimension, d) <= MOST_MONOMIALS), default=0)
        step = f"max_degree={fits}" if fits else "a smaller architecture"
        raise WrongUse(
            f"{architecture} has {space.dimension:,} coefficients and {count:,} monomials of degree {max_degree} in "
            f"them, the bound is {MOST_MONOMIALS:,}. Next step: {step}. Nothing was computed."
        )


def _check_weights(architecture: Architecture, spaces: Mapping[Weight, Any], degree: int) -> None:
    weight, size = max(((w, len(m)) for w, m in spaces.items()), key=lambda pair: pair[1])
    if size > MOST_OF_A_WEIGHT:
        raise WrongUse(
            f"{architecture}: {size:,} monomials of degree {degree} have the weight {weight}, the bound is "
            f"{MOST_OF_A_WEIGHT:,}. Next step: max_degree={degree - 1}. Nothing was computed."
        )


def _equation(weight: Weight, polynomial: Polynomial, images: int, inserted: bool = False) -> Equation:
    """With the monomials in order, and the first coefficient positive."""
    ordered = sorted(polynomial.items())
    sign = 1 if ordered[0][1] > 0 else -1
    return Equation(weight, tuple((sign * c, k) for k, c in ordered), images, inserted)


def _verdict(architecture: Architecture, new: Sequence[int], max_degree: int, why_not: str, error: float) -> Verdict:
    count = sum(new)
    if not count:
        return Verdict(
            Kind.PROVED,
            f"the functions of {architecture} satisfy no equation up to degree {max_degree}",
            "the monomials are independent at random functions modulo a prime, so they are over the rationals",
            exact=True,
        )
    number = "1 equation" if count == 1 else f"{count} equations"
    claim = (
        f"the functions of {architecture} satisfy {number} up to degree {max_degree} and those that "
        f"{'it generates' if count == 1 else 'they generate'}"
    )
    if why_not:
        reason = (
            f"that there are no others is proved by the rank modulo a prime; that they vanish is probable: {why_not}; "
            f"they vanish at random functions modulo random primes, by accident with probability below {error:.0e}"
        )
        return Verdict(Kind.UNDECIDED, claim, reason)
    vanish = "it vanishes" if count == 1 else "they vanish"
    reason = f"{vanish} identically in the parameters, and by the rank modulo a prime there are no others"
    return Verdict(Kind.PROVED, claim, reason, exact=True)
