"""The picture of an input: its own coordinates, acted on as the user says."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import scipy.sparse as sp
from numpy import ndarray

from intertwiner.network import Conv, Embedding, Linear, Network, Node, Op, Permute, Pool, Reshape
from intertwiner.numerics.monomial import Monomial
from intertwiner.numerics.tolerance import ROUNDING
from intertwiner.symmetry import Action, BoundSymmetry, TensorAction
from intertwiner.transport.picture import Block, Lost, Matrix, Picture, Source, fixing, matrix_on


def input_picture(node: Node, position: int, network: Network, symmetry: BoundSymmetry, box: float) -> Picture:
    """Features are the axis that the first layer mixes, everything else is the grid.

    Raises:
        Lost: If the action is a callable without a matrix.
    """
    actions = structured([symmetry.input_action(g)[position] for g in symmetry.group.generators], "input")
    shape = tuple(node.sample_shape)
    features = feature_axes(node, network, actions)
    matrices = tuple(matrix_on(action, features) if features else Monomial.identity(1) for action in actions)
    count = int(np.prod([shape[a] for a in features]))
    block: Block = sp.eye_array(count, format="csr")
    bound = np.full(count, box)
    if not all(_is_orthogonal(m) for m in matrices):
        block, matrices = _whitened(symmetry, position, features)
        bound = np.abs(np.linalg.inv(block)) @ bound
    source = Source(node.name, matrices, bound, np.zeros(count))
    grids = tuple(fixing(action, features) for action in actions)
    return Picture(shape, features, {node.name: block}, {node.name: source}, grids)


def structured(actions: Sequence[Action], what: str) -> list[TensorAction]:
    """The same actions, known to have matrices.

    Raises:
        Lost: One of them is a callable without a matrix.
    """
    out = [action for action in actions if isinstance(action, TensorAction)]
    if len(out) < len(actions):
        raise Lost(f"the {what} action is a callable without a matrix")
    return out


def feature_axes(node: Node, network: Network, actions: Sequence[TensorAction]) -> tuple[int, ...]:
    """The axis along which the first reader mixes: channels of a convolution, the last axis of a linear layer.

    Only the size of the computation depends on the choice: where it does not fit, positions become features.
    """
    last, reader = len(node.sample_shape) - 1, _first_reader(node, network)
    if reader is Embedding:  # token values are looked up one by one: every axis is a position
        return ()
    if last <= 0:
        return tuple(range(last + 1))
    chosen = 0 if reader in (Conv, Pool) else last
    joint = {a for action in actions for f in action.factors if chosen in f.axes for a in f.axes} or {chosen}
    return tuple(sorted(joint))


def _first_reader(node: Node, network: Network) -> type[Op] | None:
    """The first operator after an input that mixes an axis, looking through those that do not."""
    queue = list(node.users)
    while queue:
        reader = network.node(queue.pop(0))
        if isinstance(reader.op, (Conv, Embedding, Linear, Permute, Pool, Reshape)):
            return type(reader.op)
        queue += reader.users
    return None


def _is_orthogonal(matrix: Matrix) -> bool:
    if isinstance(matrix, Monomial):
        return matrix.is_signed_permutation
    return bool(np.allclose(matrix @ matrix.T, np.eye(len(matrix)), rtol=0, atol=ROUNDING * len(matrix)))


def _whitened(symmetry: BoundSymmetry, position: int, features: tuple[int, ...]) -> tuple[ndarray, tuple[Matrix, ...]]:
    """Coordinates ``u = L x`` in which the action is orthogonal, ``L^T L`` the mean of ``rho(g)^T rho(g)``.

    Returns:
        ``x`` in terms of ``u``, and the orthogonal matrices of the generators on ``u``.
    """
    group = symmetry.group
    actions = structured([symmetry.input_action(g)[position] for g in range(group.order)], "input")
    matrices = [_dense(action.matrix_on(features)) for action in actions]
    metric = np.mean([m.T @ m for m in matrices], axis=0)
    lower = np.linalg.cholesky(metric).T
    back = np.linalg.inv(lower)
    return back, tuple(lower @ matrices[g] @ back for g in group.generators)


def _dense(matrix: Matrix) -> ndarray:
    return matrix.dense() if isinstance(matrix, Monomial) else matrix
