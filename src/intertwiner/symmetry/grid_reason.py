"""Why a move of a grid does not pass through a convolution or pool, in words, with the numbers and a cure."""

from __future__ import annotations

from collections.abc import Sequence

from intertwiner.symmetry.grid_map import GridMap
from intertwiner.symmetry.windows import Windows


def reason(geometry: GridMap | None, shape: Windows, *, pool: bool = False) -> str:
    """One line per axis that stands in the way; a general line where none is found."""
    what = "pool" if pool else "transposed convolution" if shape.transposed else "convolution"
    head = f"the move of the {_text(shape.in_size)} grid does not pass through the {what} ({_describe(shape)})"
    if geometry is None:
        return (
            f"{head}: it is no flip, turn or roll, so the points of a window are not the points of a window "
            "afterwards. Cure: kernel 1 with stride 1, or one window over the whole grid"
        )
    lines = _exchanged(geometry, shape)
    for axis, step in enumerate(geometry.rolls(shape.in_size)):
        if geometry.sign[axis] < 0 and shape.mode == "circular":
            lines += _flipped_circle(shape, axis, geometry.offset[axis])
        elif step:
            lines += _rolled(shape, axis, step)
        elif geometry.sign[axis] < 0:
            lines += _flipped(shape, axis)
    if not lines:
        lines = ["no reversal or exchange of the kernel axes carries windows to windows"]
    return f"{head}: " + "; ".join(lines)


def _exchanged(geometry: GridMap, shape: Windows) -> list[str]:
    pairs = [(b, a) for b, a in enumerate(geometry.source) if a != b]
    settings = {"kernel": shape.kernel, "stride": shape.stride, "padding": shape.padding, "dilation": shape.dilation}
    lines = []
    for name, values in settings.items():
        if any(values[b] != values[a] for b, a in pairs):
            lines.append(f"it exchanges axes, and {name} {_text(values)} is not the same on them. Cure: equal {name}")
    return lines


def _flipped(shape: Windows, axis: int) -> list[str]:
    n, s, (before, after) = shape.in_size[axis], shape.stride[axis], shape.padding[axis]
    reach, out = shape.dilation[axis] * (shape.kernel[axis] - 1), shape.out_size[axis]
    if shape.transposed:
        extra = shape.output_padding[axis] if shape.output_padding else 0
        if before != after or extra:
            return [
                f"along axis {axis} output_padding {extra} and padding {before} before, {after} after are not the "
                "same on both sides. Cure: output_padding=0 and symmetric padding"
            ]
        return []
    if (out - 1) * s + reach - 2 * before == n - 1:
        return []
    centres = [o * s - before + reach / 2 for o in range(out)]
    moved = [n - 1 - c for c in centres]
    text = (
        f"stride {s} on axis {axis} of length {n}: the flip moves the sampled points {_points(centres)} "
        f"to {_points(moved)}, which are not sampled"
    )
    if before != after:
        cure = "an odd kernel, or the same padding before and after"
        text += f" (padding is {before} before and {after} after)"
    elif s == 1:
        cure = "the same padding before and after"
    else:
        spare = (n + before + after - reach - 1) % s
        cure = (
            f"length {n - spare} or {n - spare + s}"
            + (f", or padding {before + (s - spare) // 2}" if (s - spare) % 2 == 0 else "")
            + ", or stride 1"
        )
    return [f"{text}. Cure: {cure}"]


def _flipped_circle(shape: Windows, axis: int, offset: int) -> list[str]:
    """A reversal of a circle, x to offset - x, must send the centres of windows to centres."""
    n, s, (before, _) = shape.in_size[axis], shape.stride[axis], shape.padding[axis]
    reach = shape.dilation[axis] * (shape.kernel[axis] - 1)
    if shape.out_size[axis] * s != n:
        return _rolled(shape, axis, 0)
    if (offset + 2 * before - reach) % s == 0:
        return []
    centres = [o * s - before + reach / 2 for o in range(shape.out_size[axis])]
    moved = [(offset - c) % n for c in centres]
    return [
        f"stride {s} on the circular axis {axis} of length {n}: the flip moves the sampled points "
        f"{_points([c % n for c in centres])} to {_points(moved)}, which are not sampled. Cure: stride 1"
    ]


def _rolled(shape: Windows, axis: int, step: int) -> list[str]:
    n, s = shape.in_size[axis], shape.stride[axis]
    if shape.mode != "circular" and (shape.kernel[axis] > 1 or sum(shape.padding[axis])):
        return [
            f"a roll by {step} along axis {axis} carries points over the border, where {shape.mode} padding or no "
            "padding does not follow. Cure: padding_mode='circular'"
        ]
    if step % s:
        return [f"a roll by {step} along axis {axis} is no multiple of the stride {s}. Cure: stride 1, or rolls by {s}"]
    if shape.out_size[axis] * s != n:
        return [
            f"along axis {axis} {shape.out_size[axis]} windows with stride {s} do not close up to the length {n}. "
            f"Cure: circular padding of {shape.dilation[axis] * (shape.kernel[axis] - 1)} points in all"
        ]
    return []


def _describe(shape: Windows) -> str:
    parts = [f"kernel {_text(shape.kernel)}", f"stride {_text(shape.stride)}", f"padding {_text(shape.padding)}"]
    if any(d != 1 for d in shape.dilation):
        parts.append(f"dilation {_text(shape.dilation)}")
    if shape.mode != "zeros":
        parts.append(shape.mode)
    return ", ".join(parts)


def _points(values: Sequence[float]) -> str:
    shown = [f"{v:g}" for v in values[:6]]
    return ", ".join(shown) + (", ..." if len(values) > 6 else "")


def _text(values: Sequence[object]) -> str:
    def one(value: object) -> str:
        if isinstance(value, tuple):
            return str(value[0]) if value[0] == value[1] else f"{value[0]}+{value[1]}"
        return str(value)

    return " x ".join(one(v) for v in values)
