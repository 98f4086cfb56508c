"""Floats in the place of residues: the same evaluation and Jacobian in float64, where rounding does no harm."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from fractions import Fraction
from typing import Any

import numpy as np
from jaxtyping import Float
from numpy import ndarray

from intertwiner.exact.columns import Columns
from intertwiner.exact.evaluate import evaluate
from intertwiner.network import Network
from intertwiner.numerics.modular import Modulus


class Floats(Modulus):
    """Float64 with the operations of a modulus and nothing reduced."""

    def __init__(self) -> None:
        super().__init__()

    def reduce(self, x: ndarray) -> ndarray:
        return np.asarray(x, dtype=np.float64)

    def of(self, x: Any) -> ndarray:
        return np.asarray(x, dtype=np.float64)

    def fraction(self, value: Fraction) -> float:
        return float(value)

    def matmul(self, a: ndarray, b: ndarray) -> ndarray:
        return np.matmul(a, b)


def float_jacobian(
    network: Network, columns: Columns, inputs: Sequence[ndarray], choices: Mapping[str, ndarray]
) -> Float[ndarray, "b k p"]:
    """The Jacobian of all outputs by the parameters in float64, on the pieces that were certified.

    Cost: as ``Evaluation.jacobian``.
    """
    return evaluate(network, inputs, choices, Floats()).jacobian(columns)
