r"""The minimal vectors at which a monotone property holds, and the maximal ones at which it fails.

Vectors of whole numbers from 1 up to a top; the property holds at v whenever it holds at some u <= v. What is known
true leaves a frontier, the maximal vectors that are above no known minimal one. If the property fails on all of the
frontier nothing is missing: every vector is above a minimal one or below the frontier. Where it holds, lowering one
coordinate after the other ends at a new minimal vector [Gurvich, Khachiyan 1999, joint generation].
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

Vector = tuple[int, ...]
Ask = Callable[[Sequence[Vector]], Sequence[bool]]
"""Whether the property holds, for several vectors at once."""


def minimal_vectors(top: Vector, ask: Ask) -> tuple[list[Vector], list[Vector]]:
    """All minimal vectors at which the property holds and all maximal ones at which it fails.

    Args:
        top: Largest entries.
        ask: The property; it is asked about many vectors at once where possible.

    Cost:
        The property is asked about once per maximal vector, and per minimal one about ``sum log2 top`` times.

    Example:
        >>> minimal_vectors((4, 4), lambda vectors: [x * y >= 6 for x, y in vectors])
        ([(2, 3), (3, 2)], [(1, 4), (2, 2), (4, 1)])
    """
    minimal: list[Vector] = []
    failing: set[Vector] = set()
    while True:
        edge = frontier(top, minimal)
        open_ = [v for v in edge if v not in failing]
        if not open_:
            return sorted(minimal), sorted(edge)
        for v, holds in zip(open_, ask(open_), strict=True):
            if not holds:
                failing.add(v)
            elif not any(_below(m, v) for m in minimal):
                minimal.append(_lowered(v, ask, failing))


def frontier(top: Vector, minimal: Sequence[Vector]) -> list[Vector]:
    """The maximal vectors up to the top that are above none of the given ones.

    Example:
        >>> frontier((4, 4), [(2, 3)])
        [(1, 4), (4, 2)]
    """
    edge = {top}
    for m in minimal:
        above = {v for v in edge if _below(m, v)}
        edge -= above
        for v in above:
            edge |= {(*v[:i], m[i] - 1, *v[i + 1 :]) for i in range(len(v)) if m[i] > 1}
        edge = {v for v in edge if not any(v != u and _below(v, u) for u in edge)}
    return sorted(edge)


def _lowered(v: Vector, ask: Ask, failing: set[Vector]) -> Vector:
    """A minimal vector below one at which the property holds: every coordinate in turn as low as it goes."""
    for i in range(len(v)):
        low, high = 1, v[i]
        while low < high:
            middle = (low + high) // 2
            u = (*v[:i], middle, *v[i + 1 :])
            if not any(_below(u, f) for f in failing) and ask([u])[0]:
                high = middle
            else:
                low = middle + 1
        v = (*v[:i], high, *v[i + 1 :])
    return v


def _below(u: Vector, v: Vector) -> bool:
    return all(a <= b for a, b in zip(u, v, strict=True))
