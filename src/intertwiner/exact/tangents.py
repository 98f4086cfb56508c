"""Derivatives along one direction of parameters, modulo a prime: values with tangents, carried forwards together.

One forward pass tells ``J(x) v`` for all outputs of a batch, at the price of about three; the whole Jacobian costs as
many passes as there are outputs. Where v is a random null vector of some rows, ``J(x) v = 0`` says, but for one chance
in p, that the rows of x are combinations of them [Freivalds 1977].
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float
from numpy import ndarray

from intertwiner.exact.columns import Columns
from intertwiner.exact.evaluate import forward
from intertwiner.exact.numbers import Residues
from intertwiner.exact.polynomial import PiecewisePolynomial
from intertwiner.network import Network
from intertwiner.numerics.modular import Modulus


@dataclass(frozen=True, eq=False)
class Dual:
    """A residue and its derivative; None where the derivative is zero throughout."""

    value: Float[ndarray, "..."]
    tangent: Float[ndarray, "..."] | None = None


class Duals:
    """The operations of `Numbers` on residues with tangents.

    Args:
        numbers: The residues, with the pieces.
        tangents: Derivatives of the fixed arrays that have one, by the identity of the array.
    """

    def __init__(self, numbers: Residues, tangents: Mapping[int, ndarray]) -> None:
        self.numbers, self.field, self.tangents = numbers, numbers.field, tangents

    def fixed(self, array: ndarray) -> Dual:
        return Dual(self.numbers.fixed(array), self.tangents.get(id(array)))

    def move(self, values: Sequence[Dual], move: Callable[..., ndarray]) -> Dual:
        value = move(*(v.value for v in values))
        if all(v.tangent is None for v in values):
            return Dual(value)
        return Dual(value, move(*(np.zeros(v.value.shape) if v.tangent is None else v.tangent for v in values)))

    def add(self, a: Dual, b: Dual) -> Dual:
        value = self.field.add(a.value, b.value)
        return Dual(value, self._total([a.tangent, b.tangent], value.shape))

    def mul(self, a: Dual, b: Dual) -> Dual:
        value = self.field.mul(a.value, b.value)
        parts = [None if t is None else self.field.mul(t, v) for t, v in ((a.tangent, b.value), (b.tangent, a.value))]
        return Dual(value, self._total(parts, value.shape))

    def matmul(self, a: Dual, b: Dual) -> Dual:
        left = None if a.tangent is None else self.field.matmul(a.tangent, b.value)
        right = None if b.tangent is None else self.field.matmul(a.value, b.tangent)
        value = self.field.matmul(a.value, b.value)
        return Dual(value, self._total([left, right], value.shape))

    def sum(self, x: Dual, axes: tuple[int, ...], keepdims: bool) -> Dual:
        return self._both(x, lambda v: self.numbers.sum(v, axes, keepdims))

    def divide(self, x: Dual, counts: ndarray) -> Dual:
        return self._both(x, lambda v: self.numbers.divide(v, counts))

    def nonlinear(self, name: str, function: PiecewisePolynomial, z: Dual) -> Dual:
        value = self.numbers.nonlinear(name, function, z.value)
        if z.tangent is None:
            return Dual(value)
        return Dual(value, self.field.mul(self.numbers.slope(name, function, z.value), z.tangent))

    def largest(self, name: str, x: Dual, valid: ndarray) -> Dual:
        return self._both(x, lambda v: self.numbers.largest(name, v, valid))

    def _both(self, x: Dual, linear: Callable[[ndarray], ndarray]) -> Dual:
        return Dual(linear(x.value), None if x.tangent is None else linear(x.tangent))

    def _total(self, parts: Sequence[ndarray | None], shape: tuple[int, ...]) -> ndarray | None:
        present = [p for p in parts if p is not None]
        if not present:
            return None
        total = present[0] if len(present) == 1 else self.field.add(present[0], present[1])
        return np.broadcast_to(total, shape)


def directional_derivative(
    network: Network,
    columns: Columns,
    vector: Float[ndarray, " p"],
    given: tuple[Sequence[ndarray], Mapping[str, ndarray]],
    field: Modulus,
) -> Float[ndarray, "b k"]:
    """``J(x) v`` of all outputs at a batch of inputs, modulo the prime.

    Args:
        network: The network.
        columns: Its parameters.
        vector: The direction v, residues over all columns.
        given: Inputs, and the pieces they lie on.
        field: The modulus.

    Cost: about three forward passes.
    """
    inputs, choices = given
    numbers = Residues(field, dict(choices))
    tangents = {}
    for node in network.nodes:
        for param in node.op.params:
            places = columns.places(param)
            if places is not None and vector[places].any():
                tangents[id(param.array)] = vector[places].reshape(param.shape)
    values = forward(network, Duals(numbers, tangents), [Dual(field.of(x)) for x in inputs], len(inputs[0]))
    batch, out = len(inputs[0]), []
    for name in network.nodes[-1].inputs:
        end = values[name]
        out.append((np.zeros(end.value.shape) if end.tangent is None else end.tangent).reshape(batch, -1))
    return np.concatenate(out, axis=1)
