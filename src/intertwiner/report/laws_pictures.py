"""The pictures of conservation laws: where the parameters go, how brackets fill the rest, and how far laws drift."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any
from xml.etree import ElementTree

from intertwiner.report.svg import Picture, _picture, _put, _root, shortened
from intertwiner.report.words import number

_WIDTH, _LEFT, _RIGHT = 760, 70, 24
_LETTERS = 46


def shares(parameters: int, count: Mapping[str, Any]) -> Picture | None:
    """One bar of all parameters: laws of the structure, further laws, what is open, and the directions that move.

    Example:
        >>> shares(12, {"known": 6, "least": 6, "most": 6}) is None
        False
    """
    if parameters < 1:
        return None
    parts = [
        ("known", count["known"], "laws by structure"),
        ("further", count["least"] - count["known"], "further laws"),
        ("open", count["most"] - count["least"], "undecided"),
        ("moves", parameters - count["most"], "directions that training moves in"),
    ]
    said = ", ".join(f"{n} {text}" for _, n, text in parts if n)
    root = _root(_WIDTH, 66, f"of {parameters} parameters: {said}", "shares")
    length, x = _WIDTH - 2.0, 1.0
    for css, n, text in parts:
        if n <= 0:
            continue
        width = length * n / parameters
        block = _put(root, "rect", css, x=x, y=6, width=width, height=26)
        _put(block, "title", text=f"{n} {text}")
        x += width
    x = 1.0
    for css, n, text in parts:
        if n > 0:
            _put(root, "rect", css, x=x, y=46, width=10, height=10)
            label = f"{number(n)} {text}"
            _put(root, "text", "head", label, x=x + 15, y=55)
            x += 15 + 6.6 * len(label) + 18
    return _picture(root)


def growth(parameters: int, count: Mapping[str, Any]) -> Picture | None:
    """The rank of the brackets against their depth, one line per prime, below the line that it cannot exceed.

    None where no brackets were needed.
    """
    ranks = [row for row in count["ranks"] or () if row]
    if max((len(row) for row in ranks), default=0) < 2:
        return None
    height, top, bottom = 190, 24, 40
    limit = parameters - count["least"]
    depth = max(len(row) for row in ranks) - 1
    high = max(limit, *(max(row) for row in ranks), 1)
    step = (_WIDTH - _LEFT - _RIGHT - 120) / depth

    def y(rank: float) -> float:
        return top + (height - top - bottom) * (1 - rank / high)

    said = f"rank of the brackets by depth: {', '.join(map(str, ranks[0]))}; it cannot exceed {limit}"
    root = _root(_WIDTH, height, said, "growth")
    _put(root, "text", "head", "rank of the brackets", x=4, y=12)
    _put(root, "text", "head", "brackets nested", x=_WIDTH - _RIGHT, y=height - 4, text_anchor="end")
    _put(root, "line", "level", x1=_LEFT, x2=_WIDTH - _RIGHT, y1=y(limit), y2=y(limit))
    _put(root, "text", "head", f"{number(limit)}", x=_LEFT - 8, y=y(limit) + 4, text_anchor="end")
    _put(root, "text", "head", "parameters less laws", x=_WIDTH - _RIGHT, y=y(limit) - 6, text_anchor="end")
    _put(root, "line", "grid", x1=_LEFT, x2=_WIDTH - _RIGHT, y1=y(0), y2=y(0))
    for n in range(depth + 1):
        _put(root, "text", "head", str(n), x=_LEFT + 12 + step * n, y=y(0) + 17, text_anchor="middle")
    for row, prime in zip(ranks, count["primes"] or [None] * len(ranks)):
        at = [(_LEFT + 12 + step * n, y(rank)) for n, rank in enumerate(row)]
        _put(root, "polyline", "line", points=" ".join(f"{a:.1f},{b:.1f}" for a, b in at))
        for (a, b), rank in zip(at, row):
            dot = _put(root, "circle", "mark chosen" if rank == limit else "mark", cx=a, cy=b, r=4)
            _put(dot, "title", text=f"rank {rank}" + (f" modulo {prime}" if prime else ""))
    return _picture(root)


def values_strip(values: Sequence[float | None], low: float, high: float) -> Picture:
    """Every law of a family as a tick on one axis that all families share, zero marked."""
    width, height = 260.0, 22.0
    known = [v for v in values if v is not None and math.isfinite(v)]
    root = _root(width, height, f"{len(known)} values from {number(low)} to {number(high)}", "strip")
    span = (high - low) or 1.0

    def x(value: float) -> float:
        return 4 + (width - 8) * (value - low) / span

    _put(root, "line", "grid", x1=0, x2=width, y1=height / 2, y2=height / 2)
    if low <= 0 <= high:
        _put(root, "line", "zero", x1=x(0), x2=x(0), y1=0, y2=height)
    for value in known:
        tick = _put(root, "line", "tick", x1=x(value), x2=x(value), y1=4, y2=height - 4)
        _put(tick, "title", text=number(float(value)))
    return _picture(root)


def drift_curves(history: Mapping[str, Any] | None, floor: float | None) -> Picture | None:
    """Largest drift of every family against steps on a logarithmic axis, predicted dotted; the step size below."""
    history = history or {}
    steps: list[int] = history.get("steps") or []
    families: list[dict[str, Any]] = history.get("families") or []
    drawn = [v for f in families for key in ("measured", "predicted") for v in f[key] or () if _drawable(v)]
    if len(steps) < 2 or not drawn:
        return None
    height, top, bottom, rates = 376, 26, 136, 46
    marks = [*drawn, *([floor] if _drawable(floor) else [])]
    low, high = math.floor(math.log10(min(marks))), math.ceil(math.log10(max(marks)))
    high += high == low

    def x(step: float) -> float:
        return _LEFT + (_WIDTH - _LEFT - _RIGHT) * (step - steps[0]) / ((steps[-1] - steps[0]) or 1)

    def y(value: float) -> float:
        return top + (height - top - bottom) * (high - math.log10(value)) / (high - low)

    root = _root(_WIDTH, height, f"drift of {len(families)} families of laws over {steps[-1]} steps", "drift")
    _put(root, "text", "head", "largest drift, over the size of its terms", x=4, y=12)
    every = max(1, math.ceil((high - low) / 6))
    for power in range(low, high + 1, every):
        _put(root, "line", "grid", x1=_LEFT, x2=_WIDTH - _RIGHT, y1=y(10.0**power), y2=y(10.0**power))
        _put(root, "text", "head", f"1e{power}", x=_LEFT - 8, y=y(10.0**power) + 4, text_anchor="end")
    if floor is not None and _drawable(floor):
        _put(root, "line", "floor", x1=_LEFT, x2=_WIDTH - _RIGHT, y1=y(floor), y2=y(floor))
        _put(root, "text", "head", "rounding", x=_WIDTH - _RIGHT, y=y(floor) - 5, text_anchor="end")
    for n, family in enumerate(families):
        for key in ("measured", "predicted"):
            css = f"series s{n % 6} {key}"
            for run in _runs(steps, family[key] or ()):
                line = _put(root, "polyline", css, points=" ".join(f"{x(s):.1f},{y(v):.1f}" for s, v in run))
                _put(line, "title", text=f"{shortened(family['formula'], _LETTERS)}, {key}")
    _rates(root, steps, history.get("rates") or [], x, (height - bottom + 46, rates))
    for n in range(5):
        step = steps[0] + (steps[-1] - steps[0]) * n / 4
        _put(root, "text", "head", f"{step:,.0f}", x=x(step), y=height - 24, text_anchor="middle")
    _put(root, "text", "head", "step", x=_WIDTH - _RIGHT, y=height - 4, text_anchor="end")
    return _picture(root)


def _rates(root: ElementTree.Element, steps: list[int], rates: list[Any], x: Any, place: tuple[float, float]) -> None:
    """The step size in a strip of its own, from zero."""
    top, size = place
    known = [(s, r) for s, r in zip(steps, rates) if r is not None and math.isfinite(r)]
    _put(root, "text", "head", "step size", x=4, y=top - 14)
    _put(root, "line", "grid", x1=_LEFT, x2=_WIDTH - _RIGHT, y1=top + size, y2=top + size)
    if not known:
        _put(root, "text", "muted", "not known", x=_LEFT + 6, y=top + size - 6)
        return
    most = max(r for _, r in known) or 1.0
    points = " ".join(f"{x(s):.1f},{top + size * (1 - r / most):.1f}" for s, r in known)
    _put(root, "polyline", "rate", points=points)
    _put(root, "text", "head", number(float(most)), x=_LEFT - 8, y=top + 4, text_anchor="end")
    _put(root, "text", "head", "0", x=_LEFT - 8, y=top + size + 4, text_anchor="end")


def _drawable(value: Any) -> bool:
    return value is not None and math.isfinite(value) and value > 0


def _runs(steps: Sequence[int], values: Sequence[float | None]) -> list[list[tuple[int, float]]]:
    """Stretches without a gap."""
    runs: list[list[tuple[int, float]]] = [[]]
    for step, value in zip(steps, values):
        if value is not None and _drawable(value):
            runs[-1].append((step, value))
        elif runs[-1]:
            runs.append([])
    return [run for run in runs if len(run) > 1]
