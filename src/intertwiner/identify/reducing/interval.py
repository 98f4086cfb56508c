r"""Bounds of every value over a box of inputs, by interval arithmetic on the records.

An interval ``[l, u]`` goes through a linear map as ``W+ l + W- u`` and ``W+ u + W- l``, through a monotone function as
its ends. All bounds are widened by more than rounding can be, so what is proved here holds for the numbers that a
computer finds as well. An operator without a rule gives the whole line.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from intertwiner.errors import BoxMismatch
from intertwiner.network import Network
from intertwiner.network import node as ir
from intertwiner.network.operations import Bench, compute, is_index
from intertwiner.numerics.tolerance import ROUNDING

Box = float | tuple[Any, Any]

RISING = {"relu", "tanh", "sigmoid", "erf", "atan", "asinh", "sinh", "softsign", "hardsigmoid", "relu6", "exp", "elu",
          "celu", "selu", "softplus", "logsigmoid", "hardtanh", "identity", "tanhshrink"}  # fmt: skip
"""Nonlinearities that never fall, whatever their parameters."""


@dataclass(frozen=True, eq=False)
class Interval:
    """``low <= value <= high``, entry by entry, for one sample; the batch axis has size 1."""

    low: Tensor
    high: Tensor

    @classmethod
    def whole(cls, shape: Sequence[int]) -> Interval:
        return cls(torch.full(tuple(shape), -torch.inf).double(), torch.full(tuple(shape), torch.inf).double())

    def widened(self) -> Interval:
        """Larger by more than rounding can be."""
        size = ROUNDING * torch.maximum(self.low.abs(), self.high.abs()).nan_to_num(posinf=0.0)
        return Interval(self.low - size, self.high + size)

    def cleaned(self) -> Interval:
        """NaN, from infinities that meet, is the whole line."""
        low, high = self.low, self.high
        return Interval(torch.where(low.isnan(), -torch.inf, low), torch.where(high.isnan(), torch.inf, high))


def input_box(network: Network, box: Box) -> tuple[Interval, ...]:
    """The box of every floating input of a network, with a batch axis of size 1.

    Args:
        network: The network.
        box: A number r for ``|x| <= r``, or a pair (low, high) of numbers or arrays that broadcast to one sample; with
            several inputs the pair is meant for each of them.

    Raises:
        BoxMismatch: It is empty, not finite or of another shape than the inputs.
    """
    low, high = box if isinstance(box, tuple) and len(box) == 2 else (None, box)
    try:
        top = torch.as_tensor(np.asarray(high, dtype=np.float64))
        bottom = -top if low is None else torch.as_tensor(np.asarray(low, dtype=np.float64))
    except (TypeError, ValueError) as error:
        raise BoxMismatch(f"a box is a number or a pair (low, high) of numbers or arrays, got {box!r}") from error
    if not bool(torch.isfinite(top).all() & torch.isfinite(bottom).all()):
        raise BoxMismatch("the bounds of a box must be finite. Nothing was reduced.")
    out = []
    for spec in network.inputs:
        shape = tuple(1 if spec.batched and a == 0 else s for a, s in enumerate(spec.shape))
        if not spec.dtype.is_floating_point:
            out.append(Interval.whole(shape))
            continue
        try:
            interval = Interval(*(torch.broadcast_to(bound, shape).clone() for bound in (bottom, top)))
        except RuntimeError as error:
            raise BoxMismatch(
                f"a box with bounds of shape {tuple(bottom.shape)} and {tuple(top.shape)} does not fit input "
                f"{spec.name!r}, one sample of which has shape {shape[spec.batched :]}. Nothing was reduced."
            ) from error
        if bool((interval.low > interval.high).any()):
            raise BoxMismatch(f"the box of input {spec.name!r} is empty: a lower bound exceeds the upper one")
        out.append(interval)
    return tuple(out)


def intervals(network: Network, graph: Mapping[str, ir.Node], box: Sequence[Interval]) -> dict[str, Interval]:
    """Bounds of every value of a graph. Cost: two to four forward passes of one sample."""
    bench = Bench(lambda p: torch.tensor(p.array).long() if is_index(p) else torch.tensor(p.array), lambda: 1)
    out: dict[str, Interval] = {}
    for name, node in graph.items():
        if isinstance(node.op, ir.Output):
            continue
        if isinstance(node.op, ir.Input):
            out[name] = box[node.op.position]
            continue
        shape = tuple(node.batch_multiple if a == node.batch_axis else s for a, s in enumerate(node.shape))
        rule = RULES.get(type(node.op))
        values = [out[i] for i in node.inputs]
        if rule is None:
            out[name] = Interval.whole(shape)
            continue
        found = rule(node, values, bench).cleaned()
        out[name] = found if found.low.shape == shape else Interval.whole(shape)
    return out


def signs(network: Network, graph: Mapping[str, ir.Node], box: Box) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """By nonlinearity, the entries that are proved to be zero after it, and those on which it does nothing."""
    found = intervals(network, graph, input_box(network, box))
    idle, linear = {}, {}
    for name, node in graph.items():
        if isinstance(node.op, ir.PointwiseOp):
            before = found[node.inputs[0]]
            if node.op.pointwise.dead_on_negative:
                idle[name] = before.high <= 0
            if node.op.pointwise.linear_on_positive and node.op.pointwise.mixing != "linear":
                linear[name] = before.low >= 0
    return idle, linear


Rule = Callable[[ir.Node, list[Interval], Bench], Interval]


def _both(node: ir.Node, x: list[Interval], bench: Bench) -> Interval:
    """Operators that never fall in any of their inputs."""
    return Interval(compute(node, [v.low for v in x], bench), compute(node, [v.high for v in x], bench))


def _constant(node: ir.Node, x: list[Interval], bench: Bench) -> Interval:
    value = compute(node, [], bench).double()
    return Interval(value, value)


def _weighted(node: ir.Node, x: list[Interval], bench: Bench) -> Interval:
    """A linear map or convolution: positive and negative weights apart."""
    op: Any = node.op

    def run(part: np.ndarray, at: Tensor, bias: ir.Param | None) -> Tensor:
        return compute(replace(node, op=replace(op, weight=replace(op.weight, array=part), bias=bias)), [at], bench)

    up, down = np.maximum(op.weight.array, 0.0), np.minimum(op.weight.array, 0.0)
    low = run(up, x[0].low, op.bias) + run(down, x[0].high, None)
    high = run(up, x[0].high, op.bias) + run(down, x[0].low, None)
    # Sums that cancel: the error goes with the terms, not with their sum.
    size = run(np.abs(op.weight.array), torch.maximum(x[0].low.abs(), x[0].high.abs()), None)
    bias = 0.0 if op.bias is None else float(np.abs(op.bias.array).max(initial=0.0))
    slack = ROUNDING * (size + bias)
    return Interval(low - slack, high + slack)


def _affine(node: ir.Node, x: list[Interval], bench: Bench) -> Interval:
    op: Any = node.op
    low, high = x[0].low, x[0].high
    if op.scale is not None:
        scale = torch.tensor(op.scale.array)
        low, high = torch.minimum(low * scale, high * scale), torch.maximum(low * scale, high * scale)
    if op.shift is not None:
        shift = torch.tensor(op.shift.array)
        slack = ROUNDING * (torch.maximum(low.abs(), high.abs()) + shift.abs())
        low, high = low + shift - slack, high + shift + slack
    return Interval(low, high)


def _nonlinear(node: ir.Node, x: list[Interval], bench: Bench) -> Interval:
    op: Any = node.op
    function, low, high = op.pointwise, x[0].low.numpy(), x[0].high.numpy()
    name = function.name.partition("(")[0]
    parameter = function.name.partition("(")[2]
    if name in ("hardtanh", "relu", "relu6", "identity") or (name == "leaky_relu" and not parameter.startswith("-")):
        return Interval(torch.tensor(function.apply(low)), torch.tensor(function.apply(high)))  # these round nothing up
    if name in RISING and "-" not in parameter.partition(",")[0]:
        return Interval(torch.tensor(function.apply(low)), torch.tensor(function.apply(high))).widened()
    bound = torch.tensor(function.magnitude(np.maximum(np.abs(low), np.abs(high))))
    return Interval(torch.zeros_like(bound) if name == "abs" else -bound, bound)


def _add(node: ir.Node, x: list[Interval], bench: Bench) -> Interval:
    op: Any = node.op
    low, high, size = torch.zeros(()).double(), torch.zeros(()).double(), torch.zeros(()).double()
    for weight, value in zip(op.weights, x, strict=True):
        ends = weight * value.low, weight * value.high
        low, high = low + torch.minimum(*ends), high + torch.maximum(*ends)
        size = size + torch.maximum(ends[0].abs(), ends[1].abs())
    return Interval(low - ROUNDING * size, high + ROUNDING * size)


def _multiply(node: ir.Node, x: list[Interval], bench: Bench) -> Interval:
    a, b = x
    products = [p * q for p in (a.low, a.high) for q in (b.low, b.high)]
    stacked = torch.stack(torch.broadcast_tensors(*products))
    return Interval(stacked.amin(0), stacked.amax(0)).widened()


def _softmax(node: ir.Node, x: list[Interval], bench: Bench) -> Interval:
    op: Any = node.op
    if op.log:
        return Interval(torch.full_like(x[0].low, -torch.inf), torch.zeros_like(x[0].low))
    return Interval(torch.zeros_like(x[0].low), torch.ones_like(x[0].low))


def _reduce(node: ir.Node, x: list[Interval], bench: Bench) -> Interval:
    op: Any = node.op
    if op.reduction != "norm":
        ends = _both(node, x, bench)
        if op.reduction in ("amax", "amin"):
            return ends
        size = compute(node, [torch.maximum(x[0].low.abs(), x[0].high.abs())], bench)
        return Interval(ends.low - ROUNDING * size, ends.high + ROUNDING * size)
    top = compute(node, [torch.maximum(x[0].low.abs(), x[0].high.abs())], bench)
    return Interval(torch.zeros_like(top), top * (1 + ROUNDING))


def _pool(node: ir.Node, x: list[Interval], bench: Bench) -> Interval:
    op: Any = node.op
    ends = _both(node, x, bench)
    if op.reduction == "max":
        return ends
    size = compute(node, [torch.maximum(x[0].low.abs(), x[0].high.abs())], bench)
    return Interval(ends.low - ROUNDING * size, ends.high + ROUNDING * size)


def _concat(node: ir.Node, x: list[Interval], bench: Bench) -> Interval:
    op: Any = node.op
    sizes = [1 if a == node.batch_axis else s for a, s in enumerate(node.shape)]
    parts = []
    for v in x:
        shape = [v.low.shape[a] if a == op.axis else max(s, v.low.shape[a]) for a, s in enumerate(sizes)]
        parts.append(Interval(v.low.expand(shape), v.high.expand(shape)))
    return _both(node, parts, bench)


def _embedding(node: ir.Node, x: list[Interval], bench: Bench) -> Interval:
    """Any row may be looked up."""
    op: Any = node.op
    shape = (*x[0].low.shape, op.weight.shape[1])
    low, high = (torch.tensor(end).expand(shape) for end in (op.weight.array.min(0), op.weight.array.max(0)))
    return Interval(low, high)


RULES: dict[type[ir.Op], Rule] = {
    ir.Constant: _constant, ir.Linear: _weighted, ir.Conv: _weighted, ir.ChannelAffine: _affine, ir.Add: _add,
    ir.PointwiseOp: _nonlinear, ir.Multiply: _multiply, ir.Softmax: _softmax, ir.Reduce: _reduce, ir.Pool: _pool,
    ir.Embedding: _embedding, ir.Concat: _concat, ir.Reshape: _both, ir.Permute: _both, ir.Index: _both,
    ir.Expand: _both, ir.Pad: _both, ir.Identity: _both,
}  # fmt: skip
