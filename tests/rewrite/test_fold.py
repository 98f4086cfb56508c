"""Batch norm folded into the layer before it: the function stays, and what others read is left alone."""

from __future__ import annotations

import pytest
import torch
from graph_nets import Twice, double
from torch import Tensor, nn

from intertwiner.network import ChannelAffine, Network, trace
from intertwiner.rewrite.fold import folded
from intertwiner.rewrite.lifted import values_of


def affines(network: Network) -> int:
    return sum(isinstance(node.op, ChannelAffine) for node in network.nodes)


def normed(layer: nn.Module, norm: nn.Module) -> nn.Module:
    return double(nn.Sequential(layer, norm, nn.Tanh()))


CASES: dict[str, tuple[nn.Module, tuple[int, ...]]] = {
    "convolution": (normed(nn.Conv2d(2, 3, 3, padding=1), nn.BatchNorm2d(3)), (2, 5, 5)),
    "without bias": (normed(nn.Conv2d(2, 3, 3, padding=1, bias=False), nn.BatchNorm2d(3)), (2, 5, 5)),
    "grouped": (normed(nn.Conv2d(2, 4, 3, groups=2), nn.BatchNorm2d(4)), (2, 5, 5)),
    "transposed": (normed(nn.ConvTranspose2d(2, 3, 3), nn.BatchNorm2d(3)), (2, 5, 5)),
    "linear": (normed(nn.Linear(4, 3), nn.BatchNorm1d(3)), (4,)),
    "not affine": (normed(nn.Conv2d(2, 3, 3), nn.BatchNorm2d(3, affine=False)), (2, 5, 5)),
}


def values(network: Network, x: Tensor) -> Tensor:
    (out,) = values_of(network, network.graph, [network.nodes[-1].inputs[0]])(x)
    return out


@pytest.mark.parametrize("name", list(CASES))
def test_the_function_is_kept_and_the_norm_is_gone(name: str) -> None:
    net, shape = CASES[name]
    x = torch.randn(6, *shape, dtype=torch.float64)
    network = trace(net, x[:2])
    found = folded(network)
    assert affines(network) == 1 and affines(found) == 0
    with torch.no_grad():
        assert torch.allclose(values(found, x), net(x), rtol=1e-12, atol=1e-12)
        net[1].running_var += 1.0  # type: ignore[index,operator]
        assert not torch.allclose(values(found, x), net(x), rtol=1e-3, atol=1e-3)


def test_what_somebody_else_reads_is_left_alone() -> None:
    net = Twice(torch.relu)
    double(net)
    x = torch.randn(4, 1, 5, 5, dtype=torch.float64)
    network = trace(net, x[:2])
    found = folded(network)
    assert affines(network) == affines(found) == 1
    with torch.no_grad():
        assert torch.equal(values(found, x), values(network, x))


def test_behind_a_grouped_transposed_convolution_it_stays() -> None:
    net = double(nn.Sequential(nn.ConvTranspose2d(4, 4, 3, groups=2), nn.BatchNorm2d(4)))
    x = torch.randn(4, 4, 5, 5, dtype=torch.float64)
    found = folded(trace(net, x[:2]))
    assert affines(found) == 1
    with torch.no_grad():
        assert torch.allclose(values(found, x), net(x), rtol=1e-12, atol=1e-12)


def test_a_norm_before_a_convolution_is_not_folded_forwards() -> None:
    net = double(nn.Sequential(nn.BatchNorm2d(2), nn.Conv2d(2, 3, 3, padding=1)))
    network = trace(net, torch.zeros(2, 2, 5, 5, dtype=torch.float64))
    assert affines(folded(network)) == affines(network) == 1


def test_two_in_a_row_both_go() -> None:
    net = double(nn.Sequential(nn.Conv2d(2, 3, 3), nn.BatchNorm2d(3), nn.BatchNorm2d(3)))
    x = torch.randn(4, 2, 5, 5, dtype=torch.float64)
    found = folded(trace(net, x[:2]))
    with torch.no_grad():
        assert torch.allclose(values(found, x), net(x), rtol=1e-12, atol=1e-12)
