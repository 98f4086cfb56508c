"""The coordinates of a twin's latent space: orbits of channels, each continuing a channel of the original."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int
from numpy import ndarray

from intertwiner.algebra import orbit_labels
from intertwiner.errors import CannotRewrite
from intertwiner.network import Input, LatentSpace, Linear, Network, Node, PointwiseOp
from intertwiner.network import node as ir
from intertwiner.numerics.monomial import Monomial
from intertwiner.rewrite.closing import Closed, closed_rows, live, rows_and_moves
from intertwiner.rewrite.tied import Action, direct_sum, trivial
from intertwiner.symmetry import BoundSymmetry, TensorAction
from intertwiner.transport.picture import Lost, Picture


@dataclass(frozen=True, eq=False)
class Coordinates:
    """How the twin carries one latent space.

    Args:
        rho: How every generator moves the twin's channels, before the nonlinearity.
        points: One channel of the twin for every orbit.
        channels: The original channel that it continues.
        factor: That original channel is ``factor`` times it.
        label: For every original channel the twin's channel that continues it; None where orbits were selected.
        scale: Every original channel is this multiple of it; None likewise.
        given: The action is part of the task: every channel is itself.
    """

    rho: Action
    points: Int[ndarray, " o"]
    channels: Int[ndarray, " o"]
    factor: Float[ndarray, " o"]
    label: Int[ndarray, " d"] | None = None
    scale: Float[ndarray, " d"] | None = None
    given: bool = False

    @property
    def width(self) -> int:
        return self.rho[0].dimension

    @classmethod
    def of_task(cls, rho: Action) -> Coordinates:
        """The space of an input or output."""
        every = np.arange(rho[0].dimension)
        one = np.ones(len(every))
        return cls(rho, every, every, one, every, one, True)

    @classmethod
    def closed(cls, found: Closed) -> Coordinates:
        """The merged lift of a space."""
        rho, label = found.closure.rho, found.closure.label
        orbit = orbit_labels(len(found.closure.rows), [m.index for m in rho])
        # The largest of the original channels that stand for an orbit loses least to rounding.
        order = np.lexsort((-np.abs(found.factor), orbit[label]))
        first = order[np.unique(orbit[label][order], return_index=True)[1]]
        return cls(rho, label[first], first, found.factor[first], label, found.factor)


def channel_axis(node: Node) -> int:
    """The axis of the value (batch counted) along which a linear map or convolution writes channels."""
    return len(node.shape) - 1 if isinstance(node.op, Linear) else 1


def written_spaces(network: Network) -> dict[str, LatentSpace]:
    """The latent space that every linear map and convolution writes, by node."""
    at = {slot: space for space in network.latent_spaces for slot in space.slots}
    out = {}
    for node in network.nodes:
        if isinstance(node.op, (ir.Linear, ir.Conv)):
            space = at.get((node.name, channel_axis(node)))
            if space is None:
                raise CannotRewrite(f"{node.tap or node.name} writes no latent space that could be followed")
            out[node.name] = space
    return out


def given_action(network: Network, symmetry: BoundSymmetry, space: LatentSpace) -> Action:
    """How the generators move the channels of a space whose action is part of the task."""
    side = _side(network, space)
    generators = symmetry.group.generators
    out = []
    for g in generators:
        actions = symmetry.input_action(g) if side[0] == "input" else symmetry.output_action(g)
        out.append(monomial_on(actions[side[1]], side[2], space.name))
    return tuple(out)


def _side(network: Network, space: LatentSpace) -> tuple[str, int, tuple[int, ...]]:
    """Input or output, its position, and the sample axes that hold the channels of the space."""
    outputs = {name: place for place, name in reversed(list(enumerate(network.nodes[-1].inputs)))}
    for name, axis in space.slots:
        node = network.node(name)
        if isinstance(node.op, Input) and axis > 0:
            return "input", node.op.position, (axis - 1,)
    for name, axis in space.slots:
        if name in outputs and axis > 0:
            return "output", outputs[name], (axis - 1,)
    raise CannotRewrite(f"{space.name}: its action is given, but not as an axis of an input or output")


def monomial_on(action: object, axes: tuple[int, ...], where: str) -> Monomial:
    """The signed permutation of some axes.

    Raises:
        CannotRewrite: The action is something else there.
    """
    matrix = action.matrix_on(axes) if isinstance(action, TensorAction) else None
    if not isinstance(matrix, Monomial) or not matrix.is_signed_permutation:
        kind = "an unknown map" if matrix is None else "no signed permutation"
        raise CannotRewrite(
            f"the group acts on {where} by {kind}.\n  The rewrite ties entries of weights, which takes permutations of "
            "coordinates, with signs at most. Nothing was rewritten."
        )
    return matrix


def lifted_coordinates(
    network: Network,
    symmetry: BoundSymmetry,
    pictures: Mapping[str, Picture],
    *,
    tolerance: float,
    limits: Mapping[str, int],
) -> dict[str, Coordinates]:
    """The merged lift of every latent space that is written, by name of the space.

    Channels are one if all that is written to them is, and if the per-channel maps of the space treat them alike.

    Args:
        network: The network, affine maps folded.
        symmetry: The task.
        pictures: Every value in the coordinates of the lift (``closing.lifted_pictures``).
        tolerance: Largest relative difference of channels that are one.
        limits: Most channels by name of the space.

    Raises:
        CannotRewrite: A value mixes channels with positions, or the task acts by more than signed permutations.
        LiftTooWide: A space needs more channels than its limit.
    """
    writers: dict[str, list[Node]] = {}
    spaces = {}
    for name, space in written_spaces(network).items():
        spaces[space.name] = space
        writers.setdefault(space.name, []).append(network.node(name))
    out = {}
    for name, space in spaces.items():
        if space.given:
            out[name] = Coordinates.of_task(given_action(network, symmetry, space))
            continue
        rows, moves = _joint_rows(writers[name], pictures)
        rows, moves = _with_affines(network, space, live(rows, tolerance), moves)
        found = closed_rows(
            rows, moves, signed=sign_is_free(network, space), scaled=space.gauge.scale != "none",
            tolerance=tolerance, limit=limits.get(name, 1 << 30), where=name,
        )  # fmt: skip
        out[name] = Coordinates.closed(found)
    return out


def _joint_rows(writers: list[Node], pictures: Mapping[str, Picture]) -> tuple[ndarray, Action]:
    for node in writers:
        if pictures[node.name].features != (channel_axis(node) - 1,):
            raise CannotRewrite(
                f"{node.tap or node.name} mixes channels with positions. Nothing was rewritten."
            )  # fmt: skip
    try:
        return rows_and_moves([pictures[node.name] for node in writers])
    except Lost as reason:
        raise CannotRewrite(f"{writers[0].tap or writers[0].name}: {reason}. Nothing was rewritten.") from reason


def sign_is_free(network: Network, space: LatentSpace) -> bool:
    """Whether a channel may be continued with its sign changed: where every function is odd up to a factor."""
    functions = [network.node(n).op for n, _ in space.slots]
    shifts = any(isinstance(op, PointwiseOp) and op.pointwise.flips_shift for op in functions)
    return space.gauge.sign and not shifts


def _with_affines(
    network: Network, space: LatentSpace, rows: Float[ndarray, "d r"], moves: Action
) -> tuple[Float[ndarray, "d r1"], Action]:
    """The rows beside what the per-channel maps of the space make of them: channels that differ in that are not one.

    All of it changes sign and size with the row, as the map ``z -> a z + b`` of a channel continued as ``c z`` has to
    become ``z -> a z + c b``.
    """
    parts, actions, count = [rows], [moves], len(moves)
    for name, axis in space.slots:
        op = network.node(name).op
        if not isinstance(op, ir.ChannelAffine):
            continue
        for param, whole in ((op.scale, True), (op.shift, False)):
            if param is not None:
                values = np.moveaxis(param.array, axis, 0).reshape(param.shape[axis], -1)[:, :1]
                values = np.broadcast_to(values, (space.dimension, 1))
                parts.append(values * rows if whole else values)
                actions.append(moves if whole else trivial(count))
    return np.column_stack(parts), direct_sum(actions, count)
