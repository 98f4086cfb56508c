"""G-sets and representations: what is built is found again, hidden by shuffles and signs; and what is no action."""

from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from intertwiner.algebra import (
    GSet,
    Orbit,
    Representation,
    Subgroup,
    cyclic,
    dihedral,
    irrep,
    irreps,
    parse_group,
    parse_multiplicities,
    point_stabilisers,
    sign_kernels,
    subgroup,
    subgroup_classes,
    subgroup_generated,
    symmetric,
    trivial_subgroup,
    whole_group,
)
from intertwiner.errors import GroupError, NotAnAction, WrongUse
from intertwiner.numerics.monomial import Monomial

NAMES = ["C2", "C4", "D4", "D6", "S3", "S4", "A5", "C2xC2", "Q8", "S3xC2"]


@st.composite
def gsets(draw: st.DrawFn, *, signed: bool = True) -> GSet:
    group = parse_group(draw(st.sampled_from(NAMES)))
    orbits = []
    for _ in range(draw(st.integers(1, 4))):
        h = draw(st.sampled_from(subgroup_classes(group)))
        kernels = [None, *sign_kernels(h)] if signed else [None]
        orbits.append(Orbit(h, draw(st.sampled_from(kernels)), draw(st.integers(1, 3))))
    return GSet.of(group, orbits)


def hidden(x: GSet, seed: int) -> list[Monomial]:
    """The representation of a G-set in a random order of its points, with random signs where it is signed."""
    rng = np.random.default_rng(seed)
    signs = rng.choice([-1.0, 1.0], x.degree) if x.is_signed else np.ones(x.degree)
    gauge = Monomial(rng.permutation(x.degree), signs)
    return [gauge @ m @ gauge.inverse() for m in x.representation().images if isinstance(m, Monomial)]


@given(gsets(), st.integers(0, 2**32))
def test_a_hidden_gset_is_found_and_nothing_else(x: GSet, seed: int) -> None:
    images = hidden(x, seed)
    found, labels = GSet.from_monomials(x.group, images)
    assert found.is_isomorphic(x)
    assert str(found) == str(x)
    assert len(np.unique(labels)) == sum(o.multiplicity for o in x.orbits)
    for m in images:
        assert np.array_equal(labels[m.index], labels)
    more = x + GSet.coset_space(whole_group(x.group))
    assert not more.is_isomorphic(x)


@given(gsets())
def test_gset_both_ways(x: GSet) -> None:
    assert GSet.from_json(json.loads(json.dumps(x.to_json()))) == x
    assert GSet.parse(x.group, str(x)) == x
    Representation(x.group, x.representation().images)  # checked here


@given(gsets(signed=False))
def test_burnside(x: GSet) -> None:
    """The number of orbits is the mean number of fixed points; marks of cyclic subgroups are the character."""
    character = x.representation().character
    assert character.mean() == pytest.approx(sum(o.multiplicity for o in x.orbits))
    cyclics = [subgroup_generated(x.group, [int(g)]) for g in x.group.class_representatives]
    assert np.array_equal(x.marks(cyclics), x.representation().class_character)


@given(gsets(), st.integers(0, 2**32))
def test_representation_prints_and_parses_back(x: GSet, seed: int) -> None:
    rho = Representation(x.group, tuple(hidden(x, seed)))
    again = Representation.parse(str(rho))
    assert again.is_isomorphic(rho)
    assert str(again) == str(rho)
    assert rho.isotypic().dimension == rho.dimension
    np.testing.assert_allclose(again.class_character, rho.class_character, atol=1e-9)
    assert rho.is_isomorphic(x.representation())


@given(gsets(), gsets())
def test_sum_product_dual(x: GSet, y: GSet) -> None:
    if x.group != y.group:
        y = x
    a, b = x.representation(), y.representation()
    assert np.array_equal((a + b).character, a.character + b.character)
    assert a.dual.is_isomorphic(a)  # orthogonal
    if a.dimension * b.dimension < 3000:
        assert np.array_equal((a * b).character, a.character * b.character)
    assert (x + y).representation().is_isomorphic(a + b)


