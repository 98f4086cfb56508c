"""New numbers for the entries of a state_dict, put together operator by operator and checked for ties."""

from __future__ import annotations

import copy

import numpy as np
import torch
from numpy import ndarray
from torch import nn

from intertwiner.errors import NotInGauge
from intertwiner.network import Network, Param
from intertwiner.numerics.tolerance import ROUNDING


class Weights:
    """The tensors of a network as float64 arrays, to be written operator by operator.

    Args:
        network: The traced network; its tensors are copied.
    """

    def __init__(self, network: Network) -> None:
        self.arrays = {
            name: t.detach().to(torch.float64).cpu().numpy().copy()
            for name, t in network.state.items()
            if t.is_floating_point()
        }
        self._written: dict[str, ndarray] = {}

    def write(self, param: Param, array: ndarray) -> None:
        """Put ``array`` in the place of ``param``.

        Raises:
            NotInGauge: The numbers are computed from others, or shared with an operator that needs them otherwise.
        """
        if not param.is_rewritable:
            if np.array_equal(array, param.array):
                return
            raise NotInGauge(f"{param.name!r} is computed from other numbers and cannot be rewritten by itself")
        self.put(param.sources[0], array, param.places)

    def put(self, name: str, array: ndarray, places: ndarray | None = None) -> None:
        """Put numbers at some places of one entry, all of them by default."""
        entry = self.arrays[name].reshape(-1)
        done = self._written.setdefault(name, np.zeros(entry.size, dtype=bool))
        at = np.arange(entry.size) if places is None else places.reshape(-1)
        values = np.ascontiguousarray(array).reshape(-1)
        again = done[at]
        if np.any(np.abs(entry[at[again]] - values[again]) > ROUNDING * (1 + np.abs(values[again]))):
            raise NotInGauge(
                f"{name!r} is shared by operators that would need different numbers in it (tied weights): "
                "no parameter realises this change of coordinates. Nothing was changed."
            )
        entry[at] = values
        done[at] = True

    def module(self, model: nn.Module | Network, network: Network) -> nn.Module:
        """A deep copy of the model that holds the new numbers, in its own dtype."""
        return with_weights(model, network, self.arrays)


def with_weights(model: nn.Module | Network, network: Network, arrays: dict[str, ndarray]) -> nn.Module:
    """A deep copy of a model with some entries of its state replaced.

    A traced network comes back as its graph module, which takes the flattened inputs and returns a tuple.
    """
    if isinstance(model, nn.Module):
        out = copy.deepcopy(model)
        held = dict([*out.named_parameters(remove_duplicate=False), *out.named_buffers(remove_duplicate=False)])
    else:
        out = copy.deepcopy(network.module)
        held = {network.names[name]: t for name, t in out.named_buffers()}
    with torch.no_grad():
        for name, array in arrays.items():
            if name in held:
                held[name].copy_(torch.from_numpy(array))
    return out
