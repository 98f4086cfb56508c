"""``intertwiner compare``: two audits side by side."""

from __future__ import annotations

import json
from pathlib import Path

from intertwiner.cli.audit import print_json, tolerant_output
from intertwiner.cli.exits import PROVED, printable
from intertwiner.errors import CorruptFile


def run_compare(first: Path, second: Path, *, as_json: bool) -> int:
    """Print two saved audits side by side."""
    for path in (first, second):
        if not (path / "audit.json" if path.is_dir() else path).is_file():
            raise CorruptFile(f"{path}: there is no audit.json; 'intertwiner audit ... --out {path}' writes one")
    from intertwiner.audit import Audit, compare

    found = compare(Audit.load(first), Audit.load(second))
    if as_json:
        print_json(json.dumps(found.to_json(), indent=1, ensure_ascii=False) + "\n")
    else:
        tolerant_output()
        print(printable(str(found)))
    return PROVED
