"""Fractions from residues: found where they are small enough, refused where they are not."""

from __future__ import annotations

from fractions import Fraction
from math import prod

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from intertwiner.numerics.modular import PRIMES, Modulus
from intertwiner.numerics.rational import joined, lifted, rational, reduced_rows

THREE = (*PRIMES[:2], 67108747)
SMALL = st.fractions(min_value=-40, max_value=40, max_denominator=10**6)


def residue(value: Fraction, modulus: int) -> int:
    return value.numerator * pow(value.denominator, -1, modulus) % modulus


@given(SMALL)
def test_a_small_fraction_comes_back(value: Fraction) -> None:
    modulus = prod(PRIMES[:2])
    assert rational(residue(value, modulus), modulus) == value
    assert rational(residue(value, modulus) - modulus, modulus) == value  # a residue may be written as one pleases


@given(st.integers(0, 10006))
def test_what_comes_back_has_the_residue_and_is_small(number: int) -> None:
    found = rational(number, 10007)
    if found is not None:
        assert (found.numerator - number * found.denominator) % 10007 == 0
        assert max(abs(found.numerator), found.denominator) ** 2 <= 10007 // 2


def test_the_bound_is_the_largest_at_which_the_answer_is_unique() -> None:
    modulus = 101  # sqrt(101 / 2) = 7.1
    small = {Fraction(a, b) for a in range(-7, 8) for b in range(1, 8)}
    assert {rational(n, modulus) for n in range(modulus)} - {None} == small
    assert rational(residue(Fraction(8, 7), modulus), modulus) != Fraction(8, 7)


def test_a_denominator_that_shares_a_factor_with_the_modulus_is_none() -> None:
    # 5 / 10 has no residue modulo 5 x 1009; without the check of the common factor 1 / 2 would be claimed.
    modulus = 5 * 1009
    refused = [n for n in range(modulus) if rational(n, modulus) is None]
    for n in set(range(modulus)) - set(refused):
        found = rational(n, modulus)
        assert found is not None and (found.numerator - n * found.denominator) % modulus == 0
    assert refused


@given(st.lists(st.integers(-(10**15), 10**15), min_size=1, max_size=4))
def test_residues_are_joined(numbers: list[int]) -> None:
    p, q = PRIMES[:2]
    a, b = (np.array([float(n % prime) for n in numbers]) for prime in (p, q))
    assert joined(a, p, b, q).tolist() == [n % (p * q) for n in numbers]
    assert joined(a - p, p, b, q).tolist() == [n % (p * q) for n in numbers]


@given(st.lists(SMALL, min_size=2, max_size=2))
def test_a_matrix_is_lifted_over_any_number_of_primes(row: list[Fraction]) -> None:
    for primes in (THREE[:2], THREE):
        residues = [np.array([[Modulus(p).fraction(x) for x in row]]) for p in primes]
        assert lifted(residues, primes) == [row]


def test_what_is_too_large_or_of_another_shape_is_not_lifted() -> None:
    large = Fraction(10**9 + 7, 10**9 + 9)
    residues = [np.array([[Modulus(p).fraction(large)]]) for p in THREE]
    assert lifted(residues[:2], THREE[:2]) != [[large]]
    assert lifted(residues, THREE) == [[large]]
    assert lifted([np.zeros((1, 2)), np.zeros((1, 3))], PRIMES[:2]) is None


def test_reduced_rows_depend_on_the_span_only() -> None:
    random = np.random.default_rng(0)
    field = Modulus(101)
    rows = random.integers(-50, 51, (3, 6)).astype(float)
    mixed = field.matmul(random.integers(-50, 51, (5, 3)).astype(float), rows)
    one, other = reduced_rows(rows, 101), reduced_rows(mixed, 101)
    assert one[1] == other[1] == [0, 1, 2]
    np.testing.assert_array_equal(one[0], other[0])
    np.testing.assert_array_equal(one[0][:, :3], np.eye(3))
    assert reduced_rows(np.array([[0.0, 2.0, 4.0]]), 7)[1] == [1]
    assert reduced_rows(np.array([[1.0, 6.0]]), 7)[0].tolist() == [[1.0, -1.0]]  # residues as everywhere: the least
    assert reduced_rows(np.zeros((0, 3)), 7)[1] == [] and reduced_rows(np.zeros((2, 3)), 7)[0].shape == (0, 3)


@pytest.mark.parametrize("prime", PRIMES[:2])
def test_a_modulus_finds_fractions_likewise(prime: int) -> None:
    field = Modulus(prime)
    assert field.rational(field.fraction(Fraction(-355, 113))) == Fraction(-355, 113)
    assert field.rational(field.fraction(Fraction(355, 113)), bound=300) is None
