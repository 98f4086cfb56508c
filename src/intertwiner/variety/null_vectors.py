r"""Whole null vectors of a matrix that is known modulo any prime, with their number proved from above.

Modulo one prime a null space is never smaller than over the rationals. Its reduced echelon form is joined over several
primes and lifted to fractions (``numerics/rational.py``), as soon as the vectors found vanish modulo one prime more.
"""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction
from math import gcd, lcm

import numpy as np
from jaxtyping import Float
from numpy import ndarray

from intertwiner.numerics.modular import Modulus
from intertwiner.numerics.rational import joined, rational, reduced_rows
from intertwiner.variety.primes import random_primes

Vectors = tuple[tuple[int, ...], ...]

PRIMES_TRIED = 24
"""Most primes that are joined: entries of up to about 90 digits."""


def rational_null_space(
    rows_modulo: Callable[[int], Float[ndarray, "m n"]], *, seed: int = 0
) -> tuple[Vectors | None, int]:
    """Whole null vectors of a matrix that is known modulo any prime, and how many there are modulo the first.

    Args:
        rows_modulo: The matrix modulo a prime; different primes may take different rows of one row space.
        seed: Decides the primes.

    Returns:
        A basis of primitive whole vectors, first entry that is not zero positive, or None where the primes did not
        suffice; and the dimension of the null space modulo the first prime, which is never below the true one.

    Example:
        >>> rational_null_space(lambda p: np.array([[3.0, 2.0, 0.0]]))
        (((2, -3, 0), (0, 0, 1)), 2)
    """
    prime, *others = random_primes(PRIMES_TRIED + 1, seed)
    reduced, pivots = reduced_rows(rows_modulo(prime), prime)
    nullity = reduced.shape[1] - len(pivots)
    modulus = prime
    for following in others if nullity else ():
        rows = rows_modulo(following)
        vectors = _vectors(reduced, modulus, pivots)
        if vectors is not None and not _products(rows, vectors, following).any():
            return vectors, nullity
        again, places = reduced_rows(rows, following)
        if places != pivots:
            break
        reduced, modulus = joined(reduced, modulus, again, following), modulus * following
    return (None if nullity else ()), nullity


def _vectors(reduced: ndarray, modulus: int, pivots: list[int]) -> Vectors | None:
    """Null vectors, one per free column: 1 there and minus the entry at every pivot."""
    columns = reduced.shape[1]
    out = []
    for free in sorted(set(range(columns)) - set(pivots)):
        entries = [Fraction(0)] * columns
        entries[free] = Fraction(1)
        for pivot, residue in zip(pivots, reduced[:, free].tolist(), strict=True):
            entry = rational(-int(residue), modulus)
            if entry is None:
                return None
            entries[pivot] = entry
        common = lcm(*(x.denominator for x in entries))
        out.append(primitive([int(x * common) for x in entries]))
    return tuple(out)


def primitive(vector: list[int]) -> tuple[int, ...]:
    """Without a common factor, and positive at the first entry that is not zero.

    Example:
        >>> primitive([0, -4, 6])
        (0, 2, -3)
    """
    common = gcd(*vector) or 1
    first = next((x for x in vector if x), 1)
    common = -common if first < 0 else common
    return tuple(x // common for x in vector)


def _products(rows: Float[ndarray, "m n"], vectors: Vectors, prime: int) -> ndarray:
    field = Modulus(prime)
    columns = np.array([[x % prime for x in v] for v in vectors], dtype=np.float64).T
    return field.matmul(rows, field.reduce(np.ascontiguousarray(columns)))
