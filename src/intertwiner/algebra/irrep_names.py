"""Names of irreps, and the order they stand in, family by family."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from itertools import product

import numpy as np

from intertwiner.algebra.group import Group
from intertwiner.algebra.irreps import Irrep, irreps
from intertwiner.algebra.partitions import Partition, cycle_type, partitions, symmetric_character, transpose


def named(group: Group, unnamed: Sequence[Irrep]) -> tuple[Irrep, ...]:
    """The irreps with their names, in the order of their family, the trivial one first."""
    if group.parts:
        return _product(group, unnamed)
    if group.family in ("cyclic", "dihedral"):
        return _mulliken(group, unnamed)
    if group.family == "symmetric":
        return _symmetric(group, unnamed)
    if group.family == "alternating":
        return _alternating(group, unnamed)
    return _generic(unnamed)


def letters(i: int) -> str:
    """a, b, ..., z, aa, ab, ...

    Example:
        >>> letters(0), letters(25), letters(26)
        ('a', 'z', 'aa')
    """
    out = ""
    while True:
        out = chr(ord("a") + i % 26) + out
        i = i // 26 - 1
        if i < 0:
            return out


def _generic(unnamed: Sequence[Irrep]) -> tuple[Irrep, ...]:
    ordered = sorted(unnamed, key=lambda i: (not i.is_trivial, i.dimension))
    count: dict[int, int] = {}
    out = []
    for i in ordered:
        if i.is_trivial:
            out.append(replace(i, name="trivial"))
            continue
        out.append(replace(i, name=f"{i.dimension}{letters(count.get(i.dimension, 0))}"))
        count[i.dimension] = count.get(i.dimension, 0) + 1
    return tuple(out)


def _mulliken(group: Group, unnamed: Sequence[Irrep]) -> tuple[Irrep, ...]:
    # The characters come by formula in the order A (A1, A2), B (B1, B2), E1, E2, ...; B of C_n comes last there.
    cyclic = group.family == "cyclic"
    out, pairs = [], sum(1 for i in unnamed if i.dimension == 2)
    kind = {True: ["A", "B"], False: ["A1", "A2", "B1", "B2"]}[cyclic]
    single = [i for i in unnamed if i.dimension == 1]
    out += [replace(i, name=name) for i, name in zip(single, kind, strict=False)]
    double = [i for i in unnamed if i.dimension == 2]
    out += [replace(i, name="E" if pairs == 1 else f"E{k}") for k, i in enumerate(double, start=1)]
    return tuple(out)


def partition_name(partition: Partition, n: int) -> str:
    """The name of a partition of n.

    Example:
        >>> partition_name((4, 1), 5), partition_name((2, 1, 1, 1), 5), partition_name((3, 2), 5)
        ('standard', 'standard x sign', '(3,2)')
    """
    if partition == (n,):
        return "trivial"
    if partition == (1,) * n:
        return "sign"
    if partition == (n - 1, 1):
        return "standard"
    if partition == transpose((n - 1, 1)):
        return "standard x sign"
    return "(" + ",".join(map(str, partition)) + ")"


def _symmetric(group: Group, unnamed: Sequence[Irrep]) -> tuple[Irrep, ...]:
    permutations = group.natural_permutations
    if permutations is None:
        return _generic(unnamed)
    n = permutations.shape[1]
    types = [cycle_type(permutations[g].tolist()) for g in group.class_representatives]
    by_values = {tuple(np.rint(i.class_character).astype(int).tolist()): i for i in unnamed}
    out = []
    for p in partitions(n):
        values = tuple(symmetric_character(p, t) for t in types)
        out.append(replace(by_values[values], name=partition_name(p, n), partition=p))
    first = ["trivial", "sign", "standard", "standard x sign"]
    return tuple(sorted(out, key=lambda i: (first.index(i.name) if i.name in first else 4, i.dimension)))


def _alternating(group: Group, unnamed: Sequence[Irrep]) -> tuple[Irrep, ...]:
    permutations = group.natural_permutations
    if permutations is None or permutations.shape[1] < 3:
        return _generic(unnamed)
    n = permutations.shape[1]
    types = [cycle_type(permutations[g].tolist()) for g in group.class_representatives]
    left, out = list(unnamed), []
    for p in partitions(n):
        if p < transpose(p):
            continue
        values = np.array([symmetric_character(p, t) for t in types], dtype=np.float64)
        norm = (group.class_sizes * values**2).sum() / group.order
        weights = [(group.class_sizes * values * i.class_character).sum() / group.order for i in left]
        inside = [i for i, w in zip(left, weights, strict=True) if w > 0.5]
        left = [i for i, w in zip(left, weights, strict=True) if w <= 0.5]
        name = partition_name(p, n)
        if round(norm) == 1 or len(inside) == 1:
            out.append(replace(inside[0], name=name, partition=p))
            continue
        ordered = sorted(inside, key=lambda i: np.round(i.class_character, 6).tolist(), reverse=True)
        out += [replace(i, name=name + sign, partition=p) for i, sign in zip(ordered, "+-", strict=True)]
    return tuple(sorted(out, key=lambda i: (i.name != "trivial", i.name != "standard", i.dimension)))


def _product(group: Group, unnamed: Sequence[Irrep]) -> tuple[Irrep, ...]:
    sizes = [f.class_count for f in group.factors]
    owner = [{row: i for i, irrep in enumerate(irreps(f)) for row in irrep.constituents} for f in group.factors]
    groups: dict[tuple[int, ...], list[Irrep]] = {}
    for irrep in unnamed:
        rows = np.unravel_index(irrep.constituents[0], sizes)
        groups.setdefault(tuple(o[int(r)] for o, r in zip(owner, rows, strict=True)), []).append(irrep)
    out = []
    for key in product(*[range(len(irreps(f))) for f in group.factors]):
        parts = [irreps(f)[i].name for f, i in zip(group.factors, key, strict=True)]
        name = " x ".join(f"({p})" if " x " in p else p for p in parts)
        members = groups[key]
        # Two factors of complex type split: (a + a*)(b + b*) = (ab + a*b*) + (ab* + a*b).
        out += [replace(m, name=name if len(members) == 1 else f"{name}.{k}") for k, m in enumerate(members, start=1)]
    return tuple(out)
