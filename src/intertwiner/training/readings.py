"""The laws of a family read off live tensors, cheaply enough to be done while a network trains.

Tensors are seen through strides where they lie, without a copy. On the CPU numpy sums their squares; on another device
torch does it there, and only the laws come back. ``Family.values`` and ``Family.form`` are the same in plain float64.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import torch
from jaxtyping import Float
from numpy import ndarray
from torch import Tensor

from intertwiner.training.families import MATRIX, Family, Piece

NATIVE = (torch.float32, torch.float64)
"""Types that numpy has; others go through torch."""


class Reading:
    """Reads the laws of one family.

    Args:
        family: The laws.

    Example:
        >>> from fractions import Fraction
        >>> from intertwiner.training.views import View
        >>> rows, columns = (View(2, 0, s, (2,), (t,)) for s, t in ((2, 1), (1, 2)))
        >>> law = Family("balance", (Piece("v", columns, Fraction(1)), Piece("w", rows, Fraction(-1))), "", "", "", 2)
        >>> Reading(law).values({"v": torch.eye(2), "w": torch.tensor([[1.0, 2.0], [0.0, 0.0]])})
        array([-4.,  1.])
    """

    def __init__(self, family: Family) -> None:
        self.family = family
        self._parts = [(piece, float(piece.coefficient)) for piece in family.pieces]
        self._bent = [part for part in self._parts if part[0].degree == 2]
        self._triangle = np.triu_indices(family.size) if family.kind == MATRIX else None

    def values(self, tensors: Mapping[str, Tensor]) -> Float[ndarray, " laws"]:
        """The laws, summed in float64; NaN where the tensors hold one.

        Cost: one pass over the tensors; a matrix of n x n laws takes n times that.
        """
        total = np.zeros(self.family.count)
        for piece, coefficient in self._parts:
            total += coefficient * self._sums(piece, tensors[piece.param], exact=True)
        return total

    def form(self, tensors: Mapping[str, Tensor]) -> Float[ndarray, " laws"]:
        """The quadratic part of the laws at a step, as ``Family.form``.

        Summed in the type of the tensors: it is a small change, of which six digits do. Costs as ``values``.
        """
        total = np.zeros(self.family.count)
        for piece, coefficient in self._bent:
            total += coefficient * self._sums(piece, tensors[piece.param], exact=False)
        return total

    def _sums(self, piece: Piece, tensor: Tensor, *, exact: bool) -> ndarray:
        if not piece.view.starts and _plain(tensor):
            return self._here(piece, _strided(piece, tensor), exact)
        rows = _rows(piece, tensor)
        rows = rows.cpu() if rows.device.type == "mps" else rows  # which has no float64
        if rows.device.type == "cpu" and rows.dtype in NATIVE:
            return self._here(piece, rows.numpy(), exact)
        return self._there(piece, rows, exact)

    def _here(self, piece: Piece, rows: Float[ndarray, "rows width"], exact: bool) -> ndarray:
        if piece.centre and exact:
            rows = rows - np.array(piece.centre)[:, None]
        if piece.degree == 1:
            return rows.sum(axis=1, dtype=np.float64)
        if self._triangle is None:
            if rows.dtype == np.float64 or not exact:
                return np.einsum("ij,ij->i", rows, rows)
            return np.einsum("ij,ij->i", rows, rows, dtype=np.float64)
        i, j = self._triangle
        stack = rows.reshape(self.family.blocks, self.family.size, -1)
        stack = stack.astype(np.float64, copy=False) if exact else stack
        return (stack @ stack.swapaxes(1, 2))[:, i, j].ravel()

    def _there(self, piece: Piece, held: Tensor, exact: bool) -> ndarray:
        """The same on the device of the tensor; half precision is summed in float32."""
        rows = held.to(torch.float64 if exact else torch.promote_types(held.dtype, torch.float32))
        if piece.centre and exact:
            rows = rows - torch.tensor(piece.centre, dtype=rows.dtype, device=rows.device)[:, None]
        if piece.degree == 1:
            found = rows.sum(1)
        elif self._triangle is None:
            found = rows.square().sum(1)
        else:
            i, j = (torch.from_numpy(k).to(rows.device) for k in self._triangle)
            stack = rows.reshape(self.family.blocks, self.family.size, -1)
            found = (stack @ stack.transpose(1, 2))[:, i, j].ravel()
        return found.double().cpu().numpy()


def _plain(tensor: Tensor) -> bool:
    """Whether numpy can read it where it lies."""
    native = tensor.device.type == "cpu" and tensor.dtype in NATIVE
    return native and tensor.layout is torch.strided and tensor.is_contiguous()


def _strided(piece: Piece, tensor: Tensor) -> Float[ndarray, "rows width"]:
    """The matrix of a piece by strides, without the detours of torch, which cost as much as a small sum."""
    view, held = piece.view, tensor.detach().numpy()
    size = held.itemsize
    strides = (size * view.step, *(size * s for s in view.strides))
    rows = np.ndarray((view.rows, *view.shape), held.dtype, held, size * view.start, strides)
    return rows if rows.ndim == 2 else rows.reshape(view.rows, -1)


def _rows(piece: Piece, tensor: Tensor) -> Float[Tensor, "rows width"]:
    """The matrix of a piece, in place wherever strides allow it."""
    view = piece.view
    tensor = tensor.detach()
    flat = (tensor.to_dense() if tensor.is_sparse else tensor).reshape(-1)
    if view.starts:
        return flat[torch.from_numpy(view.places()).to(flat.device)]
    rows = flat[view.start :].as_strided((view.rows, *view.shape), (view.step, *view.strides))
    return rows if rows.ndim == 2 else rows.reshape(view.rows, -1)
