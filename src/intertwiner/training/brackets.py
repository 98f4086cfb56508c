r"""Elements of the Lie algebra of the gradient fields at a point, by jets along random curves.

Let ``X_t`` be a field of V that depends on time, ``theta(t)`` its curve and Y a field of V. Pulled back along the flow
to ``theta(0)``, Y satisfies ``d/dt (flow^-1 Y) = flow^-1 [X_t, Y]``, so all its Taylor coefficients are sums of
iterated brackets at ``theta(0)``. With ``A(t)`` the derivative of ``X_t`` along the curve, the n-th derivative is
``(d/dt - A)^n Y(theta(t))`` at 0: n products with a matrix, for many Y at once. For generic ``X_t`` the coefficients
span all of Lie(V) [Sontag 1992, universal nonsingular controls]; the proofs of this room do not rest on that, only on
their being elements. Several curves reach as far with fewer nested brackets.
"""

from __future__ import annotations

import numpy as np
from jaxtyping import Float
from numpy import ndarray

from intertwiner.errors import WrongUse
from intertwiner.numerics.modular import Modulus
from intertwiner.numerics.seeds import rng
from intertwiner.training.reparametrisation import Drawn, Reparametrisation


def brackets(
    phi: Reparametrisation, point: Float[ndarray, " D"], field: Modulus, *, depth: int, seed: int = 0
) -> Float[ndarray, "fields D"]:
    """Elements of Lie(V) at a point, with up to ``depth`` brackets nested in one another.

    Args:
        phi: The model as its reparametrisation: a chain, a circuit.
        point: Residues of the parameters.
        field: The modulus, its prime above ``depth``.
        depth: The power of t that is looked at; 0 gives the fields of V themselves.
        seed: Decides the fields and the curve.

    Returns:
        One row per field Y, as many as phi has entries but at most D.

    Raises:
        WrongUse: If the prime is not above the depth, or the depth is negative.

    Cost:
        ``depth^2 / 2`` products of ``fields x D x D`` and ``depth`` Hessians along the curve.

    Example:
        Two layers of width one: a single field, whose brackets vanish.

        >>> from intertwiner.training import Chain
        >>> chain, point = Chain((1, 1, 1)), np.array([2.0, 3.0])
        >>> [bool(brackets(chain, point, Modulus(), depth=n).any()) for n in range(3)]
        [True, False, False]
    """
    if not 0 <= depth < field.prime:
        raise WrongUse(
            f"jets divide by the numbers up to the depth, so it must be from 0 to below the prime {field.prime}, "
            f"got {depth}. Nothing was computed."
        )
    random = rng(seed)
    # D random fields do for all of V: a linear map to D dimensions has its full rank on a generic subspace that large.
    fields = phi.draw(min(phi.dimension, phi.parameters), field, random)
    controls = [phi.draw(1, field, random) for _ in range(depth)]
    return _derivative(fields, controls, _curve(controls, point, field), field)


def _curve(controls: list[Drawn], point: Float[ndarray, " D"], field: Modulus) -> Float[ndarray, "orders D"]:
    """Taylor coefficients of the curve of ``X_t = sum_i t^i grad(control_i)``, one more than there are controls."""
    theta = np.zeros((len(controls) + 1, len(point)))
    theta[0] = point
    for n in range(len(controls)):
        speed = sum(controls[i].gradients(theta[: n - i + 1], field)[n - i, 0] for i in range(n + 1))
        theta[n + 1] = field.mul(field.reduce(np.asarray(speed)), field.inverse(n + 1))
    return theta


def _derivative(
    fields: Drawn, controls: list[Drawn], theta: Float[ndarray, "orders D"], field: Modulus
) -> Float[ndarray, "fields D"]:
    """``(d/dt - A)^n Y`` at 0 for every field Y, n the number of controls."""
    steps = len(controls)
    rows = fields.gradients(theta, field)
    if not steps:
        return rows[0]
    slope = np.zeros((steps, theta.shape[1], theta.shape[1]))
    for i, control in enumerate(controls):
        slope[i:] += control.hessian(theta[: steps - i], field)
    slope = field.reduce(slope)
    for left in range(steps, 0, -1):
        # A is symmetric, so rows may be multiplied from the right.
        turned = [sum(field.matmul(rows[n - i], slope[i]) for i in range(n + 1)) for n in range(left)]
        rows = np.stack([field.reduce((n + 1) * rows[n + 1] - turned[n]) for n in range(left)])
    return rows[0]
