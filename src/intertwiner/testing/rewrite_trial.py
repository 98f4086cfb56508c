"""Rewrites of networks with a planted symmetry: the twin must be the network again, no wider, and exactly equivariant.

The planted networks are exactly equivariant and hidden by a random gauge, so lift and merge has to end at their widths
or below, with their function. The control of each is the same network under an input action that it does not know: its
group average is another function, so a twin that keeps the function there would be a false one.
"""

from __future__ import annotations

import time
import traceback
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Any

import torch

from intertwiner.errors import IntertwinerError, WrongUse
from intertwiner.network import Network, trace
from intertwiner.numerics.tolerance import (
    TWIN_DEFECT_FLOAT64,
    TWIN_DEFECT_FLOORS,
    TWIN_FUNCTION,
)
from intertwiner.rewrite import Certificate, rewrite
from intertwiner.testing.cells import draw_cells
from intertwiner.testing.planted import Cell, Planted, planted_network

SAMPLES = 256


@dataclass(frozen=True)
class RewriteTrial:
    """What came of one planted network.

    Args:
        cell: What was planted.
        seed: ``planted_network(cell, seed)`` builds it again.
        function: Largest difference of an output from the original, relative to the largest output.
        defect_float64: Of the twin.
        defect_floors: Its defect in float32 over the original's own float32 noise floor.
        widths: Input, hidden layers, output of the twin.
        original_widths: The same of the original.
        control: Whether the control was refused or came back as another function.
        problems: What went wrong, one line each.
        seconds: How long it took.
    """

    cell: Cell
    seed: int
    function: float
    defect_float64: float
    defect_floors: float
    widths: tuple[int, ...]
    original_widths: tuple[int, ...]
    control: bool
    problems: tuple[str, ...]
    seconds: float

    def to_json(self) -> dict[str, Any]:
        return asdict(self) | {"problems": list(self.problems)}


@dataclass(frozen=True)
class RewriteReport:
    """What a selfcheck of the rewrite found.

    Args:
        planted: Networks planted.
        exact: Networks whose twin is PROVED bit for bit, as narrow, and the same function.
        controls: Controls that were refused.
        function: Largest relative difference of an output by type.
        defect_float64: Largest defect of a twin in float64.
        defect_floors: Largest defect in float32 over the original's noise floor.
        failures: Everything that went wrong.
        seed: Of the choice of cells.
        seconds: Wall time.
    """

    planted: int
    exact: int
    controls: int
    function: dict[str, float]
    defect_float64: float
    defect_floors: float
    failures: tuple[RewriteTrial, ...]
    seed: int
    seconds: float

    @property
    def ok(self) -> bool:
        return self.exact == self.planted == self.controls

    def to_json(self) -> dict[str, Any]:
        record = {name: value for name, value in vars(self).items() if name != "failures"}
        return record | {"ok": self.ok, "failures": [t.to_json() for t in self.failures]}

    def __str__(self) -> str:
        kept = ", ".join(f"{value:.2g} in {dtype}" for dtype, value in self.function.items())
        lines = [
            f"exact twins, no wider      {self.exact} of {self.planted}",
            f"controls refused           {self.controls} of {self.planted}",
            f"function kept to           {kept} (relative)",
            f"defect                     {self.defect_float64:.2g} in float64, {self.defect_floors:.2g} x the "
            "original's noise floor in float32",
            f"time                       {self.seconds:.0f} s",
        ]
        for trial in self.failures:
            lines.append(f"failed: {trial.cell}, seed {trial.seed}")
            lines += [f"    {problem}" for problem in trial.problems]
        return "\n".join(lines)


def rewrite_selfcheck(count: int = 200, seed: int = 0) -> RewriteReport:
    """Plant symmetries in networks, rewrite them, and compare the twins with them.

    Args:
        count: Networks to plant.
        seed: Chooses the cells beyond the covering design, and the networks.

    Raises:
        WrongUse: ``count`` is not positive.

    Cost:
        About a second of one core per network.

    Example:
        >>> report = rewrite_selfcheck(count=1)
        >>> report.ok, report.exact
        (True, 1)
    """
    if count < 1:
        raise WrongUse(f"count must be positive, got {count}")
    start = time.perf_counter()
    trials = [run_rewrite_trial(cell, seed + i) for i, cell in enumerate(rewrite_cells(count, seed))]
    return rewrite_report(trials, seed, time.perf_counter() - start)


