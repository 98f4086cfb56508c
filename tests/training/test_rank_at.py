"""The rank at given weights beside the generic one: planted degeneracies, and weights where nothing is special."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from torch import nn

from intertwiner.errors import NonFiniteWeights, ShapeMismatch, WrongUse
from intertwiner.network import trace
from intertwiner.training import Chain, LocalRank, PolynomialChain, certain_laws, count_laws, lower, rank_at
from intertwiner.training.polynomial_chain import certain_of


def weights(chain: Chain | PolynomialChain, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=chain.parameters).astype(np.float32).astype(float)


@pytest.mark.parametrize("activation", ["linear", "relu"])
@pytest.mark.parametrize("bias", [False, True])
def test_random_weights_are_generic(activation: str, bias: bool) -> None:
    chain = Chain((3, 4, 2), activation, bias)
    found = rank_at(chain, weights(chain), certain_laws(chain))
    assert found.verdict.is_proved
    count = count_laws(chain.widths, activation, bias=bias)
    assert found.here == found.generic == chain.parameters - count.least
    assert str(found).endswith("PROVED")


def dead(chain: Chain) -> np.ndarray:
    """A neuron without incoming and outgoing weights never moves."""
    theta = weights(chain)
    first, second = chain.matrices[:2]
    theta[[n for n in (*first[0], *second[:, 0]) if n >= 0]] = 0
    return theta


@pytest.mark.parametrize("bias", [False, True])
def test_a_dead_relu_neuron_takes_its_parameters_away(bias: bool) -> None:
    chain = Chain((3, 4, 2), "relu", bias)
    found = rank_at(chain, dead(chain), certain_laws(chain))
    own = 3 + bias + 2
    # All of its directions but the one that the law takes anyway are lost.
    assert (found.generic, found.here) == (chain.parameters - 4, chain.parameters - own - 3)
    assert found.verdict.is_undecided
    assert f"not locally constant: generic {found.generic}, here {found.here}" in found.verdict.reason
    assert "not locally constant" in str(found)


def test_zero_weights_open_nothing() -> None:
    chain = Chain((2, 2, 2))
    assert rank_at(chain, np.zeros(8)).here == 0


def test_equal_quadratic_neurons_stay_equal() -> None:
    network = PolynomialChain((2, 2, 1), "t^2")
    theta = np.array([1.0, 2.0, 1.0, 2.0, 3.0, 3.0])
    found = rank_at(network, theta, certain_of(network))
    assert (found.generic, found.here) == (4, 2)
    apart = rank_at(network, theta + np.array([0, 0, 0.5, 0, 0, 0.25]), certain_of(network))
    assert apart.verdict.is_proved


def test_a_network_has_weights_of_its_own() -> None:
    torch.manual_seed(0)
    first, last = nn.Linear(2, 3), nn.Linear(3, 2)
    module = nn.Sequential(first, nn.ReLU(), last)
    chain = Chain((2, 3, 2), "relu", True)
    network = trace(module, torch.zeros(1, 2))
    assert rank_at(network, known=certain_laws(chain)).verdict.is_proved
    unsure = rank_at(network)
    assert unsure.verdict.is_undecided
    assert "not excluded" in unsure.verdict.reason
    with torch.no_grad():
        first.weight[1] = 0
        first.bias[1] = 0
        last.weight[:, 1] = 0
    for subject in (network, lower(network)):
        found = rank_at(subject, known=certain_laws(chain))
        assert found.here == found.generic - 4
    theta = lower(network).theta
    assert rank_at(chain, theta, certain_laws(chain)).here == found.here


def test_without_laws_only_the_full_rank_is_proved() -> None:
    full = Chain((2, 3), "linear", True)
    assert rank_at(full, weights(full)).verdict.is_proved


def test_a_rank_is_read_back_from_json() -> None:
    chain = Chain((2, 2, 1), "relu")
    for theta in (weights(chain), dead(chain)):
        found = rank_at(chain, theta, certain_laws(chain))
        assert LocalRank.from_json(json.loads(json.dumps(found.to_json()))) == found


def test_bad_weights_are_refused() -> None:
    chain = Chain((2, 2, 1))
    with pytest.raises(ShapeMismatch, match=r"takes 6 weights.*Nothing was computed"):
        rank_at(chain, np.zeros(5))
    with pytest.raises(NonFiniteWeights, match=r"1 of 6.*Nothing was computed"):
        rank_at(chain, np.array([1, 2, 3, 4, 5, np.nan]))
    with pytest.raises(WrongUse, match=r"needs theta.*Nothing was computed"):
        rank_at(chain)
    with pytest.raises(WrongUse, match="seed"):
        rank_at(chain, np.zeros(6), seed=-1)
