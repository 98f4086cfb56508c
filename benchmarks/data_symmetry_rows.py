"""The rows of the reference table of laws that symmetric data add: part of ``conservation_laws.py``."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from intertwiner.algebra import Group, Representation, cyclic, direct_product, symmetric
from intertwiner.numerics.monomial import Monomial
from intertwiner.report.figures import Claim
from intertwiner.training import Chain
from intertwiner.training.data_symmetry import data_symmetry_laws

QUARTER = np.array([[0.0, -1.0], [1.0, 0.0]])
MIRROR = np.diag([-1.0, 1.0])


def points(group: Group) -> Representation:
    """The group on the points that it permutes."""
    return Representation(group, tuple(Monomial(group.permutations[s]) for s in group.generators))


def turns(n: int) -> Representation:
    """C4 in the plane by quarter turns, C3 on three coordinates in a ring."""
    matrix = QUARTER if n == 4 else np.eye(n)[:, np.roll(np.arange(n), 1)]
    return Representation(cyclic(n), (matrix,))


def matrices(group: Group, images: Sequence[np.ndarray]) -> Representation:
    return Representation(group, tuple(images))


ACTIONS: dict[str, tuple[Representation, bool]] = {
    "trivial group": (Representation.trivial(cyclic(1), 2), False),
    "x -> -x, y invariant": (matrices(cyclic(2), [-np.eye(2)]), False),
    "sign flips Z2 x Z2, y invariant": (matrices(direct_product(cyclic(2), cyclic(2)), [MIRROR, -MIRROR]), False),
    "C4 rotations of R^2, y invariant": (turns(4), False),
    "S2 swap, y invariant": (points(symmetric(2)), False),
    "C4 rotating x and y": (turns(4), True),
    "S2 swapping x and y": (points(symmetric(2)), True),
    "S3 permuting R^3, y invariant": (points(symmetric(3)), False),
    "C3 cyclic on x and y": (turns(3), True),
    "C4, y invariant": (turns(4), False),
    "C4 on both": (turns(4), True),
    "S2 on both": (points(symmetric(2)), True),
}
"""By the words of the reference: the action on inputs, and whether it acts on outputs alike."""


def claims(rows: Sequence[dict[str, Any]]) -> list[Claim]:
    """Both columns of every row."""
    out = []
    for row in rows:
        action, both = ACTIONS[row["symmetry"]]
        widths = tuple(row["widths"])
        outputs = action if both else Representation.trivial(action.group, widths[-1])
        found = data_symmetry_laws(Chain(widths), action, outputs)
        for column, count in (("without", found.without), ("with", found.with_symmetry)):
            value = count.laws if count.verdict.is_proved else None
            name = f"linear {'-'.join(map(str, widths))}, {row['symmetry']}: {column}"
            out.append(Claim(name, value, row[column], "==", note=f"{count.verdict.kind}, {count.seconds:.2f} s"))
    return out
