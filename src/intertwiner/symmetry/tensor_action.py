"""One group element acting on a tensor, kept as a product of small matrices on groups of its axes.

A sample has shape ``(n_1, .., n_k)``; a ``TensorAction`` holds disjoint ``AxisFactor``s, each a monomial or dense
matrix on the row-major flattening of some consecutive axes, and fixes every other axis. A rotated image is one
permutation of the joint axes (H, W); a flipped one is a permutation of W alone. Nothing is ever expanded to the
whole sample unless ``flat`` is asked for. ``a @ b`` applies b first.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from numpy import ndarray

from intertwiner.errors import ShapeMismatch
from intertwiner.numerics.monomial import Monomial
from intertwiner.numerics.tolerance import ROUNDING
from intertwiner.symmetry import matrices as mat
from intertwiner.symmetry.apply import Step, apply_steps, plan
from intertwiner.symmetry.axes import Interval, merge, regroup, resolve
from intertwiner.symmetry.matrices import Matrix

MAX_SHOWN = 16
"""Largest matrix whose cycles are printed."""


@dataclass(frozen=True, eq=False)
class AxisFactor:
    """A matrix on the row-major flattening of consecutive axes of a sample.

    Args:
        axes: Consecutive sample axes, the batch not counted. Empty only for a sample without axes.
        matrix: ``Monomial`` or float64 array acting on column vectors.
    """

    axes: tuple[int, ...]
    matrix: Matrix

    def __post_init__(self) -> None:
        axes = tuple(int(a) for a in self.axes)
        if any(b != a + 1 for a, b in itertools.pairwise(axes)):
            raise ShapeMismatch(f"an axis factor needs consecutive ascending axes, got {axes}")
        object.__setattr__(self, "axes", axes)
        object.__setattr__(self, "matrix", mat.as_matrix(self.matrix))

    @property
    def interval(self) -> Interval:
        return (self.axes[0], self.axes[-1] + 1) if self.axes else (0, 0)


@dataclass(frozen=True, eq=False)
class TensorAction:
    """A linear map of samples, as disjoint factors on groups of axes; axes not named are fixed.

    Factors are split as finely as they go and identities are dropped, so equal maps look equal.

    Args:
        shape: Shape of one sample, without the batch.
        factors: Disjoint factors.

    Raises:
        ShapeMismatch: Factors that overlap or do not fit the shape.

    Example:
        >>> flip = TensorAction((2, 3), (AxisFactor((1,), Monomial([2, 1, 0])),))
        >>> flip.apply(torch.arange(6.0).reshape(1, 2, 3))
        tensor([[[2., 1., 0.],
                 [5., 4., 3.]]])
        >>> (flip @ flip).is_identity
        True
        >>> flip
        TensorAction((2, 3), axis 1: Monomial(3: (0 2)))
    """

    shape: tuple[int, ...]
    factors: tuple[AxisFactor, ...] = ()

    def __post_init__(self) -> None:
        shape = tuple(int(n) for n in self.shape)
        seen: set[int] = set()
        fine: list[AxisFactor] = []
        for factor in self.factors:
            if not seen.isdisjoint(factor.axes):
                raise ShapeMismatch(f"two factors of a tensor action share axes: {sorted(seen & set(factor.axes))}")
            seen.update(factor.axes)
            if any(a < 0 or a >= len(shape) for a in factor.axes):
                raise ShapeMismatch(f"factor on axes {factor.axes} of a sample of shape {shape}")
            points = math.prod(shape[a] for a in factor.axes)
            if mat.dimension(factor.matrix) != points:
                raise ShapeMismatch(
                    f"axes {factor.axes} of shape {shape} hold {points} entries, "
                    f"the matrix acts on {mat.dimension(factor.matrix)}"
                )
            fine.extend(_split(factor, shape))
        object.__setattr__(self, "shape", shape)
        object.__setattr__(self, "factors", tuple(sorted(fine, key=lambda f: f.axes)))

    @classmethod
    def identity(cls, shape: Iterable[int]) -> TensorAction:
        return cls(tuple(shape), ())

    @classmethod
    def of(cls, shape: Iterable[int], matrices: Mapping[tuple[int, ...], Matrix]) -> TensorAction:
        """From a mapping of axes to matrices; negative axes count from the end.

        >>> TensorAction.of((4, 2), {(-1,): Monomial([1, 0])}).factors[0].axes
        (1,)
        """
        shape = tuple(shape)
        factors = [AxisFactor(tuple(a % len(shape) for a in axes), m) for axes, m in matrices.items()]
        return cls(shape, tuple(factors))

    @classmethod
    def from_flat(cls, shape: Iterable[int], matrix: Matrix) -> TensorAction:
        """From a matrix on the flattened sample, split into axes where it splits."""
        shape = tuple(shape)
        return cls(shape, (AxisFactor(tuple(range(len(shape))), matrix),))

    @property
    def size(self) -> int:
        """Entries of one sample."""
        return math.prod(self.shape)

    @property
    def is_identity(self) -> bool:
        # Factors that are multiples of the identity may cancel each other: -1 on a channel, -1 on a row.
        return not self.factors or self == TensorAction(self.shape)

    @cached_property
    def is_monomial(self) -> bool:
        return all(isinstance(f.matrix, Monomial) for f in self.factors)

    @cached_property
    def is_permutation(self) -> bool:
        return all(isinstance(f.matrix, Monomial) and f.matrix.is_permutation for f in self.factors)

    @cached_property
    def _steps(self) -> tuple[Step, ...]:
        return plan(self.shape, [(f.axes, f.matrix) for f in self.factors])

    def apply(self, x: torch.Tensor) -> torch.Tensor:
        """Act on a tensor with any leading batch axes, on its device and in its dtype.

        Permutations are gathers, flips, rolls and exchanged axes: bit-exact, the result may be a strided view.
        Dense factors are multiplied in float64 and cast back.

        Raises:
            ShapeMismatch: If the trailing axes are not ``shape``.

        Cost:
            One pass over the data for all flips, rolls and turns together, one for every other factor.
        """
        k = len(self.shape)
        if x.ndim < k or tuple(x.shape[x.ndim - k :]) != self.shape:
            raise ShapeMismatch(f"an action on samples of shape {self.shape} met a tensor of shape {tuple(x.shape)}")
        return apply_steps(self._steps, x, k)

    def apply_numpy(self, x: ndarray) -> ndarray:
        """``apply`` for a numpy array."""
        return np.ascontiguousarray(self.apply(torch.from_numpy(np.array(x))).numpy())

    def __matmul__(self, other: TensorAction) -> TensorAction:
        if not isinstance(other, TensorAction):
            return NotImplemented
        self._same_shape(other)
        factors = []
        for low, high in merge([f.interval for f in (*self.factors, *other.factors)]):
            axes = tuple(range(low, high))
            factors.append(AxisFactor(axes, mat.product(self._block(low, high), other._block(low, high))))
        return TensorAction(self.shape, tuple(factors))

    def inverse(self) -> TensorAction:
        return TensorAction(self.shape, tuple(AxisFactor(f.axes, mat.inverse(f.matrix)) for f in self.factors))

    def flat(self) -> Matrix:
        """The matrix on the row-major flattened sample: ``Monomial`` where it is one, otherwise dense."""
        return self._block(0, len(self.shape))

    def matrix_on(self, axes: Sequence[int]) -> Matrix:
        """The matrix on the flattening of some consecutive axes that the action keeps apart from the others.

        Raises:
            ShapeMismatch: If a factor mixes these axes with others.

        >>> turn = TensorAction.of((3, 2, 2), {(1, 2): Monomial([2, 0, 3, 1])})
        >>> turn.matrix_on((1, 2)).index
        array([2, 0, 3, 1])
        """
        axes = tuple(a % max(len(self.shape), 1) for a in axes)
        if any(b != a + 1 for a, b in itertools.pairwise(axes)):
            raise ShapeMismatch(f"matrix_on needs consecutive axes, got {axes}")
        self._kept_apart(set(axes))
        return self._block(axes[0], axes[-1] + 1) if axes else Monomial.identity(1)

    def fixes(self, axes: Iterable[int]) -> bool:
        """Whether no factor touches these axes."""
        wanted = {a % max(len(self.shape), 1) for a in axes}
        return all(wanted.isdisjoint(f.axes) for f in self.factors)

    def permute(self, order: Sequence[int]) -> TensorAction:
        """The same map on ``x.permute(order)``: new axis i is old axis ``order[i]``.

        >>> turn = TensorAction.of((3, 2, 2), {(1, 2): Monomial([2, 0, 3, 1])})
        >>> turn.permute((1, 2, 0)).factors[0].axes
        (0, 1)
        """
        k = len(self.shape)
        order = [a % max(k, 1) for a in order]
        if sorted(order) != list(range(k)):
            raise ShapeMismatch(f"{tuple(order)} is no order of the {k} axes of a sample of shape {self.shape}")
        shape = tuple(self.shape[a] for a in order)
        place = {a: i for i, a in enumerate(order)}
        spans = [(min(place[a] for a in f.axes), max(place[a] for a in f.axes) + 1) for f in self.factors if f.axes]
        factors = [f for f in self.factors if not f.axes]
        for low, high in merge(spans):
            old = sorted(order[low:high])
            joint = self._joint(old)
            grid = np.arange(math.prod(shape[low:high])).reshape(shape[low:high])
            # The point of the old numbering at each new point, read as the new number of each old point.
            renumber = grid.transpose([order[low:high].index(a) for a in old]).reshape(-1)
            factors.append(AxisFactor(tuple(range(low, high)), mat.conjugate(joint, renumber)))
        return TensorAction(shape, tuple(factors))

    permute_axes = permute

    def reshape(self, shape: Sequence[int]) -> TensorAction:
        """The same map on ``x.reshape(shape)``; one entry may be -1.

        Axes are merged by Kronecker products and split where the matrix is one; a factor that does not split
        stays joint over several axes.

        >>> flip = TensorAction.of((2, 3), {(1,): Monomial([2, 1, 0])})
        >>> flip.reshape((6,)).factors[0].matrix.index
        array([2, 1, 0, 5, 4, 3])
        >>> flip.reshape((6,)).reshape((2, 3)) == flip
        True
        """
        target = resolve(shape, self.shape)
        if not self.size:
            return TensorAction(target)
        factors = []
        for (low, high), (new_low, new_high) in regroup(self.shape, target, [f.interval for f in self.factors]):
            factors.append(AxisFactor(tuple(range(new_low, new_high)), self._block(low, high)))
        return TensorAction(target, tuple(factors))

    def insert_axis(self, position: int) -> TensorAction:
        """The same map after ``unsqueeze``: a new sample axis of size one before ``position``."""
        position %= len(self.shape) + 1
        return self.reshape((*self.shape[:position], 1, *self.shape[position:]))

    def drop_axes(self, axes: Iterable[int]) -> TensorAction:
        """The action on the remaining axes, where it keeps them apart from the dropped ones.

        What is left after a sum, mean or maximum over the dropped axes, if those are only permuted.

        Raises:
            ShapeMismatch: If a factor mixes dropped and kept axes.
        """
        dropped = {a % max(len(self.shape), 1) for a in axes}
        self._kept_apart(dropped)
        kept = [a for a in range(len(self.shape)) if a not in dropped]
        place = {a: i for i, a in enumerate(kept)}
        spans: list[AxisFactor] = []
        for factor in self.factors:
            if dropped.isdisjoint(factor.axes):
                spans.append(AxisFactor(tuple(place[a] for a in factor.axes), factor.matrix))
        return TensorAction(tuple(self.shape[a] for a in kept), tuple(spans))

    def is_close(self, other: TensorAction) -> bool:
        """Equality up to rounding of the matrices."""
        return self._compare(other, ROUNDING)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, TensorAction):
            return NotImplemented
        return self._compare(other, 0.0)

    def __hash__(self) -> int:
        return hash((self.shape, tuple(f.axes for f in self.factors)))

    def __repr__(self) -> str:
        parts = [f"axis {f.axes[0]}" if len(f.axes) == 1 else f"axes {f.axes}" for f in self.factors]
        text = "; ".join(f"{p}: {self._brief(f)}" for p, f in zip(parts, self.factors, strict=True)) or "identity"
        return f"TensorAction({self.shape}, {text})"

    def _brief(self, factor: AxisFactor) -> str:
        matrix = factor.matrix
        if not isinstance(matrix, Monomial):
            return f"dense {len(matrix)}"
        if matrix.dimension <= MAX_SHOWN:
            return repr(matrix)
        kind = "permutation" if matrix.is_permutation else "signed" if matrix.is_signed_permutation else "scaled"
        return (
            f"Monomial({matrix.dimension}: {kind} moving {int((matrix.index != np.arange(len(matrix.index))).sum())})"
        )

    def _compare(self, other: TensorAction, tolerance: float) -> bool:
        if self.shape != other.shape:
            return False
        total = 1.0
        for low, high in merge([f.interval for f in (*self.factors, *other.factors)]):
            ratio = mat.ratio(self._block(low, high), other._block(low, high), tolerance)
            if ratio is None:
                return False
            total *= ratio
        return abs(total - 1.0) <= tolerance * max(len(self.shape), 1)

    def _same_shape(self, other: TensorAction) -> None:
        if self.shape != other.shape:
            raise ShapeMismatch(f"cannot compose actions on samples of shapes {self.shape} and {other.shape}")

    def _kept_apart(self, axes: set[int]) -> None:
        for factor in self.factors:
            inside = axes & set(factor.axes)
            if inside and inside != set(factor.axes):
                raise ShapeMismatch(
                    f"the action mixes axes {factor.axes} of a sample of shape {self.shape}; "
                    f"axes {sorted(axes)} cannot be looked at alone"
                )

    def _block(self, low: int, high: int) -> Matrix:
        """The matrix on axes low..high-1, which no factor may straddle."""
        return self._joint(list(range(low, high)))

    def _joint(self, axes: Sequence[int]) -> Matrix:
        """Kronecker product, in the order of the axes, of the factors and identities on them."""
        by_first = {f.axes[0] if f.axes else -1: f for f in self.factors}
        out: Matrix = by_first[-1].matrix if -1 in by_first else Monomial.identity(1)
        skip: set[int] = set()
        for axis in axes:
            if axis in skip:
                continue
            factor = by_first.get(axis)
            if factor is not None:
                skip.update(factor.axes)
            out = mat.kron(out, factor.matrix if factor is not None else Monomial.identity(self.shape[axis]))
        return out


def _split(factor: AxisFactor, shape: tuple[int, ...]) -> list[AxisFactor]:
    """The factor as finely as it splits over its axes, identities dropped."""
    if mat.is_identity(factor.matrix):
        return []
    out: list[AxisFactor] = []
    axes, rest = factor.axes, factor.matrix
    taken = 1
    while len(axes) > 1 and taken < len(axes):
        n = math.prod(shape[a] for a in axes[:taken])
        pair = mat.split(rest, n)
        if pair is None:
            taken += 1
            continue
        if not mat.is_identity(pair[0]):
            out.append(AxisFactor(axes[:taken], pair[0]))
        axes, rest, taken = axes[taken:], pair[1], 1
    if not mat.is_identity(rest):
        out.append(AxisFactor(axes, rest))
    return out
