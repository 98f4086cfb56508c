"""Pieces are certain or not claimed: error bounds against exact fractions, kinks and near-kinks planted."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from intertwiner.exact import certify, piecewise
from intertwiner.exact.numbers import Ball, Balls
from intertwiner.gauge import pointwise
from intertwiner.network import trace

NUMBERS = st.floats(-1e6, 1e6, allow_subnormal=True)
WILD = st.floats(allow_nan=False, allow_infinity=False, min_value=-1e60, max_value=1e60)


def exact(values: np.ndarray) -> np.ndarray:
    return np.array([Fraction(float(v)) for v in values.ravel()], dtype=object).reshape(values.shape)


def holds(ball: Ball, truth: np.ndarray) -> bool:
    pairs = zip(ball.value.ravel(), ball.error.ravel(), truth.ravel(), strict=True)
    return all(abs(Fraction(float(v)) - t) <= Fraction(float(e)) for v, e, t in pairs)


@given(st.lists(WILD, min_size=12, max_size=12), st.lists(WILD, min_size=12, max_size=12))
def test_every_operation_keeps_the_truth_inside(a: list[float], b: list[float]) -> None:
    balls = Balls()
    x, y = np.array(a).reshape(3, 4), np.array(b).reshape(3, 4)
    p, q = balls.fixed(x), balls.fixed(y)
    X, Y = exact(x), exact(y)
    assert holds(balls.add(p, q), X + Y)
    assert holds(balls.mul(p, q), X * Y)
    product = balls.matmul(p, balls.move([q], lambda v: v.T))
    assert holds(product, X @ Y.T)
    assert holds(balls.matmul(product, product), (X @ Y.T) @ (X @ Y.T))
    assert holds(balls.sum(balls.mul(p, q), (1,), False), (X * Y).sum(1))
    assert holds(balls.divide(p, np.array(3)), X / 3)


@given(st.lists(NUMBERS, min_size=6, max_size=6))
def test_polynomials_keep_the_truth_inside(values: list[float]) -> None:
    balls, x = Balls(), np.array(values)
    for name in ("pow(3)", "hardswish", "leaky_relu(0.01)"):
        pieces = piecewise(pointwise(name))
        assert pieces is not None
        found = balls.nonlinear(name, pieces, balls.fixed(x))
        which = np.searchsorted([float(b) for b in pieces.breaks], x, side="left")
        truth = [
            sum((c * Fraction(v) ** k for k, c in enumerate(pieces.pieces[w])), Fraction(0))
            for v, w in zip(values, which, strict=True)
        ]
        assert holds(found, np.array(truth, dtype=object))


def chain(*weights: tuple[list[list[float]], list[float]], dtype: torch.dtype = torch.float64) -> nn.Sequential:
    layers: list[nn.Module] = []
    for w, b in weights:
        layer = nn.Linear(len(w[0]), len(w), dtype=dtype)
        layer.weight.data, layer.bias.data = torch.tensor(w, dtype=dtype), torch.tensor(b, dtype=dtype)
        layers += [layer, nn.ReLU()]
    return nn.Sequential(*layers[:-1]).eval()


def test_what_rounding_leaves_open_is_not_claimed() -> None:
    """0.1 x + 0.2 x - 0.3 x is not zero for these floats, but float64 cannot tell from what it computes."""
    module = chain(([[0.1, 0.2, -0.3]], [0.0]), ([[1.0]], [0.0]))
    network = trace(module, torch.zeros(2, 3, dtype=torch.float64))
    x = np.array([[1.0, 1.0, 1.0], [3.0, 3.0, 3.0], [1.0, 1.0, 0.9]])
    found = certify(network, [x])
    assert found.sure().tolist() == [False, False, True]
    assert not found.decided[:2].any()


def test_an_exact_kink_is_told_from_a_near_one() -> None:
    module = chain(([[1.0, 0.0], [0.0, 1.0]], [0.0, 0.0]), ([[1.0, 1.0]], [-2.0]), ([[1.0]], [0.0]))
    network = trace(module, torch.zeros(2, 2, dtype=torch.float64))
    found = certify(network, [np.array([[-1.0, -2.0], [1.0, 1.0], [2.0, 1.0]])])
    assert found.choices["relu"].tolist() == [[0, 0], [1, 1], [1, 1]]
    # -2 with inactive neurons is exact; 1 + 1 - 2 is zero, but a sum that was rounded is never called exact.
    assert found.decided.tolist() == [True, False, True]
    zero = chain(([[0.0, 0.0], [1.0, 0.0]], [0.0, 0.5]), ([[1.0, 1.0]], [0.0]))
    found = certify(trace(zero, torch.zeros(2, 2, dtype=torch.float64)), [np.ones((3, 2))])
    assert found.on_break["relu"].tolist() == [[True, False]] * 3
    assert found.decided.all()
    assert not found.sure().any()
    assert found.sure({"relu": np.array([True, False])}).all()


def test_deep_networks_agree_with_fractions(rng: np.random.Generator) -> None:
    """Pieces of a random network whose biases put many units near zero, against exact arithmetic."""
    weights = [rng.normal(size=(6, 6)) for _ in range(3)]
    x = rng.integers(-8, 9, (12, 6)) / 4
    biases, a = [], x
    for w in weights:
        z = a @ w.T
        biases.append(-z[0] * (1 + rng.choice([0, 2.0**-52, 1e-15, 1e-9], 6)))
        a = np.maximum(z + biases[-1], 0)
    module = chain(*((w.tolist(), b.tolist()) for w, b in zip(weights, biases, strict=True)), ([[1.0] * 6], [0.0]))
    found = certify(trace(module, torch.zeros(2, 6, dtype=torch.float64)), [x])
    truth = exact(x)
    sure = found.sure()
    assert 0 < sure.sum() < 12
    names = ("relu", "relu_1", "relu_2")
    for name, w, b in zip(names, weights, biases, strict=True):
        z = truth @ exact(w).T + exact(b)
        assert np.array_equal(found.choices[name][sure], (z > 0)[sure])
        truth = np.where(z > 0, z, Fraction(0))


def test_ties_of_a_maximum_are_refused_unless_both_stay_zero() -> None:
    pool = nn.Sequential(nn.Conv1d(1, 1, 1, bias=False), nn.MaxPool1d(2), nn.Flatten(), nn.Linear(1, 1))
    pool[0].weight.data.fill_(1.0)
    found = certify(trace(pool.eval(), torch.zeros(2, 1, 2)), [np.array([[[1.0, 1.0]], [[1.0, 2.0]]])])
    assert found.sure().tolist() == [False, True]
    after = nn.Sequential(nn.Conv1d(1, 1, 1, bias=False), nn.ReLU(), nn.MaxPool1d(2), nn.Flatten(), nn.Linear(1, 1))
    after[0].weight.data.fill_(1.0)
    x = np.array([[[-1.0, -2.0]], [[1.0, 1.0]], [[-1.0, 2.0]]])
    found = certify(trace(after.eval(), torch.zeros(2, 1, 2)), [x])
    assert found.sure().tolist() == [True, False, True]


def test_a_tie_with_one_entry_that_moves_is_refused() -> None:
    balls, zero = Balls(), np.zeros((1, 2))
    for still, open_ in (([True, True], False), ([True, False], True), ([False, False], True)):
        balls.largest("max", Ball(zero, zero, np.array([still])), np.array([True, True]))
        assert balls.undecided["max"].tolist() == [open_]


@pytest.mark.parametrize("size", [1e200, 1e308])
def test_overflow_is_undecided_and_no_warning(size: float) -> None:
    module = chain(([[size, size]], [1.0]), ([[size]], [0.0]), ([[1.0]], [0.0]))
    found = certify(trace(module, torch.zeros(2, 2, dtype=torch.float64)), [np.array([[size, -size], [size, size]])])
    assert not found.decided.any()
