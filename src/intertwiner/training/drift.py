"""How far the laws of one family are from where they started, beside what is predicted and what rounding explains.

Relative means: over the scale of a law, the sum of the absolute values of its terms when the monitor started, and at
least the size of one typical parameter: a balance near zero drifts as far as any other, and a bias may start at zero.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float
from numpy import ndarray

from intertwiner.errors import InvalidRecord

ARRAYS = ("start", "now", "scale", "predicted")


@dataclass(frozen=True, eq=False)
class Drift:
    """The laws of one family, then and now.

    Args:
        formula: The law, readable.
        where: The place it belongs to.
        kind: Of the family.
        start: Values when the monitor started.
        now: Values after the last step.
        scale: What they are measured against.
        predicted: Values that the steps should have led to; None where nothing is predicted.
        note: What the optimiser does to the law, or why it holds only nearly; empty for plain gradient descent.
        sampled: Steps between two that were looked at are taken to be alike, so the prediction is an estimate.
        floor: What rounding of the parameters explains, relative to the scale.

    Example:
        >>> one = np.ones(1)
        >>> drift = Drift("a^2 - b^2", "layer", "balance", 3 * one, 2.5 * one, 5 * one, 2.5 * one, "", False, 1e-16)
        >>> float(drift.worst), float(drift.predicted_worst), float(drift.unexplained)
        (0.1, 0.1, 0.0)
    """

    formula: str
    where: str
    kind: str
    start: Float[ndarray, " laws"]
    now: Float[ndarray, " laws"]
    scale: Float[ndarray, " laws"]
    predicted: Float[ndarray, " laws"] | None
    note: str
    sampled: bool
    floor: float

    @property
    def count(self) -> int:
        """Number of laws."""
        return len(self.start)

    @property
    def relative(self) -> Float[ndarray, " laws"]:
        """The drift of every law over its scale, with its sign."""
        return relative(self.now - self.start, self.scale)

    @property
    def worst(self) -> float:
        """The largest drift over its scale."""
        return _largest(self.relative)

    @property
    def predicted_worst(self) -> float | None:
        """The largest drift that was predicted, over its scale."""
        return None if self.predicted is None else _largest(relative(self.predicted - self.start, self.scale))

    @property
    def unexplained(self) -> float | None:
        """The largest distance from the prediction, over the scale."""
        return None if self.predicted is None else _largest(relative(self.now - self.predicted, self.scale))

    def figures(self) -> dict[str, Any]:
        """The family in a few plain values, without its single laws."""
        return {name: value for name, value in vars(self).items() if name not in ARRAYS} | {
            "count": self.count,
            "worst": self.worst,
            "predicted_worst": self.predicted_worst,
            "unexplained": self.unexplained,
        }

    def to_json(self) -> dict[str, Any]:
        """The record as plain values, with the figures that follow from them."""
        return self.figures() | {
            name: None if (array := getattr(self, name)) is None else array.tolist() for name in ARRAYS
        }

    @classmethod
    def from_json(cls, record: Mapping[str, Any]) -> Drift:
        """The record that ``to_json`` wrote.

        Raises:
            InvalidRecord: A key is missing.
        """
        names = tuple(cls.__dataclass_fields__)
        missing = [name for name in names if name not in record]
        if missing:
            raise InvalidRecord(f"a drift needs {', '.join(names)}, missing: {', '.join(missing)}. Nothing was read.")
        fields: dict[str, Any] = {name: record[name] for name in names}
        fields |= {name: np.array(fields[name]) for name in ARRAYS if fields[name] is not None}
        return cls(**fields)


def relative(change: Float[ndarray, " laws"], scale: Float[ndarray, " laws"]) -> Float[ndarray, " laws"]:
    """Change over scale; zero over zero is zero.

    Example:
        >>> relative(np.array([1.0, 0.0]), np.array([4.0, 0.0]))
        array([0.25, 0.  ])
    """
    tiny = np.finfo(np.float64).tiny
    return np.where(change == 0, 0.0, change / np.maximum(scale, tiny))


def _largest(values: ndarray) -> float:
    return float(np.abs(values).max(initial=0.0))
