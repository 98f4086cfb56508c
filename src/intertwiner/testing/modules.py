"""The plain torch networks that symmetries are planted in: a chain, a convolutional chain, a residual stream."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn


class Sine(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return torch.sin(x)


class Cube(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x**3


ACTIVATIONS: dict[str, type[nn.Module]] = {
    "tanh": nn.Tanh,
    "relu": nn.ReLU,
    "leaky_relu": nn.LeakyReLU,
    "gelu": nn.GELU,
    "sin": Sine,
    "t^3": Cube,
}


class Chain(nn.Module):
    """Fully connected: ``layers[0]``, activation, ..., ``layers[-1]``."""

    def __init__(self, widths: Sequence[int], activation: str) -> None:
        super().__init__()
        self.layers = nn.ModuleList(nn.Linear(a, b) for a, b in pairwise(widths))
        self.act = ACTIVATIONS[activation]()

    def forward(self, x: Tensor) -> Tensor:
        for layer in self.layers[:-1]:
            x = self.act(layer(x))
        return self.layers[-1](x)


class ConvChain(nn.Module):
    """3 x 3 convolutions with zero padding, mean over the grid, one linear layer."""

    def __init__(self, widths: Sequence[int], activation: str) -> None:
        super().__init__()
        pairs = list(pairwise(widths))
        self.layers = nn.ModuleList([*(nn.Conv2d(a, b, 3, padding=1) for a, b in pairs[:-1]), nn.Linear(*pairs[-1])])
        self.act = ACTIVATIONS[activation]()

    def forward(self, x: Tensor) -> Tensor:
        for layer in self.layers[:-1]:
            x = self.act(layer(x))
        return self.layers[-1](x.mean((2, 3)))


class Residual(nn.Module):
    """A pre-activation stream: ``s = embed(x)``, then ``s += write(act(read(act(s))))`` per block, ``head(act(s))``."""

    def __init__(self, widths: Sequence[int], activation: str) -> None:
        super().__init__()
        inputs, stream, *inner, outputs = widths
        self.embed = nn.Linear(inputs, stream)
        self.read = nn.ModuleList(nn.Linear(stream, width) for width in inner)
        self.write = nn.ModuleList(nn.Linear(width, stream) for width in inner)
        self.head = nn.Linear(stream, outputs)
        self.act = ACTIVATIONS[activation]()

    def forward(self, x: Tensor) -> Tensor:
        stream = self.embed(x)
        for read, write in zip(self.read, self.write, strict=True):
            stream = stream + write(self.act(read(self.act(stream))))
        return self.head(self.act(stream))


FAMILIES: dict[str, type[nn.Module]] = {"mlp": Chain, "conv": ConvChain, "residual": Residual}
