r"""The table of theory 7: how many neurons are copies of each other under G, with one cosine for everything.

Conventions. ReLU: every row is scaled to norm one over all that it reads, biases included. A neuron contributes the
standard deviation of its activation over the data times the norm of its outgoing weights (before a softmax: without
the mean over the logits); those under a share of the largest are left out. Two neurons are equal where their cosine is
above ``cosine``, invariant part included. The level set of a neuron is ``{g : cos(g . w, w) > cosine}``. An image
``g . w_j`` is present where it equals some live neuron, and an orbit is complete where all |G| are; "by variance"
weighs neurons by squared contribution. For the width, neurons are joined where one equals an image of the other,
transitively; each class is moved next to its largest member and averaged, and the mean counts
``|G| / (size of its level set)``.

These cosines decide nothing in the audit (``orbits`` does, with a tolerance that shrinks with the orbit): they are kept
because published tables stand on them.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Bool, Float
from numpy import ndarray

from intertwiner.algebra import subgroup_generated
from intertwiner.audit.images import NeuronImages
from intertwiner.audit.orbits import classes, live_neurons, residuals
from intertwiner.audit.stabilisers import closed_sets
from intertwiner.numerics.tolerance import LIVE_SHARE


@dataclass(frozen=True)
class Copies:
    """One row of the table; see the head of this file for every word.

    Args:
        neurons: All neurons of the layer.
        live: Those that contribute.
        subgroups: Share of live neurons whose level set is a subgroup.
        orders: Sizes of the level sets, with the number of neurons.
        complete: Share of live neurons all of whose images are present.
        complete_variance: The same, weighted by squared contribution.
        present: Share of all |G| images of every live neuron that are present.
        present_variance: The same, weighted by squared contribution.
        lift_width: Width after lift and merge.
        lift_width_closed: The same with every level set closed to a subgroup first; at most ``lift_width``.
    """

    neurons: int
    live: int
    subgroups: float
    orders: dict[int, int]
    complete: float
    complete_variance: float
    present: float
    present_variance: float
    lift_width: int
    lift_width_closed: int

    def to_json(self) -> dict[str, Any]:
        return dict(vars(self)) | {"orders": {str(k): v for k, v in self.orders.items()}}


def count_copies(
    images: NeuronImages,
    contribution: Float[ndarray, " n"],
    *,
    cosine: float = 0.95,
    live_share: float = LIVE_SHARE,
) -> Copies:
    """One row of the table of theory 7 for the neurons of a layer, which must be scaled to norm one.

    Cost:
        ``|G| n^2`` inner products; a product of groups costs as much as its factors until the images are counted.
    """
    live = live_neurons(contribution, images.count, live_share)
    kept, weight = images.restricted(live).normalised(), contribution[live] ** 2
    weight = weight / weight.sum()
    level = _level_sets(kept, cosine)
    hits = np.zeros(len(live))
    for _, residual in residuals(kept):
        hits += (residual < 1 - cosine).sum(0)
    complete, share = hits == kept.group.order, hits / kept.group.order
    _, means = classes(kept, np.full(len(live), 1 - cosine), weight)
    mean_level = _level_sets(means, cosine)
    sizes = Counter(level.sum(1).tolist())
    return Copies(
        images.count, len(live), float(closed_sets(level, level.astype(np.int64), kept.group).mean()),
        dict(sorted(sizes.items(), key=lambda item: (-item[1], item[0]))),
        float(complete.mean()), float(weight[complete].sum()), float(share.mean()), float(weight @ share),
        round(float((kept.group.order / mean_level.sum(1)).sum())), _closed_width(mean_level, kept),
    )  # fmt: skip


def _level_sets(images: NeuronImages, cosine: float) -> Bool[ndarray, "n order"]:
    return images.self_products(invariant=True) > cosine * images.energy[:, None]


def _closed_width(level: Bool[ndarray, "n order"], images: NeuronImages) -> int:
    """Sum of the indices of the subgroups that the level sets generate; only sets that are not closed cost anything."""
    closed, group, width = closed_sets(level, level.astype(np.int64), images.group), images.group, 0
    for members, ok in zip(level, closed, strict=True):
        order = int(members.sum()) if ok else subgroup_generated(group, np.flatnonzero(members).tolist()).order
        width += group.order // order
    return width
