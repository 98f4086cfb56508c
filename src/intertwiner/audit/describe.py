"""One place of an audit as a plain record: representation, orbits, figures, filters, and what breaks it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy import ndarray

from intertwiner.audit.filters import first_layer_filters
from intertwiner.audit.isotypic_shares import irrep_rows
from intertwiner.audit.measured import Measured
from intertwiner.audit.orbits import Orbits
from intertwiner.audit.places import Place
from intertwiner.audit.subject import Subject
from intertwiner.audit.weights import BROKEN, NOT_COVERED, WeightAction
from intertwiner.numerics.monomial import Monomial
from intertwiner.transport import Carried, LatentRelation

LONGEST_CYCLES = 4000
"""Characters of cycle notation that are kept per generator."""


def describe_place(
    subject: Subject, place: Place, carried: Carried, action: WeightAction, measured: Measured
) -> dict[str, Any]:
    """The entry of one tap in the audit record; see docs/audit-schema.md."""
    relation = carried.relations.get(place.node.name)
    found = measured.orbits.get(place.name)
    group = subject.symmetry.group
    return {
        "name": place.name,
        "operator": place.operator,
        "space": place.space,
        "dimension": place.dimension,
        "grid": list(place.grid) or None,
        "gauge": str(place.gauge),
        "aliases": list(place.aliases),
        "weights": _weights(group, action, relation, measured.covariances.get(place.name)),
        "data": _data(group, place, measured),
        "orbits": _orbits(action, found),
        "filters": first_layer_filters(subject, place, carried, action, found),
        "breaks": _breaks(place, action, found),
        "missing": _missing(place, action, measured),
    }


def _weights(
    group: Any, action: WeightAction, relation: LatentRelation | None, covariance: ndarray | None
) -> dict[str, Any]:
    representation = action.representation
    cycles = None
    if relation is not None and representation is not None:
        first = _first_neurons(relation)
        cycles = {
            group.element_name(g): _cycles(m, first) for g, m in zip(group.generators, relation.actions, strict=True)
        }
        if covariance is not None:
            factor = relation.factor[first]
            covariance = covariance[np.ix_(first, first)] / np.outer(factor, factor)
    else:
        covariance = None
    return {
        "status": action.status,
        "residual": action.residual,
        "reason": action.reason,
        "representation": None if representation is None else str(representation),
        "orbits": None if action.orbits is None else str(action.orbits),
        "cycles": cycles,
        "irreps": [] if representation is None else irrep_rows(representation, covariance),
        "undetermined": action.undetermined,
        "joined": action.joined,
    }


def _first_neurons(relation: LatentRelation) -> ndarray:
    """The first neuron of every class of copies."""
    live = np.flatnonzero(relation.distinct >= 0)
    _, first = np.unique(relation.distinct[live], return_index=True)
    return live[first]


def _cycles(monomial: Monomial, neuron: ndarray) -> str:
    """Cycle notation in the numbers of the neurons; a minus sign where the step to the next one changes the sign."""
    parts = []
    for cycle in monomial.cycles():
        parts.append("(" + " ".join(("-" if monomial.factor[j] < 0 else "") + str(neuron[j]) for j in cycle) + ")")
    fixed = np.flatnonzero((monomial.index == np.arange(monomial.dimension)) & (monomial.factor < 0))
    parts += [f"(-{neuron[j]})" for j in fixed]
    text = "".join(parts) or "()"
    return text if len(text) <= LONGEST_CYCLES else text[:LONGEST_CYCLES] + "…"


def _data(group: Any, place: Place, measured: Measured) -> dict[str, Any] | None:
    fits = measured.fits.get(place.name)
    if not fits:
        return None
    rows = {group.element_name(g): fit.to_json() for g, fit in fits.items()}
    every = {group.element_name(g): _finite(shares) for g, shares in measured.by_element.get(place.name, {}).items()}
    return {"generators": rows, "elements": every or None, "samples": next(iter(fits.values())).rows}


def _finite(values: Mapping[str, float]) -> dict[str, float | None]:
    return {name: value if np.isfinite(value) else None for name, value in values.items()}


def _orbits(action: WeightAction, found: Orbits | None) -> dict[str, Any] | None:
    if action.orbits is not None:
        return _from_weights(action)
    if found is None:
        return None
    record = found.to_json()
    names = (
        "decision",
        "reason",
        "explained_neurons",
        "explained_variance",
        "present",
        "present_null",
        "gap",
        "spread",
    )
    return {name: record[name] for name in (*names, "types", "lift_width")}


def _from_weights(action: WeightAction) -> dict[str, Any]:
    """Complete orbits, as the weights prove them."""
    live = 0 if action.labels is None else int((action.labels >= 0).sum())
    types = [
        {
            "stabiliser": orbit.name.split("/", 1)[1],
            "order": orbit.stabiliser.order,
            "neurons": orbit.multiplicity * orbit.size,
            "orbits": orbit.multiplicity,
            "complete": orbit.multiplicity,
        }
        for orbit in (action.orbits.orbits if action.orbits else ())
    ]
    return {
        "decision": "action",
        "reason": f"from the weights: every image of the {live} live neurons is a neuron",
        "explained_neurons": 1.0,
        "explained_variance": 1.0,
        "present": 1.0,
        "present_null": None,
        "gap": None,
        "spread": None,
        "types": types,
        "lift_width": action.orbits.degree if action.orbits else 0,
    }


def _breaks(place: Place, action: WeightAction, found: Orbits | None) -> list[str]:
    out = []
    if action.status == BROKEN:
        out.append(action.reason)
    if found is not None and found.decision != "action":
        out.append(found.reason)
    if place.unread:
        out.append(place.unread)
    return out


def _missing(place: Place, action: WeightAction, measured: Measured) -> Mapping[str, str]:
    out = {}
    if action.status == NOT_COVERED:
        out["weights"] = action.reason
    if place.name not in measured.fits:
        out["data"] = place.unread or "; ".join(measured.notes) or "not asked for"
    if action.orbits is None and place.name not in measured.orbits:
        out["orbits"] = place.unread or "the group or the layer is too large, or it was not asked for"
    return out
