"""Hom by three ways that must agree, isotypic parts, averaging; ranks by gap and modulo a prime."""

from __future__ import annotations

import tracemalloc

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from intertwiner.algebra import (
    GSet,
    Orbit,
    Representation,
    adapted_basis,
    average_between,
    average_over_group,
    average_to_representation,
    commutant_basis,
    cyclic,
    dihedral,
    hom,
    hom_by_isotypic,
    hom_by_orbits,
    irreps,
    isotypic_energy,
    isotypic_projections,
    orthogonal_form,
    parse_group,
    sign_kernels,
    subgroup_classes,
    symmetric,
    trivial_subgroup,
)
from intertwiner.algebra.split import nearest_orthogonal
from intertwiner.errors import GroupError, GroupTooLarge, NotAnAction, RankUndecided, ShapeMismatch
from intertwiner.numerics.monomial import Monomial
from intertwiner.numerics.rank import rank, rank_from_values, rank_mod_p
from intertwiner.numerics.seeds import rng

NAMES = ["C2", "C3", "C4", "D4", "S3", "S4", "C2xC2", "Q8", "C3xC3", "F20"]


@st.composite
def signed_pairs(draw: st.DrawFn) -> tuple[Representation, Representation]:
    group = parse_group(draw(st.sampled_from(NAMES)))
    out = []
    for _ in range(2):
        orbits = []
        for _ in range(draw(st.integers(1, 2))):
            h = draw(st.sampled_from(subgroup_classes(group)))
            orbits.append(Orbit(h, draw(st.sampled_from([None, *sign_kernels(h)]))))
        out.append(GSet.of(group, orbits).representation())
    return out[0], out[1]


@given(signed_pairs(), st.integers(0, 2**32))
def test_hom_three_ways(pair: tuple[Representation, Representation], seed: int) -> None:
    a, b = pair
    by_orbits, by_isotypic = hom_by_orbits(a, b), hom_by_isotypic(a, b)
    counted = sum(
        i.commutant_dimension * m * n
        for i, m, n in zip(irreps(a.group), a.isotypic().multiplicities, b.isotypic().multiplicities, strict=True)
    )
    assert by_orbits.dim == by_isotypic.dim == counted
    if a.dimension * b.dimension <= 150:
        assert hom(a.dense_images(), b.dense_images()).dim == counted
    matrix = rng(seed).standard_normal((b.dimension, a.dimension))
    expected = average_between(a, b, matrix)
    np.testing.assert_allclose(by_orbits.project(matrix), expected, atol=1e-10)
    np.testing.assert_allclose(by_isotypic.project(matrix), expected, atol=1e-10)
    for s, t in zip(a.images, b.images, strict=True):
        assert isinstance(s, Monomial)
        assert isinstance(t, Monomial)
        projected = by_orbits.project(matrix)
        np.testing.assert_allclose(t.apply(projected), s.apply_right(projected), atol=1e-12)
    x = rng(seed).standard_normal(counted)
    np.testing.assert_allclose(by_isotypic.coordinates(by_isotypic.combine(x)), x, atol=1e-10)
    np.testing.assert_allclose(by_orbits.coordinates(by_orbits.combine(x)), x, atol=1e-12)
    for basis in (by_orbits.basis, by_isotypic.basis):
        assert len(basis) == counted


@pytest.mark.parametrize("name", ["C3", "Q8", "S4", "C3xQ8", "A5"])
def test_adapted_basis(name: str) -> None:
    """Isometries that intertwine, orthogonal to each other, and together everything."""
    group = parse_group(name)
    gauge = nearest_orthogonal(rng(1).standard_normal((group.order, group.order)))
    regular = GSet.coset_space(trivial_subgroup(group)).representation()
    rho = Representation(group, tuple(gauge @ m @ gauge.T for m in regular.dense_images()))
    basis = adapted_basis(rho)
    for i, copies in basis.items():
        for u in copies:
            for m, small in zip(rho.dense_images(), i.representation.dense_images(), strict=True):
                np.testing.assert_allclose(m @ u, u @ small, atol=1e-9)
    everything = np.concatenate([u for copies in basis.values() for u in copies], axis=1)
    np.testing.assert_allclose(everything.T @ everything, np.eye(group.order), atol=1e-9)


