"""Groups: the families by their relations, products without a table, and what is refused."""

from __future__ import annotations

import json
from math import factorial

import igraph
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from intertwiner.algebra import (
    Group,
    alternating,
    complex_characters,
    cyclic,
    dicyclic,
    dihedral,
    direct_product,
    frobenius,
    from_matrices,
    from_permutations,
    from_table,
    klein,
    parse_group,
    quaternion,
    symmetric,
)
from intertwiner.algebra.characters import characters_by_class_algebra
from intertwiner.errors import GroupError, GroupTooLarge

NAMES = ["C1", "C5", "D1", "D2", "D4", "S1", "S2", "S4", "A3", "A5", "Q8", "Dic3", "F20", "C2xC2", "S3xC2", "S4xC2xC3"]

groups = st.sampled_from(NAMES).map(parse_group)


@pytest.mark.parametrize("name", NAMES)
def test_every_family_is_a_group(name: str) -> None:
    """Its table passes the checks that a foreign table must pass, with an exhaustive look at associativity."""
    group = parse_group(name)
    again = from_table(group.table, generators=group.generators)
    assert again.order == group.order
    if group.order <= 60:
        a, b, c = np.ix_(*[group.elements] * 3)
        left = group.multiply(group.multiply(a, b), c)
        assert np.array_equal(left, group.multiply(a, group.multiply(b, c)))


@given(groups, st.data())
def test_arithmetic(group: Group, data: st.DataObject) -> None:
    element = st.integers(0, group.order - 1)
    g, h = data.draw(element), data.draw(element)
    assert group.multiply(g, group.inverse(g)) == 0 == group.multiply(group.inverse(g), g)
    assert group.inverse(group.multiply(g, h)) == group.multiply(group.inverse(h), group.inverse(g))
    assert group.power(g, group.element_order(g)) == 0
    assert all(group.power(g, k) != 0 for k in range(1, group.element_order(g)))
    assert group.power(g, -2) == group.inverse(group.multiply(g, g))
    assert group.element(group.element_names[g]) == g
    assert group.join(group.split(g)) == g
    assert group.class_of[group.conjugate(h, g)] == group.class_of[g]


def test_elements_of_families() -> None:
    d5 = dihedral(5)
    r, s = d5.element("r"), d5.element("s")
    assert (r, s) == d5.generators
    assert d5.element("r3s") == 3 + 5 == d5.multiply(d5.power(r, 3), s)
    assert d5.multiply(s, d5.multiply(r, s)) == d5.inverse(r)
    q8 = quaternion()
    i, j, k = (q8.element(x) for x in "ijk")
    assert q8.multiply(i, j) == k
    assert q8.multiply(j, i) == q8.element("-k")
    assert q8.multiply(i, i) == q8.multiply(j, j) == q8.multiply(k, k) == q8.element("-e")
    assert symmetric(4).permutations[symmetric(4).element("(0 1 2)")].tolist() == [1, 2, 0, 3]
    assert [dicyclic(3).order, frobenius(7, 3).order, klein().order] == [12, 21, 4]


@pytest.mark.parametrize("group", [cyclic(1), cyclic(2), cyclic(5), dihedral(1), dihedral(2), dihedral(4), dihedral(7)])
def test_natural_matrices_are_a_homomorphism(group: Group) -> None:
    m = group.matrices
    assert m is not None
    g, h = np.ix_(group.elements, group.elements)
    np.testing.assert_allclose(m[g] @ m[h], m[group.multiply(g, h)], atol=1e-14)


def test_d4_matrices_are_exact_and_turn_counterclockwise() -> None:
    group = dihedral(4)
    assert group.matrices is not None
    assert group.matrices[group.element("r")].tolist() == [[0, -1], [1, 0]]
    assert group.matrices[group.element("s")].tolist() == [[-1, 0], [0, 1]]


@pytest.mark.parametrize(
    "group", [cyclic(6), dihedral(5), symmetric(4), alternating(5), frobenius(5, 4), parse_group("S3xC4")]
)
def test_natural_permutations_are_a_homomorphism(group: Group) -> None:
    p = group.permutations
    assert p is not None
    for g in group.generators:
        for h in range(group.order):
            assert np.array_equal(p[g][p[h]], p[group.multiply(g, h)])


