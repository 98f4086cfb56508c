"""A file of JSON lines that a long search appends to, and from which it goes on.

The first line says what is searched; a file of another search is refused. Every further line is one finished result,
written by a single append. A last line without its end was cut off while it was written: it is dropped.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any

from intertwiner.errors import CorruptFile, WrongUse

Record = dict[str, Any]


class Journal:
    """The results so far, in memory and, where there is a path, in a file.

    Args:
        path: The file; None for memory only.
        heading: What is searched.

    Raises:
        WrongUse: If the file is the journal of something else.
        CorruptFile: If a line before the last one is no JSON object.

    Example:
        >>> with Journal(None, {"search": "demo"}) as journal:
        ...     journal.add({"widths": [2, 2, 1]})
        ...     journal.records
        [{'widths': [2, 2, 1]}]
    """

    def __init__(self, path: str | os.PathLike[str] | None, heading: Mapping[str, Any]) -> None:
        self.records: list[Record] = []
        self._file: int | None = None
        if path is None:
            return
        place = Path(path)
        lines = _whole_lines(place) if place.is_file() else []
        if lines and lines[0] != dict(heading):
            raise WrongUse(
                f"{place} is the journal of another search: {lines[0]}, not {dict(heading)}. Next step: another file, "
                "or the arguments of that search. Nothing was computed."
            )
        self.records = lines[1:]
        self._file = os.open(place, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
        if not lines:
            self._write(dict(heading))

    def add(self, record: Record) -> None:
        """Keep a result, at once."""
        self.records.append(record)
        self._write(record)

    def _write(self, record: Record) -> None:
        if self._file is not None:
            os.write(self._file, (json.dumps(record, ensure_ascii=False, allow_nan=False) + "\n").encode())

    def __enter__(self) -> Journal:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._file is not None:
            os.close(self._file)
            self._file = None


def _whole_lines(place: Path) -> list[Record]:
    """The lines with their end; what comes after the last end is cut off in the file as well."""
    data = place.read_bytes()
    end = data.rfind(b"\n") + 1
    if end < len(data):
        with place.open("r+b") as file:
            file.truncate(end)
    out = []
    for number, line in enumerate(data[:end].splitlines(), start=1):
        try:
            record = json.loads(line)
        except ValueError as error:
            raise CorruptFile(
                f"{place}, line {number} is no JSON: {line[:60]!r} ({error}). Usual cause: two processes that wrote to "
                "one file, or an edit by hand. Next step: delete that line. Nothing was computed."
            ) from error
        if not isinstance(record, dict):
            raise CorruptFile(f"{place}, line {number} is no JSON object: {line[:60]!r}. Nothing was computed.")
        out.append(record)
    return out
