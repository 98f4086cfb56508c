"""Two audits side by side: two seeds, two checkpoints, a network and its rewrite."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from intertwiner.audit.record import Audit
from intertwiner.report.words import NOTHING, decided, number, summary

Pair = tuple[Any, Any]
STATUS = {"exact": "exact", "within tolerance": "within tol.", "broken": "broken", "not covered": "not covered"}


@dataclass(frozen=True)
class TapPair:
    """One tap in both audits; None stands where an audit does not have it, or did not measure.

    Args:
        name: The tap.
        dimension: Features.
        status: What the weights decide.
        representation: The action that they carry.
        linear_r2: Share of variance that the best linear map explains, worst generator.
        gauge_r2: The same for the best element of the gauge group.
        null: The highest null.
    """

    name: str
    dimension: Pair
    status: Pair
    representation: Pair
    linear_r2: Pair
    gauge_r2: Pair
    null: Pair

    @property
    def same_action(self) -> bool | None:
        """Whether both carry an action and it is the same one; None where either carries none."""
        first, second = self.representation
        return None if first is None or second is None else first == second


@dataclass(frozen=True)
class Comparison:
    """What two audits say.

    Args:
        networks: Names.
        groups: Groups; where they differ, generators are compared by name only.
        verdicts: In words.
        worst: The worst end-to-end defects.
        defects: End-to-end, by generator.
        taps: In the order of the first audit; those of the second alone come last.
    """

    networks: Pair
    groups: Pair
    verdicts: Pair
    worst: Pair
    defects: Mapping[str, Pair]
    taps: tuple[TapPair, ...]

    def to_json(self) -> dict[str, Any]:
        return {
            "networks": list(self.networks),
            "groups": list(self.groups),
            "verdicts": list(self.verdicts),
            "worst_defect": list(self.worst),
            "defects": {name: list(pair) for name, pair in self.defects.items()},
            "taps": [
                {
                    "name": tap.name,
                    "dimension": list(tap.dimension),
                    "status": list(tap.status),
                    "representation": list(tap.representation),
                    "same_action": tap.same_action,
                    "linear_r2": list(tap.linear_r2),
                    "gauge_r2": list(tap.gauge_r2),
                    "null": list(tap.null),
                }
                for tap in self.taps
            ],
        }

    def __str__(self) -> str:
        lines = [_row("", self.networks), _row("group", self.groups), _row("verdict", self.verdicts)]
        lines += [_row(f"defect {name}", _numbers(pair)) for name, pair in self.defects.items()]
        lines += [_row("worst defect", _numbers(self.worst)), "", f"{'':<29}{'weights':<24}{'R2 in K':<16}null"]
        for tap in self.taps:
            status = "".join(f"{STATUS.get(s, NOTHING):<12}" for s in tap.status)
            shares = "".join(f"{_share(r):>7} " for r in (*tap.gauge_r2, *tap.null))
            fits = len(tap.name) <= 28
            lines += [] if fits else [tap.name]
            lines.append(f"{tap.name if fits else '':<29}{status}{shares}".rstrip())
            if tap.same_action is not None:
                first, second = tap.representation
                lines.append(f"    {first}" if tap.same_action else f"    {first}\n    {second}")
        return "\n".join(line.rstrip() for line in lines)


def compare(first: Audit, second: Audit) -> Comparison:
    """Set two audits side by side.

    Args:
        first: An audit, as measured or read by ``Audit.load``.
        second: Another one. Taps and generators are matched by name.

    Example:
        >>> import intertwiner as iw
        >>> network = iw.bundled.load("planted-tanh-d4")
        >>> audit = iw.audit(network.module, network.symmetry, data=network.data)
        >>> compare(audit, audit).verdicts
        ('PROVED, exactly', 'PROVED, exactly')
    """
    a, b = first.record, second.record
    generators = [(_part(r["defect"], "generators") or {}) for r in (a, b)]
    names = list(dict.fromkeys([*generators[0], *generators[1]]))
    rows = [{tap["name"]: tap for tap in r["taps"]} for r in (a, b)]
    return Comparison(
        (a["network"]["name"], b["network"]["name"]),
        (a["group"]["name"], b["group"]["name"]),
        (decided(a["verdict"]), decided(b["verdict"])),
        (_part(a["defect"], "worst"), _part(b["defect"], "worst")),
        {name: (_part(generators[0].get(name), "value"), _part(generators[1].get(name), "value")) for name in names},
        tuple(_tap(name, rows[0].get(name), rows[1].get(name)) for name in dict.fromkeys([*rows[0], *rows[1]])),
    )


def _tap(name: str, first: Mapping[str, Any] | None, second: Mapping[str, Any] | None) -> TapPair:
    both = (first, second)
    weights = [_part(tap, "weights") for tap in both]
    figures = [summary(tap) if tap else {} for tap in both]

    def pair(parts: list[Any], key: str) -> Pair:
        return _part(parts[0], key), _part(parts[1], key)

    return TapPair(
        name, pair(list(both), "dimension"), pair(weights, "status"), pair(weights, "representation"),
        pair(figures, "linear_r2"), pair(figures, "gauge_r2"), pair(figures, "null"),
    )  # fmt: skip


def _part(record: Mapping[str, Any] | None, key: str) -> Any:
    return (record or {}).get(key)


def _row(label: str, pair: Pair) -> str:
    return f"{label:<29}{pair[0]:<25} {pair[1]:<25}"


def _numbers(pair: Pair) -> Pair:
    return number(pair[0]), number(pair[1])


def _share(value: float | None) -> str:
    return NOTHING if value is None else f"{value:.3f}" if value > -9.99 else "< -10"
