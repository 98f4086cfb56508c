r"""Which orbits a latent space keeps, where several readers see it: block orthogonal matching pursuit over all of them.

For one reader, with M and C the covariances of everything still unexplained, the variance of its targets that an orbit
o adds after refit is exactly ``tr(C_o M_oo^+ C_o^T)``. Gains of several readers are added; the orbit that adds most per
channel is taken, and every M and C is deflated. The norm of a weight plays no part.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int
from numpy import ndarray

from intertwiner.numerics.tolerance import MOMENT_RANK


@dataclass
class Problem:
    """What one reader needs of the space.

    The covariance of all columns is invariant under G, which moves them freely: the rows of one column per orbit of
    columns hold all of it, and everything is |G| times cheaper.

    Args:
        square: Covariance of those columns (rows) with all columns; changed in place.
        cross: Of the weighted targets with all columns; changed in place.
        total: Variance of the weighted targets.
        columns: The columns of every candidate orbit.
        moves: Where every element of G moves the columns.
        first: Which columns the rows stand for; their images under G are all columns, once each.
    """

    square: Float[ndarray, "r n"]
    cross: Float[ndarray, "t n"]
    total: float
    columns: Sequence[Int[ndarray, " k"]]
    moves: Int[ndarray, "order n"]
    first: Int[ndarray, " r"]

    def __post_init__(self) -> None:
        count = self.moves.shape[1]
        self.back = np.argsort(self.moves, axis=1)
        # Column c is the image under ``by[c]`` of row ``row[c]``.
        self.row, self.by = np.zeros(count, dtype=np.int64), np.zeros(count, dtype=np.int64)
        for k, move in enumerate(self.moves):
            self.row[move[self.first]] = np.arange(len(self.first))
            self.by[move[self.first]] = k
        self.own = self.square[self.row, self.back[self.by, np.arange(count)]]
        self.groups: dict[int, list[int]] = {}
        for o, at in enumerate(self.columns):
            self.groups.setdefault(len(at), []).append(o)
        self.blocks = {
            size: np.stack([self.columns[o] for o in orbits]) for size, orbits in self.groups.items()
        }  # fmt: skip

    def entries(self, rows: Int[ndarray, "..."], columns: Int[ndarray, "..."]) -> Float[ndarray, "..."]:
        """Entries of the whole covariance."""
        return self.square[self.row[rows], self.back[self.by[rows], columns]]

    def gains(self) -> Float[ndarray, " o"]:
        """Variance that every orbit would add now."""
        out = np.zeros(len(self.columns))
        for size, at in self.blocks.items():
            seen = self.cross[:, at].transpose(1, 0, 2)
            gram = seen.transpose(0, 2, 1) @ seen
            value, vector = np.linalg.eigh(self.entries(at[:, :, None], at[:, None, :]))
            kept = value > MOMENT_RANK * self.own[at].max(axis=1, keepdims=True)
            inverse = np.divide(1.0, value, out=np.zeros_like(value), where=kept)
            turned = gram @ vector
            out[self.groups[size]] = ((vector * turned).sum(1) * inverse).sum(1)
        return out

    def take(self, orbit: int) -> None:
        """Deflate by an orbit."""
        at = self.columns[orbit]
        every = np.arange(self.moves.shape[1])
        value, vector = np.linalg.eigh(self.entries(at[:, None], at[None, :]))
        kept = value > MOMENT_RANK * self.own[at].max(initial=0.0)
        root = vector[:, kept] / np.sqrt(value[kept])
        spread, seen = self.entries(every[:, None], at[None, :]) @ root, self.cross[:, at] @ root
        self.square -= spread[self.first] @ spread.T
        self.cross -= seen @ spread.T


@dataclass(frozen=True, eq=False)
class Chosen:
    """Orbits in the order in which they were taken.

    Args:
        orbits: Their numbers.
        width: Channels after each.
        explained: Share of the targets' variance explained after each.
        total: That variance.
    """

    orbits: tuple[int, ...]
    width: tuple[int, ...]
    explained: tuple[float, ...]
    total: float = 0.0


def choose_orbits(problems: Sequence[Problem], sizes: Sequence[int], width: int) -> Chosen:
    """Take orbits greedily, by explained variance per channel, until the width is reached.

    Args:
        problems: One per reader, over the same orbits; they are used up.
        sizes: Channels of every orbit.
        width: Most channels in all.

    Cost:
        ``O(n^2)`` per column taken, n the columns of all candidates.

    Example:
        The target is the third channel; the first explains half of it, the second nothing:

        >>> square, every = np.array([[1.0, 0, 0.5], [0, 1, 0], [0.5, 0, 1]]), np.arange(3)
        >>> cross, columns = np.array([[0.5, 0, 1]]), [np.array([k]) for k in every]
        >>> choose_orbits([Problem(square, cross, 1.0, columns, every[None], every)], [1, 1, 1], 1).orbits
        (2,)
    """
    each = np.asarray(sizes)
    free = np.ones(len(each), dtype=bool)
    total = sum(p.total for p in problems)
    orbits, widths, explained, used, got = [], [], [], 0, 0.0
    while True:
        free &= each <= width - used
        if not free.any():
            break
        gains = np.where(free, np.sum([p.gains() for p in problems], axis=0), -np.inf)
        best = int(np.argmax(gains / each))
        if gains[best] <= MOMENT_RANK**2 * max(total, 0.0):
            break
        for p in problems:
            p.take(best)
        free[best] = False
        used += int(each[best])
        got += float(gains[best])
        orbits.append(best)
        widths.append(used)
        explained.append(got / total if total > 0 else 1.0)
    return Chosen(tuple(orbits), tuple(widths), tuple(explained), total)
