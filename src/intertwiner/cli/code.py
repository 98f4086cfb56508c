"""User code named on the command line, ``package.module:callable``: imported from the current folder, run, guarded."""

from __future__ import annotations

import importlib
import os
import re
import sys
import traceback
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

from intertwiner.errors import IntertwinerError, WrongUse

NAME = re.compile(r"[A-Za-z_]\w*(?:\.\w+)*:[A-Za-z_]\w*(?:\.\w+)*")
PREFIX = re.compile(r"[A-Za-z_][\w.]*=")
WORDS = ("image", "vector", "tokens", "rows", "onehot", "invariant", "same")
FILES = (".npz", ".npy", ".safetensors", ".json", ".csv")
FRAMES_SHOWN = 3


def names_code(spelling: str) -> bool:
    """Whether a spelling is ``module:callable``, alone or in one part of ``name=..|name=..``.

    >>> [names_code(s) for s in ("nets:build", "image:shift", "x=same|y=acts:turn", "images:data.npz", "D4")]
    [True, False, True, False, False]
    """
    parts = (PREFIX.sub("", part.strip(), count=1) for part in spelling.split("|"))
    return any(
        NAME.fullmatch(part) is not None and part.partition(":")[0] not in WORDS and not part.endswith(FILES)
        for part in parts
    )


@contextmanager
def code_of(spellings: Iterable[str | None]) -> Iterator[None]:
    """The current folder first on the path while the user's own code is named, as ``python -m`` has it.

    Where no code is named the path stays as it is: a file beside somebody else's model must not be imported.
    """
    if not any(names_code(s) for s in spellings if s):
        yield
        return
    here = os.getcwd()
    sys.path.insert(0, here)
    try:
        yield
    finally:
        if here in sys.path:
            sys.path.remove(here)


@contextmanager
def blamed(spelling: str) -> Iterator[None]:
    """Errors of the user's own code become wrong use, with the lines where they happened.

    Raises:
        WrongUse: The code raised.
    """
    try:
        yield
    except (IntertwinerError, MemoryError):
        raise
    except Exception as error:
        frames = traceback.extract_tb(error.__traceback__)[-FRAMES_SHOWN:]
        where = "".join(f"\n  {f.filename}, line {f.lineno}, in {f.name}: {f.line}" for f in frames)
        raise WrongUse(f"{spelling} raised {type(error).__name__}: {error}{where}") from error


def resolve(spelling: str, what: str) -> Any:
    """What ``module:callable`` names.

    Raises:
        WrongUse: There is no such module or no such name in it.
    """
    module, _, name = spelling.partition(":")
    with blamed(spelling):
        try:
            target: Any = importlib.import_module(module)
        except ImportError as error:
            raise WrongUse(f"cannot import {module!r} for {what} {spelling!r}: {error}") from error
    for part in name.split("."):
        if not hasattr(target, part):
            raise WrongUse(f"{module!r} has no {name!r}, named by {what} {spelling!r}")
        target = getattr(target, part)
    return target


def call(spelling: str, what: str) -> Any:
    """What ``module:callable`` returns when called without arguments; itself where it is no callable."""
    target = resolve(spelling, what)
    with blamed(spelling):
        return target() if callable(target) else target
