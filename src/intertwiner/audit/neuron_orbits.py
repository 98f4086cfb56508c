"""Orbits of the neurons of a place: from weights at the first layer, from all g on data further down."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy import ndarray

from intertwiner.algebra import Group
from intertwiner.audit.image_parts import MomentPart, WeightPart
from intertwiner.audit.images import NeuronImages, first_layer
from intertwiner.audit.places import Place
from intertwiner.numerics.monomial import Monomial
from intertwiner.transport import Picture
from intertwiner.transport.picture import ONE, dense

LARGEST = 4_000_000_000
"""Inner products (group elements times pairs of neurons) up to which orbits are looked for."""

ALL_ELEMENTS = 64
"""Largest group all of whose elements are run over the data."""


def images_from_weights(
    group: Group, place: Place, picture: Picture | None, input_names: Sequence[str]
) -> NeuronImages | None:
    """The neurons of a layer that reads nothing but inputs, with all their images; None for other layers.

    A product of groups that move different coordinates is taken apart into its factors.
    """
    if picture is None or not picture.blocks or not _reads_inputs(picture, input_names):
        return None
    names = [name for name in picture.blocks if name != ONE]
    rows = np.concatenate([dense(picture.blocks[name]) for name in names], axis=1)
    images = [_side_by_side([picture.sources[n].actions[g] for n in names]) for g in range(picture.generators)]
    if any(image is None for image in images) or group.order * len(rows) ** 2 > LARGEST:
        return None
    parts, still = parts_by_factor(group, rows, [m for m in images if m is not None])
    fixed = np.concatenate([rows[:, still], picture.constant()[:, None]], axis=1)
    gauge = place.gauge
    return first_layer(group, parts, fixed=fixed, scaled=gauge.scale != "none", signed=gauge.sign)


def _reads_inputs(picture: Picture, input_names: Sequence[str]) -> bool:
    """Whether every source is an input, or patches or positions of one."""
    bases = {name.split("@")[0].split("/")[-1] for name in picture.blocks if name != ONE}
    return bool(bases) and bases <= set(input_names)


def _side_by_side(actions: Sequence[Monomial | ndarray]) -> Monomial | None:
    if not all(isinstance(a, Monomial) for a in actions):
        return None
    return Monomial.direct_sum([a for a in actions if isinstance(a, Monomial)])


def parts_by_factor(group: Group, rows: ndarray, images: Sequence[Monomial]) -> tuple[list[WeightPart], ndarray]:
    """One part per factor where the factors move different coordinates; and the coordinates that nothing moves."""
    moved = np.array([(m.index != np.arange(m.dimension)) | (m.factor != 1) for m in images]).reshape(len(images), -1)
    by_factor = [np.any(moved[list(places)], axis=0) for places in group.factor_generators]
    still = np.logical_not(np.any(moved, axis=0))
    if len(by_factor) > 1 and np.sum(by_factor, axis=0).max(initial=0) <= 1:
        parts = []
        for factor, places, columns in zip(group.factors, group.factor_generators, by_factor, strict=True):
            own = [_on(images[i], columns) for i in places]
            parts.append(_part(factor, rows[:, columns], own))
        return parts, still
    return [_part(group, rows[:, ~still], [_on(m, ~still) for m in images])], still


def _on(monomial: Monomial, columns: ndarray) -> Monomial:
    """The restriction to coordinates that it keeps among themselves."""
    place = np.cumsum(columns) - 1
    return Monomial(place[monomial.index[columns]], monomial.factor[columns])


def _part(group: Group, rows: ndarray, images: Sequence[Monomial]) -> WeightPart:
    every = group.extend(list(images), lambda a, b: a @ b, Monomial.identity(rows.shape[1]))
    factor = None if all(m.is_permutation for m in images) else np.stack([m.factor for m in every])
    return WeightPart.by_permutations(group, rows, np.stack([m.index for m in every]), factor)


def images_from_moments(group: Group, place: Place, products: ndarray) -> NeuronImages:
    """The neurons of any layer through what they compute: ``products[g, i, j] = E h_i(x) h_j(g^{-1} x)``."""
    part = MomentPart.from_moments(group, products)
    gauge = place.gauge
    return first_layer(group, [part], scaled=gauge.scale != "none", signed=gauge.sign)
