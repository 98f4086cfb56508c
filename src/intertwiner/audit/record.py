"""The result of an audit: a plain record that reports render, and the objects behind it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from intertwiner.algebra import Group, GSet, Representation, group_from_json, parse_group
from intertwiner.audit.orbits import Orbits
from intertwiner.audit.weights import WeightAction
from intertwiner.errors import UnknownTap
from intertwiner.report import load, save, to_html, to_text
from intertwiner.verdict import Verdict


@dataclass(frozen=True, eq=False, repr=False)
class LatentAction:
    """The action at one latent space.

    Args:
        record: Everything reported about it; see docs/audit-schema.md, "taps".
        group: The group.
        weights: What the weights say, None in an audit read from a file.
        found: Orbits of neurons, None where they were not looked for or in an audit read from a file.
    """

    record: Mapping[str, Any]
    group: Group
    weights: WeightAction | None = None
    found: Orbits | None = None

    @property
    def name(self) -> str:
        return self.record["name"]

    @property
    def status(self) -> str:
        """What the weights decide: "exact", "within tolerance", "broken" or "not covered"."""
        return self.record["weights"]["status"]

    @property
    def representation(self) -> Representation | None:
        """The latent action that the weights prove; None where there is none."""
        if self.weights is not None:
            return self.weights.representation
        text = self.record["weights"]["representation"]
        return None if text is None else Representation.parse(text, self.group)

    @property
    def orbits(self) -> GSet | None:
        """The same as a disjoint union of orbits, where neurons are permuted (None in an audit read from a file)."""
        return None if self.weights is None else self.weights.orbits

    @property
    def gauge_r2(self) -> dict[str, float | None]:
        """Share of variance that the best element of K explains, by generator; empty where not measured."""
        data = self.record["data"] or {}
        return {name: row["gauge_r2"] for name, row in (data.get("generators") or {}).items()}

    def __str__(self) -> str:
        weights = self.record["weights"]
        if weights["representation"] is None:
            return f"{self.name}: {weights['status']}" + (f" ({weights['reason']})" if weights["reason"] else "")
        orbits = f", orbits {weights['orbits']}" if weights["orbits"] else ""
        return f"{self.name}: {weights['representation']}{orbits} ({weights['status']})"

    def __repr__(self) -> str:
        return f"LatentAction({self})"


@dataclass(frozen=True, eq=False, repr=False)
class Audit:
    """What was found in a network.

    Args:
        record: The whole audit as plain data; see docs/audit-schema.md.
        actions: One latent action per reported tap, in the order of computation.
        verdict: What was decided about the network as a whole.
        aliases: Other tap names, and the place they lead to.

    Example:
        >>> import intertwiner as iw
        >>> network = iw.bundled.load("planted-tanh-d4")
        >>> audit = iw.audit(network.module, network.symmetry, data=network.batches())
        >>> audit.verdict.kind
        <Kind.PROVED: 'PROVED'>
    """

    record: Mapping[str, Any]
    actions: tuple[LatentAction, ...]
    verdict: Verdict
    aliases: Mapping[str, str] = field(default_factory=dict)

    @property
    def defect(self) -> float | None:
        """The largest end-to-end equivariance defect over the generators, None where it was not measured."""
        return self.record["defect"]["worst"]

    def __getitem__(self, tap: str) -> LatentAction:
        """The latent action at a tap: its name, a name without ``:out``, or a unique prefix.

        Raises:
            UnknownTap: No place of the audit has this name; the message lists them.
        """
        by_name = {action.name: action for action in self.actions}
        names = {**{name: name for name in by_name}, **self.aliases}
        for wanted in (tap, f"{tap}:out"):
            if wanted in names:
                return by_name[names[wanted]]
        hits = {place for name, place in names.items() if name.startswith(tap)}
        if len(hits) == 1:
            return by_name[hits.pop()]
        near = ", ".join(sorted(hits)) if hits else ", ".join(by_name)
        raise UnknownTap(f"{tap!r} names {'several places' if hits else 'no place'} of this audit: {near}")

    def __iter__(self) -> Iterator[LatentAction]:
        return iter(self.actions)

    def __len__(self) -> int:
        return len(self.actions)

    def save(self, folder: Path | str) -> tuple[Path, Path]:
        """Write ``audit.json`` and ``report.html``, both or none; returns their paths."""
        return save(self.record, folder)

    @classmethod
    def load(cls, path: Path | str) -> Audit:
        """Read an audit from ``audit.json`` or the folder that holds it.

        Raises:
            CorruptFile: The file is no audit.
        """
        return cls.from_json(load(path))

    def to_json(self) -> dict[str, Any]:
        return dict(self.record)

    @classmethod
    def from_json(cls, record: Mapping[str, Any]) -> Audit:
        facts = record["group"]
        group = group_from_json(facts["definition"]) if facts["definition"] else parse_group(facts["name"])
        actions = tuple(LatentAction(tap, group) for tap in record["taps"])
        aliases = {alias: tap["name"] for tap in record["taps"] for alias in tap["aliases"]}
        return cls(record, actions, Verdict.from_json(record["verdict"]), aliases)

    def __str__(self) -> str:
        return to_text(self.record)

    def __repr__(self) -> str:
        return f"Audit({self.record['network']['name']}, {self.record['group']['name']}: {self.verdict.kind})"

    def _repr_html_(self) -> str:
        return to_html(self.record)
