"""The group of ``--group``: by name, from a Cayley table in a file, or from ``module:callable``."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from intertwiner.cli.arrays import read_arrays
from intertwiner.cli.code import call, names_code
from intertwiner.errors import CorruptFile, GroupError, WrongUse

if TYPE_CHECKING:
    from intertwiner.algebra import Group


def read_group(text: str) -> Group:
    """The group that ``--group`` names.

    Raises:
        GroupError: No known name, or a table that is no group.
        CorruptFile, UnsafeFile: A file that cannot be read.
        WrongUse: Code that returns no group.

    Example:
        >>> read_group("D4").order
        8
    """
    from intertwiner.algebra import Group, from_table, parse_group

    path = Path(text)
    if path.suffix == ".json":
        return _from_json(path)
    if path.suffix in (".npy", ".npz"):
        arrays = read_arrays(path)
        if "table" not in arrays and len(arrays) > 1:
            raise WrongUse(f"{path} holds {', '.join(arrays)}: call the Cayley table 'table'")
        table = arrays.get("table", next(iter(arrays.values())))
        chosen = arrays["generators"] if "table" in arrays and "generators" in arrays else None
        generators = None if chosen is None else _whole(path, chosen).ravel().tolist()
        return from_table(_whole(path, table), name=path.stem, generators=generators)
    if names_code(text):
        found = call(text, "--group")
        if not isinstance(found, Group):
            raise WrongUse(f"--group {text} gave {type(found).__name__}, not an intertwiner Group")
        return found
    return parse_group(text)


def _whole(path: Path, array: np.ndarray) -> np.ndarray:
    if array.dtype.kind == "f" and np.array_equal(array, np.round(array)):
        return array.astype(np.int64)
    if array.dtype.kind not in "iu":
        raise GroupError(f"{path}: elements are whole numbers, the array holds {array.dtype}")
    return array.astype(np.int64)


def _from_json(path: Path) -> Group:
    from intertwiner.algebra import from_table, group_from_json

    if not path.is_file():
        raise CorruptFile(f"there is no file {path}")
    try:
        content: Any = json.loads(path.read_text(encoding="utf-8"))
    except (UnicodeDecodeError, json.JSONDecodeError, RecursionError, OSError) as error:
        raise CorruptFile(f"{path} is no JSON: {error}") from error
    try:
        if isinstance(content, dict) and ("factors" in content or "family" in content):
            return group_from_json(content)
        parts = content if isinstance(content, dict) else {"table": content}
        table = _whole(path, np.array(parts["table"]))
        return from_table(table, name=parts.get("name") or path.stem, generators=parts.get("generators"))
    except GroupError:
        raise
    except (KeyError, TypeError, ValueError, AttributeError, IndexError) as error:
        raise CorruptFile(f"{path} is no Cayley table: expected a list of rows, or table, generators, name") from error
