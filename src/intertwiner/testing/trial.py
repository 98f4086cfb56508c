"""One trial of a selfcheck: a planted network and its two negative controls, each through the public audit."""

from __future__ import annotations

import time
import traceback
from dataclasses import asdict, dataclass
from typing import Any

from intertwiner.audit import Audit, Effort, audit
from intertwiner.errors import IntertwinerError
from intertwiner.network import trace
from intertwiner.numerics.tolerance import ABOVE_NOISE, SAME_ON_DATA
from intertwiner.testing.assertions import replay
from intertwiner.testing.planted import Cell, Planted, planted_network

SAMPLES = 256


@dataclass(frozen=True)
class Trial:
    """What came of one planted network.

    Args:
        cell: What was planted.
        seed: ``planted_network(cell, seed)`` builds it again.
        recovered: Every tap carries exactly the planted action, and the verdict is PROVED.
        false_action: An action was claimed, or the network called equivariant, under a wrong input action.
        refused: How many of the two controls were refused: one weight moved (REFUTED, with a witness that holds when
            it is replayed), the wrong action (not PROVED, no action at any tap).
        problems: What went wrong, one line each.
        seconds: How long it took.
    """

    cell: Cell
    seed: int
    recovered: bool
    false_action: bool
    refused: int
    problems: tuple[str, ...]
    seconds: float

    def to_json(self) -> dict[str, Any]:
        return asdict(self) | {"problems": list(self.problems)}


def run_trial(cell: Cell, seed: int, *, with_data: bool = False) -> Trial:
    """Plant, audit, and audit both controls.

    Args:
        cell: What to plant.
        seed: Everything random comes from it.
        with_data: Also ask what the data path sees: the same action, up to rounding.

    Cost:
        Two traces (about half a second) and three audits without data.

    Example:
        >>> trial = run_trial(Cell("C2", "tanh", "mlp", 1, "float64"), seed=0)
        >>> trial.recovered, trial.false_action, trial.refused
        (True, False, 2)
    """
    start = time.perf_counter()
    lost: list[str] = []
    false: list[str] = []
    slack: list[str] = []
    try:
        planted = planted_network(cell, seed)
        network = trace(planted.module, planted.example())
        found = audit(
            network, planted.symmetry, planted.example(SAMPLES) if with_data else None, effort=_effort(with_data)
        )
        lost += differences(planted, found)
        lost += off_on_data(planted, found) if with_data else []
        wrong = audit(network, planted.with_wrong_action(), effort=_effort(False))
        false += claims(wrong)
        moved = planted.with_weight_moved()
        refused = audit(moved.module, moved.symmetry, example=moved.example(), effort=_effort(False))
        slack += unrefused(moved, refused)
    except (IntertwinerError, RuntimeError, ArithmeticError, LookupError, ValueError, TypeError) as error:
        # A crash is a failure of this trial, to be listed with its cell and seed like any other.
        where = traceback.extract_tb(error.__traceback__)[-1]
        crash = f"{type(error).__name__}: {error} ({where.name}, line {where.lineno})"
        return Trial(cell, seed, False, bool(false), 0, (*lost, *false, *slack, crash), time.perf_counter() - start)
    seconds = time.perf_counter() - start
    count = 2 - bool(false) - bool(slack)
    return Trial(cell, seed, not lost, bool(false), count, (*lost, *false, *slack), seconds)


def _effort(data: bool) -> Effort:
    return Effort(data=data, nulls=False, orbits=False, identify=data)


def differences(planted: Planted, found: Audit) -> list[str]:
    """Where an audit differs from what was planted, in either direction."""
    out = []
    if not found.verdict.is_proved:
        out.append(f"the verdict on the planted network is {found.verdict.kind}: {found.verdict.reason}")
    for tap, expected in planted.representations.items():
        action = found[tap]
        if action.representation is None:
            out.append(f"{tap}: no action found ({action.status}: {action.record['weights']['reason']})")
        elif not action.representation.is_isomorphic(expected):
            out.append(f"{tap}: {action.representation} was found, {expected} was planted")
        elif action.orbits is None or not action.orbits.is_isomorphic(planted.orbits(tap)):
            out.append(f"{tap}: orbits {action.orbits} were found, {planted.orbits(tap)} were planted")
    return out


def off_on_data(planted: Planted, found: Audit) -> list[str]:
    """Taps where the measured action inside the gauge group leaves more than rounding unexplained."""
    out = []
    for tap in planted.representations:
        for generator, share in found[tap].gauge_r2.items():
            if share is None or not share > 1 - SAME_ON_DATA:
                out.append(f"{tap}: on data the best gauge element explains {share} under {generator}")
        if not found[tap].gauge_r2:
            out.append(f"{tap}: nothing was measured on data")
    return out


def claims(wrong: Audit) -> list[str]:
    """What an audit under a wrong input action claims although it should not."""
    out = [f"PROVED under a wrong action: {wrong.verdict.reason}"] if wrong.verdict.is_proved else []
    named = [action.name for action in wrong if action.representation is not None]
    return out + [f"an action is claimed at {tap} under a wrong input action" for tap in named]


def unrefused(moved: Planted, found: Audit) -> list[str]:
    """Why the network with one weight moved does not count as refused."""
    verdict = found.verdict
    if not verdict.is_refuted or verdict.witness is None:
        return [f"one weight moved, and the verdict is {verdict.kind}: {verdict.reason}"]
    again = replay(verdict, moved.module, moved.symmetry)
    floor = verdict.witness.noise_floor
    if not again > ABOVE_NOISE * floor:
        return [f"the witness replays with a defect of {again:.2g} over a noise floor of {floor:.2g}"]
    return []
