"""Small networks with one kind of structure each, and gradients by torch that no code of the library has a hand in."""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

FREE = torch.float64


class Attention(nn.Module):
    """Two heads of four, written by hand; ``groups`` of keys and values are shared."""

    def __init__(self, groups: int = 2, bias: bool = True) -> None:
        super().__init__()
        self.groups = groups
        self.q, self.o = nn.Linear(8, 8, bias=bias), nn.Linear(8, 8, bias=bias)
        self.k, self.v = (nn.Linear(8, 4 * groups, bias=bias) for _ in range(2))

    def forward(self, x: Tensor) -> Tensor:
        batch, tokens, _ = x.shape

        def heads(z: Tensor) -> Tensor:
            return z.view(batch, tokens, -1, 4).transpose(1, 2)

        q, k, v = heads(self.q(x)), heads(self.k(x)), heads(self.v(x))
        if self.groups == 1:
            k, v = k.expand(-1, 2, -1, -1), v.expand(-1, 2, -1, -1)
        weights = (q @ k.transpose(-1, -2) / 2).softmax(-1)
        return self.o((weights @ v).transpose(1, 2).reshape(batch, tokens, 8))


class Rotary(Attention):
    """Queries and keys turned by an angle that depends on the place."""

    def forward(self, x: Tensor) -> Tensor:
        batch, tokens, _ = x.shape
        angle = torch.arange(float(tokens), dtype=x.dtype)[:, None] * torch.tensor([1.0, 0.1], dtype=x.dtype)
        cos, sin = torch.cat([angle.cos()] * 2, -1), torch.cat([angle.sin()] * 2, -1)

        def heads(z: Tensor) -> Tensor:
            return z.view(batch, tokens, -1, 4).transpose(1, 2)

        def turned(z: Tensor) -> Tensor:
            return z * cos + torch.cat([-z[..., 2:], z[..., :2]], -1) * sin

        y = F.scaled_dot_product_attention(turned(heads(self.q(x))), turned(heads(self.k(x))), heads(self.v(x)))
        return self.o(y.transpose(1, 2).reshape(batch, tokens, 8))


class Interleaved(Attention):
    """Neighbours belong to different heads."""

    def forward(self, x: Tensor) -> Tensor:
        batch, tokens, _ = x.shape

        def heads(z: Tensor) -> Tensor:
            return z.view(batch, tokens, 4, 2).permute(0, 3, 1, 2)

        y = F.scaled_dot_product_attention(heads(self.q(x)), heads(self.k(x)), heads(self.v(x)))
        return self.o(y.permute(0, 2, 3, 1).reshape(batch, tokens, 8))


class Fused(nn.Module):
    """Queries, keys and values by one projection, ``scaled_dot_product_attention``."""

    def __init__(self) -> None:
        super().__init__()
        self.qkv, self.o = nn.Linear(8, 24), nn.Linear(8, 8)

    def forward(self, x: Tensor) -> Tensor:
        batch, tokens, _ = x.shape
        q, k, v = self.qkv(x).view(batch, tokens, 3, 2, 4).permute(2, 0, 3, 1, 4)
        y = F.scaled_dot_product_attention(q, k, v, is_causal=True)
        return self.o(y.transpose(1, 2).reshape(batch, tokens, 8))


class Multihead(nn.Module):
    def __init__(self, **options: bool) -> None:
        super().__init__()
        self.a = nn.MultiheadAttention(8, 2, batch_first=True, **options)

    def forward(self, x: Tensor) -> Tensor:
        return self.a(x, x, x, need_weights=False)[0]


class Transformer(nn.Module):
    """One block with the norm in front; tokens and places are embedded."""

    def __init__(self, affine: bool = True, dropout: float = 0.0) -> None:
        super().__init__()
        self.tokens, self.places = nn.Embedding(7, 8), nn.Parameter(torch.randn(1, 5, 8))
        self.norm1, self.norm2, self.norm3 = (nn.LayerNorm(8, elementwise_affine=affine) for _ in range(3))
        self.attention, self.up, self.down, self.head = Attention(), nn.Linear(8, 12), nn.Linear(12, 8), nn.Linear(8, 3)
        self.drop = nn.Dropout(dropout)

    def forward(self, x: Tensor) -> Tensor:
        h = self.tokens(x) + self.places
        h = h + self.drop(self.attention(self.norm1(h)))
        h = h + self.drop(self.down(F.relu(self.up(self.norm2(h)))))
        return self.head(self.norm3(h).mean(1))


class Looked(nn.Module):
    """Places by a table whose rows are looked up before anything is seen; all coordinates are normalised."""

    def __init__(self) -> None:
        super().__init__()
        self.tokens, self.places, self.head = nn.Embedding(7, 4), nn.Embedding(9, 4), nn.Linear(4, 3)

    def forward(self, x: Tensor) -> Tensor:
        h = self.tokens(x) + self.places(torch.arange(x.shape[1]))
        return self.head(F.layer_norm(h, (4,)))


