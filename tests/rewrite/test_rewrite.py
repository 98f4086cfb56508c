"""The public verb: what it gives, what it proves, and what it refuses."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from torch import nn

from intertwiner.algebra import cyclic, dihedral, symmetric
from intertwiner.errors import (
    BudgetTooSmall,
    CannotRewrite,
    CorruptFile,
    DataMismatch,
    DataTooSmall,
    EmptyData,
    WrongUse,
)
from intertwiner.rewrite import Rewrite, load, method, rewrite, store, tradeoff
from intertwiner.rewrite import selected as selected_module
from intertwiner.rewrite.build import Choice
from intertwiner.symmetry import Symmetry, image, invariant, vector
from intertwiner.testing import Cell, assert_equivariant, planted_network

D4 = dihedral(4)
PLANE = Symmetry(D4, image(D4), invariant())


def nearly(noise: float = 0.03, seed: int = 0) -> tuple[nn.Module, Symmetry, torch.Tensor]:
    """A D4 network of depth two, its weights moved by a small relative noise: equivariant only approximately."""
    planted = planted_network(Cell("D4", "tanh", "mlp", 2, "float32"), seed)
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for p in planted.module.parameters():
            p.add_(noise * p.std() * torch.randn(p.shape, generator=generator))
    return planted.module, planted.symmetry, planted.example(400)


@pytest.fixture(scope="module")
def selected() -> Rewrite:
    return rewrite(*nearly(), budget=1.0)


def image_net(seed: int = 0) -> nn.Module:
    torch.manual_seed(seed)
    return nn.Sequential(nn.Flatten(), nn.Linear(16, 12), nn.ReLU(), nn.Linear(12, 3)).eval()


def images(count: int = 300) -> torch.Tensor:
    return torch.randn(count, 1, 4, 4, generator=torch.Generator().manual_seed(0))


def test_a_nearly_equivariant_network_becomes_exactly_equivariant(selected: Rewrite) -> None:
    module, symmetry, data = nearly()
    found = selected.certificate
    assert found.method == "selected"
    assert found.verdict.is_proved and found.verdict.exact
    assert found.cost <= 1.0
    assert found.defect_float64 <= 1e-12 < 1e-3 < found.original_defect
    assert found.distance_average < 0.5 * found.original_distance_average  # nearer to the average than the original is
    assert_equivariant(selected.module, symmetry, data[:32])
    with pytest.raises(AssertionError):
        assert_equivariant(module, symmetry, data[:32])


def test_the_stated_distances_are_those_of_the_module(selected: Rewrite) -> None:
    module, symmetry, data = nearly()
    bound = symmetry.bind(tuple(data.shape[1:]), (5,))
    with torch.no_grad():
        mean = torch.zeros(len(data), 5)
        for g in range(8):
            answer = module(bound.act_on_input(g, data))
            mean += bound.act_on_output(int(bound.group.inverse(g)), answer) / 8
        twin, original = selected.module(data), module(data)

    def distance(a: torch.Tensor, b: torch.Tensor) -> float:
        return float((a - b).norm() / (b - b.mean(0)).norm())

    found = selected.certificate
    assert found.distance_average == pytest.approx(distance(twin, mean), rel=1e-3)
    assert found.distance_original == pytest.approx(distance(twin, original), rel=1e-3)
    assert found.original_distance_average == pytest.approx(distance(original, mean), rel=1e-3)


def test_an_equivariant_network_needs_no_data_and_keeps_its_function() -> None:
    planted = planted_network(Cell("S3", "gelu", "mlp", 2, "float64"), 3)
    twin = rewrite(planted.module, planted.symmetry, example=planted.example())
    assert twin.certificate.method == "lift"
    x = planted.example(50)
    with torch.no_grad():
        assert torch.allclose(twin.module(x), planted.module(x), rtol=0, atol=1e-12)
    with torch.no_grad():
        planted.module.get_parameter("layers.0.weight")[0, 0] += 1e-3
    with pytest.raises(CannotRewrite, match=r"more than 7 neurons at layers.1:out(.|\n)*give data="):
        rewrite(planted.module, planted.symmetry, example=planted.example())


def test_a_budget_above_the_lift_gives_the_group_average() -> None:
    twin = rewrite(image_net(), PLANE, images(), budget=8.0)
    assert twin.certificate.method == "lift"
    assert twin.certificate.widths == (16, 96, 3)
    assert twin.certificate.distance_average < 1e-6 < 0.1 < twin.certificate.distance_original


def test_more_budget_is_nearer_to_the_average() -> None:
    choice = Choice(widest=8.0)
    curve = tradeoff(image_net(), PLANE, images(), budgets=(1e-1, 0.7, 2.0, 4.0), choice=choice)
    distances = [twin.certificate.distance_average for twin in curve]
    assert len(curve) == 3  # the least orbit does not fit a tenth
    assert distances == sorted(distances, reverse=True)
    assert all(twin.certificate.verdict.exact for twin in curve)


def test_accuracies_come_with_labels_and_labels_of_the_wrong_length_are_refused() -> None:
    net, data = image_net(), images()
    with torch.no_grad():
        labels = net(data).argmax(1).numpy()
    twin = rewrite(net, PLANE, data, budget=8.0, labels=labels)
    assert twin.certificate.accuracy["original"] == 1.0
    assert twin.certificate.accuracy["twin"] == twin.certificate.accuracy["average"] < 1.0
    with pytest.raises(DataMismatch, match="299 labels for more than 299 samples"):
        rewrite(net, PLANE, data, budget=8.0, labels=labels[:-1])
    with pytest.raises(DataMismatch, match="301 labels for 300 samples"):
        rewrite(net, PLANE, data, budget=8.0, labels=np.append(labels, 0))
    with pytest.raises(WrongUse, match="one class per sample"):
        rewrite(net, PLANE, data, budget=8.0, labels=labels[:, None])


def test_budgets_that_cannot_be_met_name_the_least() -> None:
    net = image_net()
    with pytest.raises(BudgetTooSmall, match=r"needs 19: the least budget is 0.0833"):
        rewrite(net, PLANE, images(), budget=0.01)
    with pytest.raises(BudgetTooSmall, match=r"for 1, the smallest orbit there has 8(.|\n)*times the budget"):
        rewrite(net, PLANE, images(), budget=0.1)
    assert rewrite(net, PLANE, images(), budget=0.8).certificate.widths == (16, 8, 3)
    with pytest.raises(WrongUse, match="positive"):
        rewrite(net, PLANE, images(), budget=0.0)


def test_data_that_do_not_determine_the_refit_are_refused() -> None:
    with pytest.raises(DataTooSmall, match=r"nothing varies over the data that is computed from 1(.|\n)*more data"):
        rewrite(image_net(), PLANE, images(1), budget=1.0)
    with pytest.raises(DataTooSmall, match=r"2 samples \(8 images each\) cannot determine 16 weights"):
        rewrite(image_net(), PLANE, images(2), budget=2.0)
    with pytest.raises(EmptyData):
        rewrite(image_net(), PLANE, images()[:0], budget=1.0)


@pytest.mark.parametrize(
    ("net", "complaint"),
    [
        (nn.Sequential(nn.Flatten(), nn.Linear(16, 4), nn.LayerNorm(4), nn.ReLU(), nn.Linear(4, 3)),
         "2:out: layer norm is not"),
        (nn.Sequential(nn.Conv2d(1, 4, 3), nn.Conv2d(4, 4, 2, groups=2), nn.Flatten(), nn.Linear(4, 3)),
         "1:out: a grouped convolution is not"),
        (nn.Sequential(nn.ConvTranspose2d(1, 4, 1), nn.ReLU(), nn.Flatten(), nn.Linear(64, 3)),
         "0:out: a transposed convolution is not"),
    ],
    ids=["layer norm", "grouped", "transposed"],
)  # fmt: skip
def test_operators_that_are_not_covered_are_refused_by_name_before_any_work(
    net: nn.Module, complaint: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def never(*_: object, **__: object) -> None:
        raise AssertionError("something was computed")

    monkeypatch.setattr(method, "lift_graph", never)
    monkeypatch.setattr(method, "selected", never)
    with pytest.raises(CannotRewrite, match=rf"{complaint} rewritten(.|\n)*Nothing was rewritten"):
        rewrite(net.eval(), PLANE, images())


def test_a_network_that_ends_in_a_function_is_rewritten() -> None:
    torch.manual_seed(1)
    net = nn.Sequential(nn.Flatten(), nn.Linear(16, 4), nn.ReLU()).eval()
    twin = rewrite(net, PLANE, images(), budget=1.0)
    assert twin.certificate.verdict.exact and twin.certificate.widths == (16, 4)
    assert_equivariant(twin.module, PLANE, images(32))


def test_actions_that_are_no_signed_permutations_are_refused_by_name() -> None:
    c3 = cyclic(3)
    turn = np.array([[-0.5, -np.sqrt(3) / 2], [np.sqrt(3) / 2, -0.5]])
    net = nn.Sequential(nn.Linear(2, 4), nn.Tanh(), nn.Linear(4, 2)).eval()
    with pytest.raises(CannotRewrite, match="C3 acts on the input by no signed permutation"):
        rewrite(net, Symmetry(c3, vector(matrix=[turn]), vector(matrix=[turn])), torch.randn(50, 2))
    swap = Symmetry(cyclic(2), vector(perm=[1, 0]), vector(perm=[1, 0]))
    assert rewrite(net, swap, torch.randn(50, 2), budget=2.0).certificate.verdict.exact


def test_orbits_too_large_for_the_layer_are_said_to_be() -> None:
    """Random neurons under S5 have no stabiliser: their orbits have 120 members."""
    s5 = symmetric(5)
    net = nn.Sequential(nn.Linear(5, 6), nn.ReLU(), nn.Linear(6, 2)).eval()
    perms = vector(perm=[s5.permutations[g].tolist() for g in s5.generators])  # type: ignore[index]
    with pytest.raises(BudgetTooSmall, match="every orbit of S5 has more than 6 neurons"):
        rewrite(net, Symmetry(s5, perms, invariant()), torch.randn(200, 5))


def test_folder_round_trip(selected: Rewrite, tmp_path) -> None:
    folder = selected.save(tmp_path / "twin")
    assert sorted(p.name for p in folder.iterdir()) == ["certificate.json", "model.safetensors", "recipe.json"]
    assert [p.name for p in tmp_path.iterdir()] == ["twin"]
    back, data = load(folder), nearly()[2]
    with torch.no_grad():
        assert torch.equal(back.module(data), selected.module(data))
    assert back.certificate == selected.certificate
    assert back.symmetry == selected.symmetry
    assert Symmetry.from_json(back.symmetry).group.name == "D4"
    plan = json.loads((folder / "recipe.json").read_text())
    assert {name: store.read_action(rho) for name, rho in plan["actions"].items()} == dict(selected.twin.actions)
    again = load(back.save(tmp_path / "again"))
    with torch.no_grad():
        assert torch.equal(again.module(data), back.module(data))
    with pytest.raises(WrongUse, match="exists already"):
        selected.save(folder)


def test_an_interrupted_save_leaves_nothing(selected: Rewrite, tmp_path, monkeypatch: pytest.MonkeyPatch) -> None:
    def stop(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(store, "_write", stop)
    with pytest.raises(KeyboardInterrupt):
        selected.save(tmp_path / "twin")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("harm", "complaint"),
    [
        ("missing", r"recipe.json cannot be read"), ("no json", r"certificate.json cannot be read"),
        ("other schema", r"schema 'x/1'"), ("wrong width", "shape"), ("cut", r"model.safetensors cannot be read"),
        ("nan", "NaN|nan|finite"), ("activation", "os.system"),
    ],
)  # fmt: skip
def test_damaged_folders_are_refused(selected: Rewrite, tmp_path, harm: str, complaint: str) -> None:
    folder = selected.save(tmp_path / "twin")
    plan = json.loads((folder / "recipe.json").read_text())
    if harm == "missing":
        (folder / "recipe.json").unlink()
    elif harm == "no json":
        (folder / "certificate.json").write_text("{")
    elif harm == "cut":
        raw = (folder / "model.safetensors").read_bytes()
        (folder / "model.safetensors").write_bytes(raw[: len(raw) // 2])
    elif harm == "nan":
        from safetensors.torch import load_file, save_file

        state = load_file(folder / "model.safetensors")
        state[sorted(state)[-1]].view(-1)[0] = float("nan")
        save_file(state, folder / "model.safetensors")
    else:
        nodes = {node["op"]["kind"]: node for node in plan["graph"]["nodes"]}
        if harm == "other schema":
            plan["schema"] = "x/1"
        elif harm == "wrong width":
            nodes["linear"]["shape"][1] += 1
        else:
            nodes["pointwise"]["op"]["pointwise"] = "os.system"
        (folder / "recipe.json").write_text(json.dumps(plan))
    with pytest.raises(CorruptFile, match=complaint):
        load(folder)


def test_the_twin_exports_and_compiles_to_the_same_function(selected: Rewrite) -> None:
    data = nearly()[2][:8]
    program = torch.export.export(selected.module, (data,)).module()
    with torch.no_grad():
        assert torch.allclose(program(data), selected.module(data), atol=1e-6)


def test_layers_in_blocks_are_loaded_in_blocks(tmp_path) -> None:
    torch.manual_seed(0)
    layers = nn.Flatten(), nn.Linear(16, 48), nn.ReLU(), nn.Linear(48, 48), nn.ReLU(), nn.Linear(48, 2)
    data, symmetry = (
        torch.randn(512, 1, 4, 4),
        Symmetry(dihedral(4), on_input=image(dihedral(4)), on_output=invariant()),
    )
    twin = rewrite(nn.Sequential(*layers).eval(), symmetry, data, 1.0, choice=Choice(blocks="always"))
    assert "blocks" in twin.certificate.executors.values()
    back = load(twin.save(tmp_path / "twin"))
    assert sorted(back.module.state_dict()) == sorted(twin.module.state_dict())
    assert sorted(back.module.state_dict()) != sorted(twin.twin.module().state_dict())
    with torch.no_grad():
        assert torch.allclose(back.module(data), twin.module(data), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("blocks", [True, False])
def test_blocks_are_kept_only_where_they_are_faster(blocks: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where dense layers win the budget is spent on a dense twin, not on the one that blocks would have paid for."""
    torch.manual_seed(0)
    layers = nn.Flatten(), nn.Linear(16, 48), nn.ReLU(), nn.Linear(48, 48), nn.ReLU(), nn.Linear(48, 2)
    square = dihedral(4)
    data, symmetry = torch.randn(512, 1, 4, 4), Symmetry(square, on_input=image(square), on_output=invariant())
    monkeypatch.setattr(selected_module, "WIDE", 8)
    monkeypatch.setattr(method, "_blocks_win", lambda subject, found: blocks)
    twin = rewrite(nn.Sequential(*layers).eval(), symmetry, data, 1.0).certificate
    assert ("blocks" in twin.executors.values()) is blocks
    assert twin.cost <= 1.0
    assert (twin.multiply_adds["dense"] > twin.multiply_adds["twin"]) is blocks


def test_what_budgets_share_changes_nothing() -> None:
    torch.manual_seed(0)
    layers = nn.Flatten(), nn.Linear(16, 24), nn.ReLU(), nn.Linear(24, 24), nn.ReLU(), nn.Linear(24, 2)
    net, square = nn.Sequential(*layers).eval(), dihedral(4)
    data, symmetry = torch.randn(512, 1, 4, 4), Symmetry(square, on_input=image(square), on_output=invariant())
    memory: dict = {}
    for budget in (1.0, 2.0):
        shared = rewrite(net, symmetry, data, budget, memory=memory).module.state_dict()
        alone = rewrite(net, symmetry, data, budget).module.state_dict()
        assert all(torch.equal(shared[name], value) for name, value in alone.items())
    (survey,) = memory.values()
    kept = dict(survey.seen)
    rewrite(net, symmetry, data, 1.5, memory=memory)
    assert kept and all(survey.seen[key] is value for key, value in kept.items())


def test_an_unknown_way_to_run_layers_is_refused() -> None:
    with pytest.raises(WrongUse, match="blocks is 'auto', 'always' or 'never', got 'sometimes'"):
        Choice(blocks="sometimes")
