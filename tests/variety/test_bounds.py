"""Upper bounds: each known exception is one, its neighbours are none, and the reasons name the right layers."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from intertwiner.numerics.modular import Modulus
from intertwiner.numerics.modular_echelon import rank_of_residues
from intertwiner.variety import Architecture, generic_rank, monomial, neurovariety, upper_bound
from intertwiner.variety.bounds import GLUING
from intertwiner.variety.powers import EXCEPTIONS, power_sums


def rank_of(n: int, m: int, k: int, r: int) -> int:
    net = Architecture((n, m, k), monomial(r))
    return max(d.rank for d in generic_rank(net, net.parameters, primes=1, draws=2))


def expected(n: int, m: int, k: int, r: int) -> int:
    return neurovariety((n, m, k), monomial(r)).expected_dimension


@pytest.mark.parametrize(("n", "r", "m"), sorted(EXCEPTIONS))
def test_the_four_exceptions_of_alexander_and_hirschowitz(n: int, r: int, m: int) -> None:
    known = power_sums(n, m, 1, r)
    assert known is not None and known.exact
    assert known.value == rank_of(n, m, 1, r) == expected(n, m, 1, r) - 1
    for other in (m - 1, m + 1):
        found = power_sums(n, other, 1, r)
        assert found is not None and found.value == rank_of(n, other, 1, r) == expected(n, other, 1, r)


def test_sums_of_squares_are_quadratic_forms_of_bounded_rank() -> None:
    for n, m in itertools.product(range(1, 6), repeat=2):
        known = power_sums(n, m, 1, 2)
        assert known is not None and known.value == rank_of(n, m, 1, 2)


@pytest.mark.parametrize(
    ("n", "m", "k", "r", "lost"), [(4, 5, 3, 2, 1), (6, 8, 3, 2, 1), (3, 5, 2, 3, 1), (4, 6, 5, 2, 1), (8, 11, 3, 2, 1)]
)
def test_several_outputs_with_a_defect(n: int, m: int, k: int, r: int, lost: int) -> None:
    known = power_sums(n, m, k, r)
    assert known is not None and not known.exact
    assert known.value == rank_of(n, m, k, r) == expected(n, m, k, r) - lost
    found = neurovariety((n, m, k), monomial(r))
    assert found.verdict.is_proved and known.source in found.verdict.theorem
    for other in (m - 1, m + 1):
        assert power_sums(n, other, k, r) is None
        assert upper_bound(Architecture((n, other, k), monomial(r))).value == rank_of(n, other, k, r)


def crossed(matrices: list[np.ndarray]) -> np.ndarray:
    """Symmetric matrices in place of the entries of a vector in its cross product."""
    a, b, c = matrices
    zero = np.zeros_like(a)
    return np.block([[zero, -c, b], [c, zero, -a], [-b, a, zero]])


@pytest.mark.parametrize("n", [2, 4, 6])
def test_the_determinant_of_strassen_vanishes_on_few_squares_and_not_everywhere(n: int) -> None:
    field, random = Modulus(), np.random.default_rng(n)
    for m in (3 * n // 2 - 1, 3 * n // 2):
        c, w = (random.integers(-1000, 1001, (size, m)).astype(float) for size in (3, n))
        matrix = crossed([field.matmul(w * row, np.ascontiguousarray(w.T)) for row in c])
        assert rank_of_residues(matrix, field) == 2 * m
    blocks = [np.diag([1.0, 0.0]), np.diag([0.0, 1.0]), np.array([[0.0, 1.0], [1.0, 0.0]])]
    assert rank_of_residues(crossed([np.kron(np.eye(n // 2), block) for block in blocks]), field) == 3 * n


def test_two_layers_of_all_small_sizes_are_decided() -> None:
    for n, m, k, r in itertools.product(range(2, 5), range(2, 8), range(1, 5), (2, 3)):
        bound = upper_bound(Architecture((n, m, k), monomial(r))).value
        assert bound == rank_of(n, m, k, r), (n, m, k, r)


@pytest.mark.parametrize(
    ("widths", "places"),
    [
        ((2, 3, 3, 3, 3, 3, 3, 2), {"layers 1 to 2": 3}),
        ((3, 5, 6, 4, 3, 1), {"layers 1 to 2": 5, "layers 4 to 5": 3}),
        ((3, 4, 2, 1), {"layers 1 to 2": 4, "layer 3": 1}),
        ((2, 3, 3, 5, 3, 3), {"layers 1 to 2": 3, "layers 3 to 4": 7}),
        ((4, 4, 4), {}),
    ],
)
def test_the_layers_that_lose_dimensions_are_named(widths: tuple[int, ...], places: dict[str, int]) -> None:
    found = upper_bound(Architecture(widths, "t^2"))
    assert {p.place: p.dimension for p in found.parts if p.kind == "theorem"} == places
    assert bool(places) == (GLUING in found.sources)


@pytest.mark.parametrize(
    ("widths", "sigma", "bias", "value"),
    [
        ((3, 4, 4, 1), "t^2 + t", False, 26),  # four functions below, all independent although there are three inputs
        ((4, 3, 1), "t^2 + t", False, 12),
        ((3, 2, 1), "t^2 + t + 1", False, 7),
        ((1, 2, 3, 4), "t^2", True, 19),  # four combinations of three functions and a constant, among five monomials
        ((1, 2, 3, 4), "t^2 + t", False, 15),
        ((1, 3, 4), "t^4 + t^2", True, 19),
    ],
)
def test_bounds_without_scales_are_reached(widths: tuple[int, ...], sigma: str, bias: bool, value: int) -> None:
    net = Architecture(widths, sigma, bias)
    assert upper_bound(net).value == value == generic_rank(net, net.parameters, primes=1, draws=1)[0].rank


def test_gauge_parts_are_the_scales_where_there_are_any() -> None:
    def gauge(sigma: str, *, bias: bool) -> int:
        return sum(p.dimension for p in upper_bound(Architecture((3, 3, 2, 3), sigma, bias)).parts if p.kind == "gauge")

    assert gauge("t^3", bias=False) == gauge("t^3", bias=True) == 5
    assert gauge("t^2 + 2t", bias=True) == 5  # (t + 1)^2 - 1
    assert gauge("t^2 + 2t", bias=False) == gauge("t^3 + t", bias=True) == 0


def test_bounds_of_many_layers_are_quick_and_right() -> None:
    found = upper_bound(Architecture((2, 3) * 15, "t^2"))
    assert found.value == generic_rank(Architecture((2, 3) * 15, "t^2"), found.value)[-1].rank
    assert sum(p.dimension for p in found.parts) == Architecture((2, 3) * 15, "t^2").parameters - found.value
