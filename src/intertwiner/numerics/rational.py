r"""From residues back to fractions: candidates, to be confirmed by exact arithmetic.

The Chinese remainder theorem joins residues modulo several primes to one modulo their product M; the fraction ``a / b``
with ``|a|, |b| <= sqrt(M / 2)`` that has a given residue modulo M is unique, and the Euclidean algorithm finds it
[Wang 1981]. Reduced echelon forms modulo different primes can be joined entry by entry, because they do not depend on
the rows that were taken, only on their span.
"""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from math import gcd, isqrt

import numpy as np
from jaxtyping import Float, Shaped
from numpy import ndarray


def rational(residue: int, modulus: int, bound: int | None = None) -> Fraction | None:
    """The fraction with small numerator and denominator that has this residue, or None.

    Args:
        residue: Any whole number.
        modulus: A prime, or a product of different primes.
        bound: Largest numerator and denominator; ``sqrt(modulus / 2)`` by default, up to which there is one at most.

    Example:
        >>> rational(pow(7, -1, 10007) * -3, 10007), rational(5000, 10007, bound=1)
        (Fraction(-3, 7), None)
    """
    bound = isqrt(modulus // 2) if bound is None else bound
    r0, r1, t0, t1 = modulus, residue % modulus, 0, 1
    while r1 > bound:
        q = r0 // r1
        r0, r1, t0, t1 = r1, r0 - q * r1, t1, t0 - q * t1
    # A common factor would be one of the modulus, where the denominator has no inverse.
    return Fraction(r1, t1) if t1 and abs(t1) <= bound and gcd(r1, t1) == 1 else None


def joined(
    residues: Shaped[ndarray, "..."], modulus: int, others: Shaped[ndarray, "..."], prime: int
) -> Shaped[ndarray, "..."]:
    """Residues modulo ``modulus * prime`` from those modulo each, as Python's whole numbers.

    Args:
        residues: Whole numbers, as floats or objects.
        modulus: Of the first ones; the prime does not divide it.
        others: The same numbers modulo the prime.
        prime: A prime.

    Example:
        >>> joined(np.array([2.0, -1.0]), 5, np.array([3.0, 0.0]), 11).tolist()
        [47, 44]
    """
    a, b = _whole(residues) % modulus, _whole(others)
    return a + modulus * ((b - a) * pow(modulus, -1, prime) % prime)


def _whole(values: ndarray) -> ndarray:
    return values if values.dtype == object else values.astype(np.int64).astype(object)


def lifted(residues: Sequence[Float[ndarray, "m n"]], primes: Sequence[int]) -> list[list[Fraction]] | None:
    """The matrix of fractions with these residues, or None where shapes differ or an entry has none small enough.

    Args:
        residues: The matrix modulo each of the primes, in the same basis.
        primes: Different primes.

    Example:
        >>> lifted([np.array([[-2.0, -2.0]]), np.array([[-5.0, 3.0]])], (5, 11))
        [[Fraction(1, 2), Fraction(3, 1)]]
    """
    if len({one.shape for one in residues}) > 1:
        return None
    table, modulus = residues[0], primes[0]
    for one, prime in zip(residues[1:], primes[1:], strict=True):
        table, modulus = joined(table, modulus, one, prime), modulus * prime
    rows = [[rational(int(x), modulus) for x in row] for row in table.tolist()]
    found = [[x for x in row if x is not None] for row in rows]
    return found if all(len(some) == len(row) for some, row in zip(found, rows, strict=True)) else None


def reduced_rows(rows: Float[ndarray, "m n"], prime: int) -> tuple[Float[ndarray, "r n"], list[int]]:
    """The reduced echelon form with pivots as far left as possible, and the pivots: the same for every prime but few.

    Example:
        >>> reduced_rows(np.array([[2.0, 4.0, 1.0], [1.0, 2.0, 0.0]]), 7)
        (array([[1., 2., 0.], [0., 0., 1.]]), [0, 2])
    """
    from flint import nmod_mat

    m, n = rows.shape
    if not m or not n:
        return np.zeros((0, n)), []
    flat = np.mod(rows.astype(np.int64), prime).ravel().tolist()
    matrix, rank = nmod_mat(m, n, flat, prime).rref()
    out = np.array([int(x) for x in matrix.entries()], dtype=np.float64).reshape(m, n)[:rank]
    out[2 * out > prime] -= prime
    return out, [int(np.flatnonzero(row)[0]) for row in out]
