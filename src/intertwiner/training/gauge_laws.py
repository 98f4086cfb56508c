r"""From charges to families: gauges that look alike are one family, and those that linear maps mix are one matrix.

A gauge with charge q has the law ``sum over entries of (q_up - q_down) theta^2``. Gauges whose terms stand in the same
parameters, with the same factors and as often, are the rows of one family. Where moreover all their classes are read
and written together by linear operators alone, the whole of GL acts and the law is a symmetric matrix.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from fractions import Fraction

import numpy as np
from jaxtyping import Int
from numpy import ndarray

from intertwiner.numerics.seeds import rng
from intertwiner.training.charge_solve import Solved, solve
from intertwiner.training.charges import Charges, Use
from intertwiner.training.families import BALANCE, MATRIX, Family, Piece
from intertwiner.training.spelling import spell
from intertwiner.training.views import View, view_of


@dataclass(frozen=True, eq=False)
class _Table:
    """One line per gauge and place where it moves a parameter, in the order gauge, parameter, factor, place."""

    gauge: Int[ndarray, " lines"]
    use: Int[ndarray, " lines"]
    side: Int[ndarray, " lines"]
    factor: Int[ndarray, " lines"]
    place: Int[ndarray, " lines"]


def gauge_families(charges: Charges, shapes: Mapping[str, tuple[int, ...]]) -> tuple[Family, ...]:
    """The families of quadratic laws of a network.

    Args:
        charges: What its operators demand.
        shapes: Shape of every parameter, for the formulas.

    Cost:
        Near linear in the number of coordinates of all hidden spaces.
    """
    solved = solve(charges)
    table = _table(solved)
    if not len(table.gauge):
        return ()
    kinds, starts, counts = _alike(solved, table, charges)
    out: list[tuple[int, Family]] = []
    for members in kinds:
        lines = starts[members][:, None] + np.arange(int(counts[members[0]]))
        order = np.lexsort((table.place[lines[:, 0]],))
        out += _families(solved, table, lines[order], charges, shapes)
    return tuple(family for _, family in sorted(out, key=lambda pair: pair[0]))


def _table(solved: Solved) -> _Table:
    parts: list[ndarray] = []
    for number, use in enumerate(solved.uses):
        sides = [(0, use.up, 1), (1, use.down, -1)]
        found = [_moved(solved, ids, sign) for _, ids, sign in sides]
        if use.up.shape == use.down.shape:  # entry by entry: what is given and taken cancels
            merged = np.concatenate(found, axis=1)
            keys, inverse = np.unique(merged[[0, 2]], axis=1, return_inverse=True)
            total = np.bincount(inverse.ravel(), merged[1], minlength=keys.shape[1]).astype(np.int64)
            found = [np.stack([keys[0], total, keys[1]])[:, total != 0], np.zeros((3, 0), dtype=np.int64)]
        for (side, _, _), (gauge, factor, place) in zip(sides, found, strict=True):
            parts.append(np.stack([gauge, np.full_like(gauge, number), np.full_like(gauge, side), factor, place]))
    lines = np.concatenate(parts, axis=1) if parts else np.zeros((5, 0), dtype=np.int64)
    return _Table(*lines[:, np.lexsort(lines[::-1])])


def _moved(solved: Solved, ids: ndarray, sign: int) -> Int[ndarray, "3 lines"]:
    """Gauge, factor and place of every term of a side."""
    classes = solved.classes[ids].ravel()
    low, high = np.searchsorted(solved.of, classes, "left"), np.searchsorted(solved.of, classes, "right")
    times = high - low
    place = np.repeat(np.arange(len(classes)), times)
    term = np.repeat(low - np.concatenate([[0], np.cumsum(times)[:-1]]), times) + np.arange(times.sum())
    return np.stack([solved.gauge[term], sign * solved.charge[term], place])


def _alike(solved: Solved, table: _Table, charges: Charges) -> tuple[list[ndarray], ndarray, ndarray]:
    """Gauges by kind, as numbers into the first line and the number of lines of every gauge."""
    gauges, starts, counts = np.unique(table.gauge, return_index=True, return_counts=True)
    place = np.searchsorted(gauges, table.gauge)
    keys = np.zeros(len(gauges), dtype=np.uint64)
    lines = np.stack([table.use, table.side, table.factor])
    np.add.at(keys, place, _marks(lines, 1))
    known = np.isin(solved.gauge, gauges)
    of = np.searchsorted(gauges, solved.gauge[known])
    soft = np.zeros(len(solved.monomial), dtype=np.int64)
    for number, (ids, _) in enumerate(charges.soft):
        soft[solved.classes[ids]] |= 1 << (number % 60)
    np.add.at(keys, of, _marks(np.stack([solved.monomial[solved.of[known]], soft[solved.of[known]]]), 2))
    inverse = np.unique(keys, return_inverse=True)[1]
    order = np.argsort(inverse, kind="stable")
    return np.split(order, np.cumsum(np.bincount(inverse))[:-1]), starts, counts


def _marks(columns: ndarray, seed: int) -> ndarray:
    """A random number per different column; sums of them tell collections apart but for one chance in 2^63."""
    known, inverse = np.unique(columns, axis=1, return_inverse=True)
    return rng(seed).integers(1, 1 << 63, size=known.shape[1], dtype=np.uint64)[inverse.ravel()]


def _families(
    solved: Solved, table: _Table, lines: ndarray, charges: Charges, shapes: Mapping[str, tuple[int, ...]]
) -> list[tuple[int, Family]]:
    """The families of one kind: one where nothing mixes, otherwise one per size of the cells that do."""
    gauges = table.gauge[lines[:, 0]]
    support = np.flatnonzero(np.isin(solved.gauge, gauges[:1]))
    mixable = not solved.monomial[solved.of[support]].any()
    because = _because(solved, charges, solved.of[support])
    if not mixable:
        return [_family(solved, table, lines, (len(lines), 1, False), (shapes, because))]
    cells = _cells(solved, gauges)
    sizes = np.bincount(cells)[cells]
    out = []
    for size in np.unique(sizes):
        chosen = np.flatnonzero(sizes == size)
        firsts = np.full(cells.max() + 1, len(cells))
        np.minimum.at(firsts, cells[chosen], chosen)
        chosen = chosen[np.lexsort((chosen, firsts[cells[chosen]]))]
        form = (int(size), len(chosen) // int(size), True)
        out.append(_family(solved, table, lines[chosen], form, (shapes, because)))
    return out


def _cells(solved: Solved, gauges: ndarray) -> Int[ndarray, " gauges"]:
    """Which gauges are always written and read together."""
    order = np.argsort(gauges)
    known = np.isin(solved.gauge, gauges)
    keys = np.zeros(len(gauges), dtype=np.uint64)
    marks = _marks(np.stack([solved.signature[solved.of[known]], solved.charge[known]]), 3)
    np.add.at(keys, order[np.searchsorted(gauges[order], solved.gauge[known])], marks)
    return np.unique(keys, return_inverse=True)[1]


def _because(solved: Solved, charges: Charges, support: ndarray) -> str:
    reasons = [reason for ids, reason in charges.soft if np.isin(solved.classes[ids], support).any()]
    return "; ".join(dict.fromkeys(reasons))


def _family(
    solved: Solved,
    table: _Table,
    lines: ndarray,
    form: tuple[int, int, bool],
    words: tuple[Mapping[str, tuple[int, ...]], str],
) -> tuple[int, Family]:
    size, blocks, mixable = form
    shapes, because = words
    pieces: list[Piece] = []
    pattern = np.stack([table.use, table.side, table.factor])[:, lines[0]]
    cuts = np.flatnonzero((np.diff(pattern, axis=1) != 0).any(axis=0)) + 1
    for columns in np.split(np.arange(lines.shape[1]), cuts):
        number, side, factor = pattern[:, columns[0]]
        use = solved.uses[number]
        ids = use.down if side else use.up
        pieces.append(_piece(use, ids.shape, table.place[lines[:, columns]], Fraction(int(factor))))
    pieces = sorted(_joined(pieces), key=lambda p: p.coefficient < 0)
    kind = MATRIX if mixable and size > 1 else BALANCE
    first = solved.uses[int(pattern[0, 0])]
    group = _group(kind, size, blocks, mixable)
    formula = spell(kind, pieces, shapes, size if blocks > 1 else 0)
    holds = "batch norm in training mode" if "batch norm" in because else ""
    where = (first.node.tap or first.node.name).removesuffix(":out")
    family = Family(kind, tuple(pieces), where, group, formula, size, blocks, not because, because, holds)
    return int(pattern[0, 0]), family


def _group(kind: str, size: int, blocks: int, mixable: bool) -> str:
    if kind == MATRIX:
        return f"GL({size})" + (f" of each of {blocks} blocks" if blocks > 1 else "")
    name = "nonzero scales" if mixable else "positive scales"
    total = size * blocks
    return f"{name} of {total} coordinates" if total > 1 else name.removesuffix("s")


def _piece(use: Use, shape: tuple[int, ...], places: ndarray, factor: Fraction) -> Piece:
    """One side of a parameter: rows by stride, and the axes that the charges do not see."""
    offsets = np.full(places.shape, use.start, dtype=np.int64)
    for axis, at in enumerate(np.stack(np.unravel_index(places, shape))):
        offsets += use.strides[axis] * at
    rest = [a for a in range(len(use.shape)) if use.shape[a] > 1 and shape[a] == 1]
    centre = tuple(use.centre[places].mean(axis=1).tolist()) if use.centre is not None else ()
    inner = [(use.shape[a], use.strides[a]) for a in rest]
    return Piece(use.param, with_axes(view_of(offsets), inner), factor, 2, centre)


def with_axes(view: View, more: list[tuple[int, int]]) -> View:
    """Further axes inside the rows, all in descending order of their strides, and joined where they touch."""
    axes = sorted([*zip(view.shape, view.strides, strict=True), *more], key=lambda axis: -axis[1])
    joined: list[tuple[int, int]] = []
    for size, stride in axes:
        if joined and joined[-1][1] == size * stride:
            joined[-1] = (joined[-1][0] * size, stride)
        else:
            joined.append((size, stride))
    shape, strides = tuple(s for s, _ in joined), tuple(t for _, t in joined)
    return View(view.rows, view.start, view.step, shape, strides, view.starts)


def _joined(pieces: list[Piece]) -> list[Piece]:
    """Pieces on the same entries added up."""
    total: dict[tuple[str, View, int, tuple[float, ...]], Fraction] = {}
    for p in pieces:
        key = p.param, p.view, p.degree, p.centre
        total[key] = total.get(key, Fraction(0)) + p.coefficient
    return [Piece(n, v, c, d, m) for (n, v, d, m), c in total.items() if c]
