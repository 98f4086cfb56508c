"""The picture of a dimension against a width: one curve per family, with what is expected and what the space allows."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from intertwiner.report.svg import Picture, _picture, _put, _root

_WIDTH, _HEIGHT, _LEFT, _RIGHT, _TOP, _BOTTOM = 720, 340, 56, 150, 34, 44
_STEPS = (1, 2, 5)
_APART = 15
"""Least distance of two labels, in pixels."""


def dimension_curve(families: Mapping[str, Sequence[Mapping[str, Any]]], *, across: str = "width") -> Picture | None:
    """Dimension against width, a hollow mark where it is not proved, a red one where it is below the expected one.

    Args:
        families: By name, rows with ``width``, ``dimension``, ``expected``, ``ambient`` and ``proved``.
        across: What the horizontal axis shows.

    Returns:
        The picture; None without rows.

    Example:
        >>> row = {"width": 1, "dimension": 3, "expected": 3, "ambient": 6, "proved": True}
        >>> dimension_curve({"3-w-1, t^2": [row]}).markup.count("<circle"), dimension_curve({})
        (1, None)
    """
    rows = [row for family in families.values() for row in family]
    if not rows:
        return None
    first, last = min(r["width"] for r in rows), max(r["width"] for r in rows)
    top = max(max(r["expected"], r["ambient"]) for r in rows)

    def x(width: float) -> float:
        return _LEFT + (_WIDTH - _LEFT - _RIGHT) * (width - first + 0.5) / (last - first + 1)

    def y(value: float) -> float:
        return _HEIGHT - _BOTTOM - (_HEIGHT - _TOP - _BOTTOM) * value / (1.06 * top)

    said = f"dimension against {across} for {', '.join(families)}"
    root = _root(_WIDTH, _HEIGHT, said, "dimensions")
    _put(root, "text", "head", "dimension", x=_LEFT - 48, y=16)
    _put(root, "text", "head", across, x=_WIDTH - _RIGHT, y=_HEIGHT - 6, text_anchor="end")
    for value in _round(top):
        _put(root, "line", "grid", x1=_LEFT, x2=_WIDTH - _RIGHT, y1=y(value), y2=y(value))
        _put(root, "text", "head", f"{value:,}", x=_LEFT - 8, y=y(value) + 4, text_anchor="end")
    for width in range(first, last + 1, math.ceil((last - first + 1) / 20)):
        _put(root, "text", "head", str(width), x=x(width), y=_HEIGHT - _BOTTOM + 18, text_anchor="middle")
    labels: list[tuple[float, str, str]] = []
    for name, family in families.items():
        labels += [(y(family[-1]["dimension"]), "strong", name)] if family else []
        _family(root, family, x, y)
        labels += [(y(value), "head", f"space: {value:,}") for value in sorted({r["ambient"] for r in family})]
    if any(r["dimension"] < r["expected"] for r in rows):
        _put(root, "circle", "mark defect", cx=_LEFT + 6, cy=_HEIGHT - 10, r=4)
        _put(root, "text", "head", "below the expected dimension (dashed)", x=_LEFT + 16, y=_HEIGHT - 6)
    for at, css, text in _spread(labels):
        _put(root, "text", css, text, x=_WIDTH - _RIGHT + 10, y=at + 4)
    return _picture(root)


def _family(root: Any, family: Sequence[Mapping[str, Any]], x: Any, y: Any) -> None:
    for value in sorted({r["ambient"] for r in family}):
        _put(root, "line", "level", x1=_LEFT, x2=_WIDTH - _RIGHT, y1=y(value), y2=y(value))
    for css, key in (("expected", "expected"), ("line", "dimension")):
        if len(family) > 1:
            _put(root, "polyline", css, points=" ".join(f"{x(r['width']):.1f},{y(r[key]):.1f}" for r in family))
    for r in family:
        kind = "mark defect" if r["dimension"] < r["expected"] else "mark" if r["proved"] else "mark open"
        dot = _put(root, "circle", kind, cx=x(r["width"]), cy=y(r["dimension"]), r=4)
        defect = r["expected"] - r["dimension"]
        word = "proved" if r["proved"] else "probable"
        _put(
            dot,
            "title",
            text=f"width {r['width']}: {r['dimension']:,}, {word}" + (f", defect {defect:,}" if defect else ""),
        )


def _spread(labels: Sequence[tuple[float, str, str]]) -> list[tuple[float, str, str]]:
    """Labels from top to bottom, moved down where they would cover each other."""
    out: list[tuple[float, str, str]] = []
    for at, css, text in sorted(labels):
        out.append((max(at, out[-1][0] + _APART) if out else at, css, text))
    return out


def _round(top: int) -> list[int]:
    """About five round numbers from 0 to the top.

    >>> _round(33)
    [0, 10, 20, 30]
    """
    raw = max(1.0, top / 5)
    scale = 10 ** math.floor(math.log10(raw))
    step = int(next((s * scale for s in _STEPS if s * scale >= raw), 10 * scale))
    return list(range(0, top + 1, step))
