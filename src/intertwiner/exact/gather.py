"""Operators that only move entries, as one index array: shapes, slices, padding, windows of convolutions and pools.

Entry i of the result is entry ``index[i]`` of the inputs, flattened per sample and laid side by side; -1 stands for
zero. The index is found by applying the operator to numbered entries, so that every operator of this kind has one
forward pass, one transpose, and one proof that both belong together.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from itertools import product
from math import prod

import numpy as np
import scipy.sparse as sp
from jaxtyping import Float, Int
from numpy import ndarray

from intertwiner.errors import NoRule
from intertwiner.network import Conv, Pad, Pool

MODES = {"constant": "constant", "zeros": "constant", "circular": "wrap", "reflect": "reflect", "replicate": "edge"}


@dataclass(frozen=True, eq=False)
class Gather:
    """Moves entries of one sample.

    Args:
        index: For each entry of the result, its place among the ``size`` entries of the inputs, or -1.
        shape: Shape of the result, without the batch.
        size: Number of entries of the inputs together.

    Example:
        >>> turn = Gather.of(lambda x: x.T, (2, 3))
        >>> turn.index
        array([0, 3, 1, 4, 2, 5])
    """

    index: Int[ndarray, " out"]
    shape: tuple[int, ...]
    size: int

    @classmethod
    def of(cls, move: Callable[[ndarray], ndarray], *shapes: tuple[int, ...]) -> Gather:
        """The gather that ``move`` does to numbered samples of these shapes; zeros that it adds become -1."""
        starts = np.cumsum([1, *(prod(s) for s in shapes)])
        numbered = [np.arange(a, a + prod(s)).reshape(s) for a, s in zip(starts, shapes)]
        out = np.asarray(move(*numbered))
        return cls(out.ravel() - 1, out.shape, int(starts[-1]) - 1)

    def apply(self, x: Float[ndarray, "b size"]) -> Float[ndarray, "b ..."]:
        """The result for a batch of flattened samples."""
        out = x[:, self.index]
        if self._padded.any():
            out[:, self._padded] = 0
        return out.reshape(len(x), *self.shape)

    def transpose(self, g: Float[ndarray, "b out"]) -> Float[ndarray, "b size"]:
        """Sums what comes back from every copy of an entry; exact while sums stay below 2^53."""
        if self._injective:
            out = np.zeros((len(g), self.size))
            out[:, self.index[~self._padded]] = g[:, ~self._padded]
            return out
        return np.asarray((self._matrix @ g.T).T)

    @cached_property
    def _padded(self) -> ndarray:
        return self.index < 0

    @cached_property
    def _injective(self) -> bool:
        used = self.index[~self._padded]
        return len(np.unique(used)) == len(used)

    @cached_property
    def _matrix(self) -> sp.csr_matrix:
        used = np.flatnonzero(~self._padded)
        return sp.csr_matrix((np.ones(len(used)), (self.index[used], used)), shape=(self.size, len(self.index)))


def padded(op: Pad, shape: tuple[int, ...], tap: str) -> Gather:
    """Padding of a sample; the batch axis is not padded.

    Raises:
        NoRule: A constant other than zero, or padding that cuts away.
    """
    if op.padding[0] != (0, 0) or any(v < 0 for pair in op.padding for v in pair):
        raise NoRule(f"padding at {tap!r} cuts entries away or pads the batch: no exact rule")
    if op.mode == "constant" and op.value != 0:
        raise NoRule(f"padding at {tap!r} with {op.value:g}: only zeros have an exact rule")
    return Gather.of(lambda x: np.pad(x, op.padding[1:], mode=MODES[op.mode]), shape)  # type: ignore[call-overload]


def patches(op: Conv, shape: tuple[int, ...]) -> Gather:
    """Windows of a convolution: ``(groups, channels in a group x kernel, positions)``."""

    def move(x: ndarray) -> ndarray:
        x = np.pad(x, ((0, 0), *op.padding), mode=MODES[op.padding_mode])  # type: ignore[call-overload]
        windows = windows_of(x, op.kernel, op.stride, op.dilation)  # (channels, positions, kernel)
        channels, positions, size = windows.shape
        return windows.transpose(0, 2, 1).reshape(op.groups, channels // op.groups * size, positions)

    return Gather.of(move, shape)


def windows_of(
    x: ndarray, kernel: tuple[int, ...], stride: tuple[int, ...], dilation: tuple[int, ...]
) -> Int[ndarray, "lead positions kernel"]:
    """Windows over the last axes: leading axes as one, positions row-major, entries of the window row-major."""
    n = len(kernel)
    lead, grid = x.shape[:-n], x.shape[-n:]
    starts = [range(0, g - d * (k - 1), s) for g, k, s, d in zip(grid, kernel, stride, dilation)]
    offsets = [range(0, d * k, d) for k, d in zip(kernel, dilation)]
    flat = np.arange(prod(grid)).reshape(grid)
    first = flat[np.ix_(*starts)].ravel()
    steps = flat[np.ix_(*offsets)].ravel() - flat[(0,) * n]
    return x.reshape(prod(lead), -1)[:, first[:, None] + steps[None, :]]


def pool_windows(op: Pool, shape: tuple[int, ...], out: tuple[int, ...]) -> tuple[Gather, Int[ndarray, " positions"]]:
    """Windows of a pool, ``(lead, positions, longest window)`` with -1 outside, and what an average divides by."""
    n = len(op.kernel)
    grid, size = shape[-n:], out[-n:]
    spans = [_spans(op, axis, grid[axis], size[axis]) for axis in range(n)]
    flat = np.arange(1, prod(grid) + 1).reshape(grid)
    cells, counts = [], []
    for window in product(*spans):
        inside = np.ix_(*(span for span, _ in window))
        cells.append(flat[inside].ravel())
        counts.append(op.divisor or prod(count for _, count in window))
    longest = max(len(c) for c in cells)
    table = np.zeros((len(cells), longest), dtype=np.int64)
    for row, cell in zip(table, cells):
        row[: len(cell)] = cell
    lead = prod(shape[:-n])
    offsets = (np.arange(lead) * prod(grid))[:, None, None]
    index = np.where(table > 0, table - 1 + offsets, -1)
    return Gather(index.ravel(), index.shape, lead * prod(grid)), np.array(counts)


def _spans(op: Pool, axis: int, grid: int, size: int) -> list[tuple[list[int], int]]:
    """For each window along one axis: the entries inside, and the length that an average counts."""
    if op.windows is not None:
        return [(list(range(a, b)), b - a) for a, b in op.windows[axis]]
    kernel, stride = op.kernel[axis], op.stride[axis]
    before, after = op.padding[axis]
    step = op.dilation[axis] if op.dilation else 1
    out = []
    for i in range(size):
        start = i * stride - before
        inside = [v for v in range(start, start + step * kernel, step) if 0 <= v < grid]
        counted = min(start + kernel, grid + after) - start if op.count_include_pad else len(inside)
        out.append((inside, counted))
    return out
