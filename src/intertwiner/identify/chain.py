"""Fully connected chains: the networks that published identifiability theorems speak about.

A chain is ``x -> W_L s(... s(W_1 x + b_1) ...) + b_L`` with one nonlinearity between neighbours; a fold of scales and
shifts (batch norm in evaluation mode) into the layer before it changes nothing. Anything else, a convolution, a skip
connection, two inputs, is no chain, and no theorem for chains is cited for it.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from math import prod

import numpy as np
from jaxtyping import Float
from numpy import ndarray

from intertwiner.gauge import Pointwise
from intertwiner.network import ChannelAffine, Identity, Input, Linear, Network, Node, Output, PointwiseOp, Reshape


@dataclass(frozen=True, eq=False)
class Dense:
    """One layer ``s(W x + b)``.

    Args:
        name: Tap of the pre-activation.
        weight: W, one row per neuron.
        bias: b, zeros where there is none.
        biased: Whether the architecture has a bias here.
        pointwise: s; None after the last layer.
    """

    name: str
    weight: Float[ndarray, "n m"]
    bias: Float[ndarray, " n"]
    biased: bool
    pointwise: Pointwise | None = None

    @property
    def rows(self) -> Float[ndarray, "n m+1"]:
        """``[W | b]``."""
        return np.column_stack([self.weight, self.bias])


@dataclass(frozen=True, eq=False)
class Chain:
    """The layers, first to last; the last one has no nonlinearity."""

    layers: tuple[Dense, ...]

    @property
    def hidden(self) -> tuple[Dense, ...]:
        return self.layers[:-1]

    @property
    def widths(self) -> tuple[int, ...]:
        """Input, hidden layers, output."""
        return (self.layers[0].weight.shape[1], *(len(layer.weight) for layer in self.layers))

    @property
    def activations(self) -> frozenset[str]:
        """Names of the nonlinearities."""
        return frozenset(layer.pointwise.name for layer in self.hidden if layer.pointwise is not None)


def as_chain(network: Network) -> Chain | str:
    """The network as a chain, or why it is none.

    Example:
        >>> import torch
        >>> from intertwiner.network import trace
        >>> net = torch.nn.Sequential(torch.nn.Linear(3, 4), torch.nn.Tanh(), torch.nn.Linear(4, 2)).eval()
        >>> as_chain(trace(net, torch.zeros(2, 3))).widths
        (3, 4, 2)
    """
    nodes = [n for n in network.nodes if n.users or isinstance(n.op, Output)]
    inputs = [n for n in nodes if isinstance(n.op, Input)]
    if len(inputs) != 1 or len(nodes[-1].inputs) != 1:
        return f"{len(inputs)} inputs and {len(nodes[-1].inputs)} outputs"
    forked = next((n for n in nodes if len(n.users) > 1), None)
    if forked is not None:
        return f"{forked.tap or forked.name} is read {len(forked.users)} times: a skip connection or a branch"
    layers: list[Dense] = []
    for node in nodes:
        problem = _extend(layers, node)
        if problem:
            return problem
    if not layers:
        return "no layer with weights"
    if layers[-1].pointwise is not None:
        return f"a nonlinearity ({layers[-1].pointwise}) after the last layer"
    return Chain(tuple(layers))


def _extend(layers: list[Dense], node: Node) -> str:
    """Add a node to the chain; says why that is impossible, "" otherwise."""
    op, where = node.op, node.tap or node.name
    if isinstance(op, (Input, Output, Identity)):
        return ""
    if isinstance(op, Reshape):
        flat = len(node.shape) == 2 and node.batch_axis == 0
        return "" if flat and not layers else f"a reshape at {where} between layers"
    if isinstance(op, Linear):
        if len(node.sample_shape) != 1:
            return f"{where} is applied at {prod(node.sample_shape[:-1])} positions"
        if layers and layers[-1].pointwise is None:
            return f"{where} follows {layers[-1].name} without a nonlinearity between them"
        weight = op.weight.array
        bias = np.zeros(len(weight)) if op.bias is None else op.bias.array
        layers.append(Dense(where, weight, bias, op.bias is not None))
        return ""
    if isinstance(op, ChannelAffine) and layers and layers[-1].pointwise is None:
        last = layers[-1]
        size = len(last.bias)
        scale, shift = (np.ones(size) if p is None else np.broadcast_to(p.array, (1, size))[0]
                        for p in (op.scale, op.shift))  # fmt: skip
        shift = shift if op.shift is not None else np.zeros(size)
        layers[-1] = replace(
            last, weight=scale[:, None] * last.weight, bias=scale * last.bias + shift,
            biased=last.biased or op.shift is not None, name=where,
        )  # fmt: skip
        return ""
    if isinstance(op, PointwiseOp) and layers and layers[-1].pointwise is None:
        layers[-1] = replace(layers[-1], pointwise=op.pointwise)
        return ""
    return f"{node.op.kind} at {where}"
