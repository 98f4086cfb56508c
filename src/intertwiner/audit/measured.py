"""The data path of an audit: every figure that is measured, with its null and its noise floor."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy import ndarray

from intertwiner.algebra import Group
from intertwiner.audit.contribution import contributions
from intertwiner.audit.defect import ElementDefect, equivariance_defect
from intertwiner.audit.fits import TapFit, fit_about_means, fit_tap, rounding_shares, shuffled
from intertwiner.audit.measure import measure
from intertwiner.audit.moments import SplitMoments, TapLayout
from intertwiner.audit.neuron_orbits import ALL_ELEMENTS, images_from_moments, images_from_weights
from intertwiner.audit.orbits import Orbits, find_orbits
from intertwiner.audit.places import Mask, Place
from intertwiner.audit.subject import Subject
from intertwiner.audit.symmetrised import Symmetrised
from intertwiner.audit.weights import WeightAction
from intertwiner.transport import Carried

if TYPE_CHECKING:
    from intertwiner.audit.run import Effort

MOMENTS_HELD = 2**25
"""Numbers (elements times pairs of neurons) of the moments held for one place."""

Split = Mapping[str, Mapping[int, SplitMoments]]


@dataclass(frozen=True, eq=False)
class Measured:
    """Everything the data path found.

    Args:
        samples: Samples in one pass.
        batches: Batches in one pass.
        defects: End-to-end, by group element.
        null_defects: The same for the network with shuffled weights, generators only.
        fits: By tap, then by generator.
        covariances: Of h(x), by tap.
        orbits: By tap, where they were looked for.
        by_element: By tap, then by group element: shares of variance about the means, on orbit-symmetrised data.
        outputs: Names of the outputs, in the order of ``ElementDefect.by_output``.
        notes: What the reader should know.
    """

    samples: int = 0
    batches: int = 0
    defects: Mapping[int, ElementDefect] = field(default_factory=dict)
    null_defects: Mapping[int, ElementDefect] = field(default_factory=dict)
    fits: Mapping[str, Mapping[int, TapFit]] = field(default_factory=dict)
    covariances: Mapping[str, ndarray] = field(default_factory=dict)
    orbits: Mapping[str, Orbits] = field(default_factory=dict)
    by_element: Mapping[str, Mapping[int, Mapping[str, float]]] = field(default_factory=dict)
    outputs: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()

    @classmethod
    def nothing(cls) -> Measured:
        return cls(notes=("nothing was measured on data",))

    def defect_record(self, group: Group) -> dict[str, Any]:
        """The end-to-end part of the audit record."""
        rows = {}
        for g in group.generators:
            if g in self.defects:
                found, null = self.defects[g], self.null_defects.get(g)
                rows[group.element_name(g)] = {
                    "value": _finite(found.value),
                    "noise_floor": _finite(found.noise_floor),
                    "null": _finite(null.value) if null else None,
                    "outputs": {n: _finite(v) for n, v in zip(self.outputs, found.by_output, strict=False)},
                }
        every = {group.element_name(g): _finite(d.value) for g, d in self.defects.items()}
        values = [v for v in every.values() if v is not None]
        return {
            "generators": rows,
            "elements": every if len(every) == group.order else None,
            "worst": max(values, default=None),
        }


def _finite(value: float | None) -> float | None:
    return float(value) if value is not None and np.isfinite(value) else None


def measure_places(
    subject: Subject,
    places: Sequence[Place],
    carried: Carried,
    weights: Mapping[str, WeightAction],
    effort: Effort,
    mask: Mask | None = None,
) -> Measured:
    """Run the data path: defects, moments and fits per generator, nulls, orbits.

    Cost:
        Per generator one pass over the data, and as much again for the nulls; one pass with a forward per element for
        defects (up to 64 elements) and one for orbits, where some place needs it.
    """
    network, bound, group = subject.network, subject.symmetry, subject.symmetry.group
    readable = [place for place in places if place.layout is not None]
    layouts = [place.layout for place in readable if place.layout is not None]
    elements = list(range(group.order)) if group.order <= ALL_ELEMENTS else list(group.generators)
    counted = _Counted(subject.stream)
    defects = equivariance_defect(network, bound, counted, elements, mask=mask)
    nulls = [shuffled(network, subject.seed + k) for k in range(effort.draws if effort.nulls else 0)]
    null_defects = (
        equivariance_defect(nulls[0], bound, subject.stream, group.generators, noise_floor=False, mask=mask)
        if nulls
        else {}
    )
    moments = {g: measure(network, bound, layouts, subject.stream, [g]) for g in group.generators} if layouts else {}
    random = {
        g: [measure(null, bound, layouts, subject.stream, [g]) for null in nulls] if layouts else []
        for g in group.generators
    }
    astray = _displaced(subject, layouts) if effort.nulls else {}
    floors = rounding_shares(network, [p.name for p in readable], subject.stream) if effort.nulls and layouts else {}
    fits = {
        place.name: {g: _fit(place, g, moments, random, astray, floors) for g in group.generators}
        for place in readable
        if group.generators
    }
    covariances = {
        p.name: moments[group.generators[0]][p.name][group.generators[0]].total.C for p in readable if moments
    }
    orbits, by_element = _orbits(subject, places, carried, weights, covariances) if effort.orbits else ({}, {})
    notes = (
        (f"the defect was measured on the generators only: {group.order} elements",)
        if group.order > ALL_ELEMENTS
        else ()
    )
    return Measured(
        counted.samples, counted.batches, defects, null_defects, fits, covariances, orbits, by_element,
        tuple(network.outputs), notes,
    )  # fmt: skip


class _Counted:
    """A stream that counts what passes."""

    def __init__(self, stream: Any) -> None:
        self.stream, self.samples, self.batches = stream, 0, 0

    def __iter__(self):
        for batch in self.stream:
            self.samples += len(batch[0])
            self.batches += 1
            yield batch


def _displaced(subject: Subject, layouts: Sequence[TapLayout]) -> dict[int, Split]:
    """Per generator, the taps with positions once more, the positions of h(x) moved by another element than x."""
    group, out = subject.symmetry.group, {}
    for g in group.generators:
        other = _another(group.generators, g)
        wrong = [
            replace(layout, grid_action=lambda _, layout=layout, h=other: layout.grid_action(h))
            for layout in layouts
            if _moves_apart(layout, g, other)
        ]
        out[g] = measure(subject.network, subject.symmetry, wrong, subject.stream, [g]) if wrong else {}
    return out


def _moves_apart(layout: TapLayout, g: int, other: int) -> bool:
    """Whether two elements move the positions of a tap differently."""
    mine, theirs = (
        None if a is None or a.is_identity else a for a in (layout.grid_action(g), layout.grid_action(other))
    )
    if mine is None or theirs is None:
        return mine is not theirs
    return not (mine @ theirs.inverse()).is_identity


def _another(generators: Sequence[int], g: int) -> int:
    """The next generator; the identity where there is only one."""
    following = generators[(list(generators).index(g) + 1) % len(generators)]
    return following if following != g else 0


def _fit(
    place: Place,
    g: int,
    moments: Mapping[int, Split],
    random: Mapping[int, Sequence[Split]],
    astray: Mapping[int, Split],
    floors: Mapping[str, float],
) -> TapFit:
    """Fitted on g; judged, as a null, on another element."""
    other = _another(list(moments), g)
    elsewhere = astray.get(g, {}).get(place.name)
    return fit_tap(
        moments[g][place.name][g],
        place.gauge,
        wrong=moments[other][place.name][other] if other in moments else None,
        random=[draw[place.name][g] for draw in random[g]],
        displaced=None if elsewhere is None else elsewhere[g],
        noise_floor=floors.get(place.name),
    )


def _orbits(
    subject: Subject,
    places: Sequence[Place],
    carried: Carried,
    weights: Mapping[str, WeightAction],
    covariances: Mapping[str, ndarray],
) -> tuple[dict[str, Orbits], dict[str, dict[int, dict[str, float]]]]:
    """Orbits at every place where the weights alone do not give a complete action, and fits of every element there."""
    group = subject.symmetry.group
    input_names = [node.name for node in subject.network.nodes if node.op.kind == "input"]
    out: dict[str, Orbits] = {}
    later = []
    for place in places:
        if weights[place.name].orbits is not None:
            continue
        images = images_from_weights(group, place, carried.pictures.get(place.node.name), input_names)
        if images is not None:
            share = contributions(subject.network, place, covariances.get(place.name))
            out[place.name] = find_orbits(images, share, seed=subject.seed)
        elif place.layout is not None and group.order * place.dimension**2 <= MOMENTS_HELD:
            later.append(place)
    fits: dict[str, dict[int, dict[str, float]]] = {}
    if group.order > ALL_ELEMENTS or not later or group.order == 1:
        return out, fits
    layouts = [place.layout for place in later if place.layout is not None]
    stream = Symmetrised(subject.stream, subject.symmetry, subject.seed)
    moments = measure(subject.network, subject.symmetry, layouts, stream, list(range(group.order)))
    for place in later:
        products = np.stack([moments[place.name][g].total.X for g in range(group.order)])
        share = contributions(subject.network, place, covariances.get(place.name))
        out[place.name] = find_orbits(images_from_moments(group, place, products), share, seed=subject.seed)
        fits[place.name] = {g: fit_about_means(moments[place.name][g], place.gauge) for g in range(1, group.order)}
    return out, fits
