r"""A twin as a graph of records: tied parameters, and how G moves the channels of every value.

The channels of a value are one axis (or the last one of a flattened value); G moves them by signed permutations, beside
whatever it does to positions. A parameter of shape (rows, ...) is an intertwiner: its entries are tied along orbits of
(row, rest), so the graph is equivariant bit for bit in every float type (``tied``).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import fx

from intertwiner.network import Network
from intertwiner.network import node as ir
from intertwiner.network.emit import Frame, frame_of, write_module
from intertwiner.rewrite.tied import Action, Tied


@dataclass(frozen=True, eq=False)
class TwinGraph:
    """An exactly equivariant network.

    Args:
        network: The original: how outputs nest, the type, the device; only that, as a `Frame`, where a twin was read
            from a folder.
        graph: The records of the twin, in topological order, with parameters in float64.
        actions: By node name, how every generator moves the channels of its value (of a flattened value: all of it).
        ties: By parameter name, which entries of ``array.reshape(len(array), -1)`` are tied.
    """

    network: Network | Frame
    graph: Mapping[str, ir.Node]
    actions: Mapping[str, Action]
    ties: Mapping[str, Tied]

    @property
    def frame(self) -> Frame:
        """What a module of the twin is beside its nodes."""
        return self.network if isinstance(self.network, Frame) else frame_of(self.network, self.graph)

    def module(self, dtype: torch.dtype | None = None, *, graph: Mapping[str, ir.Node] | None = None) -> fx.GraphModule:
        """A plain module in evaluation mode, of the original's type unless another is asked for; of other nodes too."""
        frame = self.frame if dtype is None else replace(self.frame, dtype=dtype)
        graph = self.graph if graph is None else graph
        module = write_module(graph, frame)
        if any(isinstance(n.op, ir.Conv) and n.op.groups > 1 for n in graph.values()):
            # Grouped convolutions of planes run three times as fast on a CPU with channels last.
            module = module.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        return module

    @property
    def params(self) -> dict[str, ir.Param]:
        """Every tied parameter by name."""
        found = {p.name: p for node in self.graph.values() for p in node.op.params}
        return {name: found[name] for name in self.ties}

    @property
    def free_parameters(self) -> int:
        """Dimension of the spaces of intertwiners and invariant biases."""
        return sum(t.count for t in self.ties.values())

    def is_tied(self, dtype: torch.dtype) -> bool:
        """Whether every weight, rounded to a type, is an intertwiner bit for bit.

        Together with sums, functions and pools, which commute with the actions as they stand, that is equivariance of
        every layer, whatever the order in which a sum is rounded.
        """
        for name, param in self.params.items():
            tie = self.ties[name]
            array = torch.tensor(param.array).to(dtype).to(torch.float64).numpy().reshape(tie.label.shape)
            free = tie.label >= 0
            value = np.zeros(tie.count)
            value[tie.label[free]] = (tie.sign * array)[free]
            if not np.array_equal(tie.matrix(value), array):
                return False
        return True

    def with_arrays(self, arrays: Mapping[str, np.ndarray]) -> TwinGraph:
        """The same twin with other values of some parameters, projected to intertwiners."""
        graph = {}
        for name, node in self.graph.items():
            changes = {}
            for field, param in vars(node.op).items():
                if isinstance(param, ir.Param) and param.name in arrays:
                    tie = self.ties[param.name]
                    array = np.asarray(arrays[param.name], dtype=np.float64).reshape(tie.label.shape)
                    changes[field] = replace(param, array=tie.project(array).reshape(param.shape))
            graph[name] = replace(node, op=replace(node.op, **changes)) if changes else node  # type: ignore[type-var]
        return replace(self, graph=graph)
