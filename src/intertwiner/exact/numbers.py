r"""Two kinds of numbers that a network runs on: residues modulo a prime, and balls that surely hold the true value.

Balls are float64 values with an error bound, |value - truth| <= error, kept by running error analysis [Higham 2002,
sec. 3.3]: they decide on which piece of a nonlinearity a value lies. An entry with error 0 is exact. Residues then
follow the pieces that the balls have certified. Both have the same operations, so every operator is written once.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Any, Protocol

import numpy as np
from jaxtyping import Bool, Float
from numpy import ndarray

from intertwiner.exact.polynomial import IDENTITY, PiecewisePolynomial, Polynomial
from intertwiner.numerics.modular import Modulus

UNIT = 2.0**-53
UNDERFLOW = 1e-290
"""Products of nonzero numbers below this may have lost digits; an error of this size covers them."""


class Numbers(Protocol):
    """What a rule may do with the values of a node. Arrays have the batch on axis 0."""

    def fixed(self, array: Float[ndarray, "..."]) -> Any: ...
    def move(self, values: Sequence[Any], move: Callable[..., ndarray]) -> Any: ...
    def add(self, a: Any, b: Any) -> Any: ...
    def mul(self, a: Any, b: Any) -> Any: ...
    def matmul(self, a: Any, b: Any) -> Any: ...
    def sum(self, x: Any, axes: tuple[int, ...], keepdims: bool) -> Any: ...
    def divide(self, x: Any, counts: ndarray) -> Any: ...
    def nonlinear(self, name: str, function: PiecewisePolynomial, z: Any) -> Any: ...
    def largest(self, name: str, x: Any, valid: Bool[ndarray, "..."]) -> Any: ...


@dataclass
class Residues:
    """Residues modulo a prime; which piece a value lies on, and which entry is largest, is told by ``choices``.

    Args:
        field: The modulus.
        choices: Piece of every entry, or winner of every window, by node name.
    """

    field: Modulus
    choices: dict[str, ndarray]

    def __post_init__(self) -> None:
        self._known: dict[int, tuple[ndarray, ndarray]] = {}

    def fixed(self, array: ndarray) -> ndarray:
        known = self._known.get(id(array))
        if known is None:
            known = self._known[id(array)] = (array, self.field.of(array))  # the array stays, so its id does too
        return known[1]

    def move(self, values: Sequence[ndarray], move: Callable[..., ndarray]) -> ndarray:
        return move(*values)

    def add(self, a: ndarray, b: ndarray) -> ndarray:
        return self.field.add(a, b)

    def mul(self, a: ndarray, b: ndarray) -> ndarray:
        return self.field.mul(a, b)

    def matmul(self, a: ndarray, b: ndarray) -> ndarray:
        return self.field.matmul(a, b)

    def sum(self, x: ndarray, axes: tuple[int, ...], keepdims: bool) -> ndarray:
        return self.field.reduce(np.asarray(x.sum(axis=axes, keepdims=keepdims)))

    def divide(self, x: ndarray, counts: ndarray) -> ndarray:
        inverse = np.array([self.field.fraction(Fraction(1, int(c))) for c in np.ravel(counts)])
        return self.field.mul(x, inverse.reshape(np.shape(counts)))

    def nonlinear(self, name: str, function: PiecewisePolynomial, z: ndarray) -> ndarray:
        """The value; `slope` has the derivative."""
        return self._by_piece(name, function, z)

    def slope(self, name: str, function: PiecewisePolynomial, z: ndarray) -> ndarray:
        return self._by_piece(name, function.derivative(), z)

    def largest(self, name: str, x: ndarray, valid: ndarray) -> ndarray:
        return np.take_along_axis(x, self.choices[name][..., None], axis=-1)[..., 0]

    def _by_piece(self, name: str, function: PiecewisePolynomial, z: ndarray) -> ndarray:
        if len(function.pieces) == 1:
            return self._evaluate(function.pieces[0], z)
        out = np.zeros_like(z)
        pieces = self.choices[name]
        for i, piece in enumerate(function.pieces):
            if piece:
                np.copyto(out, self._evaluate(piece, z), where=pieces == i)
        return out

    def _evaluate(self, piece: Polynomial, z: ndarray) -> ndarray:
        if piece == IDENTITY:
            return z
        if not piece:
            return np.zeros_like(z)
        first = next(k for k, c in enumerate(piece) if c)
        out = np.full_like(z, self.field.fraction(piece[-1]))
        for c in reversed(piece[first:-1]):
            out = self.field.reduce(out * z)
            if c:
                out = self.field.reduce(out + self.field.fraction(c))
        return self.field.mul(out, self.field.power(z, first)) if first else out


@dataclass(frozen=True, eq=False)
class Ball:
    """Values with error bounds; ``still`` marks entries that stay zero when parameters and inputs move a little."""

    value: Float[ndarray, "..."]
    error: Float[ndarray, "..."]
    still: Bool[ndarray, "..."] | None = None


class Balls:
    """Values with certified errors. Records the piece of every entry, and what could not be decided.

    Attributes:
        choices: Piece of every entry, or winner of every window, by node name.
        undecided: By node name, the entries whose piece rounding leaves open.
        on_break: By node name, the entries that lie exactly on a breakpoint.
    """

    def __init__(self) -> None:
        self.choices: dict[str, ndarray] = {}
        self.undecided: dict[str, ndarray] = {}
        self.on_break: dict[str, ndarray] = {}

    def fixed(self, array: ndarray) -> Ball:
        array = np.asarray(array, dtype=np.float64)
        return Ball(array, np.zeros(array.shape))

    def move(self, values: Sequence[Ball], move: Callable[..., ndarray]) -> Ball:
        still = None
        if any(v.still is not None for v in values):
            # Zero marks what is still, because padding adds zeros.
            flags = [np.ones(v.value.shape) if v.still is None else (~v.still).astype(float) for v in values]
            still = move(*flags) == 0
        return Ball(move(*(v.value for v in values)), move(*(v.error for v in values)), still)

    def add(self, a: Ball, b: Ball) -> Ball:
        value = a.value + b.value
        return Ball(value, (a.error + b.error + UNIT * np.abs(value)) * (1 + 4 * UNIT))

    def mul(self, a: Ball, b: Ball) -> Ball:
        value = a.value * b.value
        error = np.abs(a.value) * b.error + np.abs(b.value) * a.error + a.error * b.error + UNIT * np.abs(value)
        touched = (np.abs(a.value) + a.error > 0) & (np.abs(b.value) + b.error > 0)
        return Ball(value, error * (1 + 8 * UNIT) + np.where(touched & (error < UNDERFLOW), UNDERFLOW, 0.0))

    def matmul(self, a: Ball, b: Ball) -> Ball:
        terms = a.value.shape[-1]
        gamma = 1.01 * (terms + 2) * UNIT  # any order of summation, fused or not
        value = np.matmul(a.value, b.value)
        left, right = np.abs(a.value), np.abs(b.value)
        error = np.matmul(a.error + gamma * left, right)
        if b.error.any():
            error = error + np.matmul(left + a.error, b.error)
        error = error * (1 + 4 * gamma)
        small = error < UNDERFLOW
        if small.any():
            touched = np.matmul((left + a.error > 0).astype(float), (right + b.error > 0).astype(float)) > 0
            error = error + np.where(small & touched, UNDERFLOW, 0.0)
        return Ball(value, error)

    def sum(self, x: Ball, axes: tuple[int, ...], keepdims: bool) -> Ball:
        terms = int(np.prod([x.value.shape[a] for a in axes]))
        gamma = 1.01 * (terms + 2) * UNIT
        value = x.value.sum(axis=axes, keepdims=keepdims)
        error = (x.error + gamma * np.abs(x.value)).sum(axis=axes, keepdims=keepdims)
        return Ball(np.asarray(value), np.asarray(error) * (1 + 2 * gamma))

    def divide(self, x: Ball, counts: ndarray) -> Ball:
        value = x.value / counts
        error = (x.error / counts + UNIT * np.abs(value)) * (1 + 4 * UNIT)
        touched = np.abs(x.value) + x.error > 0
        return Ball(value, error + np.where(touched & (error < UNDERFLOW), UNDERFLOW, 0.0))

    def nonlinear(self, name: str, function: PiecewisePolynomial, z: Ball) -> Ball:
        if len(function.pieces) == 1:
            return self._evaluate(function.pieces[0], z)
        breaks = np.array([float(b) for b in function.breaks])
        piece = np.searchsorted(breaks, z.value, side="left").astype(np.int8)
        distance = np.min(np.abs(z.value[..., None] - breaks), axis=-1)
        on = (distance == 0) & (z.error == 0)
        self.choices[name] = piece
        self.on_break[name] = on
        self.undecided[name] = ~(distance * (1 - 4 * UNIT) > z.error) & ~on
        value, error = np.zeros_like(z.value), np.zeros_like(z.error)
        still = np.zeros(z.value.shape, dtype=bool)
        for i, polynomial in enumerate(function.pieces):
            if polynomial:
                part = self._evaluate(polynomial, z)
                np.copyto(value, part.value, where=piece == i)
                np.copyto(error, part.error, where=piece == i)
            else:
                still |= (piece == i) & ~on
        return Ball(value, error, still)

    def largest(self, name: str, x: Ball, valid: ndarray) -> Ball:
        low = np.where(valid, x.value, -np.inf)
        winner = np.argmax(low, axis=-1)
        best = np.take_along_axis(x.value, winner[..., None], axis=-1)
        error = np.take_along_axis(x.error, winner[..., None], axis=-1)
        rival = valid & (np.arange(x.value.shape[-1]) != winner[..., None])
        sure = (best - x.value) * (1 - 4 * UNIT) > (x.error + error) * (1 + 4 * UNIT)
        still = np.zeros(best.shape[:-1], dtype=bool)
        if x.still is not None:
            # Entries that stay zero together with the winner have no derivative, whichever of them is taken.
            best_still = np.take_along_axis(x.still, winner[..., None], axis=-1)
            sure |= x.still & best_still
            still = best_still[..., 0]
        self.choices[name] = winner
        self.undecided[name] = (rival & ~sure).any(axis=-1)
        return Ball(best[..., 0], error[..., 0], still)

    def _evaluate(self, piece: Polynomial, z: Ball) -> Ball:
        if piece == IDENTITY:
            return z
        zero = np.zeros_like(z.value)
        out = Ball(zero, zero)
        for c in reversed(piece):
            out = self.mul(out, z)
            if c:
                near = float(c)
                error = 0.0 if Fraction(near) == c else UNIT * abs(near) * 2
                out = self.add(out, Ball(np.full_like(zero, near), np.full_like(zero, error)))
        return out
