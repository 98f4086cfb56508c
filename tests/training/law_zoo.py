"""A zoo of modules with their laws by structure, written by hand: what the count must find, no more and no less."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from intertwiner.numerics.modular import Modulus
from intertwiner.training import Law, Lowered, law_gradients


class Laws:
    """Laws on named parameters: sums of squares, of products, and linear ones. Called for their gradients."""

    def __init__(self, lowered: Lowered) -> None:
        self.columns = lowered.columns
        self.quadratic: list[Law] = []
        self.linear: list[np.ndarray] = []
        self.centre = np.zeros(self.columns.total)

    def at(self, name: str, index: object = ()) -> np.ndarray:
        """Numbers of some entries of a parameter."""
        shape = self.columns.shapes[name]
        return (self.columns.starts[name] + np.arange(int(np.prod(shape))).reshape(shape))[index]  # type: ignore[index]

    def balance(self, *terms: tuple[int, str, object]) -> None:
        """``sum c theta^2`` over entries (c, name, index)."""
        self.pairs(*((c, self.at(name, index), self.at(name, index)) for c, name, index in terms))

    def pairs(self, *terms: tuple[int, np.ndarray, np.ndarray]) -> None:
        """``sum c theta_p theta_q``."""
        flat = tuple(
            (int(p), int(q), c) for c, ps, qs in terms for p, q in zip(np.ravel(ps), np.ravel(qs), strict=True)
        )
        self.quadratic.append(Law("a law of the test", 0, (0, 0), "", self.columns.total, flat))

    def still(self, *terms: tuple[int, str, object]) -> None:
        """``sum c theta``."""
        row = np.zeros(self.columns.total)
        for c, name, index in terms:
            row[self.at(name, index)] += c
        self.linear.append(row)

    def __call__(self, theta: np.ndarray, field: Modulus) -> np.ndarray:
        around = field.reduce(theta - field.of(self.centre))
        return np.concatenate([law_gradients(self.quadratic, around, field), *(row[None] for row in self.linear)])


class Residual(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.a, self.b, self.c = nn.Conv2d(1, 3, 3, padding=1), nn.Conv2d(3, 4, 3, padding=1), nn.Conv2d(4, 3, 1)
        self.norm, self.head = nn.BatchNorm2d(4), nn.Linear(3, 2)
        for tensor in (self.norm.running_mean, self.norm.weight.data, self.norm.bias.data):
            assert tensor is not None
            tensor.normal_()

    def forward(self, x: Tensor) -> Tensor:
        x = torch.relu(self.a(x))
        x = x + self.c(torch.relu(self.norm(self.b(x))))
        return self.head(F.max_pool2d(torch.relu(x), 2).mean((2, 3)))


def residual_laws(laws: Laws, module: nn.Module, *, training: bool = False) -> None:
    for i in range(3):
        stream = [(1, n, i) for n in ("a.weight", "a.bias", "c.weight", "c.bias")]
        laws.balance(*stream, (-1, "b.weight", np.s_[:, i]), (-1, "head.weight", np.s_[:, i]))
    for i in range(4):
        laws.balance((1, "norm.weight", i), (1, "norm.bias", i), (-1, "c.weight", np.s_[:, i]))
        if training:
            laws.still((1, "b.bias", i))
        else:
            laws.balance((1, "norm.weight", i), (-1, "b.weight", i), (-1, "b.bias", i))
    if not training:
        laws.centre[laws.at("b.bias")] = module.norm.running_mean.double().numpy()  # type: ignore[union-attr]


def residual_laws_in_training(laws: Laws, module: nn.Module) -> None:
    residual_laws(laws, module, training=True)


class Attention(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.attention = nn.MultiheadAttention(4, 2, batch_first=True)

    def forward(self, x: Tensor) -> Tensor:
        return self.attention(x, x, x, need_weights=False)[0]


def attention_laws(laws: Laws, module: nn.Module, at: str = "attention.") -> None:
    """Two heads of two rows: ``Q Q^T - K K^T`` and ``V V^T - O^T O``, and the bias of the keys."""
    weight, bias, out = (laws.at(at + n) for n in ("in_proj_weight", "in_proj_bias", "out_proj.weight"))
    rows = np.hstack([weight, bias[:, None]])
    q, k, v = rows[:4], weight[4:8], rows[8:]
    for head in (0, 2):
        for i, j in ((head, head), (head, head + 1), (head + 1, head + 1)):
            laws.pairs((1, q[i], q[j]), (-1, k[i], k[j]))
            laws.pairs((1, v[i], v[j]), (-1, out[:, i], out[:, j]))
    for i in range(4):
        laws.still((1, at + "in_proj_bias", 4 + i))


def encoder_laws(laws: Laws, module: nn.Module) -> None:
    """Norms behind the sums: what writes into them has no part along 1; a ReLU between the linear layers."""
    attention_laws(laws, module, "self_attn.")
    for i in range(4):
        laws.still((1, "self_attn.out_proj.weight", np.s_[:, i]))
    laws.still((1, "self_attn.out_proj.bias", np.s_[:]))
    for i in range(5):
        laws.balance((1, "linear1.weight", i), (1, "linear1.bias", i), (-1, "linear2.weight", np.s_[:, i]))
        laws.still((1, "linear2.weight", np.s_[:, i]))
    laws.still((1, "linear2.bias", np.s_[:]))


class CausalBlock(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.norm, self.inner = nn.LayerNorm(4), nn.LayerNorm(4)
        self.attention = nn.ModuleDict({n: nn.Linear(4, 4) for n in "qkvo"})
        self.up, self.down = nn.Linear(4, 5), nn.Linear(5, 4)

    def forward(self, x: Tensor) -> Tensor:
        h = self.norm(x)
        q, k, v = (self.attention[n](h).unflatten(-1, (2, 2)).transpose(1, 2) for n in "qkv")
        mixed = F.scaled_dot_product_attention(q, k, v, is_causal=True).transpose(1, 2).flatten(2)
        x = x + self.attention["o"](mixed)
        return x + self.down(F.gelu(self.up(self.inner(x))))


def block_laws(laws: Laws, module: nn.Module) -> None:
    weight = {n: laws.at(f"attention.{n}.weight") for n in "qkvo"}
    bias = {n: laws.at(f"attention.{n}.bias") for n in "qkv"}
    wide = {n: np.hstack([weight[n], bias[n][:, None]]) for n in "qkv"}
    for head in (0, 2):
        for i, j in ((head, head), (head, head + 1), (head + 1, head + 1)):
            laws.pairs((1, wide["q"][i], wide["q"][j]), (-1, weight["k"][i], weight["k"][j]))
            laws.pairs((1, wide["v"][i], wide["v"][j]), (-1, weight["o"][:, i], weight["o"][:, j]))
    for i in range(4):
        laws.still((1, "attention.k.bias", i))
        readers = [(-1, f"attention.{n}.weight", np.s_[:, i]) for n in "qkv"]
        laws.balance((1, "norm.weight", i), (1, "norm.bias", i), *readers)
        laws.balance((1, "inner.weight", i), (1, "inner.bias", i), (-1, "up.weight", np.s_[:, i]))
    # Both biases go into the output; the norm between sees only one of them, and not its sum.
    laws.still((1, "attention.o.bias", np.s_[:]), (-1, "down.bias", np.s_[:]))


class Embedded(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.word, self.place = nn.Embedding(3, 4), nn.Parameter(torch.randn(5, 4))
        self.up, self.down = nn.Linear(4, 3), nn.Linear(3, 2)

    def forward(self, x: Tensor) -> Tensor:
        return self.down(torch.relu(self.up(self.word(x) + self.place)))


def embedded_laws(laws: Laws, module: nn.Module) -> None:
    word, place, up = laws.at("word.weight"), laws.at("place"), laws.at("up.weight")
    for i, j in itertools.combinations_with_replacement(range(4), 2):
        laws.pairs((1, word[:, i], word[:, j]), (1, place[:, i], place[:, j]), (-1, up[:, i], up[:, j]))
    for i in range(3):
        laws.balance((1, "up.weight", i), (1, "up.bias", i), (-1, "down.weight", np.s_[:, i]))
    for i in range(4):  # a constant moves from all words to all places: every position has exactly one word
        laws.still((1, "word.weight", np.s_[:, i]), (-1, "place", np.s_[:, i]))


class Tied(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.twice, self.head = nn.Linear(3, 3, bias=False), nn.Linear(3, 2)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(torch.relu(self.twice(torch.relu(self.twice(x)))))


def tied_laws(laws: Laws, module: nn.Module) -> None:
    laws.balance((1, "twice.weight", np.s_[:]), (-2, "head.weight", np.s_[:]))


class Joined(nn.Module):
    """Concatenation, slices, a flip, padding, a product of values, a maximum over an axis, a division."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b, self.c = nn.Conv1d(1, 2, 3), nn.Conv1d(1, 2, 3, bias=False), nn.Conv1d(4, 2, 1)

    def forward(self, x: Tensor) -> Tensor:
        a, b = F.leaky_relu(self.a(F.pad(x, (1, 1)))), self.b(F.pad(x, (1, 1), mode="circular")) * x
        joined = torch.cat([a[:, [1, 0]], b.flip(-1)], 1)
        return self.c(joined[:, :, 1:]).abs().amax(-1) / 3


