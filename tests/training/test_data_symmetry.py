"""Laws from symmetric data under squared error: reference counts, closed forms against brackets, refusals."""

from __future__ import annotations

import importlib
import json
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from symmetric_actions import (
    C1,
    C2,
    C4,
    CASES,
    FIVE,
    FLIP,
    FLIPS,
    FOUR,
    PERMUTED,
    Q8,
    QUATERNIONS,
    S3,
    S5,
    SWAP,
    potentials_of,
    shifts,
    still,
    turn,
)

from intertwiner.algebra import Representation, cyclic, dihedral, irrep, klein, symmetric
from intertwiner.errors import Contradiction, GroupError, NotAnAction, ShapeMismatch, WrongUse
from intertwiner.numerics.modular import Modulus
from intertwiner.numerics.seeds import rng
from intertwiner.training import Chain, PolynomialChain, count_laws
from intertwiner.training.data_span import data_span
from intertwiner.training.data_symmetry import DataSymmetryLaws, data_symmetry_laws
from intertwiner.training.exact_action import exact_action, root_of_unity
from intertwiner.training.lie_closure import orthogonal_to_brackets
from intertwiner.training.loss_span import loss_span
from intertwiner.training.one_layer import one_layer_laws
from intertwiner.training.polynomial_laws import is_conserved
from intertwiner.training.potentials import residues
from intertwiner.training.ratio_law import is_ratio_conserved, search_ratios
from intertwiner.training.row_space import RowSpaces, row_space_laws
from intertwiner.training.separated import chain_map, linear_on_features, monomials, separated

FIELD = Modulus()


REFERENCE = [
    (still(C1, 2), still(C1), (2, 1), 0, 0),
    (FLIP, still(C2), (2, 1), 0, 0),
    (FLIPS, still(klein()), (2, 1), 0, 0),
    (turn(4), still(C4), (2, 1), 0, 1),
    (SWAP, still(C2), (2, 1), 0, 0),
    (turn(4), turn(4), (2, 2), 0, 1),
    (SWAP, SWAP, (2, 2), 0, 0),
    (PERMUTED, still(S3), (3, 1), 0, 1),
    (shifts(3), shifts(3), (3, 3), 0, 4),
    (SWAP, still(C2), (2, 1, 1), 1, 1),
    (SWAP, still(C2), (2, 2, 1), 3, 3),
    (turn(4), still(C4), (2, 2, 1), 3, 5),
    (turn(4), turn(4), (2, 2, 2), 3, 3),
    (SWAP, SWAP, (2, 2, 2), 3, 3),
]


@pytest.mark.parametrize(("rho_in", "rho_out", "widths", "without", "with_symmetry"), REFERENCE)
def test_reference_counts(rho_in, rho_out, widths, without: int, with_symmetry: int) -> None:
    found = data_symmetry_laws(Chain(widths), rho_in, rho_out)
    assert found.without.verdict.is_proved and found.with_symmetry.verdict.is_proved
    assert (found.without.laws, found.with_symmetry.laws) == (without, with_symmetry)
    assert found.extra == with_symmetry - without
    assert "full orbits" in " ".join(found.with_symmetry.verdict.hypotheses)


ONE_LAYER = [
    (turn(4) + turn(4), still(C4, 2), 1),  # complex, twice: the phase of a determinant
    (turn(4) + turn(4), still(C4, 3), 5),
    (turn(4) + turn(4), turn(4) + turn(4), 1),
    (FLIP, still(C2, 3), 2),  # real, twice
    (FLIP, still(C2, 4), 4),
    (FLIP + still(C2), FLIP + still(C2), 1),
    (QUATERNIONS, still(Q8), 3),
    (QUATERNIONS, QUATERNIONS, 11),
    (QUATERNIONS + QUATERNIONS, still(Q8, 3), 8),
    (PERMUTED + PERMUTED, still(S3, 2), 4),
    (PERMUTED, PERMUTED, 5),
    (turn(8), still(cyclic(8)), 1),
    (turn(5), turn(5), 1),
]


@pytest.mark.parametrize(("rho_in", "rho_out", "laws"), ONE_LAYER)
@pytest.mark.parametrize("bias", [False, True])
def test_the_closed_form_of_one_layer_agrees_with_brackets(rho_in, rho_out, laws: int, bias: bool) -> None:
    """Brackets bound the count from above, the closed form from below: both are the whole of it."""
    found = data_symmetry_laws(Chain((rho_in.dimension, rho_out.dimension), bias=bias), rho_in, rho_out)
    count = found.with_symmetry
    assert count.most == sum(part.laws for part in found.irreps) == count.laws
    if not bias:
        assert count.laws == laws


