"""Are two networks the same function: planted gauge moves are proved, changes refuted, what is between is said."""

from __future__ import annotations

import copy
import json

import numpy as np
import pytest
import torch
from gauge_cases import CASES, case, drawn
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from intertwiner.errors import ArchitectureMismatch, EmptyData, ModelInTrainingMode, NonFiniteWeights, WrongUse
from intertwiner.gauge import GaugeElement, GaugeGroup, random_element
from intertwiner.identify import Match, difference, match, move
from intertwiner.identify.matching.barrier import barrier
from intertwiner.network import trace
from intertwiner.numerics.monomial import Monomial
from intertwiner.testing.modules import Chain, ConvChain, Residual

FREE = {"rms norm", "linear"}  # what the input does not reach is undetermined there


def moved(name: str, dtype: torch.dtype = torch.float64):
    module, x = case(name, dtype)
    elements = drawn(module, x, seed=11)
    return module, move(module, elements, example=x), elements, x


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
@pytest.mark.parametrize("name", CASES)
def test_a_gauge_move_is_proved_with_its_element(name, dtype):
    module, other, planted, x = moved(name, dtype)
    found = match(module, other, example=x, align=False)
    assert found.verdict.is_proved, str(found)
    assert found.verdict.exact or found.verdict.bound is not None
    if name not in FREE:
        assert set(found.elements) == set(planted)
        for space, element in planted.items():
            room = 1e-3 if dtype == torch.float32 else 1e-9
            assert found.elements[space].distance(element) <= room * np.abs(element.dense()).max(), space


@pytest.mark.parametrize("name", CASES)
def test_one_weight_of_the_moved_network_is_refuted_with_a_witness(name):
    module, other, _, x = moved(name)
    with torch.no_grad():
        weight = next(p for p in other.parameters() if p.ndim > 1)
        weight[0] += 1e-4 * weight[0].norm() * torch.randn_like(weight[0])
    verdict = match(module, other, example=x, align=False).verdict
    assert verdict.is_refuted, str(verdict)
    gap, floor = difference(verdict, module, other)
    assert gap > 10 * floor
    assert gap == pytest.approx(verdict.witness.defect, rel=1e-6)
    assert difference(verdict, module, module)[0] == 0.0  # the control: the witness tells nothing from itself


@pytest.mark.parametrize("activation", ["tanh", "gelu", "leaky_relu"])
def test_moves_that_round_nothing_are_exact(activation):
    torch.manual_seed(0)
    module, x = Chain([4, 9, 8, 3], activation), torch.zeros(2, 4)
    rng = np.random.default_rng(0)
    elements = {}
    for space in trace(module, x).latent_spaces[1:-1]:
        matrix = random_element(space.gauge, rng).matrix
        elements[space.name] = GaugeElement(
            Monomial(matrix.index, matrix.sign * np.exp2(np.rint(np.log2(matrix.scale))))
        )
    found = match(module, move(module, elements, example=x), example=x)
    assert found.verdict.is_proved and found.verdict.exact and found.verdict.bound == 0.0
    assert all(found.elements[name] == element for name, element in elements.items())
    for p, q in zip(module.parameters(), found.aligned().parameters(), strict=True):
        assert torch.equal(p, q)


@settings(max_examples=10)
@given(st.integers(0, 10**6), st.sampled_from(["relu", "tanh", "t^3"]), st.floats(1e-8, 1e-6))
def test_the_bound_covers_what_a_nudge_of_the_weights_does(seed, activation, size):
    torch.manual_seed(seed)
    module = Chain([3, 6, 5, 2], activation).double()
    x = 2 * torch.rand(2000, 3, dtype=torch.float64) - 1
    other = copy.deepcopy(module)
    with torch.no_grad():
        for p in other.parameters():
            p.mul_(1 + size * torch.randn_like(p))
        found = match(module, other, example=x[:2], tolerance=1e-3, align=False)
        gap = float((module(x) - other(x)).abs().max())
    assert found.verdict.is_proved and not found.verdict.exact
    assert 0 < gap <= found.verdict.bound < 1e5 * gap


def relu_net(rows, biases, out, constant=0.0) -> nn.Module:
    module = nn.Sequential(nn.Linear(len(rows[0]), len(rows)), nn.ReLU(), nn.Linear(len(rows), 1)).double()
    with torch.no_grad():
        module[0].weight.copy_(torch.tensor(rows))
        module[0].bias.copy_(torch.tensor(biases))
        module[2].weight.copy_(torch.tensor([out]))
        module[2].bias.fill_(constant)
    return module


X1 = torch.zeros(2, 1, dtype=torch.float64)
X2 = torch.zeros(2, 2, dtype=torch.float64)


