r"""Deep linear networks on symmetric data: the space that first and last layer span on an irrep is conserved.

Let V be an irrep of the inputs that occurs once there, d its dimension; it occurs mu times in the outputs. On V the
moment S is a number s, and B is a combination of mu intertwiners B_j. Let X = W_1 on V, and ``Y_j = W_L^T B_j``, all
with d columns, and C the product of the layers between. Then

    X' = s K X + sum_j b_j C^T Y_j,    Y_j' = K' Y_j + b_j' C X:

rows are only ever combined with rows, so the space they span is constant. A last bias gives further rows ``b_L^T B_j``.
With ``r = h_1 + mu h_{L-1}`` rows, mu more with biases, it has ``r (d - r)`` coordinates where r < d: the entries of
``Z_1^-1 Z_2``, Z all rows, Z_1 its first r columns. Where mu > 0 this is said for irreps of real type only. Derived
here; they are tried on random fields whenever they are counted.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float
from numpy import ndarray

from intertwiner.algebra import Representation
from intertwiner.numerics.modular import Modulus
from intertwiner.numerics.rational import reduced_rows
from intertwiner.training.chain import Chain
from intertwiner.training.data_span import DataSpan
from intertwiner.training.exact_action import ExactAction
from intertwiner.training.one_layer import IrrepLaws, isotypic_projector, working_order


def row_space_laws(chain: Chain, rho_in: Representation, rho_out: Representation) -> tuple[IrrepLaws, ...]:
    """The laws of the row spaces, irrep by irrep; none for a single layer.

    Args:
        chain: A linear chain.
        rho_in: The orthogonal action on its inputs.
        rho_out: The action on its outputs.

    Example:
        Turns of the plane and a single hidden unit: the direction of its weights.

        >>> from intertwiner.algebra import cyclic
        >>> turn = Representation(cyclic(4), (np.array([[0.0, -1.0], [1.0, 0.0]]),))
        >>> still = Representation.trivial(cyclic(4))
        >>> [(part.irrep, part.laws) for part in row_space_laws(Chain((2, 1, 1)), turn, still)]
        [('E', 1)]
        >>> row_space_laws(Chain((2, 1, 2)), turn, turn)
        ()
    """
    if chain.depth < 2:
        return ()
    out, found = rho_out.isotypic(), []
    for irrep, m in rho_in.isotypic().items():
        d, mu = irrep.dimension, out[irrep.name]
        r = chain.widths[1] + mu * (chain.widths[-2] + chain.bias)
        if m == 1 and r < d and (not mu or irrep.commutant_dimension == 1):
            last = f"W{chain.depth}^T" if not chain.bias else f"[W{chain.depth} b{chain.depth}]^T"
            rows = f"W1 and {last}" if mu else "W1"
            where = f"the {r} x {d} coordinates of {rows} on {irrep.name}, Z_1 its first {r} columns"
            formula = f"the entries of Z_1^-1 Z_2, Z {where}"
            found.append(IrrepLaws(irrep.name, str(irrep.type), m, r * d, r * (d - r), formula))
    return tuple(found)


@dataclass(frozen=True, eq=False)
class RowSpaces:
    """The laws with what their gradients need.

    Args:
        parts: What ``row_space_laws`` says.
        chain: The network.
        rho_in: The action on its inputs.
        span: The moments, for the intertwiners to the outputs.
    """

    parts: Sequence[IrrepLaws]
    chain: Chain
    rho_in: ExactAction
    span: DataSpan

    def gradients(self, theta: Float[ndarray, " D"], field: Modulus) -> Float[ndarray, "laws D"]:
        """Gradients of the laws at a point modulo p, one row per law.

        Cost:
            A projector per irrep, one sum over the group.
        """
        rows = [np.zeros((0, len(theta)))]
        for part in self.parts:
            projector = isotypic_projector(self.rho_in, part.irrep, field, working_order(self.rho_in))
            if projector is not None:
                rows.append(_gradients(self._forms(projector, field), theta, field))
        return np.concatenate(rows)

    def _forms(self, projector: Float[ndarray, "f f"], field: Modulus) -> Float[ndarray, "r d D"]:
        """The rows of Z as linear forms in the parameters."""
        basis = reduced_rows(projector, field.prime)[0]
        size = basis.shape[1]
        first = self.chain.matrices[0][: self.chain.widths[1], :size]
        blocks = [self._placed(first, basis)]
        mixed = field.matmul(self.span.mixed.residues(field)[:, :, :size], projector)
        if mixed.any():
            independent = reduced_rows(mixed.reshape(len(mixed), -1), field.prime)[0].reshape(-1, *mixed.shape[1:])
            blocks += [self._placed(self.chain.matrices[-1].T, field.matmul(basis, b.T.copy())) for b in independent]
        return np.concatenate(blocks)

    def _placed(self, numbers: ndarray, weights: Float[ndarray, "d n"]) -> Float[ndarray, "h d D"]:
        """``weights`` applied to every row of a matrix of parameters."""
        out = np.zeros((len(numbers), len(weights), self.chain.parameters))
        rows, columns = np.arange(len(numbers))[:, None, None], np.arange(len(weights))[None, :, None]
        out[rows, columns, numbers[:, None, :]] = weights
        return out


def _gradients(forms: Float[ndarray, "r d D"], theta: Float[ndarray, " D"], field: Modulus) -> Float[ndarray, "laws D"]:
    """``d(Z_1^-1 Z_2) = Z_1^-1 (dZ_2 - dZ_1 Q)`` with ``Q = Z_1^-1 Z_2``."""
    r, d, size = forms.shape
    z = field.matmul(forms.reshape(r * d, size), theta[:, None]).reshape(r, d)
    inverse = field.invert(z[:, :r])
    q = field.matmul(inverse, z[:, r:])
    turned = field.matmul(q.T.copy(), forms[:, :r])
    change = field.reduce(forms[:, r:] - turned)
    return field.matmul(inverse, change.reshape(r, -1)).reshape(-1, size)
