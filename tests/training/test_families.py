"""Families by themselves: views, values, gradients modulo p, the exact change by a step, records."""

from __future__ import annotations

import json
from dataclasses import replace
from fractions import Fraction

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from law_models import mlp, seeded

from intertwiner.errors import NonFiniteWeights, ShapeMismatch, WrongUse
from intertwiner.numerics.modular import Modulus
from intertwiner.training import Chain, Family, Piece, known_laws, law_gradients
from intertwiner.training.conservation import conservation_laws
from intertwiner.training.families import columns_of
from intertwiner.training.views import View, view_of

FIELD = Modulus()


@given(st.permutations(range(4)), st.lists(st.integers(1, 4), min_size=4, max_size=4), st.integers(1, 4))
def test_a_view_is_the_array_moved_and_flattened(order: list[int], shape: list[int], last: int) -> None:
    places = np.arange(np.prod(shape)).reshape(shape).transpose(order)[..., :last]
    view = view_of(places)
    assert not view.starts
    flat = np.random.default_rng(0).standard_normal(int(np.prod(shape)))
    np.testing.assert_array_equal(view.of(flat), flat[places].reshape(len(places), -1))
    assert View.from_json(json.loads(json.dumps(view.to_json()))) == view


@given(st.permutations(range(12)), st.integers(1, 3))
def test_a_view_without_strides_lists_its_places(order: list[int], rows: int) -> None:
    places = np.array(order).reshape(rows, -1)
    view = view_of(places)
    np.testing.assert_array_equal(view.of(np.arange(12.0)), places)
    assert view.width == places.shape[1]
    assert View.from_json(view.to_json()) == view


def test_a_view_by_strides_copies_nothing() -> None:
    flat = np.arange(12.0)
    assert np.shares_memory(View(3, 0, 4, (4,), (1,)).of(flat), flat)


