"""Inputs to take a functional dimension on: short dyadic numbers at several scales, spread over activation regions.

A random deep ReLU network bends at many distances from the origin, and far-away or thin regions carry directions that
no input near zero sees. So candidates are drawn at scales from 1/8 to 32 and between earlier ones; those that lie on
a combination of pieces seen least are taken first, and only those whose pieces are certain.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NoReturn

import numpy as np
from jaxtyping import Float
from numpy import ndarray

from intertwiner.errors import EmptyData, WrongUse
from intertwiner.exact import certify
from intertwiner.network import Embedding, Input, Network
from intertwiner.numerics.seeds import rng

SCALES = (0.125, 0.5, 2.0, 8.0, 32.0)
ENTRIES = 512
"""Entries of one nonlinearity whose rare pieces are looked after."""

GRID = 2.0**10
"""Candidates are whole multiples of their scale over this: short mantissas, exact in every float type."""


@dataclass(frozen=True, eq=False)
class Pool:
    """Certified inputs in the order they are to be used.

    Args:
        inputs: One array per input of the network, batch first, float64.
        choices: The pieces they lie on, by node.
        regions: How many combinations of pieces are among them.
        refused: How many candidates were left out because a piece was not certain.
        standing: By node, the entries that lie exactly on a breakpoint at every candidate: there the piece below is
            taken, which is the derivative that torch takes of a ReLU.
    """

    inputs: tuple[Float[ndarray, "b ..."], ...]
    choices: dict[str, ndarray]
    regions: int
    refused: int
    standing: dict[str, ndarray]

    def __len__(self) -> int:
        return len(self.inputs[0])

    def take(self, rows: ndarray) -> tuple[list[ndarray], dict[str, ndarray]]:
        """Inputs and pieces of some samples."""
        return [x[rows] for x in self.inputs], {name: c[rows] for name, c in self.choices.items()}


def drawn_pool(network: Network, size: int, seed: int) -> Pool:
    """A pool of about ``size`` inputs, drawn at several scales.

    Cost: certified forward passes of up to four times as many candidates.
    """
    random = rng(seed)
    batches = [draw(network, 2 * size, random)]
    if any(s.dtype.is_floating_point for s in network.inputs):
        batches.append(between(batches[0], 2 * size, random, network))
    candidates = [np.concatenate(parts) for parts in zip(*batches, strict=True)]
    return _pool(network, candidates, size)


def given_pool(network: Network, data: Sequence[Float[ndarray, "b ..."]]) -> Pool:
    """The inputs that the user gave, those with certain pieces."""
    return _pool(network, [np.asarray(x, dtype=np.float64) for x in data], len(data[0]))


def _pool(network: Network, candidates: list[ndarray], size: int) -> Pool:
    chunk = max(1, (1 << 22) // max(1, sum(int(np.prod(n.shape[1:])) for n in network.nodes)))
    parts = [certify(network, [x[s : s + chunk] for x in candidates]) for s in range(0, len(candidates[0]), chunk)]
    on_break = {name: np.concatenate([p.on_break[name] for p in parts]) for name in parts[0].on_break}
    standing = {name: np.asarray(flag.all(axis=0)) for name, flag in on_break.items()}
    rows = np.flatnonzero(np.concatenate([p.sure(standing) for p in parts]))
    if not len(rows):
        _refuse(on_break, len(candidates[0]))
    choices = {name: np.concatenate([p.choices[name] for p in parts])[rows] for name in parts[0].choices}
    order, regions = _rarest_first(choices, len(rows))
    chosen = order[:size]
    return Pool(
        tuple(x[rows[chosen]] for x in candidates), {n: c[chosen] for n, c in choices.items()}, regions,
        len(candidates[0]) - len(rows), standing,
    )  # fmt: skip


def _rarest_first(choices: dict[str, ndarray], count: int) -> tuple[ndarray, int]:
    """One sample of every region, then the second of every region, and so on; among them, rare pieces first."""
    if not choices or not count:
        return np.arange(count), min(count, 1)
    flat = np.concatenate([c.reshape(count, -1).astype(np.int64) for c in choices.values()], axis=1)
    weights = rng(0).integers(1, 1 << 62, flat.shape[1])
    keys = (flat + 1) @ weights  # wraps around, which is as good a hash
    _, region = np.unique(keys, return_inverse=True)
    region = region.ravel()
    by_region = np.argsort(region, kind="stable")
    sizes = np.bincount(region)
    turn = np.empty(count, dtype=np.int64)
    turn[by_region] = np.arange(count) - np.repeat(np.cumsum(sizes) - sizes, sizes)
    as_drawn = np.argsort(turn, kind="stable")
    rare = _with_rare_pieces(choices, as_drawn)
    both = np.concatenate([np.stack([rare, as_drawn[: len(rare)]], axis=1).ravel(), as_drawn])
    _, first = np.unique(both, return_index=True)
    return both[np.sort(first)], len(sizes)


def _with_rare_pieces(choices: dict[str, ndarray], order: ndarray) -> ndarray:
    """For every entry and piece, the rarest first, some samples with the entry on that piece.

    A neuron that is active at few inputs needs as many of those as it has weights before its directions are seen.
    """
    found: list[ndarray] = []
    for choice in choices.values():
        flat = choice[order].reshape(len(order), -1)
        entries = np.arange(flat.shape[1]) if flat.shape[1] <= ENTRIES else rng(1).choice(flat.shape[1], ENTRIES)
        for piece in np.unique(flat):
            here = flat[:, entries] == piece
            found += [np.flatnonzero(column) for column in here.T]
    few = sorted((f for f in found if 0 < len(f) < len(order) // 8), key=len)
    if not few:
        return order[:0]
    joined = np.concatenate([f[: len(order) // 32] for f in few])
    _, first = np.unique(joined, return_index=True)
    return order[joined[np.sort(first)]]


def draw(network: Network, count: int, random: np.random.Generator, scales: Sequence[float] = SCALES) -> list[ndarray]:
    """Candidates: normal at a random scale for floats, uniform below the vocabulary for tokens."""
    scale = random.choice(np.array(scales), count)
    out = []
    for node, spec in zip((n for n in network.nodes if isinstance(n.op, Input)), network.inputs, strict=True):
        shape = (count, *spec.shape[1:])
        if spec.dtype.is_floating_point:
            x = random.normal(size=shape)
            unit = (scale / GRID).reshape(-1, *(1,) * (len(shape) - 1))
            out.append(np.rint(x * GRID) * unit)
        else:
            out.append(random.integers(0, _vocabulary(network, node.name), shape).astype(np.float64))
    return out


def between(candidates: list[ndarray], count: int, random: np.random.Generator, network: Network) -> list[ndarray]:
    """Candidates on segments between others, where the borders of regions are crossed."""
    i, j = random.integers(0, len(candidates[0]), (2, count))
    t = random.integers(1, 64, count) / 64
    out = []
    for x, spec in zip(candidates, network.inputs, strict=True):
        s = t.reshape(-1, *(1,) * (x.ndim - 1))
        out.append(x[i] + s * (x[j] - x[i]) if spec.dtype.is_floating_point else x[i])
    return out


def _vocabulary(network: Network, name: str) -> int:
    sizes = [n.op.weight.shape[0] for n in network.nodes if isinstance(n.op, Embedding) and name in n.inputs]
    if not sizes:
        raise WrongUse(f"the whole-number input {name!r} is read by no embedding: its range is unknown; give data=")
    return min(sizes)


def _refuse(on_break: dict[str, ndarray], count: int) -> NoReturn:
    where = {name: int(flag.reshape(count, -1).any(axis=1).sum()) for name, flag in on_break.items() if flag.any()}
    raise EmptyData(
        f"none of {count} inputs lies surely inside a piece of every nonlinearity; exactly on a breakpoint of "
        f"{where or 'none'}.\n"
        "  Usual cause: data on which neurons are exactly zero, such as blank images without biases. Leave data out, "
        "so that inputs are drawn, or add others. No dimension was computed."
    )