class Residual(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.first, self.up, self.down, self.last = nn.Linear(3, 4), nn.Linear(4, 6), nn.Linear(6, 4), nn.Linear(4, 2)

    def forward(self, x: Tensor) -> Tensor:
        h = self.first(x)
        return self.last(h + self.down(F.relu(self.up(h))))


class Gated(nn.Module):
    """``(W x) * (V x)^2`` and a SiLU gate."""

    def __init__(self) -> None:
        super().__init__()
        self.w, self.v, self.o = nn.Linear(4, 6), nn.Linear(4, 6), nn.Linear(6, 3)
        self.a, self.b, self.c = (nn.Linear(i, j, bias=False) for i, j in ((4, 5), (4, 5), (5, 3)))

    def forward(self, x: Tensor) -> Tensor:
        return self.o(self.w(x) * self.v(x) ** 2) + self.c(F.silu(self.a(x)) * self.b(x))


class Sides(nn.Module):
    """Two branches side by side, read together."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b, self.c = nn.Linear(3, 2), nn.Linear(3, 4), nn.Linear(6, 2)

    def forward(self, x: Tensor) -> Tensor:
        return self.c(torch.cat([self.a(x), self.b(x).relu()], -1))


class Recurrent(nn.Module):
    """One layer used twice."""

    def __init__(self, linear: bool = False) -> None:
        super().__init__()
        self.s = nn.Identity() if linear else nn.ReLU()
        self.a, self.b, self.c = nn.Linear(4, 4), nn.Linear(4, 4), nn.Linear(4, 2)

    def forward(self, x: Tensor) -> Tensor:
        h = self.s(self.a(x))
        return self.c(self.s(self.b(self.s(self.b(h)))))


class TiedHead(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.e, self.l, self.h = nn.Embedding(6, 4), nn.Linear(4, 4), nn.Linear(4, 6, bias=False)
        self.h.weight = self.e.weight

    def forward(self, x: Tensor) -> Tensor:
        return self.h(self.l(self.e(x)).relu())


class Power(nn.Module):
    def __init__(self, r: int) -> None:
        super().__init__()
        self.r = r

    def forward(self, x: Tensor) -> Tensor:
        return x**self.r


class Bent(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x.abs()


def mlp(activation: Callable[[], nn.Module] = nn.ReLU, bias: bool = True) -> nn.Sequential:
    return nn.Sequential(
        nn.Linear(3, 5, bias=bias), activation(), nn.Linear(5, 4, bias=bias), activation(), nn.Linear(4, 2, bias=bias)
    )


def normed(affine: bool = True, bias: bool = True) -> nn.Sequential:
    """Batch norm between a convolution and a ReLU, with running statistics that are not the ones it began with."""
    net = nn.Sequential(
        nn.Conv2d(1, 4, 3, bias=bias), nn.BatchNorm2d(4, affine=affine), nn.ReLU(), nn.Flatten(), nn.Linear(16, 2)
    )
    norm = net[1]
    assert isinstance(norm, nn.BatchNorm2d)
    torch.nn.init.normal_(norm.running_mean)  # type: ignore[arg-type]
    torch.nn.init.uniform_(norm.running_var, 0.5, 2.0)  # type: ignore[arg-type]
    for p in norm.parameters():
        torch.nn.init.normal_(p)
    return net


def convolutions() -> nn.Sequential:
    """Plain, depthwise, grouped, transposed; group norm, pools, flattening."""
    return nn.Sequential(
        nn.Conv2d(2, 4, 3, padding=1), nn.ReLU(), nn.Conv2d(4, 4, 3, groups=4), nn.ReLU(), nn.MaxPool2d(2),
        nn.Conv2d(4, 6, 1, groups=2), nn.GroupNorm(2, 6), nn.LeakyReLU(0.2), nn.ConvTranspose2d(6, 4, 2, stride=2),
        nn.Conv2d(4, 3, 3, padding=1), nn.AvgPool2d(2), nn.Flatten(), nn.Linear(12, 2),
    )  # fmt: skip


def seeded(make: Callable[[], nn.Module], seed: int = 0) -> nn.Module:
    """The model in float64 with nothing at zero, where torch begins biases."""
    torch.manual_seed(seed)
    model = make().double()
    with torch.no_grad():
        for p in model.parameters():
            p.add_(0.3 * torch.randn_like(p))
    return model


def gradient(
    model: nn.Module, x: Tensor, loss: str = "any", seed: int = 1
) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """Parameters, and their gradients for a random loss: cross entropy, or a random function of the outputs."""
    torch.manual_seed(seed)
    out = model(x)
    if loss == "cross_entropy":
        value = F.cross_entropy(out, torch.randint(0, out.shape[1], (out.shape[0], *out.shape[2:])))
    else:
        value = (
            torch.randn_like(out) * out + torch.randn_like(out) * out**2 + (out * torch.randn_like(out)).sin()
        ).mean()
    moving = {n: p for n, p in model.named_parameters() if p.requires_grad}
    grads = torch.autograd.grad(value, list(moving.values()), allow_unused=True)
    found = {n: torch.zeros_like(p) if g is None else g for (n, p), g in zip(moving.items(), grads, strict=True)}
    return {n: t.detach() for n, t in model.state_dict().items()}, found
