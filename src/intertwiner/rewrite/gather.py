r"""Copies of a channel gathered into it: where a moved row nearly is another one, their mean is less noisy than either.

For a network that is equivariant up to a perturbation, the images of a row are rows of other channels up to that
perturbation and the neuron gauge. The group average takes the mean of them all; so does the twin, to first order.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float, Int
from numpy import ndarray

from intertwiner.numerics.monomial import Monomial


def gathered_rows(
    rows: Float[ndarray, "d r1"],
    moves: Sequence[Monomial],
    metric: Float[ndarray, "r1 r1"],
    *,
    chosen: Int[ndarray, " o"],
    cosine: float,
    signed: bool,
    scaled: bool,
) -> Float[ndarray, "o r1"]:
    """Chosen rows, each the mean of itself and of every row not chosen whose nearest image of all is nearly it.

    Images of a row under its own stabiliser are left to the ties.

    Args:
        rows: ``[w | b]`` of every channel.
        moves: Per element of G how it moves what w reads.
        metric: Second moments of what is read, with a constant 1, invariant under G.
        chosen: The rows that are wanted.
        cosine: An image counts where its distance in the metric is below that of two rows of equal size at this cosine.
        signed: Whether a row and its negative are one up to the gauge.
        scaled: Whether a row and its positive multiples are.

    Cost:
        ``|G| d o r`` inner products.

    Example:
        Under the exchange of two inputs the second row is the first one with noise; the third is another one:

        >>> rows, swap = np.array([[1.0, 0.0, 0.0], [0.1, 1.1, 0.0], [2.0, 2.0, 0.0]]), Monomial([1, 0])
        >>> found = gathered_rows(rows, [Monomial([0, 1]), swap], np.eye(3), chosen=np.array([0, 2]), cosine=0.95,
        ...                       signed=False, scaled=False)
        >>> found.round(2).tolist()
        [[1.05, 0.05, 0.0], [2.0, 2.0, 0.0]]
    """
    wanted = rows[chosen]
    seen = wanted @ metric
    own = (seen * wanted).sum(1)
    spread = own - (wanted @ metric[:, -1]) ** 2
    size = np.maximum(np.einsum("ij,jk,ik->i", rows, metric, rows, optimize=True), np.finfo(float).tiny)
    others = np.setdiff1d(np.arange(len(rows)), chosen)
    every = np.arange(len(others))
    least, head, copy = np.full(len(others), np.inf), np.zeros(len(others), dtype=np.int64), np.zeros_like(rows[others])
    for m in moves:
        image = np.column_stack([m.inverse().apply_right(rows[others, :-1]), rows[others, -1]])
        inner = seen @ image.T
        factor = inner / size[others] if scaled else np.where(inner < 0, -1.0, 1.0)
        factor = factor if signed else np.maximum(factor, 0.0)
        away = own[:, None] - 2 * factor * inner + factor**2 * size[others]
        away = np.divide(away, spread[:, None], out=np.full_like(away, np.inf), where=spread[:, None] > 0)
        best = away.argmin(0)
        nearer = away[best, every] < least
        least = np.where(nearer, away[best, every], least)
        head = np.where(nearer, best, head)
        copy[nearer] = (factor[best, every][:, None] * image)[nearer]
    near = least <= 2 * (1 - cosine)
    total, count = wanted.copy(), np.ones(len(chosen))
    np.add.at(total, head[near], copy[near])
    np.add.at(count, head[near], 1)
    return total / count[:, None]
