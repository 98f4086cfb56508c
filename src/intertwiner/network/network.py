"""A traced network: nodes, taps, latent spaces, and a way to run it that hands out any of its values."""

from __future__ import annotations

import fnmatch
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

import torch
from torch import Tensor, fx
from torch.export import ExportedProgram

from intertwiner.errors import UnknownTap, WrongUse
from intertwiner.network import node as ir
from intertwiner.network.run import InputSpec, Place, TapFunction, check_inputs, compile_taps, run_in_batches
from intertwiner.network.spaces import LatentSpace, latent_spaces
from intertwiner.network.tap import find_tap


@dataclass(frozen=True, eq=False, repr=False)
class Network:
    """The graph of a traced module.

    Args:
        name: Class of the module, or what the user called it.
        graph: Nodes by name, in topological order; the last one is the `Output`.
        inputs: What it takes, flattened.
        outputs: Names of what it returns, flattened.
        batch_size: The only batch size that the export runs, or None for any.
        module: The traced graph with the model's own tensors; `function` compiles copies of it.
        names: State_dict name of every tensor that the module holds.
        further_taps: Names besides those in the nodes: containers and outputs.
        in_spec: How arguments flatten; None when unknown.
        out_spec: How outputs nest; None when some were left out.
        example: The inputs it was traced on.
        program: The exported program, to be saved; None for a copy in another type.
    """

    name: str
    graph: Mapping[str, ir.Node]
    inputs: tuple[InputSpec, ...]
    outputs: tuple[str, ...]
    batch_size: int | None
    module: fx.GraphModule
    names: Mapping[str, str]
    further_taps: Mapping[str, str] = field(default_factory=dict)
    in_spec: Any = None
    out_spec: Any = None
    example: tuple[Tensor, ...] = ()
    program: ExportedProgram | None = None
    _compiled: dict[tuple[str, ...], fx.GraphModule] = field(default_factory=dict)

    @property
    def nodes(self) -> tuple[ir.Node, ...]:
        """All nodes in topological order."""
        return tuple(self.graph.values())

    def node(self, name: str) -> ir.Node:
        return self.graph[name]

    @property
    def dtype(self) -> torch.dtype:
        """The floating type of the weights; of the inputs where there are no weights."""
        tensors = [t for t in self.module.buffers() if t.is_floating_point()] or [
            torch.empty(0, dtype=s.dtype) for s in self.inputs if s.dtype.is_floating_point
        ]
        return tensors[0].dtype if tensors else torch.get_default_dtype()

    @property
    def device(self) -> torch.device:
        tensors = [*self.module.buffers(), *self.example]
        return tensors[0].device if tensors else torch.device("cpu")

    @property
    def state(self) -> dict[str, Tensor]:
        """The tensors of the network by state_dict name, not copied."""
        return {self.names[held]: tensor for held, tensor in self.module.named_buffers()}

    @property
    def parameters(self) -> int:
        """Number of weights."""
        return sum(t.numel() for t in self.module.buffers() if t.is_floating_point())

    @cached_property
    def latent_spaces(self) -> tuple[LatentSpace, ...]:
        """The axes that carry features, each with its gauge group, writers and readers."""
        return latent_spaces(self.graph)

    @cached_property
    def tap_names(self) -> dict[str, str]:
        """Node of every name that a tap may have."""
        return {n.tap: n.name for n in self.nodes if n.tap} | dict(self.further_taps)

    @property
    def taps(self) -> tuple[str, ...]:
        """Every tap, in the order of computation."""
        return tuple(n.tap for n in self.nodes if n.tap)

    def tap(self, name: str) -> ir.Node:
        """The node at a tap: full name, name without ``:out``, or a unique prefix.

        Raises:
            UnknownTap: None, or several; the message lists the near ones.
        """
        return self.graph[find_tap(name, self.tap_names)]

    def select_taps(self, patterns: Sequence[str]) -> tuple[ir.Node, ...]:
        """Nodes at taps given by name or by glob (``blocks.*:act``), in the order of computation."""
        chosen: set[str] = set()
        for pattern in patterns:
            if any(c in pattern for c in "*?["):
                hits = {node for tap, node in self.tap_names.items() if fnmatch.fnmatchcase(tap, pattern)}
                if not hits:
                    raise UnknownTap(f"no tap matches {pattern!r}; network.taps lists all of them")
                chosen |= hits
            else:
                chosen.add(self.tap(pattern).name)
        return tuple(n for n in self.nodes if n.name in chosen)

    @property
    def unruled(self) -> tuple[tuple[str, str, str], ...]:
        """(tap, operator, reason) of every operator without a rule."""
        found = [n for n in self.nodes if isinstance(n.op, ir.Opaque) and (n.users or n.source)]
        return tuple((n.tap or n.name, n.op.target, n.op.reason) for n in found if isinstance(n.op, ir.Opaque))

    def function(self, taps: Sequence[str | ir.Node] = ()) -> TapFunction:
        """A callable ``inputs -> (outputs, {tap: tensor})``; the keys are the names as given here.

        The function is compiled once per set of taps. It runs without gradients, on the model's device and in its
        type, and checks every batch.

        Raises:
            UnknownTap: A tap that does not exist.
            DataMismatch: (when called) a batch of another type, device or shape.
        """
        wanted: dict[str, ir.Node] = {}
        for t in taps:
            node = t if isinstance(t, ir.Node) else self.tap(t)
            wanted[(t.tap or t.name) if isinstance(t, ir.Node) else t] = node
        missing = [n.name for n in wanted.values() if not n.source]
        if missing:
            raise UnknownTap(f"{missing[0]!r} is a step inside one operator and has no value of its own to tap")
        sources = tuple(dict.fromkeys(n.source for n in wanted.values()))
        if sources not in self._compiled:
            self._compiled[sources] = compile_taps(self.module, sources)
        forward = self._compiled[sources].forward
        place = {source: i for i, source in enumerate(sources)}
        output = self.nodes[-1]
        results = [self.graph[name] for name in output.inputs]
        results += [next(n for n in wanted.values() if n.source == s) for s in sources]
        places = [Place(n.batch_axis, n.batch_lead) for n in results]
        specs, size, count = self.inputs, self.batch_size, len(output.inputs)

        @torch.no_grad()
        def run(inputs: Sequence[Tensor] | Tensor) -> tuple[tuple[Tensor, ...], dict[str, Tensor]]:
            inputs = (inputs,) if isinstance(inputs, Tensor) else tuple(inputs)
            batch = check_inputs(inputs, specs, self.device)
            if size is None or batch == size or not any(s.batched for s in specs):
                outputs, tapped = forward(*inputs)
            else:
                flat = run_in_batches(forward, inputs, specs, size, places)
                outputs, tapped = flat[:count], flat[count:]
            return tuple(outputs), {name: tapped[place[n.source]] for name, n in wanted.items()}

        return run

    def __call__(self, *inputs: Tensor) -> tuple[Tensor, ...]:
        """The flattened outputs."""
        return self.function()(inputs)[0]

    def to(self, dtype: torch.dtype) -> Network:
        """The same network in another floating type: the float64 copy gives the noise floor.

        The weights are converted, not rounded again where the new type is wider; literal types in the graph follow.
        """
        if not dtype.is_floating_point:
            raise WrongUse(f"a network cannot run in {dtype}")
        old = self.dtype
        graph, copies = fx.Graph(), {}
        result = graph.graph_copy(self.module.graph, copies)
        graph.output(result)
        for n in graph.nodes:
            if n.op == "call_function":
                n.args = tuple(dtype if a is old else a for a in n.args)
                n.kwargs = {k: dtype if v is old else v for k, v in n.kwargs.items()}
        root = torch.nn.Module()
        for held, tensor in self.module.named_buffers():
            root.register_buffer(held, tensor.to(dtype) if tensor.is_floating_point() else tensor)
        specs = tuple(replace(s, dtype=dtype) if s.dtype.is_floating_point else s for s in self.inputs)
        example = tuple(x.to(dtype) if x.is_floating_point() else x for x in self.example)
        return replace(self, module=fx.GraphModule(root, graph), inputs=specs, example=example, program=None,
                       _compiled={})  # fmt: skip

    def __repr__(self) -> str:
        taps, spaces = len(self.taps), len(self.latent_spaces)
        return f"Network({self.name}: {self.parameters} weights, {taps} taps, {spaces} latent spaces)"

    def summary(self) -> str:
        """One line per node: tap, operator, shape."""
        lines = []
        for n in self.nodes:
            shape = "x".join("B" if a == n.batch_axis else str(s) for a, s in enumerate(n.shape))
            lines.append(f"{n.tap or '.' + n.name:<40} {n.op.kind:<12} {shape}")
        return "\n".join(lines)
