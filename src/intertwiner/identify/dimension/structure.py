"""Structure of single neurons that explains null directions: dead, constant, linear, duplicate and opposite ones.

What follows from the weights alone is given as directions and counts as proved; what was only seen on the inputs used
(never active, always on one piece) is given as sets of columns in which null directions are then looked for.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction

import numpy as np
from jaxtyping import Float, Int
from numpy import ndarray

from intertwiner.exact import Columns
from intertwiner.gauge import Pointwise, row_classes
from intertwiner.identify.dimension.gauge_directions import Direction, direction
from intertwiner.identify.dimension.neuron_columns import Neurons
from intertwiner.network import Conv, Linear, Network, PointwiseOp
from intertwiner.numerics.tolerance import ROUNDING


@dataclass(frozen=True, eq=False)
class Suspicion:
    """A set of columns that may hold null directions, and the name they then have.

    Args:
        kind: dead, unreached, duplicate, linear or bypass.
        where: Tap of the space.
        neurons: The coordinates concerned.
        columns: The columns.
    """

    kind: str
    where: str
    neurons: tuple[int, ...]
    columns: Int[ndarray, " k"]


def proved_directions(
    network: Network, columns: Columns, neurons: Sequence[Neurons], theta: Float[ndarray, " p"]
) -> list[Direction]:
    """Null directions that the weights of single neurons and pairs of neurons prove."""
    out: list[Direction] = []
    for group in neurons:
        if not group.trainable or not group.readers:
            continue
        for j in range(group.space.dimension):
            never = _never_active(network, group, j, theta)
            if never or not theta[group.outgoing(j)].any():
                # What nobody reads can be changed freely, whatever the function of the neuron.
                out += [_unit("dead", group, (j,), c) for c in group.incoming(j)]
            if never or (_vanishes_at_zero(network, group) and not theta[group.incoming(j)].any()):
                out += [_unit("dead", group, (j,), c) for c in group.outgoing(j)]
        out += _twins(network, group, theta)
        out += _constants(network, columns, group, theta)
    return out


def _functions(network: Network, group: Neurons) -> list[Pointwise]:
    return [n.op.pointwise for n, _ in group.nonlinear(network) if isinstance(n.op, PointwiseOp)]


def _vanishes_at_zero(network: Network, group: Neurons) -> bool:
    functions = _functions(network, group)
    return bool(functions) and all(f.known and f.domain == "real" and f.zero_value == 0 for f in functions)


def _never_active(network: Network, group: Neurons, j: int, theta: ndarray) -> bool:
    """A ReLU with a negative bias and weights that are zero, or not positive on inputs that are not negative."""
    functions = _functions(network, group)
    if not functions or not functions[0].dead_on_negative or len({m.node.name for m in group.writers}) > 1:
        return False
    node = group.writers[0].node
    biases = [m for m in group.writers if len(m.param.shape) == 1]
    weights = [m for m in group.writers if len(m.param.shape) > 1]
    if not isinstance(node.op, (Linear, Conv)) or len(biases) != 1 or not (theta[biases[0].of(j)] < 0).all():
        return False
    row = np.concatenate([theta[m.of(j)] for m in weights])
    before = network.node(node.inputs[0]).op
    nonnegative = isinstance(before, PointwiseOp) and before.pointwise.dead_on_negative
    return not row.any() or bool(nonnegative and (row <= 0).all())


def _constants(network: Network, columns: Columns, group: Neurons, theta: ndarray) -> Iterator[Direction]:
    """A neuron with a positive bias and no weights is that number: its readers' weights and its bias are biases."""
    functions = _functions(network, group)
    biases = [m for m in group.writers if len(m.param.shape) == 1]
    plain = all(isinstance(m.node.op, Linear) and len(m.axis.view) == 1 for m in (*group.writers, *group.readers))
    if not functions or not all(f.linear_on_positive for f in functions) or len(biases) != 1 or not plain:
        return
    for j in range(group.space.dimension):
        own = biases[0].of(j)
        weights = np.concatenate([theta[m.of(j)] for m in group.writers if m is not biases[0]])
        if weights.any() or theta[own[0]] <= 0:
            continue
        after = [(m, columns.places(m.node.op.bias)) for m in group.readers if isinstance(m.node.op, Linear)
                 and m.node.op.bias is not None]  # fmt: skip
        for m, places in after:
            if places is None:
                continue
            for read, bias in zip(m.of(j), places, strict=True):
                parts = [(np.array([read]), np.ones(1), 1), (np.array([bias]), theta[own], -1)]
                yield direction("constant", group.space.name, (j,), parts)
        if len(after) == len(group.readers) and all(places is not None for _, places in after):
            parts = [(own, np.ones(1), 1)]
            parts += [(places, theta[m.of(j)], -1) for m, places in after if places is not None]
            yield direction("constant", group.space.name, (j,), parts)


def _unit(kind: str, group: Neurons, neurons: tuple[int, ...], column: int) -> Direction:
    return direction(kind, group.space.name, neurons, [(np.array([column]), np.ones(1), 1)])


