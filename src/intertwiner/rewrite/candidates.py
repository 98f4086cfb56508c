r"""Orbits of neurons that a layer of the twin may take: neurons joined with their images, moved and averaged.

Two neurons are compared by what they compute: with S the second moment of what the layer reads (a constant 1
included), over data symmetrised under G, the inner product of rows ``(w, b) S (w', b')^T`` is the mean of
``h(x) h'(x)``, so components that no input sees do not count. S commutes with G. Neurons that are images of each other
within a tolerance are joined, transitively; a class is replaced by its mean, moved next to its largest member, and the
orbit of the mean is built on the cosets of its stabiliser [theory 7, "lift and merge"].
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int
from numpy import ndarray
from scipy.sparse import csr_matrix
from scipy.sparse.csgraph import connected_components

from intertwiner.algebra import Group
from intertwiner.audit.images import NeuronImages, first_layer
from intertwiner.audit.neuron_orbits import parts_by_factor
from intertwiner.audit.stabilisers import Stabilisers, stabilisers
from intertwiner.gauge import Pointwise
from intertwiner.numerics.tolerance import LIVE_SHARE, MOMENT_RANK
from intertwiner.rewrite.elements import Elements, coset_action
from intertwiner.rewrite.layers import signs_allowed
from intertwiner.rewrite.tied import Action, tied, trivial


@dataclass(frozen=True, eq=False)
class Candidate:
    """One orbit of neurons, ready to be a part of a layer.

    Args:
        weight: Rows of the orbit, tied.
        bias: Their constants, all equal up to sign.
        rho: How the generators move the orbit.
        members: Neurons of the original that it stands for.
        kept: Share of the energy of the mean that is invariant under the stabiliser.
    """

    weight: Float[ndarray, "k d"]
    bias: Float[ndarray, " k"]
    rho: Action
    members: Int[ndarray, " c"]
    kept: float

    @property
    def size(self) -> int:
        return len(self.bias)


@dataclass(frozen=True, eq=False)
class Layout:
    """The neurons of a layer before they are gathered.

    Args:
        group: G.
        rows: ``[W | b]`` over the coordinates that the layer reads.
        rho: How G moves those coordinates.
        metric: Second moment of the coordinates and a constant 1, symmetrised.
        pointwise: The nonlinearity after them.
        contribution: What each neuron contributes.
    """

    group: Group
    rows: Float[ndarray, "n d1"]
    rho: Action
    metric: Float[ndarray, "d1 d1"]
    pointwise: Pointwise
    contribution: Float[ndarray, " n"]


def neuron_images(layout: Layout) -> NeuronImages:
    """The neurons with all their images, as functions on the data."""
    mean = layout.metric[:-1, -1]
    centred = layout.rows[:, :-1] @ _root(layout.metric[:-1, :-1] - np.outer(mean, mean))
    # h(x) = w (x - mean) + (w mean + b): the two parts are orthogonal over the data, and G moves the first alone.
    constant = layout.rows[:, :-1] @ mean + layout.rows[:, -1]
    parts, idle = parts_by_factor(layout.group, centred, layout.rho)
    fixed = np.concatenate([centred[:, idle], constant[:, None]], axis=1)
    scaled = layout.pointwise.scale != "none"
    return first_layer(layout.group, parts, fixed=fixed, scaled=scaled, signed=signs_allowed(layout.pointwise))


def _root(metric: Float[ndarray, "d d"]) -> Float[ndarray, "d d"]:
    value, vector = np.linalg.eigh(metric)
    return (vector * np.sqrt(np.maximum(value, 0.0))) @ vector.T


def candidates(layout: Layout, *, cosine: float, live_share: float = LIVE_SHARE, largest: int) -> list[Candidate]:
    """The orbits that the neurons of a layer gather into, those that contribute most first.

    Args:
        layout: The neurons.
        cosine: Neurons whose correlation with an image of another one exceeds it are joined.
        live_share: Neurons contributing less than this share of the largest are left out.
        largest: Orbits with more neurons than this are left out.

    Cost:
        ``|G| n^2`` inner products, through the factors where they move different coordinates.
    """
    live = np.flatnonzero(layout.contribution > live_share * layout.contribution.max(initial=0.0))
    images = neuron_images(layout).restricted(live)
    live = live[images.energy > MOMENT_RANK * images.energy.max(initial=0.0)]
    images = neuron_images(layout).restricted(live)
    label, where, sign = gathered(images, layout.contribution[live], cosine)
    every = np.arange(len(live))
    count = int(label.max(initial=-1)) + 1
    members = np.zeros((len(live), count))
    members[every, label] = sign / np.bincount(label, minlength=count)[label]
    found = stabilisers(images.merged(members, where))
    energy = np.einsum("ij,jk,ik->i", layout.rows, layout.metric, layout.rows, optimize=True)[live]
    scale = 1 / np.sqrt(energy) if layout.pointwise.scale != "none" else np.ones(len(live))
    group_element = layout.group.join(where)
    moved = Elements(layout.group, layout.rho).moved_rows(layout.rows[live, :-1] * scale[:, None], group_element)
    means = members.T @ np.column_stack([moved, layout.rows[live, -1] * scale])
    weight = np.bincount(label, weights=layout.contribution[live] ** 2, minlength=count)
    out = []
    for k in np.argsort(-weight, kind="stable"):
        built = _orbit(layout, means[k], found, int(k), largest, live[label == k])
        out += [] if built is None else [built]
    return out


def gathered(
    images: NeuronImages, contribution: Float[ndarray, " n"], cosine: float
) -> tuple[Int[ndarray, " n"], tuple[Int[ndarray, " n"], ...], Float[ndarray, " n"]]:
    """The class of every neuron, and the element (by factor) and sign that move it next to the head of its class."""
    best, where, sign = images.nearest_over_group()
    size = np.sqrt(images.energy)
    near = best > cosine * np.maximum(size[:, None], size) ** 2 if not images.scaled else best > cosine
    near |= np.eye(images.count, dtype=bool)
    count, label = connected_components(csr_matrix(near), directed=True, connection="weak")
    heads = np.zeros(count, dtype=np.int64)
    ranked = np.argsort(contribution, kind="stable")
    heads[label[ranked]] = ranked
    head, at = heads[label], np.arange(images.count)
    return label, tuple(w[head, at] for w in where), sign[head, at]


def _orbit(
    layout: Layout, mean: Float[ndarray, " d1"], found: Stabilisers, k: int, largest: int, members: ndarray
) -> Candidate | None:
    """The orbit of a mean on the cosets of its stabiliser; None where it is too large."""
    inside, character = found.members[k], found.character[k]
    if not found.decided[k]:
        inside = np.zeros_like(inside)
        inside[0] = True
        character = inside.astype(np.int64)
    if layout.group.order > largest * int(inside.sum()):
        return None
    rho = coset_action(layout.group, inside, character)
    size = rho[0].dimension
    start = np.zeros((size, len(mean)))
    start[0] = size * mean
    # The mean over G of "row 0 is the mean, the others are zero" is the orbit of its invariant part, divided by size.
    weight = tied(rho, layout.rho).project(start[:, :-1])
    bias = tied(rho, trivial(len(rho))).project(start[:, -1:])[:, 0]
    return Candidate(weight, bias, rho, members, float(found.kept[k]))
