"""A chain evaluated in float64 with numpy, up to any layer: what targets and features are computed with."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

import numpy as np
from jaxtyping import Float
from numpy import ndarray

from intertwiner.gauge import Pointwise


class Layer(Protocol):
    """``s(W u + b)``: a layer of the original or of the twin."""

    @property
    def weight(self) -> Float[ndarray, "m d"]: ...
    @property
    def bias(self) -> Float[ndarray, " m"]: ...
    @property
    def pointwise(self) -> Pointwise | None: ...


def before(layers: tuple[Layer, ...]) -> Callable[[Float[ndarray, "b d"]], Float[ndarray, "b m"]]:
    """From samples to the pre-activation of the last of some layers."""

    def values(x: Float[ndarray, "b d"]) -> Float[ndarray, "b m"]:
        for layer in layers[:-1]:
            x = activated(layer, x)
        return x @ layers[-1].weight.T + layers[-1].bias

    return values


def after(layers: tuple[Layer, ...]) -> Callable[[Float[ndarray, "b d"]], Float[ndarray, "b m"]]:
    """From samples to what the last of some layers hands on."""

    def values(x: Float[ndarray, "b d"]) -> Float[ndarray, "b m"]:
        for layer in layers:
            x = activated(layer, x)
        return x

    return values


def activated(layer: Layer, x: Float[ndarray, "b d"]) -> Float[ndarray, "b m"]:
    """``s(W x + b)``."""
    z = x @ layer.weight.T + layer.bias
    return z if layer.pointwise is None else np.asarray(layer.pointwise.apply(z))
