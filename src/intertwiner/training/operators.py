"""What lowering asks of single operators: the parts of a batch norm, and the error for those it cannot follow."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy import ndarray

from intertwiner.errors import NoRule
from intertwiner.network import ChannelAffine, Network, Node, Param


@dataclass(frozen=True, eq=False)
class BatchNormParts:
    """What a batch norm is made of: names of weight and bias, running mean, square root of variance and eps."""

    weight: str | None
    bias: str | None
    mean: ndarray
    deviation: ndarray


def is_batch_norm(node: Node) -> bool:
    """Whether an affine node was traced from a batch norm."""
    return isinstance(node.op, ChannelAffine) and "batch_norm" in node.operator


def batch_norm_parts(network: Network, node: Node) -> BatchNormParts:
    """The parts of a batch norm, from the names that its record keeps and the eps of the traced call."""
    op = node.op
    if not isinstance(op, ChannelAffine) or not isinstance(op.scale, Param) or not isinstance(op.shift, Param):
        raise no_count(node, "it is no batch norm with running statistics")
    call = next(n for n in network.module.graph.nodes if n.name == node.source)
    names = [a.name for a in call.target._schema.arguments]
    given = dict(zip(names, call.args, strict=False)) | dict(call.kwargs)
    weight = op.scale.sources[0] if len(op.scale.sources) == 2 else None
    bias = op.shift.sources[0] if len(op.shift.sources) == 3 + (weight is not None) else None
    mean, var = (network.state[s].detach().double().cpu().numpy() for s in op.shift.sources[-2:])
    return BatchNormParts(weight, bias, mean, np.sqrt(var + float(given["eps"])))


def no_count(node: Node, reason: str) -> NoRule:
    """The error for an operator that cannot be followed."""
    return NoRule(
        f"no count of conservation laws through {node.tap or node.name!r}: {reason}.\n"
        "  Next step: the laws by structure need no count; or count a part of the model without this operator. "
        "Nothing was counted."
    )
