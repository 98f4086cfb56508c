"""The number of conserved functions against reference counts, a formula, and bounds that must not be called proofs."""

from __future__ import annotations

import itertools
import json
from dataclasses import replace
from pathlib import Path

import pytest

from intertwiner.errors import Contradiction, WrongUse
from intertwiner.training import Chain, ConservationCount, Law, chain_counts, count_laws, counts, known_laws

# From ../shared/reference/conservation_laws.json, "architecture_only": exact Lie closure modulo a prime.
REFERENCE = [
    ((2, 1, 2), "linear", False, 1),
    ((2, 2, 2), "linear", False, 3),
    ((1, 3, 1), "linear", False, 5),
    ((2, 3, 1), "linear", False, 6),
    ((2, 2, 2, 2), "linear", False, 6),
    ((2, 1, 1, 2), "linear", False, 2),
    ((2, 3, 2), "relu", False, 3),
    ((2, 2, 1), "relu", True, 2),
    ((2, 2, 2, 1), "relu", True, 4),
]


@pytest.mark.parametrize(("widths", "activation", "bias", "laws"), REFERENCE)
def test_reference_counts(widths: tuple[int, ...], activation: str, bias: bool, laws: int) -> None:
    count = count_laws(widths, activation, bias=bias)
    assert count.verdict.is_proved
    assert count.laws == laws == count.parameters - count.bracket_rank


def test_the_whole_reference_file(repository: Path) -> None:
    path = repository.parent / "shared" / "reference" / "conservation_laws.json"
    if not path.is_file():
        pytest.skip("no ../shared/reference beside the repository: this test reads its table of counts")
    tables = json.loads(path.read_text(encoding="utf-8"))["architecture_only"]
    rows = [(activation, row) for activation in ("linear", "relu") for row in tables[activation]]
    assert len(rows) == 15
    for activation, row in rows:
        assert count_laws(row["widths"], activation, bias=row.get("bias", False)).laws == row["laws"], row


@pytest.mark.parametrize(("n", "m"), list(itertools.product(range(1, 7), repeat=2)))
def test_two_linear_layers_follow_the_formula(n: int, m: int) -> None:
    """[Marcotte, Gribonval, Peyre 2023]: U is n x r, V is m x r."""
    for r in range(1, 7):
        s = n + m
        expected = r * (r + 1) // 2 if s >= r else s * r - s * (s - 1) // 2
        assert count_laws((m, r, n)).laws == expected, r


@pytest.mark.parametrize("depth", [2, 3])
@pytest.mark.parametrize(("activation", "bias"), list(itertools.product(["linear", "relu"], [False, True])))
def test_small_networks_are_all_proved(depth: int, activation: str, bias: bool) -> None:
    for widths in itertools.product((1, 2, 3), repeat=depth + 1):
        count = count_laws(widths, activation, bias=bias)
        assert count.verdict.is_proved, str(count)
        if activation == "relu":
            assert count.laws == sum(widths[1:-1])  # one per hidden neuron


@pytest.mark.parametrize(
    ("widths", "laws"),
    [((1, 2, 2, 1), 7), ((1, 2, 2, 1, 2), 8), ((2, 1, 3, 3, 1), 15), ((1, 2, 2, 2, 1), 11), ((1, 2, 1, 2, 2, 1), 11)],
)
def test_a_thin_stretch_has_more_laws_than_balances(widths: tuple[int, ...], laws: int) -> None:
    count = count_laws(widths)
    assert count.laws == laws > count.known
    assert "one curve" in count.verdict.reason


def test_several_curves_reach_where_one_needs_more_depth(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two fields: every depth adds a single dimension along one curve."""
    assert count_laws((1, 3, 3, 3, 1), bias=True).laws == 18
    monkeypatch.setattr(counts, "CURVES", 1)
    assert count_laws((1, 3, 3, 3, 1), bias=True).verdict.is_undecided


def test_biases_undo_the_thin_stretch() -> None:
    count = count_laws((1, 2, 2, 1), bias=True)
    assert count.laws == count.known == 6


@pytest.mark.parametrize(
    ("widths", "activation", "laws"),
    [((10, 20, 10), "linear", 210), ((10, 10, 10, 10, 10), "linear", 165), ((10, 20, 10), "relu", 20)],
)
def test_four_hundred_parameters(widths: tuple[int, ...], activation: str, laws: int) -> None:
    count = count_laws(widths, activation, primes=counts.PRIMES[:1])
    assert count.parameters == 400
    assert count.laws == laws


def test_fields_without_brackets_prove_nothing() -> None:
    count = count_laws((2, 2, 2), depth=0)
    assert count.verdict.is_undecided
    assert (count.least, count.most, count.laws) == (3, 4, None)
    assert "3 to 4" in str(count)
    assert "proves nothing" in count.verdict.reason


def test_a_missing_law_leaves_a_gap(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(chain_counts, "known_laws", lambda chain: known_laws(chain)[1:])
    count = count_laws((2, 2, 2))
    assert count.verdict.is_undecided
    assert (count.least, count.most) == (2, 3)


def test_a_wrong_law_is_a_contradiction(monkeypatch: pytest.MonkeyPatch) -> None:
    def flipped(chain: Chain) -> tuple[Law, ...]:
        law, *rest = known_laws(chain)
        (p, q, c), *terms = law.terms
        return (replace(law, terms=((p, q, -c), *terms)), *rest)

    monkeypatch.setattr(chain_counts, "known_laws", flipped)
    with pytest.raises(Contradiction, match=r"not conserved .* Nothing was counted"):
        count_laws((2, 2, 2))


def test_too_many_laws_are_a_contradiction(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(counts, "certain_ranks", lambda *_, **__: (12, 12))
    with pytest.raises(Contradiction, match="no more than"):
        count_laws((2, 3, 2), "relu")


def test_the_same_seed_gives_the_same_record_and_another_the_same_count() -> None:
    first, again, other = (count_laws((3, 2, 2, 3), bias=True, seed=seed) for seed in (0, 0, 5))
    assert first == again != other
    assert first.laws == other.laws


def test_a_count_is_read_back_from_json() -> None:
    for count in (count_laws((1, 2, 2, 1)), count_laws((2, 2, 1), "relu", bias=True), count_laws((2, 2, 2), depth=0)):
        assert ConservationCount.from_json(json.loads(json.dumps(count.to_json()))) == count


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: count_laws((3,)), "at least two widths"),
        (lambda: count_laws((3, 0, 2)), "at least 1"),
        (lambda: count_laws((3, 2.0, 2)), "whole numbers"),  # type: ignore[arg-type]
        (lambda: count_laws((3, 2), "tanh"), "tanh"),
        (lambda: count_laws((100, 100, 100)), "20000 parameters"),
        (lambda: count_laws((2, 2), depth=-1), "depth"),
        (lambda: count_laws((2, 2), depth=7, primes=(7,)), "primes"),
        (lambda: count_laws((2, 2), primes=()), "at least one prime"),
        (lambda: count_laws((2, 2), seed=-1), "seed"),
    ],
)
def test_bad_input_is_refused(call, words: str) -> None:
    with pytest.raises(WrongUse, match=words) as caught:
        call()
    assert "Nothing was computed." in str(caught.value)
