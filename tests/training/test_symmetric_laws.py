"""Symmetric data through ``conservation_laws``: counted for linear and power networks, open with a reason elsewhere."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from law_models import seeded
from torch import Tensor, nn
from torch.nn import functional as F

import intertwiner as iw
from intertwiner.errors import ShapeMismatch
from intertwiner.training import ConservationLaws, PolynomialChain, conservation_laws, data_symmetry_laws
from intertwiner.training.rank_bar import RankBar

GROUP, TURN = iw.cyclic(4), np.array([[0.0, -1.0], [1.0, 0.0]])
SYMMETRY = iw.Symmetry(GROUP, iw.vector(matrix=[TURN]), iw.invariant())
RHO = iw.Representation(GROUP, (TURN,)), iw.Representation(GROUP, (np.eye(1),))


class Power(nn.Module):
    def __init__(self, exponent: float) -> None:
        super().__init__()
        self.exponent = exponent

    def forward(self, x: Tensor) -> Tensor:
        return x**self.exponent


def net(activation: nn.Module, *, outputs: int = 1, hidden: int = 1) -> nn.Module:
    return seeded(
        lambda: nn.Sequential(nn.Linear(2, hidden, bias=False), activation, nn.Linear(hidden, outputs, bias=False))
    )


def data(number: int, outputs: int = 1) -> tuple[Tensor, Tensor]:
    random = torch.Generator().manual_seed(3)
    return torch.randn(number, 2, generator=random, dtype=torch.float64), torch.randn(
        number, outputs, generator=random, dtype=torch.float64
    )


@pytest.mark.parametrize("power", [2, 3])
def test_powers_are_counted_as_their_chain_is(power: int) -> None:
    found = conservation_laws(net(Power(power)), symmetry=SYMMETRY, example=torch.zeros(2, 2, dtype=torch.float64))
    chain = PolynomialChain((2, 1, 1), f"t^{power}")
    oracle = data_symmetry_laws(chain, *RHO)
    assert found.data_symmetry is not None
    assert found.data_symmetry.with_symmetry == oracle.with_symmetry
    assert found.data_symmetry.without.laws == 1
    assert found.count is not None
    assert found.count.laws == 1  # of the circuit of the graph, which knows of no chain


def test_images_that_are_flattened_are_a_chain() -> None:
    model = seeded(lambda: nn.Sequential(nn.Flatten(), nn.Linear(4, 1, bias=False)))
    symmetry = iw.Symmetry(GROUP, iw.image(), iw.invariant())
    found = conservation_laws(
        model, symmetry=symmetry, example=torch.zeros(2, 1, 2, 2, dtype=torch.float64)
    ).data_symmetry
    assert found is not None
    assert found.extra == 1  # regular: 1 + sign + a plane, and the plane alone has an angle


@pytest.mark.parametrize("activation", [nn.ReLU(), nn.Tanh(), Power(0.5)], ids=repr)
def test_what_does_not_separate_is_left_open_with_the_reason(activation: nn.Module) -> None:
    model = net(activation, hidden=3)
    found = conservation_laws(model, symmetry=SYMMETRY, example=torch.ones(2, 2, dtype=torch.float64))
    assert found.data_symmetry is None
    assert found.symmetric is not None
    assert found.symmetric.verdict.is_undecided
    assert "tensorizable networks only" in found.symmetric.verdict.reason
    assert "1 (aten." in found.symmetric.verdict.reason
    assert "needs data= and targets=" in str(found)
    without = conservation_laws(model, example=torch.ones(2, 2, dtype=torch.float64))
    assert found.families == without.families
    assert found.verdict == without.verdict


def test_polynomial_networks_that_are_no_chain_are_said_to_be_none() -> None:
    model = seeded(lambda: nn.Sequential(nn.Linear(2, 2), Power(2), nn.Linear(2, 2), Power(3), nn.Linear(2, 1)))
    found = conservation_laws(
        model, symmetry=SYMMETRY, example=torch.zeros(2, 2, dtype=torch.float64), count=False
    ).symmetric
    assert found is not None
    assert "one power between all layers" in found.verdict.reason


def test_other_losses_quote_the_theorem_and_measure() -> None:
    """Of two parameters squared error on turned data sees one direction, the hyperbolic cosine both."""
    x, y = data(4)
    model = seeded(lambda: nn.Linear(2, 1, bias=False))
    ranks = []
    for loss in (F.mse_loss, lambda z, t: torch.cosh(z - t).mean()):
        found = conservation_laws(model, loss, SYMMETRY, data=x, targets=y)
        assert found.symmetric is not None
        assert "Galley, Shahverdi, Flinth 2026" in found.symmetric.verdict.theorem
        assert found.symmetric.verdict.is_undecided
        span = found.symmetric.span
        assert span is not None
        assert min(span.gap, span.full_gap) > 1e3
        ranks.append((span.rank, span.full, span.nothing_added))
        again = ConservationLaws.from_json(json.loads(json.dumps(found.to_json())))
        assert again == found
        assert str(again) == str(found)
    assert ranks == [(1, 2, False), (2, 2, True)]


def test_cross_entropy_does_not_see_a_common_shift() -> None:
    x, y = data(12, 2)
    found = conservation_laws(
        net(nn.Tanh(), hidden=2, outputs=2), "cross_entropy", SYMMETRY, data=x, targets=y.softmax(1)
    )
    assert found.symmetric is not None
    span = found.symmetric.span
    assert span is not None
    assert span.full == 6  # of eight parameters: the sum of every column of the last weight stands still
    assert "on any data under cross entropy" in found.verdict.claim


def test_too_few_orbits_say_so() -> None:
    x, y = data(2, 1)
    text = str(conservation_laws(net(nn.Tanh(), hidden=3), symmetry=SYMMETRY, data=x, targets=y))
    assert "more orbits are needed, at least 4" in text  # tanh is odd: two of the four points of an orbit say the same


def test_classes_do_not_move_with_outputs() -> None:
    swap = iw.Symmetry(iw.cyclic(2), iw.vector(perm=[1, 0]), iw.vector(perm=[1, 0]))
    model, (x, _) = net(nn.Tanh(), outputs=2, hidden=2), data(5)
    labels = torch.tensor([0, 1, 1, 0, 1])
    found = conservation_laws(model, "cross_entropy", swap, data=x, targets=labels).symmetric
    assert found is not None
    assert "one-hot" in found.unmeasured
    still = conservation_laws(model, "cross_entropy", SYMMETRY, data=x, targets=labels).symmetric
    assert still is not None
    assert still.span is not None
    network = conservation_laws(iw.trace(model, x), "cross_entropy", SYMMETRY, data=x, targets=labels).symmetric
    assert network is not None
    assert "not a traced network" in network.unmeasured


def test_as_many_targets_as_inputs() -> None:
    x, y = data(4)
    with pytest.raises(ShapeMismatch, match="4 inputs and 3 targets"):
        conservation_laws(net(nn.Tanh()), symmetry=SYMMETRY, data=x, targets=y[:3])


def test_a_network_of_two_thousand_parameters_is_counted_by_default() -> None:
    """Convolutions with batch norm: a first pass with one prime proves it."""
    layers = (
        nn.Conv2d(1, 10, 3), nn.BatchNorm2d(10), nn.ReLU(), nn.Conv2d(10, 20, 3, bias=False), nn.BatchNorm2d(20),
        nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(20, 10),
    )  # fmt: skip
    found = conservation_laws(
        seeded(lambda: nn.Sequential(*layers)), example=torch.randn(4, 1, 8, 8, dtype=torch.float64)
    )
    assert found.parameters == 2170
    assert found.count is not None
    assert len(found.count.primes) == 1
    assert found.verdict.is_proved
    assert found.count.laws == 40


def test_the_bar_waits_two_seconds_and_goes() -> None:
    times = iter((0.0, 1.0, 2.5))
    with RankBar("laws", clock=times.__next__) as bar:
        bar.show(1, 9)
        assert not bar.visible
        bar.show(2, 9)
        assert bar.visible
