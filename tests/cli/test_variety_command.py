"""``intertwiner variety``."""

from __future__ import annotations

import json
from pathlib import Path

import pytest


def test_a_proved_dimension_ends_with_zero(command, folder: Path) -> None:
    ended = command("variety", "--widths", "2,3,3,1", "--activation", "t^2", "--out", "here")
    assert ended.code == 0
    assert "dimension    5  PROVED" in ended.out and "filled" in ended.out
    record = json.loads((folder / "here" / "neurovariety.json").read_text(encoding="utf-8"))
    assert (record["dimension"], record["ambient_dimension"], record["defect"]) == (5, "5", 0)
    assert command("variety", "--widths", "2,3,3,1", "--activation", "t^2", "--json").record["dimension"] == 5


def test_a_probable_one_ends_with_two(command) -> None:
    ended = command("variety", "--widths", "2,3,2", "--activation", "t^3 + t", "--draws", "1", "--json")
    assert (ended.code, ended.record["verdict"]["kind"]) == (2, "UNDECIDED")
    assert 0 < ended.record["chance"] < 1e-3 and len(ended.record["draws"]) == 2


@pytest.mark.parametrize(
    ("arguments", "dimension"),
    [
        (("--widths", "3,2,2", "--activation", "linear", "--bias"), 8),
        (("--filters", "3,2", "--activation", "t^2", "--strides", "2,1"), 4),
        (("--filters", "2,2", "--activation", "t^2", "--channels", "1,2,2"), 10),
        (("--attention", "lightning:width=3,rank=2,outputs=3,tokens=3"), 16),
        (("--attention", "softmax:width=3,rank=1,outputs=3,tokens=3,heads=2,inner=1"), 20),
    ],
)
def test_every_family_is_spelt(command, arguments, dimension: int) -> None:
    arguments = (arguments,) if isinstance(arguments, str) else arguments
    ended = command("variety", *arguments, "--json")
    assert (ended.code, ended.record["dimension"]) == (0, dimension)


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        ((), "exactly one of --widths"),
        (("--widths", "2,1", "--filters", "2"), "exactly one of --widths"),
        (("--widths", "2,2,1"), "needs the activation"),
        (("--widths", "2,x,1", "--activation", "t^2"), "whole numbers between commas"),
        (("--widths", "2,0,1", "--activation", "t^2"), "at least 1"),
        (("--widths", "2,2,1", "--activation", "relu"), "no polynomial in t"),
        (("--widths", "2,2,1", "--activation", "t^2", "--strides", "1"), "--strides does not go with --widths"),
        (("--attention", "softmax:width=3"), "rank and outputs and tokens missing"),
        (("--attention", "softmax:depth=3"), "is none of"),
        (("--attention", "sparse:width=3,rank=1,outputs=3,tokens=3"), "only lightning"),
        (("--attention", "softmax:width=3", "--bias"), "--bias does not go with --attention"),
    ],
)
def test_wrong_use_ends_with_three_and_says_what_to_do(command, arguments, complaint: str) -> None:
    ended = command("variety", *arguments)
    assert ended.code == 3
    assert complaint in ended.err and "Nothing was computed" in ended.err and not ended.out
