"""Names of subgroups, the same for conjugate ones and different for others.

In dihedral groups the Schoenflies symbols of mirror groups (``C2``, ``Cs``, ``C2v``; primed where no mirror is
conjugate to s); in products the names of the factors joined by ``x``, and ``[...]`` around the structure of a
subgroup that is no product; elsewhere the structure. Subgroups that would share a name are told apart by ``'``,
``''``, ``.4``, ``.5``, ..., in the order of ``subgroup_classes``.
"""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from functools import lru_cache

import numpy as np

from intertwiner.algebra.group import Group
from intertwiner.algebra.lattice import MAX_ORDER, subgroup_classes
from intertwiner.algebra.structure import structure_name
from intertwiner.algebra.subgroups import Subgroup
from intertwiner.errors import GroupTooLarge

MAX_ABELIAN = 64
"""Largest abelian product whose diagonal subgroups are numbered; beyond it they are told apart by a checksum."""


def subgroup_name(h: Subgroup) -> str:
    """The name of a subgroup. Where the subgroups of the group are not listed, a checksum of its class counts stands
    in for the number: equal for conjugate subgroups, different for most others.

    Example:
        >>> from intertwiner.algebra import symmetric, subgroup_classes
        >>> [k.name for k in subgroup_classes(symmetric(4))]
        ['1', 'C2', "C2'", 'C3', 'C2xC2', "C2xC2'", 'C4', 'S3', 'D4', 'A4', 'S4']
    """
    group = h.group
    if h.order == 1:
        return "1"
    if h.order == group.order:
        return group.name
    if group.family == "cyclic":
        return f"C{h.order}"
    if group.family == "dihedral":
        return _mirror_name(h)
    if group.is_product and h.is_product:
        return "x".join(f"({p.name})" if "x" in p.name else p.name for p in h.projections)
    listed = _listed_names(group)
    return f"{_plain_name(h)}#{_checksum(h):06x}" if listed is None else listed[h.canonical]


def _plain_name(h: Subgroup) -> str:
    return f"[{structure_name(h)}]" if h.group.is_product else structure_name(h)


def _checksum(h: Subgroup) -> int:
    return zlib.crc32(h.class_counts.astype("<i8").tobytes()) & 0xFFFFFF


def _mirror_name(h: Subgroup) -> str:
    n = h.group.order // 2
    mirrors = h.elements[h.elements >= n] - n
    if not len(mirrors):
        return f"C{h.order}"
    k = h.order // 2
    # For even n the mirrors r^j s fall into two classes, j even (that of s) and j odd.
    prime = "'" if n % 2 == 0 and np.all(mirrors % 2 == 1) else ""
    return ("Cs" if k == 1 else f"C{k}v") + prime


@lru_cache(maxsize=64)
def _listed_names(group: Group) -> dict[Subgroup, str] | None:
    if group.order > (MAX_ABELIAN if group.is_abelian else MAX_ORDER):
        return None
    try:
        every = subgroup_classes(group)
    except GroupTooLarge:
        return None
    classes = [h for h in every if not (group.is_product and h.is_product)]
    return dict(zip(classes, distinct([_plain_name(h) for h in classes]), strict=True))


def distinct(names: Sequence[str]) -> list[str]:
    """Repeated names told apart by their turn.

    Example:
        >>> distinct(["C2", "C2", "C3", "C2", "C2"])
        ['C2', "C2'", 'C3', "C2''", 'C2.4']
    """
    count: dict[str, int] = {}
    out = []
    for name in names:
        turn = count[name] = count.get(name, 0) + 1
        out.append(name + ("'" * (turn - 1) if turn <= 3 else f".{turn}"))
    return out


@lru_cache(maxsize=1024)
def sign_kernels(h: Subgroup) -> tuple[Subgroup, ...]:
    """The kernels of the nontrivial sign characters ``H -> {1, -1}``, one per class under the normaliser of H.

    Cost:
        2^k walks over H, k its number of generators.

    Example:
        >>> from intertwiner.algebra import dihedral, whole_group
        >>> [k.name for k in sign_kernels(whole_group(dihedral(4)))]
        ['C4', 'C2v', "C2v'"]
    """
    gens, group = h.generators, h.group
    found: dict[bytes, Subgroup] = {}
    for bits in range(1, 2 ** len(gens)):
        sign = _character(h, {g: -1 if bits >> i & 1 else 1 for i, g in enumerate(gens)})
        if sign is None:
            continue
        kernel = Subgroup(group, np.flatnonzero(sign > 0))
        rows = kernel.conjugate_rows(h.normaliser.elements)
        first = rows[np.lexsort(rows.T[::-1])[0]]
        found.setdefault(first.tobytes(), Subgroup(group, first))
    return tuple(sorted(found.values(), key=lambda k: k.elements.tolist()))


def _character(h: Subgroup, values: dict[int, int]) -> np.ndarray | None:
    sign = np.zeros(h.group.order, dtype=np.int8)
    sign[0] = 1
    frontier = np.zeros(1, dtype=np.int64)
    while len(frontier):
        fresh = []
        for g, value in values.items():
            reached = h.group.multiply(g, frontier)
            new = reached[sign[reached] == 0]
            sign[new] = value * sign[frontier[sign[reached] == 0]]
            if np.any(sign[reached] != value * sign[frontier]):
                return None
            fresh.append(new)
        frontier = np.concatenate(fresh)
    for g, value in values.items():
        if np.any(sign[h.group.multiply(g, h.elements)] != value * sign[h.elements]):
            return None
    return sign


def kernel_name(h: Subgroup, k: Subgroup) -> str:
    """The name of the kernel k of a sign character of h; both first among their conjugates."""
    kernels = sign_kernels(h)
    names = distinct([kernel.name for kernel in kernels])
    return next((name for name, kernel in zip(names, kernels, strict=True) if kernel == k), k.name)
