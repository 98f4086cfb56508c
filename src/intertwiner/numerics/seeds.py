"""Randomness only through an explicit seed: one helper, so that every random number can be drawn again."""

from __future__ import annotations

import numpy as np


def rng(seed: int) -> np.random.Generator:
    """A generator of random numbers that depends on ``seed`` alone.

    Example:
        >>> int(rng(7).integers(100)) == int(rng(7).integers(100))
        True
    """
    return np.random.Generator(np.random.PCG64(seed))
