"""Stabilisers of planted neurons are found, and continuous phases, weak sets and hidden signs are refused."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from intertwiner.algebra import Group, Subgroup, parse_group, subgroup_classes
from intertwiner.audit.image_parts import MomentPart, WeightPart
from intertwiner.audit.images import first_layer, random_turns
from intertwiner.audit.stabilisers import closed_sets, decide, stabilisers
from intertwiner.errors import NonFiniteWeights, ShapeMismatch


def regular(group: Group, rows: np.ndarray) -> WeightPart:
    """Functions on the group, moved by left multiplication."""
    return WeightPart.by_permutations(group, rows, group.table)


def invariant_row(subgroup: Subgroup, rng: np.random.Generator) -> np.ndarray:
    """A random function on G that exactly ``subgroup`` leaves alone."""
    group, every = subgroup.group, np.arange(subgroup.group.order)
    while True:
        row = rng.normal(size=group.order)
        row = row[group.multiply(subgroup.elements[:, None], every[None, :])].mean(0)
        centred = row - row.mean()
        others = np.setdiff1d(every, subgroup.elements)
        own = centred[group.multiply(others[:, None], every[None, :])] @ centred
        # A draw that another element moves only a little has no one right answer.
        if not len(others) or (centred @ centred > 0.1 * row @ row and own.max() < 0.7 * (centred @ centred)):
            return row


@pytest.mark.parametrize("noise", [0.0, 0.03])
@pytest.mark.parametrize("name", ["C4", "C2xC2", "D4", "D6", "S3", "S4", "A5"])
def test_every_class_of_subgroups_is_found(name: str, noise: float) -> None:
    group, rng = parse_group(name), np.random.default_rng(7)
    planted = subgroup_classes(group)
    rows = np.array([invariant_row(h, rng) for h in planted])
    rows += noise * rng.normal(size=rows.shape) * rows.std(1, keepdims=True)
    # The whole group keeps a constant only, so its noise is measured against the constant.
    rows[[h.order == group.order for h in planted]] = 1 + noise * rng.normal(size=group.order)
    found = stabilisers(first_layer(group, [regular(group, rows)]))
    assert found.decided.all(), found.reasons
    for i, h in enumerate(planted):
        assert found.subgroup_elements(i).tolist() == h.elements.tolist()
    assert (found.kept > 0.95).all()


def test_an_invariant_part_changes_nothing() -> None:
    group, rng = parse_group("S4"), np.random.default_rng(1)
    rows = np.array([invariant_row(h, rng) for h in subgroup_classes(group) if 1 < h.order < 24])
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    bare, raised = (stabilisers(first_layer(group, [regular(group, rows + shift)])) for shift in (0, 1.0))
    assert np.array_equal(bare.members, raised.members)
    assert (raised.moving < 0.1).all()
    # Raw cosines, with the invariant part left in, would put every neuron next to all of its images.
    whole = first_layer(group, [regular(group, rows + 1.0)]).normalised().self_products(invariant=True)
    assert whole.min() > 0.8


def test_the_energy_kept_is_that_of_the_projection() -> None:
    group, rng = parse_group("D4"), np.random.default_rng(2)
    rows = rng.normal(size=(5, 8))
    rows -= rows.mean(1, keepdims=True)
    found = stabilisers(first_layer(group, [regular(group, rows)]), min_separation=0.0)
    for i, row in enumerate(rows):
        h = found.subgroup_elements(i)
        projected = row[group.multiply(h[:, None], np.arange(8)[None, :])].mean(0)
        assert found.kept[i] == pytest.approx((projected**2).sum() / (row**2).sum())


def test_a_closed_set_with_a_wide_gap_can_still_move_the_neuron() -> None:
    group = parse_group("C2xC2")
    characters = np.array([[1, 1, 1, 1], [1, 1, -1, -1], [1, -1, 1, -1], [1, -1, -1, 1]])
    correlation = np.array([[0.45, 0.45, 0.1, 0.0]]) @ characters
    assert correlation[0].round(3).tolist() == [1.0, 0.8, 0.1, -0.1]
    found = decide(correlation, group)
    assert found.orders[0] == 1
    assert found.separation[0] == pytest.approx(0.2)
    loose = decide(correlation, group, min_kept=0.85)
    assert loose.orders[0] == 2
    assert loose.kept[0] == pytest.approx(0.9)
    assert not decide(correlation, group, min_separation=0.3).decided[0]


@pytest.mark.parametrize("name", ["C31", "C113", "D31"])
def test_continuous_phases_are_refused(name: str) -> None:
    group, rng = parse_group(name), np.random.default_rng(3)
    n = len(group.matrices) if group.matrices is not None else group.order
    turn = 2 * np.pi * np.arange(n if name[0] == "C" else n // 2) / (n if name[0] == "C" else n // 2)
    rows = np.cos(np.outer(rng.integers(1, 6, size=40), turn) + rng.uniform(0, 2 * np.pi, size=(40, 1)))
    if name[0] == "D":
        rows = np.hstack([rows, np.roll(rows[:, ::-1], 1, axis=1)])
    found = stabilisers(first_layer(group, [regular(group, rows)]))
    assert found.decided.mean() < 0.05
    assert np.median(found.gap) < np.median(found.gap_spread)


def test_signs_are_read_off_as_a_character() -> None:
    group = parse_group("D4")
    corners = np.array([[1, 0, -1, 0], [1, -1, 1, -1], [2, 1, -2, -1], [1, 1, 1, 1], [1, 0, 0, 0]], dtype=float)
    index = (np.array([[(k + (1 - 2 * f) * j) % 4 for j in range(4)] for f in range(2) for k in range(4)])) % 4
    part = WeightPart.by_permutations(group, corners, index)
    plain, signed = (stabilisers(first_layer(group, [part], signed=s)) for s in (False, True))
    assert plain.orders.tolist() == [2, 4, 1, 8, 2]
    assert signed.orders.tolist() == [4, 8, 2, 8, 2]
    assert [(row < 0).any() for row in signed.character] == [True, True, True, False, False]
    assert (signed.character.sum(1)[:3] == 0).all()
    # A bias pins the sign down: nothing may be negated then.
    biased = stabilisers(first_layer(group, [part], fixed=np.ones((5, 1)), signed=True))
    assert (biased.character >= 0).all()
    assert biased.orders.tolist() == plain.orders.tolist()


def test_fixed_dead_and_nearly_fixed_neurons() -> None:
    group, rng = parse_group("S4"), np.random.default_rng(4)
    rows = np.vstack([np.ones(24), np.zeros(24), 1 + 0.02 * rng.normal(size=24)])
    found = stabilisers(first_layer(group, [regular(group, rows)]))
    assert found.orders.tolist() == [24, 24, 24]
    assert found.decided.all()
    assert found.kept[2] == pytest.approx(1 - found.moving[2])


def test_a_set_that_is_no_subgroup_is_seen() -> None:
    group = parse_group("S3")
    members = np.zeros((3, 6), dtype=bool)
    members[0, [0, 1]] = members[1, [0, 1, 2]] = members[2, :] = True
    signs = members.astype(np.int64)
    assert closed_sets(members, signs, group).tolist() == [True, False, True]
    signs[2, 1] = -1
    assert not closed_sets(members, signs, group)[2]
    signs[2] = np.array([1 if order % 2 else -1 for order in group.element_orders])
    assert closed_sets(members, signs, group)[2]


def test_moments_and_weights_and_matrices_agree() -> None:
    group, rng = parse_group("S3"), np.random.default_rng(5)
    rows, order = rng.normal(size=(4, 6)), np.arange(6)
    weights = regular(group, rows)
    dense = np.zeros((6, 6, 6))
    dense[order[:, None], group.table, order[None, :]] = 1
    moments = MomentPart.from_moments(group, weights.inner(order))
    turns, members = random_turns(group, 4, rng), rng.normal(size=(4, 2))
    aligners = np.array([0, 3, 5, 2])
    for other in (moments, WeightPart.by_matrices(group, rows, dense)):
        for one, two in (
            (weights, other),
            (weights.turned(turns), other.turned(turns)),
            (weights.merged(members, aligners), other.merged(members, aligners)),
            (weights.restricted(np.array([2, 0])), other.restricted(np.array([2, 0]))),
            (weights.rescaled(np.arange(1.0, 5)), other.rescaled(np.arange(1.0, 5))),
        ):
            assert np.allclose(one.inner(order), two.inner(order))
            assert np.allclose(one.self_inner(), two.self_inner())


def test_g_acts_from_the_left_and_signs_follow() -> None:
    group, rng = parse_group("D4"), np.random.default_rng(6)
    index = np.array([[(k + (1 - 2 * f) * j) % 4 for j in range(4)] for f in range(2) for k in range(4)])
    flip = np.where(np.arange(8) < 4, 1.0, -1.0)[:, None] * np.ones((8, 4))
    rows = rng.normal(size=(3, 4))
    part = WeightPart.by_permutations(group, rows, index, flip)
    for g in range(8):
        matrix = np.zeros((4, 4))
        matrix[index[g], np.arange(4)] = flip[g]
        moved = rows @ np.linalg.inv(matrix)
        assert np.allclose(part.move(rows, np.full(3, g)), moved)
        assert np.allclose(part.inner(np.array([g]))[0], rows @ moved.T)


def test_bad_input_is_refused() -> None:
    group = parse_group("C3")
    with pytest.raises(ShapeMismatch, match="index of that shape"):
        WeightPart.by_permutations(group, np.ones((2, 4)), group.table)
    with pytest.raises(ShapeMismatch, match="need 3 matrices"):
        WeightPart.by_matrices(group, np.ones((2, 4)), np.ones((3, 3, 3)))
    with pytest.raises(ShapeMismatch, match="square matrices"):
        MomentPart.from_moments(group, np.ones((3, 2, 4)))
    with pytest.raises(NonFiniteWeights):
        WeightPart.by_permutations(group, np.full((1, 3), np.nan), group.table)
    with pytest.raises(NonFiniteWeights):
        MomentPart.from_moments(group, np.full((3, 2, 2), np.inf))
    part = WeightPart.by_permutations(group, np.ones((2, 3)), group.table)
    with pytest.raises(ShapeMismatch, match="fixed columns"):
        first_layer(group, [part], fixed=np.ones((3, 1)))
    with pytest.raises(ShapeMismatch, match="do not make a group of order"):
        replace(first_layer(group, [part]), parts=(part, part))
    with pytest.raises(ShapeMismatch, match="one row of weights"):
        WeightPart.by_permutations(group, np.ones(3), group.table)
