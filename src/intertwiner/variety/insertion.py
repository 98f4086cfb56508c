r"""Does a polynomial in the coefficients vanish on all functions? By insertion, or at random functions modulo primes.

Inserted into the network it becomes a polynomial in the parameters, which is zero or not. Where that has too many terms
it is evaluated at N random functions modulo a random prime: a nonzero polynomial of degree d with whole coefficients of
B bits vanishes modulo a prime among 1,894,120 of at least 2^25 with probability at most ``B / 25 / 1894120``, and
otherwise at all N points with probability at most ``(d / 2^25)^N`` [Schwartz 1980, Zippel 1979].
"""

from __future__ import annotations

from collections.abc import Sequence
from math import lcm, log2, prod

import numpy as np

from intertwiner.errors import RankUndecided
from intertwiner.numerics.modular import Modulus
from intertwiner.variety.architecture import Architecture
from intertwiner.variety.expansion import parameter_degree, symbols, terms
from intertwiner.variety.ideal import Ideal
from intertwiner.variety.primes import COUNT, LOW, random_primes

Terms = Sequence[tuple[int, tuple[int, ...]]]
"""Coefficient and variables of every monomial."""

MOST_TERMS = 5_000
"""Terms of all coordinates as polynomials in the parameters: above, nothing is inserted."""

MOST_PRODUCTS = 3_000_000
"""Products of terms while one equation is inserted."""

POINTS, PRIMES = 8, 2


def inserted(architecture: Architecture, found: Sequence[Terms]) -> tuple[list[bool], str]:
    """Which equations vanish identically in the parameters, and why the others could not be inserted.

    Raises:
        RankUndecided: If one does not vanish.

    Example:
        >>> inserted(Architecture((2, 1, 1), "t^2"), [[(4, (0, 2)), (-1, (1, 1))]])
        ([True], '')
    """
    if not found:
        return [], ""
    bound = terms(architecture)
    if bound > MOST_TERMS:
        return [False] * len(found), f"the outputs have up to {bound:,} terms in the parameters, too many to insert"
    values = symbols(architecture)
    sizes = [len(v) for v in values]
    out = []
    for one in found:
        small = sum(prod(sizes[v] for v in variables) for _, variables in one) <= MOST_PRODUCTS
        if small and sum(c * prod(values[v] for v in variables) for c, variables in one) != 0:
            raise _wrong(architecture, "identically")
        out.append(small)
    skipped = out.count(False)
    return out, f"{skipped} of {len(found)} have too many terms to insert them" if skipped else ""


def unproved(found: Sequence[Terms], ideal: Ideal) -> float:
    """Evaluate equations at fresh random functions; how likely it is, at most, that one vanishes there by accident.

    Raises:
        RankUndecided: If one does not vanish.
    """
    error = 0.0
    primes = random_primes(PRIMES, ideal.seed + 1)
    for one in found:
        monomials = np.array([variables for _, variables in one])
        for prime in primes:
            field = Modulus(prime)
            weights = field.reduce(np.array([c % prime for c, _ in one], dtype=np.float64))
            if field.matmul(ideal.values(monomials, prime), weights[:, None]).any():
                raise _wrong(ideal.architecture, f"modulo {prime}")
        degree = monomials.shape[1]
        bits = log2(sum(abs(c) for c, _ in one)) + degree * coordinate_bits(ideal.architecture)
        points = (degree * parameter_degree(ideal.architecture) / LOW) ** POINTS
        error += (bits / 25 / COUNT + points) ** PRIMES
    return min(1.0, error)


def coordinate_bits(architecture: Architecture) -> float:
    """log2 of a bound on the sum of the absolute values of all coefficients of an output, in parameters and inputs.

    Example:
        >>> coordinate_bits(Architecture((2, 1, 1), "t^2"))
        2.0
    """
    common = lcm(*(c.denominator for _, c in architecture.activation.terms))
    total = architecture.inputs + architecture.bias
    for width in architecture.hidden:
        powers = sum(abs(int(c * common)) * total**k for k, c in architecture.activation.terms)
        total = width * powers + architecture.bias
    return log2(total)


def _wrong(architecture: Architecture, how: str) -> RankUndecided:
    return RankUndecided(
        f"an equation that was found for {architecture} does not vanish {how}.\n  Usual cause: unlucky primes. "
        "Next step: another seed. Nothing is claimed about it."
    )
