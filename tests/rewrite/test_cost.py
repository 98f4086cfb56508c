"""Multiply-adds: closed forms for regular representations, the count of the layers themselves, and hooks on modules."""

from __future__ import annotations

import time
from collections.abc import Sequence

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from intertwiner.algebra import (
    Group,
    GSet,
    Orbit,
    Representation,
    cyclic,
    dihedral,
    quaternion,
    sign_kernels,
    subgroup_classes,
    symmetric,
    trivial_subgroup,
)
from intertwiner.errors import CannotRewrite, GroupTooLarge, NotAnAction
from intertwiner.network import trace
from intertwiner.numerics.monomial import Monomial
from intertwiner.rewrite.cost import block_cost, block_multiply_adds, multiply_adds, twin_multiply_adds
from intertwiner.rewrite.isotypic import IsotypicLinear
from intertwiner.rewrite.orbit_forms import image_group, multiplicities, orbit_forms
from intertwiner.rewrite.tied import Action
from intertwiner.rewrite.twin import TwinGraph


def regular(group: Group, copies: int) -> Action:
    rho = GSet.of(group, [Orbit(trivial_subgroup(group), multiplicity=copies)]).representation()
    return tuple(m for m in rho.images if isinstance(m, Monomial))


def shuffled(group: Group, seed: int, signed: bool) -> Representation:
    """Six orbits of random types, coordinates shuffled and, where signed, flipped."""
    rng, classes, orbits = np.random.default_rng(seed), subgroup_classes(group), []
    for _ in range(6):
        h = classes[rng.integers(len(classes))]
        kernels = (None, *(sign_kernels(h) if signed else ()))
        orbits.append(Orbit(h, kernels[rng.integers(len(kernels))], int(rng.integers(1, 4))))
    natural = GSet.of(group, orbits).representation()
    signs = rng.choice([-1.0, 1.0], natural.dimension) if signed else np.ones(natural.dimension)
    move = Monomial(rng.permutation(natural.dimension), signs)
    return Representation(group, tuple(move @ m @ move.inverse() for m in natural.images))


def images(rho: Representation) -> Action:
    return tuple(m for m in rho.images if isinstance(m, Monomial))


@pytest.mark.parametrize(("group", "gain"), [(cyclic(2), 2.0), (cyclic(3), 9 / 5), (dihedral(4), 16 / 3)])
def test_regular_representations_gain_what_theory_says(group: Group, gain: float) -> None:
    copies, n = 30, 30 * group.order
    # Every irrep occurs, so a transform takes |G|^2 products per orbit.
    transforms = 2 * copies * group.order**2
    assert n * n / (block_multiply_adds(regular(group, copies), regular(group, copies)) - transforms) == gain


def test_what_one_side_lacks_costs_nothing() -> None:
    d4 = dihedral(4)
    trivial = (Monomial.identity(10),) * 2
    # Invariant outputs read one sum per orbit: 8 products each, then one block of 10 x 30.
    assert block_multiply_adds(regular(d4, 30), trivial) == 30 * 8 + 30 * 10 + 10
    sign = (Monomial.diagonal(-np.ones(10)), Monomial.identity(10))
    flip = (Monomial.identity(10), Monomial.diagonal(-np.ones(10)))
    assert block_multiply_adds(sign, flip) == 0
    assert block_multiply_adds(sign, sign) == 100 + 2 * 10


@pytest.mark.parametrize("signed", [False, True])
@pytest.mark.parametrize("group", [cyclic(3), dihedral(4), quaternion(), symmetric(4)], ids=lambda g: g.name)
def test_the_count_is_that_of_the_layer(group: Group, signed: bool) -> None:
    for seed in range(5):
        a, b = shuffled(group, seed, signed), shuffled(group, seed + 100, signed)
        assert block_multiply_adds(images(a), images(b)) == IsotypicLinear(a, b).multiply_adds


def test_forms_do_not_depend_on_the_order_of_coordinates_beyond_the_first_point() -> None:
    a, b = (dict(orbit_forms(images(shuffled(dihedral(4), 3, True)))) for _ in range(2))
    assert a == b and sum(len(form[0]) * count for form, count in a.items()) == shuffled(dihedral(4), 3, True).dimension
    # A regular orbit looks the same from all of its points, an orbit with a stabiliser need not.
    assert len(orbit_forms(images(shuffled(cyclic(3), 0, False)))) <= 2
    swap, flip = (Monomial([1, 0]),), (Monomial([1, 0], np.array([1.0, -1.0])),)
    assert orbit_forms(swap).keys().isdisjoint(orbit_forms(flip))


def test_multiplicities_are_those_of_characters() -> None:
    rho = shuffled(dihedral(4), 5, True)
    forms = orbit_forms(images(rho))
    irreps, held = multiplicities(forms)
    totals = [sum(count * held[f][k] for f, count in forms.items()) for k in range(len(irreps))]
    # The group is rebuilt from its action: names differ, sizes and multiplicities do not.
    expected = sorted((i.dimension, m) for i, m in rho.isotypic().items())
    assert sorted((i.dimension, m) for i, m in zip(irreps, totals, strict=True) if m) == expected


