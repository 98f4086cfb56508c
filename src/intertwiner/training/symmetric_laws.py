r"""What symmetric data add to the laws of a traced network: counted where it can be, otherwise why it is open.

The fields ``V_G`` that squared error has on symmetric data are defined where parameters and inputs separate, ``f =
A(theta) phi(x)`` (tensorizable networks). They are counted for fully connected networks, linear or with one power
between the layers. For losses that are analytic and no polynomials symmetry generically adds nothing [Galley,
Shahverdi, Flinth 2026]; with data and targets, whether they are generic is measured at the weights
(``orbit_span.py``).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from math import prod
from typing import Any

import numpy as np
import torch
from numpy import ndarray
from torch import Tensor, nn

from intertwiner.algebra import Representation
from intertwiner.errors import RankUndecided, ShapeMismatch, WrongUse
from intertwiner.network import (
    Add,
    ChannelAffine,
    Constant,
    Conv,
    Expand,
    Identity,
    Index,
    Input,
    Linear,
    MatMul,
    Multiply,
    Network,
    Node,
    Output,
    Pad,
    Permute,
    PointwiseOp,
    Reshape,
)
from intertwiner.symmetry import Symmetry
from intertwiner.training.chain import Chain
from intertwiner.training.data_symmetry import DataSymmetryLaws, data_symmetry_laws
from intertwiner.training.loss_span import LossSpan, dense
from intertwiner.training.orbit_span import Move, Sides, orbit_span
from intertwiner.training.polynomial_chain import HIGHEST, PolynomialChain
from intertwiner.verdict import Kind, Verdict

Actions = Symmetry | tuple[Representation, Representation]

GENERIC = "symmetric data under analytic, non-polynomial losses [Galley, Shahverdi, Flinth 2026]"
"""The theorem on other losses."""

LARGEST = 20_000_000
"""Numbers of the matrix whose rank is measured."""

POLYNOMIAL = (
    Input, Output, Identity, Reshape, Permute, Index, Expand, Pad, Constant, Linear, Conv, ChannelAffine, Add, Multiply,
    MatMul,
)  # fmt: skip
"""Operators that are polynomials in inputs and parameters."""


@dataclass(frozen=True)
class SymmetricLaws:
    """What is known about the laws that symmetric data add.

    Args:
        group: The symmetry of the data.
        counted: The counts with and without it; None where they are open.
        verdict: Whether symmetry adds a law: UNDECIDED with the reason where nothing was counted.
        span: For given data and targets two ranks at the weights, with their gaps; None where they were not measured.
        unmeasured: Why not; empty where they were, or where a count needs none.
    """

    group: str
    counted: DataSymmetryLaws | None
    verdict: Verdict
    span: LossSpan | None = None
    unmeasured: str = ""

    def to_json(self) -> dict[str, Any]:
        """The record as plain values, without the count, which stands beside it."""
        span = self.span.to_json() | {"nothing_added": self.span.nothing_added} if self.span else None
        verdict = self.verdict.to_json()
        return {"group": self.group, "verdict": verdict, "span": span, "unmeasured": self.unmeasured}

    @classmethod
    def from_json(cls, record: Mapping[str, Any], counted: DataSymmetryLaws | None) -> SymmetricLaws:
        """The record that ``to_json`` wrote, with the count beside it."""
        span = {k: v for k, v in (record["span"] or {}).items() if k != "nothing_added"}
        return cls(
            record["group"], counted, Verdict.from_json(record["verdict"]), LossSpan(**span) if span else None,
            record["unmeasured"],
        )  # fmt: skip

    def __str__(self) -> str:
        if self.counted is not None:
            return str(self.counted)
        lines = [f"data symmetric under {self.group}: {self.verdict.kind}: {self.verdict.claim}"]
        lines.append(f"  {self.verdict.reason}")
        lines.append(f"  measured at these weights: {self.unmeasured if self.span is None else _said(self.span)}")
        return "\n".join(lines)


def _said(span: LossSpan) -> str:
    """The two ranks and what follows from them."""
    if span.nothing_added:
        return f"{span}: the orbits show all directions, so near generic weights symmetry adds nothing"
    if span.rank == span.orbits:
        return f"{span}: more orbits are needed, at least {span.full}"
    return f"{span}: the orbits show fewer directions, and nothing follows: brackets may fill the rest"


@dataclass(frozen=True, eq=False)
class Measured:
    """What the numerical check needs: the module, inputs, targets, and the loss as a function of outputs and targets.

    Args:
        model: The module; None for a traced network.
        inputs: One input per orbit; None without data.
        targets: One target per orbit, or None.
        loss: The loss, averaged over samples.
    """

    model: nn.Module | None
    inputs: Tensor | None
    targets: Tensor | None
    loss: Any


def symmetric_laws(
    network: Network,
    chain: Chain | PolynomialChain | None,
    symmetry: Actions,
    loss: str,
    *,
    measured: Measured,
    seed: int,
) -> SymmetricLaws:
    """Count what symmetric data conserve besides, or say why that is open.

    Args:
        network: The traced network.
        chain: The same as a chain, if it is one.
        symmetry: Actions on inputs and outputs.
        loss: ``"mse"``, ``"cross_entropy"`` or "" for another.
        measured: Data for the check where nothing can be counted.
        seed: Of everything random.

    Raises:
        ShapeMismatch: Actions of other sizes than inputs and outputs.
        NotAnAction, GroupError: Actions that are none.
    """
    group, sides, sizes = _sides(network, symmetry)
    claim = f"data symmetric under {group} conserve nothing of {network.name} beyond the laws of any data"
    reason, theorem = _open(network, chain, loss)
    if not reason and chain is not None:
        if sides.matrices is None:
            raise ShapeMismatch("a symmetry of data needs matrices on inputs and outputs. Nothing was computed.")
        try:
            counted = data_symmetry_laws(chain, *sides.matrices, seed=seed)
        except WrongUse as error:
            reason = f"the laws with symmetry were not counted: {error}"
        else:
            return SymmetricLaws(group, counted, counted.with_symmetry.verdict)
    span, unmeasured = _measure(measured, sides, sizes, centred=loss == "cross_entropy")
    return SymmetricLaws(group, None, Verdict(Kind.UNDECIDED, claim, reason, theorem=theorem), span, unmeasured)


def _open(network: Network, chain: Chain | PolynomialChain | None, loss: str) -> tuple[str, str]:
    """Why the count is open, and the theorem on it; empty where there is a count."""
    if loss != "mse":
        return (
            "for losses that are analytic and no polynomials, symmetry of the data adds generically no conserved "
            "function; whether this loss, network and data are generic is not proved",
            GENERIC,
        )
    if isinstance(chain, PolynomialChain) or (chain is not None and chain.activation == "linear"):
        return "", ""
    node = next((n for n in network.nodes if not _is_polynomial(n)), None)
    if node is not None:
        return (
            "the fields V_G that symmetric data show are defined for tensorizable networks only, f = A(theta) phi(x), "
            f"and {(node.tap or node.name).removesuffix(':out')} ({node.operator or node.op.kind}) is no polynomial; "
            "nothing is claimed beyond the laws of any data",
            "",
        )
    return (
        "with symmetric data the laws are counted for fully connected networks that are linear or have one power "
        "between all layers, with all parameters in training; nothing is claimed beyond the laws of any data",
        "",
    )


def _is_polynomial(node: Node) -> bool:
    if isinstance(node.op, PointwiseOp):
        return power_of(node.op.pointwise.name) is not None or node.op.pointwise.name == "identity"
    return isinstance(node.op, POLYNOMIAL)


def power_of(name: str) -> int | None:
    """The r of ``pow(r)``, a whole number above 1.

    Example:
        >>> power_of("pow(3)"), power_of("pow(0.5)"), power_of("relu")
        (3, None, None)
    """
    r = name.removeprefix("pow(").removesuffix(")")
    return int(r) if name == f"pow({r})" and r.isdecimal() and 1 < int(r) <= HIGHEST else None


def _sides(network: Network, symmetry: Actions) -> tuple[str, Sides, tuple[int, int]]:
    """The group by name, what every element does to inputs and outputs, and their sizes."""
    inputs = [tuple(spec.shape[1:] if spec.batched else spec.shape) for spec in network.inputs]
    outputs = [tuple(network.node(name).sample_shape) for name in network.nodes[-1].inputs]
    sizes = prod(inputs[0]), prod(outputs[0])
    if len(inputs) != 1 or len(outputs) != 1:
        raise ShapeMismatch(
            f"symmetric data are taken for one input and one output, {network.name} has {len(inputs)} and "
            f"{len(outputs)}. Nothing was computed."
        )
    if not isinstance(symmetry, Symmetry):
        rho_in, rho_out = symmetry
        if (rho_in.dimension, rho_out.dimension) != sizes:
            raise ShapeMismatch(
                f"the network has {sizes[0]} inputs and {sizes[1]} outputs, the actions have dimensions "
                f"{rho_in.dimension} and {rho_out.dimension}. Usual cause: inputs and outputs swapped. Nothing was "
                "computed."
            )
        moves = [(_matrix_move(rho_in, g), _matrix_move(rho_out, g)) for g in range(rho_in.group.order)]
        return rho_in.group.name, Sides(moves, (rho_in, rho_out)), sizes
    bound = symmetry.bind(inputs, outputs)
    group = bound.group
    moves = [(bound.input_action(g)[0].apply, bound.output_action(g)[0].apply) for g in range(group.order)]
    matrices = None
    if bound.has_matrices:
        first, second = (
            Representation(group, tuple(_images(moves[g][k], shape) for g in group.generators), dimension=prod(shape))
            for k, shape in ((0, inputs[0]), (1, outputs[0]))
        )
        matrices = first, second
    return group.name, Sides(moves, matrices), sizes


def _images(move: Move, shape: tuple[int, ...]) -> ndarray:
    """The matrix of an action on samples of a shape."""
    size = prod(shape)
    return move(torch.eye(size, dtype=torch.float64).reshape(size, *shape)).reshape(size, size).numpy().T.copy()


def _matrix_move(rho: Representation, g: int) -> Move:
    matrix = torch.from_numpy(np.array(dense(rho, g), dtype=np.float64))

    def move(x: Tensor) -> Tensor:
        return (x.reshape(len(x), -1) @ matrix.T.to(x)).reshape(x.shape)

    return move


def _measure(measured: Measured, sides: Sides, sizes: tuple[int, int], *, centred: bool) -> tuple[LossSpan | None, str]:
    """The check at the weights, or why there is none."""
    if measured.inputs is None or measured.targets is None:
        return None, "needs data= and targets=, one of each per orbit"
    if measured.model is None:
        return None, "needs the module, not a traced network"
    work = len(sides.moves) * len(measured.inputs) * sizes[1]
    size = sum(p.numel() for p in measured.model.parameters() if p.requires_grad)
    if work * size > LARGEST:
        return None, f"{work} outputs on all orbits by {size} parameters are too many for a rank here; give fewer data"
    if not measured.targets.is_floating_point() and not _still(sides, sizes[1]):
        return None, "targets that are classes do not move with an action on the outputs; give them one-hot"
    try:
        return orbit_span(
            measured.model, sides, (measured.inputs, measured.targets), measured.loss, centred=centred
        ), ""
    except RankUndecided as error:
        return None, str(error)


def _still(sides: Sides, size: int) -> bool:
    """Whether no element moves an output."""
    if sides.matrices is None:
        return False
    rho = sides.matrices[1]
    return all(np.allclose(dense(rho, g), np.eye(size)) for g in rho.group.generators)
