"""What a family of functions must offer so that its dimension can be taken: points, Jacobians, degrees, a bound."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from math import factorial
from typing import Any, Protocol

import numpy as np
from jaxtyping import Float
from numpy import ndarray

from intertwiner.numerics.modular import Modulus


@dataclass(frozen=True)
class Size:
    """How large the entries of a Jacobian are as polynomials with whole coefficients; what the error probability needs.

    Args:
        theta: Degree in the parameters.
        inputs: Degree in the inputs.
        bits: log2 of the sum of the absolute values of all coefficients of a row.
    """

    theta: int
    inputs: int
    bits: float


@dataclass(frozen=True)
class Part:
    """A reason why parameters of one function form a set of positive dimension.

    Args:
        name: In words.
        place: Where in the network.
        dimension: How many dimensions it takes from the count of parameters.
        kind: "gauge" for a group that acts on parameters, "theorem" for functions that fill less than their count for
            a known reason, "hidden" for dimensions without a known reason.
    """

    name: str
    place: str
    dimension: int
    kind: str

    def to_json(self) -> dict[str, Any]:
        return {"name": self.name, "place": self.place, "dimension": self.dimension, "kind": self.kind}


@dataclass(frozen=True)
class Finite:
    """A finite group that acts on the parameters of one function.

    Args:
        name: In words.
        place: Where in the network.
        order: Number of its elements.
    """

    name: str
    place: str
    order: int

    def to_json(self) -> dict[str, Any]:
        return {"name": self.name, "place": self.place, "order": str(self.order)}


@dataclass(frozen=True)
class Bound:
    """An upper bound of a dimension: the number of parameters less what the parts take.

    Args:
        value: The bound.
        parts: Their dimensions add up to the parameters less the bound.
        sources: The theorems among the reasons.
    """

    value: int
    parts: tuple[Part, ...]
    sources: tuple[str, ...] = ()

    def to_json(self) -> dict[str, Any]:
        return {
            "value": self.value,
            "parts": [part.to_json() for part in self.parts],
            "sources": list(self.sources),
        }

    @classmethod
    def from_json(cls, record: Mapping[str, Any]) -> Bound:
        """The record that ``to_json`` wrote."""
        return cls(record["value"], tuple(Part(**part) for part in record["parts"]), tuple(record["sources"]))


class Family(Protocol):
    """Functions given by parameters: fully connected networks, convolutions, attention."""

    @property
    def parameters(self) -> int:
        """Number of parameters P."""
        ...

    @property
    def outputs(self) -> int:
        """Rows of the Jacobian per input."""
        ...

    @property
    def ambient_dimension(self) -> int | None:
        """Dimension of the space that holds all its functions, where it is counted."""
        ...

    def draw_theta(self, field: Modulus, random: np.random.Generator) -> Float[ndarray, " q"]:
        """Random parameters, and behind them constants that are not differentiated after."""
        ...

    def draw_inputs(self, count: int, field: Modulus, random: np.random.Generator) -> Float[ndarray, "n d"]:
        """Random inputs."""
        ...

    def jacobian(self, theta: ndarray, x: ndarray, field: Any) -> Float[ndarray, "rows P"]:
        """Rows (input, output), columns parameters."""
        ...

    def size(self) -> Size:
        """Degrees and size of the entries of the Jacobian."""
        ...

    def bound(self) -> Bound:
        """The least proved upper bound of the dimension."""
        ...

    def finite(self) -> tuple[Finite, ...]:
        """Known finite groups beside the gauge of positive dimension."""
        ...

    def to_json(self) -> dict[str, Any]: ...


def permutations(width: int, place: str, *, signed: bool = False, what: str = "units") -> Finite:
    """The permutations of some units, with signs or not.

    Example:
        >>> permutations(3, "hidden layer 1", signed=True).order
        48
    """
    name = f"{'signed ' if signed else ''}permutations of {width} {what}"
    return Finite(name, place, factorial(width) * 2 ** (width * signed))


def draw(shape: tuple[int, ...], field: Modulus, random: np.random.Generator) -> Float[ndarray, "..."]:
    """Uniformly random residues."""
    half = field.prime // 2
    return random.integers(-half, half + 1, size=shape).astype(np.float64)
