"""An action by matrices, given on generators: is it one, and where does it take points and vectors.

Checked on a presentation (Schreier relations of every factor, commuting factors), all elements at once: monomial
images by their index arrays, dense ones on test vectors.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float, Int
from numpy import ndarray

from intertwiner.algebra.group import Group
from intertwiner.algebra.words import require_images
from intertwiner.errors import NotAnAction
from intertwiner.numerics.monomial import Monomial
from intertwiner.numerics.seeds import rng
from intertwiner.numerics.tolerance import TOLERANCE

MatrixLike = Monomial | ndarray

TEST_VECTORS = 8
"""Columns on which relations between dense matrices are checked; all of the basis where the dimension is smaller."""


def trace_points(
    group: Group, images: Sequence[Monomial], points: Int[ndarray, " r"]
) -> tuple[Int[ndarray, "r n"], Float[ndarray, "r n"]]:
    """Where every element takes some points, and with which factor: ``rho(g) e_x = factor[x, g] e_{point[x, g]}``.

    Cost:
        One gather per point and element; no matrix of an element is formed.

    Example:
        >>> from intertwiner.algebra.families import cyclic
        >>> point, factor = trace_points(cyclic(3), [Monomial([1, 2, 0])], np.array([0]))
        >>> point.tolist()
        [[0, 1, 2]]
    """
    require_images(group, images)
    tree = group.tree
    point = np.empty((len(points), group.order), dtype=np.int64)
    factor = np.ones((len(points), group.order))
    point[:, 0] = points
    if not images:
        return point, factor
    index = np.stack([m.index for m in images])
    plain = all(m.is_permutation for m in images)
    scale = np.stack([m.factor for m in images])
    for level in tree.levels[1:]:
        step, before = tree.step[level], point[:, tree.parent[level]]
        point[:, level] = index[step, before]
        if not plain:
            factor[:, level] = scale[step, before] * factor[:, tree.parent[level]]
    return point, factor


def require_action(group: Group, images: Sequence[MatrixLike], *, what: str = "the matrices") -> None:
    """Refuse images of generators that do not extend to a homomorphism.

    Args:
        images: One ``Monomial`` or square array per generator, all of one kind and size.
        what: What is checked, for the message.

    Raises:
        NotAnAction: Wrong number or shape, or a relation of the group that the images violate.

    Cost:
        Monomial: (sum of orders of factors) x dimension x generators. Dense: the same, times the dimension.
    """
    if len(images) != len(group.generators):
        raise NotAnAction(f"{what}: {group.name} has {len(group.generators)} generators, got {len(images)} images")
    if not images:
        return
    shapes = {(m.dimension, m.dimension) if isinstance(m, Monomial) else np.shape(m) for m in images}
    shape = next(iter(shapes))
    if len(shapes) > 1 or len(shape) != 2 or shape[0] != shape[1]:
        raise NotAnAction(f"{what}: expected square matrices of one size, got shapes {sorted(shapes)}")
    vectors = _test_vectors(images, shape[0])
    for factor, places in zip(group.factors, group.factor_generators, strict=True):
        _require_factor(factor, [images[i] for i in places], vectors, what)
    for i, j in group.commuting_pairs:
        _require_commuting(group, images, (i, j), vectors, what)


def _test_vectors(images: Sequence[MatrixLike], d: int) -> Float[ndarray, "d k"]:
    return np.eye(d) if d <= TEST_VECTORS else rng(0).standard_normal((d, TEST_VECTORS))


def _require_factor(group: Group, images: Sequence[MatrixLike], vectors: Float[ndarray, "d k"], what: str) -> None:
    if all(isinstance(m, Monomial) for m in images):
        monomials = [m for m in images if isinstance(m, Monomial)]
        point, factor = trace_points(group, monomials, np.arange(len(vectors)))
        for s, m in zip(group.generators, monomials, strict=True):
            after = group.multiply(s, group.elements)
            moved = m.index[point]
            weight = m.factor[point] * factor
            bad = (moved != point[:, after]) | ~_close(weight, factor[:, after])
            if bad.any():
                raise _violated(group, s, int(np.argwhere(bad)[0, 1]), what)
        return
    matrices = [m.dense() if isinstance(m, Monomial) else np.asarray(m, dtype=np.float64) for m in images]
    if not all(np.all(np.isfinite(m)) for m in matrices):
        raise NotAnAction(f"{what}: a matrix has entries that are not finite")
    tree, values = group.tree, np.empty((group.order, *vectors.shape))
    values[0] = vectors
    for level in tree.levels[1:]:
        for i, m in enumerate(matrices):
            chosen = level[tree.step[level] == i]
            values[chosen] = m @ values[tree.parent[chosen]]
    scale = max(1.0, float(np.abs(values).max()))
    for s, m in zip(group.generators, matrices, strict=True):
        error = np.abs(m @ values - values[group.multiply(s, group.elements)]).max(axis=(1, 2))
        if error.max() > TOLERANCE["float64"] * scale:
            raise _violated(group, s, int(np.argmax(error)), what, float(error.max() / scale))


def _close(a: Float[ndarray, "..."], b: Float[ndarray, "..."]) -> ndarray:
    return np.abs(a - b) <= TOLERANCE["float64"] * np.abs(b)


def _violated(group: Group, s: int, g: int, what: str, error: float | None = None) -> NotAnAction:
    size = "" if error is None else f" by {error:.1e} of the largest entry"
    names = group.element_name(s), group.element_name(g)
    return NotAnAction(
        f"{what} are no action of {group.name}: rho({names[0]}) rho({names[1]}) differs from "
        f"rho({group.element_name(int(group.multiply(s, g)))}){size}. "
        "Usual cause: images in another order than the generators, or a right action where a left one is meant."
    )


def _require_commuting(
    group: Group,
    images: Sequence[MatrixLike],
    pair: tuple[int, int],
    vectors: Float[ndarray, "d k"],
    what: str,
) -> None:
    a, b = (images[i] for i in pair)
    if isinstance(a, Monomial) and isinstance(b, Monomial):
        ab, ba = a @ b, b @ a
        same = np.array_equal(ab.index, ba.index) and bool(np.all(_close(ab.factor, ba.factor)))
    else:
        a, b = (m.dense() if isinstance(m, Monomial) else np.asarray(m) for m in (a, b))
        ab, ba = a @ (b @ vectors), b @ (a @ vectors)
        same = bool(np.abs(ab - ba).max() <= TOLERANCE["float64"] * max(1.0, np.abs(ab).max()))
    if not same:
        names = [group.generator_names[i] for i in pair]
        raise NotAnAction(
            f"{what} are no action of {group.name}: the images of {names[0]} and {names[1]} do not commute"
        )
