"""Nonlinear operators: here an action has to be found, inside what the nonlinearity allows."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from intertwiner.network import Divide, LayerNorm, MatMul, Multiply, Node, Softmax
from intertwiner.transport.align import align, field
from intertwiner.transport.picture import Lost, Picture, Source, add_blocks, fresh, promote
from intertwiner.transport.rules_linear import scale_rows
from intertwiner.transport.solve import joint_permutation, permuted_coordinates
from intertwiner.transport.table import Run, rule


@rule(Softmax)
def softmax(run: Run, node: Node, op: Softmax, x: Picture) -> Picture:
    axis = op.axis - 1
    if x.features != (axis,):
        raise Lost("a softmax over positions or over some of the features only")
    x = permuted_coordinates(run, x, node)
    ((name, block),) = x.blocks.items()
    source = x.sources[name]
    bound = np.ones(x.rows) if not op.log else 2 * source.magnitude.max() + np.log(x.rows) + np.zeros(x.rows)
    error = np.full(x.rows, source.error.max() * (2 if op.log else 1))
    return fresh(x, Source(node.name, source.actions, bound, error), block=block)


@rule(LayerNorm)
def layer_norm(run: Run, node: Node, op: LayerNorm, x: Picture) -> Picture:
    """Permutations commute with the mean and the variance; signs too where there is no mean."""
    axes = tuple(a - 1 for a in op.axes)
    x = promote(x, axes)
    if x.features != axes:
        raise Lost("a layer norm over some of the features only")
    x = permuted_coordinates(run, x, node, signed=op.rms, norm="length" if op.rms else "centred")
    ((name, block),) = x.blocks.items()
    source = x.sources[name]
    steepest = 2.0 / np.sqrt(op.eps) if op.eps > 0 else np.inf
    error = np.where(source.error.max() > 0, steepest * np.linalg.norm(source.error), 0.0) + np.zeros(x.rows)
    x = fresh(x, Source(node.name, source.actions, np.full(x.rows, np.sqrt(x.rows)), error), block=block)
    if op.weight is not None:
        gain = np.broadcast_to(op.weight.array[0], tuple(n if a in axes else 1 for a, n in enumerate(x.shape))).ravel()
        x = x.map_blocks(lambda block: scale_rows(block, gain))
    if op.bias is not None:
        blocks, sources = field(x, op.bias.array[0])
        x = replace(x, blocks=add_blocks(x.blocks, blocks), sources={**x.sources, **sources})
    return x


@rule(Multiply)
def multiply(run: Run, node: Node, op: Multiply, left: Picture, right: Picture) -> Picture:
    (a, b), block, grid = _paired(run, node, left, right)
    error = a.magnitude * b.error + b.magnitude * a.error + a.error * b.error
    return fresh(grid, Source(node.name, a.actions, a.magnitude * b.magnitude, error), block=block)


@rule(Divide)
def divide(run: Run, node: Node, op: Divide, left: Picture, right: Picture) -> Picture:
    (a, b), block, grid = _paired(run, node, left, right)
    size = np.full(a.dimension, np.inf)  # nothing bounds the denominator away from zero
    error = np.where((a.error > 0) | (b.error > 0), np.inf, 0.0)
    return fresh(grid, Source(node.name, a.actions, size, error), block=block)


def _paired(run: Run, node: Node, left: Picture, right: Picture):
    """Two values of one shape with one permutation for both."""
    pair = align([left, right], tuple(node.sample_shape))
    sources, block = joint_permutation(run, pair, node)
    return sources, block, pair[0]


@rule(MatMul)
def matmul(run: Run, node: Node, op: MatMul, left: Picture, right: Picture) -> Picture:
    raise Lost("a product of two values (attention) has no transport rule yet")
