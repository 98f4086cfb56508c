r"""Where the coordinates of a latent space stand in every value, and the network with some of them taken out.

``places`` follows one axis through the graph: adds, activations and pools keep its coordinates where they are, a
concatenation moves them, a reshape repeats them over the grid. What comes out is, for every value, an array *owner*
along one axis: the coordinate that stands at each position, -1 where another space does. ``keep`` then cuts all of
those axes, and the parameters that write and read them, at once.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Bool, Int
from numpy import ndarray

from intertwiner.network import node as ir
from intertwiner.network.ties import Blocked, ends, ties

Graph = Mapping[str, ir.Node]


@dataclass(frozen=True, eq=False)
class Places:
    """The coordinates of one latent space in all values that carry them.

    Args:
        dimension: Number of coordinates.
        axis: By node, the axis along which they stand.
        owner: By node, the coordinate at every position of that axis, -1 where another space stands.
        writers: Nodes whose parameters write them.
        readers: (reader, value it reads) of the linear maps and convolutions that read them.
        blocked: Why the space cannot be resized; empty where it can.
        seed: The value and axis that the coordinates were counted at.
    """

    dimension: int
    axis: Mapping[str, int]
    owner: Mapping[str, Int[ndarray, " n"]]
    writers: tuple[str, ...]
    readers: tuple[tuple[str, str], ...]
    blocked: str = ""
    seed: tuple[str, int] = ("", 0)

    def positions(self, node: str, coordinate: int) -> Int[ndarray, " k"]:
        """Where a coordinate stands in a value, ascending."""
        return np.flatnonzero(self.owner[node] == coordinate)


def places(graph: Graph, node: str, axis: int) -> Places:
    """Everything that carries the coordinates which stand along one axis of one value.

    Args:
        graph: Nodes by name, in topological order.
        node: A node that writes a latent space.
        axis: The axis that it writes.

    Returns:
        The places; ``blocked`` says what forbids cutting them.

    Cost:
        Linear in the nodes that carry the space times its dimension.

    Example:
        >>> import torch
        >>> from intertwiner.network import trace
        >>> chain = torch.nn.Sequential(torch.nn.Linear(3, 4), torch.nn.ReLU(), torch.nn.Linear(4, 2))
        >>> net = trace(chain, torch.zeros(2, 3))
        >>> found = places(net.graph, net.tap("0").name, 1)
        >>> found.dimension, found.readers == ((net.tap("2").name, net.tap("1").name),)
        (4, True)
    """
    size = graph[node].shape[axis]
    found = _Search(graph)
    found.put(node, axis, np.arange(size))
    while found.todo and not found.blocked:
        found.spread(found.todo.pop())
    order = {name: i for i, name in enumerate(graph)}
    names = sorted(found.owner, key=order.__getitem__)
    return Places(
        size,
        {n: found.axis[n] for n in names},
        {n: found.owner[n] for n in names},
        tuple(n for n in names if n in found.writers),
        tuple(sorted(found.readers, key=lambda pair: order[pair[0]])),
        found.blocked,
        (node, axis),
    )


class _Search:
    """Spreads owners from value to value until nothing changes."""

    def __init__(self, graph: Graph) -> None:
        self.graph = graph
        self.axis: dict[str, int] = {}
        self.owner: dict[str, ndarray] = {}
        self.writers: set[str] = set()
        self.readers: set[tuple[str, str]] = set()
        self.todo: list[str] = []
        self.blocked = ""

    def put(self, node: str, axis: int, owner: ndarray) -> None:
        if not (owner >= 0).any() or self.blocked:
            return
        if node not in self.owner:
            self.axis[node], self.owner[node] = axis, owner
            self.todo.append(node)
            return
        old = self.owner[node]
        if self.axis[node] != axis:
            self.blocked = f"it stands along two axes of {self._name(node)}"
        elif ((old >= 0) & (owner >= 0) & (old != owner)).any():
            self.blocked = f"two of its coordinates meet at {self._name(node)}"
        elif ((old < 0) & (owner >= 0)).any():
            self.owner[node] = np.maximum(old, owner)
            self.todo.append(node)

    def spread(self, name: str) -> None:
        """To the values that this one is computed from, and to those computed from it."""
        node, axis = self.graph[name], self.axis[name]
        try:
            tied = ends(node, axis)
            if tied:
                self.writers.add(name)
            for place, source in enumerate(node.inputs):
                back = [t for t in ties(node, self.graph[source], place, self._offset(node, place)) if t.after == axis]
                shape = self.graph[source].shape
                options = [(t.before, t.back(self.owner[name], shape[t.before])) for t in back]
                if back and all(owner is None for _, owner in options):
                    raise Blocked(f"two of its coordinates meet at {self._name(source)}")
                self._put_one(source, options)
                tied |= bool(back)
            if not tied:
                raise Blocked(f"{node.op.kind} at {self._name(name)} makes it")
            for user in node.users:
                self._forward(name, axis, self.graph[user])
        except Blocked as reason:
            self.blocked = self.blocked or str(reason)

    def _forward(self, name: str, axis: int, user: ir.Node) -> None:
        for place, source in enumerate(user.inputs):
            if source != name:
                continue
            fitting = [t for t in ties(user, self.graph[name], place, self._offset(user, place)) if t.before == axis]
            if reads(user, axis):
                self.readers.add((user.name, name))
            elif not fitting:
                raise Blocked(_why(user, self._name(user.name)))
            found: list[tuple[int, ndarray | None]] = [
                (t.after, t.forth(self.owner[name], user.shape[t.after])) for t in fitting
            ]
            if found and all(owner is None for _, owner in found):
                raise Blocked(f"the reshape at {self._name(user.name)} splits it")
            self._put_one(user.name, found)

    def _put_one(self, name: str, options: list[tuple[int, ndarray | None]]) -> None:
        """Along the one axis that follows the owners; where all positions have one owner, several axes do."""
        fitting = [(axis, owner) for axis, owner in options if owner is not None]
        known = [pair for pair in fitting if pair[0] == self.axis.get(name, pair[0])]
        if fitting:
            self.put(name, *(known or fitting)[0])

    def _offset(self, node: ir.Node, place: int) -> int:
        if not isinstance(node.op, ir.Concat):
            return 0
        return sum(self.graph[i].shape[node.op.axis] for i in node.inputs[:place])

    def _name(self, node: str) -> str:
        return self.graph[node].tap or node


def _why(user: ir.Node, name: str) -> str:
    if isinstance(user.op, ir.Output):
        return "it is an output of the network"
    if isinstance(user.op, ir.Opaque):
        return f"no rule says what {user.op.target} at {name} does: {user.op.reason}"
    return f"{user.op.kind} at {name} mixes its coordinates"


def reads(node: ir.Node, axis: int) -> bool:
    """Whether the parameters of a node read this axis of its input."""
    if isinstance(node.op, ir.Linear):
        return axis == len(node.shape) - 1
    return isinstance(node.op, ir.Conv) and axis == 1 and node.op.groups == 1


def keep(graph: Graph, found: Places, kept: Bool[ndarray, " n"]) -> dict[str, ir.Node]:
    """The graph with only some coordinates of a latent space; nothing else changes.

    Weights that read the others are cut off with them: move what they did elsewhere first.

    Args:
        graph: The nodes.
        found: The places of the space; must not be blocked.
        kept: Which coordinates stay, at least one.
    """
    stay = {n: np.flatnonzero((owner < 0) | kept[owner]) for n, owner in found.owner.items()}
    read = {(reader, value) for reader, value in found.readers}
    out = dict(graph)
    for name, node in graph.items():
        before = [source if source in stay else None for source in node.inputs]
        if name not in stay and not any(before):
            continue
        op, shape = node.op, list(node.shape)
        for source in node.inputs:
            if (name, source) in read:
                op = _cut_columns(op, stay[source])
        if name in stay:
            shape[found.axis[name]] = len(stay[name])
            op = _cut_rows(op, node, found.axis[name], stay[name])
        op = _reshaped(op, tuple(shape))
        if isinstance(op, ir.Index) and before[0] and found.axis[before[0]] == op.axis:
            op = replace(op, index=_reindexed(op, stay[before[0]], stay.get(name)))
        out[name] = replace(node, op=op, shape=tuple(shape))
    return out


def taken(param: ir.Param | None, axis: int, positions: ndarray) -> ir.Param | None:
    """Some positions of a parameter along one axis; all of them where it is broadcast there."""
    if param is None or param.shape[axis] == 1:
        return param
    array = np.take(param.array, positions, axis)
    return replace(param, array=array, places=None, computed=True)


def _cut_columns(op: ir.Op, stay: ndarray) -> ir.Op:
    if isinstance(op, ir.Linear):
        return replace(op, weight=taken(op.weight, 1, stay))
    if isinstance(op, ir.Conv):
        return replace(op, weight=taken(op.weight, 0 if op.transposed else 1, stay))
    return op


def _cut_rows(op: ir.Op, node: ir.Node, axis: int, stay: ndarray) -> ir.Op:
    if isinstance(op, ir.Linear) and axis == len(node.shape) - 1:
        return replace(op, weight=taken(op.weight, 0, stay), bias=taken(op.bias, 0, stay))
    if isinstance(op, ir.Conv) and axis == 1:
        if op.groups > 1:
            return replace(op, weight=taken(op.weight, 0, stay), bias=taken(op.bias, 0, stay), groups=len(stay))
        return replace(op, weight=taken(op.weight, 1 if op.transposed else 0, stay), bias=taken(op.bias, 0, stay))
    if isinstance(op, ir.Embedding) and axis == len(node.shape) - 1:
        return replace(op, weight=taken(op.weight, 1, stay))
    if isinstance(op, ir.ChannelAffine):
        return replace(op, scale=taken(op.scale, axis, stay), shift=taken(op.shift, axis, stay))
    if isinstance(op, ir.LayerNorm):
        return replace(op, weight=taken(op.weight, axis, stay), bias=taken(op.bias, axis, stay))
    if isinstance(op, ir.Constant):
        return replace(op, value=taken(op.value, axis, stay))
    return op


def _reshaped(op: ir.Op, shape: Sequence[int]) -> ir.Op:
    if isinstance(op, (ir.Reshape, ir.Expand)):
        return replace(op, shape=tuple(-1 if old == -1 else new for old, new in zip(op.shape, shape, strict=True)))
    return op


def _reindexed(op: ir.Index, before: ndarray, after: ndarray | None) -> tuple[int, ...]:
    """The index of the kept positions, counted among the kept positions."""
    old = np.asarray(op.index) if after is None else np.asarray(op.index)[after]
    place = np.full(max(int(before.max(initial=0)), int(old.max(initial=0))) + 1, -1)
    place[before] = np.arange(len(before))
    return tuple(int(p) for p in place[old])
