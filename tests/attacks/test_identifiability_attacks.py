"""Counterexamples: where parameters are not unique, where latent actions hide, and what must not be claimed."""

from __future__ import annotations

import copy

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import intertwiner as iw
from intertwiner.identify import even_form, reduce
from intertwiner.numerics.rank import rank
from intertwiner.numerics.tolerance import KEPT_FUNCTION

WEIGHTS_ONLY = iw.Effort(data=False, identify=False)
"""The audit alone: nothing is reduced on the way."""
REDUCING = iw.Effort(data=False)


def noise(*shape: int) -> Tensor:
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(0))


def two_layers(w: object, b: object, c: object, d: object, act: nn.Module) -> nn.Sequential:
    """``c s(w x + b) + d`` in float64; no biases where b is None."""
    w, c = (torch.as_tensor(np.array(a, dtype=float)) for a in (w, c))
    bias = b is not None
    layers = nn.Linear(w.shape[1], w.shape[0], bias), act, nn.Linear(*c.shape[::-1], bias)
    net = nn.Sequential(*layers).double().eval()
    with torch.no_grad():
        net[0].weight.copy_(w)
        net[2].weight.copy_(c)
        if bias:
            net[0].bias.copy_(torch.as_tensor(np.array(b, dtype=float)))
            net[2].bias.copy_(torch.as_tensor(np.array(d, dtype=float)))
    return net


def even_in(dimension: int) -> iw.Symmetry:
    """``f(-x) = f(x)``."""
    return iw.Symmetry(iw.cyclic(2), on_input=iw.vector(sign=[-1] * dimension), on_output=iw.invariant())


def gap(a: nn.Module, b: nn.Module, x: Tensor) -> float:
    with torch.no_grad():
        return float((a(x) - b(x)).abs().max() / a(x).abs().max())


# |x| = 2 relu(x) - relu(x + c) + relu(-x - c) + c


@pytest.mark.parametrize("c", [0.7, -1.3, 2.0])
def test_absolute_value_with_an_opposite_pair(c: float) -> None:
    net = two_layers([[1], [1], [-1]], [0, c, -c], [[2, -1, 1]], [c], nn.ReLU())
    x = noise(64, 1)
    torch.testing.assert_close(net(x), x.abs())
    alone = iw.audit(net, even_in(1), example=x, effort=WEIGHTS_ONLY)
    assert alone.verdict.is_undecided  # the function is even, so no witness, and no action, so no proof
    assert alone["0"].representation is None
    found = reduce(net, example=x)
    assert {(r.neuron, r.kind) for r in found.removed} == {(2, "opposite"), (1, "unread")}
    assert gap(net, found.module, 10 * x) <= KEPT_FUNCTION
    after = iw.audit(found.module, even_in(1), example=x, effort=WEIGHTS_ONLY)
    assert after.verdict.is_proved
    assert str(after["0"].representation) == "C2: B"
    assert iw.audit(net, even_in(1), example=x, effort=REDUCING).verdict.is_proved


def test_an_odd_part_is_not_reduced_away() -> None:
    """Negative control: the same neurons with another outgoing weight are not even, before and after."""
    net = two_layers([[1], [1], [-1]], [0, 0.7, -0.7], [[2.1, -1, 1]], [0.7], nn.ReLU())
    x = noise(64, 1)
    found = reduce(net, example=x)
    assert gap(net, found.module, x) <= KEPT_FUNCTION
    for module in (net, found.module, even_form(net, example=x).module):
        assert iw.audit(module, even_in(1), example=x, effort=WEIGHTS_ONLY).verdict.is_refuted


# the ReLU triple: nothing to reduce, full rank, and no latent action on its neurons

TRIPLE = [[3, 1], [-2, 2], [-1, -3]]


def triple(c: tuple[float, ...] = (1.0, 1.0, 1.0)) -> nn.Sequential:
    return two_layers(TRIPLE, None, [list(c)], None, nn.ReLU())


def test_the_triple_is_even_of_full_rank_and_irreducible() -> None:
    net, x = triple(), noise(64, 2)
    torch.testing.assert_close(net(-x), net(x))
    theta = dict(net.named_parameters())

    def function(parameters: dict[str, Tensor]) -> Tensor:
        return torch.func.functional_call(net, parameters, x).flatten()

    jacobian = torch.func.jacrev(function)(theta)
    columns = torch.cat([j.reshape(len(x), -1) for j in jacobian.values()], 1)
    assert rank(columns.detach().numpy()).rank == 6 == 9 - 3  # P minus one scaling per neuron
    found = reduce(net, example=x)
    assert not found.removed
    assert [f.neurons for f in found.flips] == [(0, 1, 2)]  # unique up to scalings, locally; not globally
    flipped = two_layers(-np.array(TRIPLE), None, [[1, 1, 1]], None, nn.ReLU())
    assert gap(net, flipped, x) <= KEPT_FUNCTION


def test_the_triple_has_no_action_on_its_neurons_and_one_in_its_even_form() -> None:
    net, x = triple(), noise(64, 2)
    alone = iw.audit(net, even_in(2), example=x, effort=WEIGHTS_ONLY)
    assert alone.verdict.is_undecided
    assert not alone.verdict.theorem
    assert alone["0"].representation is None
    found = even_form(net, example=x)
    assert not any("beside" in name for name in found.module.state_dict())  # the linear parts cancel
    after = iw.audit(found.module, even_in(2), example=x, effort=WEIGHTS_ONLY)
    assert after.verdict.is_proved
    assert not after.verdict.theorem
    assert str(after["0"].representation) == "C2: 3·B"
    whole = iw.audit(net, even_in(2), example=x, effort=REDUCING).verdict
    assert whole.is_proved
    assert not whole.theorem


