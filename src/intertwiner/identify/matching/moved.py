"""What a gauge element does to every value of a network, and to the parameters that it meets on its way."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np
from numpy import ndarray

from intertwiner.errors import NotInGauge
from intertwiner.gauge import GaugeElement
from intertwiner.identify.matching.reshaped import embedded
from intertwiner.identify.matching.rewritten import Weights
from intertwiner.network import LatentSpace, Network, Node, Op, Param
from intertwiner.numerics.monomial import Monomial

State = dict[int, GaugeElement]
"""By axis of a value, what its coordinates undergo; axes left out are not changed."""


class Following:
    """One pass through the graph.

    Args:
        network: The traced network.
        elements: Latent spaces by name, each with its element.
        weights: Where new numbers are written.
        handlers: By operator record, what passes through it and what it needs written.
    """

    def __init__(
        self,
        network: Network,
        elements: Mapping[str, tuple[LatentSpace, GaugeElement]],
        weights: Weights,
        handlers: Mapping[type[Op], Handler],
    ) -> None:
        self.network, self.elements, self.weights, self.handlers = network, elements, weights, handlers
        self.states: dict[str, State] = {}

    def run(self) -> None:
        for node in self.network.nodes:
            handler = self.handlers.get(type(node.op), closed)
            inputs = [self.states[name] for name in node.inputs]
            state = handler(self, node, inputs)
            self.states[node.name] = {a: e for a, e in state.items() if not e.is_identity}

    def wanted(self, node: Node, param: Param, axis: int, size: int) -> GaugeElement:
        """What the elements ask of the coordinates that ``param`` writes along ``axis``."""
        out = GaugeElement.identity(size)
        for space, element in self.elements.values():
            for place in space.parameter_axes:
                if (place.node, place.param, place.axis, place.role) == (node.name, param.name, axis, "write"):
                    out = embedded(element, place, size) @ out
        return out

    def shape(self, name: str) -> tuple[int, ...]:
        return self.network.node(name).shape


Handler = Callable[[Following, Node, Sequence[State]], State]


def where(node: Node) -> str:
    return node.tap or node.name


def refuse(node: Node, why: str) -> NotInGauge:
    return NotInGauge(f"the change of coordinates does not pass {node.op.kind} at {where(node)}: {why}")


def undone(array: ndarray, axis: int, element: GaugeElement) -> ndarray:
    """``W M^{-1}`` along one axis."""
    back = GaugeElement(element.matrix).inverse()
    return np.moveaxis(back.apply_right(np.moveaxis(array, axis, -1)), -1, axis)


def taken(array: ndarray, axis: int, element: GaugeElement) -> ndarray:
    """``M W`` along one axis."""
    return GaugeElement(element.matrix).apply(array, axis)


def monomial(node: Node, element: GaugeElement) -> Monomial:
    if not isinstance(element.matrix, Monomial):
        raise refuse(node, "it mixes no coordinates")
    return element.matrix


def permutation(node: Node, element: GaugeElement) -> GaugeElement:
    if not isinstance(element.matrix, Monomial) or not element.matrix.is_permutation or element.shift is not None:
        raise refuse(node, "only permutations pass")
    return element


def closed(f: Following, node: Node, inputs: Sequence[State]) -> State:
    if any(inputs):
        raise refuse(node, "its coordinates are given or no rule covers it")
    return {}
