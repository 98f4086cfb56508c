"""From one action per generator to the action of any element, composed along words when asked for."""

from __future__ import annotations

from collections.abc import Sequence

from intertwiner.algebra import Group
from intertwiner.symmetry.opaque import Action
from intertwiner.symmetry.tensor_action import TensorAction


class ElementActions:
    """From one action per generator to the action of any element, composed along words when asked for.

    Elements of a product are composed factor by factor, so that S5 x S5 never lists its 14,400 elements.
    """

    def __init__(self, group: Group, generators: Sequence[Action], shape: tuple[int, ...]) -> None:
        self.group = group
        self.generators = tuple(generators)
        self.shape = shape
        identity = TensorAction.identity(shape)
        self._factors: list[dict[int, Action]] = [{0: identity} for _ in group.factors]
        self._products: dict[int, Action] = {0: identity}

    def __getitem__(self, g: int) -> Action:
        """The action of element g.

        Cost:
            One composition per letter of a word that is not known yet.
        """
        if g not in self._products:
            total: Action | None = None
            for place, component in enumerate(self.group.split(g)):
                part = self._of_factor(place, int(component))
                total = part if total is None else total @ part
            self._products[g] = total  # type: ignore[assignment]
        return self._products[g]

    def _of_factor(self, place: int, g: int) -> Action:
        known, factor = self._factors[place], self.group.factors[place]
        own = [self.generators[i] for i in self.group.factor_generators[place]]
        path = []
        while g not in known:
            path.append(g)
            g = int(factor.tree.parent[g])
        for h in reversed(path):
            known[h] = own[int(factor.tree.step[h])] @ known[int(factor.tree.parent[h])]
        return known[path[0]] if path else known[g]
