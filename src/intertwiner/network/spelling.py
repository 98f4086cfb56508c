"""Names that a written module can hold: no python word, no attribute of modules, nothing that code could hide in.

Both functions leave a name that is fine alone, and ``f(f(name)) == f(name)``: a name that was read from a file is fine
exactly if it is its own spelling.
"""

from __future__ import annotations

import re
import unicodedata
from functools import cache
from keyword import iskeyword

from torch import fx, nn

GLOBALS = frozenset({"self", "getattr", "torch", "device", "inf", "nan", "NoneType", "fx_pytree", "pytree"})
"""Names that the code of a ``GraphModule`` uses for something else."""


def module_path(name: str) -> str:
    """The name of a tensor in a tree of modules.

    Args:
        name: Name in a state_dict, or any description.

    Returns:
        Parts with dots between them, each a whole number or an identifier that no module has as an attribute.

    Example:
        >>> module_path("layers.0.weight"), module_path("graph"), module_path("a/b * 2"), module_path("")
        ('layers.0.weight', 'graph_', 'a_b___2', 'tensor')
    """
    parts = [_part(part) for part in name.split(".") if part] or ["tensor"]
    return ".".join(_beside(part, _taken(first=i == 0)) for i, part in enumerate(parts))


def argument(name: str) -> str:
    """The name of an argument of ``forward``.

    Example:
        >>> argument("x"), argument("class"), argument("0"), argument("torch")
        ('x', 'input_class', 'input_0', 'input_torch')
    """
    plain = re.sub(r"\W", "_", name)
    return plain if _is_identifier(plain) and plain not in GLOBALS else f"input_{re.sub(r'[^0-9A-Za-z_]', '_', plain)}"


def numbered(name: str, count: int) -> str:
    """The same path with a number, for other numbers under one name."""
    owner, dot, leaf = name.rpartition(".")
    return f"{owner}{dot}{'_' if leaf.isdigit() else ''}{leaf}_{count}"


def _part(part: str) -> str:
    plain = re.sub(r"\W", "_", part)
    if _is_identifier(plain) or (plain.isascii() and plain.isdigit()):
        return plain
    return "_" + re.sub(r"[^0-9A-Za-z_]", "_", plain)


def _is_identifier(word: str) -> bool:
    """Python normalises identifiers in code, but not the names of attributes."""
    return word.isidentifier() and not iskeyword(word) and unicodedata.normalize("NFKC", word) == word


def _beside(part: str, taken: frozenset[str]) -> str:
    while part in taken:
        part += "_"
    return part


@cache
def _taken(*, first: bool) -> frozenset[str]:
    graph = fx.Graph()
    graph.output(())
    return frozenset(dir(fx.GraphModule(nn.Module(), graph) if first else nn.Module()))
