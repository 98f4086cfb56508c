"""Trains ``tictactoe-tanh`` and ``tictactoe-relu``: the value of every reachable position.

Every step sees whole orbits under D4 and the loss also weighs how much the answers differ within an orbit; nothing
ties the weights, so whatever action the layers carry was learned.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass

import numpy as np
import torch
from common import save, start
from torch import nn

from intertwiner.bundled.modules import MLP
from intertwiner.bundled.tictactoe import planes, positions

STEPS = 20_000
ORBITS_PER_STEP = 96
WIDTHS = [18, 96, 64, 1]


@dataclass(frozen=True)
class Recipe:
    """``spread`` weighs the variance of the answers over an orbit, on top of their mean squared error."""

    name: str
    activation: type[nn.Module]
    rate: float
    decay: float
    spread: float


RECIPES = (
    Recipe("tictactoe-tanh", nn.Tanh, rate=0.02, decay=0.1, spread=5.0),
    Recipe("tictactoe-relu", nn.ReLU, rate=0.01, decay=0.3, spread=10.0),
)


def orbit_representatives() -> torch.Tensor:
    """Index of the first position of every orbit under D4."""
    boards, _ = positions()
    cells = np.arange(9).reshape(3, 3)
    turns = [np.rot90(cells, k).ravel() for k in range(4)] + [np.rot90(cells, k)[:, ::-1].ravel() for k in range(4)]
    codes = np.stack([boards[:, turn] @ 3 ** np.arange(9) for turn in turns])
    _, first = np.unique(codes.min(axis=0), return_index=True)
    return torch.from_numpy(first)


def orbit(x: torch.Tensor) -> torch.Tensor:
    """All eight turns and mirror images of a batch of images."""
    turned = [torch.rot90(x, k, dims=(2, 3)) for k in range(4)]
    return torch.cat([*turned, *(t.flip(3) for t in turned)])


def train(recipe: Recipe, seed: int) -> tuple[nn.Module, float]:
    order = start(seed)
    boards, values = positions()
    x, y = torch.from_numpy(planes(boards)), torch.tensor(values, dtype=torch.float32)
    chosen = orbit_representatives()
    module = MLP(WIDTHS, recipe.activation)
    optimiser = torch.optim.AdamW(module.parameters(), lr=recipe.rate, weight_decay=recipe.decay)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, max_lr=recipe.rate, total_steps=STEPS, pct_start=0.1)
    for _ in range(STEPS):
        batch = chosen[torch.randint(len(chosen), (ORBITS_PER_STEP,), generator=order)]
        out = module(orbit(x[batch])).view(8, -1)
        loss = (out.mean(0) - y[batch]).square().mean() + recipe.spread * out.var(0, unbiased=False).mean()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        schedule.step()
    with torch.no_grad():
        accuracy = (module(x).squeeze(1).round().clamp(-1, 1) == y).double().mean().item()
    return module, accuracy


def main(seed: int = 3) -> None:
    for recipe in RECIPES:
        module, accuracy = train(recipe, seed)
        save(recipe.name, module, seed, f"accuracy {accuracy:.4f}")


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
