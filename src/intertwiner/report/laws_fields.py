"""The record of conservation laws: families with their formulas, a count with its certificate, and what a run did.

``laws.json`` and ``intertwiner laws --json`` hold it. Keys that are not listed here are kept and not shown.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from intertwiner.errors import InvalidRecord
from intertwiner.report.fields import VERDICT, Spec
from intertwiner.report.schema import _complete, _mistakes, plain

SCHEMA = "intertwiner.conservation/1"


def _text(meaning: str, *, required: bool = False) -> Spec:
    return Spec("text", meaning, required)


def _number(meaning: str) -> Spec:
    return Spec("number", meaning)


def _integer(meaning: str, *, required: bool = False) -> Spec:
    return Spec("integer", meaning, required)


def _texts(meaning: str) -> Spec:
    return Spec("list", meaning, item=Spec("text", required=True))


def _optional(meaning: str, **fields: Spec) -> Spec:
    return Spec("record", meaning, fields=fields, empty_when_absent=False)


COUNT = {
    "network": _text("What was counted, in words."),
    "parameters": _integer("Numbers that training moves, D."),
    "known": _integer("Independent laws among those of the structure.", required=True),
    "least": _integer("Independent laws that there are for certain.", required=True),
    "most": _integer("How many there can be.", required=True),
    "ranks": Spec("array", "By prime and depth of nesting, the rank of the brackets."),
    "primes": Spec("list", "The primes.", item=Spec("integer")),
    "seed": _integer("Of the random draws."),
    "verdict": VERDICT,
    "seconds": _number("What it took."),
}

FAMILY = Spec(
    "record",
    "Laws of one shape, by one gauge group.",
    required=True,
    fields={
        "kind": Spec("text", "Their shape.", True, ("balance", "matrix", "shift")),
        "where": _text("Tap of the latent space."),
        "group": _text("The gauge group."),
        "formula": _text("The law, in names of parameters.", required=True),
        "count": _integer("How many laws.", required=True),
        "exact": Spec("flag", "Whether they hold exactly."),
        "because": _text("Why not."),
        "holds": _text("What is assumed beyond plain gradient flow."),
    },
)

DRIFT = Spec(
    "record",
    "The drift of one family.",
    required=True,
    fields={
        "formula": _text("The law."),
        "count": _integer("How many laws."),
        "worst": _number("Largest drift, over the size of its terms."),
        "predicted_worst": _number("What the steps make of it."),
        "unexplained": _number("Largest distance from the prediction."),
        "floor": _number("What rounding explains."),
        "sampled": Spec("flag", "Whether the prediction is an estimate."),
        "note": _text("What the optimiser does to the law."),
    },
)

CURVE = Spec(
    "record",
    "By moment, the largest drift of a family.",
    required=True,
    fields={
        "formula": _text("The law."),
        "measured": Spec("list", "As it was.", item=Spec("number")),
        "predicted": Spec("list", "As it should be.", item=Spec("number")),
    },
)

MONITOR = _optional(
    "A training that was watched, as ``ConservationMonitor.to_json`` writes it.",
    steps=_integer("Steps of the optimiser."),
    every=_integer("Every so many were looked at."),
    optimizer=_text("Its name."),
    broke_at=_integer("Step at which something was NaN or infinite."),
    drift=Spec("list", "By family.", item=DRIFT),
    history=_optional(
        "At the moments that were kept.",
        steps=Spec("list", "Numbers of the steps.", item=Spec("integer")),
        rates=Spec("list", "Step sizes.", item=Spec("number")),
        families=Spec("list", "By family.", item=CURVE),
    ),
)

SYMMETRIC = _optional(
    "What symmetric data add, for squared error.",
    group=_text("The symmetry of the data."),
    inputs=_text("Its representation on inputs."),
    outputs=_text("Its representation on outputs."),
    without=_optional("The count for data without symmetry.", **COUNT),
    with_symmetry=_optional("The count for symmetric data.", **COUNT),
)

LAWS = Spec(
    "record",
    fields={
        "schema": Spec("text", "The name of this schema.", required=True, choices=(SCHEMA,)),
        "network": Spec(
            "record",
            "The network.",
            required=True,
            fields={"name": _text("Its name.", required=True), "parameters": _integer("Numbers that training moves.")},
        ),
        "loss": _text("The loss."),
        "training": Spec("flag", "Whether batch norm and dropout are in training mode."),
        "assumed": _texts("What is assumed."),
        "families": Spec("list", "The laws.", item=FAMILY),
        "rates": Spec("list", "By family, the largest rate along a random gradient.", item=Spec("number")),
        "unchecked": _text("Why there are no rates."),
        "values": Spec("list", "By family, the values of the laws.", item=Spec("array")),
        "lost": Spec("list", "Places where structure was given up, each with the reason.", item=Spec("list")),
        "count": _optional("How many independent laws there are.", **COUNT),
        "uncounted": _text("Why they were not counted."),
        "data_symmetry": SYMMETRIC,
        "monitor": MONITOR,
        "verdict": VERDICT,
        "notes": _texts("What else has to be said."),
    },
)


def checked_laws(record: Mapping[str, Any]) -> dict[str, Any]:
    """A valid record with every key of the schema present: what the page reads.

    Raises:
        InvalidRecord: A required key is missing, or a value has the wrong type.

    Example:
        >>> checked_laws({"schema": "intertwiner.conservation/1", "network": {"name": "net"}})
        Traceback (most recent call last):
        ...
        intertwiner.errors.InvalidRecord: this is no intertwiner.conservation/1 record:
          verdict: expected record, came nothing
          Nothing was rendered or written.
    """
    out = plain(record)
    mistakes = list(_mistakes(LAWS, out, ""))
    if mistakes:
        lines = [f"this is no {SCHEMA} record:", *(f"  {m}" for m in mistakes[:10])]
        raise InvalidRecord("\n".join([*lines, "  Nothing was rendered or written."]))
    return _complete(LAWS, out)


def laws_json(record: Mapping[str, Any]) -> str:
    """The record as JSON text, without NaN.

    Raises:
        InvalidRecord: The record does not follow the schema.
    """
    checked_laws(record)
    return json.dumps(plain(record), indent=1, ensure_ascii=False, allow_nan=False) + "\n"
