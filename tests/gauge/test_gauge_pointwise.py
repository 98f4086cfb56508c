"""One law tests every nonlinearity: ``s(P z + tau) = phi(P, tau) s(z)``; beside it, what is not a gauge."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from intertwiner.errors import ShapeMismatch, WrongUse
from intertwiner.gauge import (
    POINTWISE,
    GaugeElement,
    GaugeGroup,
    Pointwise,
    match_rows,
    normal_form,
    pointwise,
    random_element,
)
from intertwiner.numerics.monomial import Monomial

EXTRA = [
    pointwise("leaky_relu", 0.3),
    pointwise("leaky_relu", -0.3),
    pointwise("pow", 4),
    pointwise("pow", 5),
    pointwise("pow", 1.5),
    pointwise("pow", -2),
    pointwise("gelu", "tanh"),
    pointwise("softplus", 3.0),
    pointwise("hardtanh", -2.0, 2.0),
    pointwise("hardtanh", -1.0, 3.0),
    pointwise("elu", 0.5),
    pointwise("elu", 2.0),
    pointwise("celu", 0.7),
]
TABLE = {s.name: s for s in [*POINTWISE.values(), *EXTRA]}
each = pytest.mark.parametrize("s", TABLE.values(), ids=TABLE.keys())
few = settings(max_examples=15)  # each of some fifty functions
seeds = st.integers(0, 2**32 - 1)


def draw(s: Pointwise, rng: np.random.Generator, *shape: int) -> np.ndarray:
    z = 2.0 * rng.normal(size=shape)
    return z if s.domain == "real" else np.abs(z) + 0.1 if s.domain != "nonzero" else np.where(np.abs(z) < 0.1, 1.0, z)


@each
@few
@given(seed=seeds)
def test_a_gauge_element_passes_through_as_phi(s: Pointwise, seed: int) -> None:
    rng = np.random.default_rng(seed)
    element, z = random_element(s.gauge(6), rng), draw(s, rng, 6, 20)
    after = s.phi(element)
    got, expected = s.apply(element.apply(z)), after.apply(s.apply(z))
    # Rounding is relative to the terms that cancel: 1 - sigmoid(z) near 0.
    terms = np.abs(GaugeElement(after.matrix).apply(s.apply(z))) + np.abs(after.constant)[:, None] + np.abs(got)
    # A pi of float64 is off by 1e-16, which moves sin and cos of many turns.
    np.testing.assert_array_less(np.abs(got - expected), 1e-11 * terms + (1e-13 if s.shift == "pi" else 1e-300))


@each
@few
@given(seed=seeds)
def test_phi_is_a_homomorphism(s: Pointwise, seed: int) -> None:
    rng = np.random.default_rng(seed)
    g, h = random_element(s.gauge(5), rng), random_element(s.gauge(5), rng)
    left, right = s.phi(g @ h), s.phi(g) @ s.phi(h)
    size = 1 + np.abs(right.dense()).max() + np.abs(right.constant).max()
    assert left.distance(right) <= 1e-12 * size
    assert s.phi(g.inverse()).distance(s.phi(g).inverse()) <= 1e-10 * (1 + np.abs(s.phi(g.inverse()).dense()).max())


MOVES = {
    "sign": lambda s: None if s.sign or s.domain in ("nonnegative", "positive") else (-1.0, 0.0),
    "positive scale": lambda s: (2.0, 0.0) if s.scale == "none" else None,
    "shift": lambda s: (1.0, 0.7) if s.shift != "real" else None,
    "shift by pi": lambda s: (1.0, np.pi) if s.shift == "none" else None,
}


@pytest.mark.parametrize("kind", MOVES)
@each
def test_what_is_outside_the_gauge_is_no_symmetry(s: Pointwise, kind: str, rng: np.random.Generator) -> None:
    move = MOVES[kind](s)
    if move is None:
        return  # it is inside
    factor, shift = move
    element = GaugeElement(Monomial.diagonal(np.array([factor])), np.array([shift]))
    with pytest.raises(WrongUse, match="is no gauge element"):
        s.phi(element)
    z = draw(s, rng, 400)
    before, after = s.apply(z), s.apply(element.apply(z[None])[0])
    basis = np.column_stack([before, np.ones_like(z)])
    rest = after - basis @ np.linalg.lstsq(basis, after, rcond=None)[0]
    assert np.abs(rest).max() > 1e-3 * np.abs(after).max()  # no affine map of s(z) at all gives s(factor z + shift)


@each
@few
@given(seed=seeds, size=st.floats(1e-3, 30.0))
def test_bounds_hold_and_grow(s: Pointwise, seed: int, size: float) -> None:
    rng = np.random.default_rng(seed)
    z = np.sort(rng.uniform(-size, size, 200))
    z = z if s.domain == "real" else np.abs(z) + 1e-9
    bound = np.full_like(z, np.abs(z).max())
    value = s.apply(z)
    assert np.all(np.abs(value) <= s.magnitude(bound) * (1 + 1e-12))
    order = np.argsort(z)
    rise, step = np.abs(np.diff(value[order])), np.diff(z[order])
    with np.errstate(invalid="ignore"):
        allowed = s.lipschitz(bound[1:]) * step
    far = np.isfinite(allowed) & (step > 1e-6)
    assert np.all(rise[far] <= allowed[far] * (1 + 1e-6) + 1e-12 * np.abs(value).max())
    for grows in (s.lipschitz, s.magnitude):
        values = grows(np.linspace(0, size, 50))
        assert np.all(values[1:] >= values[:-1])


@pytest.mark.parametrize("name", ["relu", "tanh", "sigmoid", "gelu", "gelu(tanh)", "silu", "hardswish", "mish", "sin"])
def test_bounds_are_not_idle(name: str) -> None:
    s = pointwise(name)
    z = np.linspace(-10, 10, 200_001)
    slope = np.abs(np.diff(s.apply(z))).max() / (z[1] - z[0])
    assert slope * (1 - 1e-9) <= s.lipschitz(np.array(10.0)) <= 1.001 * slope
    assert np.abs(s.apply(z)).max() == pytest.approx(s.magnitude(np.array(10.0)))


@each
def test_flags_say_what_the_function_does(s: Pointwise, rng: np.random.Generator) -> None:
    if s.domain != "real":
        return
    z = 3 * rng.normal(size=500)
    there, back = s.apply(z), s.apply(-z)
    np.testing.assert_equal(np.allclose(there, -back, atol=1e-12), s.is_odd)
    np.testing.assert_equal(np.allclose(there, back, atol=1e-12), s.is_even)
    slope = np.dot(there - back, z) / np.dot(z, z)
    bypass = np.allclose(there - back, slope * z, atol=1e-9) and abs(slope) > 1e-9
    assert s.bypass == (bypass and not s.is_odd)
    if s.bypass:
        assert s.linear_part == pytest.approx(slope)
        np.testing.assert_allclose(s.even_part(z), s.even_part(-z), atol=1e-12)
    assert s.dead_on_negative == bool(np.all(s.apply(-np.abs(z)) == 0))
    assert s.linear_on_positive == bool(np.all(s.apply(np.abs(z)) == np.abs(z)))
    assert s.zero_value == s.apply(np.zeros(1))[0]


def test_flips_that_need_a_bias_after_them() -> None:
    assert {name for name, s in POINTWISE.items() if s.flips_shift} == {"sigmoid", "hardsigmoid", "log"}


@each
def test_the_name_is_the_record(s: Pointwise) -> None:
    again = pointwise(s.name)
    assert again == s
    assert again.known and again.gauge(3) == s.gauge(3)


TORCH = {
    "relu": "relu", "leaky_relu(0.01)": "leaky_relu", "tanh": "tanh", "sigmoid": "sigmoid", "gelu": "gelu",
    "silu": "silu", "softplus(1.0, 20.0)": "softplus", "elu(1.0)": "elu", "celu(1.0)": "celu", "selu": "selu",
    "mish": "mish", "hardswish": "hardswish", "hardsigmoid": "hardsigmoid", "relu6": "relu6",
    "hardtanh(-1.0, 1.0)": "hardtanh", "softsign": "softsign", "tanhshrink": "tanhshrink",
    "softshrink(0.5)": "softshrink", "hardshrink(0.5)": "hardshrink", "logsigmoid": "logsigmoid",
}  # fmt: skip


@pytest.mark.parametrize("name", TORCH)
def test_values_are_those_of_torch(name: str, rng: np.random.Generator) -> None:
    torch = pytest.importorskip("torch")
    z = np.concatenate([15 * rng.normal(size=500), [0.0, -3.0, 3.0, 0.5, -0.5, 6.0, 25.0, -25.0]])
    function = getattr(torch.nn.functional, TORCH[name])
    np.testing.assert_allclose(TABLE[name].apply(z), function(torch.from_numpy(z)).numpy(), rtol=1e-12, atol=1e-15)


def test_an_unknown_function_claims_permutations_only() -> None:
    s = pointwise("my_own(3)")
    assert not s.known
    assert s.gauge(4) == GaugeGroup.permutation(4)
    assert np.isinf(s.lipschitz(np.ones(2))).all() and np.isinf(s.magnitude(np.ones(2))).all()
    with pytest.raises(WrongUse, match="my_own"):
        s.apply(np.zeros(3))
    swap = GaugeElement(Monomial([1, 0]))
    assert s.phi(swap) == swap


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: pointwise("pow", 0), "constant"),
        (lambda: pointwise("gelu", "sigmoid"), "approximations"),
        (lambda: pointwise("celu", -1.0), "positive alpha"),
    ],
)
def test_parameters_that_make_no_sense(make, message: str) -> None:
    with pytest.raises(WrongUse, match=message):
        make()


def test_special_parameters_are_the_functions_they_are() -> None:
    assert pointwise("leaky_relu", 0) == POINTWISE["relu"]
    assert pointwise("leaky_relu", -1) == POINTWISE["abs"]
    assert pointwise("leaky_relu", 1) == pointwise("pow", 1) == POINTWISE["identity"]
    assert pointwise("hardtanh", 0, 6) == POINTWISE["relu6"]


# Normal form


@each
@few
@given(seed=seeds)
def test_normal_form_reproduces_the_neurons(s: Pointwise, seed: int) -> None:
    rng = np.random.default_rng(seed)
    w, b, u = rng.normal(size=(5, 3)), 4 * rng.normal(size=5), rng.normal(size=(3, 7))
    w[2] = 0.0
    form = s.normal_form(w, b)
    np.testing.assert_array_equal(form.constant, [False, False, True, False, False])
    inverse = form.element.inverse()
    canonical = GaugeElement(inverse.matrix).apply(w) @ u + inverse.apply(b)[:, None]
    z = w @ u + b[:, None]
    np.testing.assert_allclose(form.element.apply(canonical), z, atol=1e-12)
    if s.domain == "real" and s.mixing != "linear":
        assert form.element in s.gauge(5)
        got = s.phi(form.element).apply(s.apply(canonical))
        np.testing.assert_allclose(got, s.apply(z), rtol=1e-8, atol=1e-9 * (1 + np.abs(got).max()))


@each
@few
@given(seed=seeds)
def test_keys_do_not_see_the_gauge(s: Pointwise, seed: int) -> None:
    """Neurons moved by the gauge match, the lifted element is the one that moved them, others do not match."""
    if s.mixing == "linear":
        return
    rng = np.random.default_rng(seed)
    w, b = rng.normal(size=(6, 3)), 2 * rng.normal(size=6)
    element = random_element(s.gauge(6), rng)
    moved_w, moved_b = element.on_writer(w, b)
    own, moved = s.normal_form(w, b), s.normal_form(moved_w, moved_b)
    match = match_rows(moved.keys, own.keys, sign=s.sign, tolerance=1e-10)
    assert match.complete
    found = moved.element @ GaugeElement(match.nearest) @ own.element.inverse()
    lifted = s.lift(Monomial(found.matrix.index, found.matrix.factor), moved_b, b)
    assert lifted.distance(element) < 1e-9
    other = s.normal_form(w + 1e-3 * rng.normal(size=w.shape), b)
    assert not match_rows(other.keys, own.keys, sign=s.sign, tolerance=1e-10).complete


def test_the_bias_of_a_sine_is_a_circle_without_a_seam() -> None:
    """b = pi/2 just below and above is one neuron; cut open anywhere, rounding would make two."""
    s = POINTWISE["sin"]
    w = np.array([[1.0, 2.0]])
    below, above = (s.normal_form(w, np.array([np.pi / 2 + d])).keys for d in (-1e-13, 1e-13))
    flipped = s.normal_form(-w, np.array([np.pi / 2])).keys
    assert match_rows(above, below, sign=True, tolerance=1e-10).complete
    assert match_rows(flipped, below, sign=True, tolerance=1e-10).complete
    elsewhere = s.normal_form(w, np.array([0.3])).keys
    assert not match_rows(elsewhere, below, sign=True, tolerance=1e-10).complete
    mirrored = s.normal_form(w, np.array([-0.3])).keys  # sin(wx - .3) is not ± sin(wx + .3)
    assert not match_rows(mirrored, elsewhere, sign=True, tolerance=1e-10).complete


def test_balancing_keeps_exact_relations_exact(rng: np.random.Generator) -> None:
    """Norms are summed in sorted order: permuted columns give bitwise permuted keys."""
    w, b = rng.normal(size=(64, 57)), rng.normal(size=64)
    columns, rows = rng.permutation(57), rng.permutation(64)
    target = normal_form(w[rows][:, columns], b[rows], scale="positive").keys
    own = normal_form(w, b, scale="positive").keys
    np.testing.assert_array_equal(target[:, :-1], own[rows][:, columns])


def test_normal_form_refuses_what_is_no_layer() -> None:
    with pytest.raises(ShapeMismatch, match="no layer"):
        normal_form(np.zeros((3, 2)), np.zeros(2))
