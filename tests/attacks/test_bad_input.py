"""Bad input: each kind is refused with an error of its own class, whose message says what and where."""

from __future__ import annotations

import pytest
import torch
from torch import nn

import intertwiner as iw
from intertwiner.algebra import subgroup_classes
from intertwiner.errors import (
    CannotTrace,
    DataMismatch,
    EmptyData,
    GroupTooLarge,
    ModelInTrainingMode,
    ModelNotDeterministic,
    NonFiniteData,
    NonFiniteWeights,
    NotAnAction,
    ShapeMismatch,
    WrongUse,
)

SWAP = iw.Symmetry(iw.cyclic(2), on_input=iw.vector(perm=[1, 0]), on_output=iw.invariant())
LIGHT = iw.Effort(nulls=False, orbits=False)


def net() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(2, 4), nn.Tanh(), nn.Linear(4, 1)).eval()


def audit(model: object, data: object = None, symmetry: object = SWAP, **options: object) -> iw.Audit:
    return iw.audit(model, symmetry, data=data, effort=LIGHT, **options)  # type: ignore[arg-type]


def test_a_symmetry_that_is_no_action() -> None:
    turn = iw.Symmetry(iw.cyclic(3), on_input=iw.vector(perm=[1, 0]), on_output=iw.invariant())
    with pytest.raises(NotAnAction, match="input"):
        audit(net(), torch.randn(8, 2), turn)


def test_a_callable_that_is_no_action() -> None:
    double = iw.Symmetry(iw.cyclic(2), on_input=iw.custom(lambda g, x: 2 * x if g else x), on_output=iw.invariant())
    with pytest.raises(NotAnAction, match="input"):
        audit(net(), torch.randn(8, 2), double)


def test_an_action_of_another_size() -> None:
    wide = iw.Symmetry(iw.cyclic(2), on_input=iw.vector(perm=[1, 0, 2]), on_output=iw.invariant())
    with pytest.raises(ShapeMismatch, match=r"input.*sample shape \(2,\)"):
        audit(net(), torch.randn(8, 2), wide)


def test_no_symmetry_at_all() -> None:
    with pytest.raises(WrongUse, match="expected a Symmetry, got str"):
        audit(net(), torch.randn(8, 2), "D4")


def test_something_that_is_no_model() -> None:
    with pytest.raises(WrongUse, match=r"a torch\.nn\.Module"):
        audit(lambda x: x, torch.randn(8, 2))


@pytest.mark.parametrize("layer", [nn.Dropout(0.5), nn.BatchNorm1d(4)], ids=["dropout", "batch norm"])
def test_training_mode(layer: nn.Module) -> None:
    model = nn.Sequential(nn.Linear(2, 4), layer, nn.Tanh(), nn.Linear(4, 1)).train()
    with pytest.raises(ModelInTrainingMode, match=r"training mode: 1\.(.|\n)*Call model.eval\(\) first"):
        audit(model, torch.randn(8, 2))


def test_training_mode_without_dropout_or_batch_norm_changes_nothing() -> None:
    assert audit(net().train(), torch.randn(8, 2)).verdict.is_refuted


