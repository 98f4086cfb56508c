"""Theorems on generic fibres: what applies is never refuted by a rank, and the deciding one is cited."""

from __future__ import annotations

import itertools

import pytest

from intertwiner.variety import Architecture, criteria, generic_rank, monomial, naive_count, neurovariety
from intertwiner.variety.theorems import KRUSKAL, LARGEST_BLOCK, LOCALISATION, USEVICH, finite_block, kruskal_inequality


def applying(*args, **kwargs) -> set[str]:
    return {one.theorem for one in criteria(Architecture(*args, **kwargs)) if one.applies}


def test_no_theorem_contradicts_a_rank() -> None:
    for r, length in itertools.product((2, 3, 5), (2, 3)):
        for widths in itertools.product(range(1, 5), repeat=length + 1):
            net = Architecture(widths, monomial(r))
            if any(one.applies and one.gives in ("unique", "finite") for one in criteria(net)):
                rank = max(d.rank for d in generic_rank(net, net.parameters, primes=1, draws=1))
                assert rank == naive_count(net), net


@pytest.mark.parametrize(
    ("widths", "r", "names"),
    [
        ((3, 3, 3), 2, {KRUSKAL, USEVICH, LOCALISATION}),
        ((2, 3, 4), 4, {KRUSKAL, LOCALISATION}),
        ((3, 3, 2, 1), 3, {USEVICH, LOCALISATION}),
        ((3, 3, 2, 1), 2, set()),  # one output and squares: orthogonal maps
        ((2, 3, 3, 2), 5, {USEVICH, LOCALISATION}),  # r >= 2 x 3 - 1
        ((3, 3, 1, 2), 5, {LOCALISATION}),
        ((1, 2, 2), 5, set()),
    ],
)
def test_which_theorems_apply(widths, r: int, names: set[str]) -> None:
    assert applying(widths, monomial(r)) & {KRUSKAL, USEVICH, LOCALISATION} == names


def test_localisation_reaches_where_the_inequalities_do_not() -> None:
    found = [
        widths
        for widths in itertools.product(range(2, 5), repeat=4)
        if applying(widths, "t^3") & {USEVICH, LOCALISATION} == {LOCALISATION}
    ]
    assert (2, 2, 3, 3) in found
    for widths in found:
        assert neurovariety(widths, "t^3").dimension == naive_count(Architecture(widths, "t^3"))


def test_blocks() -> None:
    assert finite_block((3, 3, 2), 2) is True
    assert finite_block((3, 2, 1), 2) is False  # by the bound
    assert finite_block((4, 5, 4), 2) is True  # by Kruskal or a rank
    assert finite_block((3, 9, 3), 2) is False  # more parameters than coefficients
    wide = (10, 100, 20)
    assert wide[0] * wide[1] + wide[1] * wide[2] > LARGEST_BLOCK and finite_block(wide, 3) is None


def test_verdicts_cite_what_decides() -> None:
    unique = neurovariety((3, 3, 2), "t^2").identifiability
    assert unique.is_proved and "unique" in unique.claim and unique.theorem == KRUSKAL
    finite = neurovariety((3, 3, 3, 2), "t^2").identifiability
    assert finite.is_proved and "finitely many" in finite.claim and finite.theorem == USEVICH
    ranked = neurovariety((2, 4, 4, 2), "t^3 + t^2").identifiability
    assert ranked.is_proved and not ranked.theorem and "unique or not is undecided" in ranked.reason
    infinite = neurovariety((3, 2, 1), "t^2").identifiability
    assert infinite.is_proved and "not identifiable: 1 dimensions" in infinite.claim
    assert neurovariety((2, 3, 2), "t^3 + t").identifiability.is_undecided


def test_theorems_about_monomials_stay_away_from_others() -> None:
    assert not applying((3, 3, 3), "t^2 + t") and not applying((3, 3, 3), "t^2", bias=True)
    assert [one.gives for one in criteria(Architecture((3, 3, 3), "linear"))] == ["dimension"]


def test_networks_too_large_for_a_rank_are_decided_by_their_blocks() -> None:
    found = neurovariety((100, 110, 110, 100), "t^2")
    assert found.dimension == 100 * 110 + 110**2 + 110 * 100 - 220 and not found.draws
    assert found.verdict.theorem in (USEVICH, LOCALISATION) and found.chance == 0


def test_a_network_of_which_one_block_fails_may_fail() -> None:
    """The negative control of localisation: the hypothesis is needed for every block, with the least width below."""
    assert finite_block((4, 4, 4), 2) is True and finite_block((1, 4, 4), 2) is False
    narrow = Architecture((4, 1, 4, 4), "t^2")
    assert LOCALISATION not in applying(narrow.widths, "t^2")
    assert neurovariety(narrow).dimension < naive_count(narrow)


def test_what_widths_and_degrees_decide_follows_from_blocks() -> None:
    for r, length in itertools.product((2, 3, 5), (2, 3, 4)):
        for widths in itertools.product(range(1, 5), repeat=length + 1):
            names = {one.theorem: one.applies for one in criteria(Architecture(widths, monomial(r)))}
            if names[USEVICH]:
                blocks = [(min(widths[:l]), widths[l], widths[l + 1]) for l in range(1, length)]
                assert names[LOCALISATION] and all(kruskal_inequality(block, r)[0] for block in blocks)
