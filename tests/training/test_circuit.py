"""Circuits against polynomials written out by flint: gradients, Hessians, brackets; the arithmetic of jets."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest
from flint import Ordering, fmpq, fmpq_mpoly_ctx
from hypothesis import given, settings
from hypothesis import strategies as st

from intertwiner.numerics.modular import Modulus
from intertwiner.numerics.modular_echelon import rank_of_residues
from intertwiner.numerics.seeds import rng
from intertwiner.training import Circuit, PolynomialChain, brackets
from intertwiner.training import circuit as circuit_module
from intertwiner.training.circuit import CircuitFunctions
from intertwiner.training.potentials import residues
from intertwiner.training.recorder import Recorder, with_sum

FIELD = Modulus()
NETWORKS = [
    PolynomialChain((2, 2, 1), "t^2"),
    PolynomialChain((1, 2, 2), "t^2+t", bias=True),
    PolynomialChain((1, 2, 1, 1), "2t^2-1/3", bias=True),
]


class Written:
    """The functions of a polynomial network, written out in its parameters."""

    def __init__(self, network: PolynomialChain) -> None:
        self.network = network
        names = [f"t{k}" for k in range(network.parameters)]
        self.ring = fmpq_mpoly_ctx.get(names, Ordering.lex)

    def functions(self, drawn: CircuitFunctions) -> list:
        """``<c, f(x; theta)>`` for the numbers that were drawn: whole residues, so over Q."""
        (inputs,), (ends,) = drawn.free.values(), drawn.weights
        return [self._one(x.ravel(), c.ravel()) for x, c in zip(inputs, ends, strict=True)]

    def _one(self, x: np.ndarray, c: np.ndarray):
        network, gens = self.network, self.ring.gens()
        values = [self.ring.constant(int(v)) for v in x]
        for layer, numbers in enumerate(network.layers.matrices):
            fan_in, fan_out = network.widths[layer : layer + 2]
            rows = []
            for row in numbers[:fan_out]:
                total = sum(
                    (gens[int(n)] * v for n, v in zip(row[:fan_in], values, strict=True)), self.ring.constant(0)
                )
                rows.append(total + gens[int(row[fan_in])] if network.bias else total)
            last = layer == network.layers.depth - 1
            values = rows if last else [self._activated(z) for z in rows]
        return sum((int(w) * v for w, v in zip(c, values, strict=True)), self.ring.constant(0))

    def _activated(self, z):
        pieces = [fmpq(a.numerator, a.denominator) * z**k for k, a in enumerate(self.network.polynomial)]
        return sum(pieces, self.ring.constant(0))

    def field(self, f) -> list:
        return [f.derivative(k) for k in range(self.network.parameters)]

    def bracket(self, X: list, Y: list) -> list:
        """``[X, Y] = DY X - DX Y``."""
        size = range(self.network.parameters)
        zero = self.ring.constant(0)
        return [sum((Y[i].derivative(k) * X[k] - X[i].derivative(k) * Y[k] for k in size), zero) for i in size]

    def at(self, vector: list, point: np.ndarray) -> np.ndarray:
        where = [fmpq(int(v)) for v in point]
        values = [f(*where) if f else fmpq(0) for f in vector]
        return np.array([FIELD.fraction(Fraction(int(v.p), int(v.q))) for v in values])


@pytest.mark.parametrize("network", NETWORKS, ids=str)
def test_gradients_and_hessians_are_those_of_the_polynomials(network: PolynomialChain) -> None:
    drawn, point = network.draw(3, FIELD, rng(1)), residues((1, network.parameters), FIELD, rng(2))
    written = Written(network)
    functions = written.functions(drawn)
    found = drawn.gradients(point, FIELD)[0]
    expected = np.array([written.at(written.field(f), point[0]) for f in functions])
    np.testing.assert_array_equal(found, expected)
    hessian = drawn.hessian(point, FIELD)[0]
    np.testing.assert_array_equal(
        hessian, np.array([written.at(written.field(d), point[0]) for d in written.field(functions[0])])
    )
    assert hessian.any()
    np.testing.assert_array_equal(hessian, hessian.T)


@pytest.mark.parametrize("network", NETWORKS, ids=str)
@pytest.mark.parametrize("depth", [1, 2])
def test_brackets_are_those_of_the_polynomials(network: PolynomialChain, depth: int) -> None:
    """Along ``X_0 + t X_1`` the second derivative is ``[X_0, [X_0, Y]] + [X_1, Y]``."""
    point, seed = residues((network.parameters,), FIELD, rng(3)), 4
    random, written = rng(seed), Written(network)
    Y = [written.field(f) for f in written.functions(network.draw(network.parameters, FIELD, random))[:2]]
    X = [written.field(written.functions(network.draw(1, FIELD, random))[0]) for _ in range(depth)]
    found = brackets(network, point, FIELD, depth=depth, seed=seed)[:2]
    for row, y in zip(found, Y, strict=True):
        first = written.bracket(X[0], y)
        if depth == 1:
            expected = written.at(first, point)
        else:
            expected = written.at(written.bracket(X[0], first), point) + written.at(written.bracket(X[1], y), point)
        np.testing.assert_array_equal(row, FIELD.reduce(expected))
        assert expected.any()


def every_step() -> Circuit:
    """A circuit with every kind of step, broadcasts, repeated parameters and two ends that meet."""
    record = Recorder()
    a = record.parameter(np.array([[0, 1], [2, 0]]))
    b = record.parameter(np.array([[3, 4]]))
    c = record.parameter(np.array([3, 1]))
    y = record.add(record.add(record.matmul(record.free((3, 2)), a), b), c)
    y = record.mul(y, record.matmul(y, record.parameter(np.array([[5], [6]]))))
    z = record.move([y, a], lambda y, a: np.concatenate([y[::-1], np.stack([a[0], a[0]])]))
    part = record.divide(record.sum(z, (0,), True), np.array([[2, 3]]))
    return record.circuit("every step", 7, [record.end(part), record.end(y)])


def every_step_written(drawn: CircuitFunctions):
    """The same by arrays of polynomials."""
    ring = fmpq_mpoly_ctx.get([f"t{k}" for k in range(7)], Ordering.lex)
    t = np.empty(7, dtype=object)  # polynomials are sequences, so an array of them has to be filled
    t[:] = ring.gens()
    ((x,),), (first, second) = drawn.free.values(), drawn.weights
    a = t[np.array([[0, 1], [2, 0]])]
    y = x.astype(int).astype(object) @ a + t[np.array([[3, 4]])] + t[[3, 1]]
    y = y * (y @ t[np.array([[5], [6]])])
    part = (y.sum(axis=0) + 2 * a[0]) * np.array([fmpq(1, 2), fmpq(1, 3)], dtype=object)
    return (part * first[0, 0].astype(int).astype(object)).sum() + (y * second[0].astype(int).astype(object)).sum()


def test_every_step_has_its_derivatives() -> None:
    drawn, point = every_step().draw(1, FIELD, rng(5)), residues((1, 7), FIELD, rng(6))
    function, where = every_step_written(drawn), [fmpq(int(v)) for v in point[0]]

    def at(f) -> float:
        value = f(*where) if f else fmpq(0)
        return FIELD.fraction(Fraction(int(value.p), int(value.q)))

    slope = [function.derivative(k) for k in range(7)]
    np.testing.assert_array_equal(drawn.gradients(point, FIELD)[0, 0], [at(f) for f in slope])
    hessian = [[at(f.derivative(k)) for k in range(7)] for f in slope]
    np.testing.assert_array_equal(drawn.hessian(point, FIELD)[0], hessian)
    assert all(any(row) for row in hessian)


def test_series_are_the_values_along_the_curve() -> None:
    circuit = every_step()
    drawn, line = circuit.draw(2, FIELD, rng(7)), residues((2, 7), FIELD, rng(8))
    orders = 6
    series = np.concatenate([line, np.zeros((orders - 2, 7))])
    for t in (1.0, -3.0):
        here = FIELD.reduce(line[0] + t * line[1])[None]
        powers = [FIELD.power(np.array(t), n) for n in range(orders)]
        for along, value in (
            (drawn.gradients(series, FIELD), drawn.gradients(here, FIELD)[0]),
            (drawn.hessian(series, FIELD), drawn.hessian(here, FIELD)[0]),
        ):
            total = sum(FIELD.mul(s, power) for s, power in zip(along, powers, strict=True))
            np.testing.assert_array_equal(FIELD.reduce(np.asarray(total)), value)


def test_portions_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    circuit = every_step()
    drawn, theta = circuit.draw(5, FIELD, rng(9)), residues((3, 7), FIELD, rng(10))
    whole = drawn.gradients(theta, FIELD), drawn.hessian(theta, FIELD)
    monkeypatch.setattr(circuit_module, "ROOM", 2 * 3 * 3 * circuit.size)
    np.testing.assert_array_equal(drawn.gradients(theta, FIELD), whole[0])
    np.testing.assert_array_equal(drawn.hessian(theta, FIELD), whole[1])


@given(total=st.integers(0, 1), axes=st.sampled_from([(0,), (1,), (2,), (0, 2), (-1,)]), seed=st.integers(0, 9))
@settings(max_examples=30, deadline=None)
def test_sums_are_kept_and_nothing_else_is(total: int, axes: tuple[int, ...], seed: int) -> None:
    mask = np.tril(np.ones((2, 4, 4), dtype=bool))
    drawn = with_sum((2, 4, 4), axes, total, mask)(200, FIELD, rng(seed))
    assert not drawn[:, ~mask].any()
    behind = tuple(a % 3 + 1 for a in axes)
    some = mask.any(axis=tuple(a % 3 for a in axes))
    assert (FIELD.reduce(drawn.sum(axis=behind)) == total * some).all()
    # As many numbers are free as the mask has, less one per sum; they are independent.
    centred = FIELD.reduce(drawn[:, mask] - drawn[:1, mask])
    assert rank_of_residues(centred, FIELD) == mask.sum() - some.sum()
