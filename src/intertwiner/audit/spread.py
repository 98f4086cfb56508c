"""How far samples lie from their mean, streamed: ``sum_x |f(x) - mean f|^2`` in float64, batch by batch.

Means and sums of two batches are merged by their difference, so nothing cancels [Chan, Golub, LeVeque 1983].
"""

from __future__ import annotations

from torch import Tensor


class Spread:
    """Sum of squared distances of samples from their mean.

    Example:
        >>> import torch
        >>> spread = Spread()
        >>> spread.add(torch.tensor([[1.0], [2.0]], dtype=torch.float64))
        >>> spread.add(torch.tensor([[6.0]], dtype=torch.float64))
        >>> spread.total
        14.0
    """

    def __init__(self) -> None:
        self.count = 0
        self.total = 0.0
        self._mean: Tensor | None = None

    def add(self, values: Tensor) -> None:
        """One batch, samples along the first axis, float64."""
        if not len(values):
            return
        mean = values.mean(0)
        self.total += float((values - mean).square().sum())
        if self._mean is None:
            self._mean, self.count = mean, len(values)
            return
        gap, both = mean - self._mean, self.count + len(values)
        self.total += float(gap.square().sum()) * self.count * len(values) / both
        self._mean = self._mean + gap * (len(values) / both)
        self.count = both
