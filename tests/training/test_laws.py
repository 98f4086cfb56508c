"""Known laws are conserved, near misses are not: modulo p, and along the gradient that torch computes."""

from __future__ import annotations

import itertools
from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import nn

from intertwiner.errors import NonFiniteWeights, ShapeMismatch
from intertwiner.numerics.modular import Modulus
from intertwiner.testing.chain_misses import bias_left_out, layer_skipped, sign_flipped, wrong_pair
from intertwiner.training import Chain, Law, independent_laws, known_laws, law_gradients, rates

FIELD = Modulus()
CHAINS = [
    Chain(widths, activation, bias)
    for widths in [(4, 5, 3), (3, 4, 4, 2), (3, 4, 4, 4, 2)]
    for activation, bias in itertools.product(["linear", "relu"], [False, True])
]


def changed(laws: list[Law], chain: Chain) -> np.ndarray:
    return np.array([row.any() for row in rates(laws, chain, FIELD, seed=3)], dtype=bool)


@pytest.mark.parametrize("chain", CHAINS, ids=str)
def test_known_laws_are_conserved(chain: Chain) -> None:
    laws = known_laws(chain)
    per_layer = (lambda h: h * (h + 1) // 2) if chain.activation == "linear" else (lambda h: h)
    assert len(laws) == sum(per_layer(h) for h in chain.widths[1:-1]) == independent_laws(laws, chain, FIELD)
    assert not changed(list(laws), chain).any()


@pytest.mark.parametrize("miss", [sign_flipped, bias_left_out, wrong_pair, layer_skipped])
def test_near_misses_are_refuted(miss: Callable[[Chain], list[Law]]) -> None:
    seen = 0
    for chain in CHAINS:
        laws = miss(chain)
        seen += len(laws)
        assert changed(laws, chain).all(), str(chain)
    assert seen >= 60


def test_off_diagonal_balances_belong_to_linear_layers_only() -> None:
    linear, relu = Chain((3, 3, 2)), Chain((3, 3, 2), "relu")
    off = [law for law in known_laws(linear) if law.units[0] != law.units[1]]
    assert len(off) == 3
    assert not changed(off, linear).any()
    assert changed(off, relu).all()


def built(chain: Chain) -> nn.Sequential:
    parts: list[nn.Module] = []
    for fan_in, fan_out in itertools.pairwise(chain.widths):
        parts += [nn.Linear(fan_in, fan_out, bias=chain.bias, dtype=torch.float64)]
        parts += [nn.ReLU()] if chain.activation == "relu" else []
    return nn.Sequential(*(parts[:-1] if chain.activation == "relu" else parts))


@pytest.mark.parametrize("chain", CHAINS, ids=str)
def test_torch_gradients_are_tangent_to_the_laws_and_not_to_near_misses(chain: Chain) -> None:
    module = built(chain)
    x, y = (torch.randn(32, w, dtype=torch.float64) for w in (chain.widths[0], chain.widths[-1]))
    nn.functional.mse_loss(module(x), y).backward()
    theta, slope = (
        torch.cat([t.ravel() for t in tensors]).detach().numpy()
        for tensors in (list(module.parameters()), [p.grad for p in module.parameters() if p.grad is not None])
    )

    def largest(laws: list[Law]) -> float:
        return max((abs(float(law.gradient(theta) @ slope)) for law in laws), default=np.inf)

    noise = 1e-13 * float(np.linalg.norm(slope) * np.linalg.norm(theta))
    assert largest(list(known_laws(chain))) < noise
    for miss in (sign_flipped, bias_left_out, wrong_pair):
        assert largest(miss(chain)) > 1e6 * noise


@pytest.mark.parametrize("chain", CHAINS[:2], ids=str)
def test_value_and_gradient_agree(chain: Chain, rng: np.random.Generator) -> None:
    theta, step = rng.normal(size=(2, chain.parameters))
    for law in known_laws(chain):
        # A quadratic function: the central difference is exact.
        difference = (law.value(theta + step) - law.value(theta - step)) / 2
        assert difference == pytest.approx(float(law.gradient(theta) @ step), rel=1e-10, abs=1e-10)


def test_float_and_residue_gradients_agree(rng: np.random.Generator) -> None:
    chain = Chain((2, 3, 2), bias=True)
    theta = rng.integers(-9, 10, size=chain.parameters).astype(float)
    laws = known_laws(chain)
    np.testing.assert_array_equal(law_gradients(laws, theta, FIELD), [law.gradient(theta) for law in laws])
    assert law_gradients((), theta, FIELD).shape == (0, chain.parameters)


def test_a_law_refuses_what_it_cannot_take() -> None:
    (law,) = known_laws(Chain((1, 1, 1), "relu"))
    with pytest.raises(ShapeMismatch, match=r"takes 2 parameters.*Nothing was computed"):
        law.value(np.zeros(3))
    with pytest.raises(NonFiniteWeights, match=r"1 of 2 parameters.*Nothing was computed"):
        law.gradient(np.array([1.0, np.nan]))


def test_formulas_name_the_bias_where_there_is_one() -> None:
    assert [law.formula for law in known_laws(Chain((2, 1, 1), "relu", bias=True))] == [
        "|W_2[:, 0]|^2 - |W_1[0, :]|^2 - b_1[0]^2"
    ]
    assert known_laws(Chain((2, 1, 1)))[0].formula == "(W_2^T W_2 - W_1 W_1^T)[0, 0]"