def test_a_neuron_that_nobody_reads_may_be_anything():
    a = relu_net([[1.0, 2.0], [3.0, 1.0]], [0.5, 0.0], [1.0, 0.0])
    b = relu_net([[9.0, 9.0], [1.0, 2.0]], [1.0, 0.5], [0.0, 1.0])
    assert match(a, b, example=X2).verdict.is_proved
    b[2].weight.data[0, 0] = 1e-3
    assert match(a, b, example=X2).verdict.is_refuted


def test_copies_may_share_their_output_in_any_way():
    a = relu_net([[1.0, 2.0], [2.0, 4.0], [0.0, 1.0]], [0.5, 1.0, 0.0], [3.0, 1.0, 1.0])
    b = relu_net([[0.0, 1.0], [1.0, 2.0], [0.0, 1.0]], [0.0, 0.5, 0.0], [0.75, 5.0, 0.25])
    found = match(a, b, example=X2)
    assert found.verdict.is_proved and any("not unique" in note for note in found.notes)
    b[2].weight.data[0, 0] = 0.76
    assert match(a, b, example=X2).verdict.is_refuted


def test_copies_that_cancel_are_no_neuron():
    a = relu_net([[1.0, 2.0], [1.0, 2.0], [0.0, 1.0]], [0.0, 0.0, 0.0], [3.0, -3.0, 1.0])
    b = relu_net([[5.0, -1.0], [5.0, -1.0], [0.0, 2.0]], [1.0, 1.0, 0.0], [2.0, -2.0, 0.5])
    assert match(a, b, example=X2).verdict.is_proved


def absolute(c: float) -> nn.Module:
    """``|x| = 2 relu(x) - relu(x + c) + relu(-x - c) + c`` for every c (theory 1)."""
    return relu_net([[1.0], [1.0], [-1.0]], [0.0, c, -c], [2.0, -1.0, 1.0], c)


def test_flipped_neurons_behind_a_bypass_are_undecided_and_never_refuted():
    verdict = match(absolute(0.5), absolute(0.75), example=X1).verdict
    assert verdict.is_undecided and "bypass" in verdict.reason
    assert match(absolute(0.5), absolute(0.5), example=X1).verdict.is_proved


def test_a_tiny_row_with_a_large_reader_is_not_taken_for_a_constant():
    rows = [[1.0, 2.0], [1e-7, 2e-7]]
    a = relu_net(rows, [0.0, 0.0], [1.0, 1e7]).float()
    b = relu_net([rows[0], [-1e-7, -2e-7]], [0.0, 0.0], [1.0, 1e7]).float()
    assert match(a, b, example=X2.float()).verdict.is_refuted
    scaled = relu_net([rows[0], [1.0, 2.0]], [0.0, 0.0], [1.0, 1.0]).float()
    assert match(a, scaled, example=X2.float()).verdict.is_proved


def test_a_turn_before_a_layer_norm_is_proved_and_a_stretch_is_not():
    """Centred rows may be turned by any Q with Q 1 = 1 (theory 2), which is beyond the gauge of the trace."""
    module, x = case("layer norm")
    basis = np.linalg.qr(np.c_[np.ones(6), np.random.default_rng(0).normal(size=(6, 5))])[0]
    inner = np.linalg.qr(np.random.default_rng(1).normal(size=(5, 5)))[0]
    inside = np.eye(6)
    inside[1:, 1:] = inner
    turn = torch.from_numpy(basis @ inside @ basis.T)
    stretch = torch.from_numpy(basis @ np.diag([1.0, 0.9, 0.95, 1.0, 1.05, 1.1]) @ basis.T)  # keeps 1 and the mean
    assert torch.equal(module[1].weight, torch.ones(6).double())
    for change, proved in ((turn, True), (stretch, False)):
        other = copy.deepcopy(module)
        with torch.no_grad():
            other[0].weight.copy_(change @ module[0].weight)
            other[0].bias.copy_(change @ module[0].bias)
            other[2].weight.copy_(module[2].weight @ torch.linalg.inv(change))
        verdict = match(module, other, example=x, align=False).verdict
        assert verdict.is_proved is proved, str(verdict)
        assert verdict.is_refuted is not proved


