"""A chain of equivariant layers in isotypic blocks, hidden neurons put in grouped order, each layer where it is faster.

The order of hidden neurons is free: rows of one weight and columns of the next are permuted once, so that no layer
gathers between its orbits. Input and output keep their order. Whether a layer runs in blocks or dense is measured layer
by layer on the activations that reach it, and the chain as a whole once more beside the dense chain.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float
from numpy import ndarray
from torch import Tensor, nn

from intertwiner.algebra import Group, Representation
from intertwiner.errors import CannotRewrite, ShapeMismatch
from intertwiner.network.functions import torch_function
from intertwiner.numerics.monomial import Monomial
from intertwiner.rewrite.executors import Fastest, choose, fastest
from intertwiner.rewrite.isotypic import IsotypicLinear
from intertwiner.rewrite.isotypic_orbits import orbit_layout
from intertwiner.rewrite.layers import TwinChain


@dataclass(frozen=True, eq=False)
class ChainLayer:
    """One equivariant layer ``s(W u + b)``.

    Args:
        weight: W.
        bias: b; None for a layer without.
        rho: How the group acts on ``W u + b``.
        after: How it acts on what the next layer reads.
        function: s, pointwise; it must take ``rho`` to ``after``. None after the last layer.
    """

    weight: Float[ndarray, "m d"]
    bias: Float[ndarray, " m"] | None
    rho: Representation
    after: Representation
    function: Callable[[Tensor], Tensor] | None = None


class Pointwise(nn.Module):
    """A pointwise function as a module."""

    def __init__(self, function: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.function = function

    def forward(self, x: Tensor) -> Tensor:
        return self.function(x)


@dataclass(frozen=True, eq=False)
class FastestChain:
    """A chain, its layers as they were chosen, and what it was chosen by.

    Args:
        layers: The choice of every layer alone.
        whole: The chain of the chosen layers beside the dense chain; its ``chosen`` is what to run.
    """

    layers: tuple[Fastest, ...]
    whole: Fastest

    def __str__(self) -> str:
        names = ", ".join(f"{k}: {layer.chosen.name}" for k, layer in enumerate(self.layers))
        return f"{self.whole}; by layer {names}"


def chain_layers(chain: TwinChain, group: Group) -> tuple[list[ChainLayer], Representation]:
    """The layers of a twin and the action on its input, as ``isotypic_chain`` takes them; samples come flattened.

    Args:
        chain: The twin.
        group: The group whose generators the actions of the twin are given by.

    Raises:
        CannotRewrite: An activation without a function in torch.
    """
    layers = []
    for layer in chain.layers:
        function = None if layer.pointwise is None else torch_function(layer.pointwise.name)
        if function is None and layer.pointwise is not None:
            raise CannotRewrite(f"no torch function is known for the activation {layer.pointwise.name!r}")
        bias = layer.bias if layer.bias.any() else None
        rho, after = (Representation(group, action, dimension=layer.width) for action in (layer.rho, layer.after))
        layers.append(ChainLayer(layer.weight, bias, rho, after, function))
    return layers, Representation(group, chain.rho_in, dimension=chain.widths[0])


def isotypic_chain(
    layers: Sequence[ChainLayer], rho_in: Representation, dtype: torch.dtype = torch.float32
) -> nn.Sequential:
    """The chain as trainable isotypic layers, hidden neurons in grouped order.

    Args:
        layers: The layers, first to last; weights in Hom_G (others are projected to it).
        rho_in: How the group acts on the input.
        dtype: Precision of the parameters.

    Raises:
        ShapeMismatch: A weight that does not fit its representations.

    Cost:
        As ``IsotypicLinear.from_dense``, per layer.
    """
    out: list[nn.Module] = []
    read, columns = rho_in, np.arange(rho_in.dimension)
    for k, layer in enumerate(layers):
        if layer.weight.shape != (layer.rho.dimension, read.dimension):
            raise ShapeMismatch(
                f"layer {k}: a weight of shape {layer.weight.shape} between dimensions {read.dimension} and "
                f"{layer.rho.dimension}"
            )
        free = k + 1 < len(layers) and layer.rho.is_signed_permutation
        rows = orbit_layout(layer.rho).order if free else np.arange(layer.rho.dimension)
        made = IsotypicLinear.from_dense(
            np.asarray(layer.weight, dtype=np.float64)[np.ix_(rows, columns)],
            _reordered(read, columns),
            _reordered(layer.rho, rows),
            bias=None if layer.bias is None else np.asarray(layer.bias, dtype=np.float64)[rows],
        ).layer
        # The chain vouches that the function takes rho to after; signs are back in place where it is applied.
        made.activation = None if layer.function is None else Pointwise(layer.function)
        out.append(made.to(dtype))
        read, columns = layer.after, rows
    return nn.Sequential(*out)


def fastest_chain(chain: nn.Sequential, example: Tensor, *, rounds: int = 7, compiled: bool = True) -> FastestChain:
    """Choose blocks or dense for every layer of a chain by measuring, then the chain as a whole.

    Args:
        chain: As ``isotypic_chain`` makes it.
        example: An input of the batch that matters.
        rounds: Alternating rounds, at least 5.
        compiled: Whether to try ``torch.compile`` too.

    Raises:
        WrongUse: Fewer than 5 rounds.

    Cost:
        ``fastest`` for every layer and for the chain.
    """
    found, mixed, dense = [], [], []
    x = example
    for layer in chain:
        if not isinstance(layer, IsotypicLinear):
            raise ShapeMismatch(f"expected isotypic layers, got {type(layer).__name__}: see isotypic_chain")
        choice = fastest(layer, x, rounds=rounds, compiled=compiled)
        found.append(choice)
        mixed.append(choice.chosen.module)
        dense.append(choice.dense.module)
        with torch.no_grad():
            x = choice.dense.module(x)
    pair = (("blocks", nn.Sequential(*mixed)), ("dense", nn.Sequential(*dense)))
    return FastestChain(tuple(found), choose(pair, example, rounds=rounds, compiled=compiled))


def _reordered(rho: Representation, order: ndarray) -> Representation:
    """The representation on coordinates of which number k was ``order[k]``."""
    if np.array_equal(order, np.arange(rho.dimension)):
        return rho
    p = Monomial(np.argsort(order))
    images = tuple(p @ m @ p.inverse() if isinstance(m, Monomial) else m[np.ix_(order, order)] for m in rho.images)
    return Representation(rho.group, images, dimension=rho.dimension, check=False)
