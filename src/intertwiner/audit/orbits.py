r"""From neurons and their images to orbits: which are complete, of which type, and how wide the lift is.

An image ``g . w_j`` is *present* when some neuron lies nearer to it than an eighth of the separation of w_j from its
own images (and never further than ``IMAGE_TOLERANCE``, in units of one minus correlation of the moving part): the
tolerance shrinks with the orbit, so that neurons with continuous phases, whose images crowd together, gain nothing.
Only images that differ from the neuron count. Two nulls stand beside the share of images present: the neurons turned
by random elements of the group algebra (same energy in every irrep, no relation left; it knows how crowded the orbits
are) and the same neurons under a conjugated action (wrong g). Neurons that are images of each other are then merged
and the orbit of their mean counted: the width of the lift [theory 7].
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Bool, Float, Int
from numpy import ndarray
from scipy.sparse import csr_matrix
from scipy.sparse.csgraph import connected_components

from intertwiner.audit.images import NeuronImages
from intertwiner.audit.orbit_types import OrbitType, orbit_types
from intertwiner.audit.stabilisers import Stabilisers, stabilisers
from intertwiner.errors import ShapeMismatch, WrongUse
from intertwiner.numerics.tolerance import FIXED_SHARE, IMAGE_TOLERANCE, LIVE_SHARE

ACTION_PRESENT = 0.9
"""Least share of images present (by variance) at which a layer is said to carry an action."""

ACTION_EXCESS = 0.5
"""Least ``(present - null) / (1 - null)`` for an action."""

PARTIAL_EXCESS = 0.1
"""Least excess over the null for a partial action; below it there is none."""

GAP_OVER_SPREAD = 2.0
"""Least ratio of the median gap to the median spread above it; below it there is no action."""


@dataclass(frozen=True, eq=False)
class Orbits:
    """What the neurons of one layer are as a G-set, and how far to trust it.

    Args:
        decision: "action", "partial" or "none".
        reason: The numbers that decided.
        explained_neurons: Share of live neurons with a decided stabiliser and every image present.
        explained_variance: The same, weighted by squared contribution.
        present: Share of the images other than the neuron itself that are present, weighted by squared contribution.
        present_neurons: The same, every neuron counting once.
        nulls: ``present`` under each null, by name, the mean over the draws.
        gap: Median gap of the self-correlations.
        spread: Median of ``1 - correlation`` above the gap.
        types: Orbit types, the most frequent first.
        lift_width: Neurons of the lift after merging: the sum of |G/H| over merged orbits.
        live: Indices of the neurons that were judged.
        complete: For each live neuron, whether every image is present.
        orbit: For each live neuron, the number of its merged orbit.
        stabilisers: For each live neuron.
    """

    decision: str
    reason: str
    explained_neurons: float
    explained_variance: float
    present: float
    present_neurons: float
    nulls: dict[str, float]
    gap: float
    spread: float
    types: tuple[OrbitType, ...]
    lift_width: int
    live: Int[ndarray, " n"]
    complete: Bool[ndarray, " n"]
    orbit: Int[ndarray, " n"]
    stabilisers: Stabilisers

    @property
    def present_null(self) -> float:
        """The largest of the nulls; 0 where there was none to take."""
        return max(self.nulls.values(), default=0.0)

    def to_json(self) -> dict[str, Any]:
        names = ("decision", "reason", "explained_neurons", "explained_variance", "present", "present_null", "nulls")
        more = ("present_neurons", "gap", "spread", "lift_width")
        record: dict[str, Any] = {name: getattr(self, name) for name in names + more}
        return record | {"types": [t.to_json() for t in self.types], "live": len(self.live)}


def find_orbits(
    images: NeuronImages,
    contribution: Float[ndarray, " n"] | None = None,
    *,
    live_share: float = LIVE_SHARE,
    draws: int = 3,
    seed: int = 0,
    **decide: float,
) -> Orbits:
    """Decompose the neurons of a layer into orbits and decide whether it carries an action.

    Args:
        images: The neurons and their images.
        contribution: What each neuron contributes, e.g. its spread times its outgoing norm; its norm by default.
        live_share: Neurons contributing less than this share of the largest are left out.
        draws: Draws of each null; 0 for none.
        seed: Seed of the nulls.
        decide: ``min_kept`` and ``min_separation`` for the stabilisers.

    Raises:
        WrongUse: No neuron is live.

    Cost:
        ``|G| n^2`` inner products, and as many for every draw of every null.

    Example:
        The six images of a vector under S3, and one neuron that all of S3 fixes:

        >>> from intertwiner.algebra import symmetric
        >>> from intertwiner.audit.image_parts import WeightPart
        >>> from intertwiner.audit.images import first_layer
        >>> S3 = symmetric(3)
        >>> rows = np.array([[3.0, 1.0, -1.0]])[0][S3.permutations]
        >>> part = WeightPart.by_permutations(S3, np.vstack([rows, np.ones((1, 3))]), S3.permutations)
        >>> found = find_orbits(first_layer(S3, [part]))
        >>> found.decision, found.lift_width, [(t.order, t.neurons) for t in found.types]
        ('action', 7, [(1, 6), (6, 1)])
    """
    contribution = np.sqrt(images.energy) if contribution is None else np.asarray(contribution, dtype=np.float64)
    live = live_neurons(contribution, images.count, live_share)
    if not len(live):
        raise WrongUse(f"none of {images.count} neurons contributes anything: there are no orbits to look for")
    images, weight = images.restricted(live), contribution[live] ** 2
    weight = weight / weight.sum()
    found = stabilisers(images, **decide)
    share, complete = _images_present(images, found)
    nulls = _nulls(images, weight, draws, seed)
    orbit, width = merge(images, _tolerance(images, found), weight, **decide)
    # A separation that is small only in size does not matter where every image is found well inside it.
    explained = complete & (found.decided | np.array([reason.startswith("separation") for reason in found.reasons]))
    present, gap, spread = _mean(share, weight), float(np.median(found.gap)), float(np.median(found.gap_spread))
    decision, reason = _decide(present, max(nulls.values(), default=0.0), gap, spread, found)
    return Orbits(
        decision, reason, float(explained.mean()), float(weight[explained].sum()), present,
        _mean(share, np.ones(len(live))), nulls, gap, spread, orbit_types(found, orbit, complete), width,
        live, complete, orbit, found,
    )  # fmt: skip


def live_neurons(contribution: Float[ndarray, " n"], count: int, share: float = LIVE_SHARE) -> Int[ndarray, " m"]:
    """Indices of the neurons that contribute at least ``share`` of the largest contribution."""
    if contribution.shape != (count,):
        raise ShapeMismatch(f"{count} neurons, but contributions of shape {contribution.shape}")
    return np.flatnonzero(contribution > share * contribution.max(initial=0.0))


def residuals(images: NeuronImages) -> Iterator[tuple[Int[ndarray, " k"], Float[ndarray, "k n"]]]:
    """``(elements, half the squared distance of g . w_j from the nearest neuron)``, in chunks over G."""
    half = images.energy / 2
    for elements, block in images.blocks():
        reach = np.abs(block, out=block) if images.signed else block
        yield elements, half - (reach - half[:, None]).max(1)


def share_present(
    products: Float[ndarray, "k n n"], energy: Float[ndarray, " n"], *, signed: bool = False, cosine: float = 0.95
) -> Float[ndarray, " k"]:
    """Share of images present for a few elements only, where moments for all of G would be too many.

    Args:
        products: ``<g . h_j, h_i>`` for each of the elements, the invariant part taken away.
        energy: ``<h_i, h_i>``.
        signed: True where the gauge holds signs.
        cosine: From which cosine on an image counts as present; without all of G no tolerance can be fitted.

    Returns:
        One share per element; take the same for elements that are no symmetry beside it.
    """
    norm = np.sqrt(np.where(energy > 0, energy, np.inf))
    cosines = products / norm[:, None] / norm
    best = (np.abs(cosines) if signed else cosines).max(1)
    live = energy > 0
    return (best[:, live] > cosine).mean(1)


def merge(
    images: NeuronImages, tolerance: Float[ndarray, " n"], weight: Float[ndarray, " n"], **decide: float
) -> tuple[Int[ndarray, " n"], int]:
    """Merge neurons that are images of each other and count the orbits of the means.

    Coincidence within a tolerance is closed transitively and under G; each class is replaced by the mean of its
    members, moved next to the one that contributes most, and the orbit of the mean is built again.

    Returns:
        The class of each neuron, and the width of the lift.
    """
    labels, means = classes(images, tolerance, weight)
    return labels, int((images.group.order // stabilisers(means, **decide).orders).sum())


def classes(
    images: NeuronImages, tolerance: Float[ndarray, " n"], weight: Float[ndarray, " n"]
) -> tuple[Int[ndarray, " n"], NeuronImages]:
    """The transitive closure of "is an image of" within ``tolerance`` (half squared distance), and the class means."""
    best, where, sign = images.nearest_over_group()
    half = images.energy / 2
    distance = half[:, None] + half - best
    near = distance <= np.minimum(tolerance[:, None], tolerance)
    count, labels = connected_components(csr_matrix(near), directed=True, connection="weak")
    heads = np.zeros(count, dtype=np.int64)
    ranked = np.argsort(weight, kind="stable")
    heads[labels[ranked]] = ranked
    head, at = heads[labels], np.arange(images.count)
    members = np.zeros((images.count, count))
    members[at, labels] = sign[head, at] / np.bincount(labels, minlength=count)[labels]
    return labels, images.merged(members, [w[head, at] for w in where])


def _tolerance(images: NeuronImages, found: Stabilisers) -> Float[ndarray, " n"]:
    """How near a neuron must come to an image, in half squared distance."""
    moving = np.maximum(images.moving_energy, FIXED_SHARE * images.energy)
    return np.minimum(IMAGE_TOLERANCE, found.separation / 8) * moving


def _images_present(images: NeuronImages, found: Stabilisers) -> tuple[Float[ndarray, " n"], Bool[ndarray, " n"]]:
    """Share of the images other than the neuron that are present (NaN where there are none), and whether all are."""
    tolerance = _tolerance(images, found)
    hits = np.zeros(images.count)
    for elements, residual in residuals(images):
        hits += ((residual <= tolerance) & ~found.members[:, elements].T).sum(0)
    others = images.group.order - found.orders
    return np.where(others > 0, hits / np.maximum(others, 1), np.nan), hits == others


def _nulls(images: NeuronImages, weight: Float[ndarray, " n"], draws: int, seed: int) -> dict[str, float]:
    rng, values = np.random.default_rng(seed), {"turned neurons": [], "wrong action": []}
    nearest = images.nearest_over_group()[0]
    for _ in range(draws):
        turned, wrong = images.turned(rng), images.under_wrong_action(rng)
        # Scalars (x -> -x) commute with every change of basis: their conjugate is the right action, and no null.
        if wrong is not None and np.allclose(wrong.nearest_over_group()[0], nearest):
            wrong = None
        for name, null in (("turned neurons", turned), ("wrong action", wrong)):
            if null is not None:
                values[name].append(_mean(_images_present(null, stabilisers(null))[0], weight))
    return {name: float(np.mean(v)) for name, v in values.items() if v}


def _mean(share: Float[ndarray, " n"], weight: ndarray) -> float:
    """Weighted mean over the neurons that move; 1 where none does: then nothing is missing."""
    moves = ~np.isnan(share)
    total = weight[moves].sum()
    return float((share[moves] * weight[moves]).sum() / total) if total > 0 else 1.0


def _decide(present: float, null: float, gap: float, spread: float, found: Stabilisers) -> tuple[str, str]:
    if (found.orders == found.group.order).all():
        signs = (found.character < 0).any()
        kind = "up to its sign" if signs else "by the whole group: the trivial action"
        return "action", f"every neuron is fixed {kind}"
    excess = (present - null) / max(1 - null, 1e-3)
    numbers = (
        f"images present {present:.3f} beside {null:.3f} by chance, gap {gap:.3g} beside spread {spread:.3g}, "
        f"stabilisers decided for {found.decided.mean():.0%}"
    )
    against = ["hardly more images present than chance gives"] if excess < PARTIAL_EXCESS else []
    against += ["no gap in the self-correlations"] if gap < GAP_OVER_SPREAD * spread else []
    if against:
        return "none", f"{' and '.join(against)}: {numbers}"
    if present >= ACTION_PRESENT and excess >= ACTION_EXCESS:
        return "action", numbers
    return "partial", f"orbits with missing members: {numbers}"
