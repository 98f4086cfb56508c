"""The weight path: what the weights alone say about the action at every latent space.

Every relation that was solved while carrying the input action (``transport``) becomes a representation, once it is
checked to be one; where a linear space has no nonlinearity to fix its coordinates, the action is reported on the
part that the input reaches and called undetermined on the rest.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy import ndarray

from intertwiner.algebra import Group, GSet, Representation
from intertwiner.errors import NotAnAction, RankUndecided
from intertwiner.numerics.rank import rank_from_values
from intertwiner.transport import Carried, LatentRelation, Picture

EXACT, WITHIN, BROKEN, NOT_COVERED = "exact", "within tolerance", "broken", "not covered"


@dataclass(frozen=True, eq=False)
class WeightAction:
    """The action at one latent space, from the weights.

    Args:
        status: "exact", "within tolerance", "broken" (an orbit member is missing) or "not covered".
        reason: Why it is broken or not covered; empty otherwise.
        residual: Largest relative residual of a row, None where nothing was compared.
        representation: On the distinct live neurons (or on the reached part of a linear space), None where broken.
        orbits: The same as a G-set, where it is monomial.
        labels: For every neuron its orbit, -1 where it is constant; None where there are no orbits.
        joined: Neurons that are copies of another one up to the neuron gauge.
        constant: Neurons that do not depend on the input.
        undetermined: Dimensions that the input does not reach.
    """

    status: str
    reason: str = ""
    residual: float | None = None
    representation: Representation | None = None
    orbits: GSet | None = None
    labels: ndarray | None = None
    joined: int = 0
    constant: int = 0
    undetermined: int = 0


def weight_action(group: Group, carried: Carried, node: str) -> WeightAction:
    """What the weights say at a node: a solved relation, a linear picture, or why there is nothing."""
    if node in carried.relations:
        return _from_relation(group, carried.relations[node])
    if node in carried.pictures:
        return _from_picture(group, carried.pictures[node])
    return WeightAction(NOT_COVERED, carried.lost.get(node) or "an earlier layer broke the action")


def _from_relation(group: Group, relation: LatentRelation) -> WeightAction:
    counts = {"residual": relation.residual, "joined": relation.joined, "constant": relation.constant}
    if not relation.complete:
        names = [group.element_names[g] for g in group.generators]
        missing = [f"{len(f)} under {n}" for f, n in zip(relation.failed, names, strict=True) if len(f)]
        return WeightAction(BROKEN, f"orbit members are missing: {', '.join(missing)}", **counts)
    try:
        representation = Representation(group, relation.actions, dimension=int(relation.distinct.max(initial=-1)) + 1)
    except NotAnAction as error:
        return WeightAction(BROKEN, f"the matches do not compose: {error}", **counts)
    labels = np.full(len(relation.distinct), -1)
    orbits = None
    if representation.dimension and representation.is_signed_permutation and group.generators:
        orbits, of_distinct = GSet.from_monomials(group, relation.actions, check=False)
        live = relation.distinct >= 0
        labels[live] = of_distinct[relation.distinct[live]]
    status = EXACT if relation.exact else WITHIN
    return WeightAction(status, "", representation=representation, orbits=orbits, labels=labels, **counts)


def _from_picture(group: Group, picture: Picture) -> WeightAction:
    """The action on the span of the columns: ``rho A = A P``, solved by least squares on what is reached."""
    whole = picture.dense()
    left, values, _ = np.linalg.svd(whole, full_matrices=False)
    try:
        reached = rank_from_values(values, size=max(whole.shape, default=1)).rank
    except RankUndecided as error:
        return WeightAction(NOT_COVERED, f"a linear space whose reached part has no clear dimension: {error}")
    basis = left[:, :reached]
    inside = basis.T @ whole
    back = np.linalg.pinv(inside)
    images, residual = [], 0.0
    for g in range(picture.generators):
        moved = picture.moved(g, whole)
        image = basis.T @ moved @ back
        gap = np.linalg.norm(basis @ (image @ inside) - moved)
        residual = max(residual, float(gap / max(np.linalg.norm(moved), np.finfo(float).tiny)))
        images.append(image)
    try:
        representation = Representation(group, tuple(images), dimension=reached)
    except NotAnAction as error:
        return WeightAction(NOT_COVERED, f"a linear space without an action on what is reached: {error}", residual)
    return WeightAction(WITHIN, "", residual, representation=representation, undetermined=picture.rows - reached)
