"""How numbers and words are written in every report: three significant digits, one word per idea."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

NOTHING = "–"
"""Stands where a number was not measured."""

STATUS_SIGN = {"exact": "=", "within tolerance": "≈", "broken": "✕", "not covered": "?"}
"""A sign beside each status of the weight path, so that colour is never the only carrier."""


def number(value: float | None, *, digits: int = 3) -> str:
    """A number with three significant digits; a dash for none.

    >>> [number(v) for v in (0.98765, 1.0, 24, 12345.6, 3.14159e-7, 0.0, None)]
    ['0.988', '1.00', '24', '12,300', '3.14e-07', '0', '–']
    """
    if value is None:
        return NOTHING
    if isinstance(value, int):
        return f"{value:,}"
    if value == 0:
        return "0"
    if not 1e-3 <= abs(value) < 1e6:
        return f"{value:.{digits - 1}e}"
    text = f"{value:#.{digits}g}"
    rounded = float(text)
    if abs(rounded) >= 10**digits:
        return f"{rounded:,.0f}"
    return text.removesuffix(".")


def share(value: float | None) -> str:
    """A share as a percentage.

    >>> share(0.3812), share(1.0), share(0.0004), share(0.0), share(None)
    ('38.1 %', '100 %', '0.04 %', '0 %', '–')
    """
    if value is None:
        return NOTHING
    percent = 100 * value
    if percent == 0:
        return "0 %"
    if abs(percent) >= 99.95:
        return f"{percent:.0f} %"
    return f"{percent:.1f} %" if abs(percent) >= 0.1 else f"{percent:.2g} %"


def shape(value: Any) -> str:
    """A shape, or several.

    >>> shape([1, 3, 32, 32]), shape([[1, 9], [1, 4]]), shape(None)
    ('1 x 3 x 32 x 32', '1 x 9, 1 x 4', '–')
    """
    if not value:
        return NOTHING
    if isinstance(value[0], list | tuple):
        return ", ".join(shape(v) for v in value)
    return " x ".join(NOTHING if v is None else str(int(v)) for v in value)


def decided(verdict: Mapping[str, Any]) -> str:
    """The verdict in a few words: PROVED is always said with how.

    >>> decided({"kind": "PROVED", "exact": True}), decided({"kind": "UNDECIDED", "exact": False})
    ('PROVED, exactly', 'UNDECIDED')
    """
    if verdict["kind"] != "PROVED":
        return verdict["kind"]
    return "PROVED, exactly" if verdict["exact"] else "PROVED, within tolerance"


def bound(verdict: Mapping[str, Any]) -> str:
    """What the bound of a verdict says, as one sentence; empty where there is none, or nothing to bound."""
    if verdict["bound"] is None or verdict["exact"]:
        return ""
    box = f" for {verdict['box']}" if verdict["box"] else ""
    return f"An exactly equivariant network lies within {number(float(verdict['bound']))} of every output{box}."


def worst(values: Iterable[float | None], pick: Any) -> float | None:
    """``pick`` (min or max) of the numbers that were measured."""
    known = [v for v in values if v is not None]
    return pick(known) if known else None


def summary(tap: Mapping[str, Any]) -> dict[str, float | None]:
    """The figures of one tap over its generators: the lowest R2, the highest defect, the highest null."""
    rows = list(((tap["data"] or {}).get("generators") or {}).values())
    nulls = [r[k] for r in rows for k in ("null_wrong_element", "null_random_network")]
    return {
        "linear_r2": worst((r["linear_r2"] for r in rows), min),
        "gauge_r2": worst((r["gauge_r2"] for r in rows), min),
        "defect": worst((r["defect"] for r in rows), max),
        "noise_floor": worst((r["noise_floor"] for r in rows), max),
        "null": worst(nulls, max),
    }


def found(tap: Mapping[str, Any]) -> str:
    """What the best element of K does to the features, generators that do the same named together.

    >>> stay, swap = {"found": {"text": "all 4 features stay"}}, {"found": {"text": "2 of 4 features move"}}
    >>> found({"data": {"generators": {"r": stay, "s": swap, "t": stay}}})
    'r, t: all 4 features stay; s: 2 of 4 features move'
    """
    names: dict[str, list[str]] = {}
    for name, row in ((tap["data"] or {}).get("generators") or {}).items():
        if row.get("found"):
            names.setdefault(row["found"]["text"], []).append(name)
    return "; ".join(f"{', '.join(who)}: {text}" for text, who in names.items())


def sentence(text: str) -> str:
    """With a capital letter at its head, names left as they are.

    >>> sentence("not measured: RuntimeError")
    'Not measured: RuntimeError'
    """
    return text[:1].upper() + text[1:]


def why_missing(part: str, *places: Mapping[str, Any] | None) -> str:
    """The sentence that stands where a part is null: "not measured: reason", the first reason that a place gives."""
    for place in places:
        reason = (place or {}).get("missing", {}).get(part)
        if reason:
            return f"not measured: {reason}"
    return "not measured"


_SHORT = (
    ("signed permutations", "±perm."),
    ("permutations", "perm."),
    ("positive scales", "s>0"),
    ("nonzero scales", "s≠0"),
    ("general linear", "GL"),
    ("orthogonal", "orthog."),
)


def short_gauge(gauge: str | None) -> str:
    """The gauge group in few letters.

    >>> short_gauge("signed permutations x positive scales"), short_gauge("permutations")
    ('±perm. x s>0', 'perm.')
    """
    text = gauge or NOTHING
    for long, short in _SHORT:
        text = text.replace(long, short)
    return text


def without_group(representation: str | None) -> str:
    """``3·A1 + A2`` of ``D4: 3·A1 + A2``: the group stands above the table once."""
    return (representation or "").partition(": ")[2] or (representation or "")
