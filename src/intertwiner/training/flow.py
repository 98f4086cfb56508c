r"""Gradient flow: ``theta' = -gradient(theta)``, integrated so finely that what it conserves stays constant.

Steps of gradient descent change a conserved function in second order of the step size. To see whether it is conserved
at all, the flow itself is followed, by the Runge-Kutta method of order 8 of Dormand and Prince [Hairer, Norsett, Wanner
1993, sec. II.5]. Where the gradient jumps, as on a kink of ReLU, the step size shrinks until the jump does no harm.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float
from numpy import ndarray
from scipy.integrate import solve_ivp

from intertwiner.errors import Diverged, NonFiniteWeights, WrongUse

Gradient = Callable[[Float[ndarray, " D"]], Float[ndarray, " D"]]

ACCURATE = 1e-13
"""Relative and absolute error of a step: some hundred roundings of float64."""


@dataclass(frozen=True, eq=False)
class Flow:
    """The curve of gradient flow at some times.

    Args:
        times: From 0 to the end.
        path: The parameters at these times, one row each.
        evaluations: How often the gradient was evaluated.
    """

    times: Float[ndarray, " n"]
    path: Float[ndarray, "n D"]
    evaluations: int

    @property
    def end(self) -> Float[ndarray, " D"]:
        """The parameters at the end."""
        return self.path[-1]

    def drift(self, value: Callable[[Float[ndarray, " D"]], float]) -> float:
        """The largest change of a function of the parameters along the curve, counted from its start.

        Example:
            >>> flow = gradient_flow(lambda theta: theta, np.array([3.0, 4.0]), 1.0)
            >>> flow.drift(lambda theta: theta[1] / theta[0]) < 1e-12, flow.drift(np.sum) > 4
            (True, True)
        """
        values = np.array([float(value(theta)) for theta in self.path])
        return float(np.abs(values - values[0]).max())


def gradient_flow(
    gradient: Gradient,
    theta: Float[ndarray, " D"],
    time: float,
    *,
    points: int = 101,
    rtol: float = ACCURATE,
    atol: float = ACCURATE,
) -> Flow:
    """Follow ``theta' = -gradient(theta)`` from ``theta`` for some time.

    Args:
        gradient: The gradient of the loss at flat parameters.
        theta: The start.
        time: How long, above 0.
        points: Times at which the curve is kept, evenly spaced, both ends included.
        rtol: Error allowed per step, relative to each parameter.
        atol: The same, absolute.

    Returns:
        The curve.

    Raises:
        WrongUse: A time that is not above 0, or fewer than two points.
        NonFiniteWeights: NaN or infinity in the start.
        Diverged: The step size went to zero or the parameters to infinity.

    Cost:
        Twelve gradients per step; the number of steps grows with the stiffness, largest curvature times ``time``.

    Example:
        Half the square of the norm: everything shrinks as ``exp(-t)``.

        >>> end = gradient_flow(lambda theta: theta, np.array([1.0]), 1.0).end
        >>> bool(abs(end[0] - np.exp(-1.0)) < 1e-12)
        True
    """
    start = np.array(theta, dtype=np.float64).ravel()
    if not 0 < time < np.inf or points < 2:
        raise WrongUse(
            f"gradient flow needs a finite time above 0 and at least two points, got {time} and {points}. "
            "Nothing was computed."
        )
    if not np.isfinite(start).all():
        raise NonFiniteWeights(
            f"{int((~np.isfinite(start)).sum())} of {start.size} parameters are NaN or infinite. Nothing was computed."
        )

    def speed(_: float, at: ndarray) -> ndarray:
        return -np.asarray(gradient(at), dtype=np.float64)

    times = np.linspace(0.0, time, points)
    solved = solve_ivp(speed, (0.0, time), start, method="DOP853", t_eval=times, rtol=rtol, atol=atol)
    if not solved.success or not np.isfinite(solved.y).all():
        reached = solved.t[-1] if len(solved.t) else 0.0
        raise Diverged(
            f"gradient flow stopped at time {reached:.3g} of {time:.3g}: {solved.message} Usual cause: a loss that "
            "is not bounded below, or a gradient that is NaN. Next step: a shorter time."
        )
    return Flow(times, np.ascontiguousarray(solved.y.T), int(solved.nfev))
