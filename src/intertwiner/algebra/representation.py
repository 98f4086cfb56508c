"""Real representations: a group and one matrix per generator; monomial ones stay two arrays per generator.

A representation prints as its real isotypic decomposition, ``D4: 3·A1 + B2 + 4·E``, and parses back.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import InitVar, dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
from jaxtyping import Float
from numpy import ndarray

from intertwiner.algebra.actions import MatrixLike, require_action
from intertwiner.algebra.group import Group
from intertwiner.algebra.irreps import Irrep, irreps
from intertwiner.algebra.parse import parse_group
from intertwiner.errors import GroupError, NotAnAction, WrongUse
from intertwiner.numerics.monomial import Monomial
from intertwiner.numerics.tolerance import ROUNDED_MULTIPLICITY


@dataclass(frozen=True)
class Isotypic:
    """How often each real irrep occurs in a representation.

    Args:
        group: The group.
        multiplicities: One per irrep, in the order of ``irreps(group)``.
    """

    group: Group
    multiplicities: tuple[int, ...]

    def items(self) -> Iterator[tuple[Irrep, int]]:
        """The irreps that occur, with their multiplicities."""
        return ((irrep, m) for irrep, m in zip(irreps(self.group), self.multiplicities, strict=True) if m)

    def as_dict(self) -> dict[str, int]:
        """Multiplicity by name, of the irreps that occur."""
        return {irrep.name: m for irrep, m in self.items()}

    def __getitem__(self, name: str) -> int:
        for irrep, m in zip(irreps(self.group), self.multiplicities, strict=True):
            if irrep.name == name:
                return m
        raise GroupError(f"{self.group.name} has no irrep '{name}': {', '.join(i.name for i in irreps(self.group))}")

    @property
    def dimension(self) -> int:
        return sum(m * irrep.dimension for irrep, m in self.items())

    def __str__(self) -> str:
        terms = [irrep.name if m == 1 else f"{m}·{irrep.name}" for irrep, m in self.items()]
        return f"{self.group.name}: {' + '.join(terms) or '0'}"


@dataclass(frozen=True, eq=False, repr=False)
class Representation:
    """A real representation, given by the images of the generators.

    Args:
        group: The group.
        images: One ``Monomial`` or square array per generator, in the order of ``group.generators``.
        dimension: Needed only where the group has no generators.
        check: Whether to verify that the images are an action.

    Raises:
        NotAnAction: A relation of the group fails; the message names it.

    Example:
        >>> from intertwiner.algebra import dihedral
        >>> G = dihedral(4)
        >>> corners = Representation(G, tuple(Monomial(G.permutations[s]) for s in G.generators))
        >>> print(corners)
        D4: A1 + B1 + E
    """

    group: Group
    images: tuple[MatrixLike, ...]
    dimension: int = field(default=-1, kw_only=True)
    check: InitVar[bool] = field(default=True, kw_only=True)

    def __post_init__(self, check: bool) -> None:
        images = tuple(m if isinstance(m, Monomial) else np.array(m, dtype=np.float64) for m in self.images)
        if not all(isinstance(m, Monomial) for m in images):
            images = tuple(m.dense() if isinstance(m, Monomial) else m for m in images)
        for m in images:
            if isinstance(m, ndarray):
                m.setflags(write=False)
        if check:
            require_action(self.group, images, what="the images of the generators")
        if not images and self.dimension < 0:
            raise NotAnAction(f"{self.group.name} has no generators: give the dimension")
        object.__setattr__(self, "images", images)
        if images:
            object.__setattr__(
                self, "dimension", images[0].shape[0] if isinstance(images[0], ndarray) else images[0].dimension
            )

    @property
    def is_monomial(self) -> bool:
        return all(isinstance(m, Monomial) for m in self.images)

    @property
    def is_signed_permutation(self) -> bool:
        return all(isinstance(m, Monomial) and m.is_signed_permutation for m in self.images)

    @property
    def is_permutation(self) -> bool:
        return all(isinstance(m, Monomial) and m.is_permutation for m in self.images)

    def dense_images(self) -> tuple[Float[ndarray, "d d"], ...]:
        return tuple(m.dense() if isinstance(m, Monomial) else m for m in self.images)

    def matrix(self, g: int | str) -> MatrixLike:
        """The matrix of one element: a product along its word. A name is accepted too."""
        g = self.group.element(g) if isinstance(g, str) else int(g)
        out: MatrixLike = Monomial.identity(self.dimension) if self.is_monomial else np.eye(self.dimension)
        components = self.group.split(g)
        for factor, places, c in zip(self.group.factors, self.group.factor_generators, components, strict=True):
            for step in factor.tree.word(int(c)):
                out = out @ self.images[places[step]]  # type: ignore[operator]
        return out

    @cached_property
    def class_character(self) -> Float[ndarray, " k"]:
        """The trace on each conjugacy class."""
        matrices = [self.matrix(int(g)) for g in self.group.class_representatives]
        return np.array([m.trace() for m in matrices], dtype=np.float64)

    @property
    def character(self) -> Float[ndarray, " n"]:
        """The trace of every element."""
        return self.class_character[self.group.class_of]

    def isotypic(self) -> Isotypic:
        """Multiplicity of every real irrep, from characters.

        Raises:
            NotAnAction: A multiplicity is not an integer: the images were not checked and are no action.

        Cost:
            (classes) x (irreps), once the character is known.
        """
        return self._isotypic

    @cached_property
    def _isotypic(self) -> Isotypic:
        weights = self.group.class_sizes / self.group.order
        values = np.array(
            [
                (weights * i.class_character * self.class_character).sum() / i.commutant_dimension
                for i in irreps(self.group)
            ]
        )
        rounded = np.rint(values)
        if np.abs(values - rounded).max() > ROUNDED_MULTIPLICITY or rounded.min() < 0:
            raise NotAnAction(
                f"multiplicities are not integers: {np.round(values, 4).tolist()}; no action of {self.group.name}"
            )
        return Isotypic(self.group, tuple(int(m) for m in rounded))

    def is_isomorphic(self, other: Representation) -> bool:
        """Whether an invertible intertwiner exists: equal multiplicities."""
        return self.group == other.group and self.isotypic() == other.isotypic()

    def __add__(self, other: Representation) -> Representation:
        self._require_same_group(other)
        pairs = list(zip(self.images, other.images, strict=True))
        return self._trusted([_direct_sum(a, b) for a, b in pairs], self.dimension + other.dimension)

    def __mul__(self, other: Representation) -> Representation:
        """The tensor product, on row-major pairs."""
        self._require_same_group(other)
        images = [
            a.kron(b) if isinstance(a, Monomial) and isinstance(b, Monomial) else np.kron(_dense(a), _dense(b))
            for a, b in zip(self.images, other.images, strict=True)
        ]
        return self._trusted(images, self.dimension * other.dimension)

    @property
    def dual(self) -> Representation:
        """The inverse transposes; the same images where they are orthogonal."""
        images = [
            Monomial(m.index, 1.0 / m.factor) if isinstance(m, Monomial) else np.linalg.inv(m).T for m in self.images
        ]
        return self._trusted(images, self.dimension)

    def _trusted(self, images: Sequence[MatrixLike], dimension: int) -> Representation:
        return Representation(self.group, tuple(images), dimension=dimension, check=False)

    def _require_same_group(self, other: Representation) -> None:
        if self.group != other.group:
            raise GroupError(f"representations of {self.group.name} and {other.group.name} do not combine")

    @classmethod
    def trivial(cls, group: Group, dimension: int = 1) -> Representation:
        """Every element as the identity."""
        identity = Monomial.identity(dimension)
        return cls(group, (identity,) * len(group.generators), dimension=dimension, check=False)

    @classmethod
    def from_multiplicities(cls, group: Group, multiplicities: Mapping[str, int]) -> Representation:
        """The direct sum of irreps, in the order of ``irreps(group)``.

        Example:
            >>> from intertwiner.algebra import dihedral
            >>> Representation.from_multiplicities(dihedral(4), {"E": 2}).dimension
            4
        """
        known = {irrep.name: irrep for irrep in irreps(group)}
        for name, m in multiplicities.items():
            if name not in known or m < 0:
                raise GroupError(f"{m}·{name}: {group.name} has the irreps {', '.join(known)}")
        blocks = [i.representation for name, i in known.items() for _ in range(multiplicities.get(name, 0))]
        total = cls(group, (Monomial.identity(0),) * len(group.generators), dimension=0, check=False)
        images = [_block_diagonal([b.images[s] for b in blocks]) for s in range(len(group.generators))]
        dimension = sum(b.dimension for b in blocks)
        return total._trusted(images, dimension)

    @classmethod
    def parse(cls, text: str, group: Group | None = None) -> Representation:
        """The direct sum that a text like ``D4: 3·A1 + B2`` names.

        Args:
            group: Needed where the name of the group is none that ``parse_group`` knows.

        Example:
            >>> print(Representation.parse("D4: 3·A1 + 2·E"))
            D4: 3·A1 + 2·E
        """
        name, multiplicities = parse_multiplicities(text)
        return cls.from_multiplicities(group or parse_group(name), multiplicities)

    def to_json(self) -> dict[str, Any]:
        """A plain record: group, dimension, and per generator index and factor, or the rows of a dense image."""
        images = [
            {"index": m.index.tolist(), "factor": m.factor.tolist()}
            if isinstance(m, Monomial)
            else {"rows": m.tolist()}
            for m in self.images
        ]
        return {"group": self.group.to_json(), "dimension": self.dimension, "images": images}

    @classmethod
    def from_json(cls, record: Mapping[str, Any]) -> Representation:
        """The representation of a record made by ``to_json``; checked again."""
        images = [
            np.array(m["rows"]) if "rows" in m else Monomial(np.array(m["index"], dtype=int), np.array(m["factor"]))
            for m in record["images"]
        ]
        return cls(Group.from_json(record["group"]), tuple(images), dimension=record["dimension"])

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Representation):
            return NotImplemented
        same = self.group == other.group and self.dimension == other.dimension
        return same and all(_equal(a, b) for a, b in zip(self.images, other.images, strict=True))

    def __hash__(self) -> int:
        return hash((self.group, self.dimension))

    def __str__(self) -> str:
        return str(self.isotypic())

    def __repr__(self) -> str:
        kind = "permutation" if self.is_permutation else "monomial" if self.is_monomial else "dense"
        return f"Representation({self.group.name}, dimension {self.dimension}, {kind})"


def parse_multiplicities(text: str) -> tuple[str, dict[str, int]]:
    """The name of the group and the multiplicity by irrep of a text like ``D4: 3·A1 + B2``.

    Raises:
        WrongUse: No colon, or an empty term.

    Example:
        >>> parse_multiplicities("D4: 3·A1 + B2")
        ('D4', {'A1': 3, 'B2': 1})
    """
    head, colon, tail = text.partition(":")
    if not colon:
        raise WrongUse(f"expected 'GROUP: m·IRREP + ...', got '{text}'")
    out: dict[str, int] = {}
    for term in [] if tail.strip() == "0" else tail.split(" + "):
        count, dot, name = term.strip().partition("·")
        name, m = (name.strip(), count) if dot else (count, "1")
        if not name or not m.isdigit():
            raise WrongUse(f"expected 'm·IRREP', got '{term.strip()}' in '{text}'")
        out[name] = out.get(name, 0) + int(m)
    return head.strip(), out


def _dense(m: MatrixLike) -> Float[ndarray, "d d"]:
    return m.dense() if isinstance(m, Monomial) else m


def _direct_sum(a: MatrixLike, b: MatrixLike) -> MatrixLike:
    return _block_diagonal([a, b])


def _block_diagonal(blocks: Sequence[MatrixLike]) -> MatrixLike:
    monomials = [b for b in blocks if isinstance(b, Monomial)]
    if len(monomials) == len(blocks):
        return Monomial.direct_sum(monomials)
    sizes = np.cumsum([0, *(b.dimension if isinstance(b, Monomial) else len(b) for b in blocks)])
    out = np.zeros((sizes[-1], sizes[-1]))
    for b, start, stop in zip(blocks, sizes[:-1], sizes[1:], strict=True):
        out[start:stop, start:stop] = _dense(b)
    return out


def _equal(a: MatrixLike, b: MatrixLike) -> bool:
    if isinstance(a, Monomial) and isinstance(b, Monomial):
        return a == b
    return np.array_equal(_dense(a), _dense(b))
