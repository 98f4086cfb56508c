"""Near rows found through few fixed random directions: what makes matching near-linear.

With orthonormal directions D, ``|D^T t - D^T s| <= |t - s|``: a pair of rows that agree within a tolerance is never
lost by looking at the projections first, and few other pairs survive them.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache

import numpy as np
from numpy import ndarray

DIRECTIONS = 16
"""Random directions that candidates are compared in; the first one sorts the rows."""

MORE_DIRECTIONS = 64
"""The same where the tolerance is loose: 16 directions of thousands tell rows apart by a few percent only."""

LOOSE = 1e-3
"""Relative tolerances from here on (half precision) need more directions."""

SEED = 20260121

CHUNK = 1 << 17
"""Numbers handled at once, so that intermediate arrays stay in the cache."""


@lru_cache(maxsize=64)
def directions(width: int, tolerance: float = 0.0) -> ndarray:
    """Orthonormal random columns, the same in every run: 16 of them, 64 for loose tolerances, or ``width`` if less.

    Cost:
        ``O(64^2 width)`` once per width.
    """
    count = min(DIRECTIONS if tolerance < LOOSE else MORE_DIRECTIONS, width)
    draw = np.random.default_rng(SEED).normal(size=(count, width)).T
    out = np.ascontiguousarray(np.linalg.qr(draw)[0])
    out.setflags(write=False)
    return out


@lru_cache(maxsize=64)
def first_direction(width: int) -> ndarray:
    """The direction that sorts."""
    return np.ascontiguousarray(directions(width)[:, 0]) if width else np.zeros(0)


def project(rows: ndarray, tolerance: float) -> ndarray:
    """Rows along the directions; one zero column where rows have no entries."""
    return rows @ directions(rows.shape[1], tolerance) if rows.shape[1] else np.zeros((len(rows), 1))


def spans(low: ndarray, high: ndarray, rows_at_once: int) -> Iterator[tuple[ndarray, ndarray]]:
    """All pairs ``(i, j)`` with ``low[i] <= j < high[i]``, in pieces of about ``rows_at_once``."""
    counts = np.maximum(high - low, 0)
    ends = np.cumsum(counts)
    start, total = 0, int(ends[-1]) if len(ends) else 0
    while start < total:
        stop = min(total, start + rows_at_once)
        flat = np.arange(start, stop)
        i = np.searchsorted(ends, flat, side="right")
        yield i, low[i] + flat - (ends[i] - counts[i])
        start = stop


def norms(rows: ndarray) -> ndarray:
    return np.sqrt(np.einsum("ij,ij->i", rows, rows))


def distances(
    target: ndarray, i: ndarray | None, source: ndarray, j: ndarray, sign: ndarray | None, *, signed: bool = False
) -> tuple[ndarray, ndarray, bool]:
    """Distance of ``target[i]`` from ``sign * source[j]``, pair by pair, by direct subtraction.

    Args:
        target: Rows.
        i: Rows of the target, None for all in order.
        source: Rows.
        j: Rows of the source, one per pair.
        sign: The sign of each pair; None for plus, or for the better one if ``signed``.
        signed: Whether to choose the better sign where none is given.

    Returns:
        Distances, signs, and whether all pairs are equal bit for bit.
    """
    count, width = len(j), source.shape[1]
    out, signs, exact = np.empty(count), np.ones(count) if sign is None else sign, True
    step = max(1, CHUNK // max(width, 1))
    for start in range(0, count, step):
        piece = slice(start, min(count, start + step))
        t = target[piece] if i is None else target[i[piece]]
        s = source[j[piece]]
        if sign is None and signed:
            signs[piece] = np.where(np.einsum("ij,ij->i", t, s) < 0, -1.0, 1.0)
        if sign is not None or signed:
            s *= signs[piece, None]
        np.subtract(t, s, out=s)
        out[piece] = norms(s)
        exact = exact and not s.any()
    return out, signs, exact
