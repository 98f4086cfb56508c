"""From an exported program to one plain graph: parameters as attributes, in-place writes made functional.

The graph of ``torch.export`` takes its parameters as inputs and keeps in-place operators. Here parameters become
attributes of a module of our own, ``relu_`` becomes ``relu`` wherever no other view of the tensor is read
afterwards, and what cannot be made functional is listed, so that nobody mistakes it for a pure function. The guards
that an export carries as source text are never compiled.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import fx, nn
from torch.export import ExportedProgram
from torch.export.graph_signature import InputKind, OutputKind
from torch.utils import _pytree as pytree

from intertwiner.errors import CannotTrace, ModelNotDeterministic, WrongUse

HOLDER = "tensor_{}"


@dataclass(frozen=True, eq=False)
class Prepared:
    """A functional graph with its tensors, and what its inputs and outputs are called.

    Args:
        root: Module with the tensors as attributes.
        graph: The graph; placeholders are exactly the tensor inputs that vary.
        tensors: state_dict name of every attribute of `root`.
        inputs: Names of the placeholders, in the order of the flattened arguments.
        positions: Where each placeholder stands among the flattened arguments.
        in_spec: How (args, kwargs) flatten.
        arguments: Flattened example arguments, tensors and others.
        outputs: Names of the outputs.
        out_spec: How the outputs nest.
        impure: Graph nodes whose storage is written through a view.
    """

    root: nn.Module
    graph: fx.Graph
    tensors: dict[str, str]
    inputs: tuple[str, ...]
    positions: tuple[int, ...]
    in_spec: Any
    arguments: tuple[Any, ...]
    outputs: tuple[str, ...]
    out_spec: Any
    impure: frozenset[str]


def prepare(program: ExportedProgram, arguments: tuple[Any, ...], outputs: tuple[str, ...] | None) -> Prepared:
    """Unlift the parameters, keep the chosen outputs, make in-place operators functional."""
    writes = [str(s.target) for s in program.graph_signature.output_specs if s.kind is OutputKind.BUFFER_MUTATION]
    if writes:
        raise _writes(writes)
    root, graph, copies = nn.Module(), fx.Graph(), {}
    graph.graph_copy(program.graph, copies)  # leaves out the output node
    tensors = _unlift(program, root, graph, copies)
    names, positions = [], []
    flat = [s for s in program.graph_signature.input_specs if s.kind is InputKind.USER_INPUT]
    if len(flat) != len(arguments):
        raise WrongUse(f"the network takes {len(flat)} flattened arguments, the example gives {len(arguments)}")
    lookup = {n.name: copies[n] for n in program.graph.nodes if n.op == "placeholder"}
    for position, spec in enumerate(flat):
        node = lookup.get(getattr(spec.arg, "name", None))
        if node is None:
            continue
        if isinstance(arguments[position], torch.Tensor):
            names.append(spec.arg.name)
            positions.append(position)
        elif not node.users:
            graph.erase_node(node)
        else:
            raise CannotTrace(
                f"input {node.name!r} is a {type(arguments[position]).__name__} that varies in the exported graph.\n"
                "  Export with this argument fixed (only tensors may vary)."
            )
    out_spec = program.call_spec.out_spec
    found = output_names(out_spec)
    results = next(n for n in program.graph.nodes if n.op == "output").args[0]
    kept = _choose(found, outputs)
    graph.output(tuple(copies[results[found.index(name)]] for name in kept))
    impure = _functionalise(graph, tensors)
    graph.eliminate_dead_code()
    graph.lint()
    return Prepared(
        root, graph, tensors, tuple(names), tuple(positions), program.call_spec.in_spec, arguments, kept,
        out_spec if outputs is None else None, impure,
    )  # fmt: skip


def _unlift(
    program: ExportedProgram, root: nn.Module, graph: fx.Graph, copies: dict[fx.Node, fx.Node]
) -> dict[str, str]:
    """Replace placeholders of parameters, buffers and constants by attributes; returns their names."""
    specs = {getattr(s.arg, "name", None): s for s in program.graph_signature.input_specs}
    tensors: dict[str, str] = {}
    held: dict[str, str] = {}
    for original in [n for n in program.graph.nodes if n.op == "placeholder"]:
        spec = specs[original.name]
        if spec.kind is InputKind.USER_INPUT:
            continue
        source = str(spec.target)
        if source not in held:
            tensor = program.state_dict.get(source, program.constants.get(source))
            if not isinstance(tensor, torch.Tensor):
                raise CannotTrace(
                    f"the exported program holds {source!r}, which is no tensor but {type(tensor).__name__}"
                )
            held[source] = HOLDER.format(len(held))
            tensors[held[source]] = source
            # Tensors of the user's module itself: no copy, and never a gradient.
            root.register_buffer(held[source], tensor.detach())
        node = copies[original]
        with graph.inserting_before(node):
            attribute = graph.create_node("get_attr", held[source], name=f"{node.name}_held")
            attribute.meta = dict(node.meta)
        node.replace_all_uses_with(attribute)
        graph.erase_node(node)
        copies[original] = attribute
    return tensors


def output_names(spec: Any) -> tuple[str, ...]:
    """Names of flattened outputs: keys of dictionaries, positions in tuples, ``output`` for a bare tensor."""
    paths = [path for path, _ in pytree.tree_flatten_with_path(pytree.tree_unflatten([0] * spec.num_leaves, spec))[0]]

    def spell(path: tuple[Any, ...]) -> str:
        parts = [str(getattr(k, "key", getattr(k, "idx", getattr(k, "name", k)))) for k in path]
        text = ".".join(parts)
        return f"output.{text}" if parts and parts[0].isdigit() else text or "output"

    return tuple(spell(path) for path in paths)


def _choose(found: tuple[str, ...], wanted: tuple[str, ...] | None) -> tuple[str, ...]:
    if wanted is None:
        return found
    missing = [name for name in wanted if name not in found]
    if missing or not wanted:
        raise WrongUse(f"no output is called {', '.join(map(repr, missing))}; the network has {', '.join(found)}")
    return tuple(wanted)


def _writes(names: list[str]) -> ModelNotDeterministic:
    return ModelNotDeterministic(
        f"the network writes to its buffers when it runs: {', '.join(map(str, names))}.\n"
        "  Its answer depends on what was asked before. Call model.eval(), or freeze that state."
    )


def is_inplace(node: fx.Node) -> bool:
    schema = getattr(node.target, "_schema", None)
    if node.op != "call_function" or schema is None or not schema.arguments:
        return False
    alias = schema.arguments[0].alias_info
    return alias is not None and alias.is_write


def is_view(node: fx.Node) -> bool:
    """The result may share storage with the first argument."""
    schema = getattr(node.target, "_schema", None)
    if node.op != "call_function" or not node.args or not isinstance(node.args[0], fx.Node):
        return False
    if schema is None:
        return getattr(node.target, "__name__", "") == "getitem"
    if not schema.arguments or is_inplace(node):
        return False
    may_copy = ("aten::reshape", "aten::contiguous", "aten::flatten", "aten::to", "aten::dropout", "aten::type_as")
    return schema.arguments[0].alias_info is not None or schema.name in may_copy


def _functionalise(graph: fx.Graph, tensors: dict[str, str]) -> frozenset[str]:
    """Turn in-place operators into functional ones; returns the nodes that could not be."""
    impure: set[str] = set()
    for node in list(graph.nodes):
        if not is_inplace(node):
            continue
        written = node.args[0]
        if not isinstance(written, fx.Node):
            continue
        family = _aliases(written, node)
        holders = sorted(tensors[str(n.target)] for n in family if n.op == "get_attr")
        if holders:
            raise _writes(holders)
        order = {n: i for i, n in enumerate(graph.nodes)}
        late = [u for n in family if n is not written for u in n.users if order[u] > order[node]]
        functional = _functional_twin(node)
        if late or functional is None:
            impure.update(n.name for n in family | {node})
            continue
        node.target = functional
        written.replace_all_uses_with(node, delete_user_cb=lambda user, here=order, me=node: here[user] > here[me])
    return frozenset(impure)


def _aliases(node: fx.Node, writer: fx.Node) -> set[fx.Node]:
    """Every node that may share storage with `node`, other than through the result of `writer`."""
    base = node
    while is_view(base) or is_inplace(base):
        before = base.args[0]
        if not isinstance(before, fx.Node):
            break
        base = before
    family: set[fx.Node] = {base}
    todo = [base]
    while todo:
        current = todo.pop()
        for user in current.users:
            if (
                user is not writer
                and user not in family
                and (is_view(user) or is_inplace(user))
                and user.args[0] is current
            ):
                family.add(user)
                todo.append(user)
    return family


def _functional_twin(node: fx.Node) -> Any:
    """``aten.relu.default`` for ``aten.relu_.default``, where there is one with the same arguments."""
    namespace, _, name = node.target._schema.name.partition("::")  # type: ignore[union-attr]
    overload = node.target._schema.overload_name or "default"  # type: ignore[union-attr]
    packet = getattr(getattr(torch.ops, namespace), name.removesuffix("_"), None)
    if packet is None or not name.endswith("_"):
        return None
    return getattr(packet, overload, None)
