r"""A twin of any graph from orbits that were chosen: layer by layer, what a representative reads is refitted.

The twin is assembled node by node: what a representative of an orbit reads is the least-squares fit, on what the twin
computes so far, of what the original's channel answers on symmetrised data, channels that are its copies gathered into
it (``gather``); the output is fitted to the group average.
Ties make every layer an intertwiner, whatever the fit.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

import numpy as np
from jaxtyping import Float
from numpy import ndarray
from torch import Tensor

from intertwiner.rewrite.assemble import Assembler, Write, continued_rows
from intertwiner.rewrite.coordinates import sign_is_free, written_spaces
from intertwiner.rewrite.copies import copied, copy_moments
from intertwiner.rewrite.gather import gathered_rows
from intertwiner.rewrite.graph_task import GraphTask
from intertwiner.rewrite.lifted import values_of
from intertwiner.rewrite.moments import Moments
from intertwiner.rewrite.readers import Reader
from intertwiner.rewrite.refit import Fit, refit
from intertwiner.rewrite.survey import COPY_ROWS, Offer, rows_for
from intertwiner.rewrite.twin import TwinGraph
from intertwiner.rewrite.window_moments import Seen, window_moments


@dataclass
class Refit:
    """What representatives read, fitted on what the twin computes so far; a `Rows` for the assembler.

    Args:
        task: What is rewritten.
        cosine: Images of channels that are so near to one another are gathered (``gather``).
        copies: Convolutions that read their own copy only.
        fits: By node name, how it went.
    """

    task: GraphTask
    cosine: float = 0.95
    copies: frozenset[str] = frozenset()
    fits: dict[str, Fit] = field(default_factory=dict)

    def __call__(self, write: Write) -> tuple[Float[ndarray, "o r"], Float[ndarray, " o"]]:
        to, known = write.coordinates, write.value.label is not None
        if known and (to.given or self.copies):
            return continued_rows(write)
        r = next(r for r in self.task.readers if r.node.name == write.node.name)
        moments = self._moments(write, r)
        if known:
            every = np.arange(self.task.hidden[r.space])
            whole = replace(to, channels=every, factor=np.ones(len(every)))
            rows = np.column_stack(continued_rows(replace(write, coordinates=whole)))
        else:
            # Copies of a window were counted one by one.
            images = 1 if write.node.name in self.copies else self.task.symmetry.group.order
            found = self.fits[write.node.name] = refit(moments, symmetric_copies=images)
            rows = found.rows
        # In copies every channel stands for itself: nothing is gathered.
        rows = rows[to.channels] if to.given or self.copies else self._gathered(rows, write, r, moments)
        return rows[:, :-1] / to.factor[:, None], rows[:, -1] / to.factor

    def _gathered(
        self, rows: Float[ndarray, "d r1"], write: Write, r: Reader, moments: Moments
    ) -> Float[ndarray, "o r1"]:  # fmt: skip
        task = self.task
        space = next(s for s in written_spaces(task.network).values() if s.name == r.space)
        return gathered_rows(
            rows, task.elements(write.read), moments.square, chosen=write.coordinates.channels, cosine=self.cosine,
            signed=sign_is_free(task.network, space), scaled=space.gauge.scale != "none",
        )  # fmt: skip

    def _moments(self, write: Write, r: Reader) -> Moments:
        """Of what the twin's reader sees, with what the original's channels answer."""
        task = self.task
        lifted, shape, seed = task.lifted([r.node.name]), task.grid(r), task.seed + 1
        rows, order = rows_for(write.read[0].dimension, 24), task.symmetry.group.order
        run = values_of(task.network, write.twin.graph, [r.source])

        def features(inputs: tuple[Tensor, ...], values: dict[str, Tensor]) -> Tensor:
            (value,) = run(*(x.to(task.network.dtype) if x.is_floating_point() else x for x in inputs))
            return value.movedim(r.axis, 1).flatten(2) if value.dim() > 2 else value[..., None]

        def copies(inputs: tuple[Tensor, ...], values: dict[str, Tensor]) -> Tensor:
            return features(inputs, values).unflatten(1, (order, -1))

        if write.node.name in self.copies:
            return copy_moments(task, lifted, r, copies, shape, rows=COPY_ROWS * rows, seed=seed)
        seen = Seen(features, shape, task.elements(write.read))
        return window_moments(
            task.batches, lifted, r, seen, given=task.given_elements(r), rows=rows, seed=seed
        )  # fmt: skip


@dataclass(frozen=True, eq=False)
class GraphBuilt:
    """A twin and how it came about.

    Args:
        twin: The twin.
        offers: The orbits of every latent space.
        fits: By node name, how its refit went.
    """

    twin: TwinGraph
    offers: Mapping[str, Offer]
    fits: Mapping[str, Fit]


def build_graph(task: GraphTask, offers: Mapping[str, Offer], cosine: float = 0.95) -> GraphBuilt:
    """The twin with the orbits that were chosen.

    Args:
        task: What is rewritten.
        offers: By name of the space (``survey.Survey.offers``).
        cosine: Images of channels that are so near to one another are gathered (``gather``).

    Raises:
        DataTooSmall: The data do not determine a refit.

    Cost:
        One pass over some of the data per linear map or convolution, once per element of G.
    """
    coordinates = task.given | {name: found.coordinates(task) for name, found in offers.items()}
    copies = copied(task) if all(found.copies for found in offers.values()) else frozenset()
    rows = Refit(task, cosine, copies)
    twin = Assembler(task.network, task.symmetry, coordinates, rows, copies).run()
    return GraphBuilt(twin, offers, rows.fits)