def test_a_product_of_14400_elements_has_no_table() -> None:
    group = parse_group("S5xS5")
    assert group.order == 14_400
    assert group.class_count == 49
    assert sum(group.class_sizes) == 14_400
    a, b = group.join((7, 100)), group.join((55, 3))
    s5 = symmetric(5)
    assert group.multiply(a, b) == group.join((s5.multiply(7, 55), s5.multiply(100, 3)))
    assert group.element(group.element_name(int(a))) == a
    with pytest.raises(GroupTooLarge, match="14400 elements; a Cayley table is built up to 5000"):
        _ = group.table
    assert "table" not in vars(group)


def test_a_product_agrees_with_its_own_table() -> None:
    group = parse_group("D4xS3")
    flat = from_table(group.table, generators=group.generators)
    assert np.array_equal(group.class_of, flat.class_of)
    assert np.array_equal(group.element_orders, flat.element_orders)
    assert np.array_equal(group.inverses, flat.inverses)
    one, other = (np.sort_complex(np.round(complex_characters(g), 9).ravel()) for g in (group, flat))
    np.testing.assert_allclose(one, other)


def test_products_are_flattened() -> None:
    assert direct_product(klein(), cyclic(3)) == parse_group("C2^2xC3")
    assert direct_product() == cyclic(1)
    assert direct_product(dihedral(4)) is dihedral(4)


def test_values() -> None:
    assert dihedral(4) == parse_group("D4")
    assert hash(from_table(cyclic(3).table, name="X")) == hash(from_table(cyclic(3).table, name="X"))
    assert symmetric(3) != dihedral(3)
    assert str(dihedral(4)) == "D4"
    assert repr(symmetric(5)) == "Group(S5, order 120)"


@pytest.mark.parametrize("name", NAMES)
def test_json_both_ways(name: str) -> None:
    group = parse_group(name)
    again = Group.from_json(json.loads(json.dumps(group.to_json())))
    assert again == group
    assert again.element_names == group.element_names


def test_extend_and_is_homomorphism() -> None:
    group = parse_group("D4xC3")
    images = [(1, 0), (0, 0), (0, 1)]  # r -> 1 mod 4 is no homomorphism of D4, since s r s = r^-1

    def compose(a: tuple[int, int], b: tuple[int, int]) -> tuple[int, int]:
        return ((a[0] + b[0]) % 4, (a[1] + b[1]) % 3)

    assert not group.is_homomorphism(images, compose, (0, 0), tuple.__eq__)
    images[0] = (2, 0)
    assert group.is_homomorphism(images, compose, (0, 0), tuple.__eq__)
    full = group.extend(images, compose, (0, 0))
    for g in range(0, group.order, 5):
        for h in range(group.order):
            assert compose(full[g], full[h]) == full[int(group.multiply(g, h))]
    with pytest.raises(GroupError, match="has 3 generators"):
        group.extend([(0, 0)], compose, (0, 0))


def test_commuting_factors_are_part_of_the_check() -> None:
    group, s3 = parse_group("C2xC2"), symmetric(3)
    swaps = [s3.element("(0 1)"), s3.element("(1 2)")]
    assert not group.is_homomorphism(swaps, s3.multiply, 0, lambda a, b: bool(a == b))


@pytest.mark.parametrize("name", ["Petersen", "Cubical", "Octahedral", "Coxeter"])
def test_automorphism_groups_of_graphs(name: str) -> None:
    """igraph counts the automorphisms by another algorithm (BLISS)."""
    graph = igraph.Graph.Famous(name)
    group = from_permutations(graph.automorphism_group())
    assert group.order == graph.count_automorphisms()


def test_petersen_has_the_characters_of_s5() -> None:
    group = from_permutations(igraph.Graph.Famous("Petersen").automorphism_group())
    ours, s5 = characters_by_class_algebra(group), complex_characters(symmetric(5))
    assert sorted(map(sorted, ours.real.tolist())) == sorted(map(sorted, s5.real.tolist()))


