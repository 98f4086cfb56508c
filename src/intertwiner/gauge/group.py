"""Gauge groups K_i: the changes of latent coordinates that the architecture cannot see (theory 2).

A group is a value: how coordinates may mix (not at all, monomially, orthogonally, linearly), whether signs and scales
are free, whether constants may be added, and the blocks that never mix. All combine by intersection,
``K = A & B``, and by products over consecutive blocks; ``A <= B`` is containment.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np

from intertwiner.errors import ShapeMismatch, WrongUse

if TYPE_CHECKING:
    from intertwiner.gauge.element import GaugeElement

MIXINGS = ("none", "monomial", "orthogonal", "linear")
SCALES = ("none", "positive", "nonzero")
SHIFTS = ("none", "pi", "real")
"""Each from the smallest to the largest choice; an intersection takes the smaller one."""

_NAMES = {
    ("none", "none", False): "identity",
    ("none", "none", True): "signs",
    ("none", "positive", False): "positive scales",
    ("none", "nonzero", True): "nonzero scales",
    ("monomial", "none", False): "permutations",
    ("monomial", "none", True): "signed permutations",
    ("monomial", "positive", False): "permutations x positive scales",
    ("monomial", "nonzero", True): "permutations x nonzero scales",
    ("orthogonal", "none", True): "orthogonal maps",
    ("linear", "nonzero", True): "linear maps",
}
_SHIFT_NAMES = {"none": "", "pi": " with shifts by pi", "real": " with shifts"}


@dataclass(frozen=True, repr=False)
class GaugeGroup:
    """A group of affine maps ``z -> M z + t`` of a latent space.

    Args:
        dimension: Number of coordinates.
        sign: Whether single coordinates may change sign.
        scale: ``"none"``, ``"positive"`` or ``"nonzero"``. Nonzero scales are positive scales and signs.
        mixing: ``"none"`` (diagonal), ``"monomial"``, ``"orthogonal"`` or ``"linear"``.
        shift: ``"none"``, ``"pi"`` (multiples of pi per coordinate) or ``"real"``.
        blocks: The factors of a product over consecutive coordinates; the flags then say what all blocks allow.

    Raises:
        WrongUse: A flag that is not among the choices.

    Example:
        A residual stream between a ReLU and a tanh layer keeps only what both allow:

        >>> print(GaugeGroup.positively_scaled(8) & GaugeGroup.signed(8))
        permutations
        >>> GaugeGroup.permutation(8) <= GaugeGroup.orthogonal(8) <= GaugeGroup.general_linear(8)
        True
        >>> print(GaugeGroup.product(GaugeGroup.permutation(2), GaugeGroup.signed(3)))
        permutations of 2 + signed permutations of 3
    """

    dimension: int
    sign: bool = False
    scale: str = "none"
    mixing: str = "monomial"
    shift: str = "none"
    blocks: tuple[GaugeGroup, ...] = ()

    def __post_init__(self) -> None:
        for value, choices in ((self.mixing, MIXINGS), (self.scale, SCALES), (self.shift, SHIFTS)):
            if value not in choices:
                raise WrongUse(f"a gauge group has no {value!r}; choose among {', '.join(choices)}")
        sign, scale, mixing = bool(self.sign), self.scale, self.mixing
        if mixing == "linear":
            scale = "nonzero"
        elif mixing == "orthogonal":
            sign, scale = True, "none"
        if scale == "nonzero" or (sign and scale == "positive"):
            sign, scale = True, "nonzero"
        if self.dimension == 1 and not self.blocks:
            mixing = "monomial"  # one coordinate: all mixings agree, and equal groups must compare equal
        if self.blocks and sum(block.dimension for block in self.blocks) != self.dimension:
            raise ShapeMismatch(f"blocks of {[b.dimension for b in self.blocks]} do not make {self.dimension}")
        for name, value in (("sign", sign), ("scale", scale), ("mixing", mixing)):
            object.__setattr__(self, name, value)

    @classmethod
    def trivial(cls, n: int) -> GaugeGroup:
        """Only the identity: a space whose action is given, not free."""
        return cls(n, mixing="none")

    @classmethod
    def permutation(cls, n: int) -> GaugeGroup:
        return cls(n)

    @classmethod
    def signed(cls, n: int) -> GaugeGroup:
        return cls(n, sign=True)

    @classmethod
    def positively_scaled(cls, n: int) -> GaugeGroup:
        return cls(n, scale="positive")

    @classmethod
    def scaled(cls, n: int) -> GaugeGroup:
        return cls(n, scale="nonzero")

    @classmethod
    def orthogonal(cls, n: int) -> GaugeGroup:
        return cls(n, mixing="orthogonal")

    @classmethod
    def general_linear(cls, n: int) -> GaugeGroup:
        return cls(n, mixing="linear")

    @classmethod
    def affine(cls, n: int) -> GaugeGroup:
        return cls(n, mixing="linear", shift="real")

    @classmethod
    def product(cls, *groups: GaugeGroup) -> GaugeGroup:
        """The direct product over consecutive blocks, as a concatenation allows it (theory 2).

        Flat and in a normal form: blocks that do not mix and have equal flags are one block.
        """
        flat: list[GaugeGroup] = []
        for group in groups:
            for block in group.blocks or (group,):
                if flat and _is_diagonal(flat[-1]) and _is_diagonal(block) and _flags(flat[-1]) == _flags(block):
                    flat[-1] = cls(flat[-1].dimension + block.dimension, *_flags(block))
                elif block.dimension:
                    flat.append(block)
        if len(flat) < 2:
            return flat[0] if flat else cls.trivial(0)
        sign, scale, mixing, shift = _meet_flags(flat)
        return cls(sum(block.dimension for block in flat), sign, scale, mixing, shift, tuple(flat))

    def __and__(self, other: GaugeGroup) -> GaugeGroup:
        """The intersection: what every summand of an add allows.

        Raises:
            ShapeMismatch: If the dimensions differ.
        """
        if self.dimension != other.dimension:
            raise ShapeMismatch(
                f"no intersection of gauge groups on {self.dimension} and {other.dimension} coordinates"
            )
        if not self.blocks and not other.blocks:
            return GaugeGroup(self.dimension, *_meet_flags((self, other)))
        cells = []
        for start, stop in _cells(self, other):
            parts = [_block_at(group, start) for group in (self, other)]
            cells.append(GaugeGroup(stop - start, *_meet_flags(parts)))
        return GaugeGroup.product(*cells)

    def __le__(self, other: GaugeGroup) -> bool:
        return self.dimension == other.dimension and (self & other) == self & self

    def __ge__(self, other: GaugeGroup) -> bool:
        return other <= self

    def __lt__(self, other: GaugeGroup) -> bool:
        return self <= other and not other <= self

    def __gt__(self, other: GaugeGroup) -> bool:
        return other < self

    def __contains__(self, element: GaugeElement) -> bool:
        return element.is_in(self)

    @property
    def slices(self) -> tuple[slice, ...]:
        """The coordinates of each block; all of them where there are no blocks."""
        stops = np.cumsum([0, *(block.dimension for block in self.blocks or (self,))])
        return tuple(slice(int(a), int(b)) for a, b in pairwise(stops))

    @property
    def parameters(self) -> int:
        """Dimension of the group as a manifold: what it takes away from the functional dimension.

        >>> GaugeGroup.positively_scaled(8).parameters, GaugeGroup.orthogonal(3).parameters
        (8, 3)
        """
        if self.blocks:
            return sum(block.parameters for block in self.blocks)
        n = self.dimension
        mixing = {"orthogonal": n * (n - 1) // 2, "linear": n * n}.get(self.mixing, n * (self.scale != "none"))
        return mixing + n * (self.shift == "real")

    def __str__(self) -> str:
        if self.blocks:
            return " + ".join(f"{block} of {block.dimension}" for block in self.blocks)
        return _NAMES[self.mixing, self.scale, self.sign] + _SHIFT_NAMES[self.shift]

    def __repr__(self) -> str:
        return f"GaugeGroup({self.dimension}: {self})"

    def to_json(self) -> dict[str, Any]:
        """A plain record; ``from_json`` reads it back.

        >>> GaugeGroup.from_json(GaugeGroup.signed(3).to_json()) == GaugeGroup.signed(3)
        True
        """
        if self.blocks:
            return {"dimension": self.dimension, "blocks": [block.to_json() for block in self.blocks]}
        sign, scale, mixing, shift = _flags(self)
        return {"dimension": self.dimension, "sign": sign, "scale": scale, "mixing": mixing, "shift": shift}

    @classmethod
    def from_json(cls, record: dict[str, Any]) -> GaugeGroup:
        if "blocks" in record:
            return cls.product(*map(cls.from_json, record["blocks"]))
        return cls(record["dimension"], record["sign"], record["scale"], record["mixing"], record["shift"])


def _flags(group: GaugeGroup) -> tuple[bool, str, str, str]:
    mixing = "none" if _is_diagonal(group) else group.mixing
    return group.sign, group.scale, mixing, group.shift


def _is_diagonal(group: GaugeGroup) -> bool:
    return not group.blocks and (group.mixing == "none" or group.dimension == 1)


def _meet_flags(groups: Iterable[GaugeGroup]) -> tuple[bool, str, str, str]:
    groups = tuple(groups)
    scale = min((g.scale for g in groups), key=SCALES.index)
    mixing = min((g.mixing for g in groups), key=MIXINGS.index)
    shift = min((g.shift for g in groups), key=SHIFTS.index)
    return all(g.sign for g in groups), scale, mixing, shift


def _cells(*groups: GaugeGroup) -> list[tuple[int, int]]:
    """Common refinement of the blocks: a matrix that respects all partitions respects this one."""
    edges = sorted({edge for group in groups for s in group.slices for edge in (s.start, s.stop)})
    return list(pairwise(edges))


def _block_at(group: GaugeGroup, start: int) -> GaugeGroup:
    for block, where in zip(group.blocks or (group,), group.slices, strict=True):
        if where.start <= start < where.stop:
            return block
    raise ShapeMismatch(f"no block at coordinate {start} of {group.dimension}")
