"""Shared fixtures: seeds, one thread per process, the command line, and the optional folder of real networks."""

from __future__ import annotations

import json
import os
import shutil
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

# Before numpy and torch are imported: two processes with a pool of threads each are slower than two single threads.
for _variable in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
    os.environ.setdefault(_variable, "1")

import numpy as np
import pytest
from hypothesis import HealthCheck, settings

SEED = 20260121

# Derandomised, so that a red test is red twice; no deadline, because the machine may be busy.
settings.register_profile(
    "intertwiner", deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow], print_blob=True
)
settings.load_profile("intertwiner")


@pytest.fixture(autouse=True)
def _one_thread_and_a_seed(request: pytest.FixtureRequest) -> None:
    """Tests that touch no torch do not pay for importing it."""
    np.random.seed(SEED)  # noqa: NPY002  (for third parties that draw from the global state)
    torch = sys.modules.get("torch")
    if torch is not None:
        torch.manual_seed(SEED)
        if "PYTEST_XDIST_WORKER" in os.environ:
            torch.set_num_threads(1)


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(SEED)


@pytest.fixture(scope="session")
def repository() -> Path:
    return Path(__file__).resolve().parent.parent


@pytest.fixture(scope="session")
def shared(repository: Path) -> Path:
    """Third-party networks and reference values, where they lie beside the repository. Never needed by default."""
    folder = repository.parent / "shared"
    if not (folder / "models").is_dir():
        pytest.skip("no folder ../shared with models beside the repository: this test uses third-party networks")
    return folder


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
    shutil.copy(Path(__file__).parent / "cli" / "nets.py", tmp_path / "nets.py")
    np.save(tmp_path / "x.npy", np.random.default_rng(0).standard_normal((32, 2)).astype(np.float32))
    monkeypatch.chdir(tmp_path)
    monkeypatch.delitem(sys.modules, "nets", raising=False)
    yield tmp_path
    sys.modules.pop("nets", None)


@pytest.fixture
def command(folder: Path, capsys: pytest.CaptureFixture[str]) -> Command:
    """``command("audit", ...)``: runs it in this process and gives exit code and both streams."""

    from intertwiner.cli import exits
    from intertwiner.cli.app import app

    def run(*arguments: object) -> Ended:
        capsys.readouterr()
        code = exits.run_app(app, [str(a) for a in arguments])
        captured = capsys.readouterr()
        return Ended(code, captured.out, captured.err)

    return run
