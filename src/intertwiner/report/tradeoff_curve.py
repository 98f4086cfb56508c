"""The picture of a trade: what a twin keeps against what it costs, with the original and its group average as marks.

Cost stands on a logarithmic axis in multiples of the original. Averaging over a large group lies far to the right of
everything else; beyond ``FAR`` it is set at the edge with an arrow, and its cost written beside it.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any
from xml.etree import ElementTree

from intertwiner.report.rewrite_rows import relative_cost, times, widths
from intertwiner.report.svg import Picture, _picture, _put, _root, shortened
from intertwiner.report.words import number, share

FAR = 64.0
"""Averaging more often than this times the dearest twin is drawn at the edge."""

_WIDTH, _HEIGHT, _LEFT, _RIGHT, _TOP, _BOTTOM = 980, 300, 70, 40, 34, 46
_LETTER = 7.2
_LETTERS = 26
_OFFSETS = tuple((across, down) for down in (-9, 18, -26, 34, -43, -60, -77, -94, 51) for across in (10, -10))
_LEADER = 30
"""A label further above or below its mark than this is joined to it by a line."""

_STEPS = (1.0, 2.0, 2.5, 5.0, 10.0)


@dataclass(frozen=True)
class Mark:
    """One network on the picture.

    Args:
        cost: Multiply-adds relative to the original.
        value: What is on the other axis.
        label: What stands beside it.
        kind: "twin", "chosen", "original" or "average".
        title: What it says when pointed at.
    """

    cost: float
    value: float
    label: str
    kind: str
    title: str = ""


@dataclass(frozen=True)
class Axes:
    """Where costs and values lie: from data to the page."""

    low: float
    high: float
    bottom: float
    top: float

    def x(self, cost: float) -> float:
        share = math.log(cost / self.low) / math.log(self.high / self.low)
        return _LEFT + (_WIDTH - _LEFT - _RIGHT) * min(1.0, share)

    def y(self, value: float) -> float:
        share = (value - self.bottom) / (self.top - self.bottom)
        return _HEIGHT - _BOTTOM - (_HEIGHT - _TOP - _BOTTOM) * share


@dataclass
class _Room:
    """Rectangles that are taken: a label goes where none of them is."""

    boxes: list[tuple[float, float, float, float]] = field(default_factory=list)

    def take(self, x: float, y: float, width: float, height: float) -> None:
        self.boxes.append((x, y, x + width, y + height))

    def is_free(self, x: float, y: float, width: float, height: float) -> bool:
        inside = x >= _LEFT and x + width <= _WIDTH and y >= 14 and y + height <= _HEIGHT - _BOTTOM + 8
        return inside and not any(
            x < right and left < x + width and y < low and high < y + height for left, high, right, low in self.boxes
        )


def distance_curve(points: Sequence[Mapping[str, Any]], chosen: float) -> Picture | None:
    """Distance from the group average against cost; None where no twin has both.

    Args:
        points: Twins as in the ``curve`` of a rewrite record, by budget.
        chosen: Budget of the twin that the page is about.

    Example:
        >>> distance_curve([], 1.0) is None
        True
    """
    marks = _marks(points, chosen, "distance_average", {"original": "original_distance_average", "average": ""})
    if not marks:
        return None
    top = 1.08 * max(m.value for m in marks) or 1.0
    return _drawn(marks, (0.0, top), "distance from the group average", number)


def accuracy_curve(points: Sequence[Mapping[str, Any]], chosen: float) -> Picture | None:
    """Accuracy against cost; None where there were no labels."""
    marks = _marks(points, chosen, "accuracy", {})
    if not marks:
        return None
    values = [m.value for m in marks]
    room = max(0.15 * (max(values) - min(values)), 0.005)
    return _drawn(marks, (max(0.0, min(values) - room), min(1.0, max(values) + room)), "accuracy", share)


def _marks(points: Sequence[Mapping[str, Any]], chosen: float, key: str, other: Mapping[str, str]) -> list[Mark]:
    """The twins, then the original and the average; twins of one cost and value are one mark."""
    found: dict[tuple[float, float], Mark] = {}
    for point in points:
        one = point["certificate"]
        cost, value = relative_cost(one), _value(one, key, "twin", other)
        if cost is None or value is None or cost <= 0:
            continue
        kind = "chosen" if point["budget"] == chosen else "twin"
        before = found.get((cost, value))
        label = widths(one["widths"])
        budgets = f"{before.title}, {point['budget']:g}" if before else f"{label}, budget {point['budget']:g}"
        kind = "chosen" if before and before.kind == "chosen" else kind
        found[cost, value] = Mark(cost, value, label, kind, budgets)
    if not found:
        return []
    one = points[0]["certificate"]
    beside = []
    for who, name in (("original", "original"), ("average", "group average")):
        cost = relative_cost(one, "averaging" if who == "average" else who)
        value = _value(one, key, who, other)
        if cost is not None and value is not None:
            beside.append(Mark(cost, value, name, who, f"{name}: {times(cost)}"))
    return [*sorted(found.values(), key=lambda m: (m.cost, m.value)), *beside]


def _value(certificate: Mapping[str, Any], key: str, who: str, other: Mapping[str, str]) -> float | None:
    """A distance stands under a name of its own per network, and that of the average is 0; accuracies lie together."""
    if key == "accuracy":
        return certificate["accuracy"].get(who)
    if who == "twin":
        return certificate[key]
    return certificate[other[who]] if other[who] else 0.0


def _drawn(
    marks: Sequence[Mark], span: tuple[float, float], what: str, words: Callable[[float | None], str]
) -> Picture:
    near = [m.cost for m in marks if m.kind != "average"]
    reach = max(m.cost for m in marks if m.cost <= FAR * max(near))
    axes = Axes(min(near) / 1.3, reach * 1.3, *span)
    twins = [m for m in marks if m.kind in ("twin", "chosen")]
    ends = f"from {words(twins[0].value)} at {times(twins[0].cost)} to {words(twins[-1].value)} at "
    said = f"{what} against multiply-adds, {len(twins)} twins: {ends}{times(twins[-1].cost)} the original"
    root = _root(_WIDTH, _HEIGHT, said, "tradeoff")
    _put(root, "text", "head", what, x=_LEFT - 52, y=14)
    _put(root, "text", "head", "multiply-adds, times the original", x=_WIDTH - _RIGHT, y=_HEIGHT - 6, text_anchor="end")
    _grid(root, axes, words if words is share else lambda value: f"{value:g}")
    for mark in marks:
        if mark.kind in ("original", "average"):
            y = axes.y(mark.value)
            _put(root, "line", "level", x1=_LEFT, x2=_WIDTH - _RIGHT, y1=y, y2=y)
    if len(twins) > 1:
        line = " ".join(f"{axes.x(m.cost):.1f},{axes.y(m.value):.1f}" for m in twins)
        _put(root, "polyline", "line", points=line)
    room = _Room()
    for mark in marks:
        room.take(axes.x(mark.cost) - 8, axes.y(mark.value) - 8, 16, 16)
    # The marks of reference lie below, so that a twin at the same place is seen; labels of twins choose first.
    for mark in reversed(marks):
        _shape(root, axes, mark)
    for mark in sorted(marks, key=lambda m: m.kind != "chosen"):
        _label(root, axes, mark, room)
    return _picture(root)


def _grid(root: ElementTree.Element, axes: Axes, words: Callable[[float], str]) -> None:
    for value in _even(axes.bottom, axes.top):
        y = axes.y(value)
        _put(root, "line", "grid", x1=_LEFT, x2=_WIDTH - _RIGHT, y1=y, y2=y)
        _put(root, "text", "head", words(value), x=_LEFT - 8, y=y + 4, text_anchor="end")
    for cost in _doublings(axes.low, axes.high):
        x = axes.x(cost)
        _put(root, "line", "grid", x1=x, x2=x, y1=_TOP, y2=_HEIGHT - _BOTTOM)
        _put(root, "text", "head", _factor(cost), x=x, y=_HEIGHT - _BOTTOM + 22, text_anchor="middle")


def _factor(cost: float) -> str:
    return times(cost) if cost >= 1 else f"1/{1 / cost:.0f} x"


def _even(low: float, high: float) -> list[float]:
    """About five round numbers between two.

    >>> _even(0.0, 0.28)
    [0.0, 0.1, 0.2]
    """
    raw = (high - low) / 4
    scale = 10 ** math.floor(math.log10(raw))
    step = next(scale * s for s in _STEPS if scale * s >= raw * 0.999)
    first, last = math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9)
    return [round(n * step, 12) for n in range(first, last + 1)]


def _doublings(low: float, high: float) -> list[float]:
    """Powers of two between two costs, or of a power of two where that were more than ten.

    >>> _doublings(0.2, 2.5)
    [0.25, 0.5, 1.0, 2.0]
    """
    first, last = math.ceil(math.log2(low)), math.floor(math.log2(high))
    step = max(1, math.ceil((last - first + 1) / 10))
    return [2.0**n for n in range(first, last + 1) if n % step == 0]


def _shape(root: ElementTree.Element, axes: Axes, mark: Mark) -> None:
    x, y = axes.x(mark.cost), axes.y(mark.value)
    if mark.kind in ("original", "average"):
        shape = _put(root, "rect", f"mark {mark.kind}", x=x - 8, y=y - 8, width=16, height=16)
    else:
        shape = _put(root, "circle", f"mark {mark.kind}", cx=x, cy=y, r=6.5 if mark.kind == "chosen" else 5)
    _put(shape, "title", text=mark.title)


def _label(root: ElementTree.Element, axes: Axes, mark: Mark, room: _Room) -> None:
    """Beside the mark where nothing stands yet; over whatever stands there where everything is taken."""
    x, y = axes.x(mark.cost), axes.y(mark.value)
    far = mark.cost > axes.high
    text = f"{mark.label}, {times(mark.cost)} →" if far else shortened(mark.label, _LETTERS)
    length = _LETTER * len(text)
    start = 10 if x + length + 10 < _WIDTH else -10
    across, down = next((p for p in _OFFSETS if room.is_free(*_corner(x, y, p, length), length, 14)), (start, -9))
    room.take(*_corner(x, y, (across, down), length), length, 14)
    if abs(down) > _LEADER:
        _put(root, "line", "leader", x1=x, y1=y, x2=x + across, y2=y + down + (3 if down < 0 else -11))
    css = {"chosen": "strong", "twin": "name"}.get(mark.kind, "muted")
    anchor = "start" if across > 0 else "end"
    label = _put(root, "text", css, text, x=x + across, y=y + down, text_anchor=anchor)
    _put(label, "title", text=mark.title)


def _corner(x: float, y: float, offset: tuple[int, int], length: float) -> tuple[float, float]:
    """Upper left corner of a label that stands at an offset from its mark."""
    across, down = offset
    return (x + across if across > 0 else x + across - length), y + down - 11
