"""Does reduction work on this machine: plant redundancy, reduce, and see whether exactly that is taken out."""

from __future__ import annotations

import copy
import time
from collections.abc import Iterator
from concurrent.futures import Executor
from dataclasses import dataclass
from itertools import product
from typing import Any

import torch

from intertwiner.errors import IntertwinerError, WrongUse
from intertwiner.identify import Reduction, reduce
from intertwiner.numerics.seeds import rng
from intertwiner.numerics.tolerance import KEPT_FUNCTION, tolerance
from intertwiner.testing.redundant import ACTIVATIONS, Redundant, RedundantCell, redundant_network

FAMILIES = ("mlp", "conv", "residual")


@dataclass(frozen=True)
class ReductionTrial:
    """One planted network and what the reduction made of it.

    Args:
        cell: What kind of network.
        seed: ``redundant_network(cell, seed)`` builds it again.
        planted: Neurons that had to go.
        removed: Neurons that went.
        relative: Largest difference to the original, relative to its largest output, in float64.
        refused: Nothing was taken out of the twin in which every relation is missed by a thousandth.
        problems: What went wrong, in words.
    """

    cell: RedundantCell
    seed: int
    planted: int
    removed: int
    relative: float
    refused: bool
    problems: tuple[str, ...]

    def to_json(self) -> dict[str, Any]:
        return {**vars(self), "cell": str(self.cell), "problems": list(self.problems)}


@dataclass(frozen=True)
class IdentifyCheckReport:
    """What a selfcheck of the reduction found.

    Args:
        networks: Networks planted.
        recovered: Networks out of which exactly the planted neurons were taken.
        planted: Redundant neurons in all of them.
        removed: Neurons taken out.
        kept: Networks whose function is kept to ``KEPT_FUNCTION``.
        worst: Largest relative difference, in float64.
        controls: Twins with near misses.
        refused: Twins out of which nothing was taken.
        cells: Different cells among the networks.
        failures: Everything that went wrong.
        seed: The networks are drawn from ``seed``, ``seed + 1``, ...
        seconds: Wall time.
    """

    networks: int
    recovered: int
    planted: int
    removed: int
    kept: int
    worst: float
    controls: int
    refused: int
    cells: int
    failures: tuple[ReductionTrial, ...]
    seed: int
    seconds: float

    @property
    def ok(self) -> bool:
        """All found, nothing else removed, every function kept, every near miss refused."""
        return self.recovered == self.kept == self.networks and self.refused == self.controls

    def to_json(self) -> dict[str, Any]:
        record = {"ok": self.ok, **vars(self), "failures": [t.to_json() for t in self.failures]}
        return record | {"seconds": round(self.seconds, 2)}

    def __str__(self) -> str:
        lines = [
            f"planted redundancy found    {self.recovered} of {self.networks} networks"
            f" ({self.removed} of {self.planted} neurons)",
            f"function kept               {self.kept} of {self.networks} (worst {self.worst:.1e} relative, float64)",
            f"near misses left alone      {self.refused} of {self.controls}",
            f"kinds of network            {self.cells}",
            f"time                        {self.seconds:.0f} s",
        ]
        for trial in self.failures:
            lines.append(f"failed: {trial.cell}, seed {trial.seed}")
            lines += [f"    {problem}" for problem in trial.problems]
        return "\n".join(lines)


def redundant_cells() -> tuple[RedundantCell, ...]:
    """Every kind of network that is planted; cubes at most two deep.

    >>> len(redundant_cells())
    189
    """
    return tuple(
        RedundantCell(activation, family, depth, dtype)
        for activation, family, depth, dtype in product(ACTIVATIONS, FAMILIES, (1, 2, 3), ("float64", "float32"))
        if not (activation == "t^3" and depth > 2) and not (activation == "sin" and dtype == "float32" and depth > 2)
    )


