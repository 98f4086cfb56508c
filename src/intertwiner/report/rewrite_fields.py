"""The rewrite record: one plain JSON object per rewrite, the twin beside its original and the curve it lies on.

``rewrite.json`` and ``intertwiner rewrite --json`` hold it. A certificate is that of ``certificate.json``; keys that
are not listed here are kept and not shown.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from intertwiner.errors import InvalidRecord
from intertwiner.report.fields import VERDICT, Spec
from intertwiner.report.schema import _complete, _mistakes, plain

SCHEMA = "intertwiner.rewrite/1"


def _text(meaning: str, *, required: bool = False) -> Spec:
    return Spec("text", meaning, required)


def _number(meaning: str, *, required: bool = False) -> Spec:
    return Spec("number", meaning, required)


def _numbers(meaning: str) -> Spec:
    return Spec("table", meaning, item=Spec("number"))


def _integers(meaning: str) -> Spec:
    return Spec("list", meaning, item=Spec("integer"))


LAYER = Spec(
    "record",
    "How one hidden layer, or one latent space that several layers write, came about.",
    required=True,
    fields={
        "name": _text("Tap of the original layer, or name of the space.", required=True),
        "orbits_offered": _integers("Sizes of the orbits that could be chosen."),
        "orbits_chosen": _integers("Sizes of those that were, in the order of choice."),
        "explained": Spec("list", "Share of the next pre-activation explained after each.", item=Spec("number")),
        "refit_rank": Spec("integer", "Dimension that the refit had."),
        "refit_condition": _number("Largest over smallest eigenvalue that it used."),
        "refit_error": _number("Root of the share of the variance that it left."),
        "live": Spec("integer", "Neurons of the original that depend on the input and are read."),
        "joined": Spec("integer", "Of these, how many are copies of another one."),
        "width": Spec("integer", "Neurons or channels of the twin there."),
    },
)

TRAINING = Spec(
    "record",
    "What distillation from the group average did; empty without.",
    fields={
        "epochs": _number("Passes over the samples that were asked for."),
        "steps": Spec("integer", "Steps made."),
        "seconds": _number("What they took."),
        "losses": Spec("list", "Loss on held-out samples at the start and after every epoch.", item=Spec("number")),
        "improved": Spec("flag", "Whether an epoch was better than the start; else the twin is as it was."),
        "text": _text("The same in words."),
    },
)

CERTIFICATE = Spec(
    "record",
    "What is proved about a twin, and what was measured.",
    required=True,
    fields={
        "verdict": VERDICT,
        "group": _text("Name of the group.", required=True),
        "order": Spec("integer", "Its order."),
        "method": _text("lift: the group average, merged; selected: orbits were selected and refitted."),
        "dtype": _text("Type of the weights."),
        "defect_float64": _number("Equivariance defect of the twin in float64."),
        "defect_float32": _number("The same in float32."),
        "original_defect": _number("Of the original, in its own type."),
        "noise_floor": _number("What rounding alone makes of it in float32."),
        "distance_original": _number("From the original."),
        "distance_average": _number("From the group average of the original."),
        "average_exact": Spec("flag", "Whether that is the mean over all of the group."),
        "original_distance_average": _number("Of the original from its group average."),
        "accuracy": _numbers("Of the twin, the original and the average."),
        "widths": Spec("list", "Input, hidden layers, output of the twin."),
        "original_widths": Spec("list", "The same of the original."),
        "parameters": _numbers("Of the twin and the original, and how many of the twin's are free."),
        "multiply_adds": _numbers("Of one sample: twin, the twin with dense layers, original, averaging."),
        "seconds": _numbers("Of one batch: twin, original, averaging."),
        "executors": Spec("table", "By layer, whether it runs dense or in blocks.", item=Spec("text")),
        "training": TRAINING,
        "averaging_measured": Spec("flag", "Whether averaging was run; else it is the order times the original."),
        "data": _text("What the figures were measured on."),
        "layers": Spec("list", "How the hidden layers came about.", item=LAYER),
        "seed": Spec("integer", "Of everything random."),
    },
)

POINT = Spec(
    "record",
    "A twin at one budget.",
    required=True,
    fields={
        "budget": _number("Multiply-adds allowed, relative to the original.", required=True),
        "folder": _text("Where it was written, for `iw.load`."),
        "certificate": CERTIFICATE,
    },
)

REWRITE = Spec(
    "record",
    fields={
        "schema": Spec("text", "The name of this schema.", required=True, choices=(SCHEMA,)),
        "network": Spec(
            "record",
            "The original.",
            required=True,
            fields={
                "name": _text("Its name.", required=True),
                "dtype": _text("Type of its weights."),
                "layers": Spec("list", "Names of its linear maps and convolutions, in order.", item=Spec("text")),
            },
        ),
        "symmetry": Spec(
            "record",
            "How the group acts.",
            fields={
                "input": _text("On inputs."),
                "output": _text("On outputs."),
                "subgroup": _text("Only these elements, as they were named; all of the group without."),
            },
        ),
        "data": Spec(
            "record",
            "What it was rewritten on.",
            fields={
                "source": _text("The data, as they were named; empty for noise."),
                "labels": _text("The labels, as they were named."),
                "note": _text("What was done to the data."),
            },
        ),
        "finetune": _number("Epochs of distillation from the group average."),
        "twin": POINT,
        "curve": Spec("list", "Twins by budget, ascending, the twin among them; empty for one alone.", item=POINT),
        "left_out": Spec(
            "list",
            "Budgets without a twin.",
            item=Spec("record", required=True, fields={"budget": _number("", required=True), "reason": _text("")}),
        ),
        "environment": Spec("table", "Versions.", item=Spec("text")),
        "notes": Spec("list", "What else has to be said.", item=Spec("text", required=True)),
    },
)


def checked_rewrite(record: Mapping[str, Any]) -> dict[str, Any]:
    """A valid record with every key of the schema present: what the renderers read.

    Raises:
        InvalidRecord: A required key is missing, or a value has the wrong type.

    Example:
        >>> checked_rewrite({"schema": "intertwiner.rewrite/1"})
        Traceback (most recent call last):
        ...
        intertwiner.errors.InvalidRecord: this is no intertwiner.rewrite/1 record:
          network: expected record, came nothing
          twin: expected record, came nothing
          Nothing was rendered or written.
    """
    out = plain(record)
    mistakes = list(_mistakes(REWRITE, out, ""))
    if mistakes:
        lines = [f"this is no {SCHEMA} record:", *(f"  {m}" for m in mistakes[:10])]
        raise InvalidRecord("\n".join([*lines, "  Nothing was rendered or written."]))
    return _complete(REWRITE, out)


def rewrite_json(record: Mapping[str, Any]) -> str:
    """The record as JSON text, without NaN.

    Raises:
        InvalidRecord: The record does not follow the schema.
    """
    checked_rewrite(record)
    return json.dumps(plain(record), indent=1, ensure_ascii=False, allow_nan=False) + "\n"
