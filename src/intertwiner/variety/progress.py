"""A count on the terminal for work of unknown length, once two seconds are over."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

PATIENCE = 2.0


@contextmanager
def counted(
    title: str, instead: Callable[[int], None] | None = None, *, clock: Callable[[], float] = time.monotonic
) -> Iterator[Callable[[int], None]]:
    """A callback that takes the number of things done.

    Args:
        title: What is counted.
        instead: Called in place of the bar.
        clock: The time in seconds.

    Example:
        >>> with counted("things") as tick:
        ...     tick(1)
    """
    if instead is not None:
        yield instead
        return
    from rich.console import Console
    from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

    start, console = clock(), Console(stderr=True)
    columns = (SpinnerColumn(), TextColumn("{task.fields[done]} {task.description}"), TimeElapsedColumn())
    bar = Progress(
        *columns, console=console, transient=True, redirect_stdout=False, auto_refresh=False,
        disable=not console.is_terminal,
    )  # fmt: skip
    task = bar.add_task(title, total=None, done=0)
    started = False

    def tick(done: int) -> None:
        nonlocal started
        if not started and clock() - start > PATIENCE:
            bar.start()
            started = True
        if started:
            bar.update(task, done=done)
            bar.refresh()

    try:
        yield tick
    finally:
        if started:
            bar.stop()
