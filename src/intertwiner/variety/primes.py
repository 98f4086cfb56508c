"""Random primes between 2^25 and 2^26, each equally likely: so that the chance of a bad one can be stated."""

from __future__ import annotations

from functools import cache

import numpy as np
from numpy import ndarray

from intertwiner.numerics.seeds import rng

LOW, HIGH = 1 << 25, 1 << 26

COUNT = 1_894_120
"""Primes between LOW and HIGH: pi(2^26) - pi(2^25) = 3957809 - 2063689 [OEIS A007053]."""


@cache
def _small() -> ndarray:
    """Odd primes up to the root of HIGH."""
    sieve = np.ones(1 << 13, dtype=bool)
    sieve[:2] = False
    for n in range(2, 91):
        if sieve[n]:
            sieve[n * n :: n] = False
    return np.flatnonzero(sieve)[1:]


def is_prime(n: int) -> bool:
    """Whether an odd number between 2^13 and 2^26 is a prime, by trial division.

    Example:
        >>> is_prime(67108859), is_prime(67108857)
        (True, False)
    """
    return bool((n % _small()).all())


def random_primes(count: int, seed: int) -> tuple[int, ...]:
    """So many different primes, drawn uniformly.

    Example:
        >>> all(is_prime(p) and LOW < p < HIGH for p in random_primes(3, seed=0))
        True
    """
    random, found = rng(seed), []
    while len(found) < count:
        n = int(random.integers(LOW // 2, HIGH // 2)) * 2 + 1
        if n not in found and is_prime(n):
            found.append(n)
    return tuple(found)
