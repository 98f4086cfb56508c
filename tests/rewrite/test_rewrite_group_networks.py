"""A network that nobody constrained, under all 14,400 symmetries: its twin, and none for shuffled weights."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from intertwiner.algebra import direct_product, from_table
from intertwiner.errors import BudgetTooSmall
from intertwiner.rewrite import rewrite
from intertwiner.symmetry import Symmetry, onehot
from intertwiner.symmetry.onehot import identity_first


def loaded(shared: Path) -> tuple[nn.Sequential, torch.Tensor, np.ndarray, Symmetry]:
    with np.load(shared / "models" / "group_mlp" / "S5_MLP_seed37.npz", allow_pickle=False) as file:
        w = {key: torch.tensor(file[key]).float() for key in file}
    n, embedding = w["W_x"].shape
    first = torch.cat([w["W_x"] @ w["W"][:embedding], w["W_y"] @ w["W"][embedding:]]).T
    reads, writes = nn.Linear(2 * n, len(first), bias=False), nn.Linear(len(first), n, bias=False)
    index = torch.cartesian_prod(torch.arange(n), torch.arange(n))
    pairs = torch.cat([nn.functional.one_hot(index[:, k], n) for k in (0, 1)], dim=1).float()
    net = nn.Sequential(reads, nn.ReLU(), writes).eval()
    with torch.no_grad():
        reads.weight.copy_(first)
        writes.weight.copy_(w["W_U"].T)
        products = net(pairs).argmax(1).numpy()
    table, places = identity_first(products.reshape(n, n))
    group, code = from_table(table, name="S5"), {"elements": places.tolist()}
    return net, pairs, products, Symmetry(direct_product(group, group), onehot("x", "y", **code), onehot("z", **code))


@pytest.mark.slow
def test_the_twin_of_a_group_network(shared: Path) -> None:
    net, pairs, products, symmetry = loaded(shared)
    found = rewrite(net, symmetry, pairs, budget=54 / 128, labels=products).certificate
    assert found.verdict.is_proved and found.verdict.exact
    assert found.widths[1] <= 54
    assert found.accuracy["twin"] == 1.0
    assert found.distance_average <= 0.002 < 0.05 < found.original_distance_average
    assert found.average_exact and not found.averaging_measured


@pytest.mark.slow
def test_shuffled_weights_have_no_twin(shared: Path) -> None:
    net, pairs, _, symmetry = loaded(shared)
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        weight = net.get_parameter("0.weight")
        weight.copy_(weight.flatten()[torch.randperm(weight.numel(), generator=generator)].view_as(weight))
    with pytest.raises(BudgetTooSmall, match="every orbit of S5xS5 has more than 128 neurons"):
        rewrite(net, symmetry, pairs, budget=54 / 128)
