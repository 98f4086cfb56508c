"""The selfcheck of conservation laws: what is planted, what it counts, and every check of it seen failing."""

from __future__ import annotations

import copy
import json
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

from intertwiner.errors import NoRule, WrongUse
from intertwiner.testing import laws_trial
from intertwiner.testing.laws_trial import (
    LawsTrial,
    largest_rate,
    laws_report,
    laws_selfcheck,
    matched,
    random_gradients,
    run_laws_trial,
)
from intertwiner.testing.near_misses import KINDS, near_misses
from intertwiner.testing.planted_laws import LawsCell, laws_cells, planted_laws
from intertwiner.training.conservation import conservation_laws
from intertwiner.training.families import Family

CELL = LawsCell("relu", "mlp", 2)


@pytest.mark.parametrize("cell", laws_cells(), ids=str)
def test_a_move_along_the_group_keeps_the_function_and_changes_the_laws_as_it_says(cell: LawsCell) -> None:
    planted, random = planted_laws(cell, 5), np.random.default_rng(5)
    inputs = planted.example(6)
    with torch.no_grad():
        before = planted.module(inputs)
        for space in planted.spaces:
            element = planted.element(space, random)
            state = planted.moved(planted.state, space, element)
            moved = copy.deepcopy(planted.module)
            moved.load_state_dict({name: torch.tensor(array) for name, array in state.items()})
            torch.testing.assert_close(moved(inputs), before, rtol=1e-9, atol=1e-9 * float(before.abs().max()))
            expected = planted.laws(planted.state, space, element)
            np.testing.assert_allclose(planted.laws(state, space), expected, rtol=1e-9, atol=1e-9)
            assert not np.allclose(expected, planted.laws(planted.state, space), rtol=1e-3)


def test_a_selfcheck_finds_what_was_planted_and_refutes_what_was_not() -> None:
    report = laws_selfcheck(count=6, seed=2)
    record = json.loads(json.dumps(report.to_json()))
    assert report.ok, record["failures"]
    assert record["planted"] == record["found"] > 20
    for kind in KINDS:
        figures = record["near_misses"][kind]
        assert figures["made"] == figures["refuted"] > 5
        assert figures["least_rate"] > 1e6 * record["rate"]
    assert f"{record['found']} of {record['planted']}" in str(report)


@pytest.mark.slow
def test_every_kind_of_network_is_as_planted() -> None:
    report = laws_selfcheck(count=len(laws_cells()))
    assert report.ok, str(report)
    assert all(made >= 75 for made, _, _ in report.near_misses.values())


def doubled(families: tuple[Family, ...]) -> tuple[Family, ...]:
    """The first term of the first law twice as large."""
    first, *rest = families[0].pieces
    return (replace(families[0], pieces=(replace(first, coefficient=2 * first.coefficient), *rest)), *families[1:])


def trial_with(monkeypatch: pytest.MonkeyPatch, change: Any, cell: LawsCell = CELL) -> LawsTrial:
    """A trial in which the laws found are changed."""

    def changed(model: Any, **options: Any) -> Any:
        found = conservation_laws(model, **options)
        return replace(found, families=change(found.families)) if found.families else found

    monkeypatch.setattr(laws_trial, "conservation_laws", changed)
    return run_laws_trial(cell, 1)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda families: families[1:], "were not found"),
        (lambda families: (*families, families[0]), "was found, and not planted"),
        (doubled, "from what the group says"),
        (doubled, "along the gradient of a loss"),
    ],
)
def test_wrong_laws_are_seen(monkeypatch: pytest.MonkeyPatch, change: Any, words: str) -> None:
    trial = trial_with(monkeypatch, change)
    assert any(words in problem for problem in trial.problems), trial.problems
    report = laws_report([trial], 1, 0.0)
    assert not report.ok
    assert f"failed: {CELL}, seed 1" in str(report)


def test_laws_of_the_control_are_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(laws_trial, "lawless", lambda planted: planted.module)
    assert any(problem.startswith("control: 2 families") for problem in run_laws_trial(CELL, 1).problems)


def test_a_law_among_the_near_misses_is_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(laws_trial, "near_misses", lambda pairs: [(KINDS[0], pairs[0][0])])
    trial = run_laws_trial(CELL, 1)
    assert trial.missed[KINDS[0]][:2] == (1, 0)
    assert any("was not refuted" in problem for problem in trial.problems)


def test_a_wrong_count_is_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    def fewer(model: Any, **options: Any) -> Any:
        found = conservation_laws(model, **options)
        return replace(found, count=found.count and replace(found.count, least=1, most=1))

    monkeypatch.setattr(laws_trial, "conservation_laws", fewer)
    assert any(problem.startswith("1 laws were counted") for problem in run_laws_trial(CELL, 1).problems)


def test_a_crash_is_a_failure_like_any_other(monkeypatch: pytest.MonkeyPatch) -> None:
    def burst(*_: Any, **__: Any) -> Any:
        raise NoRule("no rule")

    monkeypatch.setattr(laws_trial, "conservation_laws", burst)
    trial = run_laws_trial(CELL, 0)
    assert trial.problems[0].startswith("NoRule: no rule (burst, line")
    assert (trial.found, trial.missed) == (0, {})


def test_a_kind_of_near_miss_that_never_came_up_is_not_ok() -> None:
    trial = run_laws_trial(CELL, 0)
    assert laws_report([trial], 0, 0.0).ok
    without = replace(trial, missed={kind: trial.missed[kind] for kind in KINDS[1:]})
    assert not laws_report([without], 0, 0.0).ok


@pytest.mark.parametrize("activation", ["linear", "relu", "t^2"])
def test_every_near_miss_differs_from_its_law_in_what_it_says(activation: str) -> None:
    planted = planted_laws(LawsCell(activation, "residual", 3), 4)
    found = conservation_laws(planted.module, example=planted.example(), count=False)
    pairs, problems = matched(planted, found.families)
    assert not problems
    state, gradients = planted.state, random_gradients(planted)
    seen = set()
    for kind, family in near_misses(pairs):
        assert largest_rate(family, state, gradients) > 1e-8
        assert all(not np.array_equal(family.pieces, law.pieces) for law, _ in pairs)
        seen.add(kind)
    assert seen == set(KINDS)
    assert max(largest_rate(law, state, gradients) for law, _ in pairs) < 1e-14


def test_count_is_positive() -> None:
    with pytest.raises(WrongUse, match="must be positive"):
        laws_selfcheck(0)


def test_the_command(command: Any) -> None:
    ended = command("selfcheck", "--laws", "--count", "3", "--json")
    assert ended.code == 0
    assert (ended.record["ok"], ended.record["networks"], ended.record["recovered"]) == (True, 3, 3)
    assert command("selfcheck", "--laws", "--rewrite").code == 3


def test_the_command_ends_with_one_where_something_fails(command: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = laws_trial.run_laws_trial
    monkeypatch.setattr(laws_trial, "run_laws_trial", lambda c, s: replace(whole(c, s), problems=("planted",)))
    ended = command("selfcheck", "--laws", "--count", "1")
    assert ended.code == 1
    assert "planted" in ended.out
