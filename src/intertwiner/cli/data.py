"""The data of ``--data``: arrays from files, matched to the inputs by name, or batches from ``module:callable``.

Nothing is converted in silence. Floats are brought to the float type of the network, which changes no figure beyond
rounding; whole numbers become floats only with ``--scale``, because 0..255 and 0..1 are different inputs. Both are
written into the report.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from intertwiner.cli.arrays import SUFFIXES, read_arrays
from intertwiner.cli.code import PREFIX, blamed, call, names_code
from intertwiner.errors import CorruptFile, DataMismatch, EmptyData, WrongUse


@dataclass(frozen=True)
class Source:
    """One ``--data``.

    Args:
        text: As it was spelt.
        input: The input it is for, "" where none is named.
        path: The file; None for code.
        key: The array in the file, None for all of them.
    """

    text: str
    input: str = ""
    path: Path | None = None
    key: str | None = None


def parse_source(text: str) -> Source:
    """What one ``--data`` means.

    Raises:
        WrongUse: Neither a file of arrays nor code.

    Example:
        >>> source = parse_source("x=images:data.npz")
        >>> source.input, source.key, source.path.name
        ('x', 'images', 'data.npz')
    """
    named = None if Path(text).exists() else PREFIX.match(text)
    name, rest = (text[: named.end() - 1], text[named.end() :]) if named else ("", text)
    path = Path(rest)
    if path.suffix in SUFFIXES:
        key, colon, file = rest.partition(":")
        if colon and not path.exists() and key and "/" not in key:
            return Source(text, name, Path(file), key)
        return Source(text, name, path)
    if names_code(rest) and not path.exists():
        if name:
            raise WrongUse(f"--data {text}: code yields whole batches, so it is not named after one input")
        return Source(text)
    if not path.exists() and path.suffix:
        raise CorruptFile(f"--data {text}: there is no such file")
    raise WrongUse(f"--data {text}: expected {', '.join(SUFFIXES)}, key:file.npz, or module:callable")


def parse_scale(text: str | None) -> float | None:
    """A factor, as a number or a fraction.

    >>> parse_scale("1/4"), parse_scale(None)
    (0.25, None)
    """
    if text is None:
        return None
    above, slash, below = text.partition("/")
    try:
        factor = float(above) / float(below) if slash else float(above)
    except (ValueError, ZeroDivisionError):
        raise WrongUse(f"--scale {text}: expected a number or a fraction such as 1/255") from None
    if not np.isfinite(factor) or factor == 0:
        raise WrongUse(f"--scale {text}: expected a finite number other than 0")
    return factor


def batches_of(source: Source) -> Any:
    """What the code of a source returns, ready for an audit.

    Raises:
        WrongUse: The code raised, now or while it is iterated over, or returned nothing that can be iterated over.
    """
    data = call(source.text, "--data")
    if isinstance(data, Iterator):
        return _guarded(source.text, data)
    if hasattr(data, "__getitem__") or not isinstance(data, Iterable):
        if data is None or isinstance(data, (str, bytes, int, float)):
            raise WrongUse(f"--data {source.text} gave {type(data).__name__}, not an iterable of batches")
        return data  # arrays, tuples, mappings and datasets, which the library looks into
    return (_Counted if hasattr(data, "__len__") else _Batches)(source.text, data)


def _guarded(text: str, data: Iterable[Any]) -> Iterator[Any]:
    with blamed(text):
        yield from data


class _Batches:
    """Batches that can be gone through again; what they raise is the user's own."""

    def __init__(self, text: str, data: Iterable[Any]) -> None:
        self._text, self._data = text, data

    def __iter__(self) -> Iterator[Any]:
        return _guarded(self._text, self._data)


class _Counted(_Batches):
    def __len__(self) -> int:
        return len(self._data)  # type: ignore[arg-type]


