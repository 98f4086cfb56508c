"""Rules for what moves entries: reshapes, permutations, slices, flips, concatenations, copies."""

from __future__ import annotations

from typing import Any

import numpy as np

from intertwiner.network import node as ir
from intertwiner.network.broadcast import aligned, expand, level, reshape
from intertwiner.network.rule import Call, Fixed, Unruled, Value, register_rule


@register_rule(
    "aten.view", "aten.reshape", "aten._unsafe_view", "aten.flatten", "aten.unflatten", "aten.squeeze",
    "aten.unsqueeze", "aten.view_as", "aten.reshape_as",
)  # fmt: skip
def reshaped(call: Call) -> Value:
    if call.target == "aten.view.dtype":
        raise Unruled("it reads the bits as another type")
    return reshape(call, call.value("self"), call.shape, final=True)


@register_rule("aten.expand", "aten.expand_as", "aten.broadcast_to")
def expanded(call: Call) -> Value:
    return expand(call, call.value("self"), call.shape, final=True)


@register_rule("aten.permute", "aten.transpose", "aten.swapaxes", "aten.swapdims", "aten.t", "aten.numpy_T", "aten.mT",
               "aten.movedim", "aten.moveaxis", "aten.adjoint", "aten.matrix_H")  # fmt: skip
def permuted(call: Call) -> Value:
    x = call.value("self")
    n = x.ndim
    name = call.target.split(".")[1]
    dims = list(range(n))
    if name == "permute":
        dims = [int(d) % n for d in call["dims"]]
    elif name in ("transpose", "swapaxes", "swapdims"):
        a, b = (int(call[k]) % n for k in ("dim0", "dim1") if k in call.arguments) if "dim0" in call.arguments else (
            int(call["axis0"]) % n, int(call["axis1"]) % n)  # fmt: skip
        dims[a], dims[b] = dims[b], dims[a]
    elif name in ("t", "numpy_T"):
        dims.reverse()
    elif name in ("mT", "adjoint", "matrix_H"):
        dims[-1], dims[-2] = dims[-2], dims[-1]
    else:
        source, target = (call[k] for k in ("source", "destination"))
        source, target = ([s] if isinstance(s, int) else list(s) for s in (source, target))
        source, target = [s % n for s in source], [t % n for t in target]
        rest = iter([d for d in range(n) if d not in source])
        dims = [source[target.index(i)] if i in target else next(rest) for i in range(n)]
    return call.emit(ir.Permute(tuple(dims)), x)


@register_rule("aten.select")
def select(call: Call) -> Value:
    x = call.value("self")
    axis = call.axis("dim", x.ndim)
    return call.emit(ir.Index(axis, (int(call["index"]) % x.shape[axis],), True, "select"), x)


@register_rule("aten.slice", "aten.narrow")
def sliced(call: Call) -> Value:
    x = call.value("self")
    axis = call.axis("dim", x.ndim)
    size = x.shape[axis]
    start = 0 if call.get("start") is None else int(call["start"])
    if "length" in call.arguments:
        taken = slice(start % size, start % size + int(call["length"]))
    else:
        taken = slice(start, None if call.get("end") is None else int(call["end"]), int(call.get("step", 1)))
    index = tuple(range(size)[taken])
    if len(index) == size:
        return call.emit(ir.Identity("slice"), x)
    return call.emit(ir.Index(axis, index, False, "slice"), x)


@register_rule("aten.flip")
def flip(call: Call) -> Value:
    x = call.value("self")
    return _along(call, x, {int(a) % x.ndim: np.arange(x.shape[int(a)])[::-1] for a in call["dims"]}, "flip")


@register_rule("aten.roll")
def roll(call: Call) -> Value:
    x = call.value("self")
    if not call.get("dims"):
        raise Unruled("a roll of the flattened tensor")
    moves = zip(call["dims"], call["shifts"], strict=True)
    return _along(call, x, {int(a) % x.ndim: np.roll(np.arange(x.shape[int(a)]), int(s)) for a, s in moves}, "roll")


@register_rule("aten.index_select")
def index_select(call: Call) -> Value:
    x, index = call.value("self"), call.fixed("index")
    if index is None:
        raise Unruled("no index")
    return _along(call, x, {call.axis("dim", x.ndim): index.tensor.cpu().numpy()}, "gather")


@register_rule("aten.index.Tensor")
def index(call: Call) -> Value:
    x, given = call.value("self"), call["indices"]
    used = [(a, i) for a, i in enumerate(given) if i is not None]
    if len(used) != 1 or not isinstance(used[0][1], Fixed) or len(used[0][1].shape) != 1:
        raise Unruled("only one constant list of positions is understood")
    axis, fixed = used[0]
    places = fixed.tensor.cpu().numpy()
    return _along(call, x, {axis: np.flatnonzero(places) if places.dtype == bool else places % x.shape[axis]}, "gather")


@register_rule("aten.repeat", "aten.tile")
def repeat(call: Call) -> Value:
    x = call.value("self")
    times = [int(r) for r in (call.get("repeats") or call.get("dims") or ())]
    times = [1] * (x.ndim - len(times)) + times
    x = reshape(call, x, (1,) * (len(times) - x.ndim) + x.shape)
    moves = {a: np.tile(np.arange(x.shape[a]), t) for a, t in enumerate(times) if t != 1}
    return _along(call, x, moves, "repeat")


