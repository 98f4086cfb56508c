"""The generic fibre: the parameters of one function, by the groups and theorems that account for its dimension."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from math import prod
from typing import Any

from intertwiner.variety.family import Finite, Part


@dataclass(frozen=True)
class Fibre:
    """All parameters of a generic function.

    Args:
        dimension: Parameters less the dimension of the functions.
        parts: Where the dimensions come from; they add up. Kind "gauge": a group of the architecture. Kind "theorem":
            a stretch of layers that reaches fewer functions than it has parameters. Kind "hidden": no reason known.
        finite: Known finite groups that act on it.
        proved: Whether the dimension is proved, or probable.

    Example:
        >>> from intertwiner.variety.neurovariety import neurovariety
        >>> print(neurovariety((3, 2, 1), "t^2").fibre())
        fibre of 3 dimensions
          2  scales of 2 units (hidden layer 1): gauge
          1  quadratic forms of rank at most 2 (layers 1 to 2): theorem
        and permutations of 2 units (hidden layer 1)
    """

    dimension: int
    parts: tuple[Part, ...]
    finite: tuple[Finite, ...]
    proved: bool

    @property
    def gauge(self) -> int:
        """Dimensions that groups of the architecture account for."""
        return sum(part.dimension for part in self.parts if part.kind == "gauge")

    @property
    def hidden(self) -> int:
        """Dimensions beyond the gauge, whether a theorem explains them or not."""
        return self.dimension - self.gauge

    @property
    def unexplained(self) -> int:
        """Dimensions for which no reason is known; probable, because no bound proves them."""
        return sum(part.dimension for part in self.parts if part.kind == "hidden")

    @property
    def order(self) -> int:
        """Number of elements of the known finite groups together."""
        return prod(group.order for group in self.finite)

    def to_json(self) -> dict[str, Any]:
        return {
            "dimension": self.dimension,
            "parts": [part.to_json() for part in self.parts],
            "finite": [group.to_json() for group in self.finite],
            "proved": self.proved,
        }

    @classmethod
    def from_json(cls, record: Mapping[str, Any]) -> Fibre:
        """The record that ``to_json`` wrote."""
        return cls(
            record["dimension"],
            tuple(Part(**part) for part in record["parts"]),
            tuple(Finite(g["name"], g["place"], int(g["order"])) for g in record["finite"]),
            record["proved"],
        )

    def __str__(self) -> str:
        lines = [f"fibre of {self.dimension} dimensions{'' if self.proved else ', probably'}"]
        width = max((len(str(part.dimension)) for part in self.parts), default=0)
        lines += [f"  {part.dimension:>{width}}  {part.name} ({part.place}): {part.kind}" for part in self.parts]
        lines += [f"and {group.name} ({group.place})" for group in self.finite]
        return "\n".join(lines)
