"""``intertwiner audit``: exit codes, what is printed, what is written, and how wrong use ends."""

from __future__ import annotations

import importlib
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from intertwiner.cli.spellings import ACTIONS
from intertwiner.symmetry.parse import SPELLINGS

SWAP = ("--group", "C2", "--input", "vector:perm=1 0", "--output", "invariant")


def audit(model: str, *more: object) -> tuple[object, ...]:
    return ("audit", model, *SWAP, *more)


def test_a_proved_network_ends_with_zero(command) -> None:
    ended = command(*audit("nets:symmetric", "--data", "x.npy"))
    assert ended.code == 0
    assert ended.out.startswith("PROVED, exactly")
    assert "A + B   1 x C2/1" in ended.out


def test_a_broken_network_ends_with_one(command) -> None:
    ended = command(*audit("nets:broken", "--data", "x.npy"))
    assert ended.code == 1
    assert ended.out.startswith("REFUTED")


def test_a_witness_ends_with_one_where_no_defect_was_measured(command) -> None:
    assert command(*audit("nets:broken", "--example", "2", "--weights-only")).code == 1


def test_max_defect_forgives(command) -> None:
    worst = command(*audit("nets:broken", "--data", "x.npy", "--json")).record["defect"]["worst"]
    assert command(*audit("nets:broken", "--data", "x.npy", "--max-defect", 1.01 * worst)).code == 0
    assert command(*audit("nets:broken", "--data", "x.npy", "--max-defect", 0.99 * worst)).code == 1


def test_an_undecided_network_ends_with_two(command) -> None:
    ended = command(*audit("nets:unruled", "--data", "x.npy"))
    assert ended.code == 2
    assert ended.out.startswith("UNDECIDED")
    assert "cumsum" in ended.out


def test_json_is_the_saved_record_and_nothing_else(command, folder: Path) -> None:
    ended = command(*audit("nets:symmetric", "--data", "x.npy", "--json", "--out", "report"))
    saved = json.loads((folder / "report" / "audit.json").read_text(encoding="utf-8"))
    assert ended.record == saved
    assert saved["data"]["source"] == "x.npy"
    assert (folder / "report" / "report.html").read_text(encoding="utf-8").lower().startswith("<!doctype html>")
    assert "written:" in ended.err


def test_without_data_noise_is_used_and_said(command) -> None:
    record = command(*audit("nets:symmetric", "--example", "2", "--json")).record
    assert record["data"]["source"] == "noise"
    assert "noise" in record["data"]["note"]


def test_the_data_may_come_from_code(command) -> None:
    assert command(*audit("nets:symmetric", "--data", "nets:batches", "--json")).record["data"]["samples"] == 48


def test_action_and_group_may_come_from_code(command) -> None:
    ended = command(
        "audit", "nets:symmetric", "--group", "nets:group", "--input", "nets:exchange", "--output", "invariant",
        "--data", "x.npy", "--json",
    )  # fmt: skip
    assert (ended.code, ended.record["verdict"]["kind"]) == (0, "PROVED")


@pytest.mark.parametrize("suffix", ["safetensors", "pt"])
def test_weights_of_their_own(command, folder: Path, suffix: str) -> None:
    state = {"0.weight": torch.tensor([[2.0, 1.0], [1.0, 2.0]]), "0.bias": torch.zeros(2)}
    state |= {"2.weight": torch.ones(1, 2), "2.bias": torch.zeros(1)}
    path = folder / f"w.{suffix}"
    torch.save(state, path) if suffix == "pt" else save_file(state, path)
    assert command(*audit("nets:broken", "--weights", path, "--data", "x.npy")).code == 0


