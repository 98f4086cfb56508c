"""What every record computes, in torch: one small function per record, on tensors or on fx proxies alike.

``compute(node, values, bench)`` is the value of a node. A `Bench` says how numbers become tensors (attributes of a
module, or tensors on the spot) and how large the batch is; so one table serves whoever writes a module and whoever
runs a graph.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F

from intertwiner.errors import CannotEmit
from intertwiner.network import node as ir
from intertwiner.network.functions import torch_function

INDEX = "index"
"""Name of lists of positions: the one kind of `Param` that is held as whole numbers."""


@dataclass(frozen=True)
class Bench:
    """How numbers become tensors.

    Args:
        hold: A parameter as a tensor or proxy.
        batch: The batch size, a number or a proxy, asked for only where something is repeated once per sample.
    """

    hold: Callable[[ir.Param], Any]
    batch: Callable[[], Any]

    def maybe(self, param: ir.Param | None) -> Any:
        return None if param is None else self.hold(param)

    def number_or_held(self, param: ir.Param) -> Any:
        """A literal number stays a number, so that it is no weight of the network."""
        return float(param.array.ravel()[0]) if param.array.size == 1 and not param.sources else self.hold(param)


def is_index(param: ir.Param) -> bool:
    """Whether a parameter is a list of positions."""
    return param.name == INDEX and not param.sources


Function = Callable[[Any, ir.Node, list[Any], Bench], Any]


def compute(node: ir.Node, values: Sequence[Any], bench: Bench) -> Any:
    """The value of a node, from those that it reads.

    Raises:
        CannotEmit: The node is opaque, or holds something that torch has no operator for; the message names it.
    """
    function = OPERATIONS.get(type(node.op))
    if function is None:
        reason = f"{node.op.target}: {node.op.reason}" if isinstance(node.op, ir.Opaque) else "no function computes it"
        raise CannotEmit(
            f"{node.tap or node.name} ({node.op.kind}) cannot be written as torch code.\n  {reason}\n"
            "  register_rule can say what the operator is. Nothing was written."
        )
    return function(node.op, node, list(values), bench)


def _constant(op: ir.Constant, node: ir.Node, x: list[Any], bench: Bench) -> Any:
    return bench.hold(op.value)


def _linear(op: ir.Linear, node: ir.Node, x: list[Any], bench: Bench) -> Any:
    return F.linear(x[0], bench.hold(op.weight), bench.maybe(op.bias))


def _conv(op: ir.Conv, node: ir.Node, x: list[Any], bench: Bench) -> Any:
    n = len(op.stride)
    weight, bias = bench.hold(op.weight), bench.maybe(op.bias)
    padding = [a for a, b in op.padding if a == b]
    if op.transposed:
        if len(padding) < n:
            where = node.tap or node.name
            raise CannotEmit(f"{where}: a transposed convolution with uneven padding. Nothing was written.")
        run = (F.conv_transpose1d, F.conv_transpose2d, F.conv_transpose3d)[n - 1]
        return run(x[0], weight, bias, op.stride, padding, op.output_padding, op.groups, op.dilation)
    run = (F.conv1d, F.conv2d, F.conv3d)[n - 1]
    value = x[0]
    if op.padding_mode != "zeros" or len(padding) < n:
        mode = "constant" if op.padding_mode == "zeros" else op.padding_mode
        value = F.pad(value, _flat(op.padding), mode=mode)
        padding = [0] * n
    return run(value, weight, bias, op.stride, padding, op.dilation, op.groups)


def _flat(pairs: ir.Pairs) -> list[int]:
    """Padding as torch counts it, from the last axis."""
    return [v for pair in reversed(pairs) for v in pair]


def _pad(op: ir.Pad, node: ir.Node, x: list[Any], bench: Bench) -> Any:
    first = next((a for a, p in enumerate(op.padding) if p != (0, 0)), len(op.padding) - 1)
    if op.mode == "constant":
        return F.pad(x[0], _flat(op.padding[first:]), value=op.value)
    return F.pad(x[0], _flat(op.padding[first:]), mode=op.mode)


def _embedding(op: ir.Embedding, node: ir.Node, x: list[Any], bench: Bench) -> Any:
    return F.embedding(x[0], bench.hold(op.weight))


def _affine(op: ir.ChannelAffine, node: ir.Node, x: list[Any], bench: Bench) -> Any:
    if op.scale is None:
        return x[0] if op.shift is None else x[0] + bench.number_or_held(op.shift)
    if op.shift is None:
        return x[0] * bench.number_or_held(op.scale)
    # One operator, so that a new trace finds one record again.
    return torch.addcmul(bench.hold(op.shift), x[0], bench.hold(op.scale))


def _pointwise(op: ir.PointwiseOp, node: ir.Node, x: list[Any], bench: Bench) -> Any:
    function = torch_function(op.pointwise.name)
    if function is None:
        raise CannotEmit(
            f"{node.tap or node.name}: torch has no function for the nonlinearity {op.pointwise.name!r}. "
            "Nothing was written."
        )
    return function(x[0])


def _add(op: ir.Add, node: ir.Node, x: list[Any], bench: Bench) -> Any:
    if len(x) == 2 and op.weights[0] == 1:
        return torch.add(x[0], x[1]) if op.weights[1] == 1 else torch.add(x[0], x[1], alpha=op.weights[1])
    if len(x) == 2 and op.weights[1] == 1:
        return torch.rsub(x[0], x[1], alpha=-op.weights[0])
    terms = [v if w == 1 else v * w for w, v in zip(op.weights, x, strict=True)]
    total = terms[0]
    for term in terms[1:]:
        total = total + term
    return total


def _multiply(op: ir.Multiply, node: ir.Node, x: list[Any], bench: Bench) -> Any:
    return x[0] * x[1]


def _divide(op: ir.Divide, node: ir.Node, x: list[Any], bench: Bench) -> Any:
    return x[0] / x[1]


def _concat(op: ir.Concat, node: ir.Node, x: list[Any], bench: Bench) -> Any:
    return torch.cat(x, op.axis)


def _pool(op: ir.Pool, node: ir.Node, x: list[Any], bench: Bench) -> Any:
    n = len(op.kernel)
    if op.windows is not None:
        adaptive = (
            (F.adaptive_max_pool1d, F.adaptive_max_pool2d, F.adaptive_max_pool3d)
            if op.reduction == "max"
            else (F.adaptive_avg_pool1d, F.adaptive_avg_pool2d, F.adaptive_avg_pool3d)
        )
        sizes: Any = [len(w) for w in op.windows]
        return adaptive[n - 1](x[0], sizes)
    padding = [a for a, _ in op.padding]
    if op.reduction == "max":
        run = (F.max_pool1d, F.max_pool2d, F.max_pool3d)[n - 1]
        return run(x[0], op.kernel, op.stride, padding, op.dilation or 1, ceil_mode=op.ceil_mode)
    run = (F.avg_pool1d, F.avg_pool2d, F.avg_pool3d)[n - 1]
    extra = () if n == 1 else (op.divisor,)
    return run(x[0], op.kernel, op.stride, padding, op.ceil_mode, op.count_include_pad, *extra)


def _reduce(op: ir.Reduce, node: ir.Node, x: list[Any], bench: Bench) -> Any:
    axes = list(op.axes)
    if op.reduction == "norm":
        return torch.linalg.vector_norm(x[0], 2, axes, op.keepdim)
    return getattr(torch, op.reduction)(x[0], axes, keepdim=op.keepdim)


def _reshape(op: ir.Reshape, node: ir.Node, x: list[Any], bench: Bench) -> Any:
    return x[0].reshape(op.shape)


def _permute(op: ir.Permute, node: ir.Node, x: list[Any], bench: Bench) -> Any:
    return x[0].permute(op.dims)


def _index(op: ir.Index, node: ir.Node, x: list[Any], bench: Bench) -> Any:
    steps = set(np.diff(op.index).tolist())
    if op.squeeze:
        return torch.select(x[0], op.axis, op.index[0])
    if len(steps) <= 1 and all(s > 0 for s in steps):
        step = next(iter(steps), 1)
        return torch.ops.aten.slice.Tensor(x[0], op.axis, op.index[0], op.index[-1] + 1, step)
    return torch.index_select(x[0], op.axis, bench.hold(ir.Param(INDEX, np.array(op.index))))


def _expand(op: ir.Expand, node: ir.Node, x: list[Any], bench: Bench) -> Any:
    return x[0].expand(op.shape)


def _softmax(op: ir.Softmax, node: ir.Node, x: list[Any], bench: Bench) -> Any:
    return F.log_softmax(x[0], op.axis) if op.log else F.softmax(x[0], op.axis)


def _matmul(op: ir.MatMul, node: ir.Node, x: list[Any], bench: Bench) -> Any:
    return torch.matmul(x[0], x[1])


def _norm(op: ir.LayerNorm, node: ir.Node, x: list[Any], bench: Bench) -> Any:
    """The operator of torch that normalises these axes, or the formula where there is none."""
    n, axes = len(node.shape), op.axes
    trailing = axes == tuple(range(axes[0], n))
    sizes = tuple(node.shape[a] for a in axes)
    if trailing and axes[0] > 0 and all(p.shape == (1,) * axes[0] + sizes for p in op.params):
        weight, bias = (None if p is None else bench.hold(_shaped(p, sizes)) for p in (op.weight, op.bias))
        if op.rms:
            return F.rms_norm(x[0], sizes, weight, op.eps)
        return F.layer_norm(x[0], sizes, weight, bias, op.eps)
    if trailing and axes[0] in (1, 2) and not op.rms and n > 2 and all(_varies_within(p, (1,)) for p in op.params):
        weight, bias = (None if p is None else bench.hold(_shaped(p, (node.shape[1],))) for p in (op.weight, op.bias))
        return F.group_norm(x[0], 1 if axes[0] == 1 else node.shape[1], weight, bias, op.eps)
    centred = x[0] if op.rms else x[0] - x[0].mean(list(axes), keepdim=True)
    value = centred / torch.sqrt((centred * centred).mean(list(axes), keepdim=True) + op.eps)
    value = value if op.weight is None else value * bench.hold(op.weight)
    return value if op.bias is None else value + bench.hold(op.bias)


def _varies_within(param: ir.Param, axes: tuple[int, ...]) -> bool:
    return all(size == 1 or a in axes for a, size in enumerate(param.shape))


def _shaped(param: ir.Param, sizes: tuple[int, ...]) -> ir.Param:
    """The parameter with exactly these axes, as the operators of torch take it."""
    array = param.array.reshape(sizes) if param.array.size > 1 else np.broadcast_to(param.array.ravel(), sizes)
    return ir.Param(param.name, array, param.sources, None, param.computed)


def _identity(op: ir.Identity, node: ir.Node, x: list[Any], bench: Bench) -> Any:
    return x[0]


OPERATIONS: dict[type[ir.Op], Function] = {
    ir.Constant: _constant, ir.Linear: _linear, ir.Conv: _conv, ir.Pad: _pad, ir.Embedding: _embedding,
    ir.ChannelAffine: _affine, ir.PointwiseOp: _pointwise, ir.Add: _add, ir.Multiply: _multiply, ir.Divide: _divide,
    ir.Concat: _concat, ir.Pool: _pool, ir.Reduce: _reduce, ir.Reshape: _reshape, ir.Permute: _permute,
    ir.Index: _index, ir.Expand: _expand, ir.Softmax: _softmax, ir.MatMul: _matmul, ir.LayerNorm: _norm,
    ir.Identity: _identity,
}  # fmt: skip
