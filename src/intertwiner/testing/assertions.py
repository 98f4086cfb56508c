r"""Assertions about functions of tensors, for test suites: equivariance, equality, and a witness shown again.

The defect of a sample is the largest difference of an output entry, relative to the largest entry of that output on
the batch. It is measured on a float64 copy of the module, where a network is the exact function of its stored
weights; the noise floor is what one rounding of every weight, in the module's own type, changes. The same
convention as the verdicts of an audit, without tracing: any module that runs will do.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from intertwiner.errors import EmptyData, WrongUse
from intertwiner.numerics.tolerance import ABOVE_NOISE, tolerance
from intertwiner.symmetry import BoundSymmetry, Symmetry
from intertwiner.verdict import Verdict, Witness

BATCHES = 4
"""Batches that are read where the data are an iterable."""


@dataclass(frozen=True)
class Defect:
    """What was measured before an assertion was made.

    Args:
        value: The largest defect of a sample.
        noise_floor: What rounding alone explains.
        element: Name of the group element, "" where there is none.
        sample: Number of the worst sample in its batch.
        batch: Number of that batch.
        inputs: The worst sample, one tensor per input, with a batch axis of one.
    """

    value: float
    noise_floor: float
    element: str
    sample: int
    batch: int
    inputs: tuple[Tensor, ...]

    def within(self, allowed: float) -> bool:
        return self.value <= max(allowed, ABOVE_NOISE * self.noise_floor)


def assert_equivariant(
    module: nn.Module,
    symmetry: Symmetry,
    data: Any,
    *,
    tolerance: float | None = None,
    elements: Sequence[int | str] | None = None,
    seed: int = 0,
) -> Defect:
    """Fail unless ``f(g x) = g f(x)`` on the data, up to rounding.

    Args:
        module: A module in evaluation mode.
        symmetry: The group and how it acts.
        data: A tensor, a tuple of tensors (one per input) or an iterable of such batches, of which four are read.
        tolerance: Largest defect allowed, relative to the largest output entry; by dtype if left out.
        elements: Elements to try; the generators by default, which suffice.
        seed: Of the nudge that measures the noise floor.

    Returns:
        The largest defect, with its noise floor.

    Raises:
        AssertionError: It is larger; the message names the element, the defect, the noise floor, the worst sample.

    Cost:
        One forward per batch and element, in float64, and one more per batch for the noise floor.

    Example:
        >>> from intertwiner.algebra import cyclic
        >>> from intertwiner.symmetry import vector
        >>> odd = Symmetry(cyclic(2), on_input=vector(sign=[-1]), on_output=vector(sign=[-1]))
        >>> x = torch.linspace(-1, 1, 5).reshape(5, 1)
        >>> assert_equivariant(nn.Tanh(), odd, x).value
        0.0
        >>> assert_equivariant(nn.ReLU(), odd, x)
        Traceback (most recent call last):
            ...
        AssertionError: f(g x) is not g f(x) at g = r: defect 1, allowed 1e-05, rounding explains 0
          worst sample: number 0 of batch 0, input 0: [-1.0]
    """
    allowed = _allowed(module, tolerance, data)
    exact, nudged = _wide(module), _nudged(module, seed)
    found: Defect | None = None
    for number, batch in enumerate(_batches(data)):
        wide = _double(batch)
        here, rounded = _call(exact, wide), _call(nudged, wide)
        bound = _bind(symmetry, wide, here)
        noise = float(_sizes(_leaves(rounded), _leaves(here)).max())
        for g in symmetry.group.generators if elements is None else elements:
            there = _call(exact, bound.act_on_input(g, wide))
            gap = _sizes(_leaves(there), _leaves(bound.act_on_output(g, here)))
            name = g if isinstance(g, str) else symmetry.group.element_name(g)
            found = _worse(found, Defect(*_peak(gap, noise, name, number, batch)))
    if found is None:
        found = Defect(0.0, 0.0, "", 0, 0, ())  # the trivial group has no generator: nothing to move
    if not found.within(allowed):
        raise AssertionError(_message(f"f(g x) is not g f(x) at g = {found.element}", found, allowed))
    return found


def assert_same_function(
    first: nn.Module, second: nn.Module, data: Any, *, tolerance: float | None = None, seed: int = 0
) -> Defect:
    """Fail unless two modules give the same answers on the data, up to rounding.

    Args:
        first: A module in evaluation mode.
        second: Another one.
        data: A tensor, a tuple of tensors (one per input) or an iterable of such batches, of which four are read.
        tolerance: Largest difference allowed, relative to the largest output entry; by dtype if left out.
        seed: Of the nudge that measures the noise floor.

    Raises:
        AssertionError: The answers differ; the message names difference, noise floor and worst sample.

    Example:
        >>> x = torch.linspace(-1, 1, 5)[:, None]
        >>> assert_same_function(nn.Tanh(), nn.Hardtanh(), x)
        Traceback (most recent call last):
            ...
        AssertionError: the two modules differ: defect 0.31, allowed 1e-05, rounding explains 0
          worst sample: number 0 of batch 0, input 0: [-1.0]
    """
    allowed = _allowed(first, tolerance, data)
    one, two, nudged = _wide(first), _wide(second), _nudged(first, seed)
    found: Defect | None = None
    for number, batch in enumerate(_batches(data)):
        wide = _double(batch)
        here = _leaves(_call(one, wide))
        noise = float(_sizes(_leaves(_call(nudged, wide)), here).max())
        gap = _sizes(_leaves(_call(two, wide)), here)
        found = _worse(found, Defect(*_peak(gap, noise, "", number, batch)))
    if found is not None and not found.within(allowed):
        raise AssertionError(_message("the two modules differ", found, allowed))
    return found or Defect(0.0, 0.0, "", 0, 0, ())


def replay(claim: Verdict | Witness, module: nn.Module, symmetry: Symmetry) -> float:
    """The defect of a module at a witness, measured again.

    It is relative to the largest output entry at the witness alone, where an audit takes the largest on its batch, so
    it is never smaller than the defect on record.

    Args:
        claim: A witness, or a verdict that carries one.
        module: The network that was refused, or another one.
        symmetry: The symmetry that it was refused under.

    Raises:
        WrongUse: The verdict carries no witness.

    Example:
        >>> from intertwiner.algebra import cyclic
        >>> from intertwiner.symmetry import vector
        >>> odd = Symmetry(cyclic(2), on_input=vector(sign=[-1]), on_output=vector(sign=[-1]))
        >>> witness = Witness({"input": np.array([[-2.0]])}, "r", 1.0, 0.0)
        >>> replay(witness, nn.ReLU(), odd), replay(witness, nn.Tanh(), odd)
        (1.0, 0.0)
    """
    witness = claim.witness if isinstance(claim, Verdict) else claim
    if not isinstance(witness, Witness):
        raise WrongUse(f"there is no witness to replay: {claim}")
    exact = _wide(module)
    device = next(iter(module.parameters()), torch.empty(0)).device
    inputs = _double(tuple(torch.from_numpy(np.array(a)).to(device) for a in witness.inputs.values()))
    here = _call(exact, inputs)
    bound = _bind(symmetry, inputs, here)
    moved, there = bound.act_on_output(witness.element, here), _call(exact, bound.act_on_input(witness.element, inputs))
    scales = [
        max(float(a.abs().max()), float(b.abs().max())) for a, b in zip(_leaves(there), _leaves(moved), strict=True)
    ]
    gaps = [float((a - b).abs().max()) for a, b in zip(_leaves(there), _leaves(moved), strict=True)]
    return max((gap / scale if scale > 0 else 0.0) for gap, scale in zip(gaps, scales, strict=True))


def _message(what: str, found: Defect, allowed: float) -> str:
    lines = [f"{what}: defect {found.value:.2g}, allowed {allowed:.2g}, rounding explains {found.noise_floor:.2g}"]
    for place, x in enumerate(found.inputs):
        numbers = x.reshape(-1)
        shown = ", ".join(f"{v:.6}" if x.is_floating_point() else str(v) for v in numbers[:8].tolist())
        more = ", ..." if len(numbers) > 8 else ""
        where = f"number {found.sample} of batch {found.batch}, " if place == 0 else ""
        lines.append(f"  worst sample: {where}input {place}: [{shown}{more}]")
    return "\n".join(lines)


def _peak(gap: Tensor, noise: float, element: str, batch: int, inputs: tuple[Tensor, ...]) -> tuple[Any, ...]:
    at = int(gap.argmax())
    return float(gap[at]), noise, element, at, batch, tuple(x[at : at + 1] for x in inputs)


def _worse(old: Defect | None, new: Defect) -> Defect:
    return new if old is None or not new.value <= old.value else old  # NaN counts as worse


def _allowed(module: nn.Module, given: float | None, data: Any) -> float:
    if given is not None:
        return given
    floating = [t for t in (*module.parameters(), *module.buffers()) if t.is_floating_point()]
    if not floating and isinstance(data, Tensor) and data.is_floating_point():
        floating = [data]
    return tolerance(floating[0].dtype if floating else torch.float32)


def _batches(data: Any) -> Iterator[tuple[Tensor, ...]]:
    """Batches as tuples with one tensor per input.

    Raises:
        EmptyData: There is none.
    """
    if isinstance(data, Tensor):
        raw: Iterable[Any] = [(data,)]
    elif isinstance(data, tuple) and data and all(isinstance(x, Tensor) for x in data):
        raw = [data]
    elif isinstance(data, Iterable):
        raw = data
    else:
        raise WrongUse(f"data of type {type(data).__name__}: expected a tensor, a tuple of tensors or batches of them")
    empty = True
    for batch in islice(raw, BATCHES):
        parts = (batch,) if isinstance(batch, Tensor) else tuple(batch)
        if not parts or not all(isinstance(x, Tensor) for x in parts):
            raise WrongUse(f"a batch of type {type(batch).__name__}: expected a tensor or a tuple of tensors")
        if all(len(x) for x in parts):
            empty = False
            yield parts
    if empty:
        raise EmptyData(f"no sample in data of type {type(data).__name__}: nothing was compared")


def _double(tensors: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
    return tuple(x.detach().to(torch.float64) if x.is_floating_point() else x for x in tensors)


def _wide(module: nn.Module) -> nn.Module:
    return copy.deepcopy(module).to(torch.float64)


def _nudged(module: nn.Module, seed: int) -> nn.Module:
    """The float64 copy with every weight changed by up to one rounding of its own type."""
    wide, generator = _wide(module), torch.Generator().manual_seed(seed)
    own = dict(module.named_parameters())
    with torch.no_grad():
        for name, weight in wide.named_parameters():
            noise = 2 * torch.rand(weight.shape, generator=generator, dtype=torch.float64) - 1
            eps = torch.finfo(own[name].dtype).eps if own[name].is_floating_point() else 0.0
            weight.mul_(1 + eps * noise.to(weight.device))
    return wide


def _call(module: Callable[..., Any], inputs: tuple[Tensor, ...]) -> Any:
    with torch.no_grad():
        return module(*inputs)


def _leaves(outputs: Any) -> list[Tensor]:
    if isinstance(outputs, Tensor):
        return [outputs]
    return list(outputs.values() if isinstance(outputs, Mapping) else outputs)


def _bind(symmetry: Symmetry, inputs: tuple[Tensor, ...], outputs: Any) -> BoundSymmetry:
    shapes = [tuple(x.shape[1:]) for x in inputs]
    if isinstance(outputs, Mapping):
        return symmetry.bind(shapes, {name: tuple(x.shape[1:]) for name, x in outputs.items()})
    return symmetry.bind(shapes, [tuple(x.shape[1:]) for x in _leaves(outputs)])


def _sizes(values: Sequence[Tensor], others: Sequence[Tensor]) -> Tensor:
    """Per sample, the largest difference over the outputs, each relative to its largest entry on the batch."""
    worst = []
    for value, other in zip(values, others, strict=True):
        scale = other.abs().max().clamp_min(torch.finfo(torch.float64).tiny)
        worst.append((value - other).abs().reshape(len(value), -1).amax(1) / scale)
    return torch.stack(worst).amax(0)
