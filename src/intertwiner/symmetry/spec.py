"""What a symmetry says about one tensor, before its shape is known: the interface, and how arguments are read.

A spec turns a group and a sample shape into one action per generator. Its text is what the command line takes, so
that ``parse_action(str(spec))`` is the same spec; specs are compared by it.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any

import numpy as np

from intertwiner.algebra import Group
from intertwiner.errors import NotAnAction, ShapeMismatch, WrongUse
from intertwiner.numerics.monomial import Monomial
from intertwiner.symmetry import matrices as mat
from intertwiner.symmetry.matrices import Matrix
from intertwiner.symmetry.opaque import Action


class ActionSpec(ABC):
    """How a group acts on one tensor, whatever its size."""

    @abstractmethod
    def on(self, group: Group, shape: tuple[int, ...]) -> tuple[Action, ...]:
        """One action per generator of the group, on samples of this shape.

        Raises:
            ShapeMismatch: The shape does not fit the spec.
            WrongUse: The spec does not fit the group.
        """

    @property
    @abstractmethod
    def text(self) -> str:
        """The spelling that ``parse_action`` reads."""

    def __str__(self) -> str:
        return self.text

    def __repr__(self) -> str:
        return self.text

    def __eq__(self, other: object) -> bool:
        return isinstance(other, ActionSpec) and type(self) is type(other) and self.text == other.text

    def __hash__(self) -> int:
        return hash(self.text)


def read_matrices(perm: object = None, sign: object = None, matrix: object = None) -> tuple[Matrix, ...] | None:
    """One matrix per generator from permutations, signs or matrices; None where nothing was given.

    A permutation sends point j to ``p[j]``; signs multiply after the permutation. A single permutation, list of
    signs or matrix stands for a group with one generator.

    >>> read_matrices(perm=[1, 0, 2], sign=[1, 1, -1])
    (Monomial(3: (0 1), signed),)
    """
    if matrix is not None:
        if perm is not None or sign is not None:
            raise WrongUse("give an action either by matrix= or by perm= and sign=, not both")
        one = isinstance(matrix, Monomial) or (not _holds_monomials(matrix) and np.ndim(matrix) == 2)  # type: ignore
        parts = [matrix] if one else list(matrix)  # type: ignore[call-overload]
        return tuple(mat.as_matrix(m) for m in parts)
    if perm is None and sign is None:
        return None
    perms = _rows(perm, np.int64) if perm is not None else None
    signs = _rows(sign, np.float64) if sign is not None else None
    if perms is None:
        perms = [np.arange(len(s)) for s in signs or []]
    if signs is None:
        signs = [np.ones(len(p)) for p in perms]
    if len(signs) != len(perms):
        raise WrongUse(
            f"{len(perms)} permutations and {len(signs)} lists of signs: one of each per generator is needed"
        )
    out = []
    for p, s in zip(perms, signs, strict=True):
        if not np.isin(s, (-1.0, 1.0)).all():
            raise NotAnAction(f"signs are 1 or -1, got {s.tolist()[:12]}; use matrix= for scales")
        # The sign belongs to the place that is moved to, so that sign= reads as it stands in the result.
        out.append(Monomial(p, s[p]) if len(p) == len(s) and _is_permutation(p) else _refuse(p, s))
    return tuple(out)


def from_representation(representation: Any) -> tuple[tuple[Matrix, ...], Group]:
    """The images of the generators under an ``algebra.Representation``, and its group."""
    group = representation.group
    return tuple(mat.as_matrix(representation.matrix(g)) for g in group.generators), group


def require_same_group(expected: Group | None, group: Group) -> None:
    """Refuse a representation of another group than the one that acts."""
    if expected is not None and expected != group:
        raise WrongUse(f"a representation of {expected.name} was given for the group {group.name}")


def one_per_generator(images: Sequence[Matrix], group: Group, what: str) -> tuple[Matrix, ...]:
    """The images, if there is one for each generator."""
    if len(images) != len(group.generators):
        names = ", ".join(group.generator_names)
        raise WrongUse(
            f"{what} needs one entry per generator of {group.name}: expected {len(group.generators)} ({names}), "
            f"got {len(images)}"
        )
    return tuple(images)


def matrix_text(images: Sequence[Matrix]) -> str:
    """``perm=..:sign=..`` or ``matrix=[..]``, as ``parse_action`` reads them."""
    if all(isinstance(m, Monomial) and m.is_signed_permutation for m in images):
        perms = ";".join(" ".join(map(str, m.index.tolist())) for m in images)  # type: ignore[union-attr]
        signs = ";".join(" ".join(str(int(s)) for s in m.factor[m.sources]) for m in images)  # type: ignore[union-attr]
        plain = all(m.is_permutation for m in images)  # type: ignore[union-attr]
        return f"perm={perms}" if plain else f"perm={perms}:sign={signs}"
    rows = (["/".join(" ".join(map(repr, row)) for row in mat.to_dense(m).tolist())] for m in images)
    return "matrix=[" + ";".join(text for (text,) in rows) + "]"


def _holds_monomials(matrices: object) -> bool:
    return isinstance(matrices, (list, tuple)) and any(isinstance(m, Monomial) for m in matrices)


def _rows(values: object, dtype: type) -> list[np.ndarray]:
    rows = [values] if np.ndim(values[0]) == 0 else list(values)  # type: ignore[index,call-overload]
    return [np.asarray(row, dtype=dtype) for row in rows]


def _is_permutation(p: np.ndarray) -> bool:
    return np.array_equal(np.sort(p), np.arange(len(p)))


def _refuse(p: np.ndarray, s: np.ndarray) -> Monomial:
    if len(p) != len(s):
        raise ShapeMismatch(f"a permutation of {len(p)} points with {len(s)} signs")
    raise NotAnAction(f"{p.tolist()[:12]} is no permutation of 0..{len(p) - 1}")
