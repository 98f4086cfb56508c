"""Graphs as JSON and arrays: the same module comes back, from data alone."""

from __future__ import annotations

import dataclasses
import json
from itertools import pairwise

import numpy as np
import pytest
import torch
from architectures import Apply, architectures, vectors
from hypothesis import given, settings
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
MLP = trace(*CASES["mlp"])


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


@pytest.mark.parametrize("name", ["mlp", "attention", "dictionary", "conv_bn", "residual"])
def test_the_nodes_come_back(name: str) -> None:
    """All that the record keeps is as it was; only what tracing knows beside it is gone."""
    network = trace(*CASES[name])
    record, arrays = graph_to_record(network)
    graph, called, _ = graph_from_record(record, arrays)
    assert called == network.name
    assert list(graph) == list(network.graph)
    for mine, node in zip(graph.values(), network.nodes, strict=True):
        left_out = {"module": "", "source": "", "operator": ""}
        assert dataclasses.replace(node, op=mine.op, **left_out) == mine
        assert mine.users == tuple(u for u in graph if node.name in graph[u].inputs)
        for key, value in vars(node.op).items():
            other = getattr(mine.op, key)
            if isinstance(value, ir.Param):
                assert np.array_equal(value.array, other.array)
                assert bool(value.sources) == bool(other.sources) or not np.isfinite(value.array).all()
            else:
                assert value == other


def test_a_changed_number_is_seen() -> None:
    """Negative control: the comparison of bits can fail."""
    network = trace(*CASES["conv_bn"])
    record, arrays = graph_to_record(network)
    name = next(n for n in arrays if n.endswith("weight"))
    arrays[name] = np.nextafter(arrays[name].astype(np.float32), np.float32(9)).astype(np.float64)
    other = module_from_record(record, arrays, dtype=torch.float32)
    with pytest.raises(AssertionError):
        assert_same_bits(to_module(network), other, CASES["conv_bn"][1])


TINY = """{"name": "Sequential", "nodes": [
{"name": "input_1", "inputs": [], "shape": [2, 2], "batch_axis": 0, "tap": "input", "dtype": "float32",
 "batch_multiple": 1, "batch_lead": 1, "op": {"kind": "input", "position": 0, "name": "input"}},
{"name": "linear", "inputs": ["input_1"], "shape": [2, 1], "batch_axis": 0, "tap": "0:out", "dtype": "float32",
 "batch_multiple": 1, "batch_lead": 1,
 "op": {"kind": "linear", "weight": {"param": "0.weight", "shape": [1, 2], "buffer": false},
 "bias": {"param": "0.bias", "shape": [1], "buffer": false}}},
{"name": "tanh", "inputs": ["linear"], "shape": [2, 1], "batch_axis": 0, "tap": "1:out", "dtype": "float32",
 "batch_multiple": 1, "batch_lead": 1, "op": {"kind": "pointwise", "pointwise": "tanh"}},
{"name": "output", "inputs": ["tanh"], "shape": [], "batch_axis": null, "tap": "", "dtype": "float32",
 "batch_multiple": 1, "batch_lead": 1, "op": {"kind": "output", "names": ["output"]}}],
"outputs": 0}"""


def test_the_bytes_of_a_tiny_network() -> None:
    net = nn.Sequential(nn.Linear(2, 1), nn.Tanh())
    record, arrays = graph_to_record(trace(net, torch.zeros(2, 2)))
    assert json.dumps(record) == json.dumps(json.loads(TINY))
    assert sorted(arrays) == ["0.bias", "0.weight"]
    literal = {"0.weight": np.array([[3.0, -4.0]]), "0.bias": np.array([0.5])}
    module = module_from_record(json.loads(TINY), literal, dtype=torch.float64)
    x = torch.tensor([[1.0, 2.0]], dtype=torch.float64)
    assert module(x).item() == np.tanh(3.0 - 8.0 + 0.5)


def test_every_record_has_a_spelling_with_all_its_fields() -> None:
    kinds = {c for c in vars(ir).values() if isinstance(c, type) and issubclass(c, Op) and c not in (Op, ir.Opaque)}
    assert kinds == set(KINDS)
    for kind, fields in KINDS.items():
        assert list(fields) == [f.name for f in dataclasses.fields(kind)]


@pytest.mark.parametrize("name", [n for n in POINTWISE if torch_function(POINTWISE[n].name)])
def test_every_nonlinearity_comes_back(name: str) -> None:
    act = POINTWISE[name]
    network = trace(*CASES["mlp"])
    graph = {
        key: dataclasses.replace(node, op=ir.PointwiseOp(act)) if isinstance(node.op, ir.PointwiseOp) else node
        for key, node in network.graph.items()
    }
    record, arrays = graph_to_record(network, graph)
    module = module_from_record(record, arrays, dtype=torch.float32)
    assert_same_bits(to_module(network, graph), module, CASES["mlp"][1])


