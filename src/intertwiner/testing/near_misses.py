"""Families that are nearly laws: one sign flipped, the bias left out, the wrong pair of neurons, one layer skipped.

Each is a quadratic function like the law it comes from and is not conserved: a check that lets one pass checks nothing.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

import numpy as np

from intertwiner.testing.planted_laws import Space
from intertwiner.training.families import Family, Piece
from intertwiner.training.views import View

SIGN, BIAS, PAIR, LAYER = "one sign flipped", "bias left out", "wrong pair of neurons", "one layer skipped"
KINDS = (SIGN, BIAS, PAIR, LAYER)


def near_misses(pairs: Sequence[tuple[Family, Space]]) -> Iterator[tuple[str, Family]]:
    """All near misses of the families of a network.

    Args:
        pairs: Every family with the space it belongs to.

    Yields:
        The kind of near miss, and the function.
    """
    for family, space in pairs:
        for k, piece in enumerate(family.pieces):
            flipped = replace(piece, coefficient=-piece.coefficient)
            yield SIGN, replace(family, pieces=(*family.pieces[:k], flipped, *family.pieces[k + 1 :]))
            if piece.param.endswith("bias"):
                yield BIAS, replace(family, pieces=(*family.pieces[:k], *family.pieces[k + 1 :]))
        if space.size > 1:
            turned = tuple(p if p.param in space.written else replace(p, view=_turned(p.view)) for p in family.pieces)
            yield PAIR, replace(family, pieces=turned)
        for other, there in pairs:
            if other is not family:
                yield LAYER, _across(family, space, other, there)


def _turned(view: View) -> View:
    """Row i becomes row i - 1."""
    first = view.places()[:, 0]
    return View(view.rows, 0, 0, view.shape, view.strides, tuple(int(p) for p in np.roll(first, 1)))


def _across(family: Family, space: Space, other: Family, there: Space) -> Family:
    """What comes into one space against what goes out of another, as far as both reach."""
    size = min(space.size, there.size)
    written = [p for p in family.pieces if p.param in space.written]
    read = [p for p in other.pieces if p.param not in there.written]
    return replace(family, pieces=tuple(_cut(p, size) for p in (*written, *read)), size=size, blocks=1)


def _cut(piece: Piece, size: int) -> Piece:
    return replace(piece, view=replace(piece.view, rows=size, starts=piece.view.starts[:size]))
