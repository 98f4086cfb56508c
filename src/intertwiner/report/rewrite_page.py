"""A rewrite as one HTML file: the twin beside its original, the curve it lies on, how each layer came about.

No script and no network, as the audit's page: every text goes through jinja2's escaping or an element tree.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from intertwiner.report import tradeoff_curve
from intertwiner.report.html import _environment
from intertwiner.report.loss_curve import loss_curve
from intertwiner.report.rewrite_fields import checked_rewrite
from intertwiner.report.rewrite_layers import in_blocks, layer_rows, space_rows
from intertwiner.report.rewrite_rows import before_and_after, distance, relative_cost, times, widths

_PROVED = (
    "Equivariance is proved from the stored weights for every element of the group, as the verdict says it. Everything "
    "else on this page is measured on the data named above, and may differ on other data."
)
_MEASURED = (
    "Equivariance is not proved. Everything on this page but the verdict is measured on the data named above, and may "
    "differ on other data."
)
_LOADED = (
    "Loading checks that the files are whole and fit together, not that the certificate belongs to the weights: "
    "audit the loaded module to judge them again."
)
_SELECTED = (
    "Orbits are chosen one after the other by what each adds. No claim is made that no better choice of this width "
    "exists."
)
_SAME_DATA = (
    "Accuracies are those on the data that the twin was fitted to. How it does on data that neither network has "
    "seen is for you to measure."
)
_TIMES = "Times are medians on one machine, run eagerly; compiled, or on another machine, they differ."


def to_rewrite_html(record: Mapping[str, Any]) -> str:
    """One self-contained HTML page.

    Args:
        record: A rewrite record; see ``rewrite_fields``.

    Raises:
        InvalidRecord: The record does not follow the schema.

    Cost:
        Linear in the record.
    """
    whole = checked_rewrite(record)
    certificate = whole["twin"]["certificate"]
    page = _environment().get_template("rewrite.html.j2")
    return page.render(
        rewrite=whole,
        certificate=certificate,
        rows=before_and_after(certificate),
        distance=tradeoff_curve.distance_curve(whole["curve"], whole["twin"]["budget"]),
        accuracy=tradeoff_curve.accuracy_curve(whole["curve"], whole["twin"]["budget"]),
        points=[_point(point, whole["twin"]["budget"]) for point in whole["curve"]],
        layers=layer_rows(whole),
        spaces=space_rows(certificate),
        blocks=in_blocks(certificate),
        losses=loss_curve((certificate["training"] or {}).get("losses") or ()),
        code=_code(whole["twin"]["folder"]),
        others=[p["folder"] for p in whole["curve"] if p["folder"] and p["folder"] != whole["twin"]["folder"]],
        facts=_facts(certificate),
        unchecked=_unchecked(certificate, bool(whole["curve"])),
    )


def _facts(certificate: Mapping[str, Any]) -> dict[str, str]:
    return {
        "cost": times(relative_cost(certificate)),
        "before": widths(certificate["original_widths"]),
        "after": widths(certificate["widths"]),
        "from_average": distance(certificate["original_distance_average"]),
        "method": {
            "lift": "Made from the group average, lifted and merged by weights alone.",
            "selected": "Made of orbits of neurons, selected and refitted on the data.",
        }.get(certificate["method"] or "", ""),
    }


def _point(point: Mapping[str, Any], chosen: float) -> dict[str, Any]:
    one = point["certificate"]
    return {
        "budget": f"{point['budget']:g}",
        "chosen": point["budget"] == chosen,
        "widths": widths(one["widths"]),
        "cost": times(relative_cost(one)),
        "average": distance(one["distance_average"]),
        "original": distance(one["distance_original"]),
        "one": one,
    }


def _code(folder: str | None) -> list[str]:
    """Three lines that load the twin; the folder is spelt as Python reads it."""
    return [
        "import intertwiner as iw",
        f"twin = iw.load({json.dumps(folder or 'twin', ensure_ascii=False)}).module",
        "y = twin(x)",
    ]


def _unchecked(certificate: Mapping[str, Any], curve: bool) -> list[str]:
    out = [_PROVED if certificate["verdict"]["kind"] == "PROVED" else _MEASURED, _LOADED]
    if certificate["method"] == "selected":
        out.append(_SELECTED)
    if certificate["accuracy"]:
        out.append(_SAME_DATA)
    if certificate["average_exact"] is False:
        out.append(
            f"The group average stands for a mean over random elements of {certificate['group']}: distances from it "
            "carry the spread of that sample."
        )
    if certificate["seconds"]:
        out.append(_TIMES)
        if not certificate["averaging_measured"]:
            out.append(f"Averaging was not run: its time is that of the original times {certificate['order']}.")
    if curve:
        out.append("The curve holds one twin per budget; between the points nothing was tried.")
    return out
