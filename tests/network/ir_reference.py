"""A small interpreter of the network records, written from their docstrings alone: the oracle of every rule."""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from intertwiner.network import Network
from intertwiner.network import node as ir


def tensor(param: ir.Param | None) -> Tensor | None:
    return None if param is None else torch.tensor(param.array)


def conv(op: ir.Conv, x: Tensor) -> Tensor:
    n = len(op.stride)
    weight, bias = tensor(op.weight), tensor(op.bias)
    if op.transposed:
        run = (F.conv_transpose1d, F.conv_transpose2d, F.conv_transpose3d)[n - 1]
        padding = [a for a, b in op.padding if a == b]
        assert len(padding) == n
        return run(x, weight, bias, op.stride, padding, op.output_padding, op.groups, op.dilation)
    flat = [v for pair in reversed(op.padding) for v in pair]
    mode = {"zeros": "constant"}.get(op.padding_mode, op.padding_mode)
    run = (F.conv1d, F.conv2d, F.conv3d)[n - 1]
    return run(F.pad(x, flat, mode=mode), weight, bias, op.stride, 0, op.dilation, op.groups)


def pool(op: ir.Pool, x: Tensor) -> Tensor:
    n = len(op.kernel)
    if op.windows is not None:
        for axis, windows in zip(range(x.ndim - n, x.ndim), op.windows, strict=True):
            parts = [x.narrow(axis, a, b - a) for a, b in windows]
            gathered = [p.amax(axis) if op.reduction == "max" else p.mean(axis) for p in parts]
            x = torch.stack(gathered, axis)
        return x
    padding = [a for a, _ in op.padding]
    if op.reduction == "max":
        run = (F.max_pool1d, F.max_pool2d, F.max_pool3d)[n - 1]
        return run(x, op.kernel, op.stride, padding, op.dilation, op.ceil_mode)
    run = (F.avg_pool1d, F.avg_pool2d, F.avg_pool3d)[n - 1]
    extra = () if n == 1 else (op.divisor,)
    return run(x, op.kernel, op.stride, padding, op.ceil_mode, op.count_include_pad, *extra)


def layer_norm(op: ir.LayerNorm, x: Tensor) -> Tensor:
    mean = 0.0 if op.rms else x.mean(op.axes, keepdim=True)
    y = (x - mean) / torch.sqrt(((x - mean) ** 2).mean(op.axes, keepdim=True) + op.eps)
    y = y if op.weight is None else y * tensor(op.weight)
    return y if op.bias is None else y + tensor(op.bias)


def reduce(op: ir.Reduce, x: Tensor) -> Tensor:
    if op.reduction == "norm":
        return (x**2).sum(op.axes, keepdim=op.keepdim).sqrt()
    return getattr(x, op.reduction)(op.axes, keepdim=op.keepdim)


def shaped(op: ir.Reshape | ir.Expand, node: ir.Node, x: Tensor, scale: float) -> tuple[int, ...]:
    """The shape for this batch: -1 stands on the batch axis."""
    shape = list(op.shape)
    for a, s in enumerate(shape):
        if s == -1:
            shape[a] = int(node.shape[a] * scale)
    return tuple(shape)


def evaluate(op: ir.Op, node: ir.Node, x: list[Tensor], scale: float) -> Tensor:
    match op:
        case ir.Constant():
            return tensor(op.value)
        case ir.Linear():
            return F.linear(x[0], tensor(op.weight), tensor(op.bias))
        case ir.Conv():
            return conv(op, x[0])
        case ir.Pad():
            axes = [i for i, p in enumerate(op.padding) if p != (0, 0)]
            flat = [v for pair in reversed(op.padding[min(axes, default=0) :]) for v in pair]
            return F.pad(x[0], flat, mode=op.mode, **({"value": op.value} if op.mode == "constant" else {}))
        case ir.Embedding():
            return F.embedding(x[0].long(), tensor(op.weight))
        case ir.ChannelAffine():
            y = x[0] if op.scale is None else x[0] * tensor(op.scale)
            return y if op.shift is None else y + tensor(op.shift)
        case ir.PointwiseOp():
            return torch.tensor(op.pointwise.apply(x[0].numpy()))
        case ir.Add():
            return sum(w * v for w, v in zip(op.weights, x, strict=True))
        case ir.Multiply():
            return x[0] * x[1]
        case ir.Divide():
            return x[0] / x[1]
        case ir.Concat():
            lead = [v.shape[: op.axis] for v in x]
            shape = [np.broadcast_shapes(*lead), np.broadcast_shapes(*[v.shape[op.axis + 1 :] for v in x])]
            return torch.cat([v.expand(*shape[0], v.shape[op.axis], *shape[1]) for v in x], op.axis)
        case ir.Pool():
            return pool(op, x[0])
        case ir.Reduce():
            return reduce(op, x[0])
        case ir.Reshape():
            return x[0].reshape(shaped(op, node, x[0], scale))
        case ir.Expand():
            return x[0].expand(shaped(op, node, x[0], scale))
        case ir.Permute():
            return x[0].permute(op.dims)
        case ir.Index():
            y = x[0].index_select(op.axis, torch.tensor(op.index))
            return y.squeeze(op.axis) if op.squeeze else y
        case ir.Softmax():
            return F.log_softmax(x[0], op.axis) if op.log else F.softmax(x[0], op.axis)
        case ir.MatMul():
            return x[0] @ x[1]
        case ir.LayerNorm():
            return layer_norm(op, x[0])
        case ir.Identity():
            return x[0]
    raise AssertionError(f"no case for {op}")


def interpret(network: Network, inputs: tuple[Tensor, ...]) -> dict[str, Tensor]:
    """Every value of the network, in float64, by node name."""
    env: dict[str, Tensor] = {}
    batch = next((n.shape[n.batch_axis] for n in network.nodes if n.batch_axis is not None), 1)
    position = next((i for i, s in enumerate(network.inputs) if s.batched), 0)
    scale = len(inputs[position]) / batch
    for node in network.nodes:
        if isinstance(node.op, ir.Output):
            continue
        if isinstance(node.op, ir.Input):
            env[node.name] = inputs[node.op.position].double()
            continue
        value = evaluate(node.op, node, [env[i] for i in node.inputs], scale)
        env[node.name] = value
        expected = [int(s * scale) if a == node.batch_axis else s for a, s in enumerate(node.shape)]
        assert list(value.shape) == expected, (node, tuple(value.shape))
    return env
