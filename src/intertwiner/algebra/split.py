"""Splitting orthogonal representations: averages over the group, eigenspaces of what commutes with it."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float
from numpy import ndarray

from intertwiner.algebra.group import Group
from intertwiner.algebra.representation import Representation
from intertwiner.errors import RankUndecided
from intertwiner.numerics.monomial import Monomial
from intertwiner.numerics.tolerance import MIN_GAP


def nearest_orthogonal(matrix: Float[ndarray, "d d"]) -> Float[ndarray, "d d"]:
    """The orthogonal polar factor.

    Example:
        >>> nearest_orthogonal(np.array([[3.0]])).tolist()
        [[1.0]]
    """
    u, _, v = np.linalg.svd(matrix)
    return u @ v


def average_over_group(rho: Representation, matrix: Float[ndarray, "d d"]) -> Float[ndarray, "d d"]:
    """``mean of rho(g) M rho(g)^-1``: the projection of M to the maps that commute with the group.

    Averaged over one factor after the other, which commute.

    Cost:
        (sum of the orders of the factors) products or gathers of d x d.

    Example:
        >>> from intertwiner.algebra.families import cyclic
        >>> rho = Representation(cyclic(2), (Monomial([1, 0]),))
        >>> average_over_group(rho, np.diag([1.0, 3.0])).tolist()
        [[2.0, 0.0], [0.0, 2.0]]
    """
    return average_between(rho, rho, matrix)


def average_between(
    rho_in: Representation, rho_out: Representation, matrix: Float[ndarray, "d_out d_in"]
) -> Float[ndarray, "d_out d_in"]:
    """``mean of rho_out(g) M rho_in(g)^-1``: the projection of M to the intertwiners.

    Cost:
        As ``average_over_group``.
    """
    group, out = rho_in.group, np.array(matrix, dtype=np.float64)
    for factor, places in zip(group.factors, group.factor_generators, strict=True):
        total = np.zeros_like(out)
        for m_in, m_out in _pairs(factor, [rho_in.images[i] for i in places], [rho_out.images[i] for i in places]):
            moved = m_out.apply(out) if isinstance(m_out, Monomial) else m_out @ out
            if isinstance(m_in, Monomial):
                total += m_in.inverse().apply_right(moved)
            else:
                total += np.linalg.solve(m_in.T, moved.T).T
        out = total / factor.order
    return out


def _pairs(group: Group, images_in: Sequence, images_out: Sequence) -> list:
    def compose(a: tuple, b: tuple) -> tuple:
        return (a[0] @ b[0], a[1] @ b[1])

    first = [_identity(images[0]) if images else None for images in (images_in, images_out)]
    if first[0] is None:
        return []
    return group.extend(list(zip(images_in, images_out, strict=True)), compose, tuple(first))


def _identity(m: Monomial | ndarray) -> Monomial | ndarray:
    return Monomial.identity(m.dimension) if isinstance(m, Monomial) else np.eye(len(m))


def eigenspaces(symmetric: Float[ndarray, "n n"], d: int, *, min_gap: float = MIN_GAP) -> list[Float[ndarray, "n d"]]:
    """Eigenspaces, all of dimension d, of a symmetric matrix that commutes with a group; best separated first.

    Args:
        symmetric: Its eigenvalues come in runs of d equal ones.
        d: The size of a run.
        min_gap: Ratio between the gap around a run and the spread inside it.

    Raises:
        RankUndecided: The eigenvalues do not fall into such runs.

    Example:
        >>> [e.shape for e in eigenspaces(np.diag([1.0, 1.0, 2.0, 2.0]), 2)]
        [(4, 2), (4, 2)]
    """
    values, vectors = np.linalg.eigh((symmetric + symmetric.T) / 2)
    runs = values.reshape(-1, d)
    spread = float((runs[:, -1] - runs[:, 0]).max())
    between = runs[1:, 0] - runs[:-1, -1]
    floor = len(values) * np.finfo(np.float64).eps * max(float(np.abs(values).max()), np.finfo(np.float64).tiny)
    if len(between) and between.min() < min_gap * max(spread, floor):
        raise RankUndecided(
            f"eigenvalues do not fall into runs of {d}: spread inside {spread:.1e}, narrowest gap {between.min():.1e}. "
            "Usual cause: a representation that is not orthogonal, or is no representation."
        )
    room = np.minimum(np.concatenate([[np.inf], between]), np.concatenate([between, [np.inf]]))
    order = np.argsort(-room, kind="stable")
    return [vectors[:, i * d : (i + 1) * d] for i in order]
