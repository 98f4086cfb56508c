"""Modules written from records: the same function, the same records when traced again, the names of the weights."""

from __future__ import annotations

import copy
import dataclasses

import numpy as np
import pytest
import torch
from architectures import Apply, architectures, vectors
from ir_reference import interpret
from torch import nn
from torch.utils import _pytree as pytree

from intertwiner.errors import CannotEmit, WrongUse
from intertwiner.gauge import Pointwise
from intertwiner.network import Identity, Network, Param, PointwiseOp, trace
from intertwiner.network.emit import to_module
from intertwiner.numerics.tolerance import ROUNDING

CASES = architectures()
TRACED: dict[str, Network] = {}


def traced(name: str) -> Network:
    if name not in TRACED:
        TRACED[name] = trace(*CASES[name])
    return TRACED[name]


def wide(x: torch.Tensor, size: int = 5) -> torch.Tensor:
    """Fresh samples in float64, in a batch of another size."""
    generator = torch.Generator().manual_seed(3)
    if x.is_floating_point():
        return torch.randn(size, *x.shape[1:], generator=generator, dtype=torch.float64)
    return torch.randint(0, int(x.max()) + 1, (size, *x.shape[1:]), generator=generator)


@pytest.mark.parametrize("name", CASES)
def test_the_written_module_is_the_network(name: str) -> None:
    """The oracle is the interpreter of records; both in float64, to rounding."""
    network = traced(name)
    inputs = tuple(wide(x) for x in CASES[name][1])
    values = interpret(network, inputs)
    with torch.no_grad():
        found = pytree.tree_leaves(to_module(network, dtype=torch.float64)(*inputs))
    expected = [values[i] for i in network.nodes[-1].inputs]
    assert len(found) == len(expected)
    for a, b in zip(found, expected, strict=True):
        scale = max(1.0, float(b.abs().nan_to_num(posinf=0.0).max()))
        torch.testing.assert_close(a, b, rtol=ROUNDING, atol=ROUNDING * scale)


def spelt(network: Network) -> list[tuple[object, ...]]:
    """The records without what does nothing, and without names."""
    out = []
    for n in network.nodes:
        if isinstance(n.op, Identity):
            continue
        fields = {}
        for key, value in vars(n.op).items():
            if isinstance(value, Param):
                fields[key] = ("numbers", value.array.shape, value.array.astype(np.float32).tobytes())
            elif key not in ("spelling", "name"):
                fields[key] = value
        out.append((type(n.op).__name__, tuple(sorted(fields.items(), key=lambda kv: kv[0])), n.shape, n.batch_axis))
    return out


@pytest.mark.parametrize("name", CASES)
def test_a_new_trace_gives_the_same_records(name: str) -> None:
    network = traced(name)
    again = trace(to_module(network), CASES[name][1])
    assert again.unruled == ()
    assert again.batch_size is None
    assert spelt(again) == spelt(network)
    assert again.outputs == network.outputs


def test_a_changed_record_is_seen() -> None:
    """Negative control: one moved weight makes another function and another record."""
    network = traced("conv_bn")
    node = network.tap("0")
    array = node.op.weight.array.copy()
    array[:, 0, 0, 0] += 0.1
    op = dataclasses.replace(node.op, weight=dataclasses.replace(node.op.weight, array=array))
    graph = dict(network.graph) | {node.name: dataclasses.replace(node, op=op)}
    x = CASES["conv_bn"][1][0]
    moved, kept = to_module(network, graph), to_module(network)
    assert not torch.allclose(moved(x), kept(x))
    assert spelt(trace(moved, x)) != spelt(network)


def test_weights_keep_their_names_and_tied_ones_stay_one() -> None:
    module, (x,) = CASES["shared"]
    written = to_module(trace(module, x))
    tensors = written.state_dict()
    assert len(tensors) == 4  # one of the two names of the tied layer
    for name, tensor in tensors.items():
        assert torch.equal(tensor, module.state_dict()[name])
    assert all(isinstance(p, nn.Parameter) for p in written.parameters())


def test_one_name_for_different_numbers_gets_a_number() -> None:
    """A weight and its transpose are two tensors of the new module."""
    module = Apply(lambda s, x: torch.tanh(x @ s.w.T) @ s.w, w=nn.Parameter(torch.randn(4, 6)))
    written = to_module(trace(module, vectors()))
    assert set(written.state_dict()) == {"w", "w_1"}
    torch.testing.assert_close(written(*vectors()).shape, module(*vectors()).shape)


class Hostile(nn.Module):
    """Weights whose names are those of attributes of the written module, or python words."""

    def __init__(self) -> None:
        super().__init__()
        self.graph, self.code = nn.Parameter(torch.randn(5, 6)), nn.Parameter(torch.randn(4, 5))
        self.register_parameter("class", nn.Parameter(torch.randn(3, 4)))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        for weight in self.parameters():
            x = torch.relu(x @ weight.T)
        return x


def test_names_that_a_module_cannot_hold_are_spelt_otherwise() -> None:
    module, (x,) = Hostile(), vectors()
    written = to_module(trace(module, x))
    torch.testing.assert_close(written(x), module(x))
    assert not {"graph", "code", "class"} & set(written.state_dict())
    fresh = copy.deepcopy(written)
    fresh.load_state_dict({name: 0 * tensor for name, tensor in written.state_dict().items()})
    assert not fresh(x).any()
    fresh.load_state_dict(written.state_dict())
    torch.testing.assert_close(fresh(x), module(x))


def test_outputs_nest_as_before() -> None:
    module, (x,) = CASES["dictionary"]
    written, expected = to_module(traced("dictionary"))(x), module(x)
    assert pytree.tree_structure(written) == pytree.tree_structure(expected)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
def test_any_floating_type(dtype: torch.dtype) -> None:
    module, (x,) = CASES["mlp"]
    written = to_module(traced("mlp"), dtype=dtype)
    assert {p.dtype for p in written.parameters()} == {dtype}
    torch.testing.assert_close(written(x.to(dtype)).float(), module(x), rtol=0.05, atol=0.05)
    with pytest.raises(WrongUse, match="cannot be written in"):
        to_module(traced("mlp"), dtype=torch.int64)


def test_an_operator_without_a_rule_is_refused_by_name() -> None:
    module = Apply(lambda s, x: torch.cumsum(s.a(x), 1), a=nn.Linear(6, 4))
    network = trace(module, vectors())
    with pytest.raises(CannotEmit, match="cumsum") as refusal:
        to_module(network)
    assert "Nothing was written" in str(refusal.value)


def test_a_nonlinearity_that_torch_does_not_have_is_refused_by_name() -> None:
    network = traced("mlp")
    node = next(n for n in network.nodes if isinstance(n.op, PointwiseOp))
    graph = dict(network.graph) | {node.name: dataclasses.replace(node, op=PointwiseOp(Pointwise.unknown("wobble")))}
    with pytest.raises(CannotEmit, match="wobble"):
        to_module(network, graph)


def test_a_token_repeated_for_every_sample_follows_the_batch() -> None:
    module, (x,) = CASES["class_token"]
    written = to_module(traced("class_token"))
    for count in (1, 2, 7):
        inputs = x[:1].repeat(count, 1, 1)
        torch.testing.assert_close(written(inputs), module(inputs))
