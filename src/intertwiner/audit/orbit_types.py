"""Orbit types: the stabilisers of neurons up to conjugacy, with their names and how often they occur."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Bool, Int
from numpy import ndarray

from intertwiner.algebra import Group, Subgroup
from intertwiner.audit.stabilisers import Stabilisers, closed_sets

NAMED_ORDER_MAX = 2000
"""Largest group whose subgroups are named; above it they are told apart by conjugacy and called by their order."""


@dataclass(frozen=True)
class OrbitType:
    """All neurons with one stabiliser up to conjugacy.

    Args:
        stabiliser: Name of H, followed by ``-`` where it acts by signs.
        order: Order of H.
        neurons: Number of neurons.
        orbits: Number of orbits G/H that they belong to, after merging.
        complete: How many of these have every image present.
    """

    stabiliser: str
    order: int
    neurons: int
    orbits: int
    complete: int

    def to_json(self) -> dict[str, Any]:
        return dict(vars(self))


def orbit_types(found: Stabilisers, orbit: Int[ndarray, " n"], complete: Bool[ndarray, " n"]) -> tuple[OrbitType, ...]:
    """Count neurons and orbits by stabiliser, up to conjugacy.

    Args:
        found: The stabiliser of every neuron; refused ones count with their candidate, marked ``?``.
        orbit: The merged orbit of every neuron.
        complete: Whether every image of the neuron is present.
    """
    names = np.array(stabiliser_names(found), dtype=object)
    types = []
    for name in dict.fromkeys(names.tolist()):
        inside = names == name
        orbits = set(orbit[inside].tolist())
        broken = set(orbit[inside & ~complete].tolist())
        order = int(found.orders[inside][0])
        types.append(OrbitType(name, order, int(inside.sum()), len(orbits), len(orbits - broken)))
    return tuple(sorted(types, key=lambda t: (-t.neurons, -t.order, t.stabiliser)))


def stabiliser_names(found: Stabilisers) -> list[str]:
    """One name per neuron, the same for conjugate stabilisers with conjugate signs."""
    character = found.character.astype(np.int8)
    distinct, first, back = np.unique(character, axis=0, return_index=True, return_inverse=True)
    closed = closed_sets(found.members[first], character[first].astype(np.int64), found.group)
    kinds: list[tuple[Subgroup, Subgroup, str]] = []
    names = [_name(found.group, row, kinds) if ok else "no subgroup" for row, ok in zip(distinct, closed, strict=True)]
    decided = found.decided
    return [names[k] + ("" if sure else "?") for k, sure in zip(back.ravel(), decided, strict=True)]


def _name(group: Group, character: Int[ndarray, " order"], kinds: list[tuple[Subgroup, Subgroup, str]]) -> str:
    whole = Subgroup(group, np.flatnonzero(character))
    kernel = Subgroup(group, np.flatnonzero(character > 0))
    for other, other_kernel, name in kinds:
        same_size = whole.order == other.order and kernel.order == other_kernel.order
        if same_size and _conjugate(whole, kernel, other, other_kernel):
            return name
    label = _label(whole) if kernel.order == whole.order else f"{_label(whole)}-({_label(kernel)})"
    taken = sum(name.split(" #")[0] == label for *_, name in kinds)
    # Above the named orders an order may stand for several classes: number them.
    label = label if not taken else f"{label} #{taken + 1}"
    kinds.append((whole, kernel, label))
    return label


def _conjugate(whole: Subgroup, kernel: Subgroup, other: Subgroup, other_kernel: Subgroup) -> bool:
    """Whether one g moves both H and the kernel of its signs onto the other pair."""
    if whole.order == whole.group.order and kernel.order == whole.order:
        return True
    if not np.array_equal(whole.class_counts, other.class_counts):
        return False
    both = np.intersect1d(whole.conjugators(other), kernel.conjugators(other_kernel))
    return len(both) > 0


def _label(h: Subgroup) -> str:
    return h.name if h.group.order <= NAMED_ORDER_MAX else f"order {h.order}"