def test_strings() -> None:
    group = dihedral(4)
    c2v = subgroup_generated(group, [group.element("r2"), group.element("s")])
    x = GSet.of(group, [Orbit(trivial_subgroup(group)), Orbit(c2v, None, 2)])
    assert str(x) == "2 x D4/C2v + 1 x D4/1"
    assert x.degree == 12
    signed = GSet.coset_space(c2v, subgroup_generated(group, [group.element("r2")]))
    assert str(signed) == "1 x D4/C2v-C2"
    assert str(signed.representation()) == "D4: A2 + B2"
    assert str(x.representation()) == "D4: 3·A1 + A2 + 3·B1 + B2 + 2·E"
    assert str(Representation.trivial(group, 0)) == "D4: 0"
    assert str(GSet.of(group, [])) == "0 x D4/D4"


def test_s5_on_six_points_is_exotic() -> None:
    group = symmetric(5)
    f20 = next(h for h in subgroup_classes(group) if h.name == "F20")
    x = GSet.coset_space(f20)
    assert str(x) == "1 x S5/F20"
    assert str(x.representation()) == "S5: trivial + (2,2,1)"


def test_stabilisers_of_given_points() -> None:
    group = symmetric(4)
    images = [Monomial(group.permutations[s]) for s in group.generators]
    for x, (h, k) in enumerate(point_stabilisers(group, images, np.arange(4))):
        assert k is None
        assert np.array_equal(h.elements, np.flatnonzero(group.permutations[:, x] == x))


def test_s5xs5_through_its_factors() -> None:
    group = parse_group("S5xS5")
    s5 = group.factors[0]
    left = [Monomial(s5.multiply(s, s5.elements)) for s in s5.generators]
    stay = Monomial.identity(120)
    images = [Monomial.direct_sum([m, stay]) for m in left] + [Monomial.direct_sum([stay, m]) for m in left]
    x, labels = GSet.from_monomials(group, images)
    assert str(x) == "1 x S5xS5/1xS5 + 1 x S5xS5/S5x1"
    assert np.array_equal(labels, np.repeat([0, 1], 120))
    multiplicities = Representation(group, tuple(images)).isotypic().as_dict()
    assert multiplicities["trivial x trivial"] == 2
    assert multiplicities["trivial x standard"] == multiplicities["standard x trivial"] == 4
    assert sum(m > 0 for m in multiplicities.values()) == 13
    assert "table" not in vars(group)


@pytest.mark.parametrize("where", [0, 1])
def test_one_moved_point_is_refused(where: int) -> None:
    group = dihedral(4)
    images = list(GSet.coset_space(trivial_subgroup(group)).representation().images)
    swap = Monomial([1, 0, *range(2, 8)])
    images[where] = swap @ images[where]
    with pytest.raises(NotAnAction, match="are no action of D4"):
        Representation(group, tuple(images))
    with pytest.raises(NotAnAction, match="right action"):
        GSet.from_monomials(group, images)


def test_one_flipped_sign_is_refused() -> None:
    group = cyclic(3)
    with pytest.raises(NotAnAction, match="no action of C3"):
        Representation(group, (Monomial([1, 2, 0], np.array([1.0, 1.0, -1.0])),))


@pytest.mark.parametrize("d", [2, 20])
def test_a_dense_image_off_by_little_is_refused(d: int) -> None:
    group = symmetric(3)
    rho = Representation.parse(f"S3: {d // 2}·standard")
    images = [m.copy() for m in rho.dense_images()]
    Representation(group, tuple(images))
    images[0][0, d - 1] += 1e-6
    with pytest.raises(NotAnAction, match="of the largest entry"):
        Representation(group, tuple(images))


def test_factors_must_commute() -> None:
    group = parse_group("C2xC2")
    with pytest.raises(NotAnAction, match="do not commute"):
        Representation(group, (Monomial([1, 0, 2]), Monomial([0, 2, 1])))
    a, b = Monomial([1, 0, 2]).dense(), Monomial([0, 2, 1]).dense()
    with pytest.raises(NotAnAction, match="do not commute"):
        Representation(group, (a, b))


