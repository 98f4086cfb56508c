"""Gradient flow, followed in floats: what is said to be conserved stays constant, and near misses do not."""

from __future__ import annotations

import numpy as np
import pytest

from intertwiner.algebra import Representation, cyclic, symmetric
from intertwiner.errors import Diverged, NonFiniteWeights, WrongUse
from intertwiner.numerics.monomial import Monomial
from intertwiner.training import Chain, PolynomialChain, known_laws
from intertwiner.training.data_symmetry import data_symmetry_laws
from intertwiner.training.flow import gradient_flow
from intertwiner.training.polynomial_laws import polynomial_laws
from intertwiner.training.separated import Separated, chain_map, linear_on_features, monomials, separated

TURN = Representation(cyclic(4), (np.array([[0.0, -1.0], [1.0, 0.0]]),))
SHIFT = Representation(cyclic(3), (Monomial([1, 2, 0]),))
CONSTANT, DRIFTS = 1e-10, 1e-3


def orbits(
    rho_in: Representation, rho_out: Representation, *, count: int = 2, seed: int = 0
) -> tuple[np.ndarray, np.ndarray]:
    """Full orbits of a few pairs."""
    random = np.random.default_rng(seed)
    x, y = random.standard_normal((count, rho_in.dimension)), random.standard_normal((count, rho_out.dimension))

    def moved(rho: Representation, points: np.ndarray) -> np.ndarray:
        matrices = [rho.matrix(g) for g in range(rho.group.order)]
        return np.concatenate([points @ (m if isinstance(m, np.ndarray) else m.dense()).T for m in matrices])

    return moved(rho_in, x), moved(rho_out, y)


def squared_error(network: Separated, x: np.ndarray, y: np.ndarray):
    """The gradient of the mean squared error."""

    def gradient(theta: np.ndarray) -> np.ndarray:
        outputs, slopes = network.derivatives(theta, x)
        return np.einsum("no,nod->d", outputs - y, slopes) / len(x)

    return gradient


def test_the_angle_of_a_scalar_linear_model_is_constant_on_turned_data() -> None:
    network = separated(Chain((2, 1)))
    x, y = orbits(TURN, Representation.trivial(cyclic(4)))
    theta = np.array([0.8, 0.5])

    def angle(w: np.ndarray) -> float:
        return float(np.arctan2(w[1], w[0]))

    flow = gradient_flow(squared_error(network, x, y), theta, 1.0)
    assert np.linalg.norm(flow.end - theta) > 0.1
    assert flow.drift(angle) < CONSTANT
    (ratio,) = data_symmetry_laws(Chain((2, 1)), TURN, Representation.trivial(cyclic(4))).ratios
    assert flow.drift(ratio.value) < CONSTANT
    moved = x.copy()
    moved[0, 0] += 0.3
    assert gradient_flow(squared_error(network, moved, y), theta, 1.0).drift(angle) > DRIFTS


@pytest.mark.parametrize(
    ("chain", "rho_in", "rho_out"),
    [
        (Chain((2, 2)), TURN, TURN),
        (Chain((3, 3)), SHIFT, SHIFT),
        (Chain((3, 2), bias=True), SHIFT, Representation.trivial(cyclic(3), 2)),
    ],
)
def test_ratios_stay_constant_as_long_as_the_data_are_symmetric(chain: Chain, rho_in, rho_out) -> None:
    network = separated(chain)
    found = data_symmetry_laws(chain, rho_in, rho_out)
    x, y = orbits(rho_in, rho_out)
    theta = np.random.default_rng(1).standard_normal(chain.parameters)
    flow = gradient_flow(squared_error(network, x, y), theta, 0.5)
    moved = y.copy()
    moved[0] += 1.0
    broken = gradient_flow(squared_error(network, x, moved), theta, 0.5)
    assert found.ratios
    for law in found.ratios:
        scale = max(1.0, abs(law.value(theta)))
        assert flow.drift(law.value) < CONSTANT * scale
    assert max(broken.drift(law.value) for law in found.ratios) > DRIFTS


