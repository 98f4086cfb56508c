"""Running a network and looking at its taps while they exist, instead of keeping them.

``Network.function`` hands all taps out at the end, so all are alive at once. A visitor calls back as each tap is
computed and lets it go when the graph has no more use for it: the memory of a bare forward, and a tap is read
while it is still in the cache.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, fx

if TYPE_CHECKING:
    from intertwiner.network import Network

Sink = Callable[[str, Tensor], None]


def hand_over(sink: Sink, name: str, value: Tensor) -> None:
    """The call that a visiting graph makes at every tap."""
    sink(name, value)


class Visitor:
    """A network that hands each of its taps to ``sink(name, value)`` while it runs.

    A tap must be read inside the callback: later operators may write over it. Where the graph runs at one batch size
    only, the taps are handed over at the end.

    Args:
        network: The traced network.
        taps: Names of taps, as ``Network.function`` takes them.

    Raises:
        UnknownTap: A tap that does not exist.
    """

    def __init__(self, network: Network, taps: Sequence[str]) -> None:
        self.streams = network.batch_size is None and all(spec.batched for spec in network.inputs)
        self._function = network.function(() if self.streams else taps)
        self._network = network
        self._graph = _visiting(network, taps) if self.streams else None

    def __call__(self, inputs: tuple[Tensor, ...], sink: Sink) -> tuple[Tensor, ...]:
        if self._graph is None:
            outputs, values = self._function(inputs)
            for name, value in values.items():
                sink(name, value)
            return outputs
        from intertwiner.network.run import check_inputs

        check_inputs(inputs, self._network.inputs, self._network.device)
        with torch.no_grad():
            return tuple(self._graph(sink, *inputs))


def _visiting(network: Network, taps: Sequence[str]) -> Callable[..., Any]:
    """The network's graph with one more argument, the sink, called after every tapped node."""
    graph, copies = fx.Graph(), {}
    sink = graph.placeholder("sink")
    result = graph.graph_copy(network.module.graph, copies)
    by_name = {node.name: copies[node] for node in network.module.graph.nodes if node in copies}
    graph.output(result)
    for tap in taps:
        node = by_name[network.tap(tap).source]
        after = node
        while after.next.op == "placeholder":  # a tapped input: all arguments come first
            after = after.next
        with graph.inserting_after(after):
            graph.call_function(hand_over, (sink, tap, node))
    return fx.GraphModule(network.module, graph).forward
