"""Shared fixtures: seeds, one thread per process, and the optional folder of real networks beside the repository."""

from __future__ import annotations

import os
from pathlib import Path

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
    import sys

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
