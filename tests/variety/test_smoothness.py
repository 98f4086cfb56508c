"""Smooth and singular points: theorems against gradients of equations, forms of every rank, refusals to decide."""

from __future__ import annotations

import json
from importlib import import_module
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from intertwiner.variety.architecture import Architecture
from intertwiner.variety.degeneracy import degeneracy
from intertwiner.variety.smoothness import Smoothness, smoothness
from intertwiner.variety.subject import subject

Arrays = list[np.ndarray]

module = import_module("intertwiner.variety.smoothness")  # the function hides it in the package


def draw(net: Architecture, random: np.random.Generator) -> Arrays:
    return [random.integers(-9, 10, (b, a)) + 0.5 for a, b in pairwise(net.widths)]


def forms(rank: int, net: Architecture, random: np.random.Generator) -> Arrays:
    """Two quadratic layers whose form has this rank."""
    n, m, _ = net.widths
    W, C = random.integers(-9, 10, (m, n)) + 0.5, np.ones((1, m))
    C[0, rank:] = 0
    return [W, C]


@pytest.mark.parametrize(("n", "m"), [(2, 1), (3, 1), (3, 2), (4, 1), (4, 2), (4, 3), (6, 4)])
def test_quadratic_forms_are_singular_below_the_largest_rank(n: int, m: int, rng: np.random.Generator) -> None:
    net = Architecture((n, m, 1), "t^2")
    for rank in range(m + 1):
        found = smoothness(net, forms(rank, net, rng))
        assert found.verdict.is_proved and found.verdict.exact
        assert found.status == ("smooth" if rank == m else "singular")
        assert f"rank {rank}" in found.verdict.reason


@pytest.mark.parametrize("n", [1, 2, 3])
def test_quadratic_forms_that_fill_have_no_singular_point(n: int, rng: np.random.Generator) -> None:
    for m in (n, n + 1):
        net = Architecture((n, m, 1), "t^2")
        for rank in range(m + 1):
            found = smoothness(net, forms(rank, net, rng))
            assert found.status == "smooth" and "fill" in found.verdict.reason


def test_a_form_of_lower_rank_without_a_dead_or_repeated_neuron(rng: np.random.Generator) -> None:
    net = Architecture((4, 3, 1), "t^2")
    W = rng.integers(-9, 10, (3, 4)).astype(float)
    W[2] = W[0] + W[1]
    found = smoothness(net, [W, np.array([[1.0, 1.0, 1.0]])])
    assert not found.degeneracy.of_kind("repeated") and found.status == "singular"
    # Independent rows cancel nothing, but a rank that is lower by cancellation is seen as well.
    cancelled = smoothness(Architecture((3, 2, 1), "t^2"), [[[1.0, 0, 0], [-1.0, 0, 0]], [[1.0, -1.0]]])
    assert cancelled.status == "singular" and "rank 0" in cancelled.verdict.reason


TWO_LAYERS = [
    ((3, 2, 1), 3, 3),
    ((3, 3, 1), 3, 4),
    ((2, 2, 1), 4, 3),
    ((2, 2, 1), 5, 3),
    ((3, 2, 1), 4, 3),
    ((3, 1, 2), 2, 2),
]


@pytest.mark.parametrize(("widths", "r", "degree"), [*TWO_LAYERS, ((3, 2, 1), 2, 3)])
@pytest.mark.parametrize("kind", ["full", "repeated", "out", "in"])
def test_theorems_agree_with_gradients_of_equations(
    widths: tuple[int, ...], r: int, degree: int, kind: str, rng: np.random.Generator
) -> None:
    net = Architecture(widths, f"t^{r}")  # type: ignore[arg-type]
    arrays = draw(net, rng)
    if kind == "repeated":
        if widths[1] == 1:
            return
        arrays[0][1] = 2 * arrays[0][0]
    if kind == "out":
        arrays[1][:, 0] = 0
    if kind == "in":
        arrays[0][0] = 0
    found = smoothness(net, arrays, max_degree=0 if widths[2] == 1 else degree)
    assert found.status == ("smooth" if kind == "full" else "singular")
    assert found.verdict.is_proved
    given = subject(net, arrays)
    seen = module._by_equations(given, degeneracy(net, arrays), degree, 0)
    if kind == "full":
        assert not isinstance(seen, str) and seen[0] == "smooth"
    else:  # the gradients have too low a rank; for a hypersurface that decides
        assert "have rank" in seen if isinstance(seen, str) else seen[0] == "singular"


def test_the_equation_of_a_hypersurface_decides(rng: np.random.Generator) -> None:
    net = Architecture((3, 3, 1), "t^3")
    arrays = draw(net, rng)
    arrays[0][1] = arrays[0][0]
    seen = module._by_equations(subject(net, arrays), degeneracy(net, arrays), 4, 0)
    assert not isinstance(seen, str)
    assert seen[0] == "singular" and "one equation, of degree 4" in seen[1]


@pytest.mark.parametrize("widths", [(3, 1, 2), (3, 2, 3), (3, 2, 4, 3), (2, 1, 1, 2)])
@pytest.mark.parametrize("bias", [False, True])
def test_linear_networks_are_singular_below_the_largest_rank(
    widths: tuple[int, ...], bias: bool, rng: np.random.Generator
) -> None:
    net = Architecture(widths, "linear", bias)  # type: ignore[arg-type]
    weights = draw(net, rng)
    shifts = [np.ones(w) for w in widths[1:]]
    arrays = [a for pair in zip(weights, shifts, strict=True) for a in pair] if bias else weights
    assert smoothness(net, arrays).status == "smooth"
    weights[-1][:] = weights[-1][:, :1] * 0 if min(widths) == 1 else np.outer(weights[-1][:, 0], weights[-1][0])
    found = smoothness(net, arrays)
    assert found.status == "singular"
    assert f"rank {min(widths) - 1}" in found.verdict.reason


