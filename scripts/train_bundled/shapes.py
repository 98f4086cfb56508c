"""Trains ``shapes-conv``: six shapes on 16 x 16 images, drawn with every turn and mirror image equally often."""

from __future__ import annotations

import sys

import torch
from common import save, start
from torch import nn

from intertwiner.bundled import shapes
from intertwiner.bundled.modules import ShapeNet

EPOCHS = 40
SAMPLES = 6144
BATCH = 128
TEST_SEED = 1


def turned(x: torch.Tensor, g: int) -> torch.Tensor:
    x = torch.rot90(x, g % 4, dims=(2, 3))
    return x if g < 4 else x.flip(3)


def main(seed: int = 0) -> None:
    order = start(seed)
    images, labels = map(torch.from_numpy, shapes.images(SAMPLES, seed=seed + 1000))
    module = ShapeNet(len(shapes.NAMES))
    optimiser = torch.optim.AdamW(module.parameters(), lr=1e-2, weight_decay=0.05)
    steps = EPOCHS * (SAMPLES // BATCH)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, max_lr=1e-2, total_steps=steps)
    for _ in range(EPOCHS):
        for batch in torch.randperm(SAMPLES, generator=order).view(-1, BATCH):
            g = int(torch.randint(8, (1,), generator=order))
            # The image and one random turn of it, answered alike: augmentation, and a weak pull towards invariance.
            plain, moved = module(torch.cat([images[batch], turned(images[batch], g)])).chunk(2)
            loss = nn.functional.cross_entropy(torch.cat([plain, moved]), labels[batch].repeat(2))
            loss = loss + 0.1 * (plain - moved).square().mean()
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            schedule.step()
    module.eval()
    x, y = map(torch.from_numpy, shapes.images(2000, seed=TEST_SEED))
    with torch.no_grad():
        accuracy = (module(x).argmax(1) == y).double().mean().item()
    save("shapes-conv", module, seed, f"accuracy {accuracy:.4f}")


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
