"""What is rewritten, with its data: the readers of a network, the spaces that they read, and how G moves all of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from intertwiner.errors import CannotRewrite
from intertwiner.network import Network
from intertwiner.network import node as ir
from intertwiner.numerics.monomial import Monomial
from intertwiner.rewrite.coordinates import Coordinates, channel_axis, given_action, written_spaces
from intertwiner.rewrite.lifted import Lifted
from intertwiner.rewrite.readers import Reader, readers
from intertwiner.rewrite.window_moments import Batches
from intertwiner.symmetry import BoundSymmetry
from intertwiner.transport import layouts
from intertwiner.transport.rules_linear import induced_by


@dataclass(frozen=True, eq=False)
class GraphTask:
    """What is rewritten, with its data.

    Args:
        network: The original, affine maps folded.
        symmetry: The task.
        batches: The data, from the start.
        seed: Of the windows drawn.
        memory: What was measured of the task already; tasks that are the same may share it.
    """

    network: Network
    symmetry: BoundSymmetry
    batches: Batches
    seed: int = 0
    memory: dict[Any, Any] = field(default_factory=dict)

    @cached_property
    def readers(self) -> tuple[Reader, ...]:
        return readers(self.network)

    @cached_property
    def given(self) -> dict[str, Coordinates]:
        """The spaces whose action is part of the task."""
        spaces = {s.name: s for s in written_spaces(self.network).values() if s.given}
        return {
            name: Coordinates.of_task(given_action(self.network, self.symmetry, s)) for name, s in spaces.items()
        }  # fmt: skip

    @cached_property
    def hidden(self) -> dict[str, int]:
        """The other spaces that are written, in order, with their dimensions."""
        found = {s.name: s.dimension for s in written_spaces(self.network).values() if not s.given}
        read = {name for r in self.readers for name, _, _ in r.owners}
        unread = [name for name in found if name not in read]
        if unread:
            raise CannotRewrite(f"no linear map or convolution reads {unread[0]}. Nothing was rewritten.")
        return found

    @cached_property
    def generators_on_places(self) -> Mapping[str, tuple[Monomial, ...]]:
        """By reader, how the generators move the places of its windows."""
        found, _ = layouts(self.network, self.symmetry)
        out = {}
        for r in self.readers:
            source = self.network.node(r.source)
            positions = tuple(a for a in range(len(source.sample_shape)) if a != r.axis - 1)
            if isinstance(r.node.op, ir.Conv):
                size = tuple(source.sample_shape[a] for a in positions)
                out[r.node.name] = tuple(induced_by(r.node.op, g, size)[1] for g in found[r.source].grids)
            elif r.places > 1:
                out[r.node.name] = tuple(g.matrix_on(positions) for g in found[r.source].grids)
            else:
                out[r.node.name] = (Monomial.identity(1),) * len(self.symmetry.group.generators)
        return out

    def grid(self, r: Reader) -> tuple[int, ...]:
        """The positions of the value that a reader reads."""
        return tuple(n for a, n in enumerate(self.network.node(r.source).sample_shape) if a != r.axis - 1)

    def elements(self, generators: Sequence[Monomial]) -> list[Monomial]:
        """One per element of G."""
        identity = Monomial.identity(generators[0].dimension)
        return self.symmetry.group.extend(generators, lambda a, b: a @ b, identity)

    def lifted(self, names: Sequence[str]) -> Lifted:
        """The lifted values of some nodes, channels where their readers or writers have them."""
        axes = {r.source: r.axis for r in self.readers} | {
            r.node.name: channel_axis(r.node) for r in self.readers
        }  # fmt: skip
        return Lifted(self.network, self.symmetry, {n: axes[n] for n in dict.fromkeys(names)})

    def given_elements(self, reader: Reader) -> list[Monomial] | None:
        return self.elements(self.given[reader.space].rho) if reader.space in self.given else None
