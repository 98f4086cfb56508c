"""A twin as a folder of schema 2: what comes back, what is written when something goes wrong, what is refused."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import pytest
import safetensors
import torch
from conv_twin import PLANE, certificate_of_nothing, conv_twin, images
from safetensors.torch import load_file
from torch import nn

from intertwiner.errors import CannotEmit, WrongUse
from intertwiner.network import Opaque, trace
from intertwiner.rewrite import store
from intertwiner.rewrite.certificate import Certificate
from intertwiner.rewrite.store import read_action, read_twin, write_twin
from intertwiner.rewrite.twin import TwinGraph
from intertwiner.symmetry import Symmetry

TWIN = conv_twin()
SYMMETRY = PLANE.to_json()


@pytest.fixture(scope="module")
def certificate() -> Certificate:
    return certificate_of_nothing()


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
def test_the_module_that_is_loaded_is_the_one_that_was_saved(
    dtype: torch.dtype, certificate: Certificate, tmp_path: Path
) -> None:
    folder = write_twin(tmp_path / "twin", TWIN, dtype, SYMMETRY, certificate)
    found, recipe, proof = read_twin(folder)
    module = found.module()
    x = images(5, dtype)
    with torch.no_grad():
        assert torch.equal(module(x), TWIN.module(dtype)(x))
    written = TWIN.module(dtype).state_dict()
    assert list(module.state_dict()) == list(written)
    assert all(torch.equal(module.state_dict()[name], tensor) for name, tensor in written.items())
    assert proof == certificate
    assert recipe["dtype"] == str(dtype).removeprefix("torch.")
    for name, rho in TWIN.actions.items():
        assert read_action(recipe["actions"][name]) == rho
    assert Symmetry.from_json(recipe["symmetry"]).group.name == "D4"


def test_what_the_folder_holds(certificate: Certificate, tmp_path: Path) -> None:
    folder = write_twin(tmp_path / "twin", TWIN, torch.float32, SYMMETRY, certificate)
    assert sorted(p.name for p in folder.iterdir()) == ["certificate.json", "model.safetensors", "recipe.json"]
    assert [p.name for p in tmp_path.iterdir()] == ["twin"]
    tensors = load_file(folder / "model.safetensors")
    assert set(tensors) == set(TWIN.module().state_dict())
    with safetensors.safe_open(folder / "model.safetensors", "pt") as file:
        assert file.metadata() == {"schema": "intertwiner.twin/2"}
    recipe = json.loads((folder / "recipe.json").read_text())
    assert list(recipe) == ["schema", "graph", "actions", "symmetry", "dtype", "executors"]
    layers = [name for name, node in TWIN.graph.items() if node.op.kind in ("conv", "linear")]
    assert recipe["executors"] == dict.fromkeys(layers, "dense")


def test_executors_are_named_by_layer(certificate: Certificate, tmp_path: Path) -> None:
    layers = [name for name, node in TWIN.graph.items() if node.op.kind in ("conv", "linear")]
    chosen = [(layers[1], "blocks")]
    write_twin(tmp_path / "twin", TWIN, torch.float32, SYMMETRY, certificate, chosen)
    assert read_twin(tmp_path / "twin")[1]["executors"] == dict.fromkeys(layers, "dense") | dict(chosen)
    for wrong in ({layers[0]: "fast"}, {"nowhere": "dense"}, {TWIN.network.nodes[0].name: "dense"}):
        with pytest.raises(WrongUse, match=r"expected dense or blocks for one of .*Nothing was written"):
            write_twin(tmp_path / "other", TWIN, torch.float32, SYMMETRY, certificate, wrong)


def test_a_folder_that_exists_is_left_alone(certificate: Certificate, tmp_path: Path) -> None:
    (tmp_path / "twin").mkdir()
    with pytest.raises(WrongUse, match="exists already"):
        write_twin(tmp_path / "twin", TWIN, torch.float32, SYMMETRY, certificate)
    assert list((tmp_path / "twin").iterdir()) == []


@pytest.mark.parametrize("at", ["_write", "read_twin"])
def test_an_interrupted_save_leaves_nothing(
    at: str, certificate: Certificate, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stop(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(store, at, stop)
    with pytest.raises(KeyboardInterrupt):
        write_twin(tmp_path / "twin", TWIN, torch.float32, SYMMETRY, certificate)
    assert list(tmp_path.iterdir()) == []


def test_numbers_that_the_type_cannot_hold_are_refused_before_anything_is_there(
    certificate: Certificate, tmp_path: Path
) -> None:
    large = TWIN.with_arrays({"8.weight": 1e300 * TWIN.params["8.weight"].array})
    write_twin(tmp_path / "double", large, torch.float64, SYMMETRY, certificate)
    with pytest.raises(CannotEmit, match=r"(?s)infinity in 8\.weight.*Nothing was written"):
        write_twin(tmp_path / "single", large, torch.float32, SYMMETRY, certificate)
    assert [p.name for p in tmp_path.iterdir()] == ["double"]


def test_actions_that_could_not_be_read_are_not_written(certificate: Certificate, tmp_path: Path) -> None:
    name = TWIN.network.nodes[0].name
    wrong = dataclasses.replace(TWIN, actions={**TWIN.actions, name: TWIN.actions[name][:1]})
    with pytest.raises(CannotEmit, match="different numbers of generators"):
        write_twin(tmp_path / "twin", wrong, torch.float32, SYMMETRY, certificate)
    assert list(tmp_path.iterdir()) == []


def test_an_opaque_operator_is_refused_by_name(certificate: Certificate, tmp_path: Path) -> None:
    network = trace(nn.Sequential(nn.Linear(3, 4), nn.LogSoftmax(1)), torch.zeros(2, 3))
    graph = {
        n: dataclasses.replace(node, op=Opaque("aten.odd.default", "no rule")) if n == network.nodes[2].name else node
        for n, node in network.graph.items()
    }
    with pytest.raises(CannotEmit, match=r"(?s)aten\.odd\.default.*Nothing was written"):
        write_twin(tmp_path / "twin", TwinGraph(network, graph, {}, {}), torch.float32, SYMMETRY, certificate)
    assert list(tmp_path.iterdir()) == []
