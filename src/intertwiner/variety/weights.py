r"""Monomials in the coordinates of the ambient space, sorted by weight.

The functions of an architecture are closed under scaling an input, scaling an output, and permuting inputs or outputs:
the first and the last layer absorb it. So the ideal of their closure splits by weight, which is how often each output
occurs in a monomial and how often each input does, and permutations carry the part of one weight to that of another:
the dominant weights, those that descend, stand for all of them.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from functools import cached_property
from math import comb, factorial, prod

import numpy as np
from jaxtyping import Int
from numpy import ndarray

from intertwiner.variety.expansion import Coordinates

Weight = tuple[int, ...]


def monomials(count: int, degree: int) -> int:
    """Monomials of a degree in so many variables."""
    return comb(count + degree - 1, degree)


@dataclass(frozen=True)
class Graded:
    """The monomials of one degree in the coordinates, by weight.

    Args:
        space: The coordinates.

    Example:
        Cubics in the six coefficients of a quadratic form in three variables: the determinant lies in weight 222.

        >>> graded = Graded(Coordinates(3, 1, (2,)))
        >>> len(graded.dominant(3)[3, 2, 2, 2]), graded.orbit((3, 2, 2, 2)), graded.orbit((3, 3, 2, 1))
        (5, 1, 6)
    """

    space: Coordinates

    @cached_property
    def of_variable(self) -> Int[ndarray, "variables weights"]:
        """The weight of every coordinate: which output, then the exponents."""
        outputs = np.repeat(np.eye(self.space.outputs, dtype=np.int64), self.space.per_output, axis=0)
        return np.column_stack([outputs, np.tile(self.space.table, (self.space.outputs, 1))])

    def all(self, degree: int) -> Int[ndarray, "m degree"]:
        """All monomials of a degree, each as its variables in ascending order."""
        found = np.zeros((1, 0), dtype=np.int64)
        last = np.zeros(1, dtype=np.int64)
        for _ in range(degree):
            counts = self.space.dimension - last
            parents = np.repeat(np.arange(len(found)), counts)
            starts = np.repeat(np.cumsum(counts) - counts, counts)
            last = np.arange(len(parents)) - starts + last[parents]
            found = np.column_stack([found[parents], last])
        return found

    def dominant(self, degree: int) -> dict[Weight, Int[ndarray, "m degree"]]:
        """The monomials of every dominant weight."""
        found = self.all(degree)
        weight = self.of_variable[found].sum(axis=1)
        k = self.space.outputs
        descends = (np.diff(weight[:, :k], axis=1) <= 0).all(axis=1) & (np.diff(weight[:, k:], axis=1) <= 0).all(axis=1)
        found, weight = found[descends], weight[descends]
        kinds, place = np.unique(weight, axis=0, return_inverse=True)
        order = np.argsort(place.ravel(), kind="stable")
        parts = np.split(found[order], np.cumsum(np.bincount(place.ravel()))[:-1])
        return {tuple(map(int, w)): part for w, part in zip(kinds, parts, strict=True)}

    def orbit(self, weight: Weight) -> int:
        """How many weights permutations make of one."""
        return prod(_arrangements(part) for part in self._parts(weight))

    def arrangements(self, weight: Weight) -> list[tuple[int, ...]]:
        """For every weight of the orbit, the coordinates as a permutation moves them: one image per coordinate."""
        seen: dict[Weight, tuple[int, ...]] = {}
        k, n = self.space.outputs, self.space.inputs
        for rows in itertools.permutations(range(k)):
            for columns in itertools.permutations(range(n)):
                image = tuple(weight[i] for i in rows) + tuple(weight[k + i] for i in columns)
                if image not in seen:
                    seen[image] = self.moved(rows, columns)
        return list(seen.values())

    def moved(self, rows: tuple[int, ...], columns: tuple[int, ...]) -> tuple[int, ...]:
        """Where every coordinate goes when position i takes what stood at ``rows[i]``, or ``columns[i]`` for inputs."""
        place = {e: m for m, e in enumerate(self.space.exponents)}
        back = np.argsort(rows)
        inside = [place[tuple(e[i] for i in columns)] for e in self.space.exponents]
        return tuple(int(back[j]) * len(inside) + m for j in range(self.space.outputs) for m in inside)

    def sorting(self, weight: Weight) -> tuple[Weight, tuple[int, ...]]:
        """The dominant weight of an orbit, and the permutation of coordinates that carries it to this weight."""
        outputs, inputs = self._parts(weight)
        rows, columns = (sorted(range(len(p)), key=lambda i, p=p: (-p[i], i)) for p in (outputs, inputs))
        top = tuple(outputs[i] for i in rows) + tuple(inputs[i] for i in columns)
        inverse = tuple(map(int, np.argsort(rows))), tuple(map(int, np.argsort(columns)))
        return top, self.moved(*inverse)

    def _parts(self, weight: Weight) -> tuple[Weight, Weight]:
        return weight[: self.space.outputs], weight[self.space.outputs :]


def _arrangements(values: Weight) -> int:
    """Distinct orders of a list of numbers."""
    return factorial(len(values)) // prod(factorial(values.count(v)) for v in set(values))
