r"""Writes a circuit while a computation runs on it: `Numbers` of the room ``exact``, whose rules so record themselves.

A ReLU-like gate becomes a product with a free number: z times one of two slopes, and functions that are affine in every
slope have the same span over two values as over all [Gonon, Brisebarre, Riccietti, Gribonval 2024]. A maximum over a
window becomes the sum of the window weighted with free numbers, for the same reason.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from fractions import Fraction
from math import prod

import numpy as np
from jaxtyping import Bool, Float, Int
from numpy import ndarray

from intertwiner.errors import NoRule
from intertwiner.exact.gather import Gather
from intertwiner.exact.polynomial import IDENTITY, PiecewisePolynomial, Polynomial
from intertwiner.numerics.modular import Modulus
from intertwiner.training.circuit import Cell, Circuit, Constant, Free, Parameter, Sampler
from intertwiner.training.potentials import residues
from intertwiner.training.steps import Added, MatrixProduct, Moved, Multiplied, Summed


@dataclass(frozen=True)
class Register:
    """A place of the circuit under way, and the shape of what it holds."""

    number: int
    shape: tuple[int, ...]


class Recorder:
    """Records cells; values are registers.

    Example:
        A product of two matrices of parameters:

        >>> record = Recorder()
        >>> a = record.parameter(np.arange(6).reshape(2, 3))
        >>> b = record.parameter(np.arange(6, 12).reshape(3, 2))
        >>> record.matmul(a, b).shape
        (2, 2)
    """

    def __init__(self) -> None:
        self.cells: list[Cell] = []
        self.shapes: list[tuple[int, ...]] = []
        self._fixed: dict[int, tuple[ndarray, Register]] = {}

    def circuit(self, name: str, parameters: int, ends: Sequence[tuple[int, Sampler]]) -> Circuit:
        """What was recorded."""
        return Circuit(name, parameters, tuple(self.cells), tuple(self.shapes), tuple(ends))

    def end(self, x: Register, sample: Sampler | None = None) -> tuple[int, Sampler]:
        """A register as an end, with free coefficients unless something else draws them."""
        return x.number, sample or uniform(x.shape)

    def parameter(self, places: Int[ndarray, "..."]) -> Register:
        """Parameters by their numbers."""
        return self._put(Parameter(places), places.shape)

    def free(self, shape: tuple[int, ...], sample: Sampler | None = None) -> Register:
        """Numbers drawn for every function, uniform unless something else draws them."""
        return self._put(Free(sample or uniform(shape)), shape)

    def constant(self, array: ndarray) -> Register:
        """Floats, each the dyadic rational that it is; arrays of fractions as they are."""
        if array.dtype == object:
            values = [Fraction(v) for v in array.ravel()]
            return self._put(
                Constant(lambda field: np.array([field.fraction(v) for v in values]).reshape(array.shape)), array.shape
            )
        return self._put(Constant(lambda field: field.of(array)), array.shape)

    def known(self, array: ndarray, register: Register) -> None:
        """From now on `fixed` takes this very array for the register."""
        self._fixed[id(array)] = (array, register)

    def fixed(self, array: Float[ndarray, "..."]) -> Register:
        """A constant, unless the array is known as something else."""
        if id(array) not in self._fixed:
            self._fixed[id(array)] = (array, self.constant(array))  # the array stays, so its id does too
        return self._fixed[id(array)][1]

    def move(self, values: Sequence[Register], move: Callable[..., ndarray]) -> Register:
        """Entries moved, repeated or left out."""
        gather = Gather.of(move, *(v.shape for v in values))
        if len(values) == 1 and gather.shape == values[0].shape and _is_identity(gather):
            return values[0]
        return self._put(Moved(tuple(v.number for v in values), gather), gather.shape)

    def add(self, a: Register, b: Register) -> Register:
        """Entrywise sum, broadcast."""
        return self._put(Added((a.number, b.number)), np.broadcast_shapes(a.shape, b.shape))

    def mul(self, a: Register, b: Register) -> Register:
        """Entrywise product, broadcast."""
        return self._put(Multiplied((a.number, b.number)), np.broadcast_shapes(a.shape, b.shape))

    def matmul(self, a: Register, b: Register) -> Register:
        """Matrix product over the last two axes."""
        lead = np.broadcast_shapes(a.shape[:-2], b.shape[:-2])
        return self._put(MatrixProduct((a.number, b.number)), (*lead, a.shape[-2], b.shape[-1]))

    def sum(self, x: Register, axes: tuple[int, ...], keepdims: bool) -> Register:
        """Sum over axes."""
        axes = tuple(a % len(x.shape) for a in axes)
        kept = [1 if k in axes else n for k, n in enumerate(x.shape) if keepdims or k not in axes]
        return self._put(Summed((x.number,), axes, keepdims), tuple(kept))

    def divide(self, x: Register, counts: ndarray) -> Register:
        """Division by whole numbers."""
        inverse = np.empty(np.shape(counts), dtype=object)
        inverse[...] = np.vectorize(lambda n: Fraction(1, int(n)), otypes=[object])(counts)
        return self.mul(x, self.constant(inverse))

    def nonlinear(self, name: str, function: PiecewisePolynomial, z: Register) -> Register:
        """A polynomial, or a gate: lines through the origin on both sides of it.

        Raises:
            NoRule: Other pieces; where the caller wants them cut, it does so before.
        """
        if len(function.pieces) == 1:
            return self.polynomial(function.pieces[0], z)
        if not is_gate(function):
            raise NoRule(f"the nonlinearity at {name!r} is neither a polynomial nor a gate. Nothing was counted.")
        return self.mul(z, self.free(z.shape))

    def largest(self, name: str, x: Register, valid: Bool[ndarray, "..."]) -> Register:
        """Free weights for the last axis; what is not valid has been moved in as zero."""
        return self.sum(self.mul(x, self.free(x.shape)), (-1,), False)

    def polynomial(self, piece: Polynomial, z: Register) -> Register:
        """A polynomial of every entry, by the scheme of Horner.

        Example:
            >>> record = Recorder()
            >>> x = record.parameter(np.array([0]))
            >>> record.polynomial((Fraction(0), Fraction(1)), x) == x
            True
        """
        if piece == IDENTITY:
            return z
        if not piece:
            return self.constant(np.zeros(z.shape))
        out: Register | None = None
        for c in reversed(piece):
            if out is not None:
                out = z if out.number < 0 else self.mul(out, z)
            if c == 1 and out is None:
                out = Register(-1, z.shape)  # the number one, which the next product turns into z
                continue
            if c:
                term = self.constant(np.full(z.shape if out is None else (1,) * len(z.shape), c, dtype=object))
                out = term if out is None else self.add(out, term)
        return self.constant(np.ones(z.shape)) if out is None or out.number < 0 else out

    def _put(self, cell: Cell, shape: tuple[int, ...]) -> Register:
        self.cells.append(cell)
        self.shapes.append(tuple(shape))
        return Register(len(self.cells) - 1, tuple(shape))


def is_gate(function: PiecewisePolynomial) -> bool:
    """Whether a nonlinearity multiplies by one of two slopes: ReLU, leaky ReLU, absolute value."""
    lines = all(not piece or (len(piece) == 2 and not piece[0]) for piece in function.pieces)
    return lines and len(function.pieces) == 2 and function.breaks == (0,)


def uniform(shape: tuple[int, ...]) -> Sampler:
    """Independent residues."""
    return lambda count, field, random: residues((count, *shape), field, random)


def with_sum(
    shape: tuple[int, ...], axes: tuple[int, ...], total: int, mask: Bool[ndarray, "..."] | None = None
) -> Sampler:
    """Residues whose sum over some axes is fixed, zero outside the mask.

    Example:
        >>> from intertwiner.numerics.seeds import rng
        >>> drawn = with_sum((2, 3), (1,), 1)(4, Modulus(7), rng(0))
        >>> drawn.shape, bool((Modulus(7).reduce(drawn.sum(axis=2)) == 1).all())
        ((4, 2, 3), True)
    """
    axes = tuple(a % len(shape) for a in axes)
    allowed = np.ones(shape, dtype=bool) if mask is None else np.broadcast_to(mask, shape)
    kept = [a for a in range(len(shape)) if a not in axes]
    turned = allowed.transpose(*kept, *axes).reshape(*(shape[a] for a in kept), prod(shape[a] for a in axes))
    first = (np.arange(turned.shape[-1]) == np.argmax(turned, axis=-1)[..., None]) & turned
    back = np.argsort([*kept, *axes])

    def sample(count: int, field: Modulus, random: np.random.Generator) -> ndarray:
        drawn = residues((count, *turned.shape), field, random) * turned
        missing = field.reduce(total - drawn.sum(axis=-1, keepdims=True))
        drawn = field.reduce(drawn + missing * first)
        ordered = drawn.reshape(count, *(shape[a] for a in (*kept, *axes)))
        return np.ascontiguousarray(ordered.transpose(0, *(b + 1 for b in back)))

    return sample


def _is_identity(gather: Gather) -> bool:
    return len(gather.index) == gather.size and bool((gather.index == np.arange(gather.size)).all())
