"""``intertwiner selfcheck``: plants networks with known actions on this machine and finds them again."""

from __future__ import annotations

import json
from typing import Any

from intertwiner.cli.audit import print_json
from intertwiner.cli.exits import ABOVE, PROVED


def run_selfcheck(count: int, *, full: bool, seed: int, workers: int | None, as_json: bool) -> int:
    """0 where every planted action is recovered and nothing false is claimed, else 1."""
    from intertwiner.testing import selfcheck

    return _told(selfcheck(count, full, seed, workers=workers), as_json)


def run_identify_check(count: int, *, seed: int, as_json: bool) -> int:
    """0 where exactly the planted redundancy is taken out of every network, else 1."""
    from intertwiner.testing import selfcheck_identify

    return _told(selfcheck_identify(count, seed), as_json)


def _told(report: Any, as_json: bool) -> int:
    if as_json:
        print_json(json.dumps(report.to_json(), indent=1, ensure_ascii=False) + "\n")
    else:
        print(report)
        print("everything is as it should be" if report.ok else "this installation does not work as it should")
    return PROVED if report.ok else ABOVE
