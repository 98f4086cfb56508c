"""Generic fibres: gauge directions leave the function alone and nothing else is claimed; parts add up."""

from __future__ import annotations

import json

import numpy as np
import pytest

from intertwiner.numerics.modular import Modulus
from intertwiner.numerics.modular_echelon import rank_of_residues
from intertwiner.numerics.seeds import rng
from intertwiner.variety import Architecture, Attention, Convolution, Fibre, neurovariety

FIELD = Modulus()
FILLED = [
    Convolution((2, 2, 2), (), (2, 3, 2, 1), "t + 1", bias=True),
    Attention("lightning", 2, 2, 2, 2, heads=2, inner=2),
]
GAUGED = [
    Convolution((3, 2), activation="t^2"),
    Convolution((2, 2, 2), (2, 1, 1), (2, 3, 2, 1), "t^3", bias=True),
    Convolution((2, 2), (), (1, 2, 2), "2t^2 + 4t + 5", bias=True),
    Convolution((2, 2), (), (2, 2, 2), "3t", bias=True),
    Attention("lightning", 3, 2, 3, 3, layers=2),
    Attention("lightning", 3, 2, 3, 3, inner=3, layers=2),
    Attention("softmax", 3, 2, 1, 3, heads=2, inner=2),
    Attention("softmax", 2, 1, 3, 3, inner=4),
    Attention("softmax", 3, 2, 2, 3, heads=2, inner=2),
    Attention("softmax", 3, 1, 2, 3, layers=3),
    Attention("rotary", 4, 4, 2, 3, layers=2),
]


@pytest.mark.parametrize("family", [*GAUGED, *FILLED], ids=str)
def test_gauge_directions_change_no_function_and_any_other_direction_does(family) -> None:
    theta = family.draw_theta(FIELD, rng(0))
    J = family.jacobian(theta, family.draw_inputs(60, FIELD, rng(1)), FIELD)
    groups = family.gauge(theta, FIELD)
    assert groups
    for group in groups:
        assert not FIELD.matmul(J, np.ascontiguousarray(group.rows.T)).any(), group.name
    rows = np.concatenate([group.rows for group in groups])
    hidden = family.parameters - rank_of_residues(J, FIELD) - rank_of_residues(rows, FIELD)
    assert (hidden > 0) == (family in FILLED)
    bent = rows[:1].copy()
    bent[0, np.flatnonzero(bent[0])[0]] += 1.0
    assert FIELD.matmul(J, np.ascontiguousarray(FIELD.reduce(bent).T)).any()


@pytest.mark.parametrize("family", [Convolution((2, 2), activation="t^3 + t"), Convolution((2, 2), (), (), "t^2 + t")])
def test_activations_without_scales_have_no_gauge(family) -> None:
    assert not family.gauge(family.draw_theta(FIELD, rng(0)), FIELD)
    assert neurovariety(family).dimension == family.parameters


@pytest.mark.parametrize(
    ("widths", "sigma", "gauge", "hidden", "unexplained"),
    [
        ((3, 2, 1), "t^2", 2, 1, 0),
        ((3, 4, 2, 1), "t^2", 6, 5, 0),
        ((2, 3, 2), "t^3 + t", 0, 1, 1),
        ((3, 3, 3), "t^2", 3, 0, 0),
        ((4, 2, 5), "linear", 4, 0, 0),
    ],
)
def test_parts_add_up(widths, sigma: str, gauge: int, hidden: int, unexplained: int) -> None:
    fibre = neurovariety(widths, sigma).fibre()
    assert (fibre.gauge, fibre.hidden, fibre.unexplained) == (gauge, hidden, unexplained)
    assert fibre.dimension == sum(part.dimension for part in fibre.parts) == gauge + hidden
    assert fibre.proved == (unexplained == 0)
    assert Fibre.from_json(json.loads(json.dumps(fibre.to_json()))) == fibre


def test_finite_groups_are_named() -> None:
    def finite(*args, **kwargs) -> list[tuple[str, int]]:
        return [(g.name, g.order) for g in Architecture(*args, **kwargs).finite()]

    assert finite((2, 3, 4, 1), "t^2") == [("permutations of 3 units", 6), ("permutations of 4 units", 24)]
    assert finite((2, 3, 1), "t^3 + t") == [("signed permutations of 3 units", 48)]
    assert finite((2, 3, 1), "t^3 + t^2") == [("permutations of 3 units", 6)]
    assert finite((2, 3, 1), "linear") == finite((2, 3, 1), "t + 1", bias=True) == []
    assert finite((2, 1, 1), "t^4 + t^2", bias=True) == [("signed permutations of 1 units", 2)]
    (heads,) = Attention("softmax", 2, 1, 2, 3, heads=3).finite()
    assert (heads.name, heads.order) == ("permutations of 3 heads", 6)
    assert neurovariety((2, 3, 4, 1), "t^2").fibre().order == 144


def test_signs_of_odd_and_even_activations_keep_the_function() -> None:
    """The claim behind signed permutations, at a point: the sign of a neuron moves into the next layer or vanishes."""
    from intertwiner.variety.jacobian import values

    for sigma, outgoing in (("t^3 + t", -1.0), ("t^4 + t^2", 1.0)):
        net = Architecture((2, 2, 1), sigma, bias=True)
        theta, x = net.draw_theta(FIELD, rng(0)), net.draw_inputs(5, FIELD, rng(1))
        flipped = theta.copy()
        flipped[[0, 1, 4]] *= -1.0
        flipped[6] *= outgoing
        assert np.array_equal(values(net, theta, x, FIELD), values(net, flipped, x, FIELD))
        flipped[6] *= -1.0
        assert not np.array_equal(values(net, theta, x, FIELD), values(net, flipped, x, FIELD))