@pytest.mark.parametrize("batch", [5, None])
def test_an_exported_program(command, folder: Path, batch: int | None, monkeypatch: pytest.MonkeyPatch) -> None:
    """With a fixed batch size the data are cut and the last batch is padded: 32 samples, 5 at a time."""
    monkeypatch.syspath_prepend(folder)
    shapes = None if batch else ({0: torch.export.Dim("batch")},)
    module = importlib.import_module("nets").symmetric()
    program = torch.export.export(module, (torch.zeros(5, 2),), dynamic_shapes=shapes)
    torch.export.save(program, folder / "net.pt2")
    ended = command(*audit("net.pt2", "--data", "x.npy", "--json"))
    assert ended.code == 0
    assert ended.record["data"]["samples"] == 32
    assert command(*audit("net.pt2", "--json")).record["data"]["source"] == "noise"


def test_a_module_is_put_into_evaluation_mode(command) -> None:
    assert command(*audit("nets:training", "--data", "x.npy")).code == 1


WRONG = {
    "no such module": (audit("nowhere:build", "--data", "x.npy"), "cannot import 'nowhere'"),
    "no such callable": (audit("nets:build", "--data", "x.npy"), "has no callable 'build'"),
    "no model": (audit("nets:number", "--data", "x.npy"), "nets:number"),
    "code that fails": (audit("nets:fails", "--data", "x.npy"), "no such checkpoint"),
    "no such file": (audit("net.pt2", "--data", "x.npy"), "net.pt2"),
    "no such data": (audit("nets:symmetric", "--data", "y.npy"), "there is no file y.npy"),
    "bytes without a scale": (audit("nets:symmetric", "--data", "bytes.npy"), "--scale 1/255"),
    "pickled data": (audit("nets:symmetric", "--data", "objects.npy"), "UnsafeFile"),
    "empty data": (audit("nets:symmetric", "--data", "empty.npy"), "EmptyData"),
    "NaN in the data": (audit("nets:symmetric", "--data", "nan.npy"), "NonFiniteData"),
    "wide data": (audit("nets:symmetric", "--data", "wide.npy"), "DataMismatch"),
    "neither data nor shape": (audit("nets:symmetric"), "--example"),
    "an unknown tap": (audit("nets:symmetric", "--data", "x.npy", "--taps", "layer9"), "UnknownTap"),
    "an unknown group": (
        ("audit", "nets:symmetric", "--group", "Monster", "--input", "invariant", "--output", "invariant",
         "--data", "x.npy"), "GroupError",
    ),
    "no action": (
        ("audit", "nets:symmetric", "--group", "C3", "--input", "vector:perm=1 0", "--output", "invariant",
         "--data", "x.npy"), "NotAnAction",
    ),
    "an unknown spelling": (
        ("audit", "nets:symmetric", "--group", "C2", "--input", "picture", "--output", "invariant",
         "--data", "x.npy"), "picture",
    ),
    "no group at all": (("audit", "nets:symmetric", "--input", "same", "--output", "same"), "--group"),
    "a file for a folder": (audit("nets:symmetric", "--data", "x.npy", "--out", "x.npy"), "is a file, not a folder"),
    "no such command": (("audti",), "audti"),
}  # fmt: skip


@pytest.mark.parametrize("name", WRONG)
def test_wrong_use_ends_with_three_and_writes_nothing(command, folder: Path, name: str) -> None:
    np.save(folder / "bytes.npy", np.zeros((4, 2), dtype=np.uint8))
    np.save(folder / "objects.npy", np.array([{}, {}], dtype=object))
    np.save(folder / "empty.npy", np.zeros((0, 2), dtype=np.float32))
    np.save(folder / "nan.npy", np.full((4, 2), np.nan, dtype=np.float32))
    np.save(folder / "wide.npy", np.zeros((4, 3), dtype=np.float32))
    arguments, expected = WRONG[name]
    before = sorted(p.name for p in folder.iterdir())
    out = () if "--out" in arguments or arguments[0] != "audit" else ("--out", "report")
    ended = command(*arguments, *out)
    assert (ended.code, ended.out) == (3, "")
    assert expected in ended.err
    assert "Traceback" not in ended.err
    assert sorted(p.name for p in folder.iterdir() if p.name != "__pycache__") == before


def test_the_table_of_spellings_is_that_of_the_parser() -> None:
    assert ACTIONS == SPELLINGS
