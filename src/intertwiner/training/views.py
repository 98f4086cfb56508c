r"""A parameter seen as a matrix with one row per coordinate of a latent space, without picking numbers one by one.

Entry ``(i, k_1, k_2, ...)`` stands at ``start_i + k_1 s_1 + k_2 s_2 + ...`` in the flat parameter. Rows and columns of
weights, channels of kernels, the heads of one big projection, blocks behind a flattening: all are strides, and numpy
reads strides in place. What is irregular (a shuffle of channels, groups) has the first places of its runs
listed in ``starts``.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from math import prod
from typing import Any

import numpy as np
from jaxtyping import Float, Int
from numpy import ndarray
from numpy.lib.stride_tricks import as_strided


@dataclass(frozen=True)
class View:
    """Where the entries of each row are.

    Args:
        rows: Number of rows.
        start: Place of the first entry of row 0.
        step: From one row to the next.
        shape: The axes inside a row; empty for one entry.
        strides: Steps along them.
        starts: The first entry of every run, row after row, where these are not equally spaced; otherwise empty. Rows
            have equally many runs.

    Example:
        The columns of a 2 x 3 weight as rows:

        >>> View(3, 0, 1, (2,), (3,)).of(np.arange(6.0))
        array([[0., 3.],
               [1., 4.],
               [2., 5.]])
    """

    rows: int
    start: int
    step: int
    shape: tuple[int, ...] = ()
    strides: tuple[int, ...] = ()
    starts: tuple[int, ...] = ()

    @property
    def width(self) -> int:
        """Entries of a row."""
        return prod(self.shape) * (len(self.starts) // self.rows if self.starts else 1)

    def of(self, flat: ndarray) -> Float[ndarray, "rows width"]:
        """The matrix, from the parameter in one row; a view of its memory where strides allow it."""
        if self.starts:
            return np.asarray(flat)[self.places()]
        size = flat.strides[0]
        strides = tuple(size * s for s in (self.step, *self.strides))
        view = as_strided(flat[self.start :], (self.rows, *self.shape), strides, writeable=False)
        return view.reshape(self.rows, self.width)

    def places(self) -> Int[ndarray, "rows width"]:
        """Place of every entry in the flat parameter."""
        listed = np.asarray(self.starts, dtype=np.int64).reshape(self.rows, -1)
        first = listed if self.starts else (self.start + self.step * np.arange(self.rows))[:, None]
        inside = np.zeros((), dtype=np.int64)
        for size, stride in zip(self.shape, self.strides, strict=True):
            inside = inside[..., None] + stride * np.arange(size)
        return (first[:, :, None] + inside.reshape(-1)).reshape(self.rows, -1)

    def to_json(self) -> dict[str, Any]:
        out: dict[str, Any] = {"rows": self.rows, "start": self.start, "step": self.step}
        out |= {"shape": list(self.shape), "strides": list(self.strides)}
        return out | ({"starts": list(self.starts)} if self.starts else {})

    @classmethod
    def from_json(cls, record: Mapping[str, Any]) -> View:
        """The view that ``to_json`` wrote."""
        return cls(
            record["rows"], record["start"], record["step"], tuple(record["shape"]), tuple(record["strides"]),
            tuple(record.get("starts", ())),
        )  # fmt: skip


def view_of(places: Int[ndarray, "rows ..."]) -> View:
    """The view with these places, by strides where they follow any.

    Args:
        places: Place of every entry, the row first.

    Example:
        >>> view_of(np.arange(6).reshape(2, 3).T)
        View(rows=3, start=0, step=1, shape=(2,), strides=(3,), starts=())
        >>> view_of(np.array([[0, 1, 3]])).starts
        (0, 1, 3)
    """
    first = places.reshape(len(places), -1)[:, 0]
    inside = places[0] - first[0]
    shape, strides = _factored(inside)
    listed = View(len(first), 0, 0, starts=tuple(places.reshape(-1).tolist()))
    if shape is None:
        return listed
    step = int(first[1] - first[0]) if len(first) > 1 else 0
    even = np.array_equal(first, first[0] + step * np.arange(len(first))) and int(first[0]) >= 0
    starts = () if even else tuple(int(f) for f in first)
    found = View(len(first), int(first[0]), step if even else 0, shape, strides, starts)
    return found if np.array_equal(found.places(), places.reshape(len(places), -1)) else listed


def _factored(inside: Int[ndarray, "..."]) -> tuple[tuple[int, ...] | None, tuple[int, ...]]:
    """Axes and strides of the places in a row: its own axes where they do, otherwise runs found in a flat row."""
    if inside.ndim != 1:
        strides = tuple(int(np.take(inside, 1, a).ravel()[0]) if s > 1 else 0 for a, s in enumerate(inside.shape))
        kept = [(s, t) for s, t in zip(inside.shape, strides) if s > 1]
        return tuple(s for s, _ in kept), tuple(t for _, t in kept)
    shape: list[int] = []
    strides = []
    row = inside
    while len(row) > 1:
        stride = int(row[1])
        steps = np.flatnonzero(row != stride * np.arange(len(row)))
        run = int(steps[0]) if len(steps) else len(row)
        if len(row) % run:
            return None, ()
        shape.append(run)
        strides.append(stride)
        row = row[::run]
    return tuple(reversed(shape)), tuple(reversed(strides))
