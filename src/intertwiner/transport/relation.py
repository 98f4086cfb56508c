"""What is found where an action must be matched: at a nonlinearity, and at the output."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy import ndarray

from intertwiner.numerics.monomial import Monomial


@dataclass(frozen=True, eq=False)
class LatentRelation:
    """The action on a pre-activation, neuron by neuron.

    Args:
        name: The node whose value the action was solved on.
        actions: Per generator, a signed permutation of the *distinct* live neurons; empty where none was found.
        distinct: For every neuron the distinct neuron it equals up to the neuron gauge, -1 where it is constant.
        factor: Every neuron is ``factor`` times the canonical row of its distinct neuron (1 where constant).
        exact: Every relation holds bit for bit.
        residual: Largest residual of a row over the generators, relative to the row.
        failed: Per generator, the neurons whose moved row is missing; all empty where the action is complete.
    """

    name: str
    actions: tuple[Monomial, ...]
    distinct: ndarray
    factor: ndarray
    exact: bool
    residual: float
    failed: tuple[ndarray, ...]

    @property
    def complete(self) -> bool:
        return not any(len(f) for f in self.failed)

    @property
    def constant(self) -> int:
        """Neurons that do not depend on the input."""
        return int((self.distinct < 0).sum())

    @property
    def joined(self) -> int:
        """Live neurons beyond the distinct ones."""
        live = self.distinct[self.distinct >= 0]
        return len(live) - len(np.unique(live))


@dataclass(frozen=True, eq=False)
class OutputRelation:
    """Whether the last layer closes: ``rho_out(g) [W | b] = [W rho(g) | b]``.

    Args:
        name: The output.
        exact: Holds bit for bit.
        residual: Largest residual of a row, relative to the row.
        bound: Largest change of an output entry over the input box that the residuals of all layers allow.
        closes: The residual is within tolerance.
    """

    name: str
    exact: bool
    residual: float
    bound: float
    closes: bool
