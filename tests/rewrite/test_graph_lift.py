"""The exact lift of graphs: the group average of any network, and an equivariant one again at its own width."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import pytest
import torch
from graph_nets import NETS, Twice, corners, double
from torch import Tensor, nn

from intertwiner.algebra import Group, cyclic, dihedral
from intertwiner.errors import CannotRewrite, IntertwinerError, LiftTooWide
from intertwiner.network import Input, Network, trace
from intertwiner.rewrite.fold import folded
from intertwiner.rewrite.graph_lift import lift_graph
from intertwiner.rewrite.lifted import values_of
from intertwiner.rewrite.twin import TwinGraph
from intertwiner.symmetry import BoundSymmetry, Symmetry, image, invariant, vector
from intertwiner.testing import Cell, planted_network
from intertwiner.transport import layouts

C4, D4 = cyclic(4), dihedral(4)


@dataclass(frozen=True, eq=False)
class Lifting:
    """A network and the lift of its group average."""

    net: nn.Module
    network: Network
    bound: BoundSymmetry
    twin: TwinGraph
    inputs: Tensor

    def average(self) -> Tensor:
        """``mean over g of rho_out(g) f(g^-1 x)``, element by element."""
        group, total = self.bound.group, torch.zeros(())
        with torch.no_grad():
            for g in range(group.order):
                answer = self.net(self.bound.act_on_input(int(group.inverse(g)), (self.inputs,))[0])
                total = total + self.bound.act_on_output(g, (answer,))[0]
        return total / group.order


def lifting(net: nn.Module, symmetry: Symmetry, shape: tuple[int, ...], growth: float | None = None) -> Lifting:
    x = torch.randn(6, *shape, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        result = tuple(net(x).shape[1:])
    network = folded(trace(net, x[:2]))
    bound = symmetry.bind(shape, result)
    growth = float(symmetry.group.order) if growth is None else growth
    return Lifting(net, network, bound, lift_graph(network, bound, tolerance=1e-10, growth=growth), x)


def outputs(group: Group) -> dict[str, Callable[[], object]]:
    return {"invariant": invariant, "corners": lambda: vector(perm=corners(group)), "image": lambda: image(group)}


@pytest.mark.parametrize("group", [C4, D4], ids=["C4", "D4"])
@pytest.mark.parametrize("name", list(NETS))
def test_the_lift_of_any_network_is_its_group_average(name: str, group: Group) -> None:
    build, size, result = NETS[name]
    found = lifting(double(build()), Symmetry(group, image(group), outputs(group)[result]()), (1, size, size))
    wanted = found.average()
    with torch.no_grad():
        got, original = found.twin.module()(found.inputs), found.net(found.inputs)
    scale = float(wanted.abs().max())
    assert float((got - wanted).abs().max()) <= 1e-12 * max(1.0, scale)
    assert float((original - wanted).abs().max()) > 1e-3 * scale, "the network itself is another function"


def tap_defects(found: Lifting, *, wrong: bool = False) -> dict[str, float]:
    """By tap, the largest difference of its value at gx from the action on its value at x; or from another action."""
    grids, _ = layouts(found.network, found.bound)
    names = [n for n in found.twin.actions if n in grids and not isinstance(found.network.node(n).op, Input)]
    group = found.bound.group
    run, out = values_of(found.network, found.twin.graph, names), dict.fromkeys(names, 0.0)
    here = run(found.inputs)
    for k, g in enumerate(group.generators):
        there = run(found.bound.act_on_input(int(g), (found.inputs,))[0])
        for name, value, moved in zip(names, here, there, strict=True):
            rho = found.twin.actions[name][k]
            array = rho.apply(value.numpy(), axis=1)
            if wrong:
                array = np.roll(array, 1, axis=1)
            if value.dim() > 2:
                positions = grids[name].grids[k].matrix_on(tuple(range(1, value.dim() - 1)))
                array = positions.apply(array.reshape(*array.shape[:2], -1), axis=2).reshape(array.shape)
            out[name] = max(out[name], float(np.abs(array - moved.numpy()).max() / np.abs(array).max()))
    return out


@pytest.mark.parametrize("name", list(NETS))
def test_every_layer_of_the_lift_is_equivariant(name: str) -> None:
    build, size, result = NETS[name]
    found = lifting(double(build()), Symmetry(D4, image(D4), outputs(D4)[result]()), (1, size, size))
    defects = tap_defects(found)
    assert len(defects) >= len(found.twin.graph) - 2, "every node between input and output has an action"
    assert max(defects.values()) <= 1e-13
    wide = [n for n in defects if found.twin.actions[n][0].dimension > 8]
    assert min(tap_defects(found, wrong=True)[n] for n in wide) > 1e-3
    assert found.twin.is_tied(torch.float64) and found.twin.is_tied(torch.float32)


def test_a_lift_wider_than_its_limit_is_refused_by_name() -> None:
    build, size, _ = NETS["max pool"]
    symmetry = Symmetry(D4, image(D4), invariant())
    with pytest.raises(LiftTooWide, match=r"more than 14 neurons at 0(.|\n)*Nothing was rewritten"):
        lifting(double(build()), symmetry, (1, size, size), growth=7.0)
    assert lifting(double(build()), symmetry, (1, size, size), growth=8.0).twin.params["0.weight"].shape[0] == 16


def test_opposite_filters_are_one_where_the_function_is_odd() -> None:
    torch.manual_seed(3)

    def width(function: nn.Module, sign: float) -> int:
        conv, head = nn.Conv2d(1, 2, 3, padding=1, bias=False), nn.Linear(2, 3)
        net = double(nn.Sequential(conv, function, nn.AdaptiveAvgPool2d(1), nn.Flatten(), head))
        with torch.no_grad():
            conv.weight[1] = sign * torch.rot90(conv.weight[0], 1, (1, 2))
        return lifting(net, Symmetry(C4, image(C4), invariant()), (1, 5, 5)).twin.params["0.weight"].shape[0]

    assert width(nn.Tanh(), -1.0) == width(nn.ReLU(), 1.0) == width(nn.ReLU(), 2.0) == 4
    assert width(nn.ReLU(), -1.0) == width(nn.Tanh(), -2.0) == 8


@pytest.mark.parametrize(
    ("function", "factor", "shift", "scale", "width"),
    [
        (torch.relu, 2.0, 2.0, 1.0, 4), (torch.relu, 2.0, 1.0, 1.0, 8), (torch.relu, 2.0, 2.0, 0.7, 8),
        (torch.tanh, -1.0, -1.0, 1.0, 4), (torch.tanh, -1.0, 1.0, 1.0, 8), (torch.tanh, -1.0, -1.0, -1.0, 8),
    ],
)  # fmt: skip
def test_channels_are_one_only_if_their_batch_norm_is(
    function: Callable[[Tensor], Tensor], factor: float, shift: float, scale: float, width: int
) -> None:
    net = Twice(function).planted(factor, shift, scale)
    found = lifting(net, Symmetry(C4, image(C4), invariant()), (1, 5, 5))
    assert found.twin.params["embed.weight"].shape[0] == width
    with torch.no_grad():
        assert torch.allclose(found.twin.module()(found.inputs), found.average(), rtol=0, atol=1e-12)


def test_a_function_after_the_output_is_passed_only_by_an_equivariant_layer() -> None:
    """The mean of ReLUs is no ReLU of means: what is not equivariant there is refused, not averaged before it."""
    symmetry, conv = Symmetry(D4, image(D4), image(D4)), nn.Conv2d(1, 1, 3, padding=1)
    net = double(nn.Sequential(conv, nn.ReLU()))
    with pytest.raises(CannotRewrite, match=r"0:out is not equivariant(.|\n)*Nothing was rewritten"):
        lifting(net, symmetry, (1, 5, 5))
    with torch.no_grad():
        conv.weight.copy_(torch.tensor([[1.0, 2, 1], [2, -3, 2], [1, 2, 1]]))
    found = lifting(net, symmetry, (1, 5, 5))
    with torch.no_grad():
        assert torch.allclose(found.twin.module()(found.inputs), net(found.inputs), rtol=0, atol=1e-13)


def test_what_the_lift_does_not_pass_is_named() -> None:
    net = nn.Sequential(nn.Flatten(), nn.Linear(9, 4), nn.LayerNorm(4), nn.ReLU(), nn.Linear(4, 3))
    with pytest.raises(CannotRewrite, match=r"2(.|\n)*norm(.|\n)*Nothing was rewritten"):
        lifting(double(net), Symmetry(D4, image(D4), invariant()), (1, 3, 3))
    even = nn.Sequential(nn.Conv2d(1, 2, 3, stride=2, padding=1), nn.ReLU(), nn.Flatten(), nn.Linear(18, 2))
    with pytest.raises(CannotRewrite, match=r"0:out(.|\n)*Nothing was rewritten"):
        lifting(double(even), Symmetry(D4, image(D4), invariant()), (1, 6, 6))


CELLS = [
    Cell(group, activation, family, depth, "float64")
    for family in ("mlp", "conv", "residual")
    for group, activation, depth in (("C4", "relu", 2), ("D4", "tanh", 1), ("S3", "gelu", 2), ("C2xC2", "sin", 2))
]


@pytest.mark.parametrize("cell", CELLS, ids=str)
def test_a_planted_network_comes_back_with_its_function_and_width(cell: Cell) -> None:
    planted = planted_network(cell, 5)
    x = planted.example(50)
    network = folded(trace(planted.module, x[:2]))
    result = tuple(planted.module(x).shape[1:])
    bound = planted.symmetry.bind(planted.input_shape, result)
    twin = lift_graph(network, bound, tolerance=1e-10, growth=1.0)
    with torch.no_grad():
        wanted = planted.module(x)
        assert float((twin.module()(x) - wanted).abs().max()) <= 1e-11 * float(wanted.abs().max())
    for name, param in twin.params.items():
        if name.endswith("weight"):
            assert param.shape == tuple(planted.module.get_parameter(name).shape)
    # Under an action that the network does not know: refused at this width, or another function.
    wrong = planted.with_wrong_action().bind(planted.input_shape, result)
    try:
        other = lift_graph(network, wrong, tolerance=1e-10, growth=1.0)
    except IntertwinerError:
        return
    with torch.no_grad():
        assert float((other.module()(x) - wanted).abs().max()) > 1e-3 * float(wanted.abs().max())
