"""Equations of neurovarieties: known ideals, a naive count as an oracle, vanishing at exact functions."""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterator
from fractions import Fraction
from importlib import import_module
from math import comb, lcm, prod

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from intertwiner.errors import RankUndecided, WrongUse
from intertwiner.numerics.rank import rank_mod_p
from intertwiner.variety import insertion
from intertwiner.variety.activation import Activation
from intertwiner.variety.architecture import Architecture
from intertwiner.variety.equations import Equations, equations
from intertwiner.variety.expansion import Coordinates, coefficients, exact_coordinates, symbols, terms
from intertwiner.variety.null_vectors import rational_null_space
from intertwiner.variety.weights import Graded, monomials

Polynomial = dict[tuple[int, ...], Fraction]


def times(a: Polynomial, b: Polynomial) -> Polynomial:
    out: Polynomial = {}
    for (e, c), (f, d) in itertools.product(a.items(), b.items()):
        key = tuple(map(sum, zip(e, f, strict=True)))
        out[key] = out.get(key, Fraction(0)) + c * d
    return out


def plus(a: Polynomial, b: Polynomial) -> Polynomial:
    return {e: a.get(e, Fraction(0)) + b.get(e, Fraction(0)) for e in {*a, *b}}


def by_dictionaries(net: Architecture, theta: list[Fraction]) -> list[Fraction]:
    """The coordinates by school arithmetic."""
    n = net.inputs
    one = {(0,) * n: Fraction(1)}
    values: list[Polynomial] = [{tuple(int(i == j) for j in range(n)): Fraction(1)} for i in range(n)]
    numbers = iter(theta)
    for l, width in enumerate(net.widths[1:]):
        if l:
            raised = []
            for z in values:
                total: Polynomial = {}
                for k, c in net.activation.terms:
                    power = {e: c * x for e, x in one.items()}
                    for _ in range(k):
                        power = times(power, z)
                    total = plus(total, power)
                raised.append(total)
            values = raised
        rows = [[next(numbers) for _ in values] for _ in range(width)]
        shifts = [next(numbers) for _ in range(width)] if net.bias else [Fraction(0)] * width
        following = []
        for row, shift in zip(rows, shifts, strict=True):
            total = {e: shift * x for e, x in one.items()}
            for w, z in zip(row, values, strict=True):
                total = plus(total, {e: w * x for e, x in z.items()})
            following.append(total)
        values = following
    return [z.get(e, Fraction(0)) for z in values for e in Coordinates.of(net).exponents]


NETS = [
    Architecture((2, 2, 1), "t^2"),
    Architecture((2, 1, 2), "t^2"),
    Architecture((3, 2, 1), "t^3"),
    Architecture((2, 2, 2, 1), "t^2"),
    Architecture((2, 2, 1), "t^2 + 1/3 t"),
    Architecture((2, 1, 1), "t^3 + 2t"),
    Architecture((1, 2, 1), "t^2 + 1", bias=True),
    Architecture((2, 1, 2), "t^2", bias=True),
    Architecture((3, 2, 2), "linear"),
]


@pytest.mark.parametrize("net", NETS, ids=str)
def test_coordinates_agree_with_school_arithmetic(net: Architecture, rng: np.random.Generator) -> None:
    from intertwiner.numerics.modular import Modulus

    field = Modulus()
    theta = [[Fraction(int(x)) for x in rng.integers(-5, 6, net.parameters)] for _ in range(3)]
    expected = [by_dictionaries(net, row) for row in theta]
    assert [exact_coordinates(net, row) for row in theta] == expected
    found = coefficients(net, np.array(theta, dtype=np.float64), field, seed=3)
    residue = np.array([[field.fraction(c) for c in row] for row in expected])
    np.testing.assert_array_equal(found, residue)


@pytest.mark.parametrize("net", NETS, ids=str)
def test_symbols_are_within_their_bound(net: Architecture) -> None:
    values = symbols(net)
    assert len(values) == net.ambient_dimension == Coordinates.of(net).dimension
    assert sum(len(v) for v in values) <= terms(net)


@pytest.mark.parametrize("net", NETS, ids=str)
def test_symbols_take_the_values_of_functions(net: Architecture, rng: np.random.Generator) -> None:
    """With the activation times its common denominator, and the first weight of hidden units 1 where that is free."""
    common = lcm(*(c.denominator for _, c in net.activation.terms))
    scaled = Activation(tuple((k, c * common) for k, c in net.activation.terms))
    theta = np.array([int(x) for x in rng.integers(-9, 10, net.parameters)], dtype=object)
    if not net.bias and net.activation.is_monomial:
        for W, _ in net.unflatten(theta)[:-1]:
            W[:, 0] = 1
    found = [int(c(*theta.tolist(), *([0] * net.inputs))) for c in symbols(net)]
    assert found == exact_coordinates(Architecture(net.widths, scaled, net.bias), theta)


