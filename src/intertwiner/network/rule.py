"""The table of rules: one small function per torch operator, which says what the operator is in our records.

A rule receives a `Call`, reads the bound arguments of the operator and emits one node or several. What it cannot
say it refuses with `Unruled`, and the builder puts an `Opaque` node there with that reason. Learnt from the tables of
HIPS/autograd and fvcore's jit_analysis.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor

from intertwiner.network.node import Constant, Node, Op, Param


class Unruled(Exception):
    """A rule cannot express this call; the message is the reason that users read."""


@dataclass(frozen=True)
class Value:
    """A node's result, as rules see it: something that depends on the inputs."""

    name: str
    shape: tuple[int, ...]
    batch_axis: int | None
    dtype: str
    batch_lead: int = 1

    @property
    def ndim(self) -> int:
        return len(self.shape)

    @property
    def is_float(self) -> bool:
        return self.dtype.startswith(("float", "bfloat"))


@dataclass(frozen=True, eq=False)
class Fixed:
    """A tensor that depends on parameters, buffers and constants alone, with where its entries come from."""

    tensor: Tensor
    name: str
    sources: tuple[str, ...] = ()
    places: Tensor | None = None
    computed: bool = False

    @property
    def shape(self) -> tuple[int, ...]:
        return tuple(self.tensor.shape)

    @property
    def traced_places(self) -> Tensor:
        if self.places is not None:
            return self.places
        return torch.arange(self.tensor.numel(), device=self.tensor.device).reshape(self.tensor.shape)

    def rearranged(self, view: Callable[[Tensor], Tensor]) -> Fixed:
        """The same numbers elsewhere; `view` only moves, picks or repeats entries."""
        places = None if self.computed else view(self.traced_places)
        return replace(self, tensor=view(self.tensor), places=places)

    def param(self) -> Param:
        array = self.tensor.detach().to(torch.float64).cpu().resolve_conj().numpy().copy()
        places = None if self.places is None else self.places.cpu().numpy().copy()
        return Param(self.name, array, self.sources, places, self.computed)


class Emitter(Protocol):
    """What a rule needs of the builder."""

    batch: int
    nodes: dict[str, Node]

    def add(self, op: Op, inputs: Sequence[Value], shape: tuple[int, ...], final: bool) -> Value: ...


@dataclass(frozen=True)
class Call:
    """One operator call in the traced graph, arguments bound to the names of the operator's schema.

    Args:
        target: ``aten.linear.default``.
        arguments: Value, Fixed, number, list of these, or None, by argument name.
        shape: Shape of the result (of the first result where there are several) on the example.
        shapes: Shapes of all results where the operator returns several.
    """

    target: str
    arguments: dict[str, Any]
    shape: tuple[int, ...]
    shapes: tuple[tuple[int, ...], ...]
    emitter: Emitter

    def __getitem__(self, name: str) -> Any:
        return self.arguments[name]

    def get(self, name: str, default: Any = None) -> Any:
        return self.arguments.get(name, default)

    def value(self, name: str) -> Value:
        """The argument as a node; a fixed tensor becomes a `Constant` node."""
        return self.as_value(self.arguments[name])

    def as_value(self, x: Any) -> Value:
        if isinstance(x, Value):
            return x
        if isinstance(x, Fixed):
            return self.emitter.add(Constant(x.param()), (), x.shape, False)
        raise Unruled(f"expected a tensor, got {type(x).__name__}")

    def fixed(self, name: str) -> Fixed | None:
        """The argument as a tensor of parameters, or None where it is None."""
        x = self.arguments.get(name)
        if isinstance(x, Value):
            raise Unruled(f"{name} is computed from the input, not a parameter")
        return x

    def param(self, name: str) -> Param | None:
        fixed = self.fixed(name)
        return None if fixed is None else fixed.param()

    def emit(self, op: Op, *inputs: Value, shape: tuple[int, ...] | None = None) -> Value:
        """Add a node. Without `shape` it is the result of the call; with it, a step on the way."""
        return self.emitter.add(op, inputs, self.shape if shape is None else shape, shape is None)

    def producer(self, value: Value) -> Node:
        """The node that computes a value."""
        return self.emitter.nodes[value.name]

    def producer_input(self, value: Value) -> Value:
        """What the producer of a value reads first: for rules that fold their predecessor in."""
        before = self.emitter.nodes[self.producer(value).inputs[0]]
        return Value(before.name, before.shape, before.batch_axis, before.dtype, before.batch_lead)

    def axis(self, name: str, ndim: int) -> int:
        return int(self.arguments[name]) % ndim

    def axes(self, name: str, ndim: int) -> tuple[int, ...]:
        """A list of axes, a single one, or all where the argument is None or empty."""
        given = self.arguments.get(name)
        if given is None or (isinstance(given, (list, tuple)) and not given):
            return tuple(range(ndim))
        return tuple(sorted(int(a) % ndim for a in (given if isinstance(given, (list, tuple)) else [given])))


Rule = Callable[[Call], Any]
RULES: dict[str, Rule] = {}


def register_rule(*targets: str) -> Callable[[Rule], Rule]:
    """Say what torch operators mean. ``aten.relu`` stands for all its overloads, ``aten.relu.default`` for one.

    A rule gets a `Call` and returns the `Value` that ``call.emit(op, *inputs)`` gives, or a tuple of them for
    an operator with several results. It raises `Unruled` for what it cannot say. A later registration wins.

    Example:
        >>> from intertwiner.network import Identity, register_rule
        >>> @register_rule("mine.passthrough")
        ... def passthrough(call):
        ...     return call.emit(Identity("mine"), call.value("self"))
        >>> find_rule("mine.passthrough.default") is passthrough
        True
        >>> _ = RULES.pop("mine.passthrough")
    """

    def record(rule: Rule) -> Rule:
        for target in targets:
            RULES[target] = rule
        return rule

    return record


def find_rule(target: str) -> Rule | None:
    """The rule of an operator: by full name first, then without the overload."""
    return RULES.get(target) or RULES.get(target.rpartition(".")[0])


def scalar(x: Any) -> float | None:
    """A number given as a number or as a fixed tensor with one entry; None for anything else."""
    if isinstance(x, bool):
        return float(x)
    if isinstance(x, (int, float)):
        return float(x)
    if isinstance(x, Fixed) and x.tensor.numel() == 1 and not x.sources and not x.tensor.is_complex():
        return float(x.tensor)
    return None


def literal(number: float | np.ndarray, ndim: int, name: str = "literal") -> Param:
    """A number as a parameter record that broadcasts against a tensor with `ndim` axes."""
    array = np.asarray(number, dtype=np.float64)
    return Param(name, array.reshape((1,) * (ndim - array.ndim) + array.shape))
