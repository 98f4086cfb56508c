"""Dimensions of neurovarieties: reference values, closed formulae, what is proved and what is probable."""

from __future__ import annotations

import csv
import itertools
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import intertwiner as iw
from intertwiner.errors import Contradiction, WrongUse
from intertwiner.numerics.modular import Modulus
from intertwiner.variety import Architecture, Convolution, Neurovariety, generic_rank, naive_count, upper_bound
from intertwiner.variety import neurovariety as module_name
from intertwiner.variety.family import Bound
from intertwiner.variety.primes import COUNT, HIGH, LOW, is_prime, random_primes
from intertwiner.variety.rank import Draw, failure, rank_at

# From the file of reference dimensions, neurovariety_dimensions.csv: exact ranks modulo two primes, three draws each.
# widths, r: ambient, expected, dimension
REFERENCE = [
    ((3, 2, 1), 2, 6, 6, 5), ((4, 3, 1), 2, 10, 10, 9), ((4, 5, 3), 2, 30, 30, 29), ((3, 5, 2), 3, 20, 20, 19),
    ((3, 5, 1), 4, 15, 15, 14), ((4, 9, 1), 4, 35, 35, 34), ((5, 14, 1), 4, 70, 70, 69), ((5, 7, 1), 3, 35, 35, 34),
    ((2, 1, 3, 1), 2, 5, 4, 2), ((2, 2, 1, 1), 2, 5, 4, 3), ((2, 3, 2, 2), 2, 10, 10, 8), ((3, 4, 2, 1), 2, 15, 15, 11),
    ((3, 4, 4, 2), 2, 30, 28, 28), ((3, 4, 3, 2), 2, 30, 23, 21), ((2, 4, 4, 2), 3, 20, 20, 20),
    ((5, 4, 3, 1), 2, 70, 28, 25), ((5, 5, 3, 1), 2, 70, 35, 32), ((4, 5, 5, 3, 1), 2, 165, 50, 47),
    ((3, 5, 6, 4, 3, 1), 2, 153, 66, 58), ((2, 3, 4, 5, 4, 6, 4, 1), 2, 65, 65, 65), ((2,) * 7 + (1,), 2, 65, 14, 13),
    ((2, 3, 3, 3, 3, 3, 3, 2), 2, 130, 39, 36), ((2, 3, 3, 5, 3, 3), 2, 51, 40, 30), ((4, 4, 4, 4), 2, 140, 40, 40),
    ((5, 5, 5, 5), 2, 350, 65, 65),
]  # fmt: skip


@pytest.mark.parametrize(("widths", "r", "ambient", "expected", "dimension"), REFERENCE)
def test_reference_dimensions_are_proved(widths, r: int, ambient: int, expected: int, dimension: int) -> None:
    found = iw.neurovariety(widths=widths, activation=iw.monomial(r))
    assert (found.ambient_dimension, found.expected_dimension, found.dimension) == (ambient, expected, dimension)
    assert found.defect == expected - dimension == found.proved_defect
    assert found.is_filling == (dimension == ambient)
    assert found.verdict.is_proved and found.chance == 0
    assert found.fibre().dimension == found.family.parameters - dimension


def test_every_row_of_the_reference_file_is_proved(shared: Path) -> None:
    with (shared / "reference" / "neurovariety_dimensions.csv").open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    for row in rows:
        found = iw.neurovariety(tuple(map(int, row["widths"].split())), iw.monomial(int(row["r"])))
        assert (found.dimension, found.defect) == (int(row["dim"]), int(row["defect"])), row
        assert found.is_filling == (row["filling"] == "1") and found.verdict.is_proved, row


SWEPT = ["t^2", "t^3", "t^2 + t", "t^2 + 1", "t^3 + t", "t + 1", "linear", "2t^2 + 4t + 5"]


@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize("sigma", SWEPT)
def test_ranks_never_exceed_the_bound_and_monomials_reach_it(sigma: str, bias: bool) -> None:
    for length in (2, 3):
        for widths in itertools.product(range(1, 5 if length == 2 else 4), repeat=length + 1):
            net = Architecture(widths, sigma, bias)
            bound = upper_bound(net)
            full = generic_rank(net, net.parameters, primes=1, draws=1)[0].rank
            assert full <= bound.value, net
            assert bound.value <= min(net.ambient_dimension, net.parameters)
            assert sum(part.dimension for part in bound.parts) == net.parameters - bound.value
            if sigma in ("t^2", "t^3", "linear"):
                assert full == bound.value, net


@settings(max_examples=40)
@given(st.lists(st.integers(1, 6), min_size=2, max_size=5), st.booleans())
def test_linear_networks_are_matrices_of_bounded_rank(widths: list[int], bias: bool) -> None:
    rank = min(widths)
    expected = rank * (widths[0] + widths[-1] - rank) + bias * widths[-1]
    found = iw.neurovariety(widths, "3t", bias=bias)
    assert found.dimension == expected and found.verdict.is_proved
    assert found.draws[-1].rank == expected  # taken, not only quoted


