r"""What a move of the input grid becomes behind a convolution or a pool, found from index tables and verified.

With ``table[o, k]`` the input point that output o reads through tap k, a convolution is
``y[o] = sum_k w[k] x[table[o, k]]``. If the grid moves by g, and some permutations pi of the outputs and kappa of
the taps satisfy ``table[pi(o), kappa(k)] = g(table[o, k])`` for all o and k (padding stays padding), then

    conv(kappa w, g x) = pi conv(w, x),

and a pool, which does not tell taps apart, needs equal sets of points only. Candidates for kappa are the exchanges
and reversals of the kernel axes, and the one that a single full window forces.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Int
from numpy import ndarray

from intertwiner.errors import NoInducedAction, ShapeMismatch
from intertwiner.numerics.monomial import Monomial
from intertwiner.symmetry.grid_map import GridMap, recognise, signed_axis_maps
from intertwiner.symmetry.grid_reason import reason
from intertwiner.symmetry.windows import Windows, adaptive_table, windows

SEED = 20260103
"""Seed of the weights that hash the rows of a table; equality of rows is verified afterwards."""


@dataclass(frozen=True)
class InducedGrid:
    """A move of the output grid and of the kernel that go with a move of the input grid.

    Args:
        out_size: The output grid.
        out_permutation: Output o moves to ``out_permutation.index[o]``, row-major.
        kernel_permutation: Tap k moves to ``kernel_permutation.index[k]``; the identity for pools.
    """

    out_size: tuple[int, ...]
    out_permutation: Monomial
    kernel_permutation: Monomial


def induced_grid(
    grid_permutation: Monomial | Int[ndarray, " n"],
    in_size: Sequence[int],
    kernel: int | Sequence[int],
    stride: int | Sequence[int] | None = 1,
    padding: int | str | Sequence[int] | Sequence[tuple[int, int]] = 0,
    dilation: int | Sequence[int] = 1,
    *,
    mode: str = "zeros",
    transposed: bool = False,
    output_padding: int | Sequence[int] = 0,
    ceil: bool = False,
    pool: bool = False,
) -> InducedGrid:
    """The moves of the output grid and of the kernel under which a convolution, or a pool, is equivariant.

    Args:
        grid_permutation: The move of the input grid, row-major.
        in_size: The input grid.
        kernel: Taps per axis, as torch takes it; likewise ``stride`` (None: the kernel, as pools have it),
            ``padding`` (a number, one per axis, pairs before and after, "same" or "valid") and ``dilation``.
        mode: zeros, circular, reflect or replicate.
        transposed: A transposed convolution, with its ``output_padding``.
        ceil: ``ceil_mode`` of pools.
        pool: Whether taps are interchangeable: maximum or average over the window.

    Raises:
        NoInducedAction: No such moves; the message says why and what would help.
        ShapeMismatch: The permutation does not fit the grid.

    Cost:
        (output points x taps) for each candidate, at most 2, 8 or 48 in 1, 2 or 3 dimensions; one if g is a turn
        or flip that passes.

    Example:
        Kernel 3, stride 2, padding 1 under a flip: length 9 works, length 8 does not.

        >>> induced_grid(np.arange(9)[::-1], (9,), 3, stride=2, padding=1).out_permutation.index
        array([4, 3, 2, 1, 0])
        >>> induced_grid(np.arange(8)[::-1], (8,), 3, stride=2, padding=1)
        Traceback (most recent call last):
        ...
        intertwiner.errors.NoInducedAction: ...
    """
    shape = windows(
        in_size,
        kernel,
        stride=stride,
        padding=padding,
        dilation=dilation,
        mode=mode,
        transposed=transposed,
        output_padding=output_padding,
        ceil=ceil,
    )
    g = _grid_index(grid_permutation, shape.in_size)
    moved = np.where(shape.table >= 0, g[shape.table], shape.table)
    taps = shape.table.shape[1]
    geometry = recognise(g, shape.in_size)
    if pool:
        found = match_rows_as_sets(shape.table, moved, natural_outputs(geometry, shape))
        if found is None:
            raise NoInducedAction(reason(geometry, shape, pool=True))
        return InducedGrid(shape.out_size, Monomial(found), Monomial.identity(taps))
    for kappa in _kernel_candidates(geometry, shape, moved):
        wanted = np.empty_like(moved)
        wanted[:, kappa] = moved
        found = match_rows(shape.table, wanted, natural_outputs(geometry, shape))
        if found is not None:
            return InducedGrid(shape.out_size, Monomial(found), Monomial(kappa))
    raise NoInducedAction(reason(geometry, shape))


def induced_adaptive(
    grid_permutation: Monomial | Int[ndarray, " n"], in_size: Sequence[int], out_size: Sequence[int]
) -> InducedGrid:
    """The move of the output of an adaptive pool; its kernel is void, since windows differ in length.

    >>> induced_adaptive(np.arange(5)[::-1], (5,), (2,)).out_permutation.index
    array([1, 0])
    """
    size, out = tuple(int(n) for n in in_size), tuple(int(n) for n in out_size)
    g = _grid_index(grid_permutation, size)
    table = adaptive_table(size, out)
    moved = np.where(table >= 0, g[table], table)
    geometry = recognise(g, size)
    found = match_rows_as_sets(table, moved, _about_centre(geometry, out))
    if found is None:
        raise NoInducedAction(
            f"the windows of an adaptive pool from {_text(size)} to {_text(out)} points are not carried to windows by "
            "this move of the grid. Cure: an output size that divides the input size and is equal on exchanged axes"
        )
    return InducedGrid(out, Monomial(found), Monomial.identity(table.shape[1]))


def match_rows(
    table: Int[ndarray, "out taps"], wanted: Int[ndarray, "out taps"], guess: Int[ndarray, " out"] | None = None
) -> Int[ndarray, " out"] | None:
    """The permutation pi with ``table[pi(o)] == wanted[o]`` for all o, or None.

    ``guess`` is taken where it is right: rows can be equal (windows all in the padding), and then the geometric
    choice is the one that composes.
    """
    if guess is not None and np.array_equal(table[guess], wanted):
        return guess
    weights = np.random.default_rng(SEED).integers(1, 1 << 62, table.shape[1], dtype=np.int64)
    with np.errstate(over="ignore"):
        have, want = np.argsort(table @ weights, kind="stable"), np.argsort(wanted @ weights, kind="stable")
    if not np.array_equal(table[have], wanted[want]):
        return None
    found = np.empty(len(table), dtype=np.int64)
    found[want] = have
    return found


def match_rows_as_sets(
    table: Int[ndarray, "out taps"], wanted: Int[ndarray, "out taps"], guess: Int[ndarray, " out"] | None = None
) -> Int[ndarray, " out"] | None:
    """``match_rows`` where the order of the taps does not matter."""
    return match_rows(np.sort(table, axis=1), np.sort(wanted, axis=1), guess)


def natural_outputs(geometry: GridMap | None, shape: Windows) -> Int[ndarray, " out"] | None:
    """What the same turns, flips and rolls would do to the output grid, about its own centre."""
    centred = _about_centre(geometry, shape.out_size)
    if centred is None or geometry is None:
        return centred
    offsets = []
    for b, step in enumerate(geometry.rolls(shape.in_size)):
        n, s = shape.out_size[b], shape.stride[b]
        step = step * s if shape.transposed else step // s
        offsets.append(((n - 1 if geometry.sign[b] < 0 else 0) + step) % n)
    return GridMap(geometry.source, geometry.sign, tuple(offsets)).permutation(shape.out_size)


def _about_centre(geometry: GridMap | None, size: tuple[int, ...]) -> Int[ndarray, " n"] | None:
    if geometry is None:
        return None
    centred = GridMap.signed_axes(geometry.source, geometry.sign, size)
    return centred.permutation(size) if centred.fits(size) else None


def _kernel_candidates(
    geometry: GridMap | None, shape: Windows, moved: Int[ndarray, "out taps"]
) -> Iterator[Int[ndarray, " taps"]]:
    tried = set()
    first = [] if geometry is None else [GridMap.signed_axes(geometry.source, geometry.sign, shape.kernel)]
    for candidate in (*first, *signed_axis_maps(shape.kernel)):
        if not candidate.fits(shape.kernel):
            continue
        kappa = candidate.permutation(shape.kernel)
        if kappa.tobytes() not in tried:
            tried.add(kappa.tobytes())
            yield kappa
    forced = _forced_kernel(shape.table, moved)
    if forced is not None and forced.tobytes() not in tried:
        yield forced


def _forced_kernel(table: Int[ndarray, "out taps"], moved: Int[ndarray, "out taps"]) -> Int[ndarray, " taps"] | None:
    """The kappa read off one window without padding, if its image is a window."""
    full = np.flatnonzero((table >= 0).all(axis=1))
    if not len(full):
        return None
    image = moved[full[0]]
    same = np.flatnonzero((np.sort(table, axis=1) == np.sort(image)).all(axis=1))
    if not len(same):
        return None
    row = table[same[0]]
    kappa = np.empty(len(row), dtype=np.int64)
    kappa[np.argsort(image, kind="stable")] = np.argsort(row, kind="stable")
    return kappa


def _grid_index(grid: Monomial | Int[ndarray, " n"], size: tuple[int, ...]) -> Int[ndarray, " n"]:
    move = grid if isinstance(grid, Monomial) else Monomial(np.asarray(grid))
    if move.dimension != int(np.prod(size, dtype=np.int64)):
        raise ShapeMismatch(f"a permutation of {move.dimension} points on a grid of {_text(size)}")
    if not move.is_permutation:
        raise NoInducedAction("the grid is moved with signs or scales; only permutations pass through windows")
    return move.index


def _text(size: Sequence[int]) -> str:
    return " x ".join(map(str, size))
