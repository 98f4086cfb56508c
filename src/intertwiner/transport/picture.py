r"""A value of the network as a linear picture of what the group action is already known on.

Every value ``v`` is kept as ``v = sum_s A_s u_s``: *sources* ``u_s`` (the input, the constant 1, the
post-activations of solved layers, patches of them) carry a known action, ``u_s(g x) = P_s(g) u_s(x)``, so

    v(g x) = sum_s A_s P_s(g) u_s(x)        at the moved grid position.

Linear operators only change ``A``. No action on a linear stretch has to be chosen: what the input does not reach
has no column, and what the output does not see drops out of the rows of the next layer. An action is solved for
where the architecture restricts it, at the nonlinearities (``solve.py``).

Axes: ``shape`` is the sample shape, without batch. ``features`` are the axes whose row-major flattening indexes the
rows of ``A``; the other axes are the *grid*, moved by ``grids[g]``, the same for all features.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from math import prod
from typing import Any

import numpy as np
import scipy.sparse as sp
from numpy import ndarray

from intertwiner.errors import ShapeMismatch
from intertwiner.numerics.monomial import Monomial
from intertwiner.symmetry import TensorAction

ONE = "1"
"""Name of the constant source: one coordinate, equal to 1, fixed by the group."""

Block = Any
"""A dense array, or a ``scipy.sparse.csr_array`` (whose types no checker understands)."""
Matrix = Monomial | ndarray


class Lost(Exception):
    """The action cannot be carried through this operator; the message says why. Internal to the room."""


@dataclass(frozen=True, eq=False)
class Source:
    """Coordinates ``u`` with a known action, bounded over the input box.

    Args:
        name: Unique within one run.
        actions: One matrix per generator: ``u(g x) = actions[g] u(x)``.
        magnitude: ``|u| <= magnitude`` over the input box, per coordinate.
        error: ``|u(g x) - actions[g] u(x)| <= error`` over the box, for every generator.
        length: Bound of the Euclidean norm of ``u`` at one position, where one is known beyond that of ``magnitude``.
        slack: The same for ``error``.
    """

    name: str
    actions: tuple[Matrix, ...]
    magnitude: ndarray
    error: ndarray
    length: float = np.inf
    slack: float = np.inf

    @property
    def dimension(self) -> int:
        return len(self.magnitude)


@dataclass(frozen=True, eq=False)
class Picture:
    """A value ``v = sum_s A_s u_s`` with the grid maps of every generator (see the module docstring).

    Args:
        shape: Sample shape, without batch.
        features: Ascending axes whose flattening indexes the rows of the blocks; empty for a single row.
        blocks: ``A_s`` by source name, dense or sparse, each with ``prod(shape[features])`` rows.
        sources: The sources by name.
        grids: One ``TensorAction`` on ``shape`` per generator, fixing the feature axes.
        rounded: Some entry of a block was computed, not copied: equal bits no longer prove equal numbers.
    """

    shape: tuple[int, ...]
    features: tuple[int, ...]
    blocks: Mapping[str, Block]
    sources: Mapping[str, Source]
    grids: tuple[TensorAction, ...]
    rounded: bool = False

    @property
    def rows(self) -> int:
        return prod(self.shape[a] for a in self.features)

    @property
    def grid_axes(self) -> tuple[int, ...]:
        return tuple(a for a in range(len(self.shape)) if a not in self.features)

    @property
    def generators(self) -> int:
        return len(self.grids)

    def map_blocks(self, function, **changes) -> Picture:
        """The same sources, every block replaced by ``function(block)``."""
        return replace(self, blocks={name: function(block) for name, block in self.blocks.items()}, **changes)

    @property
    def names(self) -> tuple[str, ...]:
        """The sources in the order of the columns of ``dense()``: the constant comes last."""
        return (*(name for name in self.blocks if name != ONE), *((ONE,) if ONE in self.blocks else ()))

    def dense(self) -> ndarray:
        """All blocks side by side. Cost: rows times the sum of the source dimensions."""
        blocks = [dense(self.blocks[name]) for name in self.names]
        return np.concatenate(blocks, axis=1) if blocks else np.zeros((self.rows, 0))

    def moved(self, generator: int, whole: ndarray) -> ndarray:
        """The picture of ``v(g x)`` in the sources at ``x``: all ``A_s P_s(g)`` side by side.

        Args:
            generator: Number of the generator.
            whole: ``dense()`` or some of its rows, computed once by the caller.
        """
        actions = [self.sources[name].actions[generator] for name in self.names]
        if all(isinstance(a, Monomial) for a in actions):
            return Monomial.direct_sum(actions).apply_right(whole)  # type: ignore[arg-type]
        cuts = np.cumsum([self.sources[name].dimension for name in self.names])[:-1]
        parts = np.split(whole, cuts, axis=1)
        return np.concatenate([apply_right(part, a) for part, a in zip(parts, actions, strict=True)], axis=1)

    def stacked(self, attribute: str) -> ndarray:
        """``magnitude`` or ``error`` of all sources, in the order of the columns of ``dense()``."""
        return np.concatenate([np.zeros(0), *(getattr(self.sources[name], attribute) for name in self.names)])

    def constant(self) -> ndarray:
        """The block of the constant source, as a vector."""
        return dense(self.blocks[ONE])[:, 0] if ONE in self.blocks else np.zeros(self.rows)


def repeated(source: Source, name: str, actions: tuple[Matrix, ...], count: int) -> Source:
    """The same coordinates at ``count`` positions."""
    bounds = np.repeat(source.magnitude, count), np.repeat(source.error, count)
    return Source(name, actions, *bounds, source.length * count**0.5, source.slack * count**0.5)


def one(generators: int) -> Source:
    return Source(ONE, (Monomial.identity(1),) * generators, np.ones(1), np.zeros(1))


def dense(block: Block) -> ndarray:
    return block.toarray() if sp.issparse(block) else block


def apply_right(block: ndarray, action: Matrix) -> ndarray:
    """``block @ action`` without densifying a monomial action."""
    return action.apply_right(block) if isinstance(action, Monomial) else block @ action


def kron(left: Matrix, right: Matrix) -> Matrix:
    if isinstance(left, Monomial) and isinstance(right, Monomial):
        return left.kron(right)
    return np.kron(*(m.dense() if isinstance(m, Monomial) else m for m in (left, right)))


def keeps_bits(block: Block) -> bool:
    """Whether products with the block round nothing: at most one entry, a power of two, in every row and column."""
    return is_selection(block) and bool(np.all(np.frexp(np.abs(block.data))[0] == 0.5))


def is_selection(block: Block) -> bool:
    """Sparse, with at most one entry in every row and column."""
    if not sp.issparse(block):
        return False
    return bool(np.diff(block.indptr).max(initial=0) <= 1 and np.bincount(block.indices).max(initial=0) <= 1)


def add_blocks(left: Mapping[str, Block], right: Mapping[str, Block]) -> dict[str, Block]:
    """Sum of two values: blocks of one source are added, others stand side by side."""
    out = dict(left)
    for name, block in right.items():
        out[name] = block if name not in out else _sum(out[name], block)
    return out


def _sum(left: Block, right: Block) -> Block:
    if sp.issparse(left) and sp.issparse(right):
        return sp.csr_array(left + right)
    return dense(left) + dense(right)


def constant_blocks(value: ndarray) -> dict[str, Block]:
    """The block of a constant vector, empty where it vanishes."""
    return {ONE: np.asarray(value, dtype=np.float64).reshape(-1, 1)} if np.any(value) else {}


def with_constant(picture: Picture, value: ndarray) -> Picture:
    """``v + value``, one constant per feature."""
    sources = {**picture.sources, ONE: one(picture.generators)}
    blocks = add_blocks(picture.blocks, constant_blocks(value))
    rounded = picture.rounded or (ONE in picture.blocks and bool(np.any(value)))
    return replace(picture, blocks=blocks, sources=sources, rounded=rounded)


def fresh(picture: Picture, source: Source, *, block: Block | None = None, constant: ndarray | None = None) -> Picture:
    """The same shape and grid, the value now pictured by one new source (and a constant)."""
    block = sp.eye_array(picture.rows, format="csr") if block is None else block
    out = replace(picture, blocks={source.name: block}, sources={source.name: source}, rounded=False)
    return out if constant is None else with_constant(out, constant)


def promote(picture: Picture, axes: tuple[int, ...], *, limit: int = 40_000) -> Picture:
    """Turn grid axes into feature axes: every source then stands at every grid position.

    Needed where features and positions mix, e.g. flatten before a linear layer.

    Raises:
        Lost: If the result would have more than ``limit`` rows, or a generator ties the axes to others.
    """
    for run in _runs([a for a in axes if a not in picture.features]):
        picture = _promote_run(picture, run, limit)
    return picture


def _runs(axes: list[int]) -> list[tuple[int, ...]]:
    """Ascending axes cut into consecutive runs."""
    runs: list[tuple[int, ...]] = []
    for axis in sorted(axes):
        if runs and runs[-1][-1] == axis - 1:
            runs[-1] = (*runs[-1], axis)
        else:
            runs.append((axis,))
    return runs


def _promote_run(picture: Picture, axes: tuple[int, ...], limit: int) -> Picture:
    features = tuple(sorted((*picture.features, *axes)))
    count = prod(picture.shape[a] for a in axes)
    if picture.rows * count > limit:
        raise Lost(f"flattening {picture.rows} features at {count} positions exceeds {limit} rows")
    moves = [matrix_on(grid, axes) for grid in picture.grids]
    blocks: dict[str, Block] = {}
    sources: dict[str, Source] = {}
    order = _row_order(picture, features, axes)
    for name, block in picture.blocks.items():
        source = picture.sources[name]
        if name == ONE:  # a constant is the same at every position: the source stays one coordinate
            blocks[ONE] = np.repeat(dense(block), count, axis=0)[order]
            sources[ONE] = source
            continue
        actions = tuple(kron(p, move) for p, move in zip(source.actions, moves, strict=True))
        new = repeated(source, f"{name}@{axes}", actions, count)
        blocks[new.name] = sp.csr_array(sp.kron(sp.csr_array(block), sp.eye_array(count)))[order]
        sources[new.name] = new
    grids = tuple(fixing(grid, axes) for grid in picture.grids)
    return replace(picture, features=features, blocks=blocks, sources=sources, grids=grids)


def matrix_on(grid: TensorAction, axes: tuple[int, ...]) -> Matrix:
    """The grid map on some consecutive axes.

    Raises:
        Lost: If the map ties them to other axes.
    """
    try:
        return grid.matrix_on(axes)
    except ShapeMismatch as error:
        raise Lost(str(error)) from error


def fixing(grid: TensorAction, axes: tuple[int, ...]) -> TensorAction:
    """The same map without its factors on ``axes``."""
    return TensorAction(grid.shape, tuple(f for f in grid.factors if not set(f.axes) & set(axes)))


def _row_order(picture: Picture, features: tuple[int, ...], axes: tuple[int, ...]) -> ndarray:
    """Rows come as (old features, promoted axes); wanted is the row-major order of all feature axes."""
    old = (*picture.features, *axes)
    sizes = [picture.shape[a] for a in old]
    index = np.arange(prod(sizes)).reshape(sizes)
    return index.transpose([old.index(a) for a in features]).ravel()


def elsewhere(x: Picture, name: str, *, constant: bool = False, scale: float = 1.0) -> Picture:
    """The same blocks over sources read at other positions, under new names so that they never add up with the old.

    The constant source stays itself unless ``constant`` says that its value now depends on the position.
    """
    blocks, sources = {}, {}
    for old, block in x.blocks.items():
        source = x.sources[old]
        if old == ONE and not constant:
            blocks[ONE], sources[ONE] = block, source
            continue
        new = replace(
            source,
            name=f"{name}/{old}",
            magnitude=source.magnitude * scale,
            error=source.error * scale,
            length=source.length * scale,
            slack=source.slack * scale,
        )
        blocks[new.name], sources[new.name] = block, new
    return replace(x, blocks=blocks, sources=sources)
