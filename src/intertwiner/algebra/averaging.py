r"""From a nearly homomorphic orthogonal map to a representation near it.

One step replaces ``rho(g)`` by the orthogonal part of ``mean over h of rho(g h) rho(h)^-1``; the defect, the largest
``|rho(g h) - rho(g) rho(h)|``, is squared by every step [Grove, Karcher, Ruh 1974, section 3; Kazhdan 1982].
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float
from numpy import ndarray

from intertwiner.algebra.actions import MatrixLike
from intertwiner.algebra.group import Group
from intertwiner.algebra.representation import Representation
from intertwiner.errors import GroupTooLarge, NotAnAction
from intertwiner.numerics.monomial import Monomial
from intertwiner.numerics.tolerance import ROUNDING

MAX_STEPS = 30
"""Steps before giving up; a defect of .3 needs five."""

MAX_WORK = 2e12
"""Multiply-adds of one step, |G|^2 d^3, beyond which the average is refused."""


@dataclass(frozen=True, eq=False)
class Averaged:
    """A representation made from a map that nearly is one.

    Args:
        representation: The representation.
        defect: Largest ``|rho(s h) - rho(s) rho(h)|``, s a generator, of what came in (after making it orthogonal).
        moved: Largest distance (spectral norm) between an image of a generator before and after.
        steps: Number of steps.
    """

    representation: Representation
    defect: float
    moved: float
    steps: int


def average_to_representation(group: Group, matrices: Sequence[MatrixLike]) -> Averaged:
    """The representation that a nearly homomorphic orthogonal map converges to.

    Args:
        matrices: One square matrix per element, or one per generator (then carried along the spanning tree).

    Raises:
        NotAnAction: The defect does not shrink: the map is near no representation, or near several.
        GroupTooLarge: More than 2e12 multiply-adds per step.

    Cost:
        |G|^2 d^3 per step, usually three to five steps.

    Example:
        >>> from intertwiner.algebra import cyclic
        >>> c, s = np.cos(1.58), np.sin(1.58)
        >>> nearly = average_to_representation(cyclic(4), [np.array([[c, -s], [s, c]])])
        >>> np.round(nearly.representation.images[0], 6).tolist()
        [[0.0, -1.0], [1.0, 0.0]]
    """
    dense = _dense(group, matrices)
    d = len(dense[0])
    if group.order**2 * d**3 > MAX_WORK:
        raise GroupTooLarge(
            f"averaging {group.order} matrices of size {d} costs {group.order**2 * d**3:.0e} multiply-adds a step, "
            f"above {MAX_WORK:.0e}. Average the factors of a product one by one, or cut to the dimensions that move."
        )
    if len(dense) == len(group.generators):
        dense = group.extend(dense, np.matmul, np.eye(d))
    rho = _orthogonal_part(np.stack(dense))
    before = rho[list(group.generators)]
    first = defect = _defect(group, rho)
    steps = 0
    while defect > ROUNDING * d:
        nxt = _step(group, rho)
        after = _defect(group, nxt)
        if after > defect / 2:
            # At the level of rounding the defect stops shrinking; anywhere above, there is no limit to trust.
            if defect > ROUNDING * 100 * d:
                raise NotAnAction(
                    f"the matrices are near no representation of {group.name}: defect {first:.2g}, after {steps} steps "
                    f"{defect:.2g}. A defect below about .3 converges. Nothing was averaged."
                )
            break
        rho, defect, steps = nxt, after, steps + 1
        if steps == MAX_STEPS:
            raise NotAnAction(f"no convergence to a representation of {group.name} in {MAX_STEPS} steps ({defect:.2g})")
    images = rho[list(group.generators)]
    moved = max((float(np.linalg.norm(a - b, 2)) for a, b in zip(images, before, strict=True)), default=0.0)
    return Averaged(Representation(group, tuple(images), dimension=d), first, moved, steps)


def _dense(group: Group, matrices: Sequence[MatrixLike]) -> list[Float[ndarray, "d d"]]:
    dense = [m.dense() if isinstance(m, Monomial) else np.asarray(m, dtype=np.float64) for m in matrices]
    shapes = {m.shape for m in dense}
    if len(shapes) != 1 or len(next(iter(shapes))) != 2 or len(set(next(iter(shapes)))) != 1:
        raise NotAnAction(f"expected square matrices of one size, got shapes {sorted(shapes)}")
    if not all(np.all(np.isfinite(m)) for m in dense):
        raise NotAnAction("a matrix has entries that are not finite")
    if len(dense) not in (len(group.generators), group.order):
        raise NotAnAction(
            f"expected one matrix per generator ({len(group.generators)}) or per element ({group.order}) "
            f"of {group.name}, got {len(dense)}"
        )
    return dense


def _orthogonal_part(matrices: Float[ndarray, "n d d"]) -> Float[ndarray, "n d d"]:
    u, s, v = np.linalg.svd(matrices)
    if s.min() < ROUNDING * s.max():
        raise NotAnAction("a matrix is singular: it has no orthogonal part")
    return u @ v


def _step(group: Group, rho: Float[ndarray, "n d d"]) -> Float[ndarray, "n d d"]:
    n, d = len(rho), rho.shape[1]
    # Transposed and stacked once, so that every g costs one product of d x (n d) by (n d) x d.
    right = rho.transpose(0, 2, 1).reshape(n * d, d)
    means = np.empty_like(rho)
    for g in range(n):
        left = rho[group.multiply(g, group.elements)].transpose(1, 0, 2).reshape(d, n * d)
        means[g] = left @ right / n
    return _orthogonal_part(means)


def _defect(group: Group, rho: Float[ndarray, "n d d"]) -> float:
    worst = 0.0
    for s in group.generators:
        difference = rho[group.multiply(s, group.elements)] - rho[s] @ rho
        worst = max(worst, float(np.linalg.norm(difference, ord=2, axis=(1, 2)).max()))
    return worst
