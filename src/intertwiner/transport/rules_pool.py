"""Pools and reductions: over positions the action on the features stays, over features it must be a permutation."""

from __future__ import annotations

from dataclasses import replace
from math import prod

import numpy as np

from intertwiner.errors import NoInducedAction, ShapeMismatch
from intertwiner.network import Node, Pool, Reduce
from intertwiner.numerics.monomial import Monomial
from intertwiner.symmetry import AxisFactor, TensorAction, induced_adaptive, induced_grid
from intertwiner.transport.align import grid_matrix
from intertwiner.transport.picture import ONE, Lost, Picture, Source, elsewhere, fresh, promote
from intertwiner.transport.solve import permuted_coordinates
from intertwiner.transport.table import Run, rule


@rule(Pool)
def pool(run: Run, node: Node, op: Pool, x: Picture) -> Picture:
    """Windows of positions. An average is linear; a maximum needs coordinates that the group permutes."""
    if op.reduction == "max":
        x = permuted_coordinates(run, x, node, scaled=True)
    dims = len(op.kernel)
    space = tuple(range(len(x.shape) - dims, len(x.shape)))
    if set(space) & set(x.features):
        raise Lost("a pool over positions that an earlier layer has mixed with the features")
    shape = tuple(node.sample_shape)
    grids = tuple(pooled(op, grid, space, shape) for grid in x.grids)
    border = op.reduction == "avg" and op.count_include_pad and any(a or b for a, b in op.padding)
    return elsewhere(replace(x, shape=shape, grids=grids), node.name, constant=border or op.divisor is not None)


def pooled(op: Pool, grid: TensorAction, space: tuple[int, ...], shape: tuple[int, ...]) -> TensorAction:
    size = tuple(grid.shape[a] for a in space)
    matrix = grid_matrix(grid, space)
    try:
        if op.windows is not None:
            found = induced_adaptive(matrix, size, tuple(shape[a] for a in space))
        else:
            found = induced_grid(
                matrix,
                size,
                op.kernel,
                op.stride,
                op.padding,
                op.dilation or 1,
                ceil=op.ceil_mode,
                pool=True,
            )
    except NoInducedAction as error:
        raise Lost(str(error)) from error
    return TensorAction(shape, (AxisFactor(space, found.out_permutation),))


@rule(Reduce)
def reduce(run: Run, node: Node, op: Reduce, x: Picture) -> Picture:
    axes = tuple(a - 1 for a in op.axes)
    if -1 in axes:
        raise Lost("values are reduced over the batch")
    if set(axes) & set(x.features):
        return _over_features(run, node, op, x, axes)
    if op.reduction not in ("mean", "sum"):
        x = permuted_coordinates(run, x, node, scaled=True)
    return _over_grid(node, x, axes, op.keepdim, total=op.reduction == "sum")


def _over_grid(node: Node, x: Picture, axes: tuple[int, ...], keepdim: bool, *, total: bool = False) -> Picture:
    """Mean, sum or maximum over grid axes: positions go, the action on the features stays."""
    try:
        grids = [grid.drop_axes(axes) for grid in x.grids]
    except ShapeMismatch as error:
        raise Lost(f"a reduction over only some of the axes that the group mixes: {error}") from error
    count = prod(x.shape[a] for a in axes) if total else 1
    x = elsewhere(x, node.name, scale=count)
    kept = tuple(a for a in range(len(x.shape)) if a not in axes)
    shape = tuple(x.shape[a] for a in kept)
    out = replace(x, shape=shape, features=tuple(kept.index(a) for a in x.features), grids=tuple(grids))
    if total and ONE in out.blocks:
        out = replace(out, blocks={**out.blocks, ONE: out.blocks[ONE] * count})
    if not keepdim:
        return out
    wide = tuple(1 if a in axes else n for a, n in enumerate(x.shape))
    moved = tuple(
        TensorAction(wide, tuple(AxisFactor(tuple(kept[a] for a in f.axes), f.matrix) for f in grid.factors))
        for grid in grids
    )
    return replace(out, shape=wide, features=x.features, grids=moved)


def _over_features(run: Run, node: Node, op: Reduce, x: Picture, axes: tuple[int, ...]) -> Picture:
    """A symmetric function of all features: invariant where the group permutes them."""
    x = promote(x, axes)
    if set(axes) != set(x.features):
        raise Lost("a reduction over some of the feature axes only")
    shape = tuple(node.sample_shape)
    kept = [a for a in range(len(x.shape)) if a not in x.features]
    grids = []
    for grid in x.grids:
        small = grid.drop_axes(x.features)
        place = {i: (a if op.keepdim else i) for i, a in enumerate(kept)}
        grids.append(
            TensorAction(shape, tuple(AxisFactor(tuple(place[a] for a in f.axes), f.matrix) for f in small.factors))
        )
    if op.reduction in ("mean", "sum"):
        weight = np.full((1, x.rows), 1.0 if op.reduction == "sum" else 1.0 / x.rows)
        return replace(x.map_blocks(lambda block: weight @ block), shape=shape, features=(), grids=tuple(grids))
    seen = "length" if op.reduction == "norm" else ""
    x = permuted_coordinates(run, x, node, signed=op.reduction == "norm", norm=seen)
    (source,) = (s for name, s in x.sources.items() if name in x.blocks)
    size = np.array([np.linalg.norm(source.magnitude) if op.reduction == "norm" else source.magnitude.max()])
    error = np.array([np.linalg.norm(source.error) if op.reduction == "norm" else source.error.max()])
    new = Source(node.name, (Monomial.identity(1),) * x.generators, size, error)
    return fresh(replace(x, shape=shape, features=(), grids=tuple(grids)), new)
