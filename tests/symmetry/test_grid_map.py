"""Moves of grids: recognised exactly when they are flips, rolls and exchanges of axes."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from intertwiner.symmetry.grid_map import GridMap, recognise, signed_axis_maps

SHAPES = [(1,), (2,), (5,), (1, 4), (3, 3), (2, 2), (2, 3), (4, 4), (1, 1), (2, 2, 3), (3, 3, 3), (1, 3, 3), (3, 1, 3)]


@settings(deadline=None, max_examples=150)
@given(st.sampled_from(SHAPES), st.data())
def test_every_grid_map_is_recognised_and_applied(shape, data):
    d = len(shape)
    source = tuple(data.draw(st.permutations(range(d))))
    sign = tuple(data.draw(st.lists(st.sampled_from([1, -1]), min_size=d, max_size=d)))
    offset = tuple(data.draw(st.integers(0, n - 1)) for n in shape)
    grid = GridMap(source, sign, offset)
    if not grid.fits(shape):
        return
    index = grid.permutation(shape)
    found = recognise(index, shape)
    assert found is not None and np.array_equal(found.permutation(shape), index)
    x = torch.randn(2, *shape, generator=torch.Generator().manual_seed(0))
    expected = torch.empty_like(x).reshape(2, -1)
    expected[:, torch.from_numpy(index)] = x.reshape(2, -1)
    for g in (grid, found):
        assert torch.equal(g.apply(x, range(1, d + 1)).reshape(2, -1), expected)


@settings(deadline=None, max_examples=60)
@given(st.sampled_from([(3, 3), (6,), (2, 3), (2, 2, 3)]), st.integers(0, 10**6))
def test_no_other_permutation_is_recognised(shape, seed):
    index = np.random.default_rng(seed).permutation(int(np.prod(shape)))
    found = recognise(index, shape)
    assert found is None or np.array_equal(found.permutation(shape), index)


def test_one_exchanged_pair_is_seen():
    index = np.arange(16)
    index[[14, 15]] = index[[15, 14]]
    assert recognise(index, (4, 4)) is None
    assert recognise(np.array([0, 2, 1, 3, 4]), (5,)) is None


@pytest.mark.parametrize(("shape", "count"), [((4,), 2), ((3, 3), 8), ((2, 3), 4), ((3, 3, 3), 48), ((2, 2, 3), 16)])
def test_signed_axis_maps_are_all_symmetries_of_the_box(shape, count):
    maps = [m.permutation(shape).tobytes() for m in signed_axis_maps(shape)]
    assert len(set(maps)) == len(maps) == count


def test_flips_have_no_roll():
    found = recognise(np.array([1, 0]), (2,))
    assert found is not None and found.rolls((2,)) == (0,)
