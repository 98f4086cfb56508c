"""Conservation laws as one HTML file: the formulas, how many there are and why, and how far a training moved them.

No script and no network, as the audit's page: every text goes through jinja2's escaping or an element tree.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from intertwiner.report import laws_pictures
from intertwiner.report.html import _environment
from intertwiner.report.laws_fields import checked_laws, laws_json
from intertwiner.report.words import worst
from intertwiner.report.write import HTML_NAME, write_files

JSON_NAME = "laws.json"

SHAPES = {
    "balance": "one per coordinate i",
    "matrix": "the entries of a symmetric matrix, one per pair i, j",
    "shift": "linear, one per coordinate i",
}

_LOSSES = {"cross entropy": ', loss="cross_entropy"'}
"""What has to be said to get the laws of a loss; others are found by default."""


def to_laws_html(record: Mapping[str, Any]) -> str:
    """One self-contained HTML page.

    Args:
        record: What ``ConservationLaws.to_json`` gives; see ``laws_fields``. With ``values`` the numbers of every
            family are drawn, with ``monitor`` (``ConservationMonitor.to_json``) the drift in a training.

    Raises:
        InvalidRecord: The record does not follow the schema.

    Cost:
        Linear in the record.
    """
    whole = checked_laws(record)
    count, monitor = whole["count"], whole["monitor"]
    parameters = whole["network"]["parameters"] or (count["parameters"] if count else 0) or 0
    drift = monitor["drift"] if monitor else []
    page = _environment().get_template("laws.html.j2")
    return page.render(
        laws=whole,
        parameters=parameters,
        count=count,
        listed=sum(family["count"] for family in whole["families"]),
        families=_families(whole),
        shares=laws_pictures.shares(parameters, count) if count else None,
        growth=laws_pictures.growth(parameters, count) if count else None,
        monitor=monitor,
        drift=drift,
        curves=_curves(monitor),
        drawing=laws_pictures.drift_curves(monitor["history"], worst((d["floor"] for d in drift), max))
        if monitor
        else None,
        code=_code(whole["loss"] or ""),
        unchecked=_unchecked(whole),
    )


def write_laws(record: Mapping[str, Any], folder: Path | str) -> tuple[Path, Path]:
    """Write ``laws.json`` and ``report.html`` into a folder, both or none.

    Args:
        record: See ``to_laws_html``.
        folder: Made if it is missing; files of these two names are replaced.

    Returns:
        The two paths.

    Raises:
        InvalidRecord: The record does not follow the schema; nothing was written.
    """
    places = Path(folder) / JSON_NAME, Path(folder) / HTML_NAME
    write_files(dict(zip(places, (laws_json(record), to_laws_html(record)), strict=True)))
    return places


def _families(whole: Mapping[str, Any]) -> list[dict[str, Any]]:
    """A row per family, with the rate and the picture of its values where there are any."""
    values, rates = whole["values"], whole["rates"]
    known = [v for row in values for v in row or () if v is not None]
    low, high = (min(known), max(known)) if known else (0.0, 0.0)
    rows = []
    for n, family in enumerate(whole["families"]):
        mine = values[n] if n < len(values) else None
        reservations = [f"up to {family['because']}" if not family["exact"] and family["because"] else ""]
        reservations.append(f"for {family['holds']}" if family["holds"] else "")
        rows.append(
            family
            | {
                "shape": SHAPES[family["kind"]],
                "rate": rates[n] if n < len(rates) else None,
                "strip": laws_pictures.values_strip(mine, low, high) if mine else None,
                "said": "; ".join(filter(None, reservations)),
            }
        )
    return rows


def _code(loss: str) -> list[str]:
    return [
        "import intertwiner as iw",
        f"laws = iw.conservation_laws(model, example=x{_LOSSES.get(loss, '')})",
        "before = laws.values(model)",
        "...  # train by plain gradient descent with a small step",
        "after = laws.values(model)  # the same numbers, up to a drift proportional to the step size",
    ]


def _curves(monitor: Mapping[str, Any] | None) -> list[dict[str, Any]]:
    """The families of the picture, by the number of their colour."""
    history = (monitor or {}).get("history") or {}
    return [{"colour": n % 6, "formula": family["formula"]} for n, family in enumerate(history.get("families") or ())]


def _unchecked(whole: Mapping[str, Any]) -> list[str]:
    out = [
        "Laws hold for plain gradient flow. Gradient descent keeps them up to a drift that is proportional to the step "
        "size; momentum, weight decay and adaptive steps break them.",
        "Counts are for generic parameters. At special ones, a neuron of zeros say, fewer directions move, and more "
        "may stay constant in that one run.",
    ]
    if whole["count"] is None:
        out.append(f"The laws were not counted{': ' + whole['uncounted'] if whole['uncounted'] else ''}.")
    if not whole["rates"]:
        reason = whole["unchecked"]
        out.append(f"The laws were not tried along a gradient of the network{': ' + reason if reason else ''}.")
    return out