def test_a_bias_can_take_laws_away_and_add_some() -> None:
    """It makes the trivial irrep of the inputs occur once more."""
    extra = [data_symmetry_laws(Chain((3, 3), bias=b), PERMUTED, PERMUTED).extra for b in (False, True)]
    assert extra == [5, 4]
    extra = [
        data_symmetry_laws(Chain((4, 3), bias=b), turn(4) + turn(4), turn(4) + still(C4)).extra for b in (False, True)
    ]
    assert extra == [1, 2]


@pytest.mark.parametrize(("rho_in", "rho_out", "widths"), [row[:3] for row in REFERENCE if row[4] > row[3] == 0])
def test_ratios_are_confirmed_and_need_the_symmetry(rho_in, rho_out, widths: tuple[int, ...]) -> None:
    chain = Chain(widths)
    found = data_symmetry_laws(chain, rho_in, rho_out)
    assert len(found.ratios) == found.extra == found.with_symmetry.known
    potentials = potentials_of(chain, rho_in, rho_out)
    for law in found.ratios:
        assert is_ratio_conserved(law, potentials)
        assert not is_ratio_conserved(law, chain_map(chain))
        swapped = type(law)(law.denominator, law.numerator)
        assert is_ratio_conserved(swapped, potentials)


def test_ratios_of_different_irreps_are_not_conserved() -> None:
    found = data_symmetry_laws(Chain((3, 3)), shifts(3), shifts(3))
    potentials = potentials_of(Chain((3, 3)), shifts(3), shifts(3))
    first, last = found.ratios[0], found.ratios[-1]
    assert not is_ratio_conserved(type(first)(first.numerator, last.denominator), potentials)


@pytest.mark.parametrize(
    ("rho_in", "rho_out", "widths", "formulas"),
    [
        (turn(4), still(C4), (2, 1, 1), ["W1[0,0] / W1[0,1]"]),
        (turn(8), still(cyclic(8)), (2, 1, 1, 1), ["W1[0,0] / W1[0,1]"]),
        (PERMUTED, still(S3), (3, 1, 1), ["(W1[0,2] - W1[0,0]) / (W1[0,2] - W1[0,1])"]),
        (turn(4), turn(4), (2, 1, 2), []),
        (SWAP, still(C2), (2, 1, 1), []),
    ],
)
def test_quotients_in_deep_networks(rho_in, rho_out, widths, formulas: list[str]) -> None:
    found = data_symmetry_laws(Chain(widths), rho_in, rho_out)
    assert [law.formula for law in found.ratios] == formulas
    assert found.extra == len(formulas) and found.with_symmetry.known == found.with_symmetry.laws
    assert not any(is_ratio_conserved(law, chain_map(Chain(widths))) for law in found.ratios)


@pytest.mark.parametrize(
    ("rho_in", "rho_out", "widths", "bias", "laws"),
    [
        (FIVE, still(S5), (5, 3, 1), False, 3),
        (FIVE, still(S5), (5, 3, 1), True, 3),
        (FOUR, FOUR, (4, 1, 4), False, 2),  # the plane of incoming and outgoing weights
        (FOUR, FOUR, (4, 1, 4), True, 0),  # the output bias is a third vector in three dimensions
        (FIVE, FIVE, (5, 1, 5), True, 3),
        (FIVE, FIVE, (5, 1, 2, 5), False, 3),
        (FOUR, FOUR, (4, 2, 4), False, 0),
    ],
)
def test_row_spaces_of_deep_networks_are_all_that_is_added(rho_in, rho_out, widths, bias: bool, laws: int) -> None:
    """Brackets bound the count from above, the row spaces from below."""
    found = data_symmetry_laws(Chain(widths, bias=bias), rho_in, rho_out)
    assert sum(part.laws for part in found.irreps) == laws == found.extra
    assert found.with_symmetry.verdict.is_proved


