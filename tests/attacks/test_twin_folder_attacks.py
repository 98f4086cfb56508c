"""A crafted twin is refused with the place of what is wrong; nothing large is made, nothing of a module is hidden."""

from __future__ import annotations

import copy
import dataclasses
import json
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from intertwiner.errors import CorruptFile
from intertwiner.network import trace
from intertwiner.network.record import graph_to_record, module_from_record
from intertwiner.rewrite.certificate import Certificate
from intertwiner.rewrite.store import read_twin, write_twin
from intertwiner.rewrite.twin import TwinGraph
from intertwiner.verdict import Kind, Verdict

Record = dict[str, Any]
Harm = Callable[[Record, dict[str, np.ndarray]], object]
BIG = 2**31


class Parts(nn.Module):
    """Something of everything that an attack takes hold of."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.norm, self.head = nn.Conv2d(2, 4, 3, padding=1), nn.LayerNorm(4), nn.Linear(4, 3)

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        x = torch.nn.functional.max_pool2d(torch.relu(self.conv(x)), 2)
        x = torch.nn.functional.pad(x.flip(1), (1, 0, 0, 0)).mean((2, 3))
        return {"y": self.head(self.norm(x)), "z": torch.cat([x, x[:, :1].expand(-1, 3)], 1)}


torch.manual_seed(0)
NETWORK = trace(Parts().eval(), torch.randn(2, 2, 4, 4))
HONEST, ARRAYS = graph_to_record(NETWORK)


def op(record: Record, kind: str) -> Record:
    return next(n["op"] for n in record["nodes"] if n["op"]["kind"] == kind)


def node(record: Record, kind: str) -> Record:
    return next(n for n in record["nodes"] if n["op"]["kind"] == kind)


def put(kind: str, field: str, value: object) -> Harm:
    return lambda r, a: op(r, kind).update({field: value})


def put_node(kind: str, field: str, value: object) -> Harm:
    return lambda r, a: node(r, kind).update({field: value})


def renamed(name: str) -> Harm:
    """One tensor under another name, consistently."""

    def harm(record: Record, arrays: dict[str, np.ndarray]) -> None:
        arrays[name] = arrays.pop("head.weight")
        op(record, "linear")["weight"]["param"] = name

    return harm


def filled(name: str, value: float) -> Harm:
    return lambda r, a: a.update({name: np.full_like(a[name], value)})


def shared_input(record: Record, arrays: dict[str, np.ndarray]) -> None:
    second = copy.deepcopy(record["nodes"][0])
    second["name"], second["op"]["position"] = "again", 1
    record["nodes"].insert(1, second)


def repeated(record: Record, arrays: dict[str, np.ndarray]) -> None:
    """An input and a bias of one number that a norm would spread over all of it."""
    only = node(record, "input")
    only["shape"] = [1, BIG // 4, 2]
    norm = node(record, "layer norm")
    one = {"number": 1.0, "name": "one", "shape": [1, 1, 1]}
    norm.update(inputs=[only["name"]], shape=[1, BIG // 4, 2])
    norm["op"].update(axes=[2], weight=one, bias=one)
    out = node(record, "output")
    out["inputs"], out["op"]["names"] = [norm["name"]], ["y"]
    record["nodes"], record["outputs"] = [only, norm, out], 0
    arrays.clear()


def nested(depth: int) -> Any:
    out: Any = 0
    for _ in range(depth):
        out = {"tuple": [out]}
    return out


ATTACKS: dict[str, tuple[Harm, str]] = {
    "unknown kind": (put("pointwise", "kind", "system"), r"op\.kind: expected a kind of record"),
    "opaque kind": (put_node("pointwise", "op", {"kind": "opaque", "target": "x", "reason": "y"}), "kind of record"),
    "kind is a list": (put("pointwise", "kind", ["pointwise"]), "kind"),
    "extra key in a node": (put_node("linear", "code", "x"), "a record with the keys"),
    "extra key in an operator": (put("linear", "hook", "os.system"), "a record with the keys kind, weight, bias"),
    "extra key at the top": (lambda r, a: r.update(guards="x"), "graph: expected a record with the keys"),
    "missing key": (lambda r, a: op(r, "linear").pop("bias"), "a record with the keys"),
    "unknown nonlinearity": (put("pointwise", "pointwise", "os.system"), "nonlinearity"),
    "code as a nonlinearity": (put("pointwise", "pointwise", "relu(__import__('os'))"), "nonlinearity"),
    "wrong parameters": (put("pointwise", "pointwise", "leaky_relu(1, 2, 3, 4, 5)"), "nonlinearity"),
    "infinite power": (put("pointwise", "pointwise", "pow(1e999)"), "nonlinearity"),
    "path up": (renamed("../../etc/passwd"), "a name that a module can hold"),
    "absolute path": (renamed("/etc/passwd"), "a name that a module can hold"),
    "empty part": (renamed("a..b"), "a name that a module can hold"),
    "zero byte": (renamed("a\0b"), "a name that a module can hold"),
    "python word": (renamed("a.class"), "a name that a module can hold"),
    "dunder": (renamed("__class__"), "a name that a module can hold"),
    "method of modules": (renamed("forward"), "a name that a module can hold"),
    "method of a part": (renamed("forward.weight"), "a name that a module can hold"),
    "method of a leaf": (renamed("head.register_forward_hook"), "a name that a module can hold"),
    "tables of modules": (renamed("_parameters"), "a name that a module can hold"),
    "graph of the module": (renamed("graph.weight"), "a name that a module can hold"),
    "very long": (renamed("a" * 10**5), "a name that a module can hold"),
    "very deep": (renamed(".".join("a" * 200)), "a name that a module can hold"),
    "normalised": (renamed("\ufb01"), "a name that a module can hold"),
    "cycle": (put_node("conv", "inputs", ["linear"]), "an earlier node"),
    "itself": (lambda r, a: node(r, "conv").update(inputs=[node(r, "conv")["name"]]), "an earlier node"),
    "nobody": (put_node("conv", "inputs", ["nobody"]), "an earlier node"),
    "too many inputs": (lambda r, a: node(r, "pointwise")["inputs"].append(r["nodes"][0]["name"]), "inputs"),
    "no inputs": (put_node("concat", "inputs", []), "inputs"),
    "same name twice": (lambda r, a: r["nodes"].insert(1, copy.deepcopy(r["nodes"][0])), "a name of its own"),
    "two inputs of one name": (shared_input, "two inputs of one name"),
    "input missing": (put("input", "position", 1), "positions 0, 1"),
    "no output": (lambda r, a: r["nodes"].pop(), "one output"),
    "nodes after the output": (lambda r, a: r["nodes"].append(copy.deepcopy(r["nodes"][1])), "name of its own"),
    "no nodes": (lambda r, a: r.update(nodes=[]), "tensors|one output"),
    "nodes are a text": (lambda r, a: r.update(nodes="x"), "nodes: expected a list"),
    "wrong shape": (put_node("conv", "shape", [2, 4, 4, 5]), r"shape: expected \[2, 4, 4, 4\] for a batch of 2"),
    "wrong batch axis": (put_node("linear", "batch_axis", 1), "batch"),
    "channels as a batch": (put_node("conv", "batch_axis", 1), r"for a batch of 3, found \[2, 6, 4, 4\]"),
    "batch axis outside": (put_node("linear", "batch_axis", 7), "an axis of the shape"),
    "broken batch": (put_node("linear", "shape", [3, 3]), "batch axis"),
    "empty batch": (put_node("input", "shape", [0, 2, 4, 4]), "batches"),
    "negative shape": (put_node("conv", "shape", [2, -4, 4, 4]), "a whole number from 0"),
    "fractional shape": (put_node("conv", "shape", [2.0, 4, 4, 4]), "a whole number"),
    "true as a number": (put_node("conv", "shape", [True, 4, 4, 4]), "a whole number"),
    "wrong tensor": (lambda r, a: a.update({"head.weight": np.zeros((5, 5))}), "the shape of head.weight"),
    "missing tensor": (lambda r, a: a.pop("head.weight"), "the name of one of the tensors"),
    "further tensor": (lambda r, a: a.update(spy=np.zeros(3)), r"tensors: expected only those that a node names.*spy"),
    "weights that do not fit": (
        lambda r, a: op(r, "linear").update(weight=op(r, "linear")["bias"], bias=op(r, "linear")["weight"]),
        "node 'linear': torch refuses it",
    ),
    "huge input": (put_node("input", "shape", [2, 2, BIG, BIG]), f"at most {BIG} entries|torch refuses"),
    "huge number": (put_node("input", "shape", [2, 10**30, 4, 4]), "a whole number from"),
    "huge expansion": (
        lambda r, a: (put("expand", "shape", [-1, BIG])(r, a), put_node("expand", "shape", [2, BIG])(r, a)),
        r"at most|concat|cat",
    ),
    "hidden expansion": (put("expand", "shape", [-1, BIG]), r"shape: expected \[2, 2147483648\]"),
    "huge padding": (put("pad", "padding", [[0, 0], [0, 0], [BIG, BIG], [BIG, BIG]]), "expected|torch refuses"),
    "huge padding within": (
        lambda r, a: op(r, "conv").update(padding=[[2**20, 2**20]] * 2, stride=[2**20] * 2, padding_mode="circular"),
        "padding: expected at most",
    ),
    "one number spread": (repeated, "repeats one number"),
    "stride zero": (put("conv", "stride", [0, 0]), "a whole number from 1"),
    "groups zero": (put("conv", "groups", 0), "a whole number from 1"),
    "four axes": (put("conv", "stride", [1, 1, 1, 1]), "number of axes"),
    "pool of five": (put("pool", "kernel", [2] * 5), "number of axes"),
    "windows outside": (put("pool", "windows", [[[0, 9]], [[0, 9]]]), "windows within"),
    "axis outside": (put("concat", "axis", 9), "torch refuses"),
    "axis negative": (put("concat", "axis", -1), "a whole number from 0"),
    "index outside": (put("index", "index", [0, 1, 2, 99]), "entries of an axis of size 4"),
    "index empty": (put("index", "index", []), "entries of an axis"),
    "norm of nothing": (put("layer norm", "axes", []), "axes of the input"),
    "norm of others": (put("layer norm", "axes", [5]), "axes of the input"),
    "epsilon as text": (put("layer norm", "eps", "inf"), "a number"),
    "epsilon endless": (put("layer norm", "eps", 10**400), "a number"),
    "flag as number": (put("layer norm", "rms", 1), "true or false"),
    "mode": (put("pad", "mode", "os"), "one of constant"),
    "mode is a list": (put("pad", "mode", []), "one of constant"),
    "nan in a parameter": (filled("conv.weight", np.nan), "NaN or infinity in conv.weight"),
    "infinity in a parameter": (filled("norm.bias", np.inf), "NaN or infinity in norm.bias"),
    "nan as a number": (put("linear", "bias", {"number": float("nan"), "name": "b", "shape": [1]}), "a number"),
    "many in one number": (put("linear", "bias", {"number": 0.0, "name": "b", "shape": [BIG]}), "a whole number"),
    "type of a value": (put_node("input", "dtype", "complex64"), "one of float16"),
    "type by attribute": (put_node("input", "dtype", "load"), "one of float16"),
    "name is a number": (put_node("input", "name", 3), "a text"),
    "outputs missing": (lambda r, a: r.update(outputs={"tuple": [0]}), "every number from 0 to 1 once"),
    "outputs twice": (lambda r, a: r.update(outputs={"tuple": [0, 0, 1]}), "every number"),
    "outputs are a class": (lambda r, a: r.update(outputs={"OrderedDict": [0, 1]}), "tuples, lists and dicts"),
    "outputs deep": (lambda r, a: r.update(outputs=nested(500)), "at most 16 within"),
    "outputs of one key": (lambda r, a: r.update(outputs={"dict": [["y", 0], ["y", 1]]}), "keys that differ"),
    "output key is no text": (lambda r, a: r.update(outputs={"dict": [[[], 0], ["y", 1]]}), "pairs of a key"),
}  # fmt: skip


def test_the_honest_record_is_read() -> None:
    """Otherwise every attack would be refused for some other reason."""
    x = torch.randn(5, 2, 4, 4)
    module = module_from_record(copy.deepcopy(HONEST), dict(ARRAYS), dtype=torch.float32)
    assert set(module(x)) == {"y", "z"}
    assert module(x)["y"].shape == (5, 3)


@pytest.mark.parametrize("name", ATTACKS)
def test_an_attack_is_refused_with_its_place(name: str) -> None:
    harm, complaint = ATTACKS[name]
    record, arrays = copy.deepcopy(HONEST), dict(ARRAYS)
    harm(record, arrays)
    tracemalloc.start()
    try:
        with pytest.raises(CorruptFile, match=rf"(?s){complaint}"):
            module_from_record(record, arrays, dtype=torch.float32)
        assert tracemalloc.get_traced_memory()[1] < 2**24
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize(
    "name", ["self", "torch", "getattr", "class", "x): import os #", "inf", "input", "head", "\ufb01"]
)
def test_an_argument_hides_nothing(name: str) -> None:
    record, x = copy.deepcopy(HONEST), torch.randn(3, 2, 4, 4)
    op(record, "input")["name"] = name
    module = module_from_record(record, ARRAYS, dtype=torch.float32)
    expected = module_from_record(HONEST, ARRAYS, dtype=torch.float32)
    assert torch.equal(module(x)["y"], expected(x)["y"])


@pytest.mark.parametrize("names", [("a", "a.b"), ("a.b", "a"), ("a", "a_b"), ("0", "0.0"), ("a.b.c", "a.b")])
def test_names_within_each_other_are_told_apart(names: tuple[str, str]) -> None:
    """A tensor cannot stand where a module must be."""
    record, arrays = copy.deepcopy(HONEST), dict(ARRAYS)
    for field, name in zip(("weight", "bias"), names, strict=True):
        arrays[name] = arrays.pop(f"head.{field}")
        op(record, "linear")[field]["param"] = name
    module, x = module_from_record(record, arrays, dtype=torch.float32), torch.randn(3, 2, 4, 4)
    expected = module_from_record(HONEST, ARRAYS, dtype=torch.float32)
    assert torch.equal(module(x)["y"], expected(x)["y"])
    assert len(module.state_dict()) == len(expected.state_dict())


def test_keys_and_names_are_no_code() -> None:
    record = copy.deepcopy(HONEST)
    record["name"] = "x'); raise SystemExit #"
    record["outputs"] = {"dict": [["'}; raise SystemExit #", 0], ["\n", 1]]}
    for part in record["nodes"]:
        part["tap"] = "\n    raise SystemExit"
    module = module_from_record(record, ARRAYS, dtype=torch.float32)
    assert list(module(torch.randn(1, 2, 4, 4))) == ["'}; raise SystemExit #", "\n"]


def certificate_of_nothing() -> Certificate:
    """A certificate with a value of the right type in every field."""
    plain = {"int": 1, "float": 0.5, "str": "x", "bool": True, "float | None": None}
    values: dict[str, Any] = {}
    for f in dataclasses.fields(Certificate):
        kind = str(f.type)
        values[f.name] = plain[kind] if kind in plain else () if kind.startswith("tuple") else {}
    return Certificate(**values | {"verdict": Verdict(Kind.UNDECIDED, "a claim", "no reason")})


@pytest.fixture(scope="module")
def honest(tmp_path_factory: pytest.TempPathFactory) -> Path:
    network = trace(nn.Sequential(nn.Linear(4, 2), nn.ReLU()), torch.zeros(2, 4))
    folder = tmp_path_factory.mktemp("honest") / "twin"
    twin = TwinGraph(network, network.graph, {}, {})
    return write_twin(folder, twin, torch.float32, {"group": "C2"}, certificate_of_nothing())


def recipe_with(**values: object) -> Callable[[Path], None]:
    def harm(folder: Path) -> None:
        path = folder / "recipe.json"
        path.write_text(json.dumps(json.loads(path.read_text()) | values))

    return harm


def raw(name: str, text: str) -> Callable[[Path], None]:
    return lambda folder: (folder / name).write_text(text) and None


def replaced(name: str, old: str, new: str) -> Callable[[Path], None]:
    def harm(folder: Path) -> None:
        text = (folder / name).read_text()
        assert old in text
        (folder / name).write_text(text.replace(old, new, 1))

    return harm


def tensors(change: Callable[[dict[str, Tensor]], object]) -> Callable[[Path], None]:
    def harm(folder: Path) -> None:
        state = load_file(folder / "model.safetensors")
        change(state)
        save_file(state, folder / "model.safetensors")

    return harm


def cut(folder: Path) -> None:
    path = folder / "model.safetensors"
    path.write_bytes(path.read_bytes()[:-4])


SIGNED = "is no list of signed permutations"
FOLDERS: dict[str, tuple[Callable[[Path], None], str]] = {
    "other schema": (recipe_with(schema="intertwiner.twin/3"), "expected 'intertwiner.twin/2'"),
    "old schema": (recipe_with(schema="intertwiner.twin/1"), "expected 'intertwiner.twin/2'"),
    "further key": (recipe_with(hook="x"), "expected the keys"),
    "no graph": (recipe_with(graph=None), "a record with the keys"),
    "type": (recipe_with(dtype="int64"), "none of float16"),
    "type by attribute": (recipe_with(dtype="load"), "none of float16"),
    "type is a list": (recipe_with(dtype=["float32"]), "none of float16"),
    "type of the other file": (recipe_with(dtype="float64"), "is torch.float32, expected torch.float64"),
    "symmetry": (recipe_with(symmetry=3), "must be records"),
    "executor unknown": (recipe_with(executors={"linear": "fast"}), "dense or blocks"),
    "executor missing": (recipe_with(executors={}), "dense or blocks"),
    "action on nobody": (recipe_with(actions={"nobody": []}), "which is no node"),
    "action out of range": (recipe_with(actions={"linear": [{"index": [0, 2], "sign": None}]}), SIGNED),
    "action not one to one": (recipe_with(actions={"linear": [{"index": [0, 0], "sign": None}]}), SIGNED),
    "action of another width": (recipe_with(actions={"linear": [{"index": [2, 0, 1], "sign": None}]}), "its channels"),
    "action with a scale": (recipe_with(actions={"linear": [{"index": [1, 0], "sign": [1, 2]}]}), SIGNED),
    "action with half a sign": (recipe_with(actions={"linear": [{"index": [1, 0], "sign": [1]}]}), SIGNED),
    "action of nothing": (recipe_with(actions={"linear": [None]}), SIGNED),
    "deep nesting": (raw("recipe.json", "[" * 10**5 + "]" * 10**5), "cannot be read"),
    "deep nesting of records": (raw("recipe.json", '{"a":' * 10**5), "cannot be read"),
    "endless number": (raw("recipe.json", '{"schema": ' + "9" * 10**5 + "}"), "cannot be read"),
    "NaN": (replaced("recipe.json", '"batch_lead": 1', '"batch_lead": NaN'), "NaN is no number"),
    "key twice": (replaced("recipe.json", '"dtype"', '"dtype": "float32", "dtype"'), "one key twice"),
    "no record": (raw("recipe.json", "[]"), "holds no record"),
    "no text": (lambda folder: (folder / "recipe.json").write_bytes(b"\xff\xfe") and None, "cannot be read"),
    "certificate": (raw("certificate.json", '{"schema": "intertwiner.certificate/1"}'), "certificate.json"),
    "certificate of another kind": (raw("certificate.json", "{}"), "schema None"),
    "pickle for a model": (lambda folder: torch.save({}, folder / "model.safetensors"), "model.safetensors"),
    "cut": (cut, "model.safetensors cannot be read"),
    "tensor missing": (tensors(lambda s: s.pop("0.bias")), "the name of one of the tensors, found '0.bias'"),
    "tensor too many": (tensors(lambda s: s.update(spy=torch.zeros(1))), "spy"),
    "tensor of another shape": (tensors(lambda s: s.update({"0.bias": torch.zeros(3)})), "the shape of 0.bias"),
    "tensor of another type": (tensors(lambda s: s.update({"0.bias": torch.zeros(2).half()})), "is torch.float16"),
    "nan": (tensors(lambda s: s["0.weight"].fill_(float("nan"))), "NaN or infinity in 0.weight"),
}  # fmt: skip


def copied(source: Path, target: Path) -> Path:
    target.mkdir()
    for path in source.iterdir():
        (target / path.name).write_bytes(path.read_bytes())
    return target


def test_the_honest_folder_is_read(honest: Path, tmp_path: Path) -> None:
    folder = copied(honest, tmp_path / "twin")
    assert read_twin(folder)[0].module()(torch.zeros(3, 4)).shape == (3, 2)
    recipe_with(actions={"linear": [{"index": [1, 0], "sign": [1, -1]}]})(folder)
    assert read_twin(folder)[1]["actions"]["linear"]


@pytest.mark.parametrize("name", FOLDERS)
def test_a_crafted_folder_is_refused(name: str, honest: Path, tmp_path: Path) -> None:
    harm, complaint = FOLDERS[name]
    folder = copied(honest, tmp_path / "twin")
    harm(folder)
    with pytest.raises(CorruptFile, match=rf"(?s){complaint}") as refusal:
        read_twin(folder)
    assert str(folder) in str(refusal.value)


@pytest.mark.parametrize("name", ["recipe.json", "model.safetensors", "certificate.json"])
def test_a_missing_file_is_named(name: str, honest: Path, tmp_path: Path) -> None:
    folder = copied(honest, tmp_path / "twin")
    (folder / name).unlink()
    with pytest.raises(CorruptFile, match=name):
        read_twin(folder)