def joined_laws(laws: Laws, module: nn.Module) -> None:
    for i in range(2):
        laws.balance((1, "a.weight", i), (1, "a.bias", i), (-1, "c.weight", np.s_[:, 1 - i]))
    i, b, c = np.arange(2), laws.at("b.weight"), laws.at("c.weight")
    for i, j in ((0, 0), (0, 1), (1, 1)):
        laws.pairs((1, b[i], b[j]), (-1, c[:, 2 + i], c[:, 2 + j]))


class Product(nn.Module):
    def __init__(self, gate: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.value, self.factor, self.head, self.gate = nn.Linear(3, 4), nn.Linear(3, 4), nn.Linear(4, 2), gate

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.value(x) * self.gate(self.factor(x)))


def gated_laws(laws: Laws, module: nn.Module) -> None:
    for i in range(4):
        laws.balance((1, "value.weight", i), (1, "value.bias", i), (-1, "head.weight", np.s_[:, i]))


def product_laws(laws: Laws, module: nn.Module) -> None:
    gated_laws(laws, module)
    for i in range(4):
        laws.balance((1, "value.weight", i), (1, "value.bias", i), (-1, "factor.weight", i), (-1, "factor.bias", i))


class Power(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.up, self.down = nn.Linear(3, 4), nn.Linear(4, 2)

    def forward(self, x: Tensor) -> Tensor:
        return self.down(self.up(x) ** 3)


def power_laws(laws: Laws, module: nn.Module) -> None:
    for i in range(4):
        laws.balance((1, "up.weight", i), (1, "up.bias", i), (-3, "down.weight", np.s_[:, i]))


def first_hidden_laws(laws: Laws, module: nn.Module) -> None:
    for i in range(3):
        laws.balance((1, "0.weight", i), (1, "0.bias", i), (-1, "2.weight", np.s_[:, i]))


def grouped_laws(laws: Laws, module: nn.Module) -> None:
    for i in range(4):
        laws.balance((1, "0.weight", i), (1, "0.bias", i), (-1, "2.weight", i))
        laws.balance((1, "2.weight", i), (-1, "5.weight", np.s_[:, 2 * i : 2 * i + 2]))


def plain_norm_laws(laws: Laws, module: nn.Module) -> None:
    for i in range(2):
        laws.still((1, "0.weight", np.s_[:, i]))
    laws.still((1, "0.bias", np.s_[:]))
    for i in range(3):
        laws.still((1, "2.weight", i))


def pooled_laws(laws: Laws, module: nn.Module) -> None:
    for i in range(3):
        laws.balance((1, "0.weight", i), (1, "0.bias", i), (-1, "2.weight", np.s_[:, i]))


def averaged_laws(laws: Laws, module: nn.Module) -> None:
    weight, bias, out = (laws.at(n) for n in ("0.weight", "0.bias", "2.weight"))
    for i, j in itertools.combinations_with_replacement(range(3), 2):
        laws.pairs((1, weight[i], weight[j]), (1, bias[i], bias[j]), (-1, out[:, i], out[:, j]))


def dense_norm_laws(laws: Laws, module: nn.Module) -> None:
    for i in range(4):
        laws.still((1, "0.bias", i))
        laws.balance((1, "1.weight", i), (1, "1.bias", i), (-1, "3.weight", np.s_[:, i]))


def group_norm_laws(laws: Laws, module: nn.Module) -> None:
    for i in range(4):
        laws.balance((1, "1.weight", i), (1, "1.bias", i), (-1, "3.weight", np.s_[:, i]))
    for start in (0, 2):
        laws.still((1, "0.bias", np.s_[start : start + 2]))


class Upward(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.up = nn.ConvTranspose1d(4, 6, 3, stride=2, padding=1, output_padding=1, groups=2)
        self.out = nn.Conv1d(6, 2, 3, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        return self.out(torch.relu(self.up(x)))


def upward_laws(laws: Laws, module: nn.Module) -> None:
    for i in range(6):  # the channels of the second group are read by the second half of the weight
        weight = np.s_[2 * (i // 3) : 2 * (i // 3) + 2, i % 3]
        laws.balance((1, "up.weight", weight), (1, "up.bias", i), (-1, "out.weight", np.s_[:, i]))


@dataclass(frozen=True)
class Exhibit:
    name: str
    make: Callable[[], nn.Module]
    shape: tuple[int, ...]
    laws: Callable[[Laws, nn.Module], None]
    number: int
    training: bool = False
    tokens: bool = False

    def inputs(self, seed: int) -> Tensor:
        generator = torch.Generator().manual_seed(seed)
        if self.tokens:
            return torch.randint(0, 3, self.shape, generator=generator)
        return 3 * torch.randn(self.shape, generator=generator, dtype=torch.float64)

    def __str__(self) -> str:
        return self.name


def mixed() -> nn.Module:
    last = (nn.ReLU6(), nn.Linear(3, 3), nn.Tanh(), nn.Linear(3, 2))
    return nn.Sequential(nn.Linear(2, 3), nn.LeakyReLU(), nn.Linear(3, 3), *last)


def grouped() -> nn.Module:
    first = nn.Conv1d(4, 4, 3, groups=2, padding=1, padding_mode="circular")
    last = (nn.AvgPool1d(2), nn.Flatten(), nn.Linear(8, 2))
    return nn.Sequential(first, nn.ReLU(), nn.Conv1d(4, 4, 3, groups=4, bias=False), *last)


ZOO = [
    Exhibit("residual, running statistics", Residual, (5, 1, 6, 6), residual_laws, 11),
    Exhibit("residual, statistics of the batch", Residual, (5, 1, 6, 6), residual_laws_in_training, 11, training=True),
    Exhibit("attention", Attention, (2, 5, 4), attention_laws, 16),
    Exhibit(
        "encoder layer",
        lambda: nn.TransformerEncoderLayer(4, 2, 5, dropout=0.0, batch_first=True),
        (2, 3, 4),
        encoder_laws,
        32,
    ),
    Exhibit("causal block", CausalBlock, (2, 5, 4), block_laws, 25),
    Exhibit("embedding", Embedded, (2, 5), embedded_laws, 17, tokens=True),
    Exhibit("tied", Tied, (3, 3), tied_laws, 1),
    Exhibit("joined", Joined, (2, 1, 5), joined_laws, 5),
    Exhibit("gated", lambda: Product(torch.sigmoid), (3, 3), gated_laws, 4),
    Exhibit("product", lambda: Product(lambda z: z), (3, 3), product_laws, 8),
    Exhibit("power", Power, (3, 3), power_laws, 4),
    Exhibit("leaky, then ReLU6 and tanh", mixed, (3, 2), first_hidden_laws, 3),
    Exhibit(
        "maxima",
        lambda: nn.Sequential(nn.Conv1d(2, 3, 3), nn.MaxPool1d(2), nn.Conv1d(3, 2, 1)),
        (3, 2, 8),
        pooled_laws,
        3,
    ),
    Exhibit(
        "averages",
        lambda: nn.Sequential(nn.Conv1d(2, 3, 3), nn.AvgPool1d(2), nn.Conv1d(3, 2, 1)),
        (3, 2, 8),
        averaged_laws,
        6,
    ),
    Exhibit(
        "dense batch norm, statistics of the batch",
        lambda: nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.ReLU(), nn.Linear(4, 2)),
        (5, 3),
        dense_norm_laws,
        8,
        training=True,
    ),
    Exhibit(
        "a slope per channel",
        lambda: nn.Sequential(nn.Linear(2, 3), nn.PReLU(3), nn.Linear(3, 2)),
        (3, 2),
        pooled_laws,
        3,
    ),
    Exhibit("transposed convolution", Upward, (3, 4, 3), upward_laws, 6),
    Exhibit("grouped", grouped, (3, 4, 6), grouped_laws, 8),
    Exhibit(
        "plain layer norm",
        lambda: nn.Sequential(nn.Linear(2, 4), nn.LayerNorm(4, elementwise_affine=False), nn.Linear(4, 3)),
        (3, 2),
        plain_norm_laws,
        6,
    ),
    Exhibit(
        "group norm",
        lambda: nn.Sequential(nn.Conv1d(2, 4, 3), nn.GroupNorm(2, 4), nn.ReLU(), nn.Conv1d(4, 2, 1)),
        (3, 2, 6),
        group_norm_laws,
        6,
    ),
]
