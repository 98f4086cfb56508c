"""Matching rows: the monomial P with ``P @ source = target``, and classes of equal rows, in near-linear time.

Rows are sorted along one fixed random direction and compared by rank; every pair is verified in full. What fails is
looked for among the rows with near projections, then along alternating paths [Hopcroft, Karp 1973], and only the rest
is assigned by distance. A row is matched iff its residual, relative to its own norm, is within the tolerance.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import scipy.sparse as sp
from jaxtyping import Float, Int
from numpy import ndarray
from scipy.optimize import linear_sum_assignment
from scipy.sparse.csgraph import connected_components, maximum_bipartite_matching

from intertwiner.errors import ShapeMismatch
from intertwiner.gauge.projection import CHUNK, directions, distances, first_direction, norms, project, spans
from intertwiner.numerics.monomial import Monomial
from intertwiner.numerics.tolerance import ROUNDING

PATH_BUDGET = 1 << 28
"""Numbers compared while looking for alternating paths; beyond it rows are reported as unmatched."""

ASSIGN_LIMIT = 512
"""Leftover rows up to this many are paired by least distance, more than that by the order of their projections."""


@dataclass(frozen=True, eq=False)
class RowMatch:
    """A bijection of rows and how well it fits.

    Args:
        nearest: The monomial ``P`` with ``P @ source`` as near to ``target`` as was found; always a bijection.
        residual: ``|target_i - (P @ source)_i|`` relative to ``|target_i|``, per target row.
        unmatched: Target rows whose residual exceeds the tolerance, ascending.
        unused: Source rows that were left to them, ascending.
        exact: ``P @ source == target`` bit for bit.
        tolerance: The largest residual that counts as rounding.
    """

    nearest: Monomial
    residual: Float[ndarray, " n"]
    unmatched: Int[ndarray, " k"]
    unused: Int[ndarray, " k"]
    exact: bool
    tolerance: float

    @property
    def monomial(self) -> Monomial | None:
        """The match, or None unless every row has one."""
        return None if len(self.unmatched) else self.nearest

    @property
    def complete(self) -> bool:
        return not len(self.unmatched)

    @property
    def worst(self) -> float:
        """The largest residual; 0 where there are no rows."""
        return float(self.residual.max()) if len(self.residual) else 0.0


def match_rows(
    target: Float[ndarray, "n r"], source: Float[ndarray, "n r"], *, sign: bool, tolerance: float, floor: float = 0.0
) -> RowMatch:
    """The permutation, or signed permutation, P with ``P @ source = target``.

    Args:
        target: Rows to be reached.
        source: Rows to be moved.
        sign: Whether a row may be used with its sign changed.
        tolerance: Largest residual relative to the norm of the target row; 0 asks for bitwise equality.
        floor: Rows with a smaller norm are judged as if they had this one.

    Returns:
        The match; rows without a partner are reported, never raised. Rows that are equal are matched among
        themselves in some order, so the match is unique only up to ``row_classes``.

    Raises:
        ShapeMismatch: If the arrays are not of one two-dimensional shape.

    Cost:
        ``O(n r)`` and a sort where rows are well apart compared to the tolerance; 480 x 480 takes about 1 ms.

    Example:
        >>> rows = np.array([[1.0, 2.0], [3.0, 4.0], [0.0, 5.0]])
        >>> match = match_rows(-rows[[2, 0, 1]], rows, sign=True, tolerance=1e-10)
        >>> match.monomial, match.exact
        (Monomial(3: (0 1 2), signed), True)
        >>> match_rows(rows + np.array([[0.0], [0.1], [0.0]]), rows, sign=False, tolerance=1e-10).unmatched
        array([1])
    """
    target = np.ascontiguousarray(target, dtype=np.float64)
    source = np.ascontiguousarray(source, dtype=np.float64)
    if target.ndim != 2 or target.shape != source.shape:
        raise ShapeMismatch(f"rows of shapes {target.shape} and {source.shape} cannot be matched")
    search = _Search(target, source, np.maximum(norms(target), floor), sign, tolerance)
    partner, signs, exact = search.by_rank()
    residual = search.last
    bad = np.flatnonzero(~(residual <= tolerance))
    if len(bad):
        partner = search.repaired(partner, bad)
        distance, signs, exact = distances(target, None, source, partner, None, signed=sign)
        residual = search.relative(distance, slice(None))
        bad = np.flatnonzero(~(residual <= tolerance))
    index = np.empty(len(partner), dtype=np.int64)
    index[partner] = np.arange(len(partner))
    nearest = Monomial(index, signs[index]) if sign else Monomial(index)
    return RowMatch(nearest, residual, bad, np.sort(partner[bad]), exact, tolerance)


class _Search:
    """The rows of one match, with their projections."""

    def __init__(self, target: ndarray, source: ndarray, norm: ndarray, sign: bool, tolerance: float) -> None:
        self.target, self.source, self.norm, self.sign, self.tolerance = target, source, norm, sign, tolerance
        self.last = np.zeros(len(target))

    def relative(self, distance: ndarray, rows: ndarray | slice) -> ndarray:
        norm = self.norm[rows]
        with np.errstate(divide="ignore", invalid="ignore"):
            return np.where(distance == 0, 0.0, distance / norm)

    def by_rank(self) -> tuple[ndarray, ndarray, bool]:
        """Partners by rank along the first direction, their signs, and whether all are equal bit for bit."""
        first = first_direction(self.target.shape[1])
        t, s = self.target @ first, self.source @ first
        order_t, order_s = (np.argsort(np.abs(p) if self.sign else p, kind="stable") for p in (t, s))
        partner = np.empty(len(t), dtype=np.int64)
        partner[order_t] = order_s
        signs = np.where((t < 0) != (s[partner] < 0), -1.0, 1.0) if self.sign else None
        distance, signs, exact = distances(self.target, None, self.source, partner, signs)
        self.last = self.relative(distance, slice(None))
        return partner, signs, exact

    def pairs(self, i: ndarray, j: ndarray, share: float = 1.0) -> tuple[ndarray, ndarray]:
        """Pairs of a target row in i and a source row in j within the tolerance; positions in i and j.

        With ``share = 1`` all of them; with less, only those whose difference is that share along the directions.
        """
        t, s = project(self.target[i], self.tolerance), project(self.source[j], self.tolerance)
        # Rounding of the projections themselves must not lose a pair.
        reach = (share * self.tolerance + ROUNDING) * self.norm[i]
        key_t, key_s = (np.abs(p[:, 0]) if self.sign else p[:, 0] for p in (t, s))
        order = np.argsort(key_s)
        low = np.searchsorted(key_s[order], key_t - reach, side="left")
        high = np.searchsorted(key_s[order], key_t + reach, side="right")
        found_i, found_j = [np.zeros(0, dtype=np.int64)], [np.zeros(0, dtype=np.int64)]
        for a, b in spans(low, high, CHUNK // t.shape[1]):
            b = order[b]
            near = norms(t[a] - s[b]) <= reach[a]
            if self.sign:
                near |= norms(t[a] + s[b]) <= reach[a]
            a, b = a[near], b[near]
            distance, _, _ = distances(self.target, i[a], self.source, j[b], None, signed=self.sign)
            good = self.relative(distance, i[a]) <= self.tolerance
            found_i.append(a[good])
            found_j.append(b[good])
        return np.concatenate(found_i), np.concatenate(found_j)

    def repaired(self, partner: ndarray, bad: ndarray) -> ndarray:
        """Better partners for the bad rows: among themselves, then along alternating paths, then by distance."""
        partner = partner.copy()
        lost, free, count = bad, partner[bad], directions(self.target.shape[1], self.tolerance).shape[1]
        # Noise has no preferred direction: look for its typical share first, for the largest possible one after.
        for share in (2 * np.sqrt(count / max(1, self.target.shape[1])), 1.0):
            if share > 1 or not len(lost):
                continue
            match = _matching(*self.pairs(lost, free, share), len(lost))
            partner[lost] = np.where(match >= 0, free[match], -1)
            free, lost = np.setdiff1d(free, free[match[match >= 0]]), lost[match < 0]
        if len(lost) and len(bad) < len(partner):
            self._augment(partner)
        lost = np.flatnonzero(partner < 0)
        if len(lost):
            unused = np.setdiff1d(np.arange(len(partner)), partner[partner >= 0], assume_unique=True)
            partner[lost] = self._assigned(lost, unused)
        return partner

    def _augment(self, partner: ndarray) -> None:
        """Alternating paths from unmatched rows through matched ones; they exist where near rows form chains."""
        n, width = len(partner), max(1, self.target.shape[1])
        owner = np.full(n, -1)
        owner[partner[partner >= 0]] = np.flatnonzero(partner >= 0)
        seen = np.zeros(n, dtype=bool)
        frontier, edges, spent = np.flatnonzero(partner < 0), [], 0
        everything = np.arange(n)
        while len(frontier) and spent < PATH_BUDGET:
            seen[frontier] = True
            a, b = self.pairs(frontier, everything)
            spent += len(a) * width
            edges.append((frontier[a], b))
            reached = owner[np.unique(b)]
            frontier = np.unique(reached[reached >= 0])
            frontier = frontier[~seen[frontier]]
        i, j = (np.concatenate(part) for part in zip(*edges, strict=True))
        if not len(i):
            return
        rows = np.flatnonzero(seen)
        allowed = (owner[j] < 0) | seen[owner[j]]  # a source held by a row that was not visited stays with it
        match = _matching(np.searchsorted(rows, i[allowed]), j[allowed], len(rows), n)
        if (match >= 0).sum() > (partner[rows] >= 0).sum():
            partner[rows] = match

    def _assigned(self, rows: ndarray, free: ndarray) -> ndarray:
        """Rows without a partner take the nearest of what is left, so that messages show the least residual."""
        t, s = self.target[rows], self.source[free]
        if len(rows) > ASSIGN_LIMIT or not (np.isfinite(t).all() and np.isfinite(s).all()):
            first = first_direction(self.target.shape[1])
            out = np.empty(len(rows), dtype=np.int64)
            out[np.argsort(t @ first)] = free[np.argsort(s @ first)]
            return out
        product = t @ s.T
        square = norms(t)[:, None] ** 2 + norms(s) ** 2 - 2 * (np.abs(product) if self.sign else product)
        # Relative to the rows: a sum of squares would give up small rows for large ones.
        scale = np.maximum(self.norm[rows], np.finfo(float).tiny ** 0.25)
        cost = np.sqrt(np.maximum(square, 0.0)) / scale[:, None]
        return free[linear_sum_assignment(cost)[1]]


def _matching(i: ndarray, j: ndarray, rows: int, columns: int | None = None) -> ndarray:
    """A largest matching of a bipartite graph: the partner of each row, or -1."""
    shape = (rows, rows if columns is None else columns)
    graph = sp.csr_matrix((np.ones(len(i), dtype=np.int8), (i, j)), shape=shape)
    return maximum_bipartite_matching(graph, perm_type="column")


@dataclass(frozen=True, eq=False)
class RowClasses:
    """Rows that are equal up to sign and tolerance, transitively closed.

    Args:
        labels: The class of each row, numbered in order of first appearance.
        sign: The sign of each row relative to the representative of its class.
        representatives: The first row of each class, ascending.
    """

    labels: Int[ndarray, " n"]
    sign: Float[ndarray, " n"]
    representatives: Int[ndarray, " m"]

    @property
    def sizes(self) -> Int[ndarray, " m"]:
        return np.bincount(self.labels, minlength=len(self.representatives))

    @property
    def distinct(self) -> bool:
        """Whether every row is a class of its own."""
        return len(self.representatives) == len(self.labels)


def row_classes(keys: Float[ndarray, "n r"], *, sign: bool, tolerance: float) -> RowClasses:
    """Classes of rows equal up to sign and tolerance. Zero rows are one class.

    Two rows are equal when their distance is at most ``tolerance`` times the larger norm.

    Cost:
        ``O(n r)`` and a sort where distinct rows are well apart; a cluster of m equal rows adds ``m^2 / 2`` steps of
        one comparison each.

    Example:
        >>> classes = row_classes(np.array([[1.0, 2.0], [3.0, 0.0], [-1.0, -2.0]]), sign=True, tolerance=1e-10)
        >>> classes.labels, classes.sign, classes.representatives
        (array([0, 1, 0]), array([ 1.,  1., -1.]), array([0, 1]))
    """
    keys = np.ascontiguousarray(keys, dtype=np.float64)
    if keys.ndim != 2:
        raise ShapeMismatch(f"rows of shape {keys.shape} are no matrix")
    n = len(keys)
    labels = _closed(keys, sign, tolerance) if n else np.zeros(0, dtype=np.int64)
    _, first, labels = np.unique(labels, return_index=True, return_inverse=True)
    rank = np.argsort(np.argsort(first))
    labels = rank[labels.ravel()]
    representatives = np.sort(first)
    signs = np.ones(n)
    joined = np.flatnonzero(representatives[labels] != np.arange(n))
    if sign and len(joined):
        _, signs[joined], _ = distances(keys, joined, keys, representatives[labels[joined]], None, signed=True)
    return RowClasses(labels, signs, representatives)


def _closed(keys: ndarray, sign: bool, tolerance: float) -> ndarray:
    """Labels of the transitive closure: pairs at lag 1, 2, ... in the sorted order, while projections are near."""
    n = len(keys)
    projected = project(keys, tolerance)
    value = np.abs(projected[:, 0]) if sign else projected[:, 0]
    order = np.argsort(value, kind="stable")
    value, projected, norm = value[order], projected[order], norms(keys)[order]
    widest = (tolerance + ROUNDING) * norm.max()
    labels, edges = np.arange(n), [np.zeros((2, 0), dtype=np.int64)]
    active = np.arange(n)
    for lag in range(1, n):
        active = active[active + lag < n]
        active = active[value[active + lag] - value[active] <= widest]
        if not len(active):
            break
        i = active[labels[active] != labels[active + lag]]
        if not len(i):
            continue
        j = i + lag
        reach = np.maximum(norm[i], norm[j])
        near = norms(projected[i] - projected[j]) <= (tolerance + ROUNDING) * reach
        if sign:
            near |= norms(projected[i] + projected[j]) <= (tolerance + ROUNDING) * reach
        i, j, reach = i[near], j[near], reach[near]
        distance, _, _ = distances(keys, order[i], keys, order[j], None, signed=sign)
        good = distance <= tolerance * reach
        if np.any(good):
            edges.append(np.stack([i[good], j[good]]))
            a, b = np.concatenate(edges, axis=1)
            labels = connected_components(sp.csr_matrix((np.ones(len(a)), (a, b)), shape=(n, n)), directed=False)[1]
    out = np.empty(n, dtype=np.int64)
    out[order] = labels
    return out
