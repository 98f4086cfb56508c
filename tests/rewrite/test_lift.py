"""Lift and merge: the group average as a network, and the network itself where that is equivariant."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from intertwiner.algebra import cyclic, dihedral, symmetric
from intertwiner.errors import LiftTooWide
from intertwiner.gauge import pointwise
from intertwiner.identify.chain import Chain, Dense
from intertwiner.numerics.monomial import Monomial
from intertwiner.rewrite.elements import Elements
from intertwiner.rewrite.forward import before
from intertwiner.rewrite.lift import lift
from intertwiner.rewrite.subject import task_of
from intertwiner.testing import Cell, planted_network

D4 = dihedral(4)
CORNERS = tuple(Monomial(D4.permutations[g]) for g in D4.generators)  # type: ignore[index]
FLIPPED = tuple(Monomial([0], np.array([sign])) for sign in (1.0, -1.0))  # a character of D4: turns +, mirrors -


def random_chain(activation: str, widths: tuple[int, ...], seed: int) -> Chain:
    rng = np.random.default_rng(seed)
    layers = []
    for k, (a, b) in enumerate(pairwise(widths)):
        s = pointwise(activation) if k < len(widths) - 2 else None
        layers.append(Dense(str(k), rng.normal(size=(b, a)), rng.normal(size=b), True, s))
    return Chain(tuple(layers))


def averaged(chain: Chain, x: np.ndarray, rho_out: tuple[Monomial, ...]) -> np.ndarray:
    """The group average by hand."""
    into, out, f = Elements(D4, CORNERS), Elements(D4, rho_out), before(chain.layers)
    back = [int(D4.inverse(g)) for g in range(8)]
    return np.mean([out[g].apply(f(into[back[g]].apply(x, axis=1)), axis=1) for g in range(8)], axis=0)


@pytest.mark.parametrize("activation", ["relu", "tanh", "gelu", "sin", "pow(2)", "pow(3)", "sigmoid", "abs", "exp"])
@pytest.mark.parametrize("rho_out", [CORNERS, FLIPPED], ids=["corners", "character"])
def test_the_lift_of_any_network_is_its_group_average(activation: str, rho_out: tuple[Monomial, ...]) -> None:
    widths = (4, 3, 2, rho_out[0].dimension)
    chain = random_chain(activation, widths, seed=4)
    lifted = lift(chain, CORNERS, rho_out, tolerance=1e-12, width_limit=24)
    x = 0.5 * np.random.default_rng(1).normal(size=(50, 4))
    wanted, got = averaged(chain, x, rho_out), before(lifted.chain.layers)(x)
    assert np.abs(got - wanted).max() <= 1e-12 * max(1.0, np.abs(wanted).max())
    assert np.abs(before(chain.layers)(x) - wanted).max() > 1e-3  # the network itself is another function
    assert lifted.chain.widths[1:-1] == (24, 16)


def test_the_lift_says_where_it_grows_too_wide() -> None:
    chain = random_chain("relu", (4, 3, 2, 1), seed=0)
    with pytest.raises(LiftTooWide, match="more than 20 neurons at 0"):
        lift(chain, CORNERS, FLIPPED, tolerance=1e-12, width_limit=20)


@settings(max_examples=12)
@given(
    group=st.sampled_from(["C2", "C4", "D4", "S3", "C2xC2"]),
    activation=st.sampled_from(["tanh", "relu", "leaky_relu", "gelu", "sin", "t^3"]),
    depth=st.integers(1, 3),
    dtype=st.sampled_from(["float32", "float64"]),
    seed=st.integers(0, 10**6),
)
def test_an_equivariant_network_comes_back_at_its_width(group: str, activation: str, depth: int, dtype: str, seed: int):
    planted = planted_network(Cell(group, activation, "mlp", depth, dtype), seed)
    task = task_of(planted.module, planted.symmetry, example=planted.example())
    tolerance = {"float32": 1e-5, "float64": 1e-10}[dtype]
    lifted = lift(task.chain, task.rho_in, task.rho_out, tolerance=tolerance, width_limit=200)
    assert all(a <= b for a, b in zip(lifted.chain.widths, task.chain.widths, strict=True))
    x = planted.example(64).double().numpy()
    wanted, got = before(task.chain.layers)(x), before(lifted.chain.layers)(x)
    assert np.abs(got - wanted).max() <= {"float32": 1e-5, "float64": 1e-12}[dtype] * np.abs(wanted).max()


def test_copies_and_dead_neurons_shrink_the_width() -> None:
    """Two copies up to scale, a constant neuron and one that nobody reads, beside an orbit of two."""
    rows = np.array([[1.0, 2.0], [2.0, 1.0], [2.0, 4.0], [0.0, 0.0], [5.0, 1.0]])
    bias = np.array([0.5, 0.5, 1.0, 0.7, 0.3])
    out = np.array([[1.0, 3.0, 1.0, 2.0, 0.0]])
    chain = Chain((Dense("0", rows, bias, True, pointwise("relu")), Dense("1", out, np.zeros(1), True)))
    lifted = lift(chain, (Monomial([1, 0]),), (Monomial([0]),), tolerance=1e-10, width_limit=9)
    assert lifted.chain.widths == (2, 2, 1)
    assert (lifted.live, lifted.joined) == ((3,), (1,))
    x = np.random.default_rng(0).normal(size=(20, 2))
    assert np.allclose(before(lifted.chain.layers)(x), before(chain.layers)(x), atol=1e-12)


def test_the_counterexample_of_the_bypass_grows_from_three_to_six() -> None:
    """Even, nothing to reduce, full rank, and yet no latent action: relu rows that a linear map hides [theory 1]."""
    rows = np.array([[3.0, 1.0], [-2.0, 2.0], [-1.0, -3.0]])
    chain = Chain(
        (Dense("0", rows, np.zeros(3), False, pointwise("relu")), Dense("1", np.ones((1, 3)), np.zeros(1), False))
    )
    minus = (Monomial([0, 1], np.array([-1.0, -1.0])),)
    lifted = lift(chain, minus, (Monomial([0]),), tolerance=1e-10, width_limit=9)
    assert lifted.chain.widths == (2, 6, 1)
    x = np.random.default_rng(0).normal(size=(20, 2))
    assert np.allclose(before(lifted.chain.layers)(x), before(chain.layers)(x), atol=1e-12)


def test_a_stabiliser_shortens_the_orbit() -> None:
    """Under S3 a row with two equal entries has three images, one with three has itself, any other six."""
    s3 = symmetric(3)
    rho = tuple(Monomial(s3.permutations[g]) for g in s3.generators)  # type: ignore[index]
    for row, width in (([1.0, 1.0, 2.0], 3), ([1.0, 1.0, 1.0], 1), ([1.0, 2.0, 3.0], 6)):
        layer = Dense("0", np.array([row]), np.ones(1), True, pointwise("tanh"))
        chain = Chain((layer, Dense("1", np.ones((1, 1)), np.zeros(1), True)))
        keep = (Monomial([0]),) * len(rho)
        assert lift(chain, rho, keep, tolerance=1e-10, width_limit=9).chain.widths[1] == width


def test_batch_norm_is_folded() -> None:
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(2, 3), nn.BatchNorm1d(3), nn.ReLU(), nn.Linear(3, 2)).double()
    net(torch.randn(64, 2).double())
    net.eval()
    from intertwiner.symmetry import Symmetry, vector

    swap = Symmetry(cyclic(2), vector(perm=[1, 0]), vector(perm=[1, 0]))
    task = task_of(net, swap, example=torch.zeros(2, 2).double())
    lifted = lift(task.chain, task.rho_in, task.rho_out, tolerance=1e-10, width_limit=9)
    x = torch.randn(20, 2).double()
    with torch.no_grad():
        wanted = (net(x) + net(x.flip(1)).flip(1)) / 2
    assert np.allclose(before(lifted.chain.layers)(x.numpy()), wanted.numpy(), atol=1e-12)