def naive_hilbert(net: Architecture, degree: int, seed: int) -> int:
    """Rank of all monomials of a degree at random functions: no weights, no permutations, another prime."""
    random = np.random.default_rng(seed)
    size = monomials(net.ambient_dimension, degree)
    rows = []
    for _ in range(size + 3):
        theta = [Fraction(int(x)) for x in random.integers(-(10**6), 10**6, net.parameters)]
        common = int(np.lcm.reduce([c.denominator for _, c in net.activation.terms]))
        values = [int(c * common**8) for c in exact_coordinates(net, theta)]
        rows.append([prod(values[i] for i in m)
                     for m in itertools.combinations_with_replacement(range(len(values)), degree)])  # fmt: skip
    return rank_mod_p(np.array(rows, dtype=object))


@pytest.mark.parametrize("net", NETS, ids=str)
def test_counts_agree_with_a_naive_rank(net: Architecture) -> None:
    top = max(d for d in (1, 2, 3) if monomials(net.ambient_dimension, d) <= 240)
    found = equations(net, top)
    for degree in range(1, top + 1):
        assert found.hilbert[degree] == naive_hilbert(net, degree, degree)
        assert found.hilbert[degree] + found.equations[degree] == monomials(net.ambient_dimension, degree)


@pytest.mark.parametrize("net", NETS, ids=str)
def test_every_equation_vanishes_on_functions_and_nowhere_else(net: Architecture, rng: np.random.Generator) -> None:
    found = equations(net, 3 if net.ambient_dimension < 15 else 2)
    assert found.verdict.is_proved and found.error == 0
    every = found.all()
    assert len(every) == sum(found.new)
    theta = [Fraction(int(x), 7) for x in rng.integers(-20, 20, net.parameters)]
    point = exact_coordinates(net, theta)
    elsewhere = [Fraction(int(x), 11) for x in rng.integers(-1000, 1000, len(point))]
    for one in every:
        assert one.value(point) == 0
        assert one.value(elsewhere) != 0


def test_a_filling_network_has_no_equation() -> None:
    found = equations(Architecture((2, 2, 1), "t^2"), 4)
    assert found.generators == () and found.new == (0,) * 5
    assert found.hilbert == tuple(comb(d + 2, 2) for d in range(5))
    assert "no equation" in str(found)


def test_quadratic_forms_of_rank_two_have_the_determinant() -> None:
    found = equations(Architecture((3, 2, 1), "t^2"), 4)
    (one,) = found.generators
    assert one.text(found.coordinates.names) == (
        "4 c[200] c[020] c[002] - c[200] c[011]^2 - c[110]^2 c[002] + c[110] c[101] c[011] - c[101]^2 c[020]"
    )
    assert found.new == (0, 0, 0, 1, 0)
    assert found.hilbert == tuple(comb(d + 5, 5) - comb(d + 2, 5) for d in range(5))


def test_cubes_of_forms_are_the_twisted_cubic() -> None:
    found = equations(Architecture((2, 1, 1), "t^3"), 4)
    names = found.coordinates.names
    texts = {one.text(names) for one in found.all()}
    assert texts == {
        "9 c[30] c[03] - c[21] c[12]", "3 c[30] c[12] - c[21]^2", "3 c[21] c[03] - c[12]^2"
    }  # fmt: skip
    assert found.new == (0, 0, 3, 0, 0)
    assert found.hilbert == tuple(3 * d + 1 for d in range(5))


def test_three_cubes_in_three_variables_have_the_invariant_of_aronhold() -> None:
    found = equations(Architecture((3, 3, 1), "t^3"), 4)
    (one,) = found.generators
    assert (one.degree, len(one.terms), found.new) == (4, 25, (0, 0, 0, 0, 1))
    fermat = [Fraction(0)] * 10
    for place in (0, 6, 9):
        fermat[place] = Fraction(1)
    assert [found.coordinates.names[i] for i in (0, 6, 9)] == ["c[300]", "c[030]", "c[003]"]
    assert one.value(fermat) == 0
    fermat[4] = Fraction(6)  # x^3 + y^3 + z^3 + 6 m x y z has the invariant m - m^4, up to a factor
    assert one.value(fermat) == 0 != one.value([*fermat[:4], Fraction(12), *fermat[5:]])


def test_linear_networks_have_the_minors() -> None:
    found = equations(Architecture((3, 1, 2), "linear"), 2)
    assert found.new == (0, 0, 3)
    assert {len(one.terms) for one in found.generators} == {2}


def test_powers_of_two_forms_in_two_variables_have_the_hankel_determinants() -> None:
    quartic = equations(Architecture((2, 2, 1), "t^4"), 3)
    assert quartic.new == (0, 0, 0, 1)  # 3 x 3 Hankel determinant
    quintic = equations(Architecture((2, 2, 1), "t^5"), 3)
    assert quintic.new == (0, 0, 0, 4)  # 3 x 3 minors of a 3 x 4 matrix


def test_gradients_are_derivatives() -> None:
    (one,) = equations(Architecture((3, 2, 1), "t^2"), 3).generators
    point = [Fraction(x) for x in (2, 3, 5, 7, 11, 13)]
    step = Fraction(1, 10**6)
    for i, slope in enumerate(one.gradient(point)):
        moved = [x + step * (i == j) for j, x in enumerate(point)]
        assert abs((one.value(moved) - one.value(point)) / step - slope) < Fraction(1, 1000)


