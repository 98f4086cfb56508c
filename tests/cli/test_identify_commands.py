"""``intertwiner identify``, ``reduce`` and ``match``."""

from __future__ import annotations

import json
from pathlib import Path


def test_identify_ends_with_zero_where_a_theorem_decides(command, folder: Path) -> None:
    ended = command("identify", "nets:symmetric", "--example", "2", "--out", "known")
    assert ended.code == 0
    assert "Sussmann 1992" in ended.out
    assert json.loads((folder / "known" / "identifiability.json").read_text(encoding="utf-8"))["verdict"]["theorem"]


def test_identify_ends_with_two_where_none_does(command) -> None:
    ended = command("identify", "nets:unruled", "--example", "2", "--json")
    assert (ended.code, ended.record["verdict"]["kind"]) == (2, "UNDECIDED")
    assert "reduction" in ended.record["missing"]


def test_identify_takes_data(command) -> None:
    record = command("identify", "nets:symmetric", "--data", "x.npy", "--json").record
    assert record["functional_dimension"]["inputs"] == 32
    assert command("identify", "nets:symmetric", "--data", "nets:batches", "--dimension").code == 0


def test_reduce_writes_a_model_that_every_command_reads(command, folder: Path) -> None:
    ended = command("reduce", "nets:doubled", "--example", "2", "--out", "small", "--json")
    assert ended.code == 0
    assert [r["kind"] for r in ended.record["removed"]] == ["duplicate"]
    assert json.loads((folder / "small" / "reduction.json").read_text(encoding="utf-8")) == ended.record
    assert command("audit", "small", "--group", "C2", "--input", "vector:perm=1 0", "--output", "invariant").code == 0
    assert command("match", "small", "small").code == 0


def test_reduce_leaves_a_folder_of_somebody_else_alone(command, folder: Path) -> None:
    (folder / "mine").mkdir()
    (folder / "mine" / "notes.txt").write_text("keep", encoding="utf-8")
    ended = command("reduce", "nets:symmetric", "--example", "2", "--out", "mine")
    assert ended.code == 3
    assert [p.name for p in (folder / "mine").iterdir()] == ["notes.txt"]


def test_match_ends_with_its_verdict(command) -> None:
    same = command("match", "nets:symmetric", "nets:renamed", "--example", "2")
    assert same.code == 0
    assert same.out.startswith("PROVED")
    other = command("match", "nets:symmetric", "nets:broken", "--data", "x.npy", "--json")
    assert other.code == 1
    assert other.record["verdict"]["witness"]["inputs"]
    assert other.record["barrier"]["height"] >= 0


def test_match_says_where_architectures_differ(command) -> None:
    ended = command("match", "nets:symmetric", "nets:doubled", "--example", "2")
    assert ended.code == 3
    assert "ArchitectureMismatch" in ended.err


def test_a_box_that_is_none_is_wrong_use(command) -> None:
    ended = command("reduce", "nets:symmetric", "--example", "2", "--box", "nan")
    assert ended.code == 3
    assert "BoxMismatch" in ended.err


def test_selfcheck_of_the_reduction(command) -> None:
    record = command("selfcheck", "--identify", "--count", "3", "--json").record
    assert record["ok"] is True
    assert record["networks"] == 3
