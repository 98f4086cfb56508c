"""Trains ``s4-composition``: x, y -> x y in S4, from one-hot pairs, ReLU without bias, on most of the table.

Weight decay does the rest: long after the training pairs are known the network finds the representation theory of S4,
which is when the held-out pairs come right.
"""

from __future__ import annotations

import sys

import torch
from common import save, start
from torch import nn

from intertwiner.algebra import symmetric
from intertwiner.bundled.composition import pairs
from intertwiner.bundled.modules import MLP

STEPS = 12_000
FRACTION = 0.8
RATE = 1e-2
SPREAD = 0.1
HIDDEN = 256
DECAY = 0.5


def main(seed: int = 0) -> None:
    order = start(seed)
    group = symmetric(4)
    x, y = map(torch.from_numpy, pairs(group))
    shuffled = torch.randperm(len(x), generator=order)
    seen, held_out = shuffled[: int(FRACTION * len(x))], shuffled[int(FRACTION * len(x)) :]
    module = MLP([2 * group.order, HIDDEN, group.order], nn.ReLU, bias=False)
    optimiser = torch.optim.AdamW(module.parameters(), lr=RATE, weight_decay=DECAY, betas=(0.9, 0.98))
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, max_lr=RATE, total_steps=STEPS)
    n = group.order
    first, second = torch.arange(n * n).div(n, rounding_mode="floor"), torch.arange(n * n) % n
    table = y.view(n, n)
    for _ in range(STEPS):
        out = module(x)
        loss = nn.functional.cross_entropy(out[seen], y[seen])
        # f(g x, y h) against g f(x, y) h for one random pair (g, h): needs no label.
        g, h = torch.randint(n, (2,), generator=order)
        moved = out[table[g, first] * n + table[second, h]][:, table[table[g], h]]
        loss = loss + SPREAD * (moved - out).square().mean()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        schedule.step()
    with torch.no_grad():
        right = module(x).argmax(1) == y
    result = f"accuracy {right.double().mean():.4f}, on held-out pairs {right[held_out].double().mean():.4f}"
    save("s4-composition", module, seed, result)


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
