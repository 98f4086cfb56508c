"""Weights brought to a size at which every neuron is alive and no value leaves the range of floats.

A planted network has to be one that training could have made: a neuron that never fires hides its weights from every
input, and seven cubes on top of each other overflow. Rows are rescaled and biases set orbit by orbit, on standard
normal inputs, layer after layer; equal entries stay equal to the bit, so the planted symmetry is kept.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy import ndarray
from torch import Tensor, nn

from intertwiner.numerics.tolerance import ROUNDING

SAMPLES = 512


@dataclass(frozen=True)
class Target:
    """Where pre-activations shall lie: ``spread`` is their standard deviation, ``bias`` the range of their |mean|."""

    spread: float
    bias: tuple[float, float]


TARGET = Target(1.0, (0.1, 0.6))
CUBIC = Target(0.15, (0.6, 1.0))
"""Near the tangent of the cube: its tails would otherwise grow like the 3^depth-th power of the input."""


def target_of(activation: str, name: str, writes: str) -> Target:
    """What a layer aims at: outputs are free, and what is added to a stream only nudges it."""
    target = CUBIC if activation == "t^3" and writes != "output" else TARGET
    if name.startswith("write"):
        return Target(target.spread / 2, (0.05 * target.spread, 0.2 * target.spread))
    return target


def enliven(
    module: nn.Module,
    layers: Mapping[str, tuple[Target, ndarray]],
    shape: Sequence[int],
    rng: np.random.Generator,
) -> dict[str, ndarray]:
    """Rescale the layers of a module in place.

    Args:
        module: The network in float64, every weight equivariant.
        layers: By name of the layer, what it aims at and the orbit of each of its rows.
        shape: Of one input.
        rng: Draws inputs and biases.

    Returns:
        By name of the layer, the root mean square of every feature that it reads.

    Cost:
        One forward pass.
    """
    read: dict[str, ndarray] = {}
    hooks = [
        module.get_submodule(name).register_forward_hook(_hook(name, target, orbits, rng, read))
        for name, (target, orbits) in layers.items()
    ]
    try:
        with torch.no_grad():
            module(torch.from_numpy(rng.standard_normal((SAMPLES, *shape))))
    finally:
        for hook in hooks:
            hook.remove()
    return read


def _hook(name: str, target: Target, orbits: ndarray, rng: np.random.Generator, read: dict[str, ndarray]):
    """Sets weight and bias of a layer when it is called, and returns what it answers with them."""

    def calibrate(layer: nn.Linear | nn.Conv2d, inputs: tuple[Tensor, ...], output: Tensor) -> Tensor:
        old = layer.get_parameter("bias")
        values = output - old.reshape(-1, *[1] * (output.ndim - 2))
        rows = values.transpose(0, 1).flatten(1).numpy()
        scale, bias = np.ones(len(rows)), np.zeros(len(rows))
        for orbit in np.unique(orbits):
            members = np.flatnonzero(orbits == orbit)
            size = target.spread / max(float(rows[members].std()), ROUNDING)
            mean = rng.uniform(*target.bias) * rng.choice([-1.0, 1.0])
            shift = mean - size * float(rows[members].mean())
            if abs(shift) < min(target.bias) / 2:  # planted biases are not zero
                shift -= 2 * mean
            scale[members], bias[members] = size, shift
        factor = torch.from_numpy(scale)
        layer.weight.mul_(factor.reshape(-1, *[1] * (layer.weight.ndim - 1)))
        old.copy_(torch.from_numpy(bias))
        read[name] = inputs[0].transpose(0, 1).flatten(1).square().mean(1).sqrt().numpy()
        return layer.forward(*inputs)

    return calibrate
