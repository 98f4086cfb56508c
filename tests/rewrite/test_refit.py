"""Moments, selection and refit against direct computation on data."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from intertwiner.algebra import dihedral, direct_product, symmetric
from intertwiner.errors import DataTooSmall
from intertwiner.numerics.monomial import Monomial
from intertwiner.rewrite.budget import width_within
from intertwiner.rewrite.build import averaged
from intertwiner.rewrite.elements import Elements
from intertwiner.rewrite.forward import before
from intertwiner.rewrite.layers import multiply_adds
from intertwiner.rewrite.moments import Moments, second_moments
from intertwiner.rewrite.refit import refit
from intertwiner.rewrite.samples import group_average, samples_of
from intertwiner.rewrite.select import select, select_and_thin, thinned
from intertwiner.rewrite.subject import task_of
from intertwiner.rewrite.tied import tied, trivial
from intertwiner.symmetry import Symmetry, invariant, onehot, vector

D4 = dihedral(4)
CORNERS = tuple(Monomial(D4.permutations[g]) for g in D4.generators)  # type: ignore[index]
ON_CORNERS = Symmetry(D4, vector(), vector())


def moments_of(u: np.ndarray, t: np.ndarray) -> Moments:
    one = np.column_stack([u, np.ones(len(u))])
    return Moments(one.T @ one / len(u), t.T @ one / len(u), (t**2).mean(0), len(u))


def corners_net(seed: int = 0) -> nn.Module:
    torch.manual_seed(seed)
    return nn.Sequential(nn.Linear(4, 6), nn.ReLU(), nn.Linear(6, 4)).double().eval()


def samples(count: int = 40, symmetry: Symmetry = ON_CORNERS):
    data = torch.randn(count, 4, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    return samples_of(task_of(corners_net(), symmetry, data)), data.numpy()


def test_refit_is_least_squares(rng: np.random.Generator) -> None:
    u, t = rng.normal(size=(200, 7)) @ rng.normal(size=(7, 7)), rng.normal(size=(200, 3))
    fit = refit(moments_of(u, t))
    one = np.column_stack([u, np.ones(200)])
    wanted = np.linalg.lstsq(one, t, rcond=None)[0].T
    assert np.allclose(fit.rows, wanted, atol=1e-9)
    left = np.linalg.norm(one @ fit.rows.T - t) / np.linalg.norm(t - t.mean(0))
    assert fit.error == pytest.approx(left, rel=1e-9)
    assert fit.rank == 7


def test_refit_leaves_what_no_sample_shows_alone(rng: np.random.Generator) -> None:
    """A repeated neuron: the rank says so, and the weight is shared, as the minimum norm has it."""
    u = rng.normal(size=(100, 1))
    fit = refit(moments_of(np.column_stack([u, u]), 3 * u))
    assert fit.rank == 1
    assert np.allclose(fit.weight, [[1.5, 1.5]])
    assert refit(moments_of(np.column_stack([u, rng.normal(size=100)]), 3 * u)).rank == 2


def test_too_few_samples_are_refused(rng: np.random.Generator) -> None:
    u, t = rng.normal(size=(5, 6)), rng.normal(size=(5, 1))
    with pytest.raises(DataTooSmall, match=r"5 samples \(1 images each\) cannot determine 6 weights"):
        refit(moments_of(u, t))
    refit(moments_of(u, t), symmetric_copies=8)


def test_moments_are_those_of_all_images() -> None:
    """Streamed from raw samples, against all 8 images of every sample written out."""
    found, x = samples()
    features, targets = np.tanh, before(found.task.chain.layers)
    got = second_moments(found, features, CORNERS, targets)
    every = np.concatenate([Elements(D4, CORNERS)[g].apply(x, axis=1) for g in range(8)])
    wanted = moments_of(features(every), targets(every))
    assert np.allclose(got.square, wanted.square, atol=1e-12)
    assert np.allclose(got.cross, wanted.cross, atol=1e-12)
    assert np.allclose(got.target, wanted.target, atol=1e-12)
    raw = moments_of(features(x), targets(x))
    assert not np.allclose(got.square, raw.square, atol=1e-3)


def test_the_refit_of_an_average_is_an_intertwiner_and_the_best_one() -> None:
    """Least squares onto the group average lies in Hom_G by itself; no other intertwiner is nearer."""
    found, x = samples()
    got = second_moments(found, np.tanh, CORNERS, before(found.task.chain.layers))
    fit = refit(averaged(got, CORNERS, CORNERS))
    space = tied(CORNERS, CORNERS)
    assert np.allclose(space.project(fit.weight), fit.weight, atol=1e-9)
    assert np.allclose(tied(CORNERS, trivial(2)).project(fit.bias[:, None])[:, 0], fit.bias, atol=1e-9)
    every = np.concatenate([Elements(D4, CORNERS)[g].apply(x, axis=1) for g in range(8)])
    values = before(found.task.chain.layers)(every)

    def error(weight: np.ndarray) -> float:
        return float(((np.tanh(every) @ weight.T + fit.bias - values) ** 2).sum())

    rng, best = np.random.default_rng(0), error(fit.weight)
    for _ in range(10):
        assert error(fit.weight + 1e-2 * space.project(rng.normal(size=(4, 4)))) > best


def test_selection_takes_what_is_needed_and_not_what_is_large(rng: np.random.Generator) -> None:
    """Three orbits of two; the target reads the smallest, and a mixture that no orbit has alone."""
    u = rng.normal(size=(500, 6)) * np.array([100, 100, 1, 1, 0.01, 0.01])
    t = u[:, 4:5] * 100 + 0.3 * u[:, 2:3]
    orbits = [np.array([0, 1]), np.array([2, 3]), np.array([4, 5])]
    taken = select(moments_of(u, t), orbits, weight=np.ones(1), width=4)
    assert taken.orbits == (2, 1)
    assert taken.width == (2, 4)
    assert taken.explained[1] == pytest.approx(1.0, abs=1e-9)
    for k, orbit in enumerate(taken.orbits, start=1):
        coordinates = np.concatenate([orbits[o] for o in taken.orbits[:k]])
        fit = refit(moments_of(u, t).on(coordinates))
        assert taken.explained[k - 1] == pytest.approx(1 - fit.error**2, abs=1e-9), orbit


def test_selection_takes_no_copy(rng: np.random.Generator) -> None:
    u = rng.normal(size=(300, 2))
    copies = np.column_stack([u, u, rng.normal(size=(300, 2))])
    t = u[:, :1] + 1e-3 * copies[:, 4:5]
    orbits = [np.array([0, 1]), np.array([2, 3]), np.array([4, 5])]
    assert select(moments_of(copies, t), orbits, weight=np.ones(1), width=4).orbits in ((0, 2), (1, 2))


def test_dropping_takes_the_least_loss_first(rng: np.random.Generator) -> None:
    """Against refits without every orbit in turn."""
    u, orbits = rng.normal(size=(400, 8)) @ rng.normal(size=(8, 8)), [np.arange(2 * k, 2 * k + 2) for k in range(4)]
    moments = moments_of(u, u @ rng.normal(size=(8, 3)) + rng.normal(size=(400, 3)))
    left = {0, 1, 2, 3}
    for width in (6, 4, 2):
        errors = {}
        for out in left:
            kept = np.concatenate([orbits[o] for o in sorted(left - {out})])
            errors[out] = refit(moments.on(kept)).error
        left -= {min(errors, key=lambda o: errors[o])}
        assert set(thinned(moments, orbits, range(4), weight=np.ones(3), width=width)) == left


def test_forward_and_backward_leaves_traps_that_forward_alone_does_not(rng: np.random.Generator) -> None:
    """Five times a blend of two neurons that is the best first choice, and not needed once both are there."""
    a, b, noise = rng.normal(size=(3, 4000, 5))
    u = np.concatenate([a + b + 0.3 * noise, a, b], axis=1)
    moments = moments_of(u, np.concatenate([a, b, a + b], axis=1))
    orbits = [np.array([k]) for k in range(15)]
    greedy = select(moments, orbits, weight=np.ones(15), width=10)
    better = select_and_thin(moments, orbits, weight=np.ones(15), width=10)
    assert set(range(5)) <= set(greedy.orbits)
    assert better.explained[-1] > greedy.explained[-1] + 1e-3
    assert set(thinned(moments, orbits, range(15), weight=np.ones(15), width=10)) == set(range(5, 15))
    assert better.width[-1] == greedy.width[-1] == 10


def test_widths_fill_the_budget() -> None:
    for share in (0.25, 0.5, 1.0, 2.0):
        most = share * multiply_adds([20, 50, 30, 5])
        width = width_within(20, [50, 30, 5], most)
        scaled = [20, width, 30 * width / 50, 5]
        assert multiply_adds(scaled) <= most * (1 + 1e-6) < multiply_adds([20, width + 1, 30 * (width + 1) / 50, 5])


def test_a_product_group_averages_through_its_factors_on_closed_data() -> None:
    """S3 x S3 on one-hot pairs: the data are seen to be closed, and the average is the one over all 36 elements."""
    group = symmetric(3)
    both = direct_product(group, group)
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(12, 5), nn.ReLU(), nn.Linear(5, 6)).double().eval()
    index = torch.cartesian_prod(torch.arange(6), torch.arange(6))
    pairs = torch.cat([nn.functional.one_hot(index[:, k], 6) for k in (0, 1)], dim=1).double()
    task = task_of(net, Symmetry(both, onehot("x", "y"), onehot("z")), pairs)
    from intertwiner.rewrite.samples import Samples, _places

    places = _places(task)
    assert places is not None
    closed = Samples(task, np.zeros(1, dtype=np.int64), True, places, "")
    values = before(task.chain.layers)(pairs.numpy())
    into, out = Elements(both, task.rho_in), Elements(both, task.rho_out)
    wanted = np.zeros_like(values)
    for g in range(36):
        moved = before(task.chain.layers)(into[int(both.inverse(g))].apply(pairs.numpy(), axis=1))
        wanted += out[g].apply(moved, axis=1) / 36
    assert np.allclose(group_average(closed, values, task.rho_out), wanted, atol=1e-12)
    cut = task_of(net, Symmetry(both, onehot("x", "y"), onehot("z")), pairs[:-1])
    assert _places(cut) is None


def test_large_groups_say_how_the_data_were_symmetrised() -> None:
    group = symmetric(5)
    net = nn.Sequential(nn.Linear(5, 4), nn.ReLU(), nn.Linear(4, 2)).double().eval()
    perms = vector(perm=[group.permutations[g].tolist() for g in group.generators])  # type: ignore[index]
    data = torch.randn(30, 5, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    found = samples_of(task_of(net, Symmetry(group, perms, invariant()), data))
    assert not found.exact
    assert "64 random elements of S5 (seed 0)" in found.note
    assert samples()[0].exact
