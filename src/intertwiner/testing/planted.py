r"""Networks with a planted symmetry: every layer's action is chosen, then hidden by a random gauge.

Hidden layers carry disjoint unions of orbits G/H, weights are tied along orbits (random elements of Hom_G, exact to
the bit), and every latent space is then changed by a random element of its gauge group, which no input-output
experiment can see. An audit has to find the chosen representations, up to isomorphism, and nothing else.
"""

from __future__ import annotations

import copy
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

import numpy as np
import torch
from numpy import ndarray
from torch import Tensor, nn

from intertwiner.algebra import Group, GSet, Orbit, Representation, Subgroup, parse_group, subgroup_classes
from intertwiner.errors import WrongUse
from intertwiner.gauge import GaugeElement, Pointwise, pointwise, random_element
from intertwiner.numerics.monomial import Monomial
from intertwiner.numerics.seeds import rng as seeded
from intertwiner.numerics.tolerance import tolerance
from intertwiner.symmetry import Symmetry, TensorAction, image, vector
from intertwiner.testing.alive import enliven, target_of
from intertwiner.testing.modules import FAMILIES
from intertwiner.testing.tied import entry_orbits, tied

POINTWISE_OF = {
    "tanh": "tanh",
    "relu": "relu",
    "leaky_relu": "leaky_relu",
    "gelu": "gelu",
    "sin": "sin",
    "t^3": "pow(3)",
}
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
    """One weight of a planted network: which spaces it connects, which entries and which rows are tied.

    ``unit`` is the norm of an entry's row ``[W | b]`` as a change of that entry, in balanced coordinates: neurons
    that are read count with their root mean square, and the row of a stream is that of all its writers. So what
    counts as a small change does not depend on the gauge that hides the network.
    """

    name: str
    writes: str
    reads: str
    array: ndarray
    orbits: ndarray
    bias: ndarray
    row_orbits: ndarray
    unit: ndarray


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

    def orbits(self, tap: str) -> GSet:
        """The neurons planted at a tap, as a disjoint union of orbits."""
        return GSet.from_monomials(self.symmetry.group, permutations(self.representations[tap]))[0]

    def example(self, count: int = 2) -> Tensor:
        """Standard normal inputs in the network's dtype, drawn from the seed."""
        generator = torch.Generator().manual_seed(self.seed)
        dtype = getattr(torch, self.cell.dtype)
        return torch.randn(count, *self.input_shape, generator=generator, dtype=dtype)

    def with_weight_moved(self, by: float | None = None) -> Planted:
        """The same network with one weight changed whose orbit under G is not a point.

        Args:
            by: Change in units of the norm of the weight's row (``Weight.unit``); 10 x TOLERANCE by default.
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
            parameter[place] += by * float(weight.unit[place])
        return replace(self, module=module)

    def with_wrong_action(self) -> Symmetry:
        """The same group acting on the input in a way that the network does not know.

        Pixels stay moved as they were, but the first generator also exchanges the two channels; features are
        permuted by a conjugate of the planted action. Some generator then moves the input as no element does in
        the planted action: otherwise (an automorphism of the group) hidden layers would rightly carry an action.
        """
        group, rng = self.symmetry.group, seeded(self.seed + 2)
        if self.cell.family == "conv" and self.cell.group in PLANAR:
            swaps = [[1, 0], *([0, 1] for _ in group.generators[1:])]
            return replace(self.symmetry, on_input=image(group, channels=swaps))
        images = self.input_images
        planted = Representation(group, images)
        known = [planted.matrix(g) for g in range(group.order)]
        while True:
            scramble = Monomial(rng.permutation(images[0].dimension))
            moved = tuple(scramble @ m @ scramble.inverse() for m in images)
            if any(m not in known for m in moved):
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
        weights = _enlivened(cell, spaces, _weights(cell, spaces, group, rng), rng)
        if all(_distinct(w) for w in weights if w.writes not in ("output",)):
            return _assemble(cell, group, spaces, weights, rng, seed)
    raise WrongUse(f"no network with distinct neurons was drawn for {cell} and seed {seed}")


def _spaces(cell: Cell, group: Group, rng: np.random.Generator) -> dict[str, Representation]:
    """The representation of every space: input, hidden ones by the weight that writes them, output."""
    trivial, *middle, _ = subgroup_classes(group)
    partial = list(middle) or [trivial]
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
    return [(f"layers.{i}", b, a) for i, (a, b) in enumerate(pairwise(chain))]


def _weights(cell: Cell, spaces: Mapping[str, Representation], group: Group, rng: np.random.Generator) -> list[Weight]:
    kernel = _kernel_moves(cell, group)
    out = []
    for name, writes, reads in _layout(cell):
        count = len(group.generators)
        moves = [[permutations(spaces[s])[g].index for s in (writes, reads)] for g in range(count)]
        shape = [spaces[writes].dimension, spaces[reads].dimension]
        if cell.family == "conv" and writes != "output":
            moves = [[*axes, kernel[g]] for g, axes in enumerate(moves)]
            shape += [3, 3]
        array, orbits = tied(moves, rng, 1.0)
        row_orbits = entry_orbits([axes[:1] for axes in moves])
        bias = np.zeros(shape[0])
        array, orbits = array.reshape(shape), orbits.reshape(shape)
        out.append(Weight(name, writes, reads, array, orbits, bias, row_orbits, np.ones(shape)))
    return out


def _enlivened(
    cell: Cell, spaces: Mapping[str, Representation], weights: Sequence[Weight], rng: np.random.Generator
) -> list[Weight]:
    """The same weights at a size at which every neuron is alive, and biases."""
    module = _module(cell, spaces).to(torch.float64)
    _load(module, weights)
    layers = {w.name: (target_of(cell.activation, w.name, w.writes), w.row_orbits) for w in weights}
    read = enliven(module, layers, _input_shape(cell, spaces), rng)
    state = {name: value.numpy().copy() for name, value in module.state_dict().items()}
    alive = [replace(w, array=state[f"{w.name}.weight"], bias=state[f"{w.name}.bias"]) for w in weights]
    squares = {w.writes: np.zeros(len(w.bias)) for w in weights}
    size = {w.name: read[w.name].reshape(-1, *[1] * (w.array.ndim - 2)) for w in weights}
    for w in alive:
        squares[w.writes] += np.square(w.array * size[w.name]).reshape(len(w.bias), -1).sum(1) + w.bias**2
    norms = {w.name: np.sqrt(squares[w.writes]).reshape(-1, *[1] * (w.array.ndim - 1)) for w in weights}
    return [replace(w, unit=np.broadcast_to(norms[w.name] / size[w.name], w.array.shape)) for w in alive]


def _kernel_moves(cell: Cell, group: Group) -> list[ndarray]:
    """Where every generator moves the nine places of a 3 x 3 kernel."""
    if cell.family != "conv" or cell.group not in PLANAR:
        return [np.arange(9) for _ in group.generators]
    moves = [a.matrix_on((1, 2)) for a in image(group).on(group, (1, 3, 3)) if isinstance(a, TensorAction)]
    return [m.index for m in moves if isinstance(m, Monomial)]


def _distinct(weight: Weight, least: float = 1e-2) -> bool:
    """No two neurons of a layer are equal or opposite up to scale."""
    rows = np.concatenate([weight.array.reshape(len(weight.array), -1), weight.bias[:, None]], axis=1)
    rows = rows / np.linalg.norm(rows, axis=1, keepdims=True)
    overlap = np.abs(rows @ rows.T)
    np.fill_diagonal(overlap, 0)
    return bool(overlap.max(initial=0) < 1 - least**2)


def _assemble(
    cell: Cell,
    group: Group,
    spaces: Mapping[str, Representation],
    weights: Sequence[Weight],
    rng: np.random.Generator,
    seed: int,
) -> Planted:
    activation = pointwise(POINTWISE_OF[cell.activation])
    gauge = {
        name: _hiding(activation, rho.dimension, rng) for name, rho in spaces.items() if name not in ("input", "output")
    }
    hidden = {w.name: _hide(w, gauge, activation) for w in weights}
    module = _module(cell, spaces).to(getattr(torch, cell.dtype)).eval()
    _load(module, hidden.values())
    pixels = cell.family == "conv" and cell.group in PLANAR
    inputs, outputs = permutations(spaces["input"]), permutations(spaces["output"])
    on_input = image(group) if pixels else _features(group, inputs, cell.family)
    symmetry = Symmetry(group, on_input=on_input, on_output=vector(perm=[m.index.tolist() for m in outputs]))
    return Planted(module, symmetry, _taps(cell, spaces), cell, hidden, inputs, _input_shape(cell, spaces), seed)


def _taps(cell: Cell, spaces: Mapping[str, Representation]) -> dict[str, Representation]:
    """What was planted where: at every layer that writes a hidden space, and wherever a stream is added up."""
    taps = {name: spaces[writes] for name, writes, _ in _layout(cell) if writes.startswith("h") or name == "embed"}
    if cell.family == "residual":
        taps |= {f"add_{i}" if i else "add": spaces["stream"] for i in range(cell.depth)}
    return taps


def permutations(representation: Representation) -> tuple[Monomial, ...]:
    """The images of the generators of a planted representation, which are permutations."""
    return tuple(m for m in representation.images if isinstance(m, Monomial))


def _module(cell: Cell, spaces: Mapping[str, Representation]) -> nn.Module:
    stream = ["stream"] if cell.family == "residual" else []
    order = ["input", *stream, *(f"h{i}" for i in range(cell.depth)), "output"]
    return FAMILIES[cell.family]([spaces[s].dimension for s in order], cell.activation)


def _load(module: nn.Module, weights: Iterable[Weight]) -> None:
    with torch.no_grad():
        for weight in weights:
            module.get_parameter(f"{weight.name}.weight").copy_(torch.from_numpy(weight.array))
            module.get_parameter(f"{weight.name}.bias").copy_(torch.from_numpy(weight.bias))


def _input_shape(cell: Cell, spaces: Mapping[str, Representation]) -> tuple[int, ...]:
    return (spaces["input"].dimension, *([GRID] * 2 if cell.family == "conv" else []))


def _hiding(activation: Pointwise, n: int, rng: np.random.Generator) -> GaugeElement:
    """A random gauge element with scales between 1/2 and 2 and no shift."""
    matrix = _monomial(random_element(replace(activation, shift="none").gauge(n), rng))
    return GaugeElement(Monomial(matrix.index, matrix.sign * np.clip(matrix.scale, 0.5, 2.0)))


def _monomial(element: GaugeElement) -> Monomial:
    if not isinstance(element.matrix, Monomial):
        raise WrongUse("planted networks are hidden by monomial gauge elements only")
    return element.matrix


def _hide(weight: Weight, gauge: Mapping[str, GaugeElement], activation: Pointwise) -> Weight:
    """The weight in the new coordinates of the spaces it connects."""
    array, orbits, bias = weight.array, weight.orbits, weight.bias
    rows, unit = weight.row_orbits, weight.unit
    if weight.writes in gauge:
        k = _monomial(gauge[weight.writes])
        array, bias, unit = k.apply(array), k.apply(bias), k.apply(unit)
        orbits, rows = np.take(orbits, k.sources, axis=0), rows[k.sources]
    if weight.reads in gauge:
        back = _monomial(activation.phi(gauge[weight.reads])).inverse()
        array, unit = (np.moveaxis(back.apply_right(np.moveaxis(a, 1, -1)), -1, 1) for a in (array, unit))
        orbits = np.take(orbits, back.index, axis=1)
    return replace(weight, array=array, orbits=orbits, bias=bias, row_orbits=rows, unit=np.abs(unit))


def _features(group: Group, images: Sequence[Monomial], family: str):
    if family == "conv":
        return image(flip=["identity"] * len(images), channels=Representation(group, tuple(images)))
    return vector(perm=[m.index.tolist() for m in images])
