"""Operators that move entries or merge axes: reshape, permute, index, expand."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from math import prod

import numpy as np
from numpy import ndarray

from intertwiner.network import Expand, Identity, Index, Node, Permute, Reshape
from intertwiner.numerics.monomial import Monomial
from intertwiner.symmetry import AxisFactor, TensorAction
from intertwiner.transport.align import expand
from intertwiner.transport.picture import Lost, Picture, elsewhere, promote
from intertwiner.transport.table import Run, rule


@rule(Identity)
def identity(run: Run, node: Node, op: Identity, x: Picture) -> Picture:
    return x


@rule(Expand)
def repeat(run: Run, node: Node, op: Expand, x: Picture) -> Picture:
    return expand(x, tuple(node.sample_shape))


@rule(Reshape)
def reshape(run: Run, node: Node, op: Reshape, x: Picture) -> Picture:
    """Features stay features where the new shape has a cut at both of their ends; else positions join them."""
    shape = tuple(node.sample_shape)
    x, features = _cut(x, shape)
    grids = tuple(grid.reshape(shape) for grid in x.grids)
    return replace(x, shape=shape, features=features, grids=grids)


def _cut(x: Picture, shape: tuple[int, ...]) -> tuple[Picture, tuple[int, ...]]:
    if not x.features:
        return x, ()
    starts = [prod(shape[:i]) for i in range(len(shape) + 1)]
    low, high = x.features[0], x.features[-1]
    while True:
        before, inside = prod(x.shape[:low]), prod(x.shape[low : high + 1])
        first = _last_index(starts, before) if inside > 1 else -1
        stop = starts.index(before * inside) if before * inside in starts else -1
        if inside == 1:
            return replace(x, features=()), ()
        if first >= 0 and stop >= 0:
            return promote(x, tuple(range(low, high + 1))), tuple(range(first, stop))
        if first < 0:
            low -= 1
        else:
            high += 1


def _last_index(values: Sequence[int], wanted: int) -> int:
    return max((i for i, value in enumerate(values) if value == wanted), default=-1)


@rule(Permute)
def permute(run: Run, node: Node, op: Permute, x: Picture) -> Picture:
    if op.dims[0] != 0:
        raise Lost("the batch axis is moved")
    order = [a - 1 for a in op.dims[1:]]
    features = tuple(sorted(order.index(a) for a in x.features))
    sizes = [x.shape[a] for a in x.features]
    rows = np.arange(x.rows).reshape(sizes).transpose([x.features.index(order[a]) for a in features]).ravel()
    shape = tuple(x.shape[a] for a in order)
    out = x.map_blocks(lambda block: block[rows]) if len(features) > 1 else x
    out = replace(out, shape=shape, features=features, grids=tuple(grid.permute(order) for grid in x.grids))
    grid_order = [a for a in order if a not in x.features and x.shape[a] > 1]
    return out if grid_order == sorted(grid_order) else elsewhere(out, node.name)


@rule(Index)
def index(run: Run, node: Node, op: Index, x: Picture) -> Picture:
    axis, chosen = op.axis - 1, np.asarray(op.index)
    if axis < 0:
        raise Lost("entries of the batch axis are picked")
    picked = tuple(len(chosen) if a == axis else n for a, n in enumerate(x.shape))
    if axis in x.features:
        sizes = [x.shape[a] for a in x.features]
        rows = np.take(np.arange(x.rows).reshape(sizes), chosen, axis=x.features.index(axis)).ravel()
        out = replace(x.map_blocks(lambda block: block[rows]), shape=picked)
        out = replace(out, grids=tuple(TensorAction(picked, grid.factors) for grid in x.grids))
    else:
        grids = tuple(_picked(grid, axis, chosen, picked) for grid in x.grids)
        out = elsewhere(replace(x, shape=picked, grids=grids), node.name)
    return _drop(out, axis) if op.squeeze else out


def _drop(x: Picture, axis: int) -> Picture:
    """Remove an axis of size one."""
    shape = x.shape[:axis] + x.shape[axis + 1 :]
    features = tuple(a - (a > axis) for a in x.features if a != axis)
    return replace(x, shape=shape, features=features, grids=tuple(grid.reshape(shape) for grid in x.grids))


def _picked(grid: TensorAction, axis: int, chosen: ndarray, shape: tuple[int, ...]) -> TensorAction:
    """The grid map on the positions that are kept, if it keeps them."""
    factors = []
    for factor in grid.factors:
        if axis not in factor.axes:
            factors.append(factor)
            continue
        if not isinstance(factor.matrix, Monomial):
            raise Lost("entries are picked along an axis that the group mixes")
        old = np.arange(factor.matrix.dimension).reshape([grid.shape[a] for a in factor.axes])
        kept = np.take(old, chosen, axis=factor.axes.index(axis)).ravel()
        place = np.full(old.size, -1)
        place[kept] = np.arange(len(kept))
        if (place >= 0).sum() != len(kept):
            raise Lost("a position is picked twice")
        moved = place[factor.matrix.index[kept]]
        if np.any(moved < 0):
            raise Lost(f"the group moves the positions picked along axis {axis + 1} to others that are not picked")
        factors.append(AxisFactor(factor.axes, Monomial(moved, factor.matrix.factor[kept])))
    return TensorAction(shape, tuple(factors))
