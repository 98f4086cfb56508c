"""A value of the twin: how G moves it, and which of its channels continue which of the original's."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Float, Int
from numpy import ndarray

from intertwiner.numerics.monomial import Monomial
from intertwiner.rewrite.coordinates import monomial_on
from intertwiner.rewrite.tied import Action, tied, trivial
from intertwiner.symmetry import TensorAction
from intertwiner.transport.picture import Lost


@dataclass(frozen=True, eq=False)
class Value:
    """A value of the twin.

    Args:
        action: One per generator, on the sample.
        axis: The sample axis along which channels stand.
        label: For every original position of that axis the twin's position that continues it; None where unknown.
        scale: The original is this multiple of it; None likewise.
    """

    action: tuple[TensorAction, ...]
    axis: int
    label: Int[ndarray, " d"] | None = None
    scale: Float[ndarray, " d"] | None = None

    @property
    def shape(self) -> tuple[int, ...]:
        return self.action[0].shape

    def rho(self, where: str) -> Action:
        """The generators along the channel axis."""
        return tuple(monomial_on(a, (self.axis,), where) for a in self.action)


def standing(x: Value, axis: int) -> Value:
    """The value with its channels on an axis: of an input, nothing was said yet.

    Raises:
        Lost: They stand on another one.
    """
    if x.axis == axis:
        return x
    if x.label is not None and np.array_equal(x.label, np.arange(x.shape[x.axis])):
        size = x.shape[axis]
        return replace(x, axis=axis, label=np.arange(size), scale=np.ones(size))
    raise Lost("channels stand on another axis than the one that is read")


def with_channels(action: TensorAction, shape: tuple[int, ...], axis: int, rho: Monomial) -> TensorAction:
    """The action on the other axes, and rho on the channels."""
    kept = {f.axes: f.matrix for f in action.factors if axis not in f.axes}
    return TensorAction.of(shape, {**kept, (axis,): rho})


def spread(values: Float[ndarray, " d"], label: Int[ndarray, " d"], rho: Action) -> Float[ndarray, " m"]:
    """The invariant vector with these values at these channels; the others are their images.

    Raises:
        Lost: They are not invariant.

    Example:
        >>> spread(np.array([2.0]), np.array([0]), (Monomial([1, 0, 2], np.array([-1.0, -1.0, 1.0])),))
        array([ 2., -2.,  0.])
    """
    tie = tied(rho, trivial(len(rho)))
    orbit, sign = tie.label[label, 0], tie.sign[label, 0]
    free, value = orbit >= 0, np.zeros(tie.count)
    value[orbit[free]] = (sign * values)[free]
    out = tie.matrix(value)[:, 0]
    if not np.allclose(out[label], values, rtol=1e-4, atol=1e-6 * np.abs(values).max(initial=0.0)):
        raise Lost("a scale or shift per channel that the group does not leave alone")
    return out


def is_unchanged(x: Value) -> bool:
    """Whether every channel of the original is continued as it is."""
    return x.scale is not None and bool(np.all(x.scale == 1))
