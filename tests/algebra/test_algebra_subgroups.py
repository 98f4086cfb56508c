"""Subgroups: counts from the literature, laws on random ones, names that tell classes apart."""

from __future__ import annotations

import time

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from intertwiner.algebra import (
    Group,
    GSet,
    Subgroup,
    cyclic,
    dihedral,
    intersection,
    parse_group,
    product_subgroup,
    sign_kernels,
    subgroup,
    subgroup_classes,
    subgroup_generated,
    symmetric,
    trivial_subgroup,
    whole_group,
)
from intertwiner.errors import GroupError, GroupTooLarge

# Classes of subgroups and subgroups in all: OEIS A000638, A005432 (symmetric), A029726, A029725 (alternating);
# dihedral: sigma + tau; C2^5: the Gaussian binomials; the others by hand.
COUNTS = {
    "S3": (4, 6),
    "S4": (11, 30),
    "S5": (19, 156),
    "S6": (56, 1455),
    "A4": (5, 10),
    "A5": (9, 59),
    "A6": (22, 501),
    "D4": (8, 10),
    "D6": (10, 16),
    "D61": (4, 64),
    "Q8": (6, 6),
    "F20": (6, 14),
    "C12": (6, 6),
    "C2^5": (374, 374),
    "C2xC2": (5, 5),
    "S4xC2": (33, 98),
    "S3xS3": (22, 60),
}


@pytest.mark.parametrize(("name", "counts"), COUNTS.items())
def test_number_of_subgroups(name: str, counts: tuple[int, int]) -> None:
    classes = subgroup_classes(parse_group(name))
    assert (len(classes), sum(h.normaliser.index for h in classes)) == counts


@pytest.mark.parametrize("name", ["D4", "S4", "A5", "Q8", "C2xC4"])
def test_every_two_generated_subgroup_is_listed(name: str) -> None:
    group = parse_group(name)
    classes = set(subgroup_classes(group))
    for g in range(group.order):
        for h in range(g):
            assert subgroup_generated(group, [g, h]).canonical in classes


def test_subgroups_of_s6_take_seconds() -> None:
    subgroup_classes.cache_clear()
    start = time.perf_counter()
    subgroup_classes(parse_group("S6"))
    assert time.perf_counter() - start < 5


def test_too_many_are_refused_by_name() -> None:
    with pytest.raises(GroupTooLarge, match="more than 5000 classes of subgroups"):
        subgroup_classes(parse_group("C2^7"))
    with pytest.raises(
        GroupTooLarge, match="S5xS5 has 14400 elements; subgroups up to conjugacy are listed up to 2000"
    ):
        subgroup_classes(parse_group("S5xS5"))


NAMES = ["D4", "D6", "S4", "A5", "F20", "Q8", "S3xC4", "D4xS3", "C2^3", "S5", "S5xS5"]


@st.composite
def subgroups(draw: st.DrawFn) -> Subgroup:
    group = parse_group(draw(st.sampled_from(NAMES)))
    generators = draw(st.lists(st.integers(0, group.order - 1), max_size=2))
    return subgroup_generated(group, generators)


@given(subgroups(), st.integers(0, 10**6))
def test_laws(h: Subgroup, seed: int) -> None:
    group = h.group
    g = seed % group.order
    assert h.order * h.index == group.order
    assert np.array_equal(np.bincount(h.coset_of), np.full(h.index, h.order))
    assert np.array_equal(h.coset_of[h.transversal], np.arange(h.index))
    assert subgroup_generated(group, h.generators) == h == subgroup(group, h.elements.tolist())
    assert h <= h.normaliser
    assert h.core <= h
    assert h.core.is_normal
    moved = h.conjugate(g)
    assert moved.is_conjugate(h)
    assert moved.canonical == h.canonical
    assert moved.core == h.core
    assert moved.name == h.name
    assert moved.normaliser == h.normaliser.conjugate(g)
    # The stabiliser of the coset g H is g H g^-1.
    fixed = (
        [int(x) for x in group.elements if h.coset_of[group.multiply(int(x), g)] == h.coset_of[g]]
        if group.order < 200
        else None
    )
    assert fixed is None or fixed == moved.elements.tolist()


