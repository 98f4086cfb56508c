"""Reduction: what is planted is found, what is not is left, and the function is kept."""

from __future__ import annotations

import copy
import json
from itertools import pairwise

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from intertwiner.errors import CannotEmit, ModelInTrainingMode, NonFiniteWeights
from intertwiner.identify import Reduction, even_form, reduce
from intertwiner.numerics.tolerance import KEPT_FUNCTION
from intertwiner.testing.identify_check import differences, reduction_trial, redundant_cells, selfcheck_identify
from intertwiner.testing.redundant import RedundantCell, redundant_network


def wide(*shape: int) -> Tensor:
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(1))


def chain(*widths: int, act: type[nn.Module] = nn.Tanh) -> nn.Sequential:
    torch.manual_seed(3)
    layers: list[nn.Module] = []
    for a, b in pairwise(widths):
        layers += [nn.Linear(a, b), act()]
    return nn.Sequential(*layers[:-1]).double().eval()


def same(found: Reduction, model: nn.Module, inputs: Tensor) -> bool:
    with torch.no_grad():
        before, after = model(inputs), found.module(inputs)
    return bool((before - after).abs().max() <= KEPT_FUNCTION * before.abs().max())


# planted redundancy


def test_planted_redundancy_is_found_and_nothing_else() -> None:
    report = selfcheck_identify(count=24, seed=1000)
    assert report.ok, str(report)
    assert report.removed == report.planted > 60
    assert report.refused == report.controls == 24
    assert json.loads(json.dumps(report.to_json()))["ok"]


@pytest.mark.slow
def test_planted_redundancy_in_three_hundred_networks() -> None:
    report = selfcheck_identify(count=300, seed=0)
    assert report.ok, str(report)


@settings(max_examples=6)
@given(st.sampled_from(redundant_cells()), st.integers(0, 10_000))
def test_any_planted_network(cell: RedundantCell, seed: int) -> None:
    assert not reduction_trial(cell, seed).problems


def test_the_check_sees_what_is_missed_and_what_is_too_much() -> None:
    """Negative control of the check itself: a reduction of another network is not the plan."""
    planted = redundant_network(RedundantCell("relu", "mlp", 2, "float64"), 5)
    other = redundant_network(RedundantCell("relu", "mlp", 2, "float64"), 6)
    assert not differences(planted, reduce(planted.module, example=planted.example()))
    assert differences(planted, reduce(other.module, example=other.example()))
    assert differences(planted, reduce(planted.near_misses, example=planted.example()))


def test_reducing_twice_removes_nothing_more() -> None:
    for seed, activation in enumerate(("tanh", "leaky_relu", "sin", "abs", "hardswish")):
        planted = redundant_network(RedundantCell(activation, "residual", 2, "float64"), seed)
        first = reduce(planted.module, example=planted.example())
        assert first.removed
        assert not reduce(first.module, example=planted.example()).removed


