"""Which axes of a tensor become which when it is reshaped, and which belong together.

An interval ``(low, high)`` stands for the consecutive axes low..high-1.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence

from intertwiner.errors import ShapeMismatch

Interval = tuple[int, int]


def merge(spans: Iterable[Interval]) -> list[Interval]:
    """Smallest disjoint intervals that contain every span.

    >>> merge([(0, 2), (3, 4), (1, 3)])
    [(0, 3), (3, 4)]
    """
    out: list[Interval] = []
    for low, high in sorted(spans):
        if out and (low < out[-1][1] or (low, high) == out[-1]):
            out[-1] = (out[-1][0], max(high, out[-1][1]))
        else:
            out.append((low, high))
    return out


def resolve(shape: Sequence[int], old: Sequence[int]) -> tuple[int, ...]:
    """A target shape with its -1 filled in, checked against the size of the old one."""
    shape, size = tuple(int(n) for n in shape), math.prod(old)
    if shape.count(-1) == 1:
        known = math.prod(n for n in shape if n != -1)
        if known and size % known == 0:
            shape = tuple(size // known if n == -1 else n for n in shape)
    if math.prod(shape) != size or min(shape, default=1) < 0:
        raise ShapeMismatch(f"cannot reshape a sample of shape {tuple(old)} ({size} entries) to {shape}")
    return shape


def regroup(old: Sequence[int], new: Sequence[int], spans: Iterable[Interval]) -> list[tuple[Interval, Interval]]:
    """Pairs of intervals of old and new axes that hold the same entries, as short as the shapes allow.

    A span of old axes that belong together is never cut.

    >>> regroup((2, 3, 4), (6, 2, 2), [])
    [((0, 2), (0, 1)), ((2, 3), (1, 3))]
    >>> regroup((2, 3, 4), (6, 2, 2), [(1, 3)])
    [((0, 3), (0, 3))]
    """
    groups: list[tuple[Interval, Interval]] = []
    i = j = 0
    while i < len(old) or j < len(new):
        start, a, b = (i, j), 1, 1
        if i < len(old):
            a, i = old[i], i + 1
        if j < len(new):
            b, j = new[j], j + 1
        while a != b:
            if a < b:
                a, i = a * old[i], i + 1
            else:
                b, j = b * new[j], j + 1
        # Trailing axes of size one have no partner: they join the group before them.
        alone = i == start[0] or j == start[1]
        if groups and alone:
            (low, _), (new_low, _) = groups.pop()
            start = (low, new_low)
        groups.append(((start[0], i), (start[1], j)))
    groups = groups or [((0, 0), (0, 0))]
    for low, high in spans:
        inside = [g for g in groups if g[0][0] < high and low < g[0][1]]
        if len(inside) > 1:
            first, last = groups.index(inside[0]), groups.index(inside[-1])
            joined = ((inside[0][0][0], inside[-1][0][1]), (inside[0][1][0], inside[-1][1][1]))
            groups[first : last + 1] = [joined]
    return groups
