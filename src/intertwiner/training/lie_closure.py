r"""The Lie algebra of polynomial gradient fields, written out, where it is small: an upper bound for its rank.

If fields ``X_1, ..., X_m`` span a space that is closed under brackets, its rank is at most m at every point, so
there are at least D - m conserved functions, whether or not anybody can write them down. A single field is always
closed: everything but the place on its curve is conserved. The closure is computed over the rational numbers, by
elimination on coefficients, and given up as soon as its dimension tells nothing.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from jaxtyping import Float
from numpy import ndarray

from intertwiner.errors import Contradiction
from intertwiner.numerics.modular import Modulus
from intertwiner.numerics.modular_echelon import Echelon
from intertwiner.training.brackets import brackets
from intertwiner.training.counts import Gradients
from intertwiner.training.polynomial_map import PolynomialMap
from intertwiner.training.reparametrisation import Reparametrisation

VectorField = list[Any]
"""One polynomial per parameter."""

MOST_FIELD_TERMS = 1_000
"""Terms of one field above which the closure is given up: degrees grow with every bracket where it is not finite."""

DEPTH = 8
"""Most brackets nested in one another when the rank is looked for at a point."""


def closure_dimension(phi: PolynomialMap, most: int) -> int | None:
    """Dimension of the Lie algebra that the gradients of the polynomials generate, if it is at most ``most``.

    Args:
        phi: The polynomials.
        most: The largest dimension of interest.

    Returns:
        The dimension, or None where it is larger or was not found.

    Cost:
        ``most^2`` brackets of D polynomials each.

    Example:
        Symmetric matrices of size 2 generate all matrices, here acting on the rows of W:

        >>> quadratic = [{(2, 0): 1}, {(1, 1): 1}, {(0, 2): 1}]
        >>> phi = PolynomialMap.from_terms(quadratic, ("a", "b"))
        >>> closure_dimension(phi, 4), closure_dimension(phi, 3)
        (4, None)
    """
    basis = _Basis()
    fields: list[VectorField] = []
    fresh = [[entry.derivative(j) for j in range(phi.parameters)] for entry in phi.entries]
    while fresh:
        added = [field for field in fresh if basis.add(field)]
        if len(fields) + len(added) > most:
            return None
        pairs = [(old, new) for new in added for old in fields]
        pairs += [(added[i], added[j]) for j in range(len(added)) for i in range(j)]
        fields += added
        fresh = [_bracket(x, y) for x, y in pairs]
        if any(sum(len(p.to_dict()) for p in field) > MOST_FIELD_TERMS for field in fresh):
            return None
    return len(fields)


def _bracket(x: VectorField, y: VectorField) -> VectorField:
    """``[X, Y] = DY X - DX Y``."""
    return [
        sum((b.derivative(j) * p - a.derivative(j) * q for j, (p, q) in enumerate(zip(x, y, strict=True))), a - a)
        for a, b in zip(x, y, strict=True)
    ]


class _Basis:
    """Rows in echelon form, sparse: by their first key, a parameter and a monomial."""

    def __init__(self) -> None:
        self.rows: dict[tuple[int, Any], dict[tuple[int, Any], Any]] = {}

    def add(self, field: VectorField) -> bool:
        """Take a field in; whether it is new."""
        rest = {(j, e): c for j, p in enumerate(field) for e, c in p.to_dict().items()}
        while rest:
            first = min(rest)
            row = self.rows.get(first)
            if row is None:
                scale = rest[first]
                self.rows[first] = {key: c / scale for key, c in rest.items()}
                return True
            factor = rest[first]
            for key, c in row.items():
                value = rest.get(key, 0) - factor * c
                if value:
                    rest[key] = value
                else:
                    rest.pop(key, None)
        return False


def orthogonal_to_brackets(phi: Reparametrisation, rank: int) -> Gradients:
    """Gradients of conserved functions that there must be because Lie(V) has at most some rank.

    Where brackets at the point reach that rank they span Lie(V) there, and everything orthogonal to them is the
    gradient of a conserved function [Frobenius]. Where they do not, as at an unlucky point, nothing is returned.

    Args:
        phi: The model.
        rank: A proved upper bound for the rank of Lie(V).

    Example:
        >>> phi = PolynomialMap.from_terms([{(1, 1): 1}], ("a", "b"))
        >>> orthogonal_to_brackets(phi, 1)(np.array([2.0, 3.0]), Modulus(7))
        array([[-3.,  1.]])
    """

    def gradients(point: Float[ndarray, " D"], field: Modulus) -> Float[ndarray, "laws D"]:
        space = Echelon(len(point), field)
        for depth in range(DEPTH + 1):
            space.add(brackets(phi, point, field, depth=depth, seed=depth))
            if space.rank >= rank:
                break
        if space.rank > rank:
            raise Contradiction(
                f"brackets of the {phi} have rank {space.rank} modulo {field.prime}, and a theorem allows {rank}. "
                "Please report this. Nothing was counted."
            )
        if space.rank < rank:
            return np.zeros((0, len(point)))
        return field.reduce(space.null_space().T.copy())

    return gradients
