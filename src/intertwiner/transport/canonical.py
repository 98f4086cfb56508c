"""One network in canonical coordinates: at every nonlinearity the neurons are balanced, signed and sorted by what they
read, so that the picture of the next layer no longer depends on the gauge.

Neurons are sorted by a projection along one fixed random direction; its sign fixes theirs where the gauge leaves it
free. The order of two neurons is the only thing that is not continuous: it may turn over where their projections are
within rounding of each other.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import scipy.sparse as sp
from numpy import ndarray

from intertwiner.gauge import Pointwise
from intertwiner.gauge.projection import first_direction
from intertwiner.network import Network, Node, Output
from intertwiner.transport.follow import Leader
from intertwiner.transport.layer import SAME, Layer, Parents
from intertwiner.transport.pair import step
from intertwiner.transport.picture import ONE, Block, Lost, Picture, Source
from intertwiner.transport.solve import keys_of
from intertwiner.transport.table import Run

SEED = 20260125
"""Of the rows that orthogonal spaces are turned to."""


@dataclass(frozen=True, eq=False)
class CanonicalRows:
    """Where the rows of a layer go.

    Args:
        order: Rows in canonical order.
        sign: The sign that every row gets, by its old number.
    """

    order: ndarray
    sign: ndarray


def canonical_rows(keys: ndarray, *, sign: bool) -> CanonicalRows:
    """Sort rows by their projection, rows with a free sign by its absolute value.

    >>> found = canonical_rows(np.array([[3.0], [-1.0]]), sign=True)
    >>> found.order, float(np.prod(found.sign))
    (array([1, 0]), -1.0)
    """
    value = keys @ first_direction(keys.shape[1])
    if not sign:
        return CanonicalRows(np.argsort(value, kind="stable"), np.ones(len(keys)))
    return CanonicalRows(np.argsort(np.abs(value), kind="stable"), np.where(value < 0, -1.0, 1.0))


def canonical_turn(rows: ndarray) -> ndarray:
    """The orthogonal Q that brings ``Q rows`` nearest to fixed random rows [Schönemann 1966].

    Q M^T does for ``M rows`` what Q does for the rows: the turned rows depend on their lengths and angles alone.
    """
    fixed = np.random.default_rng([SEED, *rows.shape]).normal(size=rows.shape)
    left, _, right = np.linalg.svd(fixed @ rows.T)
    return left @ right


class Canonical(Leader):
    """Follows one network and puts every layer in canonical coordinates."""

    def pointwise(self, picture: Picture, pointwise: Pointwise, node: Node) -> Picture:
        whole, last = picture.dense(), ONE in picture.blocks
        rows = self.rows(whole, last, pointwise)
        self.stands[node.name] = (picture,), rows
        first = rows.live[rows.first]
        form = canonical_rows(keys_of(rows.balanced[rows.first], last, pointwise), sign=pointwise.sign)
        rank = np.empty(len(first), dtype=np.int64)
        rank[form.order] = np.arange(len(first))
        norm = rows.norm[rows.first]
        parents = (form.sign / norm)[:, None] * rows.all[first]
        constant = form.sign / norm * rows.constant[first]
        if pointwise.shift == "real":
            constant = np.zeros_like(constant)
        elif pointwise.shift == "pi":
            constant = constant - np.pi * np.round(constant / np.pi)
        own = Parents(parents[rows.label], constant[rows.label], rank[rows.label], len(first))
        layer = Layer(picture, rows, pointwise, node.name)
        block, shift = layer.block(own, rows.factor * form.sign[rows.label])
        return layer.after(block, shift, _unbounded(node.name, len(first)), False)

    def joint(
        self, pictures: Sequence[Picture], node: Node, *, signed: bool, scaled: bool, norm: str
    ) -> tuple[list[Source], Block | None]:
        whole = np.concatenate([p.dense() for p in pictures], axis=1)
        if norm == "length":
            return [_unbounded(f"{node.name}#0", len(whole))], canonical_turn(whole).T
        size = np.linalg.norm(whole, axis=1) if scaled else np.ones(len(whole))
        size = np.where(size > 0, size, 1.0)
        form = canonical_rows(whole / size[:, None], sign=signed)
        rank = np.empty(len(whole), dtype=np.int64)
        rank[form.order] = np.arange(len(whole))
        block = sp.csr_array((size * form.sign, (np.arange(len(whole)), rank)), shape=(len(whole),) * 2)
        return [_unbounded(f"{node.name}#{k}", len(whole)) for k in range(len(pictures))], block


def _unbounded(name: str, count: int) -> Source:
    """Coordinates of which only the order matters."""
    return Source(name, (SAME(count),), np.zeros(count), np.zeros(count))


def canonical_pictures(network: Network, tolerance: float) -> tuple[dict[str, Picture], Mapping[str, str], set[str]]:
    """The pictures of all values in canonical coordinates, why others have none, and which are read by a nonlinearity.

    Cost:
        One sort of the weights per layer.
    """
    follower = Canonical(tolerance)
    run = Run(tolerance, follower=follower)
    pictures: dict[str, Picture] = {}
    lost: dict[str, str] = {}
    for node in network.nodes:
        if isinstance(node.op, Output) or any(name in lost for name in node.inputs):
            lost |= {} if isinstance(node.op, Output) else {node.name: ""}
            continue
        try:
            pictures[node.name] = step(run, node, network, [pictures[name] for name in node.inputs], 1.0)
        except Lost as reason:
            lost[node.name] = str(reason)
    read = {network.node(name).inputs[0] for name in follower.stands}
    return pictures, lost, read
