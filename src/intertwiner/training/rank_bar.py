"""A progress bar for counts that take longer than two seconds: the rank that was found, of the rank that is enough."""

from __future__ import annotations

import time
from collections.abc import Callable
from types import TracebackType
from typing import Any

PATIENCE = 2.0
"""Seconds before it appears."""


class RankBar:
    """Shows a rank on the terminal's error stream; nothing where that is no terminal.

    Args:
        text: What is counted.
        clock: Seconds.

    Example:
        >>> with RankBar("laws", clock=iter((0.0, 1.0)).__next__) as bar:
        ...     bar.show(3, 10)
        ...     bar.visible
        False
    """

    def __init__(self, text: str, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._text, self._clock, self._start = text, clock, clock()
        self._bar: Any = None
        self._task: Any = None

    @property
    def visible(self) -> bool:
        """Whether it has appeared."""
        return self._bar is not None

    def show(self, rank: int, enough: int) -> None:
        """Move it to a rank, of the rank at which the count ends at the latest."""
        if self._bar is None:
            if self._clock() - self._start <= PATIENCE:
                return
            from rich.console import Console
            from rich.progress import Progress

            console = Console(stderr=True)
            self._bar = Progress(console=console, transient=True, disable=not console.is_terminal)
            self._bar.start()
            self._task = self._bar.add_task(self._text)
        self._bar.update(self._task, completed=rank, total=enough)

    def __enter__(self) -> RankBar:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._bar is not None:
            self._bar.stop()
