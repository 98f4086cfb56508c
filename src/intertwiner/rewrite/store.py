"""A twin as a folder: ``model.safetensors``, ``recipe.json``, ``certificate.json``; read back without any class.

``recipe.json`` (``intertwiner.twin/1``) holds widths, activations, which layers have a bias, the type, the symmetry,
and the signed permutations of the generators on every latent space (index and sign, as ``Monomial`` has them). What is
checked on loading: the schema, that all tensors are there with their shapes and type, and that they are finite. What is
not: that the certificate belongs to the weights; ``audit`` judges them again.
"""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import safetensors
import safetensors.torch
import torch

from intertwiner.errors import CorruptFile, WrongUse
from intertwiner.numerics.monomial import Monomial
from intertwiner.rewrite.certificate import Certificate
from intertwiner.rewrite.layers import TwinChain
from intertwiner.rewrite.module import ChainModule
from intertwiner.rewrite.tied import Action

SCHEMA = "intertwiner.twin/1"
MODEL, RECIPE, CERTIFICATE = "model.safetensors", "recipe.json", "certificate.json"


def recipe(chain: TwinChain, module: ChainModule, symmetry: Mapping[str, Any]) -> dict[str, Any]:
    """What ``recipe.json`` holds."""
    return {
        "schema": SCHEMA,
        "widths": list(chain.widths),
        "activations": list(module.activations),
        "biased": [layer.bias is not None for layer in module.layers],
        "dtype": str(next(module.parameters()).dtype).removeprefix("torch."),
        "symmetry": dict(symmetry),
        "actions": {
            "input": _action(chain.rho_in),
            **{f"layers.{k}": _action(layer.rho) for k, layer in enumerate(chain.layers)},
        },
    }


def _action(rho: Action) -> list[dict[str, Any]]:
    return [
        {"index": m.index.tolist(), "sign": None if m.is_permutation else m.factor.astype(int).tolist()} for m in rho
    ]


def read_action(record: list[Mapping[str, Any]]) -> Action:
    """The signed permutations of a recipe."""
    out = []
    for m in record:
        index = np.array(m["index"], dtype=np.int64)
        out.append(Monomial(index, np.ones(len(index)) if m["sign"] is None else np.array(m["sign"], dtype=float)))
    return tuple(out)


def write_folder(
    folder: str | os.PathLike[str], module: ChainModule, plan: Mapping[str, Any], certificate: Certificate
) -> Path:
    """Write the three files into a temporary folder beside the target, then rename it.

    Raises:
        WrongUse: The target exists already.
    """
    target = Path(folder)
    if target.exists():
        raise WrongUse(f"{target} exists already; choose another folder or remove it. Nothing was written.")
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=f".{target.name}.", dir=target.parent) as name:
        inside = Path(name) / "twin"
        inside.mkdir()
        state = {key: value.detach().cpu().contiguous() for key, value in module.state_dict().items()}
        safetensors.torch.save_file(state, inside / MODEL, metadata={"schema": SCHEMA})
        _write(inside / RECIPE, plan)
        _write(inside / CERTIFICATE, certificate.to_json())
        shutil.move(inside, target)
    return target


def _write(path: Path, record: Mapping[str, Any]) -> None:
    path.write_text(json.dumps(record, indent=1, allow_nan=False) + "\n", encoding="utf-8")


def read_folder(folder: str | os.PathLike[str]) -> tuple[ChainModule, dict[str, Any], Certificate]:
    """The module, its recipe and its certificate.

    Raises:
        CorruptFile: A file is missing, damaged, or does not fit the others.
    """
    source = Path(folder)
    plan = _read(source / RECIPE)
    if plan.get("schema") != SCHEMA:
        raise CorruptFile(f"{source / RECIPE}: schema {plan.get('schema')!r}, expected {SCHEMA!r}")
    try:
        dtype = getattr(torch, plan["dtype"])
        module = ChainModule(plan["widths"], plan["activations"], plan["biased"]).to(dtype).eval()
        state = safetensors.torch.load_file(source / MODEL)
        certificate = Certificate.from_json(_read(source / CERTIFICATE))
    except (KeyError, TypeError, ValueError, AttributeError, OSError, safetensors.SafetensorError) as error:
        raise CorruptFile(f"{source} is no twin that can be read: {error}") from error
    _check(source, module, state)
    module.load_state_dict(state)
    return module, plan, certificate


def _check(source: Path, module: ChainModule, state: Mapping[str, torch.Tensor]) -> None:
    wanted = {name: (tuple(t.shape), t.dtype) for name, t in module.state_dict().items()}
    found = {name: (tuple(t.shape), t.dtype) for name, t in state.items()}
    if wanted != found:
        names = sorted(n for n in {*wanted, *found} if wanted.get(n) != found.get(n))
        raise CorruptFile(f"{source / MODEL} does not fit {RECIPE}: {', '.join(names[:5])}")
    bad = [name for name, t in state.items() if not bool(torch.isfinite(t).all())]
    if bad:
        raise CorruptFile(f"{source / MODEL}: NaN or infinity in {bad[0]}")


def _read(path: Path) -> dict[str, Any]:
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise CorruptFile(f"{path} cannot be read: {error}") from error
    if not isinstance(record, dict):
        raise CorruptFile(f"{path} holds no record")
    return record
