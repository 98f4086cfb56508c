"""One block of coordinates of a layer's neurons, with the group that moves it: from weights or from moments.

``g . w = w rho(g)^{-1}``, and ``inner`` gives ``C[g, i, j] = <g . w_j, w_i>``; see ``images``. rho is orthogonal.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Protocol

import numpy as np
from jaxtyping import Float, Int
from numpy import ndarray

from intertwiner.algebra import Group
from intertwiner.errors import NonFiniteWeights, ShapeMismatch

CHUNK_BYTES = 2**24
"""Largest temporary, in bytes, of one chunk of group elements; bounds the memory of every loop in this room."""


def chunks(count: int, bytes_each: int) -> Iterator[ndarray]:
    """``0..count-1`` in runs whose temporaries stay below ``CHUNK_BYTES``."""
    step = max(1, CHUNK_BYTES // max(bytes_each, 1))
    for start in range(0, count, step):
        yield np.arange(start, min(start + step, count))


class Part(Protocol):
    """One block of coordinates with one group acting on it; see ``WeightPart`` and ``MomentPart``."""

    @property
    def group(self) -> Group: ...
    def inner(self, elements: Int[ndarray, " k"]) -> Float[ndarray, "k n n"]: ...
    def self_inner(self) -> Float[ndarray, "n order"]: ...
    def rescaled(self, factor: Float[ndarray, " n"]) -> Part: ...
    def restricted(self, kept: Int[ndarray, " m"]) -> Part: ...
    def merged(self, members: Float[ndarray, "n m"], aligners: Int[ndarray, " n"]) -> Part: ...
    def turned(self, coefficients: Float[ndarray, "n order"]) -> Part: ...
    def under_wrong_action(self, rng: np.random.Generator) -> Part | None: ...


@dataclass(frozen=True, eq=False)
class WeightPart:
    """Rows of a weight matrix, and for every g the map ``w -> w rho(g)^{-1}``.

    Args:
        group: The group.
        rows: One row per neuron.
        move: ``move(rows, elements)`` with one element per row is ``g . row``, and with elements of shape (k, 1)
            every row moved by every one of them, (k, n, d).
    """

    group: Group
    rows: Float[ndarray, "n d"]
    move: Callable[[ndarray, ndarray], ndarray]

    @classmethod
    def by_permutations(
        cls, group: Group, rows: Float[ndarray, "n d"], index: Int[ndarray, "order d"], factor: ndarray | None = None
    ) -> WeightPart:
        """Inputs moved by (signed) permutations, ``rho(g) e_j = factor[g, j] e_{index[g, j]}``.

        Args:
            group: The group.
            rows: One row per neuron.
            index: Where g sends input j.
            factor: Signs, one per element and input; all one by default.

        Raises:
            ShapeMismatch: If ``index`` does not fit the group and the rows.
            NonFiniteWeights: If a weight is NaN or infinite.
        """
        rows, index = checked_rows(rows), np.asarray(index)
        if index.shape != (group.order, rows.shape[1]):
            raise ShapeMismatch(
                f"an action of {group.order} elements on {rows.shape[1]} inputs needs an index of that shape, "
                f"got {index.shape}"
            )
        # Row i of g.w is w_i rho(g^{-1}): entry j reads w_i at index[g^{-1}, j].
        return cls(group, rows, _PermutationMove(group, index, None if factor is None else np.asarray(factor, float)))

    @classmethod
    def by_matrices(cls, group: Group, rows: ndarray, matrices: Float[ndarray, "order d d"]) -> WeightPart:
        """Inputs moved by orthogonal matrices, one per element."""
        rows, matrices = checked_rows(rows), np.asarray(matrices, dtype=np.float64)
        if matrices.shape != (group.order, rows.shape[1], rows.shape[1]):
            raise ShapeMismatch(f"need {group.order} matrices of size {rows.shape[1]}, got an array {matrices.shape}")
        return cls(group, rows, _MatrixMove(matrices))

    def _all_moved(self, elements: Int[ndarray, " k"]) -> Float[ndarray, "k n d"]:
        return self.move(self.rows, elements[:, None])

    def inner(self, elements: Int[ndarray, " k"]) -> Float[ndarray, "k n n"]:
        return np.matmul(self.rows, self._all_moved(elements).transpose(0, 2, 1))

    def self_inner(self) -> Float[ndarray, "n order"]:
        out = np.empty((len(self.rows), self.group.order))
        for run in chunks(self.group.order, 8 * self.rows.size):
            out[:, run] = np.einsum("nd,knd->nk", self.rows, self._all_moved(run))
        return out

    def rescaled(self, factor: Float[ndarray, " n"]) -> WeightPart:
        return replace(self, rows=self.rows * factor[:, None])

    def restricted(self, kept: Int[ndarray, " m"]) -> WeightPart:
        return replace(self, rows=self.rows[kept])

    def merged(self, members: Float[ndarray, "n m"], aligners: Int[ndarray, " n"]) -> WeightPart:
        return replace(self, rows=members.T @ self.move(self.rows, aligners))

    def turned(self, coefficients: Float[ndarray, "n order"]) -> WeightPart:
        rows = np.zeros_like(self.rows)
        for run in chunks(self.group.order, 8 * self.rows.size):
            rows += np.einsum("nk,knd->nd", coefficients[:, run], self._all_moved(run))
        return replace(self, rows=rows)

    def under_wrong_action(self, rng: np.random.Generator) -> WeightPart | None:
        """The rows in a random orthogonal basis: the same group acts, conjugated, and is no symmetry of the net."""
        d = self.rows.shape[1]
        if d == 1:
            return None
        if d <= 512:
            basis, triangle = np.linalg.qr(rng.normal(size=(d, d)))
            return replace(self, rows=self.rows @ (basis * np.sign(np.diag(triangle))))
        return replace(self, rows=self.rows[:, rng.permutation(d)] * rng.choice([-1.0, 1.0], size=d))


@dataclass(frozen=True, eq=False)
class _PermutationMove:
    group: Group
    index: ndarray
    factor: ndarray | None

    def __call__(self, rows: ndarray, elements: ndarray) -> ndarray:
        back = np.asarray(self.group.inverse(elements))
        out = rows[np.arange(len(rows))[:, None], self.index[back]]
        return out if self.factor is None else out * self.factor[back]


@dataclass(frozen=True, eq=False)
class _MatrixMove:
    matrices: ndarray

    def __call__(self, rows: ndarray, elements: ndarray) -> ndarray:
        # rho(g) is orthogonal, so w rho(g)^{-1} = (rho(g) w^T)^T.
        if elements.ndim == 2:
            return np.matmul(rows, self.matrices[elements[:, 0]].transpose(0, 2, 1))
        return np.einsum("nab,nb->na", self.matrices[elements], rows)


def checked_rows(rows: ndarray) -> ndarray:
    rows = np.asarray(rows, dtype=np.float64)
    if rows.ndim != 2:
        raise ShapeMismatch(f"expected one row of weights per neuron, got an array of shape {rows.shape}")
    if not np.isfinite(rows).all():
        raise NonFiniteWeights(f"{int((~np.isfinite(rows)).sum())} of {rows.size} weights are NaN or infinite")
    return rows


@dataclass(frozen=True, eq=False)
class MomentPart:
    """Inner products measured on data: ``products[g, i, j]`` is the mean of ``h_i(x) h_j(g^{-1} x)``.

    The data must be orbit-symmetrised (x and all g x), so that g acts orthogonally; the products are then made
    consistent, ``C[g, i, j] = C[g^{-1}, j, i]``, which removes what sampling left over.

    Cost:
        ``|G| n^2`` numbers are held. Beyond |G| = 64 use the factors of the group, or weights.
    """

    group: Group
    products: Float[ndarray, "order n n"]

    @classmethod
    def from_moments(cls, group: Group, products: Float[ndarray, "order n n"]) -> MomentPart:
        products = np.asarray(products, dtype=np.float64)
        if products.ndim != 3 or len(products) != group.order or products.shape[1] != products.shape[2]:
            raise ShapeMismatch(f"need {group.order} square matrices of moments, got an array {products.shape}")
        if not np.isfinite(products).all():
            raise NonFiniteWeights("NaN or infinity among the moments")
        back = np.asarray(group.inverse(np.arange(group.order)))
        return cls(group, (products + products[back].transpose(0, 2, 1)) / 2)

    def inner(self, elements: Int[ndarray, " k"]) -> Float[ndarray, "k n n"]:
        return self.products[elements]

    def self_inner(self) -> Float[ndarray, "n order"]:
        return np.einsum("gii->ig", self.products).copy()

    def rescaled(self, factor: Float[ndarray, " n"]) -> MomentPart:
        return replace(self, products=self.products * factor[:, None] * factor)

    def restricted(self, kept: Int[ndarray, " m"]) -> MomentPart:
        return replace(self, products=self.products[:, kept][:, :, kept])

    def merged(self, members: Float[ndarray, "n m"], aligners: Int[ndarray, " n"]) -> MomentPart:
        n, m = members.shape
        back, out = np.asarray(self.group.inverse(aligners)), np.empty((self.group.order, m, m))
        i, j = np.arange(n)[:, None], np.arange(n)
        for run in chunks(self.group.order, 24 * n * n):
            # <g a_j w_j, a_i w_i> = C[a_i^{-1} g a_j, i, j]
            moved = self.group.multiply(back[:, None], self.group.multiply(run[:, None, None], aligners[None, None, :]))
            out[run] = members.T @ self.products[moved, i, j] @ members
        return replace(self, products=out)

    def turned(self, coefficients: Float[ndarray, "n order"]) -> MomentPart:
        every = np.arange(self.group.order)
        quotient = self.group.multiply(np.asarray(self.group.inverse(every))[:, None], every[None, :])
        # sum_h u_j[h] C[g h, i, j], then the same from the left with C[g, i, j] = C[g^{-1}, j, i]
        spread = coefficients[:, quotient]
        back = np.asarray(self.group.inverse(every))
        half = np.matmul(spread, self.products.transpose(2, 0, 1)).transpose(1, 2, 0)
        flipped = half[back].transpose(0, 2, 1)
        full = np.matmul(spread, flipped.transpose(2, 0, 1)).transpose(1, 2, 0)
        return replace(self, products=full[back].transpose(0, 2, 1))

    def under_wrong_action(self, rng: np.random.Generator) -> None:
        """Moments under the right action say nothing about another one: measure it with its own pass."""
        del rng
        return None
