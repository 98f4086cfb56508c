"""Explicit polynomial laws: planted ones are found and no others, in whole coprime numbers; near misses are refused."""

from __future__ import annotations

import importlib
import json
from fractions import Fraction
from math import gcd

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from intertwiner.errors import ShapeMismatch, WrongUse
from intertwiner.numerics.modular import Modulus
from intertwiner.numerics.rational import lifted, reduced_rows
from intertwiner.numerics.seeds import rng
from intertwiner.training import Chain, PolynomialChain, brackets, count_laws, count_polynomial_laws, known_laws
from intertwiner.training.polynomial_law import PolynomialLaw, law_of, law_residues
from intertwiner.training.polynomial_laws import PolynomialLaws, is_conserved, polynomial_laws
from intertwiner.training.polynomial_map import PolynomialMap
from intertwiner.training.potentials import residues
from intertwiner.training.separated import chain_map, separated

module = importlib.import_module("intertwiner.training.polynomial_laws")  # the room has a function of this name
FIELD = Modulus()
CHAINS = [
    Chain((1, 2, 1)),
    Chain((2, 2, 2)),
    Chain((2, 3, 1), bias=True),
    Chain((2, 2, 2, 2)),
    Chain((1, 1, 1, 1), bias=True),
    Chain((2, 3, 2), "relu"),
    Chain((2, 2, 1), "relu", True),
    Chain((2, 2, 2, 1), "relu", True),
]


def as_polynomial(law, names: tuple[str, ...]) -> PolynomialLaw:
    """A law known by structure, written as a polynomial."""
    terms: dict[tuple[int, ...], Fraction] = {}
    for p, q, c in law.terms:
        exponents = [0] * len(names)
        exponents[p] += 1
        exponents[q] += 1
        key = tuple(exponents)
        terms[key] = terms.get(key, Fraction(0)) + c
    return law_of(terms, names)


@pytest.mark.parametrize("chain", CHAINS, ids=str)
def test_the_laws_of_a_chain_are_all_found(chain: Chain) -> None:
    found = polynomial_laws(chain_map(chain))
    assert found.verdict.is_proved and found.complete, str(found)
    assert len(found.laws) == count_laws(chain.widths, chain.activation, bias=chain.bias).laws
    # Another implementation of the same fields, which never writes phi out.
    point = residues((chain.parameters,), FIELD, rng(1))
    flow = chain.draw(6, FIELD, rng(2)).gradients(point[None], FIELD)[0]
    assert flow.any()
    assert not FIELD.matmul(law_residues(found.laws, point, FIELD), flow.T).any()


@pytest.mark.parametrize("chain", CHAINS, ids=str)
def test_quadratic_laws_are_those_known_by_structure_and_no_more(chain: Chain) -> None:
    phi = chain_map(chain)
    known = [as_polynomial(law, phi.names) for law in known_laws(chain)]
    assert all(is_conserved(law, phi) for law in known)
    # (1, 2, 1) has the determinant of incoming and outgoing weights besides; its square is a polynomial in the others.
    assert polynomial_laws(phi).dimensions == (0, len(known) + (chain.widths == (1, 2, 1)))


@pytest.mark.parametrize("chain", CHAINS, ids=str)
def test_near_misses_are_refused(chain: Chain) -> None:
    phi = chain_map(chain)
    for law in polynomial_laws(phi).laws:
        for k, (c, monomial) in enumerate(law.terms):
            flipped = PolynomialLaw(law.names, (*law.terms[:k], (-c, monomial), *law.terms[k + 1 :]))
            left_out = PolynomialLaw(law.names, law.terms[:k] + law.terms[k + 1 :])
            assert not is_conserved(flipped, phi)
            assert not is_conserved(left_out, phi)


