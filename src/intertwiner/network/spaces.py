"""Latent spaces: classes of tied axes that carry features, with the gauge group that the architecture cannot see.

A class counts as a latent space when a parameter writes or reads it, or when it is the space of an input. A space
that is flattened with its grid is reported once, by its channels; the reader then sees blocks of its weight
(`ParameterAxis.view`).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from intertwiner.gauge import GaugeGroup
from intertwiner.network import node as ir
from intertwiner.network.relate import axes_of, relate
from intertwiner.network.slots import Relations, Slot


@dataclass(frozen=True)
class ParameterAxis:
    """Where a latent space meets a parameter.

    Args:
        param: Name of the parameter (state_dict name where it is one entry).
        axis: Axis of the array in the operator's record.
        role: ``"write"``, ``"read"`` or ``"through"`` (depthwise kernels, per-channel scales).
        node: The node that holds it.
        start: First coordinate of the axis that belongs to the space.
        stop: One past the last one.
        view: How ``start:stop`` splits, row-major; the space is factor `place` of it.
        place: See `view`.

    Example:
        Sixteen channels on a 3 x 3 grid, flattened and read by a linear map: axis 1 of its weight, view
        (16, 9), place 0.
    """

    param: str
    axis: int
    role: str
    node: str
    start: int
    stop: int
    view: tuple[int, ...]
    place: int = 0


@dataclass(frozen=True)
class LatentSpace:
    """An axis, or several tied ones, that carries features.

    Args:
        name: Tap of its first writer, without ``:out``; the name of an input.
        dimension: Number of coordinates.
        gauge: The changes of coordinates that every operator touching it tolerates, before its activation.
        taps: Every place where it can be seen, in the order of computation.
        slots: (node, axis) of each.
        writers: Nodes whose parameters write it.
        readers: Nodes whose parameters read it.
        parameter_axes: The axes of parameters that belong to it.
        given: ``"input"`` or ``"output"`` where the action is given, otherwise empty.
        blocks: For a concatenation, (start, name of the space that stands there).
        opaque: Why no gauge is known; empty where it is.
    """

    name: str
    dimension: int
    gauge: GaugeGroup
    taps: tuple[str, ...]
    slots: tuple[Slot, ...]
    writers: tuple[str, ...]
    readers: tuple[str, ...]
    parameter_axes: tuple[ParameterAxis, ...]
    given: str = ""
    blocks: tuple[tuple[int, str], ...] = ()
    opaque: str = ""

    def __repr__(self) -> str:
        what = self.given or (self.opaque and "opaque") or str(self.gauge)
        return f"LatentSpace({self.name}: {self.dimension}, {what})"


def latent_spaces(graph: Mapping[str, ir.Node]) -> tuple[LatentSpace, ...]:
    """All latent spaces, in the order of their first tap.

    Cost: linear in the size of the graph, up to the depth of nested concatenations.
    """
    relations = relate(graph)
    axes = _parameter_axes(relations)
    members: dict[Slot, list[Slot]] = {}
    for n in graph.values():
        for a in axes_of(n):
            members.setdefault(relations.root((n.name, a)), []).append((n.name, a))
    whole = {relations.root(w) for w, _, _ in relations.links}
    part = {relations.root(p) for _, _, p in relations.links}
    chosen = [
        root for root in members if root in axes or (root in (whole | part) and _reaches(relations, root, set(axes)))
    ]
    chosen += _unread_inputs(relations, graph, set(chosen))
    chosen.sort(key=list(members).index)
    names = _names(graph, chosen, members, axes)
    return tuple(_space(relations, graph, root, members[root], axes.get(root, []), names) for root in chosen)


def _unread_inputs(r: Relations, graph: Mapping[str, ir.Node], chosen: set[Slot]) -> list[Slot]:
    """The first axis of inputs that no weight reads: their action is given all the same."""
    out = []
    for n in graph.values():
        roots = [r.root((n.name, a)) for a in axes_of(n)]
        if isinstance(n.op, ir.Input) and roots and not chosen & set(roots):
            out.append(roots[0])
    return list(dict.fromkeys(out))


def _reaches(relations: Relations, root: Slot, wanted: set[Slot]) -> bool:
    return any(
        (relations.root(w) == root and relations.root(p) in wanted)
        or (relations.root(p) == root and relations.root(w) in wanted)
        for w, _, p in relations.links
    )


def _parameter_axes(r: Relations) -> dict[Slot, list[ParameterAxis]]:
    """Parameter axes by space: directly, through flattening, and through concatenation."""
    direct = {r.root(t.slot) for t in r.touches}
    out: dict[Slot, list[ParameterAxis]] = {}

    def attach(root: Slot, t: tuple[str, int, str, str], start: int, stop: int, seen: frozenset[Slot]) -> None:
        factors = [r.root(s) for s in r.factors.get(root, ())]
        carriers = [i for i, f in enumerate(factors) if f in direct]
        view = tuple(r.size[f] for f in factors)
        for place in carriers:
            _put(out, factors[place], ParameterAxis(*t, start, stop, view, place))
        if not carriers:
            _put(out, root, ParameterAxis(*t, start, stop, (stop - start,)))
            if factors and root not in r.given:
                r.close(root, f"it is split into {' x '.join(map(str, view))} by a reshape")
        for whole, offset, part in r.links:
            inner = r.root(part)
            if r.root(whole) == root and inner not in seen:
                attach(inner, t, start + offset, start + offset + r.size[inner], seen | {inner})

    for t in r.touches:
        root = r.root(t.slot)
        attach(root, (t.param, t.axis, t.role, t.node), 0, r.size[root], frozenset({root}))
    return out


def _put(out: dict[Slot, list[ParameterAxis]], root: Slot, axis: ParameterAxis) -> None:
    if axis not in out.setdefault(root, []):
        out[root].append(axis)


def _names(
    graph: Mapping[str, ir.Node],
    chosen: list[Slot],
    members: dict[Slot, list[Slot]],
    axes: dict[Slot, list[ParameterAxis]],
) -> dict[Slot, str]:
    names: dict[Slot, str] = {}
    for root in chosen:
        writers = [a.node for a in axes.get(root, ()) if a.role == "write" and a.start == 0]
        first = next((graph[w] for w in writers if graph[w].tap), None)
        holder = first or next((graph[n] for n, _ in members[root] if graph[n].tap), graph[members[root][0][0]])
        name = (holder.tap or holder.name).removesuffix(":out")
        same = [k for k in names.values() if k == name or k.startswith(f"{name}[")]
        names[root] = f"{name}[{len(same)}]" if same else name
    return names


def _space(
    r: Relations,
    graph: Mapping[str, ir.Node],
    root: Slot,
    slots: list[Slot],
    axes: list[ParameterAxis],
    names: dict[Slot, str],
) -> LatentSpace:
    def nodes(*roles: str) -> tuple[str, ...]:
        return tuple(dict.fromkeys(a.node for a in axes if a.role in roles))

    blocks = [(start, names[r.root(p)]) for w, start, p in r.links if r.root(w) == root and r.root(p) in names]
    taps = tuple(dict.fromkeys(graph[n].tap for n, _ in slots if graph[n].tap))
    return LatentSpace(
        names[root], r.size[root], r.gauge[root], taps, tuple(slots), nodes("write"), nodes("read"), tuple(axes),
        r.given.get(root, ""), tuple(dict.fromkeys(blocks)), "; ".join(r.reasons[root]),
    )  # fmt: skip
