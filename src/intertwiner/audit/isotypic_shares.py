"""How the variance of a layer is shared among the irreps of its latent action."""

from __future__ import annotations

from typing import Any

import numpy as np
from jaxtyping import Float
from numpy import ndarray

from intertwiner.algebra import Representation
from intertwiner.numerics.monomial import Monomial

LARGEST = 50_000_000
"""Numbers (group elements times neurons) up to which shares are computed."""


def irrep_rows(representation: Representation, covariance: Float[ndarray, "n n"] | None) -> list[dict[str, Any]]:
    r"""The irreps of a representation with multiplicities and, where a covariance is given, shares of its trace.

    The share of an irrep is ``tr(P C) / tr(C)`` with the projector ``P = d / (e |G|) sum_g chi(g) rho(g)``, d the
    real dimension and e = 1, 2, 4 for real, complex and quaternionic type [Serre 1977, sec. 2.6].

    Args:
        representation: The latent action on the distinct neurons.
        covariance: Of the same neurons.

    Cost:
        One gather of n numbers per group element; skipped above ``LARGEST``.
    """
    shares = {} if covariance is None else _shares(representation, covariance)
    return [
        {
            "name": irrep.name,
            "dimension": irrep.dimension,
            "type": irrep.type,
            "multiplicity": multiplicity,
            "share": shares.get(irrep.name),
        }
        for irrep, multiplicity in representation.isotypic().items()
    ]


def _shares(representation: Representation, covariance: ndarray) -> dict[str, float]:
    group, n = representation.group, representation.dimension
    total = float(np.trace(covariance))
    if total <= 0 or group.order * n > LARGEST or covariance.shape != (n, n):
        return {}
    if representation.is_monomial:
        traces = np.array([_monomial_trace(m, covariance) for m in _all_images(representation)])
    else:
        traces = np.array([np.sum(representation.matrix(g) * covariance.T) for g in range(group.order)])
    return {
        irrep.name: float(
            irrep.dimension / (irrep.commutant_dimension * group.order) * (irrep.character @ traces) / total
        )
        for irrep, _ in representation.isotypic().items()
    }


def _all_images(representation: Representation) -> list[Monomial]:
    images = [m for m in representation.images if isinstance(m, Monomial)]
    return representation.group.extend(images, lambda a, b: a @ b, Monomial.identity(representation.dimension))


def _monomial_trace(monomial: Monomial, covariance: ndarray) -> float:
    """``tr(M C)`` for ``M e_j = factor_j e_index_j``: the sum of ``factor_j C[j, index_j]``."""
    return float(monomial.factor @ covariance[np.arange(monomial.dimension), monomial.index])
