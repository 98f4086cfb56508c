"""Linear operators: they change the blocks of a picture and never need an action to be chosen."""

from __future__ import annotations

from dataclasses import replace
from math import prod
from typing import Any

import numpy as np
import scipy.sparse as sp
from numpy import ndarray

from intertwiner.errors import NoInducedAction
from intertwiner.network import Add, ChannelAffine, Concat, Conv, Embedding, Linear, Node
from intertwiner.numerics.monomial import Monomial
from intertwiner.symmetry import AxisFactor, TensorAction, induced_grid
from intertwiner.transport.align import align, field, grid_matrix
from intertwiner.transport.picture import (
    ONE,
    Block,
    Lost,
    Picture,
    Source,
    add_blocks,
    dense,
    is_selection,
    keeps_bits,
    kron,
    promote,
    repeated,
    with_constant,
)
from intertwiner.transport.table import Run, rule


@rule(Linear)
def linear(run: Run, node: Node, op: Linear, x: Picture) -> Picture:
    last = len(x.shape) - 1
    x = promote(x, (last,))
    weight: Any = op.weight.array
    if x.features != (last,):  # other feature axes ride along, one copy of the weight each
        copies = prod(x.shape[a] for a in x.features if a != last)
        weight = sp.kron(sp.eye_array(copies), weight, format="csr")
    shape = (*x.shape[:last], len(op.weight.array))
    grids = tuple(TensorAction(shape, grid.factors) for grid in x.grids)
    rounded = x.rounded or not all(keeps_bits(block) for block in x.blocks.values())
    out = replace(x.map_blocks(lambda block: _product(weight, block)), shape=shape, grids=grids, rounded=rounded)
    if op.bias is None:
        return out
    return with_constant(out, np.tile(op.bias.array, out.rows // len(op.bias.array)))


def _product(weight: Any, block: Block) -> Block:
    if not sp.issparse(block) or sp.issparse(weight):
        return weight @ block
    if is_selection(block):  # a gather of columns keeps the weights' own bits
        rows = np.repeat(np.arange(block.shape[0]), np.diff(block.indptr))
        if len(rows) == block.shape[1] == block.shape[0] and np.array_equal(block.indices, rows):
            return weight if np.all(block.data == 1) else weight * block.data
        out = np.zeros((weight.shape[0], block.shape[1]))
        out[:, block.indices] = np.take(weight, rows, axis=1) * block.data
        return out
    return (block.T @ weight.T).T


@rule(Conv)
def conv(run: Run, node: Node, op: Conv, x: Picture) -> Picture:
    """A convolution reads patches: every source becomes its patch, acted on by P(g) and by g on the kernel."""
    space = tuple(range(1, len(x.shape)))
    x = promote(x, (0,))
    if x.features != (0,):
        raise Lost("a convolution reads positions that an earlier layer has mixed with the features")
    induced = [induced_by(op, grid, x.shape[1:]) for grid in x.grids]
    weight = dense_kernel(op)  # (out, in, K)
    padded = op.padding_mode == "zeros" and (op.transposed or any(a or b for a, b in op.padding))
    blocks: dict[str, Block] = {}
    sources: dict[str, Source] = {}
    for name, block in x.blocks.items():
        source = x.sources[name]
        if name == ONE and not padded:
            blocks[ONE], sources[ONE] = weight.sum(2) @ dense(block), source
            continue
        new = _patch(f"{node.name}/{name}", source, [kernel for _, kernel in induced])
        blocks[new.name] = _kernel_product(weight, block)
        sources[new.name] = new
    shape = tuple(node.sample_shape)
    grids = tuple(TensorAction(shape, (AxisFactor(space, move),)) for move, _ in induced)
    rounded = x.rounded or not all(keeps_bits(block) for block in x.blocks.values())
    out = replace(x, shape=shape, blocks=blocks, sources=sources, grids=grids, rounded=rounded)
    return out if op.bias is None else with_constant(out, op.bias.array)


def _patch(name: str, source: Source, kernels: list[Monomial]) -> Source:
    size = kernels[0].dimension if kernels else 1
    actions = tuple(kron(p, kernel) for p, kernel in zip(source.actions, kernels, strict=True))
    return repeated(source, name, actions, size)


def _kernel_product(weight: ndarray, block: Block) -> ndarray:
    """``A[o, (r, k)] = sum_c W[o, c, k] block[c, r]``."""
    outs, ins, size = weight.shape
    flat = weight.transpose(0, 2, 1).reshape(outs * size, ins)
    return dense(_product(flat, block)).reshape(outs, size, -1).transpose(0, 2, 1).reshape(outs, -1)


def dense_kernel(op: Conv) -> ndarray:
    """The kernel as (out, in, K) without groups."""
    weight = op.weight.array
    if op.transposed:
        ins, per_group = weight.shape[:2]
        out = np.zeros((per_group * op.groups, ins, prod(weight.shape[2:])))
        for group in range(op.groups):
            rows = slice(group * per_group, (group + 1) * per_group)
            cols = slice(group * ins // op.groups, (group + 1) * ins // op.groups)
            out[rows, cols] = weight[cols].reshape(ins // op.groups, per_group, -1).transpose(1, 0, 2)
        return out
    outs, per_group = weight.shape[:2]
    if op.groups == 1:
        return weight.reshape(outs, per_group, -1)
    out = np.zeros((outs, per_group * op.groups, prod(weight.shape[2:])))
    group = np.arange(outs) // (outs // op.groups)
    columns = group[:, None] * per_group + np.arange(per_group)
    out[np.arange(outs)[:, None], columns] = weight.reshape(outs, per_group, -1)
    return out


def induced_by(op: Conv, grid: TensorAction, size: tuple[int, ...]) -> tuple[Monomial, Monomial]:
    """Where a grid map moves the positions of the result and of the kernel.

    Raises:
        Lost: The map does not respect stride and padding.
    """
    axes = tuple(range(1, len(size) + 1))
    try:
        found = induced_grid(
            grid_matrix(grid, axes),
            size,
            kernel=op.kernel,
            stride=op.stride,
            padding=op.padding,
            dilation=op.dilation,
            mode=op.padding_mode,
            transposed=op.transposed,
            output_padding=op.output_padding or 0,
        )
    except NoInducedAction as error:
        raise Lost(str(error)) from error
    return found.out_permutation, found.kernel_permutation


@rule(ChannelAffine)
def affine(run: Run, node: Node, op: ChannelAffine, x: Picture) -> Picture:
    if op.scale is not None:
        scale = op.scale.array.reshape(op.scale.shape[1:])
        x = promote(x, tuple(a for a in range(len(x.shape)) if scale.shape[a] > 1))
        along = np.broadcast_to(scale, tuple(n if a in x.features else 1 for a, n in enumerate(x.shape))).ravel()
        exact = np.all(np.abs(along) == 1) or all(keeps_bits(block) for block in x.blocks.values())
        x = x.map_blocks(lambda block: scale_rows(block, along), rounded=x.rounded or not exact)
    if op.shift is not None:
        blocks, sources = field(x, op.shift.array.reshape(op.shift.shape[1:]))
        rounded = x.rounded or bool(set(blocks) & set(x.blocks))
        x = replace(x, blocks=add_blocks(x.blocks, blocks), sources={**x.sources, **sources}, rounded=rounded)
    return x


def scale_rows(block: Block, factor: ndarray) -> Block:
    if sp.issparse(block):
        return sp.csr_array(sp.diags_array(factor) @ block)
    return factor[:, None] * block


@rule(Add)
def add(run: Run, node: Node, op: Add, *terms: Picture) -> Picture:
    blocks: dict[str, Block] = {}
    sources: dict[str, Source] = {}
    ready = align(terms, tuple(node.sample_shape))
    for weight, term in zip(op.weights, ready, strict=True):
        blocks = add_blocks(blocks, term.map_blocks(lambda b, w=weight: b if w == 1 else b * w).blocks)
        sources.update(term.sources)
    names = [name for term in ready for name in term.blocks]
    rounded = any(t.rounded for t in ready) or len(set(names)) < len(names) or any(abs(w) != 1 for w in op.weights)
    return replace(ready[0], blocks=blocks, sources=sources, rounded=rounded)


@rule(Concat)
def concat(run: Run, node: Node, op: Concat, *parts: Picture) -> Picture:
    axis = op.axis - 1
    features = tuple(sorted({axis, *(a for p in parts for a in p.features)}))
    ready = [replace(promote(p, tuple(a for a in features if p.shape[a] > 1)), features=features) for p in parts]
    grids = [[grid.drop_axes((axis,)) for grid in p.grids] for p in ready]
    if any(theirs != ours for other in grids[1:] for theirs, ours in zip(other, grids[0], strict=True)):
        raise Lost("a concatenation of values whose positions are moved differently")
    starts = np.cumsum([0, *(p.rows for p in ready)])
    order = np.concatenate(
        [
            start + np.arange(p.rows).reshape([p.shape[a] for a in features])
            for p, start in zip(ready, starts, strict=False)
        ],
        axis=features.index(axis),
    ).ravel()
    sources = {name: s for p in ready for name, s in p.sources.items()}
    blocks = {}
    for name in dict.fromkeys(n for p in ready for n in p.blocks):
        width = sources[name].dimension
        pieces = [sp.csr_array(p.blocks[name]) if name in p.blocks else sp.csr_array((p.rows, width)) for p in ready]
        blocks[name] = sp.csr_array(sp.vstack(pieces, format="csr"))[order]
        if blocks[name].nnz > 0.3 * prod(blocks[name].shape):
            blocks[name] = blocks[name].toarray()
    shape = tuple(node.sample_shape)
    moved = tuple(TensorAction(shape, grid.factors) for grid in ready[0].grids)
    return Picture(shape, features, blocks, sources, moved, any(p.rounded for p in ready))


@rule(Embedding)
def embedding(run: Run, node: Node, op: Embedding, ids: Picture) -> Picture:
    if ids.features:
        raise Lost("token values come from features, not from an input of tokens")
    if run.follower is not None:
        return run.follower.embedding(ids, op, node)
    weight = op.weight.array
    shape = tuple(node.sample_shape)
    last = len(shape) - 1
    width = weight.shape[1]
    source = Source(node.name, (Monomial.identity(width),) * ids.generators, np.abs(weight).max(0), np.zeros(width))
    grids = tuple(TensorAction(shape, grid.factors) for grid in ids.grids)
    return Picture(shape, (last,), {node.name: sp.eye_array(width, format="csr")}, {node.name: source}, grids)