@given(subgroups(), st.data())
def test_intersections_and_products(h: Subgroup, data: st.DataObject) -> None:
    k = subgroup_generated(h.group, data.draw(st.lists(st.integers(0, h.group.order - 1), max_size=2)))
    common = h & k
    assert common == intersection(k, h)
    # |H K| = |H| |K| / |H n K|
    if h.order * k.order <= 20_000:
        products = np.unique(h.group.multiply(h.elements[:, None], k.elements[None, :]))
        assert len(products) * common.order == h.order * k.order
    group = parse_group("D4xS3")
    left, right = (
        subgroup_generated(f, data.draw(st.lists(st.integers(0, f.order - 1), max_size=2))) for f in group.factors
    )
    both = product_subgroup(group, [left, right])
    assert both.order == left.order * right.order
    assert both.is_product
    assert both.projections == (left, right)
    assert both.normaliser == product_subgroup(group, [left.normaliser, right.normaliser])


@pytest.mark.parametrize(
    "name", ["C12", "D4", "D5", "D6", "D12", "S4", "S5", "S6", "A5", "Q8", "S4xC2", "C2^4", "S3xS3", "D4xD4"]
)
def test_names_tell_classes_apart(name: str) -> None:
    names = [h.name for h in subgroup_classes(parse_group(name))]
    assert len(set(names)) == len(names)
    assert not any(" " in n or "/" in n or "-" in n for n in names)


def test_names_that_a_reader_expects() -> None:
    assert [h.name for h in subgroup_classes(dihedral(4))] == ["1", "C2", "Cs", "Cs'", "C4", "C2v", "C2v'", "D4"]
    assert {h.name for h in subgroup_classes(symmetric(5))} >= {"F20", "S4", "A5", "A4", "D4", "S3", "S3'", "D6", "C6"}
    group = parse_group("S5xS5")
    s5 = symmetric(5)
    point = subgroup(s5, np.flatnonzero(s5.permutations[:, 0] == 0))
    assert product_subgroup(group, [point, whole_group(s5)]).name == "S4xS5"
    diagonal = subgroup(group, [int(group.join((g, g))) for g in range(120)])
    assert diagonal.name.startswith("[S5]#")
    assert diagonal.conjugate(77).name == diagonal.name
    h = subgroup_generated(dihedral(4), [dihedral(4).element("rs")])
    assert (str(h), repr(h)) == ("Cs'", "Subgroup(Cs' in D4, order 2, index 4)")


def test_f20_is_a_maximal_subgroup_of_index_six() -> None:
    group = symmetric(5)
    f20 = next(h for h in subgroup_classes(group) if h.name == "F20")
    assert f20.index == 6
    assert f20.core.order == 1
    assert f20.normaliser == f20


def test_sign_kernels() -> None:
    assert [k.name for k in sign_kernels(whole_group(symmetric(4)))] == ["A4"]
    assert sign_kernels(whole_group(parse_group("A5"))) == ()
    assert len(sign_kernels(whole_group(parse_group("C2^3")))) == 7


def test_bad_subgroups() -> None:
    with pytest.raises(GroupError, match="not closed"):
        subgroup(cyclic(6), [0, 1])
    with pytest.raises(GroupError, match="expected elements of C6"):
        subgroup(cyclic(6), [0, 6])
    with pytest.raises(GroupError, match="one subgroup of each factor"):
        product_subgroup(parse_group("C2xC3"), [trivial_subgroup(cyclic(2))])


def test_marks_of_s3_and_of_v4() -> None:
    def table(group: Group) -> list[list[int]]:
        return [GSet.coset_space(h).marks().tolist() for h in subgroup_classes(group)]

    assert table(symmetric(3)) == [[6, 0, 0, 0], [3, 1, 0, 0], [2, 0, 2, 0], [1, 1, 1, 1]]
    assert table(parse_group("C2xC2")) == [
        [4, 0, 0, 0, 0],
        [2, 2, 0, 0, 0],
        [2, 0, 2, 0, 0],
        [2, 0, 0, 2, 0],
        [1, 1, 1, 1, 1],
    ]


@pytest.mark.parametrize("name", ["S4", "A5", "D6"])
def test_marks_are_triangular(name: str) -> None:
    classes = subgroup_classes(parse_group(name))
    marks = np.array([GSet.coset_space(h).marks() for h in classes])
    assert np.array_equal(marks, np.tril(marks))
    assert np.array_equal(np.diag(marks), [h.normaliser.order // h.order for h in classes])
