"""A dense weight and bias taken to Hom_G: parameters of the nearest equivariant layer, and the distance."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor, nn

from intertwiner.algebra import Representation
from intertwiner.errors import ShapeMismatch
from intertwiner.rewrite.isotypic_orbits import division_basis

if TYPE_CHECKING:
    from intertwiner.rewrite.isotypic import IsotypicLinear


@dataclass(frozen=True, eq=False)
class Projected:
    """A dense layer taken to Hom_G.

    Args:
        layer: The nearest equivariant layer.
        weight_distance: ``|W - P W|``, Frobenius.
        weight_norm: ``|W|``.
        bias_distance: ``|b - P b|``.
        bias_norm: ``|b|``.
    """

    layer: IsotypicLinear
    weight_distance: float
    weight_norm: float
    bias_distance: float
    bias_norm: float

    @property
    def relative(self) -> float:
        """The larger of the two distances over its norm; 0 for a zero weight."""
        pairs = ((self.weight_distance, self.weight_norm), (self.bias_distance, self.bias_norm))
        return max(distance / norm if norm else 0.0 for distance, norm in pairs)


def project(
    cls: type[IsotypicLinear],
    weight: Tensor,
    rhos: tuple[Representation, Representation],
    bias: Tensor | np.ndarray | None,
    activation: nn.Module | None,
) -> Projected:
    """See ``IsotypicLinear.from_dense``."""
    rho_in, rho_out = rhos
    if tuple(weight.shape) != (rho_out.dimension, rho_in.dimension):
        raise ShapeMismatch(
            f"a weight of shape {tuple(weight.shape)} between representations of dimension {rho_in.dimension} and "
            f"{rho_out.dimension}: expected {(rho_out.dimension, rho_in.dimension)}"
        )
    b = None if bias is None else torch.as_tensor(bias)
    if b is not None and tuple(b.shape) != (rho_out.dimension,):
        raise ShapeMismatch(f"a bias of shape {tuple(b.shape)}, expected ({rho_out.dimension},)")
    dtype = weight.dtype if weight.is_floating_point() else torch.float64
    exact = cls(rho_in, rho_out, bias=b is not None, activation=activation, dtype=torch.float64)
    w = weight.detach().to("cpu", torch.float64)
    with torch.no_grad():
        for parameter, value in zip(exact.blocks, _coordinates(exact, w), strict=True):
            parameter.copy_(value)
        distance = float((w - exact.dense_weight()).norm())
        off, size = 0.0, 0.0
        if b is not None:
            b = b.detach().to("cpu", torch.float64)
            if exact.bias is not None:
                exact.bias.copy_(_bias_coordinates(exact, b))
            nearest = exact.dense_bias()
            off, size = float((b if nearest is None else b - nearest).norm()), float(b.norm())
    layer = exact.to(device=weight.device, dtype=dtype)
    return Projected(layer, distance, float(w.norm()), off, size)


def _coordinates(layer: IsotypicLinear, w: Float[Tensor, "n_out n_in"]) -> list[Float[Tensor, "e m_out m_in"]]:
    """``<U_b^T W U_a, J_l> / d``: both sides of the weight in isotypic coordinates, equal components i on both."""
    out = []
    for n, (rows, a, b) in enumerate(zip(layer.into.analyse(w), layer.into.shapes, layer.out.shapes, strict=True)):
        e, s = a.units, a.components
        mean = w.new_zeros(b.width, a.width)
        for i, column in enumerate(rows.reshape(layer.out_features, s, a.width).unbind(1)):
            both = layer.out.analyse(column.t().contiguous())[n].reshape(a.width, s, b.width)
            mean += both[:, i].t() / s
        units = torch.from_numpy(division_basis(layer.irreps[n])[1])
        out.append(torch.einsum("qora,lqr->loa", mean.reshape(e, b.copies, e, a.copies), units) / e)
    return out


def _bias_coordinates(layer: IsotypicLinear, bias: Float[Tensor, " n_out"]) -> Float[Tensor, " k"]:
    """The means over the orbits, with signs."""
    layout, start, out = layer.layouts[1], 0, []
    grouped = bias[torch.from_numpy(layout.order)] * torch.from_numpy(layout.signs)
    for block in layout.blocks:
        size = block.points * block.copies
        piece = grouped[start : start + size].reshape(block.points, block.copies)
        invariant = torch.from_numpy(block.invariant)
        out.append((invariant.t() @ piece / (invariant**2).sum(0)[:, None]).reshape(-1))
        start += size
    return torch.cat(out)
