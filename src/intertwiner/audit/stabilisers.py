r"""The stabiliser of every neuron, decided from how it correlates with its own images.

Let ``c(g)`` be the correlation of a neuron with itself moved by g, after its invariant part is taken away. For a
subgroup H the energy kept by projecting to H-invariant vectors is exactly ``mean of c over H``. A level set
``{c >= 1 - d}`` is a subgroup by itself where no correlation lies in ``[1 - 4d, 1 - d)``, because
``sqrt(1 - c(gh)) <= sqrt(1 - c(g)) + sqrt(1 - c(h))`` [theory 7]. A closed set followed by a wide gap can still move
the neuron, so only sets that keep nearly all of its energy are looked at, and among these the one above the widest gap
is the candidate. ``{1}`` always passes, so a candidate is no decision: it is refused where its separation
``1 - max of c outside H`` is small, as it is where phases are continuous. With signs in the gauge ``|c|`` takes the
place of c, and the sign of c on H is the character by which H acts on the neuron.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Bool, Float, Int
from numpy import ndarray

from intertwiner.algebra import Group
from intertwiner.audit.image_parts import chunks
from intertwiner.audit.images import NeuronImages
from intertwiner.numerics.tolerance import FIXED_SHARE, KEPT_ENERGY, LEVEL_ROUNDING, MIN_SEPARATION

CLOSURE_CHECK_MAX = 1200
"""Largest level set whose products are multiplied out; above it the level set test stands alone."""


@dataclass(frozen=True, eq=False)
class Stabilisers:
    """One subgroup per neuron, with the numbers around the decision.

    Args:
        group: G.
        members: Which elements belong to the candidate H of each neuron.
        character: 1 or -1 on H (the sign by which it acts), 0 outside.
        kept: Energy kept by projecting to H, between 0 and 1.
        separation: ``1 - max of c outside H``; 2 where H = G.
        spread: ``1 - min of c inside H``.
        widest_gap: The widest gap between neighbouring correlations, wherever it lies.
        widest_spread: ``1 - c`` just above that gap: what the widest gap alone would have to swallow.
        moving: Share of the neuron's energy, over the coordinates on which G acts, that is not invariant under G.
        reasons: Why the candidate was refused, "" where it was not.
    """

    group: Group
    members: Bool[ndarray, "n order"]
    character: Int[ndarray, "n order"]
    kept: Float[ndarray, " n"]
    separation: Float[ndarray, " n"]
    spread: Float[ndarray, " n"]
    widest_gap: Float[ndarray, " n"]
    widest_spread: Float[ndarray, " n"]
    moving: Float[ndarray, " n"]
    reasons: tuple[str, ...]

    @property
    def orders(self) -> Int[ndarray, " n"]:
        return self.members.sum(1)

    @property
    def decided(self) -> Bool[ndarray, " n"]:
        return np.array([not reason for reason in self.reasons], dtype=bool)

    @property
    def gap(self) -> Float[ndarray, " n"]:
        """The gap below H where it was decided, the widest gap anywhere where it was refused."""
        return np.where(self.decided, self.separation - self.spread, self.widest_gap)

    @property
    def gap_spread(self) -> Float[ndarray, " n"]:
        """The spread of the correlations above ``gap``, to be set beside it."""
        return np.where(self.decided, self.spread, self.widest_spread)

    def subgroup_elements(self, neuron: int) -> Int[ndarray, " k"]:
        return np.flatnonzero(self.members[neuron])


@dataclass(frozen=True, eq=False)
class _Candidate:
    size: ndarray
    level: ndarray
    kept: ndarray
    separation: ndarray
    spread: ndarray
    widest_gap: ndarray
    widest_spread: ndarray


def stabilisers(
    images: NeuronImages, *, min_kept: float = KEPT_ENERGY, min_separation: float = MIN_SEPARATION
) -> Stabilisers:
    """Decide the stabiliser of every neuron of a layer.

    Args:
        images: The neurons and their images.
        min_kept: Least energy that projecting to H must keep.
        min_separation: Least ``1 - max of c outside H``.

    Returns:
        A candidate for every neuron, and for those that are refused the reason.

    Cost:
        ``n |G| log |G|``, beside the correlations of every neuron with its own images.
    """
    energy = np.where(images.energy > 0, images.energy, 1.0)
    acted_on = images.energy - np.diag(images.fixed)
    moving = images.moving_energy / np.where(acted_on > 0, acted_on, 1.0)
    own = images.self_products(invariant=False)
    own /= np.where(images.moving_energy > 0, images.moving_energy, 1.0)[:, None]
    plain = decide(own, images.group, moving, min_kept=min_kept, min_separation=min_separation)
    if not images.signed:
        return plain
    # A sign needs g.w = -w, so the invariant part must go too: here it stays in and lowers |c| where it is there.
    whole = images.self_products(invariant=True) / energy[:, None]
    signed = decide(whole, images.group, moving, signed=True, min_kept=min_kept, min_separation=min_separation)
    return _choose(signed.decided & (signed.character < 0).any(1), signed, plain)


def decide(
    correlation: Float[ndarray, "n order"],
    group: Group,
    moving: Float[ndarray, " n"] | None = None,
    *,
    signed: bool = False,
    min_kept: float = KEPT_ENERGY,
    min_separation: float = MIN_SEPARATION,
) -> Stabilisers:
    """Decide stabilisers from self-correlations, 1 at the identity.

    Args:
        correlation: ``c[i, g]``, of the moving part of neuron i with itself moved by g.
        group: G.
        moving: Share of each neuron's energy that moves; 1 by default. Below ``FIXED_SHARE`` a neuron counts as fixed.
        signed: True to decide by ``|c|`` and read the character off the signs.
        min_kept: Least energy that projecting to H must keep.
        min_separation: Least separation.

    Example:
        C2 x C2 with energies .45, .45, .1, 0 in its irreps has correlations 1, .8, -.1, .1. The set {1, .8} is closed
        and a wide gap follows, but its second element moves the neuron: it would keep .9 of the energy only.

        >>> from intertwiner.algebra import parse_group
        >>> correlation = np.array([[1.0, 0.8, -0.1, 0.1]])
        >>> [int(decide(correlation, parse_group("C2xC2"), min_kept=kept).orders[0]) for kept in (0.95, 0.85)]
        [1, 2]
    """
    moving = np.ones(len(correlation)) if moving is None else np.asarray(moving, dtype=np.float64)
    level = np.abs(correlation) if signed else correlation
    still = moving <= LEVEL_ROUNDING
    level = np.where(still[:, None], 1.0, level)
    found = _candidates(level, min_kept)
    members = level >= found.level[:, None]
    sign = np.where(correlation < 0, -1, 1) if signed else np.ones(level.shape, dtype=np.int64)
    character = np.where(members, sign, 0)
    closed = closed_sets(members, character, group)
    reasons = [_reason(bool(ok), found, i, min_separation) for i, ok in enumerate(closed)]
    out = Stabilisers(
        group, members, character, found.kept, found.separation, found.spread, found.widest_gap, found.widest_spread,
        moving, tuple(reasons),
    )  # fmt: skip
    return out if signed else _fix_what_hardly_moves(out)


def _candidates(level: Float[ndarray, "n order"], min_kept: float) -> _Candidate:
    """The level set above the widest gap among those that the test proves closed and that keep enough energy."""
    n, order = level.shape
    at = np.arange(n)
    ranked = -np.sort(-level, axis=1)
    below = np.concatenate([ranked[:, 1:], np.full((n, 1), -1.0)], axis=1)
    spread, separation, gap = 1 - ranked, 1 - below, ranked - below
    # {all of G} is proposed only where everything correlates: it has no outside to be separated from.
    passes = separation > 4 * np.maximum(spread, 0) + LEVEL_ROUNDING
    passes[:, -1] = spread[:, -1] < 0.25
    kept = np.cumsum(ranked, axis=1) / np.arange(1, order + 1)
    passes &= kept >= min(min_kept, 1.0) - LEVEL_ROUNDING
    pick = np.where(passes, gap, -1.0).argmax(1)
    inner = gap[:, :-1] if order > 1 else gap
    widest = inner.argmax(1)
    return _Candidate(
        pick + 1, ranked[at, pick], kept[at, pick], separation[at, pick], spread[at, pick],
        inner[at, widest], spread[at, widest],
    )  # fmt: skip


def closed_sets(members: ndarray, character: ndarray, group: Group) -> Bool[ndarray, " n"]:
    """Whether each level set is a subgroup and its signs a character: once per distinct set."""
    _, first, back = np.unique(character, axis=0, return_index=True, return_inverse=True)
    out = np.ones(len(first), dtype=bool)
    for k, i in enumerate(first):
        inside = np.flatnonzero(members[i])
        if not members[i, 0] or group.order % len(inside):
            out[k] = False
        elif 1 < len(inside) < min(group.order, CLOSURE_CHECK_MAX):
            sign = character[i]
            out[k] = all(
                np.array_equal(
                    sign[np.asarray(group.multiply(inside[run, None], inside[None, :]))],
                    sign[inside[run], None] * sign[inside],
                )
                for run in chunks(len(inside), 24 * len(inside))
            )
        elif len(inside) == group.order and (character[i] < 0).any():
            out[k] = character[i].sum() == 0
    return out[back.ravel()]


def _reason(closed: bool, found: _Candidate, i: int, min_separation: float) -> str:
    if not closed:
        return "the level set is no subgroup"
    separation = float(found.separation[i])
    if separation < min_separation:
        beside = f"spread {found.spread[i]:.2g}, widest gap {found.widest_gap[i]:.2g}"
        return f"separation {separation:.3g} below {min_separation:g} ({beside})"
    return ""


def _fix_what_hardly_moves(found: Stabilisers) -> Stabilisers:
    """A negligible moving part without a symmetry of its own is noise: the neuron is fixed by all of G."""
    fixed = (found.moving <= FIXED_SHARE) & (~found.decided | (found.orders == 1))
    if not fixed.any():
        return found
    every = np.ones_like(found.members)
    whole = replace(
        found,
        members=every,
        character=every.astype(np.int64),
        kept=1 - found.moving,
        separation=np.full(len(fixed), 2.0),
        spread=found.moving,
        reasons=("",) * len(fixed),
    )
    return _choose(fixed, whole, found)


def _choose(first: Bool[ndarray, " n"], one: Stabilisers, other: Stabilisers) -> Stabilisers:
    """Neuron by neuron, ``one`` where ``first`` holds, else ``other``."""
    names = ("members", "character", "kept", "separation", "spread", "widest_gap", "widest_spread", "moving")

    def pick(name: str) -> ndarray:
        a, b = getattr(one, name), getattr(other, name)
        return np.where(first if a.ndim == 1 else first[:, None], a, b)

    reasons = tuple(a if use else b for use, a, b in zip(first, one.reasons, other.reasons, strict=True))
    return replace(other, reasons=reasons, **{name: pick(name) for name in names})
