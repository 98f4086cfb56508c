"""Every element of G on some coordinates, from the generators, factor by factor: S5 x S5 costs 120 + 120."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from jaxtyping import Bool, Float, Int
from numpy import ndarray

from intertwiner.algebra import Group, Subgroup
from intertwiner.numerics.monomial import Monomial
from intertwiner.rewrite.tied import Action


@dataclass(frozen=True, eq=False)
class Elements:
    """The signed permutations of all elements of a group, kept factor by factor.

    Args:
        group: G.
        rho: One signed permutation per generator.
    """

    group: Group
    rho: Action

    @cached_property
    def by_factor(self) -> tuple[tuple[Monomial, ...], ...]:
        """For every factor of G its elements on the coordinates."""
        identity = Monomial.identity(self.rho[0].dimension)
        return tuple(
            tuple(factor.extend([self.rho[i] for i in places], lambda a, b: a @ b, identity))
            for factor, places in zip(self.group.factors, self.group.factor_generators, strict=True)
        )

    def __getitem__(self, g: int) -> Monomial:
        parts = [known[int(c)] for known, c in zip(self.by_factor, self.group.split(g), strict=True)]
        out = parts[0]
        for part in parts[1:]:
            out = out @ part
        return out

    def moved_rows(self, rows: Float[ndarray, "n d"], elements: Int[ndarray, " n"]) -> Float[ndarray, "n d"]:
        """``w_i rho(g_i)^{-1}``: every row moved by an element of its own."""
        return np.stack([self[int(g)].apply(row) for row, g in zip(rows, elements, strict=True)])

    def mean_square(self, matrix: Float[ndarray, "d d"]) -> Float[ndarray, "d d"]:
        """``mean over g of rho(g) M rho(g)^T``, factor by factor."""
        for known in self.by_factor:
            total = np.zeros_like(matrix)
            for m in known:
                total += m.apply(m.apply(matrix, axis=0), axis=1)
            matrix = total / len(known)
        return matrix


def coset_action(group: Group, members: Bool[ndarray, " order"], character: Int[ndarray, " order"]) -> Action:
    """How the generators move the orbit G/H of a neuron on which H acts by signs; the neuron itself is point 0.

    Args:
        group: G.
        members: H.
        character: 1 or -1 on H.

    Example:
        >>> from intertwiner.algebra import cyclic
        >>> coset_action(cyclic(4), np.array([1, 0, 1, 0], dtype=bool), np.array([1, 0, -1, 0]))
        (Monomial(2: (0 1), signed),)
    """
    h = Subgroup(group, np.flatnonzero(members))
    out = []
    for s in group.generators:
        moved = group.multiply(s, h.transversal)
        index = h.coset_of[moved]
        step = group.multiply(group.inverse(h.transversal[index]), moved)
        out.append(Monomial(index, np.where(character[step] < 0, -1.0, 1.0)))
    return tuple(out)
