"""Graphs as JSON and arrays: the same module comes back, from data alone."""

from __future__ import annotations

import dataclasses
import json

import numpy as np
import pytest
import torch
from architectures import Apply, architectures, vectors
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.utils import _pytree as pytree

from intertwiner.errors import CannotEmit, CorruptFile
from intertwiner.gauge import POINTWISE
from intertwiner.network import Linear, Network, Op, trace
from intertwiner.network import node as ir
from intertwiner.network.emit import to_module
from intertwiner.network.functions import torch_function
from intertwiner.network.record import graph_from_record, graph_to_record, module_from_record
from intertwiner.network.record_kinds import KINDS
from intertwiner.network.spelling import argument, module_path

CASES = architectures()


def round_trip(network: Network, dtype: torch.dtype | None = None) -> torch.nn.Module:
    record, arrays = graph_to_record(network)
    text = json.dumps(record, allow_nan=False)
    return module_from_record(json.loads(text), arrays, dtype=network.dtype if dtype is None else dtype)


def assert_same_bits(a: nn.Module, b: nn.Module, inputs: tuple[Tensor, ...]) -> None:
    """Names, numbers, kinds and order of all tensors, nesting and bits of all outputs."""
    first, second = a.state_dict(), b.state_dict()
    assert list(first) == list(second)
    assert all(torch.equal(first[name], second[name]) for name in first)
    assert [name for name, _ in a.named_parameters()] == [name for name, _ in b.named_parameters()]
    with torch.no_grad():
        one, other = a(*inputs), b(*inputs)
    assert pytree.tree_structure(one) == pytree.tree_structure(other)
    for x, y in zip(pytree.tree_leaves(one), pytree.tree_leaves(other), strict=True):
        assert x.dtype == y.dtype
        assert x.shape == y.shape
        np.testing.assert_array_equal(x.numpy(), y.numpy())


@pytest.mark.parametrize("name", CASES)
def test_the_module_that_comes_back_is_the_same_to_the_bit(name: str) -> None:
    module, inputs = CASES[name]
    network = trace(module, inputs)
    more = tuple(torch.cat([x, x.flip(0)]) for x in inputs)
    assert_same_bits(to_module(network), round_trip(network), more)
    double = tuple(x.double() if x.is_floating_point() else x for x in inputs)
    assert_same_bits(to_module(network, dtype=torch.float64), round_trip(network, torch.float64), double)
