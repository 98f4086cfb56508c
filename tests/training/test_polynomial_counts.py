"""Polynomial networks: counts against Lie closures written out by flint, laws against torch, near misses."""

from __future__ import annotations

import itertools
from fractions import Fraction

import numpy as np
import pytest
import torch
from flint import Ordering, fmpq, fmpq_mpoly_ctx
from hypothesis import given, settings
from hypothesis import strategies as st

from intertwiner.errors import Contradiction, WrongUse
from intertwiner.network import trace
from intertwiner.numerics.modular import Modulus
from intertwiner.numerics.modular_echelon import Echelon
from intertwiner.numerics.seeds import rng
from intertwiner.training import PolynomialChain, count_laws, count_laws_of, count_polynomial_laws
from intertwiner.training.laws import law_gradients
from intertwiner.training.polynomial_chain import certain_of, read_polynomial, scaling_laws, shifted_power

FIELD = Modulus()


def coefficients(network: PolynomialChain) -> list:
    """The coefficients of all outputs as polynomials in x, themselves polynomials in the parameters."""
    names = [f"t{k}" for k in range(network.parameters)] + [f"x{k}" for k in range(network.widths[0])]
    ring = fmpq_mpoly_ctx.get(names, Ordering.lex)
    gens, size = ring.gens(), network.parameters
    values = list(gens[size:])
    for layer, numbers in enumerate(network.layers.matrices):
        fan_in, fan_out = network.widths[layer : layer + 2]
        rows = []
        for row in numbers[:fan_out]:
            total = sum((gens[int(n)] * v for n, v in zip(row, values, strict=False)), ring.constant(0))
            rows.append(total + gens[int(row[fan_in])] if network.bias else total)
        values = rows
        if layer < network.layers.depth - 1:
            pieces = [(fmpq(a.numerator, a.denominator), k) for k, a in enumerate(network.polynomial)]
            values = [sum((a * z**k for a, k in pieces), ring.constant(0)) for z in rows]
    out = []
    for value in values:
        by_monomial: dict[tuple[int, ...], dict[tuple[int, ...], fmpq]] = {}
        for exponents, c in zip(value.monoms(), value.coeffs(), strict=True):
            key, rest = tuple(exponents[size:]), tuple(exponents[:size]) + (0,) * network.widths[0]
            by_monomial.setdefault(key, {})[rest] = c
        out += [ring.from_dict(terms) for terms in by_monomial.values()]
    return out


def closed_rank(network: PolynomialChain, point: np.ndarray) -> int:
    """Dimension of Lie(V) at a point: all brackets of found fields with the first ones, as polynomials."""
    size = range(network.parameters)
    where = [fmpq(int(v)) for v in point] + [fmpq(0)] * network.widths[0]
    first = [[f.derivative(k) for k in size] for f in coefficients(network)]
    space, newest = Echelon(network.parameters, FIELD), first

    def taken(vector: list) -> bool:
        values = [f(*where) if f else fmpq(0) for f in vector]
        row = [FIELD.fraction(Fraction(int(v.p), int(v.q))) for v in values]
        return bool(space.add(np.array([row])))

    newest = [field for field in first if taken(field)]
    while newest:
        pairs = itertools.product(first, newest)
        newest = [field for field in (bracket(X, Y) for X, Y in pairs) if taken(field)]
    return space.rank


def bracket(X: list, Y: list) -> list:
    size = range(len(X))
    return [sum((Y[i].derivative(k) * X[k] - X[i].derivative(k) * Y[k] for k in size), 0 * X[0]) for i in size]


TINY = [((1, 1, 1), False), ((1, 2, 1), False), ((2, 1, 1), True), ((1, 1, 1, 1), True), ((2, 2, 1), False)]


