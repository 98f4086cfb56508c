r"""The end-to-end defect of a network: how far ``f(gx)`` is from ``g f(x)``, in units of how much f varies.

    defect(g) = sqrt( sum_x |f(gx) - g f(x)|^2  /  sum_x |f(x) - mean f|^2 ),

sums in float64, transforms in float64, the network in its own dtype. With a mask both sums run over the positions that
count, of outputs on the same grid. Beside it the noise floor, what rounding makes
of the same quantity: ``f`` and its float64 copy ``F`` differ by ``f(gx) - F(gx)`` and ``g (f(x) - F(x))``. A float64
network is compared with its float32 copy instead, and the floor scaled by the ratio of the unit roundoffs.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
import torch
from torch import Tensor

from intertwiner.audit.moments import Inputs
from intertwiner.audit.spread import Spread
from intertwiner.errors import EmptyData, NonFiniteData

if TYPE_CHECKING:
    from intertwiner.network import Network

BINS = 4096
DECADES = (-24.0, 8.0)
"""The median is read from a histogram of log10 of the sample defects: to 1 per cent, in constant memory."""


class Actions(Protocol):
    """The part of ``BoundSymmetry`` that is needed here."""

    def act_on_input(self, g: int, inputs: Any) -> Any: ...
    def act_on_output(self, g: int, outputs: Any) -> Any: ...


@dataclass(frozen=True, eq=False)
class ElementDefect:
    """The defect of one group element.

    Args:
        value: Root mean square over the data; of several outputs the worst.
        by_output: The same for each output; NaN for one that does not vary.
        noise_floor: What rounding alone makes of ``value``; None where it was not measured.
        median: Median over samples of ``|f(gx) - g f(x)|``, in the same unit, of the worst output.
        worst: The largest over samples.
        witness: The sample at which it is largest, one array per input with a leading axis of one.
    """

    value: float
    by_output: tuple[float, ...]
    noise_floor: float | None
    median: float
    worst: float
    witness: tuple[np.ndarray, ...]

    def to_json(self) -> dict[str, Any]:
        values = {"value": self.value, "noise_floor": self.noise_floor, "median": self.median, "worst": self.worst}
        return {name: v if v is not None and np.isfinite(v) else None for name, v in values.items()}


@dataclass
class _Sums:
    """Running sums for one element, one entry per output."""

    squares: list[float]
    noise: list[float]
    histogram: list[np.ndarray]
    worst: list[float]
    witness: list[tuple[np.ndarray, ...]] = field(default_factory=list)

    @classmethod
    def zero(cls, outputs: int) -> _Sums:
        return cls(
            [0.0] * outputs,
            [0.0] * outputs,
            [np.zeros(BINS, dtype=np.int64) for _ in range(outputs)],
            [-1.0] * outputs,
            [() for _ in range(outputs)],
        )

    def add(self, output: int, difference: Tensor, inputs: Inputs) -> None:
        by_sample = difference.reshape(len(difference), -1).square().sum(1)
        if not bool(torch.isfinite(by_sample).all()):
            raise NonFiniteData("the network answers with NaN or infinity: no defect was measured")
        self.squares[output] += float(by_sample.sum())
        norms = by_sample.sqrt().cpu().numpy()
        with np.errstate(divide="ignore"):
            place = (np.log10(norms) - DECADES[0]) / (DECADES[1] - DECADES[0]) * BINS
        self.histogram[output] += np.bincount(np.clip(place, 0, BINS - 1).astype(np.int64), minlength=BINS)
        at = int(norms.argmax())
        if norms[at] > self.worst[output]:
            self.worst[output] = float(norms[at])
            self.witness[output] = tuple(x[at : at + 1].cpu().numpy().copy() for x in inputs)


def equivariance_defect(
    network: Network,
    symmetry: Actions,
    stream: Iterable[Inputs],
    elements: Sequence[int],
    *,
    noise_floor: bool = True,
    mask: Callable[[Inputs], Any] | None = None,
) -> dict[int, ElementDefect]:
    """The defect of some group elements, in one pass over the data.

    Args:
        network: The traced network.
        symmetry: The bound symmetry.
        stream: Batches of inputs; read once.
        elements: Generators, or all elements of a small group.
        mask: From the inputs to 0/1 of shape (batch, *grid); outputs that end in this grid are compared, and their
            spread is taken, where it is 1. The noise floor counts all positions.
        noise_floor: Also run the copy of the network in the other precision, on the first batch only.

    Raises:
        EmptyData: The stream has no sample.
        NonFiniteData: The network answers with NaN or infinity.

    Cost:
        One forward for x and one for each element; memory independent of the number of batches.
    """
    forward = network.function(())
    other = torch.float32 if network.dtype == torch.float64 else torch.float64
    exact = network.to(other).function(()) if noise_floor else None
    spreads: list[Spread] = []
    noise_spreads: list[Spread] = []
    sums: dict[int, _Sums] = {}
    with torch.no_grad():
        for number, inputs in enumerate(stream):
            outputs = _double(forward(inputs)[0])
            truth = _double(exact(_in(other, inputs))[0]) if exact is not None and number == 0 else None
            if number == 0:
                spreads = [Spread() for _ in outputs]
                noise_spreads = [Spread() for _ in outputs]
                sums = {g: _Sums.zero(len(outputs)) for g in elements}
            for place, value in enumerate(outputs):
                spreads[place].add(value, _weight(mask, inputs, value))
                if truth is not None:
                    noise_spreads[place].add(truth[place])
            for g in elements:
                moved = _cast(symmetry.act_on_input(g, _double(inputs)), inputs)
                answer = _double(forward(moved)[0])
                for place, (there, here) in enumerate(zip(answer, symmetry.act_on_output(g, outputs), strict=True)):
                    weight = _weight(mask, moved, there)
                    sums[g].add(place, there - here if weight is None else (there - here) * weight, inputs)
                if truth is not None and exact is not None:
                    _add_noise(sums[g], answer, _double(exact(_in(other, moved))[0]), symmetry, g, outputs, truth)
    if not spreads or not spreads[0].count:
        raise EmptyData("no sample: no defect was measured")
    floors = noise_spreads if exact is not None else None
    scale = torch.finfo(torch.float64).eps / torch.finfo(torch.float32).eps if other == torch.float32 else 1.0
    return {g: _finish(sums[g], spreads, floors, scale) for g in elements}


def _weight(mask: Callable[[Inputs], Any] | None, inputs: Inputs, output: Tensor) -> Tensor | None:
    """0/1 in the shape of an output whose last axes are the grid of the mask; None for other outputs."""
    if mask is None:
        return None
    weight = torch.as_tensor(mask(inputs), dtype=torch.float64, device=output.device)
    grid = weight.shape[1:]
    if not grid or output.ndim < weight.ndim or output.shape[-len(grid) :] != grid:
        return None
    between = (1,) * (output.ndim - weight.ndim)
    return weight.reshape(len(weight), *between, *grid).expand(output.shape)


def _add_noise(sums: _Sums, answer: Inputs, answer_exact: Inputs, symmetry: Actions, g: int, *base: Inputs) -> None:
    """Squared rounding of f(gx) and of g f(x): independent, so their squares add."""
    outputs, truth = base
    rounding = symmetry.act_on_output(g, tuple(a - b for a, b in zip(outputs, truth, strict=True)))
    for place, (a, b, r) in enumerate(zip(answer, answer_exact, rounding, strict=True)):
        sums.noise[place] += float((a - b).square().sum() + r.square().sum())


def _finish(sums: _Sums, spreads: Sequence[Spread], floors: Sequence[Spread] | None, scale: float) -> ElementDefect:
    values = [_ratio(s, spread.total) for s, spread in zip(sums.squares, spreads, strict=True)]
    finite = [v if np.isfinite(v) else -1.0 for v in values]
    at = int(np.argmax(finite))
    unit = np.sqrt(spreads[at].total / spreads[at].count)
    counts = sums.histogram[at].cumsum()
    middle = int(np.searchsorted(counts, (counts[-1] + 1) // 2))
    median = 10 ** (DECADES[0] + (middle + 0.5) / BINS * (DECADES[1] - DECADES[0])) if middle else 0.0
    floor = None if floors is None else scale * _ratio(sums.noise[at], floors[at].total)
    return ElementDefect(
        value=values[at],
        by_output=tuple(values),
        noise_floor=floor,
        median=median / unit if unit > 0 else float("nan"),
        worst=sums.worst[at] / unit if unit > 0 else float("nan"),
        witness=sums.witness[at],
    )


def _ratio(squares: float, spread: float) -> float:
    """A network that does not vary and does not err has defect 0; one that does not vary and errs, none."""
    if spread > 0:
        return float(np.sqrt(squares / spread))
    return 0.0 if squares == 0 else float("nan")


def _in(dtype: torch.dtype, tensors: Any) -> Inputs:
    return tuple(x.to(dtype) if x.is_floating_point() else x for x in tensors)


def _double(tensors: Any) -> Inputs:
    return _in(torch.float64, tensors)


def _cast(tensors: Any, like: Inputs) -> Inputs:
    return tuple(x.to(y.dtype) for x, y in zip(tensors, like, strict=True))
