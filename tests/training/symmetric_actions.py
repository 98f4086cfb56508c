"""Exact actions on inputs and outputs that tests of symmetric data share."""

from __future__ import annotations

import numpy as np

from intertwiner.algebra import Representation, cyclic, klein, quaternion, symmetric
from intertwiner.numerics.monomial import Monomial
from intertwiner.training import Chain
from intertwiner.training.data_span import data_span
from intertwiner.training.exact_action import exact_action
from intertwiner.training.polynomial_map import PolynomialMap
from intertwiner.training.separated import separated
from intertwiner.training.squared_error import potential_map


def turn(n: int) -> Representation:
    """The plane, turned by 1/n of the circle."""
    c, s = np.cos(2 * np.pi / n), np.sin(2 * np.pi / n)
    return Representation(cyclic(n), (np.array([[c, -s], [s, c]]),))


def still(group, size: int = 1) -> Representation:
    return Representation.trivial(group, size)


def shifts(n: int) -> Representation:
    return Representation(cyclic(n), (Monomial((np.arange(n) + 1) % n),))


def dense(matrix) -> np.ndarray:
    return matrix if isinstance(matrix, np.ndarray) else matrix.dense()


C1, C2, C4 = cyclic(1), cyclic(2), cyclic(4)
SWAP = Representation(C2, (Monomial([1, 0]),))
FLIP = Representation(C2, (Monomial([0, 1], [-1.0, -1.0]),))  # type: ignore[arg-type]
FLIPS = Representation(klein(), (Monomial([0, 1], [-1.0, 1.0]), Monomial([0, 1], [1.0, -1.0])))  # type: ignore[arg-type]
S3 = symmetric(3)
PERMUTED = Representation(S3, tuple(Monomial(S3.permutations[s]) for s in S3.generators))
Q8 = quaternion()
QUATERNIONS = Representation(
    Q8,
    (Monomial([1, 0, 3, 2], [1.0, -1.0, 1.0, -1.0]), Monomial([2, 3, 0, 1], [1.0, -1.0, -1.0, 1.0])),  # type: ignore[arg-type]
)

# From ../shared/reference/conservation_laws.json, "with_data_symmetry_mse_linear".


CASES = [
    (turn(3), turn(3)),
    (turn(4), still(C4)),
    (turn(8), turn(8)),
    (PERMUTED, PERMUTED),
    (SWAP, FLIP),
    (FLIPS, FLIPS),
]


S4, S5 = symmetric(4), symmetric(5)
FOUR, FIVE = (Representation(g, tuple(Monomial(g.permutations[s]) for s in g.generators)) for g in (S4, S5))


def potentials_of(chain: Chain, rho_in: Representation, rho_out: Representation) -> PolynomialMap:
    network = separated(chain)
    found = potential_map(network, data_span(network.features, exact_action(rho_in), exact_action(rho_out)), "")
    assert found is not None
    return found
