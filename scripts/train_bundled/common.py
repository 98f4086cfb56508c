"""What the training scripts share: one thread, one seed, one place for the weights."""

from __future__ import annotations

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")

import time
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import Tensor, nn

WEIGHTS = Path(__file__).resolve().parents[2] / "src" / "intertwiner" / "bundled" / "weights"
_STARTED = time.perf_counter()


def start(seed: int) -> torch.Generator:
    """One thread and a seeded default generator; returns another one for the order of the samples."""
    torch.set_num_threads(1)
    torch.manual_seed(seed)
    return torch.Generator().manual_seed(seed)


def save(name: str, module: nn.Module, seed: int, result: str, buffers: dict[str, Tensor] | None = None) -> None:
    """Writes ``name.safetensors``; the metadata say where it came from."""
    WEIGHTS.mkdir(exist_ok=True)
    tensors = {key: value.detach().contiguous() for key, value in (module.state_dict() | (buffers or {})).items()}
    path = WEIGHTS / f"{name}.safetensors"
    save_file(tensors, path, metadata={"name": name, "seed": str(seed), "result": result})
    print(f"{name}: {result}; {path.stat().st_size / 1024:.0f} KiB, {time.perf_counter() - _STARTED:.0f} s", flush=True)
