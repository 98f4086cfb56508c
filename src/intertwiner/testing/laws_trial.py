"""Do conservation laws work on this machine: plant networks with known laws, find them, and refute near misses.

Found laws have to be the planted ones and no others, to change along the gauge group as it says, and to stand still
along the gradient of a random loss; functions that are nearly laws have to move along it, far above rounding.
"""

from __future__ import annotations

import time
import traceback
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch

from intertwiner.errors import IntertwinerError, WrongUse
from intertwiner.numerics.seeds import rng as seeded
from intertwiner.numerics.tolerance import ABOVE_NOISE, LEAST_FLOOR, ROUNDING
from intertwiner.testing.near_misses import KINDS, near_misses
from intertwiner.testing.planted_laws import LawsCell, PlantedLaws, Space, lawless, laws_cells, planted_laws
from intertwiner.training.conservation import conservation_laws
from intertwiner.training.families import Family

SAMPLES = 16

COUNTED = ("linear", "relu")
"""Activations of the fully connected networks whose laws are counted as well, from above and below."""


@dataclass(frozen=True)
class LawsTrial:
    """What came of one planted network.

    Args:
        cell: What was planted.
        seed: ``planted_laws(cell, seed)`` builds it again.
        planted: Laws that the gauge groups give.
        found: Laws that were found.
        transformed: Largest distance of a moved law from what the group says, over the size of its terms.
        rate: Largest rate of a law along the gradients of random losses, over the size of its terms.
        missed: By kind of near miss: how many were made, how many refuted, and the least rate of one.
        problems: What went wrong, one line each.
    """

    cell: LawsCell
    seed: int
    planted: int
    found: int
    transformed: float
    rate: float
    missed: dict[str, tuple[int, int, float]]
    problems: tuple[str, ...]

    def to_json(self) -> dict[str, Any]:
        missed = {kind: list(figures) for kind, figures in self.missed.items()}
        return asdict(self) | {"missed": missed, "problems": list(self.problems)}


@dataclass(frozen=True)
class LawsReport:
    """What a selfcheck of the conservation laws found.

    Args:
        networks: Networks planted.
        recovered: Networks in which everything was as planted.
        planted: Laws in all of them.
        found: Laws that were found.
        transformed: Largest distance of a moved law from what its group says.
        rate: Largest rate of a law: the noise floor.
        near_misses: By kind: made, refuted, least rate.
        failures: Everything that went wrong.
        seed: The networks are drawn from ``seed``, ``seed + 1``, ...
        seconds: Wall time.
    """

    networks: int
    recovered: int
    planted: int
    found: int
    transformed: float
    rate: float
    near_misses: dict[str, tuple[int, int, float]]
    failures: tuple[LawsTrial, ...]
    seed: int
    seconds: float

    @property
    def ok(self) -> bool:
        """Everything found as planted, and every near miss refuted."""
        refuted = all(made == out > 0 for made, out, _ in self.near_misses.values())
        return self.recovered == self.networks and self.found == self.planted and refuted

    def to_json(self) -> dict[str, Any]:
        """The report as plain values."""
        kinds = {kind: {"made": m, "refuted": r, "least_rate": x} for kind, (m, r, x) in self.near_misses.items()}
        rest = {"near_misses": kinds, "failures": [t.to_json() for t in self.failures]}
        return {"ok": self.ok, **vars(self), **rest, "seconds": round(self.seconds, 2)}

    def __str__(self) -> str:
        lines = [
            f"planted laws found         {self.found} of {self.planted}",
            f"networks as planted        {self.recovered} of {self.networks}",
            f"moved along the group      within {self.transformed:.1e} of what it says",
            f"along random gradients     they change by {self.rate:.1e} at most, the noise floor",
        ]
        for kind, (made, refuted, least) in self.near_misses.items():
            lines.append(f"{kind:<27}{refuted} of {made} refuted, changing by {least:.1e} at least")
        lines.append(f"time                       {self.seconds:.0f} s")
        for trial in self.failures:
            lines.append(f"failed: {trial.cell}, seed {trial.seed}")
            lines += [f"    {problem}" for problem in trial.problems]
        return "\n".join(lines)


def laws_selfcheck(count: int = 100, seed: int = 0) -> LawsReport:
    """Plant networks with known laws and find them again.

    Args:
        count: Networks to plant; every kind once before any comes twice.
        seed: Chooses the order of kinds and the networks.

    Raises:
        WrongUse: ``count`` is not positive.

    Cost:
        About 0.3 s of one core per network.

    Example:
        >>> report = laws_selfcheck(count=2)
        >>> report.ok, report.recovered
        (True, 2)
    """
    if count < 1:
        raise WrongUse(f"count must be positive, got {count}")
    start = time.perf_counter()
    return laws_report([run_laws_trial(*job) for job in laws_jobs(count, seed)], seed, time.perf_counter() - start)


def laws_jobs(count: int, seed: int) -> Iterator[tuple[LawsCell, int]]:
    """What to plant, with the seed of each."""
    cells = laws_cells()
    order = seeded(seed).permutation(len(cells))
    return ((cells[order[i % len(cells)]], seed + i) for i in range(count))


