r"""Symmetry-adapted bases and intertwiners block by block [Serre, section 2.7].

For every real irrep lambda an orthogonal representation contains m copies; an adapted basis holds for each copy an
isometry ``U_a`` with ``rho(g) U_a = U_a lambda(g)``. Intertwiners are then ``sum x_{ba}^k U_b J_k U_a^T`` with J_k a
basis of End(lambda) = R, C or H: dimension ``sum e m_in m_out``.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from jaxtyping import Float
from numpy import ndarray

from intertwiner.algebra.hom import hom_by_orbits
from intertwiner.algebra.irreps import Irrep
from intertwiner.algebra.isotypic import isotypic_projections
from intertwiner.algebra.representation import Representation
from intertwiner.algebra.split import average_between, average_over_group, eigenspaces, nearest_orthogonal
from intertwiner.errors import GroupError, NotAnAction
from intertwiner.numerics.monomial import Monomial
from intertwiner.numerics.seeds import rng
from intertwiner.numerics.tolerance import TOLERANCE

SEED = 20240301
"""The seed of the random maps that split isotypic components."""


def adapted_basis(rho: Representation) -> dict[Irrep, Float[ndarray, "m d_rho d"]]:
    """For every irrep that occurs, one isometry per copy with ``rho(g) U = U lambda(g)``.

    Raises:
        NotAnAction: The representation is not orthogonal; see ``orthogonal_form``.

    Cost:
        O(d^3) plus one projection of d vectors (``isotypic_energy``).

    Example:
        >>> from intertwiner.algebra import cyclic
        >>> swap = Representation(cyclic(2), (Monomial([1, 0]),))
        >>> {i.name: u.shape for i, u in adapted_basis(swap).items()}
        {'A': (1, 2, 1), 'B': (1, 2, 1)}
    """
    _require_orthogonal(rho)
    random = rng(SEED)
    commuting = _random_commuting(rho, random)
    # Projections of random vectors span each component: as many as its dimension suffice, and no more are moved.
    counts = list(rho.isotypic().items())
    most = max((m * i.dimension for i, m in counts), default=0)
    parts = isotypic_projections(rho.group, rho.images, random.standard_normal((most, rho.dimension)))
    place = {i: k for k, i in enumerate(_irreps_of(rho))}
    out = {}
    for i, m in counts:
        span = np.linalg.qr(parts[place[i]][: m * i.dimension].T)[0]
        spaces = eigenspaces(span.T @ commuting @ span, i.dimension) if m > 1 else [np.eye(i.dimension)]
        out[i] = np.stack([_aligned(rho, span @ s, i, random) for s in spaces])
    return out


def _irreps_of(rho: Representation) -> tuple[Irrep, ...]:
    from intertwiner.algebra.irreps import irreps

    return irreps(rho.group)


def _random_commuting(rho: Representation, random: np.random.Generator) -> Float[ndarray, "d d"]:
    matrix = random.standard_normal((rho.dimension, rho.dimension))
    matrix = matrix + matrix.T
    if rho.is_signed_permutation:
        return hom_by_orbits(rho, rho).project(matrix)
    return average_over_group(rho, matrix)


def _aligned(
    rho: Representation, basis: Float[ndarray, "d_rho d"], irrep: Irrep, random: np.random.Generator
) -> Float[ndarray, "d_rho d"]:
    moved = [m.apply(basis) if isinstance(m, Monomial) else m @ basis for m in rho.images]
    inside = Representation(rho.group, tuple(basis.T @ m for m in moved), dimension=irrep.dimension, check=False)
    # A nonzero intertwiner between isomorphic orthogonal irreps is a multiple of an isometry (Schur).
    start = random.standard_normal((irrep.dimension, irrep.dimension))
    return basis @ nearest_orthogonal(average_between(irrep.representation, inside, start))


@lru_cache(maxsize=1024)
def commutant_basis(irrep: Irrep) -> Float[ndarray, "e d d"]:
    """A basis of End(lambda): 1, 2 or 4 orthogonal matrices, the identity first, orthogonal to each other.

    Example:
        >>> from intertwiner.algebra import cyclic, irreps
        >>> commutant_basis(irreps(cyclic(3))[1]).shape
        (2, 2, 2)
    """
    d, random = irrep.dimension, rng(SEED)
    out = [np.eye(d)]
    while len(out) < irrep.commutant_dimension:
        j = average_between(irrep.representation, irrep.representation, random.standard_normal((d, d)))
        for known in out:
            j = j - known * (known * j).sum() / d
        out.append(nearest_orthogonal(j))
    return np.stack(out)


@dataclass(frozen=True, eq=False)
class HomBlock:
    """The intertwiners through one irrep: ``m_out x m_in`` blocks of End(lambda)."""

    irrep: Irrep
    basis_in: Float[ndarray, "m_in d_in d"]
    basis_out: Float[ndarray, "m_out d_out d"]

    @property
    def dim(self) -> int:
        return self.irrep.commutant_dimension * len(self.basis_in) * len(self.basis_out)


@dataclass(frozen=True, eq=False)
class HomByIsotypic:
    """Intertwiners between orthogonal representations, one block per common irrep.

    Args:
        shape: ``(d_out, d_in)``.
        blocks: The blocks, in the order of the irreps.
    """

    shape: tuple[int, int]
    blocks: tuple[HomBlock, ...]

    @property
    def dim(self) -> int:
        return sum(b.dim for b in self.blocks)

    @property
    def basis(self) -> Float[ndarray, "k d_out d_in"]:
        """An orthonormal basis, dense; memory k x d_out x d_in."""
        return np.stack(list(self._maps())) if self.dim else np.zeros((0, *self.shape))

    def _maps(self) -> Iterator[Float[ndarray, "d_out d_in"]]:
        for b in self.blocks:
            for u_out in b.basis_out:
                for u_in in b.basis_in:
                    for j in commutant_basis(b.irrep):
                        yield u_out @ j @ u_in.T / np.sqrt(b.irrep.dimension)

    def coordinates(self, matrix: Float[ndarray, "d_out d_in"]) -> Float[ndarray, " k"]:
        """Coefficients on ``basis`` of the intertwiner nearest to a matrix."""
        out = []
        for b in self.blocks:
            inner = np.einsum("boi,ajk,oj->baik", b.basis_out, b.basis_in, matrix, optimize=True)
            values = np.einsum("baik,eik->bae", inner, commutant_basis(b.irrep)) / np.sqrt(b.irrep.dimension)
            out.append(values.ravel())
        return np.concatenate(out) if out else np.zeros(0)

    def combine(self, coefficients: Float[ndarray, " k"]) -> Float[ndarray, "d_out d_in"]:
        """The intertwiner with these coefficients on ``basis``."""
        out, start = np.zeros(self.shape), 0
        for b in self.blocks:
            size = (len(b.basis_out), len(b.basis_in), b.irrep.commutant_dimension)
            x = np.asarray(coefficients[start : start + b.dim]).reshape(size) / np.sqrt(b.irrep.dimension)
            inner = np.einsum("bae,eik->baik", x, commutant_basis(b.irrep))
            out += np.einsum("boi,ajk,baik->oj", b.basis_out, b.basis_in, inner, optimize=True)
            start += b.dim
        return out

    def project(self, matrix: Float[ndarray, "d_out d_in"]) -> Float[ndarray, "d_out d_in"]:
        """The intertwiner nearest to a matrix: its average over the group."""
        return self.combine(self.coordinates(matrix))


def hom_by_isotypic(rho_in: Representation, rho_out: Representation) -> HomByIsotypic:
    """Basis of the intertwiners between two orthogonal representations, by isotypic blocks.

    Raises:
        GroupError: Representations of different groups.
        NotAnAction: One of them is not orthogonal; see ``orthogonal_form``.

    Cost:
        O(d^3), d the larger dimension.

    Example:
        >>> from intertwiner.algebra import cyclic
        >>> shift = Representation(cyclic(3), (Monomial([1, 2, 0]),))
        >>> hom_by_isotypic(shift, shift).dim
        3
    """
    if rho_in.group != rho_out.group:
        raise GroupError(f"representations of {rho_in.group.name} and {rho_out.group.name}")
    bases_in = adapted_basis(rho_in)
    bases_out = bases_in if rho_out is rho_in else adapted_basis(rho_out)
    blocks = [HomBlock(i, bases_in[i], bases_out[i]) for i in bases_in if i in bases_out]
    return HomByIsotypic((rho_out.dimension, rho_in.dimension), tuple(blocks))


def orthogonal_form(rho: Representation) -> tuple[Representation, Float[ndarray, "d d"]]:
    """An equivalent orthogonal representation ``S rho(g) S^-1``, and S, the root of an invariant inner product.

    Cost:
        |G| products of d x d.

    Example:
        >>> from intertwiner.algebra import cyclic
        >>> rho = Representation(cyclic(2), (np.array([[0.0, 4.0], [0.25, 0.0]]),))
        >>> form, s = orthogonal_form(rho)
        >>> bool(np.allclose(form.images[0] @ form.images[0].T, np.eye(2)))
        True
    """
    # Invariant Gram matrix: rho^T M rho = M, that is M intertwines rho with its dual.
    gram = average_between(rho, rho.dual, np.eye(rho.dimension))
    values, vectors = np.linalg.eigh((gram + gram.T) / 2)
    root = (vectors * np.sqrt(values)) @ vectors.T
    inverse = (vectors / np.sqrt(values)) @ vectors.T
    images = tuple(nearest_orthogonal(root @ m @ inverse) for m in rho.dense_images())
    return Representation(rho.group, images, dimension=rho.dimension, check=False), root


def _require_orthogonal(rho: Representation) -> None:
    if rho.is_signed_permutation:
        return
    for m in rho.dense_images():
        error = float(np.abs(m.T @ m - np.eye(len(m))).max())
        if error > TOLERANCE["float64"]:
            raise NotAnAction(
                f"the representation is not orthogonal (|M^T M - 1| = {error:.1e}): use orthogonal_form first"
            )
