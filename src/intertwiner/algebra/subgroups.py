"""Subgroups as sorted arrays of elements: cosets, conjugates, normaliser, core, closure.

Cosets are left cosets ``g H`` throughout, so that G acts on them from the left and an orbit is G/H.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from jaxtyping import Bool, Int
from numpy import ndarray

from intertwiner.algebra.group import Group
from intertwiner.errors import GroupError


@dataclass(frozen=True, eq=False, repr=False)
class Subgroup:
    """A subgroup, as the sorted array of its elements. Build one with ``subgroup_generated`` or ``subgroup``.

    Args:
        group: The group it lies in.
        elements: Its elements, sorted; trusted to be closed (``subgroup`` checks).

    Example:
        >>> from intertwiner.algebra import dihedral, subgroup_generated
        >>> G = dihedral(4)
        >>> H = subgroup_generated(G, [G.element("r2"), G.element("s")])
        >>> H.order, H.index, H.name
        (4, 2, 'C2v')
    """

    group: Group
    elements: Int[ndarray, " order"]

    def __post_init__(self) -> None:
        elements = np.ascontiguousarray(self.elements, dtype=np.int64)
        elements.setflags(write=False)
        object.__setattr__(self, "elements", elements)

    @property
    def order(self) -> int:
        return len(self.elements)

    @property
    def index(self) -> int:
        return self.group.order // self.order

    @cached_property
    def name(self) -> str:
        """A short name, the same for conjugate subgroups and different for others: ``C2v``, ``S4``, ``F20``, ``1``."""
        from intertwiner.algebra.names import subgroup_name

        return subgroup_name(self)

    @cached_property
    def mask(self) -> Bool[ndarray, " n"]:
        """Membership, one flag per element of the group."""
        mask = np.zeros(self.group.order, dtype=bool)
        mask[self.elements] = True
        mask.setflags(write=False)
        return mask

    def contains(self, other: Subgroup | int) -> bool:
        """Whether an element, or every element of another subgroup, lies in it."""
        return bool(self.mask[other.elements].all()) if isinstance(other, Subgroup) else bool(self.mask[other])

    @cached_property
    def generators(self) -> tuple[int, ...]:
        """A few elements that generate it: always the smallest one not reached yet."""
        chosen: list[int] = []
        mask = closure(self.group, chosen)
        while mask.sum() < self.order:
            chosen.append(int(self.elements[np.argmin(mask[self.elements])]))
            mask = closure(self.group, chosen)
        return tuple(chosen)

    # ------------------------------------------------------------------ conjugation

    def conjugate(self, g: int) -> Subgroup:
        """``g H g^-1``, the stabiliser of ``g x`` where H is that of ``x``."""
        return Subgroup(self.group, np.sort(self.group.conjugate(g, self.elements)))

    def conjugators(self, other: Subgroup) -> Int[ndarray, " k"]:
        """All g with ``g H g^-1`` inside ``other``."""
        g = self.group.elements
        for h in self.generators:
            g = g[other.mask[self.group.conjugate(g, h)]]
        return g

    def is_conjugate(self, other: Subgroup) -> bool:
        """Whether some ``g H g^-1`` is ``other``. Cost: |G| products per generator of H."""
        return (
            self.order == other.order
            and np.array_equal(self.class_counts, other.class_counts)
            and len(self.conjugators(other)) > 0
        )

    @cached_property
    def class_counts(self) -> Int[ndarray, " k"]:
        """How many elements of each conjugacy class of the group lie in it: equal for conjugate subgroups."""
        return np.bincount(self.group.class_of[self.elements], minlength=self.group.class_count)

    @cached_property
    def normaliser(self) -> Subgroup:
        """All g with ``g H g^-1 = H``."""
        return Subgroup(self.group, self.conjugators(self))

    @property
    def is_normal(self) -> bool:
        return self.core.order == self.order

    @cached_property
    def core(self) -> Subgroup:
        """The largest normal subgroup inside: the classes that lie in H as a whole."""
        whole = self.class_counts == self.group.class_sizes
        return Subgroup(self.group, self.elements[whole[self.group.class_of[self.elements]]])

    @cached_property
    def canonical(self) -> Subgroup:
        """The conjugate whose sorted elements come first in lexicographic order. Cost: at most |G| products."""
        rows = self.conjugate_rows(self.normaliser.transversal)
        best = rows[np.lexsort(rows.T[::-1])[0]]
        return self if np.array_equal(best, self.elements) else Subgroup(self.group, best)

    def conjugate_rows(self, by: Int[ndarray, " k"]) -> Int[ndarray, "k order"]:
        """The sorted elements of ``g H g^-1`` for several g."""
        return np.sort(self.group.conjugate(by[:, None], self.elements[None, :]), axis=1)

    # ------------------------------------------------------------------ cosets

    @cached_property
    def coset_of(self) -> Int[ndarray, " n"]:
        """The number of the left coset ``g H`` of every g; cosets are numbered by their smallest element, H is 0."""
        # Numbers are given in the order of g, so the smallest element of a coset names it.
        label = np.full(self.group.order, -1, dtype=np.int64)
        count = 0
        for g in range(self.group.order):
            if label[g] < 0:
                label[self.group.multiply(g, self.elements)] = count
                count += 1
        label.setflags(write=False)
        return label

    @cached_property
    def transversal(self) -> Int[ndarray, " index"]:
        """The smallest element of every left coset."""
        return np.unique(self.coset_of, return_index=True)[1].astype(np.int64)

    @cached_property
    def cosets(self) -> tuple[Int[ndarray, " order"], ...]:
        """The left cosets as sorted arrays of elements."""
        return tuple(np.sort(self.group.multiply(int(g), self.elements)) for g in self.transversal)

    def coset_permutation(self, g: int) -> Int[ndarray, " index"]:
        """How g permutes the left cosets: ``t H -> g t H``."""
        return self.coset_of[self.group.multiply(g, self.transversal)]

    # ------------------------------------------------------------------ products, values

    @cached_property
    def projections(self) -> tuple[Subgroup, ...]:
        """Its images in the factors of a product."""
        return tuple(
            Subgroup(f, np.unique(c)) for f, c in zip(self.group.factors, self.group.split(self.elements), strict=True)
        )

    @cached_property
    def is_product(self) -> bool:
        """Whether it is the product of its projections to the factors."""
        return int(np.prod([p.order for p in self.projections], dtype=object)) == self.order

    def to_json(self) -> dict[str, Any]:
        """Its name and elements; the group is stored once by whoever holds it."""
        return {"name": self.name, "elements": self.elements.tolist()}

    @classmethod
    def from_json(cls, group: Group, record: dict[str, Any]) -> Subgroup:
        return subgroup(group, record["elements"])

    def __and__(self, other: Subgroup) -> Subgroup:
        return intersection(self, other)

    def __le__(self, other: Subgroup) -> bool:
        return other.contains(self)

    def __len__(self) -> int:
        return self.order

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Subgroup):
            return NotImplemented
        return self.group == other.group and np.array_equal(self.elements, other.elements)

    def __hash__(self) -> int:
        return hash((self.group, self.elements.tobytes()))

    def __repr__(self) -> str:
        return f"Subgroup({self.name} in {self.group.name}, order {self.order}, index {self.index})"

    def __str__(self) -> str:
        return self.name


def closure(group: Group, generators: Sequence[int] | Int[ndarray, " k"]) -> Bool[ndarray, " n"]:
    """Mask of the subgroup that elements generate. Cost: |H| products per generator."""
    mask = np.zeros(group.order, dtype=bool)
    mask[0] = True
    gens = np.unique(np.asarray(generators, dtype=np.int64))
    frontier = np.zeros(1, dtype=np.int64)
    while len(frontier) and len(gens):
        products = np.unique(group.multiply(gens[:, None], frontier[None, :]))
        frontier = products[~mask[products]]
        mask[frontier] = True
    return mask


def subgroup_generated(group: Group, generators: Iterable[int]) -> Subgroup:
    """The subgroup generated by elements.

    Example:
        >>> from intertwiner.algebra import symmetric
        >>> G = symmetric(4)
        >>> subgroup_generated(G, [G.element("(0 1 2)")]).order
        3
    """
    return Subgroup(group, np.flatnonzero(closure(group, [int(g) for g in generators])))


def subgroup(group: Group, elements: Iterable[int]) -> Subgroup:
    """The subgroup with exactly these elements.

    Raises:
        GroupError: They are not closed under multiplication.

    Example:
        >>> from intertwiner.algebra import cyclic
        >>> subgroup(cyclic(6), [0, 2, 4]).index
        2
    """
    chosen = np.unique(np.fromiter(elements, dtype=np.int64))
    if not len(chosen) or chosen[0] < 0 or chosen[-1] >= group.order:
        raise GroupError(f"expected elements of {group.name} (0..{group.order - 1}), got {chosen[:12].tolist()}")
    mask = np.zeros(group.order, dtype=bool)
    mask[chosen] = True
    # Grown generator by generator: a set that is no subgroup is noticed at the first product outside.
    gens: list[int] = []
    reached = closure(group, gens)
    while True:
        if not mask[reached].all():
            outside = int(np.flatnonzero(reached & ~mask)[0])
            raise GroupError(
                f"not closed: the elements generate {group.element_name(outside)}, which is not among them"
            )
        missing = np.flatnonzero(mask & ~reached)
        if not len(missing):
            return Subgroup(group, chosen)
        gens.append(int(missing[0]))
        reached = closure(group, gens)


def trivial_subgroup(group: Group) -> Subgroup:
    """The subgroup of the identity alone."""
    return Subgroup(group, np.zeros(1, dtype=np.int64))


def whole_group(group: Group) -> Subgroup:
    """The group as a subgroup of itself."""
    return Subgroup(group, group.elements)


def intersection(first: Subgroup, *others: Subgroup) -> Subgroup:
    """The common elements of subgroups of one group.

    Example:
        >>> from intertwiner.algebra import cyclic
        >>> G = cyclic(12)
        >>> intersection(subgroup_generated(G, [2]), subgroup_generated(G, [3])).elements.tolist()
        [0, 6]
    """
    elements = first.elements
    for other in others:
        elements = elements[other.mask[elements]]
    return Subgroup(first.group, elements)


def product_subgroup(group: Group, parts: Sequence[Subgroup]) -> Subgroup:
    """The product of one subgroup per factor.

    Example:
        >>> from intertwiner.algebra import cyclic, direct_product
        >>> G = direct_product(cyclic(4), cyclic(2))
        >>> product_subgroup(G, [subgroup_generated(G.factors[0], [2]), whole_group(G.factors[1])]).order
        4
    """
    if len(parts) != len(group.factors) or any(p.group != f for p, f in zip(parts, group.factors, strict=True)):
        raise GroupError(f"expected one subgroup of each factor of {group.name}, got {[p.group.name for p in parts]}")
    grid = np.meshgrid(*[p.elements for p in parts], indexing="ij")
    return Subgroup(group, np.sort(group.join([axis.ravel() for axis in grid])))
