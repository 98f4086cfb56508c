"""Where the batch stands in every value: followed through each operator, so that fixed exports have it too."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod

from intertwiner.network import node as ir
from intertwiner.network.rule import Unruled, Value

MIXES = "it mixes the samples of a batch"


Place = tuple[int | None, int]
"""The batch axis, and how many entries of it come before the batch: T where tokens and batch are one axis (T * B)."""


def batch_place(op: ir.Op, inputs: Sequence[Value], shape: tuple[int, ...], batch: int) -> Place:
    """Where the batch stands in ``op(*inputs)``, of the given shape.

    Raises:
        Unruled: The operator mixes samples, so it is no function of one sample.

    Example:
        >>> tokens = Value("x", (4, 3, 2), 1, "float32")
        >>> batch_place(ir.Reshape((-1, 2)), [tokens], (12, 2), batch=3)
        (0, 4)
    """
    carriers = [v for v in inputs if v.batch_axis is not None]
    if carriers and isinstance(op, ir.Reshape):
        first = carriers[0]
        return through_reshape(first.shape, (first.batch_axis, first.batch_lead), shape, batch)
    if len({v.batch_lead for v in carriers}) > 1:
        raise Unruled(f"the batch is folded into other axes in different ways; {MIXES}")
    axis = _batch_axis(op, inputs, shape, batch)
    return axis, carriers[0].batch_lead if carriers and axis is not None else 1


def _batch_axis(op: ir.Op, inputs: Sequence[Value], shape: tuple[int, ...], batch: int) -> int | None:
    carriers = [v for v in inputs if v.batch_axis is not None]
    if not carriers:
        return None
    axis = carriers[0].batch_axis
    if axis is None:
        return None
    first = carriers[0]
    if isinstance(op, ir.Opaque):
        return axis if axis < len(shape) and shape[axis] % batch == 0 and shape[axis] else None
    if any(v.batch_axis != axis for v in carriers):
        raise Unruled(f"the batch stands on different axes of its inputs; {MIXES}")
    if isinstance(op, ir.Permute):
        return op.dims.index(axis)
    if isinstance(op, ir.Reduce):
        if axis in op.axes:
            raise Unruled(f"a {op.reduction} over the batch axis; {MIXES}")
        return axis if op.keepdim else axis - sum(a < axis for a in op.axes)
    if isinstance(op, ir.Index):
        if op.axis == axis:
            raise Unruled(f"it picks samples of the batch; {MIXES}")
        return axis - (op.squeeze and op.axis < axis)
    if isinstance(op, ir.Embedding):
        return axis
    if _touches(op, first.ndim, axis):
        raise Unruled(f"it works along the batch axis; {MIXES}")
    return axis


def _touches(op: ir.Op, ndim: int, axis: int) -> bool:
    """The operator computes along `axis`, so samples would meet."""
    if isinstance(op, ir.Linear):
        return axis == ndim - 1
    if isinstance(op, ir.Conv):
        return axis >= ndim - len(op.stride) - 1
    if isinstance(op, ir.Pool):
        return axis >= ndim - len(op.kernel)
    if isinstance(op, ir.Pad):
        return op.padding[axis] != (0, 0)
    if isinstance(op, (ir.Softmax, ir.Concat)):
        return op.axis == axis
    if isinstance(op, ir.LayerNorm):
        return axis in op.axes
    if isinstance(op, ir.MatMul):
        return axis >= ndim - 2
    if isinstance(op, ir.ChannelAffine):
        return axis in op.axes
    return False


def through_reshape(before: tuple[int, ...], place: Place, after: tuple[int, ...], batch: int) -> Place:
    """The axis of the result that holds the batch: the one whose range of strides contains the old one."""
    axis, lead = place
    outer, seen = prod(before[:axis]) * lead, 1
    if batch == 1:  # an axis of size one has no range; take the first one at the same place
        same = [a for a, size in enumerate(after) if size == 1 and prod(after[:a]) == outer]
        if same:
            return same[0], 1
    for a, size in enumerate(after):
        inside = outer // seen
        if seen <= outer < seen * size and outer % seen == 0 and size % (inside * batch) == 0:
            return a, inside
        seen *= size
    raise Unruled(f"a reshape to {after} loses the batch axis")


def size_symbols(extent: object) -> frozenset[str]:
    """Names of the symbols in an exported size; empty for a fixed size."""
    expression = getattr(getattr(extent, "node", None), "expr", None)
    return frozenset() if expression is None else frozenset(str(s) for s in expression.free_symbols)
