"""What reads which latent space, in which windows: the linear maps and convolutions as rows over (channel, place)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from math import prod

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Int
from numpy import ndarray
from torch import Tensor

from intertwiner.errors import CannotRewrite
from intertwiner.network import Network, Node
from intertwiner.network import node as ir
from intertwiner.rewrite.coordinates import channel_axis, written_spaces

GIVEN = ""
"""Stands for the space of an input, which is not selected."""


@dataclass(frozen=True, eq=False)
class Reader:
    """A linear map or convolution and the value that it reads.

    Args:
        node: The map.
        space: Name of the space that it writes.
        source: The node whose value it reads, before any flattening: channels still have an axis of their own.
        axis: That axis, batch counted.
        owners: (space, first channel, number of channels) side by side along it.
    """

    node: Node
    space: str
    source: str
    axis: int
    owners: tuple[tuple[str, int, int], ...]

    @property
    def places(self) -> int:
        """Numbers that a window has per channel."""
        if isinstance(self.node.op, ir.Conv):
            return prod(self.node.op.kernel)
        return self.node.op.weight.shape[1] // sum(n for _, _, n in self.owners)  # type: ignore[attr-defined]

    @property
    def positions(self) -> int:
        """How many windows there are in one sample."""
        axis = channel_axis(self.node) - 1
        return prod(n for a, n in enumerate(self.node.sample_shape) if a != axis)


def readers(network: Network) -> tuple[Reader, ...]:
    """Every linear map and convolution of a network, in order.

    Raises:
        CannotRewrite: A value whose channels cannot be followed from where they are written; the message names it.
    """
    spaces = written_spaces(network)
    owners: dict[str, tuple[str, int, tuple[tuple[str, int, int], ...]]] = {}
    out = []
    for node in network.nodes:
        if isinstance(node.op, ir.Output):
            continue
        if isinstance(node.op, (ir.Linear, ir.Conv)):
            source, axis, owned = owners[node.inputs[0]]
            out.append(Reader(node, spaces[node.name].name, source, axis, owned))
            axis = channel_axis(node)
            owners[node.name] = node.name, axis, ((spaces[node.name].name, 0, node.shape[axis]),)
        else:
            owners[node.name] = _followed(network, node, owners)
    return tuple(out)


def _followed(
    network: Network, node: Node, owners: Mapping[str, tuple[str, int, tuple[tuple[str, int, int], ...]]]
) -> tuple[str, int, tuple[tuple[str, int, int], ...]]:
    if isinstance(node.op, ir.Input):
        axis = min(1, len(node.shape) - 1)
        return node.name, axis, ((GIVEN, 0, node.shape[axis]),)
    if not node.inputs:
        raise CannotRewrite(f"{node.tap or node.name}: a value without an input. Nothing was rewritten.")
    source, axis, owned = owners[node.inputs[0]]
    if isinstance(node.op, ir.Concat):
        parts = [part for name in node.inputs for part in owners[name][2]]
        starts = np.cumsum([0, *(n for _, _, n in parts)])
        return node.name, node.op.axis, tuple((s, int(a), n) for (s, _, n), a in zip(parts, starts, strict=False))
    if isinstance(node.op, ir.Reshape):
        return source, axis, owned
    if isinstance(node.op, ir.Identity) and network.node(node.inputs[0]).shape != network.node(source).shape:
        return source, axis, owned
    if isinstance(node.op, ir.Reduce) and not node.op.keepdim:
        axis -= sum(a < axis for a in node.op.axes)
    if isinstance(node.op, ir.Permute):
        axis = node.op.dims.index(axis)
    if network.node(source).shape != network.node(node.inputs[0]).shape and isinstance(node.op, ir.PointwiseOp):
        raise CannotRewrite(f"{node.tap or node.name}: a function of flattened channels. Nothing was rewritten.")
    return node.name, axis, owned


def windows(reader: Reader, value: Tensor, shape: tuple[int, ...], chosen: Int[ndarray, "n 2"]) -> Tensor:
    """What a reader sees of some windows, as rows over (channel, place).

    Args:
        reader: The reader; its kernel, stride and padding count.
        value: (batch, channels, *positions): any number of channels.
        shape: The positions.
        chosen: Per window its sample and its position among those of the result.

    Returns:
        (n, channels * places).
    """
    rows = torch.from_numpy(chosen[:, 0])
    op = reader.node.op
    if not isinstance(op, ir.Conv):
        if reader.positions == 1:
            return value.flatten(1)[rows]
        return value.flatten(2)[rows, :, torch.from_numpy(chosen[:, 1])]
    x = value.reshape(*value.shape[:2], *shape)
    if any(a or b for a, b in op.padding):
        flat = [v for pair in reversed(op.padding) for v in pair]
        x = F.pad(x, flat, mode="constant" if op.padding_mode == "zeros" else op.padding_mode)
    dims = len(op.stride)
    for a in range(dims):
        reach = (op.kernel[a] - 1) * op.dilation[a] + 1
        x = x.unfold(2 + a, reach, op.stride[a])
    x = x[(..., *(slice(None, None, d) for d in op.dilation))]
    at = np.unravel_index(chosen[:, 1], x.shape[2 : 2 + dims])
    picked = x.movedim(1, 1 + dims)[(rows, *(torch.from_numpy(np.asarray(i)) for i in at))]
    return picked.flatten(1)
