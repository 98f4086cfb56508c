"""A stream of data moved by random group elements, one per batch: its distribution no longer prefers a direction."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from torch import Tensor

from intertwiner.numerics.seeds import rng
from intertwiner.symmetry import BoundSymmetry


@dataclass(frozen=True, eq=False)
class Symmetrised:
    """Batches of ``stream``, each moved by an element drawn at random; the same draws in every pass."""

    stream: Iterable[tuple[Tensor, ...]]
    symmetry: BoundSymmetry
    seed: int

    def __iter__(self) -> Iterator[tuple[Tensor, ...]]:
        draw = rng(self.seed)
        for batch in self.stream:
            yield self.symmetry.act_on_input(int(draw.integers(self.symmetry.group.order)), batch)
