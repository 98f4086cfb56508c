"""Several audits on one page: a card per network with its verdict, its defect and its layers, linked to its report."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from intertwiner.errors import WrongUse
from intertwiner.report import words
from intertwiner.report.html import _environment
from intertwiner.report.schema import checked

_RELATIVE = re.compile(r"[\w.-]+(?:/[\w.-]+)*")


@dataclass(frozen=True)
class Entry:
    """One audit on the page.

    Args:
        name: What the page calls it.
        link: Relative address of its own report, plain letters, digits, dots and dashes.
        record: Its record.
        description: What it is and what to expect.
        twin: Relative address of the page of its equivariant twin; empty where there is none.
    """

    name: str
    link: str
    record: Any
    description: str = ""
    twin: str = ""


def to_overview(entries: Sequence[Entry], title: str, *, about: str = "") -> str:
    """One self-contained HTML page over several audits.

    Args:
        entries: In the order of the page.
        title: Its heading.
        about: A paragraph below it.

    Raises:
        InvalidRecord: A record does not follow the schema.
        WrongUse: A link that is no plain relative address.
    """
    for entry in entries:
        for link in (entry.link, *filter(None, [entry.twin])):
            # The links are the only addresses in the file, so nothing but a neighbour may stand there.
            if not _RELATIVE.fullmatch(link) or ".." in link:
                raise WrongUse(f"the link {link!r} of {entry.name!r} is no plain relative address")
    cards = [_card(entry) for entry in entries]
    return _environment().get_template("overview.html.j2").render(title=title, about=about, cards=cards)


def _card(entry: Entry) -> dict[str, Any]:
    record = checked(entry.record)
    defect, data = record["defect"] or {}, record["data"] or {}
    floors = [row["noise_floor"] for row in (defect.get("generators") or {}).values()]
    nulls = [row["null"] for row in (defect.get("generators") or {}).values()]
    return {
        "entry": entry,
        "audit": record,
        "worst": defect.get("worst"),
        "floor": words.worst(floors, max),
        "null": words.worst(nulls, min),
        "samples": data.get("samples"),
        "seconds": sum(s or 0.0 for s in (record["seconds"] or {}).values()),
        "taps": [{"tap": tap, "figures": words.summary(tap)} for tap in record["taps"]],
    }
