"""Whether two traced networks have the same operators in the same places, and where they first differ."""

from __future__ import annotations

from dataclasses import fields
from typing import Any

from intertwiner.errors import ArchitectureMismatch
from intertwiner.network import Network, Node, Param


def check_same_architecture(first: Network, second: Network) -> None:
    """Both networks compute by the same operators, of the same shapes, on values from the same places.

    Raises:
        ArchitectureMismatch: They do not; the message names the first difference of both.
    """
    inputs = [[(s.shape[1:] if s.batched else s.shape) for s in network.inputs] for network in (first, second)]
    if inputs[0] != inputs[1]:
        raise mismatch("inputs", *(" and ".join(map(str, shapes)) for shapes in inputs))
    if len(first.outputs) != len(second.outputs):
        raise mismatch("outputs", ", ".join(first.outputs), ", ".join(second.outputs))
    place = {node.name: k for k, node in enumerate(first.nodes)}
    other_place = {node.name: k for k, node in enumerate(second.nodes)}
    for k, (a, b) in enumerate(zip(first.nodes, second.nodes, strict=False)):
        where = f"operator {k} ({a.tap or a.name} in the first, {b.tap or b.name} in the second)"
        if a.op.kind != b.op.kind:
            raise mismatch(where, a.op.kind, b.op.kind)
        if a.sample_shape != b.sample_shape:
            raise mismatch(f"{where}, shape of a sample", str(a.sample_shape), str(b.sample_shape))
        if [place[i] for i in a.inputs] != [other_place[i] for i in b.inputs]:
            raise mismatch(f"{where}, what it reads", ", ".join(a.inputs), ", ".join(b.inputs))
        differing = _settings(a, b)
        if differing is not None:
            raise mismatch(f"{where}, {differing[0]} of {a.op.kind}", *map(str, differing[1:]))
    if len(first.nodes) != len(second.nodes):
        raise mismatch("number of operators", str(len(first.nodes)), str(len(second.nodes)))


def _settings(a: Node, b: Node) -> tuple[str, Any, Any] | None:
    """The first setting (stride, activation, presence or shape of a weight) in which two operators differ."""
    for field in fields(a.op):  # type: ignore[arg-type]
        x, y = getattr(a.op, field.name), getattr(b.op, field.name)
        if isinstance(x, Param) and isinstance(y, Param):
            x, y = x.shape, y.shape
        elif isinstance(x, Param) or isinstance(y, Param):
            x, y = (p and p.shape for p in (x, y))
        if field.name not in ("name", "names", "note") and x != y:
            return field.name, x, y
    return None


def mismatch(where: str, first: str, second: str) -> ArchitectureMismatch:
    return ArchitectureMismatch(
        f"the two networks are built differently: {where}: {first} in the first, {second} in the second.\n"
        "  Only networks with the same operators can be matched; compare their functions by assert_same_function. "
        "Nothing was matched."
    )
