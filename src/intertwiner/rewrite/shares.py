"""How a budget of multiply-adds is shared among latent spaces: first alike, then by what an orbit buys where.

`widths_within` lets every space keep the same share of its width. With the curves of a first choice, `bought` spends
the same budget orbit by orbit, each time where a multiply-add explains most of what is still unexplained.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from intertwiner.network import node as ir
from intertwiner.rewrite.cost import block_cost
from intertwiner.rewrite.elements import coset_action
from intertwiner.rewrite.graph_task import GraphTask
from intertwiner.rewrite.orbit_forms import Form, orbit_forms
from intertwiner.rewrite.readers import GIVEN, Reader


@dataclass(frozen=True, eq=False)
class Price:
    """What a twin of some widths costs, hidden channels counted in regular orbits where layers run in blocks.

    Args:
        task: What is rewritten.
        blocks: Whether fully connected layers run in isotypic blocks.
        copies: Convolutions that read their own copy only.
    """

    task: GraphTask
    blocks: bool = False
    copies: frozenset[str] = frozenset()

    def of(self, widths: Mapping[str, float]) -> float:
        """Multiply-adds of one sample."""
        return sum(self._layer(r, widths) for r in self.task.readers)

    def _layer(self, r: Reader, widths: Mapping[str, float]) -> float:
        read = sum(widths.get(name, n) if name != GIVEN else n for name, _, n in r.owners) * r.places
        write = self._width(r.space, widths)
        if not self.blocks or not isinstance(r.node.op, ir.Linear):
            own = self.task.symmetry.group.order if r.node.name in self.copies else 1
            return r.positions * read * write / own
        return r.positions * block_cost(self._read_forms(r, widths), self._forms(r.space, widths))

    def _width(self, space: str, widths: Mapping[str, float]) -> float:
        return self.task.given[space].width if space in self.task.given else widths[space]

    def _read_forms(self, r: Reader, widths: Mapping[str, float]) -> dict[Form, int]:
        out: dict[Form, int] = {}
        for name, _, _ in r.owners:
            for form, count in self._forms(name, widths, r).items():
                out[form] = out.get(form, 0) + count * (r.places if name != GIVEN else 1)
        return out

    def _forms(self, space: str, widths: Mapping[str, float], r: Reader | None = None) -> dict[Form, int]:
        if space == GIVEN and r is not None:
            return self._given_forms(r)
        if space in self.task.given:
            return dict(orbit_forms(self.task.given[space].rho))
        group = self.task.symmetry.group
        members = np.arange(group.order) == 0
        (form,) = orbit_forms(coset_action(group, members, np.ones(group.order, dtype=np.int64)))
        return {form: max(1, round(widths[space] / group.order))}

    def _given_forms(self, r: Reader) -> dict[Form, int]:
        actions = [self.task.symmetry.input_action(g)[0] for g in self.task.symmetry.group.generators]
        return dict(orbit_forms(tuple(a.flat() for a in actions)))  # type: ignore[union-attr]


def widths_within(price: Price, most: float) -> dict[str, int]:
    """Channels of every hidden space, all by one share of the original's, at no more than a cost.

    Args:
        price: What widths cost.
        most: Multiply-adds of one sample.

    Returns:
        The widths; 0 where not one channel fits.

    Cost:
        A few dozen evaluations of the price.
    """
    hidden = price.task.hidden

    def at(share: float) -> dict[str, float]:
        return {name: share * n for name, n in hidden.items()}

    low, high = 0.0, 1.0
    while price.of(at(high)) <= most and high < 2**12:
        high *= 2
    for _ in range(40):
        middle = (low + high) / 2
        low, high = (middle, high) if price.of(at(middle)) <= most else (low, middle)
    return {name: int(width + 1e-6) for name, width in at(low).items()}


@dataclass(frozen=True, eq=False)
class Curve:
    """What orbits of one latent space buy.

    Args:
        width: Channels after each orbit, in the order of choice.
        left: Variance of what the rest of the network needs that is unexplained after each.
    """

    width: tuple[int, ...]
    left: tuple[float, ...]


def bought(price: Price, curves: Mapping[str, Curve], most: float) -> dict[str, int]:
    """Channels of every hidden space, bought orbit by orbit.

    Args:
        price: What widths cost.
        curves: By name of the space, at least one orbit each.
        most: Multiply-adds of one sample.

    Returns:
        The widths; those after one orbit each where nothing more fits.

    Cost:
        One evaluation of the price per space and orbit.
    """
    taken = dict.fromkeys(curves, 0)
    widths = {name: float(curve.width[0]) for name, curve in curves.items()}
    spent = price.of(widths)
    while True:
        best, gain, cost_then = "", 0.0, spent
        for name, curve in curves.items():
            k = taken[name] + 1
            if k >= len(curve.width):
                continue
            cost = price.of(widths | {name: curve.width[k]})
            rate = (curve.left[k - 1] - curve.left[k]) / max(cost - spent, 1.0)
            if cost <= most and rate > gain:
                best, gain, cost_then = name, rate, cost
        if not best:
            return {name: int(width) for name, width in widths.items()}
        taken[best] += 1
        widths[best], spent = float(curves[best].width[taken[best]]), cost_then
