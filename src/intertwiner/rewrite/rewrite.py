"""The public verb: a trained network in, its exactly equivariant twin with a certificate out."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from torch import nn
from torch.export import ExportedProgram

from intertwiner.errors import BudgetTooSmall, CannotRewrite, WrongUse
from intertwiner.network import Network
from intertwiner.numerics.tolerance import tolerance
from intertwiner.rewrite.budget import least_cost
from intertwiner.rewrite.build import Choice, LayerReport, build
from intertwiner.rewrite.certificate import Certificate, certify
from intertwiner.rewrite.layers import TwinChain, multiply_adds
from intertwiner.rewrite.lift import lift
from intertwiner.rewrite.module import ChainModule, to_chain_module
from intertwiner.rewrite.samples import Samples, samples_of
from intertwiner.rewrite.store import read_folder, recipe, write_folder
from intertwiner.rewrite.subject import Task, task_of
from intertwiner.symmetry import Symmetry

Model = nn.Module | ExportedProgram | Network


@dataclass(frozen=True, eq=False)
class Rewrite:
    """A twin.

    Args:
        module: A plain module in evaluation mode, exactly equivariant layer by layer.
        certificate: What is proved about it and what was measured.
        recipe: Widths, activations, symmetry and the actions on all latent spaces, as they are saved.
    """

    module: ChainModule
    certificate: Certificate
    recipe: Mapping[str, Any]

    def save(self, folder: str | os.PathLike[str]) -> Path:
        """Write a folder that ``load`` reads: see ``store``.

        Raises:
            WrongUse: The folder exists already.
        """
        return write_folder(folder, self.module, self.recipe, self.certificate)

    def __str__(self) -> str:
        return str(self.certificate)


def load(folder: str | os.PathLike[str]) -> Rewrite:
    """A twin from the folder that ``Rewrite.save`` wrote.

    Raises:
        CorruptFile: A file is missing, damaged, or does not fit the others.
    """
    module, plan, certificate = read_folder(folder)
    return Rewrite(module, certificate, plan)


def rewrite(
    model: Model,
    symmetry: Symmetry,
    data: Any = None,
    budget: float = 1.0,
    *,
    labels: Any = None,
    example: Any = None,
    kwargs: Mapping[str, Any] | None = None,
    choice: Choice | None = None,
    max_samples: int | None = None,
    seed: int = 0,
) -> Rewrite:
    """Rewrite a trained network so that every layer is exactly equivariant.

    First the group average is lifted and merged by weights alone: a network that is equivariant comes back with its
    function and without its redundant neurons. Where that is wider than the budget allows, orbits of neurons are
    selected by what the rest of the network needs and the next layers refitted by equivariant least squares.

    Args:
        model: A chain of linear layers and pointwise functions in evaluation mode; batch norm between them is folded.
        symmetry: The group, acting on input and output by signed permutations.
        data: Any iterable of batches, or a tensor; needed where orbits have to be selected. Noise if left out.
        budget: Largest number of multiply-adds, relative to the original.
        labels: One class per sample, for the accuracies of the certificate.
        example: One batch of inputs, where there are no data.
        kwargs: Keyword arguments of the network's call.
        choice: How orbits are gathered and selected.
        max_samples: Read at most this many samples per pass.
        seed: Of everything random.

    Returns:
        The twin and its certificate.

    Raises:
        CannotRewrite: A network or symmetry that is not covered, or selection would be needed and there are no data.
        BudgetTooSmall: No orbit fits the budget; the message names the least.
        DataTooSmall: The data do not determine the refit.
        DataMismatch: Labels of another number than the samples.

    Cost:
        Up to four passes over the data per hidden layer, one of them for every element of G up to order 64.

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
    if not budget > 0:
        raise WrongUse(f"the budget is a positive multiple of the original's multiply-adds, got {budget}")
    task = task_of(model, symmetry, data, example=example, kwargs=kwargs, max_samples=max_samples, seed=seed)
    _affordable(task, budget)
    samples = samples_of(task, seed)
    chain, method, layers = _twin(samples, budget, choice or Choice(), has_data=data is not None)
    module = to_chain_module(chain, task.network.dtype).to(task.network.device)
    certificate = certify(
        samples, chain, module, method=method, layers=layers, labels=_labels(labels), seed=seed
    )  # fmt: skip
    return Rewrite(module, certificate, recipe(chain, module, task.bound.symmetry.to_json()))


def _affordable(task: Task, budget: float) -> None:
    widths = task.chain.widths
    least, most = least_cost(widths), multiply_adds(widths)
    if budget * most < least:
        raise BudgetTooSmall(
            f"a budget of {budget:g} is {budget * most:.0f} multiply-adds; with one neuron in every hidden layer the "
            f"network needs {least}: the least budget is {least / most:.3g}. Nothing was rewritten."
        )


def _twin(
    samples: Samples, budget: float, choice: Choice, *, has_data: bool
) -> tuple[TwinChain, str, tuple[Mapping[str, Any], ...]]:
    task = samples.task
    most = budget * multiply_adds(task.chain.widths)
    try:
        lifted = lift(
            task.chain, task.rho_in, task.rho_out, tolerance=tolerance(task.network.dtype),
            width_limit=int(most), cost_limit=most,
        )  # fmt: skip
        if lifted.chain.multiply_adds <= most:
            notes = [
                {"name": layer.name, "live": live, "joined": joined}
                for layer, live, joined in zip(task.chain.hidden, lifted.live, lifted.joined, strict=True)
            ]
            return lifted.chain, "lift", tuple(notes)
        reason = f"the group average costs {lifted.chain.multiply_adds} multiply-adds, the budget allows {most:.0f}"
    except CannotRewrite as error:
        reason = str(error).split("\n")[0].rstrip(".")
    if not has_data:
        raise CannotRewrite(
            f"{reason}.\n  Selecting orbits needs data: give data=, in the form that the network sees. "
            "Nothing was rewritten."
        )
    built = build(samples, budget, choice)
    return built.chain, "selected", tuple(_note(r) for r in built.reports)


def _note(report: LayerReport) -> dict[str, Any]:
    return {
        "name": report.name,
        "orbits_offered": list(report.offered),
        "orbits_chosen": list(report.chosen),
        "explained": list(report.explained),
        "refit_rank": report.fit.rank,
        "refit_condition": report.fit.condition,
        "refit_error": report.fit.error,
    }


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
    for budget in budgets:
        try:
            out.append(rewrite(model, symmetry, data, budget, **more))
        except BudgetTooSmall as error:
            failed = error
    if not out and failed is not None:
        raise failed
    return tuple(out)
