"""Watching the conservation laws of a network while it trains, beside what the optimiser must do to them.

Gradient flow conserves the laws; real steps do not quite. Gradient descent changes a law by ``eta^2 <g, A g>`` per step
and by nothing else, momentum and weight decay by the recursion of ``step_rule.py``: so the drift is predicted from the
gradients alone, and a drift that differs says that the steps were not what they seem. Adaptive steps break the laws.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from numpy import ndarray
from torch import Tensor, nn

from intertwiner.errors import NonFiniteWeights, WrongUse
from intertwiner.training.drift import Drift, relative
from intertwiner.training.drift_plot import drift_figure
from intertwiner.training.drift_table import drift_table
from intertwiner.training.families import SHIFT, Family
from intertwiner.training.history import History
from intertwiner.training.readings import Reading
from intertwiner.training.step_rule import Recursion, StepRule
from intertwiner.training.stepping import Stepping

KEPT = 64
"""Moments in the history; the laws themselves are read only where one is kept."""

NUMBERS = 4_000_000
"""Most numbers in the history; where the laws are many, fewer moments are kept."""

FEWEST = 8
"""Moments that are kept however many the laws are."""

WRITTEN = 10_000
"""With more laws than this ``to_json`` writes the figures of the families, and not every law."""

GONE = "the gradients were gone: call step() after the optimiser's step and before zero_grad()"


@dataclass(frozen=True, eq=False)
class Moment:
    """What is kept of one step.

    Args:
        step: Its number.
        rate: The step size; None where it is unknown or differs between parameters.
        values: The laws, one row per family.
        predicted: What they should be; None where nothing is predicted.
    """

    step: int
    rate: float | None
    values: tuple[Float[ndarray, " laws"], ...]
    predicted: tuple[Float[ndarray, " laws"] | None, ...]


class ConservationMonitor:
    """Keeps the laws of a network in view; ``step()`` after every step of the optimiser, in any loop.

    Args:
        model: The network in training.
        laws: What ``conservation_laws`` found, or families of laws.
        optimizer: A torch optimiser, from which step size, momentum and weight decay are read. Without one the laws are
            measured, and predicted only for plain gradient descent with the ``rate`` given to every ``step``.
        every: Look at every so many steps only; the steps between are taken to be alike, so that predictions become
            estimates.
        history: Most moments that are kept, evenly spaced, however long the training is; fewer where more than
            some 30,000 laws would take too much memory.

    Raises:
        WrongUse: No laws, laws of another network, or an ``every`` or ``history`` that is none.
        NonFiniteWeights: Laws that are NaN or infinite at the start.

    Cost:
        Per step looked at one pass over the gradients, for a linear layer of n units n times that; the same over the
        parameters where a moment is kept. Memory: the number of laws times ``history``.

    Example:
        Gradient descent on ``(w v - 1)^2 / 2``: ``v^2 - w^2`` is conserved up to the square of the step size.

        >>> from fractions import Fraction
        >>> from intertwiner.training.families import Piece
        >>> from intertwiner.training.views import View
        >>> model = nn.Sequential(nn.Linear(1, 1, bias=False), nn.Linear(1, 1, bias=False)).double()
        >>> pieces = [Piece(f"{k}.weight", View(1, 0, 1), Fraction(c)) for k, c in ((1, 1), (0, -1))]
        >>> law = Family("balance", tuple(pieces), "0", "scales", "|1.weight|^2 - |0.weight|^2", 1)
        >>> optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        >>> monitor = ConservationMonitor(model, [law], optimizer=optimizer)
        >>> for _ in range(3):
        ...     optimizer.zero_grad()
        ...     loss = (model(torch.ones(1, 1).double()) - 1).square().sum() / 2
        ...     loss.backward()
        ...     optimizer.step()
        ...     monitor.step()
        >>> drift, = monitor.drift
        >>> drift.worst > 1e-6, drift.unexplained < 1e-14
        (True, True)
    """

    def __init__(
        self, model: nn.Module, laws: Any, *, optimizer: Any = None, every: int = 1, history: int = KEPT
    ) -> None:
        if every < 1:
            raise WrongUse(f"every is a number of steps, at least 1, got {every}. Nothing was computed.")
        self.families = _families(laws)
        self.every, self.steps = every, 0
        self.broke_at: int | None = None
        self._tensors = _tensors(model, self.families)
        room = NUMBERS // (2 * sum(family.count for family in self.families))
        self._history: History[Moment] = History(min(history, max(FEWEST, room)))
        self._stepping = Stepping(optimizer, self._tensors)
        self._groups = [self._stepping.groups(family) for family in self.families]
        self._readings = [Reading(family) for family in self.families]
        with torch.no_grad():
            values = self._read()
            if not all(np.isfinite(v).all() for v in values):
                raise NonFiniteWeights("some laws are NaN or infinite before the first step. Nothing was computed.")
            degrees = [1 if family.kind == SHIFT else 2 for family in self.families]
            carried = [self._stepping.carried(f, d) for f, d in zip(self.families, degrees, strict=True)]
            fresh = [self._stepping.momenta(family) is None for family in self.families]
            self._scales = _scales(self.families, degrees, self._tensors)
        self._recursions: list[Recursion | None] = [
            Recursion(d, v, c, first=f) for d, v, c, f in zip(degrees, values, carried, fresh, strict=True)
        ]
        self._settings, self._rules = None, []
        self._reread(None)
        self._notes = [rule.effect(degree) for rule, degree in zip(self._rules, degrees, strict=True)]
        self._since, self._sampled = 0, every > 1
        self._history.add(0, Moment(0, None, values, values))

    def step(self, rate: float | None = None) -> None:
        """Look at the network after a step of the optimiser, before the gradients are set to zero.

        Args:
            rate: The step size, where no optimiser was handed over.
        """
        self.steps += 1
        self._since += 1
        if self.steps % self.every or self.broke_at is not None:
            return
        times, self._since = self._since, 0
        if self._stepping.name is not None:
            times = self._stepping.taken()
        self._sampled |= times > 1
        with torch.no_grad():
            self._reread(rate)
            rates = [self._predict(k, rate, times) for k in range(len(self.families))]
            if self._history.wants(self.steps // self.every):
                self._keep(rates)

    def _predict(self, k: int, rate: float | None, times: int) -> float | None:
        """Move the prediction of a family by so many steps; the step size that was used."""
        recursion, family, rule = self._recursions[k], self.families[k], self._rules[k]
        if self._stepping.name is not None and self._stepping.rates:
            rate = self._stepping.rate(self._groups[k])
        if recursion is None or not times:
            return rate
        why = rule.broken
        if not why and rate is None:
            why = "its parameters have different step sizes: broken in first order"
        if not why and rule.momentum and times > 1:
            why = f"{rule.effect(2)}; predicted only where every step is looked at"
        moved = None if why else self._stepping.moved(family, rule)
        if not why and moved is None:
            why = GONE
        self._notes[k] = why or rule.effect(recursion.degree)
        if why or moved is None or rate is None:
            self._recursions[k] = None
            return rate
        form = self._readings[k].form(moved)
        for _ in range(times):
            recursion.step(rate, form, rule)
        return rate

    def _reread(self, rate: float | None) -> None:
        """The step rules, where the settings of the optimiser are others than before."""
        settings = (self._stepping.settings(), rate is None)
        if settings != self._settings:
            known = self._stepping.name is None and rate is not None
            rules = (self._stepping.rule(f, g) for f, g in zip(self.families, self._groups, strict=True))
            self._settings, self._rules = settings, [StepRule() if known else rule for rule in rules]

    def _read(self) -> tuple[Float[ndarray, " laws"], ...]:
        return tuple(reading.values(self._tensors) for reading in self._readings)

    def _keep(self, rates: list[float | None]) -> None:
        values = self._read()
        if not all(np.isfinite(v).all() for v in values):
            self.broke_at = self.steps
        known = set(rates)
        predicted = tuple(None if r is None else r.value for r in self._recursions)
        rate = known.pop() if len(known) == 1 else None
        self._history.add(self.steps // self.every, Moment(self.steps, rate, values, predicted))

    @property
    def moments(self) -> tuple[Moment, ...]:
        """What was kept, the start first."""
        return tuple(entry.kept for entry in self._history)

    @property
    def drift(self) -> tuple[Drift, ...]:
        """The drift of every family, for the parameters as they are now."""
        with torch.no_grad():
            values = self._read()
        out = []
        for k, family in enumerate(self.families):
            recursion = self._recursions[k]
            nearly = f"holds only up to {family.because}" if family.because else ""
            note = "; ".join(filter(None, (nearly, self._notes[k])))
            predicted = None if recursion is None else recursion.value
            out.append(
                Drift(
                    family.formula, family.where, family.kind, self._history[0].kept.values[k], values[k],
                    self._scales[k], predicted, note, self._sampled, self._floor(family),
                )
            )  # fmt: skip
        return tuple(out)

    def curves(self) -> list[dict[str, Any]]:
        """By family the largest drift over scale at every moment kept, measured and predicted."""
        moments = self.moments
        return [
            {
                "formula": family.formula,
                "where": family.where,
                "measured": [self._worst(k, m.values[k]) for m in moments],
                "predicted": [None if (p := m.predicted[k]) is None else self._worst(k, p) for m in moments],
            }
            for k, family in enumerate(self.families)
        ]

    def plot(self) -> Any:
        """A matplotlib figure: the drift of every law over training, and the step size below.

        Raises:
            WrongUse: matplotlib is not installed.
        """
        start = self._history[0].kept.values
        lines = [
            [relative(m.values[k] - start[k], self._scales[k]) for m in self.moments] for k in range(len(self.families))
        ]
        return drift_figure(self.curves(), lines, [(m.step, m.rate) for m in self.moments])

    def to_json(self) -> dict[str, Any]:
        """The drift of every law and, by family, its history, as plain values.

        With more than 10,000 laws without the single laws.
        """
        drift = self.drift
        whole = sum(d.count for d in drift) <= WRITTEN
        return {
            "steps": self.steps,
            "every": self.every,
            "optimizer": self._stepping.name,
            "broke_at": self.broke_at,
            "drift": [d.to_json() if whole else d.figures() for d in drift],
            "history": {
                "steps": [m.step for m in self.moments],
                "rates": [m.rate for m in self.moments],
                "families": self.curves(),
            },
        }

    def close(self) -> None:
        """Take the hook off the optimiser; what was kept stays."""
        self._stepping.close()

    def __str__(self) -> str:
        return drift_table(self.drift, self.steps, self.broke_at)

    def _worst(self, k: int, values: ndarray) -> float:
        start = self._history[0].kept.values[k]
        return float(np.abs(relative(values - start, self._scales[k])).max(initial=0.0))

    def _floor(self, family: Family) -> float:
        """Every step rounds every parameter once; the errors add up as a random walk."""
        kinds = [self._tensors[name].dtype for name in family.parameters]
        return max(torch.finfo(kind).eps for kind in kinds) * max(1, self.steps) ** 0.5


def _scales(
    families: tuple[Family, ...], degrees: list[int], tensors: dict[str, Tensor]
) -> list[Float[ndarray, " laws"]]:
    """The size of the terms of every law; at least that of one typical parameter, since biases often start at zero."""
    squares = sum(float(t.detach().double().square().sum()) for t in tensors.values())
    typical = (squares / max(1, sum(t.numel() for t in tensors.values()))) ** 0.5
    return [
        np.maximum(family.rates(tensors, tensors)[1] / degree, typical**degree)
        for family, degree in zip(families, degrees, strict=True)
    ]


def _families(laws: Any) -> tuple[Family, ...]:
    found = getattr(laws, "families", laws)
    families = tuple(found) if isinstance(found, Iterable) else ()
    if not families or not all(isinstance(family, Family) for family in families):
        raise WrongUse(
            f"the monitor watches the laws that conservation_laws(model) finds, or families of laws, and got "
            f"{type(laws).__name__} with none. Nothing was computed."
        )
    return families


def _tensors(model: nn.Module, families: tuple[Family, ...]) -> dict[str, Tensor]:
    """The live tensors that the laws read."""
    named = dict(model.named_parameters(remove_duplicate=False)) | dict(model.named_buffers(remove_duplicate=False))
    wanted = {piece.param: piece.view for family in families for piece in family.pieces}
    missing = [name for name in wanted if name not in named]
    if missing:
        raise WrongUse(
            f"the laws are about {', '.join(missing)}, which {type(model).__name__} does not have. Usual cause: laws "
            "of another network, or a model that was wrapped after they were found. Next step: hand over the module "
            "that they were found for. Nothing was computed."
        )
    return {name: named[name] for name in wanted}
