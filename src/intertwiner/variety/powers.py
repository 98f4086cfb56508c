r"""Two layers of monomials: k combinations of m powers of linear forms in n variables, and where they are too few.

``sum_i c_i (w_i x)^r`` with c_i in k-space is a point of the m-th secant variety of the Segre-Veronese variety of
degree (1, r). One expects ``min(m (n + k - 1), k C(n + r - 1, r))`` dimensions.

* k = 1: true but for quadratic forms of rank m < n, where ``m n - m (m - 1) / 2`` is right, and for four cases with one
  dimension less: (n, r, m) = (3, 4, 5), (4, 4, 9), (5, 4, 14), (5, 3, 7) [Alexander, Hirschowitz 1995].
* k = 3, r = 2, n even, m = 3 n / 2 - 1: a hypersurface at most [Strassen 1983; Ottaviani 2009]. Put symmetric
  matrices A_1, A_2, A_3 in place of a vector c into its cross product ``[c]_x``: a skew matrix of size 3 n, and of rank
  2 for one term ``c (x) w w^T``, so of rank at most 2 m = 3 n - 2 for m terms: its determinant vanishes. It is not zero
  everywhere: 1 for n = 2 and ``A_1 = e_1 e_1^T, A_2 = e_2 e_2^T, A_3 = e_1 e_2^T + e_2 e_1^T``, or n / 2 such blocks.
* m <= n + 2: a rational normal curve C passes through the m points w_i of P^{n-1} [Castelnuovo; Harris 1992, thm 1.18].
  Tangent spaces of P^{k-1} x C at m points have k + 1 dimensions each, m (k + 1) together, but lie in the span of that
  variety, of ``k (r (n - 1) + 1)`` dimensions. They are parts of the tangent spaces whose sum is the tangent space of
  the secant variety [Terracini], so what they have in excess is missing there. So pairs of plane cubics (k, r, n, m) =
  (2, 3, 3, 5) [London 1890], and (5, 2, 4, 6).
"""

from __future__ import annotations

from dataclasses import dataclass
from math import comb

EXCEPTIONS = {(3, 4, 5), (4, 4, 9), (5, 4, 14), (5, 3, 7)}
"""(n, r, m) with one dimension less than expected, for one output."""

ALEXANDER_HIRSCHOWITZ = "dimensions of sums of powers [Alexander, Hirschowitz 1995]"


@dataclass(frozen=True)
class Known:
    """A bound, and the theorem that gives it.

    Args:
        value: At most so many dimensions.
        reason: In words.
        source: The theorem.
        exact: Whether the theorem says that so many are reached.
    """

    value: int
    reason: str
    source: str
    exact: bool


def power_sums(n: int, m: int, k: int, r: int) -> Known | None:
    """What is known about k combinations of m r-th powers of linear forms in n variables.

    Args:
        n: Variables.
        m: Powers.
        k: Outputs.
        r: Degree, at least 2.

    Returns:
        None where no theorem that is known here says more than the count.

    Example:
        >>> power_sums(3, 5, 1, 4).value, power_sums(3, 2, 1, 2).value, power_sums(4, 5, 3, 2).value
        (14, 5, 29)
        >>> power_sums(4, 4, 3, 2) is None
        True
    """
    ambient = k * comb(n + r - 1, r)
    if k == 1 and r == 2:
        rank = min(m, n)
        value = rank * n - rank * (rank - 1) // 2
        return Known(value, f"quadratic forms of rank at most {rank}", "symmetric matrices of bounded rank", exact=True)
    if k == 1:
        value = min(m * n, ambient)
        if (n, r, m) in EXCEPTIONS:
            return Known(value - 1, f"{m} powers of degree {r} in {n} variables", ALEXANDER_HIRSCHOWITZ, exact=True)
        return Known(value, f"{m} powers of degree {r} in {n} variables", ALEXANDER_HIRSCHOWITZ, exact=True)
    if k == 3 and r == 2 and n % 2 == 0 and n >= 4 and 2 * m == 3 * n - 2:
        source = "Strassen's determinant of three quadratic forms [Strassen 1983; Ottaviani 2009; proof in powers.py]"
        return Known(ambient - 1, f"three quadratic forms with {m} common squares", source, exact=False)
    excess = m * (k + 1) - k * (r * (n - 1) + 1)
    if excess > 0 and n >= 2 and m <= n + 2 and m * (n + k - 1) - excess < ambient:
        reason = f"{m} points on a rational normal curve in {n} variables"
        return Known(m * (n + k - 1) - excess, reason, "Terracini's lemma on a rational normal curve", exact=False)
    return None
