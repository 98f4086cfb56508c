"""Latent spaces: a change of coordinates that the gauge group allows, made in every parameter axis, changes nothing."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from architectures import Apply, Attention, Block, architectures, settled
from ir_reference import interpret
from torch import nn

from intertwiner.gauge import GaugeGroup
from intertwiner.network import LatentSpace, Network, Param, ParameterAxis, trace

CASES = architectures()
SCALED = [
    "mlp",
    "batch_norm",
    "conv_bn",
    "residual",
    "dense",
    "functional",
    "shared",
    "unflatten",
]


def moved(network: Network, axis: ParameterAxis, take: np.ndarray, factor: np.ndarray) -> Network:
    """The network with one parameter axis taken in another order and scaled."""
    n = network.graph[axis.node]
    for field, value in vars(n.op).items():
        if isinstance(value, Param) and value.name == axis.param and value.shape[axis.axis] >= axis.stop:
            array = np.moveaxis(value.array.copy(), axis.axis, 0)
            part = array[axis.start : axis.stop]
            parts = np.moveaxis(part.reshape(*axis.view, *part.shape[1:]), axis.place, 0)
            parts = parts[take] * factor.reshape(-1, *(1,) * (parts.ndim - 1))
            array[axis.start : axis.stop] = np.moveaxis(parts, 0, axis.place).reshape(part.shape)
            op = dataclasses.replace(
                n.op, **{field: dataclasses.replace(value, array=np.moveaxis(array, 0, axis.axis))}
            )
            return dataclasses.replace(network, graph={**network.graph, n.name: dataclasses.replace(n, op=op)})
    raise AssertionError(axis)


def changed(network: Network, space: LatentSpace, take: np.ndarray, factor: np.ndarray) -> Network:
    """``z -> factor * z[take]`` for all who write the space, undone for all who read it."""
    for axis in space.parameter_axes:
        power = {"write": factor, "read": 1 / factor, "through": np.ones_like(factor)}[axis.role]
        network = moved(network, axis, take, power)
    return network


def block_order(gauge: GaugeGroup, rng: np.random.Generator) -> np.ndarray:
    """A random order that stays inside the blocks; none where coordinates are fixed."""
    parts = []
    for block, where in zip(gauge.blocks or (gauge,), gauge.slices, strict=True):
        points = np.arange(where.start, where.stop)
        parts.append(points if block.mixing == "none" else rng.permutation(points))
    return np.concatenate(parts)


def free(network: Network) -> list[LatentSpace]:
    return [s for s in network.latent_spaces if not s.given and not s.opaque and not s.blocks and s.dimension > 1]


def outputs(network: Network, inputs: tuple[torch.Tensor, ...]) -> list[torch.Tensor]:
    values = interpret(network, inputs)
    return [values[i] for i in network.nodes[-1].inputs]


@pytest.mark.parametrize("name", CASES)
def test_permutations_in_the_gauge_change_nothing(name: str, rng: np.random.Generator) -> None:
    module, inputs = CASES[name]
    network = trace(module, inputs)
    before = outputs(network, inputs)
    for space in free(network):
        take = block_order(space.gauge, rng)
        after = outputs(changed(network, space, take, np.ones(space.dimension)), inputs)
        for a, b in zip(before, after, strict=True):
            torch.testing.assert_close(a, b, rtol=1e-8, atol=1e-8, msg=lambda m, s=space: f"{s}: {m}")


@pytest.mark.parametrize("name", SCALED)
def test_signs_and_scales_in_the_gauge_change_nothing(name: str, rng: np.random.Generator) -> None:
    """ReLU and tanh, where a gauge element passes as it is."""
    module, inputs = CASES[name]
    network = trace(module, inputs)
    before = outputs(network, inputs)
    found = 0
    for space in free(network):
        factor = np.ones(space.dimension)
        if space.gauge.scale != "none":
            factor = rng.uniform(0.5, 2.0, space.dimension)
        if space.gauge.sign:
            factor = factor * rng.choice([-1.0, 1.0], space.dimension)
        found += bool((factor != 1).any())
        after = outputs(changed(network, space, np.arange(space.dimension), factor), inputs)
        for a, b in zip(before, after, strict=True):
            torch.testing.assert_close(a, b, rtol=1e-8, atol=1e-8)
    assert found


def test_the_law_sees_a_space_with_a_missing_reader() -> None:
    module, inputs = CASES["mlp"]
    network = trace(module, inputs)
    space = free(network)[0]
    short = dataclasses.replace(space, parameter_axes=space.parameter_axes[:-1])
    take, ones = np.roll(np.arange(space.dimension), 1), np.ones(space.dimension)
    before, after = outputs(network, inputs), outputs(changed(network, short, take, ones), inputs)
    assert not torch.allclose(before[0], after[0])


def by_name(network: Network) -> dict[str, LatentSpace]:
    return {s.name: s for s in network.latent_spaces}


@pytest.mark.parametrize(
    ("activation", "gauge"),
    [
        (nn.Identity(), "linear maps with shifts"),
        (nn.ReLU(), "permutations x positive scales"),
        (nn.Tanh(), "signed permutations"),
        (nn.GELU(), "permutations"),
        (nn.Softmax(-1), "permutations"),
        (nn.LayerNorm(4), "permutations"),
        (nn.RMSNorm(4, elementwise_affine=False), "orthogonal maps"),
    ],
)
def test_the_gauge_of_a_layer_is_that_of_its_activation(activation: nn.Module, gauge: str) -> None:
    network = trace(nn.Sequential(nn.Linear(3, 4), activation, nn.Linear(4, 2)), torch.randn(2, 3))
    given, hidden, out = network.latent_spaces
    assert (given.given, out.given, given.name) == ("input", "output", "input")
    assert hidden.name == "0" and str(hidden.gauge) == gauge
    assert hidden.writers[0] == "linear" and hidden.readers == ("linear_1",)


def test_a_residual_stream_is_one_space_with_the_common_gauge() -> None:
    torch.manual_seed(0)
    module = settled(nn.Sequential(nn.Conv2d(2, 4, 1), nn.Tanh(), Block(4), nn.Conv2d(4, 2, 1)))
    spaces = by_name(trace(module, torch.randn(2, 2, 5, 5)))
    stream = spaces["0"]
    assert {"0:out", "1:out", "2.conv2:out", "2:add"} <= set(stream.taps)
    assert str(stream.gauge) == "permutations"  # tanh takes the scales, relu the signs
    assert str(spaces["2.conv1"].gauge) == "permutations x positive scales"
    assert set(stream.writers) == {"conv2d", "conv2d_2"} and len(stream.readers) == 2


def test_max_pools_take_the_signs_and_average_pools_nothing() -> None:
    x = torch.randn(2, 2, 8, 8)
    for pool, gauge in ((nn.MaxPool2d(2), "permutations"), (nn.AvgPool2d(2), "signed permutations")):
        module = nn.Sequential(nn.Conv2d(2, 4, 3), nn.Tanh(), pool, nn.Conv2d(4, 2, 1))
        assert str(by_name(trace(module, x))["0"].gauge) == gauge


def test_flattening_keeps_the_channels() -> None:
    module = nn.Sequential(nn.Conv2d(2, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(36, 5), nn.ReLU(), nn.Linear(5, 2))
    space = by_name(trace(module, torch.randn(2, 2, 5, 5)))["0"]
    reader = space.parameter_axes[-1]
    assert space.dimension == 4
    assert (reader.param, reader.axis, reader.view, reader.place) == ("3.weight", 1, (4, 3, 3), 0)


def test_a_concatenation_is_the_product_of_its_blocks() -> None:
    module = Apply(lambda s, x: s.c(torch.cat([s.a(x).relu(), s.b(x).tanh()], 1)),
                   a=nn.Linear(3, 4), b=nn.Linear(3, 5), c=nn.Linear(9, 2))  # fmt: skip
    spaces = by_name(trace(module, torch.randn(2, 3)))
    whole = spaces["cat"]
    assert whole.blocks == ((0, "a"), (4, "b"))
    assert str(whole.gauge) == "permutations x positive scales of 4 + signed permutations of 5"
    read = [p for p in spaces["b"].parameter_axes if p.role == "read"]
    assert [(p.param, p.start, p.stop) for p in read] == [("c.weight", 4, 9)]


def test_an_operator_without_a_rule_makes_its_neighbours_opaque_with_a_reason() -> None:
    module = Apply(lambda s, x: s.c(s.b(torch.cumsum(s.a(x), 1)).relu()),
                   a=nn.Linear(3, 4), b=nn.Linear(4, 5), c=nn.Linear(5, 2))  # fmt: skip
    spaces = by_name(trace(module, torch.randn(2, 3)))
    assert "cumsum" in spaces["a"].opaque and spaces["a"].gauge == GaugeGroup.trivial(4)
    assert not spaces["b"].opaque and str(spaces["b"].gauge) == "permutations x positive scales"


def test_heads_split_off_are_opaque_for_now() -> None:
    network = trace(Attention(), torch.randn(2, 5, 8))
    opaque = {s.name: s.opaque for s in network.latent_spaces if s.opaque}
    assert any("split" in reason or "reshape" in reason for reason in opaque.values())


def test_grouped_and_depthwise_convolutions() -> None:
    module = nn.Sequential(nn.Conv2d(2, 4, 1), nn.ReLU(), nn.Conv2d(4, 4, 3, groups=4), nn.ReLU(), nn.Conv2d(4, 2, 1))
    space = by_name(trace(module, torch.randn(2, 2, 5, 5)))["0"]
    assert "2:out" in space.taps and str(space.gauge) == "permutations x positive scales"
    module = nn.Sequential(nn.Conv2d(2, 4, 1), nn.ReLU(), nn.Conv2d(4, 4, 3, groups=2), nn.ReLU(), nn.Conv2d(4, 2, 1))
    assert "groups" in by_name(trace(module, torch.randn(2, 2, 5, 5)))["0"].opaque


def test_overlapping_slices_have_no_gauge() -> None:
    def forward(s, x):
        y = F.relu(s.a(x))
        return s.b(y[:, :4]) + s.c(y[:, 2:])

    module = Apply(forward, a=nn.Linear(3, 6), b=nn.Linear(4, 2), c=nn.Linear(4, 2))
    hidden = [s for s in trace(module, torch.randn(2, 3)).latent_spaces if not s.given]
    assert hidden and all("overlap" in s.opaque or s.gauge.mixing == "none" for s in hidden)


def test_the_same_slice_taken_twice_is_one_space() -> None:
    def forward(s, x):
        y = F.relu(s.a(x))
        return s.b(y[:, :4]) + s.c(y[:, :4]) + s.d(y[:, 4:])

    module = Apply(forward, a=nn.Linear(3, 6), b=nn.Linear(4, 2), c=nn.Linear(4, 2), d=nn.Linear(2, 2))
    parts = free(trace(module, torch.randn(2, 3)))
    assert sorted(s.dimension for s in parts) == [2, 4]
    first = next(s for s in parts if s.dimension == 4)
    assert sorted(p.param for p in first.parameter_axes) == ["a.bias", "a.weight", "b.weight", "c.weight"]
