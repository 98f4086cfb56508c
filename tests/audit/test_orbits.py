"""Planted unions of orbits are found whole, missing members are seen, and nets without an action are refused."""

from __future__ import annotations

import tracemalloc
from pathlib import Path

import numpy as np
import pytest

from intertwiner.algebra import Group, direct_product, from_table, irreps, parse_group, subgroup_classes, symmetric
from intertwiner.audit.copies import count_copies
from intertwiner.audit.energies import irrep_energies, symmetric_names
from intertwiner.audit.image_parts import MomentPart, WeightPart
from intertwiner.audit.images import NeuronImages, first_layer
from intertwiner.audit.orbits import find_orbits, live_neurons, residuals, share_present
from intertwiner.errors import ShapeMismatch, WrongUse

MODELS = Path(__file__).resolve().parents[3] / "shared" / "models" / "group_mlp"
S5_ORDERS = {
    "S5_MLP_seed37": {24: 70, 60: 9, 12: 5},
    "S5_MLP_seed5": {20: 66, 24: 54, 60: 3},
    "S5_MLP_hidden_dim_96_seed3": {24: 80, 12: 8, 60: 6},
}


def orbit_of(group: Group, order: int, rng: np.random.Generator) -> np.ndarray:
    """One orbit G/H, H of the given order, of functions on G: the indicator of H g with a random height and shift."""
    h = next(h for h in subgroup_classes(group) if h.order == order)
    row = np.zeros(group.order)
    row[group.multiply(h.elements, int(rng.integers(group.order)))] = 1.0
    moved = row[group.table[group.inverse(np.arange(group.order))]]
    return np.unique(moved, axis=0) * rng.uniform(1, 2) + rng.uniform(-0.2, 0.2)


def planted(name: str, orders: list[int], noise: float = 0.0, seed: int = 0) -> tuple[Group, np.ndarray]:
    """Orbits with these stabilisers, hidden by an order and by positive scales of the neurons."""
    group, rng = parse_group(name), np.random.default_rng(seed)
    rows = np.vstack([orbit_of(group, order, rng) for order in orders])
    rows = rows + noise * rng.normal(size=rows.shape) * rows.std(1, keepdims=True)
    return group, rng.permutation(rows) * rng.uniform(0.5, 2, size=(len(rows), 1))


def layer(group: Group, rows: np.ndarray, **options: bool) -> NeuronImages:
    return first_layer(group, [WeightPart.by_permutations(group, rows, group.table)], **options)


