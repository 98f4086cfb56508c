r"""A reparametrisation as a circuit of sums and products: whatever computes ``<c, phi(theta)>`` differentiates it too.

Registers hold parameters, constants, free numbers (inputs, gates of ReLUs, what comes out of a softmax) or what a step
makes of earlier ones. Free numbers and the coefficients c at the ends are drawn once per function: so a drawn function
is a polynomial in theta, and V is the span of the gradients of all of them. One pass forwards and one backwards on jets
(``jets.py``) give gradients along a curve; with tangents along the unit vectors the same two passes give the Hessian,
forward over reverse [Griewank, Walther 2008, sec. 5.2].
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from math import prod

import numpy as np
from jaxtyping import Float, Int
from numpy import ndarray

from intertwiner.numerics.modular import Modulus
from intertwiner.training.jets import Jet, Jets
from intertwiner.training.steps import MatrixProduct, Step

ROOM = 1 << 25
"""Numbers that the registers of one pass may hold: copies are taken in portions."""

Sampler = Callable[[int, Modulus, np.random.Generator], Float[ndarray, "count ..."]]
"""Draws residues, one array per copy."""


@dataclass(frozen=True, eq=False)
class Parameter:
    """Entries of theta, by their numbers; the same number may stand in several places."""

    places: Int[ndarray, "..."]


@dataclass(frozen=True, eq=False)
class Constant:
    """Numbers that depend on the modulus alone."""

    residues: Callable[[Modulus], Float[ndarray, "..."]]


@dataclass(frozen=True, eq=False)
class Free:
    """Numbers that are drawn anew for every function."""

    sample: Sampler


Cell = Parameter | Constant | Free | Step


@dataclass(frozen=True, eq=False)
class Circuit:
    """A circuit with its ends; a `Reparametrisation`.

    Args:
        name: What it computes, in words.
        parameters: Number of parameters D.
        cells: One per register, each reading earlier ones.
        shapes: Shape of every register.
        ends: Registers whose entries, weighted, are summed, with what draws the weights c.

    Example:
        ``c a b`` for two parameters a, b:

        >>> from intertwiner.training.recorder import Recorder
        >>> record = Recorder()
        >>> a, b = record.parameter(np.array([0])), record.parameter(np.array([1]))
        >>> circuit = record.circuit("a b", 2, [record.end(record.mul(a, b))])
        >>> from intertwiner.numerics.seeds import rng
        >>> drawn = circuit.draw(1, Modulus(7), rng(1))
        >>> c = drawn.hessian(np.array([[2.0, 3.0]]), Modulus(7))[0, 0, 1]
        >>> drawn.gradients(np.array([[2.0, 3.0]]), Modulus(7))[0, 0] == Modulus(7).reduce(c * np.array([3.0, 2.0]))
        array([ True,  True])
    """

    name: str
    parameters: int
    cells: tuple[Cell, ...]
    shapes: tuple[tuple[int, ...], ...]
    ends: tuple[tuple[int, Sampler], ...]

    @property
    def dimension(self) -> int:
        """D: as many random functions span V, whatever phi has for entries."""
        return self.parameters

    @cached_property
    def active(self) -> tuple[bool, ...]:
        """Whether a register depends on the parameters."""
        out: list[bool] = []
        for cell in self.cells:
            read = () if isinstance(cell, Parameter | Constant | Free) else cell.inputs
            out.append(isinstance(cell, Parameter) or any(out[i] for i in read))
        return tuple(out)

    @cached_property
    def size(self) -> int:
        """Numbers in all registers of one copy."""
        return sum(prod(shape) for shape in self.shapes)

    @cached_property
    def work(self) -> int:
        """Multiply-adds of one copy forwards."""
        out = 0
        for cell, shape in zip(self.cells, self.shapes, strict=True):
            inner = self.shapes[cell.inputs[0]][-1] if isinstance(cell, MatrixProduct) else 1
            out += prod(shape) * inner
        return out

    def draw(self, count: int, field: Modulus, random: np.random.Generator) -> CircuitFunctions:
        """Random functions: free numbers and coefficients for each."""
        free = {k: cell.sample(count, field, random) for k, cell in enumerate(self.cells) if isinstance(cell, Free)}
        weights = tuple(sample(count, field, random) for _, sample in self.ends)
        return CircuitFunctions(self, count, free, weights)

    def __str__(self) -> str:
        return self.name


@dataclass(frozen=True, eq=False)
class CircuitFunctions:
    """Functions drawn from a circuit.

    Args:
        circuit: The circuit.
        count: How many.
        free: The free numbers by register, one array per function.
        weights: The coefficients c, one array per end, the functions first.
    """

    circuit: Circuit
    count: int
    free: Mapping[int, Float[ndarray, "count ..."]]
    weights: tuple[Float[ndarray, "count ..."], ...]

    def gradients(self, theta: Float[ndarray, "orders D"], field: Modulus) -> Float[ndarray, "orders count D"]:
        """The gradients along a curve.

        Cost:
            A forward and a backward pass per function, about ``3 circuit.work`` multiply-adds times ``orders^2 / 2``.
        """
        out = np.zeros((len(theta), self.count, theta.shape[1]))
        step = self._portion(len(theta), 2)
        for start in range(0, self.count, step):
            rows = slice(start, min(start + step, self.count))
            for cell, g in self._cotangents(Jets(field, len(theta)), theta, rows, None):
                _scatter(out[: len(g.value), rows], cell.places, g.value, field)
        return out

    def hessian(self, theta: Float[ndarray, "orders D"], field: Modulus) -> Float[ndarray, "orders D D"]:
        """The Hessian of the first function along a curve.

        Cost:
            Two passes with a tangent per parameter: about ``6 D circuit.work`` multiply-adds times ``orders^2 / 2``.
        """
        size = theta.shape[1]
        out = np.zeros((len(theta), size, size))
        step = self._portion(len(theta), 3)
        for start in range(0, size, step):
            along = slice(start, min(start + step, size))
            for cell, g in self._cotangents(Jets(field, len(theta)), theta, slice(0, 1), along):
                if g.tangent is not None:
                    _scatter(out[: len(g.tangent), along], cell.places, g.tangent, field)
        return out

    def _portion(self, orders: int, held: int) -> int:
        return max(1, ROOM // (held * orders * self.circuit.size))

    def _cotangents(
        self, jets: Jets, theta: Float[ndarray, "orders D"], rows: slice, along: slice | None
    ) -> list[tuple[Parameter, Jet]]:
        """Derivatives by all parameter registers."""
        circuit = self.circuit
        held = self._forward(jets, theta, rows, along)
        back: dict[int, Jet] = {}
        for (register, _), weights in zip(circuit.ends, self.weights, strict=True):
            _give(jets, back, register, Jet(weights[rows][None]))
        out = []
        for register in range(len(circuit.cells) - 1, -1, -1):
            cell, g = circuit.cells[register], back.pop(register, None)
            if g is None or not circuit.active[register] or isinstance(cell, Constant | Free):
                continue
            if isinstance(cell, Parameter):
                out.append((cell, g))
                continue
            wanted = [circuit.active[i] for i in cell.inputs]
            for i, part in zip(cell.inputs, cell.back(jets, [held[i] for i in cell.inputs], g, wanted), strict=True):
                if part is not None:
                    _give(jets, back, i, part)
        return out

    def _forward(self, jets: Jets, theta: Float[ndarray, "orders D"], rows: slice, along: slice | None) -> list[Jet]:
        held: list[Jet] = []
        for register, cell in enumerate(self.circuit.cells):
            match cell:
                case Parameter():
                    value = np.ascontiguousarray(_trimmed(theta)[:, cell.places])[:, None]
                    held.append(Jet(value, None if along is None else _unit_tangents(cell.places, along)))
                case Constant():
                    held.append(Jet(np.asarray(cell.residues(jets.field))[None, None]))
                case Free():
                    held.append(Jet(self.free[register][rows][None]))
                case _:
                    held.append(cell.run(jets, [held[i] for i in cell.inputs]))
        return held


def _give(jets: Jets, back: dict[int, Jet], register: int, g: Jet) -> None:
    known = back.get(register)
    back[register] = g if known is None else jets.add(known, g)


def _trimmed(theta: Float[ndarray, "orders D"]) -> Float[ndarray, "orders D"]:
    """Without the zeros at the end."""
    moving = np.flatnonzero(theta.any(axis=1))
    return theta[: (int(moving[-1]) if len(moving) else 0) + 1]


def _unit_tangents(places: Int[ndarray, "..."], along: slice) -> Float[ndarray, "1 directions ..."] | None:
    """The derivative of a register by some parameters."""
    inside = (places >= along.start) & (places < along.stop)
    if not inside.any():
        return None
    out = np.zeros((along.stop - along.start, *places.shape))
    where = np.nonzero(inside)
    out[(places[where] - along.start, *where)] = 1.0
    return out[None]


def _scatter(out: Float[ndarray, "orders copies D"], places: ndarray, g: ndarray, field: Modulus) -> None:
    """Add the derivative by a register to the columns of its parameters."""
    flat, columns = np.broadcast_to(g, (*out.shape[:2], *places.shape)).reshape(*out.shape[:2], -1), places.ravel()
    distinct, inverse = np.unique(columns, return_inverse=True)
    if len(distinct) < len(columns):
        order = np.argsort(inverse, kind="stable")
        starts = np.searchsorted(inverse[order], np.arange(len(distinct)))
        flat, columns = field.reduce(np.add.reduceat(flat[:, :, order], starts, axis=2)), distinct
    out[:, :, columns] = field.add(out[:, :, columns], flat)