@given(a=st.integers(1, 12), b=st.integers(1, 12))
@settings(max_examples=40)
def test_a_planted_law_comes_in_whole_coprime_numbers(a: int, b: int) -> None:
    """Along ``x^a y^b`` the law is ``a y^2 - b x^2``."""
    found = polynomial_laws(PolynomialMap.from_terms([{(a, b): Fraction(2, 3)}], ("x", "y")))
    g = gcd(a, b)
    (law,) = found.laws
    assert {m: c for c, m in law.terms} == {((1, 2),): a // g, ((0, 2),): -b // g}
    assert found.complete


@pytest.mark.parametrize(
    ("terms", "formulas"),
    [
        ([{(1, 1): 1, (0, 1): 1}], ["y^2 - x^2 - 2 x"]),  # a constant beside x, as of a bias
        ([{(1, 0): 2, (0, 1): 3}], ["2 y - 3 x"]),
        ([{(1, 0): 1}], ["y"]),  # a parameter that is in no phi
        ([{(2, 0): 1, (0, 2): 1}], []),  # the angle is no polynomial
        ([{(1, 0): 1}, {(0, 1): 1}], []),
    ],
)
def test_planted_laws_of_two_parameters(terms: list, formulas: list[str]) -> None:
    found = polynomial_laws(PolynomialMap.from_terms(terms, ("x", "y")), 3)
    assert [law.formula for law in found.laws] == formulas
    assert found.verdict.is_proved


def test_the_angle_is_missing_and_said_to_be() -> None:
    found = polynomial_laws(PolynomialMap.from_terms([{(2, 0): 1, (0, 2): 1}], ("x", "y"), "radius"), 4)
    assert not found.laws and found.missing == 1 and not found.complete
    assert str(found) == "radius: 0 independent conserved polynomials of degree <= 4, up to 1 missing"


def test_a_thin_stretch_has_a_law_that_is_no_polynomial_of_low_degree() -> None:
    found = polynomial_laws(chain_map(Chain((1, 2, 2, 1))), 4)
    assert (len(found.laws), found.missing) == (6, 1)
    assert count_laws((1, 2, 2, 1)).laws == 7
    assert found.verdict.is_proved


def test_powers_of_laws_are_counted_and_not_listed() -> None:
    found = polynomial_laws(chain_map(Chain((1, 1, 1))), 6)
    assert found.dimensions == (0, 1, 1, 2, 2, 3)
    assert [law.formula for law in found.laws] == ["W2[0,0]^2 - W1[0,0]^2"]


def test_four_laws_of_two_hidden_units_of_which_three_are_independent() -> None:
    found = polynomial_laws(chain_map(Chain((1, 2, 1))))
    assert found.dimensions == (0, 4) and len(found.laws) == 3 and found.complete


@pytest.mark.parametrize(
    ("activation", "bias", "formulas"),
    [
        ("t^2", False, ["2 W2[0,0]^2 - W1[0,0]^2"]),
        ("t^3", True, ["3 W2[0,0]^2 - W1[0,0]^2 - b1[0]^2"]),
        ("t^2 + 2t + 1", True, ["2 W2[0,0]^2 - W1[0,0]^2 - b1[0]^2 - 2 b1[0]"]),
        ("t^2 + 2t + 1", False, []),
        ("t^2 + t", True, []),
    ],
)
def test_polynomial_networks(activation: str, bias: bool, formulas: list[str]) -> None:
    found = polynomial_laws(separated(PolynomialChain((1, 1, 1), activation, bias)).phi, 3)
    assert [law.formula for law in found.laws] == formulas
    assert found.complete and found.verdict.is_proved


@pytest.mark.parametrize(
    "chain", [Chain((2, 2, 1), "relu", True), Chain((1, 2, 2, 1)), Chain((2, 1, 1), bias=True)], ids=str
)
def test_splitting_by_parity_loses_nothing(chain: Chain, monkeypatch: pytest.MonkeyPatch) -> None:
    phi = chain_map(chain)
    split = polynomial_laws(phi, 3)
    monkeypatch.setattr(module, "_gradings", lambda phi: (np.zeros((0, phi.parameters), dtype=np.int64), False))
    assert polynomial_laws(phi, 3).dimensions == split.dimensions


def test_parities_are_those_under_which_phi_is_even_or_odd() -> None:
    signs, homogeneous = module._gradings(chain_map(Chain((1, 2, 1))))
    # (W1[0,0], W1[1,0], W2[0,0], W2[0,1]): the two products change sign together.
    assert homogeneous and len(signs) == 3
    assert all((s[0] + s[2] - s[1] - s[3]) % 2 == 0 for s in signs)
    assert not module._gradings(chain_map(Chain((1, 1, 1), bias=True)))[1]


def test_coefficients_too_large_to_lift_leave_the_search_undecided() -> None:
    large = 10**9 + 7
    found = polynomial_laws(PolynomialMap.from_terms([{(1, 0): 1, (0, 1): large}], ("x", "y")), 1)
    assert not found.laws and found.verdict.is_undecided
    assert "1 more solutions modulo the primes could not be lifted" in found.verdict.reason
    small = polynomial_laws(PolynomialMap.from_terms([{(1, 0): 1, (0, 1): 1007}], ("x", "y")), 1)
    assert [law.formula for law in small.laws] == ["y - 1007 x"] and small.verdict.is_proved


def test_a_candidate_that_is_no_law_is_thrown_away(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "lifted", lambda residues, primes: [[Fraction(1)] * len(row) for row in residues[0]])
    found = polynomial_laws(chain_map(Chain((1, 1, 1))))
    assert not found.laws and found.verdict.is_undecided


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: polynomial_laws(chain_map(Chain((1, 1, 1))), 0), "at least 1, got 0"),
        (lambda: polynomial_laws(chain_map(Chain((3, 3, 3))), 8), "1562274 monomials up to degree 8"),
        (lambda: polynomial_laws(separated(PolynomialChain((2, 2, 1), "t^2 + t", True)).phi, 8), "unknowns"),
        (lambda: chain_map(Chain((20, 20, 20, 20, 20))), "3200000 terms"),
        (lambda: separated(PolynomialChain((9, 9, 9, 1), "t^5")), "written out"),
        (lambda: PolynomialMap.from_terms([{(1,): 1}], ("x", "y")), r"got \(1,\)"),
        (lambda: PolynomialMap.from_terms([{(-1, 1): 1}], ("x", "y")), "at least 0"),
        (lambda: PolynomialMap((), ()), "at least one parameter"),
    ],
)
def test_what_is_too_large_or_no_polynomial_is_refused(call, words: str) -> None:
    with pytest.raises(WrongUse, match=words) as caught:
        call()
    assert "Nothing was computed." in str(caught.value)


