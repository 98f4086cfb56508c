r"""The latent action at a nonlinearity: match the rows of a picture, moved by g, with the rows themselves.

At ``sigma(v)``, ``v = R u + c``, an action of the pre-activation inside the gauge group of ``sigma`` is a monomial
``Q(g)`` with ``Q(g) R = R P(g)`` (theory 1, "the proof as an algorithm"). Before matching

* neurons without an input are constants and join the constant of the next layer,
* rows are balanced (unit norm where the gauge scales), so that orthogonal source actions give signed permutations,
* rows equal up to the neuron gauge are joined into one source coordinate, which makes the match unique.

The post-activation is again pictured linearly in the joined coordinates, so the next layer starts afresh.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import scipy.sparse as sp
from numpy import ndarray

from intertwiner.algebra import orbit_labels
from intertwiner.gauge import GaugeElement, Pointwise, match_rows, row_classes
from intertwiner.network import Node
from intertwiner.numerics.monomial import Monomial
from intertwiner.numerics.tolerance import ROUNDING
from intertwiner.transport.picture import ONE, Block, Lost, Picture, Source, fresh
from intertwiner.transport.relation import LatentRelation
from intertwiner.transport.table import Run

LARGEST_NORM = 2.0**20
"""Norms beyond it (and below its inverse) are not carried on to the next layer."""


class Broken(Lost):
    """The moved rows are not the rows: no action in the gauge group at this nonlinearity."""


@dataclass(frozen=True, eq=False)
class Rows:
    """The rows of a pre-activation: all as they are, and the live ones up to the neuron gauge."""

    all: ndarray  # (n, r) every row, constant source included
    constant: ndarray  # (n,) the constants among them
    live: ndarray  # (m',) indices of the neurons that depend on the input
    balanced: ndarray  # (m', r) live rows, of unit norm where the gauge scales
    norm: ndarray  # (m',) what they were divided by
    label: ndarray  # (m',) distinct neuron of each live neuron
    sign: ndarray  # (m',) sign of its row relative to that of the distinct neuron
    first: ndarray  # (m,) position among the live neurons of each distinct neuron

    @property
    def factor(self) -> ndarray:
        """Every live neuron is this multiple of the balanced row of its distinct neuron."""
        return self.norm * self.sign


@dataclass(frozen=True, eq=False)
class _Match:
    """One generator: ``canonical(g x) = action canonical(x)`` on the distinct neurons."""

    action: GaugeElement
    residual: ndarray  # (m,) relative to the row
    exact: bool
    failed: ndarray  # indices into all neurons


def solve(run: Run, picture: Picture, pointwise: Pointwise, node: Node) -> Picture:
    """The value after ``pointwise``, once the action before it is found; the relation is recorded in the run.

    Raises:
        Broken: If some moved row is no row of the layer.

    Cost:
        One gather of the rows and one sort per generator, ``O(n r)`` each, for n neurons and r source coordinates.
    """
    if run.positions_only:
        return picture
    if run.follower is not None:
        return run.follower.pointwise(picture, pointwise, node)
    at = node.inputs[0]
    rows = rows_of(picture.dense(), ONE in picture.blocks, pointwise, run.tolerance, least=0.0)
    matches = [_match(rows, picture, pointwise, g, run.tolerance) for g in range(picture.generators)]
    relation = _relation(rows, matches, at, exact=not picture.rounded)
    run.relations[at] = relation
    if not relation.complete:
        raise Broken(_message(relation, rows))
    if relation.exact and not relation.joined:
        rows = _by_powers_of_two(rows, matches)
    else:
        rows, picture = _within_range(rows), replace(picture, rounded=True)
    return _after(rows, matches, picture, pointwise, node.name)


def rows_of(
    whole: ndarray, constant_last: bool, pointwise: Pointwise, tolerance: float, *, least: float | None = None
) -> Rows:
    """The rows of a pre-activation, live ones balanced and joined up to the neuron gauge.

    Args:
        whole: One row per neuron over the sources.
        constant_last: The last column is the constant source.
        pointwise: The nonlinearity that reads them.
        tolerance: Largest relative residual at which two rows are equal.
        least: Size of a live row relative to the largest, above it; the tolerance if left out.

    Raises:
        Lost: The rows leave the range of float64.
    """
    weights, constant = split_constant(whole, constant_last)
    square = np.einsum("ij,ij->i", weights, weights)
    if not np.isfinite(square).all() or not np.isfinite(constant).all():
        raise Lost("the rows leave the range of float64: nothing can be compared")
    size = np.sqrt(square)
    live = np.flatnonzero(size > (tolerance if least is None else least) * size.max(initial=0.0))
    norm = np.ones(len(live)) if pointwise.scale == "none" else np.sqrt(square[live] + constant[live] ** 2)
    balanced = chosen(whole, live)
    if pointwise.scale != "none":
        balanced = balanced / norm[:, None]
    classes = row_classes(keys_of(balanced, constant_last, pointwise), sign=pointwise.sign, tolerance=tolerance)
    return Rows(whole, constant, live, balanced, norm, classes.labels, classes.sign, classes.representatives)


def keys_of(rows: ndarray, constant_last: bool, pointwise: Pointwise) -> ndarray:
    """What two neurons have in common if they are equal up to the gauge, signs left to the matching."""
    return rows if pointwise.shift == "none" else pointwise.normal_form(*split_constant(rows, constant_last)).keys


def split_constant(whole: ndarray, constant_last: bool) -> tuple[ndarray, ndarray]:
    """Columns that read something, and the constant."""
    return (whole[:, :-1], whole[:, -1]) if constant_last else (whole, np.zeros(len(whole)))


def _match(rows: Rows, picture: Picture, pointwise: Pointwise, generator: int, tolerance: float) -> _Match:
    first = rows.live[rows.first]
    balanced = chosen(rows.balanced, rows.first)
    moved, keys = (
        keys_of(rows, ONE in picture.blocks, pointwise) for rows in (picture.moved(generator, balanced), balanced)
    )
    found = match_rows(moved, keys, sign=pointwise.sign, tolerance=tolerance)
    action = pointwise.lift(found.nearest, rows.constant[first], rows.constant[first])
    exact = found.exact
    if pointwise.scale != "none":  # balancing rounds: what is called exact must hold for the weights themselves
        own = chosen(rows.all, first)
        norm = rows.norm[rows.first]
        wanted = found.nearest.apply(own)
        ratio = norm / norm[found.nearest.sources]
        if np.any(np.abs(ratio - 1) > ROUNDING):  # multiples by powers of two are exact, others round
            wanted = wanted * np.exp2(np.rint(np.log2(ratio)))[:, None]
        exact = bool(np.array_equal(picture.moved(generator, own), wanted))
    return _Match(action, found.residual, exact, first[found.unmatched])


def chosen(array: ndarray, rows: ndarray) -> ndarray:
    """Some rows; the array itself where they are all of them in order."""
    return array if np.array_equal(rows, np.arange(len(array))) else array[rows]


def _relation(rows: Rows, matches: Sequence[_Match], name: str, *, exact: bool) -> LatentRelation:
    distinct = np.full(len(rows.all), -1)
    distinct[rows.live] = rows.label
    factor = np.ones(len(rows.all))
    factor[rows.live] = rows.factor
    return LatentRelation(
        name=name,
        actions=tuple(monomial_of(m.action) for m in matches),
        distinct=distinct,
        factor=factor,
        exact=exact and all(m.exact for m in matches),
        residual=max((float(m.residual.max(initial=0.0)) for m in matches), default=0.0),
        failed=tuple(m.failed for m in matches),
    )


def monomial_of(element: GaugeElement) -> Monomial:
    """The matrix of a gauge element of a pointwise nonlinearity."""
    if not isinstance(element.matrix, Monomial):
        raise Lost("a nonlinearity whose gauge is not monomial has no transport rule")
    return element.matrix


def _message(relation: LatentRelation, rows: Rows) -> str:
    worst = max(relation.failed, key=len)
    shown = ", ".join(map(str, worst[:5])) + (", ..." if len(worst) > 5 else "")
    return (
        f"{len(worst)} of {len(rows.first)} neurons moved by a generator are not among the neurons "
        f"(neurons {shown}; largest relative residual {relation.residual:.2g})"
    )


def _by_powers_of_two(rows: Rows, matches: Sequence[_Match]) -> Rows:
    """The same rows measured against the first of their orbit: powers of two for exact relations, so nothing rounds."""
    orbit = orbit_labels(len(rows.live), [monomial_of(m.action).index for m in matches])
    first = np.unique(orbit, return_index=True)[1]
    return replace(rows, norm=np.exp2(np.rint(np.log2(rows.norm / rows.norm[first][orbit]))))


def _within_range(rows: Rows) -> Rows:
    """The same rows, a power of two taken out of all norms where those have outgrown ``LARGEST_NORM``.

    A cube makes the norm of a row the cube of its coefficient in the next layer: three layers of norm 10^6 leave the
    range of float64. The factor is one for the layer, so what is relative to a row stays as it is.
    """
    usual = np.exp2(np.rint(np.log2(np.median(rows.norm)))) if len(rows.norm) else 1.0
    return rows if 1 / LARGEST_NORM < usual < LARGEST_NORM else replace(rows, norm=rows.norm / usual)


def _after(rows: Rows, matches: Sequence[_Match], picture: Picture, pointwise: Pointwise, name: str) -> Picture:
    """The post-activation in the distinct canonical coordinates, centred so that signs act linearly."""
    count = len(rows.all)
    parent = rows.live[rows.first[rows.label]]
    lifted = pointwise.lift(Monomial.diagonal(rows.factor), rows.constant[rows.live], rows.constant[parent])
    after = pointwise.phi(lifted)
    coefficients = monomial_of(after).factor
    block = sp.csr_array((coefficients, (rows.live, rows.label)), shape=(count, len(rows.first)))
    constant = np.zeros(count)
    constant[rows.live] = _center(pointwise) * coefficients + after.constant
    fixed = np.setdiff1d(np.arange(count), rows.live)
    constant[fixed] = pointwise.apply(rows.constant[fixed])
    out = fresh(picture, _source(rows, matches, picture, pointwise, name), block=block, constant=constant)
    return replace(out, rounded=picture.rounded or len(fixed) > 0)


def _source(rows: Rows, matches: Sequence[_Match], picture: Picture, pointwise: Pointwise, name: str) -> Source:
    """The distinct neurons after the activation, with their action and their bounds over the box."""
    size_of = np.abs(chosen(rows.all, rows.live[rows.first]))
    scale = rows.norm[rows.first]
    bounds = picture.stacked("magnitude")
    size = spread(size_of, bounds) / scale
    error = spread(size_of, picture.stacked("error")) / scale
    drift = np.max([np.zeros(len(scale)), *(m.residual for m in matches if not m.exact)], axis=0)
    with np.errstate(invalid="ignore", over="ignore"):  # 0 * inf: without a residual nothing drifts in any box
        drift = np.where(drift > 0, drift * np.linalg.norm(size_of, axis=1) * np.linalg.norm(bounds) / scale, 0.0)
        total = np.where(error + drift > 0, pointwise.lipschitz(size) * (error + drift), 0.0)
    actions = tuple(monomial_of(pointwise.phi(m.action)) for m in matches)
    return Source(name, actions, pointwise.magnitude(size) + abs(_center(pointwise)), total)


def spread(matrix: ndarray, bounds: ndarray) -> ndarray:
    """``matrix @ bounds`` for nonnegative numbers where a bound may be infinite and 0 * inf counts as 0."""
    if not bounds.any():
        return np.zeros(len(matrix))
    finite = np.isfinite(bounds)
    if finite.all():
        return matrix @ bounds
    out = matrix[:, finite] @ bounds[finite]
    return np.where(np.any(matrix[:, ~finite] > 0, axis=1), np.inf, out)


def _center(pointwise: Pointwise) -> float:
    """The value about which the function is odd, where a sign flip is a reflection (1/2 for a sigmoid)."""
    return pointwise.zero_value if pointwise.sign and pointwise.flips_shift else 0.0


def joint_permutation(
    run: Run, pictures: Sequence[Picture], node: Node, *, signed: bool = False, scaled: bool = False, norm: str = ""
) -> tuple[list[Source], Block | None]:
    """One (signed) permutation of the features that moves several values at once, nothing joined.

    Args:
        run: What the rules of the run share.
        pictures: The values.
        node: The operator that reads them.
        signed: The operator commutes with signs.
        scaled: It commutes with positive scales; only a follower makes use of this and the next.
        norm: "length" where only the length of the value is seen, "centred" for that of the value minus its mean.

    Returns:
        Every value with its magnitude and error as a source that the group permutes, and the rows over it: None where
        every row is a coordinate.

    Raises:
        Broken: If there is none.
    """
    if run.positions_only:
        return _placeholders(pictures, node), None
    if run.follower is not None:
        return run.follower.joint(pictures, node, signed=signed, scaled=scaled, norm=norm)
    wholes = [p.dense() for p in pictures]
    moved = [[p.moved(g, w) for p, w in zip(pictures, wholes, strict=True)] for g in range(pictures[0].generators)]
    target = np.concatenate(wholes, axis=1)
    found = [match_rows(np.concatenate(m, axis=1), target, sign=signed, tolerance=run.tolerance) for m in moved]
    at = node.inputs[0]
    run.relations.setdefault(
        at,
        LatentRelation(
            at,
            tuple(f.nearest for f in found),
            np.arange(len(target)),
            np.ones(len(target)),
            all(f.exact for f in found) and not any(p.rounded for p in pictures),
            max((float(f.residual.max(initial=0.0)) for f in found), default=0.0),
            tuple(f.unmatched for f in found),
        ),
    )
    if any(len(f.unmatched) for f in found):
        raise Broken(
            f"no permutation of the features fits {node.op.kind}: rows {found[0].unmatched[:5].tolist()} are missing"
        )
    actions = tuple(f.nearest for f in found)
    sources = []
    for k, (picture, whole) in enumerate(zip(pictures, wholes, strict=True)):
        bounds = picture.stacked("magnitude")
        drift = [spread(np.abs(m[k] - f.nearest.apply(whole)), bounds) for m, f in zip(moved, found, strict=True)]
        error = spread(np.abs(whole), picture.stacked("error")) + np.max([np.zeros(len(whole)), *drift], axis=0)
        sources.append(Source(f"{node.name}#{k}", actions, spread(np.abs(whole), bounds), error))
    return sources, None


def _placeholders(pictures: Sequence[Picture], node: Node) -> list[Source]:
    actions = (Monomial.identity(pictures[0].rows),) * pictures[0].generators
    zero = np.zeros(pictures[0].rows)
    return [Source(f"{node.name}#{k}", actions, zero, zero) for k in range(len(pictures))]


def permuted_coordinates(
    run: Run, picture: Picture, node: Node, *, signed: bool = False, scaled: bool = False, norm: str = ""
) -> Picture:
    """The value as one new source, permuted by the group: what maxima, softmax and norms need."""
    (source,), block = joint_permutation(run, [picture], node, signed=signed, scaled=scaled, norm=norm)
    return fresh(picture, source, block=block)
