"""Networks made to mislead: symmetric on the data only, nearly symmetric, tied, shared, dead, bypassed."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

import intertwiner as iw
from intertwiner.numerics.tolerance import TOLERANCE
from intertwiner.testing import Cell, planted_network

WEIGHTS_ONLY = iw.Effort(data=False)
LIGHT = iw.Effort(nulls=False, orbits=False)


def noise(*shape: int) -> torch.Tensor:
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(0))


def two_layers(w: object, b: object, c: object, d: object, activation: nn.Module) -> nn.Sequential:
    """``c s(w x + b) + d`` in float64."""
    w, b, c, d = (torch.as_tensor(np.array(a, dtype=float)) for a in (w, b, c, d))
    net = nn.Sequential(nn.Linear(w.shape[1], w.shape[0]), activation, nn.Linear(*c.shape[::-1])).double().eval()
    with torch.no_grad():
        for layer, weight, bias in ((net[0], w, b), (net[2], c, d)):
            layer.weight.copy_(weight)
            layer.bias.copy_(bias)
    return net


def swap(outputs: object = None) -> iw.Symmetry:
    return iw.Symmetry(iw.cyclic(2), on_input=iw.vector(perm=[1, 0]), on_output=outputs or iw.invariant())


def flip(dimension: int) -> iw.Symmetry:
    return iw.Symmetry(iw.cyclic(2), on_input=iw.vector(sign=[-1] * dimension), on_output=iw.invariant())


def test_symmetric_on_the_data_but_not_off_it() -> None:
    """On the line x = y the swap is invisible; only the weights, and an input off the line, tell."""
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(2, 8), nn.Tanh(), nn.Linear(8, 1)).double().eval()
    line = noise(256, 1).repeat(1, 2)
    found = iw.audit(net, swap(), data=line, effort=LIGHT)
    assert found.defect <= 1e-12  # the data see nothing
    assert found.verdict.is_refuted  # the weights and noise do
    witness = found.verdict.witness.inputs
    (x,) = witness.values()
    assert abs(x[0, 0] - x[0, 1]) > 0.1
    assert found["0"].representation is None


def test_nearly_symmetric_is_refused_and_its_defect_is_small() -> None:
    planted = planted_network(Cell("D4", "tanh", "mlp", 2, "float64"), 0).with_weight_moved(by=1e-4)
    found = iw.audit(planted.module, planted.symmetry, data=planted.example(256), effort=LIGHT)
    assert found.verdict.is_refuted
    assert 1e-8 < found.defect < 1e-2
    assert min(found["layers.0"].gauge_r2.values()) > 0.999  # beside it the figure says how nearly


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize(("times", "kind"), [(0.01, "PROVED"), (10, "REFUTED")])
def test_the_line_between_rounding_and_breaking_is_the_tolerance(dtype: str, times: float, kind: str) -> None:
    planted = planted_network(Cell("S3", "tanh", "mlp", 1, dtype), 0).with_weight_moved(by=times * TOLERANCE[dtype])
    found = iw.audit(planted.module, planted.symmetry, example=planted.example(), effort=WEIGHTS_ONLY)
    assert found.verdict.kind == kind
    assert not found.verdict.exact


class TiedAutoencoder(nn.Module):
    def __init__(self, weight: torch.Tensor) -> None:
        super().__init__()
        self.weight = nn.Parameter(weight)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.tanh(x @ self.weight.T) @ self.weight


def test_tied_weights_are_one_weight_in_two_places() -> None:
    a, b, c = 0.7, -0.3, 0.4
    net = TiedAutoencoder(torch.tensor([[a, b], [b, a], [c, c]], dtype=torch.float64)).eval()
    found = iw.audit(net, swap(iw.same()), example=noise(4, 2), effort=WEIGHTS_ONLY)
    assert found.verdict.is_proved
    with torch.no_grad():
        net.weight[0, 0] += 1e-6
    assert iw.audit(net, swap(iw.same()), example=noise(4, 2), effort=WEIGHTS_ONLY).verdict.is_refuted


class CalledTwice(nn.Module):
    """One layer, two call sites: the latent spaces carry their own action each."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(3, 3)
        self.head = nn.Linear(3, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(torch.tanh(self.layer(torch.tanh(self.layer(x)))))


def test_a_shared_module_called_twice_has_two_taps() -> None:
    net = CalledTwice().double().eval()
    with torch.no_grad():
        net.layer.weight.copy_(0.3 + 0.9 * torch.eye(3))
        net.layer.bias.fill_(0.1)
        net.head.weight.fill_(0.5)
    S3 = iw.symmetric(3)
    symmetry = iw.Symmetry(S3, on_input=iw.vector(perm=[m.tolist() for m in S3.permutations[list(S3.generators)]]),
                           on_output=iw.invariant())  # fmt: skip
    found = iw.audit(net, symmetry, example=noise(4, 3), effort=WEIGHTS_ONLY)
    assert found.verdict.is_proved
    assert str(found["layer:out"].orbits) == str(found["layer:out#2"].orbits) == "1 x S3/C2"
    with torch.no_grad():
        net.layer.weight[0, 1] += 1e-3
    assert iw.audit(net, symmetry, example=noise(4, 3), effort=WEIGHTS_ONLY).verdict.is_refuted


def test_units_that_never_fire_do_not_make_a_broken_weight_right() -> None:
    """A ReLU that is dead on every input of reach: the weights carry no action, and no input shows it."""
    w = [[1.0, 0.2], [0.2, 1.0], [0.3, 0.4]]
    net = two_layers(w, [0.1, 0.1, -1e9], [[1.0, 1.0, 1.0]], [0.0], nn.ReLU())
    found = iw.audit(net, swap(), example=noise(4, 2), effort=WEIGHTS_ONLY)
    assert found.verdict.is_undecided
    assert "no input was found at which it fails beyond rounding" in found.verdict.reason


def test_units_without_inputs_are_constants() -> None:
    w = [[1.0, 0.2], [0.2, 1.0], [0.0, 0.0]]
    net = two_layers(w, [0.1, 0.1, 0.7], [[1.0, 1.0, 5.0]], [0.0], nn.ReLU())
    found = iw.audit(net, swap(), example=noise(4, 2), effort=WEIGHTS_ONLY)
    assert found.verdict.is_proved
    assert found["0"].weights.constant == 1


def test_the_bypass_broken_by_one_weight_is_refuted() -> None:
    net = two_layers([[3, 1], [-2, 2], [-1, -3.001]], [0, 0, 0], [[1, 1, 1]], [0.0], nn.ReLU())
    assert iw.audit(net, flip(2), data=noise(256, 2), effort=LIGHT).verdict.is_refuted


def test_the_trivial_action_on_a_random_network_is_true_and_worth_nothing() -> None:
    """Every network is equivariant when nothing moves: proved, with an action that moves no neuron."""
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(2, 8), nn.Tanh(), nn.Linear(8, 1)).double().eval()
    still = iw.Symmetry(iw.cyclic(2), on_input=iw.invariant(), on_output=iw.invariant())
    found = iw.audit(net, still, example=noise(4, 2), effort=WEIGHTS_ONLY)
    assert found.verdict.is_proved
    assert found["0"].representation.character.tolist() == [8.0, 8.0]
    assert str(found["0"].orbits) == "8 x C2/C2"


