"""Lift and merge for any graph: the group average of a network as one network of intertwiners, by weights."""

from __future__ import annotations

from intertwiner.network import Network
from intertwiner.rewrite.assemble import Assembler, continued_rows
from intertwiner.rewrite.closing import lifted_pictures
from intertwiner.rewrite.coordinates import lifted_coordinates, written_spaces
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
        CannotRewrite: An operator or action that is not covered; the message names it.

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
    return Assembler(network, symmetry, coordinates, continued_rows).run()
