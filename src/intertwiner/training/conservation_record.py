"""What ``conservation_laws`` found: families with their formulas, how many laws there are, and what was assumed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float
from numpy import ndarray
from torch import nn

from intertwiner.network import Network
from intertwiner.training.counts import ConservationCount
from intertwiner.training.data_symmetry import DataSymmetryLaws
from intertwiner.training.families import Family, State, flat_of, law_count
from intertwiner.training.rank_at import LocalRank
from intertwiner.training.symmetric_laws import SymmetricLaws
from intertwiner.verdict import Kind, Verdict

SCHEMA = "intertwiner.conservation/1"


@dataclass(frozen=True)
class ConservationLaws:
    """The conservation laws of a network under plain gradient flow.

    Args:
        name: What the network is called.
        parameters: Numbers that training moves.
        families: The laws, by gauge group.
        loss: What the loss is, in words.
        training: Whether batch norm and dropout are in training mode.
        assumed: What is assumed, one sentence each.
        lost: ``(place, reason)`` where structure was given up; there may be more laws there.
        rates: Of every family the largest rate of a law along one random gradient, as a share of its terms; empty
            where it was not measured.
        unchecked: Why not; empty where it was.
        count: How many independent laws there are, with its certificate; None where it was not counted.
        uncounted: Why not; empty where it was.
        local: The rank of the brackets at the weights themselves beside the generic one, where it was counted: the
            number of laws holds near weights where the two agree.
        symmetric: What symmetric data add, counted or open; None where no symmetry was given.
        verdict: Whether the listed laws are all there are.
    """

    name: str
    parameters: int
    families: tuple[Family, ...]
    loss: str
    training: bool
    assumed: tuple[str, ...]
    lost: tuple[tuple[str, str], ...]
    rates: tuple[float, ...]
    unchecked: str
    count: ConservationCount | None
    uncounted: str
    local: LocalRank | None
    symmetric: SymmetricLaws | None
    verdict: Verdict

    @property
    def data_symmetry(self) -> DataSymmetryLaws | None:
        """The counts with and without the symmetry of the data, where there are any."""
        return None if self.symmetric is None else self.symmetric.counted

    @property
    def listed(self) -> int:
        """Laws in the families; some may depend on others."""
        return law_count(self.families)

    @property
    def exact(self) -> tuple[Family, ...]:
        """The families that hold exactly, not up to an epsilon."""
        return tuple(f for f in self.families if f.exact)

    def __getitem__(self, where: str) -> tuple[Family, ...]:
        """The families of a space, by its tap."""
        return tuple(f for f in self.families if f.where == where)

    def values(self, model: nn.Module | Network | State) -> tuple[Float[ndarray, " laws"], ...]:
        """The laws of every family at the parameters of a model, in float64.

        Args:
            model: The model, a network, or its state_dict.

        Raises:
            WrongUse: A parameter is missing.
            NonFiniteWeights: NaN or infinity among the parameters.
        """
        state = model.state_dict() if isinstance(model, nn.Module) else model
        state = state.state if isinstance(state, Network) else state
        names = dict.fromkeys(n for f in self.families for n in f.parameters)
        flat: dict[str, ndarray] = {name: flat_of(state, name) for name in names}
        return tuple(f.values(flat) for f in self.families)

    def to_json(self) -> dict[str, Any]:
        """The record as plain values."""
        return {
            "schema": SCHEMA,
            "network": {"name": self.name, "parameters": self.parameters},
            "loss": self.loss,
            "training": self.training,
            "assumed": list(self.assumed),
            "families": [f.to_json() for f in self.families],
            "rates": list(self.rates),
            "unchecked": self.unchecked,
            "lost": [list(pair) for pair in self.lost],
            "count": self.count.to_json() if self.count else None,
            "uncounted": self.uncounted,
            "local": self.local.to_json() if self.local else None,
            "data_symmetry": self.data_symmetry.to_json() if self.data_symmetry else None,
            "symmetric": self.symmetric.to_json() if self.symmetric else None,
            "verdict": self.verdict.to_json(),
        }

    @classmethod
    def from_json(cls, record: Mapping[str, Any]) -> ConservationLaws:
        """The record that ``to_json`` wrote."""
        count, counted, symmetric = record["count"], record["data_symmetry"], record["symmetric"]
        laws = DataSymmetryLaws.from_json(counted) if counted else None
        families, network = tuple(map(Family.from_json, record["families"])), record["network"]
        lost = tuple((a, b) for a, b in record["lost"])
        return cls(
            network["name"], network["parameters"], families, record["loss"], record["training"],
            tuple(record["assumed"]), lost, tuple(record["rates"]), record["unchecked"],
            ConservationCount.from_json(count) if count else None,
            record["uncounted"], LocalRank.from_json(record["local"]) if record["local"] else None,
            SymmetricLaws.from_json(symmetric, laws) if symmetric else None,
            Verdict.from_json(record["verdict"]),
        )  # fmt: skip

    def __str__(self) -> str:
        verdict, mode = self.verdict, "training mode" if self.training else "evaluation mode"
        lines = [f"{verdict.kind}: {verdict.claim}", f"  {verdict.reason}"]
        lines += [f"  {self.name}, {self.parameters:,} parameters, loss {self.loss}, {mode}"]
        lines += ["", f"laws by structure: {self.listed} in {len(self.families)} families"]
        rows = [(f.where, f.kind, str(f.count), f"{f.formula} = const") for f in self.families]
        widths = [max((len(row[k]) for row in rows), default=0) for k in range(3)]
        for row, family in zip(rows, self.families, strict=True):
            where, kind, count = (text.ljust(w) for text, w in zip(row, widths))
            lines.append(f"  {where}  {kind}  {count.strip().rjust(widths[2])}  {row[3]}")
            said = [family.group, *_reservations(family)]
            lines.append(" " * (sum(widths) + 8) + "; ".join(said))
        lines += ["", f"counted: {self.count or self.uncounted}"]
        if self.local:
            lines.append(f"rank at these weights: {self.local.words}")
        if self.symmetric:
            lines.append(str(self.symmetric))
        if self.rates:
            exact = [r for r, f in zip(self.rates, self.families, strict=True) if f.exact]
            worst = f"{max(exact, default=0.0):.1e} for exact laws"
            nearly = [r for r, f in zip(self.rates, self.families, strict=True) if not f.exact]
            worst += f", {max(nearly):.1e} for those up to an epsilon" if nearly else ""
            lines.append(f"checked: largest rate along a random gradient, as a share of its terms: {worst}")
        else:
            lines.append(f"checked: {self.unchecked}")
        lines += ["", "assumed", *(f"  {text}" for text in self.assumed)]
        if self.lost:
            lines += ["", "given up", *(f"  {place}: {reason}" for place, reason in self.lost)]
        return "\n".join(lines)


def _reservations(family: Family) -> list[str]:
    out = [] if family.exact else [f"up to {family.because}"]
    return out + ([f"for {family.holds}"] if family.holds else [])


def verdict_on(
    name: str, families: tuple[Family, ...], count: ConservationCount | None, uncounted: str, *, scope: str
) -> Verdict:
    """Whether the listed laws are all there are, for the data and losses of the scope."""
    exact = law_count([f for f in families if f.exact])
    nearly = law_count(families) - exact
    apart = f"; {nearly} more hold up to an epsilon and are not counted" if nearly else ""
    claim = f"the {exact} exact laws listed for {name} generate all that gradient flow conserves {scope}"
    claim = claim if exact else f"gradient flow of {name} conserves nothing {scope}"
    if count is None:
        return Verdict(Kind.UNDECIDED, claim, f"the laws listed hold; how many there are is open: {uncounted}{apart}")
    if count.laws is None:
        reason = f"{count.known} of them are independent, and there can be up to {count.most}{apart}"
        return Verdict(Kind.UNDECIDED, claim, reason)
    if count.known < count.laws:
        claim = (
            f"{name} has exactly {count.laws} independent functions that gradient flow conserves {scope}, "
            f"{count.laws - count.known} not listed"
        )
    v = count.verdict
    independent = f"{count.known} of the laws listed are independent; {v.reason}{apart}"
    return Verdict(Kind.PROVED, claim, independent, exact=True, theorem=v.theorem, hypotheses=v.hypotheses)


def relative(rates: ndarray, scales: ndarray) -> float:
    """The largest rate as a share of its terms.

    Example:
        >>> relative(np.array([0.0, 1e-16]), np.array([0.0, 1.0]))
        1e-16
    """
    shares = np.abs(rates) / np.where(scales > 0, scales, 1.0)
    return float(shares.max(initial=0.0))
