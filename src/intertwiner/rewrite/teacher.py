r"""The group average of a network as a teacher: what an exactly equivariant twin should answer.

``f^G(x) = mean over g of rho_out(g) f(rho_in(g)^{-1} x)`` is the nearest equivariant function to f in the mean square
over data that G maps to themselves (for orthogonal rho_out). It needs no labels.
"""

from __future__ import annotations

import torch
from torch import Tensor

from intertwiner.audit.neuron_orbits import ALL_ELEMENTS
from intertwiner.errors import DataMismatch, EmptyData, GroupTooLarge, NonFiniteData
from intertwiner.network import Network
from intertwiner.symmetry import BoundSymmetry


def average_outputs(network: Network, bound: BoundSymmetry, x: Tensor, batch: int = 256) -> Tensor:
    """The group average of a network on some samples.

    Args:
        network: One input, one output; it runs in its own type, on its own device.
        bound: The symmetry on those shapes, of at most 64 elements.
        x: Samples along the first axis.
        batch: Samples per call.

    Returns:
        One answer per sample, float64, on the device of ``x``. Sums and moves of the answers are in float64.

    Raises:
        GroupTooLarge: More than 64 elements.
        DataMismatch: Several inputs or outputs, or samples that the network does not take.
        EmptyData: No sample.
        NonFiniteData: The network answers with NaN or infinity.

    Cost:
        |G| forwards of every sample; no more than a batch and the answers are held.

    Example:
        The average of ``x -> x_0`` over the exchange of two coordinates is their mean:

        >>> from intertwiner.algebra import cyclic
        >>> from intertwiner.network import trace
        >>> from intertwiner.symmetry import Symmetry, invariant, vector
        >>> first = torch.nn.Linear(2, 1, bias=False)
        >>> first.weight.data = torch.tensor([[1.0, 0.0]])
        >>> bound = Symmetry(cyclic(2), vector(perm=[1, 0]), invariant()).bind((2,), (1,))
        >>> average_outputs(trace(first, torch.zeros(1, 2)), bound, torch.tensor([[1.0, 5.0]]))
        tensor([[3.]], dtype=torch.float64)
    """
    group = bound.group
    if group.order > ALL_ELEMENTS:
        raise GroupTooLarge(
            f"the average over {group.name} takes {group.order} forwards of every sample, at most {ALL_ELEMENTS} are "
            "run.\n  Give a subgroup, or targets of your own. Nothing was computed."
        )
    if len(bound.inputs) != 1 or len(bound.outputs) != 1 or len(network.inputs) != 1:
        raise DataMismatch(
            f"an average is taken of one output as a function of one input; here are {len(network.inputs)} inputs and "
            f"{len(bound.outputs)} outputs.\n  Wrap the network so that it takes and returns one tensor. "
            "Nothing was computed."
        )
    if not len(x):
        raise EmptyData("no sample to average a network on. Nothing was computed.")
    forward = network.function(())
    parts = []
    for part in x.split(batch):
        there = part.to(network.device)
        total: Tensor | None = None
        for g in range(group.order):
            # f(g x) moved back by g: the sum over g is the sum over its inverse.
            (moved,) = bound.act_on_input(g, (there.double() if there.is_floating_point() else there,))
            (answer,) = forward((moved.to(there.dtype),))[0]
            (back,) = bound.act_on_output(int(group.inverse(g)), (answer.double(),))
            total = back if total is None else total + back
        parts.append((total / group.order).to(x.device))  # type: ignore[operator]
    out = torch.cat(parts)
    if not bool(out.isfinite().all()):
        raise NonFiniteData(
            f"{network.name} answers some sample, moved by {group.name}, with NaN or infinity.\n"
            "  Usual cause: inputs that are not finite, or a type that is too small. Nothing was computed."
        )
    return out
