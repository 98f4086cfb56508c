r"""From coordinates of every latent space to the twin's graph: each operator of the original with the twin's channels.

The original's nodes are kept one by one. A value of the twin has its channels where the original's had them, and a
``TensorAction`` per generator that moves channels and positions. Where a linear map or a convolution writes a space,
`Rows` says what the representatives of its orbits read; the other rows are their images, by the Reynolds mean of "this
row, the others zero" times the size of the orbit (``tied``).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from math import prod
from typing import Any, Protocol

import numpy as np
from jaxtyping import Float
from numpy import ndarray

from intertwiner.algebra import orbit_labels
from intertwiner.errors import CannotRewrite, ShapeMismatch
from intertwiner.network import Network, Node
from intertwiner.network import node as ir
from intertwiner.numerics.monomial import Monomial
from intertwiner.rewrite.coordinates import Coordinates, written_spaces
from intertwiner.rewrite.layers import after, coefficients, signs_allowed
from intertwiner.rewrite.tied import Action, Tied, direct_sum, tied, trivial
from intertwiner.rewrite.twin import TwinGraph
from intertwiner.rewrite.twin_value import Value, is_unchanged, spread, standing, with_channels
from intertwiner.symmetry import BoundSymmetry, TensorAction
from intertwiner.transport.picture import Lost
from intertwiner.transport.rules_linear import dense_kernel, induced_by
from intertwiner.transport.rules_pool import pooled


@dataclass(frozen=True, eq=False)
class Write:
    """A linear map or convolution that is being written.

    Args:
        node: The original's node.
        value: What the twin reads.
        read: How the generators move what one position of the result reads: channels, or (channel, kernel place).
        coordinates: Of the space that is written.
        twin: The twin so far.
    """

    node: Node
    value: Value
    read: Action
    coordinates: Coordinates
    twin: TwinGraph


class Rows(Protocol):
    """What representatives read: weights (orbits, read) and biases (orbits,)."""

    def __call__(self, write: Write) -> tuple[Float[ndarray, "o r"], Float[ndarray, " o"]]: ...


def continued_rows(write: Write) -> tuple[Float[ndarray, "o r"], Float[ndarray, " o"]]:
    """The original's rows over the twin's channels: exact where the twin continues every channel."""
    op, value, to = write.node.op, write.value, write.coordinates
    if value.label is None or value.scale is None:
        raise CannotRewrite(f"{write.node.tap or write.node.name}: not every channel that it reads is continued")
    kernel = dense_kernel(op) if isinstance(op, ir.Conv) else op.weight.array[:, :, None]  # type: ignore[union-attr]
    kernel = kernel[to.channels] * value.scale[None, :, None]
    width = value.shape[value.axis]
    out = np.zeros((width, len(to.channels), kernel.shape[2]))
    np.add.at(out, value.label, kernel.transpose(1, 0, 2))
    rows = out.transpose(1, 0, 2).reshape(len(to.channels), -1)
    bias = np.zeros(len(to.channels)) if op.bias is None else op.bias.array[to.channels]  # type: ignore[union-attr]
    return rows / to.factor[:, None], bias / to.factor


@dataclass
class Assembler:
    """The twin as it grows, node by node.

    Args:
        network: The original, affine maps folded.
        symmetry: The task.
        coordinates: Of every space, by name; those of spaces not yet written may be added later.
        rows: What representatives read.
        copies: Convolutions that read their own copy only (``copies``).
    """

    network: Network
    symmetry: BoundSymmetry
    coordinates: Mapping[str, Coordinates]
    rows: Rows
    copies: frozenset[str] = frozenset()
    graph: dict[str, Node] = field(default_factory=dict)
    values: dict[str, Value] = field(default_factory=dict)
    ties: dict[str, Tied] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.spaces = written_spaces(self.network)

    @property
    def twin(self) -> TwinGraph:
        actions = {name: value.rho(name) for name, value in self.values.items() if self._has_rho(value)}
        return TwinGraph(self.network, dict(self.graph), actions, dict(self.ties))

    def _has_rho(self, value: Value) -> bool:
        try:
            return all(isinstance(a.matrix_on((value.axis,)), Monomial) for a in value.action)
        except ShapeMismatch:
            return False

    def run(self) -> TwinGraph:
        """Every node in order.

        Raises:
            CannotRewrite: An operator that is not covered; the message names it.
        """
        for node in self.network.nodes:
            self.add(node)
        return self.twin

    def add(self, node: Node) -> None:
        if isinstance(node.op, ir.Output):
            self.graph[node.name] = node
            return
        rule = rule_of(node)
        try:
            op, value = rule(self, node, node.op, *(self.values[i] for i in node.inputs))
        except (Lost, ShapeMismatch) as reason:
            raise CannotRewrite(f"{node.tap or node.name}: {reason}. Nothing was rewritten.") from reason
        self.values[node.name] = value
        self.graph[node.name] = replace(node, op=op, shape=(node.shape[0], *value.shape))

    def write(self, node: Node, value: Value, read: Action) -> tuple[ir.Param, ir.Param | None, Coordinates]:
        """Weight (rows by what they read) and bias of a node, tied."""
        to = self.coordinates[self.spaces[node.name].name]
        rows, bias = self.rows(Write(node, value, read, to, self.twin))
        # A representative row stands for its whole orbit; rows of the task are all there, and are averaged.
        size = np.ones(len(to.points))
        if not to.given:
            orbit = orbit_labels(to.width, [m.index for m in to.rho])
            size = np.bincount(orbit)[orbit[to.points]].astype(float)
        weight = self._tied(f"{_name(node)}.weight", rows * size[:, None], to, read)
        shift = None
        if bias.any():
            shift = self._tied(f"{_name(node)}.bias", (bias * size)[:, None], to, trivial(len(read)))
            shift = replace(shift, array=shift.array[:, 0])
        return weight, shift, to

    def _tied(self, name: str, rows: ndarray, to: Coordinates, read: Action) -> ir.Param:
        whole = np.zeros((to.width, rows.shape[1]))
        whole[to.points] = rows
        self.ties[name] = tied(to.rho, read)
        return ir.Param(name, self.ties[name].project(whole), (name,), computed=True)


def _name(node: Node) -> str:
    """The name of a node's parameters: that of its module, or its own."""
    weight = node.op.weight  # type: ignore[attr-defined]
    return weight.name.removesuffix(".weight") if weight.name.endswith(".weight") else node.name


