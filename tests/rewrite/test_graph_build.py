"""Twins of graphs under a budget: exactly equivariant, near to the group average, and refused where they must be."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from graph_nets import Twice, double
from torch import Tensor, nn

from intertwiner.algebra import dihedral
from intertwiner.errors import BudgetTooSmall, CannotRewrite, DataTooSmall
from intertwiner.rewrite import Certificate, Rewrite, rewrite
from intertwiner.symmetry import Symmetry, image, invariant
from intertwiner.testing import Cell, assert_equivariant, planted_network

D4 = dihedral(4)
PLANE = Symmetry(D4, image(D4), invariant())


def nearly(family: str, noise: float = 0.03) -> tuple[nn.Module, Symmetry, Tensor]:
    """A planted network whose weights were moved by a small relative noise."""
    planted = planted_network(Cell("D4", "relu", family, 2 if family == "conv" else 1, "float32"), 2)
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for p in planted.module.parameters():
            p.add_(noise * p.std() * torch.randn(p.shape, generator=generator))
    return planted.module, planted.symmetry, planted.example(150)


@pytest.fixture(scope="module")
def convolutional() -> Rewrite:
    return rewrite(*nearly("conv"), budget=1.0)


def check(found: Certificate) -> None:
    assert found.method == "selected"
    assert found.verdict.is_proved and found.verdict.exact
    assert found.cost <= 1.0
    assert found.defect_float64 <= 1e-12 < 1e-3 < found.original_defect


def test_a_nearly_equivariant_convolutional_network_becomes_exactly_equivariant(convolutional: Rewrite) -> None:
    module, symmetry, data = nearly("conv")
    found = convolutional.certificate
    check(found)
    assert found.distance_average < 0.05 * found.original_distance_average  # a fifth without the copies gathered
    assert found.widths == found.original_widths
    assert convolutional.twin is not None and convolutional.twin.is_tied(torch.float32)
    assert_equivariant(convolutional.module, symmetry, data[:16])
    with pytest.raises(AssertionError):
        assert_equivariant(module, symmetry, data[:16])


def test_the_stated_distance_is_that_of_the_module(convolutional: Rewrite) -> None:
    module, symmetry, data = nearly("conv")
    with torch.no_grad():
        twin, result = convolutional.module(data), module(data)
        bound = symmetry.bind(tuple(data.shape[1:]), tuple(result.shape[1:]))
        mean = torch.zeros_like(result)
        for g in range(8):
            answer = module(bound.act_on_input(int(bound.group.inverse(g)), (data,))[0])
            mean += bound.act_on_output(g, (answer,))[0] / 8
    wanted = float((twin - mean).norm() / (mean - mean.mean(0)).norm())
    assert convolutional.certificate.distance_average == pytest.approx(wanted, rel=1e-3)


def test_a_nearly_equivariant_residual_stream_becomes_exactly_equivariant() -> None:
    found = rewrite(*nearly("residual"), budget=1.0).certificate
    check(found)
    assert found.distance_average < 0.3 * found.original_distance_average


def test_a_network_far_from_equivariant_is_nearer_to_its_average_with_more_budget() -> None:
    torch.manual_seed(0)
    net = nn.Sequential(
        nn.Conv2d(1, 6, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(6, 6, 3, padding=1), nn.Tanh(),
        nn.Flatten(), nn.Linear(54, 3),
    ).eval()  # fmt: skip
    data = torch.randn(300, 1, 6, 6)
    found = [rewrite(net, PLANE, data, budget).certificate for budget in (2.0, 4.0, 16.0)]
    assert all(c.verdict.is_proved and c.verdict.exact and c.cost <= b for c, b in zip(found, (2, 4, 16), strict=True))
    distances = [c.distance_average for c in found]
    assert distances == sorted(distances, reverse=True)
    assert distances[-1] < 0.5 * distances[0] and found[-1].method == "selected"


@pytest.mark.parametrize(
    ("net", "complaint"),
    [
        (nn.Sequential(nn.Conv2d(1, 4, 3, padding=1), nn.ReLU(), nn.Conv2d(4, 4, 3, padding=1, groups=2), nn.Flatten(),
                       nn.Linear(64, 2)), "2:out: a grouped convolution is not rewritten"),
        (nn.Sequential(nn.Conv2d(1, 4, 3, padding=1), nn.LayerNorm((4, 4, 4)), nn.ReLU(), nn.Flatten(),
                       nn.Linear(64, 2)), "1:out: layer norm is not rewritten"),
        (nn.Sequential(nn.Flatten(2), nn.TransformerEncoderLayer(16, 2, 8, batch_first=True), nn.Flatten(),
                       nn.Linear(16, 2)), "is not rewritten"),
    ],
    ids=["grouped", "layer norm", "attention"],
)  # fmt: skip
def test_what_is_not_covered_is_refused_by_name(net: nn.Module, complaint: str) -> None:
    with pytest.raises(CannotRewrite, match=rf"{complaint}(.|\n)*Nothing was rewritten"):
        rewrite(net.eval(), PLANE, torch.randn(20, 1, 4, 4))


def small() -> nn.Sequential:
    net = nn.Sequential(
        nn.Conv2d(1, 4, 3, padding=1), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 2)
    ).eval()  # fmt: skip
    double(net)
    return net


def pictures(count: int) -> Tensor:
    return torch.randn(count, 1, 5, 5, dtype=torch.float64, generator=torch.Generator().manual_seed(1))


def test_budgets_that_cannot_be_met_name_the_least() -> None:
    net, data = small(), pictures(100)
    with pytest.raises(BudgetTooSmall, match=r"with one channel(.|\n)*the least budget is 0.25(.|\n)*Nothing"):
        rewrite(net, PLANE, data, budget=0.2)
    assert rewrite(net, PLANE, data, budget=4.0).certificate.cost <= 4.0


def test_batch_norm_that_does_not_fold_is_lifted_but_not_selected_from() -> None:
    net, data = Twice(torch.relu), pictures(60)
    double(net)
    with pytest.raises(
        CannotRewrite, match=r"norm:out: a scale per channel between layers(.|\n)*Nothing was rewritten"
    ):
        rewrite(net, PLANE, data, budget=2.0)
    assert rewrite(net, PLANE, data, budget=8.0).certificate.distance_average < 1e-12


def test_too_little_data_and_no_data_are_refused() -> None:
    with pytest.raises(DataTooSmall, match=r"Nothing was rewritten"):
        rewrite(small(), PLANE, pictures(1), budget=4.0)
    with pytest.raises(CannotRewrite, match=r"Selecting orbits needs data: give data=(.|\n)*Nothing was rewritten"):
        rewrite(small(), PLANE, example=pictures(2), budget=4.0)
    assert rewrite(small(), PLANE, example=pictures(2), budget=8.0).certificate.method == "lift"


def test_the_same_seed_gives_the_same_twin() -> None:
    net, data = small(), pictures(60)
    one, two = (rewrite(net, PLANE, data, budget=4.0, seed=3) for _ in range(2))
    state = one.module.state_dict()
    assert all(torch.equal(v, state[k]) for k, v in two.module.state_dict().items())
    assert replace(one.certificate, seconds={}) == replace(two.certificate, seconds={})
    assert one.certificate.seed == 3
