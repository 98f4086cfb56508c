r"""A twin as a plain module in which some fully connected layers run in isotypic blocks.

The records are written out by ``network.emit``; then every named layer becomes a ``FrozenIsotypicLinear`` with the
pointwise function behind it. Between fully connected layers the order of neurons is free: it is changed once so that no
layer gathers its orbits, and two such layers in a row hand their neurons over in pieces under ``torch.compile``.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import replace

import torch
from torch import Tensor, fx, nn

from intertwiner.algebra import Group, Representation
from intertwiner.errors import CannotRewrite, Contradiction
from intertwiner.network import node as ir
from intertwiner.network.functions import torch_function
from intertwiner.numerics.tolerance import TOLERANCE
from intertwiner.rewrite.cost import require_blocks
from intertwiner.rewrite.isotypic import FrozenIsotypicLinear, IsotypicLinear, OneByOne
from intertwiner.rewrite.orbit_forms import image_group
from intertwiner.rewrite.regroup import Plan, regrouped
from intertwiner.rewrite.tied import Action
from intertwiner.rewrite.twin import TwinGraph

DENSE = ("linear", "conv1d", "conv2d", "conv3d", "conv_transpose1d", "conv_transpose2d", "conv_transpose3d")
"""What ``network.operations`` calls for fully connected layers and convolutions, and for nothing else."""


class Pointwise(nn.Module):
    """A pointwise function as a module."""

    def __init__(self, function: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.function = function

    def forward(self, x: Tensor) -> Tensor:
        return self.function(x)


def compiled(
    twin: TwinGraph, blocks: Collection[str], dtype: torch.dtype | None = None, *, group: Group | None = None
) -> fx.GraphModule:
    """The twin as a module, some layers in isotypic blocks.

    Args:
        twin: The twin.
        blocks: Names of the nodes that run in blocks: fully connected layers, per token or not, and 1 x 1 convolutions
            (whatever the group does to positions, it does the same before and after them).
        dtype: Type of the weights; that of the original by default.
        group: The group whose generators the actions are given by; by default the one that acts, built from them.

    Returns:
        A module in evaluation mode, of the function of ``twin.module()``. A layer in blocks stands under the module
        path of the dense one with ``weight0``, ``weight1``, ... (one per irrep) and ``bias``.

    Raises:
        CannotRewrite: A name that cannot run in blocks, or a weight that is no intertwiner of its actions.
        GroupTooLarge: More than 5,000 elements act, and no group is given.

    Cost:
        Per layer that of ``IsotypicLinear.from_dense``: about three products of the weight with its orbits.
    """
    require_blocks(twin, blocks)
    names = [name for name in twin.graph if name in set(blocks)]
    if not names:
        return twin.module(dtype)
    if group is None:
        group = image_group(twin.actions[v] for name in names for v in (name, twin.graph[name].inputs[0]))
    plan = regrouped(twin.graph, twin.actions, names, group)
    graph, layers, previous = dict(plan.graph), {}, {}
    for name in names:
        node = graph[name]
        follower = _fused(node, graph)
        function = None
        if follower is not None:
            op = follower.op
            function = torch_function(op.pointwise.name) if isinstance(op, ir.PointwiseOp) else None
            graph[follower.name] = replace(follower, op=ir.Identity("fused"))
        layers[name] = _layer(plan, name, None if function is None else Pointwise(function), group)
        previous[follower.name if follower else name] = name
    for name, layer in layers.items():
        before = previous.get(graph[name].inputs[0])
        if before is not None and _pieces_fit(layers[before], layer, graph[name], _users(graph, before, previous)):
            layers[before].hands_on = True
            layers[before].turned = layer.turned = True
    module, frame = twin.module(dtype, graph=graph), twin.frame
    dtype = frame.dtype if dtype is None else dtype
    _replace(module, graph, {name: layer.to(dtype=dtype, device=frame.device) for name, layer in layers.items()})
    return module


def _layer(plan: Plan, name: str, activation: nn.Module | None, group: Group) -> FrozenIsotypicLinear:
    """One layer in blocks, in float64; its weight must be an intertwiner."""
    node = plan.graph[name]
    op = node.op
    if not isinstance(op, ir.Linear | ir.Conv):
        raise Contradiction(f"{name!r} passed as a layer with a weight but is of kind {op.kind!r}")
    actions: tuple[Action, Action] = (plan.actions[node.inputs[0]], plan.actions[name])
    rho_in, rho_out = (Representation(group, a, dimension=a[0].dimension) for a in actions)
    found = IsotypicLinear.from_dense(
        torch.tensor(op.weight.array.reshape(op.weight.shape[:2])),
        rho_in,
        rho_out,
        bias=None if op.bias is None else torch.tensor(op.bias.array),
    )
    if found.relative > TOLERANCE["float64"]:
        raise CannotRewrite(
            f"the layer {name!r} ({op.weight.name}, {rho_in.dimension} -> {rho_out.dimension}) does not commute with "
            f"the generators: it lies {found.relative:.1e} of its norm from the intertwiners, at most "
            f"{TOLERANCE['float64']:.0e} is rounding.\n  Usual cause: a weight changed after the twin was made. "
            "``TwinGraph.with_arrays`` projects new values. Nothing was rewritten."
        )
    # The twin vouches that the function takes the action to that of what is read next; signs are in place by then.
    found.layer.activation = activation
    return found.layer.frozen().eval()


def _fused(node: ir.Node, graph: Mapping[str, ir.Node]) -> ir.Node | None:
    """The pointwise function that alone reads a node, if torch has one for it."""
    users = [n for n in graph.values() if node.name in n.inputs]
    if len(users) != 1 or not isinstance(users[0].op, ir.PointwiseOp):
        return None
    return users[0] if torch_function(users[0].op.pointwise.name) is not None else None


def _users(graph: Mapping[str, ir.Node], name: str, previous: Mapping[str, str]) -> int:
    """How many nodes read a layer, behind the function fused into it."""
    ends = {end for end, start in previous.items() if start == name}
    return sum(sum(i in ends for i in node.inputs) for node in graph.values())


def _pieces_fit(before: FrozenIsotypicLinear, after: FrozenIsotypicLinear, node: ir.Node, users: int) -> bool:
    """Whether a layer may take the neurons of another one as they stand in pieces."""
    out, into = before.out, after.into
    plain = not (out.gathered or into.gathered or out.signed or into.signed)
    same = [(t.points, t.copies) for t in out.types] == [(t.points, t.copies) for t in into.types]
    written = before.written_out and after.written_out
    return users == 1 and plain and same and written and isinstance(node.op, ir.Linear) and len(node.shape) == 2


def _replace(module: fx.GraphModule, graph: Mapping[str, ir.Node], layers: Mapping[str, FrozenIsotypicLinear]) -> None:
    """Put the layers where the dense operators were called."""
    records = [n for n in graph.values() if isinstance(n.op, ir.Linear | ir.Conv)]
    calls = [n for n in module.graph.nodes if n.op == "call_function" and getattr(n.target, "__name__", "") in DENSE]
    if len(records) != len(calls):
        raise Contradiction(f"{len(records)} layers were written as {len(calls)} calls")
    for record, call in zip(records, calls, strict=True):
        if record.name not in layers:
            continue
        weight = call.args[1]
        held = [a for a in call.args[1:3] if isinstance(a, fx.Node) and set(a.users) == {call}]
        for attribute in held:
            owner, _, leaf = str(attribute.target).rpartition(".")
            delattr(module.get_submodule(owner), leaf)
        path = _path(module, str(weight.target))
        owner, _, leaf = path.rpartition(".")
        layer = layers[record.name]
        module.get_submodule(owner).add_module(leaf, OneByOne(layer) if isinstance(record.op, ir.Conv) else layer)
        with module.graph.inserting_before(call):
            call.replace_all_uses_with(module.graph.call_module(path, (call.args[0],)))
        for gone in (call, *held):
            module.graph.erase_node(gone)
    module.graph.lint()
    module.recompile()


def _path(module: nn.Module, weight: str) -> str:
    """Where a layer goes: to the module that held its weight if nothing else stands there, else beside it."""
    owner = weight.rpartition(".")[0]
    if owner and not module.get_submodule(owner).state_dict():
        return owner
    base = f"{owner}.blocks" if owner else f"{weight}_blocks"
    standing, name, count = dict(module.named_modules()), base, 0
    while name in standing:
        count += 1
        name = f"{base}_{count}"
    return name
