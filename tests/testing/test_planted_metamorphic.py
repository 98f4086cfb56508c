"""What does not change the function must not change the answer: relabelling, rescaling, copies, dead neurons, dtype."""

from __future__ import annotations

import copy

import numpy as np
import pytest
import torch
from torch import nn

import intertwiner as iw
from intertwiner.testing import Cell, Planted, assert_same_function, planted_network
from intertwiner.testing.modules import Chain

WEIGHTS_ONLY = iw.Effort(data=False)


def audit(module: nn.Module, planted: Planted) -> iw.Audit:
    return iw.audit(
        module, planted.symmetry, example=planted.example().to(next(module.parameters()).dtype), effort=WEIGHTS_ONLY
    )


def assert_recovered(found: iw.Audit, planted: Planted) -> None:
    assert found.verdict.is_proved, found.verdict.reason
    for tap, expected in planted.representations.items():
        assert found[tap].representation.is_isomorphic(expected)
        assert found[tap].orbits == planted.orbits(tap)


def changed(planted: Planted, row: np.ndarray, scale: np.ndarray, layer: int = 0) -> nn.Module:
    """Neurons of a chain reordered and multiplied by scales that the next layer undoes."""
    module = copy.deepcopy(planted.module)
    here, after = module.layers[layer], module.layers[layer + 1]
    factor = torch.from_numpy(scale).to(here.weight.dtype)
    with torch.no_grad():
        here.weight.copy_((here.weight * factor[:, None])[row])
        here.bias.copy_((here.bias * factor)[row])
        after.weight.copy_((after.weight / factor)[:, row])
    return module


def widened(planted: Planted, copies: list[int], dead: int, layer: int = 0) -> nn.Module:
    """Some neurons split into two that share the outgoing weight, and dead ones beside them."""
    old = planted.module.layers
    widths = [old[0].in_features, *(part.out_features for part in old)]
    widths[layer + 1] += len(copies) + dead
    module = Chain(widths, planted.cell.activation).to(old[0].weight.dtype).eval()
    module.load_state_dict(
        {k: v for k, v in planted.module.state_dict().items() if v.shape == module.state_dict()[k].shape}, strict=False
    )
    with torch.no_grad():
        here, after = module.layers[layer], module.layers[layer + 1]
        extra = torch.zeros(dead, here.in_features, dtype=here.weight.dtype)
        here.weight.copy_(torch.cat([old[layer].weight, old[layer].weight[copies], extra]))
        here.bias.copy_(
            torch.cat([old[layer].bias, old[layer].bias[copies], torch.full((dead,), 0.7, dtype=extra.dtype)])
        )
        out = old[layer + 1].weight.clone()
        half = 0.25 * out[:, copies]
        out[:, copies] -= half
        after.weight.copy_(torch.cat([out, half, torch.zeros(len(out), dead, dtype=out.dtype)], dim=1))
    return module


@pytest.mark.parametrize("activation", ["tanh", "relu", "sin", "t^3"])
def test_neurons_may_be_reordered(activation: str) -> None:
    planted = planted_network(Cell("D4", activation, "mlp", 2, "float64"), 1)
    n = planted.module.layers[0].out_features
    module = changed(planted, np.random.default_rng(0).permutation(n), np.ones(n))
    assert_same_function(planted.module, module, planted.example(8))
    assert_recovered(audit(module, planted), planted)


@pytest.mark.parametrize("spread", [1.0, 3.0])
def test_relu_neurons_may_be_rescaled(spread: float) -> None:
    planted = planted_network(Cell("S3", "relu", "mlp", 3, "float64"), 2)
    rng = np.random.default_rng(0)
    n = planted.module.layers[1].out_features
    module = changed(planted, np.arange(n), 10 ** rng.uniform(-spread, spread, n), layer=1)
    assert_same_function(planted.module, module, planted.example(8))
    assert_recovered(audit(module, planted), planted)


def test_tanh_neurons_may_not_be_rescaled() -> None:
    """The negative control of the test above: a scale is not in the gauge group of tanh."""
    planted = planted_network(Cell("S3", "tanh", "mlp", 3, "float64"), 2)
    n = planted.module.layers[1].out_features
    module = changed(planted, np.arange(n), np.random.default_rng(0).uniform(0.5, 2, n), layer=1)
    with pytest.raises(AssertionError, match="the two modules differ"):
        assert_same_function(planted.module, module, planted.example(8))
    assert audit(module, planted).verdict.is_refuted


@pytest.mark.parametrize("activation", ["tanh", "relu", "gelu"])
def test_a_network_may_be_cast_to_another_dtype(activation: str) -> None:
    planted = planted_network(Cell("C4", activation, "residual", 2, "float64"), 3)
    narrow = copy.deepcopy(planted.module).float()
    found = audit(narrow, planted)
    assert_recovered(found, planted)
    again = audit(copy.deepcopy(narrow).double(), planted)  # float32 rounding is not an exact relation in float64
    assert not again.verdict.exact


def test_the_order_of_batches_changes_nothing_in_the_weights_and_little_in_the_data() -> None:
    planted = planted_network(Cell("C2", "tanh", "mlp", 2, "float64"), 4)
    batches = list(planted.example(512).split(64))
    effort = iw.Effort(nulls=False, orbits=False)
    one, two = (iw.audit(planted.module, planted.symmetry, data=d, effort=effort) for d in (batches, batches[::-1]))
    assert str(one["layers.0"]) == str(two["layers.0"])
    assert one.verdict.reason == two.verdict.reason
    for tap in planted.representations:
        for g, share in one[tap].gauge_r2.items():
            assert share == pytest.approx(two[tap].gauge_r2[g], abs=1e-6)


@pytest.mark.parametrize("activation", ["tanh", "relu", "leaky_relu", "gelu", "sin"])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_copies_are_joined_and_dead_neurons_dropped(activation: str, dtype: str) -> None:
    planted = planted_network(Cell("D4", activation, "mlp", 2, dtype), 5)
    module = widened(planted, copies=[0, 3, 4], dead=2)
    assert_same_function(planted.module, module, planted.example(8))
    found = audit(module, planted)
    assert_recovered(found, planted)
    assert found["layers.0"].weights.joined == 3
    assert found["layers.0"].weights.constant == 2


@pytest.mark.parametrize("activation", ["tanh", "relu"])
def test_a_network_without_hidden_symmetry_is_refuted_under_every_nontrivial_group(activation: str) -> None:
    torch.manual_seed(0)
    module = Chain([4, 12, 12, 2], activation).double().eval()
    symmetry = iw.Symmetry(iw.cyclic(2), on_input=iw.vector(perm=[1, 0, 2, 3]), on_output=iw.invariant())
    found = iw.audit(module, symmetry, example=torch.zeros(2, 4, dtype=torch.float64), effort=WEIGHTS_ONLY)
    assert found.verdict.is_refuted
    assert all(action.representation is None for action in found)
