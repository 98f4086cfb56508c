"""``intertwiner rewrite`` and ``selfcheck --rewrite``: exit codes, labels, budgets, a folder whole or not there."""

from __future__ import annotations

import json
import sys
from dataclasses import replace
from importlib import import_module
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

import intertwiner as iw
from intertwiner.cli import exits
from intertwiner.cli.app import app
from intertwiner.verdict import Kind

SWAP = ("--group", "C2", "--input", "vector:perm=1 0", "--output", "vector:perm=1 0")
INVARIANT = ("--group", "C2", "--input", "vector:perm=1 0", "--output", "invariant")
FILES = {"model.safetensors", "recipe.json", "certificate.json", "report.html", "rewrite.json"}
TINY = """
import torch
from torch import nn

def build():
    torch.manual_seed(3)
    return nn.Sequential(nn.Linear(2, 8), nn.Tanh(), nn.Linear(8, 2)).eval()

def batches():
    generator = torch.Generator().manual_seed(0)
    return [torch.randn(16, 2, generator=generator) for _ in range(3)]
"""


@pytest.fixture
def tiny(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a classifier of two inputs, samples ``x`` and labels ``y`` in one file."""
    monkeypatch.delitem(sys.modules, "tiny", raising=False)
    (folder / "tiny.py").write_text(TINY, encoding="utf-8")
    x = np.random.default_rng(1).standard_normal((60, 2)).astype(np.float32)
    np.savez(folder / "d.npz", x=x, y=(x[:, 0] < x[:, 1]).astype(np.int64), wrong=np.zeros(59, dtype=np.int64))
    np.savez(folder / "xy.npz", x=x, y=(x[:, 0] < x[:, 1]).astype(np.int64))
    save_file({"x": torch.from_numpy(x), "y": torch.from_numpy(x[:, 0] < x[:, 1]).long()}, folder / "xy.safetensors")
    np.save(folder / "y.npy", (x[:, 0] < x[:, 1]).astype(np.int64))
    return folder


def leftovers(folder: Path) -> set[str]:
    """Names in a folder that a rewrite might leave behind."""
    return {p.name for p in folder.iterdir() if p.name.startswith(".") or p.name == "twin"}


def test_a_symmetric_network_comes_back_proved(command, folder: Path) -> None:
    ended = command("rewrite", "nets:symmetric", *INVARIANT, "--data", "x.npy", "--out", "twin")
    assert ended.code == 0, ended.err
    assert ended.out.startswith("PROVED")
    for word in ("original", "group average", "twin", "multiply-adds", "free parameters", "noise floor", "2-2-1"):
        assert word in ended.out
    assert {p.name for p in (folder / "twin").iterdir()} == FILES
    twin = iw.load(folder / "twin")
    assert twin.certificate.widths == (2, 2, 1)
    assert "32 samples of x.npy" in twin.certificate.data
    record = json.loads((folder / "twin" / "rewrite.json").read_text(encoding="utf-8"))
    assert record["twin"]["certificate"] == twin.certificate.to_json()


def test_a_twin_that_is_not_proved_ends_with_two(command, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    room = import_module("intertwiner.rewrite")
    whole = room.rewrite

    def undecided(*args: object, **kwargs: object):
        twin = whole(*args, **kwargs)
        verdict = replace(twin.certificate.verdict, kind=Kind.UNDECIDED, reason="for the sake of it")
        return replace(twin, certificate=replace(twin.certificate, verdict=verdict))

    monkeypatch.setattr(room, "rewrite", undecided)
    ended = command("rewrite", "nets:symmetric", *INVARIANT, "--data", "x.npy", "--out", "twin")
    assert ended.code == 2
    assert ended.out.startswith("UNDECIDED")
    assert "for the sake of it" in ended.out
    assert "Equivariance is not proved" in (folder / "twin" / "report.html").read_text(encoding="utf-8")


def test_json_is_all_there_is_on_the_output(command, folder: Path) -> None:
    record = command("rewrite", "nets:symmetric", *INVARIANT, "--data", "x.npy", "--json").record
    assert record["schema"] == "intertwiner.rewrite/1"
    assert record["curve"] == []
    assert record["twin"]["folder"] is None
    assert not leftovers(folder)


@pytest.mark.parametrize(
    ("data", "labels"),
    [
        ("x:d.npz", "y"),
        ("xy.npz", "y"),
        ("x:xy.npz", "y.npy"),
        ("input=x:d.npz", "y:d.npz"),
        ("input=xy.npz", "y"),
        ("xy.safetensors", "y"),
    ],
)
def test_labels_give_accuracies(command, tiny: Path, data: str, labels: str) -> None:
    ended = command("rewrite", "tiny:build", *SWAP, "--data", data, "--labels", labels, "--budget", "2", "--json")
    assert ended.code == 0, ended.err
    found = ended.record["twin"]["certificate"]
    x = torch.from_numpy(np.load(tiny / "d.npz")["x"])
    with torch.no_grad():
        right = (import_module("tiny").build()(x).argmax(1).numpy() == np.load(tiny / "y.npy")).mean()
    assert found["accuracy"]["original"] == pytest.approx(right)
    assert set(found["accuracy"]) == {"twin", "original", "average"}


def test_labels_of_fewer_samples_go_with_them(command, tiny: Path) -> None:
    more = ("--data", "x:d.npz", "--labels", "y", "--budget", "2", "--max-samples", "20", "--json")
    ended = command("rewrite", "tiny:build", *SWAP, *more)
    assert ended.code == 0, ended.err
    assert ended.record["twin"]["certificate"]["data"].startswith("20 samples")


@pytest.mark.parametrize(
    ("data", "labels", "limit", "complaint"),
    [
        ("x:d.npz", "wrong", (), "59 labels for 60 samples"),
        # The first twenty of both would fit, and hide that the two do not belong together.
        ("x:d.npz", "wrong", ("--max-samples", "20"), "59 labels for 60 samples"),
        ("x:d.npz", "z", (), "holds no array 'z'"),
        ("x:d.npz", "x", (), "one class per sample"),
        ("x.npy", "y", (), "--labels labels.npy"),
        ("x.npy", "real.npy", (), "whole numbers"),
        ("x.npy", "negative.npy", (), "from -1"),
        ("x:d.npz", "nowhere.npy", (), "there is no file"),
        ("x:d.npz", "d.npz", (), "say which"),
        ("x.npy", "from_one.npy", (), "counted from 1"),
        ("tiny:batches", "y.npy", (), "60 labels for"),
    ],
)
def test_labels_that_do_not_fit_are_refused(
    command, tiny: Path, data: str, labels: str, limit: tuple[str, ...], complaint: str
) -> None:
    np.save(tiny / "real.npy", np.full(32, 0.5))
    np.save(tiny / "negative.npy", np.full(32, -1))
    np.save(tiny / "from_one.npy", np.full(32, 2))
    arguments = ("--data", data, "--labels", labels, *limit, "--budget", "2", "--out", "twin")
    ended = command("rewrite", "tiny:build", *SWAP, *arguments)
    assert ended.code == 3
    assert complaint in ended.err
    assert not leftovers(tiny)


def test_labels_without_data_are_refused(command, tiny: Path) -> None:
    ended = command("rewrite", "tiny:build", *SWAP, "--example", "2", "--labels", "y.npy")
    assert ended.code == 3
    assert "there is no --data" in ended.err


def test_a_curve_is_a_folder_of_twins_and_a_picture(command, tiny: Path) -> None:
    more = ("--data", "x:d.npz", "--labels", "y", "--curve", "0.5,2", "--out", "twin/")
    ended = command("rewrite", "tiny:build", *SWAP, *more)
    assert ended.code == 0, ended.err
    assert "by budget" in ended.out
    assert "budget 0.5: 2-" in ended.err
    record = json.loads((tiny / "twin" / "rewrite.json").read_text(encoding="utf-8"))
    assert [p["budget"] for p in record["curve"]] == [0.5, 1, 2]
    assert record["curve"][1] == record["twin"]
    for point in record["curve"]:
        twin = iw.load(tiny / point["folder"])
        assert list(twin.certificate.widths) == point["certificate"]["widths"]
        assert twin.certificate.cost <= point["budget"]
    page = (tiny / "twin" / "report.html").read_text(encoding="utf-8")
    assert page.count('class="tradeoff"') == 2
    assert {p.name for p in (tiny / "twin").iterdir()} == FILES | {"curve"}


def test_budgets_that_share_a_name_are_one(command, tiny: Path) -> None:
    more = ("--data", "x:d.npz", "--curve", "2,2.00000001", "--out", "twin")
    ended = command("rewrite", "tiny:build", *SWAP, *more)
    assert ended.code == 0, ended.err
    assert [p.name for p in (tiny / "twin" / "curve").iterdir()] == ["2"]


def test_without_a_curve_there_is_no_picture_of_one(command, tiny: Path) -> None:
    command("rewrite", "tiny:build", *SWAP, "--data", "x:d.npz", "--out", "twin")
    assert 'class="tradeoff"' not in (tiny / "twin" / "report.html").read_text(encoding="utf-8")


def test_a_budget_of_the_curve_at_which_nothing_fits_is_said(command, tiny: Path) -> None:
    ended = command("rewrite", "tiny:build", *SWAP, "--data", "x:d.npz", "--curve", "0.001,1", "--json")
    assert ended.code == 0, ended.err
    (left,) = ended.record["left_out"]
    assert left["budget"] == 0.001
    assert "least budget" in left["reason"]


def test_a_budget_of_the_twin_at_which_nothing_fits_is_refused(command, tiny: Path) -> None:
    ended = command("rewrite", "tiny:build", *SWAP, "--data", "x:d.npz", "--budget", "0.001", "--out", "twin")
    assert ended.code == 3
    assert "BudgetTooSmall" in ended.err
    assert not leftovers(tiny)


@pytest.mark.parametrize(
    ("options", "complaint"),
    [
        (("--budget", "0"), "positive multiple"),
        (("--budget", "inf"), "positive multiple"),
        (("--budget", "nan"), "positive multiple"),
        (("--curve", "1,two"), "expected numbers"),
        (("--curve", "1,-2"), "positive multiple"),
        (("--curve", ","), "is empty"),
        (("--curve", "1,0.5", "--budget", "-1"), "--budget"),
        (("--finetune", "-1"), "number of epochs"),
        (("--finetune", "nan"), "number of epochs"),
    ],
)
def test_numbers_that_make_no_sense_are_wrong_use(command, options: tuple[str, ...], complaint: str) -> None:
    ended = command("rewrite", "nets:symmetric", *INVARIANT, "--data", "x.npy", *options)
    assert ended.code == 3
    assert complaint in ended.err


def test_distillation_is_asked_for_only_where_it_is_wanted(command, monkeypatch: pytest.MonkeyPatch) -> None:
    room = import_module("intertwiner.rewrite")
    whole, seen = room.rewrite, []

    def noting(*args: object, **kwargs: object):
        seen.append(kwargs.pop("distil", None))
        return whole(*args, **kwargs)

    monkeypatch.setattr(room, "rewrite", noting)
    for options in ((), ("--finetune", "1.5")):
        command("rewrite", "nets:symmetric", *INVARIANT, "--data", "x.npy", *options)
    assert seen == [None, 1.5]


@pytest.mark.parametrize("kind", ["empty folder", "file", "below a file"])
def test_a_place_that_is_taken_is_refused_before_anything_is_read(command, folder: Path, kind: str) -> None:
    out = folder / "twin"
    if kind == "empty folder":
        out.mkdir()
    else:
        out.write_text("mine", encoding="utf-8")
    where = "twin/deeper" if kind == "below a file" else "twin"
    ended = command("rewrite", "nets:fails", *INVARIANT, "--data", "nowhere.npy", "--out", where)
    assert ended.code == 3
    assert ("is a file, not a folder" if kind == "below a file" else "Choose another folder") in ended.err
    assert "Nothing was rewritten" in ended.err
    assert out.is_dir() if kind == "empty folder" else out.read_text(encoding="utf-8") == "mine"


def test_folders_above_are_made(command, folder: Path) -> None:
    ended = command("rewrite", "nets:symmetric", *INVARIANT, "--data", "x.npy", "--out", "a/b/twin")
    assert ended.code == 0, ended.err
    assert {p.name for p in (folder / "a" / "b" / "twin").iterdir()} == FILES


@pytest.mark.parametrize("place", ["intertwiner.report.write_files", "pathlib.Path.rename"])
def test_ctrl_c_while_writing_leaves_nothing(
    command, folder: Path, monkeypatch: pytest.MonkeyPatch, place: str
) -> None:
    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(place, interrupted)
    before = set(folder.iterdir())
    ended = command("rewrite", "nets:symmetric", *INVARIANT, "--data", "x.npy", "--out", "twin")
    assert ended.code == exits.INTERRUPTED
    assert "nothing was written" in ended.err
    assert {p for p in folder.iterdir() if p.name != "__pycache__"} == before - {folder / "__pycache__"}


def test_a_disk_that_refuses_leaves_nothing_and_the_table_is_shown(
    command, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("intertwiner.report.write_files", full)
    ended = command("rewrite", "nets:symmetric", *INVARIANT, "--data", "x.npy", "--out", "twin")
    assert ended.code == 3
    assert "No space left on device" in ended.err
    assert ended.out.startswith("PROVED")
    assert not leftovers(folder)


def test_what_is_not_covered_is_refused_by_name(command, folder: Path) -> None:
    ended = command("rewrite", "nets:unruled", *INVARIANT, "--data", "x.npy", "--out", "twin")
    assert ended.code == 3
    assert "CannotRewrite" in ended.err
    assert not leftovers(folder)


def test_the_help_has_examples_and_exit_codes(capsys: pytest.CaptureFixture[str]) -> None:
    assert exits.run_app(app, ["rewrite", "--help"]) == 0
    text = capsys.readouterr().out
    assert "--labels y --out twin/" in text
    assert "Exit codes:" in text
    assert all(len(line) <= 80 for line in text.splitlines())


def test_selfcheck_of_the_rewrite(command) -> None:
    ended = command("selfcheck", "--rewrite", "--count", "2", "--json")
    assert ended.code == 0
    assert (ended.record["ok"], ended.record["planted"], ended.record["exact"]) == (True, 2, 2)
    assert "everything is as it should be" in command("selfcheck", "--rewrite", "--count", "1").out


def test_a_selfcheck_that_fails_ends_with_one(command, monkeypatch: pytest.MonkeyPatch) -> None:
    import intertwiner.testing.rewrite_trial as trial

    whole = trial.run_rewrite_trial
    monkeypatch.setattr(trial, "run_rewrite_trial", lambda c, s: replace(whole(c, s), problems=("planted",)))
    ended = command("selfcheck", "--rewrite", "--count", "1")
    assert ended.code == 1
    assert "planted" in ended.out


def test_two_selfchecks_at_once_are_wrong_use(command) -> None:
    assert command("selfcheck", "--rewrite", "--identify").code == 3


def test_a_subgroup_is_all_that_is_asked_for(command, folder: Path) -> None:
    more = ("--input", "vector:perm=1 0;0 1", "--output", "invariant", "--data", "x.npy", "--json")
    whole = command("rewrite", "nets:symmetric", "--group", "C2xC2", *more)
    part = command("rewrite", "nets:symmetric", "--group", "C2xC2", "--subgroup", "(r, e)", *more)
    assert (whole.code, part.code) == (0, 0), part.err
    assert [w.record["twin"]["certificate"]["order"] for w in (whole, part)] == [4, 2]
    assert part.record["symmetry"]["subgroup"] == "(r, e)"
    assert "subgroup" not in whole.record["symmetry"]
    wrong = command("rewrite", "nets:symmetric", "--group", "C2xC2", "--subgroup", "q", *more)
    assert wrong.code == 3
    assert "no element 'q'" in wrong.err
    audited = command("audit", "nets:symmetric", "--group", "C2xC2", "--subgroup", "(r, e)", *more)
    assert audited.code == 0, audited.err
    assert audited.record["group"]["order"] == 2


def test_a_distance_from_something_constant_is_unknown_and_saved_as_null(
    command, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    room = import_module("intertwiner.rewrite")
    whole = room.rewrite

    def lost(*args: object, **kwargs: object):
        twin = whole(*args, **kwargs)
        return replace(twin, certificate=replace(twin.certificate, distance_average=float("nan")))

    monkeypatch.setattr(room, "rewrite", lost)
    ended = command(
        "rewrite", "nets:symmetric", *INVARIANT, "--data", "x.npy", "--curve", "1,2", "--out", "twin"
    )  # fmt: skip
    assert ended.code == 0, ended.err
    assert "unknown" in ended.out
    assert "an unknown distance from the group average" in ended.err
    assert "nan " not in (ended.out + ended.err).lower()
    stored = json.loads((folder / "twin" / "certificate.json").read_text(encoding="utf-8"))
    assert stored["distance_average"] is None
    twin = iw.load(folder / "twin")
    assert np.isnan(twin.certificate.distance_average)
    assert "an unknown distance from its group average" in str(twin)


def test_the_bar_of_a_training_shows_steps_and_loss(capsys: pytest.CaptureFixture[str], monkeypatch) -> None:
    from intertwiner.cli import terminal

    monkeypatch.setattr(terminal, "PATIENCE", -1.0)
    monkeypatch.setenv("FORCE_COLOR", "1")
    with terminal.training("distil") as stepped:
        stepped(1, 2, 0.5)
        stepped(2, 2, 0.25)
    err = capsys.readouterr().err
    assert "step 2 of 2, loss 0.25" in err
    monkeypatch.setattr(terminal, "PATIENCE", 60.0)
    with terminal.training("distil") as stepped:
        stepped(2, 2, 0.25)
    assert "loss" not in capsys.readouterr().err


@pytest.mark.slow
def test_a_selfcheck_in_two_processes_finds_what_one_finds(command) -> None:
    one, two = (command("selfcheck", "--rewrite", "--count", "3", "--workers", n, "--json").record for n in ("1", "2"))
    assert one["ok"] and two["ok"] and one["function"] == two["function"]
