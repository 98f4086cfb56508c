"""What a reduction did: what was taken out where and why, what was left alone, and how exactly the function is kept."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from torch import nn

from intertwiner.identify.reducing.certificate import Certificate
from intertwiner.identify.reducing.flips import FlipSet

KINDS = {
    "unread": "cannot reach the output",
    "constant": "constant, folded into biases",
    "duplicate": "equal up to the gauge to another neuron",
    "opposite": "opposite to another neuron: joined, with a linear map beside the layer",
    "idle": "proved to be zero on the box",
    "linear": "proved to act linearly on the box: moved into a linear map beside the layer",
}
"""Why a neuron was taken out."""


@dataclass(frozen=True)
class Removed:
    """One neuron that was taken out.

    Args:
        place: The layer that wrote it.
        neuron: Its number in the original layer.
        kind: One of ``KINDS``.
        into: The number of the neuron that took over its work, -1 where none did.
        residual: Relative residual of the relation between weights; 0 where it holds bit for bit or none is needed.
    """

    place: str
    neuron: int
    kind: str
    into: int = -1
    residual: float = 0.0

    def to_json(self) -> dict[str, Any]:
        return dict(vars(self))


@dataclass(frozen=True, eq=False)
class Reduction:
    """A network without its redundant neurons.

    Args:
        name: What the network is called.
        module: The reduced network, a plain module with the original names of weights.
        certificate: How far it was found to be from the original.
        removed: Every neuron taken out.
        left_alone: By layer, why nothing could be taken out of it.
        flips: Sets of neurons whose common flip changes nothing: the parameters that remain are not unique.
        unsearched: By layer, the dimension of the null space in which flip sets were not searched.
        even: By layer, "" where it was brought to its even form, else why it was not; empty where none was asked for.
        neurons: Neurons before and after, over all layers that can be reduced.
        weights: Numbers that the operators hold, before and after.
        box: The input box of what was proved by intervals, in words; empty where none was given.
        tolerance: Largest relative residual of a relation between weights that counts as rounding.
    """

    name: str
    module: nn.Module
    certificate: Certificate
    removed: tuple[Removed, ...]
    left_alone: Mapping[str, str]
    flips: tuple[FlipSet, ...]
    unsearched: Mapping[str, int]
    even: Mapping[str, str]
    neurons: tuple[int, int]
    weights: tuple[int, int]
    box: str
    tolerance: float

    @property
    def changed(self) -> bool:
        """Whether the module is another network than the given one."""
        return bool(self.removed) or any(not why for why in self.even.values())

    def of_kind(self, kind: str) -> tuple[tuple[str, int], ...]:
        """(layer, neuron) of everything removed for one reason."""
        return tuple((r.place, r.neuron) for r in self.removed if r.kind == kind)

    def to_json(self) -> dict[str, Any]:
        return {
            "name": self.name,
            "removed": [r.to_json() for r in self.removed],
            "left_alone": dict(self.left_alone),
            "flips": [f.to_json() for f in self.flips],
            "unsearched": dict(self.unsearched),
            "even": dict(self.even),
            "neurons": list(self.neurons),
            "weights": list(self.weights),
            "box": self.box,
            "tolerance": self.tolerance,
            "certificate": self.certificate.to_json(),
        }

    def __str__(self) -> str:
        lines = [
            f"{self.name}: {self.neurons[0]} -> {self.neurons[1]} neurons, "
            f"{self.weights[0]} -> {self.weights[1]} weights"
        ]
        if self.box:
            lines.append(f"holds on the box {self.box}")
        width = max((len(r.place) for r in self.removed), default=0)
        for place in dict.fromkeys(r.place for r in self.removed):
            for kind in KINDS:
                lines += self._row(place, kind, width)
        lines += [f"  flip of {f.place} {list(f.neurons)} changes nothing: signs not unique" for f in self.flips]
        lines += [f"  {place}: flip sets not searched, {q} dimensions of them" for place, q in self.unsearched.items()]
        lines += [f"  {place}: even form" for place, why in self.even.items() if not why]
        lines += [f"  {place}: no even form, {why}" for place, why in self.even.items() if why]
        lines += [f"  {place}: left alone, {why}" for place, why in self.left_alone.items()]
        return "\n".join([*lines, str(self.certificate)])

    def _row(self, place: str, kind: str, width: int) -> list[str]:
        found = [r for r in self.removed if r.place == place and r.kind == kind]
        if not found:
            return []
        shown = ", ".join(f"{r.neuron}->{r.into}" if r.into >= 0 else str(r.neuron) for r in found[:12])
        more = f" and {len(found) - 12} more" if len(found) > 12 else ""
        worst = max(r.residual for r in found)
        how = f" (residual {worst:.1g})" if worst else ""
        return [f"  {place:<{width}}  {len(found):>4}  {KINDS[kind]}: {shown}{more}{how}"]