def test_a_triple_whose_linear_parts_do_not_cancel() -> None:
    """Negative control: another outgoing weight; the even form has a linear map beside it, and is not even."""
    net, x = triple((1.0, 1.0, 1.5)), noise(64, 2)
    assert not reduce(net, example=x).flips
    found = even_form(net, example=x)
    half = found.module.state_dict()["2.beside.weight"]
    torch.testing.assert_close(half, torch.tensor([[-0.25, -0.75]], dtype=torch.float64))
    assert gap(net, found.module, x) <= KEPT_FUNCTION
    assert iw.audit(found.module, even_in(2), example=x, effort=WEIGHTS_ONLY).verdict.is_refuted


# sets of neurons whose flip changes nothing


@pytest.mark.parametrize("act", [nn.ReLU(), nn.LeakyReLU(0.2), nn.GELU(), nn.SiLU(), nn.Softplus(), nn.Hardswish()])
def test_a_sum_flip_in_a_biased_network(act: nn.Module) -> None:
    """``sum_S c_i (x) w_i = 0``: flipping S moves a constant only, which the next bias takes."""
    rng = np.random.default_rng(3)
    w, b, c, d = (rng.normal(size=s) for s in ((5, 3), 5, (2, 5), 2))
    w[4] = -(w[1] + 2 * w[3])
    c[:, 1], c[:, 3], c[:, 4] = c[:, 0], 2 * c[:, 0], c[:, 0]
    net, x = two_layers(w, b, c, d, act), noise(64, 3)
    found = reduce(net, example=x)
    assert not found.removed
    assert [(f.place, f.neurons) for f in found.flips] == [("0", (1, 3, 4))]
    assert found.flips[0].residual < 1e-14
    flipped, k = copy.deepcopy(net), 1.2 if isinstance(act, nn.LeakyReLU) else 1.0
    with torch.no_grad():
        for i in (1, 3, 4):
            flipped[0].weight[i] *= -1
            flipped[0].bias[i] *= -1
            flipped[2].bias += k * net[2].weight[:, i] * net[0].bias[i]
    assert gap(net, flipped, x) <= KEPT_FUNCTION
    for moved in (1e-8, 1e-3):
        with torch.no_grad():
            net[0].weight[3, 0] += moved
        assert not reduce(net, example=x).flips


def test_tanh_has_no_flip_sets() -> None:
    """Its signs are in the gauge: they are counted there, and no linear part can hide."""
    net = two_layers(TRIPLE, None, [[1, 1, 1]], None, nn.Tanh())
    assert not reduce(net, example=noise(2, 2)).flips


def test_more_flip_sets_than_can_be_searched_are_said_to_be_unsearched() -> None:
    rng = np.random.default_rng(0)
    net = two_layers(rng.normal(size=(40, 2)), rng.normal(size=40), rng.normal(size=(1, 40)), [0.0], nn.ReLU())
    found = reduce(net, example=noise(2, 2))
    assert found.unsearched == {"0": 38}
    assert "flip sets not searched" in str(found)


# strides, and biases that nothing sees


def mirror(length: int) -> tuple[nn.Module, iw.Symmetry]:
    """A convolution with stride 2 and a mirrored kernel, its mean read out: even lengths have no induced map."""
    torch.manual_seed(1)
    net = nn.Sequential(nn.Conv1d(1, 4, 3, stride=2, padding=1), nn.Tanh(), nn.AdaptiveAvgPool1d(1), nn.Flatten(),
                        nn.Linear(4, 2)).double().eval()  # fmt: skip
    with torch.no_grad():
        net[0].weight[:, :, 2] = net[0].weight[:, :, 0]
    flips = list(range(length))[::-1]
    return net, iw.Symmetry(iw.cyclic(2), on_input=iw.vector(perm=flips), on_output=iw.invariant())


def test_stride_two_on_even_length_has_no_induced_action_and_is_named() -> None:
    net, symmetry = mirror(9)
    assert iw.audit(net, symmetry, example=noise(4, 1, 9), effort=WEIGHTS_ONLY).verdict.is_proved
    net, symmetry = mirror(8)
    found = iw.audit(net, symmetry, example=noise(4, 1, 8), effort=WEIGHTS_ONLY)
    assert not found.verdict.is_proved
    assert "stride" in str(found)
    assert reduce(net, example=noise(4, 1, 8)).removed == ()


class Attention(nn.Module):
    """One head, no positions: equivariant under permutations of tokens, and blind to its key bias."""

    def __init__(self, d: int = 4) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.q, self.k, self.v = (nn.Linear(d, d) for _ in range(3))

    def forward(self, x: Tensor) -> Tensor:
        score = self.q(x) @ self.k(x).transpose(1, 2)
        return torch.softmax(score, -1) @ self.v(x)


def test_a_key_bias_under_softmax_is_neither_proved_nor_refuted() -> None:
    net, x = Attention().double().eval(), noise(5, 3, 4)
    other = copy.deepcopy(net)
    with torch.no_grad():
        other.k.bias += 3.0
    assert gap(net, other, x) <= KEPT_FUNCTION  # another parameter, the same function
    symmetry = iw.Symmetry(iw.cyclic(3), on_input=iw.tokens(perm=[1, 2, 0]), on_output=iw.same())
    for module in (net, other):
        found = iw.audit(module, symmetry, example=x, effort=WEIGHTS_ONLY)
        assert found.verdict.is_undecided
        assert found.verdict.reason
    reduced = reduce(other, example=x)
    assert not reduced.removed
    assert reduced.left_alone.keys() == {"q", "k", "v"}
