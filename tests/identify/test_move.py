"""A gauge element moved into the weights: other weights, the same function, and a name for what cannot take it."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from gauge_cases import CASES, Branches, case, drawn
from torch import nn

from intertwiner.errors import NotInGauge, UnknownTap
from intertwiner.gauge import GaugeElement
from intertwiner.identify import move
from intertwiner.network import trace
from intertwiner.numerics.monomial import Monomial


def gap(a: nn.Module, b: nn.Module, x: torch.Tensor) -> float:
    with torch.no_grad():
        one, two = a(x), b(x)
    return float((one - two).abs().max() / one.abs().max())


@pytest.mark.parametrize(("dtype", "room"), [(torch.float64, 1e-12), (torch.float32, 1e-4)])
@pytest.mark.parametrize("name", CASES)
def test_the_function_stays_and_the_weights_do_not(name, dtype, room):
    module, x = case(name, dtype)
    elements = drawn(module, x, seed=3)
    assert elements
    moved = move(module, elements, example=x)
    assert type(moved) is type(module) and list(moved.state_dict()) == list(module.state_dict())
    assert gap(module, moved, x) < room
    assert any(not torch.equal(p, q) for p, q in zip(module.parameters(), moved.parameters(), strict=True))


@pytest.mark.parametrize("name", ["relu", "conv", "residual tanh", "words"])
def test_the_writer_alone_changes_the_function(name):
    """The control: without its readers a move is no symmetry."""
    module, x = case(name)
    moved = move(module, drawn(module, x), example=x)
    state, other = module.state_dict(), moved.state_dict()
    first = next(n for n, p in module.named_parameters() if not torch.equal(state[n], other[n]))
    module.load_state_dict({**state, first: other[first]})
    assert gap(moved, module, x) > 1e-3


def test_moves_compose():
    module, x = case("relu")
    g, h = drawn(module, x, 1), drawn(module, x, 2)
    one = move(move(module, g, example=x), h, example=x)
    two = move(module, {name: h[name] @ g[name] for name in g}, example=x)
    for p, q in zip(one.parameters(), two.parameters(), strict=True):
        assert torch.allclose(p, q, rtol=1e-12)


def test_the_identity_moves_nothing_and_copies():
    module, x = case("pipeline")
    moved = move(module, {name: GaugeElement.identity(e.dimension) for name, e in drawn(module, x).items()}, example=x)
    for p, q in zip(module.parameters(), moved.parameters(), strict=True):
        assert torch.equal(p, q) and p is not q


def test_a_traced_network_gives_a_graph_module_of_the_same_function():
    module, x = case("tanh")
    moved = move(trace(module, x), drawn(module, x))
    assert torch.allclose(moved(x)[0], module(x), atol=1e-12)


def flip(n: int) -> GaugeElement:
    return GaugeElement(Monomial.diagonal(np.r_[-1.0, np.ones(n - 1)]))


class Tied(nn.Module):
    """One matrix before and after the activation."""

    def __init__(self) -> None:
        super().__init__()
        self.shared, self.head = nn.Linear(4, 4), nn.Linear(4, 2)

    def forward(self, x):
        return self.head(torch.tanh(self.shared(torch.tanh(self.shared(x)))))


class NoBias(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.first, self.head = nn.Linear(4, 6), nn.Linear(6, 2, bias=False)

    def forward(self, x):
        return self.head(torch.sigmoid(self.first(x)))


@pytest.mark.parametrize(
    ("module", "space", "element", "words"),
    [
        (nn.Sequential(nn.Linear(4, 6), nn.ReLU(), nn.Linear(6, 2)), "0", flip(6), "permutations x positive scales"),
        (nn.Sequential(nn.Linear(4, 6), nn.ReLU(), nn.Linear(6, 2)), "2", flip(2), "those of the output"),
        (NoBias(), "first", flip(6), "no bias"),
        (Tied(), "shared", flip(4), "tied"),
        (Branches(), "mid", flip(8), "move its parts left, right"),
    ],
)
def test_what_cannot_be_hidden_is_refused_by_name(module, space, element, words):
    x = torch.randn(3, 4, dtype=torch.float64)
    with pytest.raises(NotInGauge, match=words):
        move(module.double(), {space: element}, example=x)


def test_an_unknown_space_is_named():
    module, x = case("relu")
    with pytest.raises(UnknownTap, match=r"layers\.0"):
        move(module, {"nowhere": GaugeElement.identity(8)}, example=x)