def rewrite_report(trials: list[RewriteTrial], seed: int, seconds: float) -> RewriteReport:
    """The trials added up."""
    function: dict[str, float] = {}
    for trial in trials:
        function[trial.cell.dtype] = max(function.get(trial.cell.dtype, 0.0), trial.function)
    return RewriteReport(
        planted=len(trials), exact=sum(not t.problems for t in trials), controls=sum(t.control for t in trials),
        function=function, defect_float64=max((t.defect_float64 for t in trials), default=0.0),
        defect_floors=max((t.defect_floors for t in trials), default=0.0),
        failures=tuple(t for t in trials if t.problems or not t.control), seed=seed, seconds=round(seconds, 2),
    )  # fmt: skip


def rewrite_cells(count: int, seed: int) -> Iterator[Cell]:
    """The cells of a selfcheck: the covering design first, then the others."""
    return iter(draw_cells(count, seed))


def run_rewrite_trial(cell: Cell, seed: int) -> RewriteTrial:
    """Plant, rewrite, compare; then the control.

    Args:
        cell: What to plant.
        seed: Everything random comes from it.

    Example:
        >>> run_rewrite_trial(Cell("C2", "tanh", "mlp", 1, "float64"), seed=0).problems
        ()
    """
    start = time.perf_counter()
    try:
        planted = planted_network(cell, seed)
        network = trace(planted.module, (planted.example(),))  # most of the time goes here: once for both
        twin = rewrite(network, planted.symmetry, seed=seed)
        function = _difference(planted, twin.module)
        control = _control_is_refused(planted, network)
    except (IntertwinerError, RuntimeError, ArithmeticError, LookupError, ValueError, TypeError) as error:
        # A crash is a failure of this trial, to be listed with its cell and seed like any other.
        where = traceback.extract_tb(error.__traceback__)[-1]
        crash = f"{type(error).__name__}: {error} ({where.name}, line {where.lineno})"
        nothing = float("inf")
        return RewriteTrial(
            cell, seed, nothing, nothing, nothing, (), (), False, (crash,), time.perf_counter() - start
        )  # fmt: skip
    found = twin.certificate
    floors = found.defect_float32 / found.noise_floor if found.noise_floor else float("inf")
    problems = _problems(cell, found, function, floors)
    return RewriteTrial(
        cell, seed, function, found.defect_float64, floors, found.widths, found.original_widths, control,
        tuple(problems), time.perf_counter() - start,
    )  # fmt: skip


def _difference(planted: Planted, module: torch.nn.Module) -> float:
    x = planted.example(SAMPLES)
    with torch.no_grad():
        wanted, got = planted.module(x).double(), module(x).double()
    return float((got - wanted).abs().max() / wanted.abs().max())


def _problems(cell: Cell, found: Certificate, function: float, floors: float) -> list[str]:
    out = []
    if not (found.verdict.is_proved and found.verdict.exact):
        out.append(f"the verdict on the twin is {found.verdict.kind}: {found.verdict.reason}")
    if any(a > b for a, b in zip(found.widths, found.original_widths, strict=True)):
        out.append(f"the twin has widths {found.widths}, the original {found.original_widths}")
    if not function <= TWIN_FUNCTION[cell.dtype]:
        out.append(f"the function changed by {function:.2g}, allowed {TWIN_FUNCTION[cell.dtype]:g}")
    if not found.defect_float64 <= TWIN_DEFECT_FLOAT64:
        out.append(f"the defect in float64 is {found.defect_float64:.2g}, allowed {TWIN_DEFECT_FLOAT64:g}")
    if not floors <= TWIN_DEFECT_FLOORS:
        out.append(f"the defect in float32 is {floors:.2g} noise floors, allowed {TWIN_DEFECT_FLOORS:g}")
    return out


def _control_is_refused(planted: Planted, network: Network) -> bool:
    """Under an action that the network does not know: refused, or another function."""
    try:
        twin = rewrite(network, planted.with_wrong_action())
    except IntertwinerError:
        return True
    return _difference(planted, twin.module) > 10 * TWIN_FUNCTION[planted.cell.dtype]
