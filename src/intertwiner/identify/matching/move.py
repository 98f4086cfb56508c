r"""A gauge element applied to the parameters of a network: other weights, the same function.

An element ``z -> M z + t`` of a latent space acts on the pre-activation: whoever writes the space gets ``(M W, M b +
t)``. It goes through the activation as ``phi``, and whoever reads what comes out undoes it: ``(W M'^{-1}, b - W M'^{-1}
t')`` with ``(M', t') = phi(M, t)`` [theory 1 and 2]. What the element has become is followed value by value, so a
flattened grid, a concatenation or a depthwise kernel in between is no special case, and what cannot absorb it is named.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import nn

from intertwiner.errors import NotInGauge, UnknownTap
from intertwiner.gauge import GaugeElement
from intertwiner.identify.matching.moved import Following
from intertwiner.identify.matching.moved_rules import HANDLERS
from intertwiner.identify.matching.rewritten import Weights
from intertwiner.network import LatentSpace, Network, trace


def move(model: nn.Module | Network, elements: Mapping[str, GaugeElement], *, example: Any = None) -> nn.Module:
    """A copy of a model in other latent coordinates.

    Args:
        model: A module in evaluation mode, or a traced network.
        elements: By name of the latent space (``Network.latent_spaces``), what to do with its coordinates.
        example: What ``trace`` needs, where the model is a module.

    Returns:
        A deep copy with the same state_dict keys; the graph module where a traced network was given. The function is
        the same up to the rounding of the weights: exactly for permutations, signs and powers of two.

    Raises:
        UnknownTap: There is no latent space of that name.
        NotInGauge: The architecture can see the change, or a constant that it leaves has no bias to go to.

    Cost:
        One trace, and one pass over the weights; ``O(n^3)`` for dense elements.

    Example:
        >>> import numpy as np, torch
        >>> from intertwiner.numerics.monomial import Monomial
        >>> model = nn.Sequential(nn.Linear(1, 2), nn.ReLU(), nn.Linear(2, 1))
        >>> swap = GaugeElement(Monomial([1, 0], np.array([4.0, 0.5])))
        >>> moved = move(model, {"0": swap}, example=torch.zeros(2, 1))
        >>> bool(torch.equal(moved[0].bias, torch.stack([model[0].bias[1] / 2, model[0].bias[0] * 4])))
        True
        >>> torch.allclose(moved(torch.ones(2, 1)), model(torch.ones(2, 1)))
        True
    """
    network = model if isinstance(model, Network) else trace(model, example)
    return moved(model, network, elements)


def moved(model: nn.Module | Network, network: Network, elements: Mapping[str, GaugeElement]) -> nn.Module:
    """``move`` for a model that is traced already."""
    weights = Weights(network)
    Following(network, checked(network, elements), weights, HANDLERS).run()
    return weights.module(model, network)


def checked(network: Network, elements: Mapping[str, GaugeElement]) -> dict[str, tuple[LatentSpace, GaugeElement]]:
    """The elements with their spaces, identities left out.

    Raises:
        UnknownTap: There is no latent space of that name.
        NotInGauge: The element is not in the gauge group of its space.
    """
    spaces = {space.name: space for space in network.latent_spaces}
    out = {}
    for name, element in elements.items():
        if name not in spaces:
            raise UnknownTap(f"no latent space is called {name!r}; there are {', '.join(spaces)}")
        space = spaces[name]
        if element.is_identity:
            continue
        if space.blocks:
            parts = ", ".join(part for _, part in space.blocks)
            raise NotInGauge(f"the space {name!r} is put together from others: move its parts {parts}")
        if element not in space.gauge:
            why = (
                (space.given and f"its coordinates are those of the {space.given}") or space.opaque or str(space.gauge)
            )
            raise NotInGauge(
                f"{element!r} is no gauge element of {name!r} with {space.dimension} coordinates: {why}. "
                "Nothing was changed."
            )
        out[name] = (space, element)
    return out
