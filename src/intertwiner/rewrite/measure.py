r"""What is measured about a twin: defects in both precisions, distances, accuracies, seconds. Nothing here is proved.

Distances are ``|a - b| / |b - mean b|`` over the data, the root of sums of squares over samples and outputs.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from jaxtyping import Int
from numpy import ndarray
from torch import nn

from intertwiner.audit.defect import equivariance_defect
from intertwiner.audit.neuron_orbits import ALL_ELEMENTS
from intertwiner.audit.subject import BATCH, Subject
from intertwiner.errors import DataMismatch
from intertwiner.network import Network, trace
from intertwiner.rewrite.elements import Elements
from intertwiner.rewrite.forward import before
from intertwiner.rewrite.layers import TwinChain
from intertwiner.rewrite.samples import Samples, group_average
from intertwiner.rewrite.teacher import average_outputs

DEFECT_SAMPLES = 512
ROUNDS = 15


@dataclass
class Distance:
    """Running ``|a - b| / |b - mean b|``."""

    error: float = 0.0
    square: float = 0.0
    total: ndarray | float = 0.0
    count: int = 0

    def add(self, a: ndarray, b: ndarray) -> None:
        self.error += float(((a - b) ** 2).sum())
        self.square += float((b**2).sum())
        self.total = self.total + b.sum(0)
        self.count += len(b)

    @property
    def value(self) -> float:
        spread = self.square - float((np.asarray(self.total) ** 2).sum()) / max(self.count, 1)
        if spread <= 0:
            return 0.0 if self.error == 0 else float("nan")
        return float(np.sqrt(self.error / spread))


@dataclass
class _Right:
    """Running share of samples whose largest output is the label."""

    hits: int = 0
    count: int = 0

    def add(self, values: ndarray, labels: ndarray) -> None:
        self.hits += int((values.argmax(1) == labels).sum())
        self.count += len(labels)


@dataclass(frozen=True)
class Figures:
    """Distances and accuracies over the data.

    Args:
        original: Distance of the twin from the original.
        average: Distance of the twin from the group average.
        spread: Distance of the original from its group average.
        right: Accuracy of the twin, the original and the average; empty without labels.
        samples: Number of samples.
    """

    original: float
    average: float
    spread: float
    right: dict[str, float] = field(default_factory=dict)
    samples: int = 0


Answers = Iterable[tuple[ndarray, ndarray, ndarray]]
"""Batches of what the twin, the original and its group average answer."""


def figures(answers: Answers, labels: Int[ndarray, " n"] | None = None) -> Figures:
    """Distances and accuracies, in float64.

    Args:
        answers: Twin, original and group average side by side, batch by batch.
        labels: One class per sample.

    Raises:
        DataMismatch: Labels of another number than the samples, or that are no classes of the output.
    """
    near, far, apart = Distance(), Distance(), Distance()
    right = {name: _Right() for name in ("twin", "original", "average")} if labels is not None else {}
    at = 0
    for ours, values, mean in answers:
        ours, values, mean = (np.asarray(v, dtype=np.float64).reshape(len(v), -1) for v in (ours, values, mean))
        if labels is not None and len(labels) < at + len(ours):
            raise DataMismatch(
                f"{len(labels)} labels for more than {at + len(ours) - 1} samples: nothing was certified"
            )
        near.add(ours, values)
        far.add(ours, mean)
        apart.add(values, mean)
        for name, answer in (("twin", ours), ("original", values), ("average", mean)) if labels is not None else ():
            right[name].add(answer, np.asarray(labels)[at : at + len(ours)])
        at += len(ours)
    if labels is not None and len(labels) != at:
        raise DataMismatch(f"{len(labels)} labels for {at} samples: nothing was certified")
    share = {name: r.hits / max(r.count, 1) for name, r in right.items()}
    return Figures(near.value, far.value, apart.value, share, at)


def chain_answers(samples: Samples, chain: TwinChain) -> Answers:
    """Of a chain on symmetrised data, in float64: of a closed data set the average costs a gather per element."""
    twin = before(chain.layers)
    for x, values, mean in _with_average(samples):
        yield twin(x), values, mean


def graph_answers(
    subject: Subject, module: nn.Module, average: torch.Tensor | None = None, limit: int | None = None
) -> Answers:
    """Of any twin for a group of at most 64 elements: one forward of the original per element.

    Args:
        subject: The original with its symmetry and data.
        module: The twin.
        average: The group average on the data, where it is known already.
        limit: Stop after about so many samples.
    """
    original, at = subject.network.function(()), 0
    for (x,) in subject.stream:
        if limit is not None and at >= limit:
            return
        with torch.no_grad():
            ours = module(x)
        known = average[at : at + len(x)] if average is not None else None
        mean = average_outputs(subject.network, subject.symmetry, x, batch=len(x)) if known is None else known
        at += len(x)
        yield tuple(v.double().cpu().numpy() for v in (first_tensor(ours), original((x,))[0][0], mean))  # type: ignore[misc]


def first_tensor(value: Any) -> torch.Tensor:
    """The one tensor of a nested output."""
    while not isinstance(value, torch.Tensor):
        value = next(iter(value.values())) if isinstance(value, dict) else value[0]
    return value


def _with_average(samples: Samples) -> Iterator[tuple[ndarray, ndarray, ndarray]]:
    """Batches of samples, what the original answers, and its group average (over the elements that symmetrise)."""
    task = samples.task
    original = before(task.chain.layers)
    if samples.closed:
        # Two arrays of answers are held; the samples are streamed again.
        values = np.concatenate([original(x) for x in samples.batches()])
        mean, at = group_average(samples, values, task.rho_out), 0
        for x in samples.batches():
            part = slice(at, at + len(x))
            yield x, values[part], mean[part]
            at += len(x)
        return
    group = task.bound.group
    inside, outside = Elements(group, task.rho_in), Elements(group, task.rho_out)
    for x in samples.batches():
        total, values = 0.0, original(x)
        for g in samples.elements.tolist():
            answer = values if g == 0 else original(inside[g].apply(x, axis=1))
            total = total + outside[int(group.inverse(g))].apply(answer, axis=1)
        yield x, values, np.asarray(total) / len(samples.elements)


def defect(network: Network, subject: Subject) -> tuple[float, float | None]:
    """The largest equivariance defect over the generators, and the noise floor of the network there."""
    bound, x = subject.symmetry, _data(subject).to(network.dtype)
    batches = [(part,) for part in x.split(BATCH)]
    found = equivariance_defect(network, bound, batches, list(bound.group.generators))
    floors = [d.noise_floor for d in found.values() if d.noise_floor is not None]
    return max(d.value for d in found.values()), max(floors, default=None)


def traced(module: nn.Module, subject: Subject, dtype: torch.dtype) -> Network:
    """The twin as a network on the example of the task, in a given type."""
    example = tuple(x.to(dtype) for x in subject.network.example)
    return trace(module.to(subject.network.device), example)


def _data(subject: Subject) -> torch.Tensor:
    """The first samples, as many as a defect is measured on."""
    held: list[torch.Tensor] = []
    for (x,) in subject.stream:
        held.append(x)
        if sum(map(len, held)) >= DEFECT_SAMPLES:
            break
    return torch.cat(held)[:DEFECT_SAMPLES]


def seconds(subject: Subject, module: nn.Module, batch: int = 256) -> dict[str, float]:
    """Median seconds of one batch: the twin, the original, and averaging the original over the group.

    Averaging runs every element for groups of up to 64; beyond that it is |G| times the original, which is said
    where the figure is shown. Original and twin alternate.
    """
    bound, x = subject.symmetry, _data(subject)[:batch]
    original = subject.network.function(())
    with torch.no_grad():
        ours, theirs = _alternating(lambda: module(x), lambda: original((x,)))
        if averaging_runs(subject):

            def average() -> None:
                total = torch.zeros(())
                for g in range(bound.group.order):
                    answer = original(bound.act_on_input(g, (x,)))[0]
                    back = bound.act_on_output(int(bound.group.inverse(g)), answer)
                    total = total + back[0]

            average()
            averaging = statistics.median(_timed(average) for _ in range(3))
        else:
            averaging = theirs * bound.group.order
    return {"batch": float(len(x)), "twin": ours, "original": theirs, "averaging": averaging}


def averaging_runs(subject: Subject) -> bool:
    """Whether averaging over the group is run to be timed."""
    return subject.symmetry.group.order <= ALL_ELEMENTS


def _alternating(first: Callable[[], object], second: Callable[[], object]) -> tuple[float, float]:
    first()
    second()
    pairs = [(_timed(first), _timed(second)) for _ in range(ROUNDS)]
    return statistics.median(a for a, _ in pairs), statistics.median(b for _, b in pairs)


def _timed(call: Callable[[], object]) -> float:
    start = time.perf_counter()
    call()
    return time.perf_counter() - start
