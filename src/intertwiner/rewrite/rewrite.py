"""The public verb: a trained network in, its exactly equivariant twin with a certificate out."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.export import ExportedProgram

from intertwiner.audit.neuron_orbits import ALL_ELEMENTS
from intertwiner.audit.subject import Subject, prepare
from intertwiner.errors import BudgetTooSmall, CannotRewrite, CorruptFile, GroupTooLarge, NotAnAction, WrongUse
from intertwiner.network import Network
from intertwiner.rewrite.certificate import Certificate, Story, certify
from intertwiner.rewrite.compile import compiled
from intertwiner.rewrite.criterion import Loss
from intertwiner.rewrite.distil import distil as train
from intertwiner.rewrite.measure import chain_answers, figures, graph_answers
from intertwiner.rewrite.method import Choice, Made, Plan, made
from intertwiner.rewrite.store import read_twin, write_twin
from intertwiner.rewrite.teacher import average_outputs
from intertwiner.rewrite.twin import TwinGraph
from intertwiner.symmetry import Symmetry

MEASURED = 8192
"""Samples on which distances are measured where there are no labels."""

Model = nn.Module | ExportedProgram | Network


@dataclass(frozen=True, eq=False)
class Rewrite:
    """A twin.

    Args:
        module: A plain module in evaluation mode, exactly equivariant layer by layer.
        certificate: What is proved about it and what was measured.
        symmetry: The symmetry as JSON.
        twin: Its records with the actions of every layer, and the ties of its weights unless it was read from a
            folder.
    """

    module: nn.Module
    certificate: Certificate
    symmetry: Mapping[str, Any]
    twin: TwinGraph

    def save(self, folder: str | os.PathLike[str]) -> Path:
        """Write a folder that ``load`` reads: see ``store``.

        Raises:
            WrongUse: The folder exists already.
        """
        executors = {k: v for k, v in self.certificate.executors.items() if v != "dense"}
        dtype = self.twin.frame.dtype
        return write_twin(folder, self.twin, dtype, self.symmetry, self.certificate, executors)

    def __str__(self) -> str:
        return str(self.certificate)


def load(folder: str | os.PathLike[str]) -> Rewrite:
    """A twin from the folder that ``Rewrite.save`` wrote; layers that ran in isotypic blocks do so again.

    Raises:
        CorruptFile: A file is missing, damaged, or does not fit the others.
    """
    twin, plan, certificate = read_twin(folder)
    blocks = [name for name, executor in plan["executors"].items() if executor == "blocks"]
    try:
        module = compiled(twin, blocks)
    except (CannotRewrite, GroupTooLarge, NotAnAction) as error:
        raise CorruptFile(f"{folder}: the weights are not those that the actions stand for: {error}") from error
    return Rewrite(module, certificate, plan["symmetry"], twin)


def rewrite(
    model: Model,
    symmetry: Symmetry,
    data: Any = None,
    budget: float = 1.0,
    *,
    labels: Any = None,
    distil: float = 0.0,
    example: Any = None,
    kwargs: Mapping[str, Any] | None = None,
    choice: Choice | None = None,
    max_samples: int | None = None,
    seed: int = 0,
    progress: Any = None,
    memory: dict[Any, Any] | None = None,
) -> Rewrite:
    """Rewrite a trained network so that every layer is exactly equivariant.

    First the group average is lifted and merged by weights alone: a network that is equivariant comes back with its
    function and without its redundant neurons. Where that is wider than the budget allows, orbits of channels are
    selected by what the rest of the network needs and the layers refitted by equivariant least squares, and where it
    is asked for trained towards the group average without leaving Hom_G.

    Args:
        model: In evaluation mode: linear maps, convolutions, functions, pools, adds, concatenations, flattening; batch
            norm behind a linear map or convolution is folded.
        symmetry: The group, acting on input and output by signed permutations.
        data: Any iterable of batches, or a tensor; needed where orbits have to be selected. Noise if left out.
        budget: Largest number of multiply-adds, relative to the original.
        labels: One class per sample, for the accuracies of the certificate.
        distil: Epochs of distillation from the group average; 0 for none. Not for groups of more than 64 elements.
        example: One batch of inputs, where there are no data.
        kwargs: Keyword arguments of the network's call.
        choice: How orbits are gathered and selected, and how layers run.
        max_samples: Read at most this many samples per pass.
        seed: Of everything random.
        progress: Called after every step of distillation with steps done, steps planned, and the loss.
        memory: A dictionary for calls that differ in budget, labels or distillation only: moments and averages that one
            of them took are kept there for the others.

    Returns:
        The twin and its certificate.

    Raises:
        CannotRewrite: A network or symmetry that is not covered, or selection would be needed and there are no data.
        BudgetTooSmall: No orbit fits the budget; the message names the least.
        DataTooSmall: The data do not determine the refit.
        DataMismatch: Labels of another number than the samples.

    Cost:
        Two passes over some of the data per layer, and one over all of them, each once per element of G up to 64.

    Example:
        One neuron, and the exchange of two inputs and two outputs: the average needs its mirror image as well.

        >>> import torch
        >>> from intertwiner.algebra import cyclic
        >>> from intertwiner.symmetry import vector
        >>> net = nn.Sequential(nn.Linear(2, 1), nn.Tanh(), nn.Linear(1, 2)).eval()
        >>> swap = Symmetry(cyclic(2), vector(perm=[1, 0]), vector(perm=[1, 0]))
        >>> twin = rewrite(net, swap, example=torch.zeros(2, 2), budget=2.0)
        >>> print(twin.certificate.verdict.kind, twin.certificate.widths)
        PROVED (2, 2, 2)
    """
    if not budget > 0 or not np.isfinite(budget):
        raise WrongUse(f"the budget is a positive multiple of the original's multiply-adds, got {budget}")
    if not distil >= 0:
        raise WrongUse(f"distil is a number of epochs, got {distil}")
    classes = _labels(labels)
    subject = prepare(
        model, symmetry, data, example=example, kwargs=kwargs, max_samples=max_samples, seed=seed, progress="rewrite"
    )
    memory = {} if memory is None else memory
    found = made(subject, Plan(budget, choice or Choice(), data is not None, seed, memory))
    training, average = dict[str, Any](), None
    if distil:
        average = _average(subject, memory)
        lesson = Lesson(distil, "squared" if labels is None else "soft", seed, progress)
        found, training = _distilled(subject, found, average, lesson)
    return _certified(subject, found, training, classes, average, seed)


def _certified(
    subject: Subject, found: Made, training: Mapping[str, Any], labels: np.ndarray | None, average: Any, seed: int
) -> Rewrite:
    twin, group = found.twin, subject.symmetry.group
    module = compiled(twin, found.blocks, group=group) if found.blocks else twin.module()
    if found.samples is not None and found.chain is not None:
        answers, exact, note = chain_answers(found.samples, found.chain), found.samples.exact, found.samples.note
    else:
        limit = MEASURED if labels is None else None
        answers, exact = graph_answers(subject, module, average, limit), True
        note = f"moved by all {group.order} elements of {group.name}"
    measured = figures(answers, labels)
    data = f"{measured.samples} samples of {subject.source}, {note}"
    story = Story(found.method, found.layers, data, exact, found.blocks, training, seed)
    certificate = certify(subject, twin, module, measured, story)
    return Rewrite(module, certificate, subject.symmetry.symmetry.to_json(), twin)


def _average(subject: Subject, memory: dict[Any, Any]) -> torch.Tensor:
    """The group average on all data."""
    group = subject.symmetry.group
    if group.order > ALL_ELEMENTS:
        raise CannotRewrite(
            f"{group.name} has {group.order} elements: its average over the data is not taken for training, at most "
            f"{ALL_ELEMENTS} are.\n  Leave distil= out. Nothing was rewritten."
        )
    if "average" not in memory:
        inputs = torch.cat([x for (x,) in subject.stream])
        memory["average"] = average_outputs(subject.network, subject.symmetry, inputs)
    return memory["average"]


@dataclass(frozen=True)
class Lesson:
    """How a twin is trained.

    Args:
        epochs: Passes over the data.
        loss: "soft" where classes say that outputs are logits; anything else is compared as it is.
        seed: Of the order of the samples.
        progress: See ``rewrite``.
    """

    epochs: float
    loss: Loss
    seed: int
    progress: Any


def _distilled(
    subject: Subject, found: Made, target: torch.Tensor, plan: Lesson
) -> tuple[Made, dict[str, Any]]:  # fmt: skip
    inputs = torch.cat([x for (x,) in subject.stream])
    done = train(
        found.twin, inputs, target, epochs=plan.epochs, loss=plan.loss, seed=plan.seed, progress=plan.progress
    )  # fmt: skip
    record = {
        "epochs": plan.epochs, "steps": done.steps, "seconds": done.seconds, "losses": list(done.losses),
        "improved": done.improved, "text": str(done),
    }  # fmt: skip
    return replace(found, twin=done.twin, samples=None, chain=None), record


def _labels(labels: Any) -> np.ndarray | None:
    if labels is None:
        return None
    array = np.asarray(labels)
    if array.ndim != 1:
        raise WrongUse(f"labels are one class per sample, got an array of shape {array.shape}")
    return array


def tradeoff(
    model: Model,
    symmetry: Symmetry,
    data: Any,
    budgets: Sequence[float] = (0.25, 0.5, 1.0, 2.0),
    **more: Any,
) -> tuple[Rewrite, ...]:
    """Twins at several budgets, every one exactly equivariant: accuracy or distance against cost.

    Args:
        model: As for ``rewrite``.
        symmetry: As for ``rewrite``.
        data: As for ``rewrite``.
        budgets: Ascending; those at which not one orbit fits are left out.
        more: Whatever else ``rewrite`` takes.

    Raises:
        BudgetTooSmall: No orbit fits any of the budgets.
    """
    out: list[Rewrite] = []
    failed: BudgetTooSmall | None = None
    more.setdefault("memory", {})
    for budget in budgets:
        try:
            out.append(rewrite(model, symmetry, data, budget, **more))
        except BudgetTooSmall as error:
            failed = error
    if not out and failed is not None:
        raise failed
    return tuple(out)
