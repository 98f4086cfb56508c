"""What the library may say: PROVED, REFUTED with a witness, or UNDECIDED with the reason. Never a bare bool.

PROVED rests on relations between weights that hold exactly, or within ``TOLERANCE[dtype]`` of the row norm with
the bound that follows on the output; the verdict says which. What rests on sampling is graded and is no verdict.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

import numpy as np

from intertwiner.errors import WrongUse


class Kind(StrEnum):
    PROVED = "PROVED"
    REFUTED = "REFUTED"
    UNDECIDED = "UNDECIDED"


@dataclass(frozen=True)
class Witness:
    """An input at which a claim fails, with everything needed to fail it again.

    Args:
        inputs: The input arrays by name, one sample each, with a leading batch axis of one.
        element: Name of the group element, or "" where the claim is about no group.
        defect: The violation measured at the input.
        noise_floor: What rounding alone can explain there.
    """

    inputs: Mapping[str, np.ndarray]
    element: str
    defect: float
    noise_floor: float

    def to_json(self) -> dict[str, Any]:
        return {
            "inputs": {
                name: {"shape": list(a.shape), "dtype": str(a.dtype), "values": a.ravel().tolist()}
                for name, a in self.inputs.items()
            },
            "element": self.element,
            "defect": self.defect,
            "noise_floor": self.noise_floor,
        }

    @classmethod
    def from_json(cls, record: Mapping[str, Any]) -> Witness:
        inputs = {
            name: np.array(a["values"], dtype=a["dtype"]).reshape(a["shape"]) for name, a in record["inputs"].items()
        }
        return cls(inputs, record["element"], record["defect"], record["noise_floor"])


@dataclass(frozen=True)
class Verdict:
    """A claim and what was decided about it.

    Args:
        kind: PROVED, REFUTED or UNDECIDED.
        claim: One sentence, the statement that was judged.
        reason: Why it was decided so, or why it could not be.
        exact: True where PROVED rests on relations that hold bit for bit, False where they hold within tolerance.
        bound: PROVED within tolerance: largest change of an output over ``box``. None where it is zero or unknown.
        box: The input box of the bound, in words, e.g. "|x| <= 1".
        theorem: PROVED: the theorem the verdict rests on. Otherwise one by which the claim is false. "" for none.
        hypotheses: Its hypotheses, each with whether it was checked and how.
        witness: REFUTED: where the claim fails.
    """

    kind: Kind
    claim: str
    reason: str
    exact: bool = False
    bound: float | None = None
    box: str = ""
    theorem: str = ""
    hypotheses: Mapping[str, str] = field(default_factory=dict)
    witness: Witness | None = None

    def __post_init__(self) -> None:
        if self.kind is Kind.REFUTED and self.witness is None:
            raise WrongUse(f"REFUTED needs a witness: {self.claim}")
        if not self.reason:
            raise WrongUse(f"a verdict needs its reason: {self.claim}")

    @property
    def is_proved(self) -> bool:
        return self.kind is Kind.PROVED

    @property
    def is_refuted(self) -> bool:
        return self.kind is Kind.REFUTED

    @property
    def is_undecided(self) -> bool:
        return self.kind is Kind.UNDECIDED

    def __bool__(self) -> bool:
        raise WrongUse("a verdict is no bool: ask .is_proved, .is_refuted or .is_undecided")

    def __str__(self) -> str:
        return f"{self.kind}: {self.claim} ({self.reason})"

    def to_json(self) -> dict[str, Any]:
        return {
            "kind": str(self.kind),
            "claim": self.claim,
            "reason": self.reason,
            "exact": self.exact,
            "bound": self.bound,
            "box": self.box,
            "theorem": self.theorem,
            "hypotheses": dict(self.hypotheses),
            "witness": self.witness.to_json() if self.witness else None,
        }

    @classmethod
    def from_json(cls, record: Mapping[str, Any]) -> Verdict:
        fields = dict(record)
        fields["kind"] = Kind(fields["kind"])
        fields["witness"] = Witness.from_json(fields["witness"]) if fields["witness"] else None
        return cls(**fields)
