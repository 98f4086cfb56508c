r"""A twin that can be trained: a module whose weights are leaves, and the coordinates of Hom_G behind them.

One step: the module answers, gradients of its weights are collected into gradients of the coordinates, an optimiser
moves those, and the weights are written again from them. Autograd sees a plain module, so a step costs what a step of
the dense network costs, and nothing but the coordinates can move.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, fx

from intertwiner.errors import CannotRewrite
from intertwiner.rewrite.reduced import Reduced, reduced
from intertwiner.rewrite.twin import TwinGraph


@dataclass(frozen=True, eq=False)
class Student:
    """The module of a twin in float32, and its coordinates.

    Args:
        twin: What it was made from, left as it is.
        module: The module.
        names: Names of the tied parameters.
        weights: The parameters in the module.
        ties: How each is made from coordinates.
        coordinates: One vector per parameter: what an optimiser moves, by their ``grad``.
    """

    twin: TwinGraph
    module: fx.GraphModule
    names: tuple[str, ...]
    weights: tuple[Tensor, ...]
    ties: tuple[Reduced, ...]
    coordinates: tuple[Tensor, ...]

    @property
    def device(self) -> torch.device:
        return self.weights[0].device

    @torch.no_grad()
    def expand(self) -> None:
        """Write the weights from the coordinates."""
        for c, weight, tie in zip(self.coordinates, self.weights, self.ties, strict=True):
            tie.expand(c, weight)

    @torch.no_grad()
    def collect(self) -> float:
        """Turn the gradients of the weights into those of the coordinates; their Frobenius norm as dense matrices."""
        square = torch.zeros((), device=self.device)
        for c, weight, tie in zip(self.coordinates, self.weights, self.ties, strict=True):
            c.grad = torch.zeros_like(c) if weight.grad is None else tie.mean(weight.grad)
            weight.grad = None
            square = square + (tie.size * c.grad.square()).sum()
        return float(square.sqrt())

    def twin_at(self, coordinates: Sequence[Tensor]) -> TwinGraph:
        """The twin with these coordinates, in float64: they are written back without rounding."""
        ties = self.twin.ties
        found = zip(self.names, coordinates, strict=True)
        return self.twin.with_arrays({name: ties[name].matrix(c.double().cpu().numpy()) for name, c in found})


def student_of(twin: TwinGraph) -> Student:
    """The student of a twin, with the twin's coordinates.

    Args:
        twin: Where to start.

    Raises:
        CannotRewrite: No parameter is tied, or the module does not hold a tied parameter as it is.

    Cost:
        One sort of the entries of every parameter.

    Example:
        The gradient of one input is shared by both, since the exchange of the inputs ties their weights:

        >>> from intertwiner.network import trace
        >>> from intertwiner.numerics.monomial import Monomial
        >>> from intertwiner.rewrite.tied import tied, trivial
        >>> net = trace(torch.nn.Linear(2, 1, bias=False), torch.zeros(1, 2))
        >>> student = student_of(TwinGraph(net, net.graph, {}, {"weight": tied(trivial(1), [Monomial([1, 0])])}))
        >>> student.module(torch.tensor([[4.0, 0.0]])).sum().backward()
        >>> norm = student.collect()
        >>> student.coordinates[0].grad
        tensor([2.])
    """
    module, params = twin.module(torch.float32), twin.params
    if not params:
        raise CannotRewrite("the twin has no tied parameter: there is nothing to train. Nothing was rewritten.")
    held = dict(module.named_parameters()) | dict(module.named_buffers())
    for tensor in held.values():
        tensor.requires_grad_(False)
    weights, ties, coordinates = [], [], []
    for name, param in params.items():
        weight = held.get(name)
        if weight is None or tuple(weight.shape) != param.shape:
            raise CannotRewrite(
                f"the module of the twin holds no {name!r} of shape {param.shape}; it holds "
                f"{', '.join(sorted(held)) or 'nothing'}.\n  Usual cause: two parameters of one name, or a name that "
                "is no attribute of a module. Give it another name. Nothing was rewritten."
            )
        tie = twin.ties[name]
        start = tie.coordinates(param.array.reshape(tie.label.shape))
        weights.append(weight.requires_grad_(True))
        ties.append(reduced(tie, weight.device))
        coordinates.append(torch.as_tensor(start, dtype=torch.float32, device=weight.device))
    return Student(twin, module, tuple(params), tuple(weights), tuple(ties), tuple(coordinates))