def test_the_order_of_neurons_does_not_matter() -> None:
    planted = redundant_network(RedundantCell("tanh", "mlp", 1, "float64"), 11)
    net = copy.deepcopy(planted.module)
    order = torch.randperm(len(net.layers[0].weight), generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        for p in (net.layers[0].weight, net.layers[0].bias):
            p.copy_(p[order])
        net.layers[1].weight.copy_(net.layers[1].weight[:, order])
    a, b = (reduce(m, example=planted.example()) for m in (planted.module, net))
    assert a.neurons == b.neurons
    assert sorted(r.kind for r in a.removed) == sorted(r.kind for r in b.removed)


# one kind at a time


def test_redundancy_that_hides_behind_redundancy() -> None:
    """Neuron 1 of the first layer is read by a neuron that nothing reads: it goes in the second round."""
    net = chain(3, 4, 4, 2)
    with torch.no_grad():
        net[4].weight[:, 0] = 0
        net[2].weight[1:, 1] = 0
    found = reduce(net, example=wide(2, 3))
    assert found.of_kind("unread") == (("0", 1), ("2", 0))
    assert same(found, net, wide(64, 3))


def test_copies_that_only_show_after_copies_are_joined() -> None:
    """Two neurons of the second layer read different copies of one neuron."""
    net = chain(3, 4, 4, 2)
    with torch.no_grad():
        net[0].weight[1], net[0].bias[1] = net[0].weight[0], net[0].bias[0]
        net[2].weight[1] = net[2].weight[0][[1, 0, 2, 3]]
        net[2].bias[1] = net[2].bias[0]
    found = reduce(net, example=wide(2, 3))
    assert found.of_kind("duplicate") == (("0", 1), ("2", 1))
    assert same(found, net, wide(64, 3))


def test_copies_that_cancel_leave_nothing() -> None:
    net = chain(3, 4, 2)
    with torch.no_grad():
        net[0].weight[1], net[0].bias[1] = net[0].weight[0], net[0].bias[0]
        net[2].weight[:, 1] = -net[2].weight[:, 0]
    found = reduce(net, example=wide(2, 3))
    assert {r.neuron for r in found.removed} == {0, 1}
    assert same(found, net, wide(64, 3))


def test_copies_that_cancel_but_for_rounding_leave_nothing() -> None:
    net = chain(3, 4, 1)
    with torch.no_grad():
        for i in (1, 2):
            net[0].weight[i], net[0].bias[i] = net[0].weight[0], net[0].bias[0]
        net[2].weight.copy_(torch.tensor([[0.1, 0.2, -0.3, 1.0]], dtype=torch.float64))  # 0.1 + 0.2 - 0.3 is 5.6e-17
    found = reduce(net, example=wide(2, 3))
    assert {r.neuron for r in found.removed} == {0, 1, 2}


def test_the_first_of_its_class_may_be_one_that_nothing_reads() -> None:
    """Neurons z, -z and z of a sigmoid, the first unread: the third is 1 minus the second."""
    net = chain(3, 4, 2, act=nn.Sigmoid)
    with torch.no_grad():
        net[0].weight[1], net[0].bias[1] = -net[0].weight[0], -net[0].bias[0]
        net[0].weight[2], net[0].bias[2] = net[0].weight[0], net[0].bias[0]
        net[2].weight[:, 0] = 0
    found = reduce(net, example=wide(2, 3))
    assert [(r.neuron, r.kind, r.into) for r in found.removed] == [(0, "unread", -1), (2, "duplicate", 1)]
    assert same(found, net, wide(64, 3))


@pytest.mark.parametrize(("padding", "removed"), [(0, 1), (1, 0)])
def test_a_constant_through_a_depthwise_convolution(padding: int, removed: int) -> None:
    """Behind zero padding a constant channel is no constant any more."""
    torch.manual_seed(7)
    net = nn.Sequential(nn.Conv2d(2, 4, 3), nn.Tanh(), nn.Conv2d(4, 4, 3, padding=padding, groups=4), nn.Tanh(),
                        nn.Conv2d(4, 2, 1), nn.Flatten()).double().eval()  # fmt: skip
    with torch.no_grad():
        net[0].weight[2] = 0
    found = reduce(net, example=wide(2, 2, 6, 6))
    assert [r.kind for r in found.removed] == ["constant"] * removed
    assert same(found, net, wide(8, 2, 6, 6))


def test_a_layer_of_constants_keeps_one_neuron() -> None:
    net = chain(3, 4, 2)
    with torch.no_grad():
        net[0].weight.zero_()
    found = reduce(net, example=wide(2, 3))
    assert found.neurons == (4, 1)
    assert same(found, net, wide(64, 3))


def conv(padding: int) -> nn.Sequential:
    torch.manual_seed(5)
    layers = nn.Conv2d(2, 4, 3, padding=1), nn.Sigmoid(), nn.Conv2d(4, 3, 3, padding=padding)
    net = nn.Sequential(*layers, nn.Flatten()).double().eval()
    with torch.no_grad():
        net[0].weight[1] = 0  # constant
        net[0].weight[3], net[0].bias[3] = -net[0].weight[2], -net[0].bias[2]  # 1 - s(z)
    return net


def test_a_constant_folds_into_an_unpadded_convolution() -> None:
    found = reduce(conv(0), example=wide(2, 2, 6, 6))
    assert [(r.neuron, r.kind) for r in found.removed] == [(1, "constant"), (3, "duplicate")]
    assert same(found, conv(0), wide(8, 2, 6, 6))


def test_a_constant_does_not_fold_into_a_zero_padded_convolution() -> None:
    found = reduce(conv(1), example=wide(2, 2, 6, 6))
    assert not found.removed
    assert same(found, conv(1), wide(8, 2, 6, 6))


def test_batch_norm_counts_into_the_row() -> None:
    """Rows differ and their normalised rows agree: equal neurons all the same."""
    torch.manual_seed(2)
    net = nn.Sequential(nn.Conv2d(2, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(),
                        nn.Linear(16, 2)).double().eval()  # fmt: skip
    norm = net[1]
    with torch.no_grad():
        norm.running_mean.normal_(), norm.bias.normal_()
        net[0].weight[2], net[0].bias[2] = 3 * net[0].weight[0], 3 * net[0].bias[0]
        norm.running_mean[2] = 3 * norm.running_mean[0]
        norm.weight[2], norm.bias[2] = norm.weight[0] / 3, norm.bias[0]
    found = reduce(net, example=wide(2, 2, 6, 6))
    assert found.of_kind("duplicate") == (("0", 2),)
    assert same(found, net, wide(8, 2, 6, 6))


class Dense(nn.Module):
    """A concatenation, a depthwise convolution and a product with one gate for all channels."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(8)
        self.a, self.b = nn.Conv2d(2, 3, 3, padding=1), nn.Conv2d(5, 4, 1)
        self.deep = nn.Conv2d(4, 4, 3, groups=4)
        self.gate, self.out = nn.Conv2d(2, 1, 3), nn.Linear(4, 2)

    def forward(self, x: Tensor) -> Tensor:
        y = torch.relu(self.b(torch.cat([x, torch.tanh(self.a(x))], 1)))
        return self.out((self.deep(y) * torch.sigmoid(self.gate(x))).mean((2, 3)))


def test_concatenation_depthwise_convolution_and_gate() -> None:
    net = Dense().double().eval()
    with torch.no_grad():
        net.a.weight[2], net.a.bias[2] = -net.a.weight[0], -net.a.bias[0]
        net.b.weight[3], net.b.bias[3] = 2 * net.b.weight[1], 2 * net.b.bias[1]
        net.deep.weight[3], net.deep.bias[3] = net.deep.weight[1], 2 * net.deep.bias[1]
    found = reduce(net, example=wide(2, 2, 6, 6))
    assert found.of_kind("duplicate") == (("a", 2), ("b", 3))
    assert same(found, net, wide(8, 2, 6, 6))
    with torch.no_grad():
        net.deep.weight[3, 0, 0, 0] += 0.01
    assert reduce(net, example=wide(2, 2, 6, 6)).of_kind("duplicate") == (("a", 2),)


def test_a_small_weight_beside_a_large_bias_is_no_rounding() -> None:
    """Rows equal to 1e-10 of their norm, yet different neurons: the bias must not hide the weights."""
    net = chain(1, 2, 1, act=nn.ReLU)
    with torch.no_grad():
        net[0].weight.copy_(torch.tensor([[1e-6], [2e-6]]))
        net[0].bias.fill_(1e6)
    assert not reduce(net, example=wide(2, 1)).removed


@pytest.mark.parametrize(
    ("act", "slope"), [(nn.ReLU, 0.0), (nn.LeakyReLU, 0.01), (nn.GELU, None), (nn.SiLU, None), (nn.Hardswish, None)]
)
def test_an_opposite_pair_becomes_one_neuron_and_a_linear_map(act: type[nn.Module], slope: float | None) -> None:
    net = chain(3, 4, 2, act=act)
    scale = 1.0 if slope is None else 2.5
    with torch.no_grad():
        net[0].weight[3], net[0].bias[3] = -scale * net[0].weight[1], -scale * net[0].bias[1]
        before = net[2].weight[:, 3].clone()
    found = reduce(net, example=wide(2, 3))
    assert found.of_kind("opposite") == (("0", 3),)
    beside = found.module.state_dict()["2.beside.weight"]
    k = 1.0 + (slope or 0.0)
    torch.testing.assert_close(beside, -k * scale * torch.outer(before, net[0].weight[1]).detach())
    assert same(found, net, 30 * wide(64, 3))


def test_softplus_that_jumps_early_has_no_bypass() -> None:
    """PyTorch computes z itself above the threshold: at 2 that is off by 0.13, and opposite neurons are no pair."""
    net = chain(3, 4, 2)
    with torch.no_grad():
        net[0].weight[3], net[0].bias[3] = -net[0].weight[1], -net[0].bias[1]
    for threshold, joined in ((20.0, 1), (2.0, 0)):
        net[1] = nn.Softplus(threshold=threshold)
        found = reduce(net, example=wide(2, 3))
        assert len(found.removed) == joined
        assert same(found, net, 5 * wide(64, 3))


class Scrambled(nn.Module):
    """Flattens channels and positions, and picks the positions of the second channel in another order."""

    def __init__(self, order: list[int]) -> None:
        super().__init__()
        torch.manual_seed(2)
        self.conv, self.out, self.order = nn.Conv1d(2, 3, 3), nn.Linear(12, 2), order

    def forward(self, x: Tensor) -> Tensor:
        return self.out(torch.tanh(self.conv(x)).flatten(1)[:, self.order])


@pytest.mark.parametrize(("second", "joined"), [([6, 5, 7, 4], 0), ([5, 4, 7, 6], 1)])
def test_equal_channels_read_in_another_order_are_not_equal(second: list[int], joined: int) -> None:
    net = Scrambled([1, 0, 3, 2, *second, 9, 8, 11, 10]).double().eval()
    with torch.no_grad():
        net.conv.weight[1], net.conv.bias[1] = net.conv.weight[0], net.conv.bias[0]
    found = reduce(net, example=wide(2, 2, 6))
    assert len(found.removed) == joined
    assert same(found, net, wide(16, 2, 6))


def test_a_rule_that_lies_is_caught_before_any_work() -> None:
    from intertwiner.network import Identity, register_rule
    from intertwiner.network.rule import RULES

    @register_rule("aten.cumsum")
    def nothing(call):
        return call.emit(Identity("cumsum"), call.value("self"))

    class Cumulative(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return x.cumsum(1)

    try:
        with pytest.raises(CannotEmit, match="differs by"):
            reduce(nn.Sequential(nn.Linear(3, 4), Cumulative(), nn.Linear(4, 2)), example=torch.randn(2, 3))
    finally:
        del RULES["aten.cumsum"]


def test_chosen_outputs_and_keyword_arguments() -> None:
    class Two(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            torch.manual_seed(1)
            self.body, self.policy, self.value = nn.Linear(3, 4), nn.Linear(4, 2), nn.Linear(4, 1)

        def forward(self, x: Tensor, *, shift: Tensor) -> dict[str, Tensor]:
            h = torch.tanh(self.body(x) + shift)
            return {"policy": self.policy(h), "value": self.value(h)}

    net = Two().double().eval()
    with torch.no_grad():
        net.policy.weight[:, 2] = 0
    call = {"example": wide(2, 3), "kwargs": {"shift": wide(2, 4)}}
    assert not reduce(net, **call).removed  # the value head reads it, and the shift is an input
    found = reduce(net, example=wide(2, 3), kwargs={"shift": wide(2, 1)}, outputs=["policy"])
    assert found.of_kind("unread") == (("body", 2),)


def test_an_opposite_pair_of_tanh_is_only_a_copy() -> None:
    net = chain(3, 4, 2)
    with torch.no_grad():
        net[0].weight[3], net[0].bias[3] = -net[0].weight[1], -net[0].bias[1]
    found = reduce(net, example=wide(2, 3))
    assert [(r.neuron, r.kind) for r in found.removed] == [(3, "duplicate")]
    assert "2.beside.weight" not in found.module.state_dict()


def test_a_reduced_network_can_be_traced_exported_and_loaded() -> None:
    planted = redundant_network(RedundantCell("relu", "conv", 2, "float32"), 4)
    found = reduce(planted.module, example=planted.example())
    x = planted.example(3)
    program = torch.export.export(found.module, (x,), strict=False)
    torch.testing.assert_close(program.module()(x), planted.module(x))
    again = reduce(found.module, example=x)
    again.module.load_state_dict(found.module.state_dict())
    assert not again.removed


# the even form


def test_the_even_form_is_the_same_function() -> None:
    for act in (nn.ReLU, nn.LeakyReLU):
        net = chain(3, 5, 4, 2, act=act)
        found = even_form(net, example=wide(2, 3))
        assert found.even == {"0": "", "2": ""}
        assert "abs" in found.module.code
        assert "relu" not in found.module.code
        assert same(found, net, wide(64, 3))


def test_the_even_form_of_convolutions() -> None:
    torch.manual_seed(1)
    net = nn.Sequential(nn.Conv2d(2, 4, 3, padding=1), nn.ReLU(), nn.Conv2d(4, 3, 3, padding=1), nn.LeakyReLU(0.3),
                        nn.AvgPool2d(2), nn.Flatten(), nn.Linear(27, 2)).double().eval()  # fmt: skip
    found = even_form(net, example=wide(2, 2, 6, 6))
    assert found.even == {"0": "", "2": ""}
    assert same(found, net, wide(8, 2, 6, 6))


@pytest.mark.parametrize(
    ("layers", "reason"),
    [
        ((nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 2)), "no nonlinearity with a bypass"),
        ((nn.Linear(3, 4), nn.GELU(), nn.Linear(4, 2)), "the even part of gelu is no nonlinearity of the table"),
        ((nn.Linear(3, 4), nn.ELU(), nn.Linear(4, 2)), "has no linear part"),
    ],
)
def test_why_there_is_no_even_form_is_said(layers: tuple[nn.Module, ...], reason: str) -> None:
    found = even_form(nn.Sequential(*layers).double(), example=wide(2, 3))
    assert reason in found.even["0"]
    assert reason in str(found)


# records and refusals


def test_the_record_prints_and_is_plain_data() -> None:
    net = chain(3, 4, 2, act=nn.ReLU)
    with torch.no_grad():
        net[0].weight[1], net[0].bias[1] = 2 * net[0].weight[0], 2 * net[0].bias[0]
        net[0].weight[2] = 0
    found = reduce(net, example=wide(2, 3))
    text = str(found)
    assert "Sequential: 4 -> 2 neurons" in text
    assert "constant, folded into biases: 2" in text
    assert "equal up to the gauge to another neuron: 1->0" in text
    assert "2: left alone, it is an output of the network" in text
    assert "largest difference in float64" in text
    record = json.loads(json.dumps(found.to_json()))
    assert record["removed"][0] == {"place": "0", "neuron": 1, "kind": "duplicate", "into": 0, "residual": 0.0}
    assert record["certificate"]["samples"] == 256
    assert record["certificate"]["inputs"] == "standard normal"


def test_shared_weights_are_left_alone_with_the_reason() -> None:
    torch.manual_seed(0)
    tied = nn.Linear(4, 4)
    net = nn.Sequential(nn.Linear(3, 4), nn.Tanh(), tied, nn.Tanh(), tied, nn.Tanh(), nn.Linear(4, 2)).double().eval()
    with torch.no_grad():
        tied.weight[1], tied.bias[1] = tied.weight[0], tied.bias[0]
    found = reduce(net, example=wide(2, 3))
    assert not found.removed
    assert any("used in several places" in reason for reason in found.left_alone.values())
    assert same(found, net, wide(16, 3))


def test_an_unsupported_operator_is_refused() -> None:
    class Cumulative(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return x.cumsum(1)

    with pytest.raises(CannotEmit, match="cumsum"):
        reduce(nn.Sequential(nn.Linear(3, 4), Cumulative(), nn.Linear(4, 2)), example=torch.zeros(2, 3))


def test_weights_that_are_not_finite_are_refused() -> None:
    net = chain(3, 4, 2)
    with torch.no_grad():
        net[0].weight[0, 0] = np.nan
    with pytest.raises(NonFiniteWeights, match=r"0\.weight"):
        reduce(net, example=wide(2, 3))


def test_weights_that_are_computed_to_nan_are_refused() -> None:
    net = nn.Sequential(nn.utils.parametrizations.weight_norm(nn.Linear(3, 4)), nn.Tanh(), nn.Linear(4, 2)).eval()
    with torch.no_grad():
        net[0].parametrizations.weight.original1[1] = 0
    with pytest.raises(NonFiniteWeights, match="NaN, computed from weights that are finite"):
        reduce(net, example=torch.zeros(2, 3))


def test_a_network_in_training_mode_is_refused() -> None:
    net = nn.Sequential(nn.Linear(3, 4), nn.Dropout(0.5), nn.Linear(4, 2)).train()
    with pytest.raises(ModelInTrainingMode):
        reduce(net, example=torch.zeros(2, 3))


def test_the_certificate_sees_a_wrong_reduction() -> None:
    """Negative control: two networks that are not the same are not certified to be."""
    from intertwiner.identify.reducing.certificate import certify
    from intertwiner.network import trace

    net, other = chain(3, 4, 2), chain(3, 4, 2)
    with torch.no_grad():
        other[2].bias[0] += 1e-3
        other[0].weight[0, 0] += 0.1
    found = certify(net, other, trace(net, wide(2, 3)).inputs, samples=64)
    assert found.difference > 1e-3
    assert found.searched > 1.2 * found.difference  # ascent finds where they differ more
    assert certify(net, net, trace(net, wide(2, 3)).inputs).relative == 0
