"""A chain as a plain ``nn.Module``: linear layers and one function between them, nothing of the library inside."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn

from intertwiner.errors import CannotRewrite
from intertwiner.network.functions import torch_function
from intertwiner.rewrite.layers import TwinChain


class ChainModule(nn.Module):
    """``x -> W_L s(... s(W_1 x + b_1) ...) + b_L`` on flattened samples.

    Args:
        widths: Input, hidden layers, output.
        activations: The function after every layer but the last, as the table of activations spells it.
        biased: Which layers have a bias.

    Raises:
        CannotRewrite: An activation without a function in torch.

    Example:
        >>> ChainModule([2, 3, 1], ["relu"], [True, False])(torch.zeros(5, 2)).shape
        torch.Size([5, 1])
    """

    def __init__(self, widths: Sequence[int], activations: Sequence[str], biased: Sequence[bool]) -> None:
        super().__init__()
        self.layers = nn.ModuleList(
            nn.Linear(a, b, bias=has) for (a, b), has in zip(pairwise(widths), biased, strict=True)
        )
        functions = [torch_function(name) for name in activations]
        if None in functions:
            name = activations[functions.index(None)]
            raise CannotRewrite(f"no torch function is known for the activation {name!r}. Nothing was written.")
        self.functions = [f for f in functions if f is not None]
        self.activations = tuple(activations)

    def forward(self, x: Tensor) -> Tensor:
        x = x.flatten(1)
        for layer, function in zip(self.layers, self.functions, strict=False):
            x = function(layer(x))
        return self.layers[-1](x)


def to_chain_module(chain: TwinChain, dtype: torch.dtype) -> ChainModule:
    """The layers in torch, in evaluation mode; layers whose bias is zero have none.

    Rounding to a smaller type keeps ties: equal numbers round to equal numbers, opposite ones to opposite ones.
    """
    biased = [bool(layer.bias.any()) for layer in chain.layers]
    names = [layer.pointwise.name for layer in chain.layers if layer.pointwise is not None]
    module = ChainModule(chain.widths, names, biased).to(dtype)
    with torch.no_grad():
        for target, layer in zip(module.layers, chain.layers, strict=True):
            target.weight.copy_(torch.from_numpy(layer.weight))  # type: ignore[union-attr,operator]
            if layer.bias.any():
                target.bias.copy_(torch.from_numpy(layer.bias))  # type: ignore[union-attr,operator]
    return module.eval()
