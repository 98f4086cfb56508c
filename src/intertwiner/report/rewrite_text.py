"""A rewrite on the terminal: the verdict, original, group average and twin side by side, and the curve by budget."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from intertwiner.report import words
from intertwiner.report.rewrite_fields import checked_rewrite
from intertwiner.report.rewrite_layers import in_blocks, layer_rows, space_rows
from intertwiner.report.rewrite_rows import HEADINGS, Row, before_and_after, distance, relative_cost, times, widths
from intertwiner.report.text import _KIND_STYLE, _paragraph, _safe, _styled
from intertwiner.report.words import number, share

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text


def print_rewrite(record: Mapping[str, Any], console: Console | None = None) -> None:
    """Print a rewrite to a console, in colour where the console has it and NO_COLOR is not set.

    Args:
        record: A rewrite record; see ``rewrite_fields``.
        console: Where to; the standard output by default.

    Raises:
        InvalidRecord: The record does not follow the schema; nothing was printed.
    """
    from rich.console import Console

    console = console or Console()
    whole = checked_rewrite(record)
    parts: list[Text | Table] = [*_head(whole, console.width), _before_and_after(whole), *_layers(whole, console.width)]
    if whole["curve"]:
        parts += [_styled(("", "")), _styled(("by budget", "bold")), _curve(whole)]
    for row in whole["left_out"]:
        parts += _paragraph(f"budget {row['budget']:g} is left out: {row['reason']}", console.width, "dim")
    parts += [line for note in whole["notes"] for line in _paragraph(f"note: {note}", console.width, "dim", first="")]
    for part in parts:
        console.print(part, markup=False, highlight=False, soft_wrap=False)


def _head(record: dict[str, Any], width: int) -> Iterator[Text]:
    certificate = record["twin"]["certificate"]
    verdict = certificate["verdict"]
    yield _styled((words.decided(verdict), _KIND_STYLE[verdict["kind"]]))
    yield from _paragraph(verdict["claim"], width, "bold")
    yield from _paragraph(verdict["reason"], width)
    if verdict["bound"] and words.bound(verdict):
        yield from _paragraph(words.bound(verdict), width)
    what = f"twin of {record['network']['name']} under {certificate['group']}, budget {record['twin']['budget']:g}"
    yield from _paragraph(f"{what}; {certificate['data'] or 'measured on nothing'}", width, "dim")
    yield _styled(("", ""))


def _table(headings: tuple[str, ...], *, left: int) -> Table:
    """A table whose first ``left`` columns are texts; names are folded, never cut."""
    from rich import box
    from rich.table import Table

    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, show_edge=False)
    for n, heading in enumerate(headings):
        table.add_column(heading, justify="left" if n < left else "right", overflow="fold")
    return table


def _before_and_after(record: dict[str, Any]) -> Table:
    table = _table(HEADINGS, left=1)
    table.columns[0].no_wrap = True  # what a figure stands against is read in one line
    for row in before_and_after(record["twin"]["certificate"]):
        table.add_row(_name(row), _cell(row.original), _cell(row.average), _cell(row.twin, "bold"))
    return table


def _name(row: Row) -> Text:
    """With what the figure stands against on the next line: a fifth column does not fit into 80."""
    name = _cell(row.name)
    return name.append("\n  ").append_text(_cell(row.beside, "dim")) if row.beside else name


def _layers(record: dict[str, Any], width: int) -> Iterator[Text | Table]:
    """Every layer, the orbits behind it, and what distillation did."""
    certificate = record["twin"]["certificate"]
    rows, spaces = layer_rows(record), space_rows(certificate)
    if rows:
        yield _styled(("", ""))
        table = _table(("layer", "before", "after", "runs"), left=1)
        for row in rows:
            table.add_row(*map(_cell, (row.name, number(row.before), number(row.after), row.runs or words.NOTHING)))
        yield table
    if spaces and certificate["method"] != "lift":
        yield _styled(("", ""))
        table = _table(("latent space", "orbits", "by size", "explained", "error"), left=1)
        for row in spaces:
            cells = row.note["name"], row.chosen, row.sizes, share(row.explained), number(row.note["refit_error"])
            table.add_row(*map(_cell, cells))
        yield table
    trained = certificate["training"] or {}
    said = [in_blocks(certificate), f"distilled: {trained['text']}" if trained.get("text") else ""]
    if any(said):
        yield _styled(("", ""))
    for text in filter(None, said):
        yield from _paragraph(text, width)


def _curve(record: dict[str, Any]) -> Table:
    labelled = any(point["certificate"]["accuracy"] for point in record["curve"])
    headings = ("budget", "widths", "cost", "to average", "to original", *(["accuracy"] * labelled))
    table = _table((*headings, "verdict"), left=2)
    for point in record["curve"]:
        found = point["certificate"]
        cells = [
            f"{point['budget']:g}" + ("*" if point["budget"] == record["twin"]["budget"] else ""),
            widths(found["widths"]), times(relative_cost(found)), distance(found["distance_average"]),
            distance(found["distance_original"]), *([share(found["accuracy"].get("twin"))] * labelled),
            found["verdict"]["kind"],
        ]  # fmt: skip
        table.add_row(*map(_cell, cells))
    return table


def _cell(text: str, style: str = "") -> Text:
    return _styled((_safe(text), style))
