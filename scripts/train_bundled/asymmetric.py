"""Trains ``asymmetric-relu``: a student of a random teacher, on images of noise; nothing in the task is symmetric."""

from __future__ import annotations

import sys

import torch
from common import save, start
from torch import nn

from intertwiner.bundled import noise, teacher_labels
from intertwiner.bundled.modules import MLP

STEPS = 6000
BATCH = 256
WIDTHS = [25, 48, 48, 2]


def main(seed: int = 0) -> None:
    order = start(seed)
    module = MLP(WIDTHS, nn.ReLU)
    optimiser = torch.optim.AdamW(module.parameters(), lr=5e-3, weight_decay=0.01)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, max_lr=5e-3, total_steps=STEPS)
    for _ in range(STEPS):
        x = torch.randn(BATCH, 1, 5, 5, generator=order)
        loss = nn.functional.cross_entropy(module(x), teacher_labels(x))
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        schedule.step()
    x = noise((1, 5, 5), 4096, seed=1)
    with torch.no_grad():
        accuracy = (module(x).argmax(1) == teacher_labels(x)).double().mean().item()
    save("asymmetric-relu", module, seed, f"accuracy {accuracy:.4f}")


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
