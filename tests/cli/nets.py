"""Networks that the command-line tests name as ``nets:build``: what a user's own file would hold."""

import numpy as np
import torch
from torch import nn

import intertwiner as iw


def symmetric() -> nn.Module:
    """Two neurons that the exchange of the inputs exchanges."""
    net = nn.Sequential(nn.Linear(2, 2), nn.Tanh(), nn.Linear(2, 1)).eval()
    with torch.no_grad():
        net[0].weight.copy_(torch.tensor([[1.0, 0.5], [0.5, 1.0]]))
        net[0].bias.fill_(0.25)
        net[2].weight.fill_(1.0)
        net[2].bias.fill_(0.5)
    return net


def broken() -> nn.Module:
    net = symmetric()
    with torch.no_grad():
        net[0].weight[0, 0] = 3.0
    return net


def renamed() -> nn.Module:
    """The same function: the neurons exchanged, one of them with its sign."""
    net, other = symmetric(), symmetric()
    with torch.no_grad():
        for layer, axis in ((other[0], 0), (other[2], 1)):
            layer.weight.copy_(layer.weight.flip(axis))
        other[0].bias.copy_(net[0].bias.flip(0))
        other[0].weight[0] *= -1
        other[0].bias[0] *= -1
        other[2].weight[0, 0] *= -1
    return other


def doubled() -> nn.Module:
    """The same function with one neuron split in two."""
    net, small = nn.Sequential(nn.Linear(2, 3), nn.Tanh(), nn.Linear(3, 1)).eval(), symmetric()
    with torch.no_grad():
        net[0].weight.copy_(small[0].weight[[0, 1, 1]])
        net[0].bias.fill_(0.25)
        net[2].weight.copy_(torch.tensor([[1.0, 0.5, 0.5]]))
        net[2].bias.fill_(0.5)
    return net


class Unruled(nn.Module):
    """Equivariant, through an operator that no rule covers."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        a, b = x.chunk(2, 1)
        return torch.cumsum(((a + b) + 0.3 * a) + 0.3 * b, 1)  # the order of summation shows, as rounding


def unruled() -> nn.Module:
    return Unruled().eval()


def training() -> nn.Module:
    return nn.Sequential(nn.Linear(2, 2), nn.Dropout(0.5), nn.Linear(2, 1)).train()


def fails() -> nn.Module:
    raise RuntimeError("no such checkpoint")


def number() -> int:
    return 7


def batches():
    generator = torch.Generator().manual_seed(0)
    return [torch.randn(16, 2, generator=generator) for _ in range(3)]


def exchange(g: int, x: torch.Tensor) -> torch.Tensor:
    return x.flip(-1) if g else x


def group() -> iw.Group:
    return iw.cyclic(2)


def images() -> np.ndarray:
    return np.random.default_rng(0).standard_normal((32, 2)).astype(np.float32)