@pytest.mark.parametrize("noise", [0.0, 0.03])
@pytest.mark.parametrize(
    ("name", "orders"),
    [("S4", [6, 8, 2, 24]), ("D4", [1, 4, 2, 8]), ("S5", [24, 60, 20, 12]), ("A5", [12, 5]), ("C4", [1, 2, 4])],
)
def test_planted_orbits_are_found_whole(name: str, orders: list[int], noise: float) -> None:
    group, rows = planted(name, orders, noise)
    found = find_orbits(layer(group, rows, scaled=True))
    expected = sorted((order, group.order // order) for order in orders)
    assert found.decision == "action", found.reason
    assert sorted((t.order, t.neurons) for t in found.types) == expected
    assert all(t.orbits == t.complete == 1 for t in found.types)
    assert found.lift_width == len(rows)
    assert [found.explained_neurons, found.explained_variance, found.present] == pytest.approx([1, 1, 1])
    assert found.present_null < 0.7
    assert found.gap > 10 * found.spread


def test_two_orbits_of_one_kind_stay_two_and_copies_merge() -> None:
    group, rows = planted("S4", [6, 2])
    doubled = np.vstack([rows, rows, orbit_of(group, 6, np.random.default_rng(9)) @ np.diag(np.arange(24.0))])
    found = find_orbits(layer(group, doubled[: 2 * len(rows)], scaled=True))
    assert found.lift_width == len(rows)
    assert sorted((t.order, t.neurons, t.orbits) for t in found.types) == [(2, 24, 1), (6, 8, 1)]


def test_a_missing_member_is_seen_and_the_lift_restores_it() -> None:
    group, rows = planted("S4", [6, 2])
    found = find_orbits(layer(group, rows[1:], scaled=True))
    assert found.lift_width == len(rows)
    assert found.present < 1
    assert sum(t.complete for t in found.types) == 1
    assert not found.complete.all()
    half = find_orbits(layer(group, rows[: len(rows) // 2], scaled=True))
    assert half.decision == "partial"
    assert "missing members" in half.reason


@pytest.mark.parametrize("name", ["C31", "C113"])
def test_continuous_phases_are_no_action(name: str) -> None:
    group, rng = parse_group(name), np.random.default_rng(3)
    turn = 2 * np.pi * np.arange(group.order) / group.order
    rows = np.cos(np.outer(rng.integers(1, 4, size=90), turn) + rng.uniform(0, 2 * np.pi, size=(90, 1)))
    images = layer(group, rows, scaled=True)
    found = find_orbits(images)
    assert found.decision == "none"
    assert found.present < found.present_null + 0.1
    assert found.gap < found.spread
    # A fixed cosine sees images everywhere, and as many after every neuron is turned by a phase of its own.
    ones = np.ones(90)
    fixed, chance = (count_copies(i, ones).present for i in (images, images.turned(rng)))
    assert fixed > 0.4
    assert chance > 0.8 * fixed


@pytest.mark.parametrize("name", ["S4", "D4", "S5"])
def test_random_networks_and_wrong_actions_are_no_action(name: str) -> None:
    group, rows = planted(name, [4, 2])
    rng = np.random.default_rng(5)
    assert find_orbits(layer(group, rng.normal(size=rows.shape))).decision == "none"
    right = layer(group, rows, scaled=True)
    wrong = right.under_wrong_action(rng)
    assert wrong is not None
    assert find_orbits(right).decision == "action"
    assert find_orbits(wrong).decision == "none"
    assert find_orbits(right.turned(rng)).decision == "none"


def test_the_trivial_action_is_called_by_its_name() -> None:
    group, rng = parse_group("D4"), np.random.default_rng(1)
    rows = rng.normal(size=(5, 1)) * np.ones((5, 8)) + 0.01 * rng.normal(size=(5, 8))
    found = find_orbits(layer(group, np.vstack([rows, 2 * np.ones((1, 8))]), scaled=True))
    assert found.decision == "action"
    assert "trivial action" in found.reason


def test_signed_orbits_merge_up_to_sign() -> None:
    group = parse_group("C4")
    turn = (np.arange(4)[:, None] + np.arange(4)) % 4
    part = WeightPart.by_permutations(group, np.array([[1.0, 0, -1, 0], [0, -1, 0, 1]]), turn)
    signed = find_orbits(first_layer(group, [part], signed=True))
    plain = find_orbits(first_layer(group, [part]))
    assert (signed.lift_width, plain.lift_width) == (2, 4)
    assert [t.stabiliser for t in signed.types] == ["C2-(1)"]
    assert signed.explained_neurons == 1
    assert plain.explained_neurons == 0


def test_minus_one_is_judged_without_the_null_that_it_commutes_with() -> None:
    group, rng = parse_group("C2"), np.random.default_rng(8)
    flip = np.array([np.eye(4), -np.eye(4)])
    rows, bias = rng.normal(size=(6, 4)), rng.normal(size=(6, 1))
    pairs = WeightPart.by_matrices(group, np.vstack([rows, -rows]), flip)
    relu = find_orbits(first_layer(group, [pairs], fixed=np.vstack([bias, bias]), scaled=True), draws=8)
    assert "wrong action" not in relu.nulls
    assert relu.decision == "action", relu.reason
    assert [(t.order, t.neurons, t.orbits) for t in relu.types] == [(1, 12, 6)]
    odd = find_orbits(first_layer(group, [WeightPart.by_matrices(group, rows, flip)], signed=True))
    assert "up to its sign" in odd.reason
    alone = first_layer(group, [WeightPart.by_matrices(group, rows, flip)], fixed=bias, scaled=True)
    assert find_orbits(alone).decision == "none"


def test_a_few_elements_can_be_judged_alone() -> None:
    group, rows = planted("S4", [6, 2])
    part = layer(group, rows - rows.mean(1, keepdims=True)).parts[0]
    energy = part.self_inner()[:, 0]
    right, wrong = part.inner(np.array([0, 5, 9])), part.under_wrong_action(np.random.default_rng(0))
    assert wrong is not None
    assert share_present(right, energy).tolist() == [1, 1, 1]
    assert share_present(-right, energy, signed=True).tolist() == [1, 1, 1]
    assert share_present(wrong.inner(np.array([0, 5, 9])), energy)[1:].max() < 0.1


def test_products_work_through_their_factors() -> None:
    left, right, rng = parse_group("S3"), parse_group("C4"), np.random.default_rng(2)
    group = direct_product(left, right)
    a, b = rng.normal(size=(7, 6)), rng.normal(size=(7, 4))
    parts = [WeightPart.by_permutations(left, a, left.table), WeightPart.by_permutations(right, b, right.table)]
    g, h = group.split(np.arange(group.order))
    index = np.hstack([left.table[g], 6 + right.table[h]])
    whole = WeightPart.by_permutations(group, np.hstack([a, b]), index)
    for signed in (False, True):
        bias = np.zeros((7, 0)) if signed else rng.normal(size=(7, 1))
        by_factors = first_layer(group, parts, fixed=bias, signed=signed, scaled=True)
        at_once = first_layer(group, [whole], fixed=bias, signed=signed, scaled=True)
        for invariant in (False, True):
            one, two = (i.self_products(invariant=invariant) for i in (by_factors, at_once))
            assert np.allclose(one, two)
        best, where, sign = by_factors.nearest_over_group()
        best_at_once, (joint,), sign_at_once = at_once.nearest_over_group()
        assert np.allclose(best, best_at_once)
        assert np.array_equal(sign, sign_at_once)
        assert np.array_equal(group.join(where), joint)
        collected = [np.vstack([r for _, r in residuals(i)]) for i in (by_factors, at_once)]
        order = np.argsort(np.concatenate([e for e, _ in residuals(by_factors)]))
        assert np.allclose(collected[0][order], collected[1])


def test_a_planted_product_orbit_and_its_memory() -> None:
    factor, rng = symmetric(5), np.random.default_rng(3)
    group = direct_product(factor, factor)
    corners = np.eye(5)[:, factor.permutations[:, 0]]
    a, b = np.repeat(corners, 5, axis=0), np.tile(corners, (5, 1))
    filler = rng.normal(size=(103, 120))
    a, b = np.vstack([a, filler]), np.vstack([b, filler])
    parts = [WeightPart.by_permutations(factor, rows, factor.table) for rows in (a, b)]
    tracemalloc.start()
    found = find_orbits(first_layer(group, parts, scaled=True), np.r_[np.ones(25), np.full(103, 0.5)], draws=0)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 300e6
    assert (found.types[-1].order, found.types[-1].neurons, found.types[-1].complete) == (576, 25, 1)


def test_energies_are_those_of_the_projections() -> None:
    group, rng = parse_group("S4"), np.random.default_rng(4)
    rows = rng.normal(size=(5, 24))
    images = layer(group, rows)
    energies = irrep_energies(images)
    assert np.allclose(energies.energy.sum(1), (rows**2).sum(1))
    every = np.arange(24)
    for kind, got in zip(irreps(group), energies.energy.T, strict=True):
        coefficients = kind.dimension / 24 * kind.character
        moved = rows[:, group.table[group.inverse(every)]]
        assert np.allclose((np.einsum("g,ngx->nx", coefficients, moved) ** 2).sum(1), got)
    assert sum(energies.shares(invariant=False).values()) == pytest.approx(1)
    # Turned neurons keep every energy: that is what makes them a fair null.
    assert np.allclose(irrep_energies(images.turned(rng)).energy, energies.energy)
    moments = MomentPart.from_moments(group, images.parts[0].inner(every))
    assert np.allclose(irrep_energies(first_layer(group, [moments])).energy, energies.energy)


@pytest.mark.parametrize("n", [3, 4, 5])
def test_standard_is_told_from_standard_times_sign_by_the_table_alone(n: int) -> None:
    known = symmetric(n)
    shuffle = np.r_[0, 1 + np.random.default_rng(n).permutation(known.order - 1)]
    back = np.argsort(shuffle)
    unknown = from_table(back[known.table[np.ix_(shuffle, shuffle)]])
    names = symmetric_names(unknown)
    assert names is not None
    by_name = {kind.name: kind.character for kind in irreps(known)}
    for name, kind in zip(names, irreps(unknown), strict=True):
        assert np.allclose(kind.character, by_name[name][shuffle])
    assert symmetric_names(parse_group("D12" if n == 4 else "A5" if n == 5 else "C6")) is None


def test_contributions_must_fit_and_cut() -> None:
    assert live_neurons(np.array([1.0, 0.005, 0.5]), 3).tolist() == [0, 2]
    with pytest.raises(ShapeMismatch, match="3 neurons"):
        live_neurons(np.ones(2), 3)
    with pytest.raises(WrongUse, match="none of 2 neurons"):
        find_orbits(layer(parse_group("C3"), np.zeros((2, 3))))
    group, rows = planted("S4", [6])
    record = find_orbits(layer(group, rows, scaled=True)).to_json()
    assert {"decision", "present", "present_null", "gap", "spread", "types", "lift_width"} <= set(record)


@pytest.mark.skipif(not MODELS.is_dir(), reason="the folder of real networks is not beside the repository")
@pytest.mark.parametrize("name", [*S5_ORDERS, "D59_MLP_seed4", "C113_MLP_seed2"])
def test_real_group_networks(name: str) -> None:
    with np.load(MODELS / f"{name}.npz", allow_pickle=False) as file:
        w = {key: file[key].astype(np.float64) for key in file}
    width = w["W_x"].shape[1]
    x, y = (w["W_x"] @ w["W"][:width]).T, (w["W_y"] @ w["W"][width:]).T
    hidden = np.maximum(x[:, :, None] + y[:, None, :], 0)
    table = np.einsum("hxy,hz->xyz", hidden, w["W_U"], optimize=True).argmax(2)
    every = np.arange(len(table))
    unit = int(np.flatnonzero((table == every).all(1))[0])
    old = np.r_[unit, every[every != unit]]
    group = from_table(np.argsort(old)[table[np.ix_(old, old)]])
    shift = (x.mean(1) - y.mean(1))[:, None] / 2
    part = WeightPart.by_permutations(group, x[:, old] - shift, group.table)
    contribution = hidden.std((1, 2)) * np.linalg.norm(w["W_U"] - w["W_U"].mean(1, keepdims=True), axis=1)
    found = find_orbits(first_layer(group, [part], fixed=y + shift, scaled=True), contribution, draws=1)
    if name in S5_ORDERS:
        orders, counts = np.unique(found.stabilisers.orders, return_counts=True)
        assert dict(zip(orders.tolist(), counts.tolist(), strict=True)) == S5_ORDERS[name]
        assert found.decision in ("action", "partial")
    else:
        assert found.decision == "none"
