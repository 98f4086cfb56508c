"""Gauge elements on axes that are flattened, split, cut out or put side by side."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod

import numpy as np

from intertwiner.gauge import GaugeElement
from intertwiner.network import ParameterAxis
from intertwiner.numerics.monomial import Monomial
from intertwiner.numerics.tolerance import ROUNDING


def kron(parts: Sequence[GaugeElement]) -> GaugeElement:
    """The element on the row-major flattening of several axes.

    >>> kron([GaugeElement(Monomial([1, 0])), GaugeElement.identity(2)]).matrix
    Monomial(4: (0 2)(1 3))
    """
    out = parts[0]
    for part in parts[1:]:
        if isinstance(out.matrix, Monomial) and isinstance(part.matrix, Monomial):
            matrix: Monomial | np.ndarray = out.matrix.kron(part.matrix)
        else:
            matrix = np.kron(out.dense(), part.dense())
        # A shift along one axis is the same at every place of the others, which permutations there do not change.
        ones = [np.ones(e.dimension) for e in (out, part)]
        shift = np.kron(out.constant, ones[1]) + np.kron(ones[0], part.constant)
        out = GaugeElement(matrix, shift)
    return out


def unkron(whole: GaugeElement, sizes: Sequence[int]) -> list[GaugeElement] | None:
    """The elements on the factors of a flattened axis, at most one of them scaled; None where there are none."""
    if not isinstance(whole.matrix, Monomial) or whole.shift is not None:
        return None
    index, factor = whole.matrix.index, whole.matrix.factor
    parts, scaled = [], False
    for place, size in enumerate(sizes):
        step = prod(sizes[place + 1 :])
        at = np.arange(size) * step
        order = (index[at] // step) % size
        if len(np.unique(order)) < size:
            return None
        # A common factor may stand on any side: the last one takes it, unless another one carries the scales.
        mine = not scaled and (bool(np.ptp(factor[at]) > 0) or place == len(sizes) - 1)
        parts.append(GaugeElement(Monomial(order, factor[at] if mine else np.ones(size))))
        scaled |= mine
    found = kron(parts).matrix
    if not isinstance(found, Monomial) or not np.array_equal(found.index, index):
        return None
    return parts if np.allclose(found.factor, factor, rtol=ROUNDING, atol=0) else None


def restricted(element: GaugeElement, start: int, stop: int) -> GaugeElement | None:
    """The element on consecutive coordinates; None if it mixes them with others."""
    if isinstance(element.matrix, Monomial):
        index = element.matrix.index[start:stop] - start
        if len(index) and (index.min() < 0 or index.max() >= stop - start):
            return None
        return GaugeElement(Monomial(index, element.matrix.factor[start:stop]), element.constant[start:stop])
    matrix = element.dense()
    inside = np.zeros(len(matrix), dtype=bool)
    inside[start:stop] = True
    if np.any(matrix[np.ix_(inside, ~inside)]) or np.any(matrix[np.ix_(~inside, inside)]):
        return None
    return GaugeElement(matrix[start:stop, start:stop], element.constant[start:stop])


def embedded(element: GaugeElement, place: ParameterAxis, size: int) -> GaugeElement:
    """The element of a latent space on a whole parameter axis, of which the space is a part or a factor."""
    sides = [prod(place.view[: place.place]), prod(place.view[place.place + 1 :])]
    inner = kron([GaugeElement.identity(sides[0]), element, GaugeElement.identity(sides[1])])
    around = [GaugeElement.identity(place.start), inner, GaugeElement.identity(size - place.stop)]
    return GaugeElement.direct_sum([part for part in around if part.dimension])
