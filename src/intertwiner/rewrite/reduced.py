r"""Tied weights in torch: from coordinates to the matrix, and from its gradient back to coordinates.

``W = sign * c[label]`` is one gather. Backwards, the gradient that Hom_G sees is the Reynolds mean of the dense one:
the signed mean over every orbit of entries. Entries are sorted by orbit once, and orbits of one size are added up side
by side: no atomic addition is used, so the mean is the same bits every time.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from intertwiner.rewrite.tied import Tied


@dataclass(frozen=True, eq=False)
class Reduced:
    """The ties of one parameter as tensors.

    Args:
        label: The orbit of every entry, flat; 0 where a sign forces zero.
        sign: The sign of every entry, 0 where it is forced to zero; None where all are 1.
        size: Number of entries of every orbit: ``|W|^2 = sum size * c^2``.
        orbits: For every size of orbit that occurs, which orbits have it, and their entries, (size, orbits).
    """

    label: Tensor
    sign: Tensor | None
    size: Tensor
    orbits: tuple[tuple[Tensor, Tensor], ...]

    def expand(self, coordinates: Tensor, out: Tensor) -> None:
        """Write the intertwiner with these coordinates into a tensor, without gradients."""
        if not len(coordinates):
            out.zero_()
            return
        flat = out.view(-1) if out.is_contiguous() else torch.empty(out.numel(), dtype=out.dtype, device=out.device)
        torch.index_select(coordinates, 0, self.label, out=flat)
        if self.sign is not None:
            flat.mul_(self.sign)
        if not out.is_contiguous():
            out.copy_(flat.view(out.shape))

    def mean(self, matrix: Tensor) -> Tensor:
        """The signed mean over every orbit: coordinates of the Reynolds projection."""
        flat = matrix.reshape(-1)
        flat = flat if self.sign is None else flat * self.sign
        out = torch.zeros_like(self.size)
        for chosen, entries in self.orbits:
            out[chosen] = torch.index_select(flat, 0, entries.view(-1)).view(entries.shape).mean(0)
        return out


def reduced(tie: Tied, device: torch.device | str = "cpu", dtype: torch.dtype = torch.float32) -> Reduced:
    """The ties as tensors.

    Args:
        tie: Which entries are tied.
        device: Where the parameter lies.
        dtype: Type of the parameter.

    Cost:
        One sort of the entries; 8 bytes per entry, 12 with signs.

    Example:
        Matrices that commute with the exchange of two points:

        >>> from intertwiner.numerics.monomial import Monomial
        >>> from intertwiner.rewrite.tied import tied
        >>> swap = Monomial([1, 0])
        >>> ties, weight = reduced(tied([swap], [swap])), torch.empty(2, 2)
        >>> ties.expand(torch.tensor([3.0, 5.0]), weight)
        >>> weight, ties.mean(torch.tensor([[1.0, 2.0], [4.0, 5.0]]))
        (tensor([[3., 5.],
                [5., 3.]]), tensor([3., 3.]))
    """
    label, free = tie.label.ravel(), tie.label.ravel() >= 0
    sign = np.where(free, tie.sign.ravel(), 0.0)
    size = np.bincount(label[free], minlength=tie.count)
    order = np.argsort(label, kind="stable")[int((~free).sum()) :]
    start = np.cumsum(size) - size
    orbits = []
    for n in np.unique(size):
        chosen = np.flatnonzero(size == n)
        entries = order[start[chosen] + np.arange(n)[:, None]]
        orbits.append((_whole(chosen, device).long(), _whole(entries, device)))
    signed = bool((sign != 1).any())
    return Reduced(
        _whole(np.maximum(label, 0), device),
        torch.as_tensor(sign, dtype=dtype, device=device) if signed else None,
        torch.as_tensor(size, dtype=dtype, device=device),
        tuple(orbits),
    )


def _whole(numbers: np.ndarray, device: torch.device | str) -> Tensor:
    """Places as 32 bits where they fit: half the memory to read at every step."""
    fits = numbers.size == 0 or int(numbers.max()) < 2**31
    return torch.as_tensor(np.ascontiguousarray(numbers), dtype=torch.int32 if fits else torch.int64, device=device)
