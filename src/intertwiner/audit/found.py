"""What an element of K does to the features, in numbers and in words: an audit must show which action was found.

A network that leaves every feature in place and one that permutes them all may explain equally much.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from jaxtyping import Float
from numpy import ndarray

from intertwiner.gauge import GaugeElement
from intertwiner.numerics.monomial import Monomial


@dataclass(frozen=True)
class Found:
    """A monomial element, counted.

    Args:
        features: How many there are.
        fixed: Features that stay in place with a positive factor.
        flipped: Features that stay in place and change their sign.
        moved: The rest.
        moved_variance: Share of the variance in features that move.

    Example:
        >>> swap = GaugeElement(Monomial(np.array([1, 0, 2]), np.array([1.0, 1.0, -1.0])))
        >>> print(found_in(swap, np.array([1.0, 1.0, 2.0])))
        2 of 3 features move (50 % of the variance), 1 changes sign
        >>> print(found_in(GaugeElement(Monomial.identity(4)), np.ones(4)))
        all 4 features stay
    """

    features: int
    fixed: int
    flipped: int
    moved: int
    moved_variance: float

    def __str__(self) -> str:
        if self.fixed == self.features:
            return f"all {self.features} features stay"
        if self.flipped == self.features:
            return f"-1 on all {self.features} features"
        parts = [f"{self.moved} of {self.features} features move ({self.moved_variance:.0%} of the variance)"]
        if not self.moved:
            parts = [f"no feature of {self.features} moves"]
        parts[0] = parts[0].replace("%", " %")
        if self.flipped:
            parts.append(f"{self.flipped} change{'s' if self.flipped == 1 else ''} sign")
        return ", ".join(parts)

    def to_json(self) -> dict[str, Any]:
        return {"text": str(self), **asdict(self)}


def found_in(element: GaugeElement, variance: Float[ndarray, " n"]) -> Found | None:
    """Counts for a monomial element; None for a dense one.

    Args:
        element: What was found.
        variance: Of every feature.
    """
    matrix = element.matrix
    if not isinstance(matrix, Monomial):
        return None
    still = matrix.index == np.arange(matrix.dimension)
    flipped = still & (matrix.factor < 0)
    total = float(variance.sum())
    moving = float(variance[~still].sum()) / total if total > 0 else 0.0
    count = int(still.sum())
    return Found(len(still), count - int(flipped.sum()), int(flipped.sum()), len(still) - count, moving)
