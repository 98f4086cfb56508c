r"""Functions of the parameters ``<c, phi>`` along a curve: gradients and Hessians as power series modulo p.

A potential is ``tr(C^T M_L ... M_1 E)`` with ``M_l = a_l * W_l`` entrywise. Linear networks: ``a = 1``, ``E = I``, C
random, the coefficients of the entries of the product. ReLU networks: ``C, E`` all ones, a random: then c is the
product of a along the path, and such c span all others, because the indicator of a path is one. One forward and one
backward pass give the gradient. The Hessian between layers a < b is ``T[l, i] Q[j, k]``, times both masks, at entries
``(k, l)`` of ``M_b`` and ``(i, j)`` of ``M_a``, with ``T = M_{b-1} ... M_{a+1}`` and
``Q = M_{a-1} ... M_1 E (M_{b+1}^T ... M_L^T C)^T``.

A curve is its Taylor coefficients, the power of t on the first axis; so are all results.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int
from numpy import ndarray

from intertwiner.numerics.modular import Modulus

ZERO, ONE = -2, -1
"""Entries of a matrix that are no parameters."""

Series = Float[ndarray, "orders *rest"]


def residues(shape: tuple[int, ...], field: Modulus, random: np.random.Generator) -> Float[ndarray, "..."]:
    """Uniformly random residues."""
    half = field.prime // 2
    return random.integers(-half, half + 1, size=shape).astype(np.float64)


def product(a: Series, b: Series, field: Modulus) -> Series:
    """Product of two series of matrices, truncated where they end.

    Example:
        >>> t = np.array([0.0, 1.0, 0.0]).reshape(3, 1, 1)
        >>> product(t, t, Modulus(7)).ravel()
        array([0., 0., 1.])
    """
    out = []
    for n in range(len(a)):
        parts = [field.matmul(a[i], b[n - i]) for i in range(n + 1)]
        out.append(field.reduce(np.sum(parts, axis=0)) if n else parts[0])
    return np.stack(out)


def constant(value: Float[ndarray, "*rest"], orders: int) -> Series:
    """The series of a constant."""
    out = np.zeros((orders, *value.shape))
    out[0] = value
    return out


@dataclass(frozen=True, eq=False)
class Potentials:
    """Several functions ``<c, phi>`` of one chain.

    Args:
        matrices: The number of every entry of every matrix, first layer first; ``ZERO`` and ``ONE`` where it is fixed.
        masks: The factors a, one array ``(count, out, in)`` per layer; None for linear chains, where they are 1.
        ends: The coefficients C, ``(count, d_L, e)``; a count of 1 stands for all.
        start: The matrix E, ``(d_0 [+ 1], e)``.
    """

    matrices: tuple[Int[ndarray, "out in"], ...]
    masks: tuple[Float[ndarray, "count out in"], ...] | None
    ends: Float[ndarray, "count out e"]
    start: Float[ndarray, "in e"]

    def _factors(self, theta: Float[ndarray, "orders D"], field: Modulus) -> list[Series]:
        """The matrices ``M_l`` along the curve, ``(orders, count, out, in)``."""
        out = []
        for layer, numbers in enumerate(self.matrices):
            values = np.where(numbers >= 0, theta[:, numbers], 0.0)
            values[0][numbers == ONE] = 1.0
            values = values[:, None]
            out.append(values if self.masks is None else field.mul(self.masks[layer], values))
        return out

    def _passes(self, factors: list[Series], field: Modulus) -> tuple[list[Series], list[Series]]:
        """What comes into every layer from the start, and what comes back to its output from the end."""
        orders = len(factors[0])
        forward, backward = [constant(self.start[None], orders)], [constant(self.ends, orders)]
        for matrix in factors[:-1]:
            forward.append(product(matrix, forward[-1], field))
        for matrix in factors[:0:-1]:
            backward.append(product(matrix.swapaxes(-1, -2), backward[-1], field))
        return forward, backward[::-1]

    def gradients(self, theta: Float[ndarray, "orders D"], field: Modulus) -> Float[ndarray, "orders count D"]:
        """The gradients of the potentials along a curve.

        Args:
            theta: The curve.
            field: The modulus.

        Returns:
            As many Taylor coefficients as the curve has.

        Cost:
            One forward and one backward pass per function, times ``orders^2 / 2``.

        Example:
            The gradient of ``w_2 w_1`` at (2, 3), by the definition:

            >>> one = Potentials((np.array([[0]]), np.array([[1]])), None, np.ones((1, 1, 1)), np.eye(1))
            >>> one.gradients(np.array([[2.0, 3.0]]), Modulus())
            array([[[3., 2.]]])
        """
        factors = self._factors(theta, field)
        forward, backward = self._passes(factors, field)
        count = len(self.ends) if self.masks is None else len(self.masks[0])
        out = np.empty((len(theta), count, theta.shape[1]))
        for layer, numbers in enumerate(self.matrices):
            entries = product(backward[layer], forward[layer].swapaxes(-1, -2), field)
            if self.masks is not None:
                entries = field.mul(entries, self.masks[layer])
            free = numbers >= 0
            out[..., numbers[free]] = entries[..., free]
        return out

    def hessian(self, theta: Float[ndarray, "orders D"], field: Modulus) -> Float[ndarray, "orders D D"]:
        """The Hessian of a single potential along a curve.

        Cost:
            ``orders^2 / 2`` products of D x D numbers, entry by entry.

        Example:
            >>> one = Potentials((np.array([[0]]), np.array([[1]])), None, np.ones((1, 1, 1)), np.eye(1))
            >>> one.hessian(np.array([[2.0, 3.0]]), Modulus())
            array([[[0., 1.],
                    [1., 0.]]])
        """
        factors = self._factors(theta, field)
        forward, backward = ([s[:, 0] for s in side] for side in self._passes(factors, field))
        orders, size = theta.shape
        out = np.zeros((orders, size, size))
        for low in range(len(self.matrices)):
            between = constant(np.eye(factors[low].shape[-2]), orders)
            for high in range(low + 1, len(self.matrices)):
                if high > low + 1:
                    between = product(factors[high - 1][:, 0], between, field)
                outer = product(backward[high], forward[low].swapaxes(-1, -2), field)
                self._fill(out, (high, low), (between, outer), field)
        return out

    def _fill(
        self,
        out: Float[ndarray, "orders D D"],
        layers: tuple[int, int],
        parts: tuple[Series, Series],
        field: Modulus,
    ) -> None:
        """The two blocks of the Hessian between two layers, from their two matrix factors."""
        high, low = (self.matrices[layer] for layer in layers)
        (k, l), (i, j) = np.nonzero(high >= 0), np.nonzero(low >= 0)
        between, outer = parts
        alive = [bool(term.any()) for term in between]
        for n in range(len(out)):
            block = np.zeros((len(k), len(i)))
            for m in (m for m in range(n + 1) if alive[m]):
                block += field.mul(between[m][np.ix_(l, i)], outer[n - m][np.ix_(k, j)])
            block = field.reduce(block)
            if self.masks is not None:
                block = field.mul(block, self.masks[layers[0]][0, k, l][:, None])
                block = field.mul(block, self.masks[layers[1]][0, i, j])
            out[n][np.ix_(high[k, l], low[i, j])] = block
            out[n][np.ix_(low[i, j], high[k, l])] = block.T