def test_a_search_may_call_the_cost_thousands_of_times() -> None:
    forms = orbit_forms(regular(dihedral(4), 180))
    block_cost(forms, forms)
    start = time.process_time()
    for k in range(200):
        block_cost({f: n + k for f, n in forms.items()}, forms)
    assert (time.process_time() - start) / 200 < 1e-3


def test_wrong_actions_are_refused() -> None:
    with pytest.raises(NotAnAction, match="signed permutations"):
        block_multiply_adds((Monomial([0], np.array([2.0])),), (Monomial([0]),))
    with pytest.raises(NotAnAction, match="different numbers of generators"):
        image_group([(Monomial([1, 0]),), (Monomial([0]), Monomial([0]))])
    # Cycles of coprime lengths: 71 x 73 elements.
    cycle = (Monomial.direct_sum([Monomial(np.roll(np.arange(p), 1)) for p in (71, 73)]),)
    with pytest.raises(GroupTooLarge, match="more than 5000 elements"):
        block_multiply_adds(cycle, cycle)


class Convolutions(nn.Module):
    """Groups, strides, a transposed one, tokens, and what counts nothing."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv2d(2, 6, 3, stride=2, padding=1)
        self.grouped = nn.Conv2d(6, 6, 3, groups=3)
        self.up = nn.ConvTranspose2d(6, 4, 2, stride=2)
        self.token = nn.Linear(4, 5)
        self.last = nn.Linear(5, 3)

    def forward(self, x: Tensor) -> Tensor:
        x = torch.relu(self.grouped(torch.relu(self.first(x))))
        x = nn.functional.max_pool2d(self.up(x), 2)
        x = torch.tanh(self.token(x.flatten(2).transpose(1, 2)))
        return self.last(x.mean(1))


def counted(module: nn.Module, x: Tensor) -> int:
    """An independent count: weights times the positions where a hook sees them used."""
    total = 0

    def hook(m: nn.Module, read: Sequence[Tensor], written: Tensor) -> None:
        nonlocal total
        value = read[0] if isinstance(m, nn.ConvTranspose2d) else written
        weight = m.weight
        assert isinstance(weight, Tensor)
        channels = value.shape[-1] if isinstance(m, nn.Linear) else value.shape[1]
        total += value[0].numel() // channels * weight.numel()

    for m in module.modules():
        if isinstance(m, nn.Linear | nn.Conv2d | nn.ConvTranspose2d):
            m.register_forward_hook(hook)
    module(x)
    return total


@pytest.mark.parametrize("batch", [1, 3])
def test_a_graph_counts_linear_maps_and_convolutions(batch: int) -> None:
    module, x = Convolutions().eval(), torch.zeros(batch, 2, 8, 8)
    found = multiply_adds(trace(module, x).graph)
    assert found == counted(module, x)
    by_hand = 16 * 6 * 2 * 9 + 4 * 6 * 2 * 9 + 4 * 6 * 4 * 4 + 4 * 4 * 5 + 5 * 3
    assert found == by_hand


def planted() -> TwinGraph:
    """A 1 x 1 convolution, a 3 x 3 one and a linear layer; weights do not matter for costs."""
    module = nn.Sequential(
        nn.Conv2d(4, 8, 1), nn.ReLU(), nn.Conv2d(8, 8, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 6)
    )
    network = trace(module.eval(), torch.zeros(2, 4, 5, 5))
    actions = {}
    for name, node in network.graph.items():
        width = node.shape[1] if len(node.shape) > 1 else 0
        actions[name] = (Monomial.direct_sum([Monomial([1, 0])] * (width // 2)),)
    return TwinGraph(network, network.graph, actions, {})


def test_a_twin_counts_what_runs_in_blocks() -> None:
    twin = planted()
    dense = 25 * 4 * 8 + 9 * 8 * 8 * 9 + 8 * 6
    assert twin_multiply_adds(twin) == dense
    # In blocks: half the products, and four per orbit on either side; the convolution at each of 25 points.
    point, last = 4 * 8 // 2 + 4 * (2 + 4), 8 * 6 // 2 + 4 * (4 + 3)
    assert twin_multiply_adds(twin, ["conv2d"]) == dense - 25 * 32 + 25 * point
    assert twin_multiply_adds(twin, {"conv2d", "linear"}) == dense - 25 * 32 + 25 * point - 48 + last


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("conv2d_1", "only if it is 1 x 1"),
        ("relu", "a record of kind 'pointwise'"),
        ("nowhere", "no node has this name"),
    ],
)
def test_what_cannot_run_in_blocks_is_named(name: str, reason: str) -> None:
    with pytest.raises(CannotRewrite, match=f"'{name}' cannot run in isotypic blocks: .*{reason}") as caught:
        twin_multiply_adds(planted(), [name])
    assert "Layers that can: conv2d, linear. Nothing was rewritten." in str(caught.value)