@settings(max_examples=40)
@given(st.lists(st.integers(1, 4), min_size=3, max_size=4), st.integers(2, 4), st.integers(1, 9), st.fractions(-3, 3))
def test_scales_and_shifts_of_the_activation_do_not_matter(widths, r: int, scale: int, shift) -> None:
    plain = iw.neurovariety(widths, iw.monomial(r))
    scaled = iw.neurovariety(widths, iw.polynomial([0] * r + [scale]))
    assert (scaled.dimension, scaled.bound) == (plain.dimension, plain.bound)
    from math import comb

    biased = iw.neurovariety(widths, iw.monomial(r), bias=True)
    moved = iw.polynomial([scale * comb(r, k) * shift ** (r - k) + (7 if k == 0 else 0) for k in range(r + 1)])
    shifted = iw.neurovariety(widths, moved, bias=True)
    assert (shifted.dimension, shifted.bound.value) == (biased.dimension, biased.bound.value)


@settings(max_examples=40)
@given(st.lists(st.integers(1, 4), min_size=3, max_size=4), st.integers(2, 3), st.data())
def test_wider_hidden_layers_never_lose_functions(widths: list[int], r: int, data) -> None:
    at = data.draw(st.integers(1, len(widths) - 2))
    wider = [w + (k == at) for k, w in enumerate(widths)]
    assert iw.neurovariety(wider, iw.monomial(r)).dimension >= iw.neurovariety(widths, iw.monomial(r)).dimension


def test_a_defect_without_a_theorem_is_probable_with_its_chance() -> None:
    found = iw.neurovariety((2, 3, 2), "t^3 + t")
    assert (found.dimension, found.bound.value, found.defect, found.proved_defect) == (11, 12, 1, 0)
    assert found.verdict.is_undecided and found.identifiability.is_undecided
    assert len(found.draws) == 6 and len(found.primes) == 2
    assert 0 < found.chance < 1e-9
    assert "at least 11 and at most 12 is proved" in found.verdict.reason
    assert found.fibre().unexplained == 1 and "no reason known" in str(found)
    assert "probable, error at most" in str(found)


def test_fewer_draws_are_less_certain() -> None:
    chances = [iw.neurovariety((2, 3, 2), "t^3 + t", primes=p, draws=d).chance for p, d in ((1, 1), (1, 3), (2, 3))]
    assert chances == sorted(chances, reverse=True) and chances[0] > 1e-7 > chances[2]


def test_an_unlucky_prime_only_lowers_a_rank() -> None:
    """Modulo 3 the slope of t^3 vanishes: nothing is proved wrongly, and the bound is missed."""
    net = Architecture((2, 2, 1), "t^3")
    theta = np.array([1.0, -1, 1, 1, 1, -1])
    assert rank_at(net, theta, Modulus(3)).rank < upper_bound(net).value == rank_at(net, theta, Modulus()).rank


def test_failure_is_the_formula() -> None:
    net = Architecture((2, 3, 2), "t^3 + t")
    one = Draw(random_primes(1, 0)[0], 11, 8, 1)
    size = net.size()
    assert (size.theta, size.inputs) == (4, 3)
    assert size.bits == pytest.approx(np.log2(3 * (2**3 + 2**3)) + 2)  # two terms of at most 2^3, width 3, degree 4
    by_hand = 12 * size.bits / 25 / COUNT + (12 * 4 + 3) / one.prime
    assert failure([one], size) == pytest.approx(by_hand)
    other = replace(one, prime=random_primes(2, 0)[1])
    assert failure([one, other], size) == pytest.approx(by_hand**2, rel=0.5)
    assert failure([one], Architecture((2,) * 40, "t^3").size()) == 1.0


def test_primes_are_primes_of_their_range() -> None:
    from flint import fmpz

    primes = random_primes(40, seed=2)
    assert len(set(primes)) == 40 and all(LOW < p < HIGH and fmpz(p).is_prime() for p in primes)
    assert [n for n in range(LOW + 1, LOW + 400, 2) if is_prime(n)] == [
        n for n in range(LOW + 1, LOW + 400, 2) if fmpz(n).is_prime()
    ]


def test_degrees_above_the_primes_make_no_statement_but_lower_bounds_stay() -> None:
    found = iw.neurovariety((2, 3, 3, 3, 2), iw.polynomial([0, 1] + [0] * 4000 + [1]), draws=1, primes=1)
    assert found.dimension <= found.bound.value
    assert found.verdict.is_proved or found.chance == 1.0


def test_ambient_spaces_beyond_any_memory_are_no_obstacle() -> None:
    found = iw.neurovariety((2,) * 30, "t^5")
    assert found.dimension == found.expected_dimension == 60 and found.verdict.is_proved
    assert found.ambient_dimension == 2 * (5**28 + 1)


