"""Monomial matrices: one nonzero entry per row and column, stored as two arrays, never dense.

Convention: ``M e_j = factor[j] e_{index[j]}``, so ``(M x)[index[j]] = factor[j] x[j]``. ``M @ N`` applies N first.
A permutation matrix has ``factor == 1``; ``index`` then is the permutation ``j -> index[j]``, acting on the left.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from jaxtyping import Float, Int
from numpy import ndarray

from intertwiner.errors import ShapeMismatch


@dataclass(frozen=True, eq=False, repr=False)
class Monomial:
    """A monomial matrix ``M e_j = factor[j] e_{index[j]}``.

    Args:
        index: A permutation of ``0..n-1``.
        factor: The nonzero entries, one per column; all one by default.

    Raises:
        ShapeMismatch: If ``index`` is no permutation or the lengths differ.

    Example:
        >>> turn = Monomial([1, 2, 0])
        >>> turn.apply(np.array([10.0, 20.0, 30.0]))
        array([30., 10., 20.])
        >>> (turn @ turn @ turn) == Monomial.identity(3)
        True
    """

    index: Int[ndarray, " n"]
    factor: Float[ndarray, " n"] = None  # type: ignore[assignment]

    def __post_init__(self) -> None:
        index = np.ascontiguousarray(self.index, dtype=np.int64)
        factor = np.ones(len(index)) if self.factor is None else np.ascontiguousarray(self.factor, dtype=np.float64)
        if index.ndim != 1 or factor.shape != index.shape:
            raise ShapeMismatch(
                f"a monomial matrix needs two arrays of one length, got {index.shape} and {factor.shape}"
            )
        if len(index) and (
            index.min() < 0 or index.max() >= len(index) or np.bincount(index, minlength=len(index)).max() > 1
        ):
            raise ShapeMismatch(f"index is no permutation of 0..{len(index) - 1}")
        if not np.all(factor):
            raise ShapeMismatch("a monomial matrix has no zero factor")
        index.setflags(write=False)
        factor.setflags(write=False)
        object.__setattr__(self, "index", index)
        object.__setattr__(self, "factor", factor)

    @classmethod
    def identity(cls, n: int) -> Monomial:
        return cls(np.arange(n))

    @classmethod
    def diagonal(cls, factor: Float[ndarray, " n"]) -> Monomial:
        return cls(np.arange(len(factor)), factor)

    @property
    def dimension(self) -> int:
        return len(self.index)

    @cached_property
    def sources(self) -> Int[ndarray, " n"]:
        """The inverse permutation: ``(M x)[i]`` comes from ``x[sources[i]]``."""
        inverse = np.empty_like(self.index)
        inverse[self.index] = np.arange(len(self.index))
        return inverse

    @property
    def sign(self) -> Float[ndarray, " n"]:
        return np.sign(self.factor)

    @property
    def scale(self) -> Float[ndarray, " n"]:
        return np.abs(self.factor)

    @cached_property
    def is_permutation(self) -> bool:
        return bool(np.all(self.factor == 1))

    @cached_property
    def is_signed_permutation(self) -> bool:
        return bool(np.all(np.abs(self.factor) == 1))

    @cached_property
    def is_identity(self) -> bool:
        return self.is_permutation and bool(np.all(self.index == np.arange(len(self.index))))

    def __matmul__(self, other: Monomial) -> Monomial:
        if self.dimension != other.dimension:
            raise ShapeMismatch(
                f"cannot compose monomial matrices of dimensions {self.dimension} and {other.dimension}"
            )
        return Monomial(self.index[other.index], self.factor[other.index] * other.factor)

    def inverse(self) -> Monomial:
        return Monomial(self.sources, 1.0 / self.factor[self.sources])

    def apply(self, x: Float[ndarray, "..."], axis: int = 0) -> Float[ndarray, "..."]:
        """``M x`` along one axis. Cost: one gather, and one product unless M is a permutation."""
        out = np.take(x, self.sources, axis=axis)
        if self.is_permutation:
            return out
        shape = [1] * out.ndim
        shape[axis] = -1
        return out * self.factor[self.sources].reshape(shape)

    def apply_right(self, w: Float[ndarray, "... n"]) -> Float[ndarray, "... n"]:
        """``w M``: what the columns of a weight become when M acts on what it reads."""
        out = np.take(w, self.index, axis=-1)
        return out if self.is_permutation else np.multiply(out, self.factor, out=out)

    def dense(self) -> Float[ndarray, "n n"]:
        out = np.zeros((self.dimension, self.dimension))
        out[self.index, np.arange(self.dimension)] = self.factor
        return out

    def trace(self) -> float:
        return float(self.factor[self.index == np.arange(self.dimension)].sum())

    def kron(self, other: Monomial) -> Monomial:
        """``M (x) N`` on row-major pairs ``i * n + j``."""
        index = (self.index[:, None] * other.dimension + other.index[None, :]).ravel()
        return Monomial(index, (self.factor[:, None] * other.factor[None, :]).ravel())

    @staticmethod
    def direct_sum(parts: Sequence[Monomial]) -> Monomial:
        offsets = np.cumsum([0, *(p.dimension for p in parts)])
        if not parts:
            return Monomial.identity(0)
        index = np.concatenate([p.index + offset for p, offset in zip(parts, offsets, strict=False)])
        return Monomial(index, np.concatenate([p.factor for p in parts]))

    def cycles(self) -> tuple[tuple[int, ...], ...]:
        """Cycles of length two or more of the underlying permutation, each from its smallest point."""
        seen = np.zeros(self.dimension, dtype=bool)
        out = []
        for start in range(self.dimension):
            if seen[start]:
                continue
            cycle, point = [], start
            while not seen[point]:
                seen[point] = True
                cycle.append(point)
                point = int(self.index[point])
            if len(cycle) > 1:
                out.append(tuple(cycle))
        return tuple(out)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Monomial):
            return NotImplemented
        return bool(np.array_equal(self.index, other.index) and np.array_equal(self.factor, other.factor))

    def __hash__(self) -> int:
        return hash((self.index.tobytes(), self.factor.tobytes()))

    def __repr__(self) -> str:
        text = "".join("(" + " ".join(map(str, cycle)) + ")" for cycle in self.cycles()) or "()"
        kind = "" if self.is_permutation else ", signed" if self.is_signed_permutation else ", scaled"
        return f"Monomial({self.dimension}: {text}{kind})"
