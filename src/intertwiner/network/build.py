"""From the traced graph to nodes: fold what depends on parameters alone, ask the rules for the rest."""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor, fx, nn

from intertwiner.errors import ModelInTrainingMode, ModelNotDeterministic
from intertwiner.network import node as ir
from intertwiner.network.batch import batch_place
from intertwiner.network.prepare import Prepared
from intertwiner.network.rule import Call, Fixed, Unruled, Value, find_rule

REARRANGING = frozenset(
    [
        "t",
        "numpy_T",
        "transpose",
        "permute",
        "movedim",
        "swapaxes",
        "moveaxis",
        "mT",
        "view",
        "reshape",
        "_unsafe_view",
        "flatten",
        "unflatten",
        "squeeze",
        "unsqueeze",
        "select",
        "slice",
        "flip",
        "expand",
        "expand_as",
        "narrow",
        "roll",
        "index_select",
        "chunk",
        "split",
        "split_with_sizes",
        "unbind",
        "contiguous",
        "clone",
        "detach",
        "alias",
        "lift_fresh_copy",
        "detach_",
        "broadcast_to",
        "repeat",
        "tile",
        "view_as",
        "diagonal",
        "rot90",
    ]
)
"""Operators that only move, pick or repeat entries: a folded result remembers where each entry came from."""

RANDOM_UNLESS_OFF = {"lstm": "train", "gru": "train", "rnn_tanh": "train", "rnn_relu": "train",
                     "dropout": "train", "feature_dropout": "train", "alpha_dropout": "train", "rrelu": "training",
                     "feature_alpha_dropout": "train", "native_dropout": "train",
                     "scaled_dot_product_attention": "dropout_p"}  # fmt: skip


@dataclass(frozen=True)
class Seen:
    """What running the graph once told about one graph node."""

    shape: tuple[int, ...] | None
    dtype: str
    value: Any  # numbers, lists of shapes for several results, tensors that depend on no input


class Recorder(fx.Interpreter):
    """Runs the graph on the example and keeps shapes, sizes and the tensors that depend on no input."""

    def __init__(self, module: fx.GraphModule, varying: set[fx.Node]) -> None:
        super().__init__(module, garbage_collect_values=True)
        self.seen: dict[str, Seen] = {}
        self.varying = varying

    def run_node(self, n: fx.Node) -> Any:
        result = super().run_node(n)
        if n.op == "output":
            return result
        if isinstance(result, Tensor):
            kept = None if n in self.varying else result.detach()
            self.seen[n.name] = Seen(tuple(result.shape), str(result.dtype).removeprefix("torch."), kept)
        elif n in self.varying and isinstance(result, (tuple, list)):
            shapes = tuple(tuple(r.shape) if isinstance(r, Tensor) else () for r in result)
            first = next((str(r.dtype).removeprefix("torch.") for r in result if isinstance(r, Tensor)), "")
            self.seen[n.name] = Seen(shapes[0] if shapes else None, first, shapes)
        else:
            self.seen[n.name] = Seen(None, "", result)
        return result


def varying_nodes(graph: fx.Graph) -> set[fx.Node]:
    """Nodes whose result depends on the entries of an input; the size of an input does not count."""
    varying: set[fx.Node] = set()
    for n in graph.nodes:
        if n.op == "placeholder" or ("sym_size" not in str(n.target) and any(a in varying for a in n.all_input_nodes)):
            varying.add(n)
    return varying


