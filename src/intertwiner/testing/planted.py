r"""Networks with a planted symmetry: every layer's action is chosen, then hidden by a random gauge.

Hidden layers carry disjoint unions of orbits G/H, weights are tied along orbits (random elements of Hom_G, exact to
the bit), and every latent space is then changed by a random element of its gauge group, which no input-output
experiment can see. An audit has to find the chosen representations, up to isomorphism, and nothing else.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from math import prod

import numpy as np
import torch
from numpy import ndarray
from torch import nn

from intertwiner.algebra import Group, GSet, Orbit, Representation, Subgroup, parse_group, subgroup_classes
from intertwiner.errors import WrongUse
from intertwiner.gauge import GaugeElement, Pointwise, pointwise, random_element
from intertwiner.numerics.monomial import Monomial
from intertwiner.numerics.seeds import rng as seeded
from intertwiner.numerics.tolerance import tolerance
from intertwiner.symmetry import Symmetry, image, vector
from intertwiner.testing.modules import FAMILIES
from intertwiner.testing.tied import tied

POINTWISE_OF = {"tanh": "tanh", "relu": "relu", "leaky_relu": "leaky_relu", "gelu": "gelu", "sin": "sin", "t^3": "pow(3)"}
PLANAR = ("C2", "C4", "D4", "C2xC2")
"""Groups that move the pixels of planted convolutional networks; the others permute input channels."""
GRID = 6


@dataclass(frozen=True)
class Cell:
    """One kind of planted network.

    Args:
        group: Name, e.g. "D4".
        activation: One of "tanh", "relu", "leaky_relu", "gelu", "sin", "t^3".
        family: "mlp", "conv" or "residual".
        depth: Hidden layers; blocks of a residual stream.
        dtype: "float32" or "float64".
    """

    group: str
    activation: str
    family: str
    depth: int
    dtype: str

    def __str__(self) -> str:
        return f"{self.group} {self.activation} {self.family} depth {self.depth} {self.dtype}"


@dataclass(frozen=True, eq=False)
class Weight:
    """One weight of a planted network, which spaces it connects and which entries are tied."""

    name: str
    writes: str
    reads: str
    array: ndarray
    orbits: ndarray
    bias: ndarray


@dataclass(frozen=True, eq=False)
class Planted:
    """A network with a known answer.

    Args:
        module: The network, in evaluation mode.
        symmetry: The planted symmetry.
        representations: The representation planted at each tap.
        cell: What kind of network.
        weights: The hidden weights and their ties, by parameter name.
        seed: What it was drawn from.
    """

    module: nn.Module
    symmetry: Symmetry
    representations: Mapping[str, Representation]
    cell: Cell
    weights: Mapping[str, Weight]
    input_images: tuple[Monomial, ...]
    input_shape: tuple[int, ...]
    seed: int

    def with_weight_moved(self, by: float | None = None) -> Planted:
        """The same network with one weight changed whose orbit under G is not a point.

        Args:
            by: Change in units of the norm of the weight's row; 10 x TOLERANCE by default.
        """
        by = 10 * tolerance(self.cell.dtype) if by is None else by
        rng = seeded(self.seed + 1)
        name = sorted(self.weights)[rng.integers(len(self.weights))]
        weight = self.weights[name]
        shared = np.flatnonzero(np.bincount(weight.orbits.ravel())[weight.orbits.ravel()] > 1)
        place = np.unravel_index(rng.choice(shared), weight.array.shape)
        module = copy.deepcopy(self.module)
        parameter = dict(module.named_parameters())[f"{name}.weight"]
        with torch.no_grad():
            parameter[place] += by * float(parameter[place[0]].norm())
        return replace(self, module=module)

    def with_wrong_action(self) -> Symmetry:
        """The same group acting on the input in a way that the network does not know.

        Pixels stay moved as they were, but the first generator also exchanges the two channels; features are
        permuted by a conjugate of the planted action.
        """
        group, rng = self.symmetry.group, seeded(self.seed + 2)
        if self.cell.family == "conv" and self.cell.group in PLANAR:
            swaps = [[1, 0], *([0, 1] for _ in group.generators[1:])]
            return replace(self.symmetry, on_input=image(group, channels=swaps))
        images = self.input_images
        while True:
            scramble = Monomial(rng.permutation(images[0].dimension))
            moved = tuple(scramble @ m @ scramble.inverse() for m in images)
            if moved != images:
                return replace(self.symmetry, on_input=_features(group, moved, self.cell.family))


def planted_network(cell: Cell, seed: int) -> Planted:
    """Plant a symmetry, hide it, and keep the answer.

    Hidden layers have a free, a partial and a fixed orbit wherever the group has a subgroup for each.

    Args:
        cell: Group, activation, family, depth, dtype.
        seed: Everything random comes from it.

    Raises:
        WrongUse: For t^3 deeper than three hidden layers (its values leave the range of floats).
    """
    if cell.activation == "t^3" and cell.depth > 3:
        raise WrongUse("t^3 is planted up to depth 3: deeper, its values leave the range of floats")
    rng = seeded(seed)
    group = parse_group(cell.group)
    for _ in range(100):
        spaces = _spaces(cell, group, rng)
        weights = _weights(cell, spaces, group, rng)
        if all(_distinct(w) for w in weights if w.writes not in ("output",)):
            return _assemble(cell, group, spaces, weights, rng, seed)
    raise WrongUse(f"no network with distinct neurons was drawn for {cell} and seed {seed}")


def _spaces(cell: Cell, group: Group, rng: np.random.Generator) -> dict[str, Representation]:
    """The representation of every space: input, hidden ones by the weight that writes them, output."""
    trivial, *middle, _ = subgroup_classes(group)
    partial = [h for h in middle] or [trivial]
    faithful = [h for h in partial if h.core.order == 1] or [trivial]
    small = min(faithful, key=lambda h: h.index)

    def union(*parts: tuple[Subgroup, int]) -> Representation:
        return GSet.of(group, [Orbit(h, multiplicity=m) for h, m in parts]).representation()

    whole = subgroup_classes(group)[-1]
    some = lambda: partial[rng.integers(len(partial))]  # noqa: E731
    spaces = {"output": union((small, 1), (whole, 1))}
    if cell.family == "conv":
        spaces["input"] = union((whole, 2)) if cell.group in PLANAR else union((trivial, 1), (whole, 1))
    else:
        spaces["input"] = union((trivial, 1), (small, 1), (whole, 1))
    names = [f"h{i}" for i in range(cell.depth)] + (["stream"] if cell.family == "residual" else [])
    for name in names:
        spaces[name] = union((trivial, 1), (some(), 1), (whole, int(rng.integers(1, 3))))
    return spaces


def _layout(cell: Cell) -> list[tuple[str, str, str]]:
    """Weights as (parameter, space written, space read)."""
    if cell.family == "residual":
        out = [("embed", "stream", "input")]
        for i in range(cell.depth):
            out += [(f"read.{i}", f"h{i}", "stream"), (f"write.{i}", "stream", f"h{i}")]
        return [*out, ("head", "output", "stream")]
    chain = ["input", *(f"h{i}" for i in range(cell.depth)), "output"]
    return [(f"layers.{i}", b, a) for i, (a, b) in enumerate(zip(chain, chain[1:], strict=False))]


def _weights(
    cell: Cell, spaces: Mapping[str, Representation], group: Group, rng: np.random.Generator
) -> list[Weight]:
    kernel = _kernel_moves(cell, group)
    out = []
    for name, writes, reads in _layout(cell):
        count = len(group.generators)
        moves = [[spaces[s].images[g].index for s in (writes, reads)] for g in range(count)]
        shape = [spaces[writes].dimension, spaces[reads].dimension]
        if cell.family == "conv" and writes != "output":
            moves = [[*axes, kernel[g]] for g, axes in enumerate(moves)]
            shape += [3, 3]
        gain = 0.5 if name.startswith("write") else 1.0
        array, orbits = tied(moves, rng, gain / np.sqrt(prod(shape[1:])))
        bias, _ = tied([axes[:1] for axes in moves], rng, 0.3)
        bias = bias + 0.1 * np.sign(bias)
        out.append(Weight(name, writes, reads, array.reshape(shape), orbits.reshape(shape), bias))
    return out


def _kernel_moves(cell: Cell, group: Group) -> list[ndarray]:
    """Where every generator moves the nine places of a 3 x 3 kernel."""
    if cell.family != "conv" or cell.group not in PLANAR:
        return [np.arange(9) for _ in group.generators]
    actions = image(group).on(group, (1, 3, 3))
    return [a.matrix_on((1, 2)).index for a in actions]


def _distinct(weight: Weight, least: float = 1e-2) -> bool:
    """No two neurons of a layer are equal or opposite up to scale."""
    rows = np.concatenate([weight.array.reshape(len(weight.array), -1), weight.bias[:, None]], axis=1)
    rows = rows / np.linalg.norm(rows, axis=1, keepdims=True)
    overlap = np.abs(rows @ rows.T)
    np.fill_diagonal(overlap, 0)
    return bool(overlap.max(initial=0) < 1 - least**2)


def _assemble(
    cell: Cell, group: Group, spaces: Mapping[str, Representation], weights: Sequence[Weight], rng: np.random.Generator, seed: int
) -> Planted:
    activation = pointwise(POINTWISE_OF[cell.activation])
    gauge = {name: _hiding(activation, rho.dimension, rng) for name, rho in spaces.items() if name not in ("input", "output")}
    hidden = {w.name: _hide(w, gauge, activation) for w in weights}
    order = ["input", *(["stream"] if cell.family == "residual" else []), *(f"h{i}" for i in range(cell.depth)), "output"]
    module = FAMILIES[cell.family]([spaces[s].dimension for s in order], cell.activation)
    module = module.to(getattr(torch, cell.dtype)).eval()
    with torch.no_grad():
        for name, weight in hidden.items():
            layer = module.get_submodule(name)
            layer.weight.copy_(torch.from_numpy(weight.array))
            layer.bias.copy_(torch.from_numpy(weight.bias))
    shape = (spaces["input"].dimension, *([GRID] * 2 if cell.family == "conv" else []))
    pixels = cell.family == "conv" and cell.group in PLANAR
    on_input = image(group) if pixels else _features(group, spaces["input"].images, cell.family)
    symmetry = Symmetry(group, on_input=on_input, on_output=vector(perm=[m.index.tolist() for m in spaces["output"].images]))
    taps = {name: spaces[writes] for name, writes, _ in _layout(cell) if writes.startswith("h") or name == "embed"}
    return Planted(module, symmetry, taps, cell, hidden, spaces["input"].images, shape, seed)


def _hiding(activation: Pointwise, n: int, rng: np.random.Generator) -> GaugeElement:
    """A random gauge element with scales between 1/2 and 2 and no shift."""
    element = random_element(replace(activation, shift="none").gauge(n), rng)
    matrix = element.matrix
    return GaugeElement(Monomial(matrix.index, matrix.sign * np.clip(matrix.scale, 0.5, 2.0)))


def _hide(weight: Weight, gauge: Mapping[str, GaugeElement], activation: Pointwise) -> Weight:
    """The weight in the new coordinates of the spaces it connects."""
    array, orbits, bias = weight.array, weight.orbits, weight.bias
    if weight.writes in gauge:
        k = gauge[weight.writes].matrix
        array, bias, orbits = k.apply(array), k.apply(bias), np.take(orbits, k.sources, axis=0)
    if weight.reads in gauge:
        back = activation.phi(gauge[weight.reads]).matrix.inverse()
        array = np.moveaxis(back.apply_right(np.moveaxis(array, 1, -1)), -1, 1)
        orbits = np.take(orbits, back.index, axis=1)
    return replace(weight, array=array, orbits=orbits, bias=bias)


def _features(group: Group, images: Sequence[Monomial], family: str):
    if family == "conv":
        return image(flip=["identity"] * len(images), channels=Representation(group, tuple(images)))
    return vector(perm=[m.index.tolist() for m in images])

