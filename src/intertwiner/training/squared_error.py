r"""Squared error on symmetric data as a local reparametrisation: the potentials ``1/2 <A S, A> + <B, A>``.

Their gradients, ``DA^*[A S + B]`` with S and B in the spans of ``data_span.py``, are the fields V_G that training
follows, the sign of B being free. Along a curve, with J the derivative of A and C = A S + B, the gradient is ``J^T
C`` and the Hessian ``sum_e C_e D^2 A_e + J^T (1 x S) J``: products of power series of matrices. A and its derivatives
come from a written-out network, or from the layers of a linear chain, which is faster where there are many
parameters.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import reduce
from typing import Protocol

import numpy as np
from flint import fmpq
from jaxtyping import Float
from numpy import ndarray

from intertwiner.numerics.modular import Modulus
from intertwiner.training.chain import ONE, Chain
from intertwiner.training.data_span import DataSpan
from intertwiner.training.polynomial_map import Combinations, PolynomialMap
from intertwiner.training.potentials import Potentials, Series, constant, product, residues
from intertwiner.training.separated import Separated

MOST_PRODUCTS = 2_000
"""Products of terms of A above which the potentials are not written out."""


class Matrix(Protocol):
    """A matrix A of functions of the parameters, along curves."""

    @property
    def parameters(self) -> int: ...

    @property
    def shape(self) -> tuple[int, int]: ...

    def values(self, theta: Series, field: Modulus) -> Float[ndarray, "orders out f"]: ...

    def jacobian(self, theta: Series, field: Modulus) -> Float[ndarray, "orders entries D"]: ...

    def curvature(self, ends: Series, theta: Series, field: Modulus) -> Float[ndarray, "orders D D"]:
        """``sum_e ends_e D^2 A_e``, for one series of coefficients ``(orders, entries)``."""
        ...


@dataclass(frozen=True, eq=False)
class ChainMatrix:
    """The product of the layers of a linear chain."""

    chain: Chain

    @property
    def parameters(self) -> int:
        return self.chain.parameters

    @property
    def shape(self) -> tuple[int, int]:
        return self.chain.widths[-1], self.chain.widths[0] + self.chain.bias

    def values(self, theta: Series, field: Modulus) -> Float[ndarray, "orders out f"]:
        factors = []
        for numbers in self.chain.matrices:
            factor = np.where(numbers >= 0, theta[:, numbers], 0.0)
            factor[0][numbers == ONE] = 1.0
            factors.append(factor)
        return reduce(lambda below, matrix: product(matrix, below, field), factors)

    def jacobian(self, theta: Series, field: Modulus) -> Float[ndarray, "orders entries D"]:
        out, size = self.shape
        return self._potentials(np.eye(out * size).reshape(-1, out, size)).gradients(theta, field)

    def curvature(self, ends: Series, theta: Series, field: Modulus) -> Float[ndarray, "orders D D"]:
        orders = len(theta)
        total = np.zeros((orders, self.parameters, self.parameters))
        for n in range(orders):
            if ends[n].any():
                potential = self._potentials(ends[n].reshape(1, *self.shape))
                total[n:] += potential.hessian(theta[: orders - n], field)
        return field.reduce(total)

    def _potentials(self, ends: Float[ndarray, "count out f"]) -> Potentials:
        return Potentials(self.chain.matrices, None, ends, np.eye(self.shape[1]))


@dataclass(frozen=True, eq=False)
class WrittenMatrix:
    """The matrix of a network whose entries are written out."""

    network: Separated

    @property
    def parameters(self) -> int:
        return len(self.network.names)

    @property
    def shape(self) -> tuple[int, int]:
        return self.network.outputs, len(self.network.features)

    def values(self, theta: Series, field: Modulus) -> Float[ndarray, "orders out f"]:
        table = self.network.entries.zeroth
        return table.along(theta, table.residues(field), field).reshape(-1, *self.shape)

    def jacobian(self, theta: Series, field: Modulus) -> Float[ndarray, "orders entries D"]:
        table = self.network.entries.first
        return table.along(theta, table.residues(field), field).reshape(len(theta), -1, self.parameters)

    def curvature(self, ends: Series, theta: Series, field: Modulus) -> Float[ndarray, "orders D D"]:
        orders = len(theta)
        total = np.zeros((orders, self.parameters, self.parameters))
        for n in range(orders):
            if ends[n].any():
                total[n:] += Combinations(self.network.entries, ends[n][None]).hessian(theta[: orders - n], field)
        return field.reduce(total)


@dataclass(frozen=True, eq=False)
class SquaredError:
    """The local reparametrisation that squared error on symmetric data sees.

    Args:
        matrix: A.
        span: The moments that the data can have.
        title: What it is, in words.
    """

    matrix: Matrix
    span: DataSpan
    title: str

    @property
    def parameters(self) -> int:
        """Number of parameters D."""
        return self.matrix.parameters

    @property
    def dimension(self) -> int:
        """Number of potentials."""
        return self.span.dimension

    def draw(self, count: int, field: Modulus, random: np.random.Generator) -> Moments:
        """Random potentials."""
        second, mixed = (s.residues(field) for s in (self.span.second, self.span.mixed))
        return Moments(self.matrix, _combined(second, count, field, random), _combined(mixed, count, field, random))

    def __str__(self) -> str:
        return self.title


def _combined(
    basis: Float[ndarray, "k m n"], count: int, field: Modulus, random: np.random.Generator
) -> Float[ndarray, "count m n"]:
    k, m, n = basis.shape
    return field.matmul(residues((count, k), field, random), basis.reshape(k, m * n)).reshape(count, m, n)


@dataclass(frozen=True, eq=False)
class Moments:
    """Several potentials ``1/2 <A S, A> + <B, A>``.

    Args:
        matrix: A.
        second: S.
        mixed: B.
    """

    matrix: Matrix
    second: Float[ndarray, "count f f"]
    mixed: Float[ndarray, "count out f"]

    def gradients(self, theta: Float[ndarray, "orders D"], field: Modulus) -> Float[ndarray, "orders count D"]:
        """The gradients along a curve."""
        ends = self._ends(theta, field)
        return product(ends, self.matrix.jacobian(theta, field), field)

    def hessian(self, theta: Float[ndarray, "orders D"], field: Modulus) -> Float[ndarray, "orders D D"]:
        """The Hessian of the first potential along a curve."""
        jacobian = self.matrix.jacobian(theta, field)
        orders, _, size = jacobian.shape
        split = jacobian.reshape(orders, *self.matrix.shape, size)
        turned = field.matmul(self.second[0], split).reshape(orders, -1, size)
        own = product(jacobian.swapaxes(1, 2), turned, field)
        return field.add(own, self.matrix.curvature(self._ends(theta, field)[:, 0], theta, field))

    def _ends(self, theta: Series, field: Modulus) -> Float[ndarray, "orders count entries"]:
        values = self.matrix.values(theta, field)
        ends = field.matmul(values[:, None], self.second[None]) + constant(self.mixed, len(theta))
        return field.reduce(ends).reshape(len(theta), len(self.second), -1)


def potential_map(network: Separated, span: DataSpan, title: str) -> PolynomialMap | None:
    """The potentials written out as polynomials, or None where they are too large or the spans not rational.

    Example:
        Outputs that do not turn with the inputs show nothing but the norm of the weights:

        >>> from intertwiner.algebra import Representation, cyclic
        >>> from intertwiner.training.data_span import data_span
        >>> from intertwiner.training.exact_action import exact_action
        >>> from intertwiner.training.separated import separated
        >>> turn = Representation(cyclic(4), (np.array([[0.0, -1.0], [1.0, 0.0]]),))
        >>> network = separated(Chain((2, 1)))
        >>> span = data_span(network.features, exact_action(turn), exact_action(Representation.trivial(cyclic(4))))
        >>> [str(entry) for entry in potential_map(network, span, "plane").entries]
        ['1/2*t0^2 + 1/2*t1^2']
    """
    sizes = [[len(entry.to_dict()) for entry in row] for row in network.matrix]
    if (
        sum(sum(row) ** 2 for row in sizes) > MOST_PRODUCTS
        or span.second.rational is None
        or span.mixed.rational is None
    ):
        return None
    rows, half = network.matrix, fmpq(1, 2)
    entries = []
    for second in span.second.rational:
        parts = [
            half * _rational(s) * row[a] * row[b]
            for row in rows
            for a, line in enumerate(second)
            for b, s in enumerate(line)
            if s
        ]
        entries.append(sum(parts[1:], parts[0]))
    for mixed in span.mixed.rational:
        parts = [
            _rational(s) * entry
            for line, row in zip(mixed, rows, strict=True)
            for s, entry in zip(line, row, strict=True)
            if s
        ]
        entries.append(sum(parts[1:], parts[0]))
    return PolynomialMap(tuple(entry for entry in entries if entry), network.names, title)


def _rational(value) -> fmpq:
    return fmpq(value.numerator, value.denominator)
