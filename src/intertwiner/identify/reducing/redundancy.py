r"""Which coordinates of a latent space the network does not need, and how their work moves to the others.

What counts is what the readers see. A coordinate is *unread* when every reader's column for it is zero, *constant*
when it has no input, and a *duplicate* of another one when at every reader ``value_j = factor value_i + constant``.
Then ``W_i += factor W_j`` and the constant goes into the reader's bias, unless the reader pads with zeros: there a
constant does not fold, and a coordinate that needs one stays.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy import ndarray

from intertwiner.gauge import row_classes
from intertwiner.identify.reducing.edit import columns, snapped_sum, with_columns, with_constant, with_op
from intertwiner.identify.reducing.rows import Reader, Rows
from intertwiner.network import node as ir
from intertwiner.network.resize import Places, keep

Graph = Mapping[str, ir.Node]


@dataclass(frozen=True, eq=False)
class Seen:
    """What one reader sees of every coordinate: ``value_i = factor_i value_first + constant_i``.

    Args:
        label: Coordinates with equal labels are equal up to factor and constant; -1 constant, -2 absent.
        size: The factor of each coordinate against a common scale of its class; 0 where constant.
        constant: The constant beside that.
        residual: Distance from the first of the class, relative to the row.
        folds: Whether a constant can go into the bias of this reader.
    """

    label: ndarray
    size: ndarray
    constant: ndarray
    residual: ndarray
    folds: bool


@dataclass(frozen=True, eq=False)
class Merge:
    """The coordinates to be taken out of one space.

    Args:
        kind: By coordinate: "", "unread", "constant" or "duplicate".
        into: By coordinate, the one that takes over; itself where none does.
        residual: By coordinate, the relative residual of the relation that was used.
        seen: What each reader sees, in the order of ``places.readers``.
    """

    kind: tuple[str, ...]
    into: ndarray
    residual: ndarray
    seen: tuple[Seen, ...]

    @property
    def kept(self) -> ndarray:
        return np.array([not k for k in self.kind])


def folds_constants(op: Any) -> bool:
    """Whether a constant input is a constant of the output."""
    if isinstance(op, ir.Conv):
        return not op.transposed and (op.padding_mode != "zeros" or all(p == (0, 0) for p in op.padding))
    return True


def seen_by(graph: Graph, places: Places, reader: str, value: str, rows: Rows, tolerance: float) -> Seen:
    """What a reader sees: classes of rows up to any factor, and up to a constant where the reader folds it."""
    folds = folds_constants(graph[reader].op)
    d = places.dimension
    present = np.isin(np.arange(d), places.owner[value])
    body = rows.weights if folds else np.column_stack([rows.weights, rows.constant])
    norm = np.linalg.norm(body, axis=1)
    live = np.flatnonzero(present & (norm > 0))
    label, size, residual = np.where(present, -1, -2), np.zeros(d), np.zeros(d)
    found = row_classes(body[live] / norm[live, None], sign=True, tolerance=tolerance)
    first = found.representatives[found.labels]
    size[live] = found.sign * norm[live]
    gap = np.linalg.norm(body[live] - (size[live] / size[live[first]])[:, None] * body[live[first]], axis=1)
    residual[live] = gap / norm[live]
    label[live] = live[first]
    constant = rows.constant if folds else np.zeros(d)
    return Seen(label, size, constant, residual, folds)


def find_merge(graph: Graph, reader: Reader) -> Merge | None:
    """The unread, constant and equal coordinates of a space; None where there are none.

    At least one coordinate stays everywhere, since a layer of width zero is no layer.
    """
    places, rows = reader.places, reader.rows()
    d = places.dimension
    seen = tuple(seen_by(graph, places, r, v, rows[v], reader.tolerance) for r, v in places.readers)
    kind, into, residual = [""] * d, np.arange(d), np.zeros(d)
    for i in np.flatnonzero(_unread(graph, places)):
        kind[i] = "unread"
    for i in np.flatnonzero(_constant(seen, d)):
        kind[i] = kind[i] or "constant"
    classes: dict[tuple[int, ...], int] = {}
    for i in range(d):
        if kind[i]:
            continue
        key = tuple(int(s.label[i]) for s in seen)
        first = classes.setdefault(key, i)
        if first != i:
            kind[i], into[i] = "duplicate", first
            residual[i] = max(max(part[i], part[first]) for part in (reader.residual, *(s.residual for s in seen)))
    for owner in places.owner.values():
        if owner.min() >= 0 and all(kind[i] for i in owner):
            kind[owner[0]] = ""  # no axis of width zero
    return Merge(tuple(kind), into, residual, seen) if any(kind) else None


def _unread(graph: Graph, places: Places) -> ndarray:
    weight = np.zeros(places.dimension)
    for reader, value in places.readers:
        column = np.abs(columns(graph[reader].op)).reshape(len(places.owner[value]), -1).sum(axis=1)
        owner = places.owner[value]
        np.add.at(weight, owner[owner >= 0], column[owner >= 0])
    return weight == 0


def _constant(seen: tuple[Seen, ...], d: int) -> ndarray:
    out = np.ones(d, dtype=bool)
    for s in seen:
        out &= s.label < 0
    return out


def apply_merge(graph: Graph, places: Places, merge: Merge) -> dict[str, ir.Node]:
    """The graph without the redundant coordinates, their work moved to those that take over."""
    out = dict(graph)
    for (reader, value), seen in zip(places.readers, merge.seen, strict=True):
        op: Any = out[reader].op
        weight = columns(op).copy()
        constant = np.zeros(graph[reader].shape[-1 if isinstance(op, ir.Linear) else 1])
        gathered: dict[int, list[ndarray]] = {}
        for i, kind in enumerate(merge.kind):
            mine = weight[places.positions(value, i)]
            if kind not in ("constant", "duplicate") or not len(mine):
                continue
            first, offset = int(merge.into[i]), seen.constant[i]
            if kind == "duplicate" and seen.label[i] >= 0:
                factor = seen.size[i] / seen.size[first]
                offset = offset - factor * seen.constant[first]
                gathered.setdefault(first, []).append(factor * mine)
            constant = constant + offset * _total(op, mine)
        for first, terms in gathered.items():
            at = places.positions(value, first)
            weight[at] = snapped_sum(np.stack([weight[at], *terms]))
        with_op(out, reader, with_constant(with_columns(op, weight), constant))
    return keep(out, places, merge.kept)


def _total(op: Any, part: ndarray) -> ndarray:
    """What a constant 1 at these columns adds to each output: the sum over positions and kernel."""
    rows = np.moveaxis(part, 1, 0)  # (positions, out, *kernel) for every layout of `columns`
    return rows.reshape(len(rows), -1).sum(axis=1)
