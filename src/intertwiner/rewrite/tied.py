r"""Intertwiners between signed permutations are matrices with tied entries, equal bit for bit.

Where G moves both sides by signed permutations, ``rho_out(g) W = W rho_in(g)`` says that entries on one orbit of pairs
(i, j) are equal up to a sign; an orbit that meets itself with the other sign is zero. The mean over the orbits, with
signs, is the Reynolds projection ``mean over g of rho_out(g) W rho_in(g)^{-1}``. Only generators are looked at, so the
order of G does not matter.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int
from numpy import ndarray

from intertwiner.algebra import orbit_labels
from intertwiner.errors import NotAnAction, ShapeMismatch
from intertwiner.numerics.monomial import Monomial

Action = tuple[Monomial, ...]
"""How G moves the coordinates of a space: one signed permutation per generator."""


@dataclass(frozen=True, eq=False)
class Tied:
    """``Hom_G(V_in, V_out)`` for signed permutations: which entries are tied to which.

    Args:
        label: The orbit of every entry; -1 where a sign forces zero.
        sign: The sign of every entry relative to its orbit.
        count: Number of orbits: the dimension of Hom.
    """

    label: Int[ndarray, "m d"]
    sign: Float[ndarray, "m d"]
    count: int

    def coordinates(self, matrix: Float[ndarray, "m d"]) -> Float[ndarray, " count"]:
        """The mean of every orbit: coordinates of the Reynolds projection.

        Raises:
            ShapeMismatch: If the matrix has another shape.
        """
        if matrix.shape != self.label.shape:
            raise ShapeMismatch(f"a matrix of shape {matrix.shape} among intertwiners of shape {self.label.shape}")
        free = self.label >= 0
        at = self.label[free]
        total = np.bincount(at, weights=(self.sign * matrix)[free], minlength=self.count)
        return total / np.bincount(at, minlength=self.count)

    def matrix(self, coordinates: Float[ndarray, " count"]) -> Float[ndarray, "m d"]:
        """The intertwiner with these coordinates; tied entries are equal bit for bit."""
        out = np.zeros(self.label.shape)
        free = self.label >= 0
        out[free] = self.sign[free] * np.asarray(coordinates, dtype=np.float64)[self.label[free]]
        return out

    def project(self, matrix: Float[ndarray, "m d"]) -> Float[ndarray, "m d"]:
        """The nearest intertwiner, tied bit for bit."""
        return self.matrix(self.coordinates(np.asarray(matrix, dtype=np.float64)))


def tied(rho_out: Sequence[Monomial], rho_in: Sequence[Monomial]) -> Tied:
    """Which entries of an intertwiner are tied.

    Args:
        rho_out: One signed permutation per generator, on the rows.
        rho_in: The same generators, on the columns.

    Raises:
        NotAnAction: A factor is neither 1 nor -1, or the numbers of generators differ.

    Cost:
        Linear in (entries x generators).

    Example:
        Matrices that commute with the exchange of two points have two free numbers; those from the sign to the
        trivial action have none:

        >>> swap, flip, keep = Monomial([1, 0]), Monomial([0], np.array([-1.0])), Monomial([0])
        >>> tied([swap], [swap]).count, tied([keep], [flip]).count
        (2, 0)
        >>> tied([swap], [swap]).project(np.array([[1.0, 2.0], [4.0, 5.0]]))
        array([[3., 3.],
               [3., 3.]])
    """
    if len(rho_out) != len(rho_in) or not rho_out:
        raise NotAnAction(f"{len(rho_out)} generators act on the rows and {len(rho_in)} on the columns")
    if not all(m.is_signed_permutation for m in (*rho_out, *rho_in)):
        raise NotAnAction("ties need signed permutations; balance the coordinates first")
    rows, columns = rho_out[0].dimension, rho_in[0].dimension
    size = rows * columns
    plain = all(m.is_permutation for m in (*rho_out, *rho_in))
    moves = [_moved_entries(a, b, plain=plain) for a, b in zip(rho_out, rho_in, strict=True)]
    if plain:
        label = orbit_labels(size, moves)
        return Tied(label.reshape(rows, columns), np.ones((rows, columns)), int(label.max(initial=-1)) + 1)
    # Every entry is two points, one per sign; an orbit that holds both points of an entry is zero.
    double = orbit_labels(2 * size, moves)
    plus, minus = double[:size], double[size:]
    name = np.minimum(plus, minus)
    zero = plus == minus
    label, kept = np.full(size, -1), np.unique(name[~zero])
    label[~zero] = np.searchsorted(kept, name[~zero])
    sign = np.where(plus <= minus, 1.0, -1.0)
    return Tied(label.reshape(rows, columns), sign.reshape(rows, columns), len(kept))


def _moved_entries(out: Monomial, into: Monomial, *, plain: bool) -> Int[ndarray, " points"]:
    """Where a generator moves the entries of a matrix, row-major; signs double them."""
    columns = into.dimension
    size = out.dimension * columns
    place = (out.index[:, None] * columns + into.index[None, :]).ravel()
    if plain:
        return place
    flips = (out.factor[:, None] * into.factor[None, :]).ravel() < 0
    return np.concatenate([np.where(flips, place + size, place), np.where(flips, place, place + size)])


def trivial(generators: int, dimension: int = 1) -> Action:
    """The action that leaves every coordinate alone."""
    return (Monomial.identity(dimension),) * generators


def direct_sum(actions: Sequence[Action], generators: int) -> Action:
    """Side by side, in order."""
    return tuple(Monomial.direct_sum([a[g] for a in actions]) for g in range(generators))
