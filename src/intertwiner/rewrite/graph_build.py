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
from intertwiner.rewrite.survey import Offer, rows_for
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
        if write.node.name in self.copies:
            return self._copied(write)
        to, known = write.coordinates, write.value.label is not None
        if known and to.given:
            return continued_rows(write)
        task = self.task
        r = next(r for r in task.readers if r.node.name == write.node.name)
        moments = self._moments(write, r)
        if known:
            every = np.arange(task.hidden[r.space])
            whole = replace(to, channels=every, factor=np.ones(len(every)))
            rows = np.column_stack(continued_rows(replace(write, coordinates=whole)))
        else:
            found = refit(moments, symmetric_copies=task.symmetry.group.order)
            self.fits[write.node.name] = found
            rows = found.rows
        if to.given:
            rows = rows[to.channels]
        else:
            space = next(s for s in written_spaces(task.network).values() if s.name == r.space)
            rows = gathered_rows(
                rows, task.elements(write.read), moments.square, chosen=to.channels, cosine=self.cosine,
                signed=sign_is_free(task.network, space), scaled=space.gauge.scale != "none",
            )  # fmt: skip
        return rows[:, :-1] / to.factor[:, None], rows[:, -1] / to.factor

    def _copied(self, write: Write) -> tuple[Float[ndarray, "o r"], Float[ndarray, " o"]]:
        """Fitted on what one copy computes so far."""
        task, order = self.task, self.task.symmetry.group.order
        r = next(r for r in task.readers if r.node.name == write.node.name)
        run = values_of(task.network, write.twin.graph, [r.source])
        shape = tuple(n for a, n in enumerate(task.network.node(r.source).sample_shape) if a != r.axis - 1)

        def copies(inputs: tuple[Tensor, ...], values: dict[str, Tensor]) -> Tensor:
            (value,) = run(*(x.to(task.network.dtype) if x.is_floating_point() else x for x in inputs))
            value = value.movedim(r.axis, 1).flatten(2)
            return value.reshape(len(value), order, -1, value.shape[-1])

        moments = copy_moments(
            task, task.lifted([r.node.name]), r, copies, shape,
            rows=4 * rows_for(write.read[0].dimension, 24), seed=task.seed + 1,
        )  # fmt: skip
        found = self.fits[write.node.name] = refit(moments)
        return found.weight[write.coordinates.channels], found.bias[write.coordinates.channels]

    def _moments(self, write: Write, r: Reader) -> Moments:
        """Of what the twin's reader sees, with what the original's channels answer."""
        task = self.task
        run = values_of(task.network, write.twin.graph, [r.source])
        shape = tuple(n for a, n in enumerate(task.network.node(r.source).sample_shape) if a != r.axis - 1)

        def features(inputs: tuple[Tensor, ...], values: dict[str, Tensor]) -> Tensor:
            (value,) = run(*(x.to(task.network.dtype) if x.is_floating_point() else x for x in inputs))
            return value.movedim(r.axis, 1).flatten(2) if value.dim() > 2 else value[..., None]

        return window_moments(
            task.batches, task.lifted([r.node.name]), r, Seen(features, shape, task.elements(write.read)),
            given=task.given_elements(r), rows=rows_for(write.read[0].dimension, 24), seed=task.seed + 1,
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
    rows = Refit(task, 2.0 if copies else cosine, copies)
    twin = Assembler(task.network, task.symmetry, coordinates, rows, copies).run()
    return GraphBuilt(twin, offers, rows.fits)
