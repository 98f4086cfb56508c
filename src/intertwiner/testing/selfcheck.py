"""Does it work on this machine: plant symmetries, audit the networks, and see whether exactly those come back.

Every planted network comes with two negative controls, one weight moved and a wrong input action. The first networks
are a covering design: every pair of values of (group, activation, family, depth, dtype) occurs among the first fifty.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import Executor, ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from typing import Any

import torch

from intertwiner.errors import WrongUse
from intertwiner.testing.cells import all_cells, draw_cells, pairs
from intertwiner.testing.planted import Cell
from intertwiner.testing.trial import Trial, run_trial

DATA_EVERY = 20
"""One network in so many is also measured on data."""

PER_WORKER = 8
"""Starting a process costs as much as this many networks."""

Job = tuple[Cell, int, bool]


@dataclass(frozen=True)
class SelfcheckReport:
    """What a selfcheck found.

    Args:
        planted: Networks planted.
        recovered: Networks at which every tap carries exactly the planted action, PROVED.
        false_actions: Networks at which an action was claimed under a wrong input action.
        twins: Negative controls, two per network.
        refused_twins: Controls that were refused.
        cells: Different cells among the networks.
        pairs: Pairs of values of different factors that they cover.
        all_pairs: Pairs that there are.
        on_data: Networks that were also measured on data.
        failures: Everything that went wrong; ``planted_network(cell, seed)`` builds each of them again.
        seed: Of the choice of cells; the networks are drawn from ``seed``, ``seed + 1``, ...
        seconds: Wall time.
    """

    planted: int
    recovered: int
    false_actions: int
    twins: int
    refused_twins: int
    cells: int
    pairs: int
    all_pairs: int
    on_data: int
    failures: tuple[Trial, ...]
    seed: int
    seconds: float

    @property
    def ok(self) -> bool:
        """All recovered, nothing claimed falsely, every control refused."""
        return self.recovered == self.planted and not self.false_actions and self.refused_twins == self.twins

    def to_json(self) -> dict[str, Any]:
        return {
            "ok": self.ok,
            "planted": self.planted,
            "recovered": self.recovered,
            "false_actions": self.false_actions,
            "twins": self.twins,
            "refused_twins": self.refused_twins,
            "cells": self.cells,
            "pairs": self.pairs,
            "all_pairs": self.all_pairs,
            "on_data": self.on_data,
            "failures": [trial.to_json() for trial in self.failures],
            "seed": self.seed,
            "seconds": round(self.seconds, 2),
        }

    def __str__(self) -> str:
        lines = [
            f"planted actions recovered   {self.recovered} of {self.planted}",
            f"false actions               {self.false_actions}",
            f"negative controls refused   {self.refused_twins} of {self.twins}",
            f"cells                       {self.cells} ({self.pairs} of {self.all_pairs} pairs of values)",
            f"also measured on data       {self.on_data}",
            f"time                        {self.seconds:.0f} s",
        ]
        for trial in self.failures:
            lines.append(f"failed: {trial.cell}, seed {trial.seed}")
            lines += [f"    {problem}" for problem in trial.problems]
        return "\n".join(lines)


def selfcheck(
    count: int = 600,
    full: bool = False,
    seed: int = 0,
    *,
    workers: int | None = None,
    executor: Executor | None = None,
    progress: bool = True,
) -> SelfcheckReport:
    """Plant symmetries in networks, audit them, and count what comes back.

    Args:
        count: Networks to plant.
        full: Plant every cell once instead.
        seed: Chooses the cells beyond the covering design, and the networks.
        workers: Processes; one per core by default, none beside this one for a handful of networks.
        executor: Where to run instead, e.g. ``dask.distributed.Client(...).get_executor()``.
        progress: Show a bar on the terminal's error stream.

    Raises:
        WrongUse: ``count`` or ``workers`` is not positive, or worker processes cannot start.

    Cost:
        About 0.3 s of one core per network.

    Example:
        >>> report = selfcheck(count=2, progress=False)
        >>> report.ok, report.recovered, report.refused_twins
        (True, 2, 4)
    """
    if count < 1 or (workers is not None and workers < 1):
        raise WrongUse(f"count and workers must be positive, got {count} and {workers}")
    start = time.perf_counter()
    cells = draw_cells(len(all_cells()) if full else count, seed)
    jobs = [(cell, seed + i, i % DATA_EVERY == 0) for i, cell in enumerate(cells)]
    workers = min(os.cpu_count() or 1, 1 + len(jobs) // PER_WORKER) if workers is None else workers
    if executor is not None:
        trials = _submitted(jobs, executor)
    else:
        trials = _in_processes(jobs, workers) if workers > 1 else (run_trial(c, s, with_data=d) for c, s, d in jobs)
    done = list(_watched(trials, len(jobs)) if progress else trials)
    return _report(done, jobs, seed, time.perf_counter() - start)


def _report(trials: Sequence[Trial], jobs: Sequence[Job], seed: int, seconds: float) -> SelfcheckReport:
    return SelfcheckReport(
        planted=len(trials),
        recovered=sum(t.recovered for t in trials),
        false_actions=sum(t.false_action for t in trials),
        twins=2 * len(trials),
        refused_twins=sum(t.refused for t in trials),
        cells=len({t.cell for t in trials}),
        pairs=len(pairs(t.cell for t in trials)),
        all_pairs=len(pairs(all_cells())),
        on_data=sum(with_data for _, _, with_data in jobs),
        failures=tuple(sorted((t for t in trials if t.problems), key=lambda t: t.seed)),
        seed=seed,
        seconds=seconds,
    )


def _submitted(jobs: Sequence[Job], executor: Executor) -> Iterator[Trial]:
    """Trials as they finish; what has not begun is cancelled when the caller stops asking."""
    futures = [executor.submit(run_trial, cell, seed, with_data=data) for cell, seed, data in jobs]
    try:
        for future in as_completed(futures):
            yield future.result()
    finally:
        for future in futures:
            future.cancel()


def _in_processes(jobs: Sequence[Job], workers: int) -> Iterator[Trial]:
    # Spawned, since torch's threads do not survive a fork; Ctrl-C reaches this process alone and stops the others.
    context = multiprocessing.get_context("spawn")
    pool = ProcessPoolExecutor(workers, mp_context=context, initializer=_begin_worker)
    try:
        yield from _submitted(jobs, pool)
    except BrokenProcessPool as error:
        raise WrongUse(
            "the worker processes of the selfcheck died.\n"
            '  Usual cause: a script without `if __name__ == "__main__":` around the call. Add it, or pass workers=1.'
        ) from error
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def _begin_worker() -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    torch.set_num_threads(1)


def _watched(trials: Iterator[Trial], total: int) -> Iterator[Trial]:
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (TextColumn("selfcheck"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    console, status = Console(stderr=True), TextColumn("{task.description}")
    with Progress(*columns, status, console=console, transient=True, disable=not console.is_terminal) as bar:
        task, failed = bar.add_task("", total=total), 0
        for trial in trials:
            failed += bool(trial.problems)
            bar.update(task, advance=1, description=f"{failed} failed" if failed else "")
            yield trial
