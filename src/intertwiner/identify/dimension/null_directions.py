"""The null space of the Jacobian, taken apart: every direction gets a name, and what has none is handed out.

A null vector is determined by its entries in the free columns of the echelon form, so all is done in those few
coordinates: directions from the gauge and from the weights first, then null vectors that live on the columns of
suspicious neurons, and the rest is *hidden*.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from jaxtyping import Float, Int
from numpy import ndarray

from intertwiner.errors import Contradiction
from intertwiner.identify.dimension.gauge_directions import Direction
from intertwiner.identify.dimension.structure import Suspicion
from intertwiner.numerics.modular import Modulus
from intertwiner.numerics.modular_echelon import Echelon

MEANING = {
    "scaling": "scale of a neuron against its readers",
    "shift": "constant moved between biases, or a bias against a scale",
    "linear": "linear coordinates of a space without nonlinearity, or of neurons on one piece throughout",
    "stretch": "weight against the scale that follows it",
    "unused": "parameter that no output depends on",
    "dead": "neuron without effect on any output",
    "unreached": "weights of a neuron that only meet what never varies where it is active",
    "unseen": "change of one linear map alone that no output shows",
    "constant": "neuron without incoming weights, against the biases that follow",
    "duplicate": "neurons equal up to the gauge",
    "bypass": "opposite neurons, whose linear parts cancel",
    "ambient": "the outputs fill the space of polynomials that they lie in",
    "hidden": "no known reason",
}


@dataclass(frozen=True, eq=False)
class NullDirection:
    """One or several independent null directions with one reason.

    Args:
        kind: A key of ``MEANING``.
        where: Tap of the space or name of the parameter.
        neurons: The coordinates concerned.
        dimension: How many independent directions it adds to the ones before it.
        proved: Whether the weights prove them null at every input, or the inputs used only show it.
        vector: For a hidden one, the direction by parameter name, of norm one; None where it was not computed.
        residual: For a hidden one, ``|J v| / |J|`` on the inputs used, in float64.
    """

    kind: str
    where: str = ""
    neurons: tuple[int, ...] = ()
    dimension: int = 1
    proved: bool = False
    vector: Mapping[str, Float[ndarray, "..."]] | None = field(default=None, repr=False)
    residual: float | None = None

    def __str__(self) -> str:
        who = f" of neuron{'s' if len(self.neurons) > 1 else ''} {_listed(self.neurons)}" if self.neurons else ""
        at = f" at {self.where}" if self.where else ""
        many = f" ({self.dimension})" if self.dimension > 1 else ""
        return f"{self.kind}{who}{at}{many}"

    def to_json(self) -> dict[str, Any]:
        return {
            "kind": self.kind,
            "where": self.where,
            "neurons": list(self.neurons),
            "dimension": self.dimension,
            "proved": self.proved,
            "residual": self.residual,
            "vector": None if self.vector is None else {k: np.asarray(v).tolist() for k, v in self.vector.items()},
        }


def _listed(neurons: Sequence[int]) -> str:
    return ", ".join(map(str, neurons[:8])) + (f" and {len(neurons) - 8} more" if len(neurons) > 8 else "")


@dataclass(frozen=True, eq=False)
class Taken:
    """A null space taken apart.

    Args:
        named: What has a name.
        hidden: Coordinates, among the free columns, of vectors that span the rest.
    """

    named: tuple[NullDirection, ...]
    hidden: Int[ndarray, " h"]


def take_apart(
    null: Float[ndarray, "p k"],
    free: Int[ndarray, " k"],
    known: Sequence[Direction],
    suspected: Sequence[Suspicion],
    modulus: Modulus,
) -> Taken:
    """Name the null directions.

    Args:
        null: Basis of the null space modulo the prime, the identity at ``free``.
        free: The free columns.
        known: Directions that are null by proof.
        suspected: Sets of columns to look in.
        modulus: The prime.

    Raises:
        Contradiction: A direction that must be null is not.

    Cost: ``p f^2`` per suspicion with f free columns in it, ``p k`` per known direction.
    """
    explained = Echelon(len(free), modulus)
    named: list[NullDirection] = []
    for one in known:
        coordinates = coordinates_of(one, null, free, modulus)
        if explained.add(coordinates[None]):
            named.append(NullDirection(one.kind, one.where, one.neurons, 1, True))
    for suspicion in suspected:
        if explained.full:
            break
        gained = explained.add(supported(null, free, suspicion.columns, modulus))
        if gained:
            named.append(NullDirection(suspicion.kind, suspicion.where, suspicion.neurons, gained))
    return Taken(merged(named), explained.free)


def named_by_proof(known: Sequence[Direction], total: int, rank: int, modulus: Modulus) -> tuple[NullDirection, ...]:
    """What the proved directions say where the null space was not completed; the rest is hidden, without a vector."""
    space = Echelon(total, modulus)
    named = [
        NullDirection(one.kind, one.where, one.neurons, 1, True)
        for one in known
        if space.add(one.residues(total, modulus)[None])
    ]
    rest = total - rank - len(named)
    return (*merged(named), *([NullDirection("hidden", dimension=rest)] if rest else []))


def supported(
    null: Float[ndarray, "p k"], free: Int[ndarray, " k"], columns: Int[ndarray, " c"], modulus: Modulus
) -> Float[ndarray, "d k"]:
    """Coordinates of the null vectors that vanish outside the given columns.

    The basis is the identity at the free columns, so only basis vectors whose free column is among them take part.

    Example:
        >>> null = np.array([[-1.0, 0.0], [1.0, 0.0], [0.0, 1.0], [0.0, -1.0]])
        >>> supported(null, np.array([1, 2]), np.array([0, 1]), Modulus(7))
        array([[1., 0.]])
    """
    inside = np.flatnonzero(np.isin(free, columns))
    outside = np.ones(len(null), dtype=bool)
    outside[columns] = False
    rows = null[np.ix_(np.flatnonzero(outside), inside)]
    rows = rows[rows.any(axis=1)]
    space = Echelon(len(inside), modulus)
    for start in range(0, len(rows), 256):
        if space.full:
            break
        space.add(rows[start : start + 256])
    out = np.zeros((len(space.free), len(free)))
    out[:, inside] = space.null_space().T
    return out


def coordinates_of(one: Direction, null: ndarray, free: ndarray, modulus: Modulus) -> Float[ndarray, " k"]:
    """A known direction in the coordinates of the free columns, after checking that it is null."""
    vector = one.residues(len(null), modulus)
    coordinates = vector[free]
    if modulus.reduce(vector - modulus.matmul(null, coordinates[:, None])[:, 0]).any():
        raise Contradiction(
            f"the {one.kind} of neurons {one.neurons} at {one.where!r} leaves the function alone by its gauge, but the "
            "exact Jacobian does not vanish along it. This is a bug: please report the network. Nothing was concluded."
        )
    return coordinates


def merged(named: Sequence[NullDirection]) -> tuple[NullDirection, ...]:
    """Directions with the same reason, place and neurons as one."""
    out: dict[tuple[Any, ...], NullDirection] = {}
    for one in named:
        key = (one.kind, one.where, one.neurons, one.proved)
        before = out.get(key)
        total = one.dimension + (before.dimension if before else 0)
        out[key] = NullDirection(one.kind, one.where, one.neurons, total, one.proved)
    return tuple(out.values())


def hidden_vectors(
    jacobian: Float[ndarray, "m p"], free: Int[ndarray, " k"], hidden: Int[ndarray, " h"]
) -> tuple[Float[ndarray, "p h"], Float[ndarray, " h"]]:
    """Float directions of the hidden coordinates: 1 at one free column, 0 at the others, the rest by least squares.

    Returns:
        Unit vectors, and ``|J v| / |J|`` of each.

    Cost: one least-squares problem of the size of the Jacobian.
    """
    norms = np.linalg.norm(jacobian, axis=1)
    J = jacobian[norms > 0] / norms[norms > 0, None]
    pivots = np.setdiff1d(np.arange(J.shape[1]), free)
    solved = np.linalg.lstsq(J[:, pivots], -J[:, free[hidden]], rcond=None)[0]
    vectors = np.zeros((J.shape[1], len(hidden)))
    vectors[pivots] = solved
    vectors[free[hidden], np.arange(len(hidden))] = 1.0
    vectors /= np.linalg.norm(vectors, axis=0)
    residual = np.linalg.norm(J @ vectors, axis=0) / max(np.linalg.norm(J), np.finfo(float).tiny)
    return vectors, residual
