"""Isotypic parts of vectors: ``P_lambda v = (d / n) sum conj(chi(g)) rho(g) v``, factor by factor.

The projections of a product G1 x G2 are products of those of the factors, which commute: |G1| + k1 |G2| moves of
the vectors instead of |G1| |G2|, and no matrix of an element is formed.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float
from numpy import ndarray

from intertwiner.algebra.actions import MatrixLike, trace_points
from intertwiner.algebra.characters import complex_characters
from intertwiner.algebra.group import Group
from intertwiner.algebra.irreps import irreps
from intertwiner.errors import ShapeMismatch
from intertwiner.numerics.monomial import Monomial

MAX_NUMBERS = 1 << 21
"""Numbers moved at a time (16 MB): longer lists of elements are done in pieces."""


def isotypic_energy(
    group: Group, images: Sequence[MatrixLike], vectors: Float[ndarray, "count d"]
) -> Float[ndarray, "count irreps"]:
    """The share of the squared norm of each vector in each isotypic component.

    Args:
        images: An orthogonal action, one ``Monomial`` or array per generator.
        vectors: One vector per row.

    Returns:
        Shares in the order of ``irreps(group)``; they sum to 1 in every row, to 0 where the vector is zero.

    Cost:
        count x d x (sum over factors of the order times the classes of the factors before).

    Example:
        >>> from intertwiner.algebra import cyclic
        >>> isotypic_energy(cyclic(2), [Monomial([1, 0])], np.array([[1.0, 1.0], [1.0, 0.0]])).tolist()
        [[1.0, 0.0], [0.5, 0.5]]
    """
    parts = _complex_parts(group, images, vectors)
    energy = (np.abs(parts) ** 2).sum(axis=2)
    total = (np.asarray(vectors) ** 2).sum(axis=1)
    shares = energy / np.where(total == 0, 1.0, total)
    return np.stack([shares[list(i.constituents)].sum(axis=0) for i in irreps(group)], axis=1)


def isotypic_projections(
    group: Group, images: Sequence[MatrixLike], vectors: Float[ndarray, "count d"]
) -> Float[ndarray, "irreps count d"]:
    """The part of each vector in each isotypic component, in the order of ``irreps(group)``; they sum to the vectors.

    Cost:
        As ``isotypic_energy``; memory irreps x count x d.

    Example:
        >>> from intertwiner.algebra import cyclic
        >>> isotypic_projections(cyclic(2), [Monomial([1, 0])], np.array([[3.0, 1.0]])).tolist()
        [[[2.0, 2.0]], [[1.0, -1.0]]]
    """
    parts = _complex_parts(group, images, vectors)
    return np.stack([parts[list(i.constituents)].sum(axis=0).real for i in irreps(group)])


def _complex_parts(group: Group, images: Sequence[MatrixLike], vectors: Float[ndarray, "count d"]) -> ndarray:
    """Projections by complex irrep, rows as in ``complex_characters``; real arrays where all characters are real."""
    vectors = np.asarray(vectors, dtype=np.float64)
    if vectors.ndim != 2:
        raise ShapeMismatch(f"expected one vector per row, got an array of shape {vectors.shape}")
    for m in images:
        size = m.dimension if isinstance(m, Monomial) else len(m)
        if size != vectors.shape[1]:
            raise ShapeMismatch(f"an action of dimension {size} on vectors of length {vectors.shape[1]}")
    # Vectors stand in columns, so that moving one is a gather of contiguous rows.
    parts = np.ascontiguousarray(vectors.T)[None]
    for factor, places in zip(group.factors, group.factor_generators, strict=True):
        table = complex_characters(factor)
        table = np.real(table) if np.all(np.imag(table) == 0) else table
        own = [images[i] for i in places]
        # Rows of a product's table run over the first factor slowest: earlier parts stay in front.
        parts = np.concatenate([_project(factor, table, own, part) for part in parts])
    return np.swapaxes(parts, 1, 2)


def _project(
    group: Group, table: ndarray, images: Sequence[MatrixLike], vectors: Float[ndarray, "d count"]
) -> Float[ndarray, "k d count"]:
    weights = table[:, group.class_of] * (np.real(table[:, :1]) / group.order)
    out = np.zeros((len(table), vectors.size), dtype=np.result_type(table, vectors))
    chunk = max(1, MAX_NUMBERS // max(vectors.size, 1))
    if all(isinstance(m, Monomial) for m in images):
        monomials = [m for m in images if isinstance(m, Monomial)]
        point, factor = trace_points(group, monomials, np.arange(len(vectors)))
        plain = all(m.is_permutation for m in monomials)
        for start in range(0, group.order, chunk):
            some = slice(start, start + chunk)
            # (rho(g)^-1 v)[x] = v[g x] / factor: with the inverse the weight is chi(g) itself.
            moved = vectors[point[:, some].T]
            moved = moved if plain else moved / factor[:, some].T[:, :, None]
            out += weights[:, some] @ moved.reshape(len(moved), -1)
        return out.reshape(-1, *vectors.shape)
    matrices = [m.dense() if isinstance(m, Monomial) else np.asarray(m) for m in images]
    moved = np.empty((group.order, *vectors.shape), dtype=vectors.dtype)
    moved[0] = vectors
    for level in group.tree.levels[1:]:
        for i, m in enumerate(matrices):
            chosen = level[group.tree.step[level] == i]
            moved[chosen] = m @ moved[group.tree.parent[chosen]]
    return (weights.conj() @ moved.reshape(group.order, -1)).reshape(-1, *vectors.shape)
