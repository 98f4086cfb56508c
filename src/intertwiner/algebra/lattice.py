"""Subgroups up to conjugacy, by closure: from every class H to <H, c>, c of prime-power order, up to N(H).

Every subgroup is reached from the trivial one by adding elements of prime-power order, and a conjugate of H only
leads to conjugates of what H leads to: so it is enough to start from one H per class, and from one c per orbit
of the normaliser of H. Perfect subgroups need no table of their own [cf. Neubueser 1960, cyclic extension].
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from jaxtyping import Bool, Int
from numpy import ndarray

from intertwiner.algebra.group import Group
from intertwiner.algebra.subgroups import Subgroup, trivial_subgroup
from intertwiner.algebra.words import orbit_labels
from intertwiner.errors import GroupTooLarge

MAX_ORDER = 2_000
"""Largest group whose subgroups are listed."""

MAX_CLASSES = 5_000
"""Most conjugacy classes of subgroups that are listed."""


class _Search:
    """The state of one search: the group as plain lists, and the classes found so far."""

    def __init__(self, group: Group) -> None:
        self.group = group
        self.table = group.table
        self.rows: dict[int, list[int]] = {}
        self.cyclic_of, self.cyclic_generators = _prime_power_cyclic(group)
        self.found: list[Subgroup] = []
        self.gens: list[tuple[int, ...]] = []
        self.seen: set[bytes] = set()
        self.by_counts: dict[bytes, list[Subgroup]] = {}

    def row(self, s: int) -> list[int]:
        if s not in self.rows:
            self.rows[s] = self.table[s].tolist()
        return self.rows[s]

    def closure(self, elements: Int[ndarray, " k"], gens: tuple[int, ...]) -> Bool[ndarray, " n"]:
        """Mask of what a subgroup and its generators, with one more, generate: union of right-translated cosets."""
        table, rows = self.table, [self.row(s) for s in gens]
        mask = np.zeros(self.group.order, dtype=bool)
        mask[elements] = True
        representatives = [0]
        for r in representatives:
            for row in rows:
                x = row[r]
                if not mask[x]:
                    mask[table[x, elements]] = True
                    representatives.append(x)
        return mask

    def add(self, mask: Bool[ndarray, " n"], gens: tuple[int, ...]) -> None:
        key = np.packbits(mask).tobytes()
        if key in self.seen:
            return
        self.seen.add(key)
        new = Subgroup(self.group, np.flatnonzero(mask))
        same_counts = self.by_counts.setdefault(new.class_counts.tobytes(), [])
        if any(new.conjugators(old).size for old in same_counts):
            return
        same_counts.append(new)
        self.found.append(new)
        self.gens.append(gens)
        if len(self.found) > MAX_CLASSES:
            raise GroupTooLarge(
                f"{self.group.name} has more than {MAX_CLASSES} classes of subgroups; they are not listed. "
                "Stabilisers and orbits of given actions need no list. Nothing was kept."
            )

    def extensions(self, h: Subgroup) -> list[int]:
        """One element per N(H)-orbit of prime-power cyclic subgroups that are not inside H."""
        count = len(self.cyclic_generators)
        moves = [self.cyclic_of[self.group.conjugate(g, self.cyclic_generators)] for g in h.normaliser.generators if g]
        labels = orbit_labels(count, moves)
        first = np.unique(labels, return_index=True)[1]
        return [int(c) for c in self.cyclic_generators[first] if not h.mask[c]]


def _prime_power_cyclic(group: Group) -> tuple[Int[ndarray, " n"], Int[ndarray, " k"]]:
    """Number of the cyclic subgroup that an element of prime-power order generates (-1 otherwise), and generators."""
    number = np.full(group.order, -1, dtype=np.int64)
    generators = []
    for g in range(1, group.order):
        order = int(group.element_orders[g])
        if number[g] >= 0 or not _is_prime_power(order):
            continue
        powers = np.array([k for k in range(1, order) if np.gcd(k, order) == 1])
        cycle = [0]
        for _ in range(order - 1):
            cycle.append(int(group.table[g, cycle[-1]]))
        number[np.array(cycle)[powers]] = len(generators)
        generators.append(g)
    return number, np.array(generators, dtype=np.int64)


def _is_prime_power(n: int) -> bool:
    p = next((q for q in range(2, int(n**0.5) + 1) if n % q == 0), n)
    while n % p == 0:
        n //= p
    return n == 1


@lru_cache(maxsize=64)
def subgroup_classes(group: Group) -> tuple[Subgroup, ...]:
    """One subgroup per conjugacy class, by order, then by class counts; each the first among its conjugates.

    Raises:
        GroupTooLarge: More than 2,000 elements or more than 5,000 classes.

    Cost:
        (number of classes) x (orbits of prime-power cyclic subgroups) closures; S6 (56 classes) about a second.

    Example:
        >>> from intertwiner.algebra import dihedral
        >>> [H.name for H in subgroup_classes(dihedral(4))]
        ['1', 'C2', 'Cs', "Cs'", 'C4', 'C2v', "C2v'", 'D4']
    """
    if group.order > MAX_ORDER:
        raise GroupTooLarge(
            f"{group.name} has {group.order} elements; subgroups up to conjugacy are listed up to {MAX_ORDER}. "
            "Stabilisers and orbits of given actions need no list. Nothing was computed."
        )
    search = _Search(group)
    trivial = trivial_subgroup(group)
    search.add(trivial.mask, ())
    at = 0
    while at < len(search.found):
        h, gens = search.found[at], search.gens[at]
        for c in search.extensions(h):
            search.add(search.closure(h.elements, (*gens, c)), (*gens, c))
        at += 1
    canonical = [h.canonical for h in search.found]
    return tuple(sorted(canonical, key=lambda h: (h.order, tuple(h.elements.tolist()))))
