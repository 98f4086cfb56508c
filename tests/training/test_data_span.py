"""What symmetric data can show: spans of moments, the fields made from them, and what other losses see."""

from __future__ import annotations

import json

import numpy as np
import pytest
from symmetric_actions import (
    C1,
    C2,
    C4,
    CASES,
    dense,
    shifts,
    still,
    turn,
)

from intertwiner.algebra import Representation, cyclic
from intertwiner.numerics.modular import Modulus
from intertwiner.numerics.seeds import rng
from intertwiner.training import Chain, PolynomialChain
from intertwiner.training.data_span import data_span
from intertwiner.training.exact_action import exact_action, primes_for, root_of_unity
from intertwiner.training.lie_closure import closure_dimension
from intertwiner.training.loss_span import LossSpan, loss_span
from intertwiner.training.polynomial_map import Combinations, PolynomialMap
from intertwiner.training.potentials import residues
from intertwiner.training.separated import monomials, separated
from intertwiner.training.squared_error import ChainMatrix, SquaredError, WrittenMatrix, potential_map

FIELD = Modulus()


def commuting_symmetric_matrices(rho: Representation) -> int:
    """Dimension of Sym(End_G F) for F the quadratic monomials, by characters."""
    n = rho.group.order
    matrices = [np.linalg.matrix_power(np.asarray(rho.images[0]) if rho.images else np.eye(2), k) for k in range(n)]

    def chi(m: np.ndarray) -> float:
        return (np.trace(m) ** 2 + np.trace(m @ m)) / 2

    return round(sum((chi(m) ** 2 + chi(m @ m)) / 2 for m in matrices) / n)


@pytest.mark.parametrize(("rho", "span", "symmetric_part"), [(still(C1, 2), 5, 6), (turn(4), 3, 4), (turn(8), 1, 2)])
def test_quadratic_features_show_less_than_all_symmetric_maps(rho, span: int, symmetric_part: int) -> None:
    quadratic = np.array(monomials(2, 2))
    found = data_span(quadratic, exact_action(rho), exact_action(still(rho.group)))
    assert found.second.dimension == span
    assert commuting_symmetric_matrices(rho) == symmetric_part
    assert found.second.rational is not None


@pytest.mark.parametrize(("rho_in", "rho_out"), CASES)
@pytest.mark.parametrize("degrees", [(1,), (1, 0), (2,), (2, 1), (3,)])
def test_spans_are_those_of_random_orbits_in_floats(rho_in, rho_out, degrees: tuple[int, ...]) -> None:
    features = np.array([e for d in degrees for e in monomials(rho_in.dimension, d)])
    found = data_span(features, exact_action(rho_in), exact_action(rho_out))
    random = np.random.default_rng(5)
    second, mixed = [], []
    for _ in range(80):
        x, y = random.standard_normal(rho_in.dimension), random.standard_normal(rho_out.dimension)
        pairs = [(dense(rho_in.matrix(g)) @ x, dense(rho_out.matrix(g)) @ y) for g in range(rho_in.group.order)]
        phis = [np.prod(gx**features, axis=1) for gx, _ in pairs]
        second.append(np.mean([np.outer(p, p) for p in phis], axis=0).ravel())
        mixed.append(np.mean([np.outer(gy, p) for (_, gy), p in zip(pairs, phis, strict=True)], axis=0).ravel())
    for rows, span in ((second, found.second), (mixed, found.mixed)):
        assert np.linalg.matrix_rank(np.array(rows), tol=1e-9) == span.dimension
        if span.dimension:
            assert span.rational is not None
            basis = np.array([[float(v) for line in m for v in line] for m in span.rational])
            together = np.concatenate([basis, rows])
            assert np.linalg.matrix_rank(together, tol=1e-9) == span.dimension


MATRICES = [(Chain((2, 2, 2)), turn(4), turn(4)), (Chain((3, 2, 3), bias=True), shifts(3), shifts(3))]


@pytest.mark.parametrize(("chain", "rho_in", "rho_out"), MATRICES)
def test_three_ways_to_the_same_fields(chain: Chain, rho_in, rho_out) -> None:
    network = separated(chain)
    span = data_span(network.features, exact_action(rho_in), exact_action(rho_out))
    layers, written = (SquaredError(m, span, "") for m in (ChainMatrix(chain), WrittenMatrix(network)))
    curve = residues((4, chain.parameters), FIELD, rng(1))
    one, other = layers.draw(3, FIELD, rng(2)), written.draw(3, FIELD, rng(2))
    assert np.array_equal(one.gradients(curve, FIELD), other.gradients(curve, FIELD))
    assert np.array_equal(one.hessian(curve, FIELD), other.hessian(curve, FIELD))
    # As polynomials: the same combinations of the basis of moments.
    potentials = potential_map(network, span, "")
    assert potentials is not None
    bases = [s.residues(FIELD) for s in (span.second, span.mixed)]
    random = rng(2)
    weights = np.concatenate([residues((3, len(b)), FIELD, random) for b in bases], axis=1)
    expected = FIELD.matmul(weights, potentials.jacobian(curve[:1], FIELD)[0])
    assert np.array_equal(one.gradients(curve[:1], FIELD)[0], expected)
    assert np.array_equal(one.hessian(curve, FIELD), Combinations(potentials, weights[:1]).hessian(curve, FIELD))


