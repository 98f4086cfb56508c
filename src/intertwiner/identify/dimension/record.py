"""What is known about the functional dimension of a network: the number, the null directions, what is proved."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import Any

import numpy as np

from intertwiner.identify.dimension.null_directions import NullDirection
from intertwiner.verdict import Verdict


@dataclass(frozen=True, eq=False)
class FunctionalDimension:
    """How many dimensions of parameters the function sees.

    Args:
        dimension: The rank. Exact: a proved lower bound of the true rank, equal to it where `verdict` is PROVED.
        parameters: Number of trainable parameters P.
        gauge: Dimension of the gauge of all hidden spaces, as the architecture tells it.
        bound: The least upper bound that was proved: P minus the proved null directions, or the ambient dimension.
        exact: Whether the rank was taken modulo a prime; otherwise in float64.
        primes: The primes used.
        inputs: How many inputs gave rows.
        tried: How many inputs were tried: those without rows only repeat what the others show.
        regions: How many combinations of pieces were among the inputs to choose from.
        seed: What the inputs were drawn with; None for the user's own.
        gap: For a numerical rank, the ratio of singular values at the cut.
        null_directions: Every null direction, named; their dimensions add up to ``parameters - dimension``.
        verdict: What is proved.
        growth: (inputs, rank) after every batch of rows.
        computed: Parameters that stand for numbers computed from state_dict entries (batch norm, weight norm).

    Example:
        >>> from torch import nn
        >>> from intertwiner.identify.dimension.functional import functional_dimension
        >>> found = functional_dimension(nn.Sequential(nn.Linear(2, 3), nn.ReLU(), nn.Linear(3, 1)), seed=1)
        >>> found.parameters, found.bound
        (13, 10)
    """

    dimension: int
    parameters: int
    gauge: int
    bound: int
    exact: bool
    primes: tuple[int, ...]
    inputs: int
    tried: int
    regions: int
    seed: int | None
    gap: float | None
    null_directions: tuple[NullDirection, ...]
    verdict: Verdict
    growth: tuple[tuple[int, int], ...] = ()
    computed: tuple[str, ...] = ()

    @property
    def nullity(self) -> int:
        return self.parameters - self.dimension

    @property
    def meets_bound(self) -> bool:
        return self.dimension == self.bound

    @property
    def hidden(self) -> tuple[NullDirection, ...]:
        """Null directions without a known reason."""
        return tuple(d for d in self.null_directions if d.kind == "hidden")

    def __str__(self) -> str:
        how = f"exact, modulo {' and '.join(map(str, self.primes))}" if self.exact else f"numerical, gap {self.gap:.1e}"
        counts: Counter[str] = Counter()
        for one in self.null_directions:
            counts[one.kind] += one.dimension
        null = ", ".join(f"{n} {kind}" for kind, n in counts.items()) or "none"
        return (
            f"functional dimension {self.dimension} of {self.parameters}, {how}, {self.inputs} inputs\n"
            f"  null directions: {null}\n"
            f"  {self.verdict.kind}: {self.verdict.reason}"
        )

    def to_json(self) -> dict[str, Any]:
        return {
            "schema": "intertwiner.functional_dimension/1",
            "dimension": self.dimension,
            "parameters": self.parameters,
            "gauge": self.gauge,
            "bound": self.bound,
            "exact": self.exact,
            "primes": list(self.primes),
            "inputs": self.inputs,
            "tried": self.tried,
            "regions": self.regions,
            "seed": self.seed,
            "gap": None if self.gap is None or not np.isfinite(self.gap) else self.gap,
            "null_directions": [d.to_json() for d in self.null_directions],
            "verdict": self.verdict.to_json(),
            "growth": [list(g) for g in self.growth],
            "computed": list(self.computed),
        }
