"""Models from files and names: ``.pt2``, a folder of ours, or ``package.module:callable`` with weights.

A folder is ``recipe.json`` beside its files; ``{"format": "intertwiner.model/1"}`` holds an exported program in
``model.pt2``. Other formats register a reader, so that a folder never names code to run.
"""

from __future__ import annotations

import importlib
import json
import os
import pickle
import shutil
import sys
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn
from torch.export import ExportedProgram

from intertwiner.errors import CorruptFile, UnsafeFile, WrongUse
from intertwiner.network.archive import load_pt2
from intertwiner.network.network import Network
from intertwiner.network.trace import export_module

FORMAT = "intertwiner.model/1"
RECIPE = "recipe.json"
PROGRAM = "model.pt2"

Model = nn.Module | ExportedProgram
READERS: dict[str, Callable[[Path, dict[str, Any]], Model]] = {}


def register_format(
    name: str,
) -> Callable[[Callable[[Path, dict[str, Any]], Model]], Callable[[Path, dict[str, Any]], Model]]:
    """Say how folders with this ``"format"`` in their recipe are read; the reader gets the folder and the recipe."""

    def record(reader: Callable[[Path, dict[str, Any]], Model]) -> Callable[[Path, dict[str, Any]], Model]:
        READERS[name] = reader
        return reader

    return record


def load_model(spec: str | Path, weights: str | Path | None = None) -> Model:
    """A model by file, folder or name, ready for `trace`.

    Args:
        spec: ``file.pt2``, a folder that `save_model` wrote, or ``package.module:callable``, which is called without
            arguments and must return a module.
        weights: ``.safetensors`` or ``.pt`` with the state_dict; only for a callable.

    Raises:
        UnsafeFile: A file that could run code.
        CorruptFile: A file that is damaged, or weights that do not fit the module.
        WrongUse: A name that leads to no module.
    """
    text = str(spec)
    path = Path(text)
    if path.suffix == ".pt2" or path.is_dir():
        if weights is not None:
            raise WrongUse(f"{text} carries its own weights; --weights goes with package.module:callable")
        return _load_folder(path) if path.is_dir() else load_pt2(path)
    if ":" in text and not path.exists():
        module = _call(text)
        if weights is not None:
            _fill(module, load_weights(weights), Path(weights).name)
        return module.eval()
    raise WrongUse(
        f"{text!r} is no model: expected a .pt2 file, a folder with {RECIPE}, or package.module:callable"
        + ("" if path.exists() else " (there is no such file)")
    )


def load_weights(path: str | Path) -> dict[str, Tensor]:
    """A state_dict from ``.safetensors``, or from ``.pt`` without unpickling anything but tensors.

    Raises:
        UnsafeFile: The pickle holds more than tensors.
        CorruptFile: The file is missing, damaged, or holds no state_dict.
    """
    path = Path(path)
    if not path.is_file():
        raise CorruptFile(f"there is no weights file {path}")
    if path.suffix == ".safetensors":
        try:
            return load_file(path)
        except (SafetensorError, ValueError, OSError) as error:
            raise CorruptFile(f"{path.name} is no readable safetensors file: {error}") from error
    if path.suffix not in (".pt", ".pth", ".bin"):
        raise WrongUse(f"weights come as .safetensors or .pt, not {path.suffix or 'without a suffix'}: {path.name}")
    with path.open("rb") as file:
        start = file.read(4)
    if not start.startswith((b"PK", b"\x80")):
        raise CorruptFile(f"{path.name} is no readable .pt file: it is neither an archive nor a pickle")
    try:
        found = torch.load(path, weights_only=True, map_location="cpu")
    except pickle.UnpicklingError as error:
        if _is_refusal(error):
            raise UnsafeFile(
                f"{path.name} was refused: its pickle holds more than tensors, and loading it could run code.\n"
                "  Save the state_dict alone, best as .safetensors. Nothing was loaded."
            ) from error
        raise CorruptFile(f"{path.name} is no readable .pt file: {str(error).splitlines()[0][:200]}") from error
    except Exception as error:
        raise CorruptFile(f"{path.name} is no readable .pt file: {type(error).__name__}: {error}") from error
    for key in ("state_dict", "model_state_dict", "model"):
        if isinstance(found, dict) and isinstance(found.get(key), dict):
            found = found[key]
    if not isinstance(found, dict) or not found or not all(isinstance(v, Tensor) for v in found.values()):
        raise CorruptFile(f"{path.name} holds no state_dict: expected a dictionary of tensors")
    return found