def test_wrong_shapes_and_numbers() -> None:
    group = dihedral(4)
    with pytest.raises(NotAnAction, match="2 generators, got 1 images"):
        Representation(group, (np.eye(2),))
    with pytest.raises(NotAnAction, match="square matrices of one size"):
        Representation(group, (np.eye(2), np.eye(3)))
    with pytest.raises(NotAnAction, match="not finite"):
        Representation(group, (np.full((2, 2), np.nan), np.eye(2)))
    with pytest.raises(NotAnAction, match="give the dimension"):
        Representation(cyclic(1), ())
    with pytest.raises(NotAnAction, match="factors 1 or -1"):
        GSet.from_monomials(cyclic(2), [Monomial([1, 0], np.array([2.0, 0.5]))])
    with pytest.raises(GroupError, match="do not combine"):
        _ = Representation.trivial(cyclic(2)) + Representation.trivial(cyclic(3))
    with pytest.raises(GroupError, match="index 2 in H"):
        GSet.coset_space(whole_group(group), trivial_subgroup(group))
    with pytest.raises(GroupError, match="expected 'm x D4/H' with H among 1, C2"):
        GSet.parse(group, "2 x D4/C7")


def test_positive_scales_are_representations_too() -> None:
    rho = Representation(cyclic(2), (Monomial([1, 0], np.array([2.0, 0.5])),))
    assert str(rho) == "C2: A + B"
    assert rho.dual.images[0] == Monomial([1, 0], np.array([0.5, 2.0]))


def test_matrices_of_elements() -> None:
    group = parse_group("D4xC2")
    rho = Representation.from_multiplicities(group, {"E x B": 1})
    g, h = 3, 13
    np.testing.assert_allclose(rho.matrix(g) @ rho.matrix(h), rho.matrix(int(group.multiply(g, h))), atol=1e-14)
    assert np.allclose(rho.matrix("(e, r)"), -np.eye(2))


def test_values_and_json() -> None:
    rho = Representation.parse("D4: A2 + E")
    assert Representation.from_json(json.loads(json.dumps(rho.to_json()))) == rho
    x = GSet.coset_space(trivial_subgroup(dihedral(4))).representation()
    assert Representation.from_json(json.loads(json.dumps(x.to_json()))) == x
    assert repr(x) == "Representation(D4, dimension 8, permutation)"
    assert rho.isotypic()["E"] == 1
    with pytest.raises(GroupError, match="no irrep 'T'"):
        _ = rho.isotypic()["T"]


@pytest.mark.parametrize("text", ["A1 + B2", "D4: 2·", "D4: x·A1", "D4: A1 + "])
def test_what_does_not_parse(text: str) -> None:
    with pytest.raises(WrongUse, match="expected"):
        parse_multiplicities(text)


def test_unknown_irreps_are_refused() -> None:
    with pytest.raises(GroupError, match="D4 has the irreps A1, A2"):
        Representation.parse("D4: 2·T")


@pytest.mark.parametrize("name", ["D4", "S4", "S5xS5", "C3xC3", "Q8"])
def test_every_irrep_is_itself(name: str) -> None:
    for i in irreps(parse_group(name))[:20]:
        assert i.representation.isotypic().as_dict() == {i.name: 1}


def test_frobenius_reciprocity() -> None:
    """The multiplicity of an irrep in G/H is the dimension of its H-fixed vectors over its endomorphisms."""
    group = parse_group("S4xC2")
    for h in subgroup_classes(group):
        found = GSet.coset_space(h).representation().isotypic()
        for i, m in zip(irreps(group), found.multiplicities, strict=True):
            assert m == round(i.character[h.elements].mean()) // i.commutant_dimension


def test_any_conjugate_gives_the_same_gset() -> None:
    group = symmetric(4)
    h = next(k for k in subgroup_classes(group) if k.name == "S3")
    k = Subgroup(group, h.conjugate(5).elements)
    assert GSet.coset_space(h) == GSet.coset_space(k)
    assert irrep(group, "standard").name in str(GSet.coset_space(h).representation())
    assert subgroup(group, k.elements.tolist()) == k
