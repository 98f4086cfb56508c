"""What distillation refuses, and what it says."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from taught_twins import answers, classifier
from torch import Tensor, nn

from intertwiner.errors import (
    CannotRewrite,
    DataMismatch,
    DataTooSmall,
    Diverged,
    NonFiniteData,
    WrongUse,
)
from intertwiner.network import trace
from intertwiner.network.node import Linear
from intertwiner.numerics.monomial import Monomial
from intertwiner.rewrite.distil import distil
from intertwiner.rewrite.tied import tied, trivial
from intertwiner.rewrite.twin import TwinGraph


@pytest.mark.parametrize(
    ("change", "error", "words"),
    [
        ({"target": "nan"}, NonFiniteData, "the target hold NaN or infinity"),
        ({"inputs": "nan"}, NonFiniteData, "the inputs hold NaN or infinity"),
        ({"inputs": "short"}, DataMismatch, "one row for each"),
        ({"inputs": "narrow"}, DataMismatch, "takes samples of shape"),
        ({"inputs": "flat"}, DataMismatch, "takes samples of shape"),
        ({"target": "wide"}, DataMismatch, r"the twin answers with shape \(3,\)"),
        ({"labels": "short"}, DataMismatch, "one whole number"),
        ({"labels": "high"}, DataMismatch, "below the number of classes, 3"),
        ({"labels": "float"}, DataMismatch, "float32"),
        ({"few": 1}, DataTooSmall, "1 samples"),
        ({"loss": "hinge"}, WrongUse, "squared, soft"),
        ({"epochs": 0}, WrongUse, "epochs is positive"),
        ({"rate": float("inf")}, WrongUse, "rate is positive and finite"),
        ({"batch": -1}, WrongUse, "batch is positive"),
        ({"temperature": 0.0}, WrongUse, "temperature is positive"),
        ({"label_share": 1.5}, WrongUse, "label_share"),
        ({"stop_share": 1.0}, WrongUse, "stop_share"),
    ],
)
def test_what_does_not_fit_is_refused(change: dict, error: type[Exception], words: str) -> None:
    twin, x, labels = classifier()
    target = nn.functional.one_hot(labels, 3).float()
    spoilt = target.clone()
    spoilt[7, 1] = torch.nan
    broken = x.clone()
    broken[-1, 0] = torch.inf
    variants = {
        ("target", "nan"): spoilt,
        ("inputs", "nan"): broken,
        ("inputs", "short"): x[:-1],
        ("inputs", "narrow"): x[:, :1],
        ("inputs", "flat"): x[:, 0],
        ("target", "wide"): target.repeat(1, 2),
        ("labels", "short"): labels[:-1],
        ("labels", "high"): labels + 1,
        ("labels", "float"): labels.float(),
    }
    given = {"inputs": x, "target": target}
    for key, value in change.items():
        if key == "few":
            given = {name: tensor[:value] for name, tensor in given.items()}
        else:
            given[key] = variants.get((key, value), value)
    with pytest.raises(error, match=words) as caught:
        distil(twin, **given)
    assert "Nothing was rewritten." in str(caught.value)


def test_soft_takes_logits() -> None:
    twin, x, _ = classifier()
    one = trace(nn.Linear(2, 1), torch.zeros(2, 2))
    single = TwinGraph(one, one.graph, {}, {"weight": tied(trivial(1), [Monomial([1, 0])])})
    with pytest.raises(DataMismatch, match='loss="squared"'):
        distil(single, x, x[:, :1])
    assert distil(single, x, x.sum(1, keepdim=True), loss="squared", epochs=1).steps > 0
    assert distil(twin, x, answers(twin, x) + 1, epochs=1).steps > 0


def test_a_rate_that_is_too_high_is_said() -> None:
    twin, x, labels = classifier()
    target = nn.functional.one_hot(labels, 3).float()
    with pytest.raises(Diverged, match=r"at step \d+ of \d+ is not finite.*\n.*Try rate=") as caught:
        distil(twin, x, target, rate=1e38, batch=16)
    assert "Nothing was rewritten." in str(caught.value)


def test_a_twin_without_ties_or_with_unknown_ones_is_refused() -> None:
    twin, x, labels = classifier()
    target = nn.functional.one_hot(labels, 3).float()
    with pytest.raises(CannotRewrite, match="no tied parameter"):
        distil(TwinGraph(twin.network, twin.graph, {}, {}), x, target)
    single = dict(twin.graph)
    for name, node in twin.graph.items():
        if isinstance(node.op, Linear) and node.op.weight.name == "0.weight":
            renamed = replace(node.op.weight, name="0.if.weight")
            single[name] = replace(node, op=replace(node.op, weight=renamed))
    ties = {"0.if.weight": twin.ties["0.weight"]}
    with pytest.raises(CannotRewrite, match=r"holds no '0\.if\.weight' of shape"):
        distil(TwinGraph(twin.network, single, {}, ties), x, target)


def test_one_input_and_one_output() -> None:
    class Two(nn.Module):
        def forward(self, x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
            return self.layer(x + y), x

        def __init__(self) -> None:
            super().__init__()
            self.layer = nn.Linear(2, 2)

    network = trace(Two().eval(), (torch.zeros(2, 2), torch.zeros(2, 2)))
    twin = TwinGraph(network, network.graph, {}, {"layer.weight": tied([Monomial([1, 0])], [Monomial([1, 0])])})
    with pytest.raises(DataMismatch, match="this one has 2 and 2"):
        distil(twin, torch.zeros(9, 2), torch.zeros(9, 2))


def test_numbers_that_float32_cannot_square_are_said() -> None:
    twin, x, labels = classifier()
    target = nn.functional.one_hot(labels, 3).float()
    with pytest.raises(Diverged, match="held-out loss after 0 steps is not finite"):
        distil(twin, x, 1e30 * target, loss="squared")
    assert distil(twin, x, 1e10 * target, loss="squared", epochs=1).steps > 0