@dataclass
class Builder:
    """Walks the graph once; `nodes` fills in topological order."""

    prepared: Prepared
    module: fx.GraphModule
    seen: dict[str, Seen]
    batch: int
    batched: frozenset[str]
    varying: set[fx.Node]
    nodes: dict[str, ir.Node] = field(default_factory=dict)
    env: dict[fx.Node, Any] = field(default_factory=dict)
    current: fx.Node | None = None
    steps: int = 0

    def build(self) -> dict[str, ir.Node]:
        for n in self.module.graph.nodes:
            self.current, self.steps = n, 0
            if n.op == "get_attr":
                tensor = getattr(self.module, str(n.target))
                source = self.prepared.tensors[str(n.target)]
                self.env[n] = Fixed(tensor, source, (source,))
            elif n.op == "placeholder":
                self.env[n] = self._input(n)
            elif n.op == "output":
                self._output(n)
            elif n not in self.varying:
                self.env[n] = self._fold(n)
            else:
                self.env[n] = self._call(n)
        return self._with_users()

    def add(self, op: ir.Op, inputs: Sequence[Value], shape: tuple[int, ...], final: bool) -> Value:
        """Append a node; the final one of a call takes the name of the graph node."""
        current = self.current
        if current is None:
            raise Unruled("no operator is being built")
        name = current.name if final else f"{current.name}.{self.steps}"
        self.steps += not final
        shape = tuple(int(s) for s in shape)
        axis, lead = batch_place(op, inputs, shape, self.batch)
        if isinstance(op, ir.Embedding):
            dtype = "float32"
        else:
            dtype = next((v.dtype for v in inputs if v.is_float), inputs[0].dtype if inputs else "float32")
        if final and self.seen[current.name].shape is not None:
            dtype = self.seen[current.name].dtype
        self.nodes[name] = ir.Node(
            name, op, tuple(v.name for v in inputs), shape, axis, "", module_of(current), dtype,
            shape[axis] // self.batch if axis is not None else 1, current.name if final else "", target_name(current),
            lead,
        )  # fmt: skip
        return Value(name, shape, axis, dtype, lead)

    def _input(self, n: fx.Node) -> Value:
        seen = self.seen[n.name]
        placeholders = [m.name for m in self.module.graph.nodes if m.op == "placeholder"]
        position = placeholders.index(n.name)
        axis = 0 if n.name in self.batched else None
        shape = seen.shape or ()
        op = ir.Input(position, self.prepared.inputs[position])
        self.nodes[n.name] = ir.Node(n.name, op, (), shape, axis, "", "", seen.dtype, source=n.name)
        return Value(n.name, shape, axis, seen.dtype)

    def _output(self, n: fx.Node) -> None:
        values, inputs = n.args[0], []
        for i, a in enumerate(values):  # type: ignore[arg-type]
            value = self.env[a]
            if isinstance(value, Fixed):
                value = self.add(ir.Constant(value.param()), (), value.shape, False)
            inputs.append((i, value))
        names = self.prepared.outputs
        self.nodes["output"] = ir.Node(
            "output", ir.Output(names), tuple(v.name for _, v in inputs), (), None, "", source="output"
        )

    def _fold(self, n: fx.Node) -> Any:
        """A result that depends on no input: its tensor, with the places of its entries where they are known."""
        value = self.seen[n.name].value
        if not isinstance(value, (Tensor, tuple, list)):
            return value
        if _is_random(n):
            raise _random(n)
        # No tensor goes in: a mask, a range or zeros made on the spot.
        parents = [self.env[a] for a in n.all_input_nodes if isinstance(self.env[a], (Fixed, tuple, list))]
        fixed = [p for p in _flatten(parents) if isinstance(p, Fixed)]
        name = str(getattr(n.target, "__name__", n.target)).split(".")[0]
        if name == "getitem":
            return self.env[n.args[0]][n.args[1]]  # type: ignore[index]
        sources = tuple(dict.fromkeys(s for p in fixed for s in p.sources))
        first = fixed[0] if fixed else None
        if first is not None and len(fixed) == 1 and name in REARRANGING and not first.computed:
            places = self._run_on(n, first.traced_places)
            return _zip(value, places, lambda t, p: Fixed(t, first.name, sources, p))
        label = "+".join(sources) + f"~{name}" if sources else name
        return _zip(value, value, lambda t, _: Fixed(t, label, sources, None, computed=bool(sources)))

    def _run_on(self, n: fx.Node, places: Tensor) -> Any:
        def swap(a: fx.Node) -> Any:
            bound = self.env[a]
            return places if isinstance(bound, Fixed) else bound

        args = fx.map_arg(n.args, swap)
        kwargs = fx.map_arg(n.kwargs, swap)
        return n.target(*args, **kwargs)  # type: ignore[operator]

    def _call(self, n: fx.Node) -> Any:
        name = str(getattr(n.target, "__name__", n.target)).split(".")[0]
        if name == "getitem" and isinstance(self.env[n.args[0]], (tuple, list)):  # type: ignore[index]
            return self._getitem(n)
        target = target_name(n)
        if _is_random(n):
            raise _random(n)
        call = self._bind(n, target)
        before = set(self.nodes)
        try:
            if n.name in self.prepared.impure:
                raise Unruled("its storage is written in place through a view")
            rule = find_rule(target)
            if rule is None:
                raise Unruled("no rule for this operator; register_rule can add one")
            return rule(call)
        except Unruled as refusal:
            for name in set(self.nodes) - before:
                del self.nodes[name]
            self.steps = 0
            return self._opaque(call, str(refusal))

    def _getitem(self, n: fx.Node) -> Any:
        value = self.env[n.args[0]][n.args[1]]  # type: ignore[index]
        if isinstance(value, Value):
            # The result of chunk, max with indices, ... is tapped under the name of its getitem.
            self.nodes[value.name] = replace(self.nodes[value.name], source=n.name)
        return value

    def _opaque(self, call: Call, reason: str) -> Any:
        inputs = [v for v in _flatten(call.arguments.values()) if isinstance(v, Value)]
        op = ir.Opaque(call.target, reason)
        if len(call.shapes) > 1 or isinstance(self.seen[self.current.name].value, tuple):  # type: ignore[union-attr]
            return tuple(self.add(op, inputs, shape, False) for shape in call.shapes)
        return self.add(op, inputs, call.shape, True)

    def _bind(self, n: fx.Node, target: str) -> Call:
        def look(a: fx.Node) -> Any:
            return self.env[a]

        args = fx.map_arg(tuple(n.args), look)
        kwargs = fx.map_arg(dict(n.kwargs), look)
        schema = getattr(n.target, "_schema", None)
        if schema is None:
            names = list(inspect.signature(n.target).parameters) if callable(n.target) else []  # type: ignore[arg-type]
            bound = dict(zip(names, args, strict=False)) | dict(kwargs)
        else:
            bound = {a.name: a.default_value for a in schema.arguments if a.has_default_value()}
            bound |= {a.name: v for a, v in zip(schema.arguments, args, strict=False)} | dict(kwargs)
        seen = self.seen[n.name]
        shapes = seen.value if isinstance(seen.value, tuple) else (seen.shape or (),)
        return Call(target, bound, seen.shape or (), shapes, self)

    def _with_users(self) -> dict[str, ir.Node]:
        users: dict[str, list[str]] = {name: [] for name in self.nodes}
        for n in self.nodes.values():
            for i in n.inputs:
                users[i].append(n.name)
        live, todo = set(), ["output", *(n.name for n in self.nodes.values() if isinstance(n.op, ir.Input))]
        while todo:
            name = todo.pop()
            if name not in live:
                live.add(name)
                todo.extend(self.nodes[name].inputs)
        return {
            name: replace(n, users=tuple(u for u in users[name] if u in live))
            for name, n in self.nodes.items()
            if name in live
        }


