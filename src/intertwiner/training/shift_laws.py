r"""Linear laws: constants that nothing sees. Where ``theta + t a`` never changes the loss, ``<a, theta>`` is constant.

* The bias of a layer in front of batch norm in training mode: the mean of the batch takes it out.
* The bias of keys under softmax: what queries alone add to the scores is common to all keys.
* Column sums of what writes into layer norm or softmax, and the sum of the bias: adding one number to all coordinates
  is taken out by the mean, or by the softmax; the last layer under cross entropy is the same case.
* Row sums of what reads a layer norm without gain and shift: its coordinates add up to zero.

Constants pass through sums, copies and means of equals; a space counts only where nobody else reads it.
"""

from __future__ import annotations

from collections.abc import Mapping
from fractions import Fraction

import numpy as np
from numpy import ndarray

from intertwiner.network import Identity, Index, LayerNorm, Linear, Network, Node, Reduce, Reshape
from intertwiner.training.charge_solve import components
from intertwiner.training.charges import BATCH_NORM, CENTRED, KEY, READ, Charges, Ids, Use
from intertwiner.training.families import SHIFT, Family, Piece
from intertwiner.training.gauge_laws import with_axes
from intertwiner.training.spelling import spell
from intertwiner.training.views import view_of

Shapes = Mapping[str, tuple[int, ...]]

ADDED = ("bias", "shift")
"""Roles in which an entry is added to one coordinate everywhere."""


Taken = tuple[ndarray, int]
"""Coordinates whose common shift is taken out, and at how many places at once."""


def shift_families(charges: Charges, shapes: Shapes) -> tuple[Family, ...]:
    """The families of linear laws.

    Args:
        charges: What the operators say.
        shapes: Shape of every parameter; those used twice are left out.
    """
    classes = components(charges.count, charges.same)
    seen = np.zeros(int(classes.max()) + 1, dtype=np.int64)
    for ids, who in charges.seen:
        seen[np.unique(classes[ids])] |= who
    for event in charges.centred:
        for row in (r for r in classes[event] if _block(r) is None):
            seen[row] |= READ
    rows = [taken for event in charges.centred for row in event if (taken := _block(classes[row])) is not None]
    last = classes[np.concatenate([*charges.outputs, np.zeros(0, dtype=np.int64)])] if charges.loss else np.zeros(0)
    names = [use.param for use in charges.uses]
    out = []
    for use in (u for u in charges.uses if names.count(u.param) == 1 or parts_of_one(charges, u)):
        found = [
            _unseen(use, classes, seen),
            _centred(use, classes, seen, (rows, last)),
            _row_sums(charges.network, use),
        ]
        out += [
            _family(use, places, words, shapes) for entry in found if entry is not None for places, words in [entry]
        ]
    return tuple(out)


def _block(row: ndarray) -> Taken | None:
    """The coordinates of a row, and how often each is in it; None where they weigh differently."""
    known, times = np.unique(row, return_counts=True)
    return (known, int(times[0])) if (times == times[0]).all() else None


def parts_of_one(charges: Charges, use: Use) -> bool:
    """Used in several places, but no entry twice: all uses together have as many entries as they name."""
    places = [entries(u, u.shape).ravel() for u in charges.uses if u.param == use.param]
    return len(np.unique(np.concatenate(places))) == sum(map(len, places))


Words = tuple[str, str]
"""Group, and what is assumed."""


def _unseen(use: Use, classes: ndarray, seen: ndarray) -> tuple[ndarray, Words] | None:
    """Biases one by one."""
    if use.role not in ADDED or sum(size > 1 for size in use.shape) > 1:
        return None  # added at some places only, it is seen
    at = np.broadcast_to(classes[use.up], use.shape)
    for who, words in (
        (BATCH_NORM, ("shifts in front of batch norm", "batch norm in training mode")),
        (KEY, ("shifts of keys under softmax", "")),
    ):
        chosen = (seen[at] == who) & (np.broadcast_to(use.up, use.shape) > 0)
        if chosen.any():
            return entries(use, use.shape)[chosen][:, None], words
    return None


def _centred(
    use: Use, classes: ndarray, seen: ndarray, taken: tuple[list[Taken], ndarray]
) -> tuple[ndarray, Words] | None:
    """Sums over all coordinates that are centred together, block by block."""
    rows, outputs = taken
    up = classes[use.up]
    long = [a for a in range(up.ndim) if up.shape[a] > 1 and np.ptp(up, axis=a).any()]
    if len(long) > 1 or not use.up.all() or (not long and up.size > 1):
        return None
    axis = long[0] if long else 0
    line = np.moveaxis(up, axis, -1).reshape(-1, up.shape[axis])
    space = line[0]
    if (line != space).any() or len(np.unique(space)) != len(space):
        return None
    meeting = [row for row in rows if np.isin(row[0], space).any()]
    blocks = np.unique([row for row, _ in meeting], axis=0) if len({len(row) for row, _ in meeting}) == 1 else []
    common = not any(times > 1 for _, times in meeting) or (use.role in ADDED and len(line) == 1 == use.down.size)
    inside = np.isin(blocks, space).all() and (seen[blocks] == CENTRED).all() if len(blocks) else False
    if not inside or not common or len(np.unique(blocks)) != np.size(blocks):
        return None
    assumed = "cross entropy" if np.isin(blocks, outputs).any() else ""
    order = np.argsort(space)
    at = order[np.searchsorted(space[order], blocks)]
    places = np.moveaxis(np.moveaxis(entries(use, use.shape), axis, -1)[..., at], -2, 0)
    group = "a shift of all coordinates" if len(blocks) == 1 else "a shift of all coordinates of a block"
    return places.reshape(-1, places.shape[-1]), (group, assumed)


def _row_sums(network: Network, use: Use) -> tuple[ndarray, Words] | None:
    """Readers of a layer norm without gain and shift."""
    if use.role != "weight" or not isinstance(use.node.op, Linear):
        return None
    source = network.node(use.node.inputs[0])
    while _keeps_sums(source, network):
        source = network.node(source.inputs[0])
    op = source.op
    if not isinstance(op, LayerNorm) or op.rms or op.params or op.axes != (len(source.shape) - 1,):
        return None
    return entries(use, use.shape), ("weights along what layer norm takes out", "")


def _keeps_sums(node: Node, network: Network) -> bool:
    """Whether coordinates that add up to zero along the last axis still do behind a node."""
    op, last = node.op, len(node.shape) - 1
    if isinstance(op, Identity) and "dropout" not in op.note:
        return True
    if isinstance(op, Reduce):
        axes = len(network.node(node.inputs[0]).shape) - 1
        return op.reduction in ("mean", "sum") and axes not in op.axes
    if isinstance(op, Reshape):
        return node.shape[-1] == network.node(node.inputs[0]).shape[-1]
    return isinstance(op, Index) and op.axis != last + op.squeeze


def entries(use: Use, shape: tuple[int, ...]) -> Ids:
    """Place of every entry of a use in its parameter."""
    out = np.array(use.start)
    for size, stride in zip(shape, use.strides, strict=True):
        out = out[..., None] + stride * np.arange(size)
    return out


def _family(use: Use, places: ndarray, words: Words, shapes: Shapes) -> Family:
    pieces = (Piece(use.param, with_axes(view_of(places), []), Fraction(1), 1),)
    where = (use.node.tap or use.node.name).removesuffix(":out")
    formula = spell(SHIFT, pieces, shapes)
    return Family(SHIFT, pieces, where, words[0], formula, len(places), holds=words[1])
