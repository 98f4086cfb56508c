"""What is audited: the traced network, the symmetry bound to its shapes, and the data as a stream."""

from __future__ import annotations

import inspect
import itertools
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.export import ExportedProgram
from torch.utils.data import DataLoader, Dataset, IterableDataset

from intertwiner.audit.stream import Stream, input_specs
from intertwiner.errors import EmptyData, WrongUse
from intertwiner.network import Network, trace
from intertwiner.symmetry import BoundSymmetry, Symmetry

NOISE_SAMPLES = 512
BATCH = 256
NOISE_SCALES = (1.0, 0.5, 0.25, 2.0)


@dataclass(frozen=True, eq=False)
class Subject:
    """A network with its symmetry and its data.

    Args:
        network: The traced network.
        symmetry: The symmetry on the shapes of the network.
        stream: The data, as often as it is asked for.
        source: Where the data came from, in words.
        note: What the reader should know about them.
        seed: Of everything random.
    """

    network: Network
    symmetry: BoundSymmetry
    stream: Stream
    source: str
    note: str
    seed: int

    def noise(self) -> Iterator[tuple[Tensor, ...]]:
        """Batches of noise of several sizes in the shape of the inputs; nothing where an input holds integers.

        A change of weights may show on small inputs only, or on large ones.
        """
        if all(spec.dtype.is_floating_point for spec in self.network.inputs):
            for scale in NOISE_SCALES:
                yield tuple(scale * x for x in noise_like(self.network.example, BATCH, self.seed))


def prepare(
    model: nn.Module | ExportedProgram | Network,
    symmetry: Symmetry,
    data: Any,
    *,
    example: Any = None,
    kwargs: Mapping[str, Any] | None = None,
    outputs: Any = None,
    max_samples: int | None = None,
    seed: int = 0,
    progress: str = "",
) -> Subject:
    """Trace, bind and open the data; everything that can be refused is refused here.

    Raises:
        WrongUse: The model is none, or neither data nor an example tells the shape of the inputs.
        EmptyData: The data hold no sample.
    """
    if not isinstance(symmetry, Symmetry):
        raise WrongUse(f"expected a Symmetry, got {type(symmetry).__name__}: Symmetry(group, on_input=, on_output=)")
    if not isinstance(model, (nn.Module, ExportedProgram, Network)):
        raise WrongUse(f"an audit takes a torch.nn.Module, an ExportedProgram or a Network, got {type(model).__name__}")
    if isinstance(model, Network):
        network = model
    else:
        if example is None and data is not None and not isinstance(model, ExportedProgram):
            example, data = example_of(model, data)
        if example is None and not isinstance(model, ExportedProgram):
            raise WrongUse("give data=, or example= with one batch of inputs: the shapes are not known otherwise")
        network = trace(model, example, kwargs=kwargs, outputs=outputs)
    bound = symmetry.bind(*_shapes(network))
    if data is None:
        source, note = "noise", "standard normal noise in the shape of the inputs: figures on real data may differ"
        data = noise_like(network.example, max_samples or NOISE_SAMPLES, seed)
    else:
        source, note = type(data).__name__, ""
    stream = Stream(data, input_specs(network), BATCH, max_samples, progress)
    return Subject(network, bound, stream, source, note, seed)


def _shapes(network: Network) -> tuple[Any, Any]:
    ins = {spec.name: tuple(spec.shape[1:] if spec.batched else spec.shape) for spec in network.inputs}
    last = network.nodes[-1]
    outs = {name: tuple(network.node(n).sample_shape) for name, n in zip(network.outputs, last.inputs, strict=True)}
    return _only(ins), _only(outs)


def _only(shapes: dict[str, tuple[int, ...]]) -> Any:
    """The one shape where there is one."""
    return next(iter(shapes.values())) if len(shapes) == 1 else shapes


def noise_like(example: tuple[Tensor, ...], count: int, seed: int) -> tuple[Tensor, ...]:
    """Standard normal numbers for floating inputs; for integers, entries of the example in random order."""
    generator = torch.Generator().manual_seed(seed)
    out = []
    for x in example:
        shape = (count, *x.shape[1:])
        if x.is_floating_point():
            noise = torch.randn(shape, generator=generator, dtype=x.dtype)
        else:
            pool = x.cpu().reshape(-1)
            noise = pool[torch.randint(len(pool), shape, generator=generator)]
        out.append(noise.to(x.device))
    return tuple(out)


def example_of(model: nn.Module, data: Any) -> tuple[tuple[Any, ...], Any]:
    """A first small batch of inputs, and the data with nothing lost.

    Raises:
        EmptyData: There is no batch.
    """
    names = _argument_names(model)
    if isinstance(data, (Tensor, np.ndarray)) or (
        isinstance(data, (tuple, Mapping)) and data and all(isinstance(p, (Tensor, np.ndarray)) for p in _values(data))
    ):
        parts = _chosen(data, names)
        if any(len(p) == 0 for p in parts):
            raise EmptyData("the data hold no sample: nothing was measured")
        return tuple(_tensor(p[:2]) for p in parts), data
    if isinstance(data, Dataset) and not isinstance(data, IterableDataset):
        batches: Any = DataLoader(data, batch_size=2)
    else:
        batches = data
    try:
        iterator = iter(batches)
    except TypeError as error:
        raise WrongUse(f"data of type {type(data).__name__} is neither an array nor an iterable of batches") from error
    try:
        first = next(iterator)
    except StopIteration:
        raise EmptyData(f"no batch in data of type {type(data).__name__}: nothing was measured") from None
    if iterator is data:
        data = itertools.chain([first], iterator)
    return tuple(_tensor(p) for p in _chosen(first, names)), data


def _values(data: Any) -> list[Any]:
    return list(data.values()) if isinstance(data, Mapping) else list(data)


def _chosen(batch: Any, names: list[str]) -> list[Any]:
    """The inputs in a batch: by name in a mapping, the first entries of a tuple."""
    if isinstance(batch, Mapping):
        return [batch[name] for name in names] if all(n in batch for n in names) else list(batch.values())[: len(names)]
    if isinstance(batch, (tuple, list)):
        return list(batch)[: len(names)]
    return [batch]


def _tensor(value: Any) -> Any:
    return torch.from_numpy(np.array(value)) if isinstance(value, np.ndarray) else value


def _argument_names(model: nn.Module) -> list[str]:
    """Names of the arguments that a forward needs."""
    parameters = inspect.signature(model.forward).parameters.values()
    positional = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    needed = [p.name for p in parameters if p.default is p.empty and p.kind in positional]
    return needed or ["input"]
