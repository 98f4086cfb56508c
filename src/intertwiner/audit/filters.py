"""First-layer filters, grouped by orbits, for pictures."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy import ndarray

from intertwiner.audit.orbits import Orbits
from intertwiner.audit.places import Place
from intertwiner.audit.subject import Subject
from intertwiner.audit.weights import WeightAction
from intertwiner.network import Conv, Network, Node
from intertwiner.transport import Carried
from intertwiner.transport.picture import ONE, dense

MOST_NEURONS = 256
MOST_NUMBERS = 40_000
"""Filters are left out of the report where there are more."""


def first_layer_filters(
    subject: Subject, place: Place, carried: Carried, action: WeightAction, found: Orbits | None
) -> dict[str, Any] | None:
    """What the first layer looks for, one picture per neuron, neurons of one orbit together; None further down."""
    picture = carried.pictures.get(place.node.name)
    if picture is None:
        return None
    names = [name for name in picture.blocks if name != ONE]
    inputs = {node.name: node for node in subject.network.nodes if node.op.kind == "input"}
    if len(names) != 1 or names[0].split("@")[0].split("/")[-1] not in inputs:
        return None
    node = inputs[names[0].split("@")[0].split("/")[-1]]
    shape = _shape(subject.network, place.node, names[0], node)
    rows = dense(picture.blocks[names[0]])
    if rows.shape[1] != int(np.prod(shape)) or rows.size > MOST_NUMBERS or len(rows) > MOST_NEURONS:
        return None
    values = np.round(rows.reshape(len(rows), *shape), 5)
    groups = _groups(action, found, len(rows))
    orbits = [
        {"stabiliser": name, "members": [{"neuron": int(i), "values": values[i].tolist()} for i in members]}
        for name, members in groups
    ]
    return {"shape": list(shape), "orbits": orbits}


def _shape(network: Network, node: Node, source: str, entry: Node) -> tuple[int, ...]:
    """Shape of one filter: channels and kernel of a convolution, the sample of a linear layer."""
    sample = tuple(entry.sample_shape)
    if "/" in source:
        conv = network.node(source.split("/")[0]).op
        if isinstance(conv, Conv):
            return (sample[0], *conv.kernel) if sample[0] > 1 else tuple(conv.kernel)
    return sample[1:] if len(sample) == 3 and sample[0] == 1 else sample


def _groups(action: WeightAction, found: Orbits | None, count: int) -> list[tuple[str, ndarray]]:
    """Neurons by orbit with the name of the stabiliser, large orbits first."""
    if action.labels is not None:
        labels, name = action.labels, lambda i: ""
    elif found is not None:
        labels = np.full(count, -1)
        labels[found.live] = found.orbit
        orders = found.stabilisers.orders
        place = {int(n): k for k, n in enumerate(found.live)}
        name = lambda i: f"order {orders[place[int(i)]]}"  # noqa: E731
    else:
        return [("", np.arange(count))]
    groups = [
        (name(members[0]), members) for members in (np.flatnonzero(labels == k) for k in np.unique(labels[labels >= 0]))
    ]
    return sorted(groups, key=lambda item: -len(item[1]))
