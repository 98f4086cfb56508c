"""Operators without parameters: what they let through, and the table of all of them."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod

import numpy as np

from intertwiner.gauge import GaugeElement
from intertwiner.identify.matching.moved import Following, Handler, State, closed, permutation, refuse
from intertwiner.identify.matching.moved_parameters import affine, conv, embedding, linear, norm, pointwise
from intertwiner.identify.matching.reshaped import kron, restricted, unkron
from intertwiner.network import Node
from intertwiner.network import node as ir
from intertwiner.network.slots import axis_groups
from intertwiner.numerics.monomial import Monomial
from intertwiner.numerics.tolerance import ROUNDING


def _add(f: Following, node: Node, inputs: Sequence[State]) -> State:
    weights = node.op.weights if isinstance(node.op, ir.Add) else ()
    out: State = {}
    for a in {a for state in inputs for a in state}:
        here = [state.get(a) for state in inputs]
        full = [e for e, name in zip(here, node.inputs, strict=True) if f.shape(name)[a] > 1]
        element = _common(node, full, node.shape[a])
        shift = np.zeros(node.shape[a])
        for weight, e in zip(weights, here, strict=True):
            shift += weight * (0 if e is None else e.constant)
        if len(full) < len(here):
            permutation(node, GaugeElement(element.matrix))
        out[a] = GaugeElement(element.matrix, shift)
    return out


def _common(node: Node, elements: Sequence[GaugeElement | None], size: int) -> GaugeElement:
    """The one linear part that all values undergo."""
    known = [GaugeElement.identity(size) if e is None else GaugeElement(e.matrix) for e in elements]
    for e in known[1:]:
        same = e == known[0] or (e.distance(known[0]) <= ROUNDING * np.abs(e.dense()).max())
        if not same:
            raise refuse(node, "its inputs are changed in different ways")
    return known[0]


def _product(f: Following, node: Node, inputs: Sequence[State]) -> State:
    out: State = {}
    for a in {a for state in inputs for a in state}:
        full = [s.get(a) for s, name in zip(inputs, node.inputs, strict=True) if f.shape(name)[a] > 1]
        if any(e is not None and e.shift is not None for e in full):
            raise refuse(node, "a constant is added to a factor")
        out[a] = permutation(node, _common(node, full, node.shape[a]))
    return out


def _concat(f: Following, node: Node, inputs: Sequence[State]) -> State:
    axis = node.op.axis if isinstance(node.op, ir.Concat) else 0
    out = {a: _common_all(node, [s.get(a) for s in inputs], node.shape[a]) for s in inputs for a in s if a != axis}
    if any(axis in s for s in inputs):
        parts = [
            s.get(axis, GaugeElement.identity(f.shape(name)[axis])) for s, name in zip(inputs, node.inputs, strict=True)
        ]
        out[axis] = GaugeElement.direct_sum(parts)
    return out


def _common_all(node: Node, elements: Sequence[GaugeElement | None], size: int) -> GaugeElement:
    first = elements[0] or GaugeElement.identity(size)
    if any((e or GaugeElement.identity(size)) != first for e in elements):
        raise refuse(node, "its inputs are changed in different ways")
    return first


def _index(f: Following, node: Node, inputs: Sequence[State]) -> State:
    op, state = node.op, dict(inputs[0])
    if not isinstance(op, ir.Index):
        return {}
    element = state.pop(op.axis, None)
    if op.squeeze:
        state = {a - (a > op.axis): e for a, e in state.items()}
    if element is None:
        return state
    start, count = op.index[0], len(op.index)
    part = restricted(element, start, start + count) if op.index == tuple(range(start, start + count)) else None
    if part is None or (op.squeeze and not part.is_identity):
        raise refuse(node, f"it picks coordinates ({op.spelling}) that the change mixes with others")
    return state if op.squeeze else {**state, op.axis: part}


def _pool(f: Following, node: Node, inputs: Sequence[State]) -> State:
    op, state = node.op, dict(inputs[0])
    if not isinstance(op, ir.Pool):
        return {}
    grid = range(len(node.shape) - len(op.kernel), len(node.shape))
    for a, element in state.items():
        if a in grid:
            raise refuse(node, "positions are changed")
        if op.reduction == "max" and (not isinstance(element.matrix, Monomial) or np.any(element.matrix.factor < 0)):
            raise refuse(node, "a maximum allows permutations and positive scales only")
        if op.reduction == "avg" and element.shift is not None and (
            op.divisor is not None or (op.count_include_pad and any(p != (0, 0) for p in op.padding))
        ):  # fmt: skip
            raise refuse(node, "a constant is added that the padding does not get")
    return state


def _reduce(f: Following, node: Node, inputs: Sequence[State]) -> State:
    op, out = node.op, {}
    if not isinstance(op, ir.Reduce):
        return {}
    kept = [a for a in range(len(f.shape(node.inputs[0]))) if a not in op.axes]
    for a, element in inputs[0].items():
        if a in op.axes:
            dense = element.dense() if op.reduction == "norm" else np.zeros(0)
            if element.shift is None and op.reduction == "norm" and len(inputs[0]) == 1:
                if np.abs(dense @ dense.T - np.eye(len(dense))).max() > ROUNDING * len(dense):
                    raise refuse(node, "the map is not orthogonal")
                continue
            permutation(node, element)
            continue
        count = prod(f.shape(node.inputs[0])[b] for b in op.axes)
        if op.reduction not in ("mean", "sum") and not (
            isinstance(element.matrix, Monomial) and np.all(element.matrix.factor > 0)
        ):
            raise refuse(node, "only permutations and positive scales pass")
        if op.reduction == "norm" and element.shift is not None:
            raise refuse(node, "a constant is added before a norm")
        times = count if op.reduction == "sum" else 1
        out[a if op.keepdim else kept.index(a)] = GaugeElement(element.matrix, times * element.constant)
    return out


def _permute(f: Following, node: Node, inputs: Sequence[State]) -> State:
    dims = node.op.dims if isinstance(node.op, ir.Permute) else ()
    return {dims.index(a): e for a, e in inputs[0].items()}


def _reshape(f: Following, node: Node, inputs: Sequence[State]) -> State:
    before, state, out = f.shape(node.inputs[0]), inputs[0], {}
    for ins, outs in axis_groups(before, node.shape):
        if not set(ins) & set(state):
            continue
        if len(ins) == len(outs) == 1:
            out[outs[0]] = state[ins[0]]
            continue
        whole = kron([state.get(a, GaugeElement.identity(before[a])) for a in ins])
        parts = [whole] if len(outs) == 1 else unkron(whole, [node.shape[a] for a in outs])
        if parts is None:
            raise refuse(node, "the change mixes axes that are taken apart")
        out |= dict(zip(outs, parts, strict=True))
    return out


def _same(f: Following, node: Node, inputs: Sequence[State]) -> State:
    return {a: e for a, e in inputs[0].items() if node.shape[a] == e.dimension}


def _softmax(f: Following, node: Node, inputs: Sequence[State]) -> State:
    return {a: permutation(node, e) for a, e in inputs[0].items()}


def _matmul(f: Following, node: Node, inputs: Sequence[State]) -> State:
    (left, right), last = (dict(s) for s in inputs), len(node.shape) - 1
    size = f.shape(node.inputs[0])[last]
    one = GaugeElement.identity(size)
    a, b = left.pop(last, one), right.pop(last - 1, one)
    if not (a.is_identity and b.is_identity):
        product = a.dense().T @ b.dense()
        if a.shift is not None or b.shift is not None or np.abs(product - np.eye(size)).max() > ROUNDING * size:
            raise refuse(node, "the two factors are changed in ways that do not cancel")
    rows, columns = left.pop(last - 1, None), right.pop(last, None)
    lead = {c: _common_all(node, [left.get(c), right.get(c)], node.shape[c]) for c in {*left, *right}}
    for c, e in ((last - 1, rows), (last, columns)):
        if e is not None and e.shift is not None:
            raise refuse(node, "a constant is added to a factor")
        lead |= {} if e is None else {c: e}
    return lead


def _pad(f: Following, node: Node, inputs: Sequence[State]) -> State:
    op = node.op
    if isinstance(op, ir.Pad) and op.mode == "constant":
        for e in inputs[0].values():
            if op.value != 0 or e.shift is not None:
                permutation(node, e)
    return _same(f, node, inputs)


def _constant(f: Following, node: Node, inputs: Sequence[State]) -> State:
    value = node.op.value if isinstance(node.op, ir.Constant) else None
    if value is None:
        return {}
    out, array = {}, value.array
    for a, size in enumerate(node.shape):
        element = f.wanted(node, value, a, size) if size > 1 else GaugeElement.identity(size)
        if not element.is_identity:
            out[a], array = element, element.apply(array, a)
    if out:
        f.weights.write(value, array)
    return out


def _nothing(f: Following, node: Node, inputs: Sequence[State]) -> State:
    return {}


HANDLERS: dict[type[ir.Op], Handler] = {
    ir.Input: _nothing, ir.Linear: linear, ir.Conv: conv, ir.Embedding: embedding, ir.PointwiseOp: pointwise,
    ir.ChannelAffine: affine, ir.LayerNorm: norm, ir.Add: _add, ir.Multiply: _product, ir.Divide: _product,
    ir.Concat: _concat, ir.Index: _index, ir.Pool: _pool, ir.Reduce: _reduce, ir.Permute: _permute,
    ir.Reshape: _reshape, ir.Expand: _same, ir.Identity: _same, ir.Softmax: _softmax, ir.MatMul: _matmul,
    ir.Pad: _pad, ir.Constant: _constant, ir.Output: closed, ir.Opaque: closed,
}  # fmt: skip
