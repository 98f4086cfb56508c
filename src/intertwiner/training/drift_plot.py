"""The drift of the laws over training as a matplotlib figure, the step size below it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from importlib import import_module
from typing import Any

import numpy as np
from jaxtyping import Float
from numpy import ndarray

from intertwiner.errors import WrongUse

LINES = 200
"""Most laws of one family that get a line of their own; beyond, those that drift most."""

PER_COLUMN = 8


def drift_figure(
    curves: Sequence[Mapping[str, Any]],
    laws: Sequence[Sequence[Float[ndarray, " laws"]]],
    steps: Sequence[tuple[int, float | None]],
) -> Any:
    """Draw it.

    Args:
        curves: By family ``formula`` and the largest ``measured`` and ``predicted`` drift over scale at every moment.
        laws: By family and moment the drift of every law over its scale.
        steps: Number of the step and step size at every moment.

    Returns:
        A ``matplotlib.figure.Figure``, attached to no window: ``figure.savefig(...)``.

    Raises:
        WrongUse: matplotlib is not installed.
    """
    try:
        figures = import_module("matplotlib.figure")  # an extra, so that nothing else waits for it
    except ImportError as error:
        raise WrongUse("drawing needs matplotlib: pip install 'intertwiner[viz]'. Nothing was drawn.") from error
    figure = figures.Figure(figsize=(9, 6), layout="constrained")
    drift, rate = figure.subplots(2, 1, sharex=True, height_ratios=(4, 1))
    at = [step for step, _ in steps]
    for number, (curve, family) in enumerate(zip(curves, laws, strict=True)):
        colour = f"C{number % 10}"
        drift.plot(at, _shown(family), color=colour, linewidth=0.5, alpha=0.35)
        drift.plot(at, _positive(curve["measured"]), color=colour, linewidth=1.8, label=_short(curve["formula"]))
        drift.plot(at, _positive(curve["predicted"]), color=colour, linewidth=1.8, linestyle=(0, (2, 2)), alpha=0.9)
    drift.set_yscale("log", nonpositive="mask")
    drift.set_ylabel("drift / size of the terms")
    drift.set_title("thin: every law, thick: the largest of a family, dotted: predicted", fontsize=9, loc="left")
    drift.legend(fontsize=7, ncols=1 + (len(curves) - 1) // PER_COLUMN)
    rate.plot(at, [np.nan if r is None else r for _, r in steps], color="0.3")
    rate.set_ylabel("step size")
    rate.set_xlabel("step")
    rate.set_ylim(bottom=0)
    return figure


def _shown(family: Sequence[ndarray]) -> ndarray:
    sizes = np.abs(np.stack(family))
    order = np.argsort(-np.nan_to_num(sizes).max(axis=0), kind="stable")[:LINES]
    return np.where(sizes[:, order] > 0, sizes[:, order], np.nan)


def _positive(values: Sequence[float | None]) -> list[float]:
    """Zeros and gaps have no place on a logarithmic axis."""
    return [value if value else np.nan for value in values]


def _short(formula: str, letters: int = 60) -> str:
    return formula if len(formula) <= letters else formula[: letters - 1] + "…"
