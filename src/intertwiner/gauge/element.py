"""Gauge elements: affine maps ``z -> M z + t`` of a latent space, M monomial where it can be.

``g @ h`` applies h first. On weights: a layer ``z = W x + b`` that *writes* the space becomes ``(M W, M b + t)``, a
layer that *reads* it becomes ``(W M^-1, b - W M^-1 t)``, and the function does not change (theory 1).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import scipy.linalg
from jaxtyping import Float
from numpy import ndarray

from intertwiner.errors import ShapeMismatch
from intertwiner.gauge.group import GaugeGroup
from intertwiner.numerics.monomial import Monomial
from intertwiner.numerics.tolerance import ROUNDING


@dataclass(frozen=True, eq=False, repr=False)
class GaugeElement:
    """The affine map ``z -> matrix z + shift``.

    Args:
        matrix: A monomial matrix, or a dense square one.
        shift: One constant per coordinate, or None for none; zeros are stored as None.

    Raises:
        ShapeMismatch: If the matrix is not square or the shift has another length.

    Example:
        A sigmoid neuron with its sign flipped, seen after the activation, ``1 - s(z)``:

        >>> flip = GaugeElement(Monomial.diagonal(np.array([-1.0])), np.array([1.0]))
        >>> flip.apply(np.array([0.25]))
        array([0.75])
        >>> (flip @ flip).is_identity
        True
    """

    matrix: Monomial | Float[ndarray, "n n"]
    shift: Float[ndarray, " n"] | None = None

    def __post_init__(self) -> None:
        if not isinstance(self.matrix, Monomial):
            matrix = np.asarray(self.matrix, dtype=np.float64)
            if matrix.ndim != 2 or matrix.shape[0] != matrix.shape[1]:
                raise ShapeMismatch(f"a gauge element needs a square matrix, got {matrix.shape}")
            object.__setattr__(self, "matrix", matrix)
        if self.shift is not None:
            shift = np.asarray(self.shift, dtype=np.float64)
            if shift.shape != (self.dimension,):
                raise ShapeMismatch(f"a shift of shape {shift.shape} on {self.dimension} coordinates")
            object.__setattr__(self, "shift", shift if np.any(shift) else None)

    @classmethod
    def identity(cls, n: int) -> GaugeElement:
        return cls(Monomial.identity(n))

    @property
    def dimension(self) -> int:
        return self.matrix.dimension if isinstance(self.matrix, Monomial) else len(self.matrix)

    @property
    def constant(self) -> Float[ndarray, " n"]:
        """The shift as an array, zeros where there is none."""
        return np.zeros(self.dimension) if self.shift is None else self.shift

    @property
    def is_monomial(self) -> bool:
        return isinstance(self.matrix, Monomial)

    @property
    def is_identity(self) -> bool:
        """Exactly the identity, bit for bit."""
        if self.shift is not None:
            return False
        if isinstance(self.matrix, Monomial):
            return self.matrix.is_identity
        return bool(np.array_equal(self.matrix, np.eye(self.dimension)))

    def __matmul__(self, other: GaugeElement) -> GaugeElement:
        if self.dimension != other.dimension:
            raise ShapeMismatch(f"cannot compose gauge elements of dimensions {self.dimension} and {other.dimension}")
        if isinstance(self.matrix, Monomial) and isinstance(other.matrix, Monomial):
            matrix: Monomial | ndarray = self.matrix @ other.matrix
        else:
            matrix = self.dense() @ other.dense()
        if self.shift is None and other.shift is None:
            return GaugeElement(matrix)
        return GaugeElement(matrix, self.apply(other.constant))

    def inverse(self) -> GaugeElement:
        """Cost: a gather for monomial matrices, ``O(n^3)`` otherwise."""
        if isinstance(self.matrix, Monomial):
            matrix: Monomial | ndarray = self.matrix.inverse()
        else:
            matrix = np.linalg.inv(self.matrix)
        back = GaugeElement(matrix)
        return back if self.shift is None else GaugeElement(matrix, -back.apply(self.shift))

    def apply(self, x: Float[ndarray, "..."], axis: int = 0) -> Float[ndarray, "..."]:
        """``M x + t`` along one axis; ``axis=-1`` for samples in rows."""
        if isinstance(self.matrix, Monomial):
            out = self.matrix.apply(x, axis)
        else:
            out = np.moveaxis(np.tensordot(self.matrix, x, axes=(1, axis)), 0, axis)
        if self.shift is None:
            return out
        shape = [1] * out.ndim
        shape[axis] = -1
        return out + self.shift.reshape(shape)

    def apply_right(self, w: Float[ndarray, "... n"]) -> Float[ndarray, "... n"]:
        """``w M``, the linear part only; ``w @ self.constant`` is what joins the bias."""
        return self.matrix.apply_right(w) if isinstance(self.matrix, Monomial) else w @ self.matrix

    def on_writer(self, weight: Float[ndarray, "n r"], bias: Float[ndarray, " n"]) -> tuple[ndarray, ndarray]:
        """The layer whose output is this space: ``(M W, M b + t)``.

        >>> swap = GaugeElement(Monomial([1, 0]), np.array([0.0, 5.0]))
        >>> swap.on_writer(np.array([[1.0], [2.0]]), np.array([3.0, 4.0]))
        (array([[2.], [1.]]), array([4., 8.]))
        """
        return GaugeElement(self.matrix).apply(weight), self.apply(bias)

    def on_reader(self, weight: Float[ndarray, "m n"], bias: Float[ndarray, " m"]) -> tuple[ndarray, ndarray]:
        """The layer whose input is this space: ``(W M^-1, b - W M^-1 t)``."""
        moved = GaugeElement(self.matrix).inverse().apply_right(weight)
        return moved, bias if self.shift is None else bias - moved @ self.shift

    def dense(self) -> Float[ndarray, "n n"]:
        """The matrix without the shift. Cost: ``n^2`` memory."""
        return self.matrix.dense() if isinstance(self.matrix, Monomial) else self.matrix

    def distance(self, other: GaugeElement) -> float:
        """Largest difference of an entry of matrix or shift."""
        both = (self.dense() - other.dense(), self.constant - other.constant)
        return max((float(np.abs(part).max()) for part in both if part.size), default=0.0)

    def is_in(self, group: GaugeGroup, tolerance: float = ROUNDING) -> bool:
        """Whether this is an element of the group.

        Args:
            group: The group.
            tolerance: Room for rounding in orthogonality, unit scales and multiples of pi.
        """
        if group.dimension != self.dimension:
            return False
        for block, where in zip(group.blocks or (group,), group.slices, strict=True):
            part = self._restricted(where)
            if part is None or not _is_in_block(part, block, tolerance):
                return False
        return True

    def _restricted(self, where: slice) -> GaugeElement | None:
        """The element on consecutive coordinates, None if it mixes them with others."""
        start, stop = where.start, where.stop
        if (start, stop) == (0, self.dimension):
            return self
        shift = None if self.shift is None else self.shift[where]
        if isinstance(self.matrix, Monomial):
            index = self.matrix.index[where] - start
            if len(index) and (index.min() < 0 or index.max() >= stop - start):
                return None
            return GaugeElement(Monomial(index, self.matrix.factor[where]), shift)
        outside = np.delete(self.matrix[:, where], np.arange(start, stop), axis=0)
        beside = np.delete(self.matrix[where], np.arange(start, stop), axis=1)
        if np.any(outside) or np.any(beside):
            return None
        return GaugeElement(self.matrix[where, where], shift)

    @staticmethod
    def direct_sum(parts: Sequence[GaugeElement]) -> GaugeElement:
        """The element that acts on consecutive blocks by ``parts``."""
        matrices = [part.matrix for part in parts]
        if all(isinstance(matrix, Monomial) for matrix in matrices):
            matrix: Monomial | ndarray = Monomial.direct_sum([m for m in matrices if isinstance(m, Monomial)])
        else:
            matrix = np.asarray(scipy.linalg.block_diag(*(part.dense() for part in parts)))
        return GaugeElement(matrix, np.concatenate([np.zeros(0), *(part.constant for part in parts)]))

    def to_json(self) -> dict[str, Any]:
        shift = None if self.shift is None else self.shift.tolist()
        if isinstance(self.matrix, Monomial):
            return {"index": self.matrix.index.tolist(), "factor": self.matrix.factor.tolist(), "shift": shift}
        return {"matrix": self.matrix.tolist(), "shift": shift}

    @classmethod
    def from_json(cls, record: dict[str, Any]) -> GaugeElement:
        shift = None if record["shift"] is None else np.array(record["shift"])
        if "index" in record:
            return cls(Monomial(record["index"], np.array(record["factor"])), shift)
        return cls(np.array(record["matrix"]), shift)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, GaugeElement):
            return NotImplemented
        if self.is_monomial != other.is_monomial or not np.array_equal(self.constant, other.constant):
            return False
        if isinstance(self.matrix, Monomial):
            return self.matrix == other.matrix
        return bool(np.array_equal(self.matrix, other.dense()))

    def __hash__(self) -> int:
        return hash((self.dimension, self.constant.tobytes()))

    def __repr__(self) -> str:
        matrix = repr(self.matrix) if isinstance(self.matrix, Monomial) else f"dense {self.dimension}"
        return f"GaugeElement({matrix}{'' if self.shift is None else ', shifted'})"


def _is_in_block(element: GaugeElement, group: GaugeGroup, tolerance: float) -> bool:
    shift = element.constant
    if group.shift == "none" and np.any(np.abs(shift) > tolerance):
        return False
    if group.shift == "pi":
        turns = shift / np.pi
        if np.any(np.abs(turns - np.round(turns)) > tolerance * (1 + np.abs(turns))):
            return False
    if group.mixing == "linear":
        return bool(np.linalg.matrix_rank(element.dense()) == group.dimension)
    if group.mixing == "orthogonal":
        matrix = element.dense()
        return bool(np.all(np.abs(matrix @ matrix.T - np.eye(group.dimension)) <= tolerance * group.dimension))
    monomial = _as_monomial(element.matrix)
    if monomial is None or (group.mixing == "none" and np.any(monomial.index != np.arange(group.dimension))):
        return False
    if not group.sign and np.any(monomial.factor < 0):
        return False
    return group.scale != "none" or bool(np.all(np.abs(monomial.scale - 1) <= tolerance))


def _as_monomial(matrix: Monomial | ndarray) -> Monomial | None:
    if isinstance(matrix, Monomial):
        return matrix
    filled = matrix != 0
    if not (np.all(filled.sum(axis=0) == 1) and np.all(filled.sum(axis=1) == 1)):
        return None
    index = filled.argmax(axis=0)
    return Monomial(index, matrix[index, np.arange(len(index))])


def random_element(group: GaugeGroup, rng: np.random.Generator) -> GaugeElement:
    """An element drawn from every part of the group: any permutation, scales between 1/4 and 4, any sign.

    >>> group = GaugeGroup.product(GaugeGroup.signed(2), GaugeGroup.orthogonal(3))
    >>> random_element(group, np.random.default_rng(0)) in group
    True
    """
    if group.blocks:
        return GaugeElement.direct_sum([random_element(block, rng) for block in group.blocks])
    n = group.dimension
    shift = {"none": np.zeros(n), "pi": np.pi * rng.integers(-3, 4, n), "real": rng.normal(size=n)}[group.shift]
    if group.mixing in ("orthogonal", "linear"):
        left, right = (np.linalg.qr(rng.normal(size=(n, n)))[0] for _ in range(2))
        middle = np.exp2(rng.uniform(-2, 2, n)) if group.mixing == "linear" else np.ones(n)
        return GaugeElement(left @ (middle[:, None] * right), shift)
    factor = np.ones(n) if group.scale == "none" else np.exp2(rng.uniform(-2, 2, n))
    if group.sign:
        factor = factor * rng.choice([-1.0, 1.0], n)
    index = np.arange(n) if group.mixing == "none" else rng.permutation(n)
    return GaugeElement(Monomial(index, factor), shift)