def test_a_row_space_that_is_claimed_too_small_is_a_contradiction(monkeypatch: pytest.MonkeyPatch) -> None:
    """The bias of the output is a row too."""
    room = importlib.import_module("intertwiner.training.data_symmetry")
    monkeypatch.setattr(room, "row_space_laws", lambda chain, *actions: row_space_laws(Chain(chain.widths), *actions))
    monkeypatch.setattr(RowSpaces, "_forms", lambda self, p, field: original(self, p, field)[[0, 1]])
    with pytest.raises(Contradiction, match="not conserved"):
        data_symmetry_laws(Chain((4, 1, 4), bias=True), FOUR, FOUR)


original = RowSpaces._forms


@pytest.mark.parametrize(
    ("rho_in", "rho_out", "laws"), [(turn(4), turn(4), 1), (QUATERNIONS, still(Q8), 3), (SWAP, SWAP, 0)]
)
def test_the_search_for_quotients_finds_the_closed_forms_of_one_layer(rho_in, rho_out, laws: int) -> None:
    """The second way to the same laws knows no representation theory."""
    chain = Chain((rho_in.dimension, rho_out.dimension))
    assert len(search_ratios(potentials_of(chain, rho_in, rho_out))) == laws
    assert len(data_symmetry_laws(chain, rho_in, rho_out).ratios) == laws


def test_a_quotient_that_does_not_pass_the_exact_check_is_thrown_away(monkeypatch: pytest.MonkeyPatch) -> None:
    phi = potentials_of(Chain((2, 2)), turn(4), turn(4))
    assert len(search_ratios(phi)) == 1
    room = importlib.import_module("intertwiner.training.ratio_law")
    monkeypatch.setattr(room, "lifted", lambda found, primes: [[Fraction(1), *[Fraction(0)] * (found[0].shape[1] - 1)]])
    assert search_ratios(phi) == ()


@pytest.mark.parametrize(
    ("network", "n", "without", "with_symmetry"),
    [
        (PolynomialChain((2, 2, 1), "t^2"), 4, 2, 2),
        (PolynomialChain((2, 2, 1), "t^3"), 8, 2, 5),  # cubic features: one orbit norm is all that is seen
        (PolynomialChain((2, 2, 1), "t^2+t", True), 4, 0, 0),
        (linear_on_features(monomials(2, 2), 1), 8, 0, 1),
        (linear_on_features(monomials(2, 2), 1), 4, 0, 0),
    ],
)
def test_polynomial_networks(network, n: int, without: int, with_symmetry: int) -> None:
    found = data_symmetry_laws(network, turn(n), still(cyclic(n)))
    assert found.with_symmetry.verdict.is_proved, found.with_symmetry.verdict.reason
    assert (found.without.laws, found.with_symmetry.laws) == (without, with_symmetry)


def test_laws_without_a_formula_are_counted_and_said_to_be_so() -> None:
    found = data_symmetry_laws(Chain((2, 2, 1)), turn(4), still(C4))
    assert found.with_symmetry.known == 3 and "written out" in found.with_symmetry.verdict.reason
    assert "and 2 more, for which no formula is known here" in str(found)
    assert all(is_conserved(law, chain_map(Chain((2, 2, 1)))) for law in found.polynomials)


def test_deep_networks_are_counted_without_writing_the_potentials_out() -> None:
    found = data_symmetry_laws(Chain((2, 2, 2, 2, 2, 2, 1)), turn(4), still(C4))
    assert "single field" in found.with_symmetry.verdict.reason
    assert (found.with_symmetry.laws, found.with_symmetry.parameters) == (21, 22)
    network = PolynomialChain((2, 3, 3, 1), "t^2")
    found = data_symmetry_laws(network, turn(4), still(C4))
    assert found.extra == 0 and len(found.polynomials) == 6


def test_wide_chains_are_counted_without_writing_anything_out() -> None:
    found = data_symmetry_laws(Chain((6, 6, 6)), shifts(6), shifts(6))
    assert (found.with_symmetry.laws, found.polynomials) == (21, ())


@given(st.sampled_from(CASES), st.integers(1, 2), st.booleans())
@settings(max_examples=8)
def test_symmetry_never_takes_laws_away(case, hidden: int, bias: bool) -> None:
    rho_in, rho_out = case
    chain = Chain((rho_in.dimension, hidden, rho_out.dimension), bias=bias)
    found = data_symmetry_laws(chain, rho_in, rho_out)
    assert found.with_symmetry.most >= found.with_symmetry.least >= found.without.least
    trivial = data_symmetry_laws(chain, still(C1, rho_in.dimension), still(C1, rho_out.dimension))
    assert trivial.extra == 0


