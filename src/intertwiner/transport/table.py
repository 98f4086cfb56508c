"""The table of transport rules: one small function per operator record."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from intertwiner.gauge import Pointwise
from intertwiner.network import Embedding, Node, Op
from intertwiner.transport.picture import Block, Picture, Source
from intertwiner.transport.relation import LatentRelation


class Follower(Protocol):
    """Who chooses coordinates in place of a group: networks followed side by side, or one put in canonical order."""

    def pointwise(self, picture: Picture, pointwise: Pointwise, node: Node) -> Picture: ...

    def joint(
        self, pictures: Sequence[Picture], node: Node, *, signed: bool, scaled: bool, norm: str
    ) -> tuple[list[Source], Block | None]: ...

    def embedding(self, picture: Picture, op: Embedding, node: Node) -> Picture: ...


@dataclass
class Run:
    """What the rules of one run share.

    Args:
        tolerance: Largest relative residual of a row that counts as rounding.
        positions_only: Follow where positions go and solve for nothing: layouts of taps for the data path.
        relations: The latent actions found so far, by node name.
        follower: Chooses the coordinates after every nonlinearity where no group acts; None for a group.
    """

    tolerance: float
    positions_only: bool = False
    relations: dict[str, LatentRelation] = field(default_factory=dict)
    follower: Follower | None = None


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
