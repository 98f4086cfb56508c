"""The audit as one HTML file: no script, no network, pictures and style inside.

Every text goes through jinja2's escaping or an element tree; a content security policy in the file forbids scripts
and addresses outside it, should both ever fail.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from functools import cache
from typing import Any

import numpy as np

from intertwiner.report import pixels, svg, words
from intertwiner.report.schema import checked

_OPEN_UP_TO = 12
"""Reports with more taps show the details of each collapsed."""

_FILTERS_SHOWN = 512
_SIDE = 52
"""Edge of a filter on the page, in CSS pixels."""


def to_html(record: Mapping[str, Any]) -> str:
    """One self-contained HTML page.

    Args:
        record: An audit record; see docs/audit-schema.md.

    Raises:
        InvalidRecord: The record does not follow the schema.

    Cost:
        Linear in the record; about 1 ms per tap.
    """
    whole = checked(record)
    views = [_tap_view(tap, n) for n, tap in enumerate(whole["taps"])]
    page = _environment().get_template("report.html.j2")
    return page.render(
        audit=whole,
        taps=views,
        many=len(views) > _OPEN_UP_TO,
        chain=svg.chain(whole["taps"], [v["anchor"] for v in views]) if views else None,
        breaks=_breaks(whole, views),
        measured=any(tap[part] for tap in whole["taps"] for part in ("weights", "data", "orbits")),
        elements=_elements(whole["defect"]),
        longest_defect=_longest(whole["defect"]),
    )


@cache
def _environment() -> Any:
    """Compiled once; jinja2 is imported here, so that importing the package does not pay for it."""
    from jinja2 import Environment, PackageLoader, StrictUndefined

    environment = Environment(
        loader=PackageLoader("intertwiner.report", "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {f.__name__: f for f in (words.number, words.share, words.shape, words.sentence)}
    environment.globals |= {
        "bar": svg.bar,
        "irrep_bars": svg.irrep_bars,
        "decided": words.decided,
        "bound": words.bound,
        "why": words.why_missing,
        "signs": words.STATUS_SIGN,
    }
    return environment


def _tap_view(tap: dict[str, Any], n: int) -> dict[str, Any]:
    """A tap with what the page needs besides; anchors are numbers, so no name ever becomes an address."""
    weights = tap["weights"]
    cycles = {g: c.replace(")(", ") (") or "()" for g, c in weights["cycles"].items()} if weights else {}
    return {
        "tap": tap,
        "anchor": f"tap-{n + 1}",
        "figures": words.summary(tap),
        "filters": _filters(tap["filters"]),
        "cycles": cycles,
    }


def _filters(filters: dict[str, Any] | None) -> dict[str, Any] | None:
    if not filters or not filters["orbits"]:
        return None
    shape = tuple(int(n or 0) for n in filters["shape"] or ())
    shown, orbits = 0, []
    for orbit in filters["orbits"]:
        room = _FILTERS_SHOWN - shown
        members = orbit["members"][:room]
        if not members:
            break
        arrays = [_shaped(np.nan_to_num(np.array(m["values"], dtype=float)), shape) for m in members]
        # One scale per orbit: its members must be seen to be the same numbers, moved.
        scale = max(float(np.abs(a).max(initial=0.0)) for a in arrays)
        tiles = [_tile(a, scale) | {"neuron": m["neuron"]} for a, m in zip(arrays, members)]
        orbits.append({"stabiliser": orbit["stabiliser"], "size": len(orbit["members"]), "tiles": tiles})
        shown += len(members)
    total = sum(len(orbit["members"]) for orbit in filters["orbits"])
    return {"orbits": orbits, "left_out": total - shown, "shape": shape}


def _shaped(values: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    return values.reshape(shape) if shape and math.prod(shape) == values.size else values


def _tile(values: np.ndarray, scale: float) -> dict[str, Any]:
    image = pixels.picture(values, scale)
    height, width = image.shape[:2]
    if values.ndim <= 1:
        return {"src": pixels.data_address(image), "width": int(min(320, max(_SIDE, 8 * width))), "height": 14}
    # A whole number of screen pixels per entry where there is room, so that squares stay squares.
    factor = max(1, round(_SIDE / height)) if height <= _SIDE else _SIDE / height
    return {"src": pixels.data_address(image), "width": round(width * factor), "height": round(height * factor)}


def _breaks(record: dict[str, Any], views: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """What breaks the symmetry, each with the address of its tap; breaks named by a tap only are added."""
    anchors = {view["tap"]["name"]: view["anchor"] for view in views}
    rows = [dict(row) for row in record["breaks"]]
    seen = {(row["tap"], row["reason"]) for row in rows}
    rows += [
        {"tap": tap["name"], "reason": reason, "size": None}
        for tap in record["taps"]
        for reason in tap["breaks"]
        if (tap["name"], reason) not in seen
    ]
    return [row | {"anchor": anchors.get(row["tap"])} for row in rows]


def _elements(defect: dict[str, Any] | None) -> list[tuple[str, float | None]]:
    return list((defect["elements"] or {}).items()) if defect else []


def _longest(defect: dict[str, Any] | None) -> float:
    """The defect that fills a bar: the largest null or value on the page."""
    if not defect:
        return 1.0
    values = [row[k] for row in defect["generators"].values() for k in ("value", "null")]
    return words.worst([*values, *(defect["elements"] or {}).values()], max) or 1.0
