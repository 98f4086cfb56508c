"""One pass over the data: every tap at x and at gx, into its second moments.

With one group element x and gx go through the network together and every tap is read as soon as it is computed, so
the pass costs little more than the two forwards. Nulls and other elements are passes of their own.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from math import prod
from typing import TYPE_CHECKING, Any, Protocol

import torch
from torch import Tensor

from intertwiner.audit.moments import Inputs, SplitMoments, TapLayout, TapMoments
from intertwiner.audit.visit import Visitor

if TYPE_CHECKING:
    from intertwiner.network import Network


CACHE_BYTES = 1 << 22
"""A batch is run in pieces whose largest tap fits this: a tap is read again while it is still in the cache."""


class InputAction(Protocol):
    """The part of ``BoundSymmetry`` that the data path needs."""

    def act_on_input(self, g: int, inputs: Any) -> Any: ...


def measure(
    network: Network,
    symmetry: InputAction,
    layouts: Sequence[TapLayout],
    stream: Iterable[Inputs],
    elements: Sequence[int],
) -> dict[str, dict[int, SplitMoments]]:
    """Second moments of all taps for some group elements, in one pass over the data.

    Args:
        network: The traced network.
        symmetry: The bound symmetry; its action on inputs is used.
        layouts: One per tap.
        stream: Batches of inputs; read once.
        elements: Group elements, one forward each beside that of x.

    Returns:
        By tap, then by element.

    Raises:
        EmptyData: The stream has no sample.
        NonFiniteData: A tap holds NaN or infinity.
        ShapeMismatch: A layout does not fit its tap.

    Cost:
        ``2 n^2`` multiply-adds per row, tap and element beside the forwards; memory ``O(n^2)`` per tap and element,
        and the activations of one batch: of one tap at a time where there is one element, of all taps otherwise.
    """
    taps = {layout.name: TapMoments(layout, elements) for layout in layouts}
    visitor = Visitor(network, list(taps))
    together = visitor.streams and len(elements) == 1
    size = _piece_size(network, list(taps)) if visitor.streams else None
    with torch.inference_mode():
        for number, inputs in enumerate(stream):
            for half, piece in _pieces(inputs, size, number):
                if together:
                    _pair(visitor, symmetry, taps, piece, elements[0], half=half)
                else:
                    _one_by_one(network, symmetry, taps, piece, elements, half=half)
        return {name: tap.finish() for name, tap in taps.items()}


def _piece_size(network: Network, taps: Sequence[str]) -> int | None:
    """Samples at which the largest tap, at x and gx, still fits the cache; None where there is no limit."""
    if network.device.type != "cpu":
        return None
    largest = 1
    for tap in taps:
        node = network.tap(tap)
        largest = max(largest, prod(n for axis, n in enumerate(node.shape) if axis != node.batch_axis))
    return max(1, CACHE_BYTES // (2 * largest * torch.finfo(network.dtype).bits // 8))


def _pieces(inputs: Inputs, size: int | None, number: int) -> Iterator[tuple[int | None, Inputs]]:
    """A batch in pieces, each with the half it belongs to.

    Batches are trained and tested on in turn. The first one serves both, so that neither half is ever empty: its
    pieces are shared out, or the only piece is cut in the middle.
    """
    total = len(inputs[0])
    if size is None or size >= total:
        yield (number % 2 if number else None), inputs
        return
    size = -(-total // -(-total // size))  # as many pieces, of equal size: a short last one costs as much as the others
    for start in range(0, total, size):
        half = number % 2 if number else int(2 * start >= total)
        yield half, tuple(x[start : start + size] for x in inputs)


def _pair(
    visitor: Visitor,
    symmetry: InputAction,
    taps: Mapping[str, TapMoments],
    inputs: Inputs,
    g: int,
    *,
    half: int | None,
) -> None:
    """x and gx in one forward, every tap read as soon as it is there."""
    moved = symmetry.act_on_input(g, inputs)

    def sink(name: str, value: Tensor) -> None:
        tap = taps[name]
        x, gx = value.chunk(2, tap.layout.batch_axis)
        tap.begin(x, inputs, half)
        tap.add(g, gx)
        tap.end()

    visitor(tuple(torch.cat([x, gx]) for x, gx in zip(inputs, moved, strict=True)), sink)


def _one_by_one(
    network: Network,
    symmetry: InputAction,
    taps: Mapping[str, TapMoments],
    inputs: Inputs,
    elements: Sequence[int],
    *,
    half: int | None,
) -> None:
    """The latents at x are kept while every gx runs."""
    forward = network.function(list(taps))
    _, latents = forward(inputs)
    for name, tap in taps.items():
        tap.begin(latents[name], inputs, half)
    for g in elements:
        _, moved = forward(symmetry.act_on_input(g, inputs))
        for name, tap in taps.items():
            tap.add(g, moved[name])
    for tap in taps.values():
        tap.end()
