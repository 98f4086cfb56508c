"""Twins in copies: convolutions that read their own moved copy alone."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from graph_nets import Dense, Stream, double
from torch import Tensor, nn

from intertwiner.algebra import cyclic, dihedral
from intertwiner.network import node as ir
from intertwiner.network import trace
from intertwiner.rewrite import rewrite
from intertwiner.rewrite.build import Choice
from intertwiner.rewrite.copies import copied, copy_coordinates, copy_moments
from intertwiner.rewrite.cost import multiply_adds
from intertwiner.rewrite.graph_task import GraphTask
from intertwiner.rewrite.readers import windows
from intertwiner.rewrite.selected import selected
from intertwiner.symmetry import Symmetry, image, invariant

D4, SIDE = dihedral(4), 6


def plain(seed: int = 0) -> nn.Module:
    layers = (
        nn.Conv2d(1, 3, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(3, 4, 3, padding=1), nn.ReLU(),
        nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 2),
    )  # fmt: skip
    return double(nn.Sequential(*layers), seed)


def task_of(net: nn.Module, x: Tensor, batch: int = 64) -> GraphTask:
    network = trace(net, x[:2])
    bound = Symmetry(D4, on_input=image(D4), on_output=invariant()).bind(tuple(x.shape[1:]), (2,))
    return GraphTask(network, bound, lambda: ((part,) for part in x.split(batch)))


def pictures(count: int = 1024) -> Tensor:
    generator = torch.Generator().manual_seed(3)
    return torch.randn(count, 1, SIDE, SIDE, generator=generator, dtype=torch.float64)


def test_all_copies_are_the_group_average() -> None:
    """With every channel the fit finds the original's own weights: nothing is lost, at |G| times the cost."""
    x = pictures()
    task = task_of(plain(), x)
    cost = multiply_adds(task.network.graph)
    found = selected(task, 8.0 * cost, Choice())
    (conv,) = [n for n in found.built.twin.graph.values() if isinstance(n.op, ir.Conv) and n.op.groups > 1]
    assert conv.op.groups == 8 and conv.op.weight.shape == (32, 3, 3, 3)  # type: ignore[attr-defined]
    assert found.distance is not None and found.distance < 1e-6


def test_fewer_copies_lose_something_and_cost_what_they_say() -> None:
    x = pictures()
    task = task_of(plain(), x)
    cost = multiply_adds(task.network.graph)
    found = selected(task, 5.0 * cost, Choice())
    assert 1e-3 < (found.distance or 0.0) < 1
    assert multiply_adds(found.built.twin.graph) <= 5.0 * cost


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_a_twin_in_copies_is_exactly_equivariant_layer_by_layer(dtype: torch.dtype) -> None:
    x = pictures().to(dtype)
    twin = rewrite(plain().to(dtype), Symmetry(D4, image(D4), invariant()), x, 6.0)
    assert any(isinstance(n.op, ir.Conv) and n.op.groups == 8 for n in twin.twin.graph.values())
    assert twin.certificate.verdict.is_proved and twin.certificate.verdict.exact
    assert twin.certificate.defect_float64 < 1e-12
    moved = twin.twin.module(torch.float64)
    with torch.no_grad():
        answers = [moved(torch.rot90(x.double(), k, (2, 3))) for k in range(4)]
    assert max(float((a - answers[0]).abs().max()) for a in answers) < 1e-12


def test_one_moved_weight_of_a_copy_is_no_longer_tied() -> None:
    x = pictures()
    twin = rewrite(plain(), Symmetry(D4, image(D4), invariant()), x, 6.0).twin
    assert twin.is_tied(torch.float64)
    node = next(n for n in twin.graph.values() if isinstance(n.op, ir.Conv) and n.op.groups == 8)
    array = node.op.weight.array.copy()  # type: ignore[attr-defined]
    array[0, 0, 0, 0] += 1e-6
    op = replace(node.op, weight=replace(node.op.weight, array=array))  # type: ignore[attr-defined,type-var]
    assert not replace(twin, graph={**twin.graph, node.name: replace(node, op=op)}).is_tied(torch.float64)


def test_moments_of_a_copy_are_those_of_moved_data() -> None:
    """One position per picture, all of them drawn: the sums over copies are sums over moved pictures."""
    x = pictures(4)
    net = plain()
    task = task_of(net, x, batch=4)
    r = next(r for r in task.readers if r.node.name in copied(task))
    lifted = task.lifted([r.source, r.node.name])
    shape = tuple(task.network.node(r.source).sample_shape[1:])

    def copies(inputs: tuple[Tensor, ...], values: dict[str, Tensor]) -> Tensor:
        value = values[r.source]
        return value.reshape(len(value), 3, 8, -1).transpose(1, 2)

    found = copy_moments(task, lifted, r, copies, shape, rows=1 << 20, seed=0)
    # All positions would be drawn in the end; with few drawn the check is that of the relation between u and t.
    conv = net[3]
    weight, bias = conv.weight.detach().numpy().reshape(4, -1), conv.bias.detach().numpy()  # type: ignore[union-attr,operator]
    rows = np.column_stack([weight, bias])
    assert np.allclose(found.cross, rows @ found.square, atol=1e-12)
    other = np.column_stack([weight[:, ::-1], bias])
    assert not np.allclose(found.cross, other @ found.square, atol=1e-2)


def test_only_convolutions_between_hidden_spaces_read_their_own_copy() -> None:
    x = pictures(64)
    net = plain()
    task = task_of(net, x)
    names = {task.network.node(n).tap for n in copied(task)}
    assert names == {"3:out"}
    mlp = double(nn.Sequential(nn.Flatten(), nn.Linear(SIDE * SIDE, 4), nn.ReLU(), nn.Linear(4, 2)))
    assert not copied(task_of(mlp, x))
    dense = double(Dense())
    assert len(copied(GraphTask(trace(dense, x[:2]), task.symmetry, task.batches))) < sum(
        isinstance(n.op, ir.Conv) for n in trace(dense, x[:2]).nodes
    )


def test_a_residual_stream_in_copies_is_equivariant() -> None:
    x = pictures(512)
    twin = rewrite(double(Stream(norm=False)), Symmetry(D4, image(D4), invariant()), x, 7.0)
    assert twin.certificate.verdict.exact
    assert twin.certificate.distance_average < 0.5


def test_windows_of_grouped_channels_keep_their_order() -> None:
    x = pictures(2)
    task = task_of(plain(), x)
    r = next(r for r in task.readers if r.node.name in copied(task))
    value = torch.arange(2 * 3 * 9.0).reshape(2, 3, 9)
    rows = windows(r, value, (3, 3), np.array([[1, 4]]))
    assert torch.equal(rows, value[1].reshape(1, -1))


def test_copies_are_moved_as_elements_multiply() -> None:
    group = cyclic(3)
    found = copy_coordinates(group, [5, 1])
    (rho,) = found.rho
    assert rho.index.tolist() == [2, 3, 4, 5, 0, 1]
    assert found.points.tolist() == [0, 1] and found.channels.tolist() == [5, 1]
