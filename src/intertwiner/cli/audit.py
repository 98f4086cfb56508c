"""``intertwiner audit``: one network, one symmetry, one report."""

from __future__ import annotations

import os
import sys
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from intertwiner.cli.code import code_of
from intertwiner.cli.exits import exit_code, say
from intertwiner.cli.subject import Words, open_network, read_symmetry
from intertwiner.errors import WrongUse

if TYPE_CHECKING:
    from intertwiner.audit import Audit


@dataclass(frozen=True)
class Wish:
    """What is asked about a network, as the options of ``intertwiner audit`` say it."""

    words: Words
    group: str
    on_input: tuple[str, ...]
    on_output: tuple[str, ...]
    out: Path | None = None
    as_json: bool = False
    max_defect: float = 0.0
    taps: tuple[str, ...] = ()
    seed: int = 0
    nulls: bool = True
    data: bool = True
    box: float = 1.0
    subgroup: str | None = None


def run_audit(wish: Wish) -> int:
    """Audit, print, write; the exit code says what came out."""
    require_folder(wish.out)
    words = wish.words
    with code_of([words.model, wish.group, *wish.on_input, *wish.on_output, *words.data]):
        audit = _audited(wish)
    failed = _saved(audit, wish.out)
    _show(audit.record, wish.as_json)
    if failed is not None:
        raise failed
    return exit_code(audit.record, wish.max_defect)


def _audited(wish: Wish) -> Audit:
    from intertwiner.audit import Effort, audit

    symmetry = read_symmetry(wish.group, wish.on_input, wish.on_output, wish.subgroup)
    opened = open_network(wish.words)
    effort = Effort(
        data=wish.data, nulls=wish.nulls, box=wish.box, max_samples=wish.words.max_samples, seed=wish.seed
    )  # fmt: skip
    found = audit(
        opened.network, symmetry, opened.data, taps=wish.taps or None, effort=effort, source=opened.source
    )  # fmt: skip
    return noted(found, opened.note)


def noted(audit: Audit, note: str) -> Audit:
    """The audit with a further note on its data."""
    if not note:
        return audit
    data = dict(audit.record["data"])
    data["note"] = "; ".join(part for part in (data.get("note"), note) if part)
    return replace(audit, record={**audit.record, "data": data})


def require_folder(folder: Path | None) -> None:
    """Refuse a report folder that cannot be written, before minutes are spent on its content.

    Raises:
        WrongUse: A file stands in the way, or the rights are missing.
    """
    if folder is None:
        return
    place = folder
    while not place.exists() and place != place.parent:
        place = place.parent
    if not place.is_dir():
        raise WrongUse(f"--out {folder}: {place} is a file, not a folder. Nothing was audited.")
    if not os.access(place, os.W_OK | os.X_OK):
        raise WrongUse(f"--out {folder}: {place} cannot be written to. Nothing was audited.")


def cannot_write(folder: Path, error: OSError) -> WrongUse:
    return WrongUse(f"--out {folder} cannot be written: {error.strerror or error}. Nothing was written there.")


def _saved(audit: Audit, folder: Path | None) -> WrongUse | None:
    """Write the report; a failure is handed back, so that the table is shown all the same."""
    if folder is None:
        return None
    try:
        places = audit.save(folder)
    except OSError as error:
        return cannot_write(folder, error)
    say(f"written: {', '.join(map(str, places))}")
    return None


def _show(record: Any, as_json: bool) -> None:
    from intertwiner.report import print_text, to_json

    if as_json:
        print_json(to_json(record))
    else:
        tolerant_output()
        print_text(record)


def print_json(text: str) -> None:
    """JSON to the standard output, in UTF-8 whatever the locale."""
    if hasattr(sys.stdout, "reconfigure"):
        sys.stdout.reconfigure(encoding="utf-8")  # type: ignore[union-attr]
    sys.stdout.write(text)


def tolerant_output() -> None:
    """A terminal that cannot show a sign gets a question mark, and no error."""
    if hasattr(sys.stdout, "reconfigure"):
        sys.stdout.reconfigure(errors="replace")  # type: ignore[union-attr]
