r"""A traced network as a circuit: gates and inputs freed, cut where an operator is no polynomial.

At a cut (softmax, layer norm, GELU, tanh, division, ReLU6, ...) the network falls into regions. Whatever the loss, a
step moves theta along ``sum over regions of J_region^T c`` with some inputs of the region and some c at its ends, so
along V, the span over all inputs and all c; phi is the union over the regions. What an operator itself imposes is kept:
the cotangent of a softmax, and of a layer norm that subtracts the mean, sums to zero along its axis, their results to
one and to zero. Batch norm with the statistics of the batch is cut likewise (its cotangent sums to zero over batch and
positions, hence two samples); with running statistics it is an affine map with constants. Freeing more makes V larger:
a function that is conserved here is conserved in training, whatever data and loss; a few that rest on a cut operator
may be missed.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from math import prod
from typing import Any

import numpy as np
from jaxtyping import Bool, Float
from numpy import ndarray

from intertwiner.errors import NoRule, WrongUse
from intertwiner.exact import Columns, piecewise, rule_for, trainable_names
from intertwiner.exact.gather import MODES
from intertwiner.network import (
    Add,
    ChannelAffine,
    Concat,
    Constant,
    Conv,
    Divide,
    Embedding,
    Expand,
    Identity,
    Index,
    Input,
    LayerNorm,
    Linear,
    MatMul,
    Multiply,
    Network,
    Node,
    Opaque,
    Output,
    Pad,
    Permute,
    PointwiseOp,
    Pool,
    Reduce,
    Reshape,
    Softmax,
)
from intertwiner.training.circuit import Circuit, Sampler
from intertwiner.training.operators import batch_norm_parts, is_batch_norm, no_count
from intertwiner.training.recorder import Recorder, Register, is_gate, with_sum
from intertwiner.training.transposed import transposed_convolution

LOSSES = ("any", "cross_entropy")

BY_RULE = (Linear, Conv, Add, Multiply, MatMul, Pool, Identity)
"""Operators that the rules of the room ``exact`` record as they are."""


@dataclass(frozen=True, eq=False)
class Lowered:
    """A network as a circuit.

    Args:
        circuit: The circuit, its parameters numbered by the columns.
        columns: The trainable parameters that the network reads, by their names in the state_dict.
        network: The network.
    """

    circuit: Circuit
    columns: Columns
    network: Network

    @property
    def theta(self) -> Float[ndarray, " D"]:
        """The weights of the network, in the order of the columns."""
        parts = [self.network.state[name].detach().double().cpu().numpy().ravel() for name in self.columns.shapes]
        return np.concatenate(parts)


def lower(
    network: Network,
    *,
    trainable: Collection[str] | None = None,
    batch_statistics: bool = False,
    loss: str = "any",
) -> Lowered:
    """The circuit of a network.

    Args:
        network: A traced network.
        trainable: State_dict names of the parameters that training moves; by default all. Others are constants, with
            the values that they have.
        batch_statistics: Batch norm uses the statistics of the batch, as in training mode.
        loss: ``"any"`` function of the outputs, or ``"cross_entropy"``: its gradient sums to zero over the classes,
            axis 1 of every output.

    Returns:
        The circuit with the places of its parameters. Parameters that no operator reads are left out; of a tensor with
        several names each leads to its place.

    Raises:
        NoRule: An operator without an exact rule, by tap; or a parameter that is used through a function that is none.
        WrongUse: For an unknown name or loss, or where nothing is trainable.

    Cost:
        One pass over the nodes.

    Example:
        >>> import torch
        >>> from intertwiner.network import trace
        >>> module = torch.nn.Sequential(torch.nn.Linear(2, 3), torch.nn.ReLU(), torch.nn.Linear(3, 1))
        >>> lowered = lower(trace(module, torch.zeros(1, 2)))
        >>> lowered.circuit.parameters, lowered.columns.starts
        (13, {'0.weight': 0, '0.bias': 6, '2.weight': 9, '2.bias': 12})
    """
    if loss not in LOSSES:
        raise WrongUse(f"a loss is {' or '.join(map(repr, LOSSES))} here, got {loss!r}. Nothing was computed.")
    known, shared = trainable_names(network), _shared_names(network)
    chosen = known if trainable is None else {shared.get(name, name) for name in trainable}
    if chosen - known:
        raise WrongUse(
            f"{sorted(chosen - known)[0]!r} is no parameter of {network.name}. Usual cause: a buffer, or a name with "
            "another prefix. Nothing was computed."
        )
    columns = _columns(network, chosen, shared)
    _check_read(network, columns)
    if not columns.total:
        raise WrongUse(f"no operator of {network.name} reads a trainable parameter. Nothing was computed.")
    return Lowered(_Lowering(network, columns, batch_statistics, loss).circuit(), columns, network)


def _columns(network: Network, chosen: Collection[str], shared: Mapping[str, str]) -> Columns:
    shapes = {name: tuple(t.shape) for name, t in network.state.items() if name in chosen}
    places = np.cumsum([0, *(prod(s) for s in shapes.values())])
    starts = {name: int(s) for name, s in zip(shapes, places, strict=False)}
    return Columns(shapes, starts | {name: starts[one] for name, one in shared.items() if one in starts})


def _check_read(network: Network, columns: Columns) -> None:
    """Every tensor of the state is used; one that no record holds has become a plain number in one."""
    read = {source for node in network.nodes for param in node.op.params for source in param.sources}
    hidden = [name for name in columns.shapes if name not in read]
    if hidden:
        raise NoRule(
            f"no count of conservation laws with {hidden[0]!r}: an operator takes it as a plain number. Usual cause: "
            "the single slope of a PReLU; one slope per channel can be counted. Next step: name the others as "
            "trainable. Nothing was counted."
        )


def _shared_names(network: Network) -> dict[str, str]:
    """Further names of tensors that stand several times in the state_dict, with the name that the graph uses."""
    if network.program is None:
        return {}
    used = {tensor.data_ptr(): name for name, tensor in network.state.items() if tensor.numel()}
    every = {name: used.get(tensor.data_ptr()) for name, tensor in network.program.state_dict.items()}
    return {name: one for name, one in every.items() if one is not None and name != one}


class _Lowering:
    """One walk over the nodes."""

    def __init__(self, network: Network, columns: Columns, batch_statistics: bool, loss: str) -> None:
        self.network, self.columns, self.batch_statistics, self.loss = network, columns, batch_statistics, loss
        self.record = Recorder()
        self.ends: list[tuple[int, Sampler]] = []
        self.values: dict[str, Register] = {}
        self.masks: dict[str, Bool[ndarray, "..."]] = {}  # where a shift is finite, by node
        self.wholes: dict[str, ndarray] = {}  # constant values that may be used as numbers of rows
        # Two samples only where they meet: in the statistics of a batch.
        self.batch = 2 if batch_statistics and any(is_batch_norm(n) for n in network.nodes) else 1

    def circuit(self) -> Circuit:
        for node in self.network.nodes:
            if isinstance(node.op, Output):
                for name in node.inputs:
                    self._end_of_network(self.values[name])
                continue
            self._known_parameters(node)
            value = self._value(node)
            if node.batch_axis is not None and value.shape != self._shape(node):
                value = self._moved(value, lambda x: np.broadcast_to(x, self._shape(node)))  # noqa: B023
            self.values[node.name] = value
        return self.record.circuit(self.network.name, self.columns.total, self.ends)

    def _end_of_network(self, x: Register) -> None:
        classes = self.loss == "cross_entropy" and len(x.shape) > 1
        self.ends.append(self.record.end(x, with_sum(x.shape, (1,), 0) if classes else None))

    def _known_parameters(self, node: Node) -> None:
        for param in node.op.params:
            moving = set(param.sources) & set(self.columns.shapes)
            if not moving or is_batch_norm(node):
                continue
            places = self.columns.places(param)
            if places is None:
                raise no_count(node, f"it uses {param.name!r} through a function that is no rearrangement")
            self.record.known(param.array, self.record.parameter(places.reshape(param.shape)))

    def _shape(self, node: Node) -> tuple[int, ...]:
        """The shape for the samples of one function."""
        entries = self.batch * node.batch_multiple
        return tuple(entries if axis == node.batch_axis else n for axis, n in enumerate(node.shape))

    def _moved(self, x: Register, move: Callable[..., ndarray]) -> Register:
        return self.record.move([x], move)

    def _value(self, node: Node) -> Register:
        read = [self.values[name] for name in node.inputs]
        match node.op:
            case Input():
                return self.record.free(self._shape(node))
            case Constant():
                self.wholes[node.name] = node.op.value.array
                return self.record.fixed(node.op.value.array)
            case Embedding():
                return self._embedded(node, node.op)
            case ChannelAffine() if is_batch_norm(node):
                return self._batch_norm(node, node.op, read[0])
            case ChannelAffine():
                return self._affine(node, node.op, read[0])
            case PointwiseOp():
                return self._pointwise(node, node.op, read[0])
            case Softmax():
                return self._softmax(node, node.op, read[0])
            case LayerNorm():
                return self._layer_norm(node, node.op, read[0])
            case Reduce():
                return self._reduced(node, node.op, read[0])
            case Divide():
                return self._cut(node, read)
            case Conv() if node.op.transposed:
                return transposed_convolution(self.record, node.op, read[0])
            case Reshape() | Permute() | Index() | Expand() | Pad() | Concat():
                return self._rearranged(node, read)
            case _ if isinstance(node.op, BY_RULE):
                return rule_for(node).forward(self.record, node, node.op, *read)
        if isinstance(node.op, Opaque):
            raise no_count(node, f"{node.op.target}, {node.op.reason}")
        raise no_count(node, f"the operator {node.op.kind!r} has no rule here")

    def _cut(
        self, node: Node, read: list[Register], *, at: Sampler | None = None, out: Sampler | None = None
    ) -> Register:
        """Free coefficients at what goes in, free numbers for what comes out."""
        self.ends += [self.record.end(x, at) for x in read]
        return self.record.free(self._shape(node), out)

    def _pointwise(self, node: Node, op: PointwiseOp, z: Register) -> Register:
        function = piecewise(op.pointwise)
        if function is not None and (len(function.pieces) == 1 or is_gate(function)):
            return self.record.nonlinear(node.name, function, z)
        return self._cut(node, [z])

    def _softmax(self, node: Node, op: Softmax, z: Register) -> Register:
        mask, axes = self.masks.get(node.inputs[0]), (op.axis,)
        at = with_sum(z.shape, axes, 0, mask)
        return self._cut(node, [z], at=at, out=None if op.log else with_sum(self._shape(node), axes, 1, mask))

    def _layer_norm(self, node: Node, op: LayerNorm, z: Register) -> Register:
        free = None if op.rms else with_sum(z.shape, op.axes, 0)
        out = self._cut(node, [z], at=free, out=free)
        if op.weight is not None:
            out = self.record.mul(out, self.record.fixed(op.weight.array))
        return out if op.bias is None else self.record.add(out, self.record.fixed(op.bias.array))

    def _batch_norm(self, node: Node, op: ChannelAffine, z: Register) -> Register:
        parts = batch_norm_parts(self.network, node)
        shape = (1, -1, *(1,) * (len(z.shape) - 2))
        if self.batch_statistics:
            free = with_sum(z.shape, tuple(a for a in range(len(z.shape)) if a != 1), 0)
            z = self._cut(node, [z], at=free)
        else:
            z = self.record.add(z, self.record.constant(-parts.mean.reshape(shape)))
            z = self.record.mul(z, self.record.constant((1 / parts.deviation).reshape(shape)))
        for name, combine in ((parts.weight, self.record.mul), (parts.bias, self.record.add)):
            if name is not None:
                z = combine(z, self._by_name(name, shape))
        return z

    def _by_name(self, name: str, shape: tuple[int, ...]) -> Register:
        array = self.network.state[name].detach().double().cpu().numpy().reshape(shape)
        if name not in self.columns.shapes:
            return self.record.constant(array)
        return self.record.parameter((self.columns.starts[name] + np.arange(array.size)).reshape(shape))

    def _affine(self, node: Node, op: ChannelAffine, z: Register) -> Register:
        if op.scale is not None:
            z = self.record.mul(z, self.record.fixed(op.scale.array))
        if op.shift is None:
            return z
        finite = np.isfinite(op.shift.array)
        if finite.all():
            return self.record.add(z, self.record.fixed(op.shift.array))
        # A mask: what is minus infinity has no derivative, and no weight, behind the softmax.
        self.masks[node.name] = finite
        return self.record.add(z, self.record.constant(np.where(finite, op.shift.array, 0.0)))

    def _embedded(self, node: Node, op: Embedding) -> Register:
        weight = self.record.fixed(op.weight.array)
        rows = self.wholes.get(node.inputs[0])
        if rows is not None:
            return self._moved(weight, lambda w: w[np.rint(rows).astype(np.int64)])
        # Which row is looked up stands as a vector in the place of a unit vector; like those its entries sum to one,
        # so that what a table and another summand share is shared here.
        shape = (*self._shape(node)[:-1], op.weight.shape[0])
        return self.record.matmul(self.record.free(shape, with_sum(shape, (-1,), 1)), weight)

    def _reduced(self, node: Node, op: Reduce, z: Register) -> Register:
        if op.reduction == "norm":
            return self._cut(node, [z])
        if op.reduction in ("amax", "amin"):
            z = self.record.mul(z, self.record.free(z.shape))
        out = self.record.sum(z, op.axes, op.keepdim)
        count = prod(z.shape[a] for a in op.axes)
        return self.record.divide(out, np.array(count)) if op.reduction == "mean" else out

    def _rearranged(self, node: Node, read: list[Register]) -> Register:
        move = self._move_of(node)
        if all(name in self.wholes for name in node.inputs):
            self.wholes[node.name] = move(*(self.wholes[name] for name in node.inputs))
        return self.record.move(read, move)

    def _move_of(self, node: Node) -> Callable[..., ndarray]:
        """The operator on arrays with the batch where it stands."""
        op: Any = node.op
        wide = self._shape(node)
        along = node.batch_axis if not node.inputs else self.network.graph[node.inputs[0]].batch_axis
        match op:
            case Reshape():
                return lambda x: x.reshape(wide)
            case Expand():
                return lambda x: np.broadcast_to(x, wide)
            case Permute():
                return lambda x: x.transpose(op.dims)
            case Index() if op.axis != along:
                return lambda x: np.take(x, op.index[0] if op.squeeze else list(op.index), axis=op.axis)
            case Pad() if (op.mode != "constant" or not op.value) and not any(
                v < 0 for pair in op.padding for v in pair
            ):
                return lambda x: np.pad(x, op.padding, mode=MODES[op.mode])  # type: ignore[call-overload]
            case Concat() if op.axis != along:

                def join(*xs: ndarray) -> ndarray:
                    sizes = [(*wide[: op.axis], x.shape[op.axis], *wide[op.axis + 1 :]) for x in xs]
                    return np.concatenate([np.broadcast_to(x, s) for x, s in zip(xs, sizes, strict=True)], axis=op.axis)

                return join
        raise no_count(node, f"{op.kind} fills with numbers, cuts away, or moves entries between samples")