@register_rule("aten.repeat_interleave.self_int")
def repeat_interleave(call: Call) -> Value:
    x = call.value("self")
    if call.get("dim") is None:
        raise Unruled("it flattens the tensor")
    axis = call.axis("dim", x.ndim)
    return _along(call, x, {axis: np.repeat(np.arange(x.shape[axis]), int(call["repeats"]))}, "repeat")


@register_rule("aten.upsample_nearest1d", "aten.upsample_nearest2d", "aten.upsample_nearest3d")
def upsample_nearest(call: Call) -> Value:
    x = call.value("self" if "self" in call.arguments else "input")
    grid = range(2, x.ndim)
    moves = {a: np.arange(call.shape[a]) * x.shape[a] // call.shape[a] for a in grid}
    if any(call.shape[a] % x.shape[a] for a in grid):
        raise Unruled("an upsampling whose factor is no whole number")
    return _along(call, x, moves, "repeat")


def _along(call: Call, x: Value, moves: dict[int, Any], spelling: str) -> Value:
    """One `Index` per axis; an identity where nothing moves."""
    for place, (axis, taken) in enumerate(moves.items()):
        op = ir.Index(axis, tuple(int(i) for i in taken), False, spelling)
        shape = (*x.shape[:axis], len(op.index), *x.shape[axis + 1 :])
        x = call.emit(op, x, shape=None if place == len(moves) - 1 else shape)
    return x if moves else call.emit(ir.Identity(spelling), x)


@register_rule("aten.chunk", "aten.split", "aten.split_with_sizes", "aten.tensor_split.sections", "aten.unsafe_chunk",
               "aten.unsafe_split")  # fmt: skip
def split(call: Call) -> tuple[Value, ...]:
    x = call.value("self")
    axis = call.axis("dim", x.ndim)
    parts, start = [], 0
    for shape in call.shapes:
        stop = start + shape[axis]
        parts.append(call.emit(ir.Index(axis, tuple(range(start, stop)), False, "slice"), x, shape=shape))
        start = stop
    return tuple(parts)


@register_rule("aten.unbind")
def unbind(call: Call) -> tuple[Value, ...]:
    x = call.value("self")
    axis = call.axis("dim", x.ndim)
    return tuple(call.emit(ir.Index(axis, (i,), True, "select"), x, shape=shape) for i, shape in enumerate(call.shapes))


@register_rule("aten.cat", "aten.concat", "aten.concatenate")
def concat(call: Call) -> Value:
    parts = list(call["tensors"])
    first = next(p for p in parts if isinstance(p, Value))
    axis = call.axis("axis" if "axis" in call.arguments else "dim", first.ndim)
    return call.emit(ir.Concat(axis), *(_part(call, p, first) for p in parts))


@register_rule("aten.stack")
def stack(call: Call) -> Value:
    parts = list(call["tensors"])
    first = next(p for p in parts if isinstance(p, Value))
    axis = call.axis("dim", first.ndim + 1)
    values = [_part(call, p, first) for p in parts]
    lifted = [reshape(call, v, (*v.shape[:axis], 1, *v.shape[axis:])) for v in values]
    return call.emit(ir.Concat(axis), *lifted)


def _part(call: Call, part: Any, first: Value) -> Value:
    """A constant part keeps size 1 on the batch axis: it is repeated for every sample."""
    if isinstance(part, Fixed):
        return call.as_value(aligned(call, part, first.ndim, first.batch_axis))
    return call.as_value(part)


@register_rule("aten.pad", "aten.constant_pad_nd")
def pad(call: Call) -> Value:
    x, flat = call.value("self"), [int(p) for p in call["pad"]]
    mode = str(call.get("mode", "constant"))
    pairs = [(0, 0)] * x.ndim
    for i in range(len(flat) // 2):  # torch counts from the last axis
        pairs[x.ndim - 1 - i] = (flat[2 * i], flat[2 * i + 1])
    return call.emit(ir.Pad(tuple(pairs), mode, float(call.get("value") or 0.0)), x)


@register_rule("aten.pixel_shuffle")
def pixel_shuffle(call: Call) -> Value:
    x, r = call.value("self"), int(call["upscale_factor"])
    *lead, c, h, w = x.shape
    n = len(lead)
    x = reshape(call, x, (*lead, c // (r * r), r, r, h, w))
    dims = (*range(n), n, n + 3, n + 1, n + 4, n + 2)
    x = call.emit(ir.Permute(dims), x, shape=tuple(x.shape[d] for d in dims))
    return reshape(call, x, call.shape, final=True)


@register_rule(
    "aten.dropout", "aten.feature_dropout", "aten.alpha_dropout", "aten.contiguous", "aten.clone", "aten.detach",
    "aten.alias", "aten.lift_fresh_copy", "aten.detach_", "aten.feature_alpha_dropout",
)  # fmt: skip
def identity(call: Call) -> Value:
    return call.emit(
        ir.Identity(call.target.split(".")[1]), call.value("input" if "input" in call.arguments else "self")
    )


@register_rule("aten.to", "aten._to_copy", "aten.type_as", "aten.float", "aten.double")
def cast(call: Call) -> Value:
    x = call.value("self")
    result = call.emit(ir.Identity("cast"), x)
    if x.is_float and not result.is_float:
        raise Unruled("it rounds to whole numbers")
    return result


def leveled(call: Call, *values: Any) -> tuple[Value, ...]:
    return level(call, *(call.as_value(v) for v in values))
