"""What is known about a twin: the verdict that rests on its weights, and beside it what was measured, on what."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from typing import Any

import numpy as np
import torch
from torch import nn

from intertwiner.audit.judge import judge
from intertwiner.audit.subject import Subject
from intertwiner.network import node as ir
from intertwiner.numerics.tolerance import tolerance
from intertwiner.rewrite.coordinates import channel_axis
from intertwiner.rewrite.cost import multiply_adds, twin_multiply_adds
from intertwiner.rewrite.measure import Figures, averaging_runs, defect, seconds, traced
from intertwiner.rewrite.twin import TwinGraph
from intertwiner.transport import carry
from intertwiner.verdict import Verdict

SCHEMA = "intertwiner.certificate/1"


@dataclass(frozen=True)
class Certificate:
    """A twin beside its original.

    Args:
        verdict: PROVED rests on the weight relations of the twin as it is stored, for all of G.
        group: Name of G.
        order: |G|.
        method: "lift" where the group average was merged exactly, "selected" where orbits were selected and refitted.
        dtype: Type of the weights.
        defect_float64: Largest equivariance defect of the twin over the generators, computed in float64.
        defect_float32: The same, computed in float32.
        original_defect: Of the original, in its own type.
        noise_floor: What rounding alone makes of the defect of the original computed in float32.
        distance_original: ``|twin - f| / |f - mean f|``.
        distance_average: ``|twin - f_G| / |f_G - mean f_G|``, with f_G the group average.
        average_exact: Whether f_G was averaged over all of G; else over random elements.
        original_distance_average: ``|f - f_G|`` likewise.
        accuracy: Of "twin", "original" and "average"; empty without labels.
        widths: Input, hidden layers, output of the twin.
        original_widths: The same of the original.
        parameters: Numbers stored for the twin and the original, and "free": how many of the twin's are independent.
        multiply_adds: Of one sample: "twin", "original", "averaging".
        seconds: Of one "batch": "twin", "original", "averaging".
        averaging_measured: Whether averaging was run; else it is |G| times the original.
        data: What the figures were measured on.
        layers: How the hidden layers came about.
        seed: Of everything random.
        executors: By layer, whether it runs "dense" or in "blocks".
        training: What distillation did: epochs, steps, seconds, losses; empty without.
    """

    verdict: Verdict
    group: str
    order: int
    method: str
    dtype: str
    defect_float64: float
    defect_float32: float
    original_defect: float
    noise_floor: float | None
    distance_original: float
    distance_average: float
    average_exact: bool
    original_distance_average: float
    accuracy: Mapping[str, float]
    widths: tuple[int, ...]
    original_widths: tuple[int, ...]
    parameters: Mapping[str, int]
    multiply_adds: Mapping[str, int]
    seconds: Mapping[str, float]
    averaging_measured: bool
    data: str
    layers: tuple[Mapping[str, Any], ...]
    seed: int
    executors: Mapping[str, str] = field(default_factory=dict)
    training: Mapping[str, Any] = field(default_factory=dict)

    @property
    def cost(self) -> float:
        """Multiply-adds relative to the original."""
        return self.multiply_adds["twin"] / self.multiply_adds["original"]

    def to_json(self) -> dict[str, Any]:
        record: dict[str, Any] = {"schema": SCHEMA}
        for f in fields(self):
            value = getattr(self, f.name)
            record[f.name] = value.to_json() if isinstance(value, Verdict) else _plain(value)
        return record

    @classmethod
    def from_json(cls, record: Mapping[str, Any]) -> Certificate:
        values = {f.name: record[f.name] for f in fields(cls)}
        values["verdict"] = Verdict.from_json(values["verdict"])
        for name in ("widths", "original_widths", "layers"):
            values[name] = tuple(values[name])
        measured = [f.name for f in fields(cls) if f.type == "float"]
        for name in measured:
            values[name] = float("nan") if values[name] is None else values[name]
        return cls(**values)

    def __str__(self) -> str:
        floor = "" if self.noise_floor is None else f"; rounding explains {self.noise_floor:.2g}"
        lines = [
            f"{self.verdict.kind}: {self.verdict.claim}",
            f"    {self.verdict.reason}",
            f"widths         {_chain(self.original_widths)} -> {_chain(self.widths)}",
            f"multiply-adds  {self.multiply_adds['original']} -> {self.multiply_adds['twin']} ({self.cost:.2f} x"
            f"{self._blocks()}); averaging {self.multiply_adds['averaging']}",
            f"parameters     {self.parameters['original']} -> {self.parameters['twin']}, "
            f"{self.parameters['free']} of them free",
            f"defect         {self.original_defect:.2g} -> {self.defect_float32:.2g} in float32, "
            f"{self.defect_float64:.2g} in float64{floor}",
            f"distance       {_distance(self.distance_original)} from the original, "
            f"{_distance(self.distance_average)} from its group average "
            f"({'all of' if self.average_exact else 'random elements of'} {self.group}); the original "
            f"is {_distance(self.original_distance_average)} away from it",
        ]
        if self.accuracy:
            both = ", ".join(f"{name} {value:.4f}" for name, value in self.accuracy.items())
            lines.append(f"accuracy       {both}")
        how = "run" if self.averaging_measured else f"{self.order} x original, not run"
        lines.append(
            f"seconds        twin {self.seconds['twin']:.2g}, original {self.seconds['original']:.2g}, averaging "
            f"{self.seconds['averaging']:.2g} ({how}); batch {self.seconds['batch']:.0f}, eager"
        )
        if self.training:
            lines.append(f"distilled      {self.training['text']}")
        return "\n".join([*lines, f"on             {self.data}"])

    def _blocks(self) -> str:
        dense = self.multiply_adds.get("dense", 0)
        return f", in blocks; dense {dense}" if "blocks" in self.executors.values() else ""


def _chain(widths: tuple[int, ...]) -> str:
    return "-".join(map(str, widths))


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {str(k): _plain(v) for k, v in value.items()}
    if isinstance(value, (tuple, list)):
        return [_plain(v) for v in value]
    value = value.item() if isinstance(value, np.generic) else value
    # JSON has no NaN: a distance from something constant is unknown.
    return None if isinstance(value, float) and math.isnan(value) else value


def _distance(value: float) -> str:
    return "an unknown distance" if math.isnan(value) else f"{value:.3g}"


@dataclass(frozen=True)
class Story:
    """How a twin came about and what it was measured on.

    Args:
        method: "lift", or "selected" where orbits were selected and refitted.
        layers: How the hidden layers came about.
        data: What the figures were measured on.
        exact: Whether the group average was taken over all of G.
        blocks: Layers that run in isotypic blocks.
        training: What distillation did; empty without.
        seed: Of everything random.
    """

    method: str
    layers: tuple[Mapping[str, Any], ...]
    data: str
    exact: bool
    blocks: tuple[str, ...] = ()
    training: Mapping[str, Any] = field(default_factory=dict)
    seed: int = 0


def certify(subject: Subject, twin: TwinGraph, module: nn.Module, found: Figures, story: Story) -> Certificate:
    """Prove what the weights of the twin as it is stored prove, and measure the rest.

    The verdict is that of the dense twin: blocks are its weights in other coordinates, and round differently.

    Args:
        subject: The original with its symmetry and data.
        twin: The twin in float64.
        module: The twin as it is handed out.
        found: Distances and accuracies.
        story: How it came about.

    Cost:
        A few passes of the twin over some thousand samples, and about fifty batches for the times.
    """
    network, bound = subject.network, subject.symmetry
    own = traced(twin.module(), subject, network.dtype)
    verdict = judge(own, bound, carry(own, bound, tolerance=tolerance(own.dtype)), box=1.0, witness=None)
    if verdict.is_proved and not verdict.exact and twin.is_tied(network.dtype):
        # Followed to the output, a sum of several writers is rounded; the weights themselves are not.
        reason = "every weight commutes with the generators bit for bit, and so does everything between the weights"
        verdict = replace(verdict, reason=reason, exact=True, bound=0.0)
    handed = own if not story.blocks else traced(module, subject, network.dtype)
    defects = {
        dtype: defect(handed if dtype == network.dtype else handed.to(dtype), subject)[0]
        for dtype in (torch.float32, torch.float64)
    }  # fmt: skip
    original, floor = defect(network, subject)
    if network.dtype != torch.float32:
        floor = defect(network.to(torch.float32), subject)[1]
    theirs, order = multiply_adds(network.graph), bound.group.order
    layers = [name for name, node in twin.graph.items() if isinstance(node.op, (ir.Linear, ir.Conv))]
    return Certificate(
        verdict=verdict, group=bound.group.name, order=order, method=story.method,
        dtype=str(network.dtype).removeprefix("torch."),
        defect_float64=defects[torch.float64], defect_float32=defects[torch.float32],
        original_defect=original, noise_floor=floor,
        distance_original=found.original, distance_average=found.average, average_exact=story.exact,
        original_distance_average=found.spread, accuracy=found.right,
        widths=layer_widths(twin.graph), original_widths=layer_widths(network.graph),
        parameters={
            "twin": stored_numbers(module), "original": network.parameters,
            "free": twin.free_parameters,
        },
        multiply_adds={
            "twin": twin_multiply_adds(twin, story.blocks), "dense": multiply_adds(twin.graph), "original": theirs,
            "averaging": theirs * order,
        },
        seconds=seconds(subject, module), averaging_measured=averaging_runs(subject),
        data=story.data, layers=story.layers, seed=story.seed,
        executors={name: "blocks" if name in story.blocks else "dense" for name in layers}, training=story.training,
    )  # fmt: skip


def stored_numbers(module: nn.Module) -> int:
    """Parameters of a module; blocks keep theirs as buffers, once they are inverted and merged for inference."""
    own = sum(p.numel() for p in module.parameters())
    return own or sum(t.numel() for t in module.state_dict().values() if t.is_floating_point())


def layer_widths(graph: Mapping[str, ir.Node]) -> tuple[int, ...]:
    """Channels that the first layer reads, then what every linear map and convolution writes."""
    written = [node for node in graph.values() if isinstance(node.op, (ir.Linear, ir.Conv))]
    if not written:
        return ()
    read = written[0].op.weight.shape[1]  # type: ignore[attr-defined]
    return (read, *(node.shape[channel_axis(node)] for node in written))
