"""Permutations of a grid that are flips, rolls and exchanges of axes: recognised once, applied without a gather.

A grid of shape ``(n_1, .., n_d)`` is numbered row-major. A ``GridMap`` sends the point ``x`` to the point with
coordinates ``y_b = offset_b + sign_b x_{source_b}`` modulo ``n_b``. A flip has sign -1 and offset ``n_b - 1``.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Int
from numpy import ndarray


@dataclass(frozen=True)
class GridMap:
    """``y_b = offset_b + sign_b x_{source_b}`` modulo the size of axis b, for the points of a grid.

    Args:
        source: For each axis of the moved grid, the axis it comes from.
        sign: +1, or -1 where the axis is run through backwards.
        offset: Coordinate that the origin is sent to.

    Example:
        >>> GridMap((1, 0), (-1, 1), (2, 0)).permutation((3, 3))      # quarter turn counterclockwise
        array([6, 3, 0, 7, 4, 1, 8, 5, 2])
    """

    source: tuple[int, ...]
    sign: tuple[int, ...]
    offset: tuple[int, ...]

    @classmethod
    def signed_axes(cls, source: Sequence[int], sign: Sequence[int], shape: Sequence[int]) -> GridMap:
        """The exchange and reversal of axes about the centre of the grid, without a roll."""
        offset = tuple(n - 1 if s < 0 else 0 for s, n in zip(sign, shape, strict=True))
        return cls(tuple(source), tuple(sign), offset)

    @property
    def is_identity(self) -> bool:
        straight = all(b == a for b, a in enumerate(self.source))
        return straight and all(s == 1 for s in self.sign) and not any(self.offset)

    def fits(self, shape: Sequence[int]) -> bool:
        """Whether the exchanged axes are equally long."""
        return all(shape[b] == shape[a] for b, a in enumerate(self.source))

    def rolls(self, shape: Sequence[int]) -> tuple[int, ...]:
        """Steps to roll each axis after the flips; all zero for a map about the centre."""
        parts = zip(self.sign, self.offset, shape, strict=True)
        return tuple((c if s > 0 else c + 1) % n for s, c, n in parts)

    def permutation(self, shape: Sequence[int]) -> Int[ndarray, " n"]:
        """The permutation ``j -> p[j]`` of the row-major points of the grid."""
        points = np.indices(shape).reshape(len(shape), -1)
        parts = zip(self.source, self.sign, self.offset, shape, strict=True)
        image = np.stack([(c + s * points[a]) % n for a, s, c, n in parts])
        return np.asarray(np.ravel_multi_index(tuple(image), tuple(shape)))

    def apply(self, x: torch.Tensor, axes: Sequence[int]) -> torch.Tensor:
        """Move a tensor whose ``axes`` are the grid. Bit-exact; the result may be a strided view."""
        shape = [x.shape[a] for a in axes]
        if any(a != b for b, a in enumerate(self.source)):
            order = list(range(x.ndim))
            for b, a in enumerate(self.source):
                order[axes[b]] = axes[a]
            x = x.permute(order)
        flipped = [axis for axis, s in zip(axes, self.sign, strict=True) if s < 0]
        if flipped:
            x = x.flip(flipped)
        rolled = [(r, axis) for r, axis in zip(self.rolls(shape), axes, strict=True) if r]
        if rolled:
            x = x.roll(tuple(r for r, _ in rolled), tuple(axis for _, axis in rolled))
        return x


def recognise(index: Int[ndarray, " n"], shape: Sequence[int]) -> GridMap | None:
    """The ``GridMap`` that a permutation of a grid is, or None.

    Read off the images of the origin and of its neighbours, then compared at every point.

    Cost:
        Linear in the number of points.

    Example:
        >>> recognise(np.array([2, 1, 0, 5, 4, 3]), (2, 3))           # left-right flip
        GridMap(source=(0, 1), sign=(1, -1), offset=(0, 2))
        >>> recognise(np.array([1, 0, 2, 3]), (2, 2)) is None
        True
    """
    d = len(shape)
    if d == 0:
        return GridMap((), (), ())
    strides = np.cumprod([1, *list(shape)[:0:-1]])[::-1]
    origin = np.array(np.unravel_index(int(index[0]), tuple(shape)))
    source, sign, free = [-1] * d, [1] * d, []
    for a in range(d):
        if shape[a] == 1:
            free.append(a)
            continue
        step = np.array(np.unravel_index(int(index[strides[a]]), tuple(shape))) - origin
        moved = np.flatnonzero(step)
        if len(moved) != 1 or source[int(moved[0])] != -1:
            return None
        b = int(moved[0])
        # On an axis of two points both signs are the same map; the one without a roll is taken.
        source[b] = a
        if shape[b] == 2:
            sign[b] = -1 if origin[b] else 1
        else:
            sign[b] = 1 if step[b] % shape[b] == 1 else -1
    empty = [b for b in range(d) if source[b] == -1]
    straight = [a for a in free if a in empty]
    rest = iter([a for a in free if a not in straight])
    for b in empty:
        source[b] = b if b in straight else next(rest)
    found = GridMap(tuple(source), tuple(sign), tuple(int(c) for c in origin))
    if not found.fits(shape) or not np.array_equal(found.permutation(shape), index):
        return None
    return found


def signed_axis_maps(shape: Sequence[int]) -> Iterator[GridMap]:
    """All exchanges and reversals of axes about the centre that the shape admits: at most 2, 8, 48."""
    d = len(shape)
    for source in itertools.permutations(range(d)):
        for sign in itertools.product((1, -1), repeat=d):
            candidate = GridMap.signed_axes(source, sign, shape)
            if candidate.fits(shape):
                yield candidate
