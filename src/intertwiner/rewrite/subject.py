"""What is rewritten: a fully connected chain, with the symmetry as signed permutations of its input and output."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from torch import nn
from torch.export import ExportedProgram

from intertwiner.audit.subject import Subject, prepare
from intertwiner.errors import CannotRewrite
from intertwiner.identify.chain import Chain, as_chain
from intertwiner.network import Network
from intertwiner.numerics.monomial import Monomial
from intertwiner.rewrite.tied import Action
from intertwiner.symmetry import BoundSymmetry, Symmetry, TensorAction


@dataclass(frozen=True, eq=False)
class Task:
    """A chain and its symmetry, ready to be rewritten.

    Args:
        subject: Network, bound symmetry and data.
        chain: The layers.
        rho_in: The generators on the flattened input.
        rho_out: The generators on the output.
    """

    subject: Subject
    chain: Chain
    rho_in: Action
    rho_out: Action

    @property
    def network(self) -> Network:
        return self.subject.network

    @property
    def bound(self) -> BoundSymmetry:
        return self.subject.symmetry


def task_of(
    model: nn.Module | ExportedProgram | Network,
    symmetry: Symmetry,
    data: Any = None,
    *,
    example: Any = None,
    kwargs: Mapping[str, Any] | None = None,
    max_samples: int | None = None,
    seed: int = 0,
) -> Task:
    """Trace, bind, and refuse what is not covered.

    Raises:
        CannotRewrite: The network is no chain of linear layers and pointwise functions, or the group acts on the
            input or output by something else than signed permutations.
        IntertwinerError: Whatever makes an audit refuse the network, the symmetry or the data.
    """
    return task_from(
        prepare(
            model, symmetry, data, example=example, kwargs=kwargs, max_samples=max_samples, seed=seed,
            progress="rewrite",
        )
    )  # fmt: skip


def task_from(subject: Subject) -> Task:
    """The chain of a prepared subject.

    Raises:
        CannotRewrite: As for ``task_of``.
    """
    chain = as_chain(subject.network)
    if isinstance(chain, str):
        raise CannotRewrite(
            f"{subject.network.name} is no chain of linear layers with one nonlinearity between neighbours: {chain}.\n"
            "  Only such chains are rewritten. Nothing was rewritten."
        )
    for layer in chain.hidden:
        if layer.pointwise is None or layer.pointwise.value is None:
            raise CannotRewrite(f"nothing is known about the nonlinearity after {layer.name}. Nothing was rewritten.")
    return Task(
        subject, chain, _monomials(subject.symmetry, "input"), _monomials(subject.symmetry, "output")
    )  # fmt: skip


def _monomials(bound: BoundSymmetry, side: str) -> Action:
    found = []
    for g in bound.group.generators:
        (action,) = bound.input_action(g) if side == "input" else bound.output_action(g)
        matrix = action.flat() if isinstance(action, TensorAction) else None
        if not isinstance(matrix, Monomial) or not matrix.is_signed_permutation:
            kind = "an unknown map" if matrix is None else "no signed permutation"
            raise CannotRewrite(
                f"{bound.group.name} acts on the {side} by {kind} ({bound.group.element_name(g)}).\n"
                "  The rewrite ties entries of weights, which takes permutations of coordinates, with signs at most. "
                "Nothing was rewritten."
            )
        found.append(matrix)
    if not found:
        raise CannotRewrite(
            f"{bound.group.name} has no generators: every network is equivariant. Nothing was rewritten."
        )
    return tuple(found)
