"""Two pictures side by side: the same sources, one column for each coordinate that either of them knows.

Two networks are followed over shared source names. The second one may know coordinates beyond those of the first
(neurons that the first does not have); they stand at the end of their source, so shorter blocks are padded by zeros.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy import ndarray

from intertwiner.numerics.tolerance import ROUNDING
from intertwiner.transport.picture import ONE, Picture, dense
from intertwiner.transport.solve import spread


@dataclass(frozen=True, eq=False)
class Bounds:
    """How large coordinates may be, one by one and all together.

    Args:
        each: Bound of every coordinate.
        all: Bound of their Euclidean norm.
    """

    each: ndarray
    all: float

    def of(self, rows: ndarray) -> ndarray:
        """Bound of every row times the coordinates: the better one of both. 0 * inf counts as 0."""
        if not self.all and not self.each.any():
            return np.zeros(len(rows))
        size = np.linalg.norm(rows, axis=1)
        with np.errstate(invalid="ignore"):
            together = np.where(size > 0, size * self.all, 0.0)
        return np.minimum(spread(np.abs(rows), self.each), together)


def spectral(rows: ndarray) -> float:
    """Upper bound of the spectral norm from the trace of the eighth power of the Gram matrix: at most ``n^(1/16)`` off.

    Cost:
        Three products of matrices, a tenth of what eigenvalues take.

    >>> 4.0 <= spectral(np.diag([3.0, -4.0])) < 4.1
    True
    """
    cheap = np.sqrt(np.abs(rows).sum(0).max(initial=0.0) * np.abs(rows).sum(1).max(initial=0.0))
    size = float(np.linalg.norm(rows))
    if not np.isfinite(size) or size == 0:
        return size
    rows = rows / size
    power = rows @ rows.T if len(rows) <= rows.shape[1] else rows.T @ rows
    for _ in range(2):
        power = power @ power
    return min(float(cheap), size, size * float(np.linalg.norm(power)) ** 0.125) * (1 + ROUNDING)


@dataclass(frozen=True, eq=False)
class Side:
    """The rows of two networks over common columns; the last column is the constant.

    Args:
        first: Rows of the first network.
        second: Rows of the second network.
        magnitude: Of the coordinates over the input box.
        first_error: How far the coordinates of the first network may be from those of its picture.
        second_error: The same for the second network.
    """

    first: ndarray
    second: ndarray
    magnitude: Bounds
    first_error: Bounds
    second_error: Bounds

    def gap(self, second: ndarray, first: ndarray) -> ndarray:
        """Bound of ``|v_second - v_first|`` per row over the box, for rows given over the columns."""
        return self.magnitude.of(second - first) + self.second_error.of(second) + self.first_error.of(first)


def side_by_side(first: Picture, second: Picture) -> Side:
    """Common columns of two pictures.

    Cost:
        One dense copy of both.
    """
    names = [n for n in dict.fromkeys((*first.names, *second.names)) if n != ONE] + [ONE]
    blocks: list[list[ndarray]] = [[], []]
    widths = []
    for name in names:
        known = [p.sources[name].dimension for p in (first, second) if name in p.blocks]
        widths.append(max(known, default=1))
        for k, p in enumerate((first, second)):
            blocks[k].append(_padded(dense(p.blocks[name]) if name in p.blocks else None, p.rows, widths[-1]))
    left, right = (np.concatenate(b, axis=1) for b in blocks)
    errors = [_bounds(p, names, widths)[1] for p in (first, second)]
    return Side(left, right, _common(first, second, names, widths), errors[0], errors[1])


def _common(first: Picture, second: Picture, names: Sequence[str], widths: Sequence[int]) -> Bounds:
    """Both networks bound the coordinates that they share: the better bound holds."""
    each, total = [], 0.0
    for name, width in zip(names, widths, strict=True):
        known = [p.sources[name] for p in (first, second) if name in p.blocks]
        bounds = [np.pad(s.magnitude, (0, width - s.dimension), constant_values=np.inf) for s in known]
        each.append(np.min([np.full(width, 1.0 if name == ONE else np.inf), *bounds], axis=0))
        total += min([float(np.linalg.norm(each[-1])), *(s.length for s in known if s.dimension == width)]) ** 2
    return Bounds(np.concatenate(each), float(np.sqrt(total)))


def bounds_of(picture: Picture) -> tuple[Bounds, Bounds]:
    """Magnitude and error of the coordinates of one picture, in the order of its columns."""
    return _bounds(picture, picture.names, [picture.sources[name].dimension for name in picture.names])


def _bounds(picture: Picture, names: Sequence[str], widths: Sequence[int]) -> tuple[Bounds, Bounds]:
    out = []
    for each, together in (("magnitude", "length"), ("error", "slack")):
        parts, total = [np.zeros(0)], 0.0
        for name, width in zip(names, widths, strict=True):
            if name not in picture.blocks:
                parts.append(np.full(width, float(name == ONE and each == "magnitude")))
                total += float(name == ONE and each == "magnitude")
                continue
            source = picture.sources[name]
            bound = getattr(source, each)
            parts.append(np.pad(bound, (0, width - source.dimension)))
            total += min(float(np.linalg.norm(bound)), getattr(source, together)) ** 2
        out.append(Bounds(np.concatenate(parts), float(np.sqrt(total))))
    return out[0], out[1]


def _padded(block: ndarray | None, rows: int, width: int) -> ndarray:
    if block is None:
        return np.zeros((rows, width))
    return block if block.shape[1] == width else np.pad(block, ((0, 0), (0, width - block.shape[1])))
