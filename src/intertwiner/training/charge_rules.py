r"""What every operator demands of charges: one small function per record, on arrays with one variable per entry.

A rule gets the variables of what the operator reads, entry by entry, writes equations and parameters down, and returns
the variables of the result. Reshapes, permutations, slices and concatenations move variables as they move numbers, so
heads, blocks behind a flattening and shuffled channels need no rules of their own. Where a rule asks for more than is
needed, laws are lost; none is invented.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np

from intertwiner.network import (
    Add,
    ChannelAffine,
    Concat,
    Constant,
    Conv,
    Divide,
    Embedding,
    Expand,
    Identity,
    Index,
    Input,
    LayerNorm,
    Linear,
    MatMul,
    Multiply,
    Network,
    Node,
    Op,
    Opaque,
    Output,
    Pad,
    Permute,
    PointwiseOp,
    Pool,
    Reduce,
    Reshape,
    Softmax,
)
from intertwiner.training.charge_norms import batch_norm, is_batch_norm, layer_norm
from intertwiner.training.charges import KEY, READ, Charges, Ids, Rule
from intertwiner.training.traced import dropout_rate, held_by

DROPOUTS = ("dropout", "feature_dropout", "native_dropout")


def charges_of(network: Network, names: Mapping[str, str], *, training: bool = True, loss: str = "") -> Charges:
    """Walk through a network and write down what its operators demand.

    Args:
        network: The network.
        names: State_dict names of the parameters that move, each with the one name that it goes by.
        training: Whether batch norm and dropout are in training mode.
        loss: ``"cross_entropy"`` where it is that.

    Cost:
        One pass over arrays of the size of the values on the example.
    """
    charges = Charges(network, names, training, loss)
    values: dict[str, Ids] = {}
    left = {node.name: len(node.users) for node in network.nodes}
    for node in network.nodes:
        rule = RULES.get(type(node.op), _unknown)
        out = rule(charges, node, [values[i] for i in node.inputs])
        if isinstance(node.op, Opaque):
            charges.pin(held_by(network, node))
        values[node.name] = out if isinstance(node.op, Output) else np.broadcast_to(out, node.shape)
        for name in node.inputs:
            left[name] -= 1
            if not left[name]:
                values.pop(name, None)
    charges.settle()
    return charges


def _input(c: Charges, node: Node, x: list[Ids]) -> Ids:
    return np.zeros((1,) * len(node.shape), dtype=np.int64)


def _output(c: Charges, node: Node, x: list[Ids]) -> Ids:
    """Outputs are what they are; cross entropy alone does not see a shift of all of them."""
    for ids in x:
        c.vanish(ids)
        c.outputs.append(np.unique(ids))
        if c.loss == "cross_entropy" and len(x) == 1 and ids.ndim > 1:
            c.classes = 1 if ids.ndim > 2 and np.ptp(ids, axis=1).any() else ids.ndim - 1
            c.centre(np.moveaxis(ids, c.classes, -1))
        else:
            c.see(ids)
    return np.zeros(1, dtype=np.int64)


def _unknown(c: Charges, node: Node, x: list[Ids]) -> Ids:
    """An operator that nothing is known about."""
    reason = f"{node.op.target}: {node.op.reason}" if isinstance(node.op, Opaque) else f"no rule for {node.op.kind}"
    c.lose(node, reason)
    for ids in x:
        c.vanish(ids)
        c.mark(ids)
        c.see(ids)
    return np.zeros((1,) * len(node.shape), dtype=np.int64)


def _linear(c: Charges, node: Node, x: list[Ids]) -> Ids:
    op = node.op
    if not isinstance(op, Linear):
        return _unknown(c, node, x)
    source = c.along(x[0], x[0].ndim - 1)
    out = c.new(op.weight.shape[0])
    c.together(source[None])
    c.together(out[None])
    c.see(source)
    c.hold(node, op.weight, "weight", out[:, None], source[None, :])
    c.hold(node, op.bias, "bias", out)
    return out


def _conv(c: Charges, node: Node, x: list[Ids]) -> Ids:
    op = node.op
    if not isinstance(op, Conv):
        return _unknown(c, node, x)
    source = c.along(x[0], 1)
    out = c.new(node.shape[1])
    into, outof = source.reshape(op.groups, -1), out.reshape(op.groups, -1)
    c.together(into)
    c.together(outof)
    c.see(source)
    kernel = (1,) * len(op.kernel)
    if op.transposed:  # (in, out / groups, *kernel)
        up = np.repeat(outof, into.shape[1], axis=0) if op.groups > 1 else outof
        down = source[:, None]
    else:
        up = out[:, None]
        down = np.repeat(into, outof.shape[1], axis=0) if op.groups > 1 else into
    c.hold(node, op.weight, "weight", up.reshape(*up.shape, *kernel), down.reshape(*down.shape, *kernel))
    c.hold(node, op.bias, "bias", out)
    return out.reshape(1, -1, *kernel)


def _embedding(c: Charges, node: Node, x: list[Ids]) -> Ids:
    op = node.op
    if not isinstance(op, Embedding):
        return _unknown(c, node, x)
    out = c.new(op.weight.shape[1])
    c.together(out[None])
    c.hold(node, op.weight, "weight", out[None, :])
    return out


def _constant(c: Charges, node: Node, x: list[Ids]) -> Ids:
    """A parameter by itself: positions, a class token. Zeros that stay zero may have any charge."""
    op = node.op
    if not isinstance(op, Constant):
        return _unknown(c, node, x)
    ids = c.new(*op.value.shape)
    if c.moves(op.value):
        long = [a for a, s in enumerate(ids.shape) if s > 1]
        if long:
            c.together(np.moveaxis(ids, long[-1], -1))
    c.hold(node, op.value, "constant", ids)
    return ids


def _affine(c: Charges, node: Node, x: list[Ids]) -> Ids:
    """A scale and a shift; those of batch norm are parted into their own parameters."""
    op = node.op
    if not isinstance(op, ChannelAffine):
        return _unknown(c, node, x)
    if is_batch_norm(node):
        return batch_norm(c, node, x[0])
    ids = x[0]
    if op.scale is not None:
        ids = _scaled(c, node, op, ids)
    if op.shift is not None:
        if c.moves(op.shift):
            shift = c.new(*op.shift.shape)
            long = [a for a, s in enumerate(shift.shape) if s > 1]
            if long:
                c.together(np.moveaxis(shift, long[-1], -1))
            c.hold(node, op.shift, "shift", shift)
            c.join(ids, shift)
        elif bool(op.shift.array.any()):
            c.hold(node, op.shift, "shift", np.broadcast_to(ids, node.shape))
    return ids


def _scaled(c: Charges, node: Node, op: ChannelAffine, ids: Ids) -> Ids:
    scale = op.scale
    if scale is None:
        return ids
    uniform = scale.array.size == 1
    if not uniform:
        c.mark(ids)
        c.see(ids)
    if not c.moves(scale):
        return ids
    gain = c.new(*scale.shape, derived=True)
    c.hold(node, scale, "scale", gain)
    c.see(ids)
    return c.combine(np.broadcast_to(ids, node.shape), np.broadcast_to(gain, node.shape))


def _pointwise(c: Charges, node: Node, x: list[Ids]) -> Ids:
    op, ids = node.op, x[0]
    if not isinstance(op, PointwiseOp):
        return _unknown(c, node, x)
    s = op.pointwise
    if s.mixing == "linear":
        return ids
    c.mark(ids)
    c.see(ids)
    if s.scale == "none" or not s.known:
        c.vanish(ids)
        return np.zeros_like(ids)
    degree = 1.0 if s.post is None else math.log2(float(s.post(np.array([2.0]), np.zeros(1))[0][0]))
    if degree == 1:
        return ids
    if not degree.is_integer() or not ids.any():
        c.vanish(ids)
        return np.zeros_like(ids)
    known, places = np.unique(ids, return_inverse=True)
    out = c.new(len(known), derived=True)
    c.demand((1, -int(degree)), out, known)
    c.mark(out)
    return out[places.reshape(ids.shape)]


def _add(c: Charges, node: Node, x: list[Ids]) -> Ids:
    for other in x[1:]:
        c.join(x[0], other)
    # What comes from a parameter alone has size one along the batch: the larger summand says what stands where.
    return np.broadcast_to(max(x, key=lambda ids: ids.size), node.shape)


def _multiply(c: Charges, node: Node, x: list[Ids]) -> Ids:
    for ids, other in ((x[0], x[1]), (x[1], x[0])):
        c.see(ids)
        varying = [a for a in range(ids.ndim) if ids.shape[a] > 1 and ids.strides[a] and np.ptp(ids, axis=a).any()]
        if other.any() or any(other.shape[a] > 1 for a in varying):
            c.mark(ids)
    return c.combine(x[0], x[1], -1 if isinstance(node.op, Divide) else 1)


def _concat(c: Charges, node: Node, x: list[Ids]) -> Ids:
    op = node.op
    if not isinstance(op, Concat):
        return _unknown(c, node, x)
    parts = [np.broadcast_to(i, (*node.shape[: op.axis], i.shape[op.axis], *node.shape[op.axis + 1 :])) for i in x]
    return np.concatenate(parts, axis=op.axis)


def _pad(c: Charges, node: Node, x: list[Ids]) -> Ids:
    op = node.op
    if not isinstance(op, Pad):
        return _unknown(c, node, x)
    c.see(x[0])
    padding = [p if p[0] >= 0 and p[1] >= 0 else (max(p[0], 0), max(p[1], 0)) for p in op.padding]
    cropped = x[0][tuple(slice(max(-a, 0), s - max(-b, 0)) for (a, b), s in zip(op.padding, x[0].shape, strict=True))]
    # Zeros have any charge; that of their neighbour keeps channels apart.
    out = np.pad(cropped, padding, mode="edge")
    if op.mode == "constant" and op.value != 0:
        c.vanish(x[0])
    return out


def _pool(c: Charges, node: Node, x: list[Ids]) -> Ids:
    op = node.op
    if not isinstance(op, Pool):
        return _unknown(c, node, x)
    ids = c.flatten(x[0], range(x[0].ndim - len(op.kernel), x[0].ndim))
    if op.reduction == "max":
        c.mark(ids)
    if op.reduction == "max" or any(p != (0, 0) for p in op.padding) or not (x[0] == ids).all():
        c.see(x[0])
    return ids


def _reduce(c: Charges, node: Node, x: list[Ids]) -> Ids:
    op = node.op
    if not isinstance(op, Reduce):
        return _unknown(c, node, x)
    ids = c.flatten(x[0], op.axes)
    if op.reduction not in ("mean", "sum") or not np.array_equal(np.broadcast_to(ids, x[0].shape), x[0]):
        c.mark(x[0])
        c.see(x[0])
    return ids if op.keepdim else ids.reshape(tuple(s for a, s in enumerate(ids.shape) if a not in op.axes))


def _softmax(c: Charges, node: Node, x: list[Ids]) -> Ids:
    """A common shift is taken out; a scale is not."""
    ids = x[0]
    axis = node.op.axis if isinstance(node.op, Softmax) else -1
    c.centre(np.moveaxis(ids, axis, -1))
    c.vanish(ids)
    c.mark(ids)
    return np.zeros_like(ids)


def _matmul(c: Charges, node: Node, x: list[Ids]) -> Ids:
    """A contraction of features (scores: charges add up to one number), or of places (values pass)."""
    a, b = x
    c.see(a)
    one = bool((b == b[..., :1]).all())  # all keys have the bias: none is appended
    c.see(b, KEY if one and _is_weighed(c, node) else READ)
    if _constant_along(a, -1) or _constant_along(b, -2):  # places with weights: what is summed has one charge
        rows, columns = c.flatten(a, [a.ndim - 1]), c.flatten(b, [b.ndim - 2])
        for ids, other in ((rows[..., 0], columns), (columns[..., 0, :], rows)):
            if other.any():
                c.mark(ids)
            c.together(ids)
        return c.combine(rows, columns)
    a, b = c.flatten(a, [a.ndim - 2])[..., 0, :], c.flatten(b, [b.ndim - 1])[..., 0]
    lead = np.broadcast_shapes(a.shape, b.shape)
    pairs = np.stack([np.broadcast_to(i, lead).reshape(-1, lead[-1]) for i in (a, b)], axis=1)
    known, places = np.unique(pairs, axis=0, return_inverse=True)
    out = c.new(len(known), derived=True)
    for head, product in zip(known, out, strict=True):
        c.demand((1, -1, -1), product, head[0], head[1])
    c.together(known[:, 0])
    c.together(known[:, 1])
    c.mark(out)
    return out[places].reshape(*lead[:-1], 1, 1)


def _is_weighed(c: Charges, node: Node) -> bool:
    """Whether the product becomes attention weights: a softmax along its last axis takes out what queries alone add."""
    last = node.shape[-1]
    while len(node.users) == 1:
        node = c.network.node(node.users[0])
        op = node.op
        if isinstance(op, Softmax):
            return op.axis % len(node.shape) == len(node.shape) - 1
        scaled = isinstance(op, ChannelAffine) and (op.scale is None or op.scale.array.size == 1)
        moved = isinstance(op, (Add, Identity, Reshape))
        if not (scaled or moved) or node.shape[-1] != last:
            return False
    return False


def _constant_along(ids: Ids, axis: int) -> bool:
    return bool((ids == np.take(ids, [0], axis)).all())


def _permute(c: Charges, node: Node, x: list[Ids]) -> Ids:
    return x[0].transpose(node.op.dims) if isinstance(node.op, Permute) else _unknown(c, node, x)


def _reshape(c: Charges, node: Node, x: list[Ids]) -> Ids:
    return x[0].reshape(node.shape)


def _index(c: Charges, node: Node, x: list[Ids]) -> Ids:
    op = node.op
    if not isinstance(op, Index):
        return _unknown(c, node, x)
    taken = np.take(x[0], op.index, axis=op.axis)
    return np.squeeze(taken, op.axis) if op.squeeze else taken


def _identity(c: Charges, node: Node, x: list[Ids]) -> Ids:
    """Dropout in training mode multiplies by a mask of zeros: scales pass, mixtures do not."""
    note = node.op.note if isinstance(node.op, Identity) else ""
    if c.training and "dropout" in note and not dropout_rate(c.network, node):
        return x[0]
    if c.training and note in DROPOUTS:
        c.mark(x[0])
        c.see(x[0])
    elif c.training and "dropout" in note:
        return _unknown(c, node, x)
    return x[0]


def _expand(c: Charges, node: Node, x: list[Ids]) -> Ids:
    return np.broadcast_to(x[0], node.shape)


RULES: dict[type[Op], Rule] = {
    Input: _input, Output: _output, Linear: _linear, Conv: _conv, Embedding: _embedding, Constant: _constant,
    ChannelAffine: _affine, PointwiseOp: _pointwise, Add: _add, Multiply: _multiply, Divide: _multiply,
    Concat: _concat, Pad: _pad, Pool: _pool, Reduce: _reduce, Softmax: _softmax, MatMul: _matmul,
    LayerNorm: layer_norm, Permute: _permute, Reshape: _reshape, Index: _index, Identity: _identity, Expand: _expand,
}  # fmt: skip
