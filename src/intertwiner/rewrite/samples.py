r"""Data symmetrised under G: which elements have to be applied to raw samples, and the group average on them.

A data set that G maps to itself is symmetrised already. Otherwise every element is applied where G has at most
``ALL_ELEMENTS``, and beyond that as many drawn at random, which is said.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Int
from numpy import ndarray

from intertwiner.audit.neuron_orbits import ALL_ELEMENTS
from intertwiner.numerics.monomial import Monomial
from intertwiner.numerics.seeds import rng
from intertwiner.rewrite.elements import Elements
from intertwiner.rewrite.subject import Task

HELD = 2**25
"""Numbers of a data set that are held at once to see whether G maps it to itself."""


@dataclass(frozen=True, eq=False)
class Samples:
    """The data of a task, flattened and in float64, with the elements that symmetrise them.

    Args:
        task: What is rewritten.
        elements: Elements to be applied to every sample.
        closed: Whether G maps the data to themselves; ``elements`` is the identity alone then.
        places: For a closed data set, where every generator moves the samples.
        note: How the data were symmetrised, in words.
    """

    task: Task
    elements: Int[ndarray, " k"]
    closed: bool
    places: tuple[Int[ndarray, " n"], ...]
    note: str

    def batches(self) -> Iterator[Float[ndarray, "b d"]]:
        """Samples as rows, as often as they are asked for."""
        for (x,) in self.task.subject.stream:
            yield _flat(x)

    @property
    def exact(self) -> bool:
        """Whether means over the data are means over G as well."""
        return self.closed or len(self.elements) == self.task.bound.group.order


def _flat(x: torch.Tensor) -> Float[ndarray, "b d"]:
    return x.reshape(len(x), -1).to(torch.float64).cpu().numpy()


def samples_of(task: Task, seed: int = 0) -> Samples:
    """Choose the elements that symmetrise the data of a task."""
    group = task.bound.group
    if group.order <= ALL_ELEMENTS:
        return Samples(task, group.elements, False, (), f"moved by all {group.order} elements of {group.name}")
    places = _places(task)
    if places is not None:
        note = f"a data set that {group.name} maps to itself"
        return Samples(task, np.zeros(1, dtype=np.int64), True, places, note)
    drawn = rng(seed).choice(group.order, size=ALL_ELEMENTS, replace=False)
    note = f"moved by {ALL_ELEMENTS} random elements of {group.name} (seed {seed}): nearly symmetrised"
    return Samples(task, drawn, False, (), note)


def _places(task: Task) -> tuple[Int[ndarray, " n"], ...] | None:
    """Where the generators move the samples of a data set that they map to itself; None where they do not."""
    held, count = [], 0
    for (x,) in task.subject.stream:
        held.append(x.reshape(len(x), -1).cpu().numpy())
        count += held[-1].size
        if count > HELD:
            return None
    data = np.concatenate(held)
    if data.dtype.itemsize not in (4, 8):
        return None
    keys = _codes(data)
    order = np.argsort(keys, kind="stable")
    if (np.diff(keys[order]) == 0).any():
        return None
    out = []
    for m in task.rho_in:
        moved = m.apply(data, axis=1).astype(data.dtype, copy=False)
        place = order[np.searchsorted(keys[order], _codes(moved)).clip(max=len(keys) - 1)]
        if not np.array_equal(moved, data[place]):
            return None
        out.append(place)
    return tuple(out)


def _codes(data: ndarray) -> Int[ndarray, " n"]:
    """A number per sample; what it finds is compared in full."""
    multiplier = rng(0).integers(1, 2**63, size=data.shape[1], dtype=np.uint64) * np.uint64(2) + np.uint64(1)
    bits = np.uint32 if data.dtype.itemsize == 4 else np.uint64
    out = np.zeros(len(data), dtype=np.uint64)
    for column, factor in zip(data.T, multiplier, strict=True):  # sums wrap around, as a hash may
        exact = np.ascontiguousarray(column + 0.0).view(bits)  # plus zero: minus zero is zero
        out += exact.astype(np.uint64) * factor
    return out.view(np.int64)


def group_average(
    samples: Samples, values: Float[ndarray, "n o"], rho_out: tuple[Monomial, ...]
) -> Float[ndarray, "n o"]:
    """``mean over g of rho_out(g) f(g^{-1} x)`` for all samples of a closed data set, from the values of f there.

    Cost:
        One gather of the values per element of every factor of G: 120 + 120 for S5 x S5.
    """
    group = samples.task.bound.group
    where = Elements(group, tuple(Monomial(p) for p in samples.places)).by_factor
    moves = Elements(group, rho_out).by_factor
    for points, outs in zip(where, moves, strict=True):
        total = np.zeros_like(values)
        for point, out in zip(points, outs, strict=True):
            total[point.index] += out.apply(values, axis=1)
        values = total / len(points)
    return values
