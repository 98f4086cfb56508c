"""Any loader as a stream of batches: arrays, tuples, mappings, datasets, loaders, generators.

A whole data set is a tensor or array (one input), a tuple of them (several inputs, in order) or a mapping by
input name, and is cut into batches. Anything else that can be iterated yields batches: a tensor, an array, a
mapping, or a tuple whose first entries are the inputs and whose rest (labels) is left alone. Every pass over a
``Stream`` starts again; what can be iterated only once is kept, up to ``max_samples``.
"""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, IterableDataset

from intertwiner.errors import DataMismatch, EmptyData, NonFiniteData, WrongUse

if TYPE_CHECKING:
    from intertwiner.network import Network

PATIENCE = 2.0
"""Seconds after which a progress bar appears."""

T = TypeVar("T")


@dataclass(frozen=True)
class InputSpec:
    """What a network takes at one input.

    Args:
        name: The input's name, by which mappings are read.
        shape: Shape of one sample, without the batch axis; None accepts any, as does a None in it.
        dtype: The dtype that floating data is brought to and that other data must have.
        device: Where the network lives.
    """

    name: str
    shape: tuple[int | None, ...] | None
    dtype: torch.dtype = torch.float32
    device: torch.device = field(default_factory=lambda: torch.device("cpu"))


def input_specs(network: Network) -> tuple[InputSpec, ...]:
    """What a traced network takes, one record per input."""
    return tuple(
        InputSpec(
            spec.name,
            tuple(None if axis in spec.free_axes else size for axis, size in enumerate(spec.shape))[1:],
            spec.dtype,
            network.device,
        )
        for spec in network.inputs
    )


