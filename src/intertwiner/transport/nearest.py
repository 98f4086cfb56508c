"""The gauge element that brings the rows of one layer nearest to those of another, every neuron given a partner."""

from __future__ import annotations

import numpy as np
from numpy import ndarray
from scipy.optimize import linear_sum_assignment

from intertwiner.gauge import GaugeElement, GaugeGroup
from intertwiner.numerics.monomial import Monomial


def nearest_pairs(gauge: GaugeGroup, target: ndarray, source: ndarray) -> GaugeElement:
    """The (signed, scaled) permutation of least squares between balanced rows [Kuhn 1955].

    Args:
        gauge: What is allowed: signs, scales, and whether neurons may be permuted at all.
        target: Rows to be reached.
        source: Rows to be moved, equally many.

    Cost:
        ``O(n^2 r)`` for the products and ``O(n^3)`` for the assignment; 1024 x 1024 takes about half a second.

    Example:
        >>> rows = np.array([[1.0, 2.0], [3.0, 4.0], [0.0, 5.0]])
        >>> nearest_pairs(GaugeGroup.signed(3), -rows[[2, 0, 1]] + 0.01, rows).matrix
        Monomial(3: (0 1 2), signed)
    """
    if gauge.blocks:
        parts = [nearest_pairs(b, target[at], source[at]) for b, at in zip(gauge.blocks, gauge.slices, strict=True)]
        return GaugeElement.direct_sum(parts)
    sizes = [np.linalg.norm(a, axis=1) for a in (target, source)]
    if gauge.scale == "none":
        product = target @ source.T
        gain = 2 * (np.abs(product) if gauge.sign else product) - sizes[0][:, None] ** 2 - sizes[1] ** 2
    else:
        units = [a / np.where(n > 0, n, 1.0)[:, None] for a, n in zip((target, source), sizes, strict=True)]
        product = units[0] @ units[1].T
        gain = np.abs(product) if gauge.sign else product.copy()
        gain[np.ix_(sizes[0] == 0, sizes[1] == 0)] = 1.0
    chosen = np.arange(len(target)) if gauge.mixing == "none" else linear_sum_assignment(gain, maximize=True)[1]
    rows = np.arange(len(target))
    factor = np.where(product[rows, chosen] < 0, -1.0, 1.0) if gauge.sign else np.ones(len(target))
    if gauge.scale != "none":
        both = (sizes[0] > 0) & (sizes[1][chosen] > 0)
        factor *= np.divide(sizes[0], sizes[1][chosen], out=np.ones(len(target)), where=both)
    index = np.empty(len(target), dtype=np.int64)
    index[chosen] = rows
    return GaugeElement(Monomial(index, factor[index]))
