"""The pointwise nonlinearity: where a latent action is found."""

from __future__ import annotations

from intertwiner.network import Node, PointwiseOp
from intertwiner.transport.picture import Picture
from intertwiner.transport.solve import solve
from intertwiner.transport.table import Run, rule


@rule(PointwiseOp)
def pointwise(run: Run, node: Node, op: PointwiseOp, x: Picture) -> Picture:
    return solve(run, x, op.pointwise, node)
