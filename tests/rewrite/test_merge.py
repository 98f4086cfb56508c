"""Ties, closures and orbits: what the layers of a twin are made of."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from intertwiner.algebra import GSet, Orbit, cyclic, dihedral, direct_product, subgroup_classes, symmetric
from intertwiner.algebra.names import sign_kernels
from intertwiner.errors import CannotRewrite, LiftTooWide, NotAnAction, ShapeMismatch
from intertwiner.gauge import POINTWISE
from intertwiner.numerics.monomial import Monomial
from intertwiner.rewrite.candidates import Layout, candidates
from intertwiner.rewrite.elements import Elements, coset_action
from intertwiner.rewrite.layers import TwinChain, TwinLayer, pruned
from intertwiner.rewrite.lift import closure
from intertwiner.rewrite.tied import tied, trivial

GROUPS = {"C4": cyclic(4), "D4": dihedral(4), "S3": symmetric(3), "C2xS3": direct_product(cyclic(2), symmetric(3))}


def some_action(name: str, seed: int, *, signed: bool = True) -> tuple[Monomial, ...]:
    """A few random orbits of a group, some of them signed."""
    group, rng = GROUPS[name], np.random.default_rng(seed)
    classes = subgroup_classes(group)
    orbits = []
    for _ in range(2):
        h = classes[rng.integers(len(classes))]
        kernels = [None, *sign_kernels(h)] if signed else [None]
        orbits.append(Orbit(h, kernels[rng.integers(len(kernels))]))
    rho = GSet.of(group, orbits).representation()
    return tuple(m for m in rho.images if isinstance(m, Monomial))


def elements(name: str, rho: tuple[Monomial, ...]) -> list[np.ndarray]:
    """All elements as dense matrices, from words in the generators: the oracle."""
    group = GROUPS[name]
    if group.parts:
        known = Elements(group, rho)
        return [known[g].dense() for g in range(group.order)]
    return group.extend([m.dense() for m in rho], np.matmul, np.eye(rho[0].dimension))


@pytest.mark.parametrize("name", GROUPS)
@given(seed=st.integers(0, 10**6))
def test_ties_are_the_mean_over_the_group(name: str, seed: int) -> None:
    out, into = some_action(name, seed), some_action(name, seed + 1)
    matrix = np.random.default_rng(seed).normal(size=(out[0].dimension, into[0].dimension))
    every = list(zip(elements(name, out), elements(name, into), strict=True))
    mean = np.mean([a @ matrix @ b.T for a, b in every], axis=0)
    space = tied(out, into)
    assert np.allclose(space.project(matrix), mean, atol=1e-12)
    assert space.count == round(np.mean([np.trace(a) * np.trace(b) for a, b in every]))  # dim Hom, by characters


@pytest.mark.parametrize("name", GROUPS)
def test_tied_weights_are_equal_bit_for_bit(name: str) -> None:
    out, into = some_action(name, 5), some_action(name, 6)
    weight = tied(out, into).project(np.random.default_rng(0).normal(size=(out[0].dimension, into[0].dimension)))
    for a, b in zip(out, into, strict=True):
        assert np.array_equal(a.apply(weight), b.apply_right(weight))
    weight[0, 0] += 1e-9
    assert any(not np.array_equal(a.apply(weight), b.apply_right(weight)) for a, b in zip(out, into, strict=True))


def test_ties_refuse_scales_other_shapes_and_other_generators() -> None:
    swap, scaled = Monomial([1, 0]), Monomial([1, 0], np.array([2.0, 0.5]))
    with pytest.raises(NotAnAction, match="signed permutations"):
        tied([scaled], [swap])
    with pytest.raises(NotAnAction, match="2 generators act on the rows and 1"):
        tied([swap, swap], [swap])
    with pytest.raises(ShapeMismatch, match="shape"):
        tied([swap], [swap]).project(np.zeros((2, 3)))


@pytest.mark.parametrize("name", ["C4", "D4", "S3"])
def test_coset_action_is_the_induced_one(name: str) -> None:
    group = GROUPS[name]
    for h in subgroup_classes(group):
        for kernel in [None, *sign_kernels(h)]:
            character = np.zeros(group.order, dtype=np.int64)
            character[h.elements] = 1 if kernel is None else -1
            if kernel is not None:
                character[kernel.elements] = 1
            rho = coset_action(group, character != 0, character)
            assert GSet.from_monomials(group, rho)[0] == GSet.coset_space(h, kernel)


@pytest.mark.parametrize("name", GROUPS)
def test_closure_of_scrambled_orbits_is_the_orbits(name: str) -> None:
    """Rows of whole orbits, some twice, in random order: the closure has each row once, and moves them as planted."""
    into, rng = some_action(name, 11, signed=False), np.random.default_rng(3)
    regular = some_action(name, 12, signed=False)
    rows = tied(regular, into).project(rng.normal(size=(regular[0].dimension, into[0].dimension)))
    rows = np.unique(rows, axis=0)
    given_rows = np.concatenate([rows, rows])[rng.permutation(2 * len(rows))]
    closed = closure(given_rows, into, signed=False, tolerance=1e-10, limit=len(rows))
    assert len(closed.rows) == len(rows)
    assert np.array_equal(closed.rows[closed.label], given_rows)
    for m, a in zip(into, closed.rho, strict=True):
        assert np.array_equal(a.apply(closed.rows), m.inverse().apply_right(closed.rows)) or np.array_equal(
            a.apply(closed.rows), m.apply_right(closed.rows)
        )


def test_closure_refuses_to_grow_beyond_its_limit_and_to_guess() -> None:
    turn = (Monomial([1, 2, 0]),)
    row = np.array([[1.0, 0.0, 0.2]])
    assert len(closure(row, turn, signed=False, tolerance=1e-9, limit=3).rows) == 3
    with pytest.raises(LiftTooWide, match="more than 2 neurons at h0"):
        closure(row, turn, signed=False, tolerance=1e-9, limit=2, where="h0")
    # Three rows in a chain, the outer two further apart than the tolerance: one of them is an image of the others.
    chain = np.array([[1.0, 0.0], [0.0, 1.0005]])
    with pytest.raises(CannotRewrite, match="about as far apart as the tolerance"):
        closure(np.array([[1.0, 1.0004], [1.0008, 1.0]]), (Monomial([1, 0]),), signed=False, tolerance=6e-4, limit=9)
    assert len(closure(chain, (Monomial([1, 0]),), signed=False, tolerance=1e-2, limit=9).rows) == 2


def test_signs_halve_an_orbit_only_where_the_gauge_has_them() -> None:
    flip, row = (Monomial([0, 1], np.array([-1.0, -1.0])),), np.array([[1.0, 2.0]])
    assert len(closure(row, flip, signed=True, tolerance=1e-9, limit=9).rows) == 1
    assert len(closure(row, flip, signed=False, tolerance=1e-9, limit=9).rows) == 2


@pytest.mark.parametrize("noise", [0.0, 0.01])
def test_candidates_are_the_planted_orbits(noise: float) -> None:
    """D4 on the corners of a square: an orbit of four, one of two (diagonals), one of one, noise on every neuron."""
    group = dihedral(4)
    corners = tuple(Monomial(group.permutations[g]) for g in group.generators)  # type: ignore[index]
    planted = [np.array([3.0, 1, 0, 1]), np.array([1.0, -1, 1, -1]), np.array([1.0, 1, 1, 1])]
    rng, every = np.random.default_rng(1), Elements(group, corners)
    rows = np.concatenate([[every[g].apply(row) for g in range(8)] for row in planted])
    rows = np.column_stack([rows + noise * rng.normal(size=rows.shape), np.full(len(rows), 0.1)])
    scaled = rows * rng.uniform(0.5, 2.0, size=(len(rows), 1))
    layout = Layout(group, scaled, corners, np.eye(5), POINTWISE["relu"], np.ones(len(rows)))
    found = candidates(layout, cosine=0.98, largest=8)
    assert sorted((c.size, len(c.members)) for c in found) == [(1, 8), (2, 8), (4, 8)]
    for c in found:
        assert np.array_equal(np.sort(c.members), np.arange(8) + c.members.min())
        for a, m in zip(c.rho, corners, strict=True):
            assert np.array_equal(a.apply(c.weight), m.apply_right(c.weight)) or np.array_equal(
                a.inverse().apply(c.weight), m.apply_right(c.weight)
            )
    assert [c.size for c in candidates(layout, cosine=0.98, largest=2) if c.size > 2] == []


def test_components_that_no_input_sees_do_not_count() -> None:
    """Two neurons that differ along a direction without variance are one; with variance they are two."""
    group = cyclic(2)
    rho = (Monomial([1, 0, 2]),)
    rows = np.array([[1.0, 0.0, 0.0, 0.5], [0.0, 1.0, 5.0, 0.5]])
    for seen, count in ((0.0, 1), (1.0, 2)):
        metric = np.diag([1.0, 1.0, seen, 1.0])
        layout = Layout(group, rows, rho, metric, POINTWISE["tanh"], np.ones(2))
        assert len(candidates(layout, cosine=0.95, largest=4)) == count


def test_neurons_that_nobody_reads_are_dropped_in_whole_orbits() -> None:
    swap, keep = (Monomial([1, 0]),), trivial(1)
    both = (Monomial([1, 0, 2]),)
    first = TwinLayer(np.array([[1.0, 2], [2, 1], [1, 1]]), np.zeros(3), POINTWISE["relu"], both)
    last = TwinLayer(np.array([[0.0, 0.0, 2.0]]), np.zeros(1), None, keep)
    assert pruned(TwinChain((first, last), swap)).widths == (2, 1, 1)
    used = TwinLayer(np.array([[1.0, 1.0, 2.0]]), np.zeros(1), None, keep)
    assert pruned(TwinChain((first, used), swap)).widths == (2, 3, 1)


def test_elements_of_a_product_through_its_factors(rng: np.random.Generator) -> None:
    group = direct_product(symmetric(3), cyclic(2))
    rho = tuple(Monomial(p) for p in ([1, 0, 2, 3, 4], [1, 2, 0, 3, 4], [0, 1, 2, 4, 3]))[: len(group.generators)]
    known = Elements(group, rho)
    a, b = 7, 4
    assert known[int(group.multiply(a, b))] == known[a] @ known[b]
    matrix = rng.normal(size=(5, 5))
    mean = np.mean([known[g].dense() @ matrix @ known[g].dense().T for g in range(group.order)], axis=0)
    assert np.allclose(known.mean_square(matrix), mean)
