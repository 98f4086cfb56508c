"""Train the mirror autoencoders of Shahverdi, Marchetti, Bökman and Kohn on CIFAR-10 images.

``3072-64-64-64-3072``, first activation tanh or GELU, then GELU. The loss is the reconstruction
``mean (f(x) - x)^2``; in the second half of the steps ``3 mean (f(gx) - g f(x))^2`` is added, g the left-right
mirror. Nothing else knows about g: no augmentation, no tied weights. [arXiv 2601.21645, sec. 6]

Both terms of the mirror loss carry gradients. The loss costs the antisymmetric half of the images: with weights 0, 1
and 3, seed 0, tanh, 51, 49 and 33 to 38 % of its variance come back, while the signed permutation at f1 has R2 .10, .91
and .97. So half of that variance and an action at f1 exclude each other here, and the run with weight 0, the most that
this training can give, stands beside the others as a control. Other initial biases and scales, and holding g f(x) fixed
(which halves the pull), lie on the same line.
"""

from __future__ import annotations

import math
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

SIDE, CHANNELS, WIDTH = 32, 3, 64
PIXELS = CHANNELS * SIDE * SIDE
MEAN, SCALE = 0.47, 0.25
FIRST_STD, RATE, DECAY, BATCH, MIRROR_WEIGHT = 0.005, 1e-3, 0.3, 128, 3.0
STEPS = 12_000


class Autoencoder(nn.Module):
    """Four linear layers; the latents are the outputs of ``f1``, ``f2``, ``f3`` after their activations."""

    def __init__(self, first: str) -> None:
        super().__init__()
        self.fc1 = nn.Linear(PIXELS, WIDTH)
        self.act1 = nn.Tanh() if first == "tanh" else nn.GELU()
        self.fc2 = nn.Linear(WIDTH, WIDTH)
        self.act2 = nn.GELU()
        self.fc3 = nn.Linear(WIDTH, WIDTH)
        self.act3 = nn.GELU()
        self.fc4 = nn.Linear(WIDTH, PIXELS)
        nn.init.normal_(self.fc1.weight, std=FIRST_STD)
        for layer in (self.fc1, self.fc2, self.fc3, self.fc4):
            nn.init.zeros_(layer.bias)

    def forward(self, x: Tensor) -> Tensor:
        """Images as rows of 3 x 32 x 32 numbers, channels first."""
        return self.fc4(self.act3(self.fc3(self.act2(self.fc2(self.act1(self.fc1(x)))))))


@dataclass(frozen=True)
class Run:
    """Which network is trained: first activation, seed, number of steps, weight of the mirror loss."""

    first: str
    seed: int
    steps: int = STEPS
    mirror_weight: float = MIRROR_WEIGHT

    @property
    def name(self) -> str:
        steps = "" if self.steps == STEPS else f"-{self.steps}"
        return f"{self.first}-{self.seed}{steps}" + ("" if self.learns_mirror else "-free")

    @property
    def learns_mirror(self) -> bool:
        return self.mirror_weight > 0

    def __str__(self) -> str:
        return f"{self.first}, seed {self.seed}" + ("" if self.learns_mirror else ", no mirror loss")


def load_images(folder: Path) -> tuple[Tensor, Tensor]:
    """Training and held-out images of ``cifar10_12k.npz``, minus .47 over .25, as rows in channel order."""
    with np.load(folder / "cifar10_12k.npz") as data:
        parts = [data["x_train"], data["x_test"]]
    return tuple(  # type: ignore[return-value]
        torch.from_numpy(np.ascontiguousarray(p.transpose(0, 3, 1, 2), dtype=np.float32).reshape(len(p), -1))
        .div_(255)
        .sub_(MEAN)
        .div_(SCALE)
        for p in parts
    )


def mirror(x: Tensor) -> Tensor:
    """The left-right mirror of images given as rows."""
    return x.view(-1, SIDE).flip(1).view(x.shape)


def train(run: Run, images: Tensor) -> tuple[Autoencoder, float]:
    """One autoencoder and the seconds it took.

    Cost: 12,000 steps of 0.25 to 0.5 GFLOP, about a minute on one core.
    """
    torch.manual_seed(run.seed)
    network = Autoencoder(run.first)
    optimiser = torch.optim.AdamW(network.parameters(), lr=RATE, weight_decay=DECAY, fused=True)
    generator = torch.Generator().manual_seed(run.seed)
    start = time.perf_counter()
    order, at = torch.randperm(len(images), generator=generator), 0
    for step in range(run.steps):
        if at + BATCH > len(order):
            order, at = torch.randperm(len(images), generator=generator), 0
        x = images[order[at : at + BATCH]]
        at += BATCH
        for group in optimiser.param_groups:
            group["lr"] = RATE * 0.5 * (1 + math.cos(math.pi * step / run.steps))
        if step < run.steps // 2:
            loss = nn.functional.mse_loss(network(x), x)
        else:  # one forward for x and gx together
            out, out_mirrored = network(torch.cat([x, mirror(x)])).split(BATCH)
            unlike = nn.functional.mse_loss(out_mirrored, mirror(out))
            loss = nn.functional.mse_loss(out, x) + run.mirror_weight * unlike
        optimiser.zero_grad(set_to_none=True)
        loss.backward()
        optimiser.step()
    return network.eval(), time.perf_counter() - start


def train_or_load(run: Run, images: Tensor, cache: Path | None) -> tuple[Autoencoder, float]:
    """``train``, through a folder of state dicts when one is given; 0 seconds means it was read."""
    path = cache / f"{run.name}.pt" if cache else None
    if path and path.exists():
        network = Autoencoder(run.first)
        network.load_state_dict(torch.load(path, weights_only=True))
        return network.eval(), 0.0
    network, seconds = train(run, images)
    if path:
        path.parent.mkdir(parents=True, exist_ok=True)
        torch.save(network.state_dict(), path)
    return network, seconds
