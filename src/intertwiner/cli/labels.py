"""The labels of ``--labels``: one class per sample, from an array beside the data or from a file of its own."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from intertwiner.cli.arrays import SUFFIXES, read_arrays
from intertwiner.cli.data import parse_source
from intertwiner.cli.subject import Words
from intertwiner.errors import DataMismatch, WrongUse


def read_labels(text: str, words: Words) -> tuple[np.ndarray, Words]:
    """All labels, and the words with the data told apart from them.

    A data file with two arrays, one of them the labels, leaves one for the input; it need not be named.

    Args:
        text: The name of an array in the only ``--data`` file, or a file as ``--data`` takes it.
        words: What the command line says about the network and its data.

    Raises:
        WrongUse: There is no such array, or no data that it could belong to.
        DataMismatch: The array holds no classes.
    """
    if not words.data:
        raise WrongUse(f"--labels {text}: labels belong to samples, and there is no --data. Nothing was rewritten.")
    if Path(text.rpartition(":")[2]).suffix in SUFFIXES:
        source = parse_source(text)
        path, key = source.path, source.key
    else:
        first, *others = words.data
        source = parse_source(first)
        path, key = source.path, text
        if others or path is None or path.suffix == ".npy":
            raise WrongUse(
                f"--labels {text}: an array is named within one .npz or .safetensors, and --data is "
                f"{', '.join(words.data)}.\n  Give the labels as a file: --labels labels.npy. Nothing was rewritten."
            )
    if path is None:
        raise WrongUse(f"--labels {text}: expected a file of arrays. Nothing was rewritten.")
    arrays = read_arrays(path, key)
    if len(arrays) > 1:
        raise WrongUse(
            f"--labels {text}: the file holds {', '.join(arrays)}; say which, as in {next(iter(arrays))}:{path}"
        )
    if key == text and source.key is None:
        words = replace(words, data=(_other(words.data[0], path, text),))
    return _classes(text, next(iter(arrays.values()))), words


def _other(data: str, path: Path, label: str) -> str:
    """The data file as a source of its other array, where there is one other."""
    names = [name for name in _names(path) if name != label]
    before = data[: len(data) - len(str(path))]
    return f"{before}{names[0]}:{path}" if len(names) == 1 and data.endswith(str(path)) else data


def _names(path: Path) -> list[str]:
    """The arrays of a file that was read before; their numbers are left alone."""
    if path.suffix == ".npz":
        with np.load(path, allow_pickle=False) as archive:
            return list(archive.files)
    from safetensors import safe_open

    with safe_open(path, framework="pt") as file:
        return list(file.keys())


def _classes(text: str, array: Any) -> np.ndarray:
    array = np.asarray(array)  # of a tensor as well, where it comes from .safetensors
    if array.ndim != 1:
        raise DataMismatch(
            f"--labels {text}: expected one class per sample, got an array of shape {array.shape}.\n"
            "  Usual cause: one-hot rows; argmax over the last axis makes classes of them. Nothing was rewritten."
        )
    if array.dtype.kind not in "iu" or (array.size and array.min() < 0):
        raise DataMismatch(
            f"--labels {text}: expected classes 0, 1, ... as whole numbers, got {array.dtype}"
            f"{f' from {array.min()}' if array.size and array.dtype.kind in 'iu' else ''}. Nothing was rewritten."
        )
    return array.astype(np.int64)


def fitting(text: str, labels: np.ndarray, outputs: int, data: Any, limit: int | None) -> np.ndarray:
    """The labels of the samples that are read.

    Args:
        text: As they were named.
        labels: All of them.
        outputs: How many numbers the network answers, one per class.
        data: Tensors with all samples; None where they are counted when they are gone through.
        limit: At most that many samples.

    Raises:
        DataMismatch: Another number of labels than of samples, or a class that the network does not know.
    """
    if data is not None and len(labels) != len(data[0]):
        raise DataMismatch(
            f"--labels {text}: {len(labels)} labels for {len(data[0])} samples; every sample has one. "
            "Nothing was rewritten."
        )
    largest = int(labels.max(initial=0))
    if largest >= outputs:
        raise DataMismatch(
            f"--labels {text}: class {largest}, and the network answers {outputs} number(s), classes 0 to "
            f"{outputs - 1}.\n  Usual cause: classes counted from 1, or labels that are no classes. "
            "Nothing was rewritten."
        )
    return labels[:limit]
