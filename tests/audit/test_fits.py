"""Fits with planted answers: an action that is there is found and nothing is found where there is none."""

import numpy as np
import pytest
import torch
from torch import nn

from intertwiner.algebra import cyclic
from intertwiner.audit.fits import fit_tap, latent_errors, linear_fit, rounding_shares, shuffled
from intertwiner.audit.measure import measure
from intertwiner.audit.moments import TapLayout
from intertwiner.errors import EmptyData, WrongUse
from intertwiner.gauge import GaugeGroup
from intertwiner.network import trace
from intertwiner.symmetry import Symmetry, invariant, vector

WIDTH, INPUTS = 12, 8
REVERSE = np.arange(INPUTS)[::-1].copy()
LAYOUTS = [TapLayout("0:out", gauge=GaugeGroup.signed(WIDTH)), TapLayout("1:out", gauge=GaugeGroup.signed(WIDTH))]


def planted(seed=0):
    """An odd network on reversed inputs: neurons in exchanged pairs, some with a sign."""
    rng = np.random.default_rng(seed)
    partner = np.arange(WIDTH).reshape(-1, 2)[:, ::-1].reshape(-1)
    sign = np.repeat(rng.choice([-1.0, 1.0], WIDTH // 2), 2)
    weight, bias = rng.normal(size=(WIDTH, INPUTS)), rng.normal(size=WIDTH)
    weight[1::2] = sign[1::2, None] * weight[0::2][:, REVERSE]
    bias[1::2] = sign[1::2] * bias[0::2]
    module = nn.Sequential(nn.Linear(INPUTS, WIDTH), nn.Tanh(), nn.Linear(WIDTH, 3)).eval()
    with torch.no_grad():
        module[0].weight.copy_(torch.from_numpy(weight))
        module[0].bias.copy_(torch.from_numpy(bias))
    return module, partner, sign


def setup(module, seed=1, samples=2000):
    x = torch.randn(samples, INPUTS, generator=torch.Generator().manual_seed(seed))
    symmetry = Symmetry(cyclic(2), on_input=vector(perm=[REVERSE]), on_output=invariant())
    return trace(module, (x[:2],)), symmetry.bind([(INPUTS,)], [(3,)]), [(x[:1000],), (x[1000:],)]


def test_a_planted_signed_permutation_is_found():
    module, partner, sign = planted()
    network, bound, batches = setup(module)
    for tap, split in measure(network, bound, LAYOUTS, batches, [1]).items():
        fit = fit_tap(split[1], GaugeGroup.signed(WIDTH))
        assert fit.gauge_r2 > 1 - 1e-5 and fit.linear_r2 > 1 - 1e-5, tap
        np.testing.assert_array_equal(fit.element.matrix.index, partner)
        np.testing.assert_array_equal(fit.element.matrix.factor, sign)
        assert fit.null_wrong_element < 0.5
        assert set(fit.to_json()) >= {"linear_r2", "gauge_r2", "defect", "noise_floor"}


def test_a_random_network_carries_no_signed_permutation():
    """The affine map fits a first layer perfectly all the same: it is evidence of nothing."""
    torch.manual_seed(3)
    module = nn.Sequential(nn.Linear(INPUTS, WIDTH), nn.Tanh(), nn.Linear(WIDTH, 3)).eval()
    network, bound, batches = setup(module)
    fit = fit_tap(measure(network, bound, LAYOUTS, batches, [1])["0:out"][1], GaugeGroup.signed(WIDTH))
    assert fit.linear_r2 > 1 - 1e-5
    assert fit.gauge_r2 < 0.6


def test_shuffled_weights_lose_the_action_and_keep_the_weights():
    module, _, _ = planted()
    network, bound, batches = setup(module)
    null = shuffled(network, seed=7)
    for name, tensor in network.state.items():
        torch.testing.assert_close(null.state[name].flatten().sort().values, tensor.flatten().sort().values)
    split = measure(network, bound, LAYOUTS, batches, [1])["1:out"][1]
    random = measure(null, bound, LAYOUTS, batches, [1])["1:out"][1]
    fit = fit_tap(split, GaugeGroup.signed(WIDTH), random=random)
    assert fit.null_random_network < 0.6 < fit.gauge_r2
    same = shuffled(network, seed=7).state
    assert all(torch.equal(same[name], null.state[name]) for name in same)


def test_the_element_for_g_fails_on_another_element():
    module, _, _ = planted()
    network, bound, batches = setup(module)
    found = measure(network, bound, LAYOUTS, batches, [0, 1])["1:out"]
    fit = fit_tap(found[1], GaugeGroup.signed(WIDTH), wrong=found[0])
    assert fit.null_wrong_element < 0.5
    assert fit.null_wrong_element == pytest.approx(
        fit_tap(found[1], GaugeGroup.signed(WIDTH)).null_wrong_element, abs=1e-5
    )


def test_unsigned_permutations_miss_a_planted_sign():
    module, _, sign = planted()
    assert (sign < 0).any()
    network, bound, batches = setup(module)
    split = measure(network, bound, LAYOUTS, batches, [1])["1:out"][1]
    assert fit_tap(split, GaugeGroup.permutation(WIDTH)).gauge_r2 < 0.9


def test_errors_by_sample_of_the_best_linear_map():
    module, _, _ = planted()
    network, bound, batches = setup(module)
    found = measure(network, bound, LAYOUTS, batches, [1])
    maps = {"1:out": linear_fit(found["1:out"][1].total)}
    exact = latent_errors(network, bound, LAYOUTS, batches, maps, element=1)
    assert exact["1:out"].shape == (2000,) and np.median(exact["1:out"]) < 1e-4
    identity = latent_errors(network, bound, LAYOUTS, batches, {"1:out": np.eye(WIDTH)}, element=1)
    assert np.median(identity["1:out"]) > 0.3
    with pytest.raises(WrongUse):
        latent_errors(network, bound, LAYOUTS, batches, {"other": np.eye(WIDTH)}, element=1)


@pytest.mark.parametrize(("dtype", "low", "high"), [(torch.float32, 1e-17, 1e-11), (torch.float64, 1e-36, 1e-28)])
def test_the_noise_floor_is_that_of_the_precision(dtype, low, high):
    module, _, _ = planted()
    network, _, batches = setup(module)
    network = network.to(dtype)
    floor = rounding_shares(network, ["1:out"], [(x.to(dtype),) for (x,) in batches])["1:out"]
    assert low < floor < high
    with pytest.raises(EmptyData):
        rounding_shares(network, ["1:out"], [])
