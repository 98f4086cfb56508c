"""Two operands of different shapes: both get equally many axes, repeated axes are spelt out."""

from __future__ import annotations

import numpy as np

from intertwiner.network import node as ir
from intertwiner.network.batch import through_reshape
from intertwiner.network.rule import Call, Fixed, Unruled, Value


def reshape(call: Call, value: Value, shape: tuple[int, ...], *, final: bool = False) -> Value:
    """Emit a `Reshape` with -1 on the batch axis, unless the shape is already right."""
    if shape == value.shape and not final:
        return value
    target = list(shape)
    if value.batch_axis is not None:
        place = value.batch_axis, value.batch_lead
        target[through_reshape(value.shape, place, shape, call.emitter.batch)[0] or 0] = -1
    return call.emit(ir.Reshape(tuple(target)), value, shape=None if final else shape)


def expand(call: Call, value: Value, shape: tuple[int, ...], *, final: bool = False) -> Value:
    """Emit what repeats axes of size one, adding leading axes first."""
    value = reshape(call, value, (1,) * (len(shape) - value.ndim) + value.shape)
    if value.shape == shape and not final:
        return value
    if value.batch_axis is None and shape != value.shape and _grows_batch(call, value.shape, shape):
        raise Unruled("it repeats something that does not depend on the input once per sample")
    target = tuple(-1 if a == value.batch_axis else s for a, s in enumerate(shape))
    return call.emit(ir.Expand(target), value, shape=None if final else shape)


def _grows_batch(call: Call, before: tuple[int, ...], after: tuple[int, ...]) -> bool:
    return bool(after) and before[0] == 1 and after[0] == call.emitter.batch > 1


def aligned(call: Call, fixed: Fixed, ndim: int, batch_axis: int | None) -> Fixed:
    """A fixed tensor with `ndim` axes and size 1 on the batch axis."""
    if len(fixed.shape) > ndim:
        raise Unruled("a constant with more axes than the value it meets")
    out = fixed.rearranged(lambda t: t.reshape((1,) * (ndim - t.ndim) + tuple(t.shape)))
    if batch_axis is None or out.shape[batch_axis] == 1:
        return out
    first = out.rearranged(lambda t: t.narrow(batch_axis, 0, 1))
    # Zeros or a token repeated for every sample are traced with the size of the batch.
    if not bool((out.tensor == first.tensor).all()):
        raise Unruled("a constant that differs between the samples of a batch")
    return first


def meet(call: Call, value: Value, fixed: Fixed) -> tuple[Value, Fixed]:
    """Value and constant with equally many axes; the value expanded where the constant is larger."""
    ndim = max(value.ndim, len(fixed.shape))
    value = reshape(call, value, (1,) * (ndim - value.ndim) + value.shape)
    fixed = aligned(call, fixed, ndim, value.batch_axis)
    shape = np.broadcast_shapes(value.shape, fixed.shape)
    return expand(call, value, shape), fixed


def level(call: Call, *values: Value) -> tuple[Value, ...]:
    """Values with equally many axes; axes of size one are left to broadcast."""
    ndim = max(v.ndim for v in values)
    return tuple(reshape(call, v, (1,) * (ndim - v.ndim) + v.shape) for v in values)