def test_a_deep_network_keeps_the_row_space_of_its_first_layer() -> None:
    """Permuted inputs, a symmetric output, fewer hidden units than the standard irrep has dimensions."""
    group = symmetric(4)
    rho = Representation(group, tuple(Monomial(group.permutations[s]) for s in group.generators))
    network, out = separated(Chain((4, 2, 1))), Representation.trivial(group)
    (part,) = data_symmetry_laws(Chain((4, 2, 1)), rho, out).irreps
    assert (part.irrep, part.laws) == ("standard", 2)
    x, y = orbits(rho, out)
    theta = np.random.default_rng(6).standard_normal(10)

    def space(k: int):
        def value(at: np.ndarray) -> float:
            rows = at[:8].reshape(2, 4)
            coordinates = rows[:, :3] - rows[:, 3:]
            return float(np.linalg.solve(coordinates[:, :2], coordinates[:, 2])[k])

        return value

    flow = gradient_flow(squared_error(network, x, y), theta, 0.5)
    assert np.linalg.norm(flow.end - theta) > 0.1
    y[0] += 10.0
    broken = gradient_flow(squared_error(network, x, y), theta, 0.5)
    for k in range(2):
        assert flow.drift(space(k)) < CONSTANT * max(1.0, abs(space(k)(theta)))
        assert broken.drift(space(k)) > DRIFTS


def test_deep_linear_network_keeps_its_balances_on_any_data() -> None:
    chain = Chain((2, 2, 2), bias=True)
    network, random = separated(chain), np.random.default_rng(2)
    x, y = random.standard_normal((9, 2)), random.standard_normal((9, 2))
    flow = gradient_flow(squared_error(network, x, y), 0.7 * random.standard_normal(chain.parameters), 1.0)
    laws = polynomial_laws(network.phi).laws
    assert len(laws) == 3
    assert max(flow.drift(law.value) for law in laws) < CONSTANT
    # The same without the biases in it.
    biases = {n for n, name in enumerate(network.names) if name.startswith("b")}
    for law in laws:
        without = type(law)(law.names, tuple(t for t in law.terms if not {j for j, _ in t[1]} & biases))
        assert flow.drift(without.value) > DRIFTS


