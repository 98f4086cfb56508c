"""A small convolutional network whose weights are tied under D4, written by hand, and a chain, as twins."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from intertwiner.algebra import GSet, Orbit, dihedral, subgroup_classes
from intertwiner.network import Conv, Linear, Network, trace
from intertwiner.numerics.monomial import Monomial
from intertwiner.rewrite.certificate import Certificate
from intertwiner.rewrite.tied import Action, Tied, tied, trivial
from intertwiner.rewrite.twin import TwinGraph
from intertwiner.symmetry import Symmetry, TensorAction, image, invariant
from intertwiner.testing import Cell, planted_network
from intertwiner.testing.planted import permutations
from intertwiner.verdict import Kind, Verdict

D4 = dihedral(4)
PLANE = Symmetry(D4, image(D4), invariant())


def regular() -> Action:
    """Eight channels that D4 permutes as its own elements."""
    smallest = subgroup_classes(D4)[0]
    return permutations(GSet.of(D4, [Orbit(smallest, multiplicity=1)]).representation())


def beside_kernel(rho: Action) -> Action:
    """Channels and places of a 3 x 3 kernel, in the order of a weight."""
    places = [a.matrix_on((1, 2)) for a in image(D4).on(D4, (1, 3, 3)) if isinstance(a, TensorAction)]
    out = []
    for m, kernel in zip(rho, places, strict=True):
        assert isinstance(kernel, Monomial)
        index = (m.index[:, None] * 9 + kernel.index[None, :]).ravel()
        out.append(Monomial(index, np.repeat(m.factor, 9)))
    return tuple(out)


def conv_net() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(1, 8, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(8, 8, 3, padding=1), nn.Tanh(),
        nn.AvgPool2d(2), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 3),
    ).eval()  # fmt: skip


def images(count: int, dtype: torch.dtype = torch.float32) -> Tensor:
    return torch.randn(count, 1, 8, 8, generator=torch.Generator().manual_seed(1), dtype=dtype)


def conv_twin() -> TwinGraph:
    """The exactly equivariant network: random weights, projected to intertwiners."""
    network = trace(conv_net(), images(2))
    hidden, plain, result = regular(), trivial(2), trivial(2, 3)
    sides = {
        "0.weight": (hidden, beside_kernel(plain)),
        "0.bias": (hidden, plain),
        "3.weight": (hidden, beside_kernel(hidden)),
        "3.bias": (hidden, plain),
        "8.weight": (result, hidden),
        "8.bias": (result, plain),
    }
    ties: dict[str, Tied] = {name: tied(*both) for name, both in sides.items()}
    actions, now = {}, plain
    for node in network.nodes[:-1]:
        now = hidden if isinstance(node.op, Conv) else result if isinstance(node.op, Linear) else now
        actions[node.name] = now
    twin = TwinGraph(network, network.graph, actions, ties)
    return twin.with_arrays({name: p.array for name, p in twin.params.items()})


def chain_twin() -> TwinGraph:
    """A planted chain, taken as it is; its actions are left out."""
    planted = planted_network(Cell("S3", "gelu", "mlp", 2, "float32"), 3)
    network: Network = trace(planted.module, planted.example())
    return TwinGraph(network, network.graph, {}, {})


def moved(twin: TwinGraph) -> nn.Module:
    """The same module with one weight of the second convolution changed."""
    module = twin.module()
    with torch.no_grad():
        module.get_parameter("3.weight")[0, 0, 0, 0] += 0.1
    return module


def certificate_of_nothing() -> Certificate:
    """A certificate with a value of the right type in every field."""
    plain = {"int": 1, "float": 0.5, "str": "x", "bool": True, "float | None": None}
    values: dict[str, Any] = {}
    for f in dataclasses.fields(Certificate):
        kind = str(f.type)
        values[f.name] = plain[kind] if kind in plain else () if kind.startswith("tuple") else {}
    return Certificate(**values | {"verdict": Verdict(Kind.UNDECIDED, "a claim", "no reason")})
