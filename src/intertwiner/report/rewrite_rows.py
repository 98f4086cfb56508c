"""The figures of a twin beside the original and its group average: one table for the terminal and the page."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from intertwiner.report.words import NOTHING, number, share

UNKNOWN = "unknown"
MOST_WIDTHS = 9
"""Networks with more layers are shown by their ends; the layers have a table of their own."""

HEADINGS = ("", "original", "group average", "twin")


@dataclass(frozen=True)
class Row:
    """One figure of three networks.

    Args:
        name: What it is.
        original: Of the original.
        average: Of its group average.
        twin: Of the twin.
        beside: What it stands against, or how it came about.
    """

    name: str
    original: str
    average: str
    twin: str
    beside: str = ""


def before_and_after(certificate: Mapping[str, Any]) -> list[Row]:
    """The rows of the table, in the order of reading: cost, symmetry, function, time."""
    return [*_cost(certificate), *_defects(certificate), *_function(certificate), *_time(certificate)]


def widths(values: Sequence[Any] | None) -> str:
    """Widths from input to output; of a deep network the first and the last.

    >>> widths([18, 96, 64, 1]), widths([3, *[16] * 20, 32, 10])
    ('18-96-64-1', '3-16-16-16-…-16-32-10')
    """
    whole = [str(v) for v in values or ()]
    return "-".join(whole if len(whole) <= MOST_WIDTHS else [*whole[:4], "…", *whole[-3:]]) or NOTHING


def distance(value: float | None) -> str:
    """A distance; that from something constant is unknown.

    >>> distance(0.0988), distance(None)
    ('0.0988', 'unknown')
    """
    return UNKNOWN if value is None else number(value)


def times(value: float | None) -> str:
    """A factor.

    >>> times(0.246), times(8.0), times(14400.0), times(None)
    ('0.25 x', '8 x', '14,400 x', '–')
    """
    if value is None:
        return NOTHING
    return f"{value:,.0f} x" if value >= 100 else f"{value:.2f}".rstrip("0").rstrip(".") + " x"


def relative_cost(certificate: Mapping[str, Any], who: str = "twin") -> float | None:
    """Multiply-adds relative to the original."""
    costs = certificate["multiply_adds"]
    return costs[who] / costs["original"] if costs.get(who) is not None and costs.get("original") else None


def orbits(sizes: Sequence[int]) -> str:
    """Orbits by size, the largest first.

    >>> orbits([4, 1, 4, 2]), orbits([])
    ('2 of 4, 1 of 2, 1 of 1', '–')
    """
    return ", ".join(f"{count} of {size}" for size, count in sorted(Counter(sizes).items(), reverse=True)) or NOTHING


def _count(value: float | None) -> str:
    return NOTHING if value is None else f"{round(value):,}"


def _cost(certificate: Mapping[str, Any]) -> list[Row]:
    costs, sizes = certificate["multiply_adds"], certificate["parameters"]
    before, who = widths(certificate["original_widths"]), ("original", "averaging", "twin")
    return [
        Row("multiply-adds", *(_count(costs.get(name)) for name in who), beside=_dense(certificate)),
        Row("times the original", *(times(relative_cost(certificate, name)) for name in who)),
        Row("parameters", _count(sizes.get("original")), _count(sizes.get("original")), _count(sizes.get("twin"))),
        Row("free parameters", NOTHING, NOTHING, _count(sizes.get("free")), "independent numbers"),
        Row("widths", before, f"{_count(certificate['order'])} copies", widths(certificate["widths"])),
    ]


def _dense(certificate: Mapping[str, Any]) -> str:
    """What the multiply-adds are of, with those of dense layers where some layers run in blocks."""
    costs, dense = certificate["multiply_adds"], certificate["multiply_adds"].get("dense")
    if dense is None or dense == costs.get("twin"):
        return "of one sample"
    return f"of one sample; {_count(dense)} if dense"


def _defects(certificate: Mapping[str, Any]) -> list[Row]:
    own = certificate["original_defect"]
    floor = f"noise floor {number(certificate['noise_floor'])}"
    rows = []
    for dtype in ("float32", "float64"):
        original = number(own) if certificate["dtype"] == dtype else NOTHING
        twin = number(certificate[f"defect_{dtype}"])
        rows.append(Row(f"defect, {dtype}", original, NOTHING, twin, floor if dtype == "float32" else ""))
    return rows


def _function(certificate: Mapping[str, Any]) -> list[Row]:
    far = distance(certificate["original_distance_average"])
    where = "of all of " if certificate["average_exact"] else "of random elements of "
    where = "" if certificate["average_exact"] is None else where + certificate["group"]
    rows = [
        Row("distance to original", "0", NOTHING, distance(certificate["distance_original"])),
        Row("distance to average", far, "0", distance(certificate["distance_average"]), where),
    ]
    right = certificate["accuracy"]
    if right:
        rows.append(Row("accuracy", *(share(right.get(who)) for who in ("original", "average", "twin"))))
    return rows


def _time(certificate: Mapping[str, Any]) -> list[Row]:
    spent = certificate["seconds"]
    if not spent:
        return []
    original, average, twin = (
        NOTHING if spent.get(who) is None else number(1e3 * float(spent[who]))
        for who in ("original", "averaging", "twin")
    )
    if not certificate["averaging_measured"]:
        average += " (not run)"
    return [Row("ms per batch", original, average, twin, f"batch of {_count(spent.get('batch'))}, measured")]
