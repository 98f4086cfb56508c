"""The audit as a terminal table: verdict and defect above, one row per tap, what breaks the symmetry below.

Made for 80 columns and for terminals without colour: nothing is said by colour alone. A name that does not fit its
column gets a line of its own, so no name is ever cut.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from io import StringIO
from typing import TYPE_CHECKING, Any

from intertwiner.report import words
from intertwiner.report.schema import checked
from intertwiner.report.words import number

if TYPE_CHECKING:
    from rich.console import Console
    from rich.text import Text

_NARROWEST = 60
_KIND_STYLE = {"PROVED": "bold green", "REFUTED": "bold red", "UNDECIDED": "bold yellow"}
_STATUS_STYLE = {"exact": "green", "within tolerance": "green", "broken": "red", "not covered": "yellow"}
_DECISION_STYLE = {"action": "green", "partial": "yellow", "none": "red"}
_HEADINGS = ("dim", "gauge", "weights", "linear", "in K", "null", "orbits")
_WIDTHS = (5, 13, 11, 6, 6, 6, 7)
_RIGHT = {0, 3, 4, 5}
_SHOWN_ELEMENTS = 8


def to_text(record: Mapping[str, Any], width: int | None = None) -> str:
    """The table as a string without colour.

    Args:
        record: An audit record; see docs/audit-schema.md.
        width: Columns; the width of the terminal by default, at least 60.

    Raises:
        InvalidRecord: The record does not follow the schema.
    """
    from rich.console import Console

    columns = max(_NARROWEST, width or shutil.get_terminal_size((100, 24)).columns)
    out = StringIO()
    console = Console(file=out, width=columns, color_system=None, force_terminal=False, legacy_windows=False)
    print_text(record, console)
    return "\n".join(line.rstrip() for line in out.getvalue().splitlines()) + "\n"


def print_text(record: Mapping[str, Any], console: Console | None = None) -> None:
    """Print the table to a console, in colour where the console has it and NO_COLOR is not set."""
    from rich.console import Console

    console = console or Console()
    whole = checked(record)
    for line in _lines(whole, console.width):
        # Markup and highlighting stay off: a module may be called "[red]".
        console.print(line, markup=False, highlight=False, soft_wrap=False)


def _lines(record: dict[str, Any], width: int) -> Iterator[Text]:
    yield from _head(record, width)
    yield from _defect(record, width)
    yield from _table(record, width)
    yield from _identifiability(record["identifiability"], width)
    yield from _tail(record, width)


def _styled(*parts: tuple[str, str]) -> Text:
    from rich.text import Text

    return Text.assemble(*((_safe(text), style) for text, style in parts))


def _safe(text: str) -> str:
    """Control characters shown, not obeyed: a name must not move the cursor or colour the terminal."""
    return "".join(c if c.isprintable() else f"\\x{ord(c):02x}" for c in text)


def _paragraph(text: str, width: int, style: str = "", *, first: str = "  ", rest: str = "  ") -> Iterator[Text]:
    import textwrap

    for line in textwrap.wrap(_safe(text), width, initial_indent=first, subsequent_indent=rest) or []:
        yield _styled((line, style))


def _head(record: dict[str, Any], width: int) -> Iterator[Text]:
    verdict, network, group = record["verdict"], record["network"], record["group"]
    facts = [f"{network['name']} under {group['name']}"]
    if network["parameters"] is not None:
        facts.append(f"{number(network['parameters'])} parameters")
    if network["dtype"]:
        facts.append(network["dtype"])
    yield _styled((words.decided(verdict), _KIND_STYLE[verdict["kind"]]))
    yield from _paragraph(verdict["claim"], width, "bold")
    yield from _paragraph(verdict["reason"], width)
    if words.bound(verdict):
        yield from _paragraph(words.bound(verdict), width)
    if verdict["theorem"]:
        how = "rests on" if verdict["kind"] == "PROVED" else "theorem"
        yield from _paragraph(f"{how}: {verdict['theorem']}", width)
    yield from _paragraph(", ".join(facts), width, "dim")
    data = record["data"]
    if data:
        samples = f", {number(data['samples'])} samples" if data["samples"] is not None else ""
        note = f"; {data['note']}" if data["note"] else ""
        yield from _paragraph(f"data: {data['source'] or 'unknown'}{samples}{note}", width, "dim")


def _defect(record: dict[str, Any], width: int) -> Iterator[Text]:
    yield _styled(("", ""))
    defect = record["defect"]
    if defect is None:
        yield _styled((f"end-to-end defect {words.why_missing('defect', record)}", "dim"))
        return
    yield _styled(("end-to-end defect |f(gx) - g f(x)| / |f(x) - mean|", "bold"))
    for name, row in defect["generators"].items():
        beside = f"   noise floor {number(row['noise_floor'])}   null {number(row['null'])}"
        yield _styled((f"  {name:<8} ", ""), (f"{number(row['value']):>9}", "bold"), (beside, "dim"))
    if defect["elements"] and len(defect["elements"]) > len(defect["generators"]):
        ordered = sorted(defect["elements"].items(), key=lambda pair: -(pair[1] or 0))
        shown = ", ".join(f"{name} {number(value)}" for name, value in ordered[:_SHOWN_ELEMENTS])
        more = f", and {len(ordered) - _SHOWN_ELEMENTS} lower" if len(ordered) > _SHOWN_ELEMENTS else ""
        yield from _paragraph(f"by element: {shown}{more}", width, "dim")


def _table(record: dict[str, Any], width: int) -> Iterator[Text]:
    taps = record["taps"]
    yield _styled(("", ""))
    if not taps:
        yield _styled(("no taps", "dim"))
        return
    columns = _Columns.fitting(taps, width)
    # The three columns of R2 stand under one word.
    before = columns.name + columns.gauge + _WIDTHS[0] + _WIDTHS[2] + 4
    yield _styled((" " * before + " R2, worst generator", "dim"))
    widths = (_WIDTHS[0], columns.gauge, *_WIDTHS[2:])
    heading = " ".join(f"{h:>{w}}" if i in _RIGHT else f"{h:<{w}}" for i, (h, w) in enumerate(zip(_HEADINGS, widths)))
    yield _styled((f"{'tap':<{columns.name}} {heading}", "bold"))
    for tap in taps:
        yield from _tap(tap, columns, width)


@dataclass(frozen=True)
class _Columns:
    """Widths of the two columns that grow: the name first, then the gauge group in full."""

    name: int
    gauge: int

    @classmethod
    def fitting(cls, taps: list[dict[str, Any]], width: int) -> _Columns:
        spare = width - sum(_WIDTHS) - len(_WIDTHS)
        name = min(max(10, spare), max(8, *(len(_safe(t["name"])) for t in taps)))
        longest = max(len(_safe(t["gauge"] or "")) for t in taps)
        return cls(name, max(_WIDTHS[1], min(longest, _WIDTHS[1] + spare - name)))


def _tap(tap: dict[str, Any], columns: _Columns, width: int) -> Iterator[Text]:
    name, figures, weights, orbits = _safe(tap["name"]), words.summary(tap), tap["weights"], tap["orbits"]
    if len(name) > columns.name:
        yield _styled((name, ""))
        name = ""
    gauge = _safe(tap["gauge"] or words.NOTHING)
    if len(gauge) > columns.gauge:
        gauge = words.short_gauge(gauge)
    if len(gauge) > columns.gauge:
        gauge = gauge[: columns.gauge - 1] + "…"
    status = weights["status"] if weights else words.NOTHING
    decision = orbits["decision"] if orbits else words.NOTHING
    yield _styled(
        (f"{name:<{columns.name}} ", ""),
        (f"{number(tap['dimension']):>5} {gauge:<{columns.gauge}} ", ""),
        (f"{status.replace('tolerance', 'tol.'):<11} ", _STATUS_STYLE.get(status, "")),
        (f"{_r2(figures['linear_r2']):>6} ", ""),
        (f"{_r2(figures['gauge_r2']):>6} ", "bold"),
        (f"{_r2(figures['null']):>6} ", "dim"),
        (decision, _DECISION_STYLE.get(decision, "")),
    )
    details = [words.without_group(weights["representation"]), weights["orbits"] or ""] if weights else []
    details = [d for d in details if d]
    if details:
        yield from _paragraph("   ".join(details), width, "cyan", first="    ", rest="      ")
    elif found := words.found(tap):
        yield from _paragraph(f"seen: {found}", width, "cyan", first="    ", rest="      ")
    if weights and weights["status"] in ("broken", "not covered") and weights["reason"]:
        yield from _paragraph(f"{weights['status']}: {weights['reason']}", width, "dim", first="    ", rest="      ")


def _r2(value: float | None) -> str:
    """Shares are compared down a column, so they get equal decimals instead of equal digits."""
    if value is None:
        return words.NOTHING
    return f"{value:.3f}" if value > -9.99 else "< -10"


def _identifiability(known: dict[str, Any] | None, width: int) -> Iterator[Text]:
    """What was redundant, what the action needed, and whether a theorem applies."""
    if known is None:
        return
    lines = [f"{row['count']} of {row['tap']}: {row['kind']}" for row in known["removed"]]
    if known["rewritten"]:
        lines.append(f"with {known['rewritten']}:")
        lines += [f"  {tap}  {representation}" for tap, representation in known["representations"].items()]
    holding = next((t for t in known["theorems"] if t["holds"]), None)
    if known["applies"] and holding:
        lines.append(f"{known['verdict']['claim']}: {holding['theorem']}")
    elif known["verdict"]:
        lines.append(f"no theorem decides whether parameters are identifiable: {known['verdict']['reason']}")
    yield _styled(("", ""))
    yield _styled(("identifiability", "bold"))
    for line in lines:
        indent = "    " if line.startswith("  ") else "  "
        yield from _paragraph(line.strip(), width, first=indent, rest=indent + "  ")


def _tail(record: dict[str, Any], width: int) -> Iterator[Text]:
    breaks = [(b["tap"] or "network", b["reason"], b["size"]) for b in record["breaks"]]
    named = {(tap, reason) for tap, reason, _ in breaks}
    breaks += [(t["name"], b, None) for t in record["taps"] for b in t["breaks"] if (t["name"], b) not in named]
    yield _styled(("", ""))
    if breaks:
        yield _styled(("what breaks the symmetry, and where", "bold"))
        for tap, reason, size in breaks:
            beside = f" ({number(size)})" if size is not None else ""
            yield from _paragraph(f"{tap}: {reason}{beside}", width, rest="    ")
    without = record["network"]["operators_without_rule"]
    if without:
        yield _styled(("operators without a rule", "bold"))
        for row in without:
            reason = f": {row['reason']}" if row["reason"] else ""
            yield from _paragraph(f"{row['tap'] or 'network'}: {row['operator']}{reason}", width, rest="    ")
    for note in record["notes"]:
        yield from _paragraph(f"note: {note}", width, "dim", first="", rest="  ")
    if record["seconds"]:
        yield _styled((_times(record["seconds"].items()), "dim"))


def _times(parts: Iterable[tuple[str, float | None]]) -> str:
    known = [(name, s) for name, s in parts if s is not None]
    return "seconds: " + ", ".join(f"{name} {number(float(s))}" for name, s in known)
