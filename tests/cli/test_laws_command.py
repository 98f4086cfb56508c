"""``intertwiner laws``: for widths, for models, with reports, and what it refuses."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from intertwiner.training import ConservationLaws


def test_widths_give_formulas_and_a_proved_count(command) -> None:
    ended = command("laws", "--widths", "4,8,8,2", "--activation", "relu", "--bias")
    assert ended.code == 0
    assert ended.out.startswith("PROVED")
    assert "|0.weight[i]|^2 + 0.bias[i]^2 - |2.weight[:, i]|^2 = const" in ended.out
    assert "16 independent conserved functions of 130 parameters" in ended.out


@pytest.mark.parametrize(
    ("activation", "laws"), [("relu", 3), ("linear", 6), ("t^2", 3), ("leaky_relu", 3), ("tanh", 0), ("gelu", 0)]
)
def test_activations_decide_what_is_conserved(command, activation: str, laws: int) -> None:
    record = command("laws", "--widths", "2,3,2", "--activation", activation, "--json").record
    assert sum(f["count"] for f in record["families"]) == record["count"]["least"] == record["count"]["most"] == laws


def test_the_record_reads_back(command) -> None:
    ended = command("laws", "--widths", "3, 2, 2", "--json")
    assert ConservationLaws.from_json(ended.record).to_json() == ended.record


def test_a_model_in_training_mode_is_taken(command) -> None:
    record = command("laws", "nets:training", "--example", "2", "--json").record
    assert [f["kind"] for f in record["families"]] == ["balance"]
    record = command("laws", "nets:training", "--example", "2", "--evaluation", "--json").record
    assert [f["kind"] for f in record["families"]] == ["matrix"]
    assert command("laws", "nets:symmetric", "--data", "x.npy").code == 0


def test_losses_are_named(command) -> None:
    entropy = command("laws", "--widths", "2,3,2", "--loss", "cross_entropy", "--json").record
    anything = command("laws", "--widths", "2,3,2", "--loss", "any", "--json").record
    assert [f["holds"] for f in entropy["families"]] == ["", "cross entropy"]
    assert [f["holds"] for f in anything["families"]] == [""]
    wrong = command("laws", "--widths", "2,3,2", "--loss", "hinge")
    assert wrong.code == 3
    assert "mse, cross_entropy" in wrong.err


def test_an_open_count_ends_with_two(command) -> None:
    ended = command("laws", "--widths", "2,3,2", "--no-count")
    assert ended.code == 2
    assert ended.out.startswith("UNDECIDED")
    ended = command("laws", "--widths", "60,60,10")
    assert ended.code == 2
    assert "the bound is 3000" in ended.out


def test_a_report_is_written(command, folder: Path) -> None:
    ended = command("laws", "--widths", "2,3,2", "--out", "found", "--json")
    assert ended.code == 0
    record = json.loads((folder / "found" / "laws.json").read_text(encoding="utf-8"))
    assert record["families"] == ended.record["families"]
    assert [len(v) for v in record["values"]] == [3]
    assert "0.weight" in (folder / "found" / "report.html").read_text(encoding="utf-8")
    (folder / "file").write_text("mine", encoding="utf-8")
    assert command("laws", "--widths", "2,3,2", "--out", "file").code == 3
    assert (folder / "file").read_text(encoding="utf-8") == "mine"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((), "a MODEL or --widths"),
        (("nets:symmetric", "--widths", "2,3"), "a MODEL or --widths"),
        (("nets:symmetric", "--degree", "2"), "give --widths"),
        (("--widths", "3,2,2", "--activation", "tanh", "--degree", "2"), "give --widths"),
        (("--widths", "3"), "at least two whole numbers"),
        (("--widths", "3,0,2"), "at least two whole numbers"),
        (("--widths", "3,x"), "at least two whole numbers"),
        (("--widths", "3,2,2", "--activation", "t^1"), "or a power as in t^2"),
        (("--widths", "3,2,2", "--activation", "swish?"), "choose among relu"),
        (("nets:symmetric",), "shape of the input"),
        (("nets:fails", "--example", "2"), "no such checkpoint"),
    ],
)
def test_what_makes_no_sense_is_refused(command, arguments: tuple[str, ...], message: str) -> None:
    ended = command("laws", *arguments)
    assert ended.code == 3
    assert message in ended.err
    assert not ended.out


TURNS = ("--group", "C4", "--input", "vector:matrix=[0 -1/1 0]", "--output", "invariant")


def test_symmetric_data_are_spelt_as_for_audit(command) -> None:
    ended = command("laws", "--widths", "2,1", "--activation", "linear", *TURNS, "--json")
    found = ConservationLaws.from_json(ended.record)
    assert found.data_symmetry is not None
    assert found.data_symmetry.extra == 1
    still = command("laws", "--widths", "2,1", "--activation", "linear", *TURNS, "--subgroup", "1", "--json").record
    assert ConservationLaws.from_json(still).data_symmetry.extra == 0  # type: ignore[union-attr]
    powers = command("laws", "--widths", "2,2,1", "--activation", "t^2", *TURNS)
    assert "squared error, data symmetric under C4" in powers.out
    relu = command("laws", "--widths", "2,2,1", *TURNS)
    assert relu.code == 0
    assert "tensorizable networks only" in relu.out


def test_half_a_symmetry_is_refused(command) -> None:
    for part in (TURNS[:2], TURNS[2:], ("--subgroup", "r")):
        ended = command("laws", "--widths", "2,1", *part)
        assert ended.code == 3
        assert "--group, --input and --output together" in ended.err


@pytest.mark.parametrize(("activation", "laws"), [("relu", 2), ("linear", 3), ("t^2", 2)])
def test_all_polynomials_up_to_a_degree_are_written_out(command, activation, laws) -> None:
    wish = ("laws", "--widths", "2,2,1", "--activation", activation, "--degree", "2")
    record = command(*wish, "--json").record["polynomials"]
    assert len(record["laws"]) == laws
    assert f"{laws} independent conserved polynomials of degree <= 2, complete" in command(*wish).out
