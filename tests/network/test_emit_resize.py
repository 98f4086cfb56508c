"""Coordinates followed through a graph and cut out of it."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch
from architectures import Apply, architectures
from torch import nn
from torch.utils import _pytree as pytree

from intertwiner.network import Conv, Embedding, Linear, trace
from intertwiner.network.emit import to_module
from intertwiner.network.resize import keep, places
from intertwiner.numerics.tolerance import ROUNDING

CASES = architectures()
AXES = {Linear: -1, Conv: 1, Embedding: -1}


def written(network):
    """(node, axis) of everything that writes features."""
    return [(n.name, AXES[type(n.op)] % len(n.shape)) for n in network.nodes if type(n.op) in AXES]


def silenced(graph, found, coordinate):
    """The graph with zeros where readers read one coordinate."""
    out = dict(graph)
    for reader, value in found.readers:
        op = out[reader].op
        array = op.weight.array.copy()
        axis = 0 if isinstance(op, Conv) and op.transposed else 1
        np.moveaxis(array, axis, 0)[found.positions(value, coordinate)] = 0.0
        op = dataclasses.replace(op, weight=dataclasses.replace(op.weight, array=array))
        out[reader] = dataclasses.replace(out[reader], op=op)
    return out


@pytest.mark.parametrize("name", CASES)
def test_what_nothing_reads_can_be_cut(name: str) -> None:
    """The law: silence one coordinate of a space, cut it, and nothing changes."""
    module, example = CASES[name]
    network = trace(module, example)
    inputs = [x.double() if x.is_floating_point() else x for x in example]
    for node, axis in written(network):
        found = places(network.graph, node, axis)
        if found.blocked or found.dimension == 1:
            continue
        for coordinate in {0, found.dimension - 1}:
            graph = silenced(network.graph, found, coordinate)
            cut = keep(graph, found, np.arange(found.dimension) != coordinate)
            with torch.no_grad():
                a, b = (to_module(network, g, dtype=torch.float64)(*inputs) for g in (graph, cut))
            for x, y in zip(pytree.tree_leaves(a), pytree.tree_leaves(b), strict=True):
                torch.testing.assert_close(x, y, rtol=ROUNDING, atol=ROUNDING)
            assert cut[node].shape[axis] == found.dimension - 1


def test_a_coordinate_that_is_read_is_missed() -> None:
    """Negative control: cutting without silencing changes the function."""
    module, (x,) = CASES["residual"]
    network = trace(module, x)
    node = network.tap("1.conv1").name
    found = places(network.graph, node, 1)
    cut = keep(network.graph, found, np.arange(found.dimension) != 2)
    assert not torch.allclose(to_module(network, cut)(x), module(x))


def where(function, x, **parts):
    """The places of the space that module ``a`` writes."""
    network = trace(Apply(function, **parts), (x,))
    node = network.tap("a").name
    return places(network.graph, node, 1 if isinstance(network.graph[node].op, Conv) else -1 % x.ndim)


VECTOR, IMAGE = torch.randn(3, 6), torch.randn(3, 2, 6, 6)


@pytest.mark.parametrize(
    ("function", "reason"),
    [
        (lambda s, x: s.a(x), "output of the network"),
        (lambda s, x: s.b(s.a(x).softmax(1)), "softmax"),
        (lambda s, x: s.b(nn.functional.layer_norm(s.a(x), (8,))), "layer norm"),
        (lambda s, x: s.b(s.a(x).cumsum(1)), "cumsum"),
        (lambda s, x: s.b((y := s.a(x)) + y.flip(1)), "two of its coordinates meet"),
        (lambda s, x: s.b(s.a(x).view(-1, 2, 4).transpose(1, 2).reshape(-1, 8)), "splits it"),
        (lambda s, x: s.b(s.a(x) + x.repeat(1, 2)[:, :8]), "two of its coordinates meet"),
        (lambda s, x: s.b(s.a(x) + torch.cat([x, x[:, :2]], 1)), "two of its coordinates meet"),
        (lambda s, x: s.b(s.a(x) + torch.cat([x, s.b(s.a(x))], 1)), "input"),
        (lambda s, x: s.b(s.a(x) + x.mean(1, keepdim=True).expand(-1, 8)), "expand at expand:out makes it"),
        (lambda s, x: s.b((y := s.a(x)) * y.mean(1, keepdim=True)), "reduce at mean:out mixes"),
    ],
)
def test_why_a_space_cannot_be_resized_is_said(function, reason: str) -> None:
    found = where(function, VECTOR, a=nn.Linear(6, 8), b=nn.Linear(8, 2))
    assert reason in found.blocked


def test_flattening_repeats_owners_over_the_grid() -> None:
    found = where(lambda s, x: s.b(s.a(x).flatten(1)), IMAGE, a=nn.Conv2d(2, 3, 5), b=nn.Linear(12, 2))
    ((_, flat),) = found.readers
    assert found.owner[flat].tolist() == [0] * 4 + [1] * 4 + [2] * 4


def test_concatenation_moves_owners_and_keeps_strangers_apart() -> None:
    found = where(lambda s, x: s.b(torch.cat([x, s.a(x), x], 1)), VECTOR, a=nn.Linear(6, 2), b=nn.Linear(14, 2))
    ((_, whole),) = found.readers
    assert found.owner[whole].tolist() == [-1] * 6 + [0, 1] + [-1] * 6
