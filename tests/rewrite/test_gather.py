"""Copies of a channel gathered into it: what perturbations do to one copy is averaged over all of them."""

from __future__ import annotations

import numpy as np
import pytest

from intertwiner.algebra import dihedral
from intertwiner.numerics.monomial import Monomial
from intertwiner.rewrite.gather import gathered_rows
from intertwiner.symmetry import TensorAction, image

D4 = dihedral(4)


def moves() -> list[Monomial]:
    generators = [a.matrix_on((1, 2)) for a in image(D4).on(D4, (1, 3, 3)) if isinstance(a, TensorAction)]
    return D4.extend(generators, lambda a, b: a @ b, Monomial.identity(9))  # type: ignore[arg-type]


def orbit(noise: float, factors: np.ndarray, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """A row with bias, and all eight images of it, each a multiple with noise of its own."""
    rng = np.random.default_rng(seed)
    row = rng.normal(size=10)
    images = [np.append(m.inverse().apply_right(row[None, :-1])[0], row[-1]) for m in moves()]
    return row, factors[:, None] * (np.array(images) + noise * rng.normal(size=(8, 10)))


def gathered(rows: np.ndarray, *, chosen: list[int], signed: bool = False, scaled: bool = False) -> np.ndarray:
    return gathered_rows(
        rows, moves(), np.eye(10), chosen=np.array(chosen), cosine=0.95, signed=signed, scaled=scaled
    )  # fmt: skip


@pytest.mark.parametrize(
    ("factors", "signed", "scaled"),
    [
        (np.ones(8), False, False),
        (np.array([1.0, -1, 1, -1, -1, 1, 1, -1]), True, False),
        (np.array([1.0, 2, 0.5, 3, 1.5, 2.5, 0.3, 0.1]), False, True),
    ],
    ids=["alone", "signs", "sizes"],
)
def test_an_orbit_with_noise_becomes_its_mean(factors: np.ndarray, signed: bool, scaled: bool) -> None:
    row, rows = orbit(0.05, factors)
    (found,) = gathered(rows, chosen=[0], signed=signed, scaled=scaled)
    alone = np.linalg.norm(rows[0] - row)
    assert np.linalg.norm(found - row) < 0.7 * alone
    if not np.all(factors == 1):  # without the gauge most images are something else
        assert np.linalg.norm(gathered(rows, chosen=[0])[0] - row) > np.linalg.norm(found - row)


def test_what_is_no_copy_stays_out() -> None:
    rng = np.random.default_rng(4)
    rows = rng.normal(size=(6, 10))
    assert np.array_equal(gathered(rows, chosen=[2, 0], signed=True, scaled=True), rows[[2, 0]])
    _, copies = orbit(0.05, np.ones(8))
    assert not np.array_equal(gathered(copies, chosen=[0]), copies[[0]])


def test_rows_that_were_chosen_stand_for_themselves() -> None:
    _, rows = orbit(0.05, np.ones(8))
    assert np.array_equal(gathered(rows, chosen=list(range(8))), rows)


def test_the_bias_counts() -> None:
    _, rows = orbit(0.0, np.ones(8))
    rows[1:, -1] += 2.0
    assert np.array_equal(gathered(rows, chosen=[0]), rows[[0]])


def test_a_row_that_does_not_vary_is_left_alone() -> None:
    rows = np.zeros((3, 10))
    rows[:, -1] = 1.0, 2.0, 3.0
    assert np.array_equal(gathered(rows, chosen=[0]), rows[[0]])
