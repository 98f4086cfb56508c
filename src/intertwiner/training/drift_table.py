"""The drift of all families as one table: measured, predicted and what rounding explains, side by side."""

from __future__ import annotations

from collections.abc import Sequence
from textwrap import fill

from intertwiner.report.words import number
from intertwiner.training.drift import Drift

HEADS = ("law", "laws", "drift", "predicted", "left over", "rounding")
WIDTH = 110


def drift_table(drifts: Sequence[Drift], steps: int, broke_at: int | None) -> str:
    """One line per family, then what is to be said about each.

    Example:
        >>> import numpy as np
        >>> one = np.ones(1)
        >>> drift = Drift("a^2 - b^2", "layer", "balance", 3 * one, 2.5 * one, 5 * one, 2.5 * one, "", False, 1e-16)
        >>> print(drift_table([drift], 10, None))
        drift of 1 conservation law after 10 steps, over the size of its terms
        law        laws  drift  predicted  left over  rounding
        a^2 - b^2     1  0.100      0.100          0  1.00e-16
    """
    rows = [HEADS] + [
        (
            drift.formula,
            number(drift.count),
            number(drift.worst),
            ("about " if drift.sampled and drift.predicted is not None else "") + number(drift.predicted_worst),
            number(drift.unexplained),
            number(drift.floor),
        )
        for drift in drifts
    ]
    wide = [max(len(row[k]) for row in rows) for k in range(len(HEADS))]
    total = sum(drift.count for drift in drifts)
    laws, their = ("law", "its") if total == 1 else ("laws", "their")
    times = "step" if steps == 1 else "steps"
    lines = [f"drift of {total} conservation {laws} after {steps} {times}, over the size of {their} terms"]
    lines += ["  ".join([row[0].ljust(wide[0]), *(t.rjust(w) for t, w in zip(row[1:], wide[1:]))]) for row in rows]
    if broke_at is not None:
        lines.append(f"NaN or infinity at step {broke_at}: nothing was looked at after it")
    said: dict[str, list[str]] = {}
    for drift in drifts:
        if drift.note:
            said.setdefault(drift.note, []).append(drift.formula)
    for note, formulas in said.items():
        who = "all" if len(formulas) == len(drifts) > 1 else "; ".join(formulas)
        lines.append(fill(f"{who}: {note}", WIDTH, subsequent_indent="    "))
    return "\n".join(lines)
