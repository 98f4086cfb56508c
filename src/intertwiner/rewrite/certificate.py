"""What is known about a twin: the verdict that rests on its weights, and beside it what was measured, on what."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
import torch
from jaxtyping import Int
from numpy import ndarray

from intertwiner.audit.judge import judge
from intertwiner.numerics.tolerance import tolerance
from intertwiner.rewrite.layers import TwinChain, multiply_adds
from intertwiner.rewrite.measure import compare, defect, seconds, traced
from intertwiner.rewrite.module import ChainModule, to_chain_module
from intertwiner.rewrite.samples import Samples
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
        return cls(**values)

    def __str__(self) -> str:
        floor = "" if self.noise_floor is None else f"; rounding explains {self.noise_floor:.2g}"
        lines = [
            f"{self.verdict.kind}: {self.verdict.claim}",
            f"    {self.verdict.reason}",
            f"widths         {_chain(self.original_widths)} -> {_chain(self.widths)}",
            f"multiply-adds  {self.multiply_adds['original']} -> {self.multiply_adds['twin']} ({self.cost:.2f} x); "
            f"averaging {self.multiply_adds['averaging']}",
            f"parameters     {self.parameters['original']} -> {self.parameters['twin']}, "
            f"{self.parameters['free']} of them free",
            f"defect         {self.original_defect:.2g} -> {self.defect_float32:.2g} in float32, "
            f"{self.defect_float64:.2g} in float64{floor}",
            f"distance       {self.distance_original:.3g} from the original, {self.distance_average:.3g} from its "
            f"group average ({'all of' if self.average_exact else 'random elements of'} {self.group}); the original "
            f"is {self.original_distance_average:.3g} away from it",
        ]
        if self.accuracy:
            both = ", ".join(f"{name} {value:.4f}" for name, value in self.accuracy.items())
            lines.append(f"accuracy       {both}")
        how = "run" if self.averaging_measured else f"{self.order} x original, not run"
        lines.append(
            f"seconds        twin {self.seconds['twin']:.2g}, original {self.seconds['original']:.2g}, averaging "
            f"{self.seconds['averaging']:.2g} ({how}); batch {self.seconds['batch']:.0f}, eager"
        )
        return "\n".join([*lines, f"on             {self.data}"])


def _chain(widths: tuple[int, ...]) -> str:
    return "-".join(map(str, widths))


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {str(k): _plain(v) for k, v in value.items()}
    if isinstance(value, (tuple, list)):
        return [_plain(v) for v in value]
    return value.item() if isinstance(value, np.generic) else value


def certify(
    samples: Samples,
    chain: TwinChain,
    module: ChainModule,
    *,
    method: str,
    layers: tuple[Mapping[str, Any], ...],
    labels: Int[ndarray, " n"] | None = None,
    seed: int = 0,
) -> Certificate:
    """Prove what the weights of the stored twin prove, and measure the rest.

    Args:
        samples: The task with its data.
        chain: The twin in float64.
        module: The twin as it is handed out.
        method: "lift" or "selected".
        layers: How the hidden layers came about.
        labels: One class per sample, for accuracies.
        seed: Of everything random.

    Raises:
        DataMismatch: Labels of another number than the samples.

    Cost:
        A pass of the original per element that symmetrises the data, a few of the twin, and about fifty batches for
        the times.
    """
    task = samples.task
    figures = compare(samples, chain, labels)
    single, double = (traced(to_chain_module(chain, t), samples, t) for t in (torch.float32, torch.float64))
    own = next((n for n in (single, double) if n.dtype == task.network.dtype), None)
    own = traced(module, samples, task.network.dtype) if own is None else own
    verdict = judge(own, task.bound, carry(own, task.bound, tolerance=tolerance(own.dtype)), box=1.0, witness=None)
    original, floor = defect(task.network, samples)
    if task.network.dtype != torch.float32:
        floor = defect(task.network.to(torch.float32), samples)[1]
    order = task.bound.group.order
    theirs = multiply_adds(task.chain.widths)
    return Certificate(
        verdict=verdict, group=task.bound.group.name, order=order, method=method,
        dtype=str(own.dtype).removeprefix("torch."),
        defect_float64=defect(double, samples)[0], defect_float32=defect(single, samples)[0],
        original_defect=original, noise_floor=floor,
        distance_original=figures.original, distance_average=figures.average, average_exact=samples.exact,
        original_distance_average=figures.spread, accuracy=figures.right,
        widths=chain.widths, original_widths=task.chain.widths,
        parameters={
            "twin": sum(p.numel() for p in module.parameters()), "original": task.network.parameters,
            "free": chain.free_parameters,
        },
        multiply_adds={"twin": chain.multiply_adds, "original": theirs, "averaging": theirs * order},
        seconds=seconds(samples, module), averaging_measured=not samples.closed and samples.exact,
        data=f"{figures.samples} samples of {task.subject.source}, {samples.note}", layers=layers, seed=seed,
    )  # fmt: skip
