"""Benchmark figures: measured beside bound, pass or miss, JSON and exit code."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from intertwiner.errors import WrongUse
from intertwiner.report import Claim, benchmark_arguments, figures


@pytest.mark.parametrize(
    ("value", "relation", "bound", "holds"),
    [
        (50, "<=", 50, True),
        (50.1, "<=", 50, False),
        (0.95, ">=", 0.95, True),
        (0.94, ">=", 0.95, False),
        (600, "==", 600, True),
        (599, "==", 600, False),
        ("24/60/12", "==", "24/60/12", True),
        ("24/60", "==", "24/60/12", False),
        (1, "<", 1, False),
        (2, ">", 1, True),
        (float("nan"), "<=", 1.0, False),
        (float("nan"), ">=", 1.0, False),
        (None, "<=", 1.0, False),
        (3.0, "<=", None, None),
    ],
)
def test_a_claim_holds_or_not(value: float, relation: str, bound: float, holds: bool | None) -> None:
    assert Claim("x", value, bound, relation).holds is holds


def test_claims_that_make_no_sense_are_refused() -> None:
    with pytest.raises(WrongUse, match="relation '~'"):
        Claim("x", 1, 2, "~")
    with pytest.raises(WrongUse, match="cannot be compared"):
        Claim("x", "1", 2)


def test_the_table_the_json_and_the_exit_code(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    target = tmp_path / "out" / "figures.json"
    arguments = benchmark_arguments("Speed.").parse_args(["--json", str(target), "--quick"])
    claims = [
        Claim("weight path [width 480]", 31.4159, 50, "<=", "ms", "median of 7"),
        Claim("recovered", 599, 600, "=="),
        Claim("rebasin", 812.0, unit="ms"),
        Claim("failed", float("nan"), 1.0),
    ]
    assert figures(claims, title="planted", arguments=arguments, skipped={"rebasin": "not installed"}) == 1
    out = capsys.readouterr().out
    assert "planted (quick: a smaller run)" in out
    rows = [" ".join(line.split()) for line in out.splitlines()]
    assert "weight path [width 480] 31.4 ms <= 50 ms pass median of 7" in rows
    assert "recovered 599 == 600 MISS" in rows
    assert "rebasin 812 ms" in rows
    assert "skipped: rebasin: not installed" in rows
    assert "2 of 3 bounds missed: recovered, failed" in rows
    record = json.loads(target.read_text(encoding="utf-8"))
    assert record["schema"] == "intertwiner.figures/1"
    assert (record["pass"], record["quick"]) == (False, True)
    assert record["claims"][0] == {
        "name": "weight path [width 480]",
        "value": 31.4159,
        "relation": "<=",
        "bound": 50,
        "unit": "ms",
        "note": "median of 7",
        "pass": True,
    }
    assert record["claims"][3]["value"] is None
    assert record["skipped"] == {"rebasin": "not installed"}
    assert {"processor", "cores", "system", "python", "numpy"} <= set(record["machine"])


def test_all_reached_gives_zero_and_needs_no_file(capsys: pytest.CaptureFixture[str]) -> None:
    assert figures([Claim("x", 1, 2)], title="t") == 0
    assert "all 1 bounds reached" in capsys.readouterr().out


def test_a_benchmark_adds_its_own_options() -> None:
    parser = benchmark_arguments("x")
    parser.add_argument("--models")
    arguments = parser.parse_args(["--models", "m"])
    assert (arguments.models, arguments.json, arguments.quick) == ("m", None, False)
