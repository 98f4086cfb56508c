"""Streamed second moments against moments of the stored activations, and their independence of batches."""

import numpy as np
import pytest
import torch
from torch import nn

from intertwiner.algebra import cyclic
from intertwiner.audit.measure import measure
from intertwiner.audit.moments import TapLayout, TapMoments
from intertwiner.audit.stream import InputSpec, Stream, input_specs, with_progress
from intertwiner.errors import DataMismatch, EmptyData, NonFiniteData, ShapeMismatch, WrongUse
from intertwiner.network import trace
from intertwiner.numerics.monomial import Monomial
from intertwiner.symmetry import Symmetry, TensorAction, image, invariant

SIDE, CHANNELS = 8, 5
FLIP = TensorAction.of((CHANNELS, SIDE, SIDE), {(2,): Monomial(np.arange(SIDE)[::-1])})


def reference(h, moved, mask=None):
    """C, X, D and the number of rows from stored float64 activations of an image tap."""
    a = FLIP.apply(h).movedim(1, -1).double().numpy().reshape(-1, CHANNELS)
    b = moved.movedim(1, -1).double().numpy().reshape(-1, CHANNELS)
    if mask is not None:
        keep = mask.flip(-1).reshape(-1).numpy() > 0
        a, b = a[keep], b[keep]
    x, y = a - a.mean(0), b - b.mean(0)
    return x.T @ x / len(a), y.T @ x / len(a), (y**2).mean(0), len(a), a.mean(0), b.mean(0)


def streamed(h, moved, size, mask=None, order=None):
    layout = TapLayout(
        "t", 0, (1, 2), grid_action=lambda g: FLIP, mask=None if mask is None else lambda inputs: mask[inputs[0]]
    )
    tap = TapMoments(layout, [1])
    cuts = [slice(at, at + size) for at in range(0, len(h), size)]
    for cut in [cuts[i] for i in order] if order else cuts:
        tap.begin(h[cut], (cut,))
        tap.add(1, moved[cut])
        tap.end()
    return tap.finish()[1]


@pytest.fixture
def pair():
    generator = torch.Generator().manual_seed(0)
    offset = torch.tensor([0.0, 0.0, 1000.0, 3.0, 0.0])[:, None, None]
    h = torch.randn(64, CHANNELS, SIDE, SIDE, generator=generator) + offset
    return h, torch.randn(64, CHANNELS, SIDE, SIDE, generator=generator) + 0.5 * FLIP.apply(h)


@pytest.mark.parametrize("size", [64, 10, 1])
@pytest.mark.parametrize("masked", [False, True])
def test_streamed_moments_are_those_of_the_stored_activations(pair, size, masked):
    h, moved = pair
    mask = (torch.rand(64, SIDE, SIDE, generator=torch.Generator().manual_seed(1)) > 0.4).float() if masked else None
    found, expected = streamed(h, moved, size, mask).total, reference(h, moved, mask)
    assert found.rows == expected[3]
    for got, want in zip((found.C, found.X, found.D), expected[:3], strict=True):
        np.testing.assert_allclose(got, want, atol=2e-6)
    np.testing.assert_allclose(found.mean, expected[4], rtol=1e-6, atol=1e-6)
    np.testing.assert_allclose(found.mean_moved, expected[5], rtol=1e-6, atol=1e-6)


def test_a_large_mean_costs_no_digits(pair):
    """Without the shift a mean of 1000 leaves a variance of 1 with one digit in float32."""
    h, moved = pair
    found = streamed(h, moved, 16).total
    assert found.C[2, 2] == pytest.approx(reference(h, moved)[0][2, 2], rel=1e-5)


def test_order_of_batches_does_not_matter(pair):
    h, moved = pair
    forwards, backwards = streamed(h, moved, 16), streamed(h, moved, 16, order=[3, 2, 1, 0])
    np.testing.assert_allclose(forwards.total.X, backwards.total.X, atol=1e-6)


def test_halves_are_disjoint_and_make_the_whole(pair):
    found = streamed(*pair, 10)
    assert found.train.rows + found.test.rows == found.total.rows == 64 * SIDE * SIDE
    both = found.train.rows * found.train.mean + found.test.rows * found.test.mean
    np.testing.assert_allclose(both / found.total.rows, found.total.mean, rtol=1e-12)


def test_a_single_batch_is_cut(pair):
    found = streamed(*pair, 64)
    assert found.train.rows == found.test.rows > 0


def test_small_grids_and_wide_channels_take_the_other_path():
    generator = torch.Generator().manual_seed(2)
    h, moved = torch.randn(40, 12, 3, generator=generator), torch.randn(40, 12, 3, generator=generator)
    tap = TapMoments(TapLayout("t", 0, (1,)), [0])
    for cut in (slice(0, 25), slice(25, 40)):
        tap.begin(h[cut])
        tap.add(0, moved[cut])
        tap.end()
    found = tap.finish()[0].total
    a, b = (v.movedim(1, -1).reshape(-1, 12).double().numpy() for v in (h, moved))
    np.testing.assert_allclose(found.X, (b - b.mean(0)).T @ (a - a.mean(0)) / len(a), atol=1e-6)


