"""The loss on the straight line between two networks: how much higher it gets than between its ends."""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils import _pytree as pytree

STEPS = 11
"""Points on the line, both ends included."""

Batches = Sequence[tuple[tuple[Tensor, ...], Any]]
"""Batches as (inputs, target), the target None where there is none."""


@dataclass(frozen=True)
class Barrier:
    """What was measured on the line ``(1 - t) a + t b``.

    Args:
        height: Largest excess of the loss over the straight line between its values at the ends; 0 if there is none.
        losses: The loss at every point.
        points: The points t.
        measure: What the loss is.
        samples: On how many samples it was measured.
    """

    height: float
    losses: tuple[float, ...]
    points: tuple[float, ...]
    measure: str
    samples: int

    def to_json(self) -> dict[str, Any]:
        return {"height": self.height, "losses": list(self.losses), "points": list(self.points),
                "measure": self.measure, "samples": self.samples}  # fmt: skip


def barrier(
    first: nn.Module, second: nn.Module, batches: Batches, *, loss: Callable[[Any, Any], Tensor] | None = None
) -> Barrier:
    """The loss barrier between two networks with the same state_dict keys.

    Args:
        first: The network at t = 0.
        second: The network at t = 1, brought into the coordinates of the first.
        batches: Inputs with their targets.
        loss: ``loss(outputs, target)``, a mean over the batch; where there is none, the distance of the outputs from
            those of the first network, as a share of their variance.

    Cost:
        ``STEPS`` forward passes over the batches.

    Example:
        >>> a, b = nn.Linear(1, 1, bias=False), nn.Linear(1, 1, bias=False)
        >>> _ = a.weight.data.fill_(1.0), b.weight.data.fill_(-1.0)
        >>> batches = [((torch.ones(4, 1),), torch.ones(4, 1))]
        >>> found = barrier(a, b, batches, loss=nn.functional.mse_loss)
        >>> found.losses[0], found.losses[-1], found.height        # a parabola is below its chord
        (0.0, 4.0, 0.0)
    """
    points = tuple(k / (STEPS - 1) for k in range(STEPS))
    between = copy.deepcopy(first)
    ends = [_state(network) for network in (first, second)]
    held = _state(between)
    reference = None if loss is not None else _outputs(first, batches)
    losses = []
    for t in points:
        with torch.no_grad():
            for name, tensor in held.items():
                if tensor.is_floating_point():
                    tensor.copy_((1 - t) * ends[0][name] + t * ends[1][name])
            losses.append(_loss(between, batches, loss, reference))
    chord = [(1 - t) * losses[0] + t * losses[-1] for t in points]
    height = max(0.0, *(value - line for value, line in zip(losses, chord, strict=True)))
    samples = sum(len(inputs[0]) for inputs, _ in batches)
    measure = "loss" if loss is not None else "distance of the outputs from the first network, share of variance"
    return Barrier(height, tuple(losses), points, measure, samples)


def _state(network: nn.Module) -> dict[str, Tensor]:
    return dict([*network.named_parameters(), *network.named_buffers()])


def _outputs(network: nn.Module, batches: Batches) -> list[list[Tensor]]:
    with torch.no_grad():
        return [_leaves(network(*inputs)) for inputs, _ in batches]


def _leaves(outputs: Any) -> list[Tensor]:
    return [x.detach().to(torch.float64) for x in pytree.tree_leaves(outputs) if isinstance(x, Tensor)]


def _loss(network: nn.Module, batches: Batches, loss: Callable[[Any, Any], Tensor] | None, reference: Any) -> float:
    if loss is not None:
        total = sum(float(loss(network(*inputs), target)) * len(inputs[0]) for inputs, target in batches)
        return total / sum(len(inputs[0]) for inputs, _ in batches)
    gaps, spreads = [], []
    for here, there in zip(_outputs(network, batches), reference, strict=True):
        gaps.append(sum(float(((a - b) ** 2).sum()) for a, b in zip(here, there, strict=True)))
        spreads.append(sum(float(((b - b.mean(0)) ** 2).sum()) for b in there))
    return sum(gaps) / max(sum(spreads), torch.finfo(torch.float64).tiny)
