"""What a rank and a bound say together: the verdict on the dimension, and the one on generic parameters."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from intertwiner.variety.attention import Attention
from intertwiner.variety.family import Bound, Family
from intertwiner.variety.theorems import Criterion
from intertwiner.verdict import Kind, Verdict

SOFTMAX = "exponentials of independent functions are algebraically independent [Ax 1971]"


def dimension_verdict(
    family: Family,
    dimension: int,
    bound: Bound,
    theorem: Criterion | None,
    chance: float,
    hypotheses: Mapping[str, bool],
) -> Verdict:
    """PROVED where the rank meets the bound, or a theorem gives the number without a rank."""
    claim = f"the functions of {family} have dimension {dimension:,}"
    if isinstance(family, Attention) and family.kind == "rotary":
        claim += ", for generic angles"
    checked = {text: "checked modulo a prime" if good else "not found to hold" for text, good in hypotheses.items()}
    sources = "; ".join((SOFTMAX, *bound.sources) if hypotheses else bound.sources)
    if theorem is not None:
        hypotheses_of = {"generic parameters": "assumed", theorem.theorem: f"its hypotheses hold: {theorem.reason}"}
        reason = f"{theorem.reason}; with the upper bound that is the dimension, no rank was taken"
        return Verdict(Kind.PROVED, claim, reason, exact=True, theorem=theorem.theorem, hypotheses=hypotheses_of)
    if not all(hypotheses.values()):
        reason = "the weights of the softmax were taken as independent variables, which was not confirmed"
        return Verdict(Kind.UNDECIDED, claim, reason, hypotheses=checked)
    if dimension == bound.value:
        reason = f"the rank modulo a prime, a lower bound, meets the upper bound {bound.value:,}: {_words(bound)}"
        return Verdict(Kind.PROVED, claim, reason, exact=True, theorem=sources, hypotheses=checked)
    likely = "no statement on the error: the degrees are above the primes" if chance >= 1 else f"at most {chance:.1e}"
    reason = (
        f"at least {dimension:,} and at most {bound.value:,} is proved; probability that it is above {dimension:,}: "
        f"{likely}"
    )
    return Verdict(Kind.UNDECIDED, claim, reason, hypotheses=checked)


def _words(bound: Bound) -> str:
    """The parts of a bound in a few words."""
    if not bound.parts:
        return "the number of parameters"
    taken = ", ".join(f"{part.dimension:,} ({part.name})" for part in bound.parts[:4])
    return f"parameters less {taken}{', ...' if len(bound.parts) > 4 else ''}"


def identifiability_verdict(
    family: Family, dimension: int, bound: Bound, known: Sequence[Criterion], *, proved: bool
) -> Verdict:
    """Whether generic parameters are determined by the function, and what decides it; never about single ones."""
    beyond = [part for part in bound.parts if part.kind == "theorem"]
    if beyond:
        count = sum(part.dimension for part in beyond)
        claim = f"generic parameters are not identifiable: {count:,} dimensions of every fibre go beyond the gauge"
        reason = "; ".join(f"{part.dimension:,} of {part.name} ({part.place})" for part in beyond)
        theorem = "; ".join(bound.sources)
        return Verdict(Kind.PROVED, claim, reason, exact=True, theorem=theorem)
    for gives in ("unique", "finite"):
        for one in known:
            if one.applies and one.gives == gives:
                claim = {
                    "unique": "generic parameters are unique up to permutations and scales",
                    "finite": "generic parameters are determined up to scales and finitely many choices",
                }[gives]
                hypotheses = {one.theorem: f"its hypotheses hold: {one.reason}", "generic parameters": "assumed"}
                return Verdict(Kind.PROVED, claim, one.reason, exact=True, theorem=one.theorem, hypotheses=hypotheses)
    claim = "generic parameters are determined up to the gauge and finitely many choices"
    if proved and dimension == bound.value:
        reason = "the rank meets the number of parameters less the dimension of the gauge; unique or not is undecided"
        return Verdict(Kind.PROVED, claim, reason, exact=True, hypotheses={"generic parameters": "assumed"})
    reason = (
        f"the rank found is {bound.value - dimension:,} below the parameters less the gauge, and no theorem that is "
        "known here says why"
    )
    if dimension == bound.value:
        reason = "the hypothesis of the dimension was not confirmed"
    return Verdict(Kind.UNDECIDED, claim, reason)
