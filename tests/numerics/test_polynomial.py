"""Polynomials as texts: what is written reads back, and what is none is refused."""

from __future__ import annotations

from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from intertwiner.errors import WrongUse
from intertwiner.numerics.polynomial import read_terms, write_terms
from intertwiner.training.polynomial_chain import read_polynomial
from intertwiner.variety import Activation
from intertwiner.variety.activation import activation

TERMS = st.dictionaries(st.integers(0, 9), st.fractions(-9, 9, max_denominator=9).filter(bool), min_size=1)


@given(TERMS)
def test_what_is_written_reads_back(terms: dict[int, Fraction]) -> None:
    assert read_terms(write_terms(terms.items())) == tuple(sorted(terms.items()))


@pytest.mark.parametrize(
    ("text", "terms"),
    [
        ("t^2", {2: 1}), ("t**2", {2: 1}), ("2*t^3 - t", {3: 2, 1: -1}), ("1/2 t ^ 2+0.25", {2: "1/2", 0: "1/4"}),
        ("t + t", {1: 2}), ("t - t + 3", {0: 3}), ("linear", {1: 1}), ("identity", {1: 1}), ("-t", {1: -1}),
        ("t - t", {}),
    ],
)  # fmt: skip
def test_spellings(text: str, terms: dict[int, str]) -> None:
    assert read_terms(text) == tuple(sorted((k, Fraction(c)) for k, c in terms.items()))


@pytest.mark.parametrize(
    "text", ["", " ", "relu", "t^", "t^-1", "2x", "t t", "+", "t +", "1/0 t", "t^2.5", "t^1/2", "++t"]
)
def test_what_is_no_polynomial(text: str) -> None:
    assert read_terms(text) is None
    for read in (activation, read_polynomial):
        with pytest.raises(WrongUse, match="no polynomial in t"):
            read(text)


@pytest.mark.parametrize("text", ["t^2", "t**3 + 2t", "1/2*t^2 - t + 1", "linear", "0.5 t^4"])
def test_training_and_variety_read_the_same(text: str) -> None:
    assert read_polynomial(text) == activation(text).coefficients
    assert activation(str(activation(text))) == activation(text) and isinstance(activation(text), Activation)
