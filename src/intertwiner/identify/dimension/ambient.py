"""How many monomials the outputs of a polynomial network can have: an upper bound of its functional dimension.

Every value is a sum of forms whose degrees in the input are among a known set: linear maps keep the set, a bias adds 0,
``t^r`` takes r-fold sums. With n inputs a form of degree d has ``C(n + d - 1, d)`` coefficients, and the functions of
all parameters lie in the space of such outputs.
"""

from __future__ import annotations

from math import comb, prod

from intertwiner.exact import piecewise
from intertwiner.network import (
    ChannelAffine,
    Constant,
    Conv,
    Input,
    Linear,
    MatMul,
    Multiply,
    Network,
    Node,
    Output,
    PointwiseOp,
)

LARGEST = 10_000
"""Degrees beyond this are not followed: the bound would be of no use."""


def ambient_dimension(network: Network) -> int | None:
    """Number of coefficients of the outputs as polynomials in the inputs, or None where they are no polynomials.

    Example:
        A network 2-3-1 with squares and biases is a quadratic polynomial in two variables: 6 coefficients.
    """
    degrees: dict[str, frozenset[int]] = {}
    for node in network.nodes:
        if isinstance(node.op, Output):
            break
        found = _degrees(node, [degrees[i] for i in node.inputs])
        if found is None or max(found, default=0) > LARGEST:
            return None
        degrees[node.name] = found
    inputs = [n for n in network.nodes if isinstance(n.op, Input)]
    if any(not n.dtype.startswith("float") for n in inputs):
        return None
    n = sum(prod(node.sample_shape) for node in inputs)
    return sum(
        prod(network.node(name).sample_shape) * sum(comb(n + d - 1, d) for d in degrees[name])
        for name in network.nodes[-1].inputs
    )


def _degrees(node: Node, inputs: list[frozenset[int]]) -> frozenset[int] | None:
    op, joined = node.op, frozenset().union(*inputs)
    if isinstance(op, Input):
        return frozenset({1})
    if isinstance(op, Constant):
        return frozenset({0})
    if isinstance(op, (Linear, Conv)):
        return joined | {0} if op.bias is not None else joined
    if isinstance(op, ChannelAffine):
        return joined | {0} if op.shift is not None else joined
    if isinstance(op, (Multiply, MatMul)):
        return frozenset(a + b for a in inputs[0] for b in inputs[1])
    if isinstance(op, PointwiseOp):
        pieces = piecewise(op.pointwise)
        if pieces is None or len(pieces.pieces) != 1:
            return None
        return frozenset().union(*(_power(joined, k) for k, c in enumerate(pieces.pieces[0]) if c))
    return None if getattr(op, "reduction", "") in ("max", "amax", "amin", "norm") else joined


def _power(degrees: frozenset[int], exponent: int) -> frozenset[int]:
    out = frozenset({0})
    for _ in range(exponent):
        out = frozenset(a + b for a in out for b in degrees)
        if max(out, default=0) > LARGEST:
            break
    return out