def test_polynomial_network_keeps_its_balances() -> None:
    network, random = separated(PolynomialChain((2, 2, 1), "t^2")), np.random.default_rng(3)
    x, y = random.standard_normal((6, 2)), random.standard_normal((6, 1))
    flow = gradient_flow(squared_error(network, x, y), 0.5 * random.standard_normal(6), 1.0)
    for law in polynomial_laws(network.phi).laws:
        assert flow.drift(law.value) < CONSTANT
        wrong = type(law)(law.names, tuple((c // 2 if c % 2 == 0 else c, m) for c, m in law.terms))
        assert flow.drift(wrong.value) > DRIFTS


def test_quadratic_features_on_data_turned_by_45_degrees() -> None:
    """One law: x^2 - y^2 has twice the mean square of x y there, so its coefficient decays twice as fast."""
    network = linear_on_features(monomials(2, 2), 1)
    c = np.sqrt(0.5)
    rho = Representation(cyclic(8), (np.array([[c, -c], [c, c]]),))
    out = Representation.trivial(cyclic(8))
    assert data_symmetry_laws(network, rho, out).extra == 1
    x, y = orbits(rho, out)
    flow = gradient_flow(squared_error(network, x, y), np.array([0.4, -0.3, 0.9]), 1.0)
    assert flow.drift(lambda a: (a[0] - a[2]) / a[1] ** 2) < CONSTANT
    assert flow.drift(lambda a: (a[0] - a[2]) / a[1]) > DRIFTS
    x[0] += 0.1
    moved = gradient_flow(squared_error(network, x, y), np.array([0.4, -0.3, 0.9]), 1.0)
    assert moved.drift(lambda a: (a[0] - a[2]) / a[1] ** 2) > DRIFTS


class Relu:
    """One hidden ReLU layer with biases and squared error, in numpy; parameters in the order of ``Chain``."""

    def __init__(self, widths: tuple[int, int, int], points: int, seed: int) -> None:
        random = np.random.default_rng(seed)
        self.widths, self.chain = widths, Chain(widths, "relu", True)
        self.x, self.y = random.standard_normal((points, widths[0])), random.standard_normal((points, widths[2]))
        self.theta = random.standard_normal(self.chain.parameters)

    def parts(self, theta: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
        d, h, o = self.widths
        cuts = np.cumsum([h * d, h, o * h])
        w1, b1, w2, b2 = np.split(theta, cuts)
        return w1.reshape(h, d), b1, w2.reshape(o, h), b2

    def pattern(self, theta: np.ndarray) -> np.ndarray:
        w1, b1, _, _ = self.parts(theta)
        return self.x @ w1.T + b1 > 0

    def gradient(self, theta: np.ndarray) -> np.ndarray:
        w1, b1, w2, b2 = self.parts(theta)
        z = self.x @ w1.T + b1
        a = np.maximum(z, 0)
        error = (a @ w2.T + b2 - self.y) / len(self.x)
        back = (error @ w2) * (z > 0)
        return np.concatenate([(back.T @ self.x).ravel(), back.sum(0), (error.T @ a).ravel(), error.sum(0)])


def test_balances_of_a_relu_network_need_the_bias() -> None:
    """Started and followed so that no input crosses a kink: the flow is smooth."""
    network = Relu((2, 3, 2), 8, seed=2)
    flow = gradient_flow(network.gradient, network.theta, 0.2)
    assert all(np.array_equal(network.pattern(theta), network.pattern(network.theta)) for theta in flow.path)
    laws = known_laws(network.chain)
    biases = {int(n) for n in network.chain.matrices[0][:-1, -1]}
    for law in laws:
        assert flow.drift(law.value) < CONSTANT
        without = type(law)(
            law.formula,
            law.layer,
            law.units,
            law.group,
            law.parameters,
            tuple(t for t in law.terms if t[0] not in biases),
        )
        assert len(without.terms) == len(law.terms) - 1
        assert flow.drift(without.value) > DRIFTS
    phi = chain_map(network.chain)
    assert max(flow.drift(law.value) for law in polynomial_laws(phi).laws) < CONSTANT


def test_balances_survive_kinks() -> None:
    network = Relu((2, 3, 1), 8, seed=4)
    flow = gradient_flow(network.gradient, network.theta, 4.0)
    patterns = {network.pattern(theta).tobytes() for theta in flow.path}
    assert len(patterns) > 1
    assert max(flow.drift(law.value) for law in known_laws(network.chain)) < CONSTANT


def test_gradient_descent_drifts_in_proportion_to_its_step() -> None:
    network = Relu((2, 3, 2), 8, seed=2)
    law = known_laws(network.chain)[0]
    drifts = []
    for steps in (100, 200, 400):
        theta = network.theta.copy()
        for _ in range(steps):
            theta -= 0.2 / steps * network.gradient(theta)
        drifts.append(law.value(theta) - law.value(network.theta))
    ratios = np.array(drifts[:-1]) / np.array(drifts[1:])
    assert np.allclose(ratios, 2.0, rtol=0.05)


def test_what_cannot_be_followed_is_refused() -> None:
    start = np.ones(2)
    with pytest.raises(WrongUse, match=r"above 0.*Nothing was computed"):
        gradient_flow(lambda theta: theta, start, 0.0)
    with pytest.raises(WrongUse, match="two points"):
        gradient_flow(lambda theta: theta, start, 1.0, points=1)
    with pytest.raises(NonFiniteWeights, match=r"1 of 2 parameters.*Nothing was computed"):
        gradient_flow(lambda theta: theta, np.array([1.0, np.nan]), 1.0)
    with pytest.raises(Diverged, match="stopped at time"):
        gradient_flow(lambda theta: -(theta**2), start, 2.0)
