r"""One representative per gauge orbit: the same function with neurons balanced, signed and sorted.

Every latent space gets the element of its gauge group that brings it to canonical coordinates: unit rows where scales
are free, a sign and an order fixed by a projection along one random direction, no constant where shifts are free; a
linear space gets the orthonormal basis of what it carries that is nearest to a fixed random one, an orthogonal space
the turn that is nearest to it. What the elements are depends on the function of the layers below alone.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy import ndarray
from torch import nn

from intertwiner.errors import NoRule
from intertwiner.gauge import GaugeElement, GaugeGroup, normal_form
from intertwiner.identify.matching.elements import places_of
from intertwiner.identify.matching.move import moved
from intertwiner.identify.matching.reshaped import restricted
from intertwiner.network import LatentSpace, Network, trace
from intertwiner.numerics.monomial import Monomial
from intertwiner.numerics.tolerance import SETTLED, tolerance
from intertwiner.transport.canonical import canonical_pictures, canonical_rows, canonical_turn
from intertwiner.transport.picture import ONE, Picture

ROUNDS = 8
"""Passes until nothing moves: the first does the work, the others settle its rounding."""

SEED = 20260125
"""Of the basis that linear spaces are turned to."""


def canonical_form(model: nn.Module | Network, *, example: Any = None) -> nn.Module:
    """The same function with canonical weights.

    Two networks that differ by a gauge element have the same canonical form up to rounding, unless two neurons of a
    layer are within rounding of each other in the canonical order: of n neurons in a layer about ``n^2 eps`` pairs
    are, which is nothing in float64 and happens in float32 from a few hundred neurons on. The form of a form is that
    form, bit for bit: passes are repeated until none of them moves anything.

    Args:
        model: A module in evaluation mode, or a traced network.
        example: What ``trace`` needs, where the model is a module.

    Returns:
        A deep copy with the same state_dict keys. Neurons that are equal up to the gauge keep their order, and what no
        input reaches stays as it is: reduce first for a form that is unique there as well.

    Raises:
        NoRule: An operator without a transport rule (attention): the coordinates beyond it are unknown, by name.
        NotInGauge: An element leaves a constant that no bias takes up.

    Cost:
        One trace, one sort of the weights per layer, and as much for every further pass, of which there are one or two.

    Example:
        >>> from intertwiner.identify import move
        >>> model = nn.Sequential(nn.Linear(2, 3), nn.ReLU(), nn.Linear(3, 1)).double()
        >>> x = torch.zeros(2, 2, dtype=torch.float64)
        >>> moved = move(model, {"0": GaugeElement(Monomial([2, 0, 1], np.array([0.5, 3.0, 7.0])))}, example=x)
        >>> one, two = (canonical_form(m, example=x).state_dict() for m in (model, moved))
        >>> all(torch.allclose(one[name], two[name], rtol=1e-12) for name in one)
        True
    """
    copied = False
    for _ in range(ROUNDS):
        network = model if isinstance(model, Network) else trace(model, example)
        elements = canonical_elements(network)
        example = network.example if example is None else example
        done = all(element.is_identity for element in elements.values())
        if not done or isinstance(model, Network) or not copied:
            model, copied = moved(model, network, elements), True
        if done:
            break
    return model  # type: ignore[return-value]  # what was moved is a module


def canonical_elements(network: Network) -> dict[str, GaugeElement]:
    """By latent space, what brings it to canonical coordinates; identities within rounding are exact ones.

    Raises:
        NoRule: The weights cannot be followed through an operator.
    """
    pictures, lost, read = canonical_pictures(network, tolerance(network.dtype))
    if lost:
        name, reason = next((n, r) for n, r in lost.items() if r)
        raise NoRule(
            f"no canonical form: the weights cannot be followed through {network.node(name).tap or name}: {reason}.\n"
            "  fingerprint() and match() need no rule for it. Nothing was changed."
        )
    eps = torch.finfo(network.dtype).eps
    out: dict[str, GaugeElement] = {}
    wholes: list[tuple[LatentSpace, GaugeElement]] = []
    for space in network.latent_spaces:
        if space.given or space.opaque or space.gauge == GaugeGroup.trivial(space.dimension):
            continue
        axes = dict(space.slots)
        places = [n for n in places_of(network, space) if n in pictures and _fits(space, pictures[n], axes[n])]
        if not places:
            continue
        linear = space.gauge.mixing in ("linear", "orthogonal")
        chosen = places[-1:] if linear else [n for n in places if n in read] or places[-1:]
        rows = np.concatenate([_with_constant(pictures[n]) for n in chosen], axis=1)
        element = settled(_linear(space.gauge, rows) if linear else _monomial(space.gauge, rows), eps)
        if space.blocks:
            wholes.append((space, element))
        else:
            out[space.name] = element
    sizes = {space.name: space.dimension for space in network.latent_spaces}
    for space, element in wholes:
        for start, part in space.blocks:
            piece = restricted(element, start, start + sizes[part])
            if part not in out and piece is not None:
                out[part] = piece
    return out


def _fits(space: LatentSpace, picture: Picture, axis: int) -> bool:
    return picture.features == (axis - 1,) and picture.rows == space.dimension


def _with_constant(picture: Picture) -> ndarray:
    """The rows, the constant last."""
    whole = picture.dense()
    return whole if ONE in picture.blocks else np.concatenate([whole, np.zeros((len(whole), 1))], axis=1)


def _monomial(gauge: GaugeGroup, rows: ndarray) -> GaugeElement:
    if gauge.blocks:
        parts = [_monomial(block, rows[at]) for block, at in zip(gauge.blocks, gauge.slices, strict=True)]
        return GaugeElement.direct_sum(parts)
    if gauge.mixing == "none":
        return GaugeElement.identity(len(rows))
    form = normal_form(rows[:, :-1], rows[:, -1], scale=gauge.scale, shift=gauge.shift)
    norm = form.element.matrix.factor if isinstance(form.element.matrix, Monomial) else np.ones(len(rows))
    found = canonical_rows(form.keys, sign=gauge.sign)
    index = np.empty(len(rows), dtype=np.int64)
    index[found.order] = np.arange(len(rows))
    matrix = Monomial(index, found.sign / norm)
    if gauge.shift == "none":
        return GaugeElement(matrix)
    constant = matrix.apply(rows[:, -1])
    return GaugeElement(matrix, -constant if gauge.shift == "real" else -np.pi * np.round(constant / np.pi))


def _linear(gauge: GaugeGroup, rows: ndarray) -> GaugeElement:
    free = gauge.shift == "real"
    read = rows[:, :-1] if free else rows
    n, width = read.shape
    fixed = np.random.default_rng([SEED, n, width]).normal(size=(n, width))
    left, values, right = np.linalg.svd(read, full_matrices=False)
    if gauge.mixing == "orthogonal":
        matrix = canonical_turn(read)
    else:
        rank = int((values > SETTLED * values.max(initial=0.0)).sum())
        u, _, v = np.linalg.svd(fixed @ right[:rank].T, full_matrices=True)
        matrix = (u[:, :rank] @ v / values[:rank]) @ left[:, :rank].T
        if rank < n:
            rest = np.linalg.svd(left[:, :rank], full_matrices=True)[0][:, rank:]
            matrix = matrix + u[:, rank:] @ rest.T
    return GaugeElement(matrix, -(matrix @ rows[:, -1]) if free else None)


def settled(element: GaugeElement, eps: float) -> GaugeElement:
    """The element with what is one, or zero, up to rounding made so."""
    room = 64 * eps
    shift = element.constant
    shift = np.where(np.abs(shift) <= room, 0.0, shift)
    if isinstance(element.matrix, Monomial):
        factor = element.matrix.factor
        near = np.abs(np.abs(factor) - 1) <= room
        return GaugeElement(Monomial(element.matrix.index, np.where(near, np.sign(factor), factor)), shift)
    if np.abs(element.matrix - np.eye(element.dimension)).max() <= room * element.dimension:
        return GaugeElement(Monomial.identity(element.dimension), shift)
    return GaugeElement(element.matrix, shift)
