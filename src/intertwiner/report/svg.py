"""Small vector pictures for the HTML report: bars, bars of irreps, and the chain of layers.

Built as element trees, so every name is escaped by the serialiser and no markup is ever put together from strings.
Colours are classes of the style sheet, which makes the pictures follow the light or dark scheme of the reader.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from xml.etree import ElementTree

from intertwiner.report import words

_ROW = 30
_NAME, _NODE, _BAR, _LENGTH, _FIGURES, _WIDTH = 62, 40, 440, 270, 730, 980
_LETTERS = 44
_ARC = 7


@dataclass(frozen=True)
class Picture:
    """Finished markup of one picture; ``__html__`` tells the template that it is escaped already."""

    markup: str

    def __html__(self) -> str:
        return self.markup


def _picture(root: ElementTree.Element) -> Picture:
    return Picture(ElementTree.tostring(root, encoding="unicode"))


def _root(width: float, height: float, label: str, css: str) -> ElementTree.Element:
    return ElementTree.Element(
        "svg",
        {
            "viewBox": f"0 0 {width:g} {height:g}",
            "width": f"{width:g}",
            "height": f"{height:g}",
            "role": "img",
            "aria-label": _clean(label),
            "class": css,
        },
    )


def _put(
    parent: ElementTree.Element, tag: str, css: str = "", text: str = "", **attributes: Any
) -> ElementTree.Element:
    plain = {k.replace("_", "-"): f"{v:.5g}" if isinstance(v, float) else str(v) for k, v in attributes.items()}
    child = ElementTree.SubElement(parent, tag, {**({"class": css} if css else {}), **plain})
    child.text = _clean(text) or None
    return child


def _clean(text: str) -> str:
    """Characters that no markup may hold become the replacement sign."""
    return "".join(c if c.isprintable() or c in "\n\t" else "\ufffd" for c in text)


def _clip(value: float) -> float:
    return min(1.0, max(0.0, value))


def bar(
    value: float | None,
    *,
    behind: float | None = None,
    null: float | None = None,
    floor: float | None = None,
    full: float = 1.0,
) -> Picture:
    """One bar from 0 to ``full``, a pale one behind it, the null as a tick and the noise floor as a dotted tick."""
    width, height = 140.0, 14.0
    said = f"{words.number(value)}; null {words.number(null)}; noise floor {words.number(floor)}"
    root = _root(width, height, said, "bar")
    _put(root, "rect", "track", x=0, y=3, width=width, height=8, rx=2)
    full = full or 1.0
    if behind is not None:
        _put(root, "rect", "pale", x=0, y=3, width=width * _clip(behind / full), height=8, rx=2)
    if value is not None:
        inset = 0 if behind is None else 2
        length = width * _clip(value / full)
        _put(root, "rect", "fill", x=0, y=3 + inset, width=length, height=8 - 2 * inset, rx=2)
    for mark, css in ((floor, "floor"), (null, "null")):
        if mark is not None:
            at = min(width - 1, max(1, width * _clip(mark / full)))
            _put(root, "line", css, x1=at, x2=at, y1=0, y2=height)
    return _picture(root)


def irrep_bars(irreps: Sequence[Mapping[str, Any]]) -> Picture:
    """One bar per irrep: its share of the variance, and as a tick its share of the dimension.

    The tick is what the bar would reach if the layer used all of its dimensions alike.
    """
    row, left, length, width = 24, 150, 260, 740
    total = sum((i["multiplicity"] or 0) * (i["dimension"] or 1) for i in irreps) or 1
    root = _root(width, row * len(irreps) + 4, "shares of the variance by irrep", "irreps")
    for n, irrep in enumerate(irreps):
        y = row * n + 4
        times = f"{irrep['multiplicity']}·" if irrep["multiplicity"] is not None else ""
        label = _put(
            root, "text", "name", times + shortened(irrep["name"], 18), x=left - 10, y=y + 13, text_anchor="end"
        )
        _put(label, "title", text=irrep["name"])
        _put(root, "rect", "track", x=left, y=y + 2, width=length, height=14, rx=2)
        if irrep["share"] is not None:
            _put(root, "rect", "fill", x=left, y=y + 2, width=length * _clip(irrep["share"]), height=14, rx=2)
        if irrep["multiplicity"] is not None:
            at = left + length * _clip(irrep["multiplicity"] * (irrep["dimension"] or 1) / total)
            tick = _put(root, "line", "even", x1=at, x2=at, y1=y, y2=y + 18)
            _put(tick, "title", text="share of the dimension")
        times = f"{irrep['multiplicity']} × " if irrep["multiplicity"] is not None else ""
        size = f"{times}dimension {irrep['dimension']}" if irrep["dimension"] is not None else ""
        kind = ", ".join(filter(None, [size, irrep["type"] or ""]))
        figures = _put(root, "text", "figure", x=left + length + 12, y=y + 13)
        _put(figures, "tspan", "strong", words.share(irrep["share"]))
        _put(figures, "tspan", "muted", f"   {kind}")
    return _picture(root)


def chain(taps: Sequence[Mapping[str, Any]], anchors: Sequence[str]) -> Picture:
    """The chain of layers from input to output, one row per tap.

    The node shows what the weights say, the bars the R2 of the best linear map (pale) and of the best gauge element
    (full), the tick the null. Taps that share one latent space without being neighbours are joined by an arc.
    """
    height = _ROW * (len(taps) + 2) + 22
    root = _root(_WIDTH, height, f"chain of {len(taps)} layers from input to output", "chain")
    top = 22
    for x, text, anchor in (
        (_NAME, "tap", "start"),
        (_BAR - 16, "dim", "end"),
        (_BAR, "0    variance explained, R²", "start"),
        (_BAR + _LENGTH, "1", "end"),
        (_FIGURES + 40, "in K", "end"),
        (_FIGURES + 95, "linear", "end"),
        (_FIGURES + 150, "null", "end"),
        (_FIGURES + 225, "defect", "end"),
    ):
        _put(root, "text", "head", text, x=x, y=12, text_anchor=anchor)
    middle = [top + _ROW * (n + 0.5) for n in range(len(taps) + 2)]
    _put(root, "line", "rail", x1=_NODE, x2=_NODE, y1=middle[0], y2=middle[-1])
    _arcs(root, taps, middle)
    for y, text in ((middle[0], "input"), (middle[-1], "output")):
        _put(root, "rect", "end", x=_NODE - 5, y=y - 5, width=10, height=10, rx=2)
        _put(root, "text", "muted", text, x=_NAME, y=y + 4)
    for tap, anchor, y in zip(taps, anchors, middle[1:-1]):
        _chain_row(root, tap, anchor, y)
    return _picture(root)


def _chain_row(root: ElementTree.Element, tap: Mapping[str, Any], anchor: str, y: float) -> None:
    status = tap["weights"]["status"] if tap["weights"] else ""
    figures = words.summary(tap)
    link = _put(root, "a", href=f"#{anchor}")
    _put(link, "title", text=f"{tap['name']}: weights {status or 'not measured'}")
    _put(link, "rect", "hit", x=0, y=y - _ROW / 2, width=_WIDTH, height=_ROW)
    _put(link, "circle", "node " + status.replace(" ", "-"), cx=_NODE, cy=y, r=7)
    _put(link, "text", "sign", words.STATUS_SIGN.get(status, ""), x=_NODE, y=y + 3.5, text_anchor="middle")
    _put(link, "text", "name", shortened(tap["name"]), x=_NAME, y=y + 4)
    _put(link, "text", "muted", words.number(tap["dimension"]), x=_BAR - 16, y=y + 4, text_anchor="end")
    linear, gauge, null = figures["linear_r2"], figures["gauge_r2"], figures["null"]
    if linear is None and gauge is None:
        _put(link, "text", "muted", "not measured", x=_BAR, y=y + 4)
        return
    _put(link, "rect", "track", x=_BAR, y=y - 6, width=_LENGTH, height=12, rx=2)
    if linear is not None:
        _put(link, "rect", "pale", x=_BAR, y=y - 6, width=_LENGTH * _clip(linear), height=12, rx=2)
    if gauge is not None:
        _put(link, "rect", "fill", x=_BAR, y=y - 3, width=_LENGTH * _clip(gauge), height=6, rx=1)
    if null is not None:
        at = _BAR + max(1.0, _LENGTH * _clip(null))
        _put(link, "line", "null", x1=at, x2=at, y1=y - 9, y2=y + 9)
    columns = ((40, gauge, "strong"), (95, linear, ""), (150, null, "muted"), (225, figures["defect"], ""))
    for at, value, css in columns:
        _put(link, "text", f"figure {css}".strip(), words.number(value), x=_FIGURES + at, y=y + 4, text_anchor="end")


def _arcs(root: ElementTree.Element, taps: Sequence[Mapping[str, Any]], middle: Sequence[float]) -> None:
    last: dict[str, int] = {}
    for n, tap in enumerate(taps):
        space = tap["space"]
        if space is None:
            continue
        if space in last and n - last[space] > 1:
            a, b = middle[last[space] + 1], middle[n + 1]
            reach = _NODE - min(30, _ARC * (n - last[space]))
            arc = _put(root, "path", "arc", d=f"M{_NODE},{a:g} C{reach},{a:g} {reach},{b:g} {_NODE},{b:g}")
            _put(arc, "title", text=f"one latent space: {space}")
        last[space] = n


def shortened(name: str, letters: int = _LETTERS) -> str:
    """A name cut before its middle: the last modules tell taps apart, the first say where we are.

    >>> shortened("encoder.layers.11.mlp.fc1:out", 18)
    'encode…mlp.fc1:out'
    """
    if len(name) <= letters:
        return name
    head = letters // 3
    return name[:head] + "…" + name[-(letters - 1 - head) :]
