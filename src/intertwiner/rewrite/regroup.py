r"""The order of neurons between fully connected layers, changed once so that orbits of one type stand together.

Where a fully connected layer is read by fully connected layers only, through pointwise functions, its neurons may be
permuted: rows of its weight, columns of its readers'. Grouped by orbit type, points slow and orbits fast, the isotypic
transforms of both sides read slices instead of gathering.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Int
from numpy import ndarray

from intertwiner.algebra import Group, Representation
from intertwiner.network import node as ir
from intertwiner.numerics.monomial import Monomial
from intertwiner.rewrite.isotypic_orbits import orbit_layout
from intertwiner.rewrite.tied import Action


@dataclass(frozen=True, eq=False)
class Plan:
    """Records and actions of one network.

    Args:
        graph: The records by name, in topological order.
        actions: How every generator moves the channels of a value, by name.
    """

    graph: Mapping[str, ir.Node]
    actions: Mapping[str, Action]


def regrouped(
    graph: Mapping[str, ir.Node], actions: Mapping[str, Action], names: Collection[str], group: Group
) -> Plan:
    """The same function with the free neurons around some layers in grouped order.

    Args:
        graph: The records.
        actions: Their actions.
        names: The layers that run in blocks: what they read and write is grouped where its order is free.
        group: The group that acts: it says which orbits are of one type.

    Cost:
        The orbits of every free space, and one copy of the weights around it.
    """
    plan = Plan(dict(graph), dict(actions))
    for name, node in graph.items():
        space = _free_space(name, graph) if isinstance(node.op, ir.Linear) and name in actions else None
        if space is None or not ({name, *space.readers} & set(names)):
            continue
        # By what is read: an even function forgets signs, and orbits that differ by them only join.
        last = space.values[-1] if space.values[-1] in actions else name
        order = orbit_layout(Representation(group, actions[last], dimension=actions[last][0].dimension)).order
        plan = _permuted(plan, space, order)
    return plan


@dataclass(frozen=True, eq=False)
class _Space:
    """Neurons whose order is free: the values that carry them, the writer first, and the layers that read them."""

    values: tuple[str, ...]
    readers: tuple[str, ...]


def _free_space(name: str, graph: Mapping[str, ir.Node]) -> _Space | None:
    """The values that a layer passes on neuron by neuron; None where anything but fully connected layers reads them."""
    values, readers = [name], []
    for value in values:
        for node in graph.values():
            if value not in node.inputs:
                continue
            if isinstance(node.op, ir.PointwiseOp | ir.Identity):
                values.append(node.name)
            elif isinstance(node.op, ir.Linear):
                readers.append(node.name)
            else:
                return None
    ops = [graph[n].op for n in (name, *readers)]
    weights = [op.weight.name for op in ops if isinstance(op, ir.Linear)]
    # A weight that two layers share stays as it is: its rows and columns are not free one by one.
    shared = [sum(p.name == w for node in graph.values() for p in node.op.params) > 1 for w in weights]
    return None if any(shared) or not readers else _Space(tuple(values), tuple(readers))


def _permuted(plan: Plan, space: _Space, order: Int[ndarray, " n"]) -> Plan:
    """Neuron k of the new order is neuron ``order[k]`` of the old one."""
    if np.array_equal(order, np.arange(len(order))):
        return plan
    graph, actions = dict(plan.graph), dict(plan.actions)
    writer = graph[space.values[0]]
    op = writer.op
    if isinstance(op, ir.Linear):
        bias = None if op.bias is None else _moved(op.bias, op.bias.array[order])
        graph[writer.name] = replace(
            writer, op=replace(op, weight=_moved(op.weight, op.weight.array[order]), bias=bias)
        )
    for name in space.readers:
        node = graph[name]
        op = node.op
        if isinstance(op, ir.Linear):
            weight = _moved(op.weight, op.weight.array[:, order])
            graph[name] = replace(node, op=replace(op, weight=weight))
    p = Monomial(np.argsort(order))
    for value in space.values:
        if value in actions:
            actions[value] = tuple(p @ m @ p.inverse() for m in actions[value])
    return Plan(graph, actions)


def _moved(param: ir.Param, array: ndarray) -> ir.Param:
    """Other numbers under the same name; where each came from in the original is no longer known."""
    return replace(param, array=array, places=None, computed=True)
