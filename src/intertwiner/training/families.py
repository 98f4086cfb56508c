r"""Families of conservation laws: quadratic or linear functions of named parameters, one family per gauge group.

A one-parameter gauge ``theta -> theta + t (A theta + a)`` leaves every loss alone, so its field is orthogonal to the
gradient; where A is symmetric it is itself the gradient of ``h = 1/2 theta^T A theta + a^T theta``, and h is constant
along gradient flow. Parameters are seen as matrices with one row per coordinate of the space (``views.py``). With
``R_p`` these matrices and ``c_p`` whole numbers a family has the laws

* balance: ``sum_p c_p |R_p[i]|^2`` for every coordinate i, from the scale of one coordinate;
* matrix: the entries of ``sum_p c_p R_p R_p^T``, from GL, one matrix per block (head);
* shift: ``sum_p c_p sum_k R_p[i, k]``, from a constant that nothing sees.

A step of gradient descent changes a law by ``h(theta - eta g) - h(theta) = eta^2 form(g)`` exactly: what is linear in
eta vanishes. Source: [Marcotte, Gribonval, Peyre 2023, sec. 2 and 4]; Noether's argument for gradient flow.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from fractions import Fraction
from math import prod
from typing import Any

import numpy as np
from jaxtyping import Float
from numpy import ndarray
from torch import Tensor

from intertwiner.errors import NonFiniteWeights, ShapeMismatch, WrongUse
from intertwiner.exact import Columns
from intertwiner.numerics.modular import Modulus
from intertwiner.training.views import View

BALANCE, MATRIX, SHIFT = "balance", "matrix", "shift"
KINDS = (BALANCE, MATRIX, SHIFT)

State = Mapping[str, Tensor | ndarray]
"""Tensors by state_dict name: ``model.state_dict()``, ``dict(model.named_parameters())``, or their gradients."""


@dataclass(frozen=True)
class Piece:
    """A parameter in a law, seen as a matrix.

    Args:
        param: Its name in the state_dict.
        view: The matrix, one row per coordinate.
        coefficient: Its factor c.
        degree: 2 for squares and products, 1 for a term that is linear.
        centre: One number per row that is taken from every entry of it (a running mean); empty for none.
    """

    param: str
    view: View
    coefficient: Fraction
    degree: int = 2
    centre: tuple[float, ...] = ()

    def matrix(self, flat: Float[ndarray, " n"], centred: bool = True) -> Float[ndarray, "rows width"]:
        """The rows, in float64."""
        rows = self.view.of(flat)
        return rows - np.array(self.centre)[:, None] if self.centre and centred else rows

    def to_json(self) -> dict[str, Any]:
        return {
            "param": self.param,
            "view": self.view.to_json(),
            "coefficient": str(self.coefficient),
            "degree": self.degree,
            "centre": list(self.centre),
        }

    @classmethod
    def from_json(cls, record: Mapping[str, Any]) -> Piece:
        """The piece that ``to_json`` wrote."""
        view, coefficient = View.from_json(record["view"]), Fraction(record["coefficient"])
        return cls(record["param"], view, coefficient, record["degree"], tuple(record["centre"]))


@dataclass(frozen=True)
class Family:
    """Laws of one shape that come from one gauge group.

    Args:
        kind: ``"balance"``, ``"matrix"`` or ``"shift"``.
        pieces: The parameters in it; every view has ``blocks * size`` rows.
        where: Tap of the latent space.
        group: The gauge group, in words.
        formula: The laws, in names of parameters.
        size: Coordinates per block.
        blocks: Blocks that never mix.
        exact: Whether the gauge leaves the loss alone exactly.
        because: Why not; empty where it does.
        holds: What is assumed beyond plain gradient flow, as ``"cross entropy"``; empty for nothing.

    Example:
        One hidden ReLU neuron with bias, ``v relu(w x + b)``:

        >>> rows = [Piece(n, View(1, 0, 1), Fraction(c)) for n, c in (("w", 1), ("b", 1), ("v", -1))]
        >>> law = Family("balance", tuple(rows), "hidden", "positive scales", "w^2 + b^2 - v^2", 1)
        >>> law.values({"w": np.array([3.0]), "b": np.array([2.0]), "v": np.array([1.0])})
        array([12.])
    """

    kind: str
    pieces: tuple[Piece, ...]
    where: str
    group: str
    formula: str
    size: int
    blocks: int = 1
    exact: bool = True
    because: str = ""
    holds: str = ""

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise WrongUse(f"a family of laws is of a kind among {', '.join(KINDS)}, got {self.kind!r}")
        rows = self.blocks * self.size
        wrong = [p.param for p in self.pieces if p.view.rows != rows]
        if wrong or not self.pieces or rows < 1:
            raise ShapeMismatch(f"a family of {self.blocks} x {self.size} coordinates needs {rows} rows of {wrong}")

    @property
    def count(self) -> int:
        """Number of laws."""
        return self.blocks * (self.size * (self.size + 1) // 2 if self.kind == MATRIX else self.size)

    @property
    def parameters(self) -> tuple[str, ...]:
        """Names of the parameters in it."""
        return tuple(dict.fromkeys(p.param for p in self.pieces))

    def values(self, state: State) -> Float[ndarray, " laws"]:
        """The laws at given parameters, in float64; of a matrix its upper triangle row by row, block after block.

        Raises:
            WrongUse: A parameter is missing.
            NonFiniteWeights: NaN or infinity among the parameters.

        Cost: one pass over the parameters; for a matrix one product of n x k by k x n.
        """
        return self._sum(state, centred=True)

    def form(self, gradients: State) -> Float[ndarray, " laws"]:
        """``<g, A g>`` of every law: its change by a step ``theta - eta g`` along the gradient is ``eta^2`` times that.

        Raises as ``values`` does.
        """
        return self._sum(gradients, centred=False)

    def rates(self, state: State, gradients: State) -> tuple[Float[ndarray, " laws"], Float[ndarray, " laws"]]:
        """``<grad h, g>`` of every law, and the sum of the absolute values of its terms.

        The first is zero for a law, up to rounding, which is some 1e-16 of the second.
        """
        total, scale = np.zeros(self.count), np.zeros(self.count)
        for p in self.pieces:
            rows, moved = p.matrix(flat_of(state, p.param)), p.matrix(flat_of(gradients, p.param), centred=False)
            c = float(p.coefficient)
            if p.degree == 1:
                terms, sizes = moved.sum(axis=1), np.abs(moved).sum(axis=1)
            elif self.kind == MATRIX:
                terms = self._triangle(rows, moved) + self._triangle(moved, rows)
                sizes = self._triangle(np.abs(rows), np.abs(moved)) + self._triangle(np.abs(moved), np.abs(rows))
            else:
                terms = 2 * np.einsum("ij,ij->i", rows, moved)
                sizes = 2 * np.einsum("ij,ij->i", np.abs(rows), np.abs(moved))
            total, scale = total + c * terms, scale + abs(c) * sizes
        return total, scale

    def gradients(self, theta: Float[ndarray, " D"], columns: Columns, field: Modulus) -> Float[ndarray, "laws D"]:
        """Gradients of the laws at residues of the parameters, modulo p.

        Args:
            theta: Residues, in the order of the columns.
            columns: Where every parameter stands.
            field: The modulus.

        Raises:
            WrongUse: A parameter has no column.
        """
        out = np.zeros((self.count, len(theta)))
        for p in self.pieces:
            if p.param not in columns.starts:
                raise WrongUse(f"{p.param!r} is no trainable parameter here, so {self.formula} has no gradient")
            places = columns.starts[p.param] + p.view.places()
            c = field.fraction(p.coefficient)
            if p.degree == 1:
                np.add.at(out, (np.arange(len(places))[:, None], places), c)
                continue
            rows = theta[places]
            if p.centre:
                rows = field.reduce(rows - field.of(np.array(p.centre))[:, None])
            first, second = self._pairs()
            law = np.arange(self.count)[:, None]
            np.add.at(out, (law, places[first]), field.mul(rows[second], c))
            np.add.at(out, (law, places[second]), field.mul(rows[first], c))
        return field.reduce(out)

    def _pairs(self) -> tuple[ndarray, ndarray]:
        """The two coordinates of every law."""
        if self.kind != MATRIX:
            return np.arange(self.count), np.arange(self.count)
        i, j = np.triu_indices(self.size)
        starts = self.size * np.arange(self.blocks)[:, None]
        return (starts + i).ravel(), (starts + j).ravel()

    def _triangle(self, a: Float[ndarray, "rows k"], b: Float[ndarray, "rows k"]) -> Float[ndarray, " laws"]:
        shape = (self.blocks, self.size, -1)
        products = a.reshape(shape) @ b.reshape(shape).swapaxes(1, 2)
        i, j = np.triu_indices(self.size)
        return products[:, i, j].ravel()

    def _sum(self, state: State, centred: bool) -> Float[ndarray, " laws"]:
        total = np.zeros(self.count)
        for p in self.pieces:
            if p.degree == 1 and not centred and self.kind != SHIFT:
                continue  # what is linear has no second-order term
            rows = p.matrix(flat_of(state, p.param), centred)
            if p.degree == 1:
                values = rows.sum(axis=1) if centred else np.zeros(len(rows))
            elif self.kind == MATRIX:
                values = self._triangle(rows, rows)
            else:
                values = np.einsum("ij,ij->i", rows, rows)
            total += float(p.coefficient) * values
        return total

    def to_json(self) -> dict[str, Any]:
        """The family as plain values."""
        out = {name: value for name, value in vars(self).items() if name != "pieces"}
        return out | {"pieces": [p.to_json() for p in self.pieces], "count": self.count}

    @classmethod
    def from_json(cls, record: Mapping[str, Any]) -> Family:
        """The family that ``to_json`` wrote."""
        fields = {name: value for name, value in record.items() if name not in ("count", "pieces")}
        return cls(pieces=tuple(map(Piece.from_json, record["pieces"])), **fields)

    def __str__(self) -> str:
        laws = "1 law" if self.count == 1 else f"{self.count} laws"
        return f"{self.where}: {laws} by {self.group}: {self.formula} = const"


def flat_of(state: State, name: str) -> Float[ndarray, " n"]:
    """A tensor of the state in float64 and in one row.

    Raises:
        WrongUse: It is missing.
        NonFiniteWeights: NaN or infinity in it.
    """
    if name not in state:
        raise WrongUse(
            f"{name!r} is not among the {len(state)} tensors given. Usual cause: the laws belong to another model, or "
            "a gradient is None. Nothing was computed."
        )
    held = state[name]
    if isinstance(held, Tensor):
        held = held.detach().double().cpu().numpy()
    flat = np.asarray(held, dtype=np.float64).reshape(-1)
    if not np.isfinite(flat).all():
        raise NonFiniteWeights(
            f"{int((~np.isfinite(flat)).sum())} of {flat.size} entries of {name!r} are NaN or infinite: its laws have "
            "no value there. Usual cause: training diverged. Nothing was computed."
        )
    return flat


def columns_of(shapes: Mapping[str, tuple[int, ...]]) -> Columns:
    """Columns in the order of the names, every entry its own: what ``gradients`` is told about a state_dict.

    Example:
        >>> columns_of({"w": (2, 3), "b": (2,)}).starts
        {'w': 0, 'b': 6}
    """
    starts = np.cumsum([0, *(prod(s) for s in shapes.values())])
    return Columns(dict(shapes), {name: int(s) for name, s in zip(shapes, starts)})


def law_count(families: tuple[Family, ...] | list[Family]) -> int:
    """Laws of several families together, dependent ones counted as well."""
    return sum(f.count for f in families)
