"""The modules that the bundled weights belong to: plain PyTorch, nothing equivariant about the code."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn


class MLP(nn.Module):
    """Fully connected layers on the flattened input, named ``fc1``, ``fc2``, ... with one activation between them.

    >>> MLP([18, 4, 1], nn.Tanh)(torch.zeros(5, 2, 3, 3)).shape
    torch.Size([5, 1])
    """

    def __init__(self, widths: Sequence[int], activation: Callable[[], nn.Module], *, bias: bool = True) -> None:
        super().__init__()
        self.depth = len(widths) - 1
        for layer, (width_in, width_out) in enumerate(pairwise(widths), start=1):
            self.add_module(f"fc{layer}", nn.Linear(width_in, width_out, bias=bias))
            if layer < self.depth:
                self.add_module(f"act{layer}", activation())

    def forward(self, x: Tensor) -> Tensor:
        x = x.flatten(1)
        for layer in range(1, self.depth + 1):
            x = self.get_submodule(f"fc{layer}")(x)
            if layer < self.depth:
                x = self.get_submodule(f"act{layer}")(x)
        return x


class ShapeNet(nn.Module):
    """Two convolutions with batch norm, a max pool between them, the mean over the grid, one linear layer.

    >>> ShapeNet(classes=6).eval()(torch.zeros(2, 1, 16, 16)).shape
    torch.Size([2, 6])
    """

    def __init__(self, classes: int, channels: tuple[int, int] = (16, 32)) -> None:
        super().__init__()
        first, second = channels
        self.conv1 = nn.Conv2d(1, first, 3, padding=1)
        self.bn1 = nn.BatchNorm2d(first)
        self.pool = nn.MaxPool2d(2)
        self.conv2 = nn.Conv2d(first, second, 3, padding=1)
        self.bn2 = nn.BatchNorm2d(second)
        self.head = nn.Linear(second, classes)

    def forward(self, x: Tensor) -> Tensor:
        x = self.pool(torch.relu(self.bn1(self.conv1(x))))
        x = torch.relu(self.bn2(self.conv2(x)))
        return self.head(x.mean(dim=(2, 3)))


class ConvNet(nn.Module):
    """Two convolutions with bias and ReLU, the mean over the grid, one linear layer.

    >>> ConvNet(1, (8, 12), 3)(torch.zeros(2, 1, 9, 9)).shape
    torch.Size([2, 3])
    """

    def __init__(self, channels_in: int, channels: tuple[int, int], outputs: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(channels_in, channels[0], 3, padding=1)
        self.conv2 = nn.Conv2d(channels[0], channels[1], 3, padding=1)
        self.head = nn.Linear(channels[1], outputs)

    def forward(self, x: Tensor) -> Tensor:
        x = torch.relu(self.conv2(torch.relu(self.conv1(x))))
        return self.head(x.mean(dim=(2, 3)))
