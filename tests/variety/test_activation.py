"""Activations: spelt, read back, evaluated, and recognised as monomials in disguise."""

from __future__ import annotations

from fractions import Fraction
from math import comb

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from intertwiner.errors import WrongUse
from intertwiner.variety.activation import LARGEST, activation, monomial, polynomial
from intertwiner.variety.jacobian import Rationals

rationals = st.fractions(min_value=-9, max_value=9, max_denominator=6)


@given(st.lists(rationals, min_size=2, max_size=6).filter(lambda c: any(c[1:])))
def test_what_is_printed_is_read_back(coefficients: list[Fraction]) -> None:
    sigma = polynomial(coefficients)
    assert activation(str(sigma)) == sigma
    assert sigma.coefficients == tuple(coefficients[: sigma.degree + 1])


@given(st.lists(rationals, min_size=2, max_size=6).filter(lambda c: any(c[1:])), rationals)
def test_value_and_slope_are_those_of_the_polynomial(coefficients: list[Fraction], z: Fraction) -> None:
    sigma, at = polynomial(coefficients), np.array([z], dtype=object)
    assert sigma.value(at, Rationals())[0] == sum(c * z**k for k, c in enumerate(coefficients))
    assert sigma.slope(at, Rationals())[0] == sum(k * c * z ** (k - 1) for k, c in enumerate(coefficients) if k)


@given(st.integers(1, 6), rationals.filter(bool), rationals, rationals)
def test_a_shifted_monomial_is_recognised(r: int, c: Fraction, shift: Fraction, constant: Fraction) -> None:
    coefficients = [c * comb(r, k) * shift ** (r - k) for k in range(r + 1)]
    coefficients[0] += constant
    found = polynomial(coefficients).centre()
    assert found == ((shift, constant) if r > 1 else (0, c * shift + constant))
    if r > 2:
        coefficients[1] += 1
        assert polynomial(coefficients).centre() is None


def test_a_missing_power_is_noticed() -> None:
    assert activation("t^3 + 3t^2").centre() is None
    assert activation("t^3 + 3t^2 + 3t").centre() == (1, -1)
    assert activation("t^3 + 1").centre() == (0, 1)


@pytest.mark.parametrize(
    ("text", "same"),
    [("linear", [0, 1]), ("t^3+2t", [0, 2, 0, 1]), ("-t + 1/2 t**2", [0, -1, "1/2"]), ("2*t^2 + 1.5", [1.5, 0, 2])],
)
def test_spellings(text: str, same: list) -> None:
    assert activation(text) == polynomial(same)


@pytest.mark.parametrize("text", ["relu", "", "t^", "t^-1", "2 t t", "t + + t", "sin(t)", None])
def test_other_activations_are_refused(text) -> None:
    with pytest.raises(WrongUse, match=r"no polynomial in t(.|\n)*Nothing was computed"):
        activation(text)


@pytest.mark.parametrize("r", [0, -1, True, 2.0, "2"])
def test_degrees_that_are_no_whole_numbers_are_refused(r) -> None:
    with pytest.raises(WrongUse, match="whole number r"):
        monomial(r)


def test_constants_and_huge_degrees_are_refused() -> None:
    with pytest.raises(WrongUse, match="must not be constant"):
        polynomial([3])
    with pytest.raises(WrongUse, match="must not be constant"):
        activation("t - t")
    with pytest.raises(WrongUse, match=f"the bound is {LARGEST}"):
        monomial(LARGEST + 1)
    with pytest.raises(WrongUse, match="rational numbers"):
        polynomial([0, "x"])
    with pytest.raises(WrongUse, match="rational numbers"):
        polynomial([0, float("nan")])
