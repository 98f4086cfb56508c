r"""Multiply-adds of one sample: of a graph of records, and of layers in isotypic blocks.

A fully connected layer costs ``n_out n_in`` per position. In blocks, with ``m`` copies of an irrep of dimension d and
``e = dim End_G`` on both sides, it costs ``sum e d m_in m_out`` over the irreps that both sides hold, and per orbit of
p points ``p`` times the dimensions of those irreps for each of the two transforms [theory section 7]. The nonlinearity
stands between the transform out of one layer and the transform into the next, so both are counted, also for pixels.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from math import prod

from intertwiner.errors import CannotRewrite
from intertwiner.network import node as ir
from intertwiner.rewrite.orbit_forms import Form, multiplicities, orbit_forms
from intertwiner.rewrite.tied import Action
from intertwiner.rewrite.twin import TwinGraph


def multiply_adds(graph: Mapping[str, ir.Node]) -> int:
    """Products that meet a weight, of one sample: fully connected layers and convolutions.

    Pools, sums, pointwise functions, products of two values and scales per channel count nothing, nor does what
    depends on no sample. Padding counts as if it were data.

    Args:
        graph: The records by name; ``Network.graph`` or that of a twin.

    Example:
        >>> import torch
        >>> from intertwiner.network import trace
        >>> net = torch.nn.Sequential(torch.nn.Conv2d(2, 3, 3, padding=1), torch.nn.Flatten(), torch.nn.Linear(48, 5))
        >>> multiply_adds(trace(net, torch.zeros(1, 2, 4, 4)).graph) == 16 * 3 * 2 * 9 + 48 * 5
        True
    """
    return sum(node_multiply_adds(node, graph) for node in graph.values())


def node_multiply_adds(node: ir.Node, graph: Mapping[str, ir.Node]) -> int:
    """Multiply-adds of one record; 0 for all but fully connected layers and convolutions."""
    if node.batch_axis is None or not isinstance(node.op, ir.Linear | ir.Conv):
        return 0
    # A transposed convolution meets its weight once per position that it reads.
    at = graph[node.inputs[0]] if isinstance(node.op, ir.Conv) and node.op.transposed else node
    return positions(at, node.op) * node.op.weight.array.size


def positions(node: ir.Node, op: ir.Op) -> int:
    """How many positions of one sample share a weight: tokens, or points of a grid."""
    channel = 1 if isinstance(op, ir.Conv) else len(node.shape) - 1
    return node.batch_multiple * prod(s for a, s in enumerate(node.shape) if a not in (node.batch_axis, channel))


def block_multiply_adds(rho_in: Action, rho_out: Action) -> int:
    """What a fully connected layer between two actions costs in isotypic blocks, both transforms included.

    Args:
        rho_in: How the generators move the inputs: signed permutations.
        rho_out: How they move the outputs.

    Raises:
        NotAnAction: No signed permutations.
        GroupTooLarge: More than 5,000 elements act.

    Cost:
        One walk through the orbits; irreps are cached by the types of orbits that occur. A search that knows its
        orbits calls ``block_cost`` instead.

    Example:
        Sixteen orbits of C2 on both sides: two blocks of 16 x 16, and a butterfly of four products per orbit and side,
        where the dense layer takes 1,024:

        >>> from intertwiner.numerics.monomial import Monomial
        >>> swap = (Monomial.direct_sum([Monomial([1, 0])] * 16),)
        >>> block_multiply_adds(swap, swap) == 2 * 16 * 16 + 2 * 16 * 4
        True
    """
    return block_cost(orbit_forms(rho_in), orbit_forms(rho_out))


def block_cost(forms_in: Mapping[Form, int], forms_out: Mapping[Form, int]) -> int:
    """``block_multiply_adds`` from the numbers of orbits of every form; microseconds.

    Args:
        forms_in: How many orbits of every form are read, as ``orbit_forms`` counts them.
        forms_out: How many are written.

    Example:
        >>> pair = ((2, 1),)
        >>> block_cost({pair: 16}, {pair: 16}) == 2 * 16 * 16 + 2 * 16 * 4
        True
    """
    irreps, held = multiplicities([*forms_in, *forms_out])
    sides = []
    for forms in (forms_in, forms_out):
        totals = [0] * len(irreps)
        for form, count in forms.items():
            for k, m in enumerate(held[form]):
                totals[k] += count * m
        sides.append(totals)
    blocks = sum(i.commutant_dimension * i.dimension * a * b for i, a, b in zip(irreps, *sides, strict=True))
    # What one side lacks meets no weight and is not transformed.
    common = [i.dimension if a and b else 0 for i, a, b in zip(irreps, *sides, strict=True)]
    transforms = sum(
        count * len(form[0]) * sum(m * d for m, d in zip(held[form], common, strict=True))
        for forms in (forms_in, forms_out)
        for form, count in forms.items()
    )
    return blocks + transforms


def twin_multiply_adds(
    twin: TwinGraph, blocks: Collection[str] = (), *, cost: Callable[[Action, Action], int] = block_multiply_adds
) -> int:
    """Multiply-adds of one sample of a twin of which some layers run in blocks.

    Args:
        twin: The twin.
        blocks: Names of nodes: fully connected layers and 1 x 1 convolutions.
        cost: What a layer in blocks costs per position.

    Raises:
        CannotRewrite: A name that is no such layer; the message says which.
    """
    require_blocks(twin, blocks)
    total = multiply_adds(twin.graph)
    for name in set(blocks):
        node = twin.graph[name]
        each = cost(twin.actions[node.inputs[0]], twin.actions[name])
        total += each * positions(node, node.op) - node_multiply_adds(node, twin.graph)
    return total


def can_be_blocks(twin: TwinGraph, name: str) -> str | None:
    """Why a node cannot run in isotypic blocks; None where it can."""
    node = twin.graph.get(name)
    if node is None:
        return "no node has this name"
    if isinstance(node.op, ir.Conv):
        op = node.op
        plain = not op.transposed and op.groups == 1 and not any(map(any, op.padding))
        if not plain or prod(op.kernel) != 1 or prod(op.stride) != 1:
            return "a convolution is block diagonal only if it is 1 x 1, of stride 1, without padding and groups"
    elif not isinstance(node.op, ir.Linear):
        return f"a record of kind {node.op.kind!r} has no weight that becomes block diagonal"
    if node.batch_axis is None or (isinstance(node.op, ir.Linear) and node.batch_axis == len(node.shape) - 1):
        return "it does not run once per sample"
    read, written = twin.actions.get(node.inputs[0]), twin.actions.get(name)
    if read is None or written is None:
        return f"the twin knows no action {'on what it reads' if read is None else 'on what it writes'}"
    if (written[0].dimension, read[0].dimension) != node.op.weight.shape[:2]:
        return (
            f"actions of dimensions {read[0].dimension} and {written[0].dimension} on a weight of shape "
            f"{node.op.weight.shape}"
        )
    return None


def require_blocks(twin: TwinGraph, blocks: Collection[str]) -> None:
    """Refuse names that cannot run in blocks.

    Raises:
        CannotRewrite: With the name and the reason.
    """
    for name in sorted(blocks):
        reason = can_be_blocks(twin, name)
        if reason is not None:
            able = ", ".join(n for n in twin.graph if can_be_blocks(twin, n) is None) or "none"
            raise CannotRewrite(
                f"{name!r} cannot run in isotypic blocks: {reason}.\n  Layers that can: {able}. Nothing was rewritten."
            )
