"""Real networks trace without a gap; skipped where the folder with them is absent."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import pytest
import torch
from ir_reference import interpret
from torch.utils import _pytree as pytree

from intertwiner.network import trace


@pytest.fixture(scope="module")
def networks(shared: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location("third_party_networks", shared / "models" / "networks.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


CASES = {
    "katago": (lambda m: m.KataGo(), [(22, 9, 9), (19,)]),
    "gomoku": (lambda m: m.Gomoku(), [(4, 8, 8)]),
    "dncnn": (lambda m: m.DnCNN(), [(1, 16, 16)]),
    "policy": (lambda m: m.PolicyMLP("sb3/ppo_CartPole-v1.npz"), [(4,)]),
    "group": (lambda m: m.GroupMLP("group_mlp/" + min(p.name for p in (m.HERE / "group_mlp").glob("*.npz"))), None),
}


@pytest.mark.parametrize("name", CASES)
def test_it_traces_without_opaque_nodes_and_means_the_same(name: str, networks: ModuleType) -> None:
    build, shapes = CASES[name]
    module = build(networks).eval()
    shapes = [(2 * module.n,)] if shapes is None else shapes
    torch.manual_seed(0)
    inputs = tuple(torch.rand(3, *shape) for shape in shapes)
    network = trace(module, inputs)
    assert network.unruled == () and network.batch_size is None
    assert not [s for s in network.latent_spaces if s.opaque]
    values = interpret(network, inputs)
    with torch.no_grad():
        expected = pytree.tree_leaves(module(*inputs))
    for node, b in zip(network.nodes[-1].inputs, expected, strict=True):
        torch.testing.assert_close(values[node], b.double(), rtol=1e-4, atol=1e-4)


def test_katago_has_one_trunk_and_its_taps_follow_the_parameters(networks: ModuleType) -> None:
    network = trace(networks.KataGo().eval(), (torch.rand(2, 22, 9, 9), torch.rand(2, 19)))
    trunk = next(s for s in network.latent_spaces if s.name == "p.conv1")
    assert trunk.dimension == 96 and "p.rconv6_w2:out" in trunk.taps
    assert str(trunk.gauge) == "permutations x positive scales"
    assert network.outputs == ("policy", "pass", "value", "ownership")