@pytest.mark.parametrize(("name", "e"), [("S4", 1), ("C5", 2), ("Q8", 4)])
def test_commutants_are_division_algebras(name: str, e: int) -> None:
    last = irreps(parse_group(name))[-1]
    basis = commutant_basis(last)
    assert len(basis) == last.commutant_dimension == e
    for j in basis[1:]:
        np.testing.assert_allclose(j @ j, -np.eye(last.dimension), atol=1e-10)


@pytest.mark.parametrize("name", ["D4", "S4", "C3xC3", "Q8xC3", "S3xD4"])
def test_isotypic_parts(name: str) -> None:
    group = parse_group(name)
    rho = GSet.of(group, [Orbit(trivial_subgroup(group)), Orbit(subgroup_classes(group)[1], None, 2)]).representation()
    gauge = nearest_orthogonal(rng(2).standard_normal((rho.dimension, rho.dimension)))
    vectors = rng(0).standard_normal((6, rho.dimension))
    vectors[0] = 0
    parts = isotypic_projections(group, rho.images, vectors)
    np.testing.assert_allclose(parts.sum(axis=0), vectors, atol=1e-12)
    energy = isotypic_energy(group, rho.images, vectors)
    np.testing.assert_allclose(energy.sum(axis=1), [0, 1, 1, 1, 1, 1], atol=1e-12)
    expected = (parts**2).sum(axis=2).T[1:] / (vectors[1:] ** 2).sum(axis=1)[:, None]
    np.testing.assert_allclose(energy[1:], expected, atol=1e-12)
    for i, part in zip(irreps(group), parts, strict=True):
        dense = sum(i.character[g] * rho.matrix(g).dense() for g in range(group.order))  # type: ignore[union-attr]
        dense = dense * i.dimension / (i.commutant_dimension * group.order)
        np.testing.assert_allclose(part, vectors @ dense.T, atol=1e-10)
    turned = [gauge @ m @ gauge.T for m in rho.dense_images()]
    np.testing.assert_allclose(isotypic_energy(group, turned, vectors @ gauge.T), energy, atol=1e-10)


def test_isotypic_energy_of_s5xs5_in_little_memory() -> None:
    group = parse_group("S5xS5")
    s5 = group.factors[0]
    left, stay = [Monomial(s5.multiply(s, s5.elements)) for s in s5.generators], Monomial.identity(120)
    images = [Monomial.direct_sum([m, stay]) for m in left] + [Monomial.direct_sum([stay, m]) for m in left]
    planted = (s5.permutations[:, 0] == 2) - 0.2  # a coset of S4, centred: all of it in the standard irrep
    vectors = np.concatenate([np.tile(planted, (40, 1)), np.zeros((40, 120))], axis=1)
    tracemalloc.start()
    energy = isotypic_energy(group, images, vectors)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    names = [i.name for i in irreps(group)]
    np.testing.assert_allclose(energy[:, names.index("standard x trivial")], 1, atol=1e-12)
    assert peak < 150e6


def test_averaging_finds_the_representation_near() -> None:
    group = symmetric(4)
    rho = Representation.parse("S4: 2·standard + (2,2) + 3·sign")
    noise = rng(5)
    nearly = [nearest_orthogonal(m + 0.03 * noise.standard_normal(m.shape)) for m in rho.dense_images()]
    with pytest.raises(NotAnAction):
        Representation(group, tuple(nearly))
    averaged = average_to_representation(group, nearly)
    assert averaged.representation.is_isomorphic(rho)
    assert averaged.moved < 2 * averaged.defect
    assert averaged.steps <= 6
    full = group.extend(nearly, np.matmul, np.eye(rho.dimension))
    assert average_to_representation(group, full).representation.is_isomorphic(rho)


def test_averaging_leaves_a_representation_alone() -> None:
    rho = Representation.parse("D4: A2 + 2·E")
    averaged = average_to_representation(dihedral(4), rho.images)
    assert averaged.steps == 0
    for a, b in zip(averaged.representation.dense_images(), rho.dense_images(), strict=True):
        np.testing.assert_allclose(a, b, atol=1e-12)


