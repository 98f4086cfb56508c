"""Groups that move the pixels of an image: turns and flips, rolls, and what they do to the channels meanwhile.

The grid is the last two sample axes (height, width) unless said otherwise. A quarter turn is counterclockwise as
seen with row 0 on top, ``torch.rot90(x, 1, (-2, -1))``; the reflection of a dihedral group is the left-right flip.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from intertwiner.algebra import Group
from intertwiner.errors import ShapeMismatch, WrongUse
from intertwiner.numerics.monomial import Monomial
from intertwiner.symmetry import matrices as mat
from intertwiner.symmetry.grid_map import GridMap
from intertwiner.symmetry.matrices import Matrix
from intertwiner.symmetry.opaque import Action
from intertwiner.symmetry.spec import (
    ActionSpec,
    from_representation,
    matrix_text,
    one_per_generator,
    read_matrices,
    require_same_group,
)
from intertwiner.symmetry.tensor_action import TensorAction

MOVES: dict[str, tuple[tuple[int, ...], tuple[int, ...]]] = {
    "identity": ((0, 1), (1, 1)),
    "left-right": ((0, 1), (1, -1)),
    "up-down": ((0, 1), (-1, 1)),
    "half-turn": ((0, 1), (-1, -1)),
    "quarter-turn": ((1, 0), (-1, 1)),
    "quarter-turn-clockwise": ((1, 0), (1, -1)),
    "transpose": ((1, 0), (1, 1)),
    "anti-transpose": ((1, 0), (-1, -1)),
    "reverse": ((0,), (-1,)),
}
"""Moves of a grid by name: for each axis of the result the axis it comes from, and whether it runs backwards."""

DEFAULT_MOVES: dict[str, tuple[str, ...]] = {
    "C1": (),
    "C2": ("half-turn",),
    "C4": ("quarter-turn",),
    "D1": ("left-right",),
    "D2": ("half-turn", "left-right"),
    "D4": ("quarter-turn", "left-right"),
    "C2xC2": ("left-right", "up-down"),
}
"""What the generators of the named groups do to an image."""

Move = tuple[tuple[int, ...], tuple[int, ...]]


@dataclass(frozen=True)
class Channels:
    """One matrix per generator on the channels, and the group of the representation they come from, if any."""

    images: tuple[Matrix, ...]
    group: Group | None = None


@dataclass(frozen=True, eq=False, repr=False)
class Image(ActionSpec):
    """Exchanges and reversals of the axes of a grid, with an action on the channels beside them."""

    moves: tuple[Move, ...] | None = None
    names: tuple[str, ...] | None = None
    channels: Channels | None = None
    size: tuple[int, ...] | None = None
    axes: tuple[int, ...] | None = None

    def on(self, group: Group, shape: tuple[int, ...]) -> tuple[Action, ...]:
        moves = moves_of(group, self.moves)
        d = len(moves[0][0]) if moves else 2
        full, axes = grid_axes(shape, d, self.size, self.axes)
        sizes = [full[a] for a in axes]
        out = []
        for (source, sign), name in zip(moves, group.generator_names, strict=True):
            grid = GridMap.signed_axes(source, sign, sizes)
            if not grid.fits(sizes):
                raise ShapeMismatch(
                    f"generator {name} exchanges the axes of the image, which must be equally long; "
                    f"the grid is {' x '.join(map(str, sizes))}. Half turns and flips need no square: "
                    "use cyclic(2), dihedral(2) or flip="
                )
            out.append(TensorAction.of(full, {axes: Monomial(grid.permutation(sizes))}))
        return tuple(a.reshape(shape) for a in with_channels(out, self.channels, group, axes))

    @property
    def text(self) -> str:
        options = []
        if self.moves is not None:
            options.append("flip=" + ";".join(self.names or [move_text(m) for m in self.moves]))
        return options_text("image", options, self)


@dataclass(frozen=True, eq=False, repr=False)
class Shift(ActionSpec):
    """Rolls of one axis per factor of the group; a dihedral factor also reverses its axis."""

    channels: Channels | None = None
    size: tuple[int, ...] | None = None
    axes: tuple[int, ...] | None = None

    def on(self, group: Group, shape: tuple[int, ...]) -> tuple[Action, ...]:
        full, axes = grid_axes(shape, len(group.factors), self.size, self.axes, consecutive=False)
        out = []
        for factor, axis in zip(group.factors, axes, strict=True):
            n = full[axis]
            for g in factor.generators:
                grid = _ring_move(factor, g, n)
                out.append(TensorAction.of(full, {(axis,): Monomial(grid.permutation((n,)))}))
        return tuple(a.reshape(shape) for a in with_channels(out, self.channels, group, axes))

    @property
    def text(self) -> str:
        return options_text("image", ["shift"], self)


def image(
    group: Group | None = None,
    channels: object = None,
    *,
    flip: object = None,
    size: int | Sequence[int] | None = None,
    axes: Sequence[int] | None = None,
) -> Image:
    """Turns and flips of an image.

    C2 is the half turn, C4 the quarter turn, D1 the left-right flip, D2 and D4 turns with the left-right flip,
    C2xC2 the left-right and the up-down flip.

    Args:
        group: Only to fail early where the group does not fit; the group that acts is that of the ``Symmetry``.
        channels: What happens to the channels meanwhile: a ``Representation``, or one permutation or matrix per
            generator; they stay where they are by default.
        flip: Another choice of moves: one name (for the last generator), or one per generator, from left-right,
            up-down, half-turn, quarter-turn, quarter-turn-clockwise, transpose, anti-transpose, reverse (grids of
            one axis), identity; or signed permutation matrices on the grid axes, for grids of any dimension.
        size: The grid, where the tensor is flat: ``size=(28, 28)`` reads 784 numbers as an image, row by row.
        axes: Which sample axes are the grid, e.g. ``(0, 1)`` where channels come last.

    Raises:
        ShapeMismatch: When bound to a grid that is not square, for groups with quarter turns.

    Example:
        >>> import torch
        >>> from intertwiner.algebra import cyclic
        >>> half_turn, = image().on(cyclic(2), (1, 1, 3))
        >>> half_turn.apply(torch.tensor([[[1.0, 2.0, 3.0]]]))
        tensor([[[3., 2., 1.]]])
    """
    names = None
    if isinstance(flip, str):
        flip = [flip]
    if flip is not None:
        flip = list(flip)  # type: ignore[call-overload]
        names = tuple(flip) if all(isinstance(f, str) for f in flip) else None
    moves = None if flip is None else tuple(read_move(f) for f in flip)  # type: ignore[union-attr]
    spec = Image(moves, names, _channels(channels), _size(size), None if axes is None else tuple(axes))
    if group is not None:
        moves_of(group, moves)
    return spec


def shift(
    group: Group | None = None,
    channels: object = None,
    *,
    size: int | Sequence[int] | None = None,
    axes: Sequence[int] | None = None,
) -> Shift:
    """Cyclic shifts: C_n rolls the width, C_n x C_m the height and the width, by size / n per step.

    A dihedral group D_n acts on one axis as on a ring: r rolls it, s sends position j to -j.

    Args:
        group: Only to fail early.
        channels: What happens to the channels meanwhile, as in ``image``.
        size: The grid, where the tensor is flat.
        axes: One sample axis per factor of the group; the last ones by default.

    Example:
        >>> import torch
        >>> from intertwiner.algebra import cyclic
        >>> step, = shift().on(cyclic(3), (3,))
        >>> step.apply(torch.tensor([[1.0, 2.0, 3.0]]))
        tensor([[3., 1., 2.]])
    """
    return Shift(_channels(channels), _size(size), None if axes is None else tuple(axes))


def read_move(value: object) -> Move:
    """A move from its name or from a signed permutation matrix on the grid axes."""
    if isinstance(value, str):
        if value not in MOVES:
            raise WrongUse(f"no move of a grid is called '{value}'; there are {', '.join(MOVES)}")
        return MOVES[value]
    matrix = mat.as_matrix(value)
    if not isinstance(matrix, Monomial) or not matrix.is_signed_permutation:
        raise WrongUse("a grid is moved by signed permutation matrices of its axes only: quarter turns and flips")
    sources = matrix.sources
    return tuple(sources.tolist()), tuple(int(s) for s in matrix.factor[sources])


def moves_of(group: Group, moves: tuple[Move, ...] | None) -> tuple[Move, ...]:
    """One move per generator: the given ones, the default of the named group, or its natural 2 x 2 matrices."""
    default = _default_moves(group)
    if moves is None:
        if default is None:
            raise WrongUse(
                f"{group.name} has no usual action on images (those with one: {', '.join(DEFAULT_MOVES)}). "
                "Say which moves its generators "
                f"({', '.join(group.generator_names)}) make: flip=(..), or use shift() for rolls"
            )
        return default
    if len(moves) == 1 and len(group.generators) > 1 and default is not None:
        return (*default[:-1], moves[0])
    if len(moves) != len(group.generators):
        raise WrongUse(
            f"flip= needs one move per generator of {group.name} ({', '.join(group.generator_names)}), got {len(moves)}"
        )
    if len({len(source) for source, _ in moves}) > 1:
        raise WrongUse("the moves given as flip= are of grids of different dimensions")
    return moves


def grid_axes(
    shape: tuple[int, ...],
    d: int,
    size: tuple[int, ...] | None,
    axes: tuple[int, ...] | None,
    *,
    consecutive: bool = True,
) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """The shape with its grid unfolded, and the axes of the grid in it."""
    if size is not None:
        size = size * d if len(size) == 1 else size
        points = math.prod(size)
        if len(size) != d:
            raise WrongUse(f"size={size} for a grid of {d} axes")
        if len(shape) >= d and shape[len(shape) - d :] == size and axes is None:
            return shape, tuple(range(len(shape) - d, len(shape)))
        if len(shape) == 0 or shape[-1] % points:
            raise ShapeMismatch(f"a tensor of shape {shape} holds no images of {' x '.join(map(str, size))} points")
        lead = (*shape[:-1], shape[-1] // points) if shape[-1] != points else shape[:-1]
        full = (*lead, *size)
        return full, tuple(range(len(full) - d, len(full)))
    if axes is None:
        if len(shape) < d:
            raise ShapeMismatch(
                f"an image needs {d} grid axes, the sample has shape {shape}; "
                "for images stored flat, row by row, give size=(height, width)"
            )
        return shape, tuple(range(len(shape) - d, len(shape)))
    if len(axes) != d or any(not -len(shape) <= a < len(shape) for a in axes):
        raise ShapeMismatch(f"axes={axes} for a grid of {d} axes in a sample of shape {shape}")
    axes = tuple(a % len(shape) for a in axes)
    if consecutive and any(b != a + 1 for a, b in itertools.pairwise(axes)):
        raise ShapeMismatch(f"the grid axes must be consecutive, got axes={axes}")
    return shape, axes


def with_channels(
    actions: Sequence[TensorAction], channels: Channels | None, group: Group, axes: tuple[int, ...]
) -> list[TensorAction]:
    """The actions with the channel matrices on the axis before the grid, or behind it where it comes first."""
    if channels is None:
        return list(actions)
    require_same_group(channels.group, group)
    images = one_per_generator(channels.images, group, "channels=")
    out = []
    for action, matrix in zip(actions, images, strict=True):
        axis = min(axes) - 1 if min(axes) > 0 else max(axes) + 1
        if axis >= len(action.shape) or action.shape[axis] != mat.dimension(matrix):
            have = action.shape[axis] if axis < len(action.shape) else "no"
            raise ShapeMismatch(
                f"channels= acts on {mat.dimension(matrix)} channels, the tensor of shape {action.shape} has {have}"
            )
        out.append(action @ TensorAction.of(action.shape, {(axis,): matrix}))
    return out


def move_text(move: Move) -> str:
    source, sign = move
    for name, known in MOVES.items():
        if known == move:
            return name
    matrix = np.zeros((len(source), len(source)), dtype=int)
    for b, (a, s) in enumerate(zip(source, sign, strict=True)):
        matrix[b, a] = s
    return "[" + "/".join(" ".join(map(str, row)) for row in matrix.tolist()) + "]"


def options_text(word: str, options: list[str], spec: Image | Shift) -> str:
    if spec.size is not None:
        options.append("size=" + "x".join(map(str, spec.size)))
    if spec.axes is not None:
        options.append("axes=" + " ".join(map(str, spec.axes)))
    if spec.channels is not None:
        options.append(matrix_text(spec.channels.images))
    return ":".join([word, *options])


def _default_moves(group: Group) -> tuple[Move, ...] | None:
    names = DEFAULT_MOVES.get(group.name)
    if names is not None and len(names) == len(group.generators):
        return tuple(MOVES[n] for n in names)
    if [f.order for f in group.factors] == [2, 2]:
        return tuple(MOVES[n] for n in DEFAULT_MOVES["C2xC2"])
    matrices = group.matrices
    if matrices is None or matrices.shape[1:] != (2, 2):
        return None
    # (x, y) with x to the right and y up is (column, -row).
    swap = np.array([[0.0, -1.0], [1.0, 0.0]])
    turned = [np.round(swap @ matrices[g] @ swap.T, 9) for g in group.generators]
    if not all(isinstance(m := mat.as_matrix(t), Monomial) and m.is_signed_permutation for t in turned):
        return None
    return tuple(read_move(t) for t in turned)


def _ring_move(factor: Group, g: int, n: int) -> GridMap:
    if factor.family not in ("cyclic", "dihedral"):
        raise WrongUse(f"shift() needs cyclic or dihedral factors, got {factor.name}")
    ring = factor.family == "dihedral"
    points = factor.order // 2 if ring else factor.order
    if n % points:
        raise ShapeMismatch(f"{factor.name} shifts an axis in {points} steps, the axis has {n} points: no multiple")
    if ring and g >= points:
        return GridMap((0,), (-1,), (0,))
    return GridMap((0,), (1,), (n // points % n,))


def _channels(channels: Any) -> Channels | None:
    if channels is None:
        return None
    if hasattr(channels, "character"):
        return Channels(*from_representation(channels))
    if isinstance(channels, Monomial):
        return Channels((channels,))
    first = channels[0]
    # Numbers, or rows of whole numbers, are permutations; anything with two axes more is matrices.
    plain = not isinstance(first, Monomial) and np.ndim(first) <= 1 and not isinstance(channels, np.ndarray)
    images = read_matrices(perm=channels) if plain else read_matrices(matrix=channels)
    return None if images is None else Channels(images)


def _size(size: int | Sequence[int] | None) -> tuple[int, ...] | None:
    if size is None:
        return None
    return (size,) if isinstance(size, int) else tuple(size)
