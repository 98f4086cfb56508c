r"""A network whose layers are intertwiners: weights beside the action on every latent space.

Layer l computes ``z = W u + b`` and ``u' = s(z)``. G moves z by signed permutations ``rho_l`` and u' by ``phi(rho_l)``
[theory 1]; ``W phi(rho_{l-1}) = rho_l W`` and ``rho_l b = b`` hold bit for bit, because entries are tied.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

import numpy as np
from jaxtyping import Bool, Float, Int
from numpy import ndarray

from intertwiner.algebra import orbit_labels
from intertwiner.errors import CannotRewrite
from intertwiner.gauge import GaugeElement, Pointwise
from intertwiner.numerics.monomial import Monomial
from intertwiner.rewrite.tied import Action, tied, trivial


@dataclass(frozen=True, eq=False)
class TwinLayer:
    """One equivariant layer ``s(W u + b)``.

    Args:
        weight: W, tied.
        bias: b, invariant.
        pointwise: s; None after the last layer.
        rho: How G moves the pre-activation, one signed permutation per generator.
    """

    weight: Float[ndarray, "m d"]
    bias: Float[ndarray, " m"]
    pointwise: Pointwise | None
    rho: Action

    @property
    def width(self) -> int:
        return len(self.bias)

    @property
    def after(self) -> Action:
        """The action on what the next layer reads."""
        return self.rho if self.pointwise is None else after(self.pointwise, self.rho)

    @property
    def orbit(self) -> Int[ndarray, " m"]:
        """The orbit of every neuron."""
        return orbit_labels(self.width, [m.index for m in self.rho])

    def kept(self, neurons: Int[ndarray, " k"]) -> TwinLayer:
        """The layer with some of its neurons, a union of orbits."""
        return replace(
            self, weight=self.weight[neurons], bias=self.bias[neurons], rho=restricted(self.rho, neurons)
        )  # fmt: skip


@dataclass(frozen=True, eq=False)
class TwinChain:
    """The layers, first to last, with the actions on the input and the output."""

    layers: tuple[TwinLayer, ...]
    rho_in: Action

    @property
    def widths(self) -> tuple[int, ...]:
        """Input, hidden layers, output."""
        return (self.rho_in[0].dimension, *(layer.width for layer in self.layers))

    @property
    def rho_out(self) -> Action:
        return self.layers[-1].rho

    @property
    def multiply_adds(self) -> int:
        """Of one sample, dense layers."""
        return int(multiply_adds(self.widths))


def multiply_adds(widths: Sequence[float]) -> float:
    """Of one sample through dense layers of these widths, which need not be whole."""
    return sum(a * b for a, b in pairwise(widths))


def signs_allowed(pointwise: Pointwise) -> bool:
    """Whether a flipped neuron is used: yes where ``s(-z)`` is a multiple of s(z), without a constant."""
    return pointwise.sign and not pointwise.flips_shift


def after(pointwise: Pointwise, rho: Action) -> Action:
    """``phi(rho)``: what the activation makes of an action that permutes and changes signs."""
    return tuple(_monomial(pointwise.phi(GaugeElement(m)), pointwise) for m in rho)


def coefficients(pointwise: Pointwise, factor: Float[ndarray, " n"]) -> Float[ndarray, " n"]:
    """The c with ``s(factor z) = c s(z)``."""
    return _monomial(pointwise.phi(GaugeElement(Monomial.diagonal(factor))), pointwise).factor


def _monomial(element: GaugeElement, pointwise: Pointwise) -> Monomial:
    if not isinstance(element.matrix, Monomial) or element.shift is not None:
        raise CannotRewrite(f"{pointwise.name} makes no monomial of {element!r}. Nothing was rewritten.")
    return element.matrix


def restricted(rho: Action, points: Int[ndarray, " k"]) -> Action:
    """The action on a union of orbits, renumbered in the order given."""
    place = np.full(rho[0].dimension, -1)
    place[points] = np.arange(len(points))
    return tuple(Monomial(place[m.index[points]], m.factor[points]) for m in rho)


def tied_layer(
    weight: Float[ndarray, "m d"], bias: Float[ndarray, " m"], pointwise: Pointwise | None, rho: Action, read: Action
) -> TwinLayer:
    """The layer with its weights projected to the intertwiners from ``read`` to ``rho``."""
    whole = tied(rho, read).project(weight)
    own = tied(rho, trivial(len(read))).project(np.asarray(bias, dtype=np.float64)[:, None])[:, 0]
    return TwinLayer(whole, own, pointwise, rho)


def pruned(chain: TwinChain) -> TwinChain:
    """Without the neurons that nobody reads: whole orbits, since columns are tied."""
    layers = list(chain.layers)
    for place in range(len(layers) - 1, 0, -1):
        read: Bool[ndarray, " m"] = np.any(layers[place].weight != 0, axis=0)
        kept = np.flatnonzero(read)
        if len(kept) < len(read):
            layers[place - 1] = layers[place - 1].kept(kept)
            layers[place] = replace(layers[place], weight=layers[place].weight[:, kept])
    return replace(chain, layers=tuple(layers))
