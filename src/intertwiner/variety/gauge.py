r"""Upper bounds from gauge groups: the rank of the directions in which they move the parameters, modulo p.

A group that leaves every function alone moves a generic parameter in as many dimensions as its Lie algebra has rank
there. That rank at a random point modulo a prime never exceeds the generic one, so the number of parameters less that
rank is a proved upper bound.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from jaxtyping import Float
from numpy import ndarray

from intertwiner.numerics.modular import Modulus
from intertwiner.numerics.modular_echelon import Echelon
from intertwiner.numerics.seeds import rng
from intertwiner.variety.family import Bound, Part


@dataclass(frozen=True, eq=False)
class Directions:
    """What one gauge group does at a point.

    Args:
        name: In words.
        place: Where in the network.
        rows: One direction per row, residues.
    """

    name: str
    place: str
    rows: Float[ndarray, "k P"]


class Gauged(Protocol):
    """A family that knows its gauge groups."""

    @property
    def parameters(self) -> int: ...
    @property
    def ambient_dimension(self) -> int | None: ...
    def draw_theta(self, field: Modulus, random: np.random.Generator) -> Float[ndarray, " q"]: ...
    def gauge(self, theta: Any, field: Modulus) -> list[Directions]: ...


def gauge_parts(family: Gauged) -> list[Part]:
    """What every gauge group takes beyond those before it."""
    field = Modulus()
    space = Echelon(family.parameters, field)
    theta = family.draw_theta(field, rng(family.parameters))
    parts = []
    for group in family.gauge(theta, field):
        grown = space.add(group.rows) if len(group.rows) else 0
        if grown:
            parts.append(Part(group.name, group.place, grown, "gauge"))
    return parts


def gauge_bound(family: Gauged) -> Bound:
    """Parameters less the dimension of the gauge, or the ambient dimension where that is smaller.

    Cost: an elimination in ``P^2`` times the dimension of the gauge.
    """
    parts = gauge_parts(family)
    value = family.parameters - sum(part.dimension for part in parts)
    ambient = family.ambient_dimension
    if ambient is not None and ambient < value:
        name = f"parameters beyond the {ambient} coefficients of the outputs"
        parts.append(Part(name, "all layers", value - ambient, "theorem"))
        value = ambient
    return Bound(value, tuple(parts))
