"""A history of any length in bounded memory: when it is full, every second entry is dropped and fewer are taken."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Generic, TypeVar

from intertwiner.errors import WrongUse

T = TypeVar("T")


@dataclass(frozen=True)
class Entry(Generic[T]):
    """What was kept of one step."""

    step: int
    kept: T


class History(Generic[T]):
    """The first entry, then entries evenly spaced over the steps, at most ``capacity``.

    Args:
        capacity: At least 2.

    Raises:
        WrongUse: For less.

    Example:
        >>> history = History(4)
        >>> for step in range(11):
        ...     if history.wants(step):
        ...         history.add(step, "kept")
        >>> [entry.step for entry in history]
        [0, 4, 8]
    """

    def __init__(self, capacity: int) -> None:
        if capacity < 2:
            raise WrongUse(f"a history keeps at least 2 entries, got {capacity}. Nothing was computed.")
        self.capacity = capacity
        self.stride = 1
        self._entries: list[Entry[T]] = []

    def wants(self, step: int) -> bool:
        """Whether this step is one that is kept."""
        return step % self.stride == 0

    def add(self, step: int, kept: T) -> None:
        """Keep a step that ``wants`` let through."""
        if len(self._entries) == self.capacity:
            self.stride *= 2
            self._entries = [entry for entry in self._entries if entry.step % self.stride == 0]
            if not self.wants(step):
                return
        self._entries.append(Entry(step, kept))

    def __iter__(self) -> Iterator[Entry[T]]:
        return iter(self._entries)

    def __len__(self) -> int:
        return len(self._entries)

    def __getitem__(self, place: int) -> Entry[T]:
        return self._entries[place]