def selfcheck_identify(
    count: int = 300, seed: int = 0, *, executor: Executor | None = None, progress: bool = False
) -> IdentifyCheckReport:
    """Plant redundancy in networks, reduce them, and count what was found.

    Args:
        count: Networks to plant; every kind once before any comes twice.
        seed: Chooses the order of kinds and the networks.
        executor: Where to run; in this process by default.
        progress: Show a bar on the terminal's error stream.

    Raises:
        WrongUse: ``count`` is not positive.

    Cost:
        About 0.2 s of one core per network.

    Example:
        >>> report = selfcheck_identify(count=3)
        >>> report.ok, report.recovered, report.refused
        (True, 3, 3)
    """
    if count < 1:
        raise WrongUse(f"count must be positive, got {count}")
    start = time.perf_counter()
    cells = redundant_cells()
    order = rng(seed).permutation(len(cells))
    jobs = [(cells[order[i % len(cells)]], seed + i) for i in range(count)]
    if executor is None:
        trials: Iterator[ReductionTrial] = (reduction_trial(*job) for job in jobs)
    else:
        trials = executor.map(reduction_trial, *zip(*jobs, strict=True))
    done = list(_watched(trials, count) if progress else trials)
    return IdentifyCheckReport(
        networks=count,
        recovered=sum(not any(p.startswith("at ") for p in t.problems) for t in done),
        planted=sum(t.planted for t in done),
        removed=sum(t.removed for t in done),
        kept=sum(not any(p.startswith("the ") for p in t.problems) for t in done),
        worst=max(t.relative for t in done),
        controls=count,
        refused=sum(t.refused for t in done),
        cells=len({t.cell for t in done}),
        failures=tuple(t for t in done if t.problems),
        seed=seed,
        seconds=time.perf_counter() - start,
    )


def reduction_trial(cell: RedundantCell, seed: int) -> ReductionTrial:
    """Reduce one planted network and its twin, and say what differs from the plan."""
    planted = redundant_network(cell, seed)
    count = sum(len(u) + len(planted.constant[p]) + sum(len(c) - 1 for c in planted.classes[p])
                for p, u in planted.unread.items())  # fmt: skip
    try:
        found = reduce(planted.module, example=planted.example(), samples=64, seed=seed)
        twin = reduce(planted.near_misses, example=planted.example(), samples=16, seed=seed)
    except IntertwinerError as error:
        return ReductionTrial(cell, seed, count, 0, float("inf"), False, (f"at all: {type(error).__name__}: {error}",))
    problems = differences(planted, found)
    relative = found.certificate.relative
    if relative > KEPT_FUNCTION:
        problems.append(f"the function moved by {relative:.2g} of its largest value")
    own, limit = _independent(planted, found), KEPT_FUNCTION if cell.dtype == "float64" else tolerance(cell.dtype)
    if own > limit:
        problems.append(f"the module that was returned differs by {own:.2g} of the largest value")
    if twin.removed:
        problems.append(f"control: out of the twin of near misses {len(twin.removed)} neurons were taken")
    return ReductionTrial(cell, seed, count, len(found.removed), relative, not twin.removed, tuple(problems))


def differences(planted: Redundant, found: Reduction) -> list[str]:
    """Where what was removed is not what was planted."""
    out = []
    for place in planted.unread:
        kinds = {r.neuron: r.kind for r in found.removed if r.place == place}
        left = dict(kinds)
        for kind, expected in (("unread", planted.unread[place]), ("constant", planted.constant[place])):
            got = {i for i, k in kinds.items() if k == kind}
            if got != expected:
                out.append(f"at {place}: {kind} {sorted(got)}, planted {sorted(expected)}")
            left = {i: k for i, k in left.items() if k != kind}
        for members in planted.classes[place]:
            gone = {i for i in left if i in members}
            joined = {left.pop(i) for i in gone}
            if len(gone) != len(members) - 1 or not joined <= {"duplicate", "opposite"}:
                out.append(f"at {place}: {sorted(gone)} of the copies {sorted(members)} were joined")
            if members & planted.opposite[place] and "opposite" not in joined:
                out.append(f"at {place}: no opposite pair among {sorted(members)}")
        if left:
            out.append(f"at {place}: neurons {sorted(left)} were not planted")
    if any(r.place not in planted.unread for r in found.removed):
        out.append("at another layer something was removed")
    return out


def _independent(planted: Redundant, found: Reduction) -> float:
    """The difference between the user's module and the returned one, without the traced graph and in float64."""
    inputs = planted.example(64).double()
    with torch.no_grad():
        before, after = (copy.deepcopy(m).double()(inputs) for m in (planted.module, found.module))
    return float((before - after).abs().max() / before.abs().max())


def _watched(trials: Iterator[ReductionTrial], total: int) -> Iterator[ReductionTrial]:
    from rich.console import Console
    from rich.progress import track

    console = Console(stderr=True)
    yield from track(trials, "reducing", total, console=console, transient=True, disable=not console.is_terminal)
