"""``intertwiner selfcheck``: plants networks with known actions on this machine and finds them again."""

from __future__ import annotations

import json
import multiprocessing
import os
import signal
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from typing import Any

from intertwiner.cli.audit import print_json
from intertwiner.cli.exits import ABOVE, PROVED
from intertwiner.cli.terminal import progress

PER_WORKER = 10
"""Fewer networks than this are not worth a process beside the first."""


def run_selfcheck(count: int, *, full: bool, seed: int, workers: int | None, as_json: bool) -> int:
    """0 where every planted action is recovered and nothing false is claimed, else 1."""
    from intertwiner.testing import selfcheck

    return _told(selfcheck(count, full, seed, workers=workers), as_json)


def run_identify_check(count: int, *, seed: int, as_json: bool) -> int:
    """0 where exactly the planted redundancy is taken out of every network, else 1."""
    from intertwiner.testing import selfcheck_identify

    return _told(selfcheck_identify(count, seed), as_json)


def run_rewrite_check(count: int, *, seed: int, as_json: bool, workers: int | None = None) -> int:
    """0 where every planted network comes back as its own twin, proved and no wider, else 1."""
    from intertwiner.testing.rewrite_trial import rewrite_cells, rewrite_report, run_rewrite_trial

    start = time.perf_counter()
    jobs = list(zip(rewrite_cells(count, seed), range(seed, seed + count), strict=True))
    trials = _mapped(run_rewrite_trial, jobs, workers)
    return _told(rewrite_report(trials, seed, time.perf_counter() - start), as_json)


def run_laws_check(count: int, *, seed: int, as_json: bool, workers: int | None = None) -> int:
    """0 where exactly the planted laws are found and every near miss is refuted, else 1."""
    from intertwiner.testing.laws_trial import laws_jobs, laws_report, run_laws_trial

    start = time.perf_counter()
    trials = _mapped(run_laws_trial, list(laws_jobs(count, seed)), workers)
    return _told(laws_report(trials, seed, time.perf_counter() - start), as_json)


def _mapped(trial: Callable[..., Any], jobs: Sequence[tuple[Any, int]], workers: int | None) -> list[Any]:
    """One trial per job, in several processes where there are enough of them."""
    workers = min(os.cpu_count() or 1, 1 + len(jobs) // PER_WORKER) if workers is None else workers
    # Spawned, since torch's threads do not survive a fork.
    context = multiprocessing.get_context("spawn")
    pool = ProcessPoolExecutor(workers, mp_context=context, initializer=_one_thread) if workers > 1 else None
    try:
        done = iter((pool.map if pool else map)(trial, *zip(*jobs, strict=True)))
        return [next(done) for _ in progress(jobs, "selfcheck")]
    finally:
        if pool is not None:
            pool.shutdown(cancel_futures=True)


def _one_thread() -> None:
    import torch

    signal.signal(signal.SIGINT, signal.SIG_IGN)
    torch.set_num_threads(1)


def _told(report: Any, as_json: bool) -> int:
    if as_json:
        print_json(json.dumps(report.to_json(), indent=1, ensure_ascii=False) + "\n")
    else:
        print(report)
        print("everything is as it should be" if report.ok else "this installation does not work as it should")
    return PROVED if report.ok else ABOVE
