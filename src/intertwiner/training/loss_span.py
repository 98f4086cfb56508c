r"""What symmetric data show to any loss: the span of the gradients of its orbits, by a rank with its gap.

For losses that are analytic and not polynomial, symmetry of the data adds generically no conserved function [Galley,
Shahverdi, Flinth 2026]. Whether given data and a given loss are generic is seen at a point: every orbit ``(g x, g
y)`` gives one gradient, the mean over its elements. If they span what the outputs at all inputs span, then at this
point training can move wherever it can without symmetry, and near generic points no further function is conserved. If
they span less, nothing follows: brackets may fill the rest.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float
from numpy import ndarray

from intertwiner.algebra import Representation
from intertwiner.errors import ShapeMismatch
from intertwiner.numerics.rank import rank
from intertwiner.training.separated import Separated

Slope = Callable[[ndarray, ndarray], ndarray]
"""The derivative of the loss by the outputs, of outputs and targets, both ``(n, d_out)``."""


@dataclass(frozen=True)
class LossSpan:
    """Two ranks at a point, measured in float64.

    Args:
        orbits: Number of orbits in the data.
        rank: Dimension of the span of the gradients of the loss, one per orbit.
        gap: Ratio of the singular values by which it was called.
        full: Dimension of the span of the gradients of all outputs at the same inputs, taken one by one.
        full_gap: Its gap.
    """

    orbits: int
    rank: int
    gap: float
    full: int
    full_gap: float

    @property
    def nothing_added(self) -> bool:
        """Whether the symmetric data show every direction, so that symmetry adds no law near this point; measured."""
        return self.rank == self.full

    def to_json(self) -> dict[str, Any]:
        """The record as plain values."""
        return dict(self.__dict__)

    @classmethod
    def from_json(cls, record: Mapping[str, Any]) -> LossSpan:
        """The record that ``to_json`` wrote."""
        return cls(**record)

    def __str__(self) -> str:
        return (
            f"{self.orbits} orbits: gradients of rank {self.rank} (gap {self.gap:.1e}), outputs of rank {self.full} "
            f"(gap {self.full_gap:.1e})"
        )


def loss_span(
    network: Separated,
    actions: tuple[Representation, Representation],
    data: tuple[Float[ndarray, "n d_in"], Float[ndarray, "n d_out"]],
    slope: Slope,
    theta: Float[ndarray, " D"],
) -> LossSpan:
    """The span of the gradients that a loss has on symmetric data at a point.

    Args:
        network: A network whose parameters and inputs separate.
        actions: The actions on inputs and outputs, of the same group.
        data: One input and one target per orbit; the rest of the orbits is made from them.
        slope: The derivative of the loss by the outputs; ``lambda z, y: z - y`` is squared error.
        theta: The parameters.

    Raises:
        ShapeMismatch: Data or actions that do not fit the network.
        RankUndecided: No clear gap.

    Cost:
        One forward and backward pass over ``n |G|`` inputs.

    Example:
        Turns by 90 degrees of the plane show squared error a single direction, and another loss both:

        >>> from intertwiner.algebra import cyclic
        >>> from intertwiner.training import Chain
        >>> from intertwiner.training.separated import separated
        >>> group = cyclic(4)
        >>> turn = Representation(group, (np.array([[0.0, -1.0], [1.0, 0.0]]),))
        >>> data = np.array([[1.0, 0.2], [0.3, 2.0], [1.5, 1.0]]), np.array([[1.0], [-1.0], [0.5]])
        >>> def span(slope):
        ...     actions = (turn, Representation.trivial(group))
        ...     return loss_span(separated(Chain((2, 1))), actions, data, slope, np.array([0.7, -0.2]))
        >>> span(lambda z, y: z - y).rank, span(lambda z, y: np.tanh(z - y)).rank
        (1, 2)
    """
    x, y = (np.asarray(part, dtype=np.float64) for part in data)
    rho_in, rho_out = actions
    shapes = (x.shape[1:], y.shape[1:], (rho_in.dimension, rho_out.dimension))
    if shapes != ((network.inputs,), (network.outputs,), (network.inputs, network.outputs)) or len(x) != len(y):
        raise ShapeMismatch(
            f"the {network.title} has {network.inputs} inputs and {network.outputs} outputs; got inputs {x.shape}, "
            f"targets {y.shape} and actions of dimensions {shapes[2]}. Nothing was computed."
        )
    elements = range(rho_in.group.order)
    moved_x, moved_y = (
        np.stack([part @ dense(rho, g).T for g in elements]) for rho, part in ((rho_in, x), (rho_out, y))
    )
    count, orders = len(x), len(elements)
    outputs, slopes = network.derivatives(np.asarray(theta, dtype=np.float64), moved_x.reshape(orders * count, -1))
    ends = np.asarray(slope(outputs, moved_y.reshape(orders * count, -1)), dtype=np.float64)
    gradients = np.einsum("no,nod->nd", ends, slopes).reshape(orders, count, -1).mean(axis=0)
    seen = rank(gradients, where="the gradients of the orbits")
    full = rank(slopes.reshape(-1, slopes.shape[-1]), where="the gradients of the outputs")
    return LossSpan(count, seen.rank, seen.gap, full.rank, full.gap)


def dense(rho: Representation, g: int) -> Float[ndarray, "d d"]:
    """The matrix of an element, monomial or not."""
    matrix = rho.matrix(g)
    return matrix if isinstance(matrix, ndarray) else matrix.dense()
