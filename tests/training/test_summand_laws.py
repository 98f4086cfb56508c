"""Constants that move between summands: found where nobody reads in between, and nowhere else."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from law_models import gradient, seeded
from torch import Tensor, nn

from intertwiner.training import Family, conservation_laws

X = torch.randn(9, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
IMAGES = torch.randn(4, 3, 4, 4, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
TOKENS = torch.arange(20).reshape(4, 5) % 7


class Branches(nn.Module):
    """Layers a, b, c put together as the test says; what comes out is read by a nonlinear layer."""

    def __init__(self, join: Callable[[Any, Tensor], Tensor]) -> None:
        super().__init__()
        self.a, self.b, self.c, self.last = nn.Linear(3, 4), nn.Linear(3, 4), nn.Linear(4, 4), nn.Linear(4, 2)
        self.drop, self.join = nn.Dropout(0.5), join

    def forward(self, x: Tensor) -> Tensor:
        return self.last(torch.tanh(self.join(self, x)))


class Shortcut(nn.Module):
    """A residual block whose shortcut has a batch norm of its own."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.n, self.b, self.m = nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4), nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4)
        self.last = nn.Conv2d(4, 2, 4)

    def forward(self, x: Tensor) -> Tensor:
        return self.last((self.n(self.a(x)) + self.m(self.b(x))).relu())


class Places(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.e, self.p, self.last = nn.Embedding(7, 4), nn.Parameter(torch.zeros(1, 5, 4)), nn.Linear(4, 2)

    def forward(self, x: Tensor) -> Tensor:
        return self.last(torch.tanh(self.e(x) + self.p))


def moved(model: nn.Module, x: Tensor, training: bool = True) -> list[Family]:
    found = conservation_laws(model, example=x, training=training, count=False)
    return [f for f in found.families if f.group == "constants moved between summands"]


def holds(law: Family, model: nn.Module, x: Tensor) -> bool:
    rate, scale = law.rates(*gradient(model, x))
    return bool((np.abs(rate) <= 1e-12 * scale).all())


@pytest.mark.parametrize(
    ("join", "formulas"),
    [
        (lambda m, x: m.a(x) + m.b(x), ["a.bias[i] - b.bias[i]"]),
        (lambda m, x: m.a(x) - 2 * m.b(x), ["a.bias[i]"]),
        (lambda m, x: torch.sub(m.a(x), m.b(x), alpha=2), ["a.bias[i] + 1/2 b.bias[i]"]),
        (lambda m, x: m.a(x) + (m.b(x) + m.c(torch.tanh(m.a(x)))), ["b.bias[i] - c.bias[i]"]),
        (lambda m, x: m.a(x) + m.b(x).tanh(), []),
        (lambda m, x: m.a(x) + m.c(m.b(x)), ["a.bias[i] - c.bias[i]"]),
        (lambda m, x: (lambda h: h + m.c(torch.tanh(h)))(m.a(x)), []),
        (lambda m, x: m.a(x) + m.drop(m.b(x)), []),
        (lambda m, x: m.a(x) + m.a(x), []),
    ],
)
def test_biases_that_are_added_up(join: Callable[..., Tensor], formulas: list[str]) -> None:
    model = seeded(lambda: Branches(join)).train()
    laws = moved(model, X)
    if formulas == ["a.bias[i]"]:  # the factor stands in front of b, where it is not followed
        assert not laws
        return
    assert [law.formula for law in laws] == formulas
    for law in laws:
        assert holds(law, model, X)
        first, second = law.pieces
        assert not holds(replace(law, pieces=(first, replace(second, coefficient=-second.coefficient))), model, X)


def normed(norm: nn.Module, *, last: bool = False) -> nn.Module:
    """``h + c(tanh(norm(h)))`` for ``h = a(x) + b(tanh(x))``; with ``last`` a norm reads the sum, too."""

    def join(m: Any, x: Tensor) -> Tensor:
        h = m.a(x) + m.b(torch.tanh(x))
        out = h + m.c(torch.tanh(m.norm(h)))
        return m.norm(out) if last else out

    model = Branches(join)
    model.add_module("norm", norm)
    return model


def test_a_norm_in_the_branch_leaves_the_mean() -> None:
    model = seeded(lambda: normed(nn.LayerNorm(4)))
    each, mean = moved(model, X)
    assert (each.formula, each.count) == ("a.bias[i] - b.bias[i]", 4)
    assert (mean.formula, mean.count) == ("sum c.bias - sum a.bias", 1)
    assert holds(mean, model, X)
    first, second = mean.pieces
    assert not holds(replace(mean, pieces=(first, replace(second, coefficient=-second.coefficient))), model, X)
    found = conservation_laws(model, example=X, count=True)
    assert found.verdict.is_proved
    assert found.count is not None
    assert found.count.laws == found.listed


def test_a_norm_without_mean_leaves_nothing() -> None:
    model = seeded(lambda: normed(nn.RMSNorm(4)))
    assert [law.formula for law in moved(model, X)] == ["a.bias[i] - b.bias[i]"]


def test_sums_that_stand_still_anyway_are_listed_once() -> None:
    model = seeded(lambda: normed(nn.LayerNorm(4, elementwise_affine=False), last=True))
    assert [law.formula for law in moved(model, X)] == ["a.bias[i] - b.bias[i]"]


def test_dropout_stands_between_while_it_trains() -> None:
    model = seeded(lambda: Branches(lambda m, x: m.a(x) + m.drop(m.b(x)))).eval()
    assert not moved(model, X)
    (law,) = moved(model, X, training=False)
    assert holds(law, model, X)


@pytest.mark.parametrize("training", [True, False])
def test_shifts_of_a_branch_and_its_shortcut(training: bool) -> None:
    model = seeded(Shortcut).train(training)
    (law,) = moved(model, IMAGES, training)
    assert law.formula == "n.bias[i] - m.bias[i]"
    assert holds(law, model, IMAGES)


def test_tokens_against_places() -> None:
    model = seeded(Places)
    (law,) = moved(model, TOKENS)
    assert law.formula == "sum p[:, :, i] - sum e.weight[:, i]"
    assert holds(law, model, TOKENS)
    one, other = law.pieces
    short = replace(other.view, shape=(), strides=(), starts=tuple(other.view.places()[:, 1:].ravel().tolist()))
    assert not holds(replace(law, pieces=(one, replace(other, view=short))), model, TOKENS)
    found = conservation_laws(model, example=TOKENS, count=True)
    assert found.verdict.is_proved
    assert found.count is not None
    assert found.count.laws == 4
