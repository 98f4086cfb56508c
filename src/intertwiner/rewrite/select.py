r"""Which orbits a layer keeps: those without which the rest of the network would miss most.

Whole orbits are added one by one, past the width that is wanted, and then dropped one by one. With M and C of
everything still unexplained, the variance of the targets that an orbit o adds after refit is exactly
``tr(C_o M_oo^+ C_o^T)``; the one that adds most per neuron is taken, and M and C are deflated (block orthogonal
matching pursuit). The norm of a weight plays no part.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from jaxtyping import Float, Int
from numpy import ndarray

from intertwiner.numerics.tolerance import MOMENT_RANK
from intertwiner.rewrite.moments import Moments


@dataclass(frozen=True, eq=False)
class Selection:
    """Orbits in the order in which they were taken.

    Args:
        orbits: Their numbers.
        width: Total width after each.
        explained: Share of the targets' variance explained after refit, after each.
    """

    orbits: tuple[int, ...]
    width: tuple[int, ...]
    explained: tuple[float, ...]

    def within(self, width: int) -> tuple[int, ...]:
        """The orbits taken first, up to a width."""
        return tuple(o for o, w in zip(self.orbits, self.width, strict=True) if w <= width)


def select(moments: Moments, orbits: Sequence[Int[ndarray, " k"]], *, weight: ndarray, width: int) -> Selection:
    """Take orbits greedily, by explained variance per neuron, until the width is reached.

    Args:
        moments: Of all candidates with the targets.
        orbits: The coordinates of every orbit.
        weight: How much an error of each target counts, as a factor.
        width: Largest total width.

    Cost:
        ``O(m^2)`` per neuron taken, m the width of all candidates.

    Example:
        The target is the third coordinate; the first explains half of it, the second nothing:

        >>> square = np.array([[1.0, 0, 0.5, 0], [0, 1, 0, 0], [0.5, 0, 1, 0], [0, 0, 0, 1]])
        >>> cross, every = np.array([[0.5, 0, 1, 0]]), [np.array([k]) for k in range(3)]
        >>> taken = select(Moments(square, cross, np.ones(1), 9), every, weight=np.ones(1), width=1)
        >>> taken.orbits, taken.explained
        ((2,), (1.0,))
    """
    square, cross, total = centred(moments, weight)
    own = np.diagonal(square).copy()
    left, chosen, widths, explained, got = list(range(len(orbits))), [], [], [], 0.0
    while left:
        room = width - (widths[-1] if widths else 0)
        left = [o for o in left if len(orbits[o]) <= room]
        if not left:
            break
        gains = {o: _gain(square, cross, orbits[o], own) for o in left}
        best = max(left, key=lambda o: (gains[o] / len(orbits[o]), -o))
        if gains[best] <= MOMENT_RANK * MOMENT_RANK * max(total, 0.0):
            break
        got += gains[best]
        chosen.append(best)
        widths.append((widths[-1] if widths else 0) + len(orbits[best]))
        explained.append(got / total if total > 0 else 1.0)
        _deflate(square, cross, orbits[best], own)
        left.remove(best)
    return Selection(tuple(chosen), tuple(widths), tuple(explained))


OVERSHOOT = 1.2
"""Width to which orbits are added before they are dropped down to the width that is wanted."""


def select_and_thin(
    moments: Moments, orbits: Sequence[Int[ndarray, " k"]], *, weight: ndarray, width: int
) -> Selection:
    """Forward past the width, backward down to it; the orbits that are left, in their greedy order.

    Args:
        moments: Of all candidates with the targets.
        orbits: The coordinates of every orbit.
        weight: How much an error of each target counts, as a factor.
        width: Largest total width.
    """
    wide = select(moments, orbits, weight=weight, width=int(OVERSHOOT * width))
    if wide.width and wide.width[-1] <= width:
        return wide
    left = sorted(thinned(moments, orbits, wide.orbits, weight=weight, width=width))
    again = select(moments, [orbits[o] for o in left], weight=weight, width=width)
    best = [_head(wide, width), Selection(tuple(left[k] for k in again.orbits), again.width, again.explained)]
    if not best[0].orbits:
        best.append(select(moments, orbits, weight=weight, width=width))
    return max(best, key=lambda s: s.explained[-1] if s.explained else -1.0)


def _head(selection: Selection, width: int) -> Selection:
    """What was taken before the width was first exceeded."""
    count = sum(w <= width for w in selection.width)
    return Selection(selection.orbits[:count], selection.width[:count], selection.explained[:count])


def centred(moments: Moments, weight: ndarray) -> tuple[ndarray, ndarray, float]:
    """Covariances: what is left once the constant is used."""
    mean, target = moments.square[:-1, -1], moments.cross[:, -1]
    square = moments.square[:-1, :-1] - np.outer(mean, mean)
    cross = (moments.cross[:, :-1] - np.outer(target, mean)) * weight[:, None]
    total, whole = (float((t * weight**2).sum()) for t in (moments.target - target**2, moments.target))
    if total <= MOMENT_RANK * whole:  # what is left of a constant is rounding
        return square, np.zeros_like(cross), 0.0
    return square, cross, total


def _inverse_root(square: ndarray, at: ndarray, own: ndarray) -> Float[ndarray, "k r"]:
    value, vector = np.linalg.eigh(square[np.ix_(at, at)])
    # What is left of an orbit that the chosen ones already span is rounding.
    kept = value > MOMENT_RANK * own[at].max(initial=0.0)
    return vector[:, kept] / np.sqrt(value[kept])


def _gain(square: ndarray, cross: ndarray, at: ndarray, own: ndarray) -> float:
    return float(((cross[:, at] @ _inverse_root(square, at, own)) ** 2).sum())


def _deflate(square: ndarray, cross: ndarray, at: ndarray, own: ndarray) -> None:
    root = _inverse_root(square, at, own)
    spread, seen = square[:, at] @ root, cross[:, at] @ root
    square -= spread @ spread.T
    cross -= seen @ spread.T


def thinned(
    moments: Moments, orbits: Sequence[Int[ndarray, " k"]], chosen: Sequence[int], *, weight: ndarray, width: int
) -> tuple[int, ...]:
    """Drop orbits from a choice until a width is reached, always the one whose loss per neuron is least.

    With ``W = C M^{-1}`` on the chosen neurons, an orbit o takes ``tr(W_o (M^{-1})_oo^{-1} W_o^T)`` away with it.

    Args:
        moments: Of all candidates with the targets.
        orbits: The coordinates of every orbit.
        chosen: The orbits to begin with.
        weight: How much an error of each target counts, as a factor.
        width: Largest total width that may be left.

    Cost:
        ``O(m^2)`` per neuron dropped, m the width to begin with.
    """
    square, cross, _ = centred(moments, weight)
    left = list(chosen)
    if not left:
        return ()
    at = np.concatenate([orbits[o] for o in left])
    ends = np.cumsum([0, *(len(orbits[o]) for o in left)])
    place = {o: np.arange(a, b) for o, (a, b) in zip(left, pairwise(ends), strict=True)}
    own = square[np.ix_(at, at)]
    # A ridge at the level of rounding: copies among the chosen lose nothing when one of them goes.
    inverse = np.linalg.inv(own + MOMENT_RANK * np.diag(np.diagonal(own)))
    fitted = cross[:, at] @ inverse
    total = len(at)
    while total > width:
        losses = {o: _loss(inverse, fitted, place[o]) / len(place[o]) for o in left}
        worst = min(left, key=lambda o: (losses[o], o))
        k = place[worst]
        step = np.linalg.solve(inverse[np.ix_(k, k)], inverse[k])
        fitted = fitted - fitted[:, k] @ step
        inverse = inverse - inverse[:, k] @ step
        left.remove(worst)
        total -= len(k)
    return tuple(left)


def _loss(inverse: ndarray, fitted: ndarray, k: ndarray) -> float:
    return float(
        np.einsum("qi,ij,qj->", fitted[:, k], np.linalg.inv(inverse[np.ix_(k, k)]), fitted[:, k], optimize=True)
    )
