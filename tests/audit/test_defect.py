"""The end-to-end defect: zero where the network is equivariant, the planted size where it is not."""

import numpy as np
import pytest
import torch
from torch import nn

from intertwiner.algebra import cyclic, dihedral
from intertwiner.audit.defect import equivariance_defect
from intertwiner.audit.fits import shuffled
from intertwiner.audit.spread import Spread
from intertwiner.errors import EmptyData, NonFiniteData
from intertwiner.network import trace
from intertwiner.symmetry import Symmetry, image, invariant, same, vector


class Averaged(nn.Module):
    """A reversal-invariant function of four numbers, plus ``leak`` times one that is not."""

    def __init__(self, leak=0.0):
        super().__init__()
        torch.manual_seed(0)
        self.inner = nn.Linear(4, 2)
        self.leak = leak

    def forward(self, x):
        return torch.tanh(self.inner(x)) + torch.tanh(self.inner(x.flip(-1))) + self.leak * x[:, :2]


def setup(leak, samples=600):
    x = torch.randn(samples, 4, generator=torch.Generator().manual_seed(1))
    symmetry = Symmetry(cyclic(2), on_input=vector(perm=[[3, 2, 1, 0]]), on_output=invariant())
    return trace(Averaged(leak).eval(), (x[:2],)), symmetry.bind([(4,)], [(2,)]), x


def test_an_invariant_network_stays_within_its_noise_floor():
    network, bound, x = setup(0.0)
    found = equivariance_defect(network, bound, [(x,)], [0, 1])
    assert found[0].value == 0.0 == found[0].worst
    assert found[1].value <= 10 * found[1].noise_floor
    assert 1e-9 < found[1].noise_floor < 1e-5


def test_a_planted_leak_is_measured_and_witnessed():
    leak = 0.3
    network, bound, x = setup(leak)
    found = equivariance_defect(network, bound, [(x[:100],), (x[100:],)], [1])[1]
    output = network(x)[0].double()
    gap = leak * (x.flip(-1)[:, :2] - x[:, :2]).double()
    spread = (output - output.mean(0)).square().sum()
    assert found.value == pytest.approx(float((gap.square().sum() / spread).sqrt()), rel=1e-5)
    norms = gap.square().sum(1).sqrt()
    unit = float((spread / len(x)).sqrt())
    assert found.worst == pytest.approx(float(norms.max()) / unit, rel=1e-5)
    assert found.median == pytest.approx(float(norms.median()) / unit, rel=0.02)
    np.testing.assert_array_equal(found.witness[0], x[norms.argmax()][None].numpy())
    assert set(found.to_json()) == {"value", "noise_floor", "median", "worst"}


def test_batches_do_not_matter():
    network, bound, x = setup(0.3)
    whole = equivariance_defect(network, bound, [(x,)], [1])[1]
    parts = equivariance_defect(network, bound, [(part,) for part in x.split(37)][::-1], [1])[1]
    assert parts.value == pytest.approx(whole.value, rel=1e-6)
    assert parts.median == pytest.approx(whole.median, rel=0.02)


def test_outputs_that_move_are_moved():
    """A pointwise network on images commutes with every turn and flip; a convolution does not."""
    x = torch.randn(50, 1, 6, 6, generator=torch.Generator().manual_seed(2))
    group = dihedral(4)
    bound = Symmetry(group, on_input=image(), on_output=same()).bind([(1, 6, 6)], [(1, 6, 6)])
    pointwise = trace(nn.Sequential(nn.Conv2d(1, 1, 1), nn.Tanh()).eval(), (x[:2],))
    torch.manual_seed(0)
    kernel = trace(nn.Sequential(nn.Conv2d(1, 1, 3, padding=1)).eval(), (x[:2],))
    still = equivariance_defect(pointwise, bound, [(x,)], range(group.order))
    moving = equivariance_defect(kernel, bound, [(x,)], range(group.order))
    assert all(d.value < 1e-6 for d in still.values())
    assert all(d.value > 0.1 for g, d in moving.items() if g)


def test_the_null_of_shuffled_weights_is_large():
    network, bound, x = setup(0.0)
    value = equivariance_defect(shuffled(network, 1), bound, [(x,)], [1], noise_floor=False)[1]
    assert value.noise_floor is None
    # Reversing the inputs of both branches exchanges them whatever the weights: invariance is in the wiring.
    assert value.value < 1e-5


def test_a_float64_network_has_a_float64_floor():
    network, bound, x = setup(0.0)
    found = equivariance_defect(network.to(torch.float64), bound, [(x.double(),)], [1])[1]
    assert found.noise_floor < 1e-14


def test_no_data_and_no_numbers():
    network, bound, x = setup(0.0)
    with pytest.raises(EmptyData):
        equivariance_defect(network, bound, [], [1])
    with pytest.raises(NonFiniteData):
        equivariance_defect(network, bound, [(x * float("nan"),)], [1])


def test_spread_survives_a_large_mean():
    values = torch.randn(1000, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(0)) + 1e7
    spread = Spread()
    for part in values.split(7):
        spread.add(part)
    assert spread.total == pytest.approx(float((values - values.mean(0)).square().sum()), rel=1e-6)