@settings(max_examples=25)
@given(
    widths=st.lists(st.integers(1, 5), min_size=2, max_size=4),
    slope=st.floats(-3, 3, allow_nan=False),
    scale=st.floats(allow_nan=False, allow_infinity=False, width=32),
    batch=st.integers(1, 3),
)
def test_any_chain_comes_back(widths: list[int], slope: float, scale: float, batch: int) -> None:
    layers: list[nn.Module] = []
    for a, b in pairwise(widths):
        layers += [nn.Linear(a, b), nn.LeakyReLU(slope)]
    net = Apply(lambda s, x: {"y": [s.net(x) * scale, x + 1]}, net=nn.Sequential(*layers))
    x = torch.randn(batch, widths[0])
    network = trace(net, x)
    assert_same_bits(to_module(network), round_trip(network), (torch.randn(batch + 2, widths[0]),))


class Kept(nn.Module):
    """A weight that is read twice, once transposed; a list of weights; a mask with infinities; submodules with names
    that a written module has itself."""

    def __init__(self) -> None:
        super().__init__()
        self.w = nn.Parameter(torch.randn(4, 6))
        self.several = nn.ParameterList([torch.randn(6), torch.randn(6)])
        self.graph = nn.Linear(6, 6)
        self.register_buffer("mask", torch.full((6,), float("-inf")).where(torch.arange(6) > 3, 0.0))

    def forward(self, code: Tensor) -> tuple[Tensor, list[Tensor]]:
        x = torch.tanh(code @ self.w.T) @ self.w * self.several[0] + self.several[1]
        return torch.softmax(self.graph(x) + self.mask, -1), [x, code[:, [2, 0]]]


def test_awkward_names_and_numbers_come_back() -> None:
    network = trace(Kept().eval(), vectors())
    record, arrays = graph_to_record(network)
    assert {"w", "w#1", "several.0", "graph_.weight", "mask"} <= set(arrays)
    written = to_module(network)
    assert {"w", "w_1", "several.0", "graph_.weight", "mask"} <= set(written.state_dict())
    assert_same_bits(written, module_from_record(record, arrays, dtype=torch.float32), vectors())


def test_numbers_that_are_not_there_cannot_be_written() -> None:
    network = trace(*CASES["mlp"])
    node = next(n for n in network.nodes if isinstance(n.op, Linear))
    wrong = dataclasses.replace(node.op.weight, array=np.full(node.op.weight.shape, np.nan))
    graph = dict(network.graph) | {node.name: dataclasses.replace(node, op=Linear(wrong))}
    with pytest.raises(CannotEmit, match=r"holds NaN. Nothing was written"):
        graph_to_record(network, graph)


def test_what_has_no_spelling_is_refused_by_name() -> None:
    network = trace(Apply(lambda s, x: torch.cumsum(s.a(x), 1), a=nn.Linear(6, 4)), vectors())
    with pytest.raises(CannotEmit, match=r"(?s)cumsum.*Nothing was written"):
        graph_to_record(network)
    network = trace(Apply(lambda s, x: {3: s.a(x)}, a=nn.Linear(6, 4)), vectors())
    with pytest.raises(CannotEmit, match=r"keys that are no text.*Nothing was written"):
        graph_to_record(network)


@settings(max_examples=60)
@given(st.text(max_size=12))
def test_a_spelling_is_its_own_spelling_and_fits_a_module(name: str) -> None:
    path = module_path(name)
    assert module_path(path) == path
    assert argument(argument(name)) == argument(name)
    network = MLP
    node = next(n for n in network.nodes if isinstance(n.op, Linear))
    graph = dict(network.graph)
    op = dataclasses.replace(node.op, weight=dataclasses.replace(node.op.weight, name=name))
    graph[node.name] = dataclasses.replace(node, op=op)
    first = network.nodes[0]
    graph[first.name] = dataclasses.replace(first, op=ir.Input(0, name))
    record, arrays = graph_to_record(network, graph)
    module = module_from_record(record, arrays, dtype=torch.float32)
    assert path in module.state_dict()
    assert_same_bits(to_module(network, graph), module, CASES["mlp"][1])


def test_arrays_of_another_shape_are_refused() -> None:
    record, arrays = graph_to_record(trace(*CASES["mlp"]))
    name = next(iter(arrays))
    with pytest.raises(CorruptFile, match=r"node '.*'\.op\.\w+\.shape: expected \[.*\], the shape of"):
        module_from_record(record, arrays | {name: arrays[name].T[None]}, dtype=torch.float32)