@pytest.mark.parametrize(
    ("network", "rho_in", "rho_out", "smaller"),
    [
        (Chain((2, 2, 2), bias=True), turn(4), turn(4), True),
        (Chain((3, 2, 3)), shifts(3), shifts(3), True),
        (PolynomialChain((2, 2, 1), "t^2"), turn(8), still(cyclic(8)), True),
        # At a generic point these show all directions already.
        (PolynomialChain((2, 2, 1), "t^2 + t", True), turn(4), still(C4), False),
    ],
)
def test_gradients_of_squared_error_on_orbits_lie_in_the_span(network, rho_in, rho_out, smaller: bool) -> None:
    """Data drawn in floats; with one point moved they leave the span, where it is smaller than without symmetry."""
    written = separated(network)
    potentials = potential_map(written, data_span(written.features, exact_action(rho_in), exact_action(rho_out)), "")
    assert potentials is not None
    random = np.random.default_rng(3)
    theta = random.standard_normal(len(written.names))
    rows = potentials.first.real(theta).reshape(potentials.dimension, -1)
    x, y = random.standard_normal((2, rho_in.dimension)), random.standard_normal((2, rho_out.dimension))
    xs = np.concatenate([x @ dense(rho_in.matrix(g)).T for g in range(rho_in.group.order)])
    ys = np.concatenate([y @ dense(rho_out.matrix(g)).T for g in range(rho_in.group.order)])

    def residual(inputs: np.ndarray) -> float:
        outputs, slopes = written.derivatives(theta, inputs)
        gradient = np.einsum("no,nod->d", outputs - ys, slopes)
        fit = np.linalg.lstsq(rows.T, gradient, rcond=None)[0]
        return float(np.linalg.norm(gradient - rows.T @ fit) / np.linalg.norm(gradient))

    assert residual(xs) < 1e-10
    moved = xs.copy()
    moved[0] += 0.5
    assert (residual(moved) > 1e-5) == smaller


def test_the_algebra_of_quadratic_potentials_is_that_of_all_matrices() -> None:
    names = ("a", "b", "c")
    quadratic = [{tuple(e): 1} for e in monomials(3, 2)]
    assert closure_dimension(PolynomialMap.from_terms(quadratic, names), 9) == 9
    assert closure_dimension(PolynomialMap.from_terms(quadratic, names), 8) is None
    assert closure_dimension(PolynomialMap.from_terms([{(3, 0): 1}], ("a", "b")), 1) == 1
    assert (
        closure_dimension(PolynomialMap.from_terms([{(3, 0): 1, (1, 1): 1}, {(0, 2): 1, (2, 1): 1}], ("a", "b")), 12)
        is None
    )


def loss_rank(slope, theta: np.ndarray, *, points: int = 6) -> LossSpan:
    random = np.random.default_rng(1)
    data = random.standard_normal((points, 2)), random.standard_normal((points, 1))
    return loss_span(separated(Chain((2, 2, 1))), (turn(4), still(C4)), data, slope, theta)


def test_other_losses_see_through_the_symmetry() -> None:
    theta = np.random.default_rng(2).standard_normal(6)
    square, logcosh = loss_rank(lambda z, y: z - y, theta), loss_rank(lambda z, y: np.tanh(z - y), theta)
    assert (square.rank, square.full, square.nothing_added) == (1, 2, False)
    assert (logcosh.rank, logcosh.full, logcosh.nothing_added) == (2, 2, True)
    assert LossSpan.from_json(json.loads(json.dumps(square.to_json()))) == square
    assert "gradients of rank 1" in str(square)
    # A single orbit shows a single direction, whatever the loss.
    assert not loss_rank(lambda z, y: np.tanh(z - y), theta, points=1).nothing_added


def test_exact_matrices_of_turns_reduce_to_roots_of_unity() -> None:
    action = exact_action(turn(12))
    assert action.order == 12 and action.orthogonal and not action.rational
    for prime in primes_for(12):
        field = Modulus(prime)
        matrices = action.residues(field)
        assert np.array_equal(field.matmul(matrices[5], matrices[9]), matrices[2])
        root = root_of_unity(12, field)
        assert {pow(root, k, prime) == 1 for k in range(1, 12)} == {False} and pow(root, 12, prime) == 1
    assert exact_action(Representation(C2, (np.array([[1.0, 0.0], [-1.0, -1.0]]),))).orthogonal is False
