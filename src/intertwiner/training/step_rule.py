r"""What one step of an optimiser does to a law, in closed form where there is one.

A law is ``h = <A theta, theta>`` plus linear terms (degree 2) or ``h = <a, theta>`` (degree 1), conserved by gradient
flow: ``<grad h, g> = 0`` for the gradient g of every loss. Gradient descent with momentum mu, dampening tau and weight
decay lambda moves along ``v_n = mu v_{n-1} + (1 - tau)(g_n + lambda theta_n)`` to ``theta_{n+1} = theta_n - eta v_n``.
With ``c_n = <grad h(theta_n), v_{n-1}> / d`` and ``q_n = <v_n, A v_n>`` (0 for degree 1), d the degree,

    a_n     = (1 - tau) lambda h_n + mu c_n            this is <grad h(theta_n), v_n> / d
    h_{n+1} = h_n - d eta a_n + eta^2 q_n
    c_{n+1} = a_n - eta q_n

exactly. Without momentum and decay ``h_{n+1} = h_n + eta^2 <g_n, A g_n>``: a fixed time takes ``1/eta`` steps, so the
drift is proportional to the step size. Decay alone multiplies h by ``(1 - eta lambda)^d`` per step, in the limit by
``exp(-d lambda t)``. Momentum is summed as torch does it [torch.optim.SGD].
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from jaxtyping import Float
from numpy import ndarray


@dataclass(frozen=True)
class StepRule:
    """How the parameters of a law are stepped.

    Args:
        momentum: mu.
        dampening: tau.
        decay: lambda, added to the gradient.
        broken: Why nothing is predicted; empty where the recursion holds.

    Example:
        >>> print(StepRule(decay=0.5).effect(2))
        weight decay 0.5: no longer conserved, it decays as exp(-1 t), t the sum of the step sizes
    """

    momentum: float = 0.0
    dampening: float = 0.0
    decay: float = 0.0
    broken: str = ""

    def effect(self, degree: int) -> str:
        """What the rule does to a law of this degree, in words; empty for plain gradient descent."""
        if self.broken:
            return self.broken
        out = []
        if self.decay:
            out.append(
                f"weight decay {self.decay:g}: no longer conserved, it decays as exp(-{degree * self.decay:g} t), t "
                "the sum of the step sizes"
            )
        if self.momentum and degree == 2:
            out.append(
                f"momentum {self.momentum:g}: older gradients were orthogonal to the law where they were taken, not "
                "where they are used; the drift is still proportional to the step size"
            )
        return "; ".join(out)


@dataclass
class Recursion:
    """The state of the recursion for the laws of one family.

    Args:
        degree: 1 or 2.
        value: h.
        carried: c, how the last step lies to the law; zero where no sum of gradients is kept.
        first: Whether no sum of gradients is kept yet: torch starts it undampened.

    Example:
        Gradient descent on ``(w_2 w_1 - 1)^2 / 2`` from ``w_1, w_2 = 1, 2`` with step 1/2: the gradient is (2, 1), and
        ``h = w_2^2 - w_1^2`` goes from 3 to ``1.5^2 - 0^2``.

        >>> import numpy as np
        >>> h = Recursion(2, np.array([3.0]), np.zeros(1))
        >>> h.step(0.5, np.array([1.0 - 4.0]), StepRule())
        >>> h.value
        array([2.25])
    """

    degree: int
    value: Float[ndarray, " laws"]
    carried: Float[ndarray, " laws"]
    first: bool = True

    def step(self, rate: float, form: Float[ndarray, " laws"], rule: StepRule) -> None:
        """One step.

        Args:
            rate: The step size eta.
            form: ``<v, A v>`` with momentum, otherwise ``<g, A g>``; ignored for degree 1.
            rule: Momentum, dampening, decay.
        """
        fresh = 1.0 if self.first or not rule.momentum else 1.0 - rule.dampening
        along = fresh * rule.decay * self.value + rule.momentum * self.carried
        bend: Any = 0.0
        if self.degree == 2:
            # <v, A v> for v = g + lambda theta: the mixed term vanishes, because g is orthogonal to grad h.
            bend = form if rule.momentum else form + rule.decay**2 * self.value
        self.value = self.value - self.degree * rate * along + rate**2 * bend
        if rule.momentum:
            self.carried, self.first = along - rate * bend, False
