"""Running a network: the traced graph with extra outputs, compiled once, checked at the door.

``function(taps)`` is as fast as the module, because it is the same graph of the same tensors with some of the values
that it computes anyway handed out. A graph exported with a fixed batch size is run in batches of that size, the last
one padded by repeating a sample and cut again.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, fx

from intertwiner.errors import DataMismatch
from intertwiner.network.prepare import is_inplace

TapFunction = Callable[[Sequence[Tensor]], tuple[tuple[Tensor, ...], dict[str, Tensor]]]


@dataclass(frozen=True)
class InputSpec:
    """What a network takes in one place.

    Args:
        name: Name of the argument.
        shape: Shape on the example, batch included.
        dtype: Its type.
        batched: The first axis is the batch.
        free_axes: Axes whose size may vary.
    """

    name: str
    shape: tuple[int, ...]
    dtype: torch.dtype
    batched: bool
    free_axes: tuple[int, ...] = ()


def compile_taps(module: fx.GraphModule, sources: Sequence[str]) -> fx.GraphModule:
    """The graph with the values of further graph nodes as second output; shares its tensors with `module`."""
    graph, copies = fx.Graph(), {}
    graph.graph_copy(module.graph, copies)
    by_name = {n.name: copies[n] for n in module.graph.nodes if n.op != "output"}
    results = next(n for n in module.graph.nodes if n.op == "output").args[0]
    impure = any(is_inplace(n) for n in graph.nodes)
    tapped = []
    for source in sources:
        node = by_name[source]
        if impure and node.op == "call_function":
            with graph.inserting_after(node):  # a later write in place must not change what was seen here
                node = graph.call_function(torch.ops.aten.clone.default, (node,))
        tapped.append(node)
    graph.output((tuple(copies[r] for r in results), tuple(tapped)))
    graph.eliminate_dead_code()
    return fx.GraphModule(module, graph)


def check_inputs(inputs: Sequence[Any], specs: Sequence[InputSpec], device: torch.device) -> int:
    """The batch size of the inputs, once they are what the network takes.

    Raises:
        DataMismatch: Their number, type, device or shape differ from those of the network.
    """
    if len(inputs) != len(specs):
        names = ", ".join(s.name for s in specs)
        raise DataMismatch(f"the network takes {len(specs)} tensors ({names}), the batch has {len(inputs)}")
    batch = None
    for x, spec in zip(inputs, specs, strict=True):
        if not isinstance(x, Tensor):
            raise DataMismatch(f"input {spec.name!r} must be a tensor, got {type(x).__name__}")
        if x.dtype != spec.dtype:
            raise DataMismatch(
                f"input {spec.name!r} has type {x.dtype}, the network takes {spec.dtype}.\n"
                f"  Convert it with .to({spec.dtype}). Nothing was run."
            )
        if x.device != device:
            raise DataMismatch(
                f"input {spec.name!r} is on {x.device}, the network on {device}.\n"
                f"  Move it with .to({str(device)!r}). Nothing was run."
            )
        fixed = [a for a in range(len(spec.shape)) if not (spec.batched and a == 0) and a not in spec.free_axes]
        if x.ndim != len(spec.shape) or any(x.shape[a] != spec.shape[a] for a in fixed):
            wanted = ["B" if spec.batched and a == 0 else "*" if a in spec.free_axes else str(s)
                      for a, s in enumerate(spec.shape)]  # fmt: skip
            raise DataMismatch(
                f"input {spec.name!r} has shape {tuple(x.shape)}, the network takes ({', '.join(wanted)}). "
                "The first axis is the batch. Nothing was run."
            )
        if spec.batched:
            if batch is not None and len(x) != batch:
                raise DataMismatch(f"input {spec.name!r} has {len(x)} samples, the inputs before it {batch}")
            batch = len(x)
    if batch == 0:
        raise DataMismatch("the batch is empty; give at least one sample")
    return 1 if batch is None else batch


@dataclass(frozen=True)
class Place:
    """Where a result has the batch: on `axis`, after `lead` entries of it."""

    axis: int | None
    lead: int = 1


def run_in_batches(
    call: Callable[..., Any], inputs: Sequence[Tensor], specs: Sequence[InputSpec], size: int, places: Sequence[Place]
) -> tuple[Tensor, ...]:
    """Flat results of `call`, run on pieces of exactly `size` samples; `places` says where results have the batch."""
    total = next((len(x) for x, s in zip(inputs, specs, strict=True) if s.batched), size)
    pieces: list[list[Tensor]] = []
    for start in range(0, total, size):
        real = min(size, total - start)
        given = [_piece(x, start, real, size) if s.batched else x for x, s in zip(inputs, specs, strict=True)]
        outputs, tapped = call(*given)
        pieces.append([_cut(r, p, real, size) for r, p in zip((*outputs, *tapped), places, strict=True)])
    return tuple(_join([piece[i] for piece in pieces], p) for i, p in enumerate(places))


def _piece(x: Tensor, start: int, real: int, size: int) -> Tensor:
    piece = x[start : start + real]
    return piece if real == size else torch.cat([piece, piece[-1:].expand(size - real, *piece.shape[1:])])


def _cut(result: Tensor, place: Place, real: int, size: int) -> Tensor:
    """The real samples, with the batch axis split into (lead, samples, rest)."""
    if place.axis is None:
        return result
    rest = result.shape[place.axis] // (size * place.lead)
    return result.unflatten(place.axis, (place.lead, size, rest)).narrow(place.axis + 1, 0, real)


def _join(pieces: list[Tensor], place: Place) -> Tensor:
    if place.axis is None:
        return pieces[0]
    return torch.cat(pieces, place.axis + 1).flatten(place.axis, place.axis + 2)
