r"""What symmetric data show to a loss through any module: gradients of orbits against those of all outputs.

As ``loss_span.py``, without the need that parameters and inputs separate: derivatives are taken by torch in float64, in
evaluation mode. One gradient per orbit, the mean over its elements; their rank beside the rank of the derivatives of
all outputs at the same inputs, which data without symmetry can show.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call, jacrev

from intertwiner.algebra import Representation
from intertwiner.errors import ShapeMismatch
from intertwiner.numerics.rank import rank
from intertwiner.training.loss_span import LossSpan

Move = Callable[[Tensor], Tensor]
"""An element acting on a batch."""


@dataclass(frozen=True, eq=False)
class Sides:
    """What every element of a group does to inputs and outputs.

    Args:
        moves: By element, its two actions.
        matrices: The same as representations, where they are linear.
    """

    moves: Sequence[tuple[Move, Move]]
    matrices: tuple[Representation, Representation] | None


def orbit_span(
    model: nn.Module, sides: Sides, data: tuple[Tensor, Tensor], loss: Any, *, centred: bool = False
) -> LossSpan:
    """The two ranks at the weights of a module.

    Args:
        model: The module, which is copied.
        sides: The actions; targets that are no floats are left alone.
        data: One input and one target per orbit.
        loss: A function of outputs and targets.
        centred: Whether the loss does not see a shift of all outputs along axis 1, as cross entropy.

    Raises:
        ShapeMismatch: Not as many targets as inputs.
        RankUndecided: No clear gap.

    Cost:
        One backward pass per output of all orbits.

    Example:
        Turns by 90 degrees show squared error of a linear layer one direction, and another loss both:

        >>> from intertwiner.algebra import cyclic
        >>> turn = torch.tensor([[0.0, -1.0], [1.0, 0.0]], dtype=torch.float64)
        >>> turns = [torch.linalg.matrix_power(turn, g) for g in range(4)]
        >>> sides = Sides([(lambda x, t=t: x @ t.T, lambda y: y) for t in turns], None)
        >>> model = nn.Linear(2, 1, bias=False)
        >>> data = torch.tensor([[1.0, 0.2], [0.3, 2.0], [1.5, 1.0]]), torch.tensor([[1.0], [-1.0], [0.5]])
        >>> [orbit_span(model, sides, data, loss).rank
        ...  for loss in (nn.functional.mse_loss, lambda z, y: torch.cosh(z - y).mean())]
        [1, 2]
    """
    x, y = data
    if len(x) != len(y):
        raise ShapeMismatch(f"{len(x)} inputs and {len(y)} targets: one of each per orbit. Nothing was computed.")
    module = copy.deepcopy(model).double().eval()
    state = {name: p.detach() for name, p in module.named_parameters() if p.requires_grad}
    gradients, slopes = [], []
    for one, target in zip(x.double(), y.double() if y.is_floating_point() else y, strict=True):
        orbit = torch.cat([into(one[None]) for into, _ in sides.moves])
        moved = [out(target[None]) if y.is_floating_point() else target[None] for _, out in sides.moves]
        jacobian = jacrev(lambda weights, orbit=orbit: functional_call(module, weights, (orbit,)))(state)
        with torch.enable_grad():
            outputs = module(orbit).detach().requires_grad_(True)
            (ends,) = torch.autograd.grad(loss(outputs, torch.cat(moved)), outputs)
        found = torch.cat([j.reshape(*ends.shape, -1) for j in jacobian.values()], dim=-1)
        rows = (found - found.mean(1, keepdim=True) if centred else found).reshape(ends.numel(), -1)
        gradients.append(ends.reshape(-1) @ rows)
        slopes.append(rows)
    seen = rank(torch.stack(gradients).detach().numpy(), where="the gradients of the orbits")
    full = rank(torch.cat(slopes).detach().numpy(), where="the gradients of the outputs")
    return LossSpan(len(x), seen.rank, seen.gap, full.rank, full.gap)
