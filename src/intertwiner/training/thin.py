r"""A stretch of layers from a single unit to a single unit moves along one curve.

Without biases such a stretch enters the network by a single number s: the product of linear layers, or the coefficient
of a power where a power of t stands between them. Every gradient field is, on the
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
from intertwiner.numerics.seeds import rng
from intertwiner.training.chain import Chain
from intertwiner.training.reparametrisation import Reparametrisation


def single_units(widths: tuple[int, ...]) -> tuple[int, int] | None:
    """The first and last space of width one, if layers lie between them.

    Shorter stretches give no more: on a curve everything is conserved that does not tell where on it one is.

    Example:
        >>> single_units((3, 1, 2, 2, 1)), single_units((1, 2, 2))
        ((1, 4), None)
    """
    ones = [k for k, width in enumerate(widths) if width == 1]
    return None if len(ones) < 2 else (ones[0], ones[-1])


def thin_stretch(chain: Chain) -> tuple[int, int] | None:
    """The stretch between single units, if the chain is linear without biases.

    Example:
        >>> thin_stretch(Chain((3, 1, 2, 2, 1))), thin_stretch(Chain((1, 1), bias=True))
        ((1, 4), None)
    """
    return None if chain.activation != "linear" or chain.bias else single_units(chain.widths)


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
    return one_curve(part, int(chain.matrices[first].min()), theta, field)


def one_curve(
    part: Reparametrisation, start: int, theta: Float[ndarray, " D"], field: Modulus
) -> Float[ndarray, "laws D"]:
    """Gradients of everything that is conserved on a part whose phi is a single number.

    Args:
        part: The part; its parameters stand together in the whole.
        start: The first of them.
        theta: Residues of all parameters.
        field: The modulus.
    """
    inside = slice(start, start + part.parameters)
    space = Echelon(part.parameters, field)
    space.add(part.draw(1, field, rng(0)).gradients(theta[None, inside], field)[0])
    out = np.zeros((len(space.free), len(theta)))
    out[:, inside] = field.reduce(space.null_space().T)
    return out