class Attends(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.q, self.k, self.v = (nn.Linear(4, 4) for _ in range(3))

    def forward(self, x):
        return torch.softmax(self.q(x) @ self.k(x).transpose(1, 2), -1) @ self.v(x)


def test_what_no_rule_covers_is_undecided_by_name_and_can_be_refuted():
    module, x = Attends().double().eval(), torch.randn(2, 3, 4, dtype=torch.float64)
    verdict = match(module, copy.deepcopy(module), example=x).verdict
    assert verdict.is_undecided and "attention" in verdict.reason
    other = copy.deepcopy(module)
    other.v.weight.data[0, 0] += 1e-3
    assert match(module, other, example=x).verdict.is_refuted


@pytest.mark.parametrize(
    ("first", "second", "words"),
    [
        (Chain([4, 8, 3], "relu"), Chain([4, 9, 3], "relu"), r"\(8,\) in the first, \(9,\) in the second"),
        (Chain([4, 8, 3], "relu"), Chain([4, 8, 3], "tanh"), "relu in the first, tanh in the second"),
        (Chain([4, 8, 3], "relu"), Chain([4, 8, 8, 3], "relu"), "operator 3"),
        (
            Chain([4, 8, 3], "relu"),
            nn.Sequential(nn.Linear(4, 8, bias=False), nn.ReLU(), nn.Linear(8, 3)),
            "bias of linear",
        ),
        (nn.Conv1d(4, 2, 3, padding=1), nn.Conv1d(4, 2, 1), "weight of conv"),
    ],
)
def test_different_architectures_are_refused_with_the_difference(first, second, words):
    x = torch.zeros(2, 4, 6) if isinstance(first, nn.Conv1d) else torch.zeros(2, 4)
    with pytest.raises(ArchitectureMismatch, match=words):
        match(first, second, example=x)


def test_networks_that_are_no_function_of_numbers_are_refused():
    good, x = Chain([4, 8, 3], "relu"), torch.zeros(2, 4)
    bad = copy.deepcopy(good)
    bad.layers[0].weight.data[0, 0] = float("nan")
    with pytest.raises(NonFiniteWeights):
        match(good, bad, example=x)
    with pytest.raises(ModelInTrainingMode):
        match(*(nn.Sequential(nn.Linear(4, 2), nn.Dropout(0.5)).train() for _ in range(2)), example=x)


def perturbed(module: nn.Module, size: float) -> nn.Module:
    out = copy.deepcopy(module)
    with torch.no_grad():
        for p in out.parameters():
            p.add_(size * p.std() * torch.randn_like(p))
    return out


@pytest.mark.parametrize(
    ("build", "shape"),
    [
        (lambda: Chain([8, 24, 20, 5], "relu"), (64, 8)),
        (lambda: Chain([8, 24, 20, 5], "tanh"), (64, 8)),
        (lambda: ConvChain([3, 12, 10, 5], "relu"), (16, 3, 6, 6)),
        (lambda: Residual([8, 16, 24, 5], "gelu"), (64, 8)),
    ],
)
def test_nearly_equal_networks_are_aligned_and_the_barrier_falls(build, shape):
    torch.manual_seed(1)
    module, x = build().double(), torch.randn(shape, dtype=torch.float64)
    planted = drawn(module, x, 3)
    other = move(perturbed(module, 0.03), planted, example=x)
    found = match(module, other, x)
    assert found.verdict.is_refuted
    for name, element in planted.items():
        assert np.array_equal(found.elements[name].matrix.index, element.matrix.index), name
        assert np.array_equal(found.elements[name].matrix.sign, element.matrix.sign), name
    assert all(0 < value < 0.2 for value in found.residuals.values())
    hidden = barrier(module, other, [((x,), None)])
    assert found.barrier.height < 0.05 < hidden.height


def test_a_loss_is_measured_on_labelled_data():
    torch.manual_seed(2)
    module, x = Chain([4, 8, 3], "tanh"), torch.randn(64, 4)
    target = module(x).argmax(1)
    other = perturbed(module, 0.05)
    found = match(module, other, [(x[:32], target[:32]), (x[32:], target[32:])], loss=nn.functional.cross_entropy)
    assert found.barrier.measure == "loss" and found.barrier.samples == 64
    expected = float(nn.functional.cross_entropy(module(x), target).detach())
    assert found.barrier.losses[0] == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize(("data", "error"), [([], EmptyData), (3, WrongUse), ([("a", "b")], WrongUse)])
def test_data_that_are_no_batches_are_refused(data, error):
    with pytest.raises(error):
        match(Chain([4, 8, 3], "tanh"), Chain([4, 8, 3], "tanh"), data, example=torch.zeros(2, 4))


def test_a_record_goes_through_json_and_prints():
    torch.manual_seed(0)
    module, x = Chain([4, 5, 3], "relu"), torch.zeros(2, 4)
    found = match(module, perturbed(module, 0.1), example=x)
    again = Match.from_json(json.loads(json.dumps(found.to_json())))
    assert str(again) == str(found) and again.to_json() == found.to_json()
    assert "REFUTED" in str(found) and "layers.0" in str(found) and "barrier" in str(found)
    gap, floor = difference(again.verdict, module, perturbed(module, 0.1))
    assert gap > floor
    with pytest.raises(WrongUse, match="holds no networks"):
        again.aligned()
    with pytest.raises(WrongUse, match="no witness"):
        difference(match(module, module, example=x).verdict, module, module)


def test_the_gauge_of_a_space_that_is_given_is_trivial():
    module, x = case("relu")
    spaces = trace(module, x).latent_spaces
    assert spaces[0].gauge == GaugeGroup.trivial(4)
    assert set(match(module, module, example=x).elements) == {s.name for s in spaces[1:-1]}
