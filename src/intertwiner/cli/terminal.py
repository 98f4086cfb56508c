"""Plain tables on the standard output and progress bars on the error stream, within 80 columns."""

from __future__ import annotations

import textwrap
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TypeVar

from intertwiner.cli.exits import printable

PATIENCE = 2.0
"""Seconds before a progress bar appears."""

REFRESH = 0.1
"""Seconds between two states of a bar that is told of every step."""

WIDTH = 80

T = TypeVar("T")


def columns(cells: Sequence[str], widths: Sequence[int]) -> str:
    """Cells side by side, negative widths to the right; a cell that is too wide pushes the rest, and is never cut.

    >>> columns(("tap", "3", "ok"), (6, -4, 5))
    'tap      3 ok'
    """
    out = ""
    for cell, width in zip(cells, widths, strict=True):
        text = printable(cell)
        out += f"{text:>{-width}} " if width < 0 else f"{text:<{width - 1}} "
    return out.rstrip()


def paragraph(text: str, indent: int = 2) -> str:
    """Text wrapped to the width of the page."""
    pad = " " * indent
    return textwrap.fill(printable(text), WIDTH, initial_indent=pad, subsequent_indent=pad)


def progress(items: Sequence[T], title: str) -> Iterator[T]:
    """The items, under a bar on the error stream once two seconds are over."""
    start, done = time.monotonic(), 0
    while done < len(items) and time.monotonic() - start <= PATIENCE:
        yield items[done]
        done += 1
    left = items[done:]
    if not left:
        return
    from rich.console import Console
    from rich.progress import Progress

    # The standard output is left alone: rich would otherwise send the printed rows to the error stream.
    with Progress(console=Console(stderr=True), transient=True, redirect_stdout=False) as bar:
        task = bar.add_task(title, total=len(items), completed=done)
        for item in left:
            yield item
            bar.advance(task)


@contextmanager
def training(title: str) -> Iterator[Callable[[int, int, float], None]]:
    """A bar for a training of known length, with its loss: the callback takes (steps done, steps planned, loss)."""
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

    start, shown = time.monotonic(), 0.0
    columns = (TextColumn("{task.description}"), BarColumn(), TextColumn("{task.fields[loss]}"), TimeRemainingColumn())
    console = Console(stderr=True)
    with Progress(*columns, console=console, transient=True, redirect_stdout=False, auto_refresh=False) as bar:
        task = bar.add_task(title, total=None, loss="")

        def stepped(done: int, total: int, loss: float) -> None:
            nonlocal shown
            now = time.monotonic()
            if now - start > PATIENCE and (now - shown > REFRESH or done == total):
                shown = now
                bar.update(task, completed=done, total=total, loss=f"step {done} of {total}, loss {loss:.3g}")
                bar.refresh()

        yield stepped


@contextmanager
def counting(title: str, total: int) -> Iterator[Callable[[int, int], None]]:
    """A bar for a number that grows towards ``total``: the callback takes (steps, number)."""
    from rich.console import Console
    from rich.progress import Progress

    start = time.monotonic()
    with Progress(console=Console(stderr=True), transient=True, redirect_stdout=False, auto_refresh=False) as bar:
        task = bar.add_task(title, total=total)

        def grown(_: int, number: int) -> None:
            if time.monotonic() - start > PATIENCE:
                bar.update(task, completed=number, refresh=True)

        yield grown
