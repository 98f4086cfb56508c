r"""What the count of conservation laws needs to know of a model: random functions ``<c, phi>`` and their derivatives.

Training moves theta along gradients of ``L(theta) = l(phi(theta))``, so along combinations of the gradients of the
entries of phi, the local reparametrisation; their span is V [Marcotte, Gribonval, Peyre 2023, sec. 2]. Whoever draws
random elements of the span of phi and differentiates them twice along a curve has given V to ``brackets`` and to
``count_conserved``: a chain of layers does it fast, any circuit does it (``circuit.py``).

A curve is its Taylor coefficients, the power of t on the first axis; so are all results.
"""

from __future__ import annotations

from typing import Protocol

import numpy as np
from jaxtyping import Float
from numpy import ndarray

from intertwiner.numerics.modular import Modulus


class Drawn(Protocol):
    """Several functions ``<c, phi>`` of the parameters."""

    def gradients(self, theta: Float[ndarray, "orders D"], field: Modulus) -> Float[ndarray, "orders count D"]:
        """Their gradients along a curve, as many Taylor coefficients as the curve has."""
        ...

    def hessian(self, theta: Float[ndarray, "orders D"], field: Modulus) -> Float[ndarray, "orders D D"]:
        """The Hessian along a curve; asked only of a single function."""
        ...


class Reparametrisation(Protocol):
    """A model as its local reparametrisation phi. ``str`` names it in messages and records."""

    @property
    def parameters(self) -> int:
        """Number of parameters D."""
        ...

    @property
    def dimension(self) -> int:
        """A bound for the number of entries of phi, or D: so many random functions span V at a generic point."""
        ...

    def draw(self, count: int, field: Modulus, random: np.random.Generator) -> Drawn:
        """Random functions in the span of phi; all of it is in the span of enough of them."""
        ...
