"""The other commands, the streams, and how a command ends when it is interrupted."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from functools import partial
from pathlib import Path

import numpy as np
import pytest

from intertwiner import bundled
from intertwiner.cli import demo, exits
from intertwiner.cli.app import app

SWAP = ("--group", "C2", "--input", "vector:perm=1 0", "--output", "invariant")


def python(*arguments: str, **options) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, *arguments], capture_output=True, text=True, timeout=120, **options)


def test_help_does_not_wait_for_torch() -> None:
    script = (
        "import sys\n"
        "from intertwiner.cli import exits\nfrom intertwiner.cli.app import app\n"
        "code = exits.run_app(app, ['audit', '--help'])\n"
        "print(code, 'torch' in sys.modules)"
    )
    ended = python("-c", script)
    assert ended.stdout.splitlines()[-1] == "0 False"
    assert "vector:perm=1 0 3 2" in ended.stdout


def test_a_verb_hides_the_room_of_its_name() -> None:
    script = (
        "import intertwiner.audit.run\nimport intertwiner as iw\n"
        "print(callable(iw.audit), iw.audit.__name__, sorted(set(iw.__all__) - set(dir(iw))))"
    )
    assert python("-c", script).stdout.split(maxsplit=2) == ["True", "audit", "[]\n"]


def test_no_command_shows_the_help_and_is_wrong_use(command) -> None:
    ended = command()
    assert (ended.code, ended.out) == (3, "")
    assert "audit" in ended.err


def test_version(command) -> None:
    assert command("--version").out.startswith("intertwiner ")


def test_taps_lists_what_audit_takes(command) -> None:
    record = command("taps", "nets:symmetric", "--example", "2", "--json").record
    assert {"0:out", "1:out", "2:out"} <= {tap["name"] for tap in record["taps"]}
    hidden = next(space for space in record["spaces"] if not space["given"])
    assert (hidden["dimension"], hidden["gauge"]) == (2, "signed permutations")
    assert "signed permutations" in command("taps", "nets:symmetric", "--example", "2").out


def test_two_audits_side_by_side(command) -> None:
    for name in ("symmetric", "broken"):
        command("audit", f"nets:{name}", *SWAP, "--data", "x.npy", "--out", name)
    ended = command("compare", "symmetric", "broken")
    assert ended.code == 0
    assert "PROVED, exactly" in ended.out
    assert "REFUTED" in ended.out
    record = command("compare", "symmetric", "symmetric/audit.json", "--json").record
    assert record["taps"][0]["same_action"] is True
    assert command("compare", "symmetric", "nowhere").code == 3


def test_selfcheck_counts(command) -> None:
    record = command("selfcheck", "--count", "2", "--json").record
    assert (record["ok"], record["planted"], record["recovered"], record["refused_twins"]) == (True, 2, 2, 4)


def test_the_demo_writes_a_page_over_all_reports(command, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bundled, "names", lambda: ("planted-tanh-d4", "planted-relu-s3"))
    ended = command("demo", "--out", "r")
    assert ended.code == 0
    assert "2 networks in" in ended.out
    page = (folder / "r" / "report.html").read_text(encoding="utf-8")
    assert 'href="planted-tanh-d4/report.html"' in page
    assert (folder / "r" / "planted-relu-s3" / "audit.json").is_file()


def test_the_demo_rewrites_one_network(command, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bundled, "names", lambda: ("planted-tanh-d4", "planted-relu-s3"))
    monkeypatch.setattr(demo, "TWIN_OF", "planted-relu-s3")
    monkeypatch.setattr(demo, "BUDGET", 1.0)
    ended = command("demo", "--out", "r")
    assert ended.code == 0, ended.err
    assert "twin of planted-relu-s3: PROVED" in ended.out
    page = (folder / "r" / "report.html").read_text(encoding="utf-8")
    assert page.count("exactly equivariant twin</a>") == 1
    assert 'href="planted-relu-s3/twin.html"' in page
    assert "keeps the page only" in (folder / "r" / "planted-relu-s3" / "twin.html").read_text(encoding="utf-8")
    assert not (folder / "r" / "planted-tanh-d4" / "twin.html").exists()


def test_a_demo_that_fails_half_way_writes_nothing(command, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bundled, "names", lambda: ("planted-tanh-d4", "planted-relu-s3"))
    whole = demo._audited

    def audited(name: str):
        if name == "planted-relu-s3":
            raise KeyboardInterrupt
        return whole(name)

    monkeypatch.setattr(demo, "_audited", audited)
    ended = command("demo", "--out", "r")
    assert ended.code == 130
    assert "nothing was written" in ended.err
    assert not (folder / "r").exists()


def test_ctrl_c_leaves_no_partial_report(folder: Path) -> None:
    """A real signal, sent while the data are read; the folder of the report is not there afterwards."""
    (folder / "slow.py").write_text(
        "import time, torch\n"
        "def batches():\n"
        "    for k in range(1000):\n"
        "        if k == 3:\n"
        "            open('started', 'w').close()\n"
        "        time.sleep(.05)\n"
        "        yield torch.zeros(4, 2) + k\n"
        "class Data:\n"
        "    def __iter__(self):\n"
        "        return batches()\n"
        "data = Data()\n",
        encoding="utf-8",
    )
    arguments = ["audit", "nets:symmetric", *SWAP, "--data", "slow:data", "--out", "report"]
    running = subprocess.Popen(
        [sys.executable, "-m", "intertwiner", *arguments], cwd=folder, stderr=subprocess.PIPE, stdout=subprocess.PIPE,
        # A shell that runs the tests in the background has them ignore the signal, and children inherit that.
        text=True, preexec_fn=partial(signal.signal, signal.SIGINT, signal.SIG_DFL),
    )  # fmt: skip
    end = time.monotonic() + 60
    while not (folder / "started").exists() and time.monotonic() < end and running.poll() is None:
        time.sleep(0.05)
    running.send_signal(signal.SIGINT)
    out, err = running.communicate(timeout=60)
    assert (running.returncode, out) == (130, ""), err
    assert "interrupted: nothing was written" in err
    assert not (folder / "report").exists()


def test_a_reader_that_goes_away_is_no_fault(folder: Path) -> None:
    read, write = os.pipe()
    os.close(read)
    code = subprocess.run(
        [sys.executable, "-m", "intertwiner", "audit", "nets:symmetric", *SWAP, "--data", "x.npy", "--json"],
        cwd=folder, stdout=write, stderr=subprocess.PIPE, timeout=120,
    )  # fmt: skip
    os.close(write)
    assert code.returncode == exits.PIPE_CLOSED
    assert b"Traceback" not in code.stderr


def test_a_fault_of_ours_is_told_from_wrong_use(command, monkeypatch: pytest.MonkeyPatch) -> None:
    def fault(*_: object, **__: object) -> None:
        raise ZeroDivisionError("a fault")

    monkeypatch.setattr("intertwiner.cli.audit._audited", fault)
    ended = command("audit", "nets:symmetric", *SWAP, "--data", "x.npy")
    assert ended.code == exits.INTERNAL
    assert "fault of intertwiner" in ended.err


def test_a_name_with_control_characters_is_shown_and_not_obeyed(command) -> None:
    ended = command("audit", "nets:symmetric", *SWAP, "--data", "\x1b[31mred.npy")
    assert ended.code == 3
    assert "\x1b" not in ended.err
    assert "\\x1b[31mred.npy" in ended.err


def test_scaled_bytes_are_said_in_the_record(command, folder: Path) -> None:
    np.save(folder / "bytes.npy", np.arange(64, dtype=np.uint8).reshape(32, 2))
    record = command("audit", "nets:symmetric", *SWAP, "--data", "bytes.npy", "--scale", "1/255", "--json").record
    assert "uint8 times 0.00392157" in record["data"]["note"]


def test_every_command_has_help() -> None:
    for name in ("audit", "demo", "selfcheck", "compare", "taps"):
        assert exits.run_app(app, [name, "--help"]) == 0
