r"""Truncated power series modulo p, many at a time, each with a derivative along many directions.

A `Jet` is ``sum_n value[n] t^n`` up to a fixed order, with ``tangent``, its derivative by a second parameter at zero.
Arrays are ``(orders, copies, *shape)``: copies are independent samples in a value, directions in a tangent, and 1
stands for all of them. Orders that are left out at the end are zero, so what does not move costs one order. Products
are bilinear: one truncated product for the values, and the product rule for the tangents.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float
from numpy import ndarray

from intertwiner.numerics.modular import Modulus

Series = Float[ndarray, "orders copies *shape"]
Times = Callable[[ndarray, ndarray], ndarray]


@dataclass(frozen=True, eq=False)
class Jet:
    """Series with their derivatives.

    Args:
        value: The series.
        tangent: Their derivatives, one copy per direction; None where all are zero.
    """

    value: Series
    tangent: Series | None = None


class Jets:
    """Arithmetic of jets.

    Args:
        field: The modulus.
        orders: Number of coefficients that are kept.

    Example:
        ``(2 + t)^2`` along the direction that moves the constant: ``4 + 4 t`` with the derivative ``4 + 2 t``.

        >>> x = Jet(np.array([2.0, 1.0]).reshape(2, 1, 1), np.ones((1, 1, 1)))
        >>> square = Jets(Modulus(), 2).mul(x, x)
        >>> square.value.ravel(), square.tangent.ravel()
        (array([4., 4.]), array([4., 2.]))
    """

    def __init__(self, field: Modulus, orders: int) -> None:
        self.field, self.orders = field, orders

    def add(self, a: Jet, b: Jet) -> Jet:
        """Entrywise sum, the shapes broadcast."""
        a, b = aligned(a, b)
        if a.tangent is None or b.tangent is None:
            tangent = b.tangent if a.tangent is None else a.tangent
            if tangent is not None:  # the other one may be larger
                shape = np.broadcast_shapes(a.value.shape[2:], b.value.shape[2:])
                tangent = np.broadcast_to(tangent, (*tangent.shape[:2], *shape))
            return Jet(self._sum(a.value, b.value), tangent)
        return Jet(self._sum(a.value, b.value), self._sum(a.tangent, b.tangent))

    def mul(self, a: Jet, b: Jet) -> Jet:
        """Entrywise product, the shapes broadcast."""
        return self._bilinear(*aligned(a, b), self.field.mul)

    def matmul(self, a: Jet, b: Jet) -> Jet:
        """Matrix product over the last two axes, the leading ones broadcast."""
        return self._bilinear(*aligned(a, b), self._matmul)

    def linear(self, a: Jet, apply: Callable[[Series], Series]) -> Jet:
        """A linear map of the entries that leaves orders and copies alone."""
        return Jet(apply(a.value), None if a.tangent is None else apply(a.tangent))

    def sum(self, a: Jet, axes: tuple[int, ...], keepdims: bool) -> Jet:
        """Sum over axes of the shape, counted from its first."""
        behind = tuple(axis + 2 for axis in axes)
        return self.linear(a, lambda x: self.field.reduce(np.asarray(x.sum(axis=behind, keepdims=keepdims))))

    def unbroadcast(self, a: Jet, shape: tuple[int, ...]) -> Jet:
        """Sum over the axes along which an entry of ``shape`` was repeated."""
        have = a.value.shape[2:]
        extra = len(have) - len(shape)
        if extra:
            a = self.sum(a, tuple(range(extra)), False)
        wide = tuple(k for k, (n, m) in enumerate(zip(have[extra:], shape, strict=True)) if m == 1 and n != 1)
        return self.sum(a, wide, True) if wide else a

    def _bilinear(self, a: Jet, b: Jet, times: Times) -> Jet:
        value = self._product(a.value, b.value, times)
        parts = [] if a.tangent is None else [self._product(a.tangent, b.value, times)]
        parts += [] if b.tangent is None else [self._product(a.value, b.tangent, times)]
        return Jet(value, None if not parts else parts[0] if len(parts) == 1 else self._sum(*parts))

    def _product(self, x: Series, y: Series, times: Times) -> Series:
        out = []
        for n in range(min(self.orders, len(x) + len(y) - 1)):
            places = range(max(0, n - len(y) + 1), min(n, len(x) - 1) + 1)
            parts = [times(x[i], y[n - i]) for i in places]
            out.append(parts[0] if len(parts) == 1 else self.field.reduce(np.sum(parts, axis=0)))
        return out[0][None] if len(out) == 1 else np.stack(out)

    def _sum(self, x: Series, y: Series) -> Series:
        if len(x) == len(y):
            return self.field.add(x, y)
        x, y = (x, y) if len(x) > len(y) else (y, x)
        missing = np.zeros((len(x) - len(y), *(1,) * (y.ndim - 1)))
        wide = np.broadcast_to(missing, (len(missing), *y.shape[1:]))
        return self.field.add(x, np.concatenate([y, wide]))

    def _matmul(self, x: ndarray, y: ndarray) -> ndarray:
        if y.ndim > 2 and y.size == y.shape[-1] * y.shape[-2]:
            # One matrix for all: a single product for the BLAS.
            out = self.field.matmul(x.reshape(-1, x.shape[-1]), y.reshape(y.shape[-2:]))
            return out.reshape(*x.shape[:-1], y.shape[-1])
        return self.field.matmul(x, y)


def aligned(a: Jet, b: Jet) -> tuple[Jet, Jet]:
    """Both with equally many axes: missing ones are put between the copies and the shape."""
    most = max(a.value.ndim, b.value.ndim)
    return _raised(a, most), _raised(b, most)


def _raised(a: Jet, axes: int) -> Jet:
    missing = (1,) * (axes - a.value.ndim)
    if not missing:
        return a
    parts = [None if x is None else x.reshape(*x.shape[:2], *missing, *x.shape[2:]) for x in (a.value, a.tangent)]
    return Jet(parts[0], parts[1])  # type: ignore[arg-type]
