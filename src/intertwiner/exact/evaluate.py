"""A network evaluated exactly: pieces certified by balls, values and Jacobian modulo a prime.

The Jacobian of the outputs by the parameters at an input is that of the polynomial piece on which the input lies, so
it is exact as soon as the piece is certain; nothing here is trusted in floating point.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from jaxtyping import Bool, Float, Int
from numpy import ndarray

from intertwiner.exact.columns import Columns
from intertwiner.exact.numbers import Balls, Numbers, Residues
from intertwiner.exact.polynomial import piecewise
from intertwiner.exact.table import BackwardRun, no_rule, rule_for
from intertwiner.network import Input, Network, Node, Output, Param, PointwiseOp
from intertwiner.numerics.modular import Modulus


@dataclass(frozen=True, eq=False)
class Certified:
    """Which piece every entry lies on, at a batch of inputs.

    Args:
        choices: Piece of every entry, or winner of every window, by node name, with the batch first.
        decided: Per sample, whether rounding leaves no piece open.
        on_break: By node name, the entries that lie exactly on a breakpoint.
    """

    choices: Mapping[str, Int[ndarray, "b ..."]]
    decided: Bool[ndarray, " b"]
    on_break: Mapping[str, Bool[ndarray, "b ..."]]

    def sure(self, standing: Mapping[str, Bool[ndarray, "..."]] | None = None) -> Bool[ndarray, " b"]:
        """Per sample, whether every piece is certain; entries of ``standing`` may lie on a breakpoint."""
        out = self.decided.copy()
        for name, flag in self.on_break.items():
            flag = flag if standing is None else flag & ~standing[name]
            out &= ~flag.reshape(len(flag), -1).any(axis=1)
        return out

    def take(self, rows: Int[ndarray, " k"]) -> dict[str, ndarray]:
        """The choices of some samples."""
        return {name: choice[rows] for name, choice in self.choices.items()}


def check_exact(network: Network) -> None:
    """Refuse a network that has no exact evaluation.

    Raises:
        NoRule: The first operator in its way, by tap.
    """
    for node in network.nodes:
        if isinstance(node.op, (Input, Output)):
            continue
        rule_for(node)
        if isinstance(node.op, PointwiseOp) and piecewise(node.op.pointwise) is None:
            raise no_rule(node, f"{node.op.pointwise.name} is no piecewise polynomial")
        if (
            node.batch_axis not in (0, None)
            or node.batch_multiple != 1
            or (node.batch_axis is None and node.shape[:1] != (1,))
        ):
            raise no_rule(node, "the batch does not stand on the first axis alone")


def forward(network: Network, numbers: Numbers, inputs: Sequence[Any], batch: int) -> dict[str, Any]:
    """The value of every node, on numbers of any kind."""
    values: dict[str, Any] = {}
    for node in network.nodes:
        if isinstance(node.op, Output):
            continue
        if isinstance(node.op, Input):
            values[node.name] = inputs[node.op.position]
            continue
        value = rule_for(node).forward(numbers, node, node.op, *(values[i] for i in node.inputs))
        if not node.inputs:
            value = numbers.move([value], lambda v: np.broadcast_to(v, (batch, *v.shape[1:])))
        values[node.name] = value
    return values


def certify(network: Network, inputs: Sequence[Float[ndarray, "b ..."]]) -> Certified:
    """Run the network in float64 with a rigorous error bound and record on which piece every entry lies.

    Args:
        network: A network that ``check_exact`` lets through.
        inputs: One array per input, floats that are taken exactly; batch first.

    Returns:
        The pieces, and the samples where all of them are certain.

    Cost: two to three forward passes in float64.
    """
    balls = Balls()
    with np.errstate(over="ignore", invalid="ignore"):
        forward(network, balls, [balls.fixed(x) for x in inputs], len(inputs[0]))
    decided = np.ones(len(inputs[0]), dtype=bool)
    for flag in balls.undecided.values():
        decided &= ~flag.reshape(len(flag), -1).any(axis=1)
    return Certified(balls.choices, decided, balls.on_break)


class RowSink:
    """Fills rows of the Jacobian; parameters in ``skip`` are left out."""

    def __init__(self, columns: Columns, rows: int, numbers: Residues, skip: frozenset[Param] = frozenset()) -> None:
        self.columns, self.numbers, self.skip = columns, numbers, skip
        self.rows = np.zeros((rows, columns.total))
        self._touched: set[str] = set()

    def wants(self, param: Param) -> bool:
        return param not in self.skip and self.columns.places(param) is not None

    def take(self, param: Param, g: ndarray) -> None:
        places = self.columns.places(param)
        if places is None:
            return
        flat = g.reshape(len(self.rows), -1)
        name = param.name if param.computed else param.sources[0]
        if len(np.unique(places)) < len(places):
            distinct, inverse = np.unique(places, return_inverse=True)
            summed = np.zeros((len(distinct), len(self.rows)))
            np.add.at(summed, inverse.ravel(), flat.T)
            places, flat = distinct, self.numbers.field.reduce(np.ascontiguousarray(summed.T))
        if name in self._touched:
            flat = self.numbers.field.add(self.rows[:, places], flat)
        self._touched.add(name)
        self.rows[:, places] = flat


@dataclass(frozen=True, eq=False)
class Evaluation:
    """Residues of every node at a batch of inputs.

    Args:
        network: The network.
        numbers: The modulus and the pieces.
        values: Residues by node name, batch first.
    """

    network: Network
    numbers: Residues
    values: Mapping[str, Float[ndarray, "b ..."]] = field(repr=False)

    @property
    def batch(self) -> int:
        return len(next(iter(self.values.values())))

    def outputs(self) -> Float[ndarray, "b k"]:
        """All outputs of every sample, side by side."""
        return np.concatenate([self.values[i].reshape(self.batch, -1) for i in self.network.nodes[-1].inputs], axis=1)

    def jacobian(
        self, columns: Columns, *, outputs: Int[ndarray, " k"] | None = None, skip: frozenset[Param] = frozenset()
    ) -> Float[ndarray, "b k p"]:
        """Derivatives of outputs by parameters, modulo the prime.

        Args:
            columns: Which parameter has which column.
            outputs: Which outputs, by their place among all; every one by default.
            skip: Parameters that are not wanted; their columns stay zero.

        Cost: a backward pass of ``batch x outputs`` cotangents; the array itself is the largest part.
        """
        ends = self.network.nodes[-1].inputs
        sizes = [self.values[i][0].size for i in ends]
        total = sum(sizes)
        chosen = np.arange(total) if outputs is None else np.asarray(outputs)
        run = BackwardRun(
            self.numbers, dict(self.values), RowSink(columns, self.batch * len(chosen), self.numbers, skip)
        )
        start = 0
        for name, size in zip(ends, sizes):
            block = (chosen[:, None] == start + np.arange(size)).astype(np.float64)
            shape = (self.batch, len(chosen), *self.values[name].shape[1:])
            run.give(name, np.broadcast_to(block, (self.batch, *block.shape)).reshape(shape))
            start += size
        needed = _reaches_parameters(self.network.nodes, columns, skip)
        for node in reversed(self.network.nodes):
            g = run.cotangents.pop(node.name, None)
            if g is None or isinstance(node.op, (Input, Output)) or node.name not in needed:
                continue
            rule_for(node).backward(run, node, node.op, g)
        return run.sink.rows.reshape(self.batch, len(chosen), columns.total)  # type: ignore[attr-defined]


def _reaches_parameters(nodes: Sequence[Node], columns: Columns, skip: frozenset[Param]) -> set[str]:
    """Nodes with a parameter at or before them."""
    out: set[str] = set()
    for node in nodes:
        own = any(p not in skip and columns.places(p) is not None for p in node.op.params)
        if own or any(i in out for i in node.inputs):
            out.add(node.name)
    return out


def evaluate(network: Network, inputs: Sequence[ndarray], choices: Mapping[str, ndarray], field: Modulus) -> Evaluation:
    """Residues of all values at inputs whose pieces are certified.

    Raises:
        NoRule: An operator without an exact rule.
    """
    numbers = Residues(field, dict(choices))
    return Evaluation(network, numbers, forward(network, numbers, [field.of(x) for x in inputs], len(inputs[0])))
