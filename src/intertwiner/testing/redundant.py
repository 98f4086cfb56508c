"""Networks with planted redundancy: a generic network, grown by neurons that it does not need.

Dead neurons, constants, copies, copies with another sign, scale or phase, opposite ones. A reduction has to find
exactly those and keep the function. Planted beside them, where there is room, are neurons that look redundant and
are not: a constant before a zero-padded convolution.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy import ndarray
from torch import Tensor, nn

from intertwiner.numerics.seeds import rng as seeded
from intertwiner.testing.modules import Chain, ConvChain, Cube, Residual, Sine


class Absolute(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x.abs()


ACTIVATIONS: dict[str, tuple[type[nn.Module], tuple[str, ...]]] = {
    "tanh": (nn.Tanh, ("copy", "flipped")),
    "sigmoid": (nn.Sigmoid, ("copy", "flipped")),
    "relu": (nn.ReLU, ("copy", "scaled", "opposite")),
    "leaky_relu": (nn.LeakyReLU, ("copy", "scaled", "opposite")),
    "gelu": (nn.GELU, ("copy", "opposite")),
    "silu": (nn.SiLU, ("copy", "opposite")),
    "softplus": (nn.Softplus, ("copy", "opposite")),
    "hardswish": (nn.Hardswish, ("copy", "opposite")),
    "sin": (Sine, ("copy", "flipped", "shifted")),
    "t^3": (Cube, ("copy", "scaled", "scaled and flipped")),
    "abs": (Absolute, ("copy", "scaled", "flipped")),
}
"""Activation: its module, and in which ways a neuron before it can be a copy of another one."""

SCALES = ("scaled", "scaled and flipped")
HAS_SCALE = ("relu", "leaky_relu")
GRID = 5


@dataclass(frozen=True)
class RedundantCell:
    """One kind of network with planted redundancy.

    Args:
        activation: A key of ``ACTIVATIONS``.
        family: "mlp", "conv" or "residual".
        depth: Hidden layers; blocks of a residual stream.
        dtype: "float32" or "float64"; in float32 scales are powers of two, so that copies are exact.
    """

    activation: str
    family: str
    depth: int
    dtype: str

    def __str__(self) -> str:
        return f"{self.activation} {self.family} depth {self.depth} {self.dtype}"


@dataclass(frozen=True, eq=False)
class Redundant:
    """A network with neurons that it does not need, and which ones they are.

    Args:
        module: The network, in evaluation mode.
        unread: By layer, neurons that nothing reads.
        constant: By layer, neurons without an input whose constant folds away.
        classes: By layer, neurons that are one neuron up to the gauge or a bypass; all but one are to be removed.
        opposite: By layer, the members that are opposite to the first of their class.
        near_misses: The same network with every planted relation missed by a thousandth: nothing is redundant.
        cell: What kind of network.
        seed: What it was drawn from.
    """

    module: nn.Module
    unread: Mapping[str, frozenset[int]]
    constant: Mapping[str, frozenset[int]]
    classes: Mapping[str, tuple[frozenset[int], ...]]
    opposite: Mapping[str, frozenset[int]]
    near_misses: nn.Module
    cell: RedundantCell
    seed: int

    def example(self, count: int = 2) -> Tensor:
        """Standard normal inputs in the network's type, drawn from the seed."""
        shape = (4, GRID, GRID) if self.cell.family == "conv" else (5,)
        generator = torch.Generator().manual_seed(self.seed)
        return torch.randn(count, *shape, generator=generator, dtype=getattr(torch, self.cell.dtype))


@dataclass(frozen=True)
class _Space:
    """A layer: who writes its rows and who reads its columns."""

    place: str
    writers: tuple[str, ...]
    readers: tuple[str, ...]
    padded: bool = False


@dataclass(frozen=True)
class _Extra:
    kind: str
    of: int


