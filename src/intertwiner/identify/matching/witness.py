"""An input at which two networks differ, found by drawing inputs and climbing the difference, judged against rounding.

Both networks run in float64, where a network is the exact function of its stored weights up to 1e-15. What stands
against a difference is the noise floor: how far the outputs of the first network move when every weight is changed by
one rounding of its own type. A difference inside that floor refutes nothing.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor, fx, nn

from intertwiner.errors import WrongUse
from intertwiner.identify.matching.probes import Inputs, probe_batches, widened
from intertwiner.network import Network, trace
from intertwiner.numerics.tolerance import ABOVE_NOISE, LEAST_FLOOR
from intertwiner.verdict import Verdict, Witness

STEPS = 40
"""Steps of gradient ascent from the best samples."""

CLIMBERS = 16
"""Samples that climb."""


@dataclass(frozen=True)
class Difference:
    """How far two networks are apart at one batch.

    Args:
        gap: Per sample, the largest difference of an output entry over the largest entry of that output on the batch.
        noise_floor: What rounding of the weights alone explains there.
    """

    gap: Tensor
    noise_floor: float

    @property
    def is_real(self) -> bool:
        return float(self.gap.max()) > ABOVE_NOISE * self.noise_floor


class Search:
    """Looks for an input at which two networks with the same inputs and outputs differ.

    Args:
        first: The network whose rounding sets the noise floor.
        second: The other one.
        seed: Of the drawn inputs and of the nudge that measures the noise floor.
    """

    def __init__(self, first: Network, second: Network, seed: int = 0) -> None:
        self.first, self.second, self.seed = first, second, seed
        self.networks = first.to(torch.float64), second.to(torch.float64)
        self.nudged = [nudged(network, seed).function() for network in (first, second)]
        self.functions = [network.function() for network in self.networks]

    def at(self, inputs: Inputs) -> Difference:
        (here, _), (there, _) = (function(inputs) for function in self.functions)
        floor = max(
            float(sizes(shifted(inputs)[0], value).max())
            for shifted, value in zip(self.nudged, (here, there), strict=True)
        )
        return Difference(sizes(there, here), max(floor, LEAST_FLOOR))

    def find(self, data: Iterable[Inputs] = (), *, count: int = 256) -> Witness | None:
        """The first batch that shows a difference above the noise; climbing where no batch does.

        Args:
            data: Batches to try first.
            count: Samples drawn per size.

        Cost:
            Six forward passes per batch in float64; if all agree, ``STEPS`` gradients on ``CLIMBERS`` samples.
        """
        best: tuple[float, Inputs] | None = None
        for batch in (*data, *probe_batches(self.first, count, self.seed)):
            inputs = tuple(widened(x) for x in batch)
            found = self.at(inputs)
            if found.is_real:
                return self._witness(inputs, found)
            if best is None or float(found.gap.max()) > best[0]:
                order = found.gap.argsort(descending=True)[:CLIMBERS]
                chosen = [x[order] if s.batched else x for x, s in zip(inputs, self.first.inputs, strict=True)]
                best = float(found.gap.max()), tuple(chosen)
        if best is None:
            return None
        for inputs in self._climb(best[1]):
            found = self.at(inputs)
            if found.is_real:
                return self._witness(inputs, found)
        return None

    def _witness(self, inputs: Inputs, found: Difference) -> Witness | None:
        """The worst sample alone, judged once more by itself: that is how it will be replayed."""
        for place in found.gap.argsort(descending=True)[:8].tolist():
            alone = tuple(
                x[place : place + 1] if s.batched else x for x, s in zip(inputs, self.first.inputs, strict=True)
            )
            again = self.at(alone)
            if again.is_real:
                arrays = {s.name: x.cpu().numpy() for s, x in zip(self.first.inputs, alone, strict=True)}
                return Witness(arrays, "", float(again.gap.max()), again.noise_floor)
        return None

    def _climb(self, inputs: Inputs) -> list[Inputs]:
        """Larger differences nearby, by normalised gradient ascent on the squared difference."""
        if self.first.batch_size is not None or not any(x.is_floating_point() for x in inputs):
            return []
        points = [x.clone().requires_grad_(x.is_floating_point()) for x in inputs]
        free = [x for x in points if x.requires_grad]
        sizes_ = [x.detach().abs().mean().clamp_min(1e-3) for x in free]
        for step in range(STEPS):
            with torch.enable_grad():
                answers = [network.module(*points) for network in self.networks]
                gap = sum(((a - b) ** 2).sum() for a, b in zip(*answers, strict=True))
            if not isinstance(gap, Tensor) or not gap.requires_grad:
                return []
            gradients = torch.autograd.grad(gap, free, allow_unused=True)
            for x, gradient, size in zip(free, gradients, sizes_, strict=True):
                if gradient is not None:
                    length = gradient.abs().reshape(len(gradient), -1).amax(1).clamp_min(1e-300)
                    unit = gradient / length.reshape(-1, *[1] * (gradient.ndim - 1))
                    x.data += size * unit * (0.5 if step < STEPS // 2 else 0.1)
        return [tuple(x.detach() for x in points)]


def difference(
    claim: Verdict | Witness, first: nn.Module | Network, second: nn.Module | Network
) -> tuple[float, float]:
    """The difference of two networks at a witness, measured again, and the noise floor there.

    Args:
        claim: A witness, or a verdict that carries one.
        first: The first of the two networks that were compared.
        second: The second one.

    Returns:
        The largest difference of an output entry relative to the largest entry of that output, and what one rounding
        of every weight explains.

    Raises:
        WrongUse: The verdict carries no witness.

    Example:
        >>> witness = Witness({"input": np.array([[2.0]])}, "", 1.0, 0.0)
        >>> gap, floor = difference(witness, nn.Sequential(nn.ReLU()), nn.Sequential(nn.Tanh()))
        >>> round(gap, 3), floor < 1e-10
        (0.518, True)
    """
    witness = claim.witness if isinstance(claim, Verdict) else claim
    if not isinstance(witness, Witness):
        raise WrongUse(f"there is no witness to replay: {claim}")
    inputs = tuple(torch.from_numpy(np.array(a)) for a in witness.inputs.values())
    networks = [_traced(model, inputs) for model in (first, second)]
    inputs = tuple(x.to(networks[0].device) for x in inputs)
    found = Search(networks[0], networks[1]).at(inputs)
    return float(found.gap.max()), found.noise_floor


def _traced(model: nn.Module | Network, inputs: Inputs) -> Network:
    if isinstance(model, Network):
        return model
    floating = [p for p in (*model.parameters(), *model.buffers()) if p.is_floating_point()]
    dtype = floating[0].dtype if floating else torch.float64
    device = floating[0].device if floating else torch.device("cpu")
    example: Any = tuple((x.to(dtype) if x.is_floating_point() else x).to(device) for x in inputs)
    return trace(model, example)


def sizes(values: Sequence[Tensor], others: Sequence[Tensor]) -> Tensor:
    """Per sample, the largest difference over the outputs, each relative to its own largest entry."""
    worst = []
    for value, other in zip(values, others, strict=True):
        value, other = value.to(torch.float64), other.to(torch.float64)
        scale = torch.maximum(other.abs().max(), value.abs().max()).clamp_min(torch.finfo(torch.float64).tiny)
        gap = torch.nan_to_num((value - other).abs(), nan=0.0, posinf=0.0)  # where both overflow nothing is seen
        worst.append(gap.reshape(len(value), -1).amax(1) / scale)
    return torch.stack(worst).amax(0)


def nudged(network: Network, seed: int) -> Network:
    """The float64 copy with every weight changed by up to one rounding of the network's own type."""
    wide = network.to(torch.float64)
    eps = torch.finfo(network.dtype).eps
    generator = torch.Generator().manual_seed(seed)
    root = nn.Module()
    for held, tensor in wide.module.named_buffers():
        if tensor.is_floating_point():
            noise = 2 * torch.rand(tensor.shape, generator=generator, dtype=torch.float64) - 1
            tensor = tensor * (1 + eps * noise.to(tensor.device))
        root.register_buffer(held, tensor)
    graph = fx.Graph()
    graph.output(graph.graph_copy(wide.module.graph, {}))
    return replace(wide, module=fx.GraphModule(root, graph), _compiled={})
