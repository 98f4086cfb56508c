r"""A twin of any graph from orbits that were chosen: layer by layer, what a representative reads is refitted.

The twin is assembled node by node: what a representative of an orbit reads is the least-squares fit, on what the twin
computes so far, of what the original's channel answers on symmetrised data; the output is fitted to the group average.
Ties make every layer an intertwiner, whatever the fit.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from jaxtyping import Float
from numpy import ndarray
from torch import Tensor

from intertwiner.rewrite.assemble import Assembler, Write, continued_rows
from intertwiner.rewrite.graph_task import GraphTask
from intertwiner.rewrite.lifted import values_of
from intertwiner.rewrite.refit import Fit, refit
from intertwiner.rewrite.survey import Offer, rows_for
from intertwiner.rewrite.twin import TwinGraph
from intertwiner.rewrite.window_moments import Seen, window_moments


@dataclass
class Refit:
    """What representatives read, fitted on what the twin computes so far; a `Rows` for the assembler.

    Args:
        task: What is rewritten.
        fits: By node name, how it went.
    """

    task: GraphTask
    fits: dict[str, Fit] = field(default_factory=dict)

    def __call__(self, write: Write) -> tuple[Float[ndarray, "o r"], Float[ndarray, " o"]]:
        if write.value.label is not None:
            return continued_rows(write)
        task = self.task
        r = next(r for r in task.readers if r.node.name == write.node.name)
        lifted = task.lifted([r.node.name])
        run = values_of(task.network, write.twin.graph, [r.source])
        shape = tuple(n for a, n in enumerate(task.network.node(r.source).sample_shape) if a != r.axis - 1)

        def features(inputs: tuple[Tensor, ...], values: dict[str, Tensor]) -> Tensor:
            (value,) = run(*(x.to(task.network.dtype) if x.is_floating_point() else x for x in inputs))
            return value.movedim(r.axis, 1).flatten(2) if value.dim() > 2 else value[..., None]

        seen = Seen(features, shape, task.elements(write.read))
        rows = rows_for(write.read[0].dimension, 24)
        moments = window_moments(
            task.batches, lifted, r, seen, given=task.given_elements(r), rows=rows, seed=task.seed + 1
        )  # fmt: skip
        found = refit(moments, symmetric_copies=task.symmetry.group.order)
        self.fits[write.node.name] = found
        to = write.coordinates
        return found.weight[to.channels] / to.factor[:, None], found.bias[to.channels] / to.factor


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


def build_graph(task: GraphTask, offers: Mapping[str, Offer]) -> GraphBuilt:
    """The twin with the orbits that were chosen.

    Args:
        task: What is rewritten.
        offers: By name of the space (``survey.Survey.offers``).

    Raises:
        DataTooSmall: The data do not determine a refit.

    Cost:
        One pass over some of the data per linear map or convolution, once per element of G.
    """
    coordinates = task.given | {name: found.coordinates(task) for name, found in offers.items()}
    rows = Refit(task)
    twin = Assembler(task.network, task.symmetry, coordinates, rows).run()
    return GraphBuilt(twin, offers, rows.fits)