Rule = Callable[..., tuple[ir.Op, Value]]
RULES: dict[type[ir.Op], Rule] = {}


def rule_of(node: Node) -> Rule:
    """The rule of a node.

    Raises:
        CannotRewrite: There is none.
    """
    op, rule = node.op, RULES.get(type(node.op))
    if isinstance(op, ir.Conv) and (op.groups != 1 or op.transposed):
        rule, kind = None, "a grouped convolution" if op.groups != 1 else "a transposed convolution"
    else:
        kind = op.target if isinstance(op, ir.Opaque) else op.kind
    if rule is None or node.batch_axis != 0 or node.batch_multiple != 1:
        raise CannotRewrite(
            f"{node.tap or node.name}: {kind} is not rewritten.\n  Linear layers, convolutions, functions, pools, "
            "adds, concatenations and flattening are. Nothing was rewritten."
        )
    return rule


def _rule(*kinds: type[ir.Op]) -> Callable[[Rule], Rule]:
    def register(function: Rule) -> Rule:
        RULES.update(dict.fromkeys(kinds, function))
        return function

    return register


@_rule(ir.Input)
def _input(a: Assembler, node: Node, op: ir.Input) -> tuple[ir.Op, Value]:
    actions = tuple(a.symmetry.input_action(g)[op.position] for g in a.symmetry.group.generators)
    if not all(isinstance(m, TensorAction) and m.is_monomial for m in actions):
        raise CannotRewrite("the group acts on the input by something else than signed permutations")
    axis = 0
    every = np.arange(node.sample_shape[axis])
    return op, Value(actions, axis, every, np.ones(len(every)))  # type: ignore[arg-type]


@_rule(ir.Linear)
def _linear(a: Assembler, node: Node, op: ir.Linear, x: Value) -> tuple[ir.Op, Value]:
    last = len(x.shape) - 1
    x = standing(x, last)
    weight, bias, to = a.write(node, x, x.rho(node.tap or node.name))
    shape = (*x.shape[:-1], to.width)
    action = tuple(with_channels(m, shape, last, rho) for m, rho in zip(x.action, to.rho, strict=True))
    return ir.Linear(weight, bias), Value(action, last, to.label, to.scale)


