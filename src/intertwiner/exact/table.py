"""The table of exact rules: per operator record, how it is evaluated and how cotangents go back through it.

``forward(numbers, node, op, *values)`` runs on residues and on balls alike. ``backward(run, node, op, g)`` takes the
cotangent g of the node, (batch, outputs, *sample shape), and hands cotangents to the inputs with ``run.give`` and to
the parameters with ``run.collect``. One law tests every rule: residues of forward and of the Jacobian agree with
float64 (tests/exact).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
from jaxtyping import Float
from numpy import ndarray

from intertwiner.errors import NoRule
from intertwiner.exact.numbers import Residues
from intertwiner.network import Node, Op, Param

Forward = Callable[..., Any]
Backward = Callable[..., None]


class Sink(Protocol):
    """Where derivatives by parameters go."""

    def wants(self, param: Param) -> bool: ...
    def take(self, param: Param, g: Float[ndarray, "b k ..."]) -> None: ...


@dataclass
class BackwardRun:
    """What the rules of one backward pass share.

    Args:
        numbers: The residues of the forward pass.
        values: The value of every node.
        sink: Takes the derivatives by parameters.
        cotangents: What has come back so far, by node name.
    """

    numbers: Residues
    values: dict[str, ndarray]
    sink: Sink
    cotangents: dict[str, ndarray] = field(default_factory=dict)

    def give(self, name: str, g: Float[ndarray, "b k ..."]) -> None:
        """Add to the cotangent of a node."""
        known = self.cotangents.get(name)
        self.cotangents[name] = g if known is None else self.numbers.field.add(known, g)

    def collect(self, param: Param | None, make: Callable[[], ndarray]) -> None:
        """The derivative by a parameter, (batch, outputs, *shape of the parameter), made only if it is wanted."""
        if param is not None and self.sink.wants(param):
            self.sink.take(param, make())


@dataclass(frozen=True)
class Rule:
    forward: Forward
    backward: Backward


RULES: dict[type[Op], Rule] = {}


def register(op: type[Op], forward: Forward, backward: Backward) -> None:
    """Teach the exact evaluation a new operator record."""
    RULES[op] = Rule(forward, backward)


def rule_for(node: Node) -> Rule:
    """The rule of a node.

    Raises:
        NoRule: There is none; the message names the tap and the cure.
    """
    known = RULES.get(type(node.op))
    if known is None:
        raise no_rule(node, f"the operator {node.op.kind!r} is no piecewise polynomial")
    return known


def no_rule(node: Node, reason: str) -> NoRule:
    return NoRule(
        f"no exact evaluation of {node.tap or node.name!r}: {reason}.\n"
        "  Exact are linear maps, convolutions, ReLU-like and polynomial nonlinearities, sums, products, pools.\n"
        "  Ask for exact=False, a rank with its gap in float64. Nothing was evaluated."
    )


def unbroadcast(g: Float[ndarray, "b k ..."], shape: tuple[int, ...], numbers: Residues) -> ndarray:
    """Sum a cotangent over the axes, behind batch and outputs, along which its input was broadcast."""
    have = g.shape[2:]
    extra = tuple(range(2, 2 + len(have) - len(shape)))
    g = numbers.sum(g, extra, False) if extra else g
    wide = tuple(a + 2 for a, (n, m) in enumerate(zip(g.shape[2:], shape)) if m == 1 and n != 1)
    return numbers.sum(g, wide, True) if wide else np.asarray(g)
