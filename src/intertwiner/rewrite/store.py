"""A twin as a folder: ``model.safetensors``, ``recipe.json``, ``certificate.json``; read back without any class.

``recipe.json`` (``intertwiner.twin/2``) holds the graph of the network as plain data (``network.record``), the type,
the symmetry, and the signed permutations of the generators on the latent spaces (index and sign, as ``Monomial`` has
them). What is checked on loading: the schema, every field of the graph, that all tensors are there with their shapes
and type and no others, and that they are finite. What is not: that the weights are tied as the actions say, and that
the certificate belongs to them; ``audit`` judges both again.
"""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import safetensors
import safetensors.torch
import torch
from torch import Tensor

from intertwiner.errors import CannotEmit, CorruptFile, WrongUse
from intertwiner.network import node as ir
from intertwiner.network.emit import Frame
from intertwiner.network.record import graph_from_record, graph_to_record, module_from_record
from intertwiner.numerics.monomial import Monomial
from intertwiner.rewrite.certificate import Certificate
from intertwiner.rewrite.tied import Action
from intertwiner.rewrite.twin import TwinGraph

SCHEMA = "intertwiner.twin/2"
MODEL, RECIPE, CERTIFICATE = "model.safetensors", "recipe.json", "certificate.json"
KEYS = {"schema", "graph", "actions", "symmetry", "dtype", "executors"}
DTYPES = {str(t).removeprefix("torch."): t for t in (torch.float16, torch.bfloat16, torch.float32, torch.float64)}
EXECUTORS = ("dense", "blocks")
LARGEST_TEXT = 2**29
"""Bytes of a recipe or certificate that are read at all."""


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


def _write(path: Path, record: Mapping[str, Any]) -> None:
    path.write_text(json.dumps(record, indent=1, allow_nan=False) + "\n", encoding="utf-8")


def write_twin(
    folder: str | os.PathLike[str],
    twin: TwinGraph,
    dtype: torch.dtype,
    symmetry: Mapping[str, Any],
    certificate: Certificate,
    executors: Mapping[str, str] | Iterable[tuple[str, str]] = (),
) -> Path:
    """Write a twin into a temporary folder beside the target, read back from there, then renamed.

    Args:
        folder: Where; it must not exist.
        twin: The twin, with parameters in float64.
        dtype: Type of the weights in the file.
        symmetry: The symmetry as JSON.
        certificate: What is known about the twin.
        executors: "dense" or "blocks" by node name; "dense" where nothing is said.

    Returns:
        The folder.

    Raises:
        WrongUse: The target exists already, or an executor is unknown or belongs to no linear layer or convolution.
        CannotEmit: The twin has no spelling, or its numbers do not fit ``dtype``. Nothing was written.

    Cost:
        The weights once on disk and twice in memory.
    """
    target = Path(folder)
    if target.exists():
        raise WrongUse(f"{target} exists already; choose another folder or remove it. Nothing was written.")
    record, arrays = graph_to_record(twin.network, twin.graph)
    plan = {
        "schema": SCHEMA,
        "graph": record,
        "actions": {name: _action(rho) for name, rho in twin.actions.items()},
        "symmetry": dict(symmetry),
        "dtype": str(dtype).removeprefix("torch."),
        "executors": _executors(twin.graph, dict(executors)),
    }
    state = {name: torch.tensor(array, dtype=dtype) for name, array in arrays.items()}
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=f".{target.name}.", dir=target.parent) as name:
        inside = Path(name) / "twin"
        inside.mkdir()
        safetensors.torch.save_file(state, inside / MODEL, metadata={"schema": SCHEMA})
        _write(inside / RECIPE, plan)
        _write(inside / CERTIFICATE, certificate.to_json())
        try:
            read_twin(inside)
        except CorruptFile as error:
            raise CannotEmit(f"the twin could not be read back: {error}\n  Nothing was written.") from error
        inside.rename(target)
    return target


def _executors(graph: Mapping[str, ir.Node], chosen: Mapping[str, str]) -> dict[str, str]:
    layers = {name: "dense" for name, node in graph.items() if isinstance(node.op, (ir.Linear, ir.Conv))}
    for name, executor in chosen.items():
        if name not in layers or executor not in EXECUTORS:
            raise WrongUse(
                f"the executor {executor!r} of {name!r}: expected {' or '.join(EXECUTORS)} for one of "
                f"{', '.join(list(layers)[:8])}. Nothing was written."
            )
    return layers | dict(chosen)


