"""Finite groups as values: elements 0..n-1, the identity is 0, ``multiply(g, h)`` is ``g @ h``: h first.

A group stands on its Cayley table, or, when it is a product, on its factors: then an element is the row-major
mixed-radix number of its components and no table is ever built, so that S5 x S5 costs two tables of 120 x 120.
Permutations act on the left (point j goes to p[j]) and arrays are row-major, here and in the whole room.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, TypeVar

import numpy as np
from jaxtyping import Float, Int
from numpy import ndarray

from intertwiner.algebra.words import SpanningTree, extend, is_homomorphism, orbit_labels, spanning_tree
from intertwiner.errors import GroupError, GroupTooLarge

MAX_TABLE = 5_000
"""Largest order of a group that is held as one Cayley table (50 MB)."""

T = TypeVar("T")


@dataclass(frozen=True, eq=False, repr=False)
class Group:
    """A finite group. Build one with ``cyclic``, ``dihedral``, ``from_table`` and their like, not by hand.

    Args:
        name: The name it prints with, e.g. ``D4``.
        generators: Elements that generate it, in a fixed order; actions are given by one image per generator.
        cayley: ``cayley[g, h] = g @ h``, or None for a product.
        parts: The factors of a product, none of them a product; empty otherwise.
        family: ``cyclic``, ``dihedral``, ``symmetric``, ``alternating`` or "": decides how irreps are named.
        labels: Names of the elements; ``e``, ``g1``, ... where None.
        natural_permutations: The natural action on points, one row per element, where there is one.
        natural_matrices: The natural orthogonal matrices, one per element, where there are some.

    Example:
        >>> from intertwiner.algebra import dihedral
        >>> G = dihedral(4)
        >>> G.element_names[int(G.multiply(G.element("s"), G.element("r")))]
        'r3s'
    """

    name: str
    generators: tuple[int, ...]
    cayley: Int[ndarray, "n n"] | None = None
    parts: tuple[Group, ...] = ()
    family: str = ""
    labels: tuple[str, ...] | None = None
    natural_permutations: Int[ndarray, "n points"] | None = None
    natural_matrices: Float[ndarray, "n d d"] | None = None

    def __post_init__(self) -> None:
        if (self.cayley is None) != bool(self.parts):
            raise GroupError(f"{self.name}: a group has either a Cayley table or factors")
        for array in (self.cayley, self.natural_permutations, self.natural_matrices):
            if array is not None:
                array.setflags(write=False)

    # ------------------------------------------------------------------ size, factors, elements

    @cached_property
    def order(self) -> int:
        return len(self.cayley) if self.cayley is not None else math.prod(p.order for p in self.parts)

    @property
    def identity(self) -> int:
        return 0

    @property
    def factors(self) -> tuple[Group, ...]:
        """The factors of a product; the group itself otherwise."""
        return self.parts or (self,)

    @property
    def is_product(self) -> bool:
        return bool(self.parts)

    @cached_property
    def strides(self) -> tuple[int, ...]:
        orders = [f.order for f in self.factors]
        return tuple(math.prod(orders[i + 1 :]) for i in range(len(orders)))

    def split(self, g: Int[ndarray, "..."] | int) -> tuple[Int[ndarray, "..."], ...]:
        """Components of an element, one per factor."""
        g = np.asarray(g, dtype=np.int64)
        return tuple(g // stride % f.order for f, stride in zip(self.factors, self.strides, strict=True))

    def join(self, components: Sequence[Int[ndarray, "..."] | int]) -> Int[ndarray, "..."]:
        """The element with these components: the inverse of ``split``."""
        total = np.zeros((), dtype=np.int64)
        for component, stride in zip(components, self.strides, strict=True):
            total = total + np.asarray(component, dtype=np.int64) * stride
        return total

    @cached_property
    def factor_generators(self) -> tuple[tuple[int, ...], ...]:
        """For every factor the places of its generators among ``generators``."""
        out, start = [], 0
        for f in self.factors:
            out.append(tuple(range(start, start + len(f.generators))))
            start += len(f.generators)
        return tuple(out)

    # ------------------------------------------------------------------ arithmetic

    @cached_property
    def table(self) -> Int[ndarray, "n n"]:
        """The Cayley table.

        Raises:
            GroupTooLarge: Beyond 5,000 elements; products are used through ``multiply`` and ``factors``.
        """
        if self.cayley is not None:
            return self.cayley
        if self.order > MAX_TABLE:
            raise GroupTooLarge(
                f"{self.name} has {self.order} elements; a Cayley table is built up to {MAX_TABLE}. "
                "Use multiply, inverse and factors, which need no table of the product. Nothing was built."
            )
        g = np.arange(self.order)
        table = self.multiply(g[:, None], g[None, :]).astype(np.int16)
        table.setflags(write=False)
        return table

    def multiply(self, g: Int[ndarray, "..."] | int, h: Int[ndarray, "..."] | int) -> Int[ndarray, "..."]:
        """``g @ h`` (h first), elementwise on arrays of elements."""
        if self.cayley is not None:
            return self.cayley[g, h].astype(np.int64)
        pairs = zip(self.factors, self.split(g), self.split(h), strict=True)
        return self.join([f.multiply(a, b) for f, a, b in pairs])

    @cached_property
    def inverses(self) -> Int[ndarray, " n"]:
        if self.cayley is not None:
            return np.argmin(self.cayley, axis=1).astype(np.int64)
        return self.join([f.inverses[c] for f, c in zip(self.factors, self.split(self.elements), strict=True)])

    def inverse(self, g: Int[ndarray, "..."] | int) -> Int[ndarray, "..."]:
        """The inverse, elementwise."""
        return self.inverses[g]

    def conjugate(self, g: Int[ndarray, "..."] | int, h: Int[ndarray, "..."] | int) -> Int[ndarray, "..."]:
        """``g @ h @ g^-1``, elementwise."""
        return self.multiply(self.multiply(g, h), self.inverse(g))

    def power(self, g: Int[ndarray, "..."] | int, k: int) -> Int[ndarray, "..."]:
        """``g^k``, elementwise, for any integer k."""
        base = np.asarray(g if k >= 0 else self.inverse(g), dtype=np.int64)
        out, k = np.zeros_like(base), abs(k)
        while k:
            if k & 1:
                out = self.multiply(out, base)
            base, k = self.multiply(base, base), k >> 1
        return out

    @cached_property
    def elements(self) -> Int[ndarray, " n"]:
        return np.arange(self.order)

    @cached_property
    def element_orders(self) -> Int[ndarray, " n"]:
        if self.parts:
            components = self.split(self.elements)
            return np.lcm.reduce([f.element_orders[c] for f, c in zip(self.factors, components, strict=True)])
        orders, power, active = np.ones(self.order, dtype=np.int64), self.elements.copy(), self.elements[1:]
        while len(active):
            orders[active] += 1
            power[active] = self.multiply(power[active], active)
            active = active[power[active] != 0]
        return orders

    def element_order(self, g: int) -> int:
        return int(self.element_orders[g])

    @cached_property
    def is_abelian(self) -> bool:
        s = np.array(self.generators, dtype=np.int64)
        return bool(np.array_equal(self.multiply(s[:, None], s[None, :]), self.multiply(s[None, :], s[:, None])))

    @cached_property
    def exponent(self) -> int:
        return int(np.lcm.reduce(np.unique(self.element_orders)))

    # ------------------------------------------------------------------ names

    @cached_property
    def element_names(self) -> tuple[str, ...]:
        """One name per element: ``r2s``, ``(0 1)(2 3)``; in products ``(r, e)``; the identity is ``e``."""
        if self.parts:
            columns = [
                [f.element_names[i] for i in c] for f, c in zip(self.factors, self.split(self.elements), strict=True)
            ]
            return tuple("(" + ", ".join(names) + ")" for names in zip(*columns, strict=True))
        return self.labels or ("e", *(f"g{i}" for i in range(1, self.order)))

    @cached_property
    def generator_names(self) -> tuple[str, ...]:
        return tuple(self.element_name(g) for g in self.generators)

    def element_name(self, g: int) -> str:
        """The name of one element, without the names of all."""
        if self.parts:
            return (
                "(" + ", ".join(f.element_name(int(c)) for f, c in zip(self.factors, self.split(g), strict=True)) + ")"
            )
        return self.element_names[g]

    @cached_property
    def _element_by_name(self) -> dict[str, int]:
        return {name.replace(" ", ""): g for g, name in enumerate(self.element_names)}

    def element(self, name: str) -> int:
        """The element of this name.

        Raises:
            GroupError: There is none; the message lists some.
        """
        try:
            return self._element_by_name[name.replace(" ", "")]
        except KeyError:
            some = ", ".join(self.element_names[:12])
            raise GroupError(f"{self.name} has no element '{name}'; its elements are named {some}, ...") from None

    # ------------------------------------------------------------------ natural actions

    @cached_property
    def permutations(self) -> Int[ndarray, "n points"] | None:
        """The natural action on points; of a product, the disjoint union of those of its factors."""
        if not self.parts:
            return self.natural_permutations
        natural = [f.permutations for f in self.factors]
        if any(p is None for p in natural):
            return None
        offsets = np.cumsum([0, *(p.shape[1] for p in natural if p is not None)])
        columns = zip(natural, self.split(self.elements), offsets, strict=False)
        return np.concatenate([p[c] + offset for p, c, offset in columns if p is not None], axis=1)

    @property
    def matrices(self) -> Float[ndarray, "n d d"] | None:
        """The natural orthogonal matrices, e.g. turns and reflections of the plane for a dihedral group."""
        return self.natural_matrices

    # ------------------------------------------------------------------ conjugacy classes

    @cached_property
    def class_of(self) -> Int[ndarray, " n"]:
        """Conjugacy class of every element; classes are numbered by their smallest element."""
        if self.parts:
            total = np.zeros(self.order, dtype=np.int64)
            for f, c in zip(self.factors, self.split(self.elements), strict=True):
                total = total * f.class_count + f.class_of[c]
            return total
        moves = [self.conjugate(s, self.elements) for s in self.generators]
        return orbit_labels(self.order, moves)

    @cached_property
    def class_count(self) -> int:
        return int(self.class_of.max()) + 1

    @cached_property
    def class_sizes(self) -> Int[ndarray, " k"]:
        return np.bincount(self.class_of)

    @cached_property
    def class_representatives(self) -> Int[ndarray, " k"]:
        """The smallest element of every class."""
        return np.unique(self.class_of, return_index=True)[1].astype(np.int64)

    @cached_property
    def conjugacy_classes(self) -> tuple[Int[ndarray, " size"], ...]:
        """The classes as sorted arrays of elements, by smallest element; the first is the identity's."""
        by_class = np.argsort(self.class_of, kind="stable")
        return tuple(np.split(by_class, np.cumsum(self.class_sizes)[:-1]))

    # ------------------------------------------------------------------ words, homomorphisms

    @cached_property
    def tree(self) -> SpanningTree:
        """Breadth-first spanning tree of the Cayley graph."""
        return spanning_tree(self)

    def extend(self, images: Sequence[T], compose: Callable[[T, T], T], identity: T) -> list[T]:
        """From one image per generator to one per element, along the spanning tree: see ``words.extend``."""
        return extend(self, images, compose, identity)

    def is_homomorphism(
        self, images: Sequence[T], compose: Callable[[T, T], T], identity: T, equal: Callable[[T, T], bool]
    ) -> bool:
        """Whether the images of the generators extend to a homomorphism: see ``words.is_homomorphism``."""
        return is_homomorphism(self, images, compose, identity, equal)

    @cached_property
    def commuting_pairs(self) -> tuple[tuple[int, int], ...]:
        """Places of generators that stand in different factors, and so commute."""
        places = self.factor_generators
        return tuple((i, j) for a in range(len(places)) for b in range(a) for i in places[a] for j in places[b])

    # ------------------------------------------------------------------ value semantics, JSON

    def to_json(self) -> dict[str, Any]:
        """A plain record: the table, or the records of the factors."""
        if self.parts:
            return {"name": self.name, "factors": [f.to_json() for f in self.parts]}
        permutations, matrices = self.natural_permutations, self.natural_matrices
        return {
            "name": self.name,
            "family": self.family,
            "generators": list(self.generators),
            "element_names": list(self.element_names),
            "table": self.table.tolist(),
            "permutations": None if permutations is None else permutations.tolist(),
            "matrices": None if matrices is None else matrices.tolist(),
        }

    @classmethod
    def from_json(cls, record: Mapping[str, Any]) -> Group:
        """The group of a record made by ``to_json``; its table is checked again."""
        from intertwiner.algebra.construct import group_from_json

        return group_from_json(record)

    @cached_property
    def _key(self) -> tuple[Any, ...]:
        # The bytes of the table themselves, not a digest: two groups are one only if every product agrees.
        table = b"" if self.cayley is None else self.cayley.astype(np.int16).tobytes()
        return (self.name, self.generators, self.family, self.parts, table)

    @cached_property
    def _hash(self) -> int:
        return hash((self.name, self.order, self.generators, self.parts))

    def __eq__(self, other: object) -> bool:
        if self is other:
            return True
        return isinstance(other, Group) and self._hash == other._hash and self._key == other._key

    def __hash__(self) -> int:
        return self._hash

    def __repr__(self) -> str:
        return f"Group({self.name}, order {self.order})"

    def __str__(self) -> str:
        return self.name