@_rule(ir.Conv)
def _conv(a: Assembler, node: Node, op: ir.Conv, x: Value) -> tuple[ir.Op, Value]:
    x = standing(x, 0)
    space = tuple(range(1, len(x.shape)))
    grids = [TensorAction(x.shape, tuple(f for f in m.factors if f.axes != (0,))) for m in x.action]
    induced = [induced_by(op, grid, x.shape[1:]) for grid in grids]
    rho, groups = x.rho(node.tap or node.name), 1
    if node.name in a.copies:  # channels of a copy stay channels; the kernel is moved
        groups = a.symmetry.group.order
        rho = (Monomial.identity(x.shape[0] // groups),) * len(rho)
    read = tuple(m.kron(kernel) for m, (_, kernel) in zip(rho, induced, strict=True))
    weight, bias, to = a.write(node, x, read)
    kernel = op.weight.shape[2:]
    weight = replace(weight, array=weight.array.reshape(to.width, x.shape[0] // groups, *kernel))
    shape = (to.width, *node.sample_shape[1:])
    action = tuple(
        TensorAction.of(shape, {(0,): m, space: move}) for m, (move, _) in zip(to.rho, induced, strict=True)
    )  # fmt: skip
    return replace(op, weight=weight, bias=bias, groups=groups), Value(action, 0, to.label, to.scale)


@_rule(ir.PointwiseOp)
def _pointwise(a: Assembler, node: Node, op: ir.PointwiseOp, x: Value) -> tuple[ir.Op, Value]:
    if op.pointwise.value is None:
        raise CannotRewrite(f"nothing is known about the nonlinearity {node.tap or node.name}. Nothing was rewritten.")
    if not all(m.is_permutation for m in x.action):
        if not signs_allowed(op.pointwise):
            raise CannotRewrite(f"{node.tap or node.name}: {op.pointwise.name} does not commute with signs")
        rho = after(op.pointwise, x.rho(node.tap or node.name))
        x = replace(x, action=tuple(with_channels(m, x.shape, x.axis, r) for m, r in zip(x.action, rho, strict=True)))
    return op, x if x.scale is None else replace(x, scale=coefficients(op.pointwise, x.scale))


@_rule(ir.Identity)
def _identity(a: Assembler, node: Node, op: ir.Identity, x: Value) -> tuple[ir.Op, Value]:
    return op, x


@_rule(ir.ChannelAffine)
def _affine(a: Assembler, node: Node, op: ir.ChannelAffine, x: Value) -> tuple[ir.Op, Value]:
    if any(s > 1 for p in op.params for axis, s in enumerate(p.shape) if axis != x.axis + 1):
        raise Lost("a scale or shift that depends on the position")
    if all(p.array.size == 1 for p in op.params):
        if op.shift is not None and (x.label is None or not is_unchanged(x)):
            raise Lost("one shift for channels that the twin scales differently")
        return op, x
    if x.label is None or x.scale is None:
        raise Lost("a scale per channel between layers, where orbits of channels are selected")
    width, rho = x.shape[x.axis], x.rho(node.tap or node.name)
    plain = tuple(Monomial(m.index) for m in rho)
    changes: dict[str, Any] = {}
    for name, param, factor, moves in (("scale", op.scale, 1.0, plain), ("shift", op.shift, x.scale, rho)):
        if param is not None:
            array = spread(np.broadcast_to(param.array.ravel(), len(x.scale)) / factor, x.label, moves)
            shape = [width if axis == x.axis + 1 else 1 for axis in range(len(x.shape) + 1)]
            changes[name] = replace(param, array=array.reshape(shape), places=None, computed=True)
    return replace(op, **changes), x


@_rule(ir.Add)
def _add(a: Assembler, node: Node, op: ir.Add, *terms: Value) -> tuple[ir.Op, Value]:
    first = terms[0]
    if any(t.shape != first.shape for t in terms):
        raise Lost("a sum of values of different shapes")
    if any(ours != theirs for t in terms[1:] for ours, theirs in zip(first.action, t.action, strict=True)):
        raise Lost("a sum of values on which the group acts differently")
    if (
        first.label is not None
        and any(
            not np.array_equal(first.label, t.label) or not np.allclose(first.scale, t.scale)  # type: ignore[arg-type]
            for t in terms[1:]
        )
    ):
        raise Lost("a sum of values whose channels are scaled differently")
    return op, first


@_rule(ir.Concat)
def _concat(a: Assembler, node: Node, op: ir.Concat, *parts: Value) -> tuple[ir.Op, Value]:
    axis = op.axis - 1
    parts = tuple(standing(p, axis) for p in parts)
    sizes = [p.shape[axis] for p in parts]
    shape = tuple(sum(sizes) if k == axis else n for k, n in enumerate(parts[0].shape))
    rho = direct_sum([p.rho(node.tap or node.name) for p in parts], len(parts[0].action))
    action = tuple(with_channels(m, shape, axis, r) for m, r in zip(parts[0].action, rho, strict=True))
    others = [tuple(with_channels(m, shape, axis, r) for m, r in zip(p.action, rho, strict=True)) for p in parts[1:]]
    if any(theirs != ours for other in others for theirs, ours in zip(other, action, strict=True)):
        raise Lost("a concatenation of values whose positions are moved differently")
    starts = np.cumsum([0, *sizes])[:-1]
    known = all(p.label is not None for p in parts)
    label = np.concatenate([p.label + s for p, s in zip(parts, starts, strict=True)]) if known else None
    scale = np.concatenate([p.scale for p in parts]) if known else None  # type: ignore[arg-type,call-overload]
    return op, Value(action, axis, label, scale)


@_rule(ir.Pool)
def _pool(a: Assembler, node: Node, op: ir.Pool, x: Value) -> tuple[ir.Op, Value]:
    dims = len(op.kernel)
    space = tuple(range(len(x.shape) - dims, len(x.shape)))
    x = standing(x, 0)
    if op.reduction == "max" and not all(m.is_permutation for m in x.action):
        raise Lost("a maximum of channels that change sign")
    shape = (x.shape[0], *node.sample_shape[1:])
    moves = [pooled(op, TensorAction(x.shape, tuple(f for f in m.factors if 0 not in f.axes)), space, shape)
             for m in x.action]  # fmt: skip
    rho = x.rho(node.tap or node.name)
    action = tuple(with_channels(m, shape, 0, r) for m, r in zip(moves, rho, strict=True))
    return op, replace(x, action=action)


@_rule(ir.Reduce)
def _reduce(a: Assembler, node: Node, op: ir.Reduce, x: Value) -> tuple[ir.Op, Value]:
    axes = tuple(sorted(k - 1 for k in op.axes))
    if x.axis in axes or op.reduction == "norm":
        raise Lost(f"{op.reduction} over channels")
    if op.reduction in ("amax", "amin") and not all(m.is_permutation for m in x.action):
        raise Lost("a maximum of channels that change sign")
    action = tuple(m.drop_axes(axes) for m in x.action)
    axis = x.axis - sum(k < x.axis for k in axes)
    if op.keepdim:
        for k in axes:
            action = tuple(m.insert_axis(k) for m in action)
        axis = x.axis
    return op, replace(x, action=action, axis=axis)


@_rule(ir.Reshape)
def _reshape(a: Assembler, node: Node, op: ir.Reshape, x: Value) -> tuple[ir.Op, Value]:
    """Channels with their positions become one axis, or axes of size one come and go."""
    if x.label is not None and _is_input(x):
        shape = tuple(node.sample_shape)
        action = tuple(m.reshape(shape) for m in x.action)
        every = np.arange(shape[-1])
        return op, Value(action, len(shape) - 1, every, np.ones(len(every)))
    original, wanted = a.network.node(node.inputs[0]).sample_shape, node.sample_shape
    starts = [prod(wanted[:k]) for k in range(len(wanted))]
    before, count = prod(original[: x.axis]), original[x.axis]
    found = [k for k, s in enumerate(starts) if s == before and wanted[k] % count == 0 and wanted[k] >= count]
    if not found:
        raise Lost(f"a reshape of {tuple(original)} to {tuple(wanted)} that splits channels")
    axis = found[-1]
    block = wanted[axis] // count
    shape = tuple(x.shape[x.axis] * block if k == axis else n for k, n in enumerate(wanted))
    action = tuple(m.reshape(shape) for m in x.action)
    new = tuple(-1 if k == 0 and s == -1 else n for k, (s, n) in enumerate(zip(op.shape, (-1, *shape), strict=True)))
    if x.label is None or x.scale is None:
        return replace(op, shape=new), Value(action, axis)
    label = (x.label[:, None] * block + np.arange(block)).ravel()
    return replace(op, shape=new), Value(action, axis, label, np.repeat(x.scale, block))


def _is_input(x: Value) -> bool:
    return x.label is not None and len(x.label) == x.shape[x.axis] and is_unchanged(x)