def test_without_brackets_nothing_is_proved() -> None:
    found = data_symmetry_laws(Chain((2, 2, 2)), turn(4), turn(4), depth=0)
    count = found.with_symmetry
    assert count.verdict.is_undecided and (count.least, count.most) == (3, 5) and found.extra is None
    assert "3 to 5 independent conserved functions" in str(found)


def test_a_span_without_a_rational_basis_still_gives_bounds() -> None:
    """Two copies of the triangle, one turned by 60 degrees: the map between them has the entry sqrt(3)."""
    group = dihedral(3)
    plane = irrep(group, "E").representation
    c, s = np.cos(np.pi / 3), np.sin(np.pi / 3)
    basis = np.array([[c, -s], [s, c]])
    twisted = Representation(group, tuple(basis @ m @ basis.T for m in plane.dense_images()))
    rho = plane + twisted
    one = data_symmetry_laws(Chain((4, 3)), rho, still(group, 3))
    assert one.with_symmetry.verdict.is_proved and one.with_symmetry.laws == 8  # 2 (6 - 2)
    two = data_symmetry_laws(Chain((4, 2, 1)), rho, still(group))
    span = data_span(np.eye(4, dtype=int), exact_action(rho), exact_action(still(group)))
    assert span.second.rational is None and span.second.dimension == 3
    assert two.polynomials == () and two.with_symmetry.least >= 3


def test_a_rank_that_is_too_small_is_a_contradiction() -> None:
    point = residues((8,), FIELD, rng(0))
    assert len(orthogonal_to_brackets(Chain((2, 2, 2)), 5)(point, FIELD)) == 3
    assert len(orthogonal_to_brackets(Chain((2, 2, 2)), 6)(point, FIELD)) == 0
    with pytest.raises(Contradiction, match="a theorem allows 3"):
        orthogonal_to_brackets(Chain((2, 2, 2)), 3)(point, FIELD)


def test_records_are_read_back() -> None:
    for arguments in (
        (Chain((3, 3)), shifts(3), shifts(3)),
        (Chain((2, 2, 1)), turn(4), still(C4)),
        (PolynomialChain((2, 1, 1), "t^2"), turn(8), still(cyclic(8))),
    ):
        found = data_symmetry_laws(*arguments)
        assert DataSymmetryLaws.from_json(json.loads(json.dumps(found.to_json()))) == found


@pytest.mark.parametrize(
    ("call", "error", "words"),
    [
        (lambda: data_symmetry_laws(Chain((2, 2), "relu"), SWAP, SWAP), WrongUse, "do not separate"),
        (lambda: data_symmetry_laws(Chain((2, 3)), SWAP, SWAP), ShapeMismatch, "2 inputs and 3 outputs"),
        (lambda: data_symmetry_laws(Chain((2, 2)), SWAP, turn(4)), GroupError, "C2 and C4"),
        (lambda: exact_action(irrep(symmetric(5), "(3,2)").representation), WrongUse, "no cosine"),
        (lambda: exact_action(Representation(cyclic(3), (np.diag([1.0, -1.0]),), check=False)), NotAnAction, "C3"),
        (lambda: data_span(np.eye(3, dtype=int), exact_action(SWAP), exact_action(SWAP)), ShapeMismatch, "2 inputs"),
        (lambda: search_ratios(chain_map(Chain((8, 8)))), WrongUse, "2016 unknowns"),
        (lambda: one_layer_laws(SWAP, still(C4)), WrongUse, "C2 and C4"),
        (lambda: root_of_unity(8, Modulus(7)), WrongUse, "no root of unity of order 8"),
        (
            lambda: loss_span(
                separated(Chain((2, 1))),
                (SWAP, SWAP),
                (np.ones((3, 2)), np.ones((3, 1))),
                lambda z, y: z - y,
                np.ones(2),
            ),
            ShapeMismatch,
            "2 inputs and 1 outputs",
        ),
    ],
)
def test_bad_input_is_refused(call, error: type[Exception], words: str) -> None:
    with pytest.raises(error, match=words) as caught:
        call()
    assert "Nothing was computed." in str(caught.value)


def test_counts_without_symmetry_are_those_of_the_room() -> None:
    found = data_symmetry_laws(Chain((2, 3, 2), bias=True), SWAP, SWAP)
    assert found.without == count_laws((2, 3, 2), bias=True)
