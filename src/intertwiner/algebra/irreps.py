r"""The real irreps of a finite group, with their types, from its complex characters.

A complex irrep chi with Frobenius-Schur indicator 1 is real: one real irrep of the same character, End = R. With
indicator 0 it pairs with its conjugate: real irrep ``chi + conj(chi)``, End = C. With indicator -1 it doubles:
real irrep ``2 chi``, End = H [Serre, Linear Representations of Finite Groups, section 13.2].
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import TYPE_CHECKING, Literal

import numpy as np
from jaxtyping import Float
from numpy import ndarray

from intertwiner.algebra.characters import complex_characters, frobenius_schur
from intertwiner.algebra.group import Group
from intertwiner.errors import GroupError

if TYPE_CHECKING:
    from intertwiner.algebra.representation import Representation

Type = Literal["real", "complex", "quaternionic"]
_COMMUTANT: dict[Type, int] = {"real": 1, "complex": 2, "quaternionic": 4}


@dataclass(frozen=True, eq=False, repr=False)
class Irrep:
    """A real irreducible representation.

    Args:
        group: The group.
        name: Unique in the group: ``A1``, ``standard``, ``(3,2)``, ``A x B``.
        dimension: Its dimension over the reals.
        type: ``real``, ``complex`` or ``quaternionic``: what its endomorphisms form.
        class_character: The trace on each conjugacy class; rational values are exact integers.
        constituents: Rows of ``complex_characters(group)`` that it contains.
        partition: Symmetric groups: its partition. Alternating groups: the partition that it restricts.
    """

    group: Group
    name: str
    dimension: int
    type: Type
    class_character: Float[ndarray, " k"]
    constituents: tuple[int, ...]
    partition: tuple[int, ...] | None = None

    @property
    def commutant_dimension(self) -> int:
        """Dimension of its endomorphisms over the reals: 1, 2 or 4."""
        return _COMMUTANT[self.type]

    @property
    def character(self) -> Float[ndarray, " n"]:
        """The trace of every element."""
        return self.class_character[self.group.class_of]

    @property
    def is_trivial(self) -> bool:
        return self.dimension == 1 and bool(np.all(self.class_character == 1))

    @cached_property
    def representation(self) -> Representation:
        """Explicit orthogonal matrices, one per generator; built when first asked for."""
        from intertwiner.algebra.matrices import irrep_representation

        return irrep_representation(self)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Irrep) and self.name == other.name and self.group == other.group

    def __hash__(self) -> int:
        return hash((self.group, self.name))

    def __repr__(self) -> str:
        return f"Irrep({self.group.name}: {self.name}, dimension {self.dimension}, {self.type})"

    def __str__(self) -> str:
        return self.name


@lru_cache(maxsize=256)
def irreps(group: Group) -> tuple[Irrep, ...]:
    """The real irreps, the trivial one first.

    Names: Mulliken symbols for cyclic and dihedral groups; ``trivial``, ``sign``, ``standard``, ``standard x sign``
    and partitions for symmetric and alternating ones; ``A x B`` for products; ``trivial``, ``1a``, ``2a``, ...
    (dimension and letter) otherwise.

    Cost:
        That of ``complex_characters``; computed once per group. Matrices are built only when asked for.

    Example:
        >>> from intertwiner.algebra.families import dihedral
        >>> [(i.name, i.dimension) for i in irreps(dihedral(4))]
        [('A1', 1), ('A2', 1), ('B1', 1), ('B2', 1), ('E', 2)]
    """
    from intertwiner.algebra.irrep_names import named

    return named(group, _unnamed(group))


def irrep(group: Group, name: str) -> Irrep:
    """The irrep of this name.

    Raises:
        GroupError: There is none; the message lists them.

    Example:
        >>> from intertwiner.algebra.families import symmetric
        >>> irrep(symmetric(5), "standard").partition
        (4, 1)
    """
    for candidate in irreps(group):
        if candidate.name == name:
            return candidate
    raise GroupError(f"{group.name} has no irrep '{name}'; it has {', '.join(i.name for i in irreps(group))}")


def _unnamed(group: Group) -> list[Irrep]:
    table, indicators = complex_characters(group), frobenius_schur(group)
    out, done = [], set()
    for row, chi in enumerate(table):
        if row in done:
            continue
        if indicators[row] == 1:
            out.append(_real(group, "real", chi.real, (row,)))
        elif indicators[row] == -1:
            out.append(_real(group, "quaternionic", 2 * chi.real, (row,)))
        else:
            partner = int(np.argmin(np.abs(table - chi.conj()).sum(axis=1)))
            done.add(partner)
            out.append(_real(group, "complex", 2 * chi.real, (row, partner)))
    return out


def _real(group: Group, kind: Type, character: Float[ndarray, " k"], constituents: tuple[int, ...]) -> Irrep:
    character = character + 0.0
    character.setflags(write=False)
    return Irrep(group, "", round(float(character[0])), kind, character, constituents)
