r"""All charges that satisfy what the operators demand: a basis of one-parameter gauges, each as local as it can be.

Equal variables become classes. The few equations between classes are eliminated exactly; a class that is expressed by
others carries their charges, every class that stays free is one gauge. A parameter used in two places has to move the
same way in both.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from fractions import Fraction
from itertools import combinations
from math import lcm

import numpy as np
from jaxtyping import Bool, Int
from numpy import ndarray
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from intertwiner.numerics.seeds import rng
from intertwiner.training.charges import ZERO, Charges, Ids, Use

Row = dict[int, Fraction]


@dataclass(frozen=True, eq=False)
class Solved:
    """A basis of the charges.

    Args:
        classes: Class of every variable.
        zero: The class without charge.
        gauge: Of every term of the basis: which gauge, in ascending order of its class.
        of: The class that it charges.
        charge: By how much, a whole number.
        monomial: Whether linear maps may not mix a class with others.
        signature: Equal for classes that are always written and read together.
        uses: Trainable parameters, each once.
    """

    classes: Int[ndarray, " variables"]
    zero: int
    gauge: Int[ndarray, " terms"]
    of: Int[ndarray, " terms"]
    charge: Int[ndarray, " terms"]
    monomial: Bool[ndarray, " classes"]
    signature: Int[ndarray, " classes"]
    uses: tuple[Use, ...]


def solve(c: Charges) -> Solved:
    """Solve for the charges; parameters that are used twice are tied first.

    Cost: near linear in variables and pairs; equations are eliminated one by one, each with a handful of terms.
    """
    uses = _tie(c)
    classes = components(c.count, c.equal)
    zero, total = int(classes[ZERO]), int(classes.max()) + 1
    derived = set(np.unique(classes[np.concatenate([*c.derived, np.zeros(0, dtype=np.int64)])]).tolist())
    bound = _eliminate(_rows(c, classes, zero), derived)
    free = np.setdiff1d(np.arange(total), [zero, *bound])
    gauge, of, charge = _basis(free, bound)
    order = np.argsort(of, kind="stable")
    monomial = np.zeros(total, dtype=bool)
    for ids in c.monomial:
        monomial[classes[ids]] = True
    signature = _signatures(c, classes, total)
    return Solved(classes, zero, gauge[order], of[order], charge[order], monomial, signature, uses)


def components(count: int, pairs: list[tuple[Ids, Ids]]) -> Int[ndarray, " count"]:
    """Class of every variable under equalities."""
    sides = [np.broadcast_arrays(a.ravel(), b.ravel()) for a, b in pairs]
    first, second = (np.concatenate([s[k] for s in sides] or [np.zeros(0, dtype=np.int64)]) for k in (0, 1))
    graph = coo_array((np.ones(len(first), dtype=np.int8), (first, second)), shape=(count, count))
    return connected_components(graph, directed=False)[1].astype(np.int64)


def _rows(c: Charges, classes: ndarray, zero: int) -> list[Row]:
    """Every equation between classes once."""
    out = []
    for variables, coefficients in c.equations:
        for row in np.unique(classes[variables], axis=0).tolist():
            terms: Row = defaultdict(Fraction)
            for k, factor in zip(row, coefficients, strict=True):
                if k != zero:
                    terms[k] += factor
            out.append({k: v for k, v in terms.items() if v})
    return [row for row in out if row]


def _eliminate(rows: list[Row], derived: set[int]) -> dict[int, Row]:
    """Classes that others determine: ``class = sum of factor * free class``."""
    found: dict[int, Row] = {}
    for row in rows:
        left = _substituted(row, found)
        if not left:
            continue
        pivot = max(left, key=lambda k: (k in derived, k))
        scale = -left.pop(pivot)
        found[pivot] = {k: v / scale for k, v in left.items()}
    for pivot in reversed(list(found)):  # a row may name classes that were bound only after it
        found[pivot] = _substituted(found[pivot], found)
    return found


def _substituted(row: Row, found: dict[int, Row]) -> Row:
    out: Row = defaultdict(Fraction)
    todo = list(row.items())
    while todo:
        k, v = todo.pop()
        if k in found:
            todo += [(other, v * factor) for other, factor in found[k].items()]
        else:
            out[k] += v
    return {k: v for k, v in out.items() if v}


def _basis(free: ndarray, bound: dict[int, Row]) -> tuple[ndarray, ndarray, ndarray]:
    """One gauge per free class with the bound classes that follow it, in whole numbers."""
    terms = [(k, pivot, v) for pivot, row in bound.items() for k, v in row.items()]
    scale: dict[int, int] = defaultdict(lambda: 1)
    for k, _, v in terms:
        scale[k] = lcm(scale[k], v.denominator)
    own = np.ones(len(free), dtype=np.int64)
    own[np.searchsorted(free, list(scale))] = list(scale.values())
    rest = np.array([(k, pivot, int(v * scale[k])) for k, pivot, v in terms], dtype=np.int64).reshape(-1, 3)
    gauge, of, charge = (np.concatenate([a, b]) for a, b in zip((free, free, own), rest.T, strict=True))
    return gauge, of, charge


def _signatures(c: Charges, classes: ndarray, total: int) -> Int[ndarray, " classes"]:
    """A sum of random numbers, one per row of an event in which a class takes part, as often as it does."""
    out = np.zeros(total, dtype=np.uint64)
    random = rng(0)
    for event in c.events:
        rows = np.unique(classes[event], axis=0)
        marks = random.integers(1, 1 << 63, size=len(rows), dtype=np.uint64)
        np.add.at(out, rows.ravel(), np.repeat(marks, rows.shape[1]))
    return out.view(np.int64)


def _tie(c: Charges) -> tuple[Use, ...]:
    """Demand that a parameter that is used twice moves once; keeps its first use."""
    by_name: dict[str, list[Use]] = defaultdict(list)
    for use in c.uses:
        by_name[use.param].append(use)
    dropped: set[int] = set()
    for uses in by_name.values():
        for first, other in combinations(uses, 2):
            if _apart(first, other):
                continue
            if not _same_entries(c, first, other):
                c.lose(other.node, f"{other.param} is used twice, in different shapes")
                for use in (first, other):
                    c.vanish(use.up)
                    c.vanish(use.down)
            dropped.add(id(other))
    return tuple(use for use in c.uses if id(use) not in dropped)


def _apart(a: Use, b: Use) -> bool:
    """Whether two uses share no entry."""
    (low, high), (start, stop) = _span(a), _span(b)
    if high < start or stop < low:
        return True
    return not np.intersect1d(_places(a), _places(b)).size


def _span(use: Use) -> tuple[int, int]:
    steps = [s * (n - 1) for s, n in zip(use.strides, use.shape, strict=True)]
    return use.start + sum(min(s, 0) for s in steps), use.start + sum(max(s, 0) for s in steps)


def _places(use: Use) -> ndarray:
    out = np.array([use.start])
    for size, stride in zip(use.shape, use.strides, strict=True):
        out = (out[:, None] + stride * np.arange(size)).ravel()
    return out


def _same_entries(c: Charges, a: Use, b: Use) -> bool:
    """Demand equal charges of all entries; False where the two uses do not line up axis by axis."""
    axes = [sorted((-s, n) for s, n in zip(u.strides, u.shape, strict=True) if n > 1) for u in (a, b)]
    if a.start != b.start or axes[0] != axes[1]:
        return False
    terms: dict[int, list[tuple[Ids, int]]] = defaultdict(list)
    for use, sign in ((a, 1), (b, -1)):
        order = sorted((k for k in range(len(use.shape)) if use.shape[k] > 1), key=lambda k: -use.strides[k])
        for ids, side in ((use.up, sign), (use.down, -sign)):
            long = [k for k in range(ids.ndim) if ids.shape[k] > 1]
            if len(long) > 1:
                return False
            terms[order.index(long[0]) if long else -1].append((ids.ravel(), side))
    corner = [(ids[:1], side) for part in terms.values() for ids, side in part]
    c.demand([side for _, side in corner], *(ids for ids, _ in corner))
    for axis, part in terms.items():
        if axis >= 0:
            first = [(ids[:1], -side) for ids, side in part]
            c.demand([s for _, s in (*part, *first)], *(ids for ids, _ in (*part, *first)))
    return True
