"""From records back to a module: a plain ``torch.fx.GraphModule`` that needs no class of the user's.

Its state_dict has the names that the weights had. A new trace of the module gives the same records, but for steps
that do nothing.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from keyword import iskeyword
from typing import Any

import numpy as np
import torch
from torch import Tensor, fx, nn
from torch.fx.proxy import GraphAppendingTracer
from torch.utils import _pytree as pytree

from intertwiner.errors import CannotEmit, WrongUse
from intertwiner.network import node as ir
from intertwiner.network.network import Network
from intertwiner.network.operations import Bench, compute, is_index

CONTAINERS = (dict, list, tuple)


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
    dtype = network.dtype if dtype is None else dtype
    if not dtype.is_floating_point:
        raise WrongUse(f"a module cannot be written in {dtype}")
    graph = network.graph if graph is None else graph
    writer = _Writer(dtype, network.device)
    values: dict[str, Any] = {}
    first = next((n for n in graph.values() if isinstance(n.op, ir.Input) and n.batch_axis is not None), None)
    for node in sorted((n for n in graph.values() if isinstance(n.op, ir.Input)), key=lambda n: n.op.position):  # type: ignore[attr-defined]
        values[node.name] = writer.input(node)
    bench = Bench(writer.hold, lambda: None if first is None else values[first.name].size(0))
    for node in graph.values():
        if isinstance(node.op, ir.Input):
            continue
        read = [values[i] for i in node.inputs]
        if isinstance(node.op, ir.Output):
            writer.output([v.node for v in read], network.out_spec)
        else:
            values[node.name] = writer.write(node, read, graph, bench)
    module = fx.GraphModule(writer.root, writer.graph, class_name=re.sub(r"\W", "_", network.name) or "Network")
    return module.eval()


@dataclass
class _Writer:
    """The module as it grows: a graph, and a tree of plain modules that holds the tensors."""

    dtype: torch.dtype
    device: torch.device
    root: nn.Module = field(default_factory=nn.Module)
    graph: fx.Graph = field(default_factory=fx.Graph)
    held: dict[str, np.ndarray] = field(default_factory=dict)
    proxies: dict[str, fx.Proxy] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.tracer = GraphAppendingTracer(self.graph)

    def input(self, node: ir.Node) -> fx.Proxy:
        op = node.op
        name = re.sub(r"\W", "_", op.name if isinstance(op, ir.Input) else node.name)
        return fx.Proxy(self.graph.placeholder(name if name.isidentifier() else f"input_{name}"), self.tracer)

    def write(self, node: ir.Node, read: list[fx.Proxy], graph: Mapping[str, ir.Node], bench: Bench) -> fx.Proxy:
        sources = [graph[i] for i in node.inputs]
        if isinstance(node.op, ir.Embedding):
            read = [self._whole(v, s) for v, s in zip(read, sources, strict=True)]
        elif not isinstance(node.op, (ir.Index, ir.Reshape, ir.Permute, ir.Identity, ir.Expand, ir.Constant)):
            read = [self._floating(v, s) for v, s in zip(read, sources, strict=True)]
        if isinstance(node.op, ir.Identity) and _is_float(node) and not _is_float(sources[0]):
            return self._floating(read[0], sources[0])
        if isinstance(node.op, ir.Concat):
            read = [self._repeated(v, s, node, bench) for v, s in zip(read, sources, strict=True)]
        if isinstance(node.op, ir.Expand) and sources[0].batch_axis is None and node.batch_axis is not None:
            sizes: list[Any] = list(node.shape)
            sizes[node.batch_axis] = _entries(bench, node)
            return read[0].expand(*sizes)
        return compute(node, read, bench)

    def output(self, values: list[fx.Node], spec: Any) -> None:
        nested: Any = tuple(values)
        if spec is not None and spec.num_leaves == len(values):
            numbers = pytree.tree_unflatten(list(range(len(values))), spec)
            if _is_plain(numbers):
                nested = pytree.tree_unflatten(values, spec)
        self.graph.output(nested)

    def hold(self, param: ir.Param) -> fx.Proxy:
        """The parameter as an attribute; equal numbers of one name are held once."""
        name = self._name(param)
        if name not in self.proxies:
            self._register(name, param)
            self.proxies[name] = fx.Proxy(self.graph.get_attr(name), self.tracer)
        return self.proxies[name]

    def _name(self, param: ir.Param) -> str:
        parts = [re.sub(r"\W", "_", part) for part in param.name.split(".") if part]
        fine = [p.isdigit() or (p.isidentifier() and not iskeyword(p)) for p in parts]
        base = ".".join(p if ok else f"_{p}" for p, ok in zip(parts, fine, strict=True)) or "tensor"
        base = f"tensor_{base}" if base[-1].isdigit() and base.rpartition(".")[2].isdigit() else base
        name, count = base, 0
        while not self._free_for(name, param):
            count += 1
            name = f"{base}_{count}"
        self.held.setdefault(name, param.array)
        return name

    def _free_for(self, name: str, param: ir.Param) -> bool:
        if name in self.held:
            return self.held[name].shape == param.shape and bool(np.array_equal(self.held[name], param.array))
        # A tensor cannot stand where a module must be, nor the other way round; nor hide a method of modules.
        clash = any(h.startswith(f"{name}.") or name.startswith(f"{h}.") for h in self.held)
        owner, _, leaf = name.rpartition(".")
        return not clash and not hasattr(nn.Module, leaf) and not (not owner and hasattr(fx.GraphModule, leaf))

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

    def _floating(self, value: fx.Proxy, source: ir.Node) -> fx.Proxy:
        """Whole numbers and truth values count as floats where they are computed with."""
        if _is_float(source):
            return value
        anchor = ir.Param("one", np.ones(1))
        return value.type_as(self.hold(anchor))

    def _whole(self, value: fx.Proxy, source: ir.Node) -> fx.Proxy:
        return value.long() if _is_float(source) or source.dtype in ("bool", "uint8", "int8", "int16") else value

    def _repeated(self, value: fx.Proxy, source: ir.Node, node: ir.Node, bench: Bench) -> fx.Proxy:
        """A part of a concatenation, with its axes of size one repeated as those of the others."""
        axis = node.op.axis if isinstance(node.op, ir.Concat) else -1
        per_sample = source.batch_axis is None and node.batch_axis is not None
        short = [a for a, s in enumerate(source.shape) if a != axis and s != node.shape[a]]
        if not short and not per_sample:
            return value
        sizes: list[Any] = list(node.shape)
        sizes[axis] = source.shape[axis]
        if node.batch_axis is not None:
            sizes[node.batch_axis] = _entries(bench, node) if per_sample else -1
        return value.expand(*sizes)


def _entries(bench: Bench, node: ir.Node) -> Any:
    size = bench.batch()
    if size is None:
        raise CannotEmit(f"{node.tap or node.name} is repeated once per sample, but no input has a batch axis")
    return size if node.batch_multiple == 1 else size * node.batch_multiple


def _is_float(node: ir.Node) -> bool:
    return node.dtype.startswith(("float", "bfloat"))


def _is_plain(tree: Any) -> bool:
    """Whether fx can write this nesting down."""
    if isinstance(tree, Tensor | int):
        return True
    if type(tree) not in CONTAINERS:
        return False
    return all(map(_is_plain, tree.values() if isinstance(tree, dict) else tree))
