"""Equivariant layers for tests: weights tied along the orbits of a group that permutes rows, columns and kernels."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import nn

from intertwiner.algebra import Group, GSet, Orbit, Representation, subgroup_classes
from intertwiner.symmetry import image
from intertwiner.testing.planted import permutations
from intertwiner.testing.tied import tied


def union(group: Group, *orders: int) -> Representation:
    """One orbit per number: G/H for the first class of subgroups of that order."""
    classes = subgroup_classes(group)
    chosen = [next(h for h in classes if h.order == order) for order in orders]
    return GSet.of(group, [Orbit(h) for h in chosen]).representation()


def vectors(group: Group, *representations: Representation) -> list[np.ndarray]:
    """A random vector that is constant on the orbits of each representation."""
    rng = np.random.default_rng(sum(r.dimension for r in representations))
    return [tied([[m.index] for m in permutations(r)], rng, 1.0)[0] for r in representations]


def perms(representation: Representation) -> list[list[int]]:
    return [m.index.tolist() for m in permutations(representation)]


def linear(reads: Representation, writes: Representation, seed: int) -> nn.Linear:
    """A random equivariant linear layer in float64."""
    rng = np.random.default_rng(seed)
    moves = [[b.index, a.index] for a, b in zip(permutations(reads), permutations(writes), strict=True)]
    weight, _ = tied(moves, rng, 1 / np.sqrt(reads.dimension))
    bias, _ = tied([m[:1] for m in moves], rng, 0.3)
    layer = nn.Linear(reads.dimension, writes.dimension).double()
    load(layer, weight, bias)
    return layer


def conv(reads: Representation, writes: Representation, seed: int, *, kernel: int = 3, **options: int) -> nn.Conv2d:
    """A random convolution in float64 whose group moves channels and pixels."""
    rng, group = np.random.default_rng(seed), reads.group
    places = [a.matrix_on((1, 2)).index for a in image(group).on(group, (1, kernel, kernel))]
    moves = [[b.index, a.index, k] for a, b, k in zip(permutations(reads), permutations(writes), places, strict=True)]
    weight, _ = tied(moves, rng, 1 / np.sqrt(reads.dimension * kernel**2))
    bias, _ = tied([m[:1] for m in moves], rng, 0.3)
    layer = nn.Conv2d(reads.dimension, writes.dimension, kernel, **options).double()
    load(layer, weight.reshape(layer.weight.shape), bias)
    return layer


def load(layer: nn.Module, weight: np.ndarray, bias: np.ndarray) -> None:
    with torch.no_grad():
        layer.get_parameter("weight").copy_(torch.as_tensor(weight))
        layer.get_parameter("bias").copy_(torch.as_tensor(bias))


class Apply(nn.Module):
    """A module from its parts and a function of them and the input."""

    def __init__(self, function, **parts: nn.Module) -> None:
        super().__init__()
        self.parts = nn.ModuleDict(parts)
        self.function = function

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.function(self.parts, x)


def double(module: nn.Module) -> nn.Module:
    return module.double().eval()


def first_layers(widths: Sequence[int], seed: int) -> nn.Sequential:
    torch.manual_seed(seed)
    return nn.Sequential(nn.Linear(widths[0], widths[1]), nn.Tanh(), nn.Linear(widths[1], widths[2])).double().eval()
