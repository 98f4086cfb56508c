"""How a budget of multiply-adds is shared: every hidden layer keeps the same share of its width."""

from __future__ import annotations

from collections.abc import Sequence

from intertwiner.rewrite.layers import multiply_adds


def width_within(read: int, widths: Sequence[int], most: float) -> int:
    """The width of the first of some layers, if all hidden ones shrink or grow alike and the cost stays below ``most``.

    Args:
        read: Coordinates that the first of the layers reads.
        widths: Original widths of the layers that are left, the output last; the output keeps its width.
        most: Multiply-adds that the layers that are left may cost.

    Returns:
        The width, 0 where not one neuron fits.

    Cost:
        A few dozen additions.

    Example:
        Half the cost of 10 - 4 - 2 is two neurons:

        >>> width_within(10, [4, 2], 24)
        2
    """
    *hidden, out = widths

    def cost(share: float) -> float:
        return multiply_adds([read, *(share * n for n in hidden), out])

    low, high = 0.0, 1.0
    while cost(high) <= most and high < 2**20:
        high *= 2
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (middle, high) if cost(middle) <= most else (low, middle)
    return int(low * hidden[0] + 1e-6)


def least_cost(widths: Sequence[int]) -> int:
    """Multiply-adds with one neuron in every hidden layer."""
    return int(multiply_adds([widths[0], *([1] * (len(widths) - 2)), widths[-1]]))
