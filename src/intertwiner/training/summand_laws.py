r"""Linear laws of sums: a constant that one summand gains, another can lose.

In ``y = sum_k w_k y_k`` a constant per coordinate may move from ``y_i`` to ``y_k``, if nobody reads the summands
themselves. Biases add one; so do all rows of a table that is looked up, and learnt places, together. The generator is a
constant field, and ``1/w_i sum (entries of i) - 1/w_k sum (entries of k)`` does not change: the biases of a residual
branch and of its shortcut, all tokens against all places of an embedding. Where a layer norm reads a summand besides,
it takes the mean out: a constant that all coordinates share may still move, and one law is left of a whole family.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from fractions import Fraction
from itertools import islice

import numpy as np
from numpy import ndarray

from intertwiner.network import (
    Add,
    ChannelAffine,
    Constant,
    Conv,
    Embedding,
    Identity,
    LayerNorm,
    Linear,
    Network,
    Node,
)
from intertwiner.training.charge_norms import is_batch_norm
from intertwiner.training.charges import Charges, Use
from intertwiner.training.families import SHIFT, Family, Piece
from intertwiner.training.gauge_laws import with_axes
from intertwiner.training.shift_laws import entries, parts_of_one, shift_families
from intertwiner.training.spelling import spell
from intertwiner.training.views import view_of

Shapes = Mapping[str, tuple[int, ...]]
Summand = tuple[float, Use, bool]
"""Its factor, the parameter, and whether only a constant shared by all coordinates may move."""

Side = tuple[float, Use, ndarray]
"""Its factor, the parameter, and the entries by coordinate."""

ROLES = {Linear: "bias", Conv: "bias", Embedding: "weight", LayerNorm: "shift", Constant: "constant"}
"""What adds a constant to the result of an operator."""


def summand_families(charges: Charges, shapes: Shapes) -> tuple[Family, ...]:
    """The families of constants that move between summands.

    Args:
        charges: What the operators say.
        shapes: Shape of every parameter; those used twice are left out.
    """
    network, out = charges.network, []
    names = [use.param for use in charges.uses]
    uses = {
        (use.node.name, use.role): use
        for use in charges.uses
        if names.count(use.param) == 1 or parts_of_one(charges, use)
    }
    still = {piece.param for family in shift_families(charges, shapes) for piece in family.pieces}
    for root in (n for n in network.nodes if _sums(n, uses) and not _inside(network, n, uses)):
        found = list(_summands(charges, root, 1.0, uses))
        axes = {axis for _, use, _ in found if (axis := _axis(use, len(root.shape))) is not None}
        if len(found) > 1 and len(axes) == 1:
            (axis,) = axes
            sides = [(w, use, places) for w, use, _ in found if (places := _places(use, root, axis)) is not None]
            shared = {use.param for _, use, mean in found if mean}
            sides.sort(key=lambda side: side[1].param in shared)
            for other in sides[1:]:
                if other[1].param not in shared:
                    out.append(_family(root, sides[0], other, shapes))
                elif axis == len(root.shape) - 1 and other[1].param not in still:
                    out.append(_family(root, _summed(sides[0]), _summed(other), shapes))
    return tuple(out)


def _summed(side: Side) -> Side:
    """All coordinates together."""
    weight, use, places = side
    return weight, use, places.reshape(1, -1)


def _sums(node: Node, uses: Mapping[tuple[str, str], Use]) -> bool:
    """Whether a node adds values, or a parameter to a value."""
    if isinstance(node.op, ChannelAffine):
        return node.op.scale is None and (node.name, "shift") in uses
    return isinstance(node.op, Add)


def _inside(network: Network, node: Node, uses: Mapping[tuple[str, str], Use]) -> bool:
    """Whether the sum is itself a summand of the only node that reads it."""
    while len(node.users) == 1:
        node = network.node(node.users[0])
        if _sums(node, uses):
            return node.inputs.count(node.name) < 2
        if not isinstance(node.op, Identity):
            return False
    return False


def _summands(
    charges: Charges, node: Node, weight: float, uses: Mapping[tuple[str, str], Use], *, mean: bool = False
) -> Iterator[Summand]:
    """What adds constants to a sum, with its factor."""
    op = node.op
    if isinstance(op, Identity) and not (charges.training and "dropout" in op.note):
        inner = [(weight, node.inputs[0])]
    elif isinstance(op, Add):
        inner = [(weight * w, name) for w, name in zip(op.weights, node.inputs, strict=True)]
    elif isinstance(op, ChannelAffine) and (op.scale is None or is_batch_norm(node)):
        if (node.name, "shift") in uses:
            yield weight, uses[node.name, "shift"], mean
        inner = [] if is_batch_norm(node) else [(weight, node.inputs[0])]
    else:
        role = ROLES.get(type(op), "")
        if (node.name, role) in uses:
            yield weight, uses[node.name, role], mean
        return
    for w, name in inner:
        source = charges.network.node(name)
        others = [charges.network.node(user) for user in source.users if user != node.name]
        if w and node.inputs.count(name) == 1 and all(_blind(user) for user in others):
            below = _summands(charges, source, w, uses, mean=mean or bool(others))
            # Behind another reader one summand stands for all: laws of the sum there tie the others to it.
            yield from islice(below, 1) if others else below


def _blind(node: Node) -> bool:
    """Whether a reader does not see what all coordinates of the last axis have in common."""
    return isinstance(node.op, LayerNorm) and not node.op.rms and node.op.axes == (len(node.shape) - 1,)


def _axis(use: Use, axes: int) -> int | None:
    """The axis of the sum along which a vector is added; None for a parameter that has several."""
    if isinstance(use.node.op, Conv) or is_batch_norm(use.node):
        return 1
    if isinstance(use.node.op, (Linear, Embedding)):
        return axes - 1
    long = [a for a, size in enumerate(use.shape) if size > 1]
    return long[0] if len(long) == 1 and len(use.shape) == axes else None


def _places(use: Use, root: Node, axis: int) -> ndarray | None:
    """Entries by coordinate along the axis of the sum; None where they do not have one each."""
    places = entries(use, use.shape)
    if isinstance(use.node.op, Embedding):
        places = places.T
    elif places.ndim == len(root.shape) and places.ndim > 1:
        places = np.moveaxis(places, axis, 0)
    return places.reshape(len(places), -1) if len(places) == root.shape[axis] else None


def _family(root: Node, one: Side, other: Side, shapes: Shapes) -> Family:
    pieces = tuple(
        Piece(use.param, with_axes(view_of(places), []), sign / Fraction(weight), 1)
        for sign, (weight, use, places) in ((1, one), (-1, other))
    )
    where = (root.tap or root.name).removesuffix(":out")
    formula = spell(SHIFT, pieces, shapes)
    return Family(SHIFT, pieces, where, "constants moved between summands", formula, len(one[2]))
