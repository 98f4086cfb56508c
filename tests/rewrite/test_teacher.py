"""The group average against a loop, and what has none."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from intertwiner.algebra import cyclic, parse_group, symmetric
from intertwiner.errors import (
    DataMismatch,
    EmptyData,
    GroupTooLarge,
    NonFiniteData,
)
from intertwiner.network import trace
from intertwiner.rewrite.teacher import average_outputs
from intertwiner.symmetry import Symmetry, image, invariant, vector


def mixed(seed: int = 0) -> nn.Module:
    torch.manual_seed(seed)
    return nn.Sequential(nn.Flatten(), nn.Linear(9, 5), nn.ReLU(), nn.Linear(5, 4)).eval()


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_the_average_is_the_average(dtype: torch.dtype) -> None:
    """Against a loop over quarter turns and flips, with outputs that move."""
    group = parse_group("C4")
    module = mixed().to(dtype)
    symmetry = Symmetry(group, image(group), vector(perm=[1, 2, 3, 0]))
    bound = symmetry.bind((1, 3, 3), (4,))
    x = torch.randn(7, 1, 3, 3, generator=torch.Generator().manual_seed(0), dtype=dtype)
    network = trace(module, x[:2])
    found = average_outputs(network, bound, x, batch=3)
    total = torch.zeros(7, 4, dtype=torch.float64)
    with torch.no_grad():
        for g in range(4):
            (moved,) = bound.act_on_input(g, (x,))
            total += bound.act_on_output(int(group.inverse(g)), (module(moved).double(),))[0]
    assert found.dtype == torch.float64
    assert torch.allclose(found, total / 4, atol=1e-6 if dtype == torch.float32 else 1e-14)
    (turned,) = bound.act_on_input(1, (x,))
    again = average_outputs(network, bound, turned)
    assert torch.allclose(again, bound.act_on_output(1, (found,))[0], atol=1e-6)
    with torch.no_grad():
        assert not torch.allclose(module(x).double(), found, atol=1e-2)


def test_what_has_no_average_is_refused() -> None:
    x = torch.randn(3, 1, 3, 3)
    network = trace(mixed(), x)
    five = symmetric(5)
    line = Symmetry(five, vector(), invariant()).bind((5,), (4,))
    with pytest.raises(GroupTooLarge, match="120 forwards"):
        average_outputs(network, line, x)
    two = cyclic(2)
    bound = Symmetry(two, image(two), invariant()).bind((1, 3, 3), (4,))
    with pytest.raises(EmptyData, match="no sample"):
        average_outputs(network, bound, x[:0])
    with pytest.raises(NonFiniteData, match="NaN or infinity"):
        average_outputs(network, bound, x / 0)
    double = Symmetry(two, image(two), (invariant(), invariant())).bind((1, 3, 3), ((4,), (4,)))
    with pytest.raises(DataMismatch, match="2 outputs"):
        average_outputs(network, double, x)