def read_twin(folder: str | os.PathLike[str]) -> tuple[TwinGraph, dict[str, Any], Certificate]:
    """The twin of a folder, its recipe and its certificate; ties are not kept.

    Nothing in the folder is code, and nothing in it is run. Whether the weights satisfy the ties that the actions
    stand for is not checked, nor that the certificate belongs to them: audit the module to know.

    Raises:
        CorruptFile: A file is missing, damaged, or does not fit the others; the message names the place.
    """
    source = Path(folder)
    plan, proof = _read(source / RECIPE), _read(source / CERTIFICATE)
    if plan.get("schema") != SCHEMA:
        raise CorruptFile(f"{source / RECIPE}: schema {plan.get('schema')!r}, expected {SCHEMA!r}")
    if set(plan) != KEYS:
        raise CorruptFile(f"{source / RECIPE}: expected the keys {', '.join(sorted(KEYS))}, found {sorted(plan)}")
    dtype = DTYPES.get(plan["dtype"]) if isinstance(plan["dtype"], str) else None
    if dtype is None:
        raise CorruptFile(f"{source / RECIPE}: the type {plan['dtype']!r} is none of {', '.join(DTYPES)}")
    try:
        state = safetensors.torch.load_file(source / MODEL)
    except (OSError, ValueError, safetensors.SafetensorError) as error:
        raise CorruptFile(f"{source / MODEL} cannot be read: {error}") from error
    try:
        arrays = _arrays(state, dtype)
        module_from_record(plan["graph"], arrays, dtype=dtype)  # what cannot be written is refused here
        graph, name, nesting = graph_from_record(plan["graph"], arrays)
        _check_actions(plan)
        certificate = _certificate(proof)
    except CorruptFile as error:
        raise CorruptFile(f"{source} is no twin that can be read: {error}") from error
    actions = {node: read_action(record) for node, record in plan["actions"].items()}
    return TwinGraph(Frame(name, nesting, dtype), graph, actions, {}), plan, certificate


def _arrays(state: Mapping[str, Tensor], dtype: torch.dtype) -> dict[str, np.ndarray]:
    other = [name for name, t in state.items() if t.dtype != dtype]
    if other:
        raise CorruptFile(f"{MODEL}: {other[0]} is {state[other[0]].dtype}, expected {dtype}")
    return {name: t.to(torch.float64).numpy() for name, t in state.items()}


def _certificate(record: dict[str, Any]) -> Certificate:
    if not str(record.get("schema")).startswith("intertwiner.certificate/"):
        raise CorruptFile(f"{CERTIFICATE}: schema {record.get('schema')!r}, expected 'intertwiner.certificate/...'")
    try:
        return Certificate.from_json(record)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise CorruptFile(f"{CERTIFICATE}: {error}") from error


def _check_actions(plan: Mapping[str, Any]) -> None:
    """Signed permutations, as many at every node; executors that there are; a symmetry that is a record."""
    nodes = {node["name"]: node for node in plan["graph"]["nodes"]}
    actions, executors = plan["actions"], plan["executors"]
    if not all(isinstance(plan[key], dict) for key in ("actions", "executors", "symmetry")):
        raise CorruptFile(f"{RECIPE}: actions, executors and symmetry must be records")
    layers = {name for name, node in nodes.items() if node["op"]["kind"] in (ir.Linear.kind, ir.Conv.kind)}
    if set(executors) != layers or not all(value in EXECUTORS for value in executors.values()):
        raise CorruptFile(f"{RECIPE}: executors must name {' or '.join(EXECUTORS)} for every linear layer")
    for name, action in actions.items():
        if name not in nodes or not isinstance(action, list):
            raise CorruptFile(f"{RECIPE}: an action on {name!r}, which is no node, or which is no list")
        if not all(_is_signed_permutation(m, nodes[name]["shape"]) for m in action):
            raise CorruptFile(
                f"{RECIPE}: the action on node {name!r} is no list of signed permutations of its channels"
            )
    if len({len(action) for action in actions.values()}) > 1:
        raise CorruptFile(f"{RECIPE}: the actions have different numbers of generators")


def _is_signed_permutation(record: Any, shape: list[int]) -> bool:
    if not isinstance(record, dict) or set(record) != {"index", "sign"} or not isinstance(record["index"], list):
        return False
    index, sign = record["index"], record["sign"]
    if len(index) not in {*shape, 1} or not all(type(i) is int for i in index):
        return False
    fine = sign is None or (
        isinstance(sign, list) and len(sign) == len(index) and all(type(s) is int and abs(s) == 1 for s in sign)
    )
    return fine and sorted(index) == list(range(len(index)))


def _read(path: Path) -> dict[str, Any]:
    """A record without NaN, without two values for one key, and not nested deeper than python reads."""

    def once(items: list[tuple[str, Any]]) -> dict[str, Any]:
        record = dict(items)
        if len(record) != len(items):
            raise ValueError("one key twice in one record")
        return record

    def refuse(word: str) -> float:
        raise ValueError(f"{word} is no number")

    try:
        if path.stat().st_size > LARGEST_TEXT:
            raise ValueError(f"larger than {LARGEST_TEXT} bytes")
        record = json.loads(path.read_text(encoding="utf-8"), object_pairs_hook=once, parse_constant=refuse)
    except (OSError, ValueError, RecursionError) as error:
        raise CorruptFile(f"{path} cannot be read: {error}") from error
    if not isinstance(record, dict):
        raise CorruptFile(f"{path} holds no record")
    return record
