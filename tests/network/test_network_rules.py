"""One law tests every rule: the records, interpreted one by one, are the network."""

from __future__ import annotations

import dataclasses

import pytest
import torch
from architectures import architectures
from ir_reference import interpret
from torch.utils import _pytree as pytree

from intertwiner.network import Network, trace

CASES = architectures()
TRACED: dict[str, Network] = {}


def traced(name: str) -> Network:
    if name not in TRACED:
        TRACED[name] = trace(*CASES[name])
    return TRACED[name]


def another_batch(x: torch.Tensor, size: int = 5) -> torch.Tensor:
    """Fresh samples of the same kind, in a batch of another size."""
    generator = torch.Generator().manual_seed(3)
    if x.is_floating_point():
        return torch.randn(size, *x.shape[1:], generator=generator)
    return torch.randint(0, int(x.max()) + 1, (size, *x.shape[1:]), generator=generator)


@pytest.mark.parametrize("name", CASES)
def test_every_operator_has_a_rule(name: str) -> None:
    network = traced(name)
    assert network.unruled == ()
    assert network.batch_size is None


@pytest.mark.parametrize("name", CASES)
def test_the_records_are_the_network(name: str) -> None:
    module, example = CASES[name]
    network = traced(name)
    inputs = tuple(another_batch(x) for x in example)
    values = interpret(network, inputs)
    with torch.no_grad():
        expected = pytree.tree_leaves(module(*inputs))
    found = [values[i] for i in network.nodes[-1].inputs]
    assert len(found) == len(expected)
    for a, b in zip(found, expected, strict=True):
        torch.testing.assert_close(a, b.double(), rtol=2e-5, atol=2e-5)


@pytest.mark.parametrize("name", CASES)
def test_every_tap_is_the_value_that_runs(name: str) -> None:
    """Each tap of the running graph is the value of its node in the interpreter; outputs are those of the module."""
    module, example = CASES[name]
    network = traced(name)
    inputs = tuple(another_batch(x) for x in example)
    values = interpret(network, inputs)
    outputs, tapped = network.function(network.taps)(inputs)
    with torch.no_grad():
        expected = pytree.tree_leaves(module(*inputs))
    for a, b in zip(outputs, expected, strict=True):
        # Not bit by bit: torch takes another kernel for a product when its weights want gradients.
        torch.testing.assert_close(a, b, rtol=1e-6, atol=1e-6)
    for tap, value in tapped.items():
        torch.testing.assert_close(values[network.tap(tap).name], value.double(), rtol=2e-5, atol=2e-5)


@pytest.mark.parametrize("name", ["mlp", "residual", "attention", "scale", "shape_zeros", "function_mixed"])
def test_the_float64_copy_is_the_same_function(name: str) -> None:
    _, example = CASES[name]
    network = traced(name)
    wide = network.to(torch.float64)
    inputs = tuple(x.double() for x in example)
    values = interpret(network, inputs)
    for a, node in zip(wide(*inputs), network.nodes[-1].inputs, strict=True):
        assert a.dtype == torch.float64
        torch.testing.assert_close(a, values[node], rtol=1e-9, atol=1e-9)


def test_a_wrong_record_is_seen() -> None:
    """The law notices one moved weight and one wrong stride."""
    network = traced("conv_bn")
    inputs = CASES["conv_bn"][1]
    node = network.tap("0")
    array = node.op.weight.array.copy()
    array[:, 0, 0, 0] += 0.1
    moved = dataclasses.replace(node.op.weight, array=array)
    broken = dataclasses.replace(node, op=dataclasses.replace(node.op, weight=moved))
    other = dataclasses.replace(network, graph={**network.graph, node.name: broken})
    out = network.nodes[-1].inputs[0]
    assert not torch.allclose(interpret(network, inputs)[out], interpret(other, inputs)[out])
    broken = dataclasses.replace(node, op=dataclasses.replace(node.op, stride=(2, 2)))
    with pytest.raises(AssertionError):
        interpret(dataclasses.replace(network, graph={**network.graph, node.name: broken}), inputs)
