"""``intertwiner selfcheck``: plants networks with known actions on this machine and finds them again."""

from __future__ import annotations

import json
import time
from typing import Any

from intertwiner.cli.audit import print_json
from intertwiner.cli.exits import ABOVE, PROVED
from intertwiner.cli.terminal import progress


def run_selfcheck(count: int, *, full: bool, seed: int, workers: int | None, as_json: bool) -> int:
    """0 where every planted action is recovered and nothing false is claimed, else 1."""
    from intertwiner.testing import selfcheck

    return _told(selfcheck(count, full, seed, workers=workers), as_json)


def run_identify_check(count: int, *, seed: int, as_json: bool) -> int:
    """0 where exactly the planted redundancy is taken out of every network, else 1."""
    from intertwiner.testing import selfcheck_identify

    return _told(selfcheck_identify(count, seed), as_json)


def run_rewrite_check(count: int, *, seed: int, as_json: bool) -> int:
    """0 where every planted network comes back as its own twin, proved and no wider, else 1."""
    from intertwiner.testing.rewrite_trial import rewrite_cells, rewrite_report, run_rewrite_trial

    start = time.perf_counter()
    cells = list(enumerate(rewrite_cells(count, seed)))
    trials = [run_rewrite_trial(cell, seed + n) for n, cell in progress(cells, "selfcheck")]
    return _told(rewrite_report(trials, seed, time.perf_counter() - start), as_json)


def _told(report: Any, as_json: bool) -> int:
    if as_json:
        print_json(json.dumps(report.to_json(), indent=1, ensure_ascii=False) + "\n")
    else:
        print(report)
        print("everything is as it should be" if report.ok else "this installation does not work as it should")
    return PROVED if report.ok else ABOVE
