"""The inputs of the bundled networks: enumerated, or drawn from a seed; nothing is read or fetched."""

from __future__ import annotations

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from intertwiner.algebra import symmetric
from intertwiner.bundled import composition, shapes, tictactoe

Data = tuple[Tensor, Tensor | None]

SEED = 1
"""Seed of every drawn data set; the training scripts use others."""


def noise(shape: tuple[int, ...], count: int, seed: int = SEED) -> Float[Tensor, "count ..."]:
    """Independent normal numbers: a distribution that every permutation and sign leaves alone.

    >>> noise((1, 5, 5), 3).shape
    torch.Size([3, 1, 5, 5])
    """
    draws = np.random.default_rng(seed).standard_normal((count, *shape))
    return torch.from_numpy(draws.astype(np.float32))


def teacher_labels(x: Float[Tensor, "n 1 5 5"]) -> Int[Tensor, " n"]:
    """Which side of zero a fixed random function of 25 pixels falls: a task without any symmetry.

    >>> sorted(set(teacher_labels(noise((1, 5, 5), 50)).tolist()))
    [0, 1]
    """
    rng = np.random.default_rng(2601)
    directions = torch.from_numpy((rng.standard_normal((25, 4)) / 5).astype(np.float32))
    weights = torch.from_numpy(rng.uniform(0.5, 1.5, size=4).astype(np.float32))
    return ((2 * torch.tanh(2 * x.flatten(1) @ directions)) @ weights > 0).long()


def positions() -> Data:
    """All positions of tic-tac-toe and their values."""
    boards, values = tictactoe.positions()
    return torch.from_numpy(tictactoe.planes(boards)), torch.tensor(values)


def shape_images() -> Data:
    images, labels = shapes.images(2000, seed=SEED)
    return torch.from_numpy(images), torch.from_numpy(labels)


def products() -> Data:
    """The whole composition table of S4."""
    x, product = composition.pairs(symmetric(4))
    return torch.from_numpy(x), torch.tensor(product)


def noise_with_labels() -> Data:
    x = noise((1, 5, 5), 4096)
    return x, teacher_labels(x)
