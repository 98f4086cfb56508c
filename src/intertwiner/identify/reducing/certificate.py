"""How far two networks are apart: on random inputs, and on inputs that gradient ascent drives them apart on.

Both run in float64. What is measured is no proof; the proof of a reduction is in the relations between weights. This
is the check that the program that wrote the network made no mistake.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.utils import _pytree as pytree

from intertwiner.identify.reducing.interval import Interval
from intertwiner.network import InputSpec

Function = Callable[..., Any]


@dataclass(frozen=True)
class Certificate:
    """The largest difference found between a network and what was made of it, in float64.

    Args:
        difference: On random inputs, the largest difference of an output entry.
        searched: The same at the inputs that gradient ascent found, starting from random ones.
        scale: The largest output entry of the original network on all of them.
        inputs: What the inputs were, in words.
        samples: Random inputs.
        starts: Inputs that the ascent started from; 0 where no input is floating.
        steps: Steps of the ascent.
        seed: What the inputs were drawn from.
        rounded: The largest difference on random inputs with the new weights rounded to the type of the network, as
            in the module that is returned; 0 where nothing is rounded.
    """

    difference: float
    searched: float
    scale: float
    inputs: str
    samples: int
    starts: int
    steps: int
    seed: int
    rounded: float = 0.0

    @property
    def relative(self) -> float:
        """The largest difference of all, relative to the largest output."""
        largest = max(self.difference, self.searched)
        return largest / self.scale if self.scale > 0 else largest

    def to_json(self) -> dict[str, Any]:
        return {
            "difference": self.difference, "searched": self.searched, "relative": self.relative, "scale": self.scale,
            "inputs": self.inputs, "samples": self.samples, "starts": self.starts, "steps": self.steps,
            "seed": self.seed, "rounded": self.rounded, "dtype": "float64",
        }  # fmt: skip

    def __str__(self) -> str:
        ascent = (
            f"{self.searched:.2g} after {self.steps} steps of ascent from {self.starts} of them"
            if self.starts
            else "no ascent"
        )
        return (
            f"largest difference in float64: {self.difference:.2g} on {self.samples} inputs ({self.inputs}), {ascent}; "
            f"{self.relative:.2g} of the largest output {self.scale:.3g}"
            + (f"; {self.rounded:.2g} with weights rounded to the type of the network" if self.rounded else "")
        )


def certify(
    first: Function,
    second: Function,
    specs: Sequence[InputSpec],
    *,
    example: Sequence[Tensor] = (),
    box: Sequence[Interval] | None = None,
    batch: int | None = None,
    device: torch.device | str = "cpu",
    samples: int = 256,
    steps: int = 40,
    seed: int = 0,
) -> Certificate:
    """Look for the largest difference of two functions of the same inputs.

    Args:
        first: The original, on float64 tensors.
        second: What was made of it.
        specs: What the inputs look like.
        example: Inputs of the kind that the network takes; values of whole-number inputs are drawn from theirs.
        box: Bounds of the inputs; standard normal inputs without.
        batch: The only batch size that the functions run, if there is one.
        device: Where the functions run.
        samples: Random inputs.
        steps: Steps of gradient ascent from the worst of them.
        seed: Of the inputs.

    Cost:
        ``2 samples + 4 steps`` evaluations of batches of 16 and their gradients.
    """
    generator = torch.Generator().manual_seed(seed)
    size = batch or min(samples, 64)
    box = None if box is None else [Interval(b.low.to(device), b.high.to(device)) for b in box]
    worst, scale, hardest, drawn = -1.0, 0.0, None, 0
    while drawn < samples:
        inputs = [_draw(s, i, size, generator, example, box).to(device) for i, s in enumerate(specs)]
        drawn += size
        with torch.no_grad():
            gap, largest = _gap(first, second, inputs)
        scale = max(scale, largest)
        if float(gap.max()) > worst:
            worst, hardest = float(gap.max()), inputs
    floating = [i for i, s in enumerate(specs) if s.dtype.is_floating_point]
    searched, starts = 0.0, 0
    if floating and hardest is not None and steps:
        starts = min(size, 16) if batch is None else batch
        begin = [x[:starts] if s.batched else x for x, s in zip(hardest, specs, strict=True)]
        searched, largest = _ascend(first, second, begin, floating, box, steps)
        scale = max(scale, largest)
    words = "standard normal" if box is None else "uniform in the box"
    return Certificate(worst, searched, scale, words, drawn, starts, steps if starts else 0, seed)


def _gap(first: Function, second: Function, inputs: Sequence[Tensor]) -> tuple[Tensor, float]:
    """Absolute differences of all output entries, and the largest output."""
    a, b = (pytree.tree_leaves(f(*inputs)) for f in (first, second))
    pairs = [(x.double().flatten(), y.double().flatten()) for x, y in zip(a, b, strict=True)]
    finite = [x[x.isfinite()].abs().detach() for x, _ in pairs]
    gaps = [torch.where(x == y, 0.0, x - y).abs() for x, y in pairs]  # equal infinities do not differ
    return torch.cat(gaps), max((float(x.max()) for x in finite if x.numel()), default=0.0)


def _draw(
    spec: InputSpec,
    place: int,
    size: int,
    generator: torch.Generator,
    example: Sequence[Tensor],
    box: Sequence[Interval] | None,
) -> Tensor:
    shape = (size, *spec.shape[1:]) if spec.batched else spec.shape
    if not spec.dtype.is_floating_point:
        values = example[place].unique().cpu() if len(example) > place else torch.zeros(1, dtype=spec.dtype)
        return values[torch.randint(0, len(values), shape, generator=generator)]
    if box is None:
        return torch.randn(shape, generator=generator, dtype=torch.float64)
    low, high = box[place].low.cpu(), box[place].high.cpu()
    return low + (high - low) * torch.rand(shape, generator=generator, dtype=torch.float64)


def _ascend(
    first: Function,
    second: Function,
    inputs: list[Tensor],
    floating: list[int],
    box: Sequence[Interval] | None,
    steps: int,
) -> tuple[float, float]:
    """The largest difference along sign gradient ascent, with steps that shrink from a tenth of the input scale."""
    points = [x.clone() for x in inputs]
    best, scale = 0.0, 0.0
    reach = [0.1 * float(inputs[i].abs().max()) for i in floating]
    for step in range(steps):
        moving = [points[i].detach().requires_grad_() for i in floating]
        for i, x in zip(floating, moving, strict=True):
            points[i] = x
        gap, largest = _gap(first, second, points)
        best, scale = max(best, float(gap.detach().max())), max(scale, largest)
        gradients = torch.autograd.grad(gap.square().sum() * 1e20, moving, allow_unused=True)
        for i, x, g, length in zip(floating, moving, gradients, reach, strict=True):
            move = 0.0 if g is None else length * (1 - step / steps) * g.nan_to_num().sign()
            moved = x.detach() + move
            points[i] = moved if box is None else torch.clamp(moved, box[i].low, box[i].high)
    return best, scale
