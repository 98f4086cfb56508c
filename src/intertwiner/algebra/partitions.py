"""Partitions name the irreps of the symmetric group; their characters by the Murnaghan-Nakayama rule.

``chi_lambda(mu)`` is the signed count of ways to strip rim hooks of lengths mu from the diagram of lambda
[James and Kerber 1981, theorem 2.4.7]. Integers throughout: an oracle that shares nothing with characters.py.
"""

from __future__ import annotations

from functools import lru_cache

Partition = tuple[int, ...]


def partitions(n: int, largest: int | None = None) -> tuple[Partition, ...]:
    """All partitions of n in reverse lexicographic order, so that (n) comes first.

    Example:
        >>> partitions(4)
        ((4,), (3, 1), (2, 2), (2, 1, 1), (1, 1, 1, 1))
    """
    largest = n if largest is None else largest
    if n == 0:
        return ((),)
    return tuple((first, *rest) for first in range(min(n, largest), 0, -1) for rest in partitions(n - first, first))


def transpose(partition: Partition) -> Partition:
    """The partition with rows and columns exchanged: the irrep times the sign.

    Example:
        >>> transpose((3, 1))
        (2, 1, 1)
    """
    return tuple(sum(1 for row in partition if row > column) for column in range(partition[0] if partition else 0))


@lru_cache(maxsize=65536)
def symmetric_character(partition: Partition, cycle_type: Partition) -> int:
    """The value of the irrep of ``partition`` on the permutations of ``cycle_type``.

    Example:
        >>> symmetric_character((4, 1), (2, 1, 1, 1)), symmetric_character((3, 1, 1), (5,))
        (2, 1)
    """
    if not cycle_type:
        return 1
    # Rim hooks of length h are moves of one bead by h to the left on the abacus of first-column hook lengths.
    h, rest = cycle_type[0], cycle_type[1:]
    rows = len(partition)
    beads = [row + rows - 1 - i for i, row in enumerate(partition)]
    total = 0
    for bead in beads:
        moved = bead - h
        if moved < 0 or moved in beads:
            continue
        jumped = sum(1 for other in beads if moved < other < bead)
        after = sorted((b for b in beads if b != bead), reverse=True)
        after = sorted([*after, moved], reverse=True)
        smaller = tuple(b - (rows - 1 - i) for i, b in enumerate(after))
        total += (-1) ** jumped * symmetric_character(tuple(row for row in smaller if row), rest)
    return total


def cycle_type(permutation: list[int]) -> Partition:
    """Lengths of the cycles, longest first.

    Example:
        >>> cycle_type([1, 0, 2])
        (2, 1)
    """
    seen: set[int] = set()
    lengths = []
    for start in range(len(permutation)):
        length, point = 0, start
        while point not in seen:
            seen.add(point)
            point, length = permutation[point], length + 1
        if length:
            lengths.append(length)
    return tuple(sorted(lengths, reverse=True))
