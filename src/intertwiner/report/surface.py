"""The picture of a surface over a plane of parameters: the plane with curves on it, and where the curves lie in space.

Faces are drawn from back to front, seen from a fixed direction; curves are drawn over them. Every axis is scaled to the
same length.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any
from xml.etree import ElementTree

import numpy as np
from numpy import ndarray

from intertwiner.report.svg import Picture, _picture, _put, _root

_WIDTH, _HEIGHT, _PLANE, _TOP = 860, 430, 300, 40
_CENTRE, _SCALE = (600.0, 226.0), 126.0
_TURN, _TILT = math.radians(34), math.radians(24)
_LIGHT = np.array([0.35, -0.45, 0.82])
_KINDS = 4
_DOT = 4.0
"""A curve shorter than this many pixels is drawn as a dot."""


def surface_picture(record: Mapping[str, Any]) -> Picture:
    """The two panels.

    Args:
        record: ``axes``, three names; ``plane``, two names; ``reach``, the largest parameter in absolute value;
            ``points``, rows of rows of three coordinates; ``shade``, likewise numbers from 0 to 1; ``curves``,
            each with ``label``, ``segments`` (pairs of points of the plane) and ``lifted`` (the same in space);
            ``dots``, each with ``label``, ``at`` and ``lifted``, where there are any.

    Cost:
        One polygon per cell of the grid.

    Example:
        >>> flat = [[[0, 0, 0], [0, 1, 0]], [[1, 0, 0], [1, 1, 0]]]
        >>> record = {"axes": ["a", "b", "c"], "plane": ["s", "t"], "reach": 1.0, "points": flat,
        ...           "shade": [[0, 0], [0, 0]], "curves": []}
        >>> surface_picture(record).markup.count("polygon")
        1
    """
    curves = record["curves"]
    names = ", ".join(c["label"] for c in curves) or "no curve"
    root = _root(
        _WIDTH, _HEIGHT, f"a surface over the plane of {' and '.join(record['plane'])}, with {names}", "surface"
    )
    _plane(root, record)
    _space(root, record)
    dots = list(dict.fromkeys(dot["label"] for dot in record.get("dots", ())))
    for n, curve in enumerate(curves):
        y = _TOP + _PLANE + 40 + 18 * (n // 2)
        x = 24 + 150 * (n % 2)
        _put(root, "line", f"curve locus{n % _KINDS}", x1=x, x2=x + 18, y1=y - 4, y2=y - 4)
        _put(root, "text", "head", curve["label"], x=x + 24, y=y)
    for n, label in enumerate(dots, start=len(curves)):
        x, y = 24 + 150 * (n % 2), _TOP + _PLANE + 40 + 18 * (n // 2)
        _put(root, "circle", "mark defect", cx=x + 9, cy=y - 4, r=4)
        _put(root, "text", "head", label, x=x + 24, y=y)
    return _picture(root)


def _plane(root: ElementTree.Element, record: Mapping[str, Any]) -> None:
    """The plane of parameters: pale where the shade is low."""
    shade = np.asarray(record["shade"], dtype=float)
    rows, columns = shade.shape
    size = (_PLANE - 40) / max(rows, columns)
    left, top, side = 40.0, float(_TOP), size * columns
    for i in range(rows):
        for j in range(columns):
            _put(
                root, "rect", "cell", x=left + size * j, y=top + size * (rows - 1 - i), width=size,
                height=size, shape_rendering="crispEdges", fill_opacity=round(0.03 + 0.5 * float(shade[i, j]), 3),
            )  # fmt: skip
    _put(root, "text", "head", record["plane"][0], x=left + side, y=top + size * rows + 18, text_anchor="end")
    _put(root, "text", "head", record["plane"][1], x=left - 10, y=top + 10, text_anchor="end")
    _put(root, "text", "strong", "parameters", x=left, y=top - 14)
    reach = record["reach"]

    def place(point: Sequence[float]) -> tuple[float, float]:
        return left + side * (point[0] / reach + 1) / 2, top + size * rows * (1 - point[1] / reach) / 2

    for n, curve in enumerate(record["curves"]):
        _segments(root, n, [(place(a), place(b)) for a, b in curve["segments"]])
    for dot in record.get("dots", ()):
        _dot(root, dot["label"], *place(dot["at"]))


def _space(root: ElementTree.Element, record: Mapping[str, Any]) -> None:
    """The surface, faces from back to front."""
    points = np.asarray(record["points"], dtype=float)
    low, high = points.reshape(-1, 3).min(axis=0), points.reshape(-1, 3).max(axis=0)
    span = np.where(high > low, high - low, 1.0)

    def scaled(p: Any) -> ndarray:
        return 2 * (np.asarray(p, dtype=float) - low) / span - 1

    ends = _axes(root)
    unit = scaled(points)
    corners = np.stack([unit[:-1, :-1], unit[1:, :-1], unit[1:, 1:], unit[:-1, 1:]], axis=2).reshape(-1, 4, 3)
    normal = np.cross(corners[:, 2] - corners[:, 0], corners[:, 3] - corners[:, 1])
    length = np.linalg.norm(normal, axis=1)
    light = np.abs(normal @ _LIGHT) / np.where(length > 0, length, 1)
    flat, depth = _seen(corners.reshape(-1, 3))
    flat, depth = flat.reshape(-1, 4, 2), depth.reshape(-1, 4).mean(axis=1)
    for k in np.argsort(depth):
        outline = " ".join(f"{x:.1f},{y:.1f}" for x, y in flat[k])
        _put(root, "polygon", "sheet", points=outline, fill_opacity=round(0.35 + 0.55 * float(light[k]), 3))
    for n, curve in enumerate(record["curves"]):
        if curve["lifted"]:
            places, _ = _seen(scaled(curve["lifted"]).reshape(-1, 3))
            if np.ptp(places, axis=0).max() < _DOT:  # the whole curve is sent to one function
                _dot(root, curve["label"], *places.mean(axis=0).tolist())
            _segments(root, n, [(tuple(a), tuple(b)) for a, b in places.reshape(-1, 2, 2)])
    for dot in record.get("dots", ()):
        ((x, y),), _ = _seen(scaled(dot["lifted"]).reshape(1, 3))
        _dot(root, dot["label"], float(x), float(y))
    for k, (name, (x, y)) in enumerate(zip(record["axes"], ends, strict=True)):
        across, down, anchor = ((4, -4, "start"), (-2, 14, "end"), (0, -6, "middle"))[k]
        _put(root, "text", "head", name, x=x + across, y=y + down, text_anchor=anchor)
    _put(root, "text", "strong", "functions", x=_CENTRE[0] - 230, y=_TOP - 14)


def _axes(root: ElementTree.Element) -> list[tuple[float, float]]:
    """Three edges of the box that are not hidden, and where they end: the upright one is the edge on the left."""
    starts = np.array([[-1.0, -1.0, -1.0], [-1.0, -1.0, -1.0], [-1.0, 1.0, -1.0]])
    ends = starts.copy()
    ends[np.eye(3, dtype=bool)] = 1.15, 1.15, 1.1
    (first, _), (last, _) = _seen(starts), _seen(ends)
    for (a, b), (c, d) in zip(first.tolist(), last.tolist(), strict=True):
        _put(root, "line", "axis", x1=a, y1=b, x2=c, y2=d)
    return [(x, y) for x, y in last.tolist()]


def _seen(points: ndarray) -> tuple[ndarray, ndarray]:
    """Where points of the unit box stand on the page, and how near they are."""
    x, y, z = points.T
    across = math.cos(_TURN) * x - math.sin(_TURN) * y
    back = math.sin(_TURN) * x + math.cos(_TURN) * y
    up = math.cos(_TILT) * z + math.sin(_TILT) * back
    near = math.sin(_TILT) * z - math.cos(_TILT) * back
    return np.column_stack([_CENTRE[0] + _SCALE * across, _CENTRE[1] - _SCALE * up]), near


def _dot(root: ElementTree.Element, label: str, x: float, y: float) -> None:
    mark = _put(root, "circle", "mark defect", cx=x, cy=y, r=4)
    _put(mark, "title", text=label)


def _segments(root: ElementTree.Element, n: int, segments: Sequence[Any]) -> None:
    if segments:
        path = " ".join(f"M{a[0]:.1f},{a[1]:.1f} L{b[0]:.1f},{b[1]:.1f}" for a, b in segments)
        _put(root, "path", f"curve locus{n % _KINDS}", d=path)
