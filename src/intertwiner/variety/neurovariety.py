r"""The dimension of the functions of a network: a rank from below, a bound from above, PROVED where they meet.

The functions of an architecture with polynomial activations form a set whose closure is an irreducible variety; its
dimension is the generic rank of the Jacobian of the parameters [Kileel, Trager, Bruna 2019]. From below: the rank at
random points modulo random primes (``rank.py``) never exceeds it. From above: gauges and theorems (``bounds.py``).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from time import perf_counter
from typing import Any, cast

from intertwiner.errors import Contradiction, WrongUse
from intertwiner.numerics.modular import Modulus
from intertwiner.numerics.seeds import rng
from intertwiner.variety.activation import Activation
from intertwiner.variety.architecture import Architecture
from intertwiner.variety.attention import Attention, score_independence
from intertwiner.variety.convolution import Convolution
from intertwiner.variety.family import Bound, Family, Part
from intertwiner.variety.fibre import Fibre
from intertwiner.variety.rank import Draw, failure, generic_rank
from intertwiner.variety.theorems import Criterion, criteria
from intertwiner.variety.verdicts import dimension_verdict, identifiability_verdict
from intertwiner.verdict import Verdict

MOST_PARAMETERS = 20_000
"""Above, ranks are not taken; theorems may still decide."""

GAUGE_ROWS = 8
"""More gauge groups than this are printed as one row."""

FAMILIES = {"fully connected": Architecture, "convolution": Convolution, "attention": Attention}


@dataclass(frozen=True)
class Neurovariety:
    """The dimension of the functions of an architecture, and what is proved about it.

    Args:
        family: The architecture.
        dimension: The largest rank that was found: the dimension, or a lower bound that is very likely it.
        expected_dimension: Parameters less the gauge, or the ambient dimension where that is smaller.
        ambient_dimension: Dimension of the space of all outputs of these degrees; None where it is not counted.
        bound: The least upper bound that was proved, with its parts.
        draws: Ranks by prime; the last one met the bound, or all were taken.
        chance: Probability, at most, that the dimension is larger after all; 0 where it is proved, 1 where the degrees
            are too large for a statement.
        verdict: On the dimension.
        identifiability: On generic parameters, and which theorem decides.
        criteria: All theorems that were asked.
        seed: By which the draws can be made again.
        seconds: Wall-clock time; not compared.
    """

    family: Family
    dimension: int
    expected_dimension: int
    ambient_dimension: int | None
    bound: Bound
    draws: tuple[Draw, ...]
    chance: float
    verdict: Verdict
    identifiability: Verdict
    criteria: tuple[Criterion, ...]
    seed: int
    seconds: float = field(compare=False)

    @property
    def defect(self) -> int:
        """Expected dimension less the dimension; proved where the verdict is."""
        return self.expected_dimension - self.dimension

    @property
    def proved_defect(self) -> int:
        """What the upper bound proves of the defect, whatever the ranks were."""
        return max(0, self.expected_dimension - self.bound.value)

    @property
    def is_filling(self) -> bool:
        """Whether the functions reach the dimension of the ambient space; True is always proved."""
        return self.ambient_dimension is not None and self.dimension == self.ambient_dimension

    @property
    def primes(self) -> tuple[int, ...]:
        """The primes that were used."""
        return tuple(dict.fromkeys(d.prime for d in self.draws))

    def fibre(self) -> Fibre:
        """Dimension and structure of the generic fibre; its parts add up to its dimension."""
        unexplained = self.bound.value - self.dimension
        hidden = (Part("no reason known", "all layers", unexplained, "hidden"),) if unexplained else ()
        total = self.family.parameters - self.dimension
        return Fibre(total, self.bound.parts + hidden, self.family.finite(), self.verdict.is_proved)

    def to_json(self) -> dict[str, Any]:
        """The record as plain values; large whole numbers as text."""
        return {
            "family": self.family.to_json(),
            "parameters": self.family.parameters,
            "dimension": self.dimension,
            "expected_dimension": self.expected_dimension,
            "ambient_dimension": None if self.ambient_dimension is None else str(self.ambient_dimension),
            "defect": self.defect,
            "is_filling": self.is_filling,
            "bound": self.bound.to_json(),
            "draws": [d.to_json() for d in self.draws],
            "chance": self.chance,
            "verdict": self.verdict.to_json(),
            "identifiability": self.identifiability.to_json(),
            "criteria": [one.to_json() for one in self.criteria],
            "fibre": self.fibre().to_json(),
            "seed": self.seed,
            "seconds": self.seconds,
        }

    @classmethod
    def from_json(cls, record: Mapping[str, Any]) -> Neurovariety:
        """The record that ``to_json`` wrote."""
        ambient = record["ambient_dimension"]
        return cls(
            family=FAMILIES[record["family"]["kind"]].from_json(record["family"]),
            dimension=record["dimension"],
            expected_dimension=record["expected_dimension"],
            ambient_dimension=None if ambient is None else int(ambient),
            bound=Bound.from_json(record["bound"]),
            draws=tuple(Draw(**d) for d in record["draws"]),
            chance=record["chance"],
            verdict=Verdict.from_json(record["verdict"]),
            identifiability=Verdict.from_json(record["identifiability"]),
            criteria=tuple(Criterion(**one) for one in record["criteria"]),
            seed=record["seed"],
            seconds=record["seconds"],
        )

    def __str__(self) -> str:
        ambient = "not counted" if self.ambient_dimension is None else f"{self.ambient_dimension:,}"
        found = f"{self.verdict.kind}"
        if not self.verdict.is_proved:
            found = f"probable, error at most {self.chance:.0e}; at most {self.bound.value:,} is proved"
        rows = [
            ("parameters", f"{self.family.parameters:,}", ""),
            ("dimension", f"{self.dimension:,}", found),
            ("expected", f"{self.expected_dimension:,}", f"defect {self.defect:,}" if self.defect else "no defect"),
            ("ambient", ambient, "filled" if self.is_filling else ""),
        ]
        rows += [
            ("fibre" if not k else "", f"{p.dimension:,}", f"{p.name}, {p.place}") for k, p in enumerate(self._rows())
        ]
        wide = max(len(row[1]) for row in rows)
        lines = [f"{self.family}"] + [f"  {a:<10}  {b:>{wide}}  {c}".rstrip() for a, b, c in rows]
        if self.draws:
            ranks = ", ".join(str(d.rank) for d in self.draws)
            lines.append(f"  ranks {ranks} modulo {' and '.join(map(str, self.primes))}, seed {self.seed}")
        return "\n".join([*lines, f"  {self.identifiability.kind}: {self.identifiability.claim}"])

    def _rows(self) -> list[Part]:
        """The parts of the fibre, the gauge of many layers as one."""
        parts = self.fibre().parts
        gauge = [part for part in parts if part.kind == "gauge"]
        if len(gauge) <= GAUGE_ROWS:
            return list(parts)
        whole = Part(f"gauge of {len(gauge)} places", "all layers", sum(p.dimension for p in gauge), "gauge")
        return [whole, *(part for part in parts if part.kind != "gauge")]


def neurovariety(
    widths: Sequence[int] | Family,
    activation: Activation | str | None = None,
    *,
    bias: bool = False,
    primes: int = 2,
    draws: int = 3,
    seed: int = 0,
    progress: Callable[[int, int], None] | None = None,
) -> Neurovariety:
    r"""The dimension of the functions of an architecture with polynomial activations.

    Args:
        widths: Input, hidden and output widths of a fully connected network; or a ``Convolution`` or ``Attention``.
        activation: ``monomial(r)``, ``polynomial([...])``, or a text such as ``"t^3 + 2t"``. Not for other families.
        bias: Whether all layers have biases.
        primes: Random primes, at most.
        draws: Random points per prime, at most; the first rank that meets the upper bound ends it.
        seed: Decides everything random.
        progress: Called with (inputs, rank) while a draw goes on.

    Returns:
        The dimension with its verdict, the expected and the ambient one, and the generic fibre.

    Raises:
        WrongUse: For widths, an activation or numbers that are no such thing, or a size beyond ``MOST_PARAMETERS`` that
            no theorem decides.
        Contradiction: A bug in the library: a rank above a proved bound.

    Cost:
        Per draw ``4/3 r^2 P`` multiply-adds in matrix products for rank r and P parameters, and ``P^2 / 4`` numbers,
        however large the ambient space is; 3,072 parameters take a few seconds.

    Example:
        Sums of two squares of linear forms in three variables are quadratic forms of rank two: one dimension less than
        parameters and scales let expect.

        >>> found = neurovariety(widths=(3, 2, 1), activation="t^2")
        >>> found.dimension, found.expected_dimension, found.ambient_dimension, found.defect, found.is_filling
        (5, 6, 6, 1, False)
        >>> found.verdict.is_proved, found.fibre().hidden
        (True, 1)
    """
    start = perf_counter()
    family = _family(widths, activation, bias)
    for value, name, least in ((primes, "primes", 1), (draws, "draws", 1), (seed, "seed", 0)):
        _whole(value, name, least)
    known = criteria(family) if isinstance(family, Architecture) else ()
    if not known and family.parameters > MOST_PARAMETERS:
        _refuse_size(family, None, primes * draws)
    bound, ambient = family.bound(), family.ambient_dimension
    gauge = sum(part.dimension for part in bound.parts if part.kind == "gauge")
    expected = family.parameters - gauge if ambient is None else min(ambient, family.parameters - gauge)
    theorem = next((one for one in known if one.reaches(bound.value, expected)), None)
    if family.parameters > MOST_PARAMETERS:
        _refuse_size(family, theorem, primes * draws)
        ranks, dimension = (), bound.value
    else:
        ranks = generic_rank(family, bound.value, primes=primes, draws=draws, seed=seed, progress=progress)
        dimension = max(d.rank for d in ranks)
    if dimension > bound.value:
        raise Contradiction(
            f"{family} has rank {dimension} modulo {[d.prime for d in ranks]}, above the proved bound {bound.value}. "
            "Please report this. Nothing was concluded."
        )
    hypotheses = _softmax(family, seed)
    met = dimension == bound.value and all(hypotheses.values())
    chance = 0.0 if met else failure(ranks, family.size())
    verdict = dimension_verdict(family, dimension, bound, theorem if not ranks else None, chance, hypotheses)
    generic = identifiability_verdict(family, dimension, bound, known, proved=met)
    return Neurovariety(
        family,
        dimension,
        expected,
        ambient,
        bound,
        ranks,
        chance,
        verdict,
        generic,
        known,
        seed,
        perf_counter() - start,
    )


def _family(widths: Sequence[int] | Family, activation: Activation | str | None, bias: bool) -> Family:
    if hasattr(widths, "draw_theta"):
        if activation is not None or bias:
            raise WrongUse(
                f"{widths} has its activation and biases already. Next step: leave activation= and bias= out, or give "
                "widths. Nothing was computed."
            )
        return cast(Family, widths)
    if activation is None:
        raise WrongUse(
            "a neurovariety needs the activation between the layers. Next step: activation='t^2', monomial(r) or "
            "polynomial([c0, c1, ...]). Nothing was computed."
        )
    return Architecture(cast(Any, widths), cast(Any, activation), bias)


def _whole(value: int, name: str, least: int) -> None:
    if isinstance(value, bool) or not isinstance(value, int) or value < least:
        raise WrongUse(f"{name} is a whole number of at least {least}, got {value!r}. Nothing was computed.")


def _refuse_size(family: Family, theorem: Criterion | None, draws: int) -> None:
    """Too many parameters for a rank, unless a theorem gives the dimension."""
    if theorem is not None:
        return
    count = family.parameters
    memory, seconds = 8 * (count**2 / 4 + 4e6) / 1e9, 1e-10 * count**3
    raise WrongUse(
        f"{family} has {count:,} parameters, the bound is {MOST_PARAMETERS:,}, and no theorem decides it: an "
        f"elimination would take about {memory:,.0f} GB and {seconds / 60:,.0f} minutes, up to {draws} times. Next "
        "step: narrower layers of the same shape, or blocks of two layers; variety.upper_bound and variety.criteria "
        "work at any size. Nothing was computed."
    )


def _softmax(family: Family, seed: int) -> dict[str, bool]:
    """The hypothesis under which the weights of a softmax are independent variables, where there is one."""
    if not isinstance(family, Attention) or family.kind == "lightning":
        return {}
    independent = any(score_independence(family, Modulus(), rng(seed + k)) for k in range(2))
    return {"the differences of scores are linearly independent modulo constants and variables": independent}
