"""Directions in parameter space that the gauge proves to be null: scalings, shifts, changes of linear coordinates.

Each is the derivative of a one-parameter family of parameters with the same function, so the Jacobian kills it at every
input; that it does on the inputs used is checked as well.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction

import numpy as np
from jaxtyping import Float, Int
from numpy import ndarray

from intertwiner.exact import Columns
from intertwiner.identify.dimension.neuron_columns import Meeting, Neurons
from intertwiner.network import ChannelAffine, Conv, Embedding, Linear, Network, Node, Param, PointwiseOp
from intertwiner.numerics.modular import Modulus

MOST = 20_000
"""Changes of linear coordinates beyond this many are left to the null space."""


@dataclass(frozen=True, eq=False)
class Direction:
    """A sparse vector in parameter space.

    Args:
        kind: scaling, shift, linear, stretch, unused, dead, duplicate.
        where: Tap of the space or parameter.
        neurons: The coordinates concerned.
        columns: Where it is not zero.
        values: What it is there.
        factors: Whole or dyadic numbers by which the values are to be multiplied, so that residues are exact.
    """

    kind: str
    where: str
    neurons: tuple[int, ...]
    columns: Int[ndarray, " k"]
    values: Float[ndarray, " k"]
    factors: tuple[Fraction, ...]

    def dense(self, total: int) -> Float[ndarray, " p"]:
        out = np.zeros(total)
        np.add.at(out, self.columns, self.values * np.array([float(f) for f in self.factors]))
        return out

    def residues(self, total: int, field: Modulus) -> Float[ndarray, " p"]:
        out = np.zeros(total)
        known = {f: field.fraction(f) for f in set(self.factors)}
        np.add.at(out, self.columns, field.mul(field.of(self.values), np.array([known[f] for f in self.factors])))
        return field.reduce(out)


def direction(
    kind: str, where: str, neurons: Sequence[int], parts: Sequence[tuple[ndarray, ndarray, Fraction | int]]
) -> Direction:
    """A direction from parts ``(columns, values, factor)``."""
    columns = np.concatenate([np.ravel(c) for c, _, _ in parts])
    values = np.concatenate([np.broadcast_to(v, np.shape(c)).ravel() for c, v, _ in parts]).astype(np.float64)
    factors = tuple(f for c, _, factor in parts for f in [Fraction(factor)] * np.size(c))
    return Direction(kind, where, tuple(neurons), columns, values, factors)


def parameter_vector(network: Network, columns: Columns) -> Float[ndarray, " p"]:
    """The parameters themselves, in the order of the columns."""
    out = np.zeros(columns.total)
    for name, tensor in network.state.items():
        if name in columns.shapes:
            start = columns.starts[name]
            out[start : start + tensor.numel()] = tensor.detach().double().cpu().numpy().ravel()
    for node in network.nodes:
        for param in node.op.params:
            if param.computed and param.name in columns.shapes:
                start = columns.starts[param.name]
                out[start : start + param.array.size] = param.array.ravel()
    return out


def gauge_directions(
    network: Network, columns: Columns, neurons: Sequence[Neurons], theta: Float[ndarray, " p"]
) -> list[Direction]:
    """All directions that the gauge of the latent spaces gives, and those inside linear stretches.

    Cost: one sparse vector per scaling; a linear space of n coordinates gives n^2, up to ``MOST``.
    """
    out: list[Direction] = []
    for group in neurons:
        if not group.trainable:
            continue
        gauge = group.space.gauge
        for block, where in zip(gauge.blocks or (gauge,), gauge.slices, strict=True):
            coordinates = range(where.start, where.stop)
            if block.mixing == "linear":
                out += _linear(group, coordinates, theta)
            elif block.scale != "none":
                out += [_scaling(group, j, theta) for j in coordinates]
            if block.shift == "real":
                out += _shifts(network, columns, group, coordinates, theta)
    out += _stretches(network, columns, theta)
    return [*out, *_unused(network, columns)]


def _scaling(group: Neurons, j: int, theta: ndarray) -> Direction:
    parts = [(m.of(j), theta[m.of(j)], m.degree) for m in group.writers]
    parts += [(m.of(j), theta[m.of(j)], -m.degree) for m in group.readers]
    return direction("scaling", group.space.name, (j,), parts)


def _linear(group: Neurons, coordinates: range, theta: ndarray) -> Iterator[Direction]:
    """``A = E_ij``: row j is added to row i of the writers, column i is taken from column j of the readers."""
    if len(coordinates) ** 2 > MOST:
        return
    for i in coordinates:
        for j in coordinates:
            parts = [(m.of(i), theta[m.of(j)], 1) for m in group.writers]
            parts += [(m.slice_of(j), theta[m.slice_of(i)], -1) for m in group.readers]
            yield direction("linear", group.space.name, (), parts)


def _shifts(
    network: Network, columns: Columns, group: Neurons, coordinates: range, theta: ndarray
) -> Iterator[Direction]:
    """A constant added to a coordinate: taken back by the biases of the readers, or by their scale behind exp."""
    biases = [m for m in group.writers if m.axis.axis == 0 and len(m.param.shape) == 1]
    if not biases or len({m.node.name for m in group.writers}) > 1:
        return
    functions = {node.op.pointwise.name for node, _ in group.nonlinear(network) if isinstance(node.op, PointwiseOp)}
    if functions == {"exp"}:
        for j in coordinates:
            parts = [(biases[0].of(j), np.ones(1), 1), *((m.of(j), theta[m.of(j)], -1) for m in group.readers)]
            yield direction("shift", group.space.name, (j,), parts)
    elif not functions and all(_bias_columns(m, columns) is not None for m in group.readers):
        for j in coordinates:
            parts: list[tuple[ndarray, ndarray, Fraction | int]] = [(biases[0].of(j), np.ones(1), 1)]
            for m in group.readers:
                bias = _bias_columns(m, columns)
                block = m.slice_of(j)
                if bias is not None:  # every entry of the row that reads j, one by one, so that residues stay exact
                    rows = block.reshape(len(bias), -1)
                    parts.append((np.repeat(bias, rows.shape[1]), theta[rows].ravel(), -1))
            yield direction("shift", group.space.name, (j,), parts)


def _bias_columns(m: Meeting, columns: Columns) -> ndarray | None:
    op = m.node.op
    if not isinstance(op, (Linear, Conv)) or op.bias is None or (isinstance(op, Conv) and op.transposed):
        return None
    return columns.places(op.bias)


def _stretches(network: Network, columns: Columns, theta: ndarray) -> Iterator[Direction]:
    """A weight right before a scale per channel (batch norm): one can grow while the other shrinks, also the biases."""
    for node in network.nodes:
        op = node.op
        if not isinstance(op, ChannelAffine):
            continue
        before = network.node(node.inputs[0])
        if not isinstance(before.op, (Linear, Conv, Embedding)) or before.users != (node.name,):
            continue
        axis = 1 if isinstance(before.op, Conv) else len(before.shape) - 1
        if isinstance(before.op, Conv) and before.op.transposed:
            continue
        yield from _stretch(before, op, axis, columns, theta)


def _stretch(before: Node, op: ChannelAffine, axis: int, columns: Columns, theta: ndarray) -> Iterator[Direction]:
    size = before.shape[axis]
    scale, shift = (_per_channel(p, axis, size, columns) for p in (op.scale, op.shift))
    weight, bias = (getattr(before.op, n, None) for n in ("weight", "bias"))
    written = columns.places(weight) if isinstance(weight, Param) else None
    biases = columns.places(bias) if isinstance(bias, Param) else None
    where = before.tap or before.name
    if scale is not None and written is not None and isinstance(weight, Param) and (bias is None or biases is not None):
        rows = (
            written.reshape(weight.shape) if not isinstance(before.op, Embedding) else written.reshape(weight.shape).T
        )
        for j in range(size):
            parts = [(rows[j], theta[rows[j]], 1), (scale[j : j + 1], theta[scale[j : j + 1]], -1)]
            if biases is not None:
                parts.append((biases[j : j + 1], theta[biases[j : j + 1]], 1))
            yield direction("stretch", where, (j,), parts)
    if biases is not None and shift is not None:
        factor = np.ones(size) if op.scale is None else np.broadcast_to(op.scale.array.ravel(), (size,))
        for j in range(size):
            parts = [(biases[j : j + 1], np.ones(1), 1), (shift[j : j + 1], factor[j : j + 1], -1)]
            yield direction("stretch", where, (j,), parts)


def _per_channel(param: Param | None, axis: int, size: int, columns: Columns) -> ndarray | None:
    """Columns of a scale or shift that has one entry per channel."""
    if param is None or param.array.size != size or param.shape[axis] != size:
        return None
    return columns.places(param)


def _unused(network: Network, columns: Columns) -> Iterator[Direction]:
    used = [columns.places(p) for n in network.nodes for p in n.op.params]
    seen = np.unique(np.concatenate([u for u in used if u is not None] or [np.zeros(0, dtype=np.int64)]))
    for name in columns.names():
        start = columns.starts[name]
        places = np.setdiff1d(np.arange(start, start + int(np.prod(columns.shapes[name]))), seen)
        for column in places:
            yield direction("unused", name, (), [(np.array([column]), np.ones(1), 1)])
