"""Names of places: spelt like the module path, one per call site.

``layer2.conv1:out`` is what the module ``layer2.conv1`` returns, ``...:out#2`` what it returns the second time it is
called. A function inside a module is ``<producer>:act`` where it is an activation, named by its parameter where it
holds one (``block.W:out``), and by operator otherwise (``block:add``). A unique prefix is accepted, ``:out`` is the
default.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable
from dataclasses import replace
from difflib import get_close_matches

from torch import fx

from intertwiner.errors import UnknownTap
from intertwiner.network import node as ir
from intertwiner.network.build import module_stack

WEIGHT = re.compile(r"[._]+(weight|kernel|W)$")


def name_taps(nodes: dict[str, ir.Node], graph: fx.Graph) -> tuple[dict[str, ir.Node], dict[str, str]]:
    """Give every node that holds a traced value its tap; returns the nodes and further names of some.

    Returns:
        Nodes with their taps, and ``{name: node}`` of containers (``layer1:out``) and outputs (``policy``).
    """
    traced = {n.name: n for n in graph.nodes}
    stacks = {n.name: module_stack(n) for n in graph.nodes}
    order = {name: i for i, name in enumerate(traced)}
    last: dict[str, str] = {}  # module call -> its last graph node
    for name, stack in stacks.items():
        for key, _ in stack:
            if key not in last or order[name] > order[last[key]]:
                last[key] = name
    inner = {outer for stack in stacks.values() for (outer, _) in stack[:-1]}
    counts: Counter[str] = Counter()
    named: dict[str, ir.Node] = {}
    for name, n in nodes.items():
        tap = _spell(n, nodes, named, stacks.get(n.source, []), last, inner) if n.source else ""
        if tap:
            counts[tap] += 1
            tap = tap if counts[tap] == 1 else f"{tap}#{counts[tap]}"
        named[name] = replace(n, tap=tap)
    return named, _aliases(named, stacks, last)


def _spell(
    n: ir.Node,
    nodes: dict[str, ir.Node],
    named: dict[str, ir.Node],
    stack: list[tuple[str, str]],
    last: dict[str, str],
    inner: set[str],
) -> str:
    if isinstance(n.op, ir.Output):
        return ""
    if isinstance(n.op, ir.Input):
        return n.op.name
    key, path = stack[-1] if stack else ("", "")
    if path and key not in inner and last.get(key) == n.source:
        return f"{path}:out"
    if isinstance(n.op, ir.PointwiseOp):
        producer = _producer(n, nodes, named)
        if producer:
            return f"{producer}:act"
    weight = getattr(n.op, "weight", None)
    if isinstance(weight, ir.Param) and weight.is_rewritable:
        owner = WEIGHT.sub("", weight.name)
        if owner and owner != path:
            return f"{owner}:out"
        if owner:
            return f"{owner}:{operator_word(n)}"
    return f"{path}:{operator_word(n)}" if path else f"{n.source}:out"


def operator_word(n: ir.Node) -> str:
    word = n.operator.removeprefix("aten.").split(".")[0]
    return word.strip("_") or n.op.kind


def _producer(n: ir.Node, nodes: dict[str, ir.Node], named: dict[str, ir.Node]) -> str:
    """The tap, without its part after the colon, of the nearest named node before this one."""
    current = n
    while current.inputs:
        current = nodes[current.inputs[0]]
        tap = named[current.name].tap
        if tap:
            base, _, part = tap.partition(":")
            if part.startswith(("out", "act")) or not part:
                return base
            return tap.replace(":", ".")
    return ""


def _aliases(
    nodes: dict[str, ir.Node], stacks: dict[str, list[tuple[str, str]]], last: dict[str, str]
) -> dict[str, str]:
    holders = {n.source: name for name, n in nodes.items() if n.source}
    taken = {n.tap for n in nodes.values()}
    aliases: dict[str, str] = {}
    counts: Counter[str] = Counter()
    paths = {key: path for stack in stacks.values() for key, path in stack}
    for key, source in last.items():
        if paths[key] and source in holders:
            base = f"{paths[key]}:out"
            counts[base] += 1
            name = base if counts[base] == 1 else f"{base}#{counts[base]}"
            if name not in taken:
                aliases[name] = holders[source]
    output = nodes["output"]
    if isinstance(output.op, ir.Output):
        for name, holder in zip(output.op.names, output.inputs, strict=True):
            if name not in taken:
                aliases[name] = holder
    return aliases


def find_tap(wanted: str, names: dict[str, str]) -> str:
    """The node that a user means: the exact name, its ``:out``, or the only name that starts with it.

    Raises:
        UnknownTap: No name, or more than one.

    Example:
        >>> find_tap("conv1", {"conv1:out": "a", "conv1:act": "b", "conv2:out": "c"})
        'a'
    """
    for name in (wanted, f"{wanted}:out"):
        if name in names:
            return names[name]
    if ":" not in wanted and "#" in wanted:
        base, _, number = wanted.partition("#")
        if f"{base}:out#{number}" in names:
            return names[f"{base}:out#{number}"]
    matching = [name for name in names if name.startswith(wanted)] if wanted else []
    if matching and len({names[name] for name in matching}) == 1:
        return names[matching[0]]
    if matching:
        raise UnknownTap(f"the tap {wanted!r} is not unique: {_some(matching)}.\n  Give one of them in full.")
    near = get_close_matches(wanted, list(names), n=5, cutoff=0.4) or list(names)
    raise UnknownTap(f"no tap is called {wanted!r}; near it: {_some(near)}.\n  network.taps lists all of them.")


def _some(names: Iterable[str]) -> str:
    names = list(names)
    return ", ".join(map(repr, names[:8])) + (f" and {len(names) - 8} more" if len(names) > 8 else "")
