r"""A fully connected network as a product of matrices whose entries are numbered parameters.

Layer l is ``x -> W_l x + b_l``. With a bias it acts on ``(x, 1)`` as ``[W_l b_l; 0 1]``, the last layer without the
lower row. The network is seen through its local reparametrisation phi [Marcotte, Gribonval, Peyre 2023, sec. 2]: for
linear networks the entries of the product of all matrices, for ReLU networks the products of weights along all paths
from an input or a bias to an output. Parameters are flat in the order of ``nn.Sequential``: ``W_1`` row by row,
``b_1``, ``W_2``, and so on.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from math import prod

import numpy as np
from jaxtyping import Int
from numpy import ndarray

from intertwiner.errors import WrongUse
from intertwiner.numerics.modular import Modulus
from intertwiner.training.potentials import ONE, ZERO, Potentials, residues

ACTIVATIONS = ("linear", "relu")


@dataclass(frozen=True)
class Chain:
    """The widths of a fully connected network, what stands between its layers, and where its parameters are.

    Args:
        widths: Input, hidden and output widths, at least two numbers of at least 1.
        activation: ``"linear"`` or ``"relu"``; it stands between the layers, not after the last.
        bias: Whether every layer has one.

    Raises:
        WrongUse: For widths or an activation that are no such thing.

    Example:
        >>> chain = Chain((2, 3, 1), "relu", bias=True)
        >>> chain.parameters, chain.dimension
        (13, 10)
        >>> chain.matrices[1]
        array([[ 9, 10, 11, 12]])
    """

    widths: tuple[int, ...]
    activation: str = "linear"
    bias: bool = False

    def __post_init__(self) -> None:
        whole = all(isinstance(w, int | np.integer) and not isinstance(w, bool) for w in self.widths)
        if len(self.widths) < 2 or not whole or min(self.widths) < 1:
            raise WrongUse(
                f"a chain needs at least two widths, whole numbers of at least 1, got {self.widths!r}. "
                "Usual cause: the input or output width was left out. Nothing was computed."
            )
        if self.activation not in ACTIVATIONS:
            raise WrongUse(
                f"conservation laws are known here for {' and '.join(ACTIVATIONS)} layers, got {self.activation!r}. "
                "Other activations leave at most the laws of their gauge group. Nothing was computed."
            )
        object.__setattr__(self, "widths", tuple(int(w) for w in self.widths))

    @property
    def depth(self) -> int:
        """Number of layers."""
        return len(self.widths) - 1

    @property
    def parameters(self) -> int:
        """Number of parameters D."""
        return sum(b * (a + self.bias) for a, b in zip(self.widths, self.widths[1:], strict=False))

    @property
    def dimension(self) -> int:
        """Number of entries of phi: those of the product (linear), or the paths (ReLU)."""
        w = self.widths
        if self.activation == "linear":
            return w[-1] * (w[0] + self.bias)
        return prod(w) + (sum(prod(w[k:]) for k in range(1, len(w))) if self.bias else 0)

    @cached_property
    def matrices(self) -> tuple[Int[ndarray, "out in"], ...]:
        """The number of every entry of every matrix, first layer first; ``ZERO`` and ``ONE`` where it is fixed."""
        out, start = [], 0
        for layer, (fan_in, fan_out) in enumerate(zip(self.widths, self.widths[1:], strict=False)):
            below = int(self.bias and layer < self.depth - 1)
            numbers = np.full((fan_out + below, fan_in + self.bias), ZERO)
            weights = fan_in * fan_out
            numbers[:fan_out, :fan_in] = np.arange(start, start + weights).reshape(fan_out, fan_in)
            start += weights
            if self.bias:
                numbers[:fan_out, fan_in] = np.arange(start, start + fan_out)
                start += fan_out
            if below:
                numbers[fan_out, fan_in] = ONE
            out.append(numbers)
        return tuple(out)

    def draw(self, count: int, field: Modulus, random: np.random.Generator) -> Potentials:
        """Random functions ``<c, phi>``: every one in the span of phi, every element of the span a sum of such.

        Example:
            >>> from intertwiner.numerics.seeds import rng
            >>> Chain((2, 3, 1), "relu").draw(4, Modulus(), rng(0)).gradients(np.ones((1, 9)), Modulus()).shape
            (1, 4, 9)
        """
        inputs = self.widths[0] + self.bias
        if self.activation == "linear":
            ends = residues((count, self.widths[-1], inputs), field, random)
            return Potentials(self.matrices, None, ends, np.eye(inputs))
        masks = tuple(residues((count, *numbers.shape), field, random) for numbers in self.matrices)
        return Potentials(self.matrices, masks, np.ones((1, self.widths[-1], 1)), np.ones((inputs, 1)))

    def __str__(self) -> str:
        return f"{self.activation} network {self.widths}{' with biases' if self.bias else ''}"
