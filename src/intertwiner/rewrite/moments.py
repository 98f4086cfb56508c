r"""Second moments of candidate neurons with what the rest of the network needs, streamed over symmetrised data.

With u the activations of candidates that G permutes, and t the targets, ``M = E u u^T``, ``C = E t u^T``, ``m = E u``
and ``E t`` are all that selection and refit look at. Where u(gx) = rho(g) u(x), M and m over the orbit of a sample
follow from the sample; t(gx) is computed by the network. Memory is quadratic in the widths, not in the data.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float
from numpy import ndarray

from intertwiner.errors import NonFiniteData
from intertwiner.rewrite.elements import Elements
from intertwiner.rewrite.samples import Samples
from intertwiner.rewrite.tied import Action

Values = Callable[[Float[ndarray, "b d"]], Float[ndarray, "b m"]]


@dataclass(frozen=True, eq=False)
class Moments:
    """Means over symmetrised data, a constant 1 being the last coordinate of u.

    Args:
        square: ``E (u,1)(u,1)^T``.
        cross: ``E t (u,1)^T``.
        target: ``E t^2``, per target.
        count: Samples, before symmetrising.
    """

    square: Float[ndarray, "m1 m1"]
    cross: Float[ndarray, "q m1"]
    target: Float[ndarray, " q"]
    count: int

    def on(self, coordinates: ndarray) -> Moments:
        """The moments of some coordinates; the constant stays the last one."""
        kept = np.append(coordinates, self.square.shape[0] - 1)
        return Moments(self.square[np.ix_(kept, kept)], self.cross[:, kept], self.target, self.count)


def second_moments(
    samples: Samples, features: Values, rho: Action, targets: Values | None, limit: int | None = None
) -> Moments:
    """Stream the data once.

    Args:
        samples: The data and the elements that symmetrise them.
        features: u, from a batch of samples.
        rho: How the generators move u.
        targets: t, from a batch of samples; None for none.
        limit: Stop after about so many samples.

    Raises:
        NonFiniteData: An activation is NaN or infinite.

    Cost:
        One pass of the features, and one of the targets for every element that symmetrises.
    """
    group, dimension = samples.task.bound.group, rho[0].dimension
    inside, outside = Elements(group, samples.task.rho_in), Elements(group, rho)
    square, crossed, count = np.zeros((dimension + 1, dimension + 1)), _Cross(dimension), 0
    for x in samples.batches():
        u = np.column_stack([features(x), np.ones(len(x))])
        square += u.T @ u
        count += len(x)
        for g in samples.elements.tolist():
            if targets is None:
                break
            moved = u if g == 0 else np.column_stack([outside[g].apply(u[:, :-1], axis=1), u[:, -1]])
            crossed.add(targets(x if g == 0 else inside[g].apply(x, axis=1)), moved)
        if limit is not None and count >= limit:
            break
    each = count * len(samples.elements)
    cross, target = crossed.cross / each, crossed.target / each
    if not (np.isfinite(square).all() and np.isfinite(cross).all()):
        raise NonFiniteData("the network or a candidate layer answers with NaN or infinity: no moments were taken")
    square = square / count
    if not samples.closed:
        square[:-1, :-1] = outside.mean_square(square[:-1, :-1])
        square[:-1, -1] = square[-1, :-1] = _mean_vector(outside, square[:-1, -1])
    return Moments(square, cross, target, count)


class _Cross:
    """Running sums of ``t u^T`` and ``t^2``."""

    def __init__(self, dimension: int) -> None:
        self.cross, self.target = np.zeros((0, dimension + 1)), np.zeros(0)

    def add(self, t: Float[ndarray, "b q"], u: Float[ndarray, "b m1"]) -> None:
        first = not len(self.target)
        self.cross = t.T @ u if first else self.cross + t.T @ u
        self.target = (t**2).sum(0) if first else self.target + (t**2).sum(0)


def _mean_vector(outside: Elements, vector: Float[ndarray, " m"]) -> Float[ndarray, " m"]:
    for known in outside.by_factor:
        vector = np.mean([m.apply(vector) for m in known], axis=0)
    return vector
