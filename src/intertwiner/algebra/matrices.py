r"""Explicit real irreps: orthogonal matrices for the generators.

Cyclic and dihedral groups by formula, products as Kronecker products. Otherwise, on a coset space G/H in which
the irrep occurs (H cyclic or a point stabiliser, as large as possible), ``(d / e n) sum chi(g) rho(g)`` projects
to its isotypic component, and the eigenspaces of a random symmetric map that commutes with G, a bi-invariant
function ``c(t_i^-1 t_j)``, are its irreducible parts [theory.md section 7, last paragraph].
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float
from numpy import ndarray

from intertwiner.algebra.actions import MatrixLike
from intertwiner.algebra.group import Group
from intertwiner.algebra.irreps import Irrep, irreps
from intertwiner.algebra.representation import Representation
from intertwiner.algebra.split import average_over_group, eigenspaces, nearest_orthogonal
from intertwiner.algebra.subgroups import Subgroup, subgroup, subgroup_generated, trivial_subgroup
from intertwiner.errors import GroupError
from intertwiner.numerics.monomial import Monomial
from intertwiner.numerics.seeds import rng

SEED = 20240229
"""The seed of every random element here: explicit irreps are the same on every run."""


def irrep_representation(irrep: Irrep) -> Representation:
    """Orthogonal matrices of an irrep, one per generator.

    Cost:
        With N = |G| / |H| points: N |G| gathers and a few N^2 m d products, m the multiplicity of the irrep in G/H.

    Example:
        >>> from intertwiner.algebra.families import symmetric
        >>> rho = irreps(symmetric(4))[2].representation
        >>> rho.dimension, str(rho)
        (3, 'S4: standard')
    """
    group = irrep.group
    if irrep.dimension == 1:
        values = irrep.class_character[group.class_of[list(group.generators)]]
        images: Sequence[MatrixLike] = [Monomial(np.array([0]), np.array([v])) for v in values]
    elif group.parts:
        images = _product_images(irrep)
    elif group.family in ("cyclic", "dihedral"):
        images = _plane_images(irrep)
    else:
        images = _coset_images(irrep)
    return Representation(group, tuple(images), dimension=irrep.dimension)


def _plane_images(irrep: Irrep) -> list[Float[ndarray, "2 2"]]:
    group = irrep.group
    n = group.order if group.family == "cyclic" else group.order // 2
    # The frequency of E_k is its place among the two-dimensional irreps.
    plane = [i.name for i in irreps(group) if i.dimension == 2]
    angle = 2 * np.pi * (plane.index(irrep.name) + 1) / n
    c, s = irrep.character[1] / 2, np.sin(angle)
    turn = np.array([[c, -s], [s, c]])
    return [turn] if group.family == "cyclic" else [turn, np.diag([-1.0, 1.0])]


def _product_images(irrep: Irrep) -> list[Float[ndarray, "d d"]]:
    group = irrep.group
    sizes = [f.class_count for f in group.factors]
    rows = np.unravel_index(irrep.constituents[0], sizes)
    parts = [next(i for i in irreps(f) if int(r) in i.constituents) for f, r in zip(group.factors, rows, strict=True)]
    images = []
    for k, part in enumerate(parts):
        before = int(np.prod([p.dimension for p in parts[:k]]))
        after = int(np.prod([p.dimension for p in parts[k + 1 :]]))
        for m in part.representation.dense_images():
            images.append(np.kron(np.kron(np.eye(before), m), np.eye(after)))
    if len(images[0]) == irrep.dimension:
        return images
    # Complex and quaternionic factors: the Kronecker product falls apart further.
    whole = Representation(group, tuple(images), check=False)
    random = rng(SEED).standard_normal((whole.dimension, whole.dimension))
    for basis in eigenspaces(average_over_group(whole, random + random.T), irrep.dimension):
        images = [nearest_orthogonal(basis.T @ m @ basis) for m in whole.dense_images()]
        candidate = Representation(group, tuple(images), check=False)
        if np.abs(candidate.class_character - irrep.class_character).max() < 0.5:
            return images
    raise GroupError(f"{group.name}: the irrep {irrep.name} was not found in the product of its factors")


def _coset_images(irrep: Irrep) -> list[Float[ndarray, "d d"]]:
    group, d = irrep.group, irrep.dimension
    h, multiplicity = _coset_space(irrep)
    t = h.transversal
    # The projector sums chi over the elements t_i x t_j^-1, x in H, that send coset j to coset i.
    projector = np.zeros((len(t), len(t)))
    chi = irrep.character
    for x in h.elements:
        projector += chi[group.multiply(group.multiply(t, int(x))[:, None], group.inverses[t][None, :])]
    projector *= d / (irrep.commutant_dimension * group.order)
    random = rng(SEED)
    span = np.linalg.qr(projector @ random.standard_normal((len(t), multiplicity * d)))[0]
    span = np.linalg.qr(projector @ span)[0]
    if multiplicity > 1:
        commuting = _commuting(h, random)
        span = span @ eigenspaces(span.T @ commuting @ span, d)[0]
    return [nearest_orthogonal(span[h.coset_permutation(s)].T @ span) for s in group.generators]


def _commuting(h: Subgroup, random: np.random.Generator) -> Float[ndarray, "N N"]:
    """A random symmetric matrix that commutes with G on G/H: ``c(t_i^-1 t_j)``, c bi-invariant under H."""
    group, t = h.group, h.transversal
    right = np.bincount(h.coset_of, random.standard_normal(group.order)) / h.order
    both = right[h.coset_of[group.multiply(h.elements[:, None], t[None, :])]].mean(axis=0)
    c = both[h.coset_of[group.multiply(group.inverses[t][:, None], t[None, :])]]
    return (c + c.T) / 2


def _coset_space(irrep: Irrep) -> tuple[Subgroup, int]:
    """The largest candidate H with an H-fixed vector in the irrep, and how often the irrep occurs in G/H."""
    best: tuple[Subgroup, int] | None = None
    for h in _candidates(irrep.group):
        fixed = irrep.character[h.elements].mean() / irrep.commutant_dimension
        m = round(float(fixed))
        if m and (best is None or (-h.order, m) < (-best[0].order, best[1])):
            best = (h, m)
    if best is None:
        raise GroupError(f"{irrep.group.name}: the irrep {irrep.name} occurs in no coset space; check the Cayley table")
    return best


def _candidates(group: Group) -> list[Subgroup]:
    out = [trivial_subgroup(group)]
    out += [subgroup_generated(group, [int(g)]) for g in group.class_representatives[1:]]
    if group.natural_permutations is not None:
        points = group.natural_permutations
        for k in range(1, min(3, points.shape[1])):
            fixes = np.all(points[:, :k] == np.arange(k), axis=1)
            out.append(subgroup(group, np.flatnonzero(fixes)))
    return out
