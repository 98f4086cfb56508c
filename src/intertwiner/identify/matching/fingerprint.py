r"""A short string that gauge-equivalent networks share: what the function answers at fixed inputs, in coarse digits.

The answers at seeded inputs do not depend on the gauge, nor on redundant neurons. They are read as eight numbers
``<c_k, y> / |y|`` along fixed random directions, each about normally distributed, and each is rounded to a cell of
width ``FINGERPRINT_CELL[dtype]``. Rounding of the weights by a relative delta moves such a number over the edge of its
cell with a probability of about ``delta / cell``.
"""

from __future__ import annotations

import hashlib
import math
from typing import Any

import numpy as np
import torch
from torch import nn

from intertwiner.errors import NonFiniteData
from intertwiner.identify.matching.probes import probes
from intertwiner.network import Network, trace
from intertwiner.numerics.tolerance import FINGERPRINT_CELL

SEED = 20260126
"""Of the inputs and of the directions."""

INPUTS = 64
NUMBERS = 8
LENGTH = 16


def fingerprint(model: nn.Module | Network, *, example: Any = None) -> str:
    """The fingerprint of a function, as ``iw1-f64-`` and sixteen hexadecimal digits.

    Equal for networks that are the same function up to the rounding of their weights, whatever their gauge; the names
    of modules do not matter, the dtype and the shapes of inputs and outputs do. It is a fingerprint, not a proof:

    * networks that are the same get different ones with a probability of about ``8 delta / cell``, delta the relative
      change of the answers by rounding: 1e-7 in float64 and 1e-3 in float32 for networks of moderate depth;
    * networks whose answers at 64 normal inputs agree to a cell (1e-6 in float64, 1e-2 in float32) get equal ones.

    ``match`` decides.

    Args:
        model: A module in evaluation mode, or a traced network.
        example: What ``trace`` needs, where the model is a module.

    Raises:
        NonFiniteData: The network answers with NaN or infinity.

    Cost:
        One trace and one forward pass on 64 inputs in float64.

    Example:
        >>> model = nn.Sequential(nn.Linear(1, 2), nn.ReLU(), nn.Linear(2, 1))
        >>> x = torch.zeros(2, 1)
        >>> print_of = fingerprint(model, example=x)
        >>> with torch.no_grad():
        ...     _ = model[0].weight.mul_(2), model[0].bias.mul_(2), model[2].weight.div_(2)
        >>> fingerprint(model, example=x) == print_of, len(print_of)
        (True, 24)
    """
    network = model if isinstance(model, Network) else trace(model, example)
    dtype = str(network.dtype).removeprefix("torch.")
    count = INPUTS if network.batch_size is None else network.batch_size
    answers = [
        y.to(torch.float64).cpu().numpy().ravel() for y in network.to(torch.float64)(*probes(network, count, SEED))
    ]
    digits = hashlib.sha256(repr(_shapes(network)).encode())
    for k, y in enumerate(answers):
        if not np.isfinite(y).all():
            raise NonFiniteData(
                f"output {network.outputs[k]!r} holds NaN or infinity at normal random inputs: no fingerprint"
            )
        digits.update(repr(_cells(y, FINGERPRINT_CELL[dtype], k)).encode())
    return f"iw1-{dtype[0]}{''.join(c for c in dtype if c.isdigit())}-{digits.hexdigest()[:LENGTH]}"


def _shapes(network: Network) -> tuple[Any, ...]:
    outputs = [network.node(name).sample_shape for name in network.nodes[-1].inputs]
    return str(network.dtype), [s.shape[1:] if s.batched else s.shape for s in network.inputs], outputs


def _cells(answers: np.ndarray, cell: float, output: int) -> list[int]:
    """The numbers of one output as whole multiples of the cell, and the size of the answers in eighths of an octave."""
    size = float(np.linalg.norm(answers))
    if size == 0:
        return []
    directions = np.random.default_rng([SEED, output, len(answers)]).normal(size=(NUMBERS, len(answers)))
    # Half a cell off zero: symmetric networks answer zero along whole directions.
    return [math.floor(v / cell + 0.25) for v in directions @ answers / size] + [math.floor(8 * math.log2(size) + 0.25)]
