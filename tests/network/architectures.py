"""Networks of every kind that the rules must read, with an input for each; weights from a seed."""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class Apply(nn.Module):
    """A forward given as a function of the module and its inputs."""

    def __init__(self, forward: Callable[..., object], **modules: nn.Module | nn.Parameter | Tensor) -> None:
        super().__init__()
        for name, value in modules.items():
            if isinstance(value, Tensor) and not isinstance(value, nn.Parameter):
                self.register_buffer(name, value)
            else:
                setattr(self, name, value)
        self.function = forward

    def forward(self, *args: Tensor, **kwargs: Tensor) -> object:
        return self.function(self, *args, **kwargs)


def weight(*shape: int) -> nn.Parameter:
    return nn.Parameter(torch.randn(*shape) / shape[-1] ** 0.5)


def settled(module: nn.Module) -> nn.Module:
    """Batch norm with statistics and weights that are not the trivial ones."""
    for m in module.modules():
        if isinstance(m, (nn.modules.batchnorm._BatchNorm, nn.LayerNorm, nn.GroupNorm, nn.InstanceNorm2d)):
            for p in m.parameters():
                p.data = torch.randn_like(p)
        if isinstance(m, nn.modules.batchnorm._BatchNorm):
            m.running_mean.normal_()
            m.running_var.uniform_(0.5, 2.0)
    return module.eval()


