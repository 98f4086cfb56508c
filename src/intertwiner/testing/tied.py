r"""Weights tied along group orbits: random elements of Hom_G, exact to the bit.

A weight array with one permutation per axis is equivariant iff it is constant on the orbits of G on its entries
(orbit counting for permutation representations). Equal entries are copies of one number, so the relations hold
without any rounding.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import scipy.sparse as sp
from numpy import ndarray
from scipy.sparse.csgraph import connected_components


def entry_orbits(moves: Sequence[Sequence[ndarray]]) -> ndarray:
    """Orbit label of every entry of an array whose axes G permutes.

    Args:
        moves: For every generator one permutation per axis.

    Returns:
        Integer labels, in the shape of the array.

    Example:
        The swap of two points acting on both axes of a 2 x 2 weight leaves two free numbers:

        >>> entry_orbits([[np.array([1, 0]), np.array([1, 0])]])
        array([[0, 1],
               [1, 0]], dtype=int32)
    """
    shape = tuple(len(p) for p in moves[0])
    here = np.arange(int(np.prod(shape)))
    images = [np.ravel_multi_index(np.ix_(*axes), shape).ravel() for axes in moves]
    links = sp.coo_array(
        (np.ones(len(here) * len(images)), (np.tile(here, len(images)), np.concatenate(images))), (len(here),) * 2
    )
    return connected_components(links, directed=False)[1].reshape(shape)


def tied(moves: Sequence[Sequence[ndarray]], rng: np.random.Generator, scale: float) -> tuple[ndarray, ndarray]:
    """A random equivariant array with entries of size ``scale``, and its orbit labels."""
    labels = entry_orbits(moves)
    return scale * rng.standard_normal(labels.max() + 1)[labels], labels
