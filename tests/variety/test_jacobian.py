"""Jacobians beside outputs that flint expands, and beside torch's derivatives for attention."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest
import torch
from expanded import coefficient_rank, convolution_outputs, dense_outputs, derivatives

from intertwiner.errors import WrongUse
from intertwiner.numerics.modular import Modulus
from intertwiner.numerics.seeds import rng
from intertwiner.variety import Architecture, Attention, Convolution, Rationals, jacobian, neurovariety, residues
from intertwiner.variety.jacobian import values
from intertwiner.variety.rank import rank_at

DENSE = [
    Architecture((2, 3, 2), "t^2"),
    Architecture((2, 2, 2, 1), "t^3 + 2t", bias=True),
    Architecture((3, 2, 2), "1/2 t^2 - t + 3"),
    Architecture((2, 2, 2, 2), "linear", bias=True),
]
CONVOLUTIONS = [
    Convolution((2, 2), activation="t^2"),
    Convolution((3, 2), (2, 1), (1, 2, 2), "t^2 + 1/3 t", bias=True),
    Convolution((2, 2, 2), (1, 2, 1), (2, 1, 2, 1), "t^2"),
]


def expanded(family):
    return dense_outputs(family) if isinstance(family, Architecture) else convolution_outputs(family)


@pytest.mark.parametrize("family", [*DENSE, *CONVOLUTIONS], ids=str)
def test_jacobian_is_that_of_the_expanded_outputs(family) -> None:
    _, outputs = expanded(family)
    random = rng(3)
    theta, x = random.integers(-3, 4, family.parameters), random.integers(-3, 4, (2, family.inputs))
    expected = [row for one in x.tolist() for row in derivatives(outputs, family.parameters, theta.tolist() + one)]
    exact = [[Fraction(int(v.p), int(v.q)) for v in row] for row in expected]
    rationals = Rationals()
    assert family.jacobian(rationals.array(theta), rationals.array(x), rationals).tolist() == exact
    field = Modulus()
    found = family.jacobian(theta.astype(float), x.astype(float), field)
    assert np.array_equal(found, residues(np.array(exact, dtype=object), field))


@pytest.mark.parametrize("family", [*DENSE, *CONVOLUTIONS], ids=str)
def test_rank_of_evaluations_is_the_rank_of_coefficients(family) -> None:
    _, outputs = expanded(family)
    theta = rng(5).integers(-9, 10, family.parameters)
    expected = coefficient_rank(outputs, family.parameters, theta.tolist())
    assert rank_at(family, theta.astype(float), Modulus()).rank == expected
    assert neurovariety(family).dimension == expected


def test_rank_at_a_special_parameter_is_smaller() -> None:
    net = Architecture((3, 3, 1), "t^3")
    theta = np.array([1.0, 2, 3, 1, 2, 3, 4, 5, 7, 1, 1, 1])  # a repeated neuron, from theory: 9 generic, 6 there
    _, outputs = dense_outputs(net)
    assert rank_at(net, theta, Modulus()).rank == 6 == coefficient_rank(outputs, 12, [int(v) for v in theta])


def test_values_are_those_of_a_hand_computation() -> None:
    net = Architecture((2, 1, 1), "t^2 + t", bias=True)
    theta, x = Rationals().array([1, 2, "1/2", 3, -1]), Rationals().array([[1, 1]])
    assert values(net, theta, x, Rationals()).tolist() == [[3 * (Fraction(7, 2) ** 2 + Fraction(7, 2)) - 1]]


def test_wrong_shapes_are_refused() -> None:
    net = Architecture((2, 2, 1), "t^2")
    with pytest.raises(WrongUse, match=r"has 6 parameters in one row, got shape \(5,\)"):
        jacobian(net, np.ones(5), np.ones((1, 2)), Modulus())
    with pytest.raises(WrongUse, match="takes inputs of 2 numbers"):
        jacobian(net, np.ones(6), np.ones((1, 3)), Modulus())


class Reals:
    """Floats in place of residues: what the code for attention computes then can be held beside torch."""

    prime = 0

    def reduce(self, x):
        return np.array(x, dtype=float)

    def mul(self, a, b):
        return np.multiply(a, b)

    def matmul(self, a, b):
        return np.matmul(a, b)

    def inverse(self, x):
        return 1.0 / x


def torch_attention(net: Attention, theta: torch.Tensor, x: torch.Tensor, u: np.ndarray) -> tuple[torch.Tensor, list]:
    """The layer as one writes it down, and its weights."""
    X, weights = x.reshape(net.width, net.tokens), []
    angle = 2 * torch.arctan(torch.tensor(u))
    for layer in net.places():
        Y = torch.zeros((), dtype=torch.float64)
        for places in layer:
            Q, K, *value = (theta[torch.tensor(m)] for m in places)
            q, k = Q @ X, K @ X
            if net.kind == "rotary":
                turned = []
                for a in (q, k):
                    t = torch.arange(net.tokens)
                    c, s = torch.cos(angle[:, None] * t), torch.sin(angle[:, None] * t)
                    rows = torch.stack([c * a[0::2] - s * a[1::2], s * a[0::2] + c * a[1::2]], dim=1)
                    turned.append(rows.reshape(a.shape))
                q, k = turned
            s = k.T @ q
            p = s if net.kind == "lightning" else torch.softmax(s, dim=0)
            weights.append(p)
            Z = X @ p
            for matrix in reversed(value):
                Z = matrix @ Z
            Y = Y + Z
        X = Y
    return X.reshape(-1), weights


@pytest.mark.parametrize(
    "net",
    [
        Attention("lightning", 3, 2, 2, 3),
        Attention("lightning", 2, 1, 2, 2, heads=2, layers=2),
        Attention("softmax", 3, 2, 2, 3, heads=2, inner=2),
        Attention("softmax", 2, 2, 3, 3, layers=3),
        Attention("rotary", 3, 4, 2, 3),
        Attention("rotary", 2, 2, 2, 3, heads=2, inner=1, layers=2),
    ],
    ids=str,
)
def test_attention_has_the_jacobian_that_torch_finds(net: Attention) -> None:
    random = rng(1)
    theta = torch.tensor(random.normal(size=net.parameters), requires_grad=True)
    x, u = torch.tensor(random.normal(size=net.width * net.tokens)), random.normal(size=net.rank // 2)
    outputs, weights = torch_attention(net, theta, x, u)
    expected = torch.stack([torch.autograd.grad(y, theta, retain_graph=True)[0] for y in outputs]).numpy()
    free = [] if net.kind == "lightning" else [p[1:].detach().numpy().ravel() for p in weights]
    inputs = np.concatenate([x.numpy(), *free])[None]
    constants = u if net.kind == "rotary" else u[:0]
    found = net.jacobian(np.concatenate([theta.detach().numpy(), constants]), inputs, Reals())  # type: ignore[arg-type]
    assert np.allclose(found, expected, rtol=1e-9, atol=1e-12)
