"""One law for every exact rule: residues of values and Jacobian are those of torch, where float64 makes no error.

Weights and inputs are small multiples of 1/4, so float64 is exact up to divisions by 9 and 3, which a factor removes.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from intertwiner.errors import NoRule
from intertwiner.exact import (
    Columns,
    certify,
    check_exact,
    directional_derivative,
    evaluate,
    float_jacobian,
    piecewise,
)
from intertwiner.gauge import pointwise
from intertwiner.network import trace
from intertwiner.numerics.modular import Modulus

FIELD = Modulus()
CLEAR = 81.0 * 16.0
"""Removes the denominators 3 and 9 of pools and hard sigmoids."""


class Net(nn.Module):
    def __init__(self, forward: Callable[..., object], **modules: nn.Module) -> None:
        super().__init__()
        for name, module in modules.items():
            setattr(self, name, module)
        self.run = forward

    def forward(self, x: Tensor) -> object:
        return self.run(self, x)


def norm(channels: int) -> nn.BatchNorm2d:
    """In evaluation mode an exact scale of 1: variance plus eps is one."""
    made = nn.BatchNorm2d(channels, eps=2.0**-10)
    made.running_var.fill_(1 - 2.0**-10)
    return made


IMAGE = (2, 4, 4)
CASES: dict[str, tuple[Callable[[], nn.Module], tuple[int, ...]]] = {
    "relu chain": (
        lambda: nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, 4), nn.ReLU(), nn.Linear(4, 2)),
        (3,),
    ),
    "leaky, abs": (
        lambda: nn.Sequential(nn.Linear(3, 4), nn.LeakyReLU(0.25), Net(lambda m, x: x.abs()), nn.Linear(4, 2)),
        (3,),
    ),
    "clamps": (
        lambda: Net(
            lambda m, x: F.hardtanh(m.a(x), -0.5, 1.0) + F.relu6(m.b(x)) + F.softshrink(m.a(x), 0.25),
            a=nn.Linear(3, 4),
            b=nn.Linear(3, 4),
        ),
        (3,),
    ),
    "polynomials": (
        lambda: Net(
            lambda m, x: m.b(m.a(x) ** 3 + m.a(x) * m.a(x) - 2 * m.a(x) + 1), a=nn.Linear(2, 3), b=nn.Linear(3, 2)
        ),
        (2,),
    ),
    "tied weights": (lambda: Net(lambda m, x: m.a(torch.relu(m.a(torch.relu(m.a(x))))), a=nn.Linear(3, 3)), (3,)),
    "tokens": (
        lambda: Net(
            lambda m, x: m.b(torch.relu(m.a(x))).sum(1) + x.mean(1) @ m.c.weight.T,
            a=nn.Linear(3, 4),
            b=nn.Linear(4, 3),
            c=nn.Linear(3, 3),
        ),
        (4, 3),
    ),
    "convolutions": (
        lambda: nn.Sequential(
            nn.Conv2d(2, 3, 3, padding=1),
            norm(3),
            nn.ReLU(),
            nn.Conv2d(3, 2, 2, stride=2, bias=False),
            nn.Flatten(),
            nn.Linear(8, 2),
        ),
        IMAGE,
    ),
    "groups, dilation, modes": (
        lambda: Net(
            lambda m, x: torch.relu(m.b(torch.relu(m.a(x)) + m.c(x))),
            a=nn.Conv2d(2, 4, 3, padding=2, dilation=2, groups=2),
            b=nn.Conv2d(4, 2, 3, padding=1, padding_mode="circular"),
            c=nn.Conv2d(2, 4, 3, padding=1, padding_mode="reflect"),
        ),
        IMAGE,
    ),
    "one dimension": (
        lambda: nn.Sequential(nn.Conv1d(2, 3, 3, padding=1), nn.ReLU(), nn.AvgPool1d(2), nn.Flatten(), nn.Linear(9, 2)),
        (2, 6),
    ),
    "average pools": (
        lambda: Net(
            lambda m, x: (
                F.avg_pool2d(m.a(x), 3, 1, 1).flatten(1).sum(1, keepdim=True)
                + F.avg_pool2d(m.a(x), 3, 2, 1, ceil_mode=True, count_include_pad=False).mean((2, 3))
            ),
            a=nn.Conv2d(2, 3, 1),
        ),
        IMAGE,
    ),
    "average pool beyond the padding": (
        lambda: Net(lambda m, x: F.avg_pool2d(m.a(x), 3, 2, 1, ceil_mode=True).flatten(1), a=nn.Conv2d(2, 2, 1)),
        IMAGE,
    ),
    "adaptive pool": (lambda: nn.Sequential(nn.Conv2d(2, 3, 1), nn.AdaptiveAvgPool2d((3, 2)), nn.Flatten()), IMAGE),
    "max pools": (
        lambda: Net(
            lambda m, x: m.b(F.max_pool2d(m.a(x), 2).flatten(1)) + m.a(x).amax((2, 3)),
            a=nn.Conv2d(2, 3, 3, padding=1),
            b=nn.Linear(12, 3),
        ),
        IMAGE,
    ),
    "max of relu": (
        lambda: nn.Sequential(
            nn.Conv2d(2, 3, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2, padding=1), nn.Flatten(), nn.Linear(27, 2)
        ),
        IMAGE,
    ),
    "shapes": (
        lambda: Net(
            lambda m, x: (
                torch.cat([m.a(x).flip(2)[:, :1], m.a(x).roll(1, 3)[:, 1:], x.permute(0, 1, 3, 2)], 1)
                .reshape(len(x), -1, 8)
                .transpose(1, 2)[:, 3]
            ),
            a=nn.Conv2d(2, 2, 1),
        ),
        IMAGE,
    ),
    "padding": (lambda: Net(lambda m, x: F.pad(m.a(x), (1, 0, 0, 2)), a=nn.Linear(4, 3)), IMAGE),
    "linear attention": (
        lambda: Net(
            lambda m, x: m.v(x) @ (m.k(x).transpose(1, 2) @ m.q(x)),
            q=nn.Linear(2, 3),
            k=nn.Linear(2, 3),
            v=nn.Linear(2, 3),
        ),
        (3, 2),
    ),
    "residual with outputs": (
        lambda: Net(lambda m, x: (x + torch.relu(m.a(x)), m.b(x) - 0.5 * x), a=nn.Linear(3, 3), b=nn.Linear(3, 3)),
        (3,),
    ),
    "class token": (
        lambda: Net(
            lambda m, x: torch.relu(torch.cat([m.t.weight.expand(len(x), -1, -1), m.a(x)], 1) + m.p.weight),
            t=nn.Linear(3, 1),
            a=nn.Linear(2, 3),
            p=nn.Linear(3, 4),
        ),
        (3, 2),
    ),
}


def quarters(module: nn.Module) -> nn.Module:
    """Weights that are small multiples of 1/4."""
    generator = torch.Generator().manual_seed(3)
    for p in module.parameters():
        p.data = torch.randint(-6, 7, p.shape, generator=generator) / 4
    return module.eval()


def prepared(name: str) -> tuple[nn.Module, np.ndarray, object, dict[str, np.ndarray]]:
    """The module, the inputs with certain pieces, its network, and those pieces."""
    make, shape = CASES[name]
    module = quarters(make())
    network = trace(module, torch.zeros(2, *shape))
    check_exact(network)
    random = np.random.default_rng(5)
    x = np.rint(random.normal(size=(24, *shape)) * 37) / 16
    certified = certify(network, [x])
    sure = np.flatnonzero(certified.sure())
    assert len(sure) >= 3
    return module, x[sure], network, certified.take(sure)


def flat(outputs: object) -> Tensor:
    parts = outputs if isinstance(outputs, tuple) else (outputs,)
    return torch.cat([p.flatten(1) for p in parts], 1)


def torch_rows(module: nn.Module, x: np.ndarray) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    """Outputs and derivatives by every parameter, in float64."""
    module = module.double()
    names, parameters = zip(*module.named_parameters(), strict=True)
    values, rows = [], {n: [] for n in names}
    for sample in torch.tensor(x):
        out = flat(module(sample[None]))[0]
        values.append(out.detach().numpy())
        for y in out:
            gradients = torch.autograd.grad(y, parameters, retain_graph=True, materialize_grads=True, allow_unused=True)
            for n, g in zip(names, gradients, strict=True):
                rows[n].append(g.numpy())
    return np.array(values), {n: np.array(r) for n, r in rows.items()}


def cleared(x: np.ndarray) -> np.ndarray:
    """Whole multiples of 2^-20 after removing the denominators of divisions."""
    scaled = x * CLEAR
    rounded = np.rint(scaled * 2.0**20) / 2.0**20
    assert np.abs(scaled - rounded).max(initial=0) < 1e-8
    return FIELD.of(rounded)


@pytest.mark.parametrize("name", CASES)
def test_values_and_jacobian_are_those_of_torch(name: str) -> None:
    module, x, network, choices = prepared(name)
    columns = Columns.of(network)
    found = evaluate(network, [x], choices, FIELD)
    values, rows = torch_rows(module, x)
    assert np.array_equal(FIELD.mul(found.outputs(), CLEAR), cleared(values))
    jacobian = found.jacobian(columns)
    floats = float_jacobian(network, columns, [x], choices).reshape(-1, columns.total)
    compared = 0
    for parameter, expected in rows.items():
        if parameter not in columns.starts:
            continue  # held as the numbers of a batch norm, checked below
        start = columns.starts[parameter]
        wide = expected.reshape(len(expected), -1)
        mine = jacobian.reshape(-1, columns.total)[:, start : start + wide.shape[1]]
        assert np.array_equal(FIELD.mul(mine, CLEAR), cleared(wide)), parameter
        assert np.allclose(floats[:, start : start + wide.shape[1]], wide, rtol=1e-12, atol=1e-12)
        compared += 1
    assert compared


@pytest.mark.parametrize("name", CASES)
def test_the_derivative_along_a_direction_is_the_jacobian_times_it(name: str) -> None:
    _, x, network, choices = prepared(name)
    columns = Columns.of(network)
    jacobian = evaluate(network, [x], choices, FIELD).jacobian(columns)
    vector = FIELD.reduce(np.random.default_rng(1).integers(0, FIELD.prime, columns.total).astype(np.float64))
    found = directional_derivative(network, columns, vector, ([x], choices), FIELD)
    assert np.array_equal(FIELD.reduce(found - FIELD.matmul(jacobian, vector[:, None])[..., 0]), np.zeros(found.shape))
    assert found.any()
    assert not directional_derivative(network, columns, np.zeros(columns.total), ([x], choices), FIELD).any()


def test_hard_sigmoid_and_swish() -> None:
    """Torch multiplies by a sixth in float32 even in float64, so values agree with it to 1e-7 only."""
    module = quarters(Net(lambda m, x: F.hardswish(m.a(x)) + F.hardsigmoid(m.a(x)), a=nn.Linear(3, 4)))
    network, x = trace(module, torch.zeros(2, 3)), np.random.default_rng(0).integers(-9, 9, (40, 3)) / 8
    certified = certify(network, [x])
    sure = np.flatnonzero(certified.sure())
    z = x[sure] @ module.a.weight.detach().double().numpy().T + module.a.bias.detach().double().numpy()
    twelfths = np.rint(
        12 * (np.where(z > 3, z, np.where(z < -3, 0, z * (z + 3) / 6)) + np.clip((z + 3) / 6, 0, 1)) * 4096
    )
    found = evaluate(network, [x[sure]], certified.take(sure), FIELD).outputs()
    assert np.array_equal(FIELD.mul(found, 12.0), FIELD.of(twelfths / 4096))
    assert np.abs(twelfths / 12 / 4096 - torch_rows(module, x[sure])[0]).max() < 1e-6


def test_batch_norm_counts_its_scale_and_shift() -> None:
    module, x, network, choices = prepared("convolutions")
    columns = Columns.of(network)
    assert len(columns.computed) == 2
    assert columns.total == sum(p.numel() for p in module.parameters())
    rows = torch_rows(module, x)[1]
    jacobian = evaluate(network, [x], choices, FIELD).jacobian(columns).reshape(-1, columns.total)
    for name, parameter in zip(columns.computed, ("1.weight", "1.bias"), strict=True):
        start = columns.starts[name]
        # Mean 0 and variance 1: scale and shift are weight and bias themselves.
        assert np.array_equal(FIELD.mul(jacobian[:, start : start + 3], CLEAR), cleared(rows[parameter]))


def test_some_outputs_and_skipped_parameters(rng: np.random.Generator) -> None:
    _, x, network, choices = prepared("relu chain")
    columns = Columns.of(network)
    found = evaluate(network, [x], choices, FIELD)
    everything = found.jacobian(columns)
    assert np.array_equal(found.jacobian(columns, outputs=np.array([1])), everything[:, [1]])
    last = network.nodes[-2].op.params
    part = found.jacobian(columns, skip=frozenset(last))
    places = np.concatenate([columns.places(p).ravel() for p in last])
    assert not part[:, :, places].any()
    kept = np.setdiff1d(np.arange(columns.total), places)
    assert np.array_equal(part[:, :, kept], everything[:, :, kept])


@pytest.mark.parametrize(
    ("module", "shape", "words"),
    [
        (nn.Sequential(nn.Linear(2, 2), nn.Tanh()), (2,), "'1:out'.*tanh is no piecewise polynomial"),
        (nn.Sequential(nn.Linear(2, 2), nn.LayerNorm(2)), (2,), "'1:out'.*layer norm"),
        (
            Net(lambda m, x: m.a(x.transpose(0, 1)).transpose(0, 1), a=nn.Linear(2, 2)),
            (3, 2),
            "the batch does not stand",
        ),
    ],
)
def test_what_has_no_exact_rule_is_refused_by_tap(module: nn.Module, shape: tuple[int, ...], words: str) -> None:
    with pytest.raises(NoRule, match=f"(?s){words}.*exact=False.*Nothing was evaluated"):
        check_exact(trace(module.eval(), torch.zeros(2, *shape)))


@pytest.mark.parametrize(
    "name", ["relu", "abs", "leaky_relu(0.25)", "relu6", "hardtanh(-0.5, 2.0)", "hardsigmoid", "hardswish",
             "softshrink(0.5)", "pow(2)", "pow(5)", "identity"],
)  # fmt: skip
def test_every_piecewise_polynomial_is_the_function_of_the_table(name: str) -> None:
    function = pointwise(name)
    pieces = piecewise(function)
    assert pieces is not None
    z = np.linspace(-7, 7, 281)
    which = np.searchsorted([float(b) for b in pieces.breaks], z, side="left")
    values = [
        float(sum(c * int(v * 1000) ** k / 1000**k for k, c in enumerate(pieces.pieces[w])))
        for v, w in zip(np.rint(z * 1000) / 1000, which)
    ]
    assert np.allclose(values, function(np.rint(z * 1000) / 1000), atol=1e-3)


@pytest.mark.parametrize("name", ["tanh", "gelu", "exp", "sin", "pow(0.5)", "pow(-1)"])
def test_smooth_functions_have_no_pieces(name: str) -> None:
    assert piecewise(pointwise(name)) is None
