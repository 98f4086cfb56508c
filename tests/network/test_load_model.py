"""Models from files, folders and names; folders of ours are written whole or not at all."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from intertwiner.errors import CorruptFile, WrongUse
from intertwiner.network import load_model, save_model, trace

SOURCE = """
import torch
from torch import nn

class Holder:
    build = staticmethod(lambda: nn.Linear(3, 2))

def build():
    return nn.Sequential(nn.Linear(3, 4), nn.Dropout(0.5), nn.Linear(4, 2))

def nothing():
    return None
"""


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "some_models.py").write_text(SOURCE)
    monkeypatch.chdir(tmp_path)
    monkeypatch.delitem(__import__("sys").modules, "some_models", raising=False)
    return tmp_path


def model() -> nn.Module:
    torch.manual_seed(1)
    return nn.Sequential(nn.Linear(3, 4), nn.Dropout(0.5), nn.Linear(4, 2)).eval()


@pytest.mark.parametrize("suffix", [".pt", ".safetensors"])
def test_a_callable_with_weights(here: Path, suffix: str) -> None:
    state = model().state_dict()
    path = here / f"weights{suffix}"
    torch.save(state, path) if suffix == ".pt" else save_file(state, path)
    loaded = load_model("some_models:build", path)
    assert not loaded.training
    assert all(torch.equal(v, loaded.state_dict()[k]) for k, v in state.items())
    assert isinstance(load_model("some_models:Holder.build"), nn.Linear)


def test_weights_that_do_not_fit_say_what_is_missing(here: Path) -> None:
    state = model().state_dict()
    state["surplus"] = state.pop("2.bias")
    state["0.weight"] = torch.zeros(4, 5)
    save_file(state, here / "w.safetensors")
    with pytest.raises(CorruptFile, match=r"missing 2\.bias.*unknown surplus.*0\.weight: \(4, 5\) for \(4, 3\)"):
        load_model("some_models:build", here / "w.safetensors")


@pytest.mark.parametrize(
    "spec", ["some_models:nothing", "some_models:absent", "no_such_module_here:f", "absent.onnx", "absent", "."]
)
def test_a_name_that_leads_nowhere_is_refused(here: Path, spec: str) -> None:
    with pytest.raises(WrongUse):
        load_model(spec)


def test_weights_beside_a_file_that_has_its_own_are_refused(here: Path) -> None:
    with pytest.raises(WrongUse, match="own weights"):
        load_model("model.pt2", "w.pt")
    (here / "w.npz").write_bytes(b"")
    with pytest.raises(WrongUse, match=r"safetensors or \.pt"):
        load_model("some_models:build", here / "w.npz")
    with pytest.raises(CorruptFile, match="no weights file"):
        load_model("some_models:build", here / "absent.pt")
    with pytest.raises(CorruptFile, match="no file"):
        load_model("absent.pt2")


def test_a_folder_is_read_back_and_replaced(tmp_path: Path) -> None:
    module, x = model(), torch.randn(5, 3)
    folder = save_model(trace(module, x), tmp_path / "saved")
    save_model(module, folder, example=x)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["saved"]
    assert sorted(p.name for p in folder.iterdir()) == ["model.pt2", "recipe.json"]
    network = trace(load_model(folder))
    torch.testing.assert_close(network(torch.ones(9, 3))[0], module(torch.ones(9, 3)).detach())
    assert network.taps == trace(module, x).taps


def test_a_folder_of_somebody_else_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("precious")
    with pytest.raises(WrongUse, match="Nothing was written"):
        save_model(model(), tmp_path, example=torch.ones(2, 3))
    assert [p.name for p in tmp_path.iterdir()] == ["thesis.txt"]


def test_a_failed_write_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*args: object, **kwargs: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(torch.export, "save", fail)
    with pytest.raises(KeyboardInterrupt):
        save_model(model(), tmp_path / "saved", example=torch.ones(2, 3))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("recipe", ["{", json.dumps({"format": "somebody/9"}), "[]"])
def test_an_unknown_recipe_is_refused(recipe: str, tmp_path: Path) -> None:
    (tmp_path / "recipe.json").write_text(recipe)
    with pytest.raises(CorruptFile, match=r"recipe\.json"):
        load_model(tmp_path)


def test_a_network_in_another_type_is_not_saved(tmp_path: Path) -> None:
    with pytest.raises(WrongUse, match="converted"):
        save_model(trace(model(), torch.ones(2, 3)).to(torch.float64), tmp_path / "x")
