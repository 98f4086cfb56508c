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
        self._weight: Tensor | float = 0.0

    def add(self, values: Tensor, weight: Tensor | None = None) -> None:
        """One batch, samples along the first axis, float64; ``weight`` 0 or 1 in the same shape says what counts.

        >>> import torch
        >>> spread, values = Spread(), torch.tensor([[1.0, 5.0], [3.0, 7.0]], dtype=torch.float64)
        >>> spread.add(values, torch.tensor([[1.0, 0.0], [1.0, 1.0]], dtype=torch.float64))
        >>> spread.total
        2.0
        """
        if not len(values):
            return
        counts: Tensor | float = float(len(values))
        mean, squares = values.mean(0), None
        if weight is not None:
            counts = weight.sum(0)
            mean = (values * weight).sum(0) / counts.clamp_min(1.0)
            squares = (values - mean).square() * weight
        self.total += float(((values - mean).square() if squares is None else squares).sum())
        self.count += len(values)
        if self._mean is None:
            self._mean, self._weight = mean, counts
            return
        both = self._weight + counts
        share = counts / (both.clamp_min(1.0) if isinstance(both, Tensor) else both)
        gap = mean - self._mean
        self.total += float((gap.square() * self._weight * share).sum())
        self._mean, self._weight = self._mean + gap * share, both
