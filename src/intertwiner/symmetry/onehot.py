r"""One-hot encoded group elements: what a network sees that learns to compose.

A tensor holds blocks, one per word; each block is the one-hot code of an element of F. A word spells how the group
moves its element:

======== =========================== =====================================================
word     move                        short form
======== =========================== =====================================================
``gx``   x -> g x                    ``x``
``yh``   y -> y h^-1                 ``y`` (with a single group: y stays)
``gzh``  z -> g z h^-1               ``z`` (with a single group: z -> g z)
``xg``   x -> x g^-1
``gxg``  x -> g x g^-1
``1y``   y stays
======== =========================== =====================================================

g is the acting group, or the first factor of F x F, and h the second. The task (x, y) -> (g x, y h), z -> g z h is
a left action only with the inverse of h, because (y h) k is y (h k): so letters on the right multiply by the
inverse. It is the same set of maps, renamed by h -> h^-1.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Int
from numpy import ndarray

from intertwiner.algebra import Group
from intertwiner.errors import GroupError, ShapeMismatch, WrongUse
from intertwiner.numerics.monomial import Monomial
from intertwiner.symmetry.opaque import Action
from intertwiner.symmetry.spec import ActionSpec
from intertwiner.symmetry.tensor_action import TensorAction

WORD = re.compile(r"(?P<left>[gh1]?)(?P<letter>[a-z])(?P<right>[gh]?)")


@dataclass(frozen=True, eq=False, repr=False)
class OneHot(ActionSpec):
    """Blocks of one-hot coded elements on the last axis, moved by multiplication."""

    words: tuple[str, ...]
    elements: tuple[int, ...] | None = None

    def on(self, group: Group, shape: tuple[int, ...]) -> tuple[Action, ...]:
        base, pair = self._base(group, shape)
        index = np.arange(base.order) if self.elements is None else np.array(self.elements)
        if not np.array_equal(np.sort(index), np.arange(base.order)):
            raise WrongUse(f"elements= must list each of the {base.order} elements of {base.name} once")
        out = []
        for g in group.generators:
            first, second = (int(c) for c in group.split(g)) if pair else (g, None)
            blocks = [_move(base, index, sides(w, pair=pair), first, second) for w in self.words]
            out.append(TensorAction.of(shape, {(-1,): Monomial.direct_sum(blocks)}))
        return tuple(out)

    def _base(self, group: Group, shape: tuple[int, ...]) -> tuple[Group, bool]:
        """The group whose elements are coded, and whether two copies of it act."""
        size = shape[-1] if shape else 0
        if size == len(self.words) * group.order:
            return group, False
        factors = group.factors
        if len(factors) == 2 and factors[0] == factors[1] and size == len(self.words) * factors[0].order:
            return factors[0], True
        wanted = f"{len(self.words)} x {group.order}"
        if len(factors) == 2 and factors[0] == factors[1]:
            wanted += f" or {len(self.words)} x {factors[0].order}"
        raise ShapeMismatch(
            f"{len(self.words)} one-hot codes of elements of {group.name} need {wanted} entries, "
            f"the last axis of {shape} has {size}"
        )

    @property
    def text(self) -> str:
        order = "" if self.elements is None else ":elements=" + " ".join(map(str, self.elements))
        return "onehot:" + ",".join(self.words) + order


def onehot(*words: str, elements: Sequence[int] | None = None) -> OneHot:
    """One-hot coded group elements, concatenated, one word for each.

    Args:
        words: How each is moved: ``x`` or ``gx``, ``y`` or ``yh``, ``z`` or ``gzh``, ``xg``, ``gxg``, ``1y``; letters
            on the right multiply by the inverse.
        elements: The group element that stands at each place of a code; ``0, 1, ..`` by default. For a table that
            a network learned, in the order of its places, whose identity need not come first.

    Example:
        >>> from intertwiner.algebra import cyclic
        >>> step, = onehot("gx", "1y").on(cyclic(3), (6,))
        >>> step.flat().index
        array([1, 2, 0, 3, 4, 5])
    """
    if not words:
        raise WrongUse("onehot() needs one word per coded element, e.g. onehot('x', 'y')")
    for word in words:
        sides(word, pair=True)
    return OneHot(tuple(words), None if elements is None else tuple(int(e) for e in elements))


def identity_first(table: Int[ndarray, "n n"]) -> tuple[Int[ndarray, "n n"], Int[ndarray, " n"]]:
    """A Cayley table renumbered so that the identity is 0, as groups have it, and the element at each old place.

    For the table that a network learned: ``table, places = identity_first(learned)``, then
    ``onehot(..., elements=places)`` with ``from_table(table)``. The identity changes places with 0.

    Raises:
        GroupError: No place multiplies as the identity.

    Example:
        >>> table, places = identity_first(np.array([[1, 0], [0, 1]]))
        >>> table.tolist(), places.tolist()
        ([[0, 1], [1, 0]], [1, 0])
    """
    table = np.asarray(table)
    n = len(table)
    found = np.flatnonzero((table == np.arange(n)).all(axis=1))
    if len(found) != 1:
        raise GroupError(f"the table of order {n} has {len(found)} rows that multiply as the identity, one is needed")
    places = np.arange(n)
    places[[0, found[0]]] = places[[found[0], 0]]
    # Exchanging two numbers is its own inverse, so places renumbers in both directions.
    return places[table][np.ix_(places, places)], places


def sides(word: str, *, pair: bool) -> tuple[str, str]:
    """Who multiplies on the left and on the right: ``g``, ``h`` or nobody.

    >>> sides("z", pair=True), sides("z", pair=False), sides("gxg", pair=False)
    (('g', 'h'), ('g', ''), ('g', 'g'))
    """
    found = WORD.fullmatch(word)
    if found is None or (word in ("g", "h")):
        raise WrongUse(
            f"cannot read '{word}': a word is a letter for the coded element with g or h on its left or right, "
            "e.g. x, gx, yh, gzh, gxg; 1y stays"
        )
    left, letter, right = found["left"], found["letter"], found["right"]
    if not left and not right:
        short = {"x": ("g", ""), "y": ("", "h"), "z": ("g", "h")}
        if letter not in short:
            raise WrongUse(f"'{word}' alone is no short form (x, y and z are); write g{word}, {word}h or 1{word}")
        left, right = short[letter]
        return left, right if pair else ""
    if not pair and "h" in (left, right):
        raise WrongUse(f"'{word}' names a second acting group h; act with a product of two equal groups, or write g")
    return left.replace("1", ""), right


def _move(base: Group, index: Int[ndarray, " n"], who: tuple[str, str], first: int, second: int | None) -> Monomial:
    """The permutation of the places of one code."""
    letters = {"": 0, "g": first, "h": 0 if second is None else second}
    moved = base.multiply(letters[who[0]], index)
    moved = base.multiply(moved, int(base.inverse(letters[who[1]])))
    place = np.empty(base.order, dtype=np.int64)
    place[index] = np.arange(base.order)
    return Monomial(place[moved])
