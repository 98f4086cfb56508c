r"""Charges at normalisations. What they divide out is free, up to their epsilon; what they subtract nobody sees.

Batch norm in evaluation mode is ``gamma (x - mean) / sigma + beta`` with numbers mean and sigma: x may grow about the
mean while gamma shrinks. In training mode mean and sigma are those of the batch: every channel of x has a free charge
of its own, because ``(x - mean) / sqrt(var + eps)`` does not see it, but for eps. Layer norm divides out one charge of
all its axes. Behind the normalisation gain and shift begin a new space: ``(gamma_i, beta_i)`` against its readers.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from intertwiner.network import ChannelAffine, Conv, LayerNorm, Linear, Node, Param
from intertwiner.training.charges import BATCH_NORM, Charges, Ids


def is_batch_norm(node: Node) -> bool:
    """Whether an affine record is what became of a batch norm."""
    op = node.op
    return isinstance(op, ChannelAffine) and bool(op.params) and all(p.name.endswith("~batch_norm") for p in op.params)


def batch_norm(c: Charges, node: Node, x: Ids) -> Ids:
    """The channels behind a batch norm."""
    ids = c.along(x, 1)
    gain, shift, mean = _parts(node)
    c.mark(ids)
    out = np.zeros(len(ids), dtype=np.int64)
    if c.training:
        c.soft.append((ids, "the epsilon of batch norm"))
        c.see(ids, BATCH_NORM)
        spread = ids.reshape((1, -1) + (1,) * (x.ndim - 2))
        if not (x == spread).all():  # a shift of some places of a channel is seen
            c.see(x)
    else:
        c.see(ids)
        about = c.network.state[mean].double().cpu().numpy().ravel() if mean else np.zeros(len(ids))
        if about.any() and not _centred(c, node, about):
            c.vanish(ids[about != 0])
            c.lose(node, "the layer before has no bias that could move with its scale about the running mean")
        out = ids
    if gain in c.names:
        factor, before = c.new(len(ids), derived=True), out
        c.hold(node, _named(c, gain), "scale", factor)
        out = c.new(len(ids))
        c.demand((1, -1, 1), factor, out, before)
    if shift in c.names:
        c.hold(node, _named(c, shift), "shift", out)
    elif shift:
        c.vanish(out[c.network.state[shift].cpu().numpy() != 0])
    c.mark(out)
    return out.reshape((1, -1) + (1,) * (len(node.shape) - 2))


def _parts(node: Node) -> tuple[str, str, str]:
    """State names of gain, shift and running mean; empty where there is none."""
    op = node.op
    if not isinstance(op, ChannelAffine) or op.scale is None or op.shift is None:
        return "", "", ""
    gain = op.scale.sources[0] if len(op.scale.sources) == 2 else ""
    moments = op.shift.sources[-2:]
    shift = op.shift.sources[0] if len(op.shift.sources) == 3 + bool(gain) else ""
    return gain, shift, moments[0]


def _named(c: Charges, name: str) -> Param:
    return Param(name, c.network.state[name].double().cpu().numpy(), (name,))


def _centred(c: Charges, node: Node, about: np.ndarray) -> bool:
    """Let the bias of the layer before scale about the running mean; False where there is none of its own."""
    before = c.network.node(node.inputs[0])
    if not isinstance(before.op, (Linear, Conv)) or before.users != (node.name,):
        return False
    for place, use in enumerate(c.uses):
        if use.node.name == before.name and use.role == "bias":
            c.uses[place] = replace(use, centre=about)
            return True
    return False


def layer_norm(c: Charges, node: Node, inputs: list[Ids]) -> Ids:
    """One charge for all that is normalised together, and a new space where there is a gain."""
    op, x = node.op, inputs[0]
    if not isinstance(op, LayerNorm):
        return x
    varying = np.broadcast_to(c.flatten(x, op.axes), x.shape)
    c.mark(x)
    if op.rms:
        c.see(x)
    else:
        moved = np.moveaxis(x, op.axes, range(-len(op.axes), 0))
        c.centre(moved.reshape(*moved.shape[: x.ndim - len(op.axes)], -1))
    if op.eps > 0:
        c.soft.append((np.unique(varying), f"the epsilon {op.eps:g} of {'RMS' if op.rms else 'layer'} norm"))
    if op.weight is None or not c.moves(op.weight) or op.weight.computed:
        c.pin(op.bias.sources if op.bias is not None else ())
        return np.zeros((1,) * x.ndim, dtype=np.int64)
    out = c.new(*op.weight.shape)
    c.hold(node, op.weight, "scale", out)
    if op.bias is not None:
        c.hold(node, op.bias, "shift", out)
    c.mark(out)
    return out
