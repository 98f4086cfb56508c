"""Inputs to ask a network at: drawn from a seed, at several sizes, integers where it takes integers."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor

from intertwiner.network import Embedding, Input, Network

SIZES = (1.0, 0.1, 10.0, 100.0)
"""Standard deviations of drawn inputs: a neuron with a large bias is active only far out."""

Inputs = tuple[Tensor, ...]


def probes(network: Network, count: int, seed: int, *, size: float = 1.0) -> Inputs:
    """Normal random inputs in float64; random tokens within the table that looks them up.

    Free axes have the size of the example. Inputs without a batch axis are those of the example.
    """
    rng = np.random.default_rng(seed)
    tokens = _tokens(network)
    out = []
    for spec, example in zip(network.inputs, network.example, strict=True):
        shape = (count, *spec.shape[1:]) if spec.batched else spec.shape
        if spec.dtype.is_floating_point:
            x = torch.from_numpy(size * rng.normal(size=shape))
        elif spec.dtype == torch.bool:
            x = torch.from_numpy(rng.integers(0, 2, shape).astype(bool))
        else:
            high = tokens.get(spec.name, int(example.max()) + 1 if example.numel() else 1)
            x = torch.from_numpy(rng.integers(0, max(1, high), shape)).to(spec.dtype)
        out.append((x if spec.batched else widened(example)).to(network.device))
    return tuple(out)


def probe_batches(network: Network, count: int, seed: int) -> Iterator[Inputs]:
    """Probes at every size, the nearest ones first."""
    floating = any(spec.dtype.is_floating_point for spec in network.inputs)
    for k, size in enumerate(SIZES if floating else SIZES[:1]):
        yield probes(network, count, seed + k, size=size)


def widened(x: Tensor) -> Tensor:
    """In float64 where it is floating."""
    return x.detach().to(torch.float64) if x.is_floating_point() else x


def _tokens(network: Network) -> dict[str, int]:
    """Rows of the smallest table that looks up an input, by its name."""
    out: dict[str, int] = {}
    for node in network.nodes:
        if isinstance(node.op, Embedding):
            source = network.node(node.inputs[0])
            while not isinstance(source.op, Input) and source.inputs:
                source = network.node(source.inputs[0])
            if isinstance(source.op, Input):
                rows = len(node.op.weight.array)
                out[source.op.name] = min(rows, out.get(source.op.name, rows))
    return out
