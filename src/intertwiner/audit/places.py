"""Places: the taps an audit reports, one per latent space, with the other names they answer to.

A latent space is judged on its pre-activation, the value that a nonlinearity reads; residual streams are judged where
they are added up. Names of the layer that writes the space and of the activation after it lead to the same place.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import cast

from intertwiner.audit.moments import Inputs, TapLayout
from intertwiner.gauge import GaugeGroup
from intertwiner.network import (
    Add,
    ChannelAffine,
    Conv,
    Identity,
    Input,
    LatentSpace,
    LayerNorm,
    Linear,
    Network,
    Node,
    PointwiseOp,
    Softmax,
)
from intertwiner.symmetry import BoundSymmetry, ElementActions, TensorAction
from intertwiner.transport import Layout

WIDEST = 4096
"""Taps with more features are not measured: their moments would not fit."""

Mask = Callable[[Inputs], object]


@dataclass(frozen=True, eq=False)
class Place:
    """One tap of an audit.

    Args:
        name: The tap.
        node: The node whose value it is.
        dimension: Features.
        grid: Sizes of the other axes.
        gauge: What the architecture allows on its features.
        space: Name of its latent space, empty where it is in none.
        aliases: Every tap name that leads here.
        layout: How the data path reads it; None where it cannot.
        unread: Why it cannot.
    """

    name: str
    node: Node
    dimension: int
    grid: tuple[int, ...]
    gauge: GaugeGroup
    space: str
    aliases: tuple[str, ...]
    layout: TapLayout | None
    unread: str

    @property
    def operator(self) -> str:
        return self.node.op.kind


def find_places(
    network: Network,
    symmetry: BoundSymmetry,
    layouts: Mapping[str, Layout],
    lost: Mapping[str, str],
    *,
    taps: Sequence[str] | None = None,
    mask: Mask | None = None,
) -> tuple[Place, ...]:
    """The places of a network, in the order of computation.

    Args:
        network: The traced network.
        symmetry: The action on its inputs.
        layouts: From ``transport.layouts``.
        lost: Why a layout is missing, by node.
        taps: Names or globs to report instead of one per latent space.
        mask: Which grid positions count, from the inputs.
    """
    nodes = network.select_taps(taps) if taps is not None else _default_nodes(network)
    spaces = {node: space for space in network.latent_spaces for node, _ in space.slots}
    return tuple(
        _place(
            network,
            symmetry,
            node,
            layouts.get(node.name),
            lost.get(node.name, ""),
            space=spaces.get(node.name),
            mask=mask,
        )
        for node in nodes
    )


def _default_nodes(network: Network) -> list[Node]:
    """What nonlinearities read, sums of values, and nothing that only moves entries."""
    chosen = []
    for node in network.nodes:
        if not node.tap or not node.source or node.batch_axis is None or isinstance(node.op, (Input, PointwiseOp)):
            continue
        readers = [network.node(user).op for user in node.users]
        read = any(isinstance(op, (PointwiseOp, Softmax, LayerNorm)) for op in readers)
        summed = isinstance(node.op, Add) and any(isinstance(op, (Linear, Conv, Add)) for op in readers)
        if (read or summed) and node.dtype.startswith(("float", "bfloat")):
            chosen.append(node)
    return chosen


def _place(
    network: Network,
    symmetry: BoundSymmetry,
    node: Node,
    layout: Layout | None,
    why: str,
    *,
    space: LatentSpace | None,
    mask: Mask | None,
) -> Place:
    shape = tuple(node.sample_shape)
    features = layout.features if layout else (0,) if shape else ()
    dimension = 1
    for axis in features:
        dimension *= shape[axis]
    grid = tuple(n for axis, n in enumerate(shape) if axis not in features)
    gauge = space.gauge if space is not None and space.dimension == dimension else GaugeGroup.permutation(dimension)
    read, unread = _read(symmetry, node, layout, gauge, why, mask)
    label = space.name if space is not None else ""
    return Place(node.tap or node.name, node, dimension, grid, gauge, label, _aliases(network, node), read, unread)


def _read(
    symmetry: BoundSymmetry, node: Node, layout: Layout | None, gauge: GaugeGroup, why: str, mask: Mask | None
) -> tuple[TapLayout | None, str]:
    if layout is None:
        return None, why or "where positions go under the group is unknown here"
    if node.batch_multiple != 1:
        return None, "the batch axis is merged with others"
    if len(layout.features) != 1:
        return None, "features are spread over several axes"
    if gauge.dimension > WIDEST:
        return None, f"{gauge.dimension} features; at most {WIDEST} are measured"
    shape = tuple(node.sample_shape)
    axis = layout.features[0]
    grid_axes = tuple(a for a in range(len(shape)) if a != axis)
    moves = ElementActions(symmetry.group, layout.grids, shape)
    return TapLayout(
        node.tap or node.name,
        axis,
        grid_axes,
        gauge,
        lambda g: cast(TensorAction, moves[g]),  # products of tensor actions are tensor actions
        mask if grid_axes else None,  # type: ignore[arg-type]
        node.batch_axis or 0,
    ), ""


def _aliases(network: Network, node: Node) -> tuple[str, ...]:
    """Tap names of the chain from the layer that writes the place to the activation after it."""
    chain = [node]
    back = node
    while isinstance(back.op, (ChannelAffine, Identity)) and back.inputs:
        back = network.node(back.inputs[0])
        if isinstance(back.op, Input) or len(back.users) > 1:
            break
        chain.append(back)
    chain += [network.node(user) for user in node.users if isinstance(network.node(user).op, (PointwiseOp, Identity))]
    return tuple(dict.fromkeys(n.tap for n in chain if n.tap))
