"""Operators with parameters: what writes a moved space, what reads it, and the activations in between."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from intertwiner.errors import WrongUse
from intertwiner.gauge import GaugeElement
from intertwiner.identify.matching.moved import Following, State, monomial, permutation, refuse, taken, undone
from intertwiner.network import Node, Param
from intertwiner.network import node as ir
from intertwiner.numerics.monomial import Monomial
from intertwiner.numerics.tolerance import ROUNDING


def _mix(f: Following, node: Node, weight: Param, bias: Param | None, before: GaugeElement, axes: tuple[int, int]):
    """Rewrite a map that reads along ``axes[1]`` and writes along ``axes[0]``; returns what its result undergoes."""
    out, into = axes
    after = f.wanted(node, weight, out, weight.shape[out])
    if before.is_identity and after.is_identity:
        return after
    array = undone(weight.array, into, before)
    constant = np.zeros(weight.shape[out])
    if before.shift is not None:
        others = tuple(a for a in range(array.ndim) if a not in axes)
        summed = array.sum(axis=others)
        constant -= (summed if out < into else summed.T) @ before.shift
    array = taken(array, out, after)
    wanted = taken(constant + (0 if bias is None else bias.array), 0, after) + after.constant
    if bias is None and np.any(np.abs(wanted) > 0):
        raise refuse(node, "it leaves a constant, and the operator has no bias to take it up")
    f.weights.write(weight, array)
    if bias is not None:
        f.weights.write(bias, wanted)
    return after


def linear(f: Following, node: Node, inputs: Sequence[State]) -> State:
    op, last = node.op, len(node.shape) - 1
    if not isinstance(op, ir.Linear):
        return {}
    state = dict(inputs[0])
    before = state.pop(last, GaugeElement.identity(op.weight.shape[1]))
    if state and (before.shift is not None or op.bias is not None):
        state = {a: permutation(node, e) for a, e in state.items()}
    return {**state, last: _mix(f, node, op.weight, op.bias, before, (0, 1))}


def conv(f: Following, node: Node, inputs: Sequence[State]) -> State:
    op = node.op
    if not isinstance(op, ir.Conv):
        return {}
    channels = f.shape(node.inputs[0])[1]
    before = inputs[0].get(1, GaugeElement.identity(channels))
    if set(inputs[0]) - {1}:
        raise refuse(node, "positions are changed")
    padded = op.transposed or any(p != (0, 0) for p in op.padding)
    if before.shift is not None and padded and op.padding_mode == "zeros":
        raise refuse(node, "a constant is added that the zeros of the padding do not get")
    if op.groups == 1:
        return {1: _mix(f, node, op.weight, op.bias, before, (1, 0) if op.transposed else (0, 1))}
    if op.groups != channels or channels != node.shape[1]:
        if before.is_identity:
            return {}
        raise refuse(node, f"a convolution in {op.groups} groups")
    if not isinstance(before.matrix, Monomial):
        raise refuse(node, "a depthwise kernel mixes no channels")
    moved = Monomial(before.matrix.index).apply(op.weight.array)
    f.weights.write(op.weight, moved)
    taps = moved.reshape(channels, -1).sum(1)
    if op.bias is None:
        return {1: GaugeElement(before.matrix, taps * before.constant)}
    f.weights.write(op.bias, taken(op.bias.array, 0, before) - taps * before.constant)
    return {1: GaugeElement(before.matrix)}


def embedding(f: Following, node: Node, inputs: Sequence[State]) -> State:
    op, last = node.op, len(node.shape) - 1
    if not isinstance(op, ir.Embedding):
        return {}
    after = f.wanted(node, op.weight, 1, op.weight.shape[1])
    if not after.is_identity:
        f.weights.write(op.weight, after.apply(op.weight.array, 1))
    return {**inputs[0], last: after}


def pointwise(f: Following, node: Node, inputs: Sequence[State]) -> State:
    op = node.op
    if not isinstance(op, ir.PointwiseOp):
        return {}
    try:
        return {a: op.pointwise.phi(e) for a, e in inputs[0].items()}
    except WrongUse as error:
        raise refuse(node, str(error)) from error


def affine(f: Following, node: Node, inputs: Sequence[State]) -> State:
    """``D z + s`` with z moved by (M, t): the scales are permuted, the shifts moved, and t goes into them."""
    op, state = node.op, dict(inputs[0])
    if not isinstance(op, ir.ChannelAffine):
        return {}
    axes = [a for a, e in state.items()]
    if not axes:
        return state
    if any(p.computed for p in op.params):
        return _batch_norm(f, node, op, state)
    scale = None if op.scale is None else op.scale.array
    for a in axes:
        if scale is not None and scale.shape[a] > 1:
            scale = Monomial(monomial(node, state[a]).index).apply(scale, a)
    if op.scale is not None and scale is not None:
        f.weights.write(op.scale, scale)
    shift = None if op.shift is None else op.shift.array
    for a in axes:
        element = state[a]
        left = np.zeros(element.dimension)
        if element.shift is not None:
            factor = np.ones(1) if scale is None else scale.reshape(-1) if scale.size in (1, scale.shape[a]) else None
            if factor is None or len(axes) > 1:
                raise refuse(node, "a constant meets scales that vary along other axes")
            left = np.broadcast_to(factor, left.shape) * element.shift
        if shift is not None and shift.shape[a] > 1:
            shift = taken(shift, a, element)
        elif shift is not None and np.any(shift):
            permutation(node, element)
        state[a] = GaugeElement(element.matrix, left)
    if op.shift is not None and shift is not None:
        f.weights.write(op.shift, shift)
    return state


def _batch_norm(f: Following, node: Node, op: ir.ChannelAffine, state: State) -> State:
    """Batch norm in evaluation mode: statistics and affine part move with the channels; the mean takes up a shift."""
    sources = [s for p in op.params for s in p.sources]
    if set(state) != {1} or not all("~batch_norm" in p.name for p in op.params):
        raise refuse(node, f"{op.params[0].name!r} is computed from other numbers")
    element = state[1]
    matrix = monomial(node, element)
    for name in dict.fromkeys(sources):
        leaf, array = name.rpartition(".")[2], f.weights.arrays[name]
        if leaf in ("weight", "running_var"):
            f.weights.put(name, Monomial(matrix.index).apply(array))
        elif leaf == "bias":
            f.weights.put(name, matrix.apply(array))
        elif leaf == "running_mean":
            f.weights.put(name, matrix.apply(array) + element.constant)
        else:
            raise refuse(node, f"{name!r} has no known part in a batch norm")
    return {1: GaugeElement(matrix)}


def norm(f: Following, node: Node, inputs: Sequence[State]) -> State:
    op, state = node.op, dict(inputs[0])
    if not isinstance(op, ir.LayerNorm):
        return {}
    for a, element in state.items():
        inside = a in op.axes
        if element.shift is not None:
            raise refuse(node, "a constant is added before it")
        varies = any(p.shape[a] > 1 for p in op.params)
        if inside and op.rms and not varies:
            dense = element.dense()
            if np.abs(dense @ dense.T - np.eye(len(dense))).max() > ROUNDING * len(dense):
                raise refuse(node, "the map is not orthogonal")
            continue
        matrix = monomial(node, element)
        if not (matrix.is_permutation or ((op.rms or not inside) and matrix.is_signed_permutation)):
            raise refuse(node, "only permutations (and signs where there is no mean) pass")
        if op.weight is not None and op.weight.shape[a] > 1:
            f.weights.write(op.weight, Monomial(matrix.index).apply(op.weight.array, a))
        if op.bias is not None and op.bias.shape[a] > 1:
            f.weights.write(op.bias, matrix.apply(op.bias.array, a))
        elif op.bias is not None and np.any(op.bias.array):
            permutation(node, element)
    return state
