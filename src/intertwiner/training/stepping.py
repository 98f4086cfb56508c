"""How an optimiser steps the parameters of a law: read from a torch optimiser, at the moment of the step.

A hook on the optimiser notes the step sizes before a scheduler changes them, and counts the steps, so that steps left
out by a gradient scaler or taken between two looks are known.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from jaxtyping import Float
from numpy import ndarray
from torch import Tensor

from intertwiner.errors import WrongUse
from intertwiner.training.families import SHIFT, Family
from intertwiner.training.step_rule import StepRule

ADAPTIVE = ("Adam", "AdamW", "Adamax", "NAdam", "RAdam", "SparseAdam", "RMSprop", "Adagrad", "Adadelta", "Adafactor",
            "Rprop")  # fmt: skip
SETTINGS = {"momentum": "momentum", "dampening": "dampening", "weight_decay": "weight decay"}
NO_OPTIMISER = "no optimiser was handed over: measured only"


class Stepping:
    """An optimiser as the laws see it.

    Args:
        optimizer: A torch optimiser, bare or inside the wrapper of a training library; None where there is none.
        tensors: The parameters by name.

    Raises:
        WrongUse: What was handed over is no torch optimiser.

    Example:
        >>> import torch
        >>> w = torch.nn.Parameter(torch.ones(2))
        >>> optimizer = torch.optim.SGD([w], lr=0.5)
        >>> stepping = Stepping(optimizer, {"w": w})
        >>> w.sum().backward()
        >>> optimizer.step()
        >>> stepping.rates, stepping.taken()
        ([0.5], 1)
    """

    def __init__(self, optimizer: Any, tensors: Mapping[str, Tensor]) -> None:
        self.optimizer: Any = None
        while optimizer is not None and not hasattr(optimizer, "register_step_pre_hook"):
            inside = getattr(optimizer, "optimizer", None)
            if inside is None:
                raise WrongUse(
                    f"the monitor reads torch optimisers, got {type(optimizer).__name__}. Next step: leave it out and "
                    "give the step size to step(rate). Nothing was computed."
                )
            optimizer = inside
        self.optimizer, self._tensors, self._zeros = optimizer, tensors, {}
        self.rates: list[float] = []
        self._count = [0]
        self._handle = None if optimizer is None else optimizer.register_step_pre_hook(_noting(self.rates, self._count))

    @property
    def name(self) -> str | None:
        """Of the class of the optimiser."""
        return None if self.optimizer is None else type(self.optimizer).__name__

    def taken(self) -> int:
        """Steps since this was asked last."""
        count, self._count[0] = self._count[0], 0
        return count

    def close(self) -> None:
        """Take the hook off."""
        if self._handle is not None:
            self._handle.remove()

    def groups(self, family: Family) -> tuple[int | None, ...]:
        """The parameter groups that hold the parameters of a family, None for one that is in none."""
        groups = [] if self.optimizer is None else self.optimizer.param_groups
        place = {id(p): k for k, group in enumerate(groups) for p in group["params"]}
        return tuple(dict.fromkeys(place.get(id(self._tensors[name])) for name in family.parameters))

    def settings(self) -> tuple[Any, ...]:
        """What the rules depend on, to be compared."""
        groups = [] if self.optimizer is None else self.optimizer.param_groups
        return tuple(group.get(key) for group in groups for key in (*SETTINGS, "nesterov"))

    def rate(self, groups: tuple[int | None, ...]) -> float | None:
        """The step size of the last step; None where the groups differ in it."""
        found = {self.rates[k] for k in groups if k is not None}
        return found.pop() if len(found) == 1 else None

    def rule(self, family: Family, groups: tuple[int | None, ...]) -> StepRule:
        """How the parameters of a family are stepped, the step size left open."""
        if self.optimizer is None:
            return StepRule(broken=NO_OPTIMISER)
        if None in groups:
            return StepRule(broken=f"{self.name} does not step all of its parameters: broken in first order")
        held = [self.optimizer.param_groups[k] for k in groups if k is not None]
        if self.name in ADAPTIVE:
            decays = any(float(group.get("weight_decay") or 0) for group in held)
            return StepRule(
                broken=f"{self.name} gives every coordinate a step size of its own: a step is no multiple of the "
                "gradient, and the law is broken in first order, however small the steps"
                + ("; weight decay breaks it besides" if decays else "")
            )
        if self.name != "SGD":
            return StepRule(broken=f"what {self.name} does to a law is not known here: measured only")
        for key, said in SETTINGS.items():
            found = sorted({float(group[key]) for group in held})
            if len(found) > 1:
                return StepRule(broken=f"its parameters have {said} {' and '.join(f'{v:g}' for v in found)}: broken")
        return _plain(family, held[0])

    def moved(self, family: Family, rule: StepRule) -> dict[str, Tensor] | None:
        """What the last step was taken along, up to decay: the sums of gradients, or the gradients; None where gone."""
        if rule.momentum:
            return self.momenta(family)
        return self._filled(family, {n: self._tensors[n].grad for n in family.parameters})

    def momenta(self, family: Family) -> dict[str, Tensor] | None:
        """The sums of gradients that SGD keeps; None where there are none yet."""
        state = {} if self.optimizer is None else self.optimizer.state
        return self._filled(
            family, {n: state.get(self._tensors[n], {}).get("momentum_buffer") for n in family.parameters}
        )

    def carried(self, family: Family, degree: int) -> Float[ndarray, " laws"]:
        """How the sum gathered so far lies to the laws, ``<grad h, v> / degree``: zero before the first step."""
        gathered = self.momenta(family)
        return np.zeros(family.count) if gathered is None else family.rates(self._tensors, gathered)[0] / degree

    def _filled(self, family: Family, found: Mapping[str, Tensor | None]) -> dict[str, Tensor] | None:
        if all(tensor is None for tensor in found.values()):
            return None
        return {name: self._zero(name) if tensor is None else tensor for name, tensor in found.items()}

    def _zero(self, name: str) -> Tensor:
        if name not in self._zeros:
            self._zeros[name] = self._tensors[name].detach().new_zeros(self._tensors[name].shape)
        return self._zeros[name]


def _noting(rates: list[float], count: list[int]) -> Any:
    """The hook, which holds nothing of the monitor."""

    def note(optimizer: Any, *_: Any) -> None:
        rates[:] = [float(group["lr"]) for group in optimizer.param_groups]
        count[0] += 1

    return note


def _plain(family: Family, group: Mapping[str, Any]) -> StepRule:
    if group["nesterov"]:
        return StepRule(broken="Nesterov's momentum: broken as by plain momentum, and nothing is predicted for it")
    momentum, dampening, decay = (float(group[key]) for key in SETTINGS)
    if decay and family.kind != SHIFT and any(p.degree == 1 or p.centre for p in family.pieces):
        return StepRule(
            broken=f"weight decay {decay:g} draws its squares and its linear terms at different paces: broken"
        )
    return StepRule(momentum, dampening, decay)
