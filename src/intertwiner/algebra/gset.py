"""Finite G-sets: disjoint unions of coset spaces, up to isomorphism.

A permutation representation of G is a G-set; it splits into orbits G/H, one per orbit, H the stabiliser of a
point, defined up to conjugacy. A signed permutation representation splits into orbits of lines: H is then the
stabiliser of the line, and the sign with which H acts on it is a character with kernel K of index 1 or 2 in H.
Marks |X^H| tell two (unsigned) G-sets apart [Burnside 1911, ch. XII].
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import Int
from numpy import ndarray

from intertwiner.algebra.actions import require_action, trace_points
from intertwiner.algebra.construct import group_from_json
from intertwiner.algebra.group import Group
from intertwiner.algebra.lattice import subgroup_classes
from intertwiner.algebra.names import kernel_name, sign_kernels
from intertwiner.algebra.subgroups import Subgroup, subgroup
from intertwiner.algebra.words import orbit_labels
from intertwiner.errors import GroupError, NotAnAction
from intertwiner.numerics.monomial import Monomial

if TYPE_CHECKING:
    from intertwiner.algebra.representation import Representation


@dataclass(frozen=True)
class Orbit:
    """One orbit type G/H and how often it occurs.

    Args:
        stabiliser: H, the first among its conjugates.
        kernel: The elements of H that act by +1, where H also acts by -1; None for a plain orbit.
        multiplicity: How many such orbits.
    """

    stabiliser: Subgroup
    kernel: Subgroup | None = None
    multiplicity: int = 1

    @property
    def size(self) -> int:
        """Points of one such orbit."""
        return self.stabiliser.index

    @cached_property
    def name(self) -> str:
        """``D4/C2v``, or ``D4/C2v-C2`` where C2v acts by signs with kernel C2."""
        sign = "" if self.kernel is None else "-" + kernel_name(self.stabiliser, self.kernel)
        return f"{self.stabiliser.group.name}/{self.stabiliser.name}{sign}"

    def __str__(self) -> str:
        return f"{self.multiplicity} x {self.name}"


@dataclass(frozen=True, repr=False)
class GSet:
    """A disjoint union of orbits, up to isomorphism: large stabilisers first.

    Args:
        group: The group.
        orbits: The orbit types with multiplicities, different, stabilisers canonical: use ``GSet.of``.

    Example:
        >>> from intertwiner.algebra import dihedral
        >>> G = dihedral(4)
        >>> corners = [Monomial(G.permutations[s]) for s in G.generators]
        >>> print(GSet.from_monomials(G, corners)[0])
        1 x D4/Cs
    """

    group: Group
    orbits: tuple[Orbit, ...]

    @classmethod
    def of(cls, group: Group, orbits: Sequence[Orbit]) -> GSet:
        """A G-set from orbits in any order, with any conjugate of each stabiliser; equal types are counted together."""
        counts: dict[tuple[Subgroup, Subgroup | None], int] = {}
        for orbit in orbits:
            if orbit.stabiliser.group != group:
                raise GroupError(f"an orbit of {orbit.stabiliser.group.name} among those of {group.name}")
            kernel = None if orbit.kernel is None else orbit.kernel.elements.tobytes()
            pair = canonical_pair(group, orbit.stabiliser.elements.tobytes(), kernel)
            counts[pair] = counts.get(pair, 0) + orbit.multiplicity
        return cls(group, tuple(Orbit(h, k, m) for (h, k), m in sorted(counts.items(), key=_sort_key) if m))

    @classmethod
    def coset_space(cls, stabiliser: Subgroup, kernel: Subgroup | None = None) -> GSet:
        """The one orbit G/H, induced from the sign character of H with this kernel.

        Example:
            >>> from intertwiner.algebra import symmetric, subgroup_classes
            >>> print(GSet.coset_space(subgroup_classes(symmetric(3))[1]))
            1 x S3/C2
        """
        if kernel is not None and (2 * kernel.order != stabiliser.order or not stabiliser.contains(kernel)):
            raise GroupError(f"the kernel of a sign character has index 2 in H; got {kernel!r} in {stabiliser!r}")
        return cls.of(stabiliser.group, [Orbit(stabiliser, kernel)])

    @classmethod
    def from_monomials(
        cls, group: Group, images: Sequence[Monomial], *, check: bool = True
    ) -> tuple[GSet, Int[ndarray, " points"]]:
        """The G-set of an action by signed permutations, and the orbit of every point.

        Args:
            images: One signed permutation per generator.
            check: Whether to verify that they are an action.

        Returns:
            The G-set, and orbit numbers per point, orbits numbered by their smallest point.

        Raises:
            NotAnAction: They are none, or have factors other than 1 and -1.

        Cost:
            points x generators, plus (number of orbits) x |G|.
        """
        if not all(m.is_signed_permutation for m in images):
            raise NotAnAction(
                "a G-set needs factors 1 or -1; rescale the points first (positive scales can be balanced)"
            )
        if check:
            require_action(group, images, what="the signed permutations")
        if not images:
            raise NotAnAction(f"{group.name} has no generators: the number of points is unknown; use GSet.of")
        labels = orbit_labels(images[0].dimension, [m.index for m in images])
        first = np.unique(labels, return_index=True)[1]
        return cls.of(group, [Orbit(*pair) for pair in point_stabilisers(group, images, first)]), labels

    @classmethod
    def parse(cls, group: Group, text: str) -> GSet:
        """The G-set that a text like ``2 x D4/C2v + 1 x D4/C4-C2`` names.

        Raises:
            GroupError: No such text, or a subgroup without that name.
            GroupTooLarge: The subgroups of the group cannot be listed.

        Example:
            >>> from intertwiner.algebra import dihedral
            >>> GSet.parse(dihedral(4), "2 x D4/C2v + 1 x D4/C4-C2").degree
            6
        """
        known = {h.name: h for h in subgroup_classes(group)}
        orbits = []
        for term in text.split(" + "):
            match = re.fullmatch(r"\s*(\d+) x " + re.escape(group.name) + r"/([^\s-]+)(?:-(\S+))?\s*", term)
            h = known.get(match[2]) if match else None
            if match is None or h is None:
                raise GroupError(f"expected 'm x {group.name}/H' with H among {', '.join(known)}; got '{term}'")
            kernels = {kernel_name(h, k): k for k in sign_kernels(h)}
            if match[3] and match[3] not in kernels:
                raise GroupError(f"{h.name} has sign characters with the kernels {list(kernels)}, none is '{match[3]}'")
            orbits.append(Orbit(h, kernels[match[3]] if match[3] else None, int(match[1])))
        return cls.of(group, orbits)

    @property
    def degree(self) -> int:
        """Number of points."""
        return sum(o.multiplicity * o.size for o in self.orbits)

    @property
    def is_signed(self) -> bool:
        return any(o.kernel is not None for o in self.orbits)

    def representation(self) -> Representation:
        """Its (signed) permutation representation: orbits in order, points by the transversal of the stabiliser."""
        from intertwiner.algebra.representation import Representation

        blocks = [(_coset_monomials(o), o.multiplicity) for o in self.orbits]
        images = [
            Monomial.direct_sum([m for block, count in blocks for m in [block[i]] * count])
            for i in range(len(self.group.generators))
        ]
        return Representation(self.group, tuple(images), dimension=self.degree, check=False)

    def is_isomorphic(self, other: GSet) -> bool:
        """Whether an equivariant (signed) bijection exists: the same orbit types equally often."""
        return self == other

    def marks(self, subgroups: Sequence[Subgroup] | None = None) -> Int[ndarray, " k"]:
        """``|X^K|``, the points fixed by each subgroup K, signs disregarded.

        Args:
            subgroups: The K; one per class of subgroups of the group by default.

        Raises:
            GroupTooLarge: By default only, where the subgroups cannot be listed.

        Example:
            >>> from intertwiner.algebra import cyclic, trivial_subgroup
            >>> GSet.coset_space(trivial_subgroup(cyclic(3))).marks().tolist()
            [3, 0]
        """
        chosen = subgroup_classes(self.group) if subgroups is None else subgroups
        return np.array([sum(o.multiplicity * _fixed(o.stabiliser, k) for o in self.orbits) for k in chosen])

    def __add__(self, other: GSet) -> GSet:
        return GSet.of(self.group, [*self.orbits, *other.orbits])

    def __str__(self) -> str:
        return " + ".join(map(str, self.orbits)) or f"0 x {self.group.name}/{self.group.name}"

    def __repr__(self) -> str:
        return f"GSet({self})"

    def to_json(self) -> dict[str, Any]:
        """A plain record: group, and per orbit type the elements of stabiliser and kernel."""
        orbits = [
            {
                "name": o.name,
                "stabiliser": o.stabiliser.to_json(),
                "kernel": None if o.kernel is None else o.kernel.to_json(),
                "multiplicity": o.multiplicity,
            }
            for o in self.orbits
        ]
        return {"group": self.group.to_json(), "orbits": orbits}

    @classmethod
    def from_json(cls, record: Mapping[str, Any]) -> GSet:
        """The G-set of a record made by ``to_json``."""
        group = group_from_json(record["group"])
        orbits = []
        for o in record["orbits"]:
            kernel = None if o["kernel"] is None else subgroup(group, o["kernel"]["elements"])
            orbits.append(Orbit(subgroup(group, o["stabiliser"]["elements"]), kernel, int(o["multiplicity"])))
        return cls.of(group, orbits)


def point_stabilisers(
    group: Group, images: Sequence[Monomial], points: Int[ndarray, " r"]
) -> list[tuple[Subgroup, Subgroup | None]]:
    """Stabiliser of the line of each point, and the kernel of the sign on it (None where the sign is trivial).

    Example:
        >>> from intertwiner.algebra import cyclic
        >>> h, k = point_stabilisers(cyclic(4), [Monomial([0], np.array([-1.0]))], np.array([0]))[0]
        >>> h.order, k.order
        (4, 2)
    """
    point, factor = trace_points(group, images, points)
    out: list[tuple[Subgroup, Subgroup | None]] = []
    known: dict[bytes, tuple[Subgroup, Subgroup | None]] = {}
    for x, where, sign in zip(points, point, factor, strict=True):
        plus, minus = (where == x) & (sign > 0), (where == x) & (sign < 0)
        key = np.packbits(np.concatenate([plus, minus])).tobytes()
        if key not in known:
            fixed = Subgroup(group, np.flatnonzero(plus))
            known[key] = (Subgroup(group, np.flatnonzero(plus | minus)), fixed) if minus.any() else (fixed, None)
        out.append(known[key])
    return out


@lru_cache(maxsize=4096)
def canonical_pair(group: Group, stabiliser: bytes, kernel: bytes | None) -> tuple[Subgroup, Subgroup | None]:
    """The conjugate of (H, K) with H canonical and K first among its conjugates under the normaliser of H."""
    h = Subgroup(group, np.frombuffer(stabiliser, dtype=np.int64))
    canonical = h.canonical
    if kernel is None:
        return canonical, None
    k = Subgroup(group, np.frombuffer(kernel, dtype=np.int64))
    # All g with g H g^-1 canonical differ by the normaliser, so this runs over all conjugates that K can have.
    rows = k.conjugate_rows(h.conjugators(canonical))
    return canonical, Subgroup(group, rows[np.lexsort(rows.T[::-1])[0]])


def _sort_key(item: tuple[tuple[Subgroup, Subgroup | None], int]) -> tuple[Any, ...]:
    (h, k), _ = item
    return (-h.order, h.elements.tolist(), k is not None, [] if k is None else k.elements.tolist())


def _coset_monomials(orbit: Orbit) -> list[Monomial]:
    group, h, k = orbit.stabiliser.group, orbit.stabiliser, orbit.kernel
    out = []
    for s in group.generators:
        moved = group.multiply(s, h.transversal)
        index = h.coset_of[moved]
        # s t_i = t_j x with x in H: the sign of the step is the character of x.
        x = group.multiply(group.inverse(h.transversal[index]), moved)
        out.append(Monomial(index) if k is None else Monomial(index, np.where(k.mask[x], 1.0, -1.0)))
    return out


def _fixed(h: Subgroup, k: Subgroup) -> int:
    t = h.transversal
    for g in k.generators:
        t = t[h.mask[h.group.conjugate(h.group.inverse(t), g)]]
    return len(t)
