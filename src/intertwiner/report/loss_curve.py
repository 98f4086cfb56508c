"""The picture of a training: the loss on held-out samples at the start and after every epoch, on a logarithmic axis."""

from __future__ import annotations

import math
from collections.abc import Sequence

from intertwiner.report.svg import Picture, _picture, _put, _root
from intertwiner.report.words import number

_WIDTH, _HEIGHT, _LEFT, _RIGHT, _TOP, _BOTTOM = 520, 170, 70, 20, 30, 34
_LABELS = 10
_ROOM = 0.12
"""Above and below the curve, as a share of its height."""


def loss_curve(losses: Sequence[float | None]) -> Picture | None:
    """Loss against epochs, the lowest marked; None for fewer than two finite positive losses.

    Args:
        losses: At the start, then after every epoch.

    Example:
        >>> loss_curve([0.5]) is None, loss_curve([0.5, 0.1, 0.2]) is None
        (True, False)
    """
    points = [(n, v) for n, v in enumerate(losses) if v is not None and math.isfinite(v) and v > 0]
    if len(points) < 2:
        return None
    last = points[-1][0]
    logs = [math.log10(v) for _, v in points]
    room = _ROOM * (max(logs) - min(logs)) or 0.1
    low, high = min(logs) - room, max(logs) + room

    def x(epoch: float) -> float:
        return _LEFT + (_WIDTH - _LEFT - _RIGHT) * epoch / last

    def y(value: float) -> float:
        return _TOP + (_HEIGHT - _TOP - _BOTTOM) * (high - math.log10(value)) / (high - low)

    best = min(points, key=lambda p: p[1])
    said = (
        f"loss on held-out samples over {last} epochs: from {number(points[0][1])} to {number(best[1])} at the lowest"
    )
    root = _root(_WIDTH, _HEIGHT, said, "losses")
    _put(root, "text", "head", "loss on held-out samples", x=_LEFT - 52, y=14)
    _put(root, "text", "head", "epochs", x=_WIDTH - _RIGHT, y=_HEIGHT - 2, text_anchor="end")
    for value in dict.fromkeys((max(v for _, v in points), best[1])):
        _put(root, "line", "grid", x1=_LEFT, x2=_WIDTH - _RIGHT, y1=y(value), y2=y(value))
        _put(root, "text", "head", number(value), x=_LEFT - 8, y=y(value) + 4, text_anchor="end")
    step = math.ceil((last + 1) / _LABELS)
    for epoch in range(0, last + 1, step):
        _put(root, "text", "head", str(epoch), x=x(epoch), y=_HEIGHT - _BOTTOM + 17, text_anchor="middle")
    _put(root, "polyline", "line", points=" ".join(f"{x(n):.1f},{y(v):.1f}" for n, v in points))
    for n, value in points:
        kind = "mark chosen" if n == best[0] else "mark"
        dot = _put(root, "circle", kind, cx=x(n), cy=y(value), r=5 if n == best[0] else 3.5)
        _put(dot, "title", text=f"epoch {n}: {number(value)}" if n else f"at the start: {number(value)}")
    return _picture(root)