def redundant_network(cell: RedundantCell, seed: int) -> Redundant:
    """Plant redundancy in a random network.

    Example:
        >>> planted = redundant_network(RedundantCell("relu", "mlp", 1, "float64"), seed=3)
        >>> found = planted.unread["layers.0"] | planted.constant["layers.0"]
        >>> len(found) >= 1, planted.module(planted.example()).shape
        (True, torch.Size([2, 3]))
    """
    rng = seeded(seed)
    inputs = 4 if cell.family == "conv" else 5
    base = [int(n) for n in rng.integers(3, 6, size=cell.depth + (cell.family == "residual"))]
    spaces = _spaces(cell)
    extras = [_draw(cell, space, n, rng) for space, n in zip(spaces, base, strict=True)]
    grown = [n + len(e) for n, e in zip(base, extras, strict=True)]
    arrays = _weights(cell, [inputs, *base, 3], rng)
    for space, extra in zip(spaces, extras, strict=True):
        _grow(space, extra, arrays, rng)
    missed = {name: array.copy() for name, array in arrays.items()}
    orders = [rng.permutation(n) for n in grown]
    state = rng.bit_generator.state
    for target, miss in ((arrays, 0.0), (missed, 1e-3)):
        rng.bit_generator.state = state  # both twins draw the same numbers
        for space, extra in zip(spaces, extras, strict=True):
            _impose(cell, space, extra, target, rng, miss)
        for space, extra in zip(spaces, extras, strict=True):
            _silence(space, extra, target, miss)
        for space, order in zip(spaces, orders, strict=True):
            _shuffle(space, order, target)
    modules = [_module(cell, [inputs, *grown, 3], a) for a in (arrays, missed)]
    unread, constant, classes, opposite = {}, {}, {}, {}
    for space, n, extra, order in zip(spaces, base, extras, orders, strict=True):
        place = np.argsort(order)  # where a neuron went
        kinds = [*[""] * n, *(e.kind for e in extra)]
        unread[space.place] = frozenset(int(place[i]) for i, k in enumerate(kinds) if k == "unread")
        constant[space.place] = frozenset(
            int(place[i]) for i, k in enumerate(kinds) if k == "constant" and not space.padded
        )
        opposite[space.place] = frozenset(int(place[i]) for i, k in enumerate(kinds) if k == "opposite")
        members: dict[int, set[int]] = {}
        for i, e in enumerate(extra):
            if e.of >= 0:
                members.setdefault(e.of, {int(place[e.of])}).add(int(place[n + i]))
        classes[space.place] = tuple(frozenset(m) for m in members.values())
    return Redundant(modules[0], unread, constant, classes, opposite, modules[1], cell, seed)


def _spaces(cell: RedundantCell) -> list[_Space]:
    if cell.family == "residual":
        blocks = range(cell.depth)
        stream = _Space("embed", ("embed", *(f"write.{k}" for k in blocks)), (*(f"read.{k}" for k in blocks), "head"))
        return [stream, *(_Space(f"read.{k}", (f"read.{k}",), (f"write.{k}",)) for k in blocks)]
    return [
        _Space(f"layers.{k}", (f"layers.{k}",), (f"layers.{k + 1}",), cell.family == "conv" and k < cell.depth - 1)
        for k in range(cell.depth)
    ]


def _draw(cell: RedundantCell, space: _Space, n: int, rng: np.random.Generator) -> list[_Extra]:
    """One to four extra neurons; at most one constant where it stays, since two of them would be copies."""
    kinds = ["unread", "constant", *ACTIVATIONS[cell.activation][1]]
    if space.padded and cell.activation == "sigmoid":
        kinds.remove("flipped")  # 1 - s(z) needs a constant, which does not fold here
    if cell.dtype == "float32" and "shifted" in kinds:
        kinds.remove("shifted")  # pi is no number of that type, so the relation would not be exact
    chosen = [str(k) for k in rng.choice(kinds, size=int(rng.integers(1, 5)))]
    out, constants = [], 0
    for kind in chosen:
        constants += kind == "constant"
        if kind == "constant" and constants > 1 and space.padded:
            continue
        out.append(_Extra(kind, int(rng.integers(n)) if kind not in ("unread", "constant") else -1))
    return out


def _weights(cell: RedundantCell, widths: Sequence[int], rng: np.random.Generator) -> dict[str, ndarray]:
    """Random weights of the base network, none of them special."""
    module = _build(cell, widths)
    return {
        name: rng.standard_normal(p.shape) * (0.7 / np.sqrt(np.prod(p.shape[1:])) if p.ndim > 1 else 0.5)
        for name, p in module.named_parameters()
    }


