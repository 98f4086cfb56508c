"""Planted monomials are found under noise, a moved row is named and nothing else, duplicates still give a bijection."""

from __future__ import annotations

import time

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from intertwiner.errors import ShapeMismatch
from intertwiner.gauge import match_rows, row_classes
from intertwiner.numerics.monomial import Monomial

seeds = st.integers(0, 2**32 - 1)
shapes = st.tuples(st.integers(1, 40), st.integers(1, 60))
tolerances = st.sampled_from([1e-10, 1e-5, 1e-2])


def planted(rng: np.random.Generator, n: int, sign: bool) -> Monomial:
    return Monomial(rng.permutation(n), rng.choice([-1.0, 1.0], n) if sign else None)


def noise(rng: np.random.Generator, rows: np.ndarray, size: float) -> np.ndarray:
    """Noise of exactly this size relative to each row."""
    step = rng.normal(size=rows.shape)
    return size * step / np.linalg.norm(step, axis=1, keepdims=True) * np.linalg.norm(rows, axis=1, keepdims=True)


@given(seeds, shapes, st.booleans())
def test_exact_monomials_are_found_exactly(seed: int, shape: tuple[int, int], sign: bool) -> None:
    rng = np.random.default_rng(seed)
    source = rng.normal(size=shape)
    p = planted(rng, shape[0], sign)
    match = match_rows(p.apply(source), source, sign=sign, tolerance=0.0)
    assert match.complete and match.exact and match.worst == 0
    np.testing.assert_array_equal(match.monomial.apply(source), p.apply(source))
    if shape[1] > 1:
        assert match.monomial == p


@given(seeds, shapes, st.booleans(), tolerances)
def test_planted_monomials_are_found_under_noise(
    seed: int, shape: tuple[int, int], sign: bool, tolerance: float
) -> None:
    rng = np.random.default_rng(seed)
    source = rng.normal(size=shape) * np.exp2(rng.uniform(-3, 3, (shape[0], 1)))
    p = planted(rng, shape[0], sign)
    target = p.apply(source)
    target = target + noise(rng, target, 0.1 * tolerance)
    match = match_rows(target, source, sign=sign, tolerance=tolerance)
    assert match.complete and not match.exact
    assert match.worst <= tolerance
    moved = match.monomial.apply(source)
    assert np.all(np.linalg.norm(target - moved, axis=1) <= tolerance * np.linalg.norm(target, axis=1) * (1 + 1e-9))


@given(seeds, st.integers(2, 40), st.integers(8, 60), st.booleans(), st.sampled_from([1e-10, 1e-5]))
def test_a_row_moved_by_ten_tolerances_is_named(seed: int, n: int, r: int, sign: bool, tolerance: float) -> None:
    rng = np.random.default_rng(seed)
    source = rng.normal(size=(n, r))
    p = planted(rng, n, sign)
    target = p.apply(source)
    target = target + noise(rng, target, 0.1 * tolerance)
    row = int(rng.integers(n))
    target[row] += noise(rng, target, 10 * tolerance)[row]
    match = match_rows(target, source, sign=sign, tolerance=tolerance)
    assert match.unmatched.tolist() == [row]
    assert match.unused.tolist() == [int(p.sources[row])]
    assert match.monomial is None and match.nearest == p
    assert 9 * tolerance < match.residual[row] < 11 * tolerance


@given(seeds, st.integers(1, 30), st.integers(1, 20), st.booleans())
def test_duplicates_and_zero_rows_still_give_a_bijection(seed: int, n: int, r: int, sign: bool) -> None:
    rng = np.random.default_rng(seed)
    few = np.concatenate([rng.normal(size=(3, r)), np.zeros((1, r))])
    source = few[rng.integers(0, 4, n)]
    if sign:
        source = source * rng.choice([-1.0, 1.0], (n, 1))
    for size, tolerance in ((0.0, 0.0), (1e-7, 1e-5)):
        target = planted(rng, n, sign).apply(source)
        target = target + noise(rng, target, size)
        match = match_rows(target, source, sign=sign, tolerance=tolerance)
        assert match.complete
        assert match.exact == (size == 0 or not source.any())


def test_a_sign_is_used_only_where_it_is_allowed(rng: np.random.Generator) -> None:
    rows = rng.normal(size=(20, 9))
    assert match_rows(-rows, rows, sign=True, tolerance=0.0).monomial == Monomial.diagonal(-np.ones(20))
    assert len(match_rows(-rows, rows, sign=False, tolerance=1e-5).unmatched) == 20


def test_opposite_pairs_need_no_sign(rng: np.random.Generator) -> None:
    """With w and -w both present, a permutation that swaps them exists."""
    half = rng.normal(size=(10, 6))
    rows = np.concatenate([half, -half])
    match = match_rows(-rows, rows, sign=False, tolerance=0.0)
    assert match.monomial == Monomial(np.roll(np.arange(20), 10))
    assert match_rows(-rows, rows, sign=True, tolerance=0.0).complete


def test_a_cloud_of_near_rows_is_matched_along_alternating_paths() -> None:
    """Rows nearer to each other than the tolerance take each other's partners; a bijection exists all the same."""
    rng = np.random.default_rng(3)
    for _ in range(100):
        source = np.column_stack([np.full(12, 1000.0), rng.uniform(-2, 2, (12, 2))])
        step = rng.normal(size=(12, 3))
        target = source[rng.permutation(12)] + 0.95 * step / np.linalg.norm(step, axis=1, keepdims=True)
        match = match_rows(target, source, sign=False, tolerance=1e-3)
        assert match.complete and match.worst <= 1e-3