def test_what_is_near_no_representation_is_refused() -> None:
    noise = rng(1)
    random = [nearest_orthogonal(noise.standard_normal((6, 6))) for _ in range(2)]
    with pytest.raises(NotAnAction, match="near no representation of S4"):
        average_to_representation(symmetric(4), random)
    with pytest.raises(NotAnAction, match="one matrix per generator"):
        average_to_representation(symmetric(4), [np.eye(2)] * 3)
    with pytest.raises(NotAnAction, match="square matrices"):
        average_to_representation(cyclic(2), [np.ones((2, 3))])
    with pytest.raises(NotAnAction, match="singular"):
        average_to_representation(cyclic(2), [np.zeros((2, 2))])
    with pytest.raises(NotAnAction, match="not finite"):
        average_to_representation(cyclic(2), [np.full((2, 2), np.inf)])
    with pytest.raises(GroupTooLarge, match="Average the factors"):
        average_to_representation(parse_group("S5xS5"), [np.eye(30)] * 4)


def test_orthogonal_form() -> None:
    group = symmetric(3)
    rho = Representation.parse("S3: trivial + 2·standard")
    skew = rng(3).standard_normal((5, 5)) + 3 * np.eye(5)
    other = Representation(group, tuple(skew @ m @ np.linalg.inv(skew) for m in rho.dense_images()))
    with pytest.raises(NotAnAction, match="use orthogonal_form first"):
        adapted_basis(other)
    form, root = orthogonal_form(other)
    assert form.is_isomorphic(rho)
    for m, n in zip(form.dense_images(), other.dense_images(), strict=True):
        np.testing.assert_allclose(m @ root, root @ n, atol=1e-9)
    assert hom_by_isotypic(form, form).dim == 5


def test_averages_commute_with_the_group() -> None:
    rho = Representation.parse("D4xC3: E x A + A1 x E")
    mean = average_over_group(rho, rng(0).standard_normal((4, 4)))
    for m in rho.dense_images():
        np.testing.assert_allclose(m @ mean, mean @ m, atol=1e-12)


def test_refusals_of_hom() -> None:
    a, b = Representation.trivial(cyclic(2)), Representation.trivial(cyclic(3))
    for function in (hom_by_orbits, hom_by_isotypic):
        with pytest.raises(GroupError, match="C2 and C3"):
            function(a, b)
    dense = Representation.parse("D4: E")
    with pytest.raises(NotAnAction, match="use hom_by_isotypic"):
        hom_by_orbits(dense, dense)
    with pytest.raises(ShapeMismatch, match="one matrix per generator"):
        hom([np.eye(2)], [])
    with pytest.raises(ShapeMismatch, match="square"):
        hom([np.ones((2, 3))], [np.eye(2)])
    with pytest.raises(ShapeMismatch, match="dimension 2 on vectors of length 3"):
        isotypic_energy(cyclic(2), [Monomial([1, 0])], np.ones((1, 3)))
    with pytest.raises(ShapeMismatch, match="one vector per row"):
        isotypic_energy(cyclic(2), [Monomial([1, 0])], np.ones(2))


@given(st.integers(1, 8), st.integers(1, 8), st.integers(0, 8), st.integers(0, 2**32), st.floats(-9, 9))
def test_rank_of_integers_three_ways(m: int, n: int, r: int, seed: int, scale: float) -> None:
    """By gap, by gap after scaling by any power of ten, and exactly modulo a prime."""
    random = rng(seed)
    matrix = random.integers(-9, 10, (m, r)) @ random.integers(-9, 10, (r, n))
    exact = rank_mod_p(matrix)
    assert rank(matrix.astype(float)).rank == exact
    assert rank(matrix * 10.0**scale).rank == exact
    assert exact <= min(m, n, r)


def test_rank_mod_p_is_a_lower_bound_and_takes_huge_integers() -> None:
    assert rank_mod_p(np.array([[2, 0], [0, 3]]), prime=3) == 1
    assert rank_mod_p(np.array([[2**200, 1], [1, 0]], dtype=object)) == 2


def test_undecided_rank() -> None:
    with pytest.raises(RankUndecided, match=r"widest gap .*; a decision needs 1e\+03x"):
        rank_from_values(np.logspace(0, -15, 40), where="a slope")
    assert rank_from_values(np.array([1.0, 1e-5, 1e-7]), dtype="float32", min_gap=100).rank == 1
    assert rank(np.zeros((3, 2))).rank == 0
    assert rank(np.zeros((0, 2))).rank == 0
    with pytest.raises(ShapeMismatch, match="matrix"):
        rank(np.zeros(3))
