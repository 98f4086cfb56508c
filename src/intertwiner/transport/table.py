"""The table of transport rules: one small function per operator record."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from intertwiner.network import Op
from intertwiner.transport.picture import Picture
from intertwiner.transport.relation import LatentRelation


@dataclass
class Run:
    """What the rules of one run share.

    Args:
        tolerance: Largest relative residual of a row that counts as rounding.
        positions_only: Follow where positions go and solve for nothing: layouts of taps for the data path.
        relations: The latent actions found so far, by node name.
    """

    tolerance: float
    positions_only: bool = False
    relations: dict[str, LatentRelation] = field(default_factory=dict)


Rule = Callable[..., Picture]

RULES: dict[type[Op], Rule] = {}


def rule(op: type[Op]) -> Callable[[Rule], Rule]:
    """Register ``function(run, node, op, *pictures) -> Picture`` for an operator record.

    The function raises ``Lost`` with the reason where the action does not pass.
    """

    def register(function: Rule) -> Rule:
        RULES[op] = function
        return function

    return register


def rule_for(op: Any) -> Rule | None:
    return RULES.get(type(op))