def _is_refusal(error: BaseException) -> bool:
    text = str(error)
    return "Unsupported global" in text or "Unsupported operand" in text or "was not an allowed global" in text or (
        "Trying to" in text or "not allowed" in text or "Can only" in text)  # fmt: skip


def _fill(module: nn.Module, state: dict[str, Tensor], name: str) -> None:
    own = module.state_dict()
    missing = [k for k in own if k not in state]
    surplus = [k for k in state if k not in own]
    shapes = [f"{k}: {tuple(state[k].shape)} for {tuple(own[k].shape)}" for k in own
              if k in state and state[k].shape != own[k].shape]  # fmt: skip
    if missing or surplus or shapes:
        found = (("missing", missing), ("unknown", surplus), ("shapes", shapes))
        parts = [f"{what} {', '.join(k[:5])}{' ...' if len(k) > 5 else ''}" for what, k in found if k]
        raise CorruptFile(f"the weights in {name} do not fit {type(module).__name__}: {'; '.join(parts)}")
    module.load_state_dict(state)


def _call(text: str) -> nn.Module:
    name, _, attribute = text.partition(":")
    sys.path.insert(0, os.getcwd())  # as `python -m` does: a model beside the user is found
    try:
        target: Any = importlib.import_module(name)
    except ImportError as error:
        raise WrongUse(f"cannot import {name!r} for the model {text!r}: {error}") from error
    finally:
        sys.path.remove(os.getcwd())
    for part in attribute.split("."):
        target = getattr(target, part, None)
    if not callable(target):
        raise WrongUse(f"{name!r} has no callable {attribute!r}")
    module = target() if not isinstance(target, nn.Module) else target
    if not isinstance(module, nn.Module):
        raise WrongUse(f"{text} returned {type(module).__name__}, not a torch.nn.Module")
    return module


def _load_folder(folder: Path) -> Model:
    recipe = folder / RECIPE
    if not recipe.is_file():
        raise WrongUse(f"{folder} was not saved by this library: it has no {RECIPE}")
    try:
        content = json.loads(recipe.read_text(encoding="utf-8"))
    except (ValueError, OSError) as error:
        raise CorruptFile(f"{recipe} is no JSON: {error}") from error
    name = content.get("format") if isinstance(content, dict) else None
    if name not in READERS:
        raise CorruptFile(f"{recipe} has the format {name!r}; this version reads {', '.join(sorted(READERS))}")
    return READERS[name](folder, content)


@register_format(FORMAT)
def _read_program(folder: Path, recipe: dict[str, Any]) -> Model:
    return load_pt2(folder / PROGRAM)


def save_model(
    model: Network | nn.Module | ExportedProgram,
    folder: str | Path,
    example: Any = None,
    *,
    beside: Mapping[str, str] | None = None,
) -> Path:
    """Write a model as a folder that `load_model` reads without any user code.

    Written beside its place and renamed, so there is never half a folder. A folder of ours is replaced, any other
    is left alone. ``beside`` holds further text files by name, such as a certificate.

    Raises:
        WrongUse: The folder exists and is not ours, or a module came without an example.
    """
    folder = Path(folder)
    if folder.exists() and (not folder.is_dir() or (any(folder.iterdir()) and not (folder / RECIPE).is_file())):
        raise WrongUse(
            f"{folder} exists and was not written by this library; choose another place. Nothing was written."
        )
    program = _program(model, example)
    name = model.name if isinstance(model, Network) else type(model).__name__
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=f".{folder.name}-", dir=folder.parent) as scratch:
        fresh, old = Path(scratch) / "new", Path(scratch) / "old"
        fresh.mkdir()
        torch.export.save(program, fresh / PROGRAM)
        recipe = {"format": FORMAT, "name": name, "program": PROGRAM, "torch": torch.__version__}
        for other, text in (beside or {}).items():
            (fresh / other).write_text(text, encoding="utf-8")
        (fresh / RECIPE).write_text(json.dumps(recipe, indent=1) + "\n", encoding="utf-8")
        if folder.exists():
            os.replace(folder, old)
        os.replace(fresh, folder)
        shutil.rmtree(old, ignore_errors=True)
    return folder


def _program(model: Network | nn.Module | ExportedProgram, example: Any) -> ExportedProgram:
    if isinstance(model, ExportedProgram):
        return model
    if isinstance(model, Network):
        if model.program is None:
            raise WrongUse("a converted network is not saved; save the one it came from")
        return model.program
    return export_module(model, example)
