"""Planted symmetries in architectures beyond the three families, and the operators that break them, by name."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from tied_layers import Apply, conv, double, linear, perms, union, vectors
from torch import nn

import intertwiner as iw
from intertwiner.testing import assert_equivariant

D4, S4, S3 = iw.dihedral(4), iw.symmetric(4), iw.symmetric(3)
WEIGHTS_ONLY = iw.Effort(data=False)


def audit(module: nn.Module, symmetry: iw.Symmetry, example: torch.Tensor) -> iw.Audit:
    return iw.audit(module, symmetry, example=example, effort=WEIGHTS_ONLY)


def noise(*shape: int) -> torch.Tensor:
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(0))


def features(reads, writes) -> iw.Symmetry:
    return iw.Symmetry(reads.group, on_input=iw.vector(perm=perms(reads)), on_output=iw.vector(perm=perms(writes)))


def test_concatenated_branches() -> None:
    x, one, two, out = union(S3, 1, 2), union(S3, 1, 2), union(S3, 1, 6, 6), union(S3, 2)
    net = Apply(
        lambda p, v: p["head"](torch.cat([torch.tanh(p["one"](v)), torch.relu(p["two"](v))], 1)),
        one=linear(x, one, 1), two=linear(x, two, 2), head=linear(one + two, out, 3),
    )  # fmt: skip
    found = audit(double(net), features(x, out), noise(4, x.dimension))
    assert found.verdict.is_proved
    assert found["parts.one"].representation.is_isomorphic(one)
    assert found["parts.two"].representation.is_isomorphic(two)


def batch_normed() -> tuple[Apply, iw.Symmetry]:
    x, hidden = union(D4, 8), union(D4, 1, 2, 8)
    net = Apply(
        lambda p, v: p["head"](torch.relu(p["two"](torch.tanh(p["norm"](p["one"](v))))).mean((2, 3))),
        one=conv(x, hidden, 1, padding=1), norm=nn.BatchNorm2d(hidden.dimension),
        two=conv(hidden, hidden, 2, padding=1), head=linear(hidden, union(D4, 8, 8), 3),
    )  # fmt: skip
    mean, spread, gain, shift = vectors(D4, hidden, hidden, hidden, hidden)
    norm = net.parts["norm"]
    with torch.no_grad():
        norm.running_mean.copy_(torch.as_tensor(mean))
        norm.running_var.copy_(torch.as_tensor(spread**2 + 0.1))
        norm.weight.copy_(torch.as_tensor(gain + 2))
        norm.bias.copy_(torch.as_tensor(shift))
    return double(net), iw.Symmetry(D4, on_input=iw.image(D4), on_output=iw.invariant())


def test_batch_norm_after_a_padded_convolution() -> None:
    net, symmetry = batch_normed()
    found = audit(net, symmetry, noise(2, 1, 7, 7))
    assert found.verdict.is_proved
    assert found["parts.two"].representation.is_isomorphic(union(D4, 1, 2, 8))


def test_one_running_mean_moved_is_refuted() -> None:
    net, symmetry = batch_normed()
    net.parts["norm"].running_mean[-1] += 1e-6
    found = audit(net, symmetry, noise(2, 1, 7, 7))
    assert found.verdict.is_refuted
    assert "neurons have no partner" in found.verdict.reason


def strided(size: int, *, pool: bool) -> tuple[nn.Module, iw.Symmetry, torch.Tensor]:
    x, hidden = union(D4, 8), union(D4, 1, 2, 8)
    first = conv(x, hidden, 1, padding=1) if pool else conv(x, hidden, 1, stride=2, padding=1)

    def forward(p: nn.ModuleDict, v: torch.Tensor) -> torch.Tensor:
        v = torch.relu(p["one"](v))
        v = nn.functional.max_pool2d(v, 2) if pool else v
        return p["head"](torch.relu(p["two"](v)).mean((2, 3)))

    net = Apply(forward, one=first, two=conv(hidden, hidden, 2), head=linear(hidden, union(D4, 8), 3))
    return double(net), iw.Symmetry(D4, on_input=iw.image(D4), on_output=iw.invariant()), noise(2, 1, size, size)


@pytest.mark.parametrize(("size", "pool"), [(9, False), (8, True)])
def test_strides_and_pools_that_fit_the_grid(size: int, pool: bool) -> None:
    found = audit(*strided(size, pool=pool))
    assert found.verdict.is_proved
    for tap in ("parts.one", "parts.two"):
        assert found[tap].representation.is_isomorphic(union(D4, 1, 2, 8))


@pytest.mark.parametrize(("size", "pool", "reason"), [(8, False, "stride"), (9, True, "(?i)pool|window|stride")])
def test_strides_and_pools_that_do_not_fit_the_grid_are_named(size: int, pool: bool, reason: str) -> None:
    found = audit(*strided(size, pool=pool))
    assert not found.verdict.is_proved
    assert found.verdict.is_refuted  # the function itself is not equivariant on this grid
    named = found.record["network"]["operators_without_rule"]
    assert len(named) == 1
    assert pytest.importorskip("re").search(reason, named[0]["reason"]), named


def test_a_network_on_a_set_of_token_ids() -> None:
    torch.manual_seed(0)
    net = Apply(
        lambda p, v: p["head"](torch.relu(p["one"](p["table"](v))).mean(1)),
        table=nn.Embedding(11, 6), one=nn.Linear(6, 9), head=nn.Linear(9, 2),
    )  # fmt: skip
    symmetry = iw.Symmetry(S4, on_input=iw.tokens(), on_output=iw.invariant())
    ids = torch.randint(11, (5, 4), generator=torch.Generator().manual_seed(0))
    found = audit(double(net), symmetry, ids)
    assert found.verdict.is_proved
    assert found.verdict.exact
    assert found["parts.one"].representation.character.tolist() == [9.0] * 24  # no channel moves


def test_tokens_told_apart_by_position_are_not_a_set() -> None:
    torch.manual_seed(0)
    net = Apply(
        lambda p, v: p["head"](torch.relu(p["one"](v + p["places"](torch.arange(4)))).mean(1)),
        places=nn.Embedding(4, 6), one=nn.Linear(6, 9), head=nn.Linear(9, 2),
    )  # fmt: skip
    symmetry = iw.Symmetry(S4, on_input=iw.tokens(), on_output=iw.invariant())
    assert audit(double(net), symmetry, noise(5, 4, 6)).verdict.is_refuted


def test_layer_norm_in_between() -> None:
    x, hidden, out = union(S3, 1, 2), union(S3, 1, 2, 6), union(S3, 2)
    net = Apply(
        lambda p, v: p["head"](torch.tanh(p["norm"](p["one"](v)))),
        one=linear(x, hidden, 1), norm=nn.LayerNorm(hidden.dimension), head=linear(hidden, out, 2),
    )  # fmt: skip
    gain, shift = vectors(S3, hidden, hidden)
    with torch.no_grad():
        net.parts["norm"].weight.copy_(torch.as_tensor(gain))
        net.parts["norm"].bias.copy_(torch.as_tensor(shift))
    symmetry = features(x, out)
    found = audit(double(net), symmetry, noise(4, x.dimension))
    assert found.verdict.is_proved
    assert found["parts.one"].representation.is_isomorphic(hidden)
    net.parts["norm"].weight.data[-1] += 1e-4
    assert audit(net, symmetry, noise(4, x.dimension)).verdict.is_refuted


@pytest.mark.parametrize("blocks", [1, 3])
def test_a_linear_stream_may_be_hidden_by_any_invertible_matrix(blocks: int) -> None:
    """Nothing but linear layers touches the stream: its gauge group is GL, and no basis is preferred."""
    x, stream, inner, out = union(S3, 1, 2), union(S3, 1, 2), union(S3, 1, 2, 6), union(S3, 2)
    rng = np.random.default_rng(0)
    hide = torch.as_tensor(rng.standard_normal((stream.dimension, stream.dimension)))
    parts = {"embed": linear(x, stream, 1), "head": linear(stream, out, 2)}
    for i in range(blocks):
        parts |= {f"read{i}": linear(stream, inner, 10 + i), f"write{i}": linear(inner, stream, 20 + i)}

    def forward(p: nn.ModuleDict, v: torch.Tensor) -> torch.Tensor:
        v = p["embed"](v)
        for i in range(blocks):
            v = v + p[f"write{i}"](torch.tanh(p[f"read{i}"](v)))
        return p["head"](v)

    net = double(Apply(forward, **parts))
    with torch.no_grad():
        for name, part in net.parts.items():
            if name.startswith(("embed", "write")):
                part.weight.copy_(hide @ part.weight)
                part.bias.copy_(hide @ part.bias)
            else:
                part.weight.copy_(part.weight @ torch.linalg.inv(hide))
    assert_equivariant(net, features(x, out), noise(8, x.dimension))
    found = audit(net, features(x, out), noise(4, x.dimension))
    assert found.verdict.is_proved
    for i in range(blocks):
        assert found[f"parts.read{i}"].representation.is_isomorphic(inner)


def test_a_linear_stream_carries_the_planted_representation_where_the_input_reaches_it() -> None:
    x, stream, inner, out = union(S3, 1, 1), union(S3, 1), union(S3, 1, 2), union(S3, 2)
    parts = {"embed": linear(x, stream, 1), "read": linear(stream, inner, 2), "head": linear(inner, out, 3)}
    net = Apply(lambda p, v: p["head"](torch.tanh(p["read"](p["embed"](v)))), **parts)
    found = iw.audit(
        double(net), features(x, out), example=noise(4, x.dimension), effort=WEIGHTS_ONLY, taps=["parts.*"]
    )
    assert found.verdict.is_proved
    assert found["parts.embed"].representation.is_isomorphic(stream)
