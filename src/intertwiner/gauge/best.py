r"""The best gauge element between two streamed arrays, from second moments alone, with its share of variance explained.

Target t (the latents at gx) and source s (at x), one row per sample. From

    C = Cov s,    X = Cov(t, s),    D_i = Var t_i,    and both means

the residual of any affine map is known exactly, ``E|t - M s - c|^2 = sum_i D_i - 2 (M X^T)_ii + (M C M^T)_ii + d_i^2``
with ``d = mean t - M mean s - c``, and ``R2 = 1 - residual / sum D``: the mean is to be beaten, so R2 can be negative.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np
from jaxtyping import Float
from numpy import ndarray
from scipy.optimize import linear_sum_assignment

from intertwiner.errors import ShapeMismatch
from intertwiner.gauge.element import GaugeElement
from intertwiner.gauge.group import GaugeGroup
from intertwiner.numerics.monomial import Monomial
from intertwiner.numerics.tolerance import MOMENT_RANK, ROUNDING


class SecondMoments(Protocol):
    """What a fit reads; any record with these float64 arrays will do."""

    @property
    def C(self) -> ndarray: ...
    @property
    def X(self) -> ndarray: ...
    @property
    def D(self) -> ndarray: ...
    @property
    def mean(self) -> ndarray: ...
    @property
    def mean_moved(self) -> ndarray: ...


@dataclass(frozen=True, eq=False)
class PairMoments:
    """Central second moments of a source s and a target t, about their means.

    Args:
        C: Covariance of the source, (n, n).
        X: Covariance of the target with the source, (n, n), rows of the target.
        D: Variances of the target, (n,).
        mean: Mean of the source.
        mean_moved: Mean of the target.
    """

    C: Float[ndarray, "n n"]
    X: Float[ndarray, "n n"]
    D: Float[ndarray, " n"]
    mean: Float[ndarray, " n"]
    mean_moved: Float[ndarray, " n"]

    @classmethod
    def of(cls, target: Float[ndarray, "samples n"], source: Float[ndarray, "samples n"]) -> PairMoments:
        """The moments of two arrays, samples in rows.

        Raises:
            ShapeMismatch: If the shapes differ or there is no sample.
        """
        target, source = np.asarray(target, dtype=np.float64), np.asarray(source, dtype=np.float64)
        if target.ndim != 2 or target.shape != source.shape or not len(target):
            raise ShapeMismatch(
                f"moments need two arrays of one shape (samples, n), got {target.shape}, {source.shape}"
            )
        mean, mean_moved = source.mean(axis=0), target.mean(axis=0)
        s, t = source - mean, target - mean_moved
        count = len(source)
        return cls(s.T @ s / count, t.T @ s / count, np.einsum("ij,ij->j", t, t) / count, mean, mean_moved)


@dataclass(frozen=True, eq=False)
class Fit:
    """The best element and how much it explains.

    Args:
        element: The map from source to target. For ``linear maps`` it need not be invertible.
        r2: Share of the target's variance explained on the moments of the fit; nan where nothing varies.
        neuron_r2: The same per neuron; nan for neurons that do not vary.
        heldout_r2: The share explained on held-out moments, None where there are none.
        heldout_neuron_r2: The same per neuron.
        rank: For linear maps, the directions of the source that were used.
    """

    element: GaugeElement
    r2: float
    neuron_r2: Float[ndarray, " n"]
    heldout_r2: float | None = None
    heldout_neuron_r2: Float[ndarray, " n"] | None = None
    rank: int | None = None

    @property
    def judged_r2(self) -> float:
        """On held-out moments where there are any."""
        return self.r2 if self.heldout_r2 is None else self.heldout_r2


def best_in(
    gauge: GaugeGroup, moments: SecondMoments, *, heldout: SecondMoments | None = None, centred: bool = False
) -> Fit:
    """The element of ``gauge`` that carries the source nearest to the target.

    * permutations, with signs: the assignment of least squares [Kuhn 1955];
    * with scales: the assignment of largest correlations, which no rescaling of neurons changes, then the scale of each
      pair by least squares (positive scales stay above 0);
    * orthogonal: Procrustes [Schönemann 1966];
    * linear: least squares, without ridge, on the directions of the source that vary.

    A constant is fitted only where the group has shifts; elsewhere a difference of means counts as unexplained.

    Args:
        gauge: The group, block by block for products.
        moments: Second moments of target and source.
        heldout: Moments of other samples, on which the same element is judged.
        centred: Ignore the means altogether: fit and judge up to a constant.

    Raises:
        ShapeMismatch: If the group and the moments have different dimensions.

    Cost:
        ``O(n^3)``; an assignment at n = 512 takes about 20 ms.

    Example:
        >>> source = np.array([[1.0, 0.0], [0.0, 2.0], [3.0, 1.0]])
        >>> fit = best_in(GaugeGroup.signed(2), PairMoments.of(-source[:, ::-1], source))
        >>> fit.element.matrix, fit.r2
        (Monomial(2: (0 1), signed), 1.0)
    """
    if moments.C.shape != (gauge.dimension, gauge.dimension):
        raise ShapeMismatch(f"moments of shape {moments.C.shape} for a gauge group on {gauge.dimension} coordinates")
    if centred:
        moments, heldout = _centred(moments), None if heldout is None else _centred(heldout)
    parts, rank = [], None
    for block, where in zip(gauge.blocks or (gauge,), gauge.slices, strict=True):
        part, used = _best_in_block(block, _restricted(moments, where))
        parts.append(part)
        rank = rank if used is None else used + (rank or 0)
    element = parts[0] if len(parts) == 1 else GaugeElement.direct_sum(parts)
    r2, neuron_r2 = explained(element, moments)
    if heldout is None:
        return Fit(element, r2, neuron_r2, rank=rank)
    return Fit(element, r2, neuron_r2, *explained(element, heldout), rank=rank)


def best_between(
    gauge: GaugeGroup,
    target: Float[ndarray, "samples n"],
    source: Float[ndarray, "samples n"],
    *,
    centred: bool = False,
) -> Fit:
    """``best_in`` for two arrays with samples in rows."""
    return best_in(gauge, PairMoments.of(target, source), centred=centred)


def fit_linear(moments: SecondMoments, *, heldout: SecondMoments | None = None) -> Fit:
    """The best affine map: what any latent map could explain. Never evidence of an action by itself (theory 6).

    >>> source = np.array([[1.0, 0.0], [0.0, 2.0], [3.0, 1.0], [1.0, 1.0]])
    >>> fit = fit_linear(PairMoments.of(source @ np.array([[1.0, 2.0], [0.0, 1.0]]) + 7, source))
    >>> round(fit.r2, 9), fit.element.constant.round(9)
    (1.0, array([7., 7.]))
    """
    return best_in(GaugeGroup.affine(len(moments.C)), moments, heldout=heldout)


def explained(element: GaugeElement, moments: SecondMoments) -> tuple[float, Float[ndarray, " n"]]:
    """R2 of one element on given moments, in all and per neuron (see the module docstring)."""
    C, X, D = moments.C, moments.X, moments.D
    matrix = element.matrix
    if isinstance(matrix, Monomial):
        sources, factor = matrix.sources, matrix.factor[matrix.sources]
        rows = np.arange(len(D))
        residual = D - 2 * factor * X[rows, sources] + factor**2 * C[sources, sources]
    else:
        residual = D - 2 * np.einsum("ij,ij->i", matrix, X) + np.einsum("ij,ij->i", matrix @ C, matrix)
    # A sum of squares: rounding may leave it below zero.
    residual = np.maximum(residual, 0.0) + (moments.mean_moved - element.apply(moments.mean)) ** 2
    varies = D > 0
    total = float(D.sum())
    neuron = np.full(len(D), np.nan)
    neuron[varies] = 1 - residual[varies] / D[varies]
    return (1 - float(residual.sum()) / total if total > 0 else float("nan")), neuron


def _best_in_block(gauge: GaugeGroup, m: PairMoments) -> tuple[GaugeElement, int | None]:
    free = gauge.shift == "real"
    second = m.C if free else m.C + np.outer(m.mean, m.mean)
    cross = m.X if free else m.X + np.outer(m.mean_moved, m.mean)
    rank = None
    if gauge.mixing == "linear":
        matrix, rank = _least_squares(cross, second)
    elif gauge.mixing == "orthogonal":
        left, _, right = np.linalg.svd(cross)
        matrix = left @ right
    elif gauge.scale == "none":
        matrix = _nearest_monomial(gauge, m)
    else:
        power = m.D if free else m.D + m.mean_moved**2
        matrix = _scaled_monomial(gauge, cross, np.sqrt(power), np.sqrt(np.diagonal(second)))
    element = GaugeElement(matrix)
    if gauge.shift == "none":
        return element, rank
    gap = m.mean_moved - element.apply(m.mean)
    return GaugeElement(matrix, gap if free else np.pi * np.round(gap / np.pi)), rank


def _nearest_monomial(gauge: GaugeGroup, m: PairMoments) -> Monomial:
    """The (signed) permutation of least squares, constants counted modulo the shift gauge."""
    costs = []
    for s in (1.0, -1.0) if gauge.sign else (1.0,):
        gap = m.mean_moved[:, None] - s * m.mean
        if gauge.shift == "pi":
            gap -= np.pi * np.round(gap / np.pi)
        means = 0.0 if gauge.shift == "real" else gap**2
        costs.append(m.D[:, None] + np.diagonal(m.C) - 2 * s * m.X + means)
    cost = np.minimum(*costs) if gauge.sign else costs[0]
    sources = _assignment(gauge, cost)
    rows = np.arange(len(sources))
    factor = np.ones(len(sources))
    if gauge.sign:
        factor[costs[1][rows, sources] < costs[0][rows, sources]] = -1.0
    return _from_sources(sources, factor)


def _scaled_monomial(gauge: GaugeGroup, cross: ndarray, target: ndarray, source: ndarray) -> Monomial:
    """Pairs by correlation, scales by least squares; ``target`` and ``source`` are root mean squares."""
    alive = (target[:, None] > 0) & (source > 0)
    with np.errstate(divide="ignore", invalid="ignore"):
        gain = np.where(alive, cross / np.outer(target, source), 0.0)
    # Two dead neurons fit each other perfectly, a dead and a live one not at all.
    gain[np.ix_(target == 0, source == 0)] = 1.0
    gain = np.abs(gain) if gauge.sign else gain
    sources = _assignment(gauge, -gain)
    t, s = target, source[sources]
    value = cross[np.arange(len(t)), sources]
    both = (t > 0) & (s > 0)
    ratio = np.divide(t, s, out=np.ones_like(t), where=both)
    factor = np.divide(value, s * s, out=np.ones_like(t), where=both)
    # The scale must stay in the group: never zero, and positive without a sign.
    least = ROUNDING * ratio
    small = both & ((np.abs(factor) if gauge.sign else factor) < least)
    return _from_sources(sources, np.where(small, least, factor))


def _assignment(gauge: GaugeGroup, cost: ndarray) -> ndarray:
    """The source of each target neuron."""
    if gauge.mixing == "none":
        return np.arange(len(cost))
    return linear_sum_assignment(cost)[1]


def _from_sources(sources: ndarray, factor: ndarray) -> Monomial:
    """From the source and the factor of each target neuron."""
    index = np.empty(len(sources), dtype=np.int64)
    index[sources] = np.arange(len(sources))
    return Monomial(index, factor[index])


def _least_squares(cross: ndarray, second: ndarray) -> tuple[ndarray, int]:
    """``cross second^+`` on the eigenvectors of the correlation matrix that stand out of rounding."""
    scale = np.sqrt(np.diagonal(second))
    scale = np.where(scale > 0, scale, 1.0)
    values, vectors = np.linalg.eigh(second / np.outer(scale, scale))
    used = values > MOMENT_RANK * max(values[-1], 0.0) if len(values) else np.zeros(0, dtype=bool)
    basis = vectors[:, used]
    return ((cross / scale) @ basis / values[used]) @ basis.T / scale, int(used.sum())


def _restricted(m: SecondMoments, where: slice) -> PairMoments:
    return PairMoments(m.C[where, where], m.X[where, where], m.D[where], m.mean[where], m.mean_moved[where])


def _centred(m: SecondMoments) -> PairMoments:
    return PairMoments(m.C, m.X, m.D, np.zeros_like(m.mean), np.zeros_like(m.mean_moved))
