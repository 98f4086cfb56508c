"""Files that are whole or absent: written under a temporary name beside their place, then renamed over it."""

from __future__ import annotations

import json
import os
import secrets
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from intertwiner.errors import CorruptFile, InvalidRecord
from intertwiner.report.html import to_html
from intertwiner.report.schema import plain, validate

JSON_NAME = "audit.json"
HTML_NAME = "report.html"


def write_files(texts: Mapping[Path | str, str]) -> None:
    """Write several files so that an interruption leaves all of them as they were, or all of them new.

    Every text is first written in full under a hidden name in the folder of its place and flushed to disk; the
    renames come last. ``Ctrl-C`` before the renames removes what was written and the folders made for it; between
    two renames it is held back until the last one.

    Args:
        texts: The text of each file by path, UTF-8. Missing folders are made.
    """
    made: list[Path] = []
    staged: list[tuple[Path, Path]] = []
    try:
        for place, text in texts.items():
            place = Path(place)
            _make_folder(place.parent, made)
            # Registered before it exists, so that an interruption inside the write finds it.
            hidden = place.with_name(f".{place.name}.{secrets.token_hex(6)}.tmp")
            staged.append((hidden, place))
            with open(hidden, "x", encoding="utf-8", newline="\n") as file:
                file.write(text)
                file.flush()
                os.fsync(file.fileno())
        _rename_all(staged)
    except BaseException:
        for hidden, _ in staged:
            hidden.unlink(missing_ok=True)
        for folder in reversed(made):
            # Not empty: somebody else has put something there meanwhile, which is theirs.
            if folder.is_dir() and not any(folder.iterdir()):
                folder.rmdir()
        raise


def write_text(path: Path | str, text: str) -> None:
    """Write one file, whole or not at all."""
    write_files({path: text})


def _make_folder(folder: Path, made: list[Path]) -> None:
    missing = []
    while not folder.exists():
        missing.append(folder)
        folder = folder.parent
    for new in reversed(missing):
        new.mkdir(exist_ok=True)
        made.append(new)


def _rename_all(staged: list[tuple[Path, Path]]) -> None:
    left = list(staged)
    interrupted: KeyboardInterrupt | None = None
    while left:
        try:
            hidden, place = left[0]
            if hidden.exists():
                os.replace(hidden, place)
            left.pop(0)
        except KeyboardInterrupt as error:
            interrupted = error
    if interrupted is not None:
        raise interrupted


def to_json(record: Mapping[str, Any]) -> str:
    """The record as JSON text, one key per line, without NaN.

    Raises:
        InvalidRecord: The record does not follow the schema.
    """
    out = plain(record)
    validate(out)
    return json.dumps(out, indent=1, ensure_ascii=False, allow_nan=False) + "\n"


def save(record: Mapping[str, Any], folder: Path | str) -> tuple[Path, Path]:
    """Write ``audit.json`` and ``report.html`` into a folder, both or none.

    Args:
        record: An audit record; see docs/audit-schema.md.
        folder: Made if it is missing; files of these two names are replaced.

    Returns:
        The two paths.

    Raises:
        InvalidRecord: The record does not follow the schema; nothing was written.
    """
    places = Path(folder) / JSON_NAME, Path(folder) / HTML_NAME
    # Everything is rendered before the first byte is written.
    texts = to_json(record), to_html(record)
    write_files(dict(zip(places, texts)))
    return places


def load(path: Path | str) -> dict[str, Any]:
    """Read an audit record from ``audit.json`` or the folder that holds it.

    Raises:
        CorruptFile: The file is no JSON, or no audit record.
    """
    path = Path(path)
    if path.is_dir():
        path = path / JSON_NAME
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
    except (UnicodeDecodeError, json.JSONDecodeError, RecursionError) as error:
        raise CorruptFile(f"{path} is no JSON: {error}. Expected an audit record written by Audit.save.") from error
    try:
        validate(record)
    except InvalidRecord as error:
        raise CorruptFile(f"{path}: {error}") from error
    return record
