"""Intertwiners: maps T with ``rho_out(g) T = T rho_in(g)``. By null space, or by counting orbits of pairs.

Between (signed) permutation representations E_ij goes to ± E_{gi, gj}: the orbits of pairs on which the sign is
consistent are a basis, found by counting, with no rounding at all [Burnside 1911; Finzi et al. 2021, section 4].
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int
from numpy import ndarray

from intertwiner.algebra.representation import Representation
from intertwiner.algebra.words import orbit_labels
from intertwiner.errors import GroupError, NotAnAction, ShapeMismatch
from intertwiner.numerics.monomial import Monomial
from intertwiner.numerics.rank import Rank, null_space
from intertwiner.numerics.tolerance import MIN_GAP


@dataclass(frozen=True, eq=False)
class Hom:
    """A basis of the intertwiners and the rank it was called by.

    Args:
        basis: One map per row, orthonormal as vectors.
        rank: The rank of the constraints.
    """

    basis: Float[ndarray, "k d_out d_in"]
    rank: Rank

    @property
    def dim(self) -> int:
        return len(self.basis)


def hom(
    rho_in: Sequence[Float[ndarray, "d_in d_in"]],
    rho_out: Sequence[Float[ndarray, "d_out d_out"]],
    *,
    min_gap: float = MIN_GAP,
) -> Hom:
    r"""Basis of the maps that intertwine ``rho_in`` with ``rho_out``.

    Null space of the stacked constraints ``rho_out(s) T - T rho_in(s)``, one block per generator ``s`` [Finzi et
    al. 2021, section 4]. The dimension is called by the relative gap in the singular values, never by an absolute
    threshold.

    Args:
        rho_in: One matrix per generator, acting on the input space.
        rho_out: The same generators, in the same order, acting on the output space.
        min_gap: Ratio between neighbouring singular values that counts as a gap.

    Raises:
        RankUndecided: No ratio reaches ``min_gap``; the message lists the values around the cut.
        ShapeMismatch: Different numbers of generators, or matrices that are not square.

    Cost:
        ``O((d_in d_out)^3)`` time. Above about 30 x 30 use ``hom_by_orbits`` or ``hom_by_isotypic``.

    Example:
        The cyclic shift of three points commutes with exactly the circulant matrices:

        >>> shift = np.roll(np.eye(3), 1, axis=0)
        >>> hom([shift], [shift]).dim
        3
    """
    if len(rho_in) != len(rho_out) or not len(rho_in):
        raise ShapeMismatch(f"expected one matrix per generator on both sides, got {len(rho_in)} and {len(rho_out)}")
    a, b = (np.asarray(m, dtype=np.float64) for m in (rho_in, rho_out))
    if a.ndim != 3 or b.ndim != 3 or a.shape[1] != a.shape[2] or b.shape[1] != b.shape[2]:
        raise ShapeMismatch(f"expected square matrices, got {a.shape[1:]} and {b.shape[1:]}")
    d_in, d_out = a.shape[1], b.shape[1]
    rows = [np.kron(t, np.eye(d_in)) - np.kron(np.eye(d_out), s.T) for s, t in zip(a, b, strict=True)]
    basis, rank = null_space(np.concatenate(rows), min_gap=min_gap, where=f"Hom ({d_in} -> {d_out})")
    return Hom(np.ascontiguousarray(basis.T).reshape(-1, d_out, d_in), rank)


@dataclass(frozen=True, eq=False)
class HomByOrbits:
    """Intertwiners between signed permutation representations, as orbits of pairs.

    Args:
        labels: The orbit of every entry, -1 where every intertwiner vanishes.
        signs: The sign of the entry relative to the first of its orbit; 0 where the label is -1.
    """

    labels: Int[ndarray, "d_out d_in"]
    signs: Float[ndarray, "d_out d_in"]

    @property
    def dim(self) -> int:
        return int(self.labels.max(initial=-1)) + 1

    @property
    def sizes(self) -> Int[ndarray, " k"]:
        """Entries per orbit."""
        return np.bincount(self.labels[self.labels >= 0], minlength=self.dim)

    @property
    def basis(self) -> Float[ndarray, "k d_out d_in"]:
        """The orbit sums, dense; memory k x d_out x d_in."""
        return (self.labels == np.arange(self.dim)[:, None, None]) * self.signs

    def combine(self, coefficients: Float[ndarray, " k"]) -> Float[ndarray, "d_out d_in"]:
        """The intertwiner with these coefficients on the orbit sums."""
        return np.append(coefficients, 0.0)[self.labels] * self.signs

    def coordinates(self, matrix: Float[ndarray, "d_out d_in"]) -> Float[ndarray, " k"]:
        """Coefficients of the intertwiner nearest to a matrix: the mean over every orbit."""
        keep = self.labels >= 0
        return np.bincount(self.labels[keep], (matrix * self.signs)[keep], self.dim) / np.maximum(self.sizes, 1)

    def project(self, matrix: Float[ndarray, "d_out d_in"]) -> Float[ndarray, "d_out d_in"]:
        """The intertwiner nearest to a matrix: its average over the group, without a sum over the group."""
        return self.combine(self.coordinates(matrix))


def hom_by_orbits(rho_in: Representation, rho_out: Representation) -> HomByOrbits:
    """Basis of the intertwiners between two signed permutation representations, by orbits of pairs.

    Raises:
        GroupError: Representations of different groups.
        NotAnAction: One of them is not by signed permutations.

    Cost:
        d_out x d_in x generators.

    Example:
        >>> from intertwiner.algebra import cyclic
        >>> shift = Representation(cyclic(3), (Monomial([1, 2, 0]),))
        >>> hom_by_orbits(shift, shift).dim
        3
    """
    if rho_in.group != rho_out.group:
        raise GroupError(f"representations of {rho_in.group.name} and {rho_out.group.name}")
    if not (rho_in.is_signed_permutation and rho_out.is_signed_permutation):
        raise NotAnAction("orbits of pairs need signed permutations on both sides; use hom_by_isotypic")
    shape = (rho_out.dimension, rho_in.dimension)
    pairs = [
        t.kron(s)
        for s, t in zip(rho_in.images, rho_out.images, strict=True)
        if isinstance(s, Monomial) and isinstance(t, Monomial)
    ]
    n = shape[0] * shape[1]
    if all(p.is_permutation for p in pairs):
        return HomByOrbits(orbit_labels(n, [p.index for p in pairs]).reshape(shape), np.ones(shape))
    # Each entry twice, as +E and -E: an orbit that meets both carries no intertwiner.
    moves = []
    for p in pairs:
        flip = (p.factor < 0).astype(np.int64)
        moves.append(np.stack([2 * p.index + flip, 2 * p.index + 1 - flip], axis=1).ravel())
    doubled = orbit_labels(2 * n, moves).reshape(n, 2)
    smaller = doubled.min(axis=1)
    signs = np.where(doubled[:, 0] == smaller, 1.0, -1.0)
    free = doubled[:, 0] != doubled[:, 1]
    labels = np.full(n, -1)
    labels[free] = np.unique(smaller[free], return_inverse=True)[1]
    return HomByOrbits(labels.reshape(shape), np.where(free, signs, 0.0).reshape(shape))
