"""Small networks with their laws written by hand, and a training loop that is watched."""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction
from typing import Any

import torch
from torch import Tensor, nn

from intertwiner.training.families import Family, Piece
from intertwiner.training.monitor import ConservationMonitor
from intertwiner.training.views import View

WIDTHS = (3, 5, 4, 2)


def network(activation: Callable[[], nn.Module] = nn.ReLU, *, seed: int = 0) -> nn.Sequential:
    torch.manual_seed(seed)
    a, b, c, d = WIDTHS
    layers = [nn.Linear(a, b), activation(), nn.Linear(b, c), activation(), nn.Linear(c, d)]
    return nn.Sequential(*layers).double()


def hidden(layer: int, kind: str = "balance", *, bias: bool = True) -> Family:
    """The laws of hidden layer 1 or 2: what comes in squared less what goes out squared."""
    a, h, b = WIDTHS[layer - 1 : layer + 2]
    here, there = 2 * layer - 2, 2 * layer
    pieces = [Piece(f"{here}.weight", View(h, 0, a, (a,), (1,)), Fraction(1))]
    pieces += [Piece(f"{here}.bias", View(h, 0, 1), Fraction(1))] if bias else []
    pieces += [Piece(f"{there}.weight", View(h, 0, 1, (b,), (h,)), Fraction(-1))]
    formula = f"|{here}.weight[i]|^2 + {here}.bias[i]^2 - |{there}.weight[:, i]|^2"
    return Family(kind, tuple(pieces), f"{here}", "scales", formula, h)


def columns() -> Family:
    """Under cross entropy the logits may be shifted together: column sums of the last layer."""
    _, _, c, d = WIDTHS
    pieces = (Piece("4.weight", View(c, 0, 1, (d,), (c,)), Fraction(1), degree=1),)
    return Family("shift", pieces, "4", "shift", "sum of 4.weight[:, i]", c, holds="cross entropy")


BALANCES = (hidden(1), hidden(2))
MATRICES = (hidden(1, "matrix"), hidden(2, "matrix"))

Loss = Callable[[Tensor], Tensor]


def regression(seed: int = 1) -> tuple[Tensor, Loss]:
    torch.manual_seed(seed)
    x, y = torch.randn(64, WIDTHS[0]).double(), torch.randn(64, WIDTHS[-1]).double()
    return x, lambda out: (out - y).square().mean()


def classes(seed: int = 1) -> tuple[Tensor, Loss]:
    torch.manual_seed(seed)
    x, labels = torch.randn(64, WIDTHS[0]).double(), torch.randint(0, WIDTHS[-1], (64,))
    return x, lambda out: nn.functional.cross_entropy(out, labels)


def train(
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    steps: int,
    *,
    task: tuple[Tensor, Loss] | None = None,
    after: Callable[[int], Any] = lambda step: None,
) -> None:
    """Full-batch training; ``after`` is called after every step."""
    x, loss = task or regression()
    for step in range(steps):
        optimizer.zero_grad()
        loss(model(x)).backward()
        optimizer.step()
        after(step)


def watched(
    laws: Any = BALANCES,
    *,
    kind: str = "SGD",
    steps: int = 120,
    activation: Callable[[], nn.Module] = nn.ReLU,
    task: tuple[Tensor, Loss] | None = None,
    watch: dict[str, Any] | None = None,
    **settings: Any,
) -> ConservationMonitor:
    """Train a network and watch it."""
    model = network(activation)
    optimizer = getattr(torch.optim, kind)(model.parameters(), **({"lr": 0.05} | settings))
    monitor = ConservationMonitor(model, laws, optimizer=optimizer, **(watch or {}))
    train(model, optimizer, steps, task=task, after=lambda _: monitor.step())
    return monitor


class Convolutions(nn.Module):
    """Convolution, batch norm, pooling, convolution, linear."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.norm = nn.Conv2d(2, 4, 3), nn.BatchNorm2d(4)
        self.second, self.last = nn.Conv2d(4, 3, 3), nn.Linear(3, 3)

    def forward(self, x: Tensor) -> Tensor:
        x = nn.functional.max_pool2d(torch.relu(self.norm(self.first(x))), 2)
        return self.last(torch.relu(self.second(x)).mean((2, 3)))


class Heads(nn.Module):
    """Two heads of attention and a linear layer."""

    def __init__(self) -> None:
        super().__init__()
        self.attention, self.last = nn.MultiheadAttention(4, 2, batch_first=True), nn.Linear(4, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.last(self.attention(x, x, x, need_weights=False)[0].mean(1))
