"""``intertwiner variety``."""

from __future__ import annotations

import importlib
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from xml.etree import ElementTree

import pytest

from intertwiner.variety.search import FillingSearch

SQUARES = """
import torch
from torch import nn

class Square(nn.Module):
    def forward(self, x):
        return x ** 2

def full():
    return network([[1.0, 0.0, 2.0], [0.0, 1.0, 1.0]])

def repeated():
    return network([[1.0, 2.0, 3.0], [2.0, 4.0, 6.0]])

def network(first):
    net = nn.Sequential(nn.Linear(3, 2, bias=False), Square(), nn.Linear(2, 1, bias=False))
    with torch.no_grad():
        net[0].weight.copy_(torch.tensor(first))
        net[2].weight.fill_(1.0)
    return net

class Cube(nn.Module):
    def forward(self, x):
        return x ** 3

def wide():
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(5, 6, bias=False), Cube(), nn.Linear(6, 1, bias=False))

def smooth():
    return nn.Sequential(nn.Linear(3, 2), nn.Tanh(), nn.Linear(2, 1))
"""


@pytest.fixture
def squares(folder: Path) -> Iterator[Path]:
    (folder / "squares.py").write_text(SQUARES, encoding="utf-8")
    sys.modules.pop("squares", None)
    yield folder
    sys.modules.pop("squares", None)


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
        ((), "exactly one of MODEL, --widths"),
        (("--widths", "2,1", "--filters", "2"), "exactly one of MODEL, --widths"),
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


def test_a_model_is_asked_about_its_own_parameters(command, squares: Path) -> None:
    full = command("variety", "squares:full", "--example", "3")
    assert full.code == 0
    assert "dimension   5  PROVED" in full.out and "PROVED: this parameter of 3-2-1, t^2 is full" in full.out
    assert "is a smooth point" in full.out
    ended = command("variety", "squares:repeated", "--example", "3", "--json")
    assert (ended.code, ended.record["smoothness"]["status"]) == (0, "singular")
    kinds = [fault["kind"] for fault in ended.record["smoothness"]["degeneracy"]["faults"]]
    assert kinds == ["rank-deficient", "repeated"] and ended.record["dimension"] == 5


def test_a_saved_model_needs_no_example(command, squares: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(squares)
    import torch

    nets = importlib.import_module("squares")
    torch.export.save(torch.export.export(nets.full(), (torch.zeros(2, 3),)), squares / "full.pt2")
    assert command("variety", "full.pt2", "--json").record["smoothness"]["status"] == "smooth"


def test_an_undecided_smoothness_ends_with_two(command, squares: Path) -> None:
    ended = command("variety", "squares:wide", "--example", "5", "--json")
    assert ended.record["verdict"]["kind"] == "PROVED" and ended.record["smoothness"]["status"] == "undecided"
    assert ended.code == 2


def test_equations_stand_beside_the_dimension(command, squares: Path) -> None:
    ended = command("variety", "--widths", "3,2,1", "--activation", "t^2", "--equations", "3")
    assert ended.code == 0
    assert "satisfy 1 equation up to degree 3" in ended.out and "dimensions by degree 1, 6, 21, 55" in ended.out
    record = command("variety", "squares:full", "--example", "3", "--equations", "2", "--json").record
    assert record["equations"]["hilbert"] == [1, 6, 21] and record["equations"]["generators"] == []


def test_filling_widths_are_found_and_a_journal_goes_on(command, folder: Path) -> None:
    words = ("variety", "--filling", "2,1", "--activation", "t^2", "--depth", "4", "--journal", "log.jsonl")
    ended = command(*words, "--json", "--out", "here")
    found = FillingSearch.from_json(ended.record)
    assert ended.code == (0 if found.verdict.is_proved else 2) and found.minimal == ((3, 3, 2),)
    lines = (folder / "log.jsonl").read_text(encoding="utf-8").splitlines()
    again = command(*words)
    assert "2-3-3-2-1" in again.out and again.code == ended.code
    assert (folder / "log.jsonl").read_text(encoding="utf-8").splitlines() == lines
    assert json.loads((folder / "here" / "filling.json").read_text(encoding="utf-8")) == ended.record
    other = command("variety", "--filling", "2,1", "--activation", "t^2", "--depth", "3", "--journal", "log.jsonl")
    assert other.code == 3 and "journal of another search" in other.err


def test_a_limit_on_the_widths_is_kept(command) -> None:
    ended = command("variety", "--filling", "2,1", "--activation", "t^2", "--depth", "4", "--most", "2", "--json")
    assert ended.record["limited"] is True and ended.record["minimal"] == []


def test_pictures_are_files_of_their_own(command, squares: Path) -> None:
    command("variety", "squares:full", "--example", "3", "--out", "here")
    assert sorted(p.name for p in (squares / "here").iterdir()) == ["dimension.svg", "neurovariety.json", "plane.svg"]
    for name in ("dimension.svg", "plane.svg"):
        root = ElementTree.parse(squares / "here" / name).getroot()
        assert root.tag == "{http://www.w3.org/2000/svg}svg" and len(root)
    command("variety", "squares:repeated", "--example", "3", "--out", "other")
    one, other = (squares / place / "plane.svg" for place in ("here", "other"))
    assert one.read_text(encoding="utf-8") != other.read_text(encoding="utf-8")  # around the parameters of the model
    command("variety", "--attention", "lightning:width=2,rank=1,outputs=2,tokens=2", "--out", "there")
    assert [p.name for p in (squares / "there").iterdir()] == ["neurovariety.json"]


def test_a_folder_is_written_whole_or_not_at_all(command, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import os

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    ended = command("variety", "--widths", "2,2,1", "--activation", "t^2", "--out", "here")
    assert ended.code == 3 and "No space left" in ended.err and not (folder / "here").exists()


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (("squares:full", "--example", "3", "--widths", "2,1"), "got MODEL and --widths"),
        (("squares:full", "--example", "3", "--activation", "t^2"), "--activation does not go with MODEL"),
        (("squares:smooth", "--example", "3"), "no polynomial"),
        (("--widths", "2,2,1", "--activation", "t^2", "--example", "2"), "belong to a MODEL"),
        (("--widths", "2,2,1", "--activation", "t^2", "--depth", "3"), "--depth does not go with --widths"),
        (("--filters", "2,2", "--activation", "t^2", "--equations", "2"), "--equations goes with MODEL or --widths"),
        (("--filling", "2,1", "--activation", "t^2", "--equations", "2"), "--equations goes with MODEL or --widths"),
        (("--filling", "2", "--activation", "t^2"), "input and the output width"),
        (("--filling", "2,1"), "needs the activation"),
        (("--filling", "2,1", "--activation", "t^2 + t"), "about powers t^r"),
        (("--filling", "2,1", "--activation", "t^2", "--draws", "1"), "--primes and --draws do not go"),
        (("--filling", "2,1", "--activation", "t^2", "--journal", "no/such/folder"), "--journal no/such/folder"),
    ],
)
def test_wrong_use_of_models_equations_and_searches(command, squares: Path, arguments, complaint: str) -> None:
    ended = command("variety", *arguments)
    assert ended.code == 3
    assert complaint in ended.err and "Nothing was computed" in ended.err and not ended.out
