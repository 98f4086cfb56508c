"""The parts of a distillation: losses, ties as tensors, the step, the rate."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
import torch
from taught_twins import answers, classifier, planted_twin, redrawn
from torch import nn

from intertwiner.numerics.monomial import Monomial
from intertwiner.rewrite.criterion import criterion
from intertwiner.rewrite.distil import CLIP, Plan, clip
from intertwiner.rewrite.reduced import reduced
from intertwiner.rewrite.student import student_of
from intertwiner.rewrite.tied import tied


def test_the_soft_loss_is_zero_at_the_target_alone() -> None:
    target = torch.tensor([[1.0, 2.0, 0.0], [0.0, 0.5, 3.0]])
    soft = criterion(target, "soft")
    assert float(soft(target, target)) == 0
    assert float(soft(target + 1, target)) > 0.1, "a constant on all logits"
    assert float(soft(target.mean(0).expand(2, 3), target)) == pytest.approx(1)
    still = criterion(torch.ones(4, 3), "soft")
    assert float(still(torch.zeros(4, 3), torch.ones(4, 3))) == pytest.approx(0.5)


def test_reduced_is_the_reynolds_projection(rng: np.random.Generator) -> None:
    """With signs, entries forced to zero, and orbits of several sizes."""
    rho_out = [
        Monomial([1, 0, 2, 3], np.array([1.0, 1.0, -1.0, 1.0])),
        Monomial([0, 1, 2, 3], np.array([1, 1, -1.0, 1])),
    ]
    rho_in = [Monomial([1, 2, 0, 3]), Monomial([0, 1, 2, 3], np.array([1.0, 1.0, 1.0, -1.0]))]
    tie = tied(rho_out, rho_in)
    assert (tie.label < 0).any()
    assert len(set(np.bincount(tie.label[tie.label >= 0]))) > 1
    ties = reduced(tie, dtype=torch.float64)
    matrix = rng.standard_normal(tie.label.shape)
    out = torch.full(tie.label.shape, torch.nan, dtype=torch.float64)
    ties.expand(torch.from_numpy(tie.coordinates(matrix)), out)
    assert np.array_equal(out.numpy(), tie.matrix(tie.coordinates(matrix)))
    assert np.allclose(ties.mean(torch.from_numpy(matrix)).numpy(), tie.coordinates(matrix), atol=1e-15)
    strided = torch.from_numpy(matrix.T.copy()).T
    assert torch.equal(ties.mean(strided), ties.mean(strided.contiguous()))


def test_where_no_map_intertwines_the_weight_is_zero() -> None:
    ties = reduced(tied([Monomial([0], np.array([-1.0]))], [Monomial([0])]))
    out = torch.ones(1, 1)
    ties.expand(torch.zeros(0), out)
    assert out.item() == 0
    assert len(ties.mean(torch.ones(1, 1))) == 0


def test_a_step_is_the_dense_step_with_the_projected_gradient() -> None:
    """The claim on coordinates: Adam on c is Adam on the matrix whose gradient is projected to Hom_G."""
    twin, x = planted_twin("conv")
    target = answers(redrawn(twin, 1), x).float()
    student = student_of(twin)
    dense = twin.module(torch.float32)
    slow, fast = torch.optim.Adam(dense.parameters(), 1e-2), torch.optim.Adam(student.coordinates, 1e-2)
    student.expand()
    weights = dict(dense.named_parameters())
    for _ in range(3):
        (student.module(x) - target).square().mean().backward()
        norm = student.collect()
        fast.step()
        student.expand()
        slow.zero_grad()
        (dense(x) - target).square().mean().backward()
        for name, weight in weights.items():
            tie = twin.ties[name]
            gradient = tie.project(weight.grad.double().numpy().reshape(tie.label.shape))  # type: ignore[union-attr]
            weight.grad = torch.from_numpy(gradient).float().reshape(weight.shape)
        assert norm == pytest.approx(float(nn.utils.get_total_norm([w.grad for w in weights.values()])), rel=1e-4)
        slow.step()
    for name, weight in zip(student.names, student.weights, strict=True):
        assert torch.allclose(weight, weights[name], atol=2e-4)
        assert not torch.allclose(weight, torch.tensor(twin.params[name].array).float(), atol=5e-3)


def test_a_long_gradient_is_cut() -> None:
    twin, _, _ = classifier()
    student = student_of(twin)

    def lengths(norm: float, usual: float) -> tuple[float, float]:
        for c in student.coordinates:
            c.grad = torch.ones_like(c)
        usual = clip(student, norm, usual)
        return float(student.coordinates[0].grad[0]), usual  # type: ignore[index]

    assert lengths(2 * CLIP, 1.0) == pytest.approx((0.5, 0.95 + 0.05 * CLIP))
    assert lengths(2.0, 1.0) == pytest.approx((1.0, 1.05))
    assert lengths(7.0, 0.0) == (1.0, 7.0), "the first one says what is usual"


def test_the_rate_rises_and_falls() -> None:
    rates = [Plan(1, 1, 0.5, 0, 0, lambda *_: None).rate_at(step, 100) for step in range(100)]
    assert rates[0] < 0.11 < 0.45 < max(rates) <= 0.5
    assert rates.index(max(rates)) == 4
    assert rates[-1] < 1e-3
    assert all(a > b for a, b in pairwise(rates[4:]))
    assert Plan(1, 1, 0.5, 0, 0, lambda *_: None).rate_at(0, 1) == 0.5
