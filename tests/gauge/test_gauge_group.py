"""Gauge groups form a lattice; elements compose, invert and act on both sides of a weight."""

from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from intertwiner.errors import ShapeMismatch, WrongUse
from intertwiner.gauge import GaugeElement, GaugeGroup, random_element
from intertwiner.numerics.monomial import Monomial

MAKERS = [
    GaugeGroup.trivial,
    GaugeGroup.permutation,
    GaugeGroup.signed,
    GaugeGroup.positively_scaled,
    GaugeGroup.scaled,
    GaugeGroup.orthogonal,
    GaugeGroup.general_linear,
    GaugeGroup.affine,
    lambda n: GaugeGroup(n, sign=True, shift="pi"),
    lambda n: GaugeGroup(n, shift="real"),
    lambda n: GaugeGroup(n, scale="positive", mixing="none"),
]
single = st.builds(lambda make, n: make(n), st.sampled_from(MAKERS), st.integers(1, 4))


@st.composite
def groups(draw: st.DrawFn, dimension: int = 6) -> GaugeGroup:
    parts, left = [], dimension
    while left:
        n = draw(st.integers(1, left))
        parts.append(draw(st.sampled_from(MAKERS))(n))
        left -= n
    return GaugeGroup.product(*parts)


@given(groups(), groups(), groups())
def test_intersections_form_a_lattice(a: GaugeGroup, b: GaugeGroup, c: GaugeGroup) -> None:
    assert a & b == b & a
    assert (a & b) & c == a & (b & c)
    assert a & a == a
    assert a & b <= a and a & b <= b
    assert GaugeGroup.trivial(6) <= a <= GaugeGroup.affine(6)
    if a <= b and b <= a:
        assert a == b
    if c <= a and c <= b:
        assert c <= a & b
    assert (a & b).parameters <= min(a.parameters, b.parameters)


@given(groups(), groups(), st.integers(0, 2**32 - 1))
def test_containment_is_containment_of_elements(a: GaugeGroup, b: GaugeGroup, seed: int) -> None:
    rng = np.random.default_rng(seed)
    assert random_element(a & b, rng) in a and random_element(a & b, rng) in b
    if not a <= b:
        # A generic element of a larger group is outside, unless signs or scales happen to be trivial: try several.
        assert any(random_element(a, rng) not in b for _ in range(40))


@given(groups(), st.integers(0, 2**32 - 1))
def test_elements_form_a_group(group: GaugeGroup, seed: int) -> None:
    rng = np.random.default_rng(seed)
    g, h, k = (random_element(group, rng) for _ in range(3))
    x = rng.normal(size=(6, 3))
    np.testing.assert_allclose((g @ h).apply(x), g.apply(h.apply(x)), atol=1e-11)
    np.testing.assert_allclose(g.inverse().apply(g.apply(x)), x, atol=1e-10)
    np.testing.assert_allclose(g.apply(x.T, axis=-1), g.apply(x).T, atol=1e-12)
    assert ((g @ h) @ k).distance(g @ (h @ k)) < 1e-9
    for element in (g, g @ h, g.inverse()):
        assert element.is_in(group, tolerance=1e-9)


@given(groups(), st.integers(0, 2**32 - 1))
def test_writer_and_reader_cancel(group: GaugeGroup, seed: int) -> None:
    """Between linear layers every gauge element leaves the function unchanged."""
    rng = np.random.default_rng(seed)
    g = random_element(group, rng)
    w1, b1, w2, b2 = rng.normal(size=(6, 4)), rng.normal(size=6), rng.normal(size=(3, 6)), rng.normal(size=3)
    v1, c1 = g.on_writer(w1, b1)
    v2, c2 = g.on_reader(w2, b2)
    np.testing.assert_allclose(v2 @ v1, w2 @ w1, atol=1e-10)
    np.testing.assert_allclose(v2 @ c1 + c2, w2 @ b1 + b2, atol=1e-10)
    np.testing.assert_allclose(g.apply_right(w2), w2 @ g.dense(), atol=1e-12)


@given(groups(), st.integers(0, 2**32 - 1))
def test_json_reads_back(group: GaugeGroup, seed: int) -> None:
    assert GaugeGroup.from_json(json.loads(json.dumps(group.to_json()))) == group
    element = random_element(group, np.random.default_rng(seed))
    again = GaugeElement.from_json(json.loads(json.dumps(element.to_json())))
    assert again == element and hash(again) == hash(element)


def test_names() -> None:
    assert [str(make(3)) for make in MAKERS] == [
        "identity",
        "permutations",
        "signed permutations",
        "permutations x positive scales",
        "permutations x nonzero scales",
        "orthogonal maps",
        "linear maps",
        "linear maps with shifts",
        "signed permutations with shifts by pi",
        "permutations with shifts",
        "positive scales",
    ]
    assert repr(GaugeGroup.signed(3)) == "GaugeGroup(3: signed permutations)"


def test_a_concatenation_does_not_mix_its_blocks() -> None:
    both = GaugeGroup.product(GaugeGroup.permutation(2), GaugeGroup.permutation(2))
    assert both < GaugeGroup.permutation(4) and both != GaugeGroup.permutation(4)
    assert GaugeElement(Monomial([1, 0, 3, 2])) in both
    assert GaugeElement(Monomial([2, 1, 0, 3])) not in both
    assert GaugeElement(Monomial([2, 1, 0, 3]).dense()) not in both
    assert both & GaugeGroup.orthogonal(4) == both
    uneven = GaugeGroup.product(GaugeGroup.permutation(1), GaugeGroup.permutation(3))
    assert both & uneven == GaugeGroup.product(GaugeGroup.trivial(2), GaugeGroup.permutation(2))


def test_signs_and_positive_scales_are_nonzero_scales() -> None:
    assert GaugeGroup(3, sign=True, scale="positive") == GaugeGroup.scaled(3)
    assert GaugeGroup.scaled(3) & GaugeGroup.orthogonal(3) == GaugeGroup.signed(3)
    assert GaugeGroup.positively_scaled(3) & GaugeGroup.orthogonal(3) == GaugeGroup.permutation(3)


def test_dense_matrices_are_judged_like_monomial_ones(rng: np.random.Generator) -> None:
    for make in MAKERS:
        element = random_element(make(4), rng)
        assert GaugeElement(element.dense(), element.shift) in make(4)
    assert GaugeElement(np.eye(3) + 0.1) not in GaugeGroup.orthogonal(3)
    assert GaugeElement(np.ones((3, 3))) not in GaugeGroup.general_linear(3)
    assert GaugeElement.identity(3) not in GaugeGroup.permutation(4)


def test_wrong_use() -> None:
    with pytest.raises(WrongUse, match="no 'any'"):
        GaugeGroup(3, scale="any")
    with pytest.raises(ShapeMismatch, match="do not make 5"):
        GaugeGroup(5, blocks=(GaugeGroup.signed(2), GaugeGroup.signed(2)))
    with pytest.raises(ShapeMismatch, match="on 3 and 4"):
        GaugeGroup.signed(3) & GaugeGroup.signed(4)
    with pytest.raises(ShapeMismatch, match="dimensions 3 and 4"):
        GaugeElement.identity(3) @ GaugeElement.identity(4)
    with pytest.raises(ShapeMismatch, match="square"):
        GaugeElement(np.zeros((2, 3)))
    with pytest.raises(ShapeMismatch, match="shift of shape"):
        GaugeElement(Monomial.identity(2), np.zeros(3))
