r"""A row space modulo a prime, grown by batches of rows: reduced echelon form in compact storage.

The basis is ``[I | E]`` after moving the pivot columns to the front; only E is stored, ``r (n - r)`` numbers, at most a
quarter of ``n^2``. New rows R are reduced by ``R_free - R_pivot E``, brought to echelon form among themselves, and
eliminated from E. Nearly all work is matrix products. The null space is read off: for every free column f the vector
that is 1 at f and ``-E[:, f]`` at the pivots.
"""

from __future__ import annotations

import numpy as np
from jaxtyping import Float, Int
from numpy import ndarray

from intertwiner.numerics.modular import Modulus
from intertwiner.numerics.seeds import rng

LEAF = 48
"""Rows that are eliminated one by one; more are halved."""

WINDOW = 4
"""Pivots of a leaf are looked for among this many times its rows, in random columns, before all columns."""


class Echelon:
    """The row space of a growing matrix over F_p.

    Args:
        columns: Number of columns n.
        field: The modulus.

    Example:
        >>> space = Echelon(3, Modulus(7))
        >>> space.add(np.array([[1.0, 2.0, 3.0], [2.0, 4.0, 6.0 - 7]])), space.rank
        (1, 1)
        >>> field = space.field
        >>> field.matmul(np.array([[1.0, 2.0, 3.0]]), space.null_space())
        array([[0., 0.]])
    """

    def __init__(self, columns: int, field: Modulus) -> None:
        self.columns, self.field = columns, field
        self.pivots: Int[ndarray, " r"] = np.zeros(0, dtype=np.int64)
        self.free: Int[ndarray, " f"] = np.arange(columns)
        self.E: Float[ndarray, "r f"] = np.zeros((0, columns))
        self._random = rng(columns)

    @property
    def rank(self) -> int:
        return len(self.pivots)

    @property
    def full(self) -> bool:
        return not len(self.free)

    def add(self, rows: Float[ndarray, "m n"]) -> int:
        """Take rows in; returns by how much the rank grew.

        Cost: ``4 m r (n - r)`` multiply-adds, and a little more for the rows among themselves.
        """
        rest = self.remainder(rows)
        rest = rest[rest.any(axis=1)]
        if not len(rest):
            return 0
        pivots, reduced = _reduced(rest, self.field, self._random)
        keep = np.ones(len(self.free), dtype=bool)
        keep[pivots] = False
        if len(self.E):
            self._eliminate(pivots, keep, reduced)
        else:
            self.E = reduced[:, keep]
        self.pivots = np.concatenate([self.pivots, self.free[pivots]])
        self.free = self.free[keep]
        return len(pivots)

    def _eliminate(self, pivots: ndarray, keep: ndarray, reduced: ndarray) -> None:
        """Clear the new pivot columns in the old rows and append the new rows, a few rows at a time."""
        old, new = self.E, reduced[:, keep]
        self.E = np.empty((len(old) + len(new), new.shape[1]))
        for start in range(0, len(old), 1024):
            part = old[start : start + 1024]
            kept = part[:, keep]
            kept -= self.field.matmul(part[:, pivots], new)
            self.E[start : start + len(part)] = self.field.reduce(kept)
        self.E[len(old) :] = new

    def remainder(self, rows: Float[ndarray, "m n"]) -> Float[ndarray, "m f"]:
        """What is left of the rows in the free columns; zero for a row of the space."""
        rest = rows[:, self.free]
        if self.rank:
            rest -= self.field.matmul(rows[:, self.pivots], self.E)
            rest = self.field.reduce(rest)
        return rest

    def null_space(self) -> Float[ndarray, "n f"]:
        """Basis of ``{v : row v = 0 for all rows}``, one column per free column."""
        basis = np.zeros((self.columns, len(self.free)))
        basis[self.pivots] = -self.E
        basis[self.free, np.arange(len(self.free))] = 1.0
        return basis


def _reduced(rows: ndarray, field: Modulus, random: np.random.Generator) -> tuple[ndarray, ndarray]:
    """Reduced echelon form of some rows: the pivot column of each basis row, and the rows."""
    if len(rows) <= LEAF:
        return _leaf(rows, field, random)
    half = len(rows) // 2
    pivots, top = _reduced(rows[:half], field, random)
    low = field.reduce(rows[half:] - field.matmul(rows[half:, pivots], top))
    low = low[low.any(axis=1)]
    if not len(low):
        return pivots, top
    further, bottom = _reduced(low, field, random)
    top = field.reduce(top - field.matmul(top[:, further], bottom))
    return np.concatenate([pivots, further]), np.concatenate([top, bottom])


def _leaf(rows: ndarray, field: Modulus, random: np.random.Generator) -> tuple[ndarray, ndarray]:
    """Pivots found in a few columns where they suffice; one small inverse and one product then do the rest."""
    columns = np.flatnonzero(rows.any(axis=0))
    width = WINDOW * len(rows)
    if len(columns) > 2 * width:
        window = random.choice(columns, width, replace=False)
        pivots, order, _ = _stepwise(rows[:, window], field)
        if len(order) == len(rows):
            pivots = window[pivots]
            return pivots, field.matmul(field.invert(rows[:, pivots]), rows)
    pivots, order, reduced = _stepwise(rows[:, columns], field)
    out = np.zeros((len(order), rows.shape[1]))
    out[:, columns] = reduced[order]
    return columns[pivots], out


def _stepwise(rows: ndarray, field: Modulus) -> tuple[ndarray, ndarray, ndarray]:
    """Gauss-Jordan, row by row: pivot columns, the rows that hold them, and the reduced rows."""
    work = rows.copy()
    pivots, order = [], []
    for i in range(len(work)):
        nonzero = np.flatnonzero(work[i])
        if not len(nonzero):
            continue
        column = int(nonzero[0])
        work[i] = field.mul(work[i], field.inverse(work[i, column]))
        others = np.flatnonzero(work[:, column])
        others = others[others != i]
        if len(others):
            work[others] = field.reduce(work[others] - work[others, column, None] * work[i])
        pivots.append(column)
        order.append(i)
    return np.array(pivots, dtype=np.int64), np.array(order, dtype=np.int64), work


def rank_of_residues(matrix: Float[ndarray, "m n"], field: Modulus, *, block: int = 512) -> int:
    """Rank over F_p of a matrix of residues: never above the rank of what it is the residue of.

    Cost: ``2/3 r^2 n`` multiply-adds twice, in matrix products.

    Example:
        >>> rank_of_residues(np.array([[1.0, 2.0], [2.0, 4.0]]), Modulus(7))
        1
    """
    space = Echelon(matrix.shape[1], field)
    for start in range(0, len(matrix), block):
        if space.full:
            break
        space.add(matrix[start : start + block])
    return space.rank