@settings(max_examples=20)
@given(st.integers(1, 3), st.integers(1, 3), st.sampled_from([(1,), (2,), (0, 1), (3,)]), st.integers(1, 3))
def test_weights_partition_the_monomials(inputs: int, outputs: int, degrees: tuple[int, ...], degree: int) -> None:
    space = Coordinates(inputs, outputs, degrees)
    graded = Graded(space)
    total = sum(len(part) * graded.orbit(w) for w, part in graded.dominant(degree).items())
    assert total == monomials(space.dimension, degree)
    for weight in graded.dominant(degree):
        images = list(_images(graded, weight))
        assert len(set(images)) == graded.orbit(weight)
        for image in images:
            top, moved = graded.sorting(image)
            assert top == weight
            first = graded.dominant(degree)[weight][0]
            carried = graded.of_variable[[moved[v] for v in first]].sum(axis=0)
            assert tuple(carried) == image


def _images(graded: Graded, weight: tuple[int, ...]) -> Iterator[tuple[int, ...]]:
    first = next(m for d in range(1, 4) for w, part in graded.dominant(d).items() if w == weight for m in part)
    for moved in graded.arrangements(weight):
        yield tuple(int(x) for x in graded.of_variable[[moved[v] for v in first]].sum(axis=0))


def test_null_spaces_are_lifted_over_several_primes() -> None:
    large = 10**40 + 1
    vectors, nullity = rational_null_space(lambda p: np.array([[float(large % p), float(-3 % p)]]))
    assert (vectors, nullity) == (((3, large),), 1)


def test_a_prime_with_other_pivots_ends_the_lifting() -> None:
    asked: list[int] = []

    def rows(prime: int) -> np.ndarray:
        asked.append(prime)
        return np.array([[1.0, float(10**40 % prime)] if len(asked) != 2 else [0.0, 1.0]])

    assert rational_null_space(rows) == (None, 1) and len(asked) == 2


def test_a_wrong_equation_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    net = Architecture((2, 1, 1), "t^2")
    wrong = [[(5, (0, 2)), (-1, (1, 1))]]
    with pytest.raises(RankUndecided, match=r"does not vanish identically[\s\S]*another seed"):
        insertion.inserted(net, wrong)
    from intertwiner.variety.ideal import Ideal

    with pytest.raises(RankUndecided, match="does not vanish modulo"):
        insertion.unproved(wrong, Ideal(net, Graded(Coordinates.of(net))))


def test_without_insertion_equations_are_probable(monkeypatch: pytest.MonkeyPatch) -> None:
    net = Architecture((3, 2, 1), "t^2")
    proved = equations(net, 3)
    for name in ("MOST_TERMS", "MOST_PRODUCTS"):
        with monkeypatch.context() as patch:
            patch.setattr(insertion, name, 0)
            found = equations(net, 3)
        assert found.verdict.is_undecided and "probable" in found.verdict.reason
        assert 0 < found.error < 1e-8
        assert [e.terms for e in found.generators] == [e.terms for e in proved.generators]
        assert not any(e.inserted for e in found.generators)


def test_a_missing_point_would_be_an_equation_too_many(monkeypatch: pytest.MonkeyPatch) -> None:
    """With too few random functions there are false null vectors; they do not survive another prime."""
    from intertwiner.variety.ideal import Ideal

    whole = Ideal.values
    monkeypatch.setattr(Ideal, "values", lambda self, m, p: whole(self, m, p)[: max(1, len(m) - 2)])
    with pytest.raises(RankUndecided, match="could not be read back"):
        equations(Architecture((2, 2, 1), "t^4"), 3)


def test_sizes_are_refused_with_their_numbers() -> None:
    with pytest.raises(WrongUse, match=r"220 coefficients and .* monomials of degree 4 .* Next step: max_degree=2"):
        equations(Architecture((4, 3, 3, 1), "t^3"), 4)
    with pytest.raises(WrongUse, match="a smaller architecture"):
        equations(Architecture((40, 3, 3, 1), "t^3"), 2)
    with pytest.raises(WrongUse, match="degree of at least 1"):
        equations(Architecture((2, 2, 1), "t^2"), 0)
    with pytest.raises(WrongUse, match=r"fully connected.*Nothing was computed"):
        equations((2, 2, 1), 2)  # type: ignore[arg-type]


def test_a_weight_with_too_many_monomials_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    module = import_module("intertwiner.variety.equations")  # the function hides it in the package
    monkeypatch.setattr(module, "MOST_OF_A_WEIGHT", 4)
    with pytest.raises(WrongUse, match=r"5 monomials of degree 3 have the weight .* max_degree=2"):
        equations(Architecture((3, 2, 1), "t^2"), 3)


def test_another_seed_finds_the_same_and_json_reads_back() -> None:
    net = Architecture((2, 1, 2), "t^2")
    first, other = equations(net, 2), equations(net, 2, seed=5)
    assert first.generators == other.generators
    assert Equations.from_json(json.loads(json.dumps(first.to_json()))) == first
    assert "2 by permutations" in str(first)
