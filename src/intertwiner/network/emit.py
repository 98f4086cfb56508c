"""From records back to a module: a plain ``torch.fx.GraphModule`` that needs no class of the user's.

Its state_dict has the names that the weights had. A new trace of the module gives the same records, but for steps
that do nothing.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor, fx, nn
from torch.fx.proxy import GraphAppendingTracer
from torch.utils import _pytree as pytree

from intertwiner.errors import WrongUse
from intertwiner.network import node as ir
from intertwiner.network.lower import value_of
from intertwiner.network.network import Network
from intertwiner.network.operations import Bench, is_index
from intertwiner.network.spelling import argument, module_path, numbered

CONTAINERS = (dict, list, tuple)


@dataclass(frozen=True, eq=False)
class Frame:
    """What a module is beside its nodes.

    Args:
        name: What its class is called.
        nesting: How the outputs nest: tuples, lists and dicts with the number of every output in its place.
        dtype: Type of the weights.
        device: Where they lie.
    """

    name: str
    nesting: Any
    dtype: torch.dtype
    device: torch.device | str = "cpu"


def to_module(
    network: Network, graph: Mapping[str, ir.Node] | None = None, *, dtype: torch.dtype | None = None
) -> fx.GraphModule:
    """A module that computes what the records say.

    Args:
        network: A traced network: it says how inputs are called and how outputs nest.
        graph: Its nodes, or others to be written instead, in topological order.
        dtype: Type of the weights; that of the network by default.

    Returns:
        A module in evaluation mode. It takes the flattened inputs, by position or name, with any batch size, and
        returns what the traced module returned. Weights are parameters under the names of their records, what no
        state_dict entry stands behind is a buffer.

    Raises:
        CannotEmit: A node is opaque or has no function in torch; the message names it.
        WrongUse: ``dtype`` is no floating type.

    Cost:
        One copy of the weights.

    Example:
        >>> from intertwiner.network import trace
        >>> net = trace(nn.Sequential(nn.Linear(3, 4), nn.ReLU()), torch.zeros(2, 3))
        >>> module = to_module(net)
        >>> sorted(module.state_dict()), module(torch.zeros(5, 3)).shape
        (['0.bias', '0.weight'], torch.Size([5, 4]))
    """
    graph = network.graph if graph is None else graph
    return write_module(graph, frame_of(network, graph, dtype))


def frame_of(network: Network, graph: Mapping[str, ir.Node], dtype: torch.dtype | None = None) -> Frame:
    """What `to_module` takes from the network itself; the type is the network's by default."""
    count = sum(len(n.inputs) for n in graph.values() if isinstance(n.op, ir.Output))
    nesting: Any = tuple(range(count))
    if network.out_spec is not None and network.out_spec.num_leaves == count:
        numbers = pytree.tree_unflatten(list(range(count)), network.out_spec)
        nesting = numbers if _is_plain(numbers) else nesting
    return Frame(network.name, nesting, network.dtype if dtype is None else dtype, network.device)


def write_module(graph: Mapping[str, ir.Node], frame: Frame) -> fx.GraphModule:
    """A module that computes what the records say; see `to_module`.

    Raises:
        CannotEmit: A node is opaque or has no function in torch; the message names it.
        WrongUse: The type of the frame is no floating type.
    """
    if not frame.dtype.is_floating_point:
        raise WrongUse(f"a module cannot be written in {frame.dtype}")
    writer = _Writer(frame.dtype, frame.device)
    values: dict[str, Any] = {}
    for node in inputs_of(graph):
        values[node.name] = writer.input(node)
    bench = Bench(writer.hold, batch_of(graph, values))
    for node in graph.values():
        if isinstance(node.op, ir.Input):
            continue
        read = [values[i] for i in node.inputs]
        if isinstance(node.op, ir.Output):
            writer.graph.output(nest(frame.nesting, [v.node for v in read]))
        else:
            values[node.name] = value_of(node, read, [graph[i] for i in node.inputs], bench)
    module = fx.GraphModule(writer.root, writer.graph, class_name=re.sub(r"\W", "_", frame.name) or "Network")
    return module.eval()


def inputs_of(graph: Mapping[str, ir.Node]) -> list[ir.Node]:
    """The inputs in the order in which the module takes them."""
    found = [(n.op.position, n) for n in graph.values() if isinstance(n.op, ir.Input)]
    return [node for _, node in sorted(found, key=lambda pair: pair[0])]


def batch_of(graph: Mapping[str, ir.Node], values: Mapping[str, Any]) -> Callable[[], Any]:
    """The batch size, read off the first input that has one."""
    first = next((n for n in graph.values() if isinstance(n.op, ir.Input) and n.batch_axis is not None), None)
    return lambda: None if first is None else values[first.name].size(first.batch_axis)


def nest(nesting: Any, values: Sequence[Any]) -> Any:
    """Values in the places of their numbers."""
    if isinstance(nesting, dict):
        return {key: nest(inside, values) for key, inside in nesting.items()}
    return type(nesting)(nest(v, values) for v in nesting) if isinstance(nesting, list | tuple) else values[nesting]


@dataclass
class _Writer:
    """The module as it grows: a graph, and a tree of plain modules that holds the tensors."""

    dtype: torch.dtype
    device: torch.device | str
    root: nn.Module = field(default_factory=nn.Module)
    graph: fx.Graph = field(default_factory=fx.Graph)
    held: dict[str, np.ndarray] = field(default_factory=dict)
    proxies: dict[str, fx.Proxy] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.tracer = GraphAppendingTracer(self.graph)

    def input(self, node: ir.Node) -> fx.Proxy:
        name = argument(node.op.name if isinstance(node.op, ir.Input) else node.name)
        return fx.Proxy(self.graph.placeholder(name), self.tracer)

    def hold(self, param: ir.Param) -> fx.Proxy:
        """The parameter as an attribute; equal numbers of one name are held once."""
        name = self._name(param)
        if name not in self.proxies:
            self._register(name, param)
            self.proxies[name] = fx.Proxy(self.graph.get_attr(name), self.tracer)
        return self.proxies[name]

    def _name(self, param: ir.Param) -> str:
        base = module_path(param.name)
        if any(base.startswith(f"{h}.") for h in self.held):
            base = module_path(base.replace(".", "_"))  # a tensor stands where a module would have to be
        name, count = base, 0
        while not self._free_for(name, param):
            count += 1
            name = numbered(base, count)
        self.held.setdefault(name, param.array)
        return name

    def _free_for(self, name: str, param: ir.Param) -> bool:
        if name in self.held:
            return self.held[name].shape == param.shape and bool(np.array_equal(self.held[name], param.array))
        return not any(h.startswith(f"{name}.") for h in self.held)

    def _register(self, name: str, param: ir.Param) -> None:
        owner = self.root
        *path, leaf = name.split(".")
        for part in path:
            if part not in dict(owner.named_children()):
                owner.add_module(part, nn.Module())
            owner = owner.get_submodule(part)
        array = param.array
        tensor = torch.tensor(array, dtype=torch.int64 if is_index(param) else self.dtype, device=self.device)
        if param.sources and np.isfinite(array).all():
            owner.register_parameter(leaf, nn.Parameter(tensor))
        else:
            owner.register_buffer(leaf, tensor)


def _is_plain(tree: Any) -> bool:
    """Whether fx can write this nesting down."""
    if isinstance(tree, Tensor | int):
        return True
    if type(tree) not in CONTAINERS:
        return False
    return all(map(_is_plain, tree.values() if isinstance(tree, dict) else tree))
