"""Dimensions of attention layers: reference values, all proved, and where the weights of a softmax are no variables."""

from __future__ import annotations

import json

import pytest

from intertwiner.errors import WrongUse
from intertwiner.numerics.modular import Modulus
from intertwiner.numerics.seeds import rng
from intertwiner.variety import Attention, Neurovariety, neurovariety
from intertwiner.variety.attention import score_independence

# From the file of reference dimensions, attention_dimensions.json: exact ranks modulo two primes. d, a, d_out, tokens.
LIGHTNING = [
    ((2, 1, 2, 3), 6), ((3, 1, 3, 3), 13), ((3, 2, 3, 3), 16), ((3, 3, 3, 3), 17), ((4, 2, 4, 4), 27),
    ((4, 2, 1, 4), 15), ((3, 2, 1, 2), 10), ((3, 1, 1, 3), 7), ((3, 2, 3, 1), 14),
]  # fmt: skip
LIGHTNING_DEEP = [((2, 1, 2), 8), ((2, 2, 2), 10), ((3, 1, 2), 17), ((3, 2, 2), 23), ((3, 2, 3), 30)]  # d, a, layers
SOFTMAX_HEADS = [((3, 1, 1, 2), 20), ((4, 2, 2, 2), 48), ((4, 1, 1, 4), 56), ((4, 2, 1, 3), 57)]  # d, a, v, heads
ROTARY = [((3, 2), 19), ((4, 2), 30), ((4, 4), 44)]  # d, a


def proved(net: Attention) -> int:
    found = neurovariety(net)
    assert found.verdict.is_proved and found.dimension == found.bound.value
    assert Neurovariety.from_json(json.loads(json.dumps(found.to_json()))) == found
    return found.dimension


@pytest.mark.parametrize(("shape", "dimension"), LIGHTNING)
def test_lightning(shape, dimension: int) -> None:
    assert proved(Attention("lightning", *shape)) == dimension


@pytest.mark.parametrize(("shape", "dimension"), LIGHTNING_DEEP)
def test_deep_lightning(shape, dimension: int) -> None:
    d, a, layers = shape
    assert proved(Attention("lightning", d, a, d, 3, layers=layers)) == dimension
    assert dimension == layers * a * (2 * d - a) + d * d - layers


@pytest.mark.parametrize(("shape", "dimension"), SOFTMAX_HEADS)
def test_softmax_with_heads(shape, dimension: int) -> None:
    d, a, v, heads = shape
    assert proved(Attention("softmax", d, a, d, 3, heads=heads, inner=v)) == dimension
    assert dimension == heads * (a * (2 * d - a) + v * (2 * d - v))


@pytest.mark.parametrize("layers", [1, 2, 3])
@pytest.mark.parametrize(("d", "a", "out"), [(3, 1, 3), (3, 2, 2), (4, 2, 4)])
def test_deep_softmax(d: int, a: int, out: int, layers: int) -> None:
    assert proved(Attention("softmax", d, a, out, 3, layers=layers)) == layers * a * (2 * d - a) + d * out


@pytest.mark.parametrize(("shape", "dimension"), ROTARY)
def test_rotary(shape, dimension: int) -> None:
    d, a = shape
    found = neurovariety(Attention("rotary", d, a, d, 3))
    assert found.verdict.is_proved and found.dimension == dimension == 2 * a * d - a + d * d
    assert "generic angles" in found.verdict.claim and "Ax 1971" in found.verdict.theorem


def test_softmax_sees_the_scale_that_lightning_hides() -> None:
    assert proved(Attention("softmax", 3, 2, 3, 3)) == proved(Attention("lightning", 3, 2, 3, 3)) + 1


def test_one_token_sees_the_symmetric_part_or_nothing_of_the_scores() -> None:
    for d, a in ((3, 1), (4, 1), (4, 2), (5, 2), (2, 2)):
        proved(Attention("lightning", d, a, d, 1))
    assert proved(Attention("softmax", 3, 2, 2, 1)) == 6  # one weight, always 1: linear maps
    assert proved(Attention("lightning", 2, 2, 2, 1, inner=1)) == 5


def test_heads_of_lightning_mix_where_nothing_binds_them() -> None:
    assert proved(Attention("lightning", 3, 3, 3, 2, heads=2)) == 2 * (9 + 9 - 2)
    found = neurovariety(Attention("softmax", 3, 3, 3, 2, heads=2))
    assert found.dimension == found.bound.value == 2 * (9 + 9)


def test_scores_that_depend_on_each_other_are_noticed() -> None:
    """With one token there are no differences; a rank above the width repeats no score; equal heads would."""
    assert score_independence(Attention("softmax", 2, 3, 2, 3), Modulus(), rng(0))

    class Twins(Attention):
        def draw_theta(self, field, random):
            theta = super().draw_theta(field, random)
            for own, other in zip(*self.places()[0], strict=True):
                theta[other] = theta[own]
            return theta

    twins = Twins("softmax", 3, 1, 3, 3, heads=2)
    assert not score_independence(twins, Modulus(), rng(0))
    found = neurovariety(twins)
    assert found.verdict.is_undecided and "not confirmed" in found.verdict.reason
    assert found.identifiability.is_undecided


def test_wrong_use() -> None:
    with pytest.raises(WrongUse, match="only lightning, softmax, rotary"):
        Attention("sparse", 2, 1, 2, 3)
    with pytest.raises(WrongUse, match="the rank must be even"):
        Attention("rotary", 3, 1, 3, 3)
    with pytest.raises(WrongUse, match="whole numbers of at least 1"):
        Attention("softmax", 3, 0, 3, 3)
