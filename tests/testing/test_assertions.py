"""The public assertions: what they let through, what they name, and a witness shown again."""

from __future__ import annotations

import copy

import numpy as np
import pytest
import torch
from torch import nn

import intertwiner as iw
from intertwiner.errors import EmptyData, ShapeMismatch, WrongUse
from intertwiner.testing import Cell, assert_equivariant, assert_same_function, planted_network, replay

ODD = iw.Symmetry(iw.cyclic(2), on_input=iw.vector(sign=[-1, -1]), on_output=iw.vector(sign=[-1]))


class TwoHeads(nn.Module):
    def forward(self, x: torch.Tensor) -> dict[str, torch.Tensor]:
        return {"even": x.square().sum(1), "odd": x**3}


class Gap(nn.Module):
    """Two inputs, one output."""

    def forward(self, x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        return (x - y).sum(1, keepdim=True)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_a_planted_network_passes_in_both_precisions(dtype: str) -> None:
    planted = planted_network(Cell("D4", "gelu", "conv", 2, dtype), 0)
    found = assert_equivariant(planted.module, planted.symmetry, planted.example(8))
    assert found.value <= 1e-5
    state = copy.deepcopy(planted.module.state_dict())
    assert all(torch.equal(a, b) for a, b in zip(state.values(), planted.module.state_dict().values(), strict=True))


def test_the_message_names_element_defect_floor_and_worst_sample() -> None:
    x = torch.tensor([[0.0, 0.0], [1.0, 2.0], [0.5, 0.0]])
    layer = nn.Linear(2, 1)
    with torch.no_grad():
        layer.weight.fill_(1.0)
        layer.bias.fill_(0.5)
    pattern = (
        r"f\(g x\) is not g f\(x\) at g = r: defect 0.29, allowed 1e-05, rounding explains \S+\n"
        r"  worst sample: number 0 of batch 0, input 0: \[0.0, 0.0\]"
    )
    with pytest.raises(AssertionError, match=pattern):
        assert_equivariant(layer, ODD, x)


def test_a_tolerance_of_the_caller_is_used() -> None:
    layer = nn.Linear(2, 1)
    assert_equivariant(layer, ODD, torch.randn(8, 2), tolerance=10.0)
    with pytest.raises(AssertionError, match="allowed 0,"):
        assert_equivariant(layer, ODD, torch.randn(8, 2), tolerance=0.0)


def test_elements_may_be_chosen() -> None:
    swap = iw.Symmetry(iw.cyclic(3), on_input=iw.vector(perm=[1, 2, 0]), on_output=iw.invariant())
    layer = nn.Linear(3, 1)
    assert_equivariant(layer, swap, torch.randn(4, 3), elements=["e"])
    with pytest.raises(AssertionError, match="at g = r2"):
        assert_equivariant(layer, swap, torch.randn(4, 3), elements=["e", "r2"])


def test_several_inputs_outputs_and_batches() -> None:
    heads = iw.Symmetry(
        iw.cyclic(2), on_input=iw.vector(sign=[-1, -1]), on_output={"even": iw.invariant(), "odd": iw.same()}
    )
    assert_equivariant(TwoHeads(), heads, [torch.randn(3, 2), torch.randn(5, 2)])
    both = iw.Symmetry(iw.cyclic(2), on_input=(iw.vector(sign=[-1, -1]),) * 2, on_output=iw.vector(sign=[-1]))
    assert_equivariant(Gap(), both, (torch.randn(3, 2), torch.randn(3, 2)))


def test_nan_is_no_equivariance() -> None:
    class Root(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return x.sum(1, keepdim=True).sqrt()

    with pytest.raises(AssertionError, match="defect nan"):
        assert_equivariant(Root(), ODD, torch.ones(2, 2))


@pytest.mark.parametrize(
    ("data", "error", "words"),
    [
        ([], EmptyData, "no sample in data of type list: nothing was compared"),
        (torch.zeros(0, 2), EmptyData, "no sample in data of type Tensor"),
        (3, WrongUse, "data of type int: expected a tensor"),
        ([{"x": 1}], WrongUse, "a batch of type dict"),
    ],
)
def test_data_that_cannot_be_used(data: object, error: type[Exception], words: str) -> None:
    with pytest.raises(error, match=words):
        assert_equivariant(nn.Linear(2, 1), ODD, data)


def test_a_symmetry_of_another_size_is_refused() -> None:
    with pytest.raises(ShapeMismatch, match="input"):
        assert_equivariant(nn.Linear(3, 1), ODD, torch.zeros(2, 3))


def test_two_modules_that_differ_in_one_weight() -> None:
    one = nn.Linear(3, 2)
    two = copy.deepcopy(one)
    assert assert_same_function(one, two, torch.randn(6, 3)).value == 0.0
    with torch.no_grad():
        two.weight[1, 2] += 1e-3
    with pytest.raises(AssertionError, match=r"the two modules differ: defect \S+, allowed 1e-05"):
        assert_same_function(one, two, torch.randn(6, 3))


@pytest.mark.parametrize("kind", ["witness", "verdict"])
def test_a_witness_fails_again_and_only_where_it_should(kind: str) -> None:
    planted = planted_network(Cell("S3", "tanh", "mlp", 2, "float64"), 1)
    moved = planted.with_weight_moved(by=1e-3)
    effort = iw.Effort(data=False)
    verdict = iw.audit(moved.module, moved.symmetry, example=moved.example(), effort=effort).verdict
    claim = verdict if kind == "verdict" else iw.Witness.from_json(verdict.witness.to_json())
    assert replay(claim, moved.module, moved.symmetry) >= verdict.witness.defect * (1 - 1e-9)
    assert replay(claim, planted.module, planted.symmetry) < 1e-12


def test_a_verdict_without_witness_cannot_be_replayed() -> None:
    planted = planted_network(Cell("C2", "tanh", "mlp", 1, "float64"), 0)
    verdict = iw.audit(
        planted.module, planted.symmetry, example=planted.example(), effort=iw.Effort(data=False)
    ).verdict
    with pytest.raises(WrongUse, match="there is no witness to replay: PROVED"):
        replay(verdict, planted.module, planted.symmetry)


def test_a_witness_is_relative_to_the_output_at_itself() -> None:
    witness = iw.Witness({"x": np.array([[1.0, 1.0]])}, "r", 0.5, 0.0)
    layer = nn.Linear(2, 1)
    with torch.no_grad():
        layer.weight.fill_(1.0)
        layer.bias.fill_(2.0)
    assert replay(witness, layer, ODD) == pytest.approx(1.0)  # f(-x) = 0, -f(x) = -4
