"""Gauge elements of whole latent spaces, from two networks that were followed side by side.

Where a nonlinearity restricts the space, the element is the match of the rows before it; where everything around it is
linear, it is what carries one picture into the other, ``M A = B``, undetermined on what the input does not reach.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy import ndarray

from intertwiner.gauge import GaugeElement, GaugeGroup, match_rows, normal_form
from intertwiner.identify.matching.reshaped import restricted
from intertwiner.network import LatentSpace, Network, PointwiseOp
from intertwiner.numerics.monomial import Monomial
from intertwiner.transport.follow import PairRelation
from intertwiner.transport.layer import powers_of_two
from intertwiner.transport.picture import Picture
from intertwiner.transport.side import side_by_side

SEED = 20260124
"""Of the directions that long rows are compared along."""


@dataclass(frozen=True, eq=False)
class Found:
    """The element of one latent space.

    Args:
        element: From the first network to the second, None where there is none in the gauge group.
        residual: Largest distance of a row from its partner, relative to the row.
        note: What is not as it should be, or empty.
    """

    element: GaugeElement | None
    residual: float = 0.0
    note: str = ""


def elements_of(
    network: Network,
    pictures: Mapping[str, tuple[Picture, Picture]],
    relations: Mapping[str, PairRelation],
    tolerance: float,
) -> dict[str, Found]:
    """What happened to every latent space that has a gauge."""
    out: dict[str, Found] = {}
    for space in sorted(network.latent_spaces, key=lambda s: bool(s.blocks)):
        if space.given or space.opaque or space.gauge == GaugeGroup.trivial(space.dimension):
            continue
        places = [node for node in places_of(network, space) if node in pictures and _fits(space, pictures[node], node)]
        if not places:
            out[space.name] = Found(None, note="it was not reached along a single axis")
        elif space.gauge.mixing in ("linear", "orthogonal"):
            out[space.name] = linear_element(space.gauge, *_rows(pictures, places[-1:]), tolerance)
        else:
            at = [node for node in places if node in relations] or places[-1:]
            if not relations.get(at[0]) or not relations[at[0]].joined:
                at = at[:1]
            out[space.name] = monomial_element(space.gauge, *_rows(pictures, at), tolerance)
    return to_parts(network, out)


def to_parts(network: Network, found: Mapping[str, Found]) -> dict[str, Found]:
    """The elements of spaces that are put together, handed on to those of their parts that have none."""
    out = dict(found)
    sizes = {space.name: space.dimension for space in network.latent_spaces}
    for space in network.latent_spaces:
        whole = out.pop(space.name, None) if space.blocks else None
        if whole is None or whole.element is None:
            continue
        for start, part in space.blocks:
            known = out.get(part)
            if known is None or known.element is None:
                piece = restricted(whole.element, start, start + sizes[part])
                out[part] = Found(piece, whole.residual, whole.note)
    return out


def places_of(network: Network, space: LatentSpace) -> list[str]:
    """Nodes at which the coordinates are still those that the writers wrote: no activation in between."""
    inside = dict(space.slots)
    after: set[str] = set()
    out = []
    for name in dict.fromkeys(name for name, _ in space.slots):
        node = network.node(name)
        if isinstance(node.op, PointwiseOp) or any(i in after for i in node.inputs if i in inside):
            after.add(name)
        else:
            out.append(name)
    return out


def _fits(space: LatentSpace, pair: tuple[Picture, Picture], node: str) -> bool:
    axes = [a for name, a in space.slots if name == node]
    return len(axes) == 1 and all(p.features == (axes[0] - 1,) and p.rows == space.dimension for p in pair)


def _rows(pictures: Mapping[str, tuple[Picture, Picture]], nodes: Sequence[str]) -> tuple[ndarray, ndarray]:
    """Rows of both networks, all nodes side by side, the constants of each last."""
    sides = [side_by_side(*pictures[node]) for node in nodes]
    first, second = (np.concatenate([getattr(s, name) for s in sides], axis=1) for name in ("first", "second"))
    return first, second


def monomial_element(gauge: GaugeGroup, first: ndarray, second: ndarray, tolerance: float) -> Found:
    """The (signed, scaled, shifted) permutation that carries the first rows into the second; the constant is last.

    >>> rows = np.array([[1.0, 0.0, 1.0], [0.0, 2.0, 0.0]])
    >>> monomial_element(GaugeGroup.positively_scaled(2), rows, 4 * rows[::-1], 1e-10).element.matrix.factor
    array([4., 4.])
    """
    if gauge.blocks:
        return _by_blocks(gauge, first, second, tolerance)
    if gauge.mixing == "none":
        return Found(GaugeElement.identity(len(first)), note="" if np.array_equal(first, second) else "it has no gauge")
    forms = [normal_form(a[:, :-1], a[:, -1], scale=gauge.scale, shift=gauge.shift) for a in (second, first)]
    found = match_rows(forms[0].keys, forms[1].keys, sign=gauge.sign, tolerance=tolerance)
    sources, sign = found.nearest.sources, found.nearest.factor[found.nearest.sources]
    sizes = [form.element.matrix.factor if isinstance(form.element.matrix, Monomial) else sign for form in forms]
    ratio = powers_of_two(sizes[0] / sizes[1][sources])
    ratio[found.unmatched] = 1.0
    index = np.empty(len(sources), dtype=np.int64)
    index[sources] = np.arange(len(sources))
    matrix = Monomial(index, (sign * ratio)[index])
    shift = None if gauge.shift == "none" else second[:, -1] - matrix.apply(first[:, -1])
    if shift is not None and gauge.shift == "pi":
        shift = np.pi * np.round(shift / np.pi)
    count = len(found.unmatched)
    note = f"{count} neurons have no partner and were paired by distance" if count else ""
    return Found(GaugeElement(matrix, shift), found.worst, note)


def _by_blocks(gauge: GaugeGroup, first: ndarray, second: ndarray, tolerance: float) -> Found:
    parts = [
        monomial_element(block, first[at], second[at], tolerance)
        for block, at in zip(gauge.blocks, gauge.slices, strict=True)
    ]
    elements = [p.element for p in parts if p.element is not None]
    notes = "; ".join(dict.fromkeys(p.note for p in parts if p.note))
    if len(elements) < len(parts):
        return Found(None, note=notes)
    return Found(GaugeElement.direct_sum(elements), max(p.residual for p in parts), notes)


def linear_element(gauge: GaugeGroup, first: ndarray, second: ndarray, tolerance: float) -> Found:
    """The linear (or orthogonal) map that carries the first rows into the second, with the shift where one is free."""
    constants = first[:, -1], second[:, -1]
    free = gauge.shift == "real"
    a, b = (first[:, :-1], second[:, :-1]) if free else (first, second)
    n = len(a)
    if a.shape[1] > 4 * n:  # a random projection keeps what is exact, and is cheaper
        directions = np.random.default_rng(SEED).normal(size=(a.shape[1], 2 * n)) / np.sqrt(2 * n)
        a, b = a @ directions, b @ directions
    left, values, right = np.linalg.svd(a, full_matrices=True)
    rank = int((values > tolerance * values.max(initial=0.0)).sum())
    matrix = (b @ right[:rank].T / values[:rank]) @ left[:, :rank].T
    if rank < n:
        other = np.linalg.svd(matrix)[0]
        matrix = matrix + other[:, rank:] @ left[:, rank:].T
    if gauge.mixing == "orthogonal":
        u, _, v = np.linalg.svd(matrix)
        matrix = u @ v
    gap, size = np.linalg.norm(matrix @ a - b, axis=1), np.linalg.norm(b, axis=1)
    residual = float(np.divide(gap, size, out=np.zeros(n), where=size > 0).max(initial=0.0))
    shift = constants[1] - matrix @ constants[0] if free else None
    notes = [f"undetermined on {n - rank} of {n} dimensions that the input does not reach"] if rank < n else []
    notes += [f"the relative residual is {residual:.2g}"] if residual > tolerance else []
    return Found(GaugeElement(matrix, shift), residual, "; ".join(notes))
