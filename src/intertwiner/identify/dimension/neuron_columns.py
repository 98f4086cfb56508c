"""Which columns of the Jacobian belong to a neuron: what writes it and what reads it, with the degree it has there.

A coordinate of a latent space that is scaled by t reaches a reader scaled by ``t^degree``: 1 behind ReLU or abs, r
behind ``t^r``.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from math import prod

import numpy as np
from jaxtyping import Int
from numpy import ndarray

from intertwiner.exact import Columns
from intertwiner.network import (
    Add,
    ChannelAffine,
    Conv,
    Input,
    LatentSpace,
    Linear,
    Network,
    Node,
    Param,
    ParameterAxis,
    PointwiseOp,
)


@dataclass(frozen=True, eq=False)
class Meeting:
    """A parameter axis of a space, with its columns.

    Args:
        node: The node that holds the parameter.
        param: The parameter.
        axis: What the trace says about it.
        degree: Power of the scale with which the space arrives there.
        columns: Column of every entry of the parameter; None where it is not trainable.
    """

    node: Node
    param: Param
    axis: ParameterAxis
    degree: int
    columns: Int[ndarray, "..."] | None

    def of(self, j: int) -> Int[ndarray, " k"]:
        """Columns that belong to coordinate j."""
        return self.slice_of(j).ravel()

    def slice_of(self, j: int) -> Int[ndarray, "..."]:
        """The same with the shape of the slice, the parameter's axis last."""
        if self.columns is None:
            return np.zeros(0, dtype=np.int64)
        return np.moveaxis(np.take(self.columns, self._entries[j], axis=self.axis.axis), self.axis.axis, -1)

    @cached_property
    def _entries(self) -> list[ndarray]:
        view, place = self.axis.view, self.axis.place
        numbered = np.arange(self.axis.start, self.axis.start + prod(view)).reshape(view)
        return list(np.moveaxis(numbered, place, 0).reshape(view[place], -1))


@dataclass(frozen=True, eq=False)
class Neurons:
    """A latent space with everything that meets it.

    Args:
        space: The space.
        meetings: Its parameter axes.
    """

    space: LatentSpace
    meetings: tuple[Meeting, ...]

    @property
    def writers(self) -> tuple[Meeting, ...]:
        return tuple(m for m in self.meetings if m.axis.role == "write")

    @property
    def readers(self) -> tuple[Meeting, ...]:
        return tuple(m for m in self.meetings if m.axis.role == "read")

    @property
    def trainable(self) -> bool:
        """Whether everything that writes or reads it can be changed."""
        return bool(self.writers) and all(m.columns is not None for m in (*self.writers, *self.readers))

    def incoming(self, j: int) -> Int[ndarray, " k"]:
        return _joined([m.of(j) for m in self.writers])

    def outgoing(self, j: int) -> Int[ndarray, " k"]:
        return _joined([m.of(j) for m in self.readers])

    def next_biases(self, columns: Columns) -> Int[ndarray, " k"]:
        """Columns of the biases of everything that reads the space."""
        found = []
        for m in self.readers:
            bias = getattr(m.node.op, "bias", None)
            places = columns.places(bias) if isinstance(bias, Param) else None
            if places is not None:
                found.append(places)
        return _joined(found)

    def nonlinear(self, network: Network) -> Iterator[tuple[Node, int]]:
        """Nonlinearities inside the space, with the axis on which it stands there."""
        for name, axis in self.space.slots:
            node = network.node(name)
            if isinstance(node.op, PointwiseOp) and node.shape[axis] == self.space.dimension:
                yield node, axis


def _joined(parts: Sequence[ndarray]) -> ndarray:
    return np.unique(np.concatenate(parts)) if parts else np.zeros(0, dtype=np.int64)


def hidden_neurons(network: Network, columns: Columns) -> tuple[Neurons, ...]:
    """Every latent space whose coordinates are free, with its columns."""
    out = []
    for space in network.latent_spaces:
        if space.given or space.opaque:
            continue
        degrees = _degrees(network, space)
        meetings = []
        for axis in space.parameter_axes:
            node = network.node(axis.node)
            param = next(p for p in node.op.params if p.name == axis.param)
            places = columns.places(param)
            places = None if places is None else places.reshape(param.shape)
            at = node.name if axis.role != "read" else node.inputs[0]
            meetings.append(Meeting(node, param, axis, degrees.get(at, 1), places))
        out.append(Neurons(space, tuple(meetings)))
    return tuple(out)


def _degrees(network: Network, space: LatentSpace) -> dict[str, int]:
    """Degree at every node that the space reaches before a linear map reads it."""
    start = {a.node for a in space.parameter_axes if a.role == "write"}
    out: dict[str, int] = {}
    for node in network.nodes:
        if isinstance(node.op, Input):
            continue
        fresh = node.name in start and not isinstance(node.op, (ChannelAffine, Add))
        if fresh:
            out[node.name] = 1
        elif not isinstance(node.op, (Linear, Conv)):
            known = [out[i] for i in node.inputs if i in out]
            if known:
                out[node.name] = max(known) * _power(node)
    return out


def _power(node: Node) -> int:
    op = node.op
    if isinstance(op, PointwiseOp) and op.pointwise.name.startswith("pow("):
        r = float(op.pointwise.name[4:-1])
        return int(r) if r.is_integer() else 1
    return 1