def test_from_matrices_finds_the_group() -> None:
    c, s = np.cos(2 * np.pi / 7), np.sin(2 * np.pi / 7)
    group = from_matrices([np.array([[c, -s], [s, c]]), np.diag([1.0, -1.0])], name="D7 by matrices")
    assert group.order == 14
    assert sorted(group.element_orders) == sorted(dihedral(7).element_orders)
    assert group.matrices is not None
    for g in group.generators:
        products = group.matrices[g] @ group.matrices
        np.testing.assert_allclose(products, group.matrices[group.multiply(g, group.elements)], atol=1e-12)
    rotations = [np.array([[0.0, -1, 0], [1, 0, 0], [0, 0, 1]]), np.array([[0.0, 0, 1], [1, 0, 0], [0, 1, 0]])]
    assert from_matrices(rotations).order == factorial(4)


LOOP = [[0, 1, 2, 3, 4], [1, 0, 3, 4, 2], [2, 4, 0, 1, 3], [3, 2, 4, 0, 1], [4, 3, 1, 2, 0]]


@pytest.mark.parametrize(
    ("table", "message"),
    [
        (LOOP, "not associative"),
        ([[0, 1], [1, 1]], "no Latin square: row 1"),
        ([[0, 1, 2], [1, 0, 2], [2, 1, 0]], "no Latin square"),
        ([[1, 0], [0, 1]], "the identity must be element 0, here it is 1"),
        ([[0, 2, 1], [1, 0, 2], [2, 1, 0]], "no identity"),
        ([[0, 1], [1, 2]], r"entries must lie in 0\.\.1"),
        ([[0, 1, 2], [1, 2, 0]], "square array of integers"),
        ([[0.0, 1.0], [1.0, 0.0]], "square array of integers"),
    ],
)
def test_bad_tables(table: list[list[int]], message: str) -> None:
    with pytest.raises(GroupError, match=message):
        from_table(np.array(table))


def test_bad_generators_and_names() -> None:
    with pytest.raises(GroupError, match="generate 2 of 4 elements"):
        from_table(cyclic(4).table, generators=[2])
    with pytest.raises(GroupError, match=r"generators must lie in 0\.\.3"):
        from_table(cyclic(4).table, generators=[4])
    with pytest.raises(GroupError, match="expected 4 different element names"):
        from_table(cyclic(4).table, element_names=["e", "a", "a", "b"])
    with pytest.raises(GroupError, match="no element 'q'"):
        dihedral(4).element("q")


@pytest.mark.parametrize("text", ["", "X4", "D", "D4xx", "S5 + S5", "F6x", "C2^0", "F8", "4", "x"])
def test_unknown_names(text: str) -> None:
    with pytest.raises(GroupError, match="names no group"):
        parse_group(text)


def test_parse() -> None:
    assert parse_group(" S5 x S5 ").name == "S5xS5"
    assert parse_group("V4") == klein()
    assert parse_group("F42").order == 42
    assert [parse_group(n).order for n in ("C2^3", "Dic2", "Z6", "A4xC2")] == [8, 8, 6, 24]


@pytest.mark.parametrize("text", ["C5001", "D2501", "S7", "A8", "Dic1251"])
def test_too_large(text: str) -> None:
    with pytest.raises(GroupTooLarge, match="built up to 5000"):
        parse_group(text)


def test_what_does_not_close() -> None:
    with pytest.raises(GroupTooLarge, match="more than 5000 elements"):
        from_permutations([[1, 0, 2, 3, 4, 5, 6], [1, 2, 3, 4, 5, 6, 0]])
    c, s = np.cos(1.0), np.sin(1.0)
    with pytest.raises(GroupTooLarge, match="more than 5000 elements"):
        from_matrices([np.array([[c, -s], [s, c]])])
    with pytest.raises(GroupError, match="not invertible"):
        from_matrices([np.zeros((2, 2))])
    with pytest.raises(GroupError, match="finite square matrices"):
        from_matrices([np.array([[np.nan]])])
    with pytest.raises(GroupError, match=r"expected permutations of 0\.\.2"):
        from_permutations([[0, 1, 1]])
    with pytest.raises(GroupError, match="n >= 1"):
        cyclic(0)
    with pytest.raises(GroupError, match="a prime p and a divisor"):
        frobenius(6, 2)
