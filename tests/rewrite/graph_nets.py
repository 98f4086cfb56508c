"""Tiny networks on square images that know no symmetry, one per operator that a lift has to pass."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from intertwiner.algebra import Group


def double(net: nn.Module, seed: int = 0) -> nn.Module:
    """In float64 and evaluation mode, with random weights, and statistics as after training."""
    generator = torch.Generator().manual_seed(seed)
    net = net.double().eval()
    with torch.no_grad():
        for p in net.parameters():
            p.copy_(torch.randn(p.shape, generator=generator, dtype=torch.float64) / max(1, p[0].numel()) ** 0.5)
        for m in net.modules():
            if isinstance(m, (nn.BatchNorm1d, nn.BatchNorm2d)):
                m.running_mean.copy_(torch.randn(m.num_features, generator=generator))  # type: ignore[union-attr]
                m.running_var.copy_(0.5 + torch.rand(m.num_features, generator=generator))  # type: ignore[union-attr]
                if m.affine:
                    m.weight.copy_(0.5 + torch.rand(m.num_features, generator=generator))
    return net


def corners(group: Group) -> list[list[int]]:
    """The generators on the four corners of a square: what output number k means moves with the picture."""
    at = [(0, 0), (0, 1), (1, 1), (1, 0)]
    quarter, mirror = (lambda r, c: (1 - c, r)), (lambda r, c: (r, 1 - c))
    moves = [quarter, mirror][: len(group.generators)]
    return [[at.index(m(*p)) for p in at] for m in moves]


class Mean(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv, self.head = nn.Conv2d(1, 2, 3, padding=1), nn.Linear(2, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(torch.relu(self.conv(x)).mean((2, 3)))


class Stream(nn.Module):
    """A residual stream with batch norm before its functions, which is read twice and so does not fold."""

    def __init__(self, norm: bool) -> None:
        super().__init__()
        self.embed = nn.Conv2d(1, 2, 3, padding=1)
        self.norm = nn.BatchNorm2d(2) if norm else nn.Identity()
        self.read, self.write = nn.Conv2d(2, 3, 3, padding=1), nn.Conv2d(3, 2, 1)
        self.head = nn.Linear(2, 3)

    def forward(self, x: Tensor) -> Tensor:
        s = self.embed(x)
        s = s + self.write(torch.relu(self.read(torch.relu(self.norm(s)))))
        return self.head(torch.relu(s).mean((2, 3)))


class Twice(nn.Module):
    """Channels that are read both through batch norm and as they are; the second filter is a multiple of the first."""

    def __init__(self, function: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.embed, self.norm, self.function = nn.Conv2d(1, 2, 3, padding=1, bias=False), nn.BatchNorm2d(2), function
        self.head, self.other = nn.Linear(2, 3), nn.Linear(2, 3)

    def forward(self, x: Tensor) -> Tensor:
        s = self.embed(x)
        return self.head(self.function(self.norm(s)).mean((2, 3))) + self.other(self.function(s).mean((2, 3)))

    def planted(self, factor: float, shift: float, scale: float = 1.0) -> Twice:
        """The second filter is the first one turned, times a factor; its batch norm has other multiples."""
        net = double(self)
        with torch.no_grad():
            self.embed.weight[1] = factor * torch.rot90(self.embed.weight[0], 1, (1, 2))
            self.norm.running_mean.zero_()  # type: ignore[union-attr]
            self.norm.running_var.fill_(1.0)  # type: ignore[union-attr]
            self.norm.weight.copy_(torch.tensor([1.0, scale]))
            self.norm.bias.copy_(torch.tensor([0.3, 0.3 * shift]))
        return net  # type: ignore[return-value]


class Dense(nn.Module):
    """Concatenates what it computes to what it read."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Conv2d(1, 2, 3, padding=1), nn.Conv2d(2, 1, 3, padding=1)
        self.mix, self.head = nn.Conv2d(3, 2, 1), nn.Linear(2, 3)

    def forward(self, x: Tensor) -> Tensor:
        a = torch.relu(self.first(x))
        b = torch.relu(self.second(a))
        return self.head(torch.relu(self.mix(torch.cat([a, b], 1))).mean((2, 3)))


def pooled(pool: nn.Module, *rest: nn.Module) -> nn.Sequential:
    return nn.Sequential(nn.Conv2d(1, 2, 3, padding=1), nn.ReLU(), pool, *rest)


NETS: dict[str, tuple[Callable[[], nn.Module], int, str]] = {
    "mlp": (lambda: nn.Sequential(nn.Flatten(), nn.Linear(9, 4), nn.ReLU(), nn.Linear(4, 3)), 3, "invariant"),
    "max pool": (lambda: pooled(nn.MaxPool2d(2), nn.Conv2d(2, 2, 3, padding=1), nn.ReLU(), nn.AdaptiveAvgPool2d(1),
                                nn.Flatten(), nn.Linear(2, 3)), 6, "invariant"),
    "average pool, flatten": (lambda: pooled(nn.AvgPool2d(2), nn.Flatten(), nn.Linear(18, 3)), 6, "invariant"),
    "mean over the grid": (Mean, 5, "invariant"),
    "stride 2, odd grid": (lambda: nn.Sequential(nn.Conv2d(1, 2, 3, stride=2, padding=1), nn.ReLU(),
                                                 nn.Conv2d(2, 2, 3, padding=1), nn.ReLU(), nn.Flatten(),
                                                 nn.Linear(32, 3)), 7, "invariant"),
    "residual stream": (lambda: Stream(norm=False), 5, "invariant"),
    "stream with batch norm": (lambda: Stream(norm=True), 5, "invariant"),
    "concatenation": (Dense, 5, "invariant"),
    "batch norm": (lambda: nn.Sequential(nn.Conv2d(1, 2, 3, padding=1, bias=False), nn.BatchNorm2d(2), nn.ReLU(),
                                         nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(2, 3)), 5, "invariant"),
    "tanh": (lambda: nn.Sequential(nn.Conv2d(1, 2, 3, padding=1), nn.Tanh(), nn.Conv2d(2, 2, 3), nn.Tanh(),
                                   nn.Flatten(), nn.Linear(18, 3)), 5, "invariant"),
    "moved output": (lambda: pooled(nn.AvgPool2d(2), nn.Flatten(), nn.Linear(18, 4)), 6, "corners"),
    "image to image": (lambda: nn.Sequential(nn.Conv2d(1, 2, 3, padding=1), nn.Tanh(), nn.Conv2d(2, 1, 3, padding=1)),
                       5, "image"),
}  # fmt: skip
"""By operator: the network, the side of its input, and how its output moves."""
