r"""Every coordinate of a latent space as a row: what it computes from the values that enter the space.

At each value of the space, coordinate i is ``value_i = sum_s A_s[i] u_s + c_i``. The sources ``u_s`` are whatever comes
in from outside (the value a linear map reads, patches of it, positions), the same for all coordinates, and after a
nonlinearity its distinct neurons. So two coordinates are equal up to a factor wherever their rows are, whatever the
rest of the network does; this is the picture of ``transport`` for one space, under the trivial group.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from jaxtyping import Float
from numpy import ndarray

from intertwiner.gauge import Pointwise, row_classes
from intertwiner.network import node as ir
from intertwiner.network.resize import Places
from intertwiner.numerics.monomial import Monomial

Graph = Mapping[str, ir.Node]

MAXIMUM = Pointwise("max", scale="positive", shift="real", value=lambda z: z, post=lambda f, t: (f, t))
"""What a maximum over positions tolerates: positive factors and constants, both of which pass."""

EQUAL = Pointwise.unknown("equal")
"""An operator that treats all coordinates alike, and nothing more is known: equal rows give equal values."""


@dataclass(frozen=True, eq=False)
class Rows:
    """``value_i = sum_s blocks[s][i] u_s + constant_i`` for the coordinates i of a space."""

    blocks: Mapping[Hashable, Float[ndarray, "d r"]]
    constant: Float[ndarray, " d"]

    @property
    def weights(self) -> Float[ndarray, "d r"]:
        """All blocks side by side, without the constant."""
        count = len(self.constant)
        return np.concatenate([np.zeros((count, 0)), *self.blocks.values()], axis=1)

    @property
    def is_constant(self) -> ndarray:
        return np.logical_not(self.weights.any(axis=1))

    def through(self, name: str, *, keeps_constants: bool = True) -> Rows:
        """After an operator that is linear and does the same to every coordinate; the sources are seen through it.

        Where constants do not stay constant (at a zero-padded border) they become a source of their own.
        """
        blocks: dict[Hashable, ndarray] = {(name, key): block for key, block in self.blocks.items()}
        if keeps_constants or not self.constant.any():
            return Rows(blocks, self.constant)
        blocks[name, "constant"] = self.constant[:, None]
        return Rows(blocks, np.zeros_like(self.constant))

    def scaled(self, factor: float | ndarray) -> Rows:
        column = np.reshape(factor, (-1, 1))
        return Rows({k: b * column for k, b in self.blocks.items()}, self.constant * np.ravel(factor))

    def plus(self, other: Rows) -> Rows:
        blocks = dict(self.blocks)
        for key, block in other.blocks.items():
            blocks[key] = blocks[key] + block if key in blocks else block
        return Rows(blocks, self.constant + other.constant)

    def only(self, mask: ndarray) -> Rows:
        """Zero rows where the mask is False."""
        return self.scaled(mask.astype(float))


@dataclass(frozen=True, eq=False)
class Classes:
    """Coordinates equal up to the neuron gauge.

    Args:
        label: The class of each coordinate; -1 where it is constant.
        first: The representative of each coordinate: the first of its class; itself where it is constant.
        factor: ``value_i = factor_i value_first`` up to a constant, before the nonlinearity.
        residual: Distance of each row to that multiple, relative to the row.
    """

    label: ndarray
    first: ndarray
    factor: ndarray
    residual: ndarray


def classes(rows: Rows, pointwise: Pointwise, tolerance: float) -> Classes:
    """Classes of rows that are equal up to the gauge of ``pointwise``, with their factors.

    A pair must agree within the tolerance in its weights alone and in weights and constant together.
    """
    weights, constant = rows.weights, rows.constant
    live = np.flatnonzero(~rows.is_constant)
    label, first = np.full(len(constant), -1), np.arange(len(constant))
    factor, residual = np.ones(len(constant)), np.zeros(len(constant))
    if not len(live):
        return Classes(label, first, factor, residual)
    form = pointwise.normal_form(weights[live], constant[live])
    found = row_classes(form.keys, sign=pointwise.sign, tolerance=tolerance)
    size = np.abs(form.element.matrix.factor) if isinstance(form.element.matrix, Monomial) else np.ones(len(live))
    leader = found.representatives[found.labels]
    ratio = found.sign * size / size[leader]
    gap = np.linalg.norm(weights[live] - ratio[:, None] * weights[live[leader]], axis=1)
    gap = gap / np.linalg.norm(weights[live], axis=1)
    alone = gap > tolerance
    leader = np.where(alone, np.arange(len(live)), leader)
    label[live], first[live] = leader, live[leader]
    factor[live], residual[live] = np.where(alone, 1.0, ratio), np.where(alone, 0.0, gap)
    return Classes(label, first, factor, residual)


@dataclass(frozen=True, eq=False)
class Reader:
    """Computes the rows of every value of one space.

    Args:
        graph: The network.
        places: The space.
        tolerance: Largest relative residual at which two rows count as equal.
        idle: By node of a nonlinearity, the coordinates that are proved to be zero after it.
        linear: By node of a nonlinearity, the coordinates on which it is proved to do nothing.
        residuals: Filled by ``rows``: by node, how far each coordinate is from the one that it was joined to.
    """

    graph: Graph
    places: Places
    tolerance: float
    idle: Mapping[str, ndarray] = field(default_factory=dict)
    linear: Mapping[str, ndarray] = field(default_factory=dict)
    residuals: dict[str, ndarray] = field(default_factory=dict)

    @property
    def residual(self) -> ndarray:
        """By coordinate, the largest relative residual at which it was joined to another one at a nonlinearity."""
        return np.max([np.zeros(self.places.dimension), *self.residuals.values()], axis=0)

    def rows(self) -> dict[str, Rows]:
        """By node, in topological order. Cost: a sort of the rows per nonlinearity."""
        out: dict[str, Rows] = {}
        for name in self.places.owner:
            node = self.graph[name]
            step = WRITERS.get(type(node.op)) if name in self.places.writers else STEPS.get(type(node.op))
            positions, present = self._positions(name)
            if step is None or positions is None:
                out[name] = self.own(name)
            else:
                out[name] = step(self, node, [out.get(i) for i in node.inputs], positions).only(present)
        return out

    def own(self, name: str) -> Rows:
        """Every coordinate for itself: nothing is known that would make two of them equal."""
        d = self.places.dimension
        return Rows({(name, "own"): np.eye(d)}, np.zeros(d))

    def _positions(self, name: str) -> tuple[ndarray | None, ndarray]:
        """Positions by coordinate, (d, m), and which coordinates stand here at all.

        None where they stand at different numbers of positions; those that do not stand here get those of another.
        """
        owner = self.places.owner[name]
        count = np.bincount(owner[owner >= 0], minlength=self.places.dimension)
        present = count > 0
        if len(np.unique(count[present])) != 1:
            return None, present
        order = np.argsort(owner, kind="stable")[(owner < 0).sum() :].reshape(present.sum(), -1)
        positions = np.broadcast_to(order[:1], (len(present), order.shape[1])).copy()
        positions[present] = order
        return positions, present

    def entries(self, param: ir.Param, name: str, positions: ndarray) -> tuple[ndarray, bool]:
        """A parameter that meets the space, (d, k) or (1, k), and whether it varies with the coordinate."""
        axis = self.places.axis[name]
        moved = np.moveaxis(param.array, axis, 0)
        if len(moved) == 1:
            return moved.reshape(1, -1), False
        return moved[positions].reshape(len(positions), -1), True

    def nonlinear(self, rows: Rows, pointwise: Pointwise, name: str) -> Rows:
        """After a nonlinearity: its distinct neurons are the new sources."""
        d = len(rows.constant)
        idle, linear = (m.get(name, np.zeros(d, dtype=bool)) for m in (self.idle, self.linear))
        found = classes(rows, pointwise, self.tolerance)
        self.residuals[name] = found.residual
        block, constant = np.zeros((d, d)), np.zeros(d)
        live = np.flatnonzero((found.label >= 0) & ~idle & ~linear)
        if len(live):
            parent = found.first[live]
            lifted = pointwise.lift(Monomial.diagonal(found.factor[live]), rows.constant[live], rows.constant[parent])
            after = pointwise.phi(lifted)
            block[live, parent] = after.matrix.factor if isinstance(after.matrix, Monomial) else np.diag(after.matrix)
            constant[live] = after.constant
        still = np.flatnonzero((found.label < 0) & ~idle & ~linear)
        constant[still] = pointwise.apply(rows.constant[still])
        out = Rows({(name, "class"): block}, constant)
        return out.plus(rows.only(linear)) if linear.any() else out


Step = Callable[[Reader, ir.Node, list[Any], ndarray], Rows]


def _linear(reader: Reader, node: ir.Node, rows: list[Any], positions: ndarray) -> Rows:
    op: Any = node.op
    at = positions[:, 0]
    constant = np.zeros(len(at)) if op.bias is None else op.bias.array[at]
    return Rows({("linear", node.inputs[0]): op.weight.array[at]}, constant)


def _conv(reader: Reader, node: ir.Node, rows: list[Any], positions: ndarray) -> Rows:
    op: Any = node.op
    at = positions[:, 0]
    weight = op.weight.array.swapaxes(0, 1) if op.transposed else op.weight.array
    geometry = (op.stride, op.padding, op.dilation, op.kernel, op.transposed, op.output_padding, op.padding_mode)
    constant = np.zeros(len(at)) if op.bias is None else op.bias.array[at]
    return Rows({("conv", node.inputs[0], geometry): weight[at].reshape(len(at), -1)}, constant)


def _embedding(reader: Reader, node: ir.Node, rows: list[Any], positions: ndarray) -> Rows:
    op: Any = node.op
    return Rows({("embedding", node.inputs[0]): op.weight.array.T[positions[:, 0]]}, np.zeros(len(positions)))


def _field(reader: Reader, node: ir.Node, param: ir.Param, positions: ndarray) -> Rows:
    """Numbers that stand at fixed positions: a constant where they do not vary over the positions."""
    values, _ = reader.entries(param, node.name, positions)
    values = np.broadcast_to(values, (len(positions), values.shape[1]))
    if (values == values[:, :1]).all():
        return Rows({}, values[:, 0].copy())
    axis = reader.places.axis[node.name]
    key = ("field", param.shape[:axis], param.shape[axis + 1 :], positions.shape[1])
    return Rows({key: values}, np.zeros(len(positions)))


def _same(reader: Reader, node: ir.Node, rows: list[Any], positions: ndarray) -> Rows:
    return rows[0]


def _moved(reader: Reader, node: ir.Node, rows: list[Any], positions: ndarray) -> Rows:
    return rows[0].through(node.name)


def _index(reader: Reader, node: ir.Node, rows: list[Any], positions: ndarray) -> Rows:
    """Entries picked along the space itself must be picked in the same order for every coordinate."""
    op: Any = node.op
    source = node.inputs[0]
    if op.axis == reader.places.axis[source] and positions.shape[1] > 1:
        owner = reader.places.owner[source]
        rank = np.zeros(len(owner), dtype=int)
        for i in range(reader.places.dimension):
            rank[owner == i] = np.arange((owner == i).sum())
        order = rank[np.asarray(op.index)[positions]]
        if (order != order[:1]).any():
            return reader.own(node.name)
    return rows[0].through(node.name)


def _concat(reader: Reader, node: ir.Node, rows: list[Any], positions: ndarray) -> Rows:
    """Every coordinate stands in the part that it comes from."""
    d = reader.places.dimension
    if positions.shape[1] > 1:
        return reader.own(node.name)
    out = Rows({}, np.zeros(d))
    for source, part in zip(node.inputs, rows, strict=True):
        if part is not None:
            owner = reader.places.owner[source]
            out = out.plus(part.only(np.isin(np.arange(d), owner)))
    return out


def _mixed(reader: Reader, node: ir.Node, rows: list[Any], positions: ndarray) -> Rows:
    """A linear map along another axis, or a product with a value that is the same for all coordinates."""
    inside, *others = (r for r in rows if r is not None)
    if others:
        return _alike(reader, node, rows, positions)
    out = inside.through(node.name, keeps_constants=False)
    bias = getattr(node.op, "bias", None)
    if bias is None or not bias.array.any():
        return out
    ones = np.ones((len(positions), 1))
    return out.plus(Rows({(node.name, "bias"): ones}, np.zeros(len(positions))))


def _depthwise(reader: Reader, node: ir.Node, rows: list[Any], positions: ndarray) -> Rows:
    op: Any = node.op
    at = positions[:, 0]
    kernel = op.weight.array[at].reshape(len(at), -1)
    inside = rows[0].through(node.name, keeps_constants=not _pads(op))
    blocks = {k: (b[:, :, None] * kernel[:, None, :]).reshape(len(at), -1) for k, b in inside.blocks.items()}
    bias = 0.0 if op.bias is None else op.bias.array[at]
    return Rows(blocks, inside.constant * kernel.sum(axis=1) + bias)


def _pads(op: Any) -> bool:
    """Whether a constant does not stay constant at the border."""
    return op.transposed or (op.padding_mode == "zeros" and any(p != (0, 0) for p in op.padding))


def _pad(reader: Reader, node: ir.Node, rows: list[Any], positions: ndarray) -> Rows:
    op: Any = node.op
    out = rows[0].through(node.name, keeps_constants=op.mode != "constant")
    if op.mode != "constant" or not op.value:
        return out
    return out.plus(Rows({(node.name, "value"): np.ones((len(positions), 1))}, np.zeros(len(positions))))


def _pool(reader: Reader, node: ir.Node, rows: list[Any], positions: ndarray) -> Rows:
    op: Any = node.op
    if op.reduction == "max":
        return reader.nonlinear(rows[0], MAXIMUM, node.name)
    plain = op.divisor is None and (all(p == (0, 0) for p in op.padding) or not op.count_include_pad)
    return rows[0].through(node.name, keeps_constants=plain and not op.ceil_mode)


def _reduce(reader: Reader, node: ir.Node, rows: list[Any], positions: ndarray) -> Rows:
    op: Any = node.op
    if op.reduction in ("mean", "sum"):
        return rows[0].through(node.name, keeps_constants=op.reduction == "mean")
    if op.reduction in ("amax", "amin"):
        return reader.nonlinear(rows[0], MAXIMUM, node.name)
    return _alike(reader, node, rows, positions)


def _affine(reader: Reader, node: ir.Node, rows: list[Any], positions: ndarray) -> Rows:
    op: Any = node.op
    out: Rows = rows[0]
    if op.scale is not None:
        scale, varies = reader.entries(op.scale, node.name, positions)
        if (scale == scale[:, :1]).all():
            out = out.scaled(scale[:, 0] if varies else float(scale[0, 0]))
        elif varies:
            return reader.own(node.name)
        else:
            out = out.through(node.name, keeps_constants=False)
    return out if op.shift is None else out.plus(_field(reader, node, op.shift, positions))


def _pointwise(reader: Reader, node: ir.Node, rows: list[Any], positions: ndarray) -> Rows:
    op: Any = node.op
    if op.pointwise.mixing == "linear":
        return rows[0]
    if not op.pointwise.known and op.pointwise.value is None:
        return _alike(reader, node, rows, positions)
    return reader.nonlinear(rows[0], op.pointwise, node.name)


def _add(reader: Reader, node: ir.Node, rows: list[Any], positions: ndarray) -> Rows:
    op: Any = node.op
    out = Rows({}, np.zeros(len(positions)))
    for source, weight, part in zip(node.inputs, op.weights, rows, strict=True):
        if part is None:  # one value for all coordinates
            part = Rows({("value", source): np.ones((len(positions), 1))}, np.zeros(len(positions)))
        out = out.plus(part.scaled(weight))
    return out


def _multiply(reader: Reader, node: ir.Node, rows: list[Any], positions: ndarray) -> Rows:
    inside = [r for r in rows if r is not None]
    linear = len(inside) == 1 and not (isinstance(node.op, ir.Divide) and rows[0] is None)
    return _mixed(reader, node, rows, positions) if linear else _alike(reader, node, rows, positions)


def _alike(reader: Reader, node: ir.Node, rows: list[Any], positions: ndarray) -> Rows:
    """An operator that does the same to every coordinate: those with equal rows, and equal parameters, stay equal."""
    blocks: dict[Hashable, ndarray] = {}
    for place, part in enumerate(rows):
        if part is not None:
            blocks |= {(place, key): block for key, block in part.blocks.items()}
            blocks[place, "constant"] = part.constant[:, None]
    for place, param in enumerate(node.op.params):
        values, varies = reader.entries(param, node.name, positions)
        if varies:
            blocks["param", place] = values
    everything = Rows(blocks, np.zeros(len(positions)))
    found = classes(everything, EQUAL, reader.tolerance)
    reader.residuals[node.name] = found.residual
    block = np.zeros((len(positions), len(positions)))
    still = found.label < 0  # all of them zero: equal to each other
    first = np.where(still, np.argmax(still), found.first)
    block[np.arange(len(positions)), first] = 1.0
    return Rows({(node.name, "class"): block}, np.zeros(len(positions)))


WRITERS: dict[type[ir.Op], Step] = {
    ir.Linear: _linear, ir.Conv: _conv, ir.Embedding: _embedding,
    ir.Constant: lambda reader, node, _, at: _field(reader, node, node.op.params[0], at),
}  # fmt: skip

STEPS: dict[type[ir.Op], Step] = {
    ir.Identity: _same, ir.Reshape: _moved, ir.Permute: _moved, ir.Expand: _moved, ir.Index: _index,
    ir.Concat: _concat, ir.Linear: _mixed, ir.MatMul: _mixed, ir.Conv: _depthwise, ir.Pad: _pad, ir.Pool: _pool,
    ir.Reduce: _reduce, ir.ChannelAffine: _affine, ir.PointwiseOp: _pointwise, ir.Add: _add,
    ir.Multiply: _multiply, ir.Divide: _multiply, ir.Softmax: _alike, ir.LayerNorm: _alike,
}  # fmt: skip