def both(kind: str, blocks: int = 1) -> Family:
    """``W`` by rows against ``V`` by columns, with a bias about a centre."""
    rows, columns, single = View(4, 0, 3, (3,), (1,)), View(4, 0, 1, (2,), (4,)), View(4, 0, 1)
    pieces = (
        Piece("w", rows, Fraction(1)), Piece("v", columns, Fraction(-2)),
        Piece("b", single, Fraction(1, 3), centre=(0.5, 0.25, -1.0, 0.0)),
    )  # fmt: skip
    return Family(kind, pieces, "space", "group", "formula", 4 // blocks, blocks)


def tensors(seed: int) -> dict[str, np.ndarray]:
    random = np.random.default_rng(seed)
    return {"w": random.standard_normal((4, 3)), "v": random.standard_normal((2, 4)), "b": random.standard_normal(4)}


def by_hand(family: Family, state: dict[str, np.ndarray]) -> np.ndarray:
    w, v, b = state["w"], state["v"], state["b"] - np.array([0.5, 0.25, -1.0, 0.0])
    whole = w @ w.T - 2 * v.T @ v + np.outer(b, b) / 3
    if family.kind == "balance":
        return np.diag(whole)
    step = family.size
    parts = [whole[k : k + step, k : k + step][np.triu_indices(step)] for k in range(0, 4, step)]
    return np.concatenate(parts)


FAMILIES = [both("balance"), both("matrix"), both("matrix", 2)]


@pytest.mark.parametrize("family", FAMILIES, ids=["balance", "matrix", "blocks"])
def test_values_are_the_formula(family: Family) -> None:
    state = tensors(0)
    np.testing.assert_allclose(family.values(state), by_hand(family, state), atol=1e-12)
    assert len(family.values(state)) == family.count
    as_tensors = {n: torch.tensor(a, dtype=torch.float32) for n, a in state.items()}
    np.testing.assert_allclose(family.values(as_tensors), by_hand(family, state), atol=1e-5)


@pytest.mark.parametrize("family", FAMILIES, ids=["balance", "matrix", "blocks"])
def test_a_step_changes_a_law_by_rate_and_form_exactly(family: Family) -> None:
    """``h(theta - eta g) = h(theta) - eta <grad h, g> + eta^2 <g, A g>`` for any g, not only along gradients."""
    theta, g, eta = tensors(0), tensors(1), 0.3
    moved = {n: theta[n] - eta * g[n] for n in theta}
    rate, _ = family.rates(theta, g)
    expected = family.values(theta) - eta * rate + eta**2 * family.form(g)
    np.testing.assert_allclose(family.values(moved), expected, atol=1e-12)


@pytest.mark.parametrize("family", FAMILIES, ids=["balance", "matrix", "blocks"])
def test_gradients_modulo_p_are_the_derivatives(family: Family) -> None:
    """On whole numbers the rate along g is the gradient times g, modulo p as well as in floats."""
    random = np.random.default_rng(2)
    shapes = {"v": (2, 4), "unused": (3,), "w": (4, 3), "b": (4,)}
    columns = columns_of(shapes)
    whole = {n: random.integers(-5, 6, size=s).astype(float) for n, s in shapes.items()}
    speed = {n: random.integers(-5, 6, size=s).astype(float) for n, s in shapes.items()}
    theta, g = (np.concatenate([part[n].ravel() for n in shapes]) for part in (whole, speed))
    rate, _ = family.rates(whole, speed)
    found = FIELD.matmul(family.gradients(theta, columns, FIELD), g[:, None])[:, 0]
    expected = [FIELD.fraction(Fraction(round(12 * r), 12)) for r in rate]  # quarters and thirds
    np.testing.assert_array_equal(found, expected)


def test_linear_laws_do_not_bend() -> None:
    law = Family("shift", (Piece("b", View(1, 0, 0, (4,), (1,)), Fraction(1), 1),), "", "", "sum b", 1)
    state, g = tensors(0), tensors(1)
    np.testing.assert_allclose(law.values(state), [state["b"].sum()])
    np.testing.assert_allclose(law.rates(state, g)[0], [g["b"].sum()])
    assert not law.form(g).any()
    assert law.gradients(np.zeros(4), columns_of({"b": (4,)}), FIELD).tolist() == [[1, 1, 1, 1]]


def test_records_go_there_and_back() -> None:
    for family in FAMILIES:
        again = Family.from_json(json.loads(json.dumps(family.to_json())))
        assert again == family
        assert family.to_json()["count"] == family.count


def test_what_does_not_fit_is_refused() -> None:
    family, state = both("balance"), tensors(0)
    with pytest.raises(WrongUse, match="'w' is not among the 2 tensors given"):
        family.values({"v": state["v"], "b": state["b"]})
    with pytest.raises(NonFiniteWeights, match="1 of 8 entries of 'v'"):
        family.values(state | {"v": np.where(np.arange(8).reshape(2, 4) == 3, np.nan, state["v"])})
    with pytest.raises(ShapeMismatch, match="needs 5 rows"):
        replace(family, size=5)
    with pytest.raises(WrongUse, match="balance, matrix, shift"):
        replace(family, kind="cubic")
    with pytest.raises(WrongUse, match="no trainable parameter"):
        family.gradients(np.zeros(12), columns_of({"w": (4, 3)}), FIELD)


@pytest.mark.parametrize("activation", ["relu", "linear"])
@pytest.mark.parametrize("bias", [False, True])
def test_families_of_a_chain_are_its_known_laws(activation: str, bias: bool) -> None:
    """Two programs, one by the formulas of fully connected chains, one by charges on the graph."""
    kind = torch.nn.ReLU if activation == "relu" else torch.nn.Identity
    model = seeded(lambda: mlp(kind, bias))
    found = conservation_laws(model, example=torch.zeros(2, 3, dtype=torch.float64), count=False)
    chain = Chain((3, 5, 4, 2), activation, bias)
    theta = np.concatenate([p.detach().numpy().ravel() for p in model.parameters()])
    laws = known_laws(chain)
    expected = np.array([law.value(theta) for law in laws])
    np.testing.assert_allclose(-np.concatenate(found.values(model)), expected, atol=1e-12)
    columns = columns_of({n: tuple(p.shape) for n, p in model.named_parameters()})
    point = np.random.default_rng(0).integers(-1000, 1000, size=chain.parameters).astype(float)
    rows = np.concatenate([f.gradients(point, columns, FIELD) for f in found.families])
    np.testing.assert_array_equal(-rows, law_gradients(laws, point, FIELD))
