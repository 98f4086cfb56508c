"""Array files without pickles: ``.npy``, ``.npz``, ``.safetensors``."""

from __future__ import annotations

import tokenize
from pathlib import Path
from typing import Any
from zipfile import BadZipFile
from zlib import error as ZlibError

import numpy as np

from intertwiner.errors import CorruptFile, DataMismatch, UnsafeFile, WrongUse

SUFFIXES = (".npy", ".npz", ".safetensors")
DAMAGED = (OSError, ValueError, EOFError, KeyError, BadZipFile, ZlibError, NotImplementedError, SyntaxError)


def read_arrays(path: Path, key: str | None = None, limit: int | None = None) -> dict[str, Any]:
    """The arrays in a file by name; "" is the name of the array in a ``.npy``.

    Args:
        path: The file.
        key: Only this array.
        limit: At most that many samples of each.

    Returns:
        numpy arrays, or tensors from ``.safetensors``.

    Raises:
        UnsafeFile: Only a pickle could read it: object arrays.
        CorruptFile: Missing, or damaged.
        WrongUse: There is no such key, or another kind of file.
    """
    if path.suffix not in SUFFIXES:
        raise WrongUse(
            f"{path}: arrays are read from {', '.join(SUFFIXES)}, not {path.suffix or 'a name without suffix'}"
        )
    if not path.is_file():
        raise CorruptFile(f"there is no file {path}")
    if key is not None and path.suffix == ".npy":
        raise WrongUse(f"{key}:{path}: a .npy holds one array without a name")
    try:
        found = _safetensors(path, key, limit) if path.suffix == ".safetensors" else _numpy(path, key, limit)
    except (*DAMAGED, tokenize.TokenError) as error:
        if "pickle" in str(error).lower() or "Python objects" in str(error):
            raise UnsafeFile(
                f"{path} was refused: it holds Python objects (a pickle), and loading them could run code.\n"
                "  Save plain numbers: numpy.save(file, array.astype(numpy.float32)). Nothing was loaded."
            ) from error
        raise CorruptFile(f"{path} is damaged or no {path.suffix} file: {_line(error)}") from error
    if not found:
        raise CorruptFile(f"{path} holds no array")
    for name, array in found.items():
        _check_numbers(path, name, array)
    return found


def _numpy(path: Path, key: str | None, limit: int | None) -> dict[str, Any]:
    # A memory map reads no more of a .npy than is used; .npz ignores it.
    loaded = np.load(path, mmap_mode="r" if path.suffix == ".npy" else None, allow_pickle=False)
    if isinstance(loaded, np.ndarray):
        return {"": np.array(loaded[:limit] if loaded.ndim else loaded)}
    with loaded as archive:
        _check_key(path, key, list(archive.files))
        arrays = {name: archive[name] for name in ([key] if key is not None else archive.files)}
    return {name: a[:limit] if a.ndim else a for name, a in arrays.items()}


def _safetensors(path: Path, key: str | None, limit: int | None) -> dict[str, Any]:
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="pt") as file:
            names = list(file.keys())
            _check_key(path, key, names)
            arrays = {name: file.get_tensor(name) for name in ([key] if key is not None else names)}
    except SafetensorError as error:
        raise CorruptFile(f"{path} is no readable safetensors file: {_line(error)}") from error
    return {name: a[:limit] if a.ndim else a for name, a in arrays.items()}


def _check_key(path: Path, key: str | None, names: list[str]) -> None:
    if key is not None and key not in names:
        raise WrongUse(f"{path} holds no array {key!r}; it holds {', '.join(names) or 'none'}")


def _check_numbers(path: Path, name: str, array: Any) -> None:
    kind = array.dtype.kind if isinstance(array, np.ndarray) else "f" if not array.is_complex() else "c"
    if kind not in "fiub":
        raise DataMismatch(f"{path}: {name or 'the array'} holds {array.dtype}, not real numbers")


def _line(error: BaseException) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:200]