class Block(nn.Module):
    def __init__(self, channels: int, stride: int = 1) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(channels, channels, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(channels)
        self.conv2 = nn.Conv2d(channels, channels, 3, 1, 1)
        self.short = nn.Conv2d(channels, channels, 1, stride) if stride > 1 else nn.Identity()
        self.relu = nn.ReLU(inplace=True)

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(self.conv2(self.relu(self.bn1(self.conv1(x)))) + self.short(x))


class Attention(nn.Module):
    def __init__(self, d: int = 8, heads: int = 2, *, causal: bool = False, written_out: bool = False) -> None:
        super().__init__()
        self.heads, self.causal, self.written_out = heads, causal, written_out
        self.qkv, self.out, self.norm = nn.Linear(d, 3 * d), nn.Linear(d, d), nn.LayerNorm(d)

    def forward(self, x: Tensor) -> Tensor:
        b, t, d = x.shape
        split = self.qkv(self.norm(x)).view(b, t, 3, self.heads, d // self.heads).permute(2, 0, 3, 1, 4)
        q, k, v = split.unbind(0)
        if self.written_out:
            mask = torch.ones(t, t, dtype=torch.bool).triu(1)
            score = (q @ k.transpose(-2, -1)) * (d // self.heads) ** -0.5
            y = score.masked_fill(mask, float("-inf")).softmax(-1) @ v
        else:
            y = F.scaled_dot_product_attention(q, k, v, is_causal=self.causal)
        return x + self.out(y.transpose(1, 2).reshape(b, t, d))


def image(channels: int = 3, size: int = 9) -> tuple[Tensor]:
    return (torch.randn(3, channels, size, size),)


def vectors(n: int = 6) -> tuple[Tensor]:
    return (torch.randn(3, n),)


ACTIVATIONS = [
    nn.ReLU(),
    nn.LeakyReLU(0.2),
    nn.Tanh(),
    nn.Sigmoid(),
    nn.GELU(),
    nn.GELU("tanh"),
    nn.SiLU(),
    nn.Softplus(2.0),
    nn.ELU(0.7),
    nn.CELU(1.3),
    nn.SELU(),
    nn.Hardtanh(-0.5, 0.7),
    nn.ReLU6(),
    nn.Hardswish(),
    nn.Hardsigmoid(),
    nn.Mish(),
    nn.Softsign(),
    nn.LogSigmoid(),
    nn.Tanhshrink(),
    nn.Softshrink(0.2),
    nn.Hardshrink(0.2),
    nn.PReLU(),
    nn.Threshold(0.1, -2.0),
    nn.RReLU(),
]

FUNCTIONS: dict[str, Callable[[Tensor], Tensor]] = {
    "abs": torch.abs,
    "sin": torch.sin,
    "cos": torch.cos,
    "exp": torch.exp,
    "erf": torch.erf,
    "atan": torch.atan,
    "cube": lambda x: x**3,
    "square": torch.square,
    "sqrt": lambda x: torch.sqrt(x.abs() + 1),
    "log": lambda x: torch.log(x * x + 1),
    "reciprocal": lambda x: 1 / (x * x + 1),
    "rsqrt": lambda x: torch.rsqrt(x.abs() + 1),
    "clamp": lambda x: x.clamp(-0.3, 0.4),
    "clamp_min": lambda x: x.clamp(min=0),
    "clamp_max": lambda x: x.clamp(max=0.2),
    "neg": lambda x: -x,
    "expm1": torch.expm1,
    "rsub": lambda x: 2 - x,
    "mixed": lambda x: (3 * x - 1) / 4 + x * 0.5,
    "divide": lambda x: x / (1 + x.abs()),
    "sub_alpha": lambda x: torch.sub(x, x.sin(), alpha=2),
    "softmax": lambda x: x.softmax(-1),
    "cosh": torch.cosh,
    "log_softmax": lambda x: F.log_softmax(x, 1),
    "normalize": lambda x: F.normalize(x, dim=-1),
    "sign": torch.sign,
    "inplace": lambda x: x.mul(1.0).add_(1).relu_().mul_(2),
    "logs": lambda x: torch.log1p(x.abs()),
}

SHAPES: dict[str, Callable[[Tensor], Tensor]] = {
    "flip": lambda x: x.flip(1, -1),
    "roll": lambda x: x.roll((1, -2), (2, 3)),
    "select": lambda x: x[:, 1],
    "slices": lambda x: x[:, 1:, ::2, :-1],
    "transpose": lambda x: x.transpose(1, 2).mT,
    "movedim": lambda x: x.movedim(1, -1),
    "flatten": lambda x: x.flatten(1),
    "unflatten": lambda x: x.flatten(1).unflatten(1, (-1, 9)),
    "squeeze": lambda x: x[:, :1].squeeze(1).unsqueeze(-1),
    "expand": lambda x: x.mean(1, keepdim=True).expand(-1, 5, -1, -1),
    "chunk": lambda x: torch.cat(x.chunk(3, 2)[::-1], 1),
    "split": lambda x: x.split([1, 2], 1)[1] * x[:, :1],
    "stack": lambda x: torch.stack([x, x.flip(2)], 2),
    "index": lambda x: x[:, torch.tensor([2, 0])],
    "repeat": lambda x: x.repeat(1, 2, 1, 1),
    "interleave": lambda x: x.repeat_interleave(2, 1),
    "pad": lambda x: F.pad(x, (1, 2, 0, 1), value=0.5),
    "reflect": lambda x: F.pad(x, (1, 2, 2, 1), mode="reflect"),
    "upsample": lambda x: F.interpolate(x, scale_factor=2, mode="nearest"),
    "shuffle": lambda x: F.pixel_shuffle(x.repeat(1, 4, 1, 1), 2),
    "mean": lambda x: x.mean((2, 3)),
    "sum": lambda x: x.sum(1, keepdim=True),
    "amax": lambda x: x.amax((2, 3)) - x.amin((2, 3)),
    "max": lambda x: x.max(1).values,
    "norm": lambda x: x.norm(dim=1),
    "maxpool": lambda x: F.max_pool2d(x, 3, 2, 1),
    "avgpool": lambda x: F.avg_pool2d(x, 3, 2, 1, ceil_mode=True, count_include_pad=False),
    "adaptive": lambda x: F.adaptive_avg_pool2d(x, 3),
    "adaptive_uneven": lambda x: F.adaptive_avg_pool2d(x, (4, 2)),
    "adaptive_max": lambda x: F.adaptive_max_pool2d(x, (4, 5)),
    "global": lambda x: F.adaptive_avg_pool2d(x, 1),
    "where": lambda x: torch.where(torch.eye(9).bool(), x, -x),
    "fill": lambda x: x.masked_fill(torch.eye(9).bool(), 2.0),
    "broadcast": lambda x: x * x.mean((2, 3), keepdim=True) + x.amax(1, keepdim=True),
    "einsum": lambda x: torch.einsum("bchw,bdhw->bcd", x, x),
    "zeros": lambda x: torch.cat([x, torch.zeros(x.shape[0], 2, 9, 9)], 1),
    "matmul": lambda x: x @ x.mT,
    "permute": lambda x: x.permute(0, 3, 1, 2),
}


def _modules() -> dict[str, tuple[nn.Module, tuple[Tensor, ...]]]:
    conv, linear = nn.Conv2d, nn.Linear
    tied = linear(6, 6)
    cases: dict[str, tuple[nn.Module, tuple[Tensor, ...]]] = {
        "mlp": (
            nn.Sequential(linear(6, 8), nn.Tanh(), linear(8, 5, bias=False), nn.Dropout(0.5), linear(5, 2)),
            vectors(),
        ),
        "batch_norm": (nn.Sequential(linear(6, 8), nn.BatchNorm1d(8), nn.ReLU(inplace=True), linear(8, 2)), vectors()),
        "conv_bn": (
            nn.Sequential(conv(3, 4, 3, padding=1), nn.BatchNorm2d(4), nn.ReLU(), conv(4, 2, 3, stride=2)),
            image(),
        ),
        "no_affine": (nn.Sequential(conv(3, 4, 3), nn.BatchNorm2d(4, affine=False)), image()),
        "residual": (
            nn.Sequential(conv(3, 4, 1), Block(4), Block(4, 2), nn.AdaptiveAvgPool2d(1), nn.Flatten(), linear(4, 2)),
            image(),
        ),
        "same": (
            nn.Sequential(conv(3, 4, 4, padding="same"), conv(4, 4, (3, 2), padding=(1, 0), dilation=(2, 1))),
            image(),
        ),
        "circular": (nn.Sequential(conv(3, 4, 3, padding=1, padding_mode="circular"), nn.ReLU()), image()),
        "reflect": (conv(3, 4, 3, padding=2, padding_mode="reflect"), image()),
        "groups": (nn.Sequential(conv(4, 4, 3, groups=4), nn.ReLU(), conv(4, 6, 1, groups=2)), image(4)),
        "transposed": (
            nn.Sequential(nn.ConvTranspose2d(3, 4, 3, 2, 1, 1), nn.ReLU(), nn.ConvTranspose2d(4, 2, 2)),
            image(),
        ),
        "conv1d": (
            nn.Sequential(nn.Conv1d(3, 4, 3), nn.ReLU(), nn.MaxPool1d(2), nn.ConvTranspose1d(4, 2, 3), nn.AvgPool1d(2)),
            (torch.randn(3, 3, 9),),
        ),
        "conv3d": (
            nn.Sequential(nn.Conv3d(2, 3, 3, padding=1), nn.ReLU(), nn.MaxPool3d(2), nn.ConvTranspose3d(3, 2, 2)),
            (torch.randn(2, 2, 4, 4, 4),),
        ),
        "layer_norm": (
            nn.Sequential(linear(6, 8), nn.LayerNorm(8), nn.GELU(), linear(8, 8), nn.RMSNorm(8), linear(8, 2)),
            vectors(),
        ),
        "group_norm": (
            nn.Sequential(conv(3, 4, 3), nn.GroupNorm(2, 4), nn.ReLU(), nn.GroupNorm(1, 4), nn.GroupNorm(4, 4)),
            image(),
        ),
        "instance_norm": (nn.Sequential(conv(3, 4, 3), nn.InstanceNorm2d(4, affine=True)), image()),
        "attention": (
            nn.Sequential(Attention(), Attention(causal=True), Attention(written_out=True)),
            (torch.randn(3, 5, 8),),
        ),
        "encoder": (nn.TransformerEncoderLayer(8, 2, 16, batch_first=True), (torch.randn(3, 5, 8),)),
        "shared": (nn.Sequential(tied, nn.Tanh(), tied, nn.Tanh(), linear(6, 2)), vectors()),
        "weight_norm": (nn.utils.parametrizations.weight_norm(linear(6, 4)), vectors()),
        "spectral_norm": (nn.utils.parametrizations.spectral_norm(linear(6, 4)), vectors()),
        "tokens": (
            nn.Sequential(nn.Embedding(7, 8), Attention(), nn.Flatten(), linear(40, 2)),
            (torch.randint(0, 7, (3, 5)),),
        ),
        "prelu": (nn.Sequential(conv(3, 4, 3), nn.PReLU(4)), image()),
    }
    functional: dict[str, tuple[Callable[..., object], dict[str, object], tuple[Tensor, ...]]] = {
        "functional": (
            lambda s, x: F.relu(x @ s.W.T + s.b) @ s.V,
            {"W": weight(8, 6), "b": weight(8), "V": weight(8, 2)},
            vectors(),
        ),
        "addmm": (lambda s, x: torch.addmm(s.b, x, s.V), {"V": weight(6, 4), "b": weight(4)}, vectors()),
        "scale": (
            lambda s, x: F.relu(x * s.a[:, None, None] + s.b[:, None, None]) / s.a.abs().view(3, 1, 1),
            {"a": weight(3), "b": weight(3)},
            image(),
        ),
        "dense": (
            lambda s, x: torch.cat([x, s.a(x), s.b(torch.cat([x, s.a(x)], 1))], 1),
            {"a": conv(3, 4, 3, padding=1), "b": conv(7, 2, 1)},
            image(),
        ),
        "dictionary": (
            lambda s, x: {"p": s.a(x), "v": (s.b(x).tanh(), x.sum(1))},
            {"a": linear(6, 3), "b": linear(6, 1)},
            vectors(),
        ),
        "two_inputs": (
            lambda s, x, g: s.a(x) + s.b(g)[:, :, None, None],
            {"a": conv(3, 4, 3), "b": linear(6, 4)},
            (*image(), *vectors()),
        ),
        "mixer": (
            lambda s, x: s.b(s.a(x.transpose(1, 2)).transpose(1, 2)),
            {"a": linear(5, 5), "b": linear(8, 8)},
            (torch.randn(3, 5, 8),),
        ),
        "left": (lambda s, x: s.W @ x, {"W": weight(4, 5)}, (torch.randn(3, 5, 8),)),
        "vector": (lambda s, x: x @ s.w, {"w": weight(6)}, vectors()),
        "glu": (lambda s, x: F.glu(s.a(x), -1), {"a": linear(6, 8)}, vectors()),
        "gate": (lambda s, x: s.a(x) * torch.sigmoid(s.b(x)), {"a": linear(6, 8), "b": linear(6, 8)}, vectors()),
        "class_token": (
            lambda s, x: s.a(torch.cat([s.t.expand(x.shape[0], -1, -1), x], 1) + s.p)[:, 0],
            {"t": weight(1, 1, 8), "p": weight(1, 6, 8), "a": Attention()},
            (torch.randn(3, 5, 8),),
        ),
        "one_hot": (
            lambda s, x: s.a(F.one_hot(x, 7).float().flatten(1)),
            {"a": linear(14, 3)},
            (torch.randint(0, 7, (3, 2)),),
        ),
        "unflatten": (
            lambda s, x: s.b(F.relu(s.a(x)).view(-1, 4, 3, 3)),
            {"a": linear(6, 36), "b": nn.ConvTranspose2d(4, 2, 2)},
            vectors(),
        ),
        "einsum_weight": (
            lambda s, x: torch.einsum("btd,de->bte", x, s.W),
            {"W": weight(8, 4)},
            (torch.randn(3, 5, 8),),
        ),
        "buffers": (lambda s, x: (x - s.m) / s.s, {"m": torch.randn(6), "s": torch.rand(6) + 1}, vectors()),
        "bias_of_output": (lambda s, x: s.a(x) + torch.arange(3.0), {"a": linear(6, 3)}, vectors()),
    }
    return cases | {name: (Apply(f, **parts), x) for name, (f, parts, x) in functional.items()}


def architectures() -> dict[str, tuple[nn.Module, tuple[Tensor, ...]]]:
    """Every architecture, in evaluation mode, with an input of its own."""
    torch.manual_seed(7)
    cases = _modules()
    for act in ACTIVATIONS:
        cases[f"act_{str(act).lower()}"] = nn.Sequential(nn.Linear(6, 8), act, nn.Linear(8, 2)), vectors()
    for name, function in FUNCTIONS.items():
        cases[f"function_{name}"] = (Apply(lambda s, x, f=function: f(s.a(x)), a=nn.Linear(6, 6)), vectors())
    for name, function in SHAPES.items():
        cases[f"shape_{name}"] = (Apply(lambda s, x, f=function: f(s.a(x)), a=nn.Conv2d(2, 3, 1)), image(2))
    return {name: (settled(module), x) for name, (module, x) in cases.items()}