@pytest.mark.parametrize("text", ["t^2", "t^3 + t", "linear"])
@pytest.mark.parametrize("bias", [False, True])
def test_zero_is_the_vertex_of_a_cone(text: str, bias: bool) -> None:
    net = Architecture((3, 2, 1, 2), text, bias)  # type: ignore[arg-type]
    found = smoothness(net, np.zeros(net.parameters), max_degree=0)
    assert found.status == "singular" and found.verdict.is_proved


def test_small_deep_networks_are_decided_by_equations(rng: np.random.Generator) -> None:
    net = Architecture((3, 2, 2, 1), "t^2")
    arrays = draw(net, rng)
    found = smoothness(net, arrays, max_degree=3)
    assert found.status == "smooth" and found.verdict.theorem == "Jacobian criterion"
    arrays[1][:, 0] = 0
    found = smoothness(net, arrays, max_degree=3)
    assert found.verdict.is_undecided and "does not apply" in found.verdict.reason
    assert found.verdict.hypotheses["full parameter"].startswith("fails: layer 2 of weights has rank 1 of 2")


def test_a_theorem_with_unread_hypotheses_decides_nothing(rng: np.random.Generator) -> None:
    net = Architecture((3, 3, 2, 1), "t^2")
    found = smoothness(net, draw(net, rng))
    assert found.status == "undecided" and found.verdict.is_undecided
    assert "Graziani" in found.verdict.theorem
    assert found.verdict.hypotheses == {
        "monomial activation without biases, scalar output": "holds",
        "non-increasing widths": "holds",
        "full parameter": "holds, exactly",
        "layerwise regularity assumptions": "not checked",
    }
    wider = smoothness(Architecture((2, 3, 2, 1), "t^3"), draw(Architecture((2, 3, 2, 1), "t^3"), rng), max_degree=0)
    assert "non-increasing widths" in wider.verdict.reason


@pytest.mark.parametrize(
    ("net", "reason"),
    [
        (Architecture((2, 2, 1), "t^5 + t^2"), "no theorem here speaks"),
        (Architecture((2, 2, 1), "t^7", bias=True), "no theorem here speaks"),
        (Architecture((2, 3, 1), "t^8"), "fewer neurons suffice only"),
        (Architecture((2, 2, 2), "t^7"), "with 2 outputs"),
    ],
    ids=str,
)
def test_what_no_theorem_covers_is_undecided(net: Architecture, reason: str, rng: np.random.Generator) -> None:
    theta = rng.integers(1, 20, net.parameters).astype(float)
    found = smoothness(net, theta, max_degree=0)
    assert found.verdict.is_undecided and reason in found.verdict.reason, str(found)


def test_dependent_forms_that_differ_are_undecided() -> None:
    net = Architecture((3, 3, 1), "t^7")
    found = smoothness(net, [[[1.0, 0, 0], [0, 1.0, 0], [1.0, 1.0, 0]], [[1.0, 1.0, 1.0]]], max_degree=0)
    assert found.verdict.is_undecided and "dependent" in found.verdict.reason


def test_a_drop_of_the_rank_is_no_singular_point() -> None:
    net = Architecture((2, 2, 1), "t^2")
    found = smoothness(net, [[[1.0, 2.0], [1.0, 2.0]], [[1.0, 1.0]]])
    assert found.rank_drop == 1 and found.status == "smooth"
    assert "alone is no proof of a singular point" in str(found)
    regular = smoothness(net, [[[1.0, 2.0], [2.0, 1.0]], [[1.0, 1.0]]])
    assert regular.rank_drop == 0 and "alone" not in str(regular)


@given(
    st.permutations(range(3)), st.lists(st.sampled_from([0.5, -2.0, 1.0]), min_size=3, max_size=3), st.integers(0, 3)
)
def test_the_gauge_changes_nothing(order: list[int], scales: list[float], rank: int) -> None:
    net = Architecture((4, 3, 1), "t^3")
    W, C = forms(rank, net, np.random.default_rng(0))
    factor = np.array(scales)
    moved = [(factor[:, None] * W)[order], (C / factor**3)[:, order]]
    one, other = smoothness(net, [W, C]), smoothness(net, moved)
    assert one.status == other.status == ("smooth" if rank == 3 else "singular")
    assert one.degeneracy.local == other.degeneracy.local


def test_modules_and_json(rng: np.random.Generator) -> None:
    import torch
    from torch import nn

    class Square(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return x**2

    model = nn.Sequential(nn.Linear(3, 2, bias=False), Square(), nn.Linear(2, 1, bias=False)).eval()
    found = smoothness(model, example=torch.zeros(2, 3))
    assert found.status == "smooth" and found.architecture == Architecture((3, 2, 1), "t^2")
    assert Smoothness.from_json(json.loads(json.dumps(found.to_json()))) == found


def test_large_networks_are_decided_without_a_rank(rng: np.random.Generator) -> None:
    net = Architecture((60, 40, 1), "t^3")  # type: ignore[arg-type]
    arrays = draw(net, rng)
    found = smoothness(net, arrays)
    assert found.status == "smooth" and found.rank_drop is None
    assert "not asked for" in str(found)
    arrays[1][0, 5] = 0
    assert smoothness(net, arrays).status == "singular"
    deep = Architecture((30, 30, 30, 30, 1), "t^2")  # type: ignore[arg-type]
    assert smoothness(deep, draw(deep, rng)).verdict.is_undecided
    wide = Architecture((40, 60, 30, 20), "linear")  # type: ignore[arg-type]
    assert smoothness(wide, draw(wide, rng)).status == "smooth"