def test_value_and_gradient_of_a_law() -> None:
    random = np.random.default_rng(0)
    law = law_of({(3, 1, 0): Fraction(2, 3), (0, 0, 2): Fraction(-1), (0, 1, 0): Fraction(1, 2)}, ("a", "b", "c"))
    assert law.formula == "6 c^2 - 4 a^3 b - 3 b" and law.degree == 4
    assert law_of({(2,): Fraction(-4), (1,): Fraction(6)}, ("a",)).formula == "2 a^2 - 3 a"
    theta, step = random.standard_normal(3), 1e-6
    numeric = [(law.value(theta + step * e) - law.value(theta - step * e)) / (2 * step) for e in np.eye(3)]
    assert np.allclose(law.gradient(theta), numeric, atol=1e-8)
    whole = np.array([2.0, -3.0, 5.0])
    assert np.array_equal(law_residues([law], whole, FIELD)[0], law.gradient(whole))
    with pytest.raises(ShapeMismatch, match=r"takes 3 parameters.*Nothing was computed"):
        law.value(np.zeros(4))


def test_records_are_read_back() -> None:
    for found in (
        polynomial_laws(chain_map(Chain((1, 2, 1)))),
        polynomial_laws(chain_map(Chain((1, 1, 1), bias=True)), 3),
    ):
        assert PolynomialLaws.from_json(json.loads(json.dumps(found.to_json()))) == found


def test_brackets_of_a_written_map_are_those_of_the_chain() -> None:
    for chain in CHAINS[:4]:
        point = residues((chain.parameters,), FIELD, rng(4))
        for depth in range(4):
            ranks = []
            for phi in (chain, chain_map(chain)):
                rows = [brackets(phi, point, FIELD, depth=n, seed=n) for n in range(depth + 1)]
                ranks.append(module.Echelon(chain.parameters, FIELD))
                ranks[-1].add(np.concatenate(rows))
            assert ranks[0].rank == ranks[1].rank


@pytest.mark.parametrize("activation", ["t^3", "t^2 + t"])
def test_second_derivatives_are_those_of_the_first(activation: str) -> None:
    """Along ``theta + t v`` the coefficient of t of the gradient is the Hessian applied to v."""
    phi = separated(PolynomialChain((2, 2, 1), activation, True)).phi
    line = residues((2, phi.parameters), FIELD, rng(7))
    drawn = phi.draw(1, FIELD, rng(8))
    slope = FIELD.matmul(drawn.hessian(line[:1], FIELD)[0], line[1][:, None])[:, 0]
    assert np.array_equal(drawn.gradients(line, FIELD)[1, 0], slope)


@pytest.mark.parametrize("activation", ["t^2", "t^3 - 2t", "t^2 + 2t + 1"])
def test_a_polynomial_network_written_out_has_the_count_of_its_circuit(activation: str) -> None:
    for bias in (False, True):
        network = PolynomialChain((2, 2, 1), activation, bias)
        found, counted = (
            polynomial_laws(separated(network).phi),
            count_polynomial_laws((2, 2, 1), activation, bias=bias),
        )
        assert found.most == counted.most
        assert len(found.laws) == counted.laws


@given(st.integers(-4000, 4000), st.integers(1, 4000))
def test_fractions_are_lifted(numerator: int, denominator: int) -> None:
    value, primes = Fraction(numerator, denominator), (67108859, 67108837)
    given_residues = [np.array([[Modulus(p).fraction(value)]]) for p in primes]
    assert lifted(given_residues, primes) == [[value]]


def test_nothing_is_lifted_where_no_small_fraction_fits() -> None:
    assert lifted([np.array([[0.0]]), np.array([[1.0]])], (11, 13)) is None
    assert lifted([np.zeros((1, 2)), np.zeros((1, 1))], (11, 13)) is None
    assert reduced_rows(np.zeros((0, 3)), 7)[0].shape == (0, 3)
