"""How much every neuron of a place contributes: its spread on data times the norm of what reads it."""

from __future__ import annotations

import numpy as np
from numpy import ndarray

from intertwiner.audit.places import Place
from intertwiner.network import Network


def contributions(network: Network, place: Place, covariance: ndarray | None) -> ndarray:
    """One number per neuron; a factor that is not known is left out.

    Args:
        network: The network.
        place: The latent space's tap.
        covariance: Of the tap, where it was measured.
    """
    spread = np.ones(place.dimension) if covariance is None else np.sqrt(np.maximum(np.diagonal(covariance), 0.0))
    return spread * _outgoing(network, place)


def _outgoing(network: Network, place: Place) -> ndarray:
    """Norm of the columns that read each neuron, over all readers of its latent space."""
    total = np.zeros(place.dimension)
    space = next((s for s in network.latent_spaces if s.name == place.space and s.dimension == place.dimension), None)
    for axis in space.parameter_axes if space else ():
        if axis.role != "read":
            continue
        array = next(p.array for p in network.node(axis.node).op.params if p.name == axis.param)
        squares = np.square(np.moveaxis(array, axis.axis, 0)[axis.start : axis.stop]).reshape(
            axis.stop - axis.start, -1
        )
        shares = np.moveaxis(squares.sum(1).reshape(axis.view), axis.place, 0)
        total += shares.reshape(place.dimension, -1).sum(1)
    return np.sqrt(total) if total.any() else np.ones(place.dimension)
