"""Networks of every kind that carries a gauge, for the tests of moves, matches and canonical forms."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor, nn

from intertwiner.gauge import GaugeElement, GaugeGroup, random_element
from intertwiner.network import trace
from intertwiner.testing.modules import Chain, ConvChain, Residual, Sine


class Pipeline(nn.Module):
    """Batch norm, a depthwise kernel, a maximum and a flattened grid."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.norm = nn.Conv2d(3, 6, 3, padding=1), nn.BatchNorm2d(6)
        self.depthwise, self.second = nn.Conv2d(6, 6, 3, groups=6), nn.Conv2d(6, 5, 3, bias=False)
        self.head = nn.Linear(5 * 4, 4)
        for tensor in (self.norm.running_mean, self.norm.weight.data, self.norm.bias.data):
            tensor.normal_()
        self.norm.running_var.uniform_(0.5, 2.0)

    def forward(self, x: Tensor) -> Tensor:
        x = torch.relu(self.norm(self.first(x)))
        x = nn.functional.max_pool2d(torch.relu(self.second(torch.relu(self.depthwise(x)))), 2)
        return self.head(x.flatten(1))


class Branches(nn.Module):
    """Two branches side by side, and a skip around a third."""

    def __init__(self) -> None:
        super().__init__()
        self.left, self.right = nn.Linear(4, 3), nn.Linear(4, 5)
        self.mid, self.head = nn.Linear(8, 8), nn.Linear(8, 2)

    def forward(self, x: Tensor) -> Tensor:
        both = torch.tanh(torch.cat([self.left(x), self.right(x)], 1))
        return self.head(torch.tanh(both + self.mid(both)))


class Words(nn.Module):
    """A table, positions, and a mean over them."""

    def __init__(self) -> None:
        super().__init__()
        self.table, self.places = nn.Embedding(7, 6), nn.Parameter(torch.randn(1, 5, 6))
        self.hidden, self.head = nn.Linear(6, 8), nn.Linear(8, 3)

    def forward(self, ids: Tensor) -> Tensor:
        return self.head(torch.relu(self.hidden(self.table(ids) + self.places)).mean(1))


class Exponential(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return torch.exp(x)


def flat(activation: nn.Module) -> nn.Module:
    return nn.Sequential(nn.Linear(4, 6), activation, nn.Linear(6, 3))


CASES = {
    "relu": (lambda: Chain([4, 8, 7, 3], "relu"), (2, 4)),
    "tanh": (lambda: Chain([4, 8, 7, 3], "tanh"), (2, 4)),
    "cube": (lambda: Chain([4, 8, 3], "t^3"), (2, 4)),
    "sine": (lambda: Chain([4, 8, 7, 3], "sin"), (2, 4)),
    "gelu": (lambda: Chain([4, 8, 7, 3], "gelu"), (2, 4)),
    "sigmoid": (lambda: flat(nn.Sigmoid()), (2, 4)),
    "exp": (lambda: flat(Exponential()), (2, 4)),
    "conv": (lambda: ConvChain([3, 6, 5, 4], "relu"), (2, 3, 6, 6)),
    "pipeline": (Pipeline, (2, 3, 8, 8)),
    "residual relu": (lambda: Residual([4, 6, 8, 8, 3], "relu"), (2, 4)),
    "residual tanh": (lambda: Residual([4, 6, 8, 8, 3], "tanh"), (2, 4)),
    "branches": (Branches, (2, 4)),
    "words": (Words, None),
    "linear": (lambda: nn.Sequential(nn.Linear(6, 5), nn.Linear(5, 6), Sine(), nn.Linear(6, 2)), (2, 6)),
    "rms norm": (lambda: nn.Sequential(nn.Linear(6, 5), nn.RMSNorm(5, eps=1e-3, elementwise_affine=False),
                                       nn.Linear(5, 6), nn.Tanh(), nn.Linear(6, 2)), (2, 6)),
    "layer norm": (lambda: nn.Sequential(nn.Linear(4, 6), nn.LayerNorm(6), nn.Linear(6, 2)), (2, 4)),
}  # fmt: skip


def case(name: str, dtype: torch.dtype = torch.float64, seed: int = 0) -> tuple[nn.Module, Tensor]:
    """A network with random weights, and inputs for it."""
    torch.manual_seed(seed)
    build, shape = CASES[name]
    module = build().to(dtype).eval()
    if shape is None:
        return module, torch.randint(0, 7, (16, 5))
    return module, torch.randn((16, *shape[1:]), dtype=dtype)


def drawn(module: nn.Module, x: Tensor, seed: int = 0) -> dict[str, GaugeElement]:
    """A random element for every latent space that has a gauge."""
    rng = np.random.default_rng(seed)
    return {
        space.name: random_element(space.gauge, rng)
        for space in trace(module, x).latent_spaces
        if space.gauge != GaugeGroup.trivial(space.dimension) and not space.blocks
    }
