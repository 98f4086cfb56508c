"""Residues against whole numbers of Python and against flint; echelon forms with planted rank and null space."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest
from flint import nmod_mat
from hypothesis import given
from hypothesis import strategies as st

from intertwiner.errors import NonFiniteWeights, WrongUse
from intertwiner.numerics.modular import FAST_PRIME, PRIMES, TERMS, Modulus
from intertwiner.numerics.modular_echelon import Echelon, rank_of_residues

FLOATS = st.floats(allow_nan=False, allow_infinity=False)
FIELD = Modulus()


def residue(value: Fraction, prime: int) -> int:
    return value.numerator * pow(value.denominator, -1, prime) % prime


def random_residues(random: np.random.Generator, *shape: int, prime: int = PRIMES[0]) -> np.ndarray:
    return Modulus(prime).reduce(random.integers(0, prime, shape).astype(np.float64))


def flint_rank(matrix: np.ndarray, prime: int) -> int:
    whole = [int(v) % prime for v in matrix.ravel()]
    return int(nmod_mat(*matrix.shape, whole, prime).rank())


@given(st.lists(FLOATS, min_size=1, max_size=20), st.sampled_from([3, 7, 8191, *PRIMES]))
def test_every_finite_float_is_the_dyadic_rational_that_it_is(values: list[float], prime: int) -> None:
    found = Modulus(prime).of(np.array(values))
    assert [int(v) % prime for v in found] == [residue(Fraction(v), prime) for v in values]
    assert np.abs(found).max() <= (prime + 1) / 2


@given(st.lists(st.integers(-(2**53) + 1, 2**53 - 1), min_size=1, max_size=30))
def test_reduction_is_exact_up_to_two_to_the_53(values: list[int]) -> None:
    found = FIELD.reduce(np.array(values, dtype=np.float64))
    assert all((int(r) - v) % FIELD.prime == 0 for r, v in zip(found, values, strict=True))
    assert np.abs(found).max() <= (FIELD.prime + 1) / 2


def test_products_are_those_of_whole_numbers(rng: np.random.Generator) -> None:
    a, b = random_residues(rng, 7, 300), random_residues(rng, 300, 5)
    whole = a.astype(int).astype(object) @ b.astype(int).astype(object)
    assert not ((FIELD.matmul(a, b).astype(int) - whole) % FIELD.prime).any()
    assert not ((FIELD.mul(a[:, :5], b[:7]).astype(int) - a[:, :5].astype(int) * b[:7].astype(int)) % FIELD.prime).any()
    assert np.array_equal(FIELD.power(a, 5), FIELD.mul(FIELD.mul(FIELD.mul(a, a), FIELD.mul(a, a)), a))


def test_the_largest_entries_and_the_longest_sums_stay_exact() -> None:
    top = float((FIELD.prime - 1) // 2)
    for terms in (TERMS, TERMS + 1):
        found = FIELD.matmul(np.full((1, terms), top), np.full((terms, 1), top))[0, 0]
        assert (int(found) - terms * int(top) ** 2) % FIELD.prime == 0
    fast = Modulus(FAST_PRIME)
    top = float((FAST_PRIME - 1) // 2)
    for terms in (511, 512, 513, 3000):
        found = fast.matmul(np.full((1, terms), top), np.full((terms, 1), top))[0, 0]
        assert (int(found) - terms * int(top) ** 2) % FAST_PRIME == 0
    top = float((FIELD.prime - 1) // 2)
    # One product more per half and the sum could not be exact in float64 without the split.
    assert TERMS * int(top) ** 2 > 2**53


@pytest.mark.parametrize("prime", [FAST_PRIME, *PRIMES])
def test_long_sums_of_large_odd_entries(prime: int, rng: np.random.Generator) -> None:
    """Neither factor has trailing zeros, so a sum that is not exact shows."""
    field, half = Modulus(prime), (prime - 1) // 2
    a, b = (np.where(rng.random((2, TERMS)) < 0.9, 1, -1) * (half - 2 * rng.integers(0, 999, (2, TERMS)))).astype(float)
    whole = sum(int(x) * int(y) for x, y in zip(a, b, strict=True))
    assert (int(field.matmul(a[None], b[:, None])[0, 0]) - whole) % prime == 0


def test_inverses(rng: np.random.Generator) -> None:
    a = random_residues(rng, 40, 40)
    a[0, 0] = 0
    assert np.array_equal(FIELD.matmul(FIELD.invert(a), a), np.eye(40))
    assert FIELD.mul(np.array([FIELD.inverse(12345.0)]), 12345.0) == 1
    with pytest.raises(WrongUse, match="zero has no inverse"):
        FIELD.inverse(0.0)
    a[1] = a[0]
    with pytest.raises(WrongUse, match="singular"):
        FIELD.invert(a)


@given(st.integers(-5000, 5000), st.integers(1, 5000))
def test_small_fractions_are_found_again(numerator: int, denominator: int) -> None:
    value = Fraction(numerator, denominator)
    assert FIELD.rational(FIELD.fraction(value)) == value


def test_refusals() -> None:
    with pytest.raises(WrongUse, match=r"odd prime below 2\^26"):
        Modulus(1 << 27)
    with pytest.raises(WrongUse, match="no residue modulo 7"):
        Modulus(7).fraction(Fraction(1, 14))
    with pytest.raises(NonFiniteWeights, match="1 of 2 numbers"):
        FIELD.of(np.array([1.0, np.nan]))


@pytest.mark.parametrize("prime", [5, 101, FAST_PRIME, *PRIMES])
@pytest.mark.parametrize(("m", "n", "r"), [(1, 1, 1), (30, 30, 30), (200, 90, 41), (90, 200, 41), (300, 310, 299)])
def test_rank_is_that_of_flint_and_the_planted_one(
    m: int, n: int, r: int, prime: int, rng: np.random.Generator
) -> None:
    field = Modulus(prime)
    a = field.matmul(random_residues(rng, m, r, prime=prime), random_residues(rng, r, n, prime=prime))
    a[:, rng.permutation(n)[: n // 10]] = 0
    found = rank_of_residues(a, field, block=64)
    assert found == flint_rank(a, prime)
    assert found <= r
    assert rank_of_residues(np.ascontiguousarray(a.T), field) == found


def test_the_null_space_is_all_of_it_and_growth_is_counted(rng: np.random.Generator) -> None:
    a = FIELD.matmul(random_residues(rng, 120, 50), random_residues(rng, 50, 80))
    space = Echelon(80, FIELD)
    gained = [space.add(part) for part in np.split(a, 6)]
    assert gained == [20, 20, 10, 0, 0, 0]
    null = space.null_space()
    assert null.shape == (80, 30)
    assert not FIELD.matmul(a, null).any()
    assert np.array_equal(null[space.free], np.eye(30))
    assert not space.remainder(a).any()
    assert space.remainder(random_residues(rng, 1, 80)).any()


def test_a_sparse_matrix_with_repeated_and_zero_rows(rng: np.random.Generator) -> None:
    a = random_residues(rng, 150, 150) * (rng.random((150, 150)) < 0.03)
    a[70:] = a[:80]
    a[3] = 0
    assert rank_of_residues(a, FIELD, block=50) == flint_rank(a, FIELD.prime)


def test_rank_modulo_a_prime_can_be_too_small_and_never_too_large() -> None:
    matrix = np.array([[7.0, 0.0], [0.0, 1.0]])
    assert rank_of_residues(Modulus(7).of(matrix), Modulus(7)) == 1
    assert rank_of_residues(FIELD.of(matrix), FIELD) == 2
