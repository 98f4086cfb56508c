r"""What a norm sees of a layer: its rows up to an isometry, ``R_b = M R_a``, ``M^T M = 1`` on what is reached.

An RMS norm, or a Euclidean norm, of ``R u`` depends on ``R^T R`` alone, and ``R / |R u|`` is carried along by M; a
layer norm does the same with centred rows (theory 2).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy import ndarray

from intertwiner.transport.side import Side


@dataclass(frozen=True, eq=False)
class Isometry:
    """The map between two layers that a norm reads.

    Args:
        matrix: ``M``, from the first to the second.
        residual: Largest of the relative distance ``|R_b - M R_a|`` and of ``|M^T M - 1|`` on what is reached.
        error: Bound of ``|M^T z_b - z_a|`` over the input box, Euclidean.
    """

    matrix: ndarray
    residual: float
    error: float


def isometry(side: Side, *, centred: bool, tolerance: float) -> Isometry:
    """The isometry between the rows of two layers, as far as there is one: the residual says it.

    Cost:
        One singular value decomposition of the rows.
    """
    first, second = side.first, side.second
    if centred:
        first, second = first - first.mean(0), second - second.mean(0)
    left, values, right = np.linalg.svd(first, full_matrices=False)
    rank = int((values > tolerance * values.max(initial=0.0)).sum())
    basis = second @ (right[:rank].T / values[:rank])
    matrix = basis @ left[:, :rank].T
    gap = second - matrix @ first
    size = float(np.linalg.norm(second))
    skew = float(np.abs(basis.T @ basis - np.eye(rank)).max(initial=0.0))
    apart = float(np.linalg.norm(gap)) / size if size else 0.0
    if not size and np.any(first):
        apart = np.inf
    reach = float(np.linalg.norm(side.magnitude.of(first)))
    error = float(np.linalg.norm(side.gap(second, second - gap))) + skew * rank * reach
    return Isometry(matrix, max(apart, skew), error)


def reached(rows: ndarray, centred: bool, tolerance: float) -> ndarray:
    """The projection to what the (centred) rows span: coordinates outside are always zero, so they are left out."""
    rows = rows - rows.mean(0) if centred else rows
    left, values, _ = np.linalg.svd(rows, full_matrices=False)
    basis = left[:, values > tolerance * values.max(initial=0.0)]
    return basis @ basis.T
