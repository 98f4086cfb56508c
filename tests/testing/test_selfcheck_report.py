"""The selfcheck: what it counts, how it fails, how it stops."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from concurrent.futures import Executor, Future
from dataclasses import replace

import pytest

import intertwiner as iw
from intertwiner.errors import WrongUse
from intertwiner.testing import Cell, planted_network, selfcheck
from intertwiner.testing import trial as trials
from intertwiner.testing.cells import covering
from intertwiner.testing.trial import claims, differences, run_trial, unrefused

CELL = Cell("D4", "tanh", "mlp", 1, "float64")


class Here(Executor):
    """Runs everything at once, in this process."""

    def submit(self, fn, /, *args, **kwargs) -> Future:
        future: Future = Future()
        future.set_result(fn(*args, **kwargs))
        return future


def test_every_pair_is_recovered_and_every_twin_refused() -> None:
    report = selfcheck(count=len(covering()), workers=1, progress=False)
    record = report.to_json()
    assert report.ok, json.dumps(record["failures"], indent=1)
    assert report.planted == report.recovered == report.cells == len(covering())
    assert report.pairs == report.all_pairs
    assert report.refused_twins == report.twins == 2 * report.planted
    assert report.false_actions == 0
    assert {"planted", "recovered", "false_actions", "refused_twins", "twins", "cells", "failures", "ok"} <= set(record)
    assert json.loads(json.dumps(record)) == record


def test_an_executor_of_the_user_is_used() -> None:
    report = selfcheck(count=2, executor=Here(), progress=False)
    assert report.ok
    assert report.planted == 2


def test_a_failure_is_listed_with_what_builds_it_again(monkeypatch: pytest.MonkeyPatch) -> None:
    right = planted_network(CELL, 7)
    wrong = replace(right, representations=planted_network(CELL, 8).representations, symmetry=right.symmetry)
    monkeypatch.setattr(trials, "planted_network", lambda cell, seed: wrong)
    report = selfcheck(count=1, seed=7, workers=1, progress=False)
    assert not report.ok
    assert report.recovered == 0
    (failure,) = report.to_json()["failures"]
    assert failure["seed"] == 7
    assert Cell(**failure["cell"]) == covering()[0]
    assert "was planted" in failure["problems"][0]
    assert f"failed: {covering()[0]}, seed 7" in str(report)


def test_a_crash_is_a_failure_like_any_other(monkeypatch: pytest.MonkeyPatch) -> None:
    def burst(cell: Cell, seed: int):
        raise ArithmeticError("no number")

    monkeypatch.setattr(trials, "planted_network", burst)
    trial = run_trial(CELL, 0)
    assert not trial.recovered
    assert trial.refused == 0
    assert trial.problems[0].startswith("ArithmeticError: no number")


def test_the_checks_of_a_trial_have_been_seen_failing() -> None:
    planted, other = planted_network(CELL, 7), planted_network(CELL, 8)
    found = iw.audit(planted.module, planted.symmetry, example=planted.example(), effort=iw.Effort(data=False))
    assert differences(planted, found) == []
    assert any("were planted" in line or "was planted" in line for line in differences(other, found))
    assert any("PROVED under a wrong action" in line for line in claims(found))
    assert any("an action is claimed at layers.0" in line for line in claims(found))
    assert any("the verdict is PROVED" in line for line in unrefused(planted, found))


@pytest.mark.parametrize("wrong", [{"count": 0}, {"count": 1, "workers": 0}])
def test_counts_are_positive(wrong: dict[str, int]) -> None:
    with pytest.raises(WrongUse, match="must be positive"):
        selfcheck(**wrong, progress=False)


@pytest.mark.slow
def test_ctrl_c_ends_the_workers_too() -> None:
    script = "from intertwiner.testing import selfcheck\nif __name__ == '__main__':\n    selfcheck(600, workers=2)\n"
    process = subprocess.Popen(
        [sys.executable, "-c", script],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    time.sleep(20)
    os.killpg(process.pid, signal.SIGINT)
    _, errors = process.communicate(timeout=60)
    assert process.returncode != 0
    assert errors.rstrip().endswith("KeyboardInterrupt")
    assert errors.count("Traceback") == 1