class Random(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x.sum(1, keepdim=True) + torch.randn(len(x), 1)


class Counting(nn.Module):
    """A hidden state: it answers differently every time."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("calls", torch.zeros(()))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        self.calls += 1
        return x.sum(1, keepdim=True) * self.calls


@pytest.mark.parametrize("model", [Random(), Counting()], ids=["randomness", "hidden state"])
def test_a_network_that_answers_differently_twice(model: nn.Module) -> None:
    with pytest.raises(ModelNotDeterministic, match=r"asked twice(.|\n)*Usual cause"):
        audit(model.eval(), torch.randn(8, 2))


@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf")])
def test_weights_that_are_no_numbers(value: float) -> None:
    model = net()
    with torch.no_grad():
        model[0].weight[1, 1] = value
    with pytest.raises(NonFiniteWeights, match=r"'0.weight' has 1 of 8 entries(.|\n)*Nothing was traced"):
        audit(model, torch.randn(8, 2))


@pytest.mark.parametrize("data", [[], torch.zeros(0, 2), iter(())], ids=["loader", "tensor", "iterator"])
def test_an_empty_loader(data: object) -> None:
    with pytest.raises(EmptyData, match="nothing was measured"):
        audit(net(), data)


def test_a_loader_of_empty_batches() -> None:
    with pytest.raises((EmptyData, DataMismatch), match="sample"):
        audit(net(), [torch.zeros(0, 2), torch.zeros(0, 2)])


@pytest.mark.parametrize(
    "batch", [torch.zeros(4, 2, dtype=torch.float64), torch.zeros(4, 2, dtype=torch.int64)], ids=["float64", "int64"]
)
def test_a_later_batch_of_another_dtype(batch: torch.Tensor) -> None:
    with pytest.raises(DataMismatch, match=r"batch 1, input 'input': expected torch.float32, got torch"):
        audit(net(), [torch.randn(4, 2), batch])


def test_a_first_batch_of_another_dtype() -> None:
    with pytest.raises(DataMismatch, match=r"cannot run on the example(.|\n)*float64\[2, 2\]"):
        audit(net(), torch.zeros(4, 2, dtype=torch.float64))


def test_a_batch_on_another_device() -> None:
    with pytest.raises(DataMismatch, match="meta"):
        audit(net(), [torch.zeros(4, 2, device="meta")])
    with pytest.raises(DataMismatch, match="the network is on cpu, the batch on meta"):
        audit(net(), [torch.randn(4, 2), torch.zeros(4, 2, device="meta")])


def test_a_batch_of_another_shape() -> None:
    with pytest.raises(DataMismatch, match=r"batch 1, input 'input': expected samples of shape \(2,\), got \(3,\)"):
        audit(net(), [torch.randn(4, 2), torch.randn(4, 3)])


def test_numbers_in_the_data_that_are_none() -> None:
    bad = torch.randn(8, 2)
    bad[3, 1] = float("nan")
    with pytest.raises(NonFiniteData, match="batch 0, input 'input': 1 of 16 numbers are NaN or infinite"):
        audit(net(), bad)


def test_neither_data_nor_example() -> None:
    with pytest.raises(WrongUse, match="give data=, or example="):
        audit(net())


def test_a_group_too_large_to_list() -> None:
    with pytest.raises(GroupTooLarge, match=r"S8 has 40320 elements(.|\n)*Nothing was built"):
        iw.symmetric(8)


def test_a_product_too_large_for_its_table_still_multiplies() -> None:
    G = iw.direct_product(iw.symmetric(5), iw.symmetric(5))
    assert G.multiply(1, int(G.inverse(1))) == G.identity
    with pytest.raises(GroupTooLarge, match=r"14,?400"):
        _ = G.table


def test_a_group_too_large_for_subgroups() -> None:
    with pytest.raises(GroupTooLarge, match=r"5040|5,040"):
        subgroup_classes(iw.direct_product(iw.symmetric(5), iw.dihedral(21)))


class Sorted(nn.Module):
    """An operator without a rule, in the middle."""

    def __init__(self) -> None:
        super().__init__()
        self.one, self.two = nn.Linear(2, 4), nn.Linear(4, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.two(torch.sort(torch.tanh(self.one(x)), dim=1).values)


def test_an_operator_without_a_rule_is_named_and_decides_nothing() -> None:
    model = Sorted().double().eval()
    with torch.no_grad():
        model.one.weight.copy_(torch.tensor([[1.0, 0.3], [0.3, 1.0], [0.5, 0.5], [-0.2, -0.2]]))
        model.one.bias.copy_(torch.tensor([0.1, 0.1, 0.2, 0.3]))
    x = torch.randn(64, 2, dtype=torch.float64)
    found = audit(model, x)
    assert found.verdict.is_undecided  # equivariant, for a reason that no rule knows
    assert "sort" in found.verdict.reason
    (named,) = found.record["network"]["operators_without_rule"]
    assert "sort" in named["operator"] + named["reason"]
    assert str(found["one"].orbits) == "2 x C2/C2 + 1 x C2/1"  # what comes before it is still analysed
    with torch.no_grad():
        model.one.weight[0, 0] += 0.1
    assert audit(model, x).verdict.is_refuted  # an input shows it, whatever the rules know


class Branching(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x.sum(1, keepdim=True) if float(x.sum()) > 0 else -x.sum(1, keepdim=True)


def test_control_flow_that_depends_on_values() -> None:
    with pytest.raises(CannotTrace, match=r"cannot trace Branching(.|\n)*Nothing was traced"):
        audit(Branching(), torch.randn(8, 2))
