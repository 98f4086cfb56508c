r"""What a student is scored by: squared error, or its mean with the divergence of softened classes; both without unit.

Each is divided by what answering the teacher's mean would cost, so that 1 is an answer that knows nothing:
``squared = mean |f - t|^2 / mean |t - mean t|^2``, the square of the distance that certificates state, and
``mean KL(p(t), p(f)) / mean KL(p(t), p(mean t))`` with ``p(t) = softmax(t / T)`` [Hinton, Vinyals, Dean 2015]. The
divergence looks at what decides between classes but does not see a constant added to all logits of a sample; ``soft``
is the mean of both, and zero at the target alone. Labels mix in their cross entropy.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

import torch.nn.functional as F
from torch import Tensor

from intertwiner.errors import DataMismatch, WrongUse

Loss = Literal["squared", "soft"]


@dataclass(frozen=True)
class Criterion:
    """A loss, as a mean over the samples of a batch.

    Args:
        loss: Which one.
        temperature: T of "soft".
        label_share: Weight of the cross entropy with labels; the distillation has the rest.
        spread: ``mean |t - mean t|^2``.
        divergence: ``mean KL(p(t), p(mean t))``; 0 for "squared".
    """

    loss: Loss
    temperature: float
    label_share: float
    spread: float
    divergence: float

    def __call__(self, answer: Tensor, target: Tensor, labels: Tensor | None = None) -> Tensor:
        value = (answer - target).square().sum() / (len(target) * self.spread)
        if self.loss == "soft":
            value = 0.5 * (value + _divergence(answer, target, self.temperature) / self.divergence)
        if not self.label_share or labels is None:
            return value
        return (1 - self.label_share) * value + self.label_share * F.cross_entropy(answer, labels)

    @property
    def text(self) -> str:
        """The loss in words."""
        own = "relative squared error"
        if self.loss == "soft":
            own += f" and divergence at temperature {self.temperature:g}"
        return f"{own} with {self.label_share:.0%} cross entropy" if self.label_share else own


def criterion(target: Tensor, loss: Loss, temperature: float = 2.0, label_share: float = 0.0) -> Criterion:
    """The loss that fits a target.

    Args:
        target: What the teacher answers: its spread is the unit.
        loss: "squared" or "soft".
        temperature: Of "soft".
        label_share: Weight of the cross entropy with labels.

    Raises:
        WrongUse: Another loss.
        DataMismatch: Classes are asked for, but the target is no table of samples and logits.

    Example:
        The mean of the target explains nothing of it, so its loss is 1:

        >>> import torch
        >>> target = torch.tensor([[0.0, 1.0], [2.0, -1.0]])
        >>> [float(criterion(target, kind)(torch.tensor([[1.0, 0.0]] * 2), target)) for kind in ("squared", "soft")]
        [1.0, 1.0]
    """
    if loss not in get_args(Loss):
        raise WrongUse(f"the loss is one of {', '.join(get_args(Loss))}, got {loss!r}. Nothing was rewritten.")
    if (loss == "soft" or label_share) and (target.ndim != 2 or target.shape[1] < 2):
        raise DataMismatch(
            f"classes take a target of shape (samples, classes), got {tuple(target.shape)}.\n"
            '  Use loss="squared" without labels. Nothing was rewritten.'
        )
    mean = target.mean(0, keepdim=True).expand_as(target)
    # A target that does not vary is measured by its size.
    spread = float((target - mean).square().sum() / len(target)) or float(target.square().sum() / len(target))
    apart = float(_divergence(mean, target, temperature)) if loss == "soft" else 0.0
    return Criterion(loss, temperature, label_share, spread or 1.0, apart if apart > 0 else 1.0)


def _divergence(answer: Tensor, target: Tensor, temperature: float) -> Tensor:
    ours, theirs = (F.log_softmax(v / temperature, dim=1) for v in (answer, target))
    return F.kl_div(ours, theirs, reduction="batchmean", log_target=True)
