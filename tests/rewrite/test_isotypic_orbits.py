"""Orbits by type and their isometries: they intertwine, they are complete, and a wrong place or sign is seen."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from intertwiner.algebra import (
    Group,
    GSet,
    Orbit,
    Representation,
    alternating,
    commutant_basis,
    cyclic,
    dicyclic,
    dihedral,
    direct_product,
    irreps,
    orthogonal_form,
    quaternion,
    sign_kernels,
    subgroup_classes,
    symmetric,
)
from intertwiner.errors import NotAnAction
from intertwiner.numerics.monomial import Monomial
from intertwiner.rewrite.isotypic_orbits import OrbitLayout, division_basis, grouped_form, orbit_layout

GROUPS = (
    cyclic(1),
    cyclic(2),
    cyclic(3),
    dihedral(3),
    dihedral(4),
    symmetric(4),
    alternating(4),
    quaternion(),
    dicyclic(3),
    direct_product(cyclic(3), symmetric(3)),
    direct_product(quaternion(), cyclic(3)),
)


@st.composite
def representations(draw: st.DrawFn, *, signed: bool = True) -> Representation:
    """Up to four orbits of random types, coordinates shuffled and, where signed, flipped."""
    group = draw(st.sampled_from(GROUPS))
    classes = subgroup_classes(group)
    orbits = []
    for _ in range(draw(st.integers(1, 4))):
        h = draw(st.sampled_from(classes))
        kernels = [None, *(sign_kernels(h) if signed else ())]
        orbits.append(Orbit(h, draw(st.sampled_from(kernels)), draw(st.integers(1, 3))))
    rng = np.random.default_rng(draw(st.integers(0, 999)))
    return shuffled(GSet.of(group, orbits).representation(), rng, signed)


def shuffled(rho: Representation, rng: np.random.Generator, signed: bool) -> Representation:
    signs = rng.choice([-1.0, 1.0], rho.dimension) if signed else np.ones(rho.dimension)
    move = Monomial(rng.permutation(rho.dimension), signs)
    images = tuple(move @ m @ move.inverse() for m in rho.images)
    return Representation(rho.group, images, dimension=rho.dimension)


def whole_basis(layout: OrbitLayout) -> tuple[np.ndarray, float]:
    """All isometries side by side, and the largest violation of ``rho(g) U = U lambda(g)``."""
    rho, columns, worst = layout.representation, [], 0.0
    for block in layout.blocks:
        for irrep, found in block.isometries.items():
            q = division_basis(irrep)[0]
            for j in range(block.copies):
                for u in found:
                    whole = np.zeros((rho.dimension, irrep.dimension))
                    whole[block.places[:, j]] = u * block.signs[:, j, None]
                    columns.append(whole)
                    for a, b in zip(rho.dense_images(), irrep.representation.dense_images(), strict=True):
                        worst = max(worst, float(np.abs(a @ whole - whole @ (q.T @ b @ q)).max()))
    return np.concatenate(columns, axis=1), worst


@settings(max_examples=40)
@given(representations())
def test_isometries_intertwine_and_are_a_whole_orthonormal_basis(rho: Representation) -> None:
    layout = orbit_layout(rho)
    basis, worst = whole_basis(layout)
    assert worst < 1e-12
    assert basis.shape == (rho.dimension, rho.dimension)
    assert np.abs(basis.T @ basis - np.eye(rho.dimension)).max() < 1e-12
    assert sorted(layout.order) == list(range(rho.dimension))
    assert all(layout.multiplicity(i) == m for i, m in rho.isotypic().items())


def test_a_wrong_place_or_sign_is_seen() -> None:
    rho = shuffled(GSet.parse(dihedral(4), "2 x D4/1 + 1 x D4/C4-C2").representation(), np.random.default_rng(0), True)
    layout = orbit_layout(rho)
    assert whole_basis(layout)[1] < 1e-12
    block = next(b for b in layout.blocks if b.points == 8)
    places, signs = block.places.copy(), block.signs.copy()
    places[[0, 1], 0] = places[[1, 0], 0]
    signs[0, 1] *= -1
    for changed in ((places, block.signs), (block.places, signs)):
        wrong = type(block)(block.orbit, *changed, block.isometries)
        assert whole_basis(OrbitLayout(rho, (wrong,)))[1] > 0.1


@pytest.mark.parametrize("group", GROUPS, ids=lambda g: g.name)
def test_end_g_acts_on_the_fast_index_alone(group: Group) -> None:
    for irrep in irreps(group):
        q, units = division_basis(irrep)
        d, e = irrep.dimension, irrep.commutant_dimension
        assert units.shape == (e, e, e)
        for j, u in zip(commutant_basis(irrep), units, strict=True):
            assert np.abs(q.T @ j @ q - np.kron(np.eye(d // e), u)).max() < 1e-12


def test_orbits_of_one_type_are_found_whatever_their_base_points() -> None:
    group = dihedral(4)
    natural = GSet.parse(group, "3 x D4/Cs + 2 x D4/1").representation()
    layout = orbit_layout(shuffled(natural, np.random.default_rng(3), signed=False))
    assert [(str(b.orbit), b.copies) for b in layout.blocks] == [("1 x D4/Cs", 3), ("1 x D4/1", 2)]
    assert np.all(layout.signs == 1)


@settings(max_examples=15)
@given(representations())
def test_the_grouped_form_needs_no_gather_and_no_signs(rho: Representation) -> None:
    form, s = grouped_form(rho)
    layout = orbit_layout(form)
    assert np.array_equal(layout.order, np.arange(rho.dimension)) and np.all(layout.signs == 1)
    for new, old in zip(form.images, rho.images, strict=True):
        assert new == s @ old @ s.inverse()


def test_other_orthogonal_representations_count_as_one_orbit() -> None:
    rho = Representation.parse("D4: 2·A1 + B2 + 2·E")
    assert not rho.is_monomial
    basis, worst = whole_basis(orbit_layout(rho))
    assert basis.shape == (7, 7) and worst < 1e-12
    with pytest.raises(NotAnAction, match="grouping needs signed permutations"):
        grouped_form(rho)


def test_a_representation_that_is_not_orthogonal_is_refused_with_the_cure() -> None:
    rho = Representation(cyclic(2), (np.array([[0.0, 4.0], [0.25, 0.0]]),))
    with pytest.raises(NotAnAction, match="orthogonal_form"):
        orbit_layout(rho)
    assert whole_basis(orbit_layout(orthogonal_form(rho)[0]))[1] < 1e-12
