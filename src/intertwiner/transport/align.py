"""Bringing several pictures to one shape, one set of feature axes and one grid map, as adds and concatenations need."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from math import prod

import numpy as np
from numpy import ndarray

from intertwiner.numerics.monomial import Monomial
from intertwiner.symmetry import AxisFactor, TensorAction
from intertwiner.transport.picture import ONE, Block, Lost, Picture, Source, constant_blocks, matrix_on, one, promote


def align(pictures: Sequence[Picture], shape: tuple[int, ...]) -> list[Picture]:
    """Broadcast pictures with equally many axes to ``shape``, with common features and grid maps.

    Raises:
        Lost: If two of them move their positions differently.
    """
    features = tuple(sorted({a for p in pictures for a in p.features}))
    ready = []
    for picture in pictures:
        picture = promote(picture, tuple(a for a in features if picture.shape[a] > 1))
        ready.append(expand(replace(picture, features=features), shape, grids=False))
    grids = [_common_grid([p.grids[g] for p in pictures], shape, features) for g in range(pictures[0].generators)]
    return [replace(p, grids=tuple(grids)) for p in ready]


def expand(picture: Picture, shape: tuple[int, ...], *, grids: bool = True) -> Picture:
    """Repeat axes of size one; rows are repeated along feature axes, positions along grid axes."""
    old = [picture.shape[a] for a in picture.features]
    new = [shape[a] for a in picture.features]
    out = replace(picture, shape=shape)
    if old != new:
        order = np.broadcast_to(np.arange(prod(old)).reshape(old), new).ravel()
        out = out.map_blocks(lambda block: block[order])
    if grids:
        out = replace(out, grids=tuple(TensorAction(shape, grid.factors) for grid in picture.grids))
    return out


def _common_grid(grids: Sequence[TensorAction], shape: tuple[int, ...], features: tuple[int, ...]) -> TensorAction:
    factors: dict[tuple[int, ...], AxisFactor] = {}
    for grid in grids:
        for factor in grid.factors:
            if set(factor.axes) & set(features):  # promoted: now part of the sources' actions
                continue
            factors.setdefault(factor.axes, factor)
    common = TensorAction(shape, tuple(factors.values()))
    for grid in grids:
        for axes in factors:
            if any(grid.shape[a] > 1 for a in axes) and matrix_on(grid, axes) != factors[axes].matrix:
                raise Lost(f"two values meet whose positions on axes {axes} are moved differently")
    return common


def field(picture: Picture, array: ndarray) -> tuple[dict[str, Block], dict[str, Source]]:
    """An array that stands at fixed positions (a bias, a positional parameter) as blocks and sources of a picture.

    Where it varies over the grid, its source is the position itself: the group moves positions, the numbers stay.
    """
    whole = np.broadcast_to(array, picture.shape)
    rows = np.moveaxis(whole, picture.features, range(len(picture.features))).reshape(picture.rows, -1)
    if not np.any(rows):
        return {}, {}
    if np.all(rows == rows[:, :1]):
        return constant_blocks(rows[:, 0]), {ONE: one(picture.generators)}
    axes = picture.grid_axes
    moves = tuple(grid_matrix(grid, axes) for grid in picture.grids)
    name = "positions" + str(tuple(picture.shape[a] for a in axes))
    return {name: rows}, {name: Source(name, moves, np.ones(rows.shape[1]), np.zeros(rows.shape[1]))}


def grid_matrix(grid: TensorAction, axes: tuple[int, ...]) -> Monomial:
    """The grid map on the row-major flattening of all grid axes, as a permutation.

    Raises:
        Lost: If the map is no permutation of positions.
    """
    matrix = grid.drop_axes([a for a in range(len(grid.shape)) if a not in axes]).flat()
    if not isinstance(matrix, Monomial) or not matrix.is_permutation:
        raise Lost("the group does not permute the positions")
    return matrix