def laws_report(trials: Iterable[LawsTrial], seed: int, seconds: float) -> LawsReport:
    """The trials added up."""
    done = list(trials)
    kinds = {kind: _added(t.missed[kind] for t in done if kind in t.missed) for kind in KINDS}
    return LawsReport(
        networks=len(done),
        recovered=sum(not t.problems for t in done),
        planted=sum(t.planted for t in done),
        found=sum(t.found for t in done),
        transformed=max((t.transformed for t in done), default=0.0),
        rate=max((t.rate for t in done), default=0.0),
        near_misses=kinds,
        failures=tuple(t for t in done if t.problems),
        seed=seed,
        seconds=seconds,
    )


def _added(parts: Iterable[tuple[int, int, float]]) -> tuple[int, int, float]:
    rows = list(parts)
    return sum(r[0] for r in rows), sum(r[1] for r in rows), min((r[2] for r in rows), default=float("inf"))


def run_laws_trial(cell: LawsCell, seed: int) -> LawsTrial:
    """Plant, find, move, differentiate, and refute.

    Example:
        >>> run_laws_trial(LawsCell("relu", "mlp", 2), seed=0).problems
        ()
    """
    planted = planted_laws(cell, seed)
    try:
        counted = cell.family == "mlp" and cell.activation in COUNTED
        found = conservation_laws(planted.module, example=planted.example(), count=counted, seed=seed)
        control = conservation_laws(lawless(planted), example=planted.example(), count=False, seed=seed)
    except (IntertwinerError, RuntimeError, ArithmeticError, LookupError, ValueError, TypeError) as error:
        # A crash is a failure of this trial, to be listed with its cell and seed like any other.
        where = traceback.extract_tb(error.__traceback__)[-1]
        crash = f"{type(error).__name__}: {error} ({where.name}, line {where.lineno})"
        return LawsTrial(cell, seed, planted.count, 0, float("inf"), float("inf"), {}, (crash,))
    pairs, problems = matched(planted, found.families)
    transformed = max((_moved(planted, *pair) for pair in pairs), default=0.0)
    if not transformed <= ROUNDING:
        problems.append(f"moved along its group a law is {transformed:.1e} from what the group says")
    state, gradients = planted.state, random_gradients(planted)
    rate = max((largest_rate(family, state, gradients) for family, _ in pairs), default=0.0)
    if not rate <= ROUNDING:
        problems.append(f"a law changes by {rate:.1e} along the gradient of a loss")
    if counted and found.count is not None and found.count.laws != planted.count:
        problems.append(f"{found.count.laws} laws were counted, {planted.count} planted")
    if control.families:
        problems.append(f"control: {len(control.families)} families of laws were found for tanh, which has none")
    missed = {}
    for kind, family in near_misses(pairs):
        speed = largest_rate(family, state, gradients)
        refuted = speed > ABOVE_NOISE * max(rate, LEAST_FLOOR)
        missed[kind] = _added([missed.get(kind, (0, 0, float("inf"))), (1, int(refuted), speed)])
        if not refuted:
            problems.append(f"{kind}: {family.formula} was not refuted, it changes by {speed:.1e}")
    total = sum(family.count for family in found.families)
    return LawsTrial(cell, seed, planted.count, total, transformed, rate, missed, tuple(problems))


def matched(planted: PlantedLaws, families: Iterable[Family]) -> tuple[list[tuple[Family, Space]], list[str]]:
    """Every family with the space that has its parameters, and what is missing or too much."""
    left = {space.parameters: space for space in planted.spaces}
    kind = "matrix" if planted.linear else "balance"
    pairs, problems = [], []
    for family in families:
        space = left.pop(frozenset(family.parameters), None)
        if space is None or family.kind != kind or family.size != space.size:
            problems.append(f"{family.formula} was found, and not planted")
        else:
            pairs.append((family, space))
    problems += [f"the laws of {', '.join(space.writers)} were not found" for space in left.values()]
    return pairs, problems


def _moved(planted: PlantedLaws, family: Family, space: Space) -> float:
    """How far the laws at moved parameters are from what the group makes of them, over the size of their terms."""
    state, element = planted.state, planted.element(space, seeded(planted.seed))
    moved = planted.moved(state, space, element)
    worst = 0.0
    # The law may be any multiple of the planted one: the same at both places.
    before, there = family.values(state), planted.laws(state, space)
    factor = float(before @ there / (there @ there))
    for at, expected in ((state, there), (moved, planted.laws(state, space, element))):
        size = family.rates(at, at)[1] / 2
        worst = max(worst, float((np.abs(family.values(at) - factor * expected) / size).max()))
    return worst


def random_gradients(planted: PlantedLaws) -> dict[str, np.ndarray]:
    """The gradient of a random smooth function of the outputs on random inputs."""
    generator = torch.Generator().manual_seed(planted.seed + 1)
    out = planted.module(planted.example(SAMPLES))
    first, second = (torch.randn(out.shape, generator=generator, dtype=out.dtype) for _ in range(2))
    (first * torch.sin(out) + second * out).sum().backward()
    gradients = {n: p.grad.numpy().copy() for n, p in planted.module.named_parameters() if p.grad is not None}
    planted.module.zero_grad()
    return gradients


def largest_rate(family: Family, state: dict[str, np.ndarray], gradients: dict[str, np.ndarray]) -> float:
    """The largest rate of the laws of a family, over the size of its terms."""
    total, size = family.rates(state, gradients)
    return float(np.max(np.abs(total) / np.maximum(size, np.finfo(np.float64).tiny)))
