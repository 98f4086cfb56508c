r"""A stretch of linear layers from a single unit to a single unit moves along one curve.

Without biases such a stretch enters the network by its product s alone, a number. Every gradient field is, on the
parameters of the stretch, a multiple of the gradient of s, so they stay on one integral curve of it: as many laws as
parameters less one, functions that are not polynomials in general. They exist wherever the gradient is not zero, and
their gradients span its orthogonal complement.
"""

from __future__ import annotations

import numpy as np
from jaxtyping import Float
from numpy import ndarray

from intertwiner.numerics.modular import Modulus
from intertwiner.numerics.modular_echelon import Echelon
from intertwiner.training.chain import Chain
from intertwiner.training.potentials import Potentials, gradients


def thin_stretch(chain: Chain) -> tuple[int, int] | None:
    """The first and last space of width one, if layers lie between them and the chain is linear without biases.

    Shorter stretches give no more: on a curve everything is conserved that does not tell where on it one is.

    Example:
        >>> thin_stretch(Chain((3, 1, 2, 2, 1))), thin_stretch(Chain((1, 2, 2)))
        ((1, 4), None)
    """
    ones = [k for k, width in enumerate(chain.widths) if width == 1]
    if chain.activation != "linear" or chain.bias or len(ones) < 2:
        return None
    return ones[0], ones[-1]


def thin_gradients(chain: Chain, theta: Float[ndarray, " D"], field: Modulus) -> Float[ndarray, "laws D"]:
    """Gradients of the laws of the thin stretch at a point modulo p: one row per law, none without a stretch.

    Example:
        >>> thin_gradients(Chain((1, 1, 1)), np.array([2.0, 3.0]), Modulus(7))
        array([[-3.,  1.]])
    """
    stretch = thin_stretch(chain)
    if stretch is None:
        return np.zeros((0, len(theta)))
    first, last = stretch
    part = Chain(chain.widths[first : last + 1])
    start = int(chain.matrices[first].min())
    inside = slice(start, start + part.parameters)
    product = Potentials(part, None, np.ones((1, 1, 1)), np.eye(1))
    space = Echelon(part.parameters, field)
    space.add(gradients(product, theta[None, inside], field)[0])
    out = np.zeros((len(space.free), len(theta)))
    out[:, inside] = field.reduce(space.null_space().T)
    return out
