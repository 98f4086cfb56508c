"""Which kinds of network a selfcheck plants: first a pairwise covering design, then everything else in random order.

Two values of different factors (a group and a depth, an activation and a family, ...) are a pair. The design takes,
again and again, the first cell that covers most of the pairs not covered yet; forty-odd cells cover all of them.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import astuple
from functools import cache
from itertools import combinations, product

from intertwiner.numerics.seeds import rng
from intertwiner.testing.planted import Cell

GROUPS = ("C2", "C4", "D4", "D6", "S3", "S4", "A5", "C2xC2")
DEEPEST = {"tanh": 5, "relu": 5, "leaky_relu": 5, "gelu": 5, "sin": 5, "t^3": 3}
"""Activations, and how many hidden layers are planted with them: deeper, cubes leave the range of floats."""
KINDS = ("mlp", "conv", "residual")
DTYPES = ("float32", "float64")

Pair = tuple[tuple[int, object], tuple[int, object]]


@cache
def all_cells() -> tuple[Cell, ...]:
    """Every cell there is.

    >>> len(all_cells())
    1344
    """
    return tuple(
        Cell(group, activation, family, depth, dtype)
        for group, (activation, deepest), family in product(GROUPS, DEEPEST.items(), KINDS)
        for depth, dtype in product(range(1, deepest + 1), DTYPES)
    )


def pairs(cells: Iterable[Cell]) -> set[Pair]:
    """The pairs of values that some cells cover, each value with the number of its factor."""
    return {pair for cell in cells for pair in combinations(enumerate(astuple(cell)), 2)}


@cache
def covering() -> tuple[Cell, ...]:
    """Few cells that together cover every pair that any cell covers.

    Cost:
        Cells times the size of the design.

    Example:
        >>> pairs(covering()) == pairs(all_cells())
        True
        >>> len(covering()) < 100
        True
    """
    missing = pairs(all_cells())
    chosen: list[Cell] = []
    own = {cell: pairs([cell]) for cell in all_cells()}
    while missing:
        best = max(all_cells(), key=lambda cell: len(own[cell] & missing))
        chosen.append(best)
        missing -= own[best]
    return tuple(chosen)


def draw_cells(count: int, seed: int) -> tuple[Cell, ...]:
    """``count`` cells: the covering design, then the others in random order, then all of them again.

    Example:
        >>> len(set(draw_cells(1344, seed=0)))
        1344
    """
    start: Sequence[Cell] = covering()
    chosen = set(start)
    rest = [cell for cell in all_cells() if cell not in chosen]
    order = [*start, *(rest[i] for i in rng(seed).permutation(len(rest)))]
    return tuple(order[i % len(order)] for i in range(count))
