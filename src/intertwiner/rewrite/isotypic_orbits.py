r"""Neurons in orbits of one type, and the small matrix that takes every such orbit to irreps.

A signed permutation representation is a sum of coset spaces ``R[G/H]``, with a sign character chi of H where it is
signed. Orbits of one type share one change of basis: for v in ``{v : lambda(h) v = chi(h) v}`` and transversal t_i

    ``U[i, :] = sqrt(d / p) lambda(t_i) v``    satisfies    ``rho(g) U = U lambda(g)``,    ``U^T U = 1``,

with p points per orbit and d the dimension of lambda [Frobenius reciprocity; Serre, section 7.2]. The matrix of a
type is p x p and meets all of its orbits at once; no matrix of the size of the layer is needed. Coordinates of lambda
are those of ``division_basis``: pairs (i, r), where End_G acts on r alone.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property, lru_cache

import numpy as np
from jaxtyping import Float, Int
from numpy import ndarray

from intertwiner.algebra import (
    Irrep,
    Orbit,
    Representation,
    adapted_basis,
    commutant_basis,
    irreps,
    orbit_labels,
    point_stabilisers,
    trace_points,
)
from intertwiner.algebra.gset import canonical_pair
from intertwiner.errors import Contradiction, NotAnAction
from intertwiner.numerics.monomial import Monomial
from intertwiner.numerics.tolerance import ROUNDING


@dataclass(frozen=True, eq=False)
class OrbitBlock:
    """All orbits of one type in a representation.

    Args:
        orbit: The type; None where the representation is not by signed permutations and counts as one orbit.
        places: The coordinate of point i of orbit j.
        signs: Its sign relative to the coset space: 1 or -1.
        isometries: Per irrep that occurs in one orbit, its m isometries in the coordinates of ``division_basis``.
    """

    orbit: Orbit | None
    places: Int[ndarray, "p c"]
    signs: Float[ndarray, "p c"]
    isometries: dict[Irrep, Float[ndarray, "m p d"]]

    @property
    def points(self) -> int:
        """Points of one orbit."""
        return self.places.shape[0]

    @property
    def copies(self) -> int:
        """How many orbits."""
        return self.places.shape[1]

    @cached_property
    def invariant(self) -> Float[ndarray, "p m"]:
        """The vectors of one orbit that the group leaves alone: all ones where no sign acts, else none."""
        if self.orbit is not None:
            return np.ones((self.points, 1 if self.orbit.kernel is None else 0))
        return next((u[:, :, 0].T for i, u in self.isometries.items() if i.is_trivial), np.zeros((self.points, 0)))


@dataclass(frozen=True, eq=False)
class OrbitLayout:
    """The orbits of a representation, grouped by type.

    Args:
        representation: The representation.
        blocks: One per orbit type.

    Example:
        >>> from intertwiner.algebra import cyclic
        >>> layout = orbit_layout(Representation(cyclic(2), (Monomial([1, 0, 3, 2, 4]),)))
        >>> layout.order.tolist(), [(b.points, b.copies) for b in layout.blocks]
        ([4, 0, 2, 1, 3], [(1, 1), (2, 2)])
    """

    representation: Representation
    blocks: tuple[OrbitBlock, ...]

    @cached_property
    def order(self) -> Int[ndarray, " n"]:
        """The coordinates in grouped order: types one after the other, in each the points slow and the orbits fast."""
        return np.concatenate([b.places.ravel() for b in self.blocks] or [np.zeros(0, dtype=np.int64)])

    @cached_property
    def signs(self) -> Float[ndarray, " n"]:
        """The signs in grouped order."""
        return np.concatenate([b.signs.ravel() for b in self.blocks] or [np.zeros(0)])

    def multiplicity(self, irrep: Irrep) -> int:
        """How many copies of an irrep the representation holds."""
        return sum(len(b.isometries[irrep]) * b.copies for b in self.blocks if irrep in b.isometries)

    @cached_property
    def irreps(self) -> tuple[Irrep, ...]:
        """The irreps that occur, in the order of the group."""
        return tuple(i for i in irreps(self.representation.group) if self.multiplicity(i))


def orbit_layout(rho: Representation) -> OrbitLayout:
    """The orbits of a representation by type, with the isometries of each type.

    Types stand in the order of ``GSet.of``: large stabilisers first.

    Raises:
        NotAnAction: Neither by signed permutations nor orthogonal; see ``intertwiner.algebra.orthogonal_form``.

    Cost:
        orbits x |G|, and per type p x d^2 for every irrep that occurs in it. Other orthogonal representations count
        as one orbit and cost O(n^3).
    """
    if not rho.is_signed_permutation:
        isometries = {i: u @ division_basis(i)[0] for i, u in adapted_basis(rho).items()}
        column = np.arange(rho.dimension)[:, None]
        return OrbitLayout(rho, (OrbitBlock(None, column, np.ones(column.shape), isometries),))
    images = [m for m in rho.images if isinstance(m, Monomial)]
    labels = orbit_labels(rho.dimension, [m.index for m in images]) if images else np.arange(rho.dimension)
    first = np.unique(labels, return_index=True)[1]
    point, factor = trace_points(rho.group, images, first)
    found: dict[Orbit, list[tuple[ndarray, ndarray]]] = {}
    for k, pair in enumerate(point_stabilisers(rho.group, images, first)):
        orbit, g = _canonical(rho, Orbit(*pair))
        # The base point g x has the canonical stabiliser; t_i takes it to point i of the coset space.
        steps = rho.group.multiply(orbit.stabiliser.transversal, g)
        found.setdefault(orbit, []).append((point[k, steps], factor[k, steps] * factor[k, g]))
    blocks = []
    for orbit in sorted(found, key=_size):
        places, signs = zip(*found[orbit], strict=True)
        blocks.append(OrbitBlock(orbit, np.stack(places, axis=1), np.stack(signs, axis=1), coset_isometries(orbit)))
    return OrbitLayout(rho, tuple(blocks))


def grouped_form(rho: Representation) -> tuple[Representation, Monomial]:
    """The same representation with its coordinates grouped, and the signed permutation S of the coordinates.

    A layer on the grouped form ``S rho S^-1`` needs neither gather nor signs. Hidden neurons may be put in this order
    once and for all: rows of the layer before by S, columns of the layer after by S^-1.

    Raises:
        NotAnAction: The representation is not by signed permutations, or not orthogonal.

    Example:
        >>> from intertwiner.algebra import cyclic
        >>> swap = Representation(cyclic(2), (Monomial([1, 0, 3, 2]),))
        >>> form, s = grouped_form(swap)
        >>> form.images[0], s.apply(np.array([1.0, 2.0, 3.0, 4.0])).tolist()
        (Monomial(4: (0 2)(1 3)), [1.0, 3.0, 2.0, 4.0])
    """
    if not rho.is_signed_permutation:
        raise NotAnAction(f"{rho!r} has no orbits of coordinates: grouping needs signed permutations")
    layout = orbit_layout(rho)
    place = np.argsort(layout.order)
    s = Monomial(place, layout.signs[place])
    images = tuple(s @ m @ s.inverse() for m in rho.images if isinstance(m, Monomial))
    return Representation(rho.group, images, dimension=rho.dimension, check=False), s


def coset_isometries(orbit: Orbit) -> dict[Irrep, Float[ndarray, "m p d"]]:
    """For every irrep that occurs in one orbit, isometries ``rho(g) U = U lambda(g)``, a basis over End_G.

    Raises:
        Contradiction: The dimensions do not add up to the points of the orbit.

    Example:
        >>> from intertwiner.algebra import cyclic, trivial_subgroup
        >>> found = coset_isometries(Orbit(trivial_subgroup(cyclic(2))))
        >>> {i.name: (2**0.5 * u).round(3).ravel().tolist() for i, u in found.items()}
        {'A': [1.0, 1.0], 'B': [1.0, -1.0]}
    """
    h = orbit.stabiliser
    sign = np.ones(h.order) if orbit.kernel is None else np.where(orbit.kernel.mask[h.elements], 1.0, -1.0)
    out = {}
    for irrep in irreps(h.group):
        count = round(float((sign * irrep.character[h.elements]).mean()) / irrep.commutant_dimension)
        if count:
            vectors = _independent(irrep, _semi_invariants(irrep, orbit, count * irrep.commutant_dimension), count)
            moved = np.stack([_dense(irrep.representation.matrix(int(t))) @ vectors for t in h.transversal])
            scale = np.sqrt(irrep.dimension / h.index)
            out[irrep] = np.ascontiguousarray(scale * moved.transpose(2, 0, 1) @ division_basis(irrep)[0])
    total = sum(len(u) * i.dimension for i, u in out.items())
    if total != h.index:
        raise Contradiction(f"{orbit.name}: irreps of total dimension {total} in an orbit of {h.index} points")
    return out


@lru_cache(maxsize=1024)
def division_basis(irrep: Irrep) -> tuple[Float[ndarray, "d d"], Float[ndarray, "e e e"]]:
    r"""Coordinates in which End_G is ``1 (x) j_l``, and the matrices j_l: left multiplications of R, C or H.

    The columns are ``J_r v_i``, J the basis of ``commutant_basis``, index (i, r). Maps of m_in to m_out copies are then
    ``d / e`` times one matrix of size ``e m_out`` x ``e m_in``: multiply-adds ``e d m_in m_out``.

    Example:
        >>> from intertwiner.algebra import cyclic
        >>> q, j = division_basis(irreps(cyclic(3))[1])
        >>> q.shape, j.shape
        ((2, 2), (2, 2, 2))
    """
    d, e = irrep.dimension, irrep.commutant_dimension
    if e == 1:
        return np.eye(d), np.ones((1, 1, 1))
    j = commutant_basis(irrep)
    vectors = _independent(irrep, np.eye(d), d // e)
    basis = np.einsum("rxy,yi->xir", j, vectors).reshape(d, d)
    inside = basis.T @ j @ basis
    units = inside[:, :e, :e].copy()
    error = max(
        float(np.abs(basis.T @ basis - np.eye(d)).max()),
        max(float(np.abs(m - np.kron(np.eye(d // e), u)).max()) for m, u in zip(inside, units, strict=True)),
    )
    if error > d * ROUNDING:
        raise Contradiction(f"{irrep!r}: the commutant does not act on {e} coordinates alone (error {error:.1e})")
    return basis, units


def _semi_invariants(irrep: Irrep, orbit: Orbit, count: int) -> Float[ndarray, "d count"]:
    """Orthonormal basis of the vectors on which H acts by its sign; the unit vectors where H is trivial."""
    gens = orbit.stabiliser.generators
    if not gens:
        return np.eye(irrep.dimension)
    moved = np.zeros((irrep.dimension, irrep.dimension))
    for h in gens:
        sign = 1.0 if orbit.kernel is None or orbit.kernel.mask[h] else -1.0
        difference = _dense(irrep.representation.matrix(int(h))) - sign * np.eye(irrep.dimension)
        moved += difference.T @ difference
    # Their number is known from characters, so the eigenvalues call no rank; they are only checked.
    values, vectors = np.linalg.eigh(moved)
    if values[count - 1] > irrep.dimension * ROUNDING:
        raise Contradiction(f"{orbit.name}: {count} vectors of {irrep.name} must be fixed; left over {values[:count]}")
    return vectors[:, :count]


def _independent(irrep: Irrep, span: Float[ndarray, "d k"], count: int) -> Float[ndarray, "d count"]:
    """Unit vectors of the span, orthogonal to each other and to what End_G makes of each other."""
    if irrep.commutant_dimension == 1:
        return span[:, :count]
    j, chosen, rest = commutant_basis(irrep), [], span
    for _ in range(count):
        v = rest[:, int(np.argmax((rest**2).sum(axis=0)))]
        v = v / np.linalg.norm(v)
        chosen.append(v)
        line = (j @ v).T
        # Twice, because once leaves what rounding made of the projection.
        for _ in range(2):
            rest = rest - line @ (line.T @ rest)
    return np.stack(chosen, axis=1)


def _canonical(rho: Representation, orbit: Orbit) -> tuple[Orbit, int]:
    """The type with canonical stabiliser, and an element that conjugates the stabiliser into it."""
    h, k = orbit.stabiliser, orbit.kernel
    kernel = None if k is None else k.elements.tobytes()
    h_first, k_first = canonical_pair(rho.group, h.elements.tobytes(), kernel)
    by = h.conjugators(h_first)
    if k is not None and k_first is not None:
        same = (k.conjugate_rows(by) == k_first.elements).all(axis=1)
        by = by[same]
    return Orbit(h_first, k_first), int(by[0])


def _size(orbit: Orbit) -> tuple[object, ...]:
    k = orbit.kernel
    return (
        -orbit.stabiliser.order,
        orbit.stabiliser.elements.tolist(),
        k is not None,
        [] if k is None else k.elements.tolist(),
    )


def _dense(m: Monomial | ndarray) -> Float[ndarray, "d d"]:
    return m.dense() if isinstance(m, Monomial) else m
