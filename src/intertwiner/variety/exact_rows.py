r"""Rows of floats compared and ranked without rounding: every float is a dyadic rational.

Rows are proportional exactly where they agree after division by their first entry; modulo two primes that is one
vectorised step, and only rows that agree there are compared as fractions. A rank modulo a prime that is full is full;
otherwise it is taken over the rationals.
"""

from __future__ import annotations

from collections.abc import Iterable
from enum import StrEnum
from fractions import Fraction
from math import lcm

import numpy as np
from jaxtyping import Float, Int
from numpy import ndarray

from intertwiner.numerics.modular import PRIMES, Modulus
from intertwiner.numerics.modular_echelon import rank_of_residues


class Scale(StrEnum):
    """Factors up to which two rows count as the same."""

    NONE = "equal"
    SIGN = "equal up to sign"
    NONZERO = "proportional"


def row_labels(rows: Float[ndarray, "n m"], scale: Scale, *, shift: Fraction = Fraction(0)) -> Int[ndarray, " n"]:
    """For every row the first row that is the same, itself included; -1 for a zero row.

    Args:
        rows: Finite floats.
        scale: What counts as the same.
        shift: Added to the last entry of every row first, without rounding.

    Cost:
        A sort of the rows; fractions only for rows that agree modulo two primes, or where there is a shift.

    Example:
        >>> rows = np.array([[1.0, 3.0], [-1.0, -3.0], [0.1, 0.3], [0.0, 0.0], [1.0, 3.0]])
        >>> [row_labels(rows, scale).tolist() for scale in Scale]
        [[0, 1, 2, -1, 0], [0, 0, 2, -1, 0], [0, 0, 2, -1, 0]]
    """
    rows = np.asarray(rows, dtype=np.float64) + 0.0  # no negative zeros
    if shift:
        return _shifted(rows, scale, shift)
    out = np.full(len(rows), -1)
    live = np.flatnonzero(rows.any(axis=1))
    if not len(live):
        return out
    part = rows[live]
    first = part[np.arange(len(part)), (part != 0).argmax(axis=1)]
    if scale is Scale.NONZERO:
        out[live] = live[_proportional(part, first)]
        return out
    keys = part * np.sign(first)[:, None] + 0.0 if scale is Scale.SIGN else part
    out[live] = live[_first_equal(keys)]
    return out


def _shifted(rows: ndarray, scale: Scale, shift: Fraction) -> Int[ndarray, " n"]:
    out, seen = np.full(len(rows), -1), {}
    for i, row in enumerate(fractions(rows)):
        entries = (*row[:-1], row[-1] + shift)
        lead = next((x for x in entries if x), None)
        if lead is not None:
            factor = {Scale.NONE: Fraction(1), Scale.SIGN: Fraction(1 if lead > 0 else -1), Scale.NONZERO: lead}[scale]
            out[i] = seen.setdefault(tuple(x / factor for x in entries), i)
    return out


def _first_equal(keys: ndarray) -> Int[ndarray, " n"]:
    _, first, place = np.unique(keys, axis=0, return_index=True, return_inverse=True)
    return first[place.ravel()]


def _proportional(rows: ndarray, lead: ndarray) -> Int[ndarray, " n"]:
    keys, usable = [], np.ones(len(rows), dtype=bool)
    for prime in PRIMES:
        field = Modulus(prime)
        head = field.of(lead)
        usable &= head != 0
        normal = field.mul(field.of(rows), field.power(head, prime - 2)[:, None])
        half = np.abs(normal) == prime // 2 + 1  # a residue may be written with either sign there
        keys.append(np.where(half, np.abs(normal), normal) % prime)
    found = _first_equal(np.column_stack(keys))
    suspects = np.flatnonzero(np.isin(found, np.flatnonzero(np.bincount(found) > 1)) | ~usable)
    if not usable.all():  # a prime divides a first entry: compare everything
        suspects = np.arange(len(rows))
    seen: dict[tuple[Fraction, ...], int] = {}
    for i in suspects:
        head = Fraction(lead[i])
        found[i] = seen.setdefault(tuple(Fraction(x) / head for x in rows[i]), int(i))
    return found


def exact_rank(matrix: Float[ndarray, "m n"]) -> int:
    """The rank of a matrix of floats over the rationals.

    Cost:
        One elimination modulo a prime where the rank is full, another one where zero and proportional rows and columns
        explain what is missing; otherwise one over the integers, for a few hundred rows.

    Example:
        >>> exact_rank(np.array([[0.1, 0.3], [1.0, 3.0]])), exact_rank(np.array([[0.25, 0.5], [0.75, 1.5]]))
        (2, 1)
    """
    field = Modulus(PRIMES[0])
    matrix = np.array(matrix, dtype=np.float64)
    found = rank_of_residues(field.of(matrix), field)
    if found == min(matrix.shape):
        return found
    for _ in range(2):
        labels = row_labels(matrix, Scale.NONZERO)
        matrix = matrix[labels == np.arange(len(labels))].T
    # Reducing rows and columns keeps the rank, and the rank modulo a prime is never above it.
    return found if found == min(matrix.shape) else rank_of_fractions(fractions(matrix))


def fractions(matrix: Float[ndarray, "..."]) -> ndarray:
    """Floats as the dyadic rationals that they are."""
    matrix = np.asarray(matrix, dtype=np.float64)
    out = np.empty(matrix.shape, dtype=object)
    out.reshape(-1)[:] = [Fraction(x) for x in matrix.ravel().tolist()]
    return out


def rank_of_fractions(matrix: ndarray) -> int:
    """The rank of a matrix of fractions."""
    rows = []
    for row in matrix:
        common = lcm(*(Fraction(x).denominator for x in row))
        rows.append([int(x * common) for x in row])
    return rank_of_whole(rows)


def rank_of_whole(rows: Iterable[Iterable[int]]) -> int:
    """The rank of a matrix of whole numbers."""
    from flint import fmpz_mat

    table = [list(row) for row in rows]
    return int(fmpz_mat(table).rank()) if table and table[0] else 0