def _twins(network: Network, group: Neurons, theta: ndarray) -> Iterator[Direction]:
    """Rows equal up to the scale of the gauge, exactly: what one sends out can be sent out by the other."""
    degree = {m.degree for m in group.readers}
    functions = _functions(network, group)
    if len(degree) != 1 or len(functions) != 1 or functions[0].mixing == "linear":
        return
    rows = _rows(group, theta)
    if rows is None:
        return
    sign = functions[0].is_odd or functions[0].is_even
    free = group.space.gauge.scale != "none"
    for members in _classes(rows, free, sign):
        i = members[0]
        for j in members[1:]:
            ratio = _ratio(rows[j], rows[i], free)
            if ratio is None or (ratio < 0 and not sign):
                continue
            factor = (abs(ratio) if functions[0].is_even else ratio) ** group.readers[0].degree
            for m in group.readers:  # h_j = factor h_i: add 1 to what reads j, take factor from what reads i
                for a, b in zip(m.of(j), m.of(i), strict=True):
                    parts = [(np.array([a]), np.ones(1), 1), (np.array([b]), np.ones(1), -factor)]
                    yield direction("duplicate", group.space.name, (i, j), parts)


def _rows(group: Neurons, theta: ndarray) -> ndarray | None:
    """All that is written into each neuron as one row; None where neurons do not all have equally much."""
    rows = [np.concatenate([theta[m.of(j)] for m in group.writers]) for j in range(group.space.dimension)]
    return np.stack(rows) if len({len(r) for r in rows}) == 1 else None


def _classes(rows: ndarray, free: bool, sign: bool) -> list[list[int]]:
    """Candidates of equal rows: equal up to rounding after scaling, up to sign where that is asked."""
    norms = np.linalg.norm(rows, axis=1)
    live = np.flatnonzero(norms > 0)
    if len(live) < 2:
        return []
    keys = rows[live] / (norms[live, None] if free else 1.0)
    labels = row_classes(keys, sign=sign, tolerance=ROUNDING).labels
    members = [live[labels == k].tolist() for k in range(labels.max() + 1)]
    return [m for m in members if len(m) > 1]


def _ratio(row: ndarray, other: ndarray, free: bool) -> Fraction | None:
    """The t with ``row == t other``, exactly, or None."""
    top = int(np.argmax(np.abs(other)))
    t = Fraction(float(row[top])) / Fraction(float(other[top]))
    if not free and abs(t) != 1:
        return None
    same = all(Fraction(float(a)) == t * Fraction(float(b)) for a, b in zip(row, other, strict=True))
    return t if same else None


def suspicions(
    network: Network,
    columns: Columns,
    neurons: Sequence[Neurons],
    theta: Float[ndarray, " p"],
    choices: Mapping[str, ndarray],
) -> list[Suspicion]:
    """Sets of columns to look for null directions in, the most telling first.

    Args:
        network: The network.
        columns: Its parameters.
        neurons: Its hidden neurons.
        theta: The parameters.
        choices: Pieces of the inputs used, by node.
    """
    dead, linear, joint, twins, bypass, unreached = [], [], [], [], [], []
    for group in neurons:
        if not group.trainable or not group.readers:
            continue
        name, next_biases = group.space.name, group.next_biases(columns)
        unreached += [Suspicion("unreached", name, (j,), group.incoming(j)) for j in range(group.space.dimension)]
        silent, straight = _activity(network, group, choices)
        for j in silent:
            dead.append(Suspicion("dead", name, (j,), _around(group, [j])))
        for j in straight:
            linear.append(Suspicion("linear", name, (j,), np.union1d(_around(group, [j]), next_biases)))
        if len(straight) > 1:
            joint.append(Suspicion("linear", name, tuple(straight), np.union1d(_around(group, straight), next_biases)))
        rows = _rows(group, theta)
        functions = _functions(network, group)
        if rows is None or not functions:
            continue
        free = group.space.gauge.scale != "none"
        for members in _classes(rows, free, functions[0].sign):
            twins.append(Suspicion("duplicate", name, tuple(members), _around(group, members)))
        if all(f.bypass for f in functions):
            opposite = [m for m in _classes(rows, free, True) if (rows[m] @ rows[m[0]] < 0).any()]
            members = sorted(j for m in opposite for j in m)
            if members:
                around = np.union1d(_around(group, members), next_biases)
                bypass.append(Suspicion("bypass", name, tuple(members), around))
    return dead + unreached + twins + bypass + linear + joint + _whole_maps(network, columns)


def _whole_maps(network: Network, columns: Columns) -> list[Suspicion]:
    """Every linear map or convolution by itself."""
    out = []
    for node in network.nodes:
        places = [columns.places(p) for p in node.op.params] if isinstance(node.op, (Linear, Conv)) else []
        own = [p.ravel() for p in places if p is not None]
        if own:
            name = (node.tap or node.name).removesuffix(":out")
            out.append(Suspicion("unseen", name, (), np.unique(np.concatenate(own))))
    return out


def _around(group: Neurons, neurons: Sequence[int]) -> ndarray:
    return np.unique(np.concatenate([c for j in neurons for c in (group.incoming(j), group.outgoing(j))]))


def _activity(network: Network, group: Neurons, choices: Mapping[str, ndarray]) -> tuple[list[int], list[int]]:
    """Neurons that were zero, and neurons that stayed on one piece that is not zero, on all inputs used."""
    silent: set[int] | None = None
    straight: set[int] | None = None
    for node, axis in group.nonlinear(network):
        op = node.op
        if node.name not in choices or not isinstance(op, PointwiseOp):
            continue
        piece = np.moveaxis(choices[node.name], axis, 0).reshape(group.space.dimension, -1)
        fixed = (piece == piece[:, :1]).all(axis=1)
        zero = fixed & (piece[:, 0] == 0) & op.pointwise.dead_on_negative
        here, there = set(np.flatnonzero(zero).tolist()), set(np.flatnonzero(fixed & ~zero).tolist())
        silent = here if silent is None else silent & here
        straight = there if straight is None else straight & there
    return sorted(silent or ()), sorted(straight or ())
