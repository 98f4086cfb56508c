"""Actions as the command line spells them: ``SPELLINGS`` is the table that ``--help`` prints.

``;`` separates generators, blanks or commas numbers, ``:`` options, ``/`` rows of a matrix in brackets.
"""

from __future__ import annotations

import importlib
import re
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import numpy as np

from intertwiner.algebra import parse_group
from intertwiner.errors import CorruptFile, WrongUse
from intertwiner.symmetry.custom import custom
from intertwiner.symmetry.images import image, shift
from intertwiner.symmetry.onehot import onehot
from intertwiner.symmetry.restricted import restrict, subgroup_of
from intertwiner.symmetry.spec import ActionSpec
from intertwiner.symmetry.specs import Several, invariant, rows, same, tokens, vector

SPELLINGS: tuple[tuple[str, str], ...] = (
    ("image", "turns and flips of the last two axes"),
    ("image:flip=up-down", "another mirror or turn; one per generator between ;"),
    ("image:size=28x28", "images stored flat, row by row"),
    ("image:axes=0 1", "which sample axes are the grid"),
    ("image:perm=1 0 2", "and the channels permuted; also :sign= and :matrix="),
    ("image:shift", "cyclic shifts: C_n the width, C_n x C_m height and width"),
    ("vector:perm=1 0 3 2", "permutations of the last axis, j to p[j]"),
    ("vector:sign=-1 -1 1 1", "signs"),
    ("vector:perm=1 0:sign=-1 1", "both: the sign stands at the place moved to"),
    ("vector:matrix=file.npy", "matrices, (generators, n, n): .npy, .npz, .csv (stacked); or [0 -1/1 0]"),
    ("tokens, tokens:perm=..", "permutations of the first sample axis; rows likewise"),
    ("onehot:x,y", "one-hot group elements; words x y z gx yh gzh xg gxg 1y"),
    ("invariant", "no action"),
    ("same, same:name", "like the input"),
    ("module:callable", "function(g, tensor)"),
    ("policy=same|value=invariant", "several tensors, by name; image|invariant by position"),
)
"""What can be written for ``--input`` and ``--output``, and what it means."""

KEYS = ("perm", "sign", "matrix", "flip", "size", "axes", "elements")
OPTION = re.compile(rf"(?:^|:)({'|'.join(KEYS)})=")
NAMED = re.compile(rf"(?!(?:{'|'.join(KEYS)})=)([A-Za-z_][\w.]*)=(.*)", re.DOTALL)
TAKES: dict[str, set[str]] = {
    "image": {"perm", "sign", "matrix", "flip", "size", "axes"},
    "vector": {"perm", "sign", "matrix"},
    "tokens": {"perm"},
    "rows": {"perm"},
    "onehot": {"elements"},
    "invariant": set(),
    "same": set(),
}


def parse_action(text: str) -> ActionSpec:
    """The action that a spelling stands for; ``str`` of it is a spelling of the same action.

    Raises:
        WrongUse: The spelling is not understood; the message says which part.
        CorruptFile: A matrix file that cannot be read.

    Example:
        >>> parse_action("vector:perm=1 0 3 2; 0 1 3 2")
        vector:perm=1 0 3 2;0 1 3 2
        >>> parse_action("policy=same|value=invariant").names
        ('policy', 'value')
    """
    text = text.strip()
    if "|" in text or NAMED.match(text):
        return _several(text)
    if text.startswith("under:"):
        return _under(text)
    word, _, rest = text.partition(":")
    word = word.strip()
    if word not in TAKES:
        return _callable(text)
    head, options = _options(rest)
    unknown = sorted(set(options) - TAKES[word])
    if unknown:
        takes = ", ".join(sorted(TAKES[word])) or "no options"
        raise WrongUse(f"'{text}': {word} does not take {unknown[0]}=; it takes {takes}")
    if head and not (word == "onehot" or word == "same" or (word == "image" and head == "shift")):
        raise WrongUse(f"'{text}': cannot read '{head}'")
    return _build(word, head, options)


def _under(text: str) -> ActionSpec:
    """``under:D4:r2;s:image``, as a restricted action is spelt: the subgroup of a named group, then how that acts."""
    parts = text.split(":", 3)
    if len(parts) < 4:
        raise WrongUse(f"'{text}': expected under:GROUP:GENERATORS:ACTION, as in under:D4:r2;s:image")
    chosen = subgroup_of(parse_group(parts[1]), parts[2])
    return restrict(parse_action(parts[3]), chosen)


def _build(word: str, head: str, options: dict[str, str]) -> ActionSpec:
    if word == "invariant":
        return invariant()
    if word == "same":
        return same(head or None)
    if word == "onehot":
        elements = [int(n) for n in _numbers(options["elements"])] if "elements" in options else None
        return onehot(*[w.strip() for w in head.split(",") if w.strip()], elements=elements)
    arrays = _matrices(options)
    if word in ("tokens", "rows"):
        return (tokens if word == "tokens" else rows)(arrays.get("perm"))
    acting = vector(**arrays)
    if word == "vector":
        return acting
    channels = list(acting.images) if acting.images is not None else None
    size = [int(n) for n in re.split(r"[x, ]+", options["size"].strip())] if "size" in options else None
    axes = [int(n) for n in _numbers(options["axes"])] if "axes" in options else None
    if head == "shift":
        if "flip" in options:
            raise WrongUse("image:shift does not take flip=")
        return shift(channels=channels, size=size, axes=axes)
    flip = None
    if "flip" in options:
        parts = [p.strip() for p in options["flip"].split(";")]
        flip = [_inline(p) if p.startswith("[") else p for p in parts]
    return image(channels=channels, flip=flip, size=size, axes=axes)


