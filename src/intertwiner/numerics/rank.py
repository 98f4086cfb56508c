r"""Ranks called by a relative gap in the singular values, and ranks modulo a prime, which are exact.

A rank read off at an absolute threshold changes when the weights are scaled. Here the singular values are
divided by the largest, raised to the rounding floor ``eps max(m, n)``, closed by one value at that floor, and
cut at the widest ratio ``s_k / s_{k+1}``; where no ratio is wide enough there is no rank.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int
from numpy import ndarray

from intertwiner.errors import RankUndecided, ShapeMismatch
from intertwiner.numerics.tolerance import MIN_GAP

PRIME = (1 << 61) - 1
"""A Mersenne prime: large enough that a random determinant vanishes with probability below 1e-15."""


@dataclass(frozen=True)
class Rank:
    """A rank and what it was called by.

    Args:
        rank: The rank.
        gap: Ratio of the singular values on the two sides of the cut.
        around: Up to two values before and two after the cut, relative to the largest.
    """

    rank: int
    gap: float
    around: tuple[float, ...]

    def __int__(self) -> int:
        return self.rank


def rank_from_values(
    values: Float[ndarray, " k"],
    *,
    size: int | None = None,
    min_gap: float = MIN_GAP,
    dtype: str = "float64",
    where: str = "",
) -> Rank:
    """The rank that singular values tell by their widest gap.

    Args:
        values: Singular values, in any order, nonnegative.
        size: Larger side of the matrix they come from; sets the rounding floor. The number of values by default.
        min_gap: Ratio between neighbouring values that counts as a gap.
        dtype: Precision the matrix was computed in.
        where: What is decided, for the message.

    Raises:
        RankUndecided: No ratio reaches ``min_gap``.

    Example:
        >>> rank_from_values(np.array([4.0, 1.0, 1e-15])).rank
        2
        >>> rank_from_values(np.array([4.0, 1.0])).rank
        2
    """
    s = np.sort(np.asarray(values, dtype=np.float64))[::-1]
    if len(s) == 0 or s[0] == 0:
        return Rank(0, float("inf"), ())
    floor = float(np.finfo(dtype).eps) * max(size or len(s), 1)
    relative = s / s[0]
    closed = np.append(np.maximum(relative, floor), floor)
    ratios = closed[:-1] / closed[1:]
    k = int(np.argmax(ratios)) + 1
    gap = float(ratios[k - 1])
    if gap < min_gap:
        around = ", ".join(f"s_{i + 1} = {relative[i] * s[0]:.2g}" for i in range(max(0, k - 2), min(len(s), k + 2)))
        raise RankUndecided(
            f"cannot call the rank{' of ' + where if where else ''}.\n"
            f"  around the cut: {around}   (s_1 = {s[0]:.2g}, {dtype})\n"
            f"  widest gap {gap:.2g}x; a decision needs {min_gap:.0e}x.\n"
            f"  Usual cause: values of lower precision than {dtype}. Pass their dtype, compute in "
            "float64, or lower min_gap."
        )
    return Rank(k, gap, tuple(float(x) for x in relative[max(0, k - 2) : k + 2]))


def rank(matrix: Float[ndarray, "m n"], *, min_gap: float = MIN_GAP, dtype: str = "float64", where: str = "") -> Rank:
    """Rank of a matrix by the widest gap of its singular values.

    Raises:
        RankUndecided: No ratio of neighbouring singular values reaches ``min_gap``.

    Cost:
        One singular value decomposition without vectors.

    Example:
        >>> rank(1e-9 * np.array([[1.0, 2.0], [2.0, 4.0]])).rank
        1
    """
    matrix = np.asarray(matrix)
    if matrix.ndim != 2:
        raise ShapeMismatch(f"a rank is that of a matrix, got an array of shape {matrix.shape}")
    if matrix.size == 0:
        return Rank(0, float("inf"), ())
    values = np.linalg.svd(matrix, compute_uv=False)
    return rank_from_values(values, size=max(matrix.shape), min_gap=min_gap, dtype=dtype, where=where)


def null_space(
    matrix: Float[ndarray, "m n"], *, min_gap: float = MIN_GAP, where: str = ""
) -> tuple[Float[ndarray, "n k"], Rank]:
    """Orthonormal basis of ``{x : matrix x = 0}`` and the rank it was called by.

    Raises:
        RankUndecided: As ``rank``.

    Example:
        >>> basis, called = null_space(np.array([[1.0, 1.0]]))
        >>> basis.shape, called.rank
        ((2, 1), 1)
    """
    _, values, right = np.linalg.svd(matrix, full_matrices=True)
    called = rank_from_values(values, size=max(matrix.shape), min_gap=min_gap, where=where)
    return right[called.rank :].T, called


def rank_mod_p(matrix: Int[ndarray, "m n"], prime: int = PRIME) -> int:
    """Rank of an integer matrix modulo a prime: exact, and never above the rank over the rationals.

    Args:
        matrix: Integers of any size (object arrays of Python ints are welcome).
        prime: The modulus, below 2^63.

    Example:
        >>> rank_mod_p(np.array([[1, 2], [2, 4]])), rank_mod_p(np.array([[1, 2], [2, 5]]))
        (1, 2)
    """
    from flint import nmod_mat

    rows = [[int(x) % prime for x in row] for row in matrix]
    if not rows or not rows[0]:
        return 0
    return int(nmod_mat(len(rows), len(rows[0]), [x for row in rows for x in row], prime).rank())
