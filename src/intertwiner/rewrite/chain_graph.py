"""A chain of intertwiners as a graph of records: flatten, then linear layers with one function between them."""

from __future__ import annotations

from math import prod

import numpy as np
from numpy import ndarray

from intertwiner.network import Network, Node
from intertwiner.network import node as ir
from intertwiner.rewrite.layers import TwinChain
from intertwiner.rewrite.tied import Action, Tied, tied, trivial
from intertwiner.rewrite.twin import TwinGraph


def chain_graph(network: Network, chain: TwinChain) -> TwinGraph:
    """The twin of a network as a graph.

    Args:
        network: The original, with one input and one output.
        chain: The twin's layers, with signed permutations on the flattened input.

    Example:
        >>> import torch
        >>> from intertwiner.network import trace
        >>> from intertwiner.numerics.monomial import Monomial
        >>> from intertwiner.rewrite.layers import TwinLayer
        >>> swap, keep = (Monomial([1, 0]),), (Monomial([0]),)
        >>> layer = TwinLayer(np.ones((1, 2)), np.zeros(1), None, keep)
        >>> net = trace(torch.nn.Linear(2, 1), torch.zeros(1, 2))
        >>> chain_graph(net, TwinChain((layer,), swap)).module()(torch.tensor([[1.0, 2.0]])).tolist()
        [[3.0]]
    """
    first = next(n for n in network.nodes if isinstance(n.op, ir.Input))
    last = network.nodes[-1]
    batch, width = first.shape[0], prod(first.sample_shape)
    graph: dict[str, Node] = {first.name: first}
    actions: dict[str, Action] = {}
    ties: dict[str, Tied] = {}
    at = first.name
    if len(first.shape) != 2:
        at = "flat"
        graph[at] = _node(at, ir.Reshape((-1, width)), first.name, (batch, width), first)
    actions[at] = read = chain.rho_in
    for k, layer in enumerate(chain.layers):
        name = f"layers.{k}"
        weight = _param(f"{name}.weight", layer.weight)
        ties[weight.name] = tied(layer.rho, read)
        bias = None
        if layer.bias.any():
            bias = _param(f"{name}.bias", layer.bias)
            ties[bias.name] = tied(layer.rho, trivial(len(read)))
        shape = (batch, layer.width)
        node = f"layer_{k}"
        graph[node] = _node(node, ir.Linear(weight, bias), at, shape, first, tap=f"{name}:out")
        actions[node] = layer.rho
        at, read = node, layer.after
        if layer.pointwise is not None:
            after = f"layer_{k}_act"
            graph[after] = _node(after, ir.PointwiseOp(layer.pointwise), node, shape, first, tap=f"{name}:act")
            actions[after] = read
            at = after
    wanted = network.node(last.inputs[0]).shape
    if len(wanted) != 2:
        graph["shaped"] = _node("shaped", ir.Reshape((-1, *wanted[1:])), at, (batch, *wanted[1:]), first)
        at = "shaped"
    graph[last.name] = Node(last.name, last.op, (at,), (), None, last.tap)
    return TwinGraph(network, graph, actions, ties)


def _param(name: str, array: ndarray) -> ir.Param:
    return ir.Param(name, np.asarray(array), (name,), computed=True)


def _node(name: str, op: ir.Op, read: str, shape: tuple[int, ...], first: Node, tap: str = "") -> Node:
    return Node(name, op, (read,), shape, first.batch_axis, tap, dtype=first.dtype)
