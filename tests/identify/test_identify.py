"""The verb ``identify``: it reduces first, cites a theorem only where one decides, and never calls local global."""

from __future__ import annotations

import json
from itertools import pairwise

import pytest
import torch
from torch import nn

import intertwiner as iw
from intertwiner.verdict import Kind


def chain(*widths: int, act: type[nn.Module], seed: int = 0) -> nn.Sequential:
    torch.manual_seed(seed)
    layers: list[nn.Module] = []
    for a, b in pairwise(widths):
        layers += [nn.Linear(a, b), act()]
    return nn.Sequential(*layers[:-1]).double().eval()


def example(n: int) -> torch.Tensor:
    return torch.zeros(2, n, dtype=torch.float64)


def test_a_shallow_tanh_network_is_identifiable() -> None:
    found = iw.identify(chain(3, 4, 2, act=nn.Tanh), example=example(3))
    assert found.verdict.kind is Kind.PROVED
    assert found.licence is not None and found.verdict.theorem == found.licence.theorem
    assert found.redundant == 0
    assert found.dimension is not None and found.dimension.dimension == 26
    assert [(s.name, s.dimension, s.group) for s in found.spaces] == [("0", 4, "signed permutations")]


def test_it_is_reduced_first_and_the_verdict_is_about_what_remains() -> None:
    net = chain(3, 5, 2, act=nn.Tanh)
    with torch.no_grad():  # neuron 4 is minus neuron 0: two parameters for one function, until they are joined
        net[0].weight[4], net[0].bias[4] = -net[0].weight[0], -net[0].bias[0]
    found = iw.identify(net, example=example(3))
    assert found.redundant == 1
    assert found.verdict.is_proved
    assert "reduced" in found.verdict.claim
    assert found.reduced.parameters == found.parameters - 6
    assert found.dimension is not None
    assert found.dimension.dimension < found.dimension.parameters  # of the network as it was given


def test_full_rank_licenses_nothing() -> None:
    """The triple of theory 1: local identifiability is exact, and the parameters are not unique."""
    net = nn.Sequential(nn.Linear(2, 3, bias=False), nn.ReLU(), nn.Linear(3, 1, bias=False)).double().eval()
    with torch.no_grad():
        net[0].weight.copy_(torch.tensor([[3.0, 1.0], [-2.0, 2.0], [-1.0, -3.0]]))
        net[2].weight.fill_(1.0)
    found = iw.identify(net, example=example(2))
    assert found.dimension is not None and found.dimension.exact
    assert found.dimension.dimension == 6 == found.dimension.parameters - found.dimension.gauge
    assert found.verdict.claim.startswith("the even form")  # what is unique is the form with |z|, not the neurons


@pytest.mark.parametrize("act", [nn.ReLU, nn.GELU, nn.Tanh])
def test_a_deep_network_is_undecided_with_the_reason(act: type[nn.Module]) -> None:
    found = iw.identify(chain(3, 4, 4, 1, act=act), example=example(3))
    assert found.verdict.is_undecided
    assert found.licence is None
    assert found.verdict.reason


def test_a_large_network_gets_its_dimension_when_asked_for() -> None:
    net = chain(40, 120, 2, act=nn.Tanh)
    found = iw.identify(net, example=example(40))
    assert found.dimension is None
    assert "dimension=True" in found.undimensioned
    assert iw.identify(net, example=example(40), dimension=False).undimensioned == "not asked for"


def test_an_operator_without_a_rule_leaves_the_rest() -> None:
    class Sorted(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.one, self.two = nn.Linear(3, 4), nn.Linear(4, 1)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.two(torch.sort(torch.tanh(self.one(x)), dim=1).values)

    found = iw.identify(Sorted().double().eval(), example=example(3))
    assert found.reduction is None
    assert "sort" in found.unreduced
    assert found.verdict.is_undecided


def test_the_record_is_json_and_says_what_is_missing() -> None:
    record = iw.identify(chain(3, 4, 4, 1, act=nn.Tanh), example=example(3), dimension=False).to_json()
    again = json.loads(json.dumps(record, allow_nan=False))
    assert again["schema"] == "intertwiner.identifiability/1"
    assert again["missing"] == {"functional_dimension": "not asked for"}
    assert again["verdict"]["kind"] == "UNDECIDED"


def test_it_prints_every_part() -> None:
    text = str(iw.identify(chain(3, 4, 2, act=nn.Tanh), example=example(3)))
    for piece in ("PROVED: the parameters of Sequential", "gauge of the hidden spaces", "redundant neurons", "theorems",
                  "Sussmann 1992", "functional dimension 26 of 26"):  # fmt: skip
        assert piece in text, piece