def target_name(n: fx.Node) -> str:
    """``aten.linear.default``."""
    return (
        str(n.target)
        if getattr(n.target, "_schema", None) is not None
        else str(getattr(n.target, "__name__", n.target))
    )


def module_stack(n: fx.Node) -> list[tuple[str, str]]:
    """(call key, module path) from the outermost module inwards."""
    stack = n.meta.get("nn_module_stack") or {}
    return [(key, path) for key, (path, *_) in stack.items() if not key.startswith("_empty")]


def module_of(n: fx.Node) -> str:
    stack = module_stack(n)
    return stack[-1][1] if stack else ""


def _is_random(n: fx.Node) -> bool:
    tags = getattr(n.target, "tags", ())
    if torch.Tag.nondeterministic_seeded not in tags:
        return False
    schema = n.target._schema  # type: ignore[union-attr]
    switch = RANDOM_UNLESS_OFF.get(schema.name.removeprefix("aten::").rstrip("_"))
    if switch is None:
        return True
    names = [a.name for a in schema.arguments]

    def given(name: str) -> object:
        place = names.index(name)
        default = schema.arguments[place].default_value
        return n.args[place] if place < len(n.args) else n.kwargs.get(name, default)

    # A recurrent network draws only if it drops: torch passes both its mode and its rate.
    return bool(given(switch)) and ("dropout" not in names or bool(given("dropout")))


def _random(n: fx.Node) -> Exception:
    where = module_of(n) or "the forward of the network"
    if "dropout" in target_name(n) or "rrelu" in target_name(n):
        return ModelInTrainingMode(
            f"{target_name(n)} at {where!r} is in training mode: the network is not one function.\n"
            "  Call model.eval() first. Nothing was traced."
        )
    return ModelNotDeterministic(
        f"{target_name(n)} at {where!r} draws random numbers: the network is not one function.\n"
        "  Pass the random numbers in as an input, or switch them off. Nothing was traced."
    )


def _flatten(values: Any) -> list[Any]:
    out: list[Any] = []
    for v in values:
        out.extend(_flatten(v) if isinstance(v, (tuple, list)) else [v])
    return out


def _zip(value: Any, other: Any, make: Any) -> Any:
    if isinstance(value, Tensor):
        return make(value, other)
    return tuple(_zip(v, o, make) for v, o in zip(value, other, strict=True))


def graph_module(prepared: Prepared) -> fx.GraphModule:
    """The prepared graph as a module, compiled to python once."""
    module = fx.GraphModule(prepared.root if isinstance(prepared.root, nn.Module) else nn.Module(), prepared.graph)
    module.eval()
    return module
