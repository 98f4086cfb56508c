"""Networks whose conservation laws are known by their making, hidden by a random change of latent coordinates.

Every hidden space is written and read by known layers. Behind ReLU, leaky ReLU and abs its coordinates may be scaled by
positive numbers, behind ``t^r`` by any but zero (readers by the inverse r-th power), without an activation they may be
changed by any invertible matrix M. With ``I = sum W W^T + b b^T`` over the writers and ``O = sum W^T W`` over the
readers the laws are ``I_ii - r O_ii``, or the entries of ``I - O``; moved along the group they become ``d_i^2 I_ii - r
d_i^{-2r} O_ii`` and the entries of ``M I M^T - M^{-T} O M^{-1}``.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import product
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from numpy import ndarray
from torch import Tensor, nn

from intertwiner.numerics.seeds import rng as seeded
from intertwiner.testing.modules import Chain, ConvChain, Cube, Residual


class Square(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x**2


class Absolute(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x.abs()


ACTIVATIONS: dict[str, tuple[type[nn.Module], int]] = {
    "linear": (nn.Identity, 1),
    "relu": (nn.ReLU, 1),
    "leaky_relu": (nn.LeakyReLU, 1),
    "abs": (Absolute, 1),
    "t^2": (Square, 2),
    "t^3": (Cube, 3),
}
"""Activation: its module, and its degree r."""

FAMILIES = ("mlp", "conv", "residual")
GRID, INPUTS, OUTPUTS = 5, 3, 3


@dataclass(frozen=True)
class LawsCell:
    """One kind of network with known laws.

    Args:
        activation: A key of ``ACTIVATIONS``.
        family: "mlp", "conv" or "residual".
        depth: Hidden layers; a residual stream has one block and the stream fewer.
    """

    activation: str
    family: str
    depth: int

    def __str__(self) -> str:
        return f"{self.activation} {self.family} depth {self.depth}"


@dataclass(frozen=True)
class Space:
    """A hidden space, its writers and its readers, as prefixes of parameter names.

    Args:
        writers: Layers whose rows and biases belong to it.
        readers: Layers whose columns belong to it.
        size: Its dimension.
    """

    writers: tuple[str, ...]
    readers: tuple[str, ...]
    size: int

    @property
    def written(self) -> frozenset[str]:
        """Parameters of the writers."""
        return frozenset(f"{w}.{part}" for w in self.writers for part in ("weight", "bias"))

    @property
    def parameters(self) -> frozenset[str]:
        """All parameters in its laws."""
        return self.written | {f"{r}.weight" for r in self.readers}


@dataclass(frozen=True, eq=False)
class PlantedLaws:
    """A network in float64 and what is known of its laws.

    Args:
        module: The network.
        spaces: Its hidden spaces.
        cell: What kind of network.
        seed: ``planted_laws(cell, seed)`` builds it again.
    """

    module: nn.Module
    spaces: tuple[Space, ...]
    cell: LawsCell
    seed: int

    @property
    def linear(self) -> bool:
        """Whether the groups are GL."""
        return self.cell.activation == "linear"

    @property
    def degree(self) -> int:
        """r of the activation."""
        return ACTIVATIONS[self.cell.activation][1]

    @property
    def count(self) -> int:
        """Laws that the groups give."""
        return sum(s.size * (s.size + 1) // 2 if self.linear else s.size for s in self.spaces)

    @property
    def state(self) -> dict[str, ndarray]:
        """The parameters, copied."""
        return {name: p.detach().numpy().copy() for name, p in self.module.named_parameters()}

    def example(self, count: int = 2) -> Tensor:
        """Standard normal inputs, drawn from the seed."""
        shape = (INPUTS, GRID, GRID) if self.cell.family == "conv" else (INPUTS,)
        return torch.randn(count, *shape, generator=torch.Generator().manual_seed(self.seed), dtype=torch.float64)

    def element(self, space: Space, rng: np.random.Generator) -> Float[ndarray, "n n"]:
        """A random element of the group of a space, as a matrix."""
        if self.linear:
            return np.eye(space.size) + rng.uniform(-0.4, 0.4, size=(space.size, space.size)) / np.sqrt(space.size)
        signs = rng.choice([-1.0, 1.0], size=space.size) if self.cell.activation.startswith("t^") else 1.0
        return np.diag(signs * rng.uniform(0.6, 1.6, size=space.size))

    def moved(self, state: Mapping[str, ndarray], space: Space, element: Float[ndarray, "n n"]) -> dict[str, ndarray]:
        """The parameters moved by an element of the group of a space; the function stays."""
        out = dict(state)
        back = np.linalg.inv(element if self.linear else element**self.degree)
        for writer in space.writers:
            out[f"{writer}.weight"] = np.tensordot(element, out[f"{writer}.weight"], 1)
            out[f"{writer}.bias"] = element @ out[f"{writer}.bias"]
        for reader in space.readers:
            out[f"{reader}.weight"] = np.moveaxis(np.tensordot(back.T, out[f"{reader}.weight"], (1, 1)), 0, 1)
        return out

    def laws(
        self, state: Mapping[str, ndarray], space: Space, element: Float[ndarray, "n n"] | None = None
    ) -> Float[ndarray, " laws"]:
        """The laws of a space at given parameters, moved by an element of its group, without moving them."""
        n, r = space.size, self.degree
        written = sum(_gram(state[f"{w}.{part}"]) for w in space.writers for part in ("weight", "bias"))
        read = sum(_gram(np.moveaxis(state[f"{reader}.weight"], 1, 0)) for reader in space.readers)
        element = np.eye(n) if element is None else element
        if self.linear:
            back = np.linalg.inv(element)
            whole = element @ written @ element.T - back.T @ read @ back
            return whole[np.triu_indices(n)]
        scales = np.diag(element)
        return scales**2 * np.diag(written) - r * scales ** (-2.0 * r) * np.diag(np.asarray(read))


def _gram(rows: ndarray) -> Any:
    flat = rows.reshape(len(rows), -1)
    return flat @ flat.T


def laws_cells() -> tuple[LawsCell, ...]:
    """Every kind of network that is planted; cubes two deep, since deeper ones drown some gradients in others.

    >>> len(laws_cells())
    33
    """
    cells = (LawsCell(*rest) for rest in product(ACTIVATIONS, FAMILIES, (2, 3)))
    return tuple(cell for cell in cells if not (cell.activation == "t^3" and cell.depth > 2))


def planted_laws(cell: LawsCell, seed: int) -> PlantedLaws:
    """Make a network, and hide it by a random element of the group of every space.

    Example:
        >>> planted = planted_laws(LawsCell("relu", "mlp", 2), seed=3)
        >>> planted.count == sum(space.size for space in planted.spaces)
        True
    """
    rng = seeded(seed)
    widths = [int(n) for n in rng.integers(2, 5, size=cell.depth)]
    module = _built(cell, widths)
    spaces = _spaces(cell, widths)
    with torch.no_grad():
        for p in module.parameters():
            fan = int(np.prod(p.shape[1:])) if p.ndim > 1 else 4
            p.copy_(torch.tensor(rng.normal(size=tuple(p.shape)) / np.sqrt(fan)))
    planted = PlantedLaws(module, spaces, cell, seed)
    state = planted.state
    for space in spaces:
        state = planted.moved(state, space, planted.element(space, rng))
    module.load_state_dict({name: torch.tensor(array) for name, array in state.items()})
    return planted


def lawless(planted: PlantedLaws) -> nn.Module:
    """The same network with tanh, which has no laws."""
    module = copy.deepcopy(planted.module)
    module.act = nn.Tanh()
    return module


def _built(cell: LawsCell, widths: list[int]) -> nn.Module:
    kinds: dict[str, Any] = {"mlp": Chain, "conv": ConvChain, "residual": Residual}
    module = kinds[cell.family]([INPUTS, *widths, OUTPUTS], "relu").double()
    module.act = ACTIVATIONS[cell.activation][0]()
    return module


def _spaces(cell: LawsCell, widths: list[int]) -> tuple[Space, ...]:
    if cell.family != "residual":
        return tuple(Space((f"layers.{k}",), (f"layers.{k + 1}",), n) for k, n in enumerate(widths))
    blocks = range(len(widths) - 1)
    stream = Space(("embed", *(f"write.{k}" for k in blocks)), ("head", *(f"read.{k}" for k in blocks)), widths[0])
    return (stream, *(Space((f"read.{k}",), (f"write.{k}",), widths[k + 1]) for k in blocks))