def test_convolutions_of_one_channel_lose_only_scales() -> None:
    """dim = sum k - (L - 1) for monomials of degree above one [Shahverdi, Marchetti, Kohn 2025]."""
    for filters, strides in (((3, 2), (1, 1)), ((2, 3, 2), (2, 1, 1)), ((4, 3, 2, 2), (1, 2, 2, 1))):
        for sigma in ("t^2", "t^3", "linear"):
            found = iw.neurovariety(Convolution(filters, strides, activation=sigma))
            assert found.dimension == sum(filters) - len(filters) + 1 and found.verdict.is_proved
    assert iw.neurovariety(Convolution((3, 2), activation="t^2 + t")).dimension == 5  # no scale gauge


def test_convolution_of_single_positions_is_a_dense_network() -> None:
    for sigma, bias in (("t^2", False), ("t^3 + t", True), ("linear", True)):
        dense = iw.neurovariety((2, 3, 2), sigma, bias=bias)
        assert iw.neurovariety(Convolution((1, 1), (), (2, 3, 2), sigma, bias)).dimension == dense.dimension


@pytest.mark.parametrize(
    "found",
    [
        iw.neurovariety((3, 2, 1), "t^2"),
        iw.neurovariety((2, 3, 2), "t^3 + 1/2 t", bias=True),
        iw.neurovariety(Convolution((2, 2), (1, 2), (1, 2, 1), "t^2")),
    ],
    ids=lambda v: str(v.family),
)
def test_records_are_the_same_after_json(found: Neurovariety) -> None:
    assert Neurovariety.from_json(json.loads(json.dumps(found.to_json(), allow_nan=False))) == found


def test_the_same_seed_gives_the_same_record() -> None:
    assert iw.neurovariety((3, 4, 2, 1), "t^2", seed=5) == iw.neurovariety((3, 4, 2, 1), "t^2", seed=5)
    assert iw.neurovariety((3, 4, 2, 1), "t^2", seed=5).draws != iw.neurovariety((3, 4, 2, 1), "t^2", seed=6).draws


def test_the_table_is_readable() -> None:
    text = str(iw.neurovariety((3, 4, 2, 1), "t^2"))
    assert "dimension   11  PROVED" in text and "defect 4" in text
    assert "1  orthogonal maps of the 2 functions whose squares are summed, layer 3" in text
    assert "gauge of 28 places" in str(iw.neurovariety((2,) * 30, "t^3"))


def test_a_rank_above_the_bound_is_a_contradiction(monkeypatch: pytest.MonkeyPatch) -> None:
    net = Architecture((2, 2, 2), "t^2")
    monkeypatch.setattr(Architecture, "bound", lambda self: Bound(3, ()))
    with pytest.raises(Contradiction, match="above the proved bound 3"):
        iw.neurovariety(net)


def test_wrong_use_says_what_to_do() -> None:
    for widths in ((2, 0, 1), (2,), "2,2,1", (2, 2.5, 1), (2, True, 1), 3):
        with pytest.raises(WrongUse, match="whole numbers of at least 1"):
            iw.neurovariety(widths, "t^2")  # type: ignore[arg-type]
    with pytest.raises(WrongUse, match="needs the activation"):
        iw.neurovariety((2, 2, 1))
    with pytest.raises(WrongUse, match="has its activation"):
        iw.neurovariety(Architecture((2, 2, 1), "t^2"), "t^2")
    wrong: dict[str, Any]
    for wrong in ({"draws": 0}, {"primes": 1.5}, {"seed": -1}):
        with pytest.raises(WrongUse, match="whole number of at least"):
            iw.neurovariety((2, 2, 1), "t^2", **wrong)
    with pytest.raises(WrongUse, match="as many strides and one more number of channels"):
        Convolution((2, 2), (1,))


def test_sizes_beyond_the_bound_are_refused_with_an_estimate_or_decided_by_a_theorem() -> None:
    with pytest.raises(WrongUse, match=r"bound is 20,000(.|\n)*GB and [\d,]+ minutes(.|\n)*Next step"):
        iw.neurovariety((150, 160, 170, 3), "t^2 + t")
    with pytest.raises(WrongUse, match="bound is 20,000"):
        iw.neurovariety(Convolution((40, 40), (), (40, 40, 40), "linear"))
    found = iw.neurovariety((200, 200, 200, 200), "t^2")
    assert found.dimension == naive_count(found.family) and not found.draws  # type: ignore[arg-type]
    assert found.verdict.is_proved and "Usevich" in found.verdict.theorem
    assert iw.neurovariety((3000, 1000, 2000), "linear").dimension == 4_000_000


def test_the_room_offers_its_verb_beside_the_module() -> None:
    assert module_name is iw.neurovariety
