r"""Vectorised arithmetic modulo a prime below 2^26, exact in float64.

A residue is a whole number of absolute value at most ``(p + 1) / 2``, held in a float64, so that zero is zero and
nothing else. A product of two residues stays below 2^50 and needs no care. For a matrix product one factor is split,
``a = a1 2^13 + a0`` with halves of at most 2^12, so that sums of up to 2^15 terms stay below 2^53: two products by
the BLAS, exact whatever order it sums in. Every finite float is a dyadic rational and has a residue; no nonzero float32
has the residue zero, because its mantissa is below the prime.
"""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction

import numpy as np
from jaxtyping import Float
from numpy import ndarray

from intertwiner.errors import NonFiniteWeights, WrongUse
from intertwiner.numerics.rational import rational

FAST_PRIME = 8388593
"""The largest prime below 2^23: sums of 512 products are exact without a split, so matrix products cost half."""

PRIMES = (67108859, 67108837)
"""The two largest primes below 2^26."""

CHUNK = 1 << 16
"""Numbers reduced at a time: they stay in the cache."""

TERMS = 1 << 15
"""Longest sum of a matrix product that is exact."""

WHOLE = 256
"""Where sums of this many products of residues are exact, nothing is split."""

SPLIT = float(1 << 13)


@dataclass(frozen=True)
class Modulus:
    """The field of p elements, acting on float64 arrays of residues.

    Args:
        prime: A prime between 3 and 2^26; that it is one is not checked.

    Raises:
        WrongUse: If it is outside that range.

    Example:
        >>> field = Modulus(7)
        >>> field.matmul(np.array([[2.0, 3.0]]), np.array([[3.0], [-2.0]])), field.of(0.5)
        (array([[0.]]), array(-3.))
    """

    prime: int = PRIMES[0]

    def __post_init__(self) -> None:
        if not 2 < self.prime < 1 << 26 or self.prime % 2 == 0:
            raise WrongUse(f"exact products in float64 need an odd prime below 2^26, got {self.prime}")

    def reduce(self, x: Float[ndarray, "..."]) -> Float[ndarray, "..."]:
        """Residues of whole numbers below 2^53 in absolute value, in place where the array is contiguous."""
        x = np.ascontiguousarray(x, dtype=np.float64) if not x.flags.c_contiguous else x
        flat = x.reshape(-1)
        p, inverse = float(self.prime), 1.0 / self.prime
        quotient = np.empty(min(CHUNK, flat.size))
        for start in range(0, flat.size, CHUNK):
            part = flat[start : start + CHUNK]
            q = quotient[: len(part)]
            # The quotient is off by at most one near a half, and q p is below 2^53: the difference is exact.
            np.multiply(part, inverse, out=q)
            np.rint(q, out=q)
            q *= p
            part -= q
        return x

    def of(self, x: Float[ndarray, "..."] | float) -> Float[ndarray, "..."]:
        """Residues of finite floats, each taken as the dyadic rational that it is.

        Raises:
            NonFiniteWeights: NaN or infinity among them.
        """
        x = np.asarray(x, dtype=np.float64)
        if not np.isfinite(x).all():
            raise NonFiniteWeights(
                f"{int((~np.isfinite(x)).sum())} of {x.size} numbers are NaN or infinite: no residue"
            )
        mantissa, exponent = np.frexp(x)
        whole = np.ldexp(mantissa, 53)  # |whole| <= 2^53 and even at the bound
        high = np.rint(whole / (1 << 27))
        low = whole - high * (1 << 27)
        residue = self.reduce(self.mul(self.reduce(high), self._power_of_two(27)) + self.reduce(low))
        powers, places = np.unique(exponent - 53, return_inverse=True)
        factors = np.array([self._power_of_two(int(e)) for e in powers])
        return self.mul(residue, factors[places].reshape(x.shape))

    def fraction(self, value: Fraction) -> float:
        """The residue of a fraction.

        Raises:
            WrongUse: If the prime divides its denominator.
        """
        if value.denominator % self.prime == 0:
            raise WrongUse(f"{value} has no residue modulo {self.prime}")
        residue = value.numerator * pow(value.denominator, -1, self.prime) % self.prime
        return float(residue - self.prime if 2 * residue > self.prime else residue)

    def _power_of_two(self, exponent: int) -> float:
        return self.fraction(Fraction(pow(2, exponent, self.prime)))

    def inverse(self, x: float) -> float:
        """The inverse of a residue.

        Raises:
            WrongUse: For zero.
        """
        if x == 0:
            raise WrongUse(f"zero has no inverse modulo {self.prime}")
        return self.fraction(Fraction(1, int(x)))

    def mul(self, a: Float[ndarray, "..."], b: Float[ndarray, "..."] | float) -> Float[ndarray, "..."]:
        """Entrywise product, broadcast."""
        return self.reduce(np.asarray(np.multiply(a, b)))

    def add(self, a: Float[ndarray, "..."], b: Float[ndarray, "..."]) -> Float[ndarray, "..."]:
        """Entrywise sum, broadcast."""
        return self.reduce(np.asarray(np.add(a, b)))

    def power(self, x: Float[ndarray, "..."], exponent: int) -> Float[ndarray, "..."]:
        """Entrywise power, for a nonnegative whole exponent."""
        out = np.ones_like(x)
        square = x
        while exponent:
            if exponent & 1:
                out = self.mul(out, square)
            exponent >>= 1
            square = self.mul(square, square) if exponent else square
        return out

    def matmul(self, a: Float[ndarray, "... m k"], b: Float[ndarray, "... k n"]) -> Float[ndarray, "... m n"]:
        """Matrix product, leading axes broadcast as in ``numpy.matmul``. The factor a is split.

        Cost: two float64 matrix products and three passes over the result; for primes below 2^23 one product.
        """
        terms = a.shape[-1]
        whole = int(2**53 // ((self.prime + 1) // 2) ** 2)
        if whole >= WHOLE:
            total = self.reduce(np.matmul(a[..., :whole], b[..., :whole, :]))
            for start in range(whole, terms, whole):
                total += self.reduce(np.matmul(a[..., start : start + whole], b[..., start : start + whole, :]))
            return self.reduce(total) if terms > whole else total
        if terms > TERMS:
            parts = [self.matmul(a[..., s : s + TERMS], b[..., s : s + TERMS, :]) for s in range(0, terms, TERMS)]
            total = parts[0]
            for part in parts[1:]:
                total = self.add(total, part)
            return total
        high = np.rint(a * (1.0 / SPLIT))
        low = a - high * SPLIT
        out = self.reduce(np.matmul(high, b))
        out *= SPLIT
        out += np.matmul(low, b)
        return self.reduce(out)

    def invert(self, a: Float[ndarray, "n n"]) -> Float[ndarray, "n n"]:
        """The inverse of a square matrix, by elimination.

        Raises:
            WrongUse: If it has none.

        Cost: ``O(n^3)`` with n passes over 2 n^2 numbers; meant for up to a few hundred.
        """
        n = len(a)
        work = np.hstack([a, np.eye(n)])
        for k in range(n):
            pivots = np.flatnonzero(work[k:, k])
            if not len(pivots):
                raise WrongUse(f"a matrix of {n} rows is singular modulo {self.prime}")
            if pivots[0]:
                work[[k, k + pivots[0]]] = work[[k + pivots[0], k]]
            work[k] = self.mul(work[k], self.inverse(work[k, k]))
            others = np.flatnonzero(work[:, k])
            others = others[others != k]
            work[others] = self.reduce(work[others] - np.outer(work[others, k], work[k]))
        return np.ascontiguousarray(work[:, n:])

    def rational(self, residue: float, bound: int | None = None) -> Fraction | None:
        """The fraction with small numerator and denominator that has this residue, or None [Wang 1981].

        Args:
            residue: A residue.
            bound: Largest numerator and denominator; ``sqrt(p / 2)`` by default, where the answer is unique.

        Example:
            >>> field = Modulus()
            >>> field.rational(field.fraction(Fraction(-3, 7)))
            Fraction(-3, 7)
        """
        return rational(int(residue), self.prime, bound)
