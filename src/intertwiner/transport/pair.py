r"""Two networks of one architecture followed from their common input: are they the same function?

The algorithm of ``carry.py`` with the generator replaced by the other network. Linear stretches need no coordinates;
at every nonlinearity the neurons of the second network are matched with those of the first; at the end the pictures
of the outputs are compared. Relations that hold bit for bit make the functions equal; relations within a tolerance
come with the bound on the difference of the outputs over a box that they allow.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
import scipy.sparse as sp

from intertwiner.gauge import GaugeGroup
from intertwiner.network import Constant, Input, Network, Node, Opaque, Output
from intertwiner.numerics.monomial import Monomial
from intertwiner.numerics.tolerance import ROUNDING
from intertwiner.symmetry import TensorAction
from intertwiner.transport import rules_linear, rules_nonlinear, rules_pointwise, rules_pool, rules_shape  # noqa: F401
from intertwiner.transport.follow import Follower, Leader, PairRelation
from intertwiner.transport.inputs import feature_axes
from intertwiner.transport.picture import Lost, Picture, Source
from intertwiner.transport.relation import OutputRelation
from intertwiner.transport.side import side_by_side
from intertwiner.transport.solve import Broken
from intertwiner.transport.table import Run, rule_for


@dataclass(frozen=True, eq=False)
class Paired:
    """What the weights say about two networks.

    Args:
        pictures: Both pictures of every value, by the name of the node of the first network.
        lost: Nodes that were not reached, with the reason where it arises.
        opaque: Nodes that no rule covers, with the reason.
        relations: What was found where a nonlinearity reads, by node name.
        outputs: Whether the outputs agree, by name.
    """

    pictures: Mapping[str, tuple[Picture, Picture]]
    lost: Mapping[str, str]
    opaque: Mapping[str, str]
    relations: Mapping[str, PairRelation]
    outputs: Mapping[str, OutputRelation]

    @property
    def closes(self) -> bool:
        return bool(self.outputs) and not self.lost and all(o.closes for o in self.outputs.values())

    @property
    def exact(self) -> bool:
        return self.closes and all(o.exact for o in self.outputs.values())

    @property
    def bound(self) -> float:
        """Largest difference of an output entry over the input box that the residuals allow."""
        return max((o.bound for o in self.outputs.values()), default=float("inf"))


def pair(
    first: Network,
    second: Network,
    *,
    tolerance: float,
    box: float = 1.0,
    spaces: Mapping[str, str] | None = None,
    gauges: Mapping[str, GaugeGroup] | None = None,
) -> Paired:
    """Follow two networks whose nodes correspond in order.

    Args:
        first: The network whose neurons are the coordinates.
        second: The network that is described in them.
        tolerance: Largest residual of a row, relative to the row, that counts as rounding.
        box: Inputs with ``|x| <= box`` are covered by the bound.
        spaces: Latent space by node name: then every neuron is given its nearest partner, one permutation per space,
            and nothing is proved.
        gauges: What every latent space allows; used with ``spaces``.

    Cost:
        Per layer one sort of the weights; with ``spaces`` one assignment, ``O(n^3)``.
    """
    leader = Leader(tolerance, joined=not spaces)
    found = _follow(first, second, leader, Follower(leader, dict(spaces or {}), dict(gauges or {})), box)
    if found.closes or spaces or not leader.norms:
        return found
    leader = Leader(tolerance, turned=True)
    turned = _follow(first, second, leader, Follower(leader), box)
    return turned if turned.closes else found


def _follow(first: Network, second: Network, leader: Leader, follower: Follower, box: float) -> Paired:
    runs = Run(leader.tolerance, follower=leader), Run(leader.tolerance, follower=follower)
    pictures: dict[str, tuple[Picture, Picture]] = {}
    lost: dict[str, str] = {}
    opaque: dict[str, str] = {}
    outputs: dict[str, OutputRelation] = {}
    for node, other in zip(first.nodes, second.nodes, strict=True):
        if any(name in lost for name in node.inputs):
            lost[node.name] = ""
            continue
        try:
            if isinstance(node.op, Output):
                for label, name in zip(node.op.names, node.inputs, strict=True):
                    outputs[label] = close(label, *pictures[name], leader.tolerance)
                continue
            named = replace(other, name=node.name, inputs=node.inputs)  # sources are shared by name
            ours, theirs = (
                step(run, n, first, [pictures[name][k] for name in node.inputs], box)
                for k, (run, n) in enumerate(zip(runs, (node, named), strict=True))
            )
            pictures[node.name] = ours, theirs
        except Broken as reason:
            lost[node.name] = str(reason)
        except Lost as reason:
            lost[node.name] = opaque[node.name] = str(reason)
    return Paired(pictures, lost, opaque, follower.relations, outputs)


def step(run: Run, node: Node, network: Network, inputs: list[Picture], box: float) -> Picture:
    if isinstance(node.op, Input):
        return _input(node, network, box)
    if isinstance(node.op, Opaque):
        raise Lost(f"{node.op.target}: {node.op.reason}")
    if isinstance(node.op, Constant):
        raise Lost("a constant value meets values that depend on the input")
    if node.batch_axis != 0 or node.batch_multiple != 1:
        raise Lost("the batch axis is merged with others")
    function = rule_for(node.op)
    if function is None:
        raise Lost(f"no transport rule for {node.op.kind}")
    return function(run, node, node.op, *inputs)


def _input(node: Node, network: Network, box: float) -> Picture:
    """The input itself, nothing moved: the identity stands for the generator."""
    shape = tuple(node.sample_shape)
    still = TensorAction.identity(shape)
    features = feature_axes(node, network, [still])
    count = int(np.prod([shape[a] for a in features]))
    source = Source(node.name, (Monomial.identity(count),), np.full(count, box), np.zeros(count))
    return Picture(shape, features, {node.name: sp.eye_array(count, format="csr")}, {node.name: source}, (still,))


def close(label: str, first: Picture, second: Picture, tolerance: float) -> OutputRelation:
    """Compare two pictures of one output."""
    if first.features != second.features:
        raise Lost(f"the features of {label} stand on different axes")
    side = side_by_side(first, second)
    size = np.maximum(*(np.linalg.norm(rows, axis=1) for rows in (side.first, side.second)))
    if not np.isfinite(size).all():
        raise Lost("the rows leave the range of float64: nothing can be compared")
    gap = np.linalg.norm(side.second - side.first, axis=1)
    residual = float(np.divide(gap, size, out=np.zeros_like(gap), where=size > 0).max(initial=0.0))
    exact = not (first.rounded or second.rounded) and bool(np.array_equal(side.first, side.second))
    change = side.gap(side.second, side.first)
    if not exact:  # the rows themselves were computed
        change = change + ROUNDING * side.magnitude.of(side.second)
    bound = float(change.max(initial=0.0))
    return OutputRelation(label, exact, residual, bound, residual <= tolerance)
