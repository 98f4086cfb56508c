"""Induced moves of output grids and kernels, against torch's own convolutions and pools."""

import itertools
import re

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st

from intertwiner.errors import NoInducedAction, ShapeMismatch, WrongUse
from intertwiner.numerics.monomial import Monomial
from intertwiner.symmetry import induced_adaptive, induced_grid
from intertwiner.symmetry.grid_map import GridMap
from intertwiner.symmetry.windows import windows

CONV = {1: F.conv1d, 2: F.conv2d, 3: F.conv3d}
TRANSPOSED = {1: F.conv_transpose1d, 2: F.conv_transpose2d, 3: F.conv_transpose3d}


def move(x, permutation, size):
    """Move the trailing grid axes: the entry at j goes to permutation.index[j]."""
    lead = x.shape[: x.ndim - len(size)]
    flat = x.reshape(*lead, -1)
    out = torch.empty_like(flat)
    out[..., torch.from_numpy(np.array(permutation.index))] = flat
    return out.reshape(x.shape)


def random(shape):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64)


def convolve(x, w, size, options):
    d, mode = len(size), options["mode"]
    padding = options["padding"]
    if options["transposed"]:
        extra = {k: options[k] for k in ("stride", "dilation", "output_padding")}
        return TRANSPOSED[d](x, w.transpose(0, 1), padding=padding, **extra)
    layer = getattr(torch.nn, f"Conv{d}d")(
        w.shape[1],
        w.shape[0],
        w.shape[2:],
        padding_mode=mode,
        bias=False,
        dtype=torch.float64,
        padding=padding,
        stride=options["stride"],
        dilation=options["dilation"],
    )
    layer.weight.data = w
    return layer(x).detach()


