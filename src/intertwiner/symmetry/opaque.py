"""A map of tensors known only as a function: no matrix, no structure, still an action that can be composed."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch

from intertwiner.errors import ShapeMismatch
from intertwiner.symmetry.tensor_action import TensorAction


@dataclass(frozen=True)
class OpaqueAction:
    """A function on batches of samples of one shape. Defects can be measured with it, weights cannot be moved.

    Args:
        shape: Shape of one sample, without the batch.
        function: Takes and returns a tensor with one leading batch axis.
    """

    shape: tuple[int, ...]
    function: Callable[[torch.Tensor], torch.Tensor]

    @property
    def is_identity(self) -> bool:
        return False

    def apply(self, x: torch.Tensor) -> torch.Tensor:
        k = len(self.shape)
        if x.ndim < k or tuple(x.shape[x.ndim - k :]) != self.shape:
            raise ShapeMismatch(f"an action on samples of shape {self.shape} met a tensor of shape {tuple(x.shape)}")
        moved = self.function(x.reshape(-1, *self.shape))
        if not isinstance(moved, torch.Tensor) or tuple(moved.shape[1:]) != self.shape:
            got = tuple(moved.shape) if isinstance(moved, torch.Tensor) else type(moved).__name__
            raise ShapeMismatch(f"the custom action turned samples of shape {self.shape} into {got}")
        return moved.reshape(x.shape)

    def __matmul__(self, other: OpaqueAction | TensorAction) -> OpaqueAction:
        return OpaqueAction(self.shape, lambda x: self.apply(other.apply(x)))

    def __rmatmul__(self, other: TensorAction) -> OpaqueAction:
        return OpaqueAction(self.shape, lambda x: other.apply(self.apply(x)))


Action = TensorAction | OpaqueAction