def test_crowded_projections_are_repaired(rng: np.random.Generator) -> None:
    """Half precision: hundreds of rows fall into each other's windows along any direction."""
    source = rng.normal(size=(300, 200))
    p = planted(rng, 300, True)
    target = p.apply(source)
    target = target + noise(rng, target, 1e-2)
    assert match_rows(target, source, sign=True, tolerance=5e-2).monomial == p


def test_rows_that_do_not_fit_at_all(rng: np.random.Generator) -> None:
    for n in (5, 700):
        match = match_rows(rng.normal(size=(n, 4)), rng.normal(size=(n, 4)), sign=True, tolerance=1e-10)
        assert len(match.unmatched) == n and not match.exact
        assert np.all(match.residual > 1e-10)


def test_no_rows_no_columns_and_not_a_number() -> None:
    empty = match_rows(np.zeros((0, 3)), np.zeros((0, 3)), sign=True, tolerance=0.0)
    assert empty.complete and empty.exact and empty.worst == 0
    assert match_rows(np.zeros((3, 0)), np.zeros((3, 0)), sign=True, tolerance=0.0).complete
    rows = np.arange(6.0).reshape(3, 2)
    broken = rows.copy()
    broken[1, 0] = np.nan
    assert 1 in match_rows(broken, rows, sign=False, tolerance=1e-5).unmatched
    with pytest.raises(ShapeMismatch, match="cannot be matched"):
        match_rows(rows, rows[:2], sign=False, tolerance=0.0)


def test_zero_is_matched_with_zero_only(rng: np.random.Generator) -> None:
    rows = rng.normal(size=(4, 3))
    target = rows.copy()
    target[2] = 0.0
    match = match_rows(target, rows, sign=False, tolerance=1e-2)
    assert match.unmatched.tolist() == [2] and np.isinf(match.residual[2])
    dust = rows.copy()
    target[2], dust[2] = 0.0, 1e-18
    assert not match_rows(dust, target, sign=False, tolerance=1e-10).complete
    assert match_rows(dust, target, sign=False, tolerance=1e-10, floor=1e-6).complete


def test_the_norm_that_a_residual_is_relative_to_is_the_rows_own(rng: np.random.Generator) -> None:
    """A tiny row is not excused by large neighbours."""
    rows = rng.normal(size=(6, 5))
    rows[3] *= 1e-9
    target = rows.copy()
    target[3, 0] += 1e-3 * np.linalg.norm(rows[3])
    assert match_rows(target, rows, sign=False, tolerance=1e-5).unmatched.tolist() == [3]


def test_speed(rng: np.random.Generator) -> None:
    source = rng.normal(size=(480, 480))
    target = planted(rng, 480, True).apply(source)
    seconds = []
    for _ in range(15):
        start = time.perf_counter()
        match_rows(target, source, sign=True, tolerance=1e-5)
        seconds.append(time.perf_counter() - start)
    assert min(seconds) < 8e-3  # 0.7 ms alone on one core; ten times that on a busy machine


# Classes


@given(seeds, st.integers(1, 40), st.integers(1, 12), st.booleans(), st.sampled_from([0.0, 1e-5]))
def test_planted_classes_are_found(seed: int, n: int, r: int, sign: bool, tolerance: float) -> None:
    rng = np.random.default_rng(seed)
    few = rng.normal(size=(5, r)) + 3 * np.sign(rng.normal(size=(5, r)))
    few = few[[k for k in range(5) if all(_apart(few[k], few[j], sign) for j in range(k))]]
    few = np.concatenate([few, np.zeros((1, r))])
    which = rng.integers(0, len(few), n)
    flips = rng.choice([-1.0, 1.0], n) if sign else np.ones(n)
    rows = few[which] * flips[:, None]
    rows = rows + noise(rng, rows, 0.1 * tolerance)
    classes = row_classes(rows, sign=sign, tolerance=tolerance)
    np.testing.assert_array_equal(classes.labels[:, None] == classes.labels, which[:, None] == which)
    first = classes.representatives[classes.labels]
    np.testing.assert_allclose(rows, classes.sign[:, None] * rows[first], atol=1e-3 * (tolerance > 0))
    assert np.all(np.diff(classes.representatives) > 0)
    np.testing.assert_array_equal(classes.labels[classes.representatives], np.arange(len(classes.representatives)))
    assert np.all(first <= np.arange(n)) and classes.sizes.sum() == n
    assert classes.distinct == (len(np.unique(which)) == n)


def _apart(a: np.ndarray, b: np.ndarray, sign: bool) -> bool:
    return min(np.linalg.norm(a - b), np.linalg.norm(a + b) if sign else np.inf) > 1e-2


def test_classes_are_transitively_closed() -> None:
    """Steps of .8 tolerance join, however far the ends are apart; one step of 1.2 parts."""
    x = 1 + np.cumsum([0, 0.8, 0.8, 0.8, 1.2, 0.8]) * 1e-3
    rows = np.column_stack([x, np.zeros(6)])
    order = np.array([3, 0, 5, 2, 4, 1])
    classes = row_classes(rows[order], sign=False, tolerance=1e-3)
    np.testing.assert_array_equal(classes.labels, [0, 0, 1, 0, 1, 0])


def test_classes_of_nothing() -> None:
    assert len(row_classes(np.zeros((0, 4)), sign=True, tolerance=1e-5).labels) == 0
    assert len(row_classes(np.zeros((3, 0)), sign=True, tolerance=1e-5).representatives) == 1
    with pytest.raises(ShapeMismatch, match="no matrix"):
        row_classes(np.zeros(3), sign=True, tolerance=1e-5)