def _options(rest: str) -> tuple[str, dict[str, str]]:
    found = list(OPTION.finditer(rest))
    head = rest[: found[0].start()] if found else rest
    ends = [*(m.start() for m in found[1:]), len(rest)] if found else []
    out: dict[str, str] = {}
    for m, end in zip(found, ends, strict=True):
        if m[1] in out:
            raise WrongUse(f"'{m[1]}=' stands twice; generators are separated by ';'")
        out[m[1]] = rest[m.end() : end].strip()
    return head.strip(), out


def _matrices(options: dict[str, str]) -> dict[str, object]:
    out: dict[str, object] = {}
    if "perm" in options:
        out["perm"] = [[int(n) for n in _numbers(part)] for part in options["perm"].split(";")]
    if "sign" in options:
        out["sign"] = [_numbers(part) for part in options["sign"].split(";")]
    if "matrix" in options:
        value = options["matrix"]
        if value.startswith("["):
            out["matrix"] = [_inline(part) for part in value.strip("[]").split(";")]
        else:
            out["matrix"] = list(read_matrix_file(Path(value)))
    return out


def _inline(text: str) -> np.ndarray:
    lines = [_numbers(row) for row in text.strip("[] ").split("/")]
    if len({len(line) for line in lines}) != 1:
        raise WrongUse(f"the rows of the matrix '{text}' differ in length")
    return np.array(lines)


def _numbers(text: str) -> list[float]:
    try:
        return [{"+": 1.0, "-": -1.0}.get(part) or float(part) for part in re.split(r"[\s,]+", text.strip()) if part]
    except ValueError:
        raise WrongUse(f"'{text}' is no list of numbers; they are separated by blanks or commas") from None


def read_matrix_file(path: Path) -> np.ndarray:
    """Matrices (generators, n, n) from .npy, .npz (all arrays, in order of their names) or .csv (stacked).

    Never unpickles. A csv holds the n x n matrices of the generators one below the other.

    Raises:
        CorruptFile: The file cannot be read, or does not hold square matrices.
    """
    if path.suffix not in (".npy", ".npz", ".csv"):
        raise WrongUse(f"{path}: matrices are read from .npy, .npz and .csv files")
    try:
        if path.suffix == ".csv":
            array = np.loadtxt(path, delimiter=",", ndmin=2)
        else:
            with path.open("rb") as file:
                array = _load(np.load(file, allow_pickle=False))
    except (OSError, ValueError, EOFError, KeyError, BadZipFile) as error:
        raise CorruptFile(f"{path} cannot be read as matrices: {error}") from error
    array = np.asarray(array)
    if array.ndim == 2 and array.shape[1] and array.shape[0] % array.shape[1] == 0:
        array = array.reshape(-1, array.shape[1], array.shape[1])
    if array.ndim != 3 or array.shape[1] != array.shape[2] or array.dtype.kind not in "fiub":
        raise CorruptFile(f"{path} holds an array of shape {array.shape} and type {array.dtype}, not square matrices")
    return array.astype(np.float64)


def _load(loaded: Any) -> np.ndarray:
    if isinstance(loaded, np.ndarray):
        return loaded
    parts = [loaded[k] for k in sorted(loaded)]
    return np.concatenate([p.reshape(-1, *p.shape[-2:]) for p in parts])


def _several(text: str) -> ActionSpec:
    parts = [p.strip() for p in text.split("|")]
    named = [NAMED.match(p) for p in parts]
    if all(named):
        pairs = [(m[1], parse_action(m[2])) for m in named if m]
        if len({n for n, _ in pairs}) != len(pairs):
            raise WrongUse(f"'{text}' names a tensor twice")
        return Several(tuple(n for n, _ in pairs), tuple(s for _, s in pairs))
    if any(named):
        raise WrongUse(f"'{text}': name all tensors, or none")
    return Several(None, tuple(parse_action(p) for p in parts))


def _callable(text: str) -> ActionSpec:
    module, colon, name = text.partition(":")
    words = ", ".join(TAKES)
    if not colon or not re.fullmatch(r"[\w.]+", module) or not re.fullmatch(r"[\w.]+", name):
        raise WrongUse(f"'{text}' is no action: expected one of {words}, or module:callable")
    try:
        found: object = importlib.import_module(module)
    except ImportError as error:
        raise WrongUse(f"'{text}': no action is called {module} ({words}), and no module can be imported") from error
    for part in name.split("."):
        if not hasattr(found, part):
            raise WrongUse(f"'{text}': {module} has no {name}")
        found = getattr(found, part)
    return custom(found, spelling=text)
