"""How one operator carries positions of an axis of its input to positions of an axis of its result.

A `Tie` joins two axes; position q of the *finer* one stands for position ``coarse[q]`` of the other, -1 for none. Adds
and activations tie position to position, a concatenation shifts, a slice leaves some out, a flattening repeats.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import prod

import numpy as np
from numpy import ndarray

from intertwiner.network import node as ir
from intertwiner.network.slots import axis_groups

ALONG = (ir.Identity, ir.PointwiseOp, ir.ChannelAffine, ir.Add, ir.Multiply, ir.Divide, ir.Expand)
"""Operators whose axes are those of their inputs, entry by entry."""


class Blocked(Exception):
    """The space cannot be resized through this operator; the message says why. Internal to the room."""


@dataclass(frozen=True, eq=False)
class Tie:
    """Axis ``before`` of an input tied to axis ``after`` of the result.

    Args:
        before: Axis of the input.
        after: Axis of the result.
        coarse: For every position of the finer axis the position of the other one, or -1.
        finer: Whether the finer axis is that of the result.
    """

    before: int
    after: int
    coarse: ndarray
    finer: bool = True

    def forth(self, owner: ndarray, size: int) -> ndarray | None:
        """Owners along the result; None where they do not follow this axis."""
        return _repeated(owner, self.coarse) if self.finer else _gathered(owner, self.coarse, size)

    def back(self, owner: ndarray, size: int) -> ndarray | None:
        return _gathered(owner, self.coarse, size) if self.finer else _repeated(owner, self.coarse)


def _repeated(owner: ndarray, coarse: ndarray) -> ndarray:
    return np.where(coarse >= 0, owner[coarse], -1)


def _gathered(owner: ndarray, coarse: ndarray, size: int) -> ndarray | None:
    """One owner per coarse position, if all its fine positions agree."""
    out = np.full(size, -1)
    known = coarse >= 0
    out[coarse[known]] = owner[known]
    return out if np.array_equal(out[coarse[known]], owner[known]) else None


def ends(node: ir.Node, axis: int) -> bool:
    """Whether the parameters of a node write this axis: the space begins here.

    Raises:
        Blocked: The axis belongs to an input, to an output or to an operator that nothing is known about.
    """
    op, name = node.op, node.tap or node.name
    if isinstance(op, ir.Input):
        raise Blocked(f"it is the space of the input {op.name!r}")
    if isinstance(op, ir.Opaque):
        raise Blocked(f"no rule says what {op.target} at {name} does: {op.reason}")
    if axis == node.batch_axis:
        raise Blocked(f"it joins the batch at {name}")
    if isinstance(op, ir.Conv) and axis == 1:
        if op.groups == 1:
            return True
        if op.groups == node.shape[1] == op.weight.shape[0] and not op.transposed:
            return False
        raise Blocked(f"the convolution at {name} has {op.groups} groups")
    return isinstance(op, ir.Constant) or (isinstance(op, (ir.Linear, ir.Embedding)) and axis == len(node.shape) - 1)


def ties(node: ir.Node, source: ir.Node, place: int, offset: int = 0) -> list[Tie]:
    """The axes of one input that go through an operator.

    Args:
        node: The operator.
        source: The node of the input.
        place: Which of the inputs it is.
        offset: For a concatenation, where this input begins.
    """
    op = node.op
    if isinstance(op, ALONG):
        return _same(source, node, {a: a for a in range(len(source.shape))})
    if isinstance(op, ir.Linear):
        return _same(source, node, {a: a for a in range(len(source.shape) - 1)})
    if isinstance(op, ir.Embedding):
        return _same(source, node, {a: a for a in range(len(source.shape))})
    if isinstance(op, ir.Conv):
        depthwise = op.groups > 1 and op.groups == source.shape[1] == node.shape[1] and not op.transposed
        return _same(source, node, {1: 1} if depthwise else {})
    if isinstance(op, ir.Pad):
        return _same(source, node, {a: a for a, p in enumerate(op.padding) if p == (0, 0)})
    if isinstance(op, ir.Pool):
        return _same(source, node, {a: a for a in range(len(source.shape) - len(op.kernel))})
    if isinstance(op, ir.Softmax):
        return _same(source, node, {a: a for a in range(len(source.shape)) if a != op.axis})
    if isinstance(op, ir.LayerNorm):
        return _same(source, node, {a: a for a in range(len(source.shape)) if a not in op.axes})
    if isinstance(op, ir.Permute):
        return _same(source, node, {d: i for i, d in enumerate(op.dims)})
    if isinstance(op, ir.Reduce):
        kept = [a for a in range(len(source.shape)) if a not in op.axes]
        return _same(source, node, {a: a if op.keepdim else i for i, a in enumerate(kept)})
    if isinstance(op, ir.Concat):
        return _concat(op, node, source, offset)
    if isinstance(op, ir.Index):
        rest = {a: a - (op.squeeze and a > op.axis) for a in range(len(source.shape)) if a != op.axis}
        along = [] if op.squeeze else [Tie(op.axis, op.axis, np.asarray(op.index))]
        return _same(source, node, rest) + along
    if isinstance(op, ir.MatMul):
        last = len(node.shape) - 1
        free = last - 1 if place == 0 else last
        return _same(source, node, {a: a for a in (*range(last - 1), free)})
    if isinstance(op, ir.Reshape):
        return _reshape(node, source)
    return []


def _same(source: ir.Node, node: ir.Node, axes: dict[int, int]) -> list[Tie]:
    """Position to position, where no broadcasting changes the size."""
    kept = [(a, b) for a, b in axes.items() if source.shape[a] == node.shape[b] and a != source.batch_axis]
    return [Tie(a, b, np.arange(source.shape[a])) for a, b in kept]


def _concat(op: ir.Concat, node: ir.Node, source: ir.Node, offset: int) -> list[Tie]:
    shifted = np.arange(node.shape[op.axis]) - offset
    inside = (shifted >= 0) & (shifted < source.shape[op.axis])
    others = {a: a for a in range(len(source.shape)) if a != op.axis}
    return [Tie(op.axis, op.axis, np.where(inside, shifted, -1)), *_same(source, node, others)]


def _reshape(node: ir.Node, source: ir.Node) -> list[Tie]:
    """Merged or split axes, row-major; axes mixed with the batch or with several others are not tied."""
    out = []
    for ins, outs in axis_groups(source.shape, node.shape):
        if source.batch_axis in ins and (len(ins) > 1 or len(outs) > 1):
            continue
        if len(outs) == 1:
            out += [Tie(a, outs[0], c) for a, c in zip(ins, _digits([source.shape[a] for a in ins]), strict=True)]
        elif len(ins) == 1:
            digits = _digits([node.shape[b] for b in outs])
            out += [Tie(ins[0], b, c, finer=False) for b, c in zip(outs, digits, strict=True)]
    out += [t for a in range(len(source.shape)) if source.shape[a] == 1 for t in _single(node, source, a)]
    return [t for t in out if t.before != source.batch_axis and t.after != node.batch_axis]


def _single(node: ir.Node, source: ir.Node, axis: int) -> list[Tie]:
    """An axis of size one: the one that stands at the same place, or the axis that it was merged into."""
    done = prod(source.shape[:axis])
    starts = [prod(node.shape[:b]) for b in range(len(node.shape) + 1)]
    same = [b for b, s in enumerate(node.shape) if s == 1 and starts[b] == done]
    over = [b for b in range(len(node.shape)) if starts[b] <= done < starts[b + 1]]
    chosen = [b for b in (*same, *over, len(node.shape) - 1) if b != node.batch_axis]
    return [Tie(axis, chosen[0], np.zeros(node.shape[chosen[0]], dtype=int))] if chosen else []


def _digits(sizes: list[int]) -> list[ndarray]:
    """For every position of the flattened axes, the position on each of them."""
    count = np.arange(prod(sizes))
    return [count // prod(sizes[i + 1 :]) % n for i, n in enumerate(sizes)]
