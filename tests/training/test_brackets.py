"""Gradients, Hessians and brackets modulo p against paths written out, differences, and the definition of a bracket."""

from __future__ import annotations

import itertools
from math import prod

import numpy as np
import pytest

from intertwiner.errors import WrongUse
from intertwiner.numerics.modular import Modulus
from intertwiner.numerics.modular_echelon import Echelon, rank_of_residues
from intertwiner.numerics.seeds import rng
from intertwiner.training import Chain, brackets, thin_gradients
from intertwiner.training.potentials import residues

FIELD = Modulus()
CHAINS = [
    Chain(widths, activation, bias)
    for widths in [(2, 3, 2), (2, 2, 3, 1), (1, 2, 2, 2, 2)]
    for activation, bias in itertools.product(["linear", "relu"], [False, True])
]


def curve(chain: Chain, orders: int, seed: int = 1) -> np.ndarray:
    return residues((orders, chain.parameters), FIELD, rng(seed))


def monomials(chain: Chain) -> list[tuple[tuple[int, ...], tuple[int, ...]]]:
    """Every path as the units it ends and starts in and the parameters on it; None stands for a bias."""
    out = []
    for start in range(chain.depth if chain.bias else 1):
        for first in [(0, u) for u in range(chain.widths[0])] if start == 0 else [(start, None)]:
            out += extended(chain, first)
    if chain.bias:
        out += extended(chain, (0, None))
    return out


def extended(chain: Chain, first: tuple[int, int | None]) -> list[tuple[tuple[int, ...], tuple[int, ...]]]:
    layer, unit = first
    out = []
    for units in itertools.product(*(range(w) for w in chain.widths[layer + 1 :])):
        numbers, below = [], unit
        for k, above in enumerate(units):
            matrix = chain.matrices[layer + k]
            numbers.append(int(matrix[above, -1 if below is None else below]))
            below = above
        out.append(((units[-1], -1 if unit is None else unit), tuple(numbers)))
    return out


def written_out(chain: Chain, theta: np.ndarray) -> np.ndarray:
    """Gradients of all entries of phi, path by path in whole numbers."""
    values, p = [int(t) for t in theta], FIELD.prime
    rows: dict[object, list[int]] = {}
    for ends, numbers in monomials(chain):
        row = rows.setdefault(ends if chain.activation == "linear" else numbers, [0] * len(values))
        for n in numbers:
            row[n] = (row[n] + prod(values[m] for m in numbers if m != n)) % p
    return FIELD.reduce(np.array(list(rows.values()), dtype=float))


@pytest.mark.parametrize("chain", CHAINS, ids=str)
def test_the_fields_are_the_gradients_of_phi(chain: Chain) -> None:
    theta = curve(chain, 1)
    expected = written_out(chain, theta[0])
    assert len(expected) == chain.dimension
    drawn = chain.draw(chain.dimension, FIELD, rng(2)).gradients(theta, FIELD)[0]
    space = Echelon(chain.parameters, FIELD)
    space.add(expected)
    assert rank_of_residues(drawn, FIELD) == space.rank
    assert not space.remainder(drawn).any()
    drawn[0, 0] += 1  # a moved entry is seen
    assert space.full or space.remainder(drawn).any()


@pytest.mark.parametrize("chain", CHAINS, ids=str)
def test_the_hessian_is_the_difference_of_gradients(chain: Chain) -> None:
    one = chain.draw(1, FIELD, rng(3))
    theta = curve(chain, 1)
    base = one.gradients(theta, FIELD)[0, 0]
    # phi is linear in every single parameter, so a difference over a step of one is exact.
    columns = [one.gradients(theta + np.eye(chain.parameters)[[k]], FIELD)[0, 0] - base for k in range(len(base))]
    np.testing.assert_array_equal(one.hessian(theta, FIELD)[0], FIELD.reduce(np.array(columns).T))


@pytest.mark.parametrize("chain", CHAINS, ids=str)
def test_series_are_the_values_along_the_curve(chain: Chain) -> None:
    several, one = chain.draw(3, FIELD, rng(4)), chain.draw(1, FIELD, rng(5))
    theta = curve(chain, 2)
    orders = chain.depth + 1  # along a line everything is a polynomial of at most this many coefficients
    line = np.concatenate([theta, np.zeros((orders - 2, chain.parameters))])
    for t in (1.0, -2.0, 7.0):
        here = FIELD.reduce(theta[0] + t * theta[1])[None]
        powers = [FIELD.power(np.array(t), n) for n in range(orders)]
        for series, value in [
            (several.gradients(line, FIELD), several.gradients(here, FIELD)[0]),
            (one.hessian(line, FIELD), one.hessian(here, FIELD)[0]),
        ]:
            total = sum(FIELD.mul(s, power) for s, power in zip(series, powers, strict=True))
            np.testing.assert_array_equal(FIELD.reduce(np.asarray(total)), value)


@pytest.mark.parametrize("chain", CHAINS, ids=str)
def test_depth_one_is_the_bracket_by_its_definition(chain: Chain) -> None:
    point, seed = curve(chain, 1), 6
    random = rng(seed)
    count = min(chain.dimension, chain.parameters)
    fields, control = chain.draw(count, FIELD, random), chain.draw(1, FIELD, random)
    X, Y = (p.gradients(point, FIELD)[0] for p in (control, fields))
    slope = control.hessian(point, FIELD)[0]
    derivative = fields.gradients(np.stack([point[0], X[0]]), FIELD)[1]  # DY X
    expected = FIELD.reduce(derivative - FIELD.matmul(Y, slope))
    np.testing.assert_array_equal(brackets(chain, point[0], FIELD, depth=1, seed=seed), expected)
    assert expected.any()


def test_deeper_brackets_stay_in_a_lie_algebra_that_is_known() -> None:
    """Two linear layers: V and its first brackets close, so a field of depth three adds nothing; a random row does."""
    chain = Chain((3, 4, 2))
    point = curve(chain, 1)[0]
    space = Echelon(chain.parameters, FIELD)
    for seed in range(4):
        space.add(brackets(chain, point, FIELD, depth=0, seed=seed))
        space.add(brackets(chain, point, FIELD, depth=1, seed=seed))
    assert space.rank == chain.parameters - 10
    for depth in (2, 3, 4):
        assert not space.remainder(brackets(chain, point, FIELD, depth=depth, seed=9)).any()
    assert space.remainder(curve(chain, 1, seed=8)).any()


def test_the_thin_stretch_is_orthogonal_to_every_bracket() -> None:
    chain = Chain((2, 1, 3, 2, 1, 2))
    point = curve(chain, 1)[0]
    rows = thin_gradients(chain, point, FIELD)
    assert len(rows) == rank_of_residues(rows, FIELD) == 3 + 6 + 2 - 1
    for depth in range(4):
        assert not FIELD.matmul(rows, brackets(chain, point, FIELD, depth=depth).T).any()
    rows[0, 2] += 1  # the first parameter of the stretch
    assert FIELD.matmul(rows, brackets(chain, point, FIELD, depth=0).T).any()


def test_a_depth_beyond_the_prime_is_refused() -> None:
    with pytest.raises(WrongUse, match=r"below the prime 7, got 7.*Nothing was computed"):
        brackets(Chain((1, 1)), np.ones(1), Modulus(7), depth=7)
