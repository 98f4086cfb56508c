"""The audit reduces first: what that finds, what it must not claim, and when a theorem speaks against a network."""

from __future__ import annotations

import pytest
import torch
from torch import nn

import intertwiner as iw
from intertwiner.testing import Cell, planted_network

LIGHT = iw.Effort(data=False)
ODD = iw.Symmetry(iw.cyclic(2), on_input=iw.vector(sign=[-1, -1]), on_output=iw.invariant())


def shallow(act: nn.Module, seed: int = 0) -> nn.Sequential:
    torch.manual_seed(seed)
    return nn.Sequential(nn.Linear(2, 4), act, nn.Linear(4, 1)).double().eval()


def example() -> torch.Tensor:
    return torch.zeros(2, 2, dtype=torch.float64)


@pytest.mark.parametrize(("act", "what"), [(nn.Tanh(), "the parameters"), (nn.ReLU(), "the even form")])
def test_a_theorem_says_why_a_network_without_an_action_is_not_equivariant(act: nn.Module, what: str) -> None:
    found = iw.audit(shallow(act), ODD, example=example(), effort=LIGHT)
    assert found.verdict.is_refuted
    assert found.verdict.theorem
    assert f"{what} being identifiable" in found.verdict.reason
    assert found.record["identifiability"]["applies"] is True


def test_no_theorem_for_a_deep_network() -> None:
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(2, 4), nn.Tanh(), nn.Linear(4, 4), nn.Tanh(), nn.Linear(4, 1)).double().eval()
    found = iw.audit(net, ODD, example=example(), effort=LIGHT)
    assert found.verdict.is_refuted  # by its witness
    assert not found.verdict.theorem
    assert found.record["identifiability"]["applies"] is False


def test_no_theorem_where_a_hypothesis_fails() -> None:
    net = shallow(nn.Tanh())
    with torch.no_grad():
        net[2].weight[0, 1] = 0.0
    known = iw.audit(net, ODD, example=example(), effort=LIGHT).record["identifiability"]
    assert known["removed"] == [{"tap": "0", "kind": "cannot reach the output", "count": 1}]
    assert known["applies"] is True  # of the reduced network, which has no such neuron


def test_a_defect_below_rounding_is_told_by_the_theorem_and_not_refuted() -> None:
    """Even up to 1e-13: no input shows it, and yet the weights carry no action beyond tolerance."""
    net = nn.Sequential(nn.Linear(2, 4), nn.Tanh(), nn.Linear(4, 1)).double().eval()
    torch.manual_seed(1)
    with torch.no_grad():
        net[0].weight[2:], net[0].bias[2:] = -net[0].weight[:2], net[0].bias[:2]
        net[2].weight[0, 2:] = net[2].weight[0, :2]
        net[0].weight[1, 0] += 1e-6
        net[2].weight[0, 1] *= 1e-11
        net[2].weight[0, 3] *= 1e-11
    verdict = iw.audit(net, ODD, example=example(), effort=LIGHT).verdict
    assert verdict.is_undecided
    assert verdict.theorem.startswith("Sussmann")
    assert "no input was found" in verdict.reason


def test_nothing_is_rewritten_where_the_weights_carry_the_action() -> None:
    planted = planted_network(Cell("D4", "relu", "mlp", 2, "float64"), 0)
    found = iw.audit(planted.module, planted.symmetry, example=planted.example(), effort=LIGHT)
    assert found.verdict.is_proved
    assert found.record["identifiability"]["rewritten"] == ""


@pytest.mark.parametrize("family", ["mlp", "conv", "residual"])
@pytest.mark.parametrize("activation", ["relu", "gelu", "leaky_relu"])
def test_rewriting_claims_nothing_under_a_wrong_action(family: str, activation: str) -> None:
    planted = planted_network(Cell("C2", activation, family, 2, "float64"), 3)
    wrong = iw.audit(planted.module, planted.with_wrong_action(), example=planted.example(), effort=LIGHT)
    assert not wrong.verdict.is_proved
    moved = planted.with_weight_moved()
    assert iw.audit(moved.module, moved.symmetry, example=moved.example(), effort=LIGHT).verdict.is_refuted


def test_it_can_be_left_out() -> None:
    effort = iw.Effort(data=False, identify=False)
    found = iw.audit(shallow(nn.Tanh()), ODD, example=example(), effort=effort)
    assert found.record["identifiability"] is None
    assert not found.verdict.theorem
