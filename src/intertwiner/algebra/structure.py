"""What a subgroup is as an abstract group, in a short name: ``C6``, ``C2xC2``, ``D4``, ``A5``, ``F20``, ``S3xC3``.

Every name is proved by relations or by a classification of the order; what is not recognised is ``G`` and its order.
"""

from __future__ import annotations

from functools import lru_cache
from math import factorial, prod

import numpy as np

from intertwiner.algebra.subgroups import Subgroup, intersection, subgroup_generated


@lru_cache(maxsize=4096)
def structure_name(h: Subgroup) -> str:
    """The name of the isomorphism type of a subgroup.

    Example:
        >>> from intertwiner.algebra.families import symmetric
        >>> from intertwiner.algebra.lattice import subgroup_classes
        >>> [structure_name(k) for k in subgroup_classes(symmetric(4))]
        ['1', 'C2', 'C2', 'C3', 'C2xC2', 'C2xC2', 'C4', 'S3', 'D4', 'A4', 'S4']
    """
    if _is_abelian(h):
        return _abelian_name(h)
    for recognise in (_dihedral, _dicyclic, _frobenius, _alternating_or_symmetric, _direct):
        name = recognise(h)
        if name:
            return name
    return f"G{h.order}"


def _is_abelian(h: Subgroup) -> bool:
    gens = np.array(h.generators, dtype=np.int64)
    return np.array_equal(h.group.multiply(gens[:, None], gens), h.group.multiply(gens[None, :], gens[:, None]))


def _orders(h: Subgroup) -> np.ndarray:
    return h.group.element_orders[h.elements]


def _abelian_name(h: Subgroup) -> str:
    orders = _orders(h)
    # Elements with x^(p^k) = 1 number p^(sum of min(k, part)): that gives the parts of the type at p.
    parts: dict[int, list[int]] = {}
    for p in _primes(h.order):
        previous, k, sizes = 0, 1, []
        while True:
            count = int(np.sum(p**k % orders == 0))
            exponent = round(np.log(count) / np.log(p))
            if exponent == previous:
                break
            sizes.append(exponent - previous)
            previous, k = exponent, k + 1
        parts[p] = [p ** sum(1 for s in sizes if s > i) for i in range(sizes[0])]
    rank = max((len(v) for v in parts.values()), default=0)
    factors = [prod(v[i] for v in parts.values() if i < len(v)) for i in range(rank)]
    return "x".join(f"C{f}" for f in sorted(factors)) or "1"


def _primes(n: int) -> list[int]:
    return [p for p in range(2, n + 1) if n % p == 0 and all(p % q for q in range(2, int(p**0.5) + 1))]


def _outside(h: Subgroup, r: int) -> int:
    return int(h.elements[~subgroup_generated(h.group, [r]).mask[h.elements]][0])


def _dihedral(h: Subgroup) -> str:
    n, orders = h.order // 2, _orders(h)
    turns = h.elements[orders == n]
    if not len(turns) or n < 3 or h.order % 2:
        return ""
    r = int(turns[0])
    s = _outside(h, r)
    inverts = int(h.group.conjugate(s, r)) == int(h.group.inverse(r))
    if h.group.element_order(s) != 2 or not inverts:
        return ""
    return "S3" if n == 3 else f"D{n}"


def _dicyclic(h: Subgroup) -> str:
    n, orders = h.order // 4, _orders(h)
    turns = h.elements[orders == 2 * n]
    if not len(turns) or n < 2 or h.order % 4:
        return ""
    r = int(turns[0])
    s = _outside(h, r)
    inverts = int(h.group.conjugate(s, r)) == int(h.group.inverse(r))
    if not inverts or int(h.group.power(s, 2)) != int(h.group.power(r, n)):
        return ""
    return "Q8" if n == 2 else f"Dic{n}"


def _frobenius(h: Subgroup) -> str:
    group = h.group
    p = max(_primes(h.order))
    k = h.order // p
    if k % p == 0 or (p - 1) % k:
        return ""
    orders = _orders(h)
    shifts, scales = h.elements[orders == p], h.elements[orders == k]
    if len(shifts) != p - 1 or not len(scales):
        return ""
    # x of order p is unique up to powers, so <x> is normal; y must act on it with its full order.
    x, y = int(shifts[0]), int(scales[0])
    moved, period = int(group.conjugate(y, x)), 1
    while moved != x:
        moved, period = int(group.conjugate(y, moved)), period + 1
    return f"F{h.order}" if period == k else ""


def _centre_order(h: Subgroup) -> int:
    central = h.elements
    for g in h.generators:
        central = central[h.group.multiply(g, central) == h.group.multiply(central, g)]
    return len(central)


def _derived(h: Subgroup) -> Subgroup:
    group, x, y = h.group, h.elements[:, None], np.array(h.generators)[None, :]
    # Commutators of all elements with generators generate the derived subgroup.
    commutators = group.multiply(group.conjugate(x, y), group.inverse(y))
    return subgroup_generated(group, np.unique(commutators))


def _alternating_or_symmetric(h: Subgroup) -> str:
    for n in (4, 5, 6):
        if h.order == factorial(n) // 2:
            # Order 12, not abelian, dihedral or dicyclic: A4. Perfect of order 60 or 360: A5 or A6.
            return f"A{n}" if n == 4 or _derived(h).order == h.order else ""
        if h.order == factorial(n) and _centre_order(h) == 1:
            if n == 4:
                return "S4"
            derived = _derived(h)
            perfect = derived.order * 2 == h.order and _derived(derived).order == derived.order
            # Among the three almost simple extensions of A6 by 2, only S6 has no element of order 8.
            return f"S{n}" if perfect and not np.any(_orders(h) == 8) else ""
    return ""


def _direct(h: Subgroup) -> str:
    closures: dict[bytes, Subgroup] = {}
    for g in h.elements[1:]:
        orbit = np.unique(h.group.conjugate(h.elements, int(g)))
        normal = subgroup_generated(h.group, orbit) if int(g) == int(orbit[0]) else None
        if normal is not None and normal.order < h.order:
            closures[normal.elements.tobytes()] = normal
    normals = sorted(closures.values(), key=lambda k: (-k.order, k.elements.tolist()))
    for a in normals:
        for b in normals:
            if a.order * b.order == h.order and a.order >= b.order and intersection(a, b).order == 1:
                return f"{structure_name(a)}x{structure_name(b)}"
    return ""
