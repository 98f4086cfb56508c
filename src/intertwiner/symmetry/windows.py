"""Which input point each kernel tap of each output point reads: the one table behind convolutions and pools.

``table[o, k]`` is the row-major input position that output o reads through tap k, ``ZERO`` where it reads padding,
``OUTSIDE`` where a pooling window leaves even the padding.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from jaxtyping import Int
from numpy import ndarray

from intertwiner.errors import ShapeMismatch, WrongUse

ZERO, OUTSIDE = -1, -2
MODES = ("zeros", "circular", "reflect", "replicate")


@dataclass(frozen=True)
class Windows:
    """The geometry of a convolution, transposed convolution or pool on a grid.

    Args:
        in_size: The input grid.
        kernel: Taps per axis.
        stride: Steps per axis.
        padding: Points added before and after, per axis.
        dilation: Distance of taps per axis.
        mode: zeros, circular, reflect or replicate.
        transposed: Whether the stride spreads the input instead of thinning the output.
        output_padding: Extra output points at the end of each axis, transposed only.
        ceil: Whether windows that stick out at the end count, pools only.
    """

    in_size: tuple[int, ...]
    kernel: tuple[int, ...]
    stride: tuple[int, ...]
    padding: tuple[tuple[int, int], ...]
    dilation: tuple[int, ...]
    mode: str = "zeros"
    transposed: bool = False
    output_padding: tuple[int, ...] = ()
    ceil: bool = False

    @cached_property
    def out_size(self) -> tuple[int, ...]:
        sizes = tuple(self._out(a) for a in range(len(self.in_size)))
        if min(sizes, default=1) < 1:
            raise ShapeMismatch(f"a kernel of {self.kernel} does not fit into a grid of {self.in_size}: output {sizes}")
        return sizes

    @cached_property
    def table(self) -> Int[ndarray, "out taps"]:
        """Cost: output points times taps."""
        d = len(self.in_size)
        total = np.zeros((1,) * (2 * d), dtype=np.int64)
        worst = np.zeros((1,) * (2 * d), dtype=np.int64)
        for a, n in enumerate(self.in_size):
            shape = [1] * (2 * d)
            shape[a], shape[d + a] = self.out_size[a], self.kernel[a]
            line = self.line(a).reshape(shape)
            total = total * n + np.maximum(line, 0)
            worst = np.minimum(worst, np.minimum(line, 0))
        full = np.where(worst < 0, worst, total)
        return full.reshape(math.prod(self.out_size), math.prod(self.kernel))

    def line(self, a: int) -> Int[ndarray, "out taps"]:
        """The table of one axis."""
        n, s, dil, (before, after) = self.in_size[a], self.stride[a], self.dilation[a], self.padding[a]
        o, k = np.arange(self.out_size[a])[:, None], np.arange(self.kernel[a])[None, :]
        if self.transposed:
            reach = o + before - k * dil
            return np.where((reach % s == 0) & (reach >= 0) & (reach < n * s), reach // s, ZERO)
        at = o * s - before + k * dil
        inside = (at >= 0) & (at < n)
        if self.mode == "circular":
            at, inside = at % n, inside | True
        elif self.mode == "replicate":
            at, inside = np.clip(at, 0, n - 1), inside | True
        elif self.mode == "reflect":
            period = max(2 * (n - 1), 1)
            at = np.minimum(at % period, (-at) % period)
            inside = inside | True
        return np.where(inside, at, np.where(o * s - before + k * dil >= n + after, OUTSIDE, ZERO))

    def _out(self, a: int) -> int:
        n, s, (before, after) = self.in_size[a], self.stride[a], self.padding[a]
        reach = self.dilation[a] * (self.kernel[a] - 1)
        if self.transposed:
            extra = self.output_padding[a] if self.output_padding else 0
            return (n - 1) * s - before - after + reach + extra + 1
        free = n + before + after - reach - 1
        if not self.ceil:
            return free // s + 1
        out = -(-free // s) + 1
        return out - 1 if (out - 1) * s >= n + before else out


def windows(
    in_size: Sequence[int],
    kernel: int | Sequence[int],
    *,
    stride: int | Sequence[int] | None = 1,
    padding: int | str | Sequence[int] | Sequence[tuple[int, int]] = 0,
    dilation: int | Sequence[int] = 1,
    mode: str = "zeros",
    transposed: bool = False,
    output_padding: int | Sequence[int] = 0,
    ceil: bool = False,
) -> Windows:
    """``Windows`` from arguments as torch spells them: one number for all axes, ``padding="same"``.

    >>> windows((8,), 3, stride=2, padding=1).out_size
    (4,)
    >>> windows((3,), 2, padding="same").table
    array([[ 0,  1],
           [ 1,  2],
           [ 2, -1]])
    """
    size = tuple(int(n) for n in in_size)
    d = len(size)
    if mode not in MODES:
        raise WrongUse(f"padding mode '{mode}' is not known; there are {', '.join(MODES)}")
    if transposed and mode != "zeros":
        raise WrongUse("a transposed convolution pads with zeros only")
    kernels = _each(kernel, d, "kernel")
    dilations = _each(dilation, d, "dilation")
    return Windows(
        size,
        kernels,
        kernels if stride is None else _each(stride, d, "stride"),
        _paddings(padding, kernels, dilations),
        dilations,
        mode,
        transposed,
        _each(output_padding, d, "output_padding"),
        ceil,
    )


def adaptive_table(in_size: Sequence[int], out_size: Sequence[int]) -> Int[ndarray, "out taps"]:
    """The table of an adaptive pool: windows of unequal length are filled up with ``OUTSIDE``."""
    total, worst = np.zeros((1, 1), dtype=np.int64), np.zeros((1, 1), dtype=np.int64)
    for n, m in zip(in_size, out_size, strict=True):
        o = np.arange(m)
        start, end = o * n // m, -(-(o + 1) * n // m)
        at = start[:, None] + np.arange(int((end - start).max()))[None, :]
        line = np.where(at < end[:, None], at, OUTSIDE)
        total = (total[:, None, :, None] * n + np.maximum(line, 0)[None, :, None, :]).reshape(len(total) * m, -1)
        worst = np.minimum(worst[:, None, :, None], np.minimum(line, 0)[None, :, None, :]).reshape(len(worst) * m, -1)
    return np.where(worst < 0, worst, total)


def _each(value: int | Sequence[int], d: int, what: str) -> tuple[int, ...]:
    values = (int(value),) * d if isinstance(value, (int, np.integer)) else tuple(int(v) for v in value)
    if len(values) == 1:
        values = values * d
    if len(values) != d:
        raise ShapeMismatch(f"{what}={value} for a grid of {d} axes")
    return values


def _paddings(
    padding: int | str | Sequence[int] | Sequence[tuple[int, int]], kernel: tuple[int, ...], dilation: tuple[int, ...]
) -> tuple[tuple[int, int], ...]:
    if padding == "valid":
        padding = 0
    if isinstance(padding, str):
        if padding != "same":
            raise WrongUse(f"padding='{padding}' is not known; there are 'same' and 'valid'")
        # torch puts the odd point behind.
        totals = [d * (k - 1) for d, k in zip(dilation, kernel, strict=True)]
        return tuple((t // 2, t - t // 2) for t in totals)
    if not isinstance(padding, (int, np.integer)) and len(padding) and not isinstance(padding[0], (int, np.integer)):
        pairs = tuple((int(a), int(b)) for a, b in padding)  # type: ignore[misc]
        if len(pairs) != len(kernel):
            raise ShapeMismatch(f"padding={padding} for a grid of {len(kernel)} axes")
        return pairs
    return tuple((p, p) for p in _each(padding, len(kernel), "padding"))  # type: ignore[arg-type]