@pytest.mark.parametrize("activation", ["t^2", "t^3", "t^2+t", "t^2+2t+1", "t^2-1", "t+1"])
@pytest.mark.parametrize(("widths", "bias"), TINY)
def test_counts_are_those_of_a_closure_written_out(widths: tuple[int, ...], bias: bool, activation: str) -> None:
    network = PolynomialChain(widths, activation, bias)
    count = count_polynomial_laws(widths, activation, bias=bias)
    assert count.verdict.is_proved, str(count)
    point = rng(1).integers(-50, 50, size=network.parameters)
    assert count.bracket_rank == closed_rank(network, point) == network.parameters - count.least


@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize("activation", ["t^2", "t^3", "-1/2t^4"])
def test_powers_have_a_law_per_neuron(activation: str, bias: bool) -> None:
    for widths in itertools.product((2, 3), repeat=4):
        count = count_polynomial_laws(widths, activation, bias=bias, primes=(67108859,))
        assert count.verdict.is_proved
        assert count.laws == count.known == sum(widths[1:-1])


@pytest.mark.parametrize(
    ("activation", "bias", "laws"),
    [
        ("t^2+t", False, 0),
        ("t^2+t", True, 0),
        ("t^2+2t+1", False, 0),
        ("t^2+2t+1", True, 4),
        ("t^3+t", True, 0),
        ("t^2+1", True, 0),
        ("2t", False, 10),
        ("3t-2", True, 10),
        ("3t-2", False, 6),
    ],
)
def test_constants_and_linear_parts(activation: str, bias: bool, laws: int) -> None:
    assert count_polynomial_laws((3, 4, 2), activation, bias=bias).laws == laws


def test_t_is_the_linear_network() -> None:
    for widths in ((2, 3, 2), (1, 2, 2, 1)):
        for bias in (False, True):
            assert count_polynomial_laws(widths, "t", bias=bias).laws == count_laws(widths, bias=bias).laws


def test_single_units_leave_one_curve() -> None:
    count = count_polynomial_laws((1, 2, 2, 1), "t^2")
    assert (count.laws, count.known) == (7, 4)
    assert "one curve" in count.verdict.reason
    assert count_polynomial_laws((1, 2, 2, 1), "t^2", bias=True).laws == 4


class Powered(torch.nn.Module):
    def __init__(self, network: PolynomialChain) -> None:
        super().__init__()
        sizes = itertools.pairwise(network.widths)
        self.layers = torch.nn.ModuleList(torch.nn.Linear(a, b, bias=network.bias).double() for a, b in sizes)
        self.polynomial = [float(c) for c in network.polynomial]

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        *hidden, last = self.layers
        for layer in hidden:
            z = layer(x)
            x = sum((c * z**k for k, c in enumerate(self.polynomial) if c and k), torch.zeros(())) + self.polynomial[0]
        return last(x)


@pytest.mark.parametrize(
    ("activation", "bias"),
    [("t^2", False), ("t^2", True), ("t^3", True), ("t^2+2t+1", True), ("2t+1", True), ("2t+1", False)],
)
def test_torch_gradients_are_tangent_to_the_laws(activation: str, bias: bool) -> None:
    network = PolynomialChain((2, 3, 2, 2), activation, bias)
    module = Powered(network)
    x, y = torch.randn(20, 2).double(), torch.randn(20, 2).double()
    torch.nn.functional.mse_loss(module(x), y).backward()
    theta = torch.cat([p.ravel() for p in module.parameters()]).detach().numpy()
    slope = torch.cat([p.grad.ravel() for p in module.parameters() if p.grad is not None]).numpy()
    laws, shift = scaling_laws(network)
    hidden = [n[:w, -1] for n, w in zip(network.layers.matrices, network.widths[1:-1], strict=False)]
    theta[np.concatenate(hidden) if shift else []] += float(shift)
    rates = np.array([law.gradient(theta) @ slope for law in laws])
    assert len(rates) >= 4
    assert np.abs(rates).max() < 1e-12 * np.linalg.norm(theta) * np.linalg.norm(slope)
    wrong = [law.gradient(theta + rng(3).normal(size=len(theta))) @ slope for law in laws]
    assert np.abs(wrong).min() > 1e-6 * np.linalg.norm(theta) * np.linalg.norm(slope)


