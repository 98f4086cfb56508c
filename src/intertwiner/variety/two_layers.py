r"""Smooth and singular points of two layers without biases: ``f = sum_i c_i (x) l_i^r``, m forms in n inputs.

X is the closure of these functions, with k outputs, and does not fill its space.

* **Fewer neurons.** Where f needs m - 1 forms only, ``f + c (x) l^r`` lies in X for every c and l: all these directions
  are tangent at f and span the space, so f is singular. Inactive and repeated neurons are such cases.
* **Quadratic forms** (r = 2, k = 1, m <= n): symmetric matrices of rank at most m, singular exactly below rank m.
* **Independent forms** (r >= 3, k = 1, m <= n, the l_i independent, all c_i nonzero): f is smooth. Over the complex
  numbers f is ``x_1^r + ... + x_m^r``, and X has dimension m n. It is enough that the gradients at f of polynomials
  that vanish on X contain every monomial M in which no exponent of ``x_1, ..., x_m`` exceeds r - 2: there are as many
  as the codimension. For r >= 4 take the minors of order m + 1 of the catalecticant of degrees (2, r - 2): their
  gradients at f are the products of a monomial of degree 2 and one of degree r - 2, no powers of one x_i with i <= m,
  and every M is such a product. For r = 3 the degrees (1, 2) give every M with a variable beyond ``x_m``. For
  ``M = x_a x_b x_c`` restrict to the first m variables: with ``A_i`` the matrix of ``d f / d x_i`` and ``A_0`` their
  sum, ``A_a adj(A_0) A_b = A_b adj(A_0) A_a`` holds on X, and the gradient of its entry (c, b) at f is M.
"""

from __future__ import annotations

import numpy as np

from intertwiner.variety.degeneracy import Degeneracy
from intertwiner.variety.exact_rows import fractions, rank_of_fractions
from intertwiner.variety.subject import Subject

Decision = tuple[str, str, str, dict[str, str]]
"""Status ("smooth" or "singular"), reason, theorem, hypotheses with how each was checked."""


def two_layers(given: Subject, found: Degeneracy) -> Decision | str:
    """The decision for two layers of monomials without biases that do not fill, or why there is none.

    Args:
        given: Architecture and parameter.
        found: Its degeneracy.

    Cost:
        Nothing, or one elimination over the rationals of size n.
    """
    net = given.architecture
    n, m, k = net.widths
    r = net.activation.degree
    if k == 1 and r == 2 and m <= n:
        return _quadratic(given)
    fewer = [f for f in found.faults if f.kind in ("zero incoming", "zero outgoing", "repeated")]
    if fewer:
        reason = f"{fewer[0].text}; so the function needs fewer than {m} neurons, and every direction is tangent there"
        checked = {"fewer neurons suffice": "checked exactly", "the variety does not fill its space": "checked"}
        return "singular", reason, "points of a smaller secant variety are singular", checked
    if k == 1 and r >= 3 and m <= n and found.is_full:
        checked = {
            f"the {m} rows of the first layer are independent": "checked exactly",
            "no weight of the last layer is zero": "checked exactly",
        }
        reason = f"a sum of {m} powers of independent forms: minors of catalecticants cut the tangent space down to it"
        return "smooth", reason, "sums of powers of independent forms are smooth", checked
    if k > 1:
        return f"two layers with {k} outputs are decided here where fewer neurons suffice only"
    if m > n:
        return f"sums of {m} powers in {n} variables are decided here where fewer neurons suffice only"
    return f"the {m} forms are dependent and no two are proportional: fewer may suffice or not"


def _quadratic(given: Subject) -> Decision:
    (W, _), (C, _) = given.layers
    n, m, _ = given.architecture.widths
    rows, weights = fractions(W), fractions(C)[0]
    rank = rank_of_fractions(np.matmul(rows.T * weights, rows))
    theorem = "symmetric matrices of rank at most m, singular exactly where the rank is lower"
    status = "smooth" if rank == m else "singular"
    reason = f"the quadratic form has rank {rank}, and the variety is that of rank at most {m} in {n} variables"
    return status, reason, theorem, {f"{m} < {n}: the variety does not fill its space": "checked"}
