r"""The values of the lifted network on data: channel (i, g) holds ``g . h_i(g^{-1} x)``, without building it.

The original runs on ``g^{-1} x`` for every g, and positions are moved back. k sends (i, g) to (i, kg), so whatever is
linear in these channels is known on the whole orbit of a sample from the sample alone.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
import torch
from jaxtyping import Int
from numpy import ndarray
from torch import Tensor

from intertwiner.errors import CannotRewrite
from intertwiner.network import Network, Node
from intertwiner.network import node as ir
from intertwiner.network.emit import to_module
from intertwiner.numerics.monomial import Monomial
from intertwiner.symmetry import BoundSymmetry
from intertwiner.transport import Layout, layouts


def values_of(network: Network, graph: Mapping[str, Node], names: Sequence[str]) -> Callable[..., tuple[Tensor, ...]]:
    """A function of the inputs that returns the values of some nodes of a graph."""
    last = network.nodes[-1]
    wanted = set(names)
    for name in reversed(list(graph)):  # nodes stand in topological order
        if name in wanted:
            wanted.update(graph[name].inputs)
    inputs = {name for name, node in graph.items() if isinstance(node.op, ir.Input)}
    kept = {name: node for name, node in graph.items() if name in wanted | inputs}
    end = replace(last, op=ir.Output(tuple(names)), inputs=tuple(names))
    module = to_module(replace(network, out_spec=None), {**kept, last.name: end})

    @torch.no_grad()
    def run(*inputs: Tensor) -> tuple[Tensor, ...]:
        return tuple(module(*inputs))

    return run


@dataclass(frozen=True, eq=False)
class Lifted:
    """The lifted values of some nodes.

    Args:
        network: The original, affine maps folded.
        symmetry: The task.
        axes: By node name the axis of its channels, batch counted.
    """

    network: Network
    symmetry: BoundSymmetry
    axes: Mapping[str, int]

    @cached_property
    def _run(self) -> Callable[..., tuple[Tensor, ...]]:
        return values_of(self.network, self.network.graph, tuple(self.axes))

    @cached_property
    def moves(self) -> dict[str, tuple[Int[ndarray, " p"], ...]]:
        """By node and element, where the positions of ``g . v`` are found in v."""
        found, lost = layouts(self.network, self.symmetry)
        out = {}
        for name, axis in self.axes.items():
            node = self.network.node(name)
            if name not in found:
                raise CannotRewrite(f"{node.tap or name}: {lost.get(name) or 'positions unknown'}")
            out[name] = _element_moves(self.symmetry, found[name], axis - 1, node)
        return out

    def __call__(self, *inputs: Tensor) -> dict[str, Tensor]:
        """(batch, channels * order, positions) by node: channel ``i * order + g``."""
        group = self.symmetry.group
        parts: dict[str, list[Tensor]] = {name: [] for name in self.axes}
        for g in range(group.order):
            back = self.symmetry.act_on_input(int(group.inverse(g)), inputs)
            values = self._run(*(x.to(self.network.dtype) if x.is_floating_point() else x for x in back))
            for (name, axis), value in zip(self.axes.items(), values, strict=True):
                flat = value.movedim(axis, 1).flatten(2) if value.dim() > 2 else value[..., None]
                parts[name].append(flat[..., torch.from_numpy(self.moves[name][g])])
        return {name: torch.stack(p, dim=2).flatten(1, 2) for name, p in parts.items()}


def _element_moves(
    symmetry: BoundSymmetry, layout: Layout, axis: int, node: Node
) -> tuple[Int[ndarray, " p"], ...]:  # fmt: skip
    positions = tuple(a for a in range(len(node.sample_shape)) if a != axis)
    if not positions:
        return (np.zeros(1, dtype=np.int64),) * symmetry.group.order
    if set(layout.features) - {axis}:
        raise CannotRewrite(f"{node.tap or node.name} mixes channels with positions. Nothing was rewritten.")
    generators = []
    for grid in layout.grids:
        matrix = grid.matrix_on(positions)
        if not isinstance(matrix, Monomial) or not matrix.is_permutation:
            raise CannotRewrite(f"{node.tap or node.name}: positions are mixed. Nothing was rewritten.")
        generators.append(matrix)
    identity = Monomial.identity(generators[0].dimension)
    return tuple(m.sources for m in symmetry.group.extend(generators, lambda a, b: a @ b, identity))