def test_an_output_action_wrong_by_a_sign_is_refuted_although_hidden_layers_carry_the_action() -> None:
    planted = planted_network(Cell("C2", "tanh", "mlp", 2, "float64"), 0)
    outputs = iw.vector(sign=[-1] * planted.module(planted.example()).shape[1])
    wrong = iw.Symmetry(planted.symmetry.group, on_input=planted.symmetry.on_input, on_output=outputs)
    found = iw.audit(planted.module, wrong, example=planted.example(), effort=WEIGHTS_ONLY)
    assert found.verdict.is_refuted
    assert "the last layer does not close" in found.verdict.reason
    assert found["layers.1"].representation.is_isomorphic(planted.representations["layers.1"])


def test_an_even_network_is_not_odd() -> None:
    net = two_layers([[1.0], [-1.0]], [0.3, 0.3], [[1.0, 1.0]], [0.0], nn.Tanh())
    assert iw.audit(net, flip(1), example=noise(4, 1), effort=WEIGHTS_ONLY).verdict.is_proved
    odd = iw.Symmetry(iw.cyclic(2), on_input=iw.vector(sign=[-1]), on_output=iw.vector(sign=[-1]))
    assert iw.audit(net, odd, example=noise(4, 1), effort=WEIGHTS_ONLY).verdict.is_refuted
