"""A transposed convolution as a convolution: zeros between the entries, and the kernel turned round.

Entry x of the input is added to the output at ``stride x + dilation k - padding`` with weight k; so the output is the
input, spread out by the stride and padded by ``dilation (kernel - 1) - padding``, correlated with the flipped kernel.
"""

from __future__ import annotations

import numpy as np
from numpy import ndarray

from intertwiner.exact.gather import windows_of
from intertwiner.network import Conv
from intertwiner.training.recorder import Recorder, Register


def transposed_convolution(record: Recorder, op: Conv, x: Register) -> Register:
    """What ``conv_transpose`` of torch does; the batch stands on axis 0 and the channels on axis 1.

    Example:
        >>> from intertwiner.network import Param
        >>> kernel = Param("w", np.ones((1, 2, 3)))
        >>> op = Conv(kernel, None, (2,), ((1, 1),), (1,), transposed=True, output_padding=(1,))
        >>> record = Recorder()
        >>> transposed_convolution(record, op, record.free((1, 1, 4))).shape
        (1, 2, 8)
    """
    n, groups = len(op.kernel), op.groups
    ones = (1,) * n
    batch, channels = x.shape[:2]

    def spread(values: ndarray) -> ndarray:
        reach = [d * (k - 1) for d, k in zip(op.dilation, op.kernel, strict=True)]
        ends = [
            (r - before, r - after + extra)
            for r, (before, after), extra in zip(reach, op.padding, op.output_padding or (0,) * n, strict=True)
        ]
        sizes = [(g - 1) * s + 1 for g, s in zip(values.shape[2:], op.stride, strict=True)]
        wide = np.zeros((*values.shape[:2], *sizes), dtype=values.dtype)
        wide[(..., *(slice(None, None, s) for s in op.stride))] = values
        cut = tuple(slice(max(0, -a), s - max(0, -b)) for (a, b), s in zip(ends, sizes, strict=True))
        wide = np.pad(wide[(..., *cut)], ((0, 0), (0, 0), *((max(0, a), max(0, b)) for a, b in ends)))
        windows = windows_of(wide, op.kernel, ones, op.dilation)  # (batch channels, positions, kernel)
        windows = windows.reshape(batch, groups, channels // groups, *windows.shape[1:])
        return windows.transpose(0, 1, 2, 4, 3).reshape(batch, groups, -1, windows.shape[3])

    def turned(weight: ndarray) -> ndarray:
        split = weight.reshape(groups, channels // groups, weight.shape[1], *op.kernel)
        flipped = np.flip(split, axis=tuple(range(3, 3 + n))).swapaxes(1, 2)
        return flipped.reshape(groups, weight.shape[1], -1)

    out = record.matmul(record.move([record.fixed(op.weight.array)], turned), record.move([x], spread))
    grid = [
        (g - 1) * s - sum(p) + d * (k - 1) + extra + 1
        for g, s, p, d, k, extra in zip(
            x.shape[2:], op.stride, op.padding, op.dilation, op.kernel, op.output_padding or (0,) * n, strict=True
        )
    ]
    out = record.move([out], lambda v: v.reshape(batch, groups * op.weight.shape[1], *grid))
    if op.bias is None:
        return out
    return record.add(out, record.move([record.fixed(op.bias.array)], lambda b: b.reshape(-1, *ones)))