def test_the_degree_stands_on_the_outgoing_side() -> None:
    """For ``o w^r``: ``d(w^2 - k o^2) = 2 (r - k) o w^r``, so k = r and not 1/r."""
    network = PolynomialChain((1, 1, 1), "t^3")
    (law,), _ = scaling_laws(network)
    assert law.terms == ((1, 1, 3), (0, 0, -1))
    point = np.array([[2.0, 5.0]])
    flow = network.draw(1, FIELD, rng(0)).gradients(point, FIELD)[0]
    assert not FIELD.matmul(law_gradients([law], point[0], FIELD), flow.T).any()
    inverse = np.array([[-3.0 * 2.0, 5.0]])  # the gradient of 1/2 (o^2 - 3 w^2)
    assert FIELD.matmul(inverse, flow.T).any()


def test_a_traced_power_has_the_same_count() -> None:
    network = PolynomialChain((2, 3, 2), "t^3", True)

    class Cubic(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.up, self.down = torch.nn.Linear(2, 3), torch.nn.Linear(3, 2)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.down(self.up(x) ** 3)

    count = count_laws_of(trace(Cubic(), torch.zeros(1, 2)), certain_of(network))
    assert count.laws == count_polynomial_laws((2, 3, 2), "t^3", bias=True).laws == 3


def test_a_law_of_another_degree_is_a_contradiction(monkeypatch: pytest.MonkeyPatch) -> None:
    from intertwiner.training import polynomial_chain

    monkeypatch.setattr(polynomial_chain, "shifted_power", lambda piece: (2, Fraction(0)))
    with pytest.raises(Contradiction, match=r"2 \|W_2\[:, 0\]\|\^2 .* is not conserved"):
        count_polynomial_laws((2, 3, 1), "t^3")


@given(
    r=st.integers(1, 6),
    s=st.fractions(min_value=-3, max_value=3, max_denominator=5),
    a=st.fractions(min_value=-2, max_value=2, max_denominator=3).filter(bool),
    k=st.integers(0, 4),
)
@settings(max_examples=60, deadline=None)
def test_shifted_powers_are_recognised_and_nothing_else(r: int, s: Fraction, a: Fraction, k: int) -> None:
    from math import comb

    piece = tuple(a * comb(r, j) * s ** (r - j) for j in range(r + 1))
    assert shifted_power(piece) == (r, s)
    if k < r - 1:  # lower coefficients are told by the two highest
        moved = tuple(c + (j == k) for j, c in enumerate(piece))
        assert shifted_power(moved) is None


@given(st.lists(st.fractions(max_denominator=9), min_size=2, max_size=6).filter(lambda c: c[-1] != 0))
@settings(max_examples=60, deadline=None)
def test_a_polynomial_is_read_back(numbers: list[Fraction]) -> None:
    text = "".join(f"{'-' if c < 0 else '+'}{abs(c)}t^{k}" for k, c in enumerate(numbers))
    assert read_polynomial(text) == tuple(numbers)


@pytest.mark.parametrize("text", ["", "tanh", "t^2 t", "3", "t^2-t^2", "t^65", "t^-1", "+", "t^2++t", "x^2"])
def test_what_is_no_polynomial_is_refused(text: str) -> None:
    with pytest.raises(WrongUse, match=r"no polynomial in t.*Nothing was computed"):
        PolynomialChain((2, 2), text)


def test_bad_widths_and_sizes_are_refused() -> None:
    with pytest.raises(WrongUse, match="at least two widths"):
        count_polynomial_laws((3,), "t^2")
    with pytest.raises(WrongUse, match="20000 parameters"):
        count_polynomial_laws((100, 100, 100), "t^2")