def _grow(space: _Space, extras: list[_Extra], arrays: dict[str, ndarray], rng: np.random.Generator) -> None:
    """Room for the new neurons: random rows in every writer, random columns in every reader."""
    for writer in space.writers:
        weight, bias = arrays[f"{writer}.weight"], arrays[f"{writer}.bias"]
        rows = rng.standard_normal((len(extras), *weight.shape[1:])) / np.sqrt(np.prod(weight.shape[1:]))
        arrays[f"{writer}.weight"] = np.concatenate([weight, rows])
        arrays[f"{writer}.bias"] = np.append(bias, rng.uniform(0.3, 1.0, size=len(extras)))
    for reader in space.readers:
        weight = arrays[f"{reader}.weight"]
        columns = 0.5 * rng.standard_normal((weight.shape[0], len(extras), *weight.shape[2:]))
        arrays[f"{reader}.weight"] = np.concatenate([weight, columns], axis=1)


def _impose(
    cell: RedundantCell, space: _Space, extras: list[_Extra], arrays: dict[str, ndarray], rng: np.random.Generator,
    miss: float,
) -> None:  # fmt: skip
    """The relations between rows; ``miss`` moves each of them off by so much."""
    count = len(arrays[f"{space.writers[0]}.bias"]) - len(extras)
    for i, extra in enumerate(extras, start=count):
        factor, shift = _relation(cell, extra.kind, rng)
        for k, writer in enumerate(space.writers):
            weight, bias = arrays[f"{writer}.weight"], arrays[f"{writer}.bias"]
            noise = miss * rng.standard_normal(weight.shape[1:])
            if extra.kind == "constant":
                weight[i] = noise
            elif extra.of >= 0:
                weight[i] = factor * weight[extra.of] + noise
                bias[i] = factor * bias[extra.of] + (shift if k == 0 else 0.0)


def _silence(space: _Space, extras: list[_Extra], arrays: dict[str, ndarray], miss: float) -> None:
    """What nothing reads: columns of zeros."""
    for reader in space.readers:
        weight = arrays[f"{reader}.weight"]
        for i, extra in enumerate(extras, start=weight.shape[1] - len(extras)):
            if extra.kind == "unread":
                weight[:, i] *= miss


def _relation(cell: RedundantCell, kind: str, rng: np.random.Generator) -> tuple[float, float]:
    """Factor of the row and shift of the bias."""
    size = float(2.0 ** rng.integers(-2, 3) if cell.dtype == "float32" else rng.uniform(0.3, 3.0))
    scaled = kind in SCALES or (kind == "opposite" and cell.activation in HAS_SCALE)
    sign = -1.0 if kind in ("flipped", "scaled and flipped", "opposite") else 1.0
    return sign * (size if scaled else 1.0), np.pi if kind == "shifted" else 0.0


def _shuffle(space: _Space, order: ndarray, arrays: dict[str, ndarray]) -> None:
    for writer in space.writers:
        arrays[f"{writer}.weight"] = arrays[f"{writer}.weight"][order]
        arrays[f"{writer}.bias"] = arrays[f"{writer}.bias"][order]
    for reader in space.readers:
        arrays[f"{reader}.weight"] = arrays[f"{reader}.weight"][:, order]


def _build(cell: RedundantCell, widths: Sequence[int]) -> nn.Module:
    if cell.family == "residual":
        inputs, stream, *rest = widths
        module: nn.Module = Residual([inputs, stream, *rest], "relu")
    else:
        module = (Chain if cell.family == "mlp" else ConvChain)(list(widths), "relu")
    module.act = ACTIVATIONS[cell.activation][0]()
    return module


def _module(cell: RedundantCell, widths: Sequence[int], arrays: dict[str, ndarray]) -> nn.Module:
    dtype = getattr(torch, cell.dtype)
    module = _build(cell, widths).to(dtype)
    if cell.dtype == "float32":
        # Rounded first, so that copies by powers of two stay exact copies.
        arrays = {name: array.astype(np.float32) for name, array in arrays.items()}
    module.load_state_dict({name: torch.tensor(array, dtype=dtype) for name, array in arrays.items()})
    return module.eval()
