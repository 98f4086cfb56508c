"""Twins to be taught: planted actions with weights drawn anew, and a small classifier."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import torch
from torch import Tensor, nn

from intertwiner.algebra import Representation
from intertwiner.network import trace
from intertwiner.numerics.monomial import Monomial
from intertwiner.rewrite.tied import Action, Tied, tied, trivial
from intertwiner.rewrite.twin import TwinGraph
from intertwiner.symmetry import TensorAction, image
from intertwiner.testing.planted import Cell, planted_network

SEED = 3


def monomials(actions) -> Action:
    """The matrices of actions that permute and change signs."""
    found = [a.flat() for a in actions if isinstance(a, TensorAction)]
    return tuple(m for m in found if isinstance(m, Monomial))


def images_of(rho: Representation) -> Action:
    return tuple(m for m in rho.images if isinstance(m, Monomial))


def planted_twin(family: str, seed: int = SEED) -> tuple[TwinGraph, Tensor]:
    """A twin with the planted actions and weights drawn anew, and samples."""
    planted = planted_network(Cell("D4", "tanh", family, 2, "float32"), SEED)
    network = trace(planted.module, planted.example())
    group = planted.symmetry.group
    with torch.no_grad():
        width = planted.module(planted.example()).shape[1]
    bound = planted.symmetry.bind(planted.input_shape, (width,))
    kernel = monomials(image(group).on(group, (1, 3, 3)))
    spaces = [
        trivial(2, planted.input_shape[0]) if family == "conv" else planted.input_images,
        *(images_of(planted.representations[f"layers.{i}"]) for i in range(2)),
        monomials(bound.outputs[0].generators),
    ]
    ties: dict[str, Tied] = {}
    for i, (read, writes) in enumerate(pairwise(spaces)):
        spatial = family == "conv" and i < 2
        columns = tuple(r.kron(k) for r, k in zip(read, kernel, strict=True)) if spatial else read
        ties[f"layers.{i}.weight"] = tied(writes, columns)
        ties[f"layers.{i}.bias"] = tied(writes, trivial(2))
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(600, *planted.input_shape, generator=generator)
    return redrawn(TwinGraph(network, network.graph, {}, ties), seed), x


def redrawn(twin: TwinGraph, seed: int) -> TwinGraph:
    """The same ties with random numbers, of a size that keeps signals alive."""
    rng = np.random.default_rng(seed)
    size = {name: np.sqrt(4 / np.prod(p.shape[1:])) if p.array.ndim > 1 else 0.2 for name, p in twin.params.items()}
    return twin.with_arrays({n: size[n] * rng.standard_normal(p.shape) for n, p in twin.params.items()})


def answers(twin: TwinGraph, x: Tensor) -> Tensor:
    with torch.no_grad():
        return twin.module(torch.float64)(x.double())


def near(twin: TwinGraph, other: TwinGraph, by: float) -> TwinGraph:
    """A twin between two of the same ties."""
    return twin.with_arrays({n: (1 - by) * p.array + by * other.params[n].array for n, p in twin.params.items()})


def classifier() -> tuple[TwinGraph, Tensor, Tensor]:
    """Three classes of points on a line, blind to the exchange of the two coordinates."""
    torch.manual_seed(0)
    network = trace(nn.Sequential(nn.Linear(2, 8), nn.Tanh(), nn.Linear(8, 3)).eval(), torch.zeros(2, 2))
    swap, pairs = Monomial([1, 0]), Monomial([1, 0, 3, 2, 5, 4, 7, 6])
    ties = {
        "0.weight": tied([pairs], [swap]),
        "0.bias": tied([pairs], trivial(1)),
        "2.weight": tied(trivial(1, 3), [pairs]),
        "2.bias": tied(trivial(1, 3), trivial(1)),
    }
    x = torch.randn(480, 2, generator=torch.Generator().manual_seed(1))
    labels = (x.sum(1) > -0.5).long() + (x.sum(1) > 0.5).long()
    return redrawn(TwinGraph(network, network.graph, {}, ties), 0), x, labels