@dataclass(frozen=True, eq=False)
class Stream:
    """Batches of checked inputs from any data, as often as they are asked for.

    Args:
        data: See the module's first lines.
        inputs: What the network takes, in order.
        batch_size: Samples per batch where ``data`` is a whole data set.
        max_samples: Stop after that many samples; None takes all.
        progress: Text of the progress bar; "" shows none.
        shuffle: Seed of a random order of the samples of a whole data set or indexed ``Dataset``, the same in every
            pass; None keeps the order. What can only be iterated comes as it comes.

    Raises:
        EmptyData: When iterated without meeting a single sample.
        DataMismatch: A batch of another shape, dtype or number of inputs than the network takes.
        NonFiniteData: NaN or infinity in a batch.

    Example:
        >>> stream = Stream(torch.arange(10.0).reshape(5, 2), [InputSpec("x", (2,))], batch_size=2)
        >>> [len(x) for (x,) in stream]
        [2, 2, 1]
    """

    data: Any
    inputs: Sequence[InputSpec]
    batch_size: int = 256
    max_samples: int | None = None
    progress: str = ""
    shuffle: int | None = None
    _kept: list[tuple[Tensor, ...]] = field(default_factory=list, init=False, repr=False)

    def __post_init__(self) -> None:
        if self.batch_size < 1 or (self.max_samples is not None and self.max_samples < 1):
            raise WrongUse(f"batch_size and max_samples must be positive, got {self.batch_size} and {self.max_samples}")
        if not _is_whole(self.data) and not isinstance(self.data, Dataset) and not isinstance(self.data, Iterable):
            raise WrongUse(f"data of type {type(self.data).__name__} is neither an array nor an iterable of batches")

    def __iter__(self) -> Iterator[tuple[Tensor, ...]]:
        batches = self._checked()
        return with_progress(batches, self.progress, self.number_of_batches) if self.progress else batches

    @property
    def number_of_batches(self) -> int | None:
        """How many batches one pass has, None where that is not known beforehand."""
        if _is_whole(self.data):
            first = next(iter(_parts(self.data)), None)
            count = 0 if first is None else len(first)
            return -(-min(count, self.max_samples or count) // self.batch_size)
        if self.max_samples is None and hasattr(self.data, "__len__") and not isinstance(self.data, Dataset):
            return len(self.data)
        return None

    def _checked(self) -> Iterator[tuple[Tensor, ...]]:
        once = isinstance(self.data, Iterator)
        seen = 0
        for batch in itertools.chain(tuple(self._kept), self._fresh(once)):
            if self.max_samples is not None:
                batch = tuple(x[: self.max_samples - seen] for x in batch)
            if len(batch[0]) == 0:
                continue
            seen += len(batch[0])
            yield batch
            if self.max_samples is not None and seen >= self.max_samples:
                break
        if not seen:
            raise EmptyData(f"no sample in data of type {type(self.data).__name__}: nothing was measured")

    def _fresh(self, once: bool) -> Iterator[tuple[Tensor, ...]]:
        for number, raw in enumerate(self._raw(), start=len(self._kept)):
            batch = self._check(raw, number)
            if once:
                self._kept.append(batch)
            yield batch

    def _raw(self) -> Iterable[Any]:
        if _is_whole(self.data):
            return self._slices()
        if isinstance(self.data, Dataset) and not isinstance(self.data, IterableDataset):
            if self.shuffle is None:
                return DataLoader(self.data, batch_size=self.batch_size)
            order = torch.Generator().manual_seed(self.shuffle)
            return DataLoader(self.data, batch_size=self.batch_size, shuffle=True, generator=order)
        return self.data

    def _slices(self) -> Iterator[Any]:
        lengths = {len(part) for part in _parts(self.data)}
        if len(lengths) > 1:
            raise DataMismatch(f"inputs of one data set have different numbers of samples: {sorted(lengths)}")
        count = max(lengths, default=0)
        order = None if self.shuffle is None else np.random.default_rng(self.shuffle).permutation(count)
        for at in range(0, count, self.batch_size):
            cut: Any = slice(at, at + self.batch_size)
            cut = cut if order is None else order[cut]
            if isinstance(self.data, Mapping):
                yield {name: part[cut] for name, part in self.data.items()}
            elif isinstance(self.data, tuple):
                yield tuple(part[cut] for part in self.data)
            else:
                yield self.data[cut]

    def _check(self, raw: Any, number: int) -> tuple[Tensor, ...]:
        batch = tuple(
            _to_tensor(value, spec, number) for value, spec in zip(self._select(raw, number), self.inputs, strict=True)
        )
        sizes = {len(x) for x in batch}
        if len(sizes) > 1:
            raise DataMismatch(f"batch {number}: inputs of one batch have different numbers of samples {sorted(sizes)}")
        return batch

    def _select(self, raw: Any, number: int) -> Sequence[Any]:
        """The inputs in a batch: by name in a mapping, the first entries of a tuple."""
        need = len(self.inputs)
        if isinstance(raw, Mapping):
            missing = [spec.name for spec in self.inputs if spec.name not in raw]
            if not missing:
                return [raw[spec.name] for spec in self.inputs]
            if len(raw) == need == 1:
                return list(raw.values())
            raise DataMismatch(f"batch {number}: a mapping with keys {sorted(raw)} has no {missing}")
        values = list(raw) if isinstance(raw, (tuple, list)) else [raw]
        if len(values) < need:
            raise DataMismatch(f"batch {number}: the network takes {need} inputs, the batch holds {len(values)}")
        return values[:need]


def _is_whole(data: Any) -> bool:
    if isinstance(data, (Tensor, np.ndarray)):
        return True
    parts = data.values() if isinstance(data, Mapping) else data if isinstance(data, tuple) else ()
    return len(parts) > 0 and all(isinstance(part, (Tensor, np.ndarray)) for part in parts)


def _parts(data: Any) -> Iterable[Any]:
    return data.values() if isinstance(data, Mapping) else data if isinstance(data, tuple) else (data,)


def _to_tensor(value: Any, spec: InputSpec, number: int) -> Tensor:
    where = f"batch {number}, input '{spec.name}'"
    if isinstance(value, np.ndarray):
        # A copy where numpy forbids writing, since torch would warn about it.
        value = torch.from_numpy(value if value.flags.writeable else value.copy())
    if not isinstance(value, Tensor):
        raise DataMismatch(f"{where}: expected a tensor or array, got {type(value).__name__}")
    if value.ndim == 0:
        raise DataMismatch(f"{where}: expected a batch axis, got a scalar")
    shape = tuple(value.shape[1:])
    if spec.shape is not None and not (
        len(shape) == len(spec.shape) and all(b in (None, a) for a, b in zip(shape, spec.shape, strict=True))
    ):
        raise DataMismatch(f"{where}: expected samples of shape {tuple(spec.shape)}, got {shape}")
    if value.dtype != spec.dtype:
        raise DataMismatch(f"{where}: expected {spec.dtype}, got {value.dtype}; convert it, nothing is cast silently")
    if value.device.type != spec.device.type:
        raise DataMismatch(f"{where}: the network is on {spec.device}, the batch on {value.device}")
    if value.is_floating_point() and not bool(torch.isfinite(value.sum())) and not bool(torch.isfinite(value).all()):
        bad = int((~torch.isfinite(value)).sum())
        raise NonFiniteData(f"{where}: {bad} of {value.numel()} numbers are NaN or infinite; nothing was measured")
    return value


def with_progress(
    items: Iterable[T], text: str, total: int | None, *, clock: Callable[[], float] = time.monotonic
) -> Iterator[T]:
    """The same items, under a progress bar on the terminal's error stream once ``PATIENCE`` is over."""
    start = clock()
    iterator = iter(items)
    done = 0
    for item in iterator:
        yield item
        done += 1
        if clock() - start > PATIENCE:
            break
    else:
        return
    from rich.console import Console
    from rich.progress import Progress

    console = Console(stderr=True)
    with Progress(console=console, transient=True, disable=not console.is_terminal) as bar:
        task = bar.add_task(text, total=total, completed=done)
        for item in iterator:
            yield item
            bar.advance(task)
