r"""Equivariant fully connected layers in isotypic coordinates: one block of weights per irrep.

``y = activation(U_out B U_in^T x + b)`` with U the change of basis of ``isotypic_transform`` and B one block of End_G
entries per irrep [theory section 7, "Cost of an equivariant layer"]: multiply-adds ``sum e d m_in m_out`` instead of
``n_in n_out``, parameters ``sum e m_in m_out``, the dimension of Hom_G. Every value of the parameters is an
equivariant layer, so training them is training in Hom_G; no step needs a projection.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor, nn

from intertwiner.algebra import Representation, hom_by_orbits
from intertwiner.errors import GroupError, NotAnAction
from intertwiner.rewrite.isotypic_orbits import OrbitLayout, division_basis, orbit_layout
from intertwiner.rewrite.isotypic_project import Projected, project
from intertwiner.rewrite.isotypic_transform import ExactBuffers, IsotypicTransform

ODD = (nn.Identity, nn.Tanh, nn.Softsign, nn.Tanhshrink, nn.Softshrink, nn.Hardshrink)
"""Pointwise modules that commute with signs."""


Neurons = Tensor | list[Tensor]
"""Rows ``(..., n)``; inside a compiled graph also the pieces of ``IsotypicTransform``."""


class _Layer(ExactBuffers):
    """What the trainable and the frozen layer share: two transforms around one product per irrep."""

    def __init__(self, layouts: tuple[OrbitLayout, OrbitLayout], activation: nn.Module | None, dtype: torch.dtype):
        super().__init__()
        self.layouts = layouts
        # What one side lacks meets no weight: only common irreps are transformed.
        self.irreps = tuple(i for i in layouts[0].irreps if layouts[1].multiplicity(i))
        self.into = IsotypicTransform(layouts[0], self.irreps, dtype)
        self.out = IsotypicTransform(layouts[1], self.irreps, dtype)
        self.activation = activation
        # Set by who joins layers (``compile``): whether the one reader takes pieces, and whether they are turned.
        self.hands_on = False
        self.turned = False

    @property
    def in_features(self) -> int:
        return self.into.dimension

    @property
    def out_features(self) -> int:
        return self.out.dimension

    @property
    def rho_in(self) -> Representation:
        return self.layouts[0].representation

    @property
    def rho_out(self) -> Representation:
        return self.layouts[1].representation

    @property
    def multiply_adds(self) -> int:
        """Products per sample: the blocks, ``sum e d m_in m_out``, and the two transforms, ``sum p^2 c``."""
        shapes = zip(self.into.shapes, self.out.shapes, strict=True)
        blocks = sum(a.components * a.width * b.width for a, b in shapes)
        return blocks + self.into.multiply_adds + self.out.multiply_adds

    @property
    def written_out(self) -> bool:
        """Whether ``torch.compile`` sees both transforms written out, with neurons in pieces."""
        return self.into.written_out and self.out.written_out

    def _run(self, x: Neurons, weights: Sequence[Tensor], bias: Tensor | None) -> Neurons:
        if not isinstance(x, Tensor):
            return self._run_pieces(x, weights, bias)
        rows = x if x.dim() == 2 else x.reshape(-1, x.shape[-1])
        if self.into._compiling() and self.out._compiling():
            y = self._run_pieces(self.into.pieces(rows, self.turned), weights, bias)
        else:
            parts = [nn.functional.linear(p, w) for p, w in zip(self.into.analyse(rows), weights, strict=True)]
            y = self.out.synthesise(parts, rows, bias, self.activation)
        return y.reshape(*x.shape[:-1], y.shape[-1]) if isinstance(y, Tensor) and x.dim() != 2 else y

    def _run_pieces(self, pieces: Sequence[Tensor], weights: Sequence[Tensor], bias: Tensor | None) -> Neurons:
        inside = self.into.analyse_pieces(pieces, self.turned)
        parts = [
            [torch.mm(w, p) if self.turned else nn.functional.linear(p, w) for p in ps]
            for w, ps in zip(weights, inside, strict=True)
        ]
        out = self.out.synthesise_pieces(parts, pieces[0], bias, self.activation, self.turned)
        return out if self.hands_on else self.out.rows(out, self.turned)


class IsotypicLinear(_Layer):
    """An equivariant fully connected (or token-wise) layer whose parameters are coordinates of Hom_G.

    Args:
        rho_in: How the group acts on the inputs: by signed permutations, or orthogonal.
        rho_out: How it acts on the outputs.
        bias: Whether to add an invariant bias: one number per orbit without sign.
        activation: A pointwise module, applied to the neurons.
        dtype: Precision of the parameters.
        seed: The seed of the first parameters, uniform within ``1 / sqrt(e m_in)``.

    Raises:
        GroupError: Representations of different groups.
        NotAnAction: A representation that is not orthogonal, or an activation that does not commute with signs.

    Cost:
        A forward pass takes ``multiply_adds`` products per sample. Small where p, the points per orbit, is small
        beside the width; a representation that is not by signed permutations is one orbit of its whole dimension.

    Example:
        >>> from intertwiner.algebra import GSet, Orbit, dihedral, trivial_subgroup
        >>> G = dihedral(4)
        >>> regular = GSet.of(G, [Orbit(trivial_subgroup(G), multiplicity=16)]).representation()
        >>> layer = IsotypicLinear(regular, regular, activation=nn.ReLU())
        >>> sum(p.numel() for p in layer.blocks), 128 * 128 // 8
        (2048, 2048)
        >>> layer(torch.zeros(3, 128)).shape
        torch.Size([3, 128])
    """

    def __init__(
        self,
        rho_in: Representation,
        rho_out: Representation,
        *,
        bias: bool = True,
        activation: nn.Module | None = None,
        dtype: torch.dtype = torch.float32,
        seed: int = 0,
    ) -> None:
        if rho_in.group != rho_out.group:
            raise GroupError(f"representations of {rho_in.group.name} and {rho_out.group.name}")
        _require_commuting(rho_out, activation)
        layout = orbit_layout(rho_in)
        super().__init__((layout, layout if rho_out is rho_in else orbit_layout(rho_out)), activation, dtype)
        generator = torch.Generator().manual_seed(seed)
        blocks = []
        for k, (irrep, a, b) in enumerate(zip(self.irreps, self.into.shapes, self.out.shapes, strict=True)):
            if a.units > 1:
                self.keep(f"units{k}", division_basis(irrep)[1], dtype)
            start = torch.rand(a.units, b.copies, a.copies, generator=generator, dtype=torch.float64)
            blocks.append(nn.Parameter(((2 * start - 1) / a.width**0.5).to(dtype)))
        self.blocks = nn.ParameterList(blocks)
        for k, block in enumerate(self.layouts[1].blocks):
            self.keep(f"invariant{k}", block.invariant, dtype)
        self.fixed = tuple(b.invariant.shape[1] * b.copies for b in self.layouts[1].blocks)
        self.bias = nn.Parameter(torch.zeros(sum(self.fixed), dtype=dtype)) if bias and sum(self.fixed) else None

    def forward(self, x: Neurons) -> Neurons:
        return self._run(x, self.weights(), self.grouped_bias())

    def weights(self) -> list[Float[Tensor, "em_out em_in"]]:
        """The matrix of every block: ``sum_l X_l (x) j_l``, X its parameters and j the units of End_G."""
        out = []
        for k, block in enumerate(self.blocks):
            if len(block) == 1:
                out.append(block[0])
            else:
                units = getattr(self, f"units{k}")
                matrix = torch.einsum("loa,lqr->qora", block, units)
                out.append(matrix.reshape(block.shape[1] * len(block), block.shape[2] * len(block)))
        return out

    def grouped_bias(self) -> Float[Tensor, " n_out"] | None:
        """The bias of every neuron, in grouped order."""
        if self.bias is None:
            return None
        pieces = self.bias.split(self.fixed)
        out = []
        for k, (piece, block) in enumerate(zip(pieces, self.layouts[1].blocks, strict=True)):
            invariant = getattr(self, f"invariant{k}")
            out.append(torch.matmul(invariant, piece.reshape(invariant.shape[1], block.copies)).reshape(-1))
        return torch.cat(out)

    def dense_weight(self, *, tied: bool = False) -> Float[Tensor, "n_out n_in"]:
        """The weight of the dense equivalent, computed in float64 and rounded to the precision of the layer.

        Args:
            tied: Whether to make entries that the group ties equal bit for bit, by the mean over each orbit of pairs;
                then the relation ``rho_out(g) W = W rho_in(g)`` holds exactly.

        Raises:
            NotAnAction: ``tied`` and one of the representations is not by signed permutations.
        """
        with torch.no_grad():
            dtype = _dtype(self)
            exact = copy.deepcopy(self).to(device="cpu", dtype=torch.float64)
            exact.activation, exact.bias = None, None
            weight = exact(torch.eye(self.in_features, dtype=torch.float64)).t().contiguous()
            if tied:
                weight = torch.from_numpy(hom_by_orbits(self.rho_in, self.rho_out).project(weight.numpy()))
            return weight.to(dtype=dtype, device=_device(self))

    def dense_bias(self) -> Float[Tensor, " n_out"] | None:
        """The bias of the dense equivalent; equal bit for bit along orbits of permutations."""
        with torch.no_grad():
            grouped = self.grouped_bias()
            if grouped is None:
                return None
            out = torch.empty_like(grouped)
            order = torch.from_numpy(self.layouts[1].order)
            out[order] = grouped * torch.as_tensor(self.layouts[1].signs).to(grouped)
            return out

    def dense(self, *, tied: bool = False) -> DenseTwin:
        """The same function with one dense weight."""
        return DenseTwin(self.dense_weight(tied=tied), self.dense_bias(), copy.deepcopy(self.activation))

    def frozen(self) -> FrozenIsotypicLinear:
        """The same function with its weights fixed: blocks are assembled once, not in every pass."""
        return FrozenIsotypicLinear(self)

    @classmethod
    def from_dense(
        cls,
        weight: Float[Tensor, "n_out n_in"] | Float[np.ndarray, "n_out n_in"],
        rho_in: Representation,
        rho_out: Representation,
        *,
        bias: Float[Tensor, " n_out"] | Float[np.ndarray, " n_out"] | None = None,
        activation: nn.Module | None = None,
    ) -> Projected:
        """The layer in Hom_G nearest to a dense one, and how far the dense one was.

        Args:
            weight: The dense weight; its precision becomes that of the layer.
            rho_in: How the group acts on the inputs.
            rho_out: How it acts on the outputs.
            bias: The dense bias; None for a layer without.
            activation: A pointwise module, applied to the neurons.

        Raises:
            ShapeMismatch: A weight or bias that does not fit the representations.

        Cost:
            ``(n_in + n_out) n_in n_out p / n`` products in float64, p the points per orbit; no sum over the group.

        Example:
            >>> from intertwiner.algebra import cyclic
            >>> from intertwiner.numerics.monomial import Monomial
            >>> swap = Representation(cyclic(2), (Monomial([1, 0]),))
            >>> found = IsotypicLinear.from_dense(np.array([[1.0, 2.0], [4.0, 1.0]]), swap, swap)
            >>> found.layer.dense_weight(tied=True).numpy().round(9).tolist()
            [[1.0, 3.0], [3.0, 1.0]]
            >>> round(found.weight_distance, 6)
            1.414214
        """
        return project(cls, torch.as_tensor(weight), (rho_in, rho_out), bias, activation)


class FrozenIsotypicLinear(_Layer):
    """An ``IsotypicLinear`` for inference: its block matrices and its bias as buffers.

    Args:
        layer: The layer to freeze; nothing is shared with it.
    """

    def __init__(self, layer: IsotypicLinear) -> None:
        super().__init__(layer.layouts, copy.deepcopy(layer.activation), _dtype(layer))
        with torch.no_grad():
            for k, weight in enumerate(layer.weights()):
                self.register_buffer(f"weight{k}", weight.detach().clone().contiguous())
            bias = layer.grouped_bias()
            self.bias: Tensor | None
            self.register_buffer("bias", None if bias is None else bias.detach().clone())
        self.to(_device(layer))

    def forward(self, x: Neurons) -> Neurons:
        return self._run(x, [getattr(self, f"weight{k}") for k in range(len(self.irreps))], self.bias)


class OneByOne(nn.Module):
    """A 1 x 1 convolution: an equivariant layer on the channels of every point of a grid.

    Args:
        layer: The layer from channels to channels; the group leaves the points where they are.

    Example:
        >>> from intertwiner.algebra import cyclic
        >>> from intertwiner.numerics.monomial import Monomial
        >>> swap = Representation(cyclic(2), (Monomial([1, 0]),))
        >>> OneByOne(IsotypicLinear(swap, swap))(torch.zeros(3, 2, 5, 7)).shape
        torch.Size([3, 2, 5, 7])
    """

    def __init__(self, layer: nn.Module) -> None:
        super().__init__()
        self.layer = layer

    def forward(self, x: Float[Tensor, "batch c_in *grid"]) -> Float[Tensor, "batch c_out *grid"]:
        return self.layer(x.movedim(1, -1)).movedim(-1, 1)


class DenseTwin(nn.Module):
    """The dense equivalent: one weight, one bias, one activation."""

    def __init__(self, weight: Tensor, bias: Tensor | None, activation: nn.Module | None) -> None:
        super().__init__()
        self.weight = nn.Parameter(weight)
        self.bias = None if bias is None else nn.Parameter(bias)
        self.activation = activation

    def forward(self, x: Float[Tensor, "... n_in"]) -> Float[Tensor, "... n_out"]:
        y = nn.functional.linear(x, self.weight, self.bias)
        return y if self.activation is None else self.activation(y)


def _require_commuting(rho: Representation, activation: nn.Module | None) -> None:
    if activation is None or isinstance(activation, nn.Identity) or rho.is_permutation:
        return
    if not rho.is_signed_permutation:
        raise NotAnAction(f"a pointwise {type(activation).__name__} on {rho!r}: it commutes with permutations only")
    if not isinstance(activation, ODD):
        raise NotAnAction(
            f"a pointwise {type(activation).__name__} does not commute with the signs of {rho!r}; odd ones do: "
            f"{', '.join(m.__name__ for m in ODD)}"
        )


def _dtype(module: IsotypicLinear) -> torch.dtype:
    return module.into.matrix0.dtype  # type: ignore[union-attr]


def _device(module: IsotypicLinear) -> torch.device:
    return module.into.matrix0.device  # type: ignore[union-attr]
