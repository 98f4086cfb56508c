r"""Pointwise nonlinearities as data: what a gauge element becomes when it passes through one.

A nonlinearity s tolerates the neuron gauge ``z -> P z + tau`` if ``s(P z + tau) = phi(P, tau) s(z) + t(P, tau)`` for
all z [theory 1 and 2]. The record states which P and tau these are (sign, scale, shift), gives phi and t as one affine
map, and bounds s and its slope on boxes. The table of all of them is ``activations.py``.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from jaxtyping import Float
from numpy import ndarray

from intertwiner.errors import WrongUse
from intertwiner.gauge.element import GaugeElement
from intertwiner.gauge.group import GaugeGroup
from intertwiner.gauge.normal import NormalForm, normal_form
from intertwiner.numerics.monomial import Monomial
from intertwiner.numerics.tolerance import ROUNDING

Function = Callable[[ndarray], ndarray]
Post = Callable[[ndarray, ndarray], tuple[ndarray, ndarray]]
"""Factors and shifts before the nonlinearity to factors and shifts after it, coordinate by coordinate."""


@dataclass(frozen=True)
class Pointwise:
    """One nonlinearity. Two records are equal when their names, parameters included, are.

    Args:
        name: The name with its parameters, e.g. ``"leaky_relu(0.01)"``; ``pointwise(name)`` reads it back.
        sign: Whether ``s(-z)`` is an affine function of ``s(z)``: the sign of a neuron is free.
        scale: ``"none"``, ``"positive"`` or ``"nonzero"``.
        shift: ``"none"``, ``"pi"`` or ``"real"``: constants that may be added before it.
        mixing: ``"monomial"``; ``"linear"`` for the identity only.
        parity: ``"even"``, ``"odd"`` or ``"none"``.
        linear_part: The k in ``s(z) - s(-z) = k z`` where such a k exists and s is not odd, else 0 (bypass).
        domain: ``"real"``, ``"nonnegative"`` or ``"positive"``: where s is defined.
        dead_on_negative: ``s(z) = 0`` for all ``z <= 0``.
        linear_on_positive: ``s(z) = z`` for all ``z >= 0``.
        known: False for a function without a rule; then only permutations are claimed and bounds are infinite.

    Example:
        >>> from intertwiner.gauge import POINTWISE
        >>> sigmoid = POINTWISE["sigmoid"]
        >>> print(sigmoid.gauge(4))
        signed permutations
        >>> after = sigmoid.phi(GaugeElement(Monomial.diagonal(np.array([1.0, -1.0]))))
        >>> after.matrix.factor, after.shift        # s(-z) = 1 - s(z)
        (array([ 1., -1.]), array([0., 1.]))
    """

    name: str
    sign: bool = field(default=False, compare=False)
    scale: str = field(default="none", compare=False)
    shift: str = field(default="none", compare=False)
    mixing: str = field(default="monomial", compare=False)
    parity: str = field(default="none", compare=False)
    linear_part: float = field(default=0.0, compare=False)
    domain: str = field(default="real", compare=False)
    dead_on_negative: bool = field(default=False, compare=False)
    linear_on_positive: bool = field(default=False, compare=False)
    known: bool = field(default=True, compare=False)
    value: Function | None = field(default=None, compare=False, repr=False)
    slope_bound: Function | None = field(default=None, compare=False, repr=False)
    value_bound: Function | None = field(default=None, compare=False, repr=False)
    post: Post | None = field(default=None, compare=False, repr=False)

    @classmethod
    def unknown(cls, name: str, value: Function | None = None) -> Pointwise:
        """A pointwise function without a rule: permutations, whatever it is.

        >>> print(Pointwise.unknown("my_activation").gauge(3))
        permutations
        """
        return cls(name, known=False, value=value)

    def gauge(self, n: int) -> GaugeGroup:
        """The neuron gauge before it, on n neurons."""
        return GaugeGroup(n, self.sign, self.scale, self.mixing, self.shift)

    def phi(self, element: GaugeElement) -> GaugeElement:
        """What the post-activation undergoes: ``s(P z + tau) = phi.matrix s(z) + phi.shift``, exactly.

        Raises:
            WrongUse: If the element is not in the gauge of this nonlinearity.
        """
        if self.mixing == "linear":
            return element
        if not element.is_in(self.gauge(element.dimension)) or not isinstance(element.matrix, Monomial):
            raise WrongUse(
                f"{element!r} is no gauge element before {self.name}, which allows {self.gauge(element.dimension)}; "
                "nothing is known about what it does after it"
            )
        matrix = element.matrix
        if self.post is None:
            return GaugeElement(matrix)
        # post works by output coordinate i, the factors of a Monomial go by input coordinate j, index[j] = i.
        factor, shift = self.post(matrix.factor, element.constant[matrix.index])
        return GaugeElement(Monomial(matrix.index, factor), shift[matrix.sources])

    def lift(
        self, monomial: Monomial, target_const: Float[ndarray, " n"], source_const: Float[ndarray, " n"]
    ) -> GaugeElement:
        """The gauge element with this monomial part that carries the biases ``source_const`` to ``target_const``.

        Matching compares biases modulo the shift gauge; this restores the shift, ``tau = b' - P b`` (theory 1), to
        whole multiples of pi for sin and cos. Without a shift gauge it is the monomial alone.

        >>> from intertwiner.gauge import POINTWISE
        >>> one = Monomial.identity(1)
        >>> POINTWISE["exp"].lift(one, np.array([3.0]), np.array([1.0])).shift
        array([2.])
        >>> turn = POINTWISE["sin"].lift(one, np.array([3.2]), np.array([0.1]))
        >>> POINTWISE["sin"].phi(turn).matrix.factor
        array([-1.])
        """
        if self.shift == "none":
            return GaugeElement(monomial)
        shift = np.asarray(target_const, dtype=np.float64) - monomial.apply(np.asarray(source_const, dtype=np.float64))
        return GaugeElement(monomial, shift if self.shift == "real" else np.pi * np.round(shift / np.pi))

    def normal_form(self, rows: Float[ndarray, "n r"], const: Float[ndarray, " n"]) -> NormalForm:
        """Keys of neurons ``rows u + const`` up to scale and shift; see ``normal_form``."""
        return normal_form(rows, const, scale=self.scale, shift=self.shift)

    def apply(self, z: Float[ndarray, "..."]) -> Float[ndarray, "..."]:
        """``s(z)``, overflow to infinity included.

        Raises:
            WrongUse: If no function was given for an unknown nonlinearity.
        """
        if self.value is None:
            raise WrongUse(f"the values of {self.name} are not known, only that it acts on each coordinate alike")
        with np.errstate(over="ignore", invalid="ignore", divide="ignore"):
            return self.value(np.asarray(z, dtype=np.float64))

    __call__ = apply

    def lipschitz(self, bound: Float[ndarray, "..."]) -> Float[ndarray, "..."]:
        """Upper bound of ``|s'|`` on ``|z| <= bound``, elementwise and monotone; infinite where there is none."""
        return self._bound(self.slope_bound, bound)

    def magnitude(self, bound: Float[ndarray, "..."]) -> Float[ndarray, "..."]:
        """Upper bound of ``|s|`` on ``|z| <= bound``, elementwise and monotone."""
        return self._bound(self.value_bound, bound)

    def _bound(self, function: Function | None, bound: ndarray) -> ndarray:
        bound = np.abs(np.asarray(bound, dtype=np.float64))
        if function is None:
            return np.full(bound.shape, np.inf)
        with np.errstate(over="ignore", invalid="ignore", divide="ignore"):
            # Rounding up: the bound must hold for the values that a computer finds.
            return np.broadcast_to(function(bound), bound.shape) * (1 + ROUNDING)

    def even_part(self, z: Float[ndarray, "..."]) -> Float[ndarray, "..."]:
        """``s(z) - k z / 2`` with the ``linear_part`` k: even wherever there is a bypass (theory 1, the cure)."""
        return self.apply(z) - self.linear_part / 2 * np.asarray(z, dtype=np.float64)

    @property
    def is_even(self) -> bool:
        return self.parity == "even"

    @property
    def is_odd(self) -> bool:
        return self.parity == "odd"

    @property
    def bypass(self) -> bool:
        """Whether ``s(z) - s(-z)`` is a multiple of z, so that flipped neurons can hide in the linear part."""
        return self.linear_part != 0

    @property
    def flips_shift(self) -> bool:
        """Whether a gauge element can add a constant after s: then the next layer needs a bias to absorb it."""
        if self.post is None or self.mixing == "linear":
            return False
        factor = np.array([-1.0 if self.sign else 1.0 if self.scale == "none" else 2.0])
        return bool(np.any(self.post(factor, np.zeros(1))[1]))

    @property
    def zero_value(self) -> float:
        """``s(0)``: what a padded or dead coordinate becomes."""
        return float(self.apply(np.zeros(())))

    def to_json(self) -> dict[str, Any]:
        return {"name": self.name, "known": self.known, "sign": self.sign, "scale": self.scale, "shift": self.shift}

    def __str__(self) -> str:
        return self.name
