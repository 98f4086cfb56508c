"""The audit record: one plain JSON object, everything the report shows and nothing else.

``AUDIT`` describes every key with its meaning; ``validate`` checks a record against it, ``document`` turns it into
``docs/audit-schema.md``, so that the check and the page cannot part. Readers ignore keys they do not know; a key
that is not required may be absent or null, which means "not measured".
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from intertwiner.errors import InvalidRecord
from intertwiner.report.fields import AUDIT, SCHEMA, Spec

_PYTHON: dict[str, tuple[type, ...]] = {
    "text": (str,),
    "number": (int, float),
    "integer": (int,),
    "flag": (bool,),
    "record": (dict,),
    "table": (dict,),
    "list": (list, tuple),
    "array": (list, tuple),
}

_AS_THEY_ARE = {int, str, bool, type(None)}


@dataclass(frozen=True)
class Mistake:
    """One place where a record departs from the schema."""

    where: str
    expected: str
    came: str

    def __str__(self) -> str:
        return f"{self.where}: expected {self.expected}, came {self.came}"


def validate(record: Mapping[str, Any], *, limit: int = 10) -> None:
    """Check a record against ``intertwiner.audit/1``.

    Args:
        record: Plain Python as ``json.loads`` gives it.
        limit: How many mistakes the message lists.

    Raises:
        InvalidRecord: A required key is missing, a value has the wrong type, or a number is not finite. The message
            lists each place with what was expected and what came.

    Example:
        >>> validate({"schema": "intertwiner.audit/1", "taps": []})
        Traceback (most recent call last):
        ...
        intertwiner.errors.InvalidRecord: this is no intertwiner.audit/1 record: 3 mistakes.
          network: expected record, came nothing
          group: expected record, came nothing
          verdict: expected record, came nothing
          The keys are described in docs/audit-schema.md. Nothing was rendered or written.
    """
    mistakes = list(_mistakes(AUDIT, record, ""))
    if not mistakes:
        return
    count = f"{len(mistakes)} mistake" + ("s" if len(mistakes) > 1 else "")
    lines = [f"this is no {SCHEMA} record: {count}.", *(f"  {m}" for m in mistakes[:limit])]
    if len(mistakes) > limit:
        lines.append(f"  and {len(mistakes) - limit} more")
    lines.append("  The keys are described in docs/audit-schema.md. Nothing was rendered or written.")
    raise InvalidRecord("\n".join(lines))


def _mistakes(spec: Spec, value: Any, where: str) -> Iterator[Mistake]:
    place = where or "record"
    if not _has_kind(value, spec.kind):
        yield Mistake(place, spec.kind, _describe(value))
    elif spec.choices and value not in spec.choices:
        yield Mistake(place, " or ".join(map(repr, spec.choices)), _describe(value))
    elif spec.kind == "number" and not math.isfinite(value):
        yield Mistake(place, "a finite number, or null where there is none", _describe(value))
    elif spec.kind == "array":
        yield from _array_mistakes(value, place)
    elif spec.kind == "record":
        for key, child in spec.fields.items():
            path = f"{where}.{key}" if where else key
            if value.get(key) is not None:
                yield from _mistakes(child, value[key], path)
            elif child.required:
                yield Mistake(path, child.kind, "nothing" if key not in value else "null")
    elif spec.kind in ("list", "table"):
        item = spec.item
        if item is None:
            return
        pairs = value.items() if spec.kind == "table" else enumerate(value)
        for key, child in pairs:
            path = f"{where}[{key!r}]" if spec.kind == "table" else f"{where}[{key}]"
            if spec.kind == "table" and not isinstance(key, str):
                yield Mistake(path, "a text as key", _describe(key))
            if child is not None or item.required:
                yield from _mistakes(item, child, path)


def _has_kind(value: Any, kind: str) -> bool:
    # A bool is an int to Python and none to JSON.
    return isinstance(value, _PYTHON[kind]) and (kind == "flag" or not isinstance(value, bool))


def _array_mistakes(value: Any, where: str) -> Iterator[Mistake]:
    try:
        array = np.array(value, dtype=object).astype(float)
    except (TypeError, ValueError):
        yield Mistake(where, "nested lists of numbers, all of one length", _describe(value))
        return
    # null becomes nan in the array; what was nan or inf before is a mistake.
    if not np.isfinite(array).all() and not _finite_or_null(value):
        yield Mistake(where, "finite numbers or null", "nan or inf among them")


def _finite_or_null(value: Any) -> bool:
    if isinstance(value, list | tuple):
        return all(map(_finite_or_null, value))
    return value is None or math.isfinite(value)


def _describe(value: Any) -> str:
    if value is None:
        return "null"
    text = repr(value)
    return f"{type(value).__name__} {text if len(text) <= 60 else text[:57] + '...'}"


def plain(record: Mapping[str, Any]) -> dict[str, Any]:
    """The record in plain Python: numpy values become numbers and lists, tuples become lists.

    JSON has no NaN and no infinity: such a number becomes null, and a line in ``notes`` says where, because a report
    must not be lost for one measurement that failed.

    >>> plain({"seed": np.int64(3), "value": float("nan")})
    {'seed': 3, 'value': None, 'notes': ['value: the measurement gave nan; stored as null.']}
    """
    lost: list[str] = []
    out = _plain(record, "", lost)
    if lost:
        shown = [*lost[:20], *([f"and {len(lost) - 20} more numbers that are not finite."] if len(lost) > 20 else [])]
        out["notes"] = [*(out.get("notes") or []), *shown]
    return out


def _plain(value: Any, where: str, lost: list[str]) -> Any:
    if isinstance(value, Mapping):
        # Keys stay as they are unless they are numpy's own texts; a key that is no text is a mistake to report.
        return {
            str(k) if isinstance(k, str) else k: _plain(v, f"{where}.{k}" if where else str(k), lost)
            for k, v in value.items()
        }
    if isinstance(value, np.ndarray):
        return _plain(value.tolist(), where, lost)
    if isinstance(value, list | tuple):
        if set(map(type, value)) <= _AS_THEY_ARE:  # long rows of a Cayley table
            return list(value)
        return [_plain(v, f"{where}[{i}]", lost) for i, v in enumerate(value)]
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, float) and not math.isfinite(value):
        lost.append(f"{where}: the measurement gave {value}; stored as null.")
        return None
    return value


def checked(record: Mapping[str, Any]) -> dict[str, Any]:
    """A valid record with every key of the schema present: what the renderers read.

    Absent lists become empty, absent tables empty, everything else absent becomes None.

    Raises:
        InvalidRecord: As ``validate``.
    """
    out = plain(record)
    validate(out)
    return _complete(AUDIT, out)


def _complete(spec: Spec, value: Any) -> Any:
    if value is None:
        return {"list": [], "table": {}}.get(spec.kind) if spec.empty_when_absent else None
    if spec.kind == "record":
        return {**value, **{key: _complete(child, value.get(key)) for key, child in spec.fields.items()}}
    if spec.kind == "list" and spec.item is not None:
        return [_complete(spec.item, v) for v in value]
    if spec.kind == "table" and spec.item is not None:
        return {k: _complete(spec.item, v) for k, v in value.items()}
    return value


def document() -> str:
    """The schema as a Markdown page, the text of ``docs/audit-schema.md``."""
    lines = [
        f"# The audit record, `{SCHEMA}`",
        "",
        "`Audit.to_json()`, `audit.json` in a saved report and `intertwiner audit --json` are one JSON object with the",
        "keys below. Keys in bold are required. Any other key may be absent or null: not measured. Numbers are finite;",
        "`null` stands where a measurement gave none, and `notes` says so. Readers must ignore keys that they do not",
        "know; a change that old readers would misread raises the number in the schema name.",
        "",
        "`record` is an object with the keys listed under it, `table` an object whose keys are names, `array` nested",
        "lists of numbers. The text of this page is `intertwiner.report.document()`; the tests compare the two.",
        "",
        "| key | kind | meaning |",
        "|---|---|---|",
    ]
    lines.extend(_rows(AUDIT, ""))
    return "\n".join(lines) + "\n"


def _rows(spec: Spec, where: str) -> Iterator[str]:
    for key, child in spec.fields.items():
        path = f"{where}.{key}" if where else key
        yield from _row(child, path)


def _row(spec: Spec, path: str) -> Iterator[str]:
    name = f"**`{path}`**" if spec.required else f"`{path}`"
    kind, item, inner = spec.kind, spec.item, path
    if spec.kind in ("list", "table") and item is not None:
        kind = f"{spec.kind} of {item.kind}s"
        inner = f"{path}[]" if spec.kind == "list" else f"{path}.*"
    choices = f" One of {', '.join(f'`{c}`' for c in spec.choices)}." if spec.choices else ""
    yield f"| {name} | {kind} | {spec.meaning}{choices} |"
    if spec.kind == "record":
        yield from _rows(spec, path)
    elif item is not None and item.kind == "record":
        yield from _rows(item, inner)
