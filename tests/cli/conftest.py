"""A folder as a user's: a file of networks beside their data, and the command line run in it."""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from intertwiner.cli import exits
from intertwiner.cli.app import app

HERE = Path(__file__).parent


@dataclass(frozen=True)
class Ended:
    """How a command ended."""

    code: int
    out: str
    err: str

    @property
    def record(self) -> Any:
        return json.loads(self.out)


Command = Callable[..., Ended]


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The current folder, with ``nets.py`` and ``x.npy`` in it."""
    shutil.copy(HERE / "nets.py", tmp_path / "nets.py")
    np.save(tmp_path / "x.npy", np.random.default_rng(0).standard_normal((32, 2)).astype(np.float32))
    monkeypatch.chdir(tmp_path)
    monkeypatch.delitem(sys.modules, "nets", raising=False)
    yield tmp_path
    sys.modules.pop("nets", None)


@pytest.fixture
def command(folder: Path, capsys: pytest.CaptureFixture[str]) -> Command:
    """``command("audit", ...)``: runs it in this process and gives exit code and both streams."""

    def run(*arguments: object) -> Ended:
        capsys.readouterr()
        code = exits.run_app(app, [str(a) for a in arguments])
        captured = capsys.readouterr()
        return Ended(code, captured.out, captured.err)

    return run
