"""The functional dimension of a smooth network: the rank of its Jacobian in float64, called by its gap."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float
from numpy import ndarray
from torch import Tensor

from intertwiner.errors import NonFiniteData, RankUndecided
from intertwiner.exact import Columns, trainable_names
from intertwiner.identify.dimension.gauge_directions import Direction
from intertwiner.identify.dimension.null_directions import NullDirection, merged
from intertwiner.network import Network
from intertwiner.numerics.rank import Rank, rank_from_values

LARGEST = 1e150
"""Rows with larger entries have overflowed or are about to."""

CHUNK = 32
"""Samples whose derivatives are taken at a time."""

FLAT = 1e-6
"""A gauge direction counts as new when this share of it lies outside those before it."""


@dataclass(frozen=True, eq=False)
class NumericalRank:
    """A rank with its gap and the null vectors behind it.

    Args:
        rank: The rank and its gap.
        rows: How many rows of the Jacobian it was taken from.
        null: Orthonormal basis of the null space.
    """

    rank: Rank
    rows: int
    null: Float[ndarray, "p k"]


def torch_jacobian(network: Network, columns: Columns, inputs: Sequence[Tensor]) -> Float[ndarray, "m p"]:
    """Derivatives of every output at every input by every parameter, by automatic differentiation in float64.

    Numbers that an operator computes from parameters are differentiated through, so the columns here are always
    entries of the state dict: ``columns`` must name nothing computed.

    Cost: one backward pass per output and input, a batch of them at a time.
    """
    double = network.to(torch.float64)
    held = {h: name for h, name in double.names.items() if name in columns.shapes}
    leaves = {name: double.state[name].detach().clone().requires_grad_() for name in columns.shapes}
    replaced = {h: leaves[name] for h, name in held.items()}
    rows = []
    step = 1 if network.batch_size is not None else CHUNK
    for start in range(0, len(inputs[0]), step):
        arguments = tuple(_one(x[start : start + step], network.batch_size) for x in inputs)
        outputs = torch.func.functional_call(double.module, replaced, arguments)
        outputs = outputs if isinstance(outputs, (tuple, list)) else (outputs,)
        flat = torch.cat([_first(o, network, i).reshape(-1) for i, o in enumerate(outputs)])
        found = torch.autograd.grad(
            flat, list(leaves.values()), torch.eye(len(flat), dtype=flat.dtype), is_grads_batched=True,
            allow_unused=True, materialize_grads=True,
        )  # fmt: skip
        rows.append(torch.cat([g.reshape(len(flat), -1) for g in found], dim=1).numpy())
    return np.concatenate(rows)


def _one(x: Tensor, batch: int | None) -> Tensor:
    """Samples in float64; a single one is repeated where the export runs one batch size only."""
    x = x.double() if x.is_floating_point() else x
    return x if batch is None else x.expand(batch, *x.shape[1:])


def _first(output: Tensor, network: Network, place: int) -> Tensor:
    axis = network.node(network.nodes[-1].inputs[place]).batch_axis
    return output if axis is None else output.narrow(axis, 0, output.shape[axis] if network.batch_size is None else 1)


def state_columns(network: Network) -> Columns:
    """One column per trainable entry of the state dict, whatever is computed from it."""
    shapes = {n: tuple(t.shape) for n, t in network.state.items() if n in trainable_names(network)}
    starts = np.cumsum([0, *(int(np.prod(s)) for s in shapes.values())])
    return Columns(shapes, dict(zip(shapes, map(int, starts))))


def best_rank(jacobians: Sequence[Float[ndarray, "m p"]], *, where: str) -> tuple[Float[ndarray, "m p"], NumericalRank]:
    """The Jacobian with the largest rank that can be called, its finite rows, and that rank.

    Raises:
        RankUndecided: None of them has a gap; the message is that of the last.
        NonFiniteData: No row of the last is finite.
    """
    best: tuple[ndarray, NumericalRank] | None = None
    refusal: RankUndecided | NonFiniteData | None = None
    for jacobian in jacobians:
        try:
            finite = _finite(jacobian, where)
            found = numerical_rank(finite, where=where)
        except (RankUndecided, NonFiniteData) as error:
            refusal = error
            continue
        if best is None or found.rank.rank > best[1].rank.rank:
            best = finite, found
    if best is None:
        raise refusal or RankUndecided(f"no inputs were given for {where}")
    return best


def _finite(jacobian: ndarray, where: str) -> ndarray:
    """The rows that did not overflow."""
    size = np.abs(jacobian).max(axis=1, initial=0.0)
    rows = np.isfinite(size) & (size < LARGEST)
    if not rows.any():
        raise NonFiniteData(f"all {len(rows)} rows of {where} are infinite or NaN: give data= on which it is finite")
    return jacobian[rows]


def numerical_rank(jacobian: Float[ndarray, "m p"], *, where: str) -> NumericalRank:
    """The rank of a Jacobian by its widest gap; rows and columns are balanced first, which changes no rank.

    Raises:
        RankUndecided: No gap is wide enough.
    """
    norms = np.linalg.norm(jacobian, axis=1)
    J = jacobian[norms > 0] / norms[norms > 0, None]
    widths = np.linalg.norm(J, axis=0)
    widths = np.where(widths > 0, widths, 1.0)
    J = J / widths
    if len(J) < J.shape[1]:
        J = np.vstack([J, np.zeros((J.shape[1] - len(J), J.shape[1]))])
    _, values, right = np.linalg.svd(J, full_matrices=False)
    called = rank_from_values(values, size=max(J.shape), where=where)
    null = np.linalg.qr(right[called.rank :].T / widths[:, None])[0]
    return NumericalRank(called, len(jacobian), null)


def name_numerically(
    found: NumericalRank, known: Sequence[Direction], columns: Columns
) -> tuple[tuple[NullDirection, ...], Float[ndarray, "p h"]]:
    """Names for the null directions that the gauge gives; an orthonormal basis of the rest."""
    total = len(found.null)
    basis = np.zeros((total, 0))
    named = []
    for one in known:
        v = one.dense(total)
        norm = np.linalg.norm(v)
        if norm == 0:
            continue
        v = v / norm
        rest = v - basis @ (basis.T @ v)
        rest -= basis @ (basis.T @ rest)
        if np.linalg.norm(rest) > FLAT:
            basis = np.hstack([basis, (rest / np.linalg.norm(rest))[:, None]])
            named.append(NullDirection(one.kind, one.where, one.neurons, 1, True))
    inside = found.null - basis @ (basis.T @ found.null)
    left, values, _ = np.linalg.svd(inside, full_matrices=False)
    rest = left[:, values > 0.5]  # singular values of a projection are near 0 or 1
    return merged(named), rest