@st.composite
def geometries(draw):
    d = draw(st.sampled_from([1, 1, 2, 2, 3]))
    top = {1: 9, 2: 6, 3: 4}[d]
    square = draw(st.booleans())

    def each(low, high):
        one = draw(st.integers(low, high))
        return tuple(one if square or a == 0 else draw(st.integers(low, high)) for a in range(d))

    size, kernel = each(2, top), each(1, 4 if d < 3 else 3)
    options = {
        "stride": each(1, 3),
        "padding": each(0, 2),
        "dilation": each(1, 2),
        "mode": "zeros",
        "transposed": False,
    }
    if draw(st.integers(0, 3)) == 0:
        options |= {"transposed": True, "output_padding": 0}
    elif draw(st.booleans()):
        options["mode"] = draw(st.sampled_from(["circular", "reflect", "replicate"]))
        options["padding"] = tuple(min(p, n - 1) for p, n in zip(options["padding"], size, strict=True))
        if options["mode"] == "circular" and draw(st.booleans()):
            # Circular padding that closes up.
            kernel = tuple(k | 1 for k in kernel)
            options |= {"dilation": (1,) * d, "padding": tuple(min(k // 2, 2) for k in kernel)}
            size = tuple(max(n, 3) for n in size)
    source = tuple(draw(st.permutations(range(d))))
    sign = tuple(draw(st.sampled_from([1, -1])) for _ in range(d))
    offset = [n - 1 if s < 0 else 0 for s, n in zip(sign, size, strict=True)]
    if options["mode"] == "circular":
        offset = [draw(st.integers(0, n - 1)) for n in size]
    grid = GridMap(source, sign, tuple(offset))
    return (
        size,
        kernel,
        options,
        Monomial((grid if grid.fits(size) else GridMap.signed_axes(range(d), sign, size)).permutation(size)),
    )


@settings(max_examples=300)
@given(geometries())
def test_moved_kernel_on_moved_input_gives_moved_output(geometry):
    size, kernel, options, g = geometry
    extra = {k: v for k, v in options.items() if k != "output_padding"}
    try:
        shape = windows(size, kernel, **extra).out_size
    except ShapeMismatch:
        return
    x, w = random((2, 3, *size)), random((4, 3, *kernel))
    assert convolve(x, w, size, options).shape[2:] == shape
    try:
        induced = induced_grid(g, size, kernel, **extra)
    except NoInducedAction:
        return
    left = convolve(move(x, g, size), move(w, induced.kernel_permutation, kernel), size, options)
    right = move(convolve(x, w, size, options), induced.out_permutation, induced.out_size)
    torch.testing.assert_close(left, right, atol=1e-12, rtol=0)


@settings(max_examples=150)
@given(geometries())
def test_what_is_refused_has_no_induced_action_at_all(geometry):
    """For small kernels every permutation of the taps is tried, not only the geometric ones."""
    size, kernel, options, g = geometry
    extra = {k: v for k, v in options.items() if k != "output_padding"}
    if np.prod(kernel) > 4:
        return
    try:
        table = windows(size, kernel, **extra).table
        induced_grid(g, size, kernel, **extra)
    except ShapeMismatch:
        return
    except NoInducedAction:
        moved = np.where(table >= 0, g.index[table], table)
        rows = sorted(map(tuple, table))
        for kappa in itertools.permutations(range(table.shape[1])):
            wanted = np.empty_like(moved)
            wanted[:, list(kappa)] = moved
            assert sorted(map(tuple, wanted)) != rows


@settings(max_examples=100)
@given(
    st.integers(2, 9),
    st.integers(1, 4),
    st.integers(1, 3),
    st.integers(0, 2),
    st.booleans(),
    st.sampled_from(["max", "avg"]),
)
def test_pools_carry_moves_where_the_windows_allow(n, kernel, stride, padding, ceil, kind):
    padding = min(padding, kernel // 2)
    pool = F.max_pool2d if kind == "max" else F.avg_pool2d
    x = random((2, 3, n, n))
    for g in (GridMap((1, 0), (-1, 1), (n - 1, 0)), GridMap((0, 1), (1, -1), (0, n - 1))):
        p = Monomial(g.permutation((n, n)))
        try:
            induced = induced_grid(p, (n, n), kernel, stride, padding, ceil=ceil, pool=True)
        except NoInducedAction:
            continue
        except ShapeMismatch:
            return
        right = pool(x, kernel, stride, padding, ceil_mode=ceil)
        assert tuple(right.shape[2:]) == induced.out_size
        left = pool(move(x, p, (n, n)), kernel, stride, padding, ceil_mode=ceil)
        torch.testing.assert_close(left, move(right, induced.out_permutation, induced.out_size), atol=1e-12, rtol=0)


@pytest.mark.parametrize(("length", "works"), [(9, True), (8, False), (7, True), (10, False)])
def test_stride_two_under_a_flip(length, works):
    flip = np.arange(length)[::-1]
    if works:
        assert induced_grid(flip, (length,), 3, 2, 1).kernel_permutation == Monomial([2, 1, 0])
        return
    with pytest.raises(NoInducedAction) as caught:
        induced_grid(flip, (length,), 3, 2, 1)
    text = str(caught.value)
    assert f"length {length}" in text and f"Cure: length {length - 1} or {length + 1}" in text and "stride 1" in text


def test_the_message_names_the_points():
    with pytest.raises(NoInducedAction, match=r"0, 2, 4, 6 to 7, 5, 3, 1, which are not sampled"):
        induced_grid(np.arange(8)[::-1], (8,), 3, 2, 1)


def test_the_cures_cure():
    def flip(n):
        return np.arange(n)[::-1]

    for n, kernel, stride, padding in itertools.product(range(3, 12), (1, 2, 3, 4), (2, 3), (0, 1)):
        try:
            induced_grid(flip(n), (n,), kernel, stride, padding)
        except NoInducedAction as error:
            lengths = re.search(r"Cure: length (-?\d+) or (\d+)", str(error))
            assert lengths
            for m in map(int, lengths.groups()):
                if m + 2 * padding >= kernel:
                    induced_grid(flip(m), (m,), kernel, stride, padding)
            wider = re.search(r"or padding (\d+)", str(error))
            if wider:
                induced_grid(flip(n), (n,), kernel, stride, int(wider[1]))
        except ShapeMismatch:
            continue


def test_even_kernels_with_same_padding_are_refused():
    with pytest.raises(NoInducedAction, match="padding is 1 before and 2 after"):
        induced_grid(np.arange(8)[::-1], (8,), 4, padding="same")
    assert induced_grid(np.arange(8)[::-1], (8,), 5, padding="same").out_size == (8,)
    assert induced_grid(np.arange(8)[::-1], (8,), 4, padding="valid").out_size == (5,)


def test_floor_mode_pooling():
    with pytest.raises(NoInducedAction, match="pool"):
        induced_grid(np.arange(9)[::-1], (9,), 2, None, pool=True)
    assert induced_grid(np.arange(8)[::-1], (8,), 2, None, pool=True).out_size == (4,)
    with pytest.raises(NoInducedAction):
        induced_grid(np.arange(9)[::-1], (9,), 2, 2, ceil=True, pool=True)


def test_rolls_need_circular_padding_and_multiples_of_the_stride():
    roll = np.roll(np.arange(8), -1)
    with pytest.raises(NoInducedAction, match="circular"):
        induced_grid(roll, (8,), 3, padding=1)
    assert induced_grid(roll, (8,), 3, padding=1, mode="circular").out_permutation == Monomial(roll)
    with pytest.raises(NoInducedAction, match="no multiple of the stride 2"):
        induced_grid(roll, (8,), 3, 2, 1, mode="circular")
    twice = induced_grid(roll[roll], (8,), 3, 2, 1, mode="circular")
    assert twice.out_permutation == Monomial([1, 2, 3, 0])
    with pytest.raises(NoInducedAction, match="circular axis 0 of length 8"):
        induced_grid(np.arange(8)[::-1], (8,), 3, 2, 1, mode="circular")
    with pytest.raises(NoInducedAction, match="close up"):
        induced_grid(roll, (8,), 3, padding=0, mode="circular")


def test_exchanged_axes_need_equal_settings():
    turn = GridMap((1, 0), (-1, 1), (5, 0)).permutation((6, 6))
    for setting in ({"kernel": (3, 1)}, {"stride": (1, 2)}, {"padding": (1, 0)}, {"dilation": (1, 2)}):
        options = {"kernel": 3, "padding": 1, "stride": 1, "dilation": 1} | setting
        with pytest.raises(NoInducedAction, match=next(iter(setting))):
            induced_grid(turn, (6, 6), **options)


def test_a_kernel_of_one_point_lets_everything_pass():
    p = np.random.default_rng(0).permutation(30)
    assert induced_grid(p, (5, 6), 1).out_permutation == Monomial(p)
    with pytest.raises(NoInducedAction, match="no flip, turn or roll"):
        induced_grid(p, (5, 6), 3, padding=1)


def test_a_kernel_over_the_whole_grid_is_a_linear_layer():
    p = np.random.default_rng(0).permutation(12)
    induced = induced_grid(p, (3, 4), (3, 4))
    assert induced.out_size == (1, 1) and induced.kernel_permutation == Monomial(p)


def test_transposed_convolutions():
    flip = np.arange(5)[::-1]
    assert induced_grid(flip, (5,), 3, 2, 1, transposed=True).out_permutation == Monomial(np.arange(9)[::-1])
    with pytest.raises(NoInducedAction, match="output_padding"):
        induced_grid(flip, (5,), 3, 2, 1, transposed=True, output_padding=1)


def test_induced_moves_compose():
    size = (9, 9)
    r, s = GridMap((1, 0), (-1, 1), (8, 0)).permutation(size), GridMap((0, 1), (1, -1), (0, 8)).permutation(size)
    options = {"kernel": 3, "stride": 2, "padding": 1}
    one = {k: induced_grid(p, size, **options) for k, p in {"r": r, "s": s, "rs": r[s]}.items()}
    assert one["rs"].out_permutation == one["r"].out_permutation @ one["s"].out_permutation
    assert one["rs"].kernel_permutation == one["r"].kernel_permutation @ one["s"].kernel_permutation


@pytest.mark.parametrize("sizes", [(6, 3), (5, 2), (7, 1), (7, 3), (4, 4)])
def test_adaptive_pools(sizes):
    n, m = sizes
    p = Monomial(GridMap((1, 0), (-1, 1), (n - 1, 0)).permutation((n, n)))
    induced = induced_adaptive(p, (n, n), (m, m))
    x = random((1, 2, n, n))
    for pool in (F.adaptive_avg_pool2d, F.adaptive_max_pool2d):
        left = pool(move(x, p, (n, n)), m)
        torch.testing.assert_close(left, move(pool(x, m), induced.out_permutation, (m, m)), atol=1e-12, rtol=0)


def test_adaptive_pools_refuse_what_does_not_pass():
    with pytest.raises(NoInducedAction, match="adaptive"):
        induced_adaptive(np.roll(np.arange(6), 1), (6,), (3,))


def test_wrong_use():
    with pytest.raises(ShapeMismatch, match="8 points"):
        induced_grid(np.arange(8), (9,), 3)
    with pytest.raises(ShapeMismatch, match="does not fit"):
        induced_grid(np.arange(2), (2,), 3)
    with pytest.raises(ShapeMismatch, match="kernel"):
        induced_grid(np.arange(9), (3, 3), (3, 3, 3))
    with pytest.raises(NoInducedAction, match="signs"):
        induced_grid(Monomial(np.arange(3), -np.ones(3)), (3,), 3)
    with pytest.raises(WrongUse, match="wrapped"):
        induced_grid(np.arange(3), (3,), 3, mode="wrapped")
    with pytest.raises(WrongUse, match="half"):
        induced_grid(np.arange(3), (3,), 3, padding="half")
    with pytest.raises(WrongUse, match="transposed"):
        induced_grid(np.arange(3), (3,), 3, mode="circular", transposed=True)
