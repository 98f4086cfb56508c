"""What interval arithmetic proves on a box of inputs, and what is taken out because of it."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from intertwiner.errors import BoxMismatch
from intertwiner.identify import reduce
from intertwiner.identify.reducing.interval import input_box, intervals
from intertwiner.network import Output, trace
from intertwiner.numerics.tolerance import KEPT_FUNCTION

sys.path.append(str(Path(__file__).resolve().parent.parent / "network"))
from architectures import architectures
from ir_reference import interpret

CASES = architectures()


@pytest.mark.parametrize("name", CASES)
def test_every_value_lies_in_its_interval(name: str) -> None:
    """The law: whatever the operator, values at points of the box, corners among them, lie within the bounds."""
    module, example = CASES[name]
    network = trace(module, example)
    generator = torch.Generator().manual_seed(0)

    def inside(x: Tensor) -> Tensor:
        if not x.is_floating_point():
            return x[torch.randint(0, len(x), (20,), generator=generator)]
        points = 2 * torch.rand(20, *x.shape[1:], generator=generator, dtype=torch.float64) - 1
        return torch.cat([points[:10], points[10:].sign()])

    bounds = intervals(network, network.graph, input_box(network, 1.0))
    values = interpret(network, tuple(inside(x) for x in example))
    finite = 0
    for node in network.nodes:
        if isinstance(node.op, Output):
            continue
        low, high, value = bounds[node.name].low, bounds[node.name].high, values[node.name]
        if node.batch_multiple != 1:
            continue
        assert bool(((value >= low) & (value <= high) | value.isnan()).all()), node
        finite += bool(low.isfinite().all())
    assert finite  # the input, at least


def ramp(bias: list[float]) -> nn.Sequential:
    """Neurons ``relu(x_1 + x_2 + bias)``: never active on |x| <= 1 for bias < -2, always for bias > 2."""
    torch.manual_seed(4)
    net = nn.Sequential(nn.Linear(2, len(bias)), nn.ReLU(), nn.Linear(len(bias), 2)).double().eval()
    with torch.no_grad():
        net[0].weight.copy_(1.0 + torch.arange(2.0 * len(bias)).reshape(-1, 2) * 1e-3)
        net[0].bias.copy_(torch.tensor(bias))
    return net


def test_idle_and_linear_neurons_are_taken_out_on_the_box_only() -> None:
    net, x = ramp([-3.0, -1.0, 0.5, 3.0]), torch.zeros(2, 2, dtype=torch.float64)
    assert not reduce(net, example=x).removed
    found = reduce(net, example=x, box=1.0)
    assert found.of_kind("idle") == (("0", 0),)
    assert found.of_kind("linear") == (("0", 3),)
    assert found.box == "|x| <= 1"
    assert "holds on the box |x| <= 1" in str(found)
    assert found.certificate.inputs == "uniform in the box"
    assert found.certificate.relative <= KEPT_FUNCTION
    far = 10 * torch.ones(1, 2, dtype=torch.float64)
    assert (net(-far) - found.module(-far)).abs().max() > 1e-3  # beyond the box it is another function


def test_a_box_just_too_large_proves_nothing() -> None:
    net, x = ramp([-2.1, 2.1, 0.0, 0.5]), torch.zeros(2, 2, dtype=torch.float64)
    assert len(reduce(net, example=x, box=1.0).removed) == 2
    assert not reduce(net, example=x, box=1.1).removed


def test_a_box_by_entry() -> None:
    net, x = ramp([-1.5, -1.0]), torch.zeros(2, 2, dtype=torch.float64)
    found = reduce(net, example=x, box=(np.array([-5.0, -5.0]), np.array([-1.0, 1.0])))
    assert len(found.removed) == 1  # one neuron of the two stays, since a layer of width zero is no layer
    assert found.box == "[low, high] by entry"


def test_after_a_relu_signs_of_weights_prove_it_for_large_boxes() -> None:
    """After a ReLU layer, w <= 0 and b <= 0 is dead and w >= 0, b >= 0 is linear, whatever the box."""
    torch.manual_seed(9)
    net = nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, 4), nn.ReLU(), nn.Linear(4, 2)).double().eval()
    with torch.no_grad():
        net[2].weight[0], net[2].bias[0] = -net[2].weight[0].abs(), -0.1
        net[2].weight[1], net[2].bias[1] = net[2].weight[1].abs(), 0.1
    found = reduce(net, example=torch.zeros(2, 3, dtype=torch.float64), box=1e6)
    assert [(r.place, r.neuron, r.kind) for r in found.removed] == [("2", 0, "idle"), ("2", 1, "linear")]


def test_idle_channels_of_a_convolution_at_every_position() -> None:
    torch.manual_seed(6)
    net = nn.Sequential(nn.Conv2d(2, 3, 3, padding=1), nn.ReLU(), nn.Conv2d(3, 2, 3), nn.Flatten()).double().eval()
    with torch.no_grad():
        net[0].bias[1] = -20.0
    found = reduce(net, example=torch.zeros(2, 2, 6, 6, dtype=torch.float64), box=1.0)
    assert found.of_kind("idle") == (("0", 1),)
    assert found.certificate.relative <= KEPT_FUNCTION


@pytest.mark.parametrize(
    ("box", "message"),
    [
        ((np.zeros(3), np.ones(3)), "does not fit input"),
        ((1.0, -1.0), "is empty"),
        (-1.0, "is empty"),
        (float("inf"), "must be finite"),
        (float("nan"), "must be finite"),
        ("large", "a box is a number or a pair"),
    ],
)
def test_a_box_that_does_not_fit_is_refused(box: object, message: str) -> None:
    with pytest.raises(BoxMismatch, match=message):
        reduce(ramp([0.0, 1.0]), example=torch.zeros(2, 2, dtype=torch.float64), box=box)
