r"""Equivariant least squares from second moments: the next layer on the neurons that were kept.

The least-squares map ``T = C M^+`` onto an equivariant target lies in Hom_G by itself, where the data are symmetrised
and the actions orthogonal; onto any target its Reynolds projection is the best intertwiner [theory 7]. The normal
equations are solved in float64 in coordinates of variance one, cut at the rank that the moments carry.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float
from numpy import ndarray

from intertwiner.errors import DataTooSmall
from intertwiner.numerics.tolerance import MOMENT_RANK
from intertwiner.rewrite.moments import Moments


@dataclass(frozen=True, eq=False)
class Fit:
    """A least-squares layer.

    Args:
        weight: W.
        bias: b.
        rank: Dimension of the span of the neurons over the data, the constant left out.
        condition: Largest over smallest eigenvalue of their correlation that was used.
        error: Root of the mean squared error over that of the targets about their mean.
    """

    weight: Float[ndarray, "q m"]
    bias: Float[ndarray, " q"]
    rank: int
    condition: float
    error: float

    @property
    def rows(self) -> Float[ndarray, "q m1"]:
        return np.column_stack([self.weight, self.bias])


def refit(moments: Moments, *, symmetric_copies: int = 1, cutoff: float = MOMENT_RANK) -> Fit:
    """The least-squares layer of minimum norm from u and a constant to t.

    Args:
        moments: Of the neurons with the targets.
        symmetric_copies: Into how many a sample counts, once symmetrised.
        cutoff: Eigenvalues of the correlation matrix below this share of the largest are not used.

    Raises:
        DataTooSmall: Fewer samples, symmetrised, than neurons.

    Example:
        t = 2 u + 1 on u = -1, 0, 1:

        >>> fit = refit(Moments(np.array([[2 / 3, 0], [0, 1]]), np.array([[4 / 3, 1.0]]), np.array([11 / 3]), 3))
        >>> fit.weight.round(12), fit.bias.round(12), fit.rank
        (array([[2.]]), array([1.]), 1)
    """
    width = moments.square.shape[0] - 1
    if moments.count * symmetric_copies < width + 1:
        raise DataTooSmall(
            f"{moments.count} samples ({symmetric_copies} images each) cannot determine {width} weights and a constant "
            "per output.\n  Give more data, or a smaller budget. Nothing was rewritten."
        )
    mean, target = moments.square[:-1, -1], moments.cross[:, -1]
    square = moments.square[:-1, :-1] - np.outer(mean, mean)
    cross = moments.cross[:, :-1] - np.outer(target, mean)
    spread = np.sqrt(np.maximum(np.diagonal(square), 0.0))
    scale = np.divide(1.0, spread, out=np.zeros_like(spread), where=spread > 0)
    value, vector = np.linalg.eigh(square * scale[:, None] * scale)
    used = value > cutoff * value.max(initial=0.0)
    inverse = (vector[:, used] / value[used]) @ vector[:, used].T
    weight = (cross * scale) @ inverse * scale
    variance = float((moments.target - target**2).sum())
    left = variance - float((weight * cross).sum())
    error = float(np.sqrt(max(left, 0.0) / variance)) if variance > 0 else 0.0
    condition = float(value[used].max() / value[used].min()) if used.any() else 1.0
    return Fit(weight, target - weight @ mean, int(used.sum()), condition, error)
