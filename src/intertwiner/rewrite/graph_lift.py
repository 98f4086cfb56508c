"""Lift and merge for any graph: the group average of a network as one network of intertwiners, by weights."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float
from numpy import ndarray

from intertwiner.errors import CannotRewrite
from intertwiner.network import Network, Node
from intertwiner.network import node as ir
from intertwiner.rewrite.assemble import Assembler, Write, continued_rows
from intertwiner.rewrite.closing import lifted_pictures
from intertwiner.rewrite.coordinates import lifted_coordinates, written_spaces
from intertwiner.rewrite.tied import direct_sum, tied, trivial
from intertwiner.rewrite.twin import TwinGraph
from intertwiner.symmetry import BoundSymmetry

CLOSURE_LIMIT = 4
"""A latent space may grow to this many times its width; beyond it the network is not near an equivariant one."""


def lift_graph(
    network: Network, symmetry: BoundSymmetry, *, tolerance: float, growth: float = CLOSURE_LIMIT
) -> TwinGraph:
    r"""The group average as one layerwise equivariant network.

    First every value is pictured in the coordinates of the lift (``closing``); then channels of each latent space are
    merged by everything that is written to it (``coordinates``), and the twin is written (``assemble``).

    Args:
        network: The network, affine maps folded (``fold``).
        symmetry: The task.
        tolerance: Largest relative difference of neurons that are one.
        growth: Largest width of a latent space relative to the original's.

    Raises:
        LiftTooWide: A latent space would grow beyond ``growth``.
        CannotRewrite: An operator or action that is not covered, or a layer whose action is given, that is not
            equivariant, and that a function follows: the group average is no such network. The message names it.

    Cost:
        Two closures of rows per latent space and one assembly; no data.

    Example:
        A convolution with one horizontal edge filter, a mean over the grid, and quarter turns: four filters.

        >>> import torch
        >>> from torch import nn
        >>> from intertwiner.algebra import cyclic
        >>> from intertwiner.network import trace
        >>> from intertwiner.symmetry import Symmetry, image, invariant
        >>> conv, head = nn.Conv2d(1, 1, 3, padding=1), nn.Linear(1, 1)
        >>> net = nn.Sequential(conv, nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), head).eval()
        >>> network = trace(net, torch.zeros(2, 1, 5, 5))
        >>> G = cyclic(4)
        >>> bound = Symmetry(G, on_input=image(G), on_output=invariant()).bind((1, 5, 5), (1,))
        >>> twin = lift_graph(network, bound, tolerance=1e-6)
        >>> twin.params["0.weight"].shape, twin.params["4.weight"].shape
        ((4, 1, 3, 3), (1, 4))
    """
    spaces = written_spaces(network)
    limits = {space.name: int(growth * space.dimension) for space in spaces.values()}
    by_node = {node: limits[space.name] for node, space in spaces.items()}
    pictures = lifted_pictures(network, symmetry, tolerance=tolerance, limits=by_node)
    coordinates = lifted_coordinates(network, symmetry, pictures, tolerance=tolerance, limits=limits)

    def rows(write: Write) -> tuple[Float[ndarray, "o r"], Float[ndarray, " o"]]:
        found, bias = continued_rows(write)
        whole = np.column_stack([found, bias])
        if write.coordinates.given and not _only_averages_follow(network, write.node):
            rho = write.coordinates.rho
            mean = tied(rho, direct_sum([write.read, trivial(len(rho))], len(rho))).project(whole)
            if np.abs(whole - mean).max(initial=0.0) > 100 * tolerance * np.abs(whole).max(initial=0.0):
                raise CannotRewrite(
                    f"{write.node.tap or write.node.name} is not equivariant, and what follows it is not linear: the "
                    "group average is no network of this form. Nothing was rewritten."
                )
        return found, bias

    return Assembler(network, symmetry, coordinates, rows).run()


AVERAGES = (ir.Identity, ir.Add, ir.Concat, ir.Reshape, ir.ChannelAffine, ir.Output)
"""Through these the mean over the group passes, as it does through means over positions."""


def _only_averages_follow(network: Network, node: Node) -> bool:
    """Whether what a node writes reaches the output without a function or another layer."""
    reached = {node.name}
    for other in network.nodes:
        if reached.isdisjoint(other.inputs):
            continue
        op = other.op
        means = isinstance(op, (ir.Pool, ir.Reduce)) and op.reduction in ("mean", "avg", "sum")
        if not means and not isinstance(op, AVERAGES):
            return False
        reached.add(other.name)
    return True
