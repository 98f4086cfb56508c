"""What counts as a parameter, and which column of the Jacobian it has.

Every trainable entry of the state dict is one column, used or not; an entry that is used twice collects from both
places. Where an operator holds numbers that are *computed* from trainable entries, those numbers are the columns: for
batch norm, scale = weight / sqrt(var + eps) and shift = bias - mean scale are a triangular linear map of weight and
bias, so the rank is the same; for weight norm they are the normalised weight, and the names say so.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from math import prod

import numpy as np
from jaxtyping import Float, Int
from numpy import ndarray

from intertwiner.network import Network, Param


@dataclass(frozen=True)
class Columns:
    """Names, shapes and places of the parameters.

    Args:
        shapes: Shape of every parameter, in the order of the columns.
        starts: First column of each.
        computed: Names that stand for numbers computed from trainable entries.
    """

    shapes: Mapping[str, tuple[int, ...]]
    starts: Mapping[str, int]
    computed: tuple[str, ...] = ()

    @classmethod
    def of(cls, network: Network) -> Columns:
        """The parameters of a network."""
        trainable = trainable_names(network)
        state = network.state
        computed: dict[str, tuple[int, ...]] = {}
        replaced: set[str] = set()
        for node in network.nodes:
            for param in node.op.params:
                if param.computed and trainable & set(param.sources):
                    computed[param.name] = param.shape
                    replaced |= trainable & set(param.sources)
        shapes = {n: tuple(t.shape) for n, t in state.items() if n in trainable and n not in replaced} | computed
        sizes = np.cumsum([0, *(prod(s) for s in shapes.values())])
        return cls(shapes, dict(zip(shapes, map(int, sizes))), tuple(computed))

    @property
    def total(self) -> int:
        return sum(prod(s) for s in self.shapes.values())

    def places(self, param: Param) -> Int[ndarray, "..."] | None:
        """The column of every entry of a parameter, or None where it is no parameter."""
        if param.computed:
            name, places = param.name, None
        elif len(param.sources) == 1:
            name, places = param.sources[0], param.places
        else:
            return None
        if name not in self.shapes:
            return None
        inside = np.arange(prod(param.shape)) if places is None else np.asarray(places).ravel()
        return self.starts[name] + inside

    def parts(self, vector: Float[ndarray, " n"]) -> dict[str, Float[ndarray, "..."]]:
        """A vector over all columns as one array per parameter.

        Example:
            >>> Columns({"w": (1, 2), "b": (1,)}, {"w": 0, "b": 2}).parts(np.array([1.0, 2.0, 3.0]))
            {'w': array([[1., 2.]]), 'b': array([3.])}
        """
        return {
            name: np.asarray(vector[self.starts[name] : self.starts[name] + prod(shape)]).reshape(shape)
            for name, shape in self.shapes.items()
        }

    def names(self) -> Iterator[str]:
        return iter(self.shapes)


def trainable_names(network: Network) -> set[str]:
    """State_dict names of the parameters; without an exported program, of every floating tensor but running moments."""
    if network.program is not None:
        signature = network.program.graph_signature
        return {n for n in signature.parameters if n in network.state}
    buffers = ("running_mean", "running_var", "num_batches_tracked")
    return {n for n, t in network.state.items() if t.is_floating_point() and not n.endswith(buffers)}
