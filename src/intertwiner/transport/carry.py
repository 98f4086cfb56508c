r"""An action of the inputs carried through the whole network, from the weights alone.

The proof of the theorem as an algorithm (theory 1): start from the known input action, let every operator change
the picture, match where a nonlinearity restricts what may happen, and at the end compare with the output action.
If every step succeeds the network is equivariant layer by layer, with no theorem needed.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from intertwiner.errors import ShapeMismatch
from intertwiner.network import Constant, Input, Network, Node, Opaque, Output
from intertwiner.numerics.monomial import Monomial
from intertwiner.symmetry import BoundSymmetry, TensorAction
from intertwiner.transport import rules_linear, rules_nonlinear, rules_pointwise, rules_pool, rules_shape  # noqa: F401
from intertwiner.transport.inputs import input_picture, structured
from intertwiner.transport.picture import Lost, Picture, fixing, promote
from intertwiner.transport.relation import LatentRelation, OutputRelation
from intertwiner.transport.solve import Broken, spread
from intertwiner.transport.table import Run, rule_for


@dataclass(frozen=True, eq=False)
class Carried:
    """What the weights say about every value of the network.

    Args:
        pictures: By node name, where the action arrived.
        lost: By node name, why it did not; only the first node of every broken path carries its own reason.
        relations: By name of the node that a nonlinearity reads: the latent action found there, complete or not.
        outputs: By output name: whether the output action closes. Missing where the action did not arrive.
        opaque: Nodes that no rule covers, with the reason: nothing can be proved or refuted through them.
    """

    pictures: Mapping[str, Picture]
    lost: Mapping[str, str]
    relations: Mapping[str, LatentRelation]
    outputs: Mapping[str, OutputRelation]
    opaque: Mapping[str, str]

    @property
    def closes(self) -> bool:
        return bool(self.outputs) and not self.lost and all(o.closes for o in self.outputs.values())

    @property
    def exact(self) -> bool:
        return (
            self.closes
            and all(o.exact for o in self.outputs.values())
            and all(r.exact for r in self.relations.values())
        )

    @property
    def bound(self) -> float:
        """Largest change of an output over the input box that the residuals allow."""
        return max((o.bound for o in self.outputs.values()), default=float("inf"))


def carry(network: Network, symmetry: BoundSymmetry, *, tolerance: float, box: float = 1.0) -> Carried:
    """Carry the generators of a group through a network.

    Args:
        network: The traced network.
        symmetry: The action on its inputs and outputs.
        tolerance: Largest residual of a row, relative to the row, that counts as rounding.
        box: Inputs with ``|x| <= box`` are covered by the bound.

    Cost:
        Per layer and generator one gather and one sort of the weights; no data, no forward pass.
    """
    run = Run(tolerance)
    pictures, lost, opaque = followed(run, network, symmetry, box)
    node, outputs = network.nodes[-1], {}
    if isinstance(node.op, Output):
        outputs = _close(node, node.op.names, symmetry, pictures, lost, tolerance=tolerance)
    return Carried(pictures, lost, run.relations, outputs, opaque)


def followed(
    run: Run, network: Network, symmetry: BoundSymmetry, box: float = 1.0
) -> tuple[dict[str, Picture], dict[str, str], dict[str, str]]:
    """The pictures of all values but the output node, and what was lost and why (see `Carried`).

    Args:
        run: How coordinates are chosen at nonlinearities.
        network: The traced network.
        symmetry: The action on its inputs.
        box: Inputs with ``|x| <= box`` are covered by the bounds.
    """
    pictures: dict[str, Picture] = {}
    lost: dict[str, str] = {}
    opaque: dict[str, str] = {}
    for node in network.nodes:
        if isinstance(node.op, Output):
            continue
        if any(name in lost for name in node.inputs):
            lost[node.name] = ""
            continue
        try:
            pictures[node.name] = _step(run, node, network, symmetry, pictures, box)
        except Broken as reason:
            lost[node.name] = str(reason)
        except Lost as reason:
            lost[node.name] = opaque[node.name] = str(reason)
    return pictures, lost, opaque


@dataclass(frozen=True, eq=False)
class Layout:
    """How a value is laid out: which sample axes carry features, and where every generator moves the other axes."""

    features: tuple[int, ...]
    grids: tuple[TensorAction, ...]


def layouts(network: Network, symmetry: BoundSymmetry) -> tuple[dict[str, Layout], dict[str, str]]:
    """Where positions go at every node, whatever the weights are; and why it is unknown at the others."""
    run = Run(tolerance=0.0, positions_only=True)
    pictures: dict[str, Picture] = {}
    lost: dict[str, str] = {}
    for node in network.nodes:
        broken = next((lost[name] for name in node.inputs if name in lost), None)
        if broken is not None or isinstance(node.op, Output):
            lost[node.name] = broken or "output"
            continue
        try:
            picture = _step(run, node, network, symmetry, pictures, 1.0)
            pictures[node.name] = replace(picture, blocks={}, sources={})
        except Lost as reason:
            lost[node.name] = str(reason)
    return {name: Layout(p.features, p.grids) for name, p in pictures.items()}, lost


def _step(
    run: Run, node: Node, network: Network, symmetry: BoundSymmetry, pictures: Mapping[str, Picture], box: float
) -> Picture:
    if isinstance(node.op, Input):
        return input_picture(node, node.op.position, network, symmetry, box)
    if isinstance(node.op, Opaque):
        raise Lost(f"{node.op.target}: {node.op.reason}")
    if isinstance(node.op, Constant):
        raise Lost("a constant value meets values that depend on the input")
    if node.batch_axis != 0 or node.batch_multiple != 1:
        raise Lost("the batch axis is merged with others")
    function = rule_for(node.op)
    if function is None:
        raise Lost(f"no transport rule for {node.op.kind}")
    return function(run, node, node.op, *(pictures[name] for name in node.inputs))


def _close(
    node: Node,
    labels: Sequence[str],
    symmetry: BoundSymmetry,
    pictures: Mapping[str, Picture],
    lost: dict[str, str],
    *,
    tolerance: float,
) -> dict[str, OutputRelation]:
    actions = [symmetry.output_action(g) for g in symmetry.group.generators]
    out = {}
    for position, (label, name) in enumerate(zip(labels, node.inputs, strict=True)):
        if name in lost:
            continue
        try:
            wanted = structured([a[position] for a in actions], "output")
            out[label] = close_output(label, pictures[name], wanted, tolerance)
        except Lost as reason:
            lost[node.name] = str(reason)
    return out


def close_output(label: str, picture: Picture, actions: Sequence[TensorAction], tolerance: float) -> OutputRelation:
    """Compare the picture of an output, moved by every generator, with the output action."""
    picture = _fitted(picture, actions)
    whole = picture.dense()
    if not np.isfinite(np.einsum("ij,ij->i", whole, whole)).all():
        raise Lost("the rows leave the range of float64: nothing can be compared")
    size = np.linalg.norm(whole, axis=1)
    bounds = picture.stacked("magnitude")
    change = spread(np.abs(whole), picture.stacked("error"))
    exact, residual, worst = not picture.rounded, 0.0, float(change.max(initial=0.0))
    for generator, action in enumerate(actions):
        moved = picture.moved(generator, whole)
        matrix = action.matrix_on(picture.features)
        wanted = matrix.apply(whole) if isinstance(matrix, Monomial) else matrix @ whole
        difference = moved - wanted
        exact &= bool(np.array_equal(moved, wanted))
        scale = np.maximum(np.linalg.norm(moved, axis=1), size)
        gap = np.linalg.norm(difference, axis=1)
        residual = max(residual, float(np.divide(gap, scale, out=np.zeros_like(gap), where=scale > 0).max(initial=0.0)))
        worst = max(worst, float((change + spread(np.abs(difference), bounds)).max(initial=0.0)))
    return OutputRelation(label, exact, residual, worst, residual <= tolerance)


def _fitted(picture: Picture, actions: Sequence[TensorAction]) -> Picture:
    """The picture with every axis as a feature that the output action does not move as the network does."""
    try:
        for grid, action in zip(picture.grids, actions, strict=True):
            action.matrix_on(picture.features)
            if fixing(action, picture.features) != grid:
                raise Lost("positions differ")
    except (Lost, ShapeMismatch):
        return promote(picture, picture.grid_axes)
    return picture