def arrays_for(sources: Sequence[Source], inputs: Sequence[str], limit: int | None) -> list[tuple[str, Any]]:
    """One (file, array) per input, in order.

    Args:
        sources: Files only.
        inputs: Names of the inputs.
        limit: At most that many samples.

    Raises:
        WrongUse: Which array is for which input is not clear.
        EmptyData: An array without a sample.
    """
    found: dict[str, tuple[str, Any]] = {}
    for source in sources:
        if source.path is None:
            raise WrongUse(f"--data {source.text}: code yields whole batches, and stands alone")
        arrays = read_arrays(source.path, source.key, limit)
        if not source.input and len(sources) > 1:
            raise WrongUse(f"--data {source.text}: with several files say for which input each is, as in {inputs[0]}=")
        for name, array in _matched(source, arrays, inputs).items():
            if name in found:
                raise WrongUse(f"--data {source.text}: the input {name!r} has its data already")
            found[name] = (str(source.path), array)
    missing = [name for name in inputs if name not in found]
    if missing:
        raise WrongUse(f"no data for the input {missing[0]!r}; the network takes {', '.join(inputs)}")
    for name, (file, array) in found.items():
        if array.ndim == 0:
            raise DataMismatch(f"{file}: expected samples along the first axis, got a single number for {name!r}")
        if len(array) == 0:
            raise EmptyData(f"{file} holds no sample for the input {name!r}: nothing was measured")
    return [found[name] for name in inputs]


def _matched(source: Source, arrays: dict[str, Any], inputs: Sequence[str]) -> dict[str, Any]:
    """The arrays of one file by input."""
    if source.input:
        if source.input not in inputs:
            raise WrongUse(
                f"--data {source.text}: the network has no input {source.input!r}; it takes {', '.join(inputs)}"
            )
        if source.input in arrays and len(arrays) > 1:
            return {source.input: arrays[source.input]}
        return {source.input: _only(source, arrays, inputs)}
    if all(name in arrays for name in inputs):
        return {name: arrays[name] for name in inputs}
    if len(inputs) == 1:
        return {inputs[0]: _only(source, arrays, inputs)}
    raise WrongUse(
        f"--data {source.text}: the network takes {', '.join(inputs)}; the file holds {_listed(arrays)}.\n"
        f"  Name the arrays like the inputs, or give one --data each: --data {inputs[0]}=key:{source.path}"
    )


def _only(source: Source, arrays: dict[str, Any], inputs: Sequence[str]) -> Any:
    if len(arrays) == 1:
        return next(iter(arrays.values()))
    raise WrongUse(
        f"--data {source.text}: which array is the input {inputs[0]!r}? The file holds {_listed(arrays)}.\n"
        f"  Say it as --data {next(iter(arrays))}:{source.path}"
    )


def _listed(arrays: dict[str, Any]) -> str:
    names = [f"{name or 'one array'} {tuple(a.shape)} {_type(a)}" for name, a in arrays.items()]
    return ", ".join(names[:8]) + (f" and {len(names) - 8} more" if len(names) > 8 else "")


def _type(array: Any) -> str:
    return str(array.dtype).removeprefix("torch.")


def to_tensor(file: str, array: Any, dtype: Any, scale: float | None) -> tuple[Any, str]:
    """The tensor that an input takes, and what was done to get it ("" for nothing).

    Args:
        file: Where the array comes from, for messages.
        array: A numpy array, or a tensor from ``.safetensors``.
        dtype: What the input takes; None where that is not known and whole numbers pass as they are.
        scale: The factor of ``--scale``.

    Raises:
        DataMismatch: Nothing but a guess would make this array an input.
    """
    import torch

    if isinstance(array, np.ndarray):
        array = torch.from_numpy(np.ascontiguousarray(array, dtype=array.dtype.newbyteorder("=")))
    before, wanted = _type(array), torch.get_default_dtype() if dtype is None else dtype
    name = str(wanted).removeprefix("torch.")
    if array.is_floating_point() and not wanted.is_floating_point:
        raise DataMismatch(f"{file} holds {before}, the input takes {name}: nothing is rounded here")
    if scale is not None:
        if not wanted.is_floating_point:
            raise WrongUse(f"--scale makes floats, and the input takes {name}")
        return array.to(wanted) * scale, f"{file}: {before} times {scale:.6g}, as {name}"
    if array.dtype == wanted or (dtype is None and not array.is_floating_point()):
        return array, ""
    if wanted.is_floating_point and not array.is_floating_point():
        low, high = int(array.min()), int(array.max())
        raise DataMismatch(
            f"{file} holds {before} from {low} to {high}, the input takes {name}.\n"
            f"  Usual cause: images stored as bytes. --scale 1/255 brings them to [0, 1] as most training does, "
            "--scale 1 takes the numbers as they are. Nothing was measured."
        )
    converted = array.to(wanted)
    if not wanted.is_floating_point and not bool((converted.long() == array.long()).all()):
        raise DataMismatch(f"{file}: {before} does not fit into {name}")
    return converted, f"{file}: {before} converted to {name}"
