"""Affine maps per channel (batch norm in evaluation mode) folded into the linear map or convolution before them."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from intertwiner.network import Network, Node
from intertwiner.network import node as ir
from intertwiner.rewrite.coordinates import channel_axis


def folded(network: Network) -> Network:
    """The network with every such map folded whose input nobody else reads; the function is the same to rounding.

    A shift does not fold forwards into a convolution that pads with zeros, so nothing is folded forwards.
    """
    graph = dict(network.graph)
    for node in network.nodes:
        if not isinstance(node.op, ir.ChannelAffine):
            continue
        before = graph[node.inputs[0]]
        if isinstance(before.op, ir.Identity):  # a node that was folded before
            continue
        if not isinstance(before.op, (ir.Linear, ir.Conv)) or len(before.users) > 1:
            continue
        if isinstance(before.op, ir.Conv) and before.op.transposed and before.op.groups > 1:
            continue
        axis = channel_axis(before)
        if any(s > 1 for p in node.op.params for k, s in enumerate(p.shape) if k != axis):
            continue
        graph[before.name] = replace(before, op=_with_affine(before, before.op, node.op))
        graph[node.name] = replace(node, op=ir.Identity("folded"))
    return replace(network, graph=graph)


def _with_affine(node: Node, op: ir.Linear | ir.Conv, affine: ir.ChannelAffine) -> ir.Linear | ir.Conv:
    count = node.shape[channel_axis(node)]
    scale = np.broadcast_to(np.ones(1) if affine.scale is None else affine.scale.array.ravel(), count)
    shift = np.broadcast_to(np.zeros(1) if affine.shift is None else affine.shift.array.ravel(), count)
    place = (1, -1) if isinstance(op, ir.Conv) and op.transposed else (-1, 1)
    shape = (*place, *(1,) * (op.weight.array.ndim - 2))
    weight = replace(op.weight, array=op.weight.array * scale.reshape(shape), places=None, computed=True)
    old = np.zeros(count) if op.bias is None else op.bias.array
    bias = ir.Param(_bias_name(op), old * scale + shift, (_bias_name(op),), computed=True)
    return replace(op, weight=weight, bias=bias)


def _bias_name(op: ir.Linear | ir.Conv) -> str:
    if op.bias is not None:
        return op.bias.name
    return f"{op.weight.name.removesuffix('.weight')}.bias"