def convolution():
    torch.manual_seed(0)
    module = nn.Sequential(nn.Conv2d(1, CHANNELS, 3, padding=1), nn.ReLU(), nn.Conv2d(CHANNELS, 2, 3, padding=1)).eval()
    x = torch.randn(20, 1, SIDE, SIDE)
    symmetry = Symmetry(cyclic(2), on_input=image(flip="left-right"), on_output=invariant())
    bound = symmetry.bind([(1, SIDE, SIDE)], [(2, SIDE, SIDE)])
    layouts = [TapLayout(name, 0, (1, 2), grid_action=lambda g: FLIP if g else None) for name in ("0:out", "1:out")]
    return trace(module, (x,)), bound, layouts, x


def test_one_element_and_several_elements_measure_the_same():
    """Together in one forward, or one by one with the latents kept."""
    network, bound, layouts, x = convolution()
    batches = [(x[:8],), (x[8:],)]
    alone, several = measure(network, bound, layouts, batches, [1]), measure(network, bound, layouts, batches, [0, 1])
    for name in ("0:out", "1:out"):
        np.testing.assert_allclose(alone[name][1].total.X, several[name][1].total.X, atol=1e-6)
        np.testing.assert_allclose(several[name][0].total.X, several[name][0].total.C, atol=1e-6)


def test_taps_written_over_in_place_are_read_before():
    class InPlace(nn.Module):
        def __init__(self):
            super().__init__()
            self.first = nn.Linear(4, 6)

        def forward(self, x):
            return self.first(x).relu_()

    torch.manual_seed(0)
    x = torch.randn(30, 4)
    module = InPlace().eval()
    symmetry = Symmetry(cyclic(1), on_input=invariant(), on_output=invariant()).bind([(4,)], [(6,)])
    found = measure(trace(module, (x,)), symmetry, [TapLayout("first")], [(x,)], [0])["first"][0].total
    h = module.first(x).detach().double().numpy()
    np.testing.assert_allclose(found.mean, h.mean(0), atol=1e-6)


def test_bad_layouts_and_data_are_refused():
    network, bound, layouts, x = convolution()
    with pytest.raises(ShapeMismatch, match="must be all axes"):
        measure(network, bound, [TapLayout("0:out")], [(x,)], [1])
    with pytest.raises(EmptyData):
        measure(network, bound, layouts, [], [1])
    with pytest.raises(NonFiniteData):
        measure(network, bound, layouts, [(torch.full_like(x, float("nan")),)], [1])


SPEC = [InputSpec("x", (2,))]
ROWS = torch.arange(10.0).reshape(5, 2)


@pytest.mark.parametrize(
    "data",
    [
        ROWS,
        ROWS.numpy(),
        (ROWS, torch.arange(5)),
        {"x": ROWS, "y": torch.arange(5)},
        [ROWS[:2], ROWS[2:]],
        [(ROWS[:2], torch.arange(2)), (ROWS[2:], torch.arange(3))],
        [{"x": ROWS}],
        torch.utils.data.TensorDataset(ROWS, torch.arange(5)),
        torch.utils.data.DataLoader(torch.utils.data.TensorDataset(ROWS), batch_size=2),
        (part for part in (ROWS[:3], ROWS[3:])),
    ],
)
def test_any_loader_streams_twice_the_same(data):
    stream = Stream(data, SPEC, batch_size=2)
    for _ in range(2):
        assert torch.equal(torch.cat([x for (x,) in stream]), ROWS)


def test_a_generator_left_early_goes_on_from_there():
    stream = Stream((part for part in (ROWS[:3], ROWS[3:])), SPEC)
    next(iter(stream))
    assert torch.equal(torch.cat([x for (x,) in stream]), ROWS)


def test_at_most_max_samples():
    assert sum(len(x) for (x,) in Stream(ROWS, SPEC, batch_size=2, max_samples=3)) == 3


@pytest.mark.parametrize(
    ("data", "error"),
    [
        ([], EmptyData),
        (ROWS[:0], EmptyData),
        (ROWS.double(), DataMismatch),
        (torch.arange(10).reshape(5, 2), DataMismatch),
        (torch.zeros(5, 3), DataMismatch),
        ([{"other": ROWS, "more": ROWS}], DataMismatch),
        (["text"], DataMismatch),
        (ROWS * float("inf"), NonFiniteData),
    ],
)
def test_bad_batches_have_their_own_errors(data, error):
    with pytest.raises(error):
        list(Stream(data, SPEC))


def test_data_that_is_no_data():
    with pytest.raises(WrongUse):
        Stream(7, SPEC)
    with pytest.raises(WrongUse):
        Stream(ROWS, SPEC, batch_size=0)


def test_specs_of_a_network():
    network, _, _, x = convolution()
    (spec,) = input_specs(network)
    assert spec.shape == (1, SIDE, SIDE) and spec.dtype == torch.float32
    assert len(list(Stream(x, [spec], batch_size=8))) == 3


def test_the_progress_bar_loses_nothing():
    ticks = iter(range(100))
    assert list(with_progress(range(6), "reading", 6, clock=lambda: float(next(ticks)))) == list(range(6))
