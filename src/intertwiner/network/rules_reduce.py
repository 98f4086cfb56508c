"""Rules for what gathers: reductions, pools, norms, softmax, attention."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import torch

from intertwiner.network import node as ir
from intertwiner.network.broadcast import aligned, level, meet, reshape
from intertwiner.network.rule import Call, Fixed, Unruled, Value, literal, register_rule


@register_rule("aten.mean", "aten.sum", "aten.amax", "aten.amin")
def reduce(call: Call) -> Value:
    x = call.value("self")
    kind: Any = call.target.split(".")[1]
    return call.emit(ir.Reduce(kind, call.axes("dim", x.ndim), bool(call.get("keepdim", False))), x)


@register_rule("aten.max.dim", "aten.min.dim")
def reduce_with_places(call: Call) -> tuple[Value, Value]:
    x = call.value("self")
    kind: Any = "a" + call.target.split(".")[1]
    op = ir.Reduce(kind, (call.axis("dim", x.ndim),), bool(call.get("keepdim", False)))
    places = ir.Opaque(call.target, "positions of the extreme values have no rule")
    return call.emit(op, x, shape=call.shapes[0]), call.emit(places, x, shape=call.shapes[1])


@register_rule("aten.linalg_vector_norm", "aten.norm")
def norm(call: Call) -> Value:
    x = call.value("self")
    order = call.get("ord", call.get("p", 2))
    if order is not None and float(order) != 2:
        raise Unruled(f"a norm of order {order}")
    return call.emit(ir.Reduce("norm", call.axes("dim", x.ndim), bool(call.get("keepdim", False))), x)


@register_rule(*(f"aten.{kind}_pool{n}d{tail}" for kind in ("max", "avg") for n in (1, 2, 3)
                 for tail in ("", "_with_indices")))  # fmt: skip
def pool(call: Call) -> Any:
    x = call.value("self")
    kernel = call["kernel_size"]
    n = int(call.target.split("_pool")[1][0])
    if x.ndim != n + 2:
        raise Unruled("a pool of a single sample, without a batch axis")

    def per_axis(given: Any) -> tuple[int, ...]:
        values = [given] if isinstance(given, int) else list(given)
        return tuple(int(v) for v in (values * n if len(values) == 1 else values))

    kernel = per_axis(kernel)
    stride = per_axis(call["stride"]) if call.get("stride") else kernel
    op = ir.Pool(
        "max" if "max_pool" in call.target else "avg", kernel, stride,
        tuple((p, p) for p in per_axis(call.get("padding", 0))), per_axis(call.get("dilation", 1)),
        bool(call.get("ceil_mode", False)), bool(call.get("count_include_pad", True)), call.get("divisor_override"),
    )  # fmt: skip
    if len(call.shapes) == 1:
        return call.emit(op, x)
    places = ir.Opaque(call.target, "positions of the maxima have no rule")
    return call.emit(op, x, shape=call.shapes[0]), call.emit(places, x, shape=call.shapes[1])


@register_rule(*(f"aten.adaptive_{kind}_pool{n}d" for kind in ("max", "avg") for n in (1, 2, 3)))
def adaptive_pool(call: Call) -> Any:
    """Window i of m over a length n is floor(i n / m) to ceil((i+1) n / m); equal windows become a plain pool."""
    x = call.value("self")
    n = int(call.target.split("_pool")[1][0])
    if x.ndim != n + 2:
        raise Unruled("a pool of a single sample, without a batch axis")
    sizes = list(zip(x.shape[2:], call.shape[2:], strict=True))
    windows = tuple(tuple((i * a // m, -((-(i + 1) * a) // m)) for i in range(m)) for a, m in sizes)
    even = all(a % m == 0 for a, m in sizes)
    kernel = tuple(max(stop - start for start, stop in w) for w in windows)
    kind: Any = "max" if "max_pool" in call.target else "avg"
    op = ir.Pool(kind, kernel, kernel, ((0, 0),) * n, (1,) * n, windows=None if even else windows)
    if len(call.shapes) == 1:
        return call.emit(op, x)
    places = ir.Opaque(call.target, "positions of the maxima have no rule")
    return call.emit(op, x, shape=call.shapes[0]), call.emit(places, x, shape=call.shapes[1])


@register_rule("aten.softmax", "aten._softmax", "aten.log_softmax", "aten._log_softmax", "aten.special_log_softmax")
def softmax(call: Call) -> Value:
    x = call.value("self")
    return call.emit(ir.Softmax(call.axis("dim", x.ndim), "log" in call.target), x)


@register_rule("aten.layer_norm", "aten.rms_norm")
def layer_norm(call: Call) -> Value:
    x = call.value("input")
    axes = tuple(range(x.ndim - len(call["normalized_shape"]), x.ndim))
    rms = "rms" in call.target
    eps = call.get("eps")
    if eps is None:
        eps = torch.finfo(getattr(torch, x.dtype)).eps

    def param(name: str) -> ir.Param | None:
        fixed = call.fixed(name)
        return None if fixed is None else aligned(call, fixed, x.ndim, x.batch_axis).param()

    return call.emit(ir.LayerNorm(axes, param("weight"), None if rms else param("bias"), float(eps), rms), x)


def _per_channel(fixed: Fixed | None, ndim: int) -> ir.Param | None:
    return None if fixed is None else fixed.rearranged(lambda t: t.reshape(1, -1, *(1,) * (ndim - 2))).param()


@register_rule("aten.instance_norm")
def instance_norm(call: Call) -> Value:
    x = call.value("input")
    if not call.get("use_input_stats", True):
        raise Unruled("instance norm with running statistics")
    weight, bias = (_per_channel(call.fixed(k), x.ndim) for k in ("weight", "bias"))
    return call.emit(ir.LayerNorm(tuple(range(2, x.ndim)), weight, bias, float(call["eps"])), x)


@register_rule("aten.group_norm")
def group_norm(call: Call) -> Value:
    """One group, or one channel per group: a layer norm. Otherwise channels are split into groups first."""
    x, groups = call.value("input"), int(call["num_groups"])
    weight, bias = (_per_channel(call.fixed(k), x.ndim) for k in ("weight", "bias"))
    eps = float(call["eps"])
    if groups in (1, x.shape[1]) and x.ndim > 2:
        return call.emit(ir.LayerNorm(tuple(range(1 if groups == 1 else 2, x.ndim)), weight, bias, eps), x)
    split = (x.shape[0], groups, int(np.prod(x.shape[1:])) // groups)
    y = reshape(call, x, split)
    y = call.emit(ir.LayerNorm((2,), None, None, eps), y, shape=split)
    if weight is None and bias is None:
        return reshape(call, y, x.shape, final=True)
    return call.emit(ir.ChannelAffine(weight, bias), reshape(call, y, x.shape))


@register_rule("aten.scaled_dot_product_attention")
def attention(call: Call) -> Value:
    """softmax(q k^T scale + mask) v, written out."""
    q, k, v = (call.value(name) for name in ("query", "key", "value"))
    if call.get("enable_gqa"):
        raise Unruled("grouped queries")
    scale = call.get("scale")
    scale = 1.0 / math.sqrt(q.shape[-1]) if scale is None else float(scale)
    q, k, v = level(call, q, k, v)
    dims = (*range(k.ndim - 2), k.ndim - 1, k.ndim - 2)
    turned = call.emit(ir.Permute(dims), k, shape=tuple(k.shape[d] for d in dims))
    shape = (*q.shape[:-1], k.shape[-2])
    score = call.emit(ir.MatMul(), q, turned, shape=shape)
    score = call.emit(ir.ChannelAffine(literal(scale, score.ndim)), score, shape=shape)
    score = _masked(call, score, call.get("attn_mask"), bool(call.get("is_causal")))
    weights = call.emit(ir.Softmax(score.ndim - 1), score, shape=score.shape)
    return call.emit(ir.MatMul(), weights, v)


def _masked(call: Call, score: Value, mask: Any, causal: bool) -> Value:
    if causal:
        allowed = torch.ones(score.shape[-2:], dtype=torch.bool).tril()
        mask = Fixed(allowed, "causal mask")
    if mask is None:
        return score
    if isinstance(mask, Value):
        if not mask.is_float:
            raise Unruled("a mask of truth values that comes from the input")
        score, mask = level(call, score, mask)
        return call.emit(ir.Add(), score, mask, shape=score.shape)
    if mask.tensor.dtype == torch.bool:
        mask = Fixed(torch.where(mask.tensor, 0.0, -math.inf), mask.name or "mask", mask.sources, None, True)
    score, mask = meet(call, score, mask)
    return call.emit(ir.ChannelAffine(None, mask.param()), score, shape=score.shape)
