r"""Second moments of every tap at ``x`` and at ``g x``, streamed: what all fits of a latent action need.

For a tap h with n channels, rows are samples times grid positions, and with ``(g h)(p) = h(g^{-1} p)`` the move of
the grid alone,

    C = Cov h(x),    X = Cov(h(gx), g h(x)),    D_i = Var h_i(gx),    means of both:

enough for the best affine map, permutation, signed or scaled permutation and for its share of variance explained.
Products are taken in float32 over a block of rows and added up in float64; memory is O(n^2) per tap, whatever the
number of batches. Channels with a mean far from zero are shifted first, so nothing cancels.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from jaxtyping import Float
from numpy import ndarray
from torch import Tensor

from intertwiner.errors import EmptyData, NonFiniteData, ShapeMismatch

if TYPE_CHECKING:
    from intertwiner.gauge import GaugeGroup
    from intertwiner.symmetry import TensorAction

FLUSH_ROWS = 4096
"""Rows that one float32 block sums before it is added to the float64 total."""

SHIFT_ABOVE = 4.0
"""A channel is shifted where |mean| exceeds this many standard deviations; below, float32 loses under two digits."""

Inputs = tuple[Tensor, ...]


@dataclass(frozen=True, eq=False)
class TapLayout:
    """How a tap is read; axes are those of one sample, the batch (axis 0 of the tensor) not counted.

    Args:
        name: The tap.
        channel_axis: The feature axis that the latent action moves.
        grid_axes: Axes over which moments are pooled and that the group may move; every axis but the feature axis.
        gauge: The group in which a latent action is sought.
        grid_action: The move of the grid under g as an action on the whole sample, None where nothing moves.
        mask: From the inputs to the weight (0 or 1) of every row: shape (batch,) + grid. None counts all rows.
        batch_axis: The batch axis of the tensor.
    """

    name: str
    channel_axis: int = 0
    grid_axes: tuple[int, ...] = ()
    gauge: GaugeGroup | None = None
    grid_action: Callable[[int], TensorAction | None] = lambda g: None
    mask: Callable[[Inputs], Tensor] | None = None
    batch_axis: int = 0


@dataclass(frozen=True, eq=False)
class Moments:
    """Central second moments of a tap at x and gx; float64.

    Args:
        rows: Samples times unmasked grid positions.
        mean: Mean of h(x), (n,).
        mean_moved: Mean of h(gx), (n,).
        C: Covariance of h(x), (n, n).
        X: Covariance of h(gx) with the moved h(x), (n, n): row of gx, column of x.
        D: Variances of h(gx), (n,).
    """

    rows: int
    mean: Float[ndarray, " n"]
    mean_moved: Float[ndarray, " n"]
    C: Float[ndarray, "n n"]
    X: Float[ndarray, "n n"]
    D: Float[ndarray, " n"]

    @property
    def variance(self) -> float:
        """Total variance of h(gx): the denominator of every R2."""
        return float(self.D.sum())

    @property
    def about_zero(self) -> tuple[ndarray, ndarray, ndarray]:
        """``E h h^T``, ``E h(gx) h(x)^T`` and ``E h(gx)^2``, means left in."""
        return (
            self.C + np.outer(self.mean, self.mean),
            self.X + np.outer(self.mean_moved, self.mean),
            self.D + self.mean_moved**2,
        )

    @classmethod
    def at_identity(cls, moments: Moments) -> Moments:
        """What a pass with g = 1 would have measured: h(x) beside itself."""
        m = moments
        return cls(m.rows, m.mean, m.mean, m.C, m.C, np.diagonal(m.C).copy())


@dataclass(frozen=True, eq=False)
class SplitMoments:
    """Moments of two disjoint halves of the samples and of both: fit on one, judge on the other."""

    train: Moments
    test: Moments
    total: Moments


class _Product:
    """``sum a_r b_r^T`` over rows: floating products of a block of rows, float64 sum over blocks."""

    def __init__(self, n: int, like: Tensor) -> None:
        self.total = torch.zeros(n, n, dtype=torch.float64, device=like.device)
        self.block = torch.zeros(n, n, dtype=like.dtype, device=like.device)
        self.rows = 0

    def add(self, a: Tensor, b: Tensor) -> None:
        """Rows as (rows, n), or as (samples, n, positions) without copying them into rows."""
        if a.ndim == 3:
            self.total += torch.bmm(a, b.transpose(1, 2)).sum(0, dtype=torch.float64)
            return
        self.block.addmm_(a.T, b)
        self.rows += len(a)
        if self.rows >= FLUSH_ROWS:
            self.flush()

    def flush(self) -> Tensor:
        if self.rows:
            self.total += self.block
            self.block.zero_()
            self.rows = 0
        return self.total


def _sum(a: Tensor) -> Tensor:
    return a.sum(2).sum(0, dtype=torch.float64) if a.ndim == 3 else a.sum(0).to(torch.float64)


def _squares(a: Tensor) -> Tensor:
    """Sums of squares per channel; the fast kernels differ for contiguous rows and columns."""
    if a.ndim == 3:
        return torch.linalg.vector_norm(a, dim=2).square_().sum(0, dtype=torch.float64)
    return torch.linalg.vecdot(a, a, dim=0).to(torch.float64)


@dataclass
class _Half:
    """Sums over one half of the samples: of h(x), and per element of h(gx) and its products with h(x)."""

    rows: int
    sum: Tensor
    product: _Product
    moved: dict[int, tuple[Tensor, Tensor, _Product]]

    @classmethod
    def zero(cls, n: int, like: Tensor, elements: Sequence[int]) -> _Half:
        def zeros() -> Tensor:
            return torch.zeros(n, dtype=torch.float64, device=like.device)

        return cls(0, zeros(), _Product(n, like), {g: (zeros(), zeros(), _Product(n, like)) for g in elements})


@dataclass(frozen=True)
class _Rows:
    """A tap with channels told from positions: (rows, n) or (samples, n, positions), and how to cut it by samples."""

    values: Tensor
    per_sample: int

    def cut(self, start: int, stop: int) -> Tensor:
        return self.values[start * self.per_sample : stop * self.per_sample]


class TapMoments:
    """The accumulator of one tap: ``begin`` a batch with h(x), ``add`` h(gx) for every g, ``finish`` at the end.

    Args:
        layout: How the tap is read.
        elements: The group elements whose moved latents will be added.
    """

    def __init__(self, layout: TapLayout, elements: Sequence[int]) -> None:
        self.layout = layout
        self.elements = tuple(elements)
        self._axis = 1 + layout.channel_axis
        self._half: int | None = None
        self._halves: tuple[_Half, _Half] | None = None
        self._shifts: dict[int | None, Tensor | None] = {}
        self._h: Tensor | None = None
        self._rows: _Rows | None = None
        self._weight: Tensor | None = None

    def begin(self, h: Tensor, inputs: Inputs = (), half: int | None = None) -> None:
        """A new batch: the tap at x.

        Args:
            h: The tap.
            inputs: The inputs, for the mask.
            half: 0 to train on this batch, 1 to test on it, None to cut it in the middle.
        """
        layout, self._half = self.layout, half
        h = h.movedim(layout.batch_axis, 0)
        if sorted((layout.channel_axis, *layout.grid_axes)) != list(range(h.ndim - 1)):
            raise ShapeMismatch(
                f"tap '{layout.name}' of shape {tuple(h.shape)}: channel axis {layout.channel_axis} and grid axes "
                f"{layout.grid_axes} must be all axes of a sample, the batch not counted"
            )
        self._h, self._weight = h, layout.mask(inputs) if layout.mask else None
        self._rows = rows = self._read(h, self._weight, None)
        if self._halves is None:
            n = h.shape[self._axis]
            self._halves = tuple(_Half.zero(n, rows.values, self.elements) for _ in range(2))  # type: ignore[assignment]
        for sums, start, stop in self._parts():
            part = rows.cut(start, stop)
            sums.rows += self._count(part, start, stop)
            sums.sum += _sum(part)
            sums.product.add(part, part)

    def add(self, g: int, moved: Tensor) -> None:
        """The tap at gx, for the batch begun."""
        moved = moved.movedim(self.layout.batch_axis, 0)
        if self._h is None or self._rows is None or moved.shape != self._h.shape:
            raise ShapeMismatch(f"tap '{self.layout.name}': the tap at gx must have the shape of the tap at x")
        action = self.layout.grid_action(g)
        if action is None or action.is_identity:
            mine, theirs = self._rows, self._read(moved, self._weight, g)
        else:
            weight = self._moved_weight(action)
            mine, theirs = self._read(action.apply(self._h), weight, None), self._read(moved, weight, g)
        for sums, start, stop in self._parts():
            total, squares, product = sums.moved[g]
            part = theirs.cut(start, stop)
            total += _sum(part)
            squares += _squares(part)
            product.add(part, mine.cut(start, stop))

    def end(self) -> None:
        """The batch is complete; its activations are let go."""
        self._h = self._rows = self._weight = None

    def finish(self) -> dict[int, SplitMoments]:
        """The moments by element.

        Raises:
            EmptyData: No row was added.
            NonFiniteData: NaN or infinity in a tap.
        """
        if self._halves is None or not sum(half.rows for half in self._halves):
            raise EmptyData(f"no row reached tap '{self.layout.name}': nothing was measured")
        train, test = self._halves
        return {
            g: SplitMoments(self._close([train], g), self._close([test], g), self._close([train, test], g))
            for g in self.elements
        }

    def _parts(self) -> list[tuple[_Half, int, int]]:
        if self._h is None or self._halves is None:
            return []
        size, halves = len(self._h), self._halves
        if self._half is None:
            return [(halves[0], 0, (size + 1) // 2), (halves[1], (size + 1) // 2, size)]
        return [(halves[self._half], 0, size)]

    def _count(self, part: Tensor, start: int, stop: int) -> int:
        if self._weight is not None:
            return int(self._weight[start:stop].sum())
        return part.numel() // part.shape[1]

    def _moved_weight(self, action: TensorAction) -> Tensor | None:
        """The weights where ``action`` has put the grid."""
        if self._weight is None or self._h is None:
            return None
        spread = self._weight.unsqueeze(self._axis).to(self._h.dtype).expand(self._h.shape)
        return action.apply(spread).select(self._axis, 0)

    def _read(self, h: Tensor, weight: Tensor | None, g: int | None) -> _Rows:
        """Shifted and masked rows, copied only where needed. ``g`` is None for h(x)."""
        if h.dtype not in (torch.float32, torch.float64):
            h = h.to(torch.float32)
        n = h.shape[self._axis]
        positions = h.numel() // (len(h) * n) if h.numel() else 1
        if self._axis == 1 and positions >= 2 * n:
            rows, per_sample, spread = h.reshape(len(h), n, positions), 1, (-1, 1, positions)
        else:
            rows, per_sample, spread = h.movedim(self._axis, -1).reshape(-1, n), positions, (-1, 1)
        if g not in self._shifts:
            self._shifts[g] = _shift(rows)
        shift = self._shifts[g]
        if shift is not None:
            rows = rows - (shift[:, None] if rows.ndim == 3 else shift)
        if weight is not None:
            rows = rows * weight.reshape(spread).to(rows.dtype)
        return _Rows(rows, per_sample)

    def _close(self, halves: Sequence[_Half], g: int) -> Moments:
        rows = sum(half.rows for half in halves)
        n = len(halves[0].sum)
        if not rows:
            return Moments(0, np.zeros(n), np.zeros(n), np.zeros((n, n)), np.zeros((n, n)), np.zeros(n))

        def mean(parts: Sequence[Tensor]) -> ndarray:
            return sum(part.cpu().numpy() for part in parts) / rows  # type: ignore[return-value]

        base, moved = mean([half.sum for half in halves]), mean([half.moved[g][0] for half in halves])
        C = mean([half.product.flush() for half in halves]) - np.outer(base, base)
        X = mean([half.moved[g][2].flush() for half in halves]) - np.outer(moved, base)
        D = mean([half.moved[g][1] for half in halves]) - moved**2
        if not (np.isfinite(C).all() and np.isfinite(X).all() and np.isfinite(D).all()):
            raise NonFiniteData(f"tap '{self.layout.name}' holds NaN or infinity: nothing was measured there")
        return Moments(
            rows,
            base + self._offset(None),
            moved + self._offset(g),
            (C + C.T) / 2,
            X,
            np.maximum(D, 0),
        )

    def _offset(self, g: int | None) -> ndarray | float:
        shift = self._shifts.get(g)
        return 0.0 if shift is None else shift.cpu().numpy().astype(np.float64)


def _shift(rows: Tensor) -> Tensor | None:
    """What to subtract from each channel so that no variance is lost to cancellation; None for nothing.

    Judged on the first few thousand rows: any shift gives the same moments, a good one fewer rounding errors.
    """
    few = rows[: max(1, FLUSH_ROWS // rows.shape[2])] if rows.ndim == 3 else rows[:FLUSH_ROWS]
    count = few.shape[0] * (few.shape[2] if few.ndim == 3 else 1)
    mean = (_sum(few) / max(count, 1)).to(few.dtype)
    std = (_squares(few - (mean[:, None] if few.ndim == 3 else mean)) / max(count, 1)).sqrt()
    far = mean.abs() > SHIFT_ABOVE * std
    return torch.where(far, mean, torch.zeros_like(mean)) if bool(far.any()) else None
