"""Theorems are cited where every hypothesis holds, and nowhere else."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
import torch
from torch import nn

from intertwiner.identify.chain import Chain, as_chain
from intertwiner.identify.criteria import Criterion, Reach, criteria
from intertwiner.network import trace


def network(*layers: nn.Module, inputs: int = 3, seed: int = 0):
    torch.manual_seed(seed)
    module = nn.Sequential(*layers).double().eval()
    for layer in module:
        if isinstance(layer, nn.Linear):
            nn.init.normal_(layer.weight)
            if layer.bias is not None:
                nn.init.normal_(layer.bias)
    return module, lambda: trace(module, torch.zeros(2, inputs, dtype=torch.float64))


def one(traced) -> Criterion:
    found, why = criteria(traced)
    assert not why
    return found[0]


def failed(criterion: Criterion) -> list[str]:
    return [h.text for h in criterion.hypotheses if h.holds is False]


class Residual(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.a, self.b, self.c = nn.Linear(3, 3), nn.Linear(3, 3), nn.Linear(3, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        h = self.a(x)
        return self.c(h + torch.tanh(self.b(h)))


def shallow(activation: nn.Module, *, bias: bool = True):
    return network(nn.Linear(3, 4), activation, nn.Linear(4, 2, bias=bias))


def test_tanh_with_one_hidden_layer_is_sussmann() -> None:
    criterion = one(shallow(nn.Tanh())[1]())
    assert criterion.licenses
    assert criterion.theorem.startswith("Sussmann 1992")
    assert criterion.of == "the parameters"


BREAKS = {
    "zero outgoing column": (lambda m: m[2].weight.data[:, 1].zero_(), "no neuron with a zero outgoing column"),
    "constant neuron": (lambda m: m[0].weight.data[2].zero_(), "no constant neuron (w = 0)"),
}


def equal(module: nn.Sequential, sign: float) -> None:
    for value in (module[0].weight.data, module[0].bias.data):
        value[3] = sign * value[0]


@pytest.mark.parametrize("name", BREAKS)
def test_a_broken_hypothesis_is_named_and_nothing_is_licensed(name: str) -> None:
    module, traced = shallow(nn.Tanh())
    change, text = BREAKS[name]
    change(module)
    criterion = one(traced())
    assert not criterion.licenses
    assert failed(criterion) == [text]


@pytest.mark.parametrize("sign", [1.0, -1.0])
def test_equal_and_opposite_neurons_are_seen_and_near_ones_are_not_equal(sign: float) -> None:
    module, traced = shallow(nn.Tanh())
    equal(module, sign)
    assert failed(one(traced())) == ["no two neurons with (w, b) = ±(w', b')"]
    module[0].weight.data[3, 0] += 1e-12
    assert not failed(one(traced()))


def test_a_sigmoid_needs_the_output_bias() -> None:
    assert one(shallow(nn.Sigmoid())[1]()).licenses
    assert failed(one(shallow(nn.Sigmoid(), bias=False)[1]())) == ["sigmoid: the output has a bias"]


def test_a_deep_tanh_network_is_not_decided_by_a_paper_that_was_not_read() -> None:
    _, traced = network(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 4), nn.Tanh(), nn.Linear(4, 1))
    criterion = one(traced())
    assert not criterion.holds and not criterion.licenses
    assert any(h.holds is None for h in criterion.hypotheses)


@pytest.mark.parametrize("activation", [nn.ReLU(), nn.LeakyReLU(0.2)])
def test_kinks_speak_about_the_even_form(activation: nn.Module) -> None:
    module, traced = shallow(activation)
    criterion = one(traced())
    assert criterion.licenses and criterion.of == "the even form"
    with torch.no_grad():  # the same hyperplane, from the other side, at another scale
        module[0].weight[3], module[0].bias[3] = -2 * module[0].weight[0], -2 * module[0].bias[0]
    assert failed(one(traced())) == ["pairwise distinct hyperplanes w x + b = 0"]


def test_scale_invariant_equality_is_exact() -> None:
    """A third of a float times three is another float: the rows are not proportional, and no tolerance says so."""
    module, traced = network(nn.Linear(2, 2), nn.ReLU(), nn.Linear(2, 1), inputs=2)
    with torch.no_grad():
        module[0].weight.copy_(torch.tensor([[0.1, 0.7], [0.1 * 3, 0.7 * 3]]))
        module[0].bias.copy_(torch.tensor([0.3, 0.3 * 3], dtype=torch.float64))
    proportional = (0.1 * 3) * 0.7 == (0.7 * 3) * 0.1
    from fractions import Fraction as F

    exact = F(0.1 * 3) * F(0.7) == F(0.7 * 3) * F(0.1) and F(0.1 * 3) * F(0.3) == F(0.3 * 3) * F(0.1)
    assert proportional or not exact
    assert bool(failed(one(traced()))) is exact


class Power(nn.Module):
    def __init__(self, r: int) -> None:
        super().__init__()
        self.r = r

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x**self.r


@pytest.mark.parametrize(
    ("widths", "r", "holds"),
    [((4, 3, 2, 2), 2, True), ((4, 3, 2, 1), 2, False), ((4, 3, 2, 1), 3, True), ((2, 3, 1), 5, True),
     ((2, 3, 1), 4, False)],
)  # fmt: skip
def test_monomial_networks_are_generic_and_license_nothing(widths: tuple[int, ...], r: int, holds: bool) -> None:
    layers: list[nn.Module] = []
    for a, b in pairwise(widths):
        layers += [nn.Linear(a, b, bias=False), Power(r)]
    _, traced = network(*layers[:-1], inputs=widths[0])
    criterion = one(traced())
    assert criterion.reach is Reach.GENERIC
    assert criterion.holds is holds
    assert not criterion.licenses


def test_deep_relu_is_an_open_set() -> None:
    _, traced = network(nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, 4), nn.ReLU(), nn.Linear(4, 1))
    criterion = one(traced())
    assert criterion.reach is Reach.OPEN_SET
    assert not criterion.holds


@pytest.mark.parametrize(
    ("module", "word"),
    [
        (Residual(), "skip connection"),
        (nn.Sequential(nn.Conv1d(1, 2, 2), nn.Tanh(), nn.Flatten(), nn.Linear(4, 1)), "conv"),
    ],
)
def test_theorems_for_chains_are_not_cited_for_other_networks(module: nn.Module, word: str) -> None:
    shape = (2, 3) if isinstance(module, Residual) else (2, 1, 3)
    found, why = criteria(trace(module.eval(), torch.zeros(shape)))
    assert found == ()
    assert word in why


def test_batch_norm_folds_into_the_layer_before() -> None:
    module = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.Tanh(), nn.Linear(4, 1)).double()
    module(torch.randn(64, 3, dtype=torch.float64))
    chain = as_chain(trace(module.eval(), torch.zeros(2, 3, dtype=torch.float64)))
    assert isinstance(chain, Chain)
    x = np.random.default_rng(0).standard_normal((5, 3))
    h = np.tanh(x @ chain.layers[0].weight.T + chain.layers[0].bias)
    out = h @ chain.layers[1].weight.T + chain.layers[1].bias
    np.testing.assert_allclose(out, module(torch.from_numpy(x)).detach().numpy(), atol=1e-12)


def test_a_record_says_everything() -> None:
    record = one(shallow(nn.Tanh())[1]()).to_json()
    assert record["kind"] == "pointwise, global"
    assert [h["holds"] for h in record["hypotheses"]] == [True] * 3
    assert "smallest norm" in record["hypotheses"][0]["seen"]
