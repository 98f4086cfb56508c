r"""What a student is taught: samples, what they should give, and the part that is held out; checked at the door.

The last twelfth of the samples chooses the epoch that is kept. Data stay in their type and on their device; a batch is
moved when it is used.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, fx
from torch.utils import _pytree as pytree

from intertwiner.errors import CannotRewrite, DataMismatch, DataTooSmall, NonFiniteData
from intertwiner.network import Network
from intertwiner.network.emit import Frame
from intertwiner.rewrite.criterion import Criterion
from intertwiner.rewrite.student import Student

HELD = 12
"""One sample in so many is held out."""


@dataclass(frozen=True, eq=False)
class Lesson:
    """Samples with their targets.

    Args:
        inputs: Samples along the first axis.
        target: One row per sample.
        labels: One class per sample, if known.
        train: Number of samples to be trained on; those after them are held out.
        floating: Whether the inputs are numbers to be rounded to the type of the module, or places (tokens).
    """

    inputs: Tensor
    target: Tensor
    labels: Tensor | None
    train: int
    floating: bool

    def rows(
        self, chosen: Tensor | slice, device: torch.device, dtype: torch.dtype
    ) -> tuple[Tensor, Tensor, Tensor | None]:
        """Some samples with target and labels, where the module is and in its type."""
        x, target = self.inputs[chosen].to(device), self.target[chosen].to(device, dtype)
        labels = None if self.labels is None else self.labels[chosen].to(device)
        return x.to(dtype) if self.floating else x, target, labels

    @torch.no_grad()
    def held_loss(self, module: fx.GraphModule, goal: Criterion, batch: int, dtype: torch.dtype) -> float:
        """Mean loss of a module of a type on the samples that are held out."""
        device = next(iter([*module.parameters(), *module.buffers()])).device
        total, count = 0.0, len(self.inputs) - self.train
        for at in range(self.train, len(self.inputs), batch):
            x, target, labels = self.rows(slice(at, at + batch), device, dtype)
            total += float(goal(answer(module, x), target, labels)) * len(x)
        return total / count


def answer(module: fx.GraphModule, x: Tensor) -> Tensor:
    """The one tensor that a module returns, however it is nested."""
    (value,) = pytree.tree_leaves(module(x))
    return value


def lesson(student: Student, inputs: Tensor, target: Tensor, labels: Tensor | None = None) -> Lesson:
    """Data that fit a student and each other.

    Args:
        student: Who is taught.
        inputs: Samples along the first axis.
        target: What they should give, one row per sample.
        labels: One class per sample, int64.

    Raises:
        DataMismatch: Shapes, lengths or labels that do not fit, or a network with several inputs or outputs.
        DataTooSmall: Fewer than two samples.
        NonFiniteData: NaN or infinity in inputs or target.

    Cost:
        One pass over the data, one call of the module on two samples.

    Example:
        Of 24 samples the last two are held out:

        >>> from intertwiner.network import trace
        >>> from intertwiner.numerics.monomial import Monomial
        >>> from intertwiner.rewrite.student import student_of
        >>> from intertwiner.rewrite.tied import tied, trivial
        >>> from intertwiner.rewrite.twin import TwinGraph
        >>> net = trace(torch.nn.Linear(2, 1), torch.zeros(1, 2))
        >>> student = student_of(TwinGraph(net, net.graph, {}, {"weight": tied(trivial(1), [Monomial([1, 0])])}))
        >>> lesson(student, torch.zeros(24, 2), torch.zeros(24, 1)).train
        22
    """
    network = student.twin.network
    if isinstance(network, Frame):
        raise CannotRewrite(
            "this twin was read from a folder, which keeps no ties: there is nothing to train.\n  Make it again with "
            "distil=. Nothing was rewritten."
        )
    _one_to_one(network)
    spec = network.inputs[0]
    if _mismatch(spec.shape, spec.free_axes, inputs) or len(inputs) != len(target):
        raise DataMismatch(
            f"inputs of shape {tuple(inputs.shape)} came with a target of shape {tuple(target.shape)}; the network "
            f"takes samples of shape {tuple(spec.shape[1:])}, and the target has one row for each.\n"
            "  Nothing was rewritten."
        )
    if len(inputs) < 2:
        raise DataTooSmall(f"{len(inputs)} samples: some are trained on and some held out. Nothing was rewritten.")
    for name, tensor in (("inputs", inputs), ("target", target)):
        if not all(bool(part.isfinite().all()) for part in tensor.split(4096)):
            raise NonFiniteData(
                f"the {name} hold NaN or infinity.\n  Usual cause: a network that overflows on some sample; leave it "
                "out. Nothing was rewritten."
            )
    train = len(inputs) - max(1, len(inputs) // HELD)
    out = Lesson(inputs, target.detach(), labels, train, spec.dtype.is_floating_point)
    _answers_fit(student, out)
    return out


def _one_to_one(network: Network) -> None:
    counts = len(network.inputs), len(network.outputs)
    if counts != (1, 1):
        raise DataMismatch(
            f"distillation takes a network of one input and one output, this one has {counts[0]} and {counts[1]}.\n"
            "  Wrap it so that it takes and returns one tensor. Nothing was rewritten."
        )


def _mismatch(shape: tuple[int, ...], free: tuple[int, ...], inputs: Tensor) -> bool:
    """Whether samples have another shape than the network takes."""
    if inputs.ndim != len(shape):
        return True
    return any(a != b for axis, (a, b) in enumerate(zip(shape, inputs.shape, strict=True)) if axis and axis not in free)


@torch.no_grad()
def _answers_fit(student: Student, data: Lesson) -> None:
    """The target has the shape of the answers, and every label is a class."""
    x, target, _ = data.rows(slice(0, 2), student.device, torch.float32)
    value, labels = answer(student.module, x), data.labels
    if value.shape != target.shape:
        raise DataMismatch(
            f"the twin answers with shape {tuple(value.shape[1:])} per sample, the target has "
            f"{tuple(target.shape[1:])}. Nothing was rewritten."
        )
    if labels is None:
        return
    classes = value.shape[1] if value.ndim == 2 else 0
    fits = labels.dtype == torch.int64 and labels.shape == data.target.shape[:1]
    if not fits or int(labels.min()) < 0 or int(labels.max()) >= classes:
        raise DataMismatch(
            f"labels are one whole number (int64) per sample below the number of classes, {classes}; got "
            f"{labels.dtype} of shape {tuple(labels.shape)} up to {labels.max()} for {len(data.target)} samples. "
            "Nothing was rewritten."
        )
