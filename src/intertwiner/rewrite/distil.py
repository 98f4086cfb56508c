r"""Distillation: a twin is trained to answer what the group average answers, without ever leaving Hom_G.

Every parameter is ``W = sign * c[label]`` (``tied``), and c is what is trained, so the twin is exactly equivariant at
every step. Twin and target are both equivariant: the loss at gx is the loss at x, and moved samples would add nothing.

*Which coordinates.* c is one number per orbit of entries and the step is Adam's, on the Reynolds mean of the dense
gradient: to rounding, the step that Adam makes on the dense matrix with its gradient projected to Hom_G, so a rate
means what it means there. In the orthonormal coordinates ``sqrt(size) c``, which a plain gradient step would need, Adam
moves entries of an orbit of n by ``rate / sqrt(n)``. Norms of gradients are Frobenius norms of dense matrices.

*Which loss.* For classifiers "soft", which also compares what the largest outputs are; everything else is "squared".
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from intertwiner.errors import Diverged, WrongUse
from intertwiner.rewrite.criterion import Criterion, Loss, criterion
from intertwiner.rewrite.lesson import Lesson, answer, lesson
from intertwiner.rewrite.student import Student, student_of
from intertwiner.rewrite.twin import TwinGraph

SMALLEST = 1e-3
"""A parameter that starts at zero moves as if its entries were so large."""
WARM = 0.05
"""Share of the steps in which the rate rises."""
CLIP = 4.0
"""A gradient longer than so many times the running mean of their norms is cut to that."""

Progress = Callable[[int, int, float], None]
"""Called after every step with steps done, steps planned, and the loss of the batch."""


@dataclass(frozen=True, eq=False)
class Distilled:
    """A trained twin.

    Args:
        twin: The twin with the coordinates of the best epoch; the one that was given where none was better.
        losses: Loss on the held-out samples, at the start and after every epoch.
        steps: Steps made.
        seconds: What they took.
        improved: Whether an epoch was better than the start.
        loss: Which loss, in words.
    """

    twin: TwinGraph
    losses: tuple[float, ...]
    steps: int
    seconds: float
    improved: bool
    loss: str

    def __str__(self) -> str:
        if not self.improved:
            return f"the twin as it was: {self.steps} steps did not lower {self.loss} below {self.losses[0]:.3g}"
        return (
            f"{self.loss}: {self.losses[0]:.3g} -> {min(self.losses):.3g} in {self.steps} steps, {self.seconds:.1f} s"
        )


def distil(
    twin: TwinGraph,
    inputs: Tensor,
    target: Tensor,
    *,
    epochs: float = 3.0,
    batch: int = 64,
    rate: float = 2e-2,
    loss: Loss = "soft",
    temperature: float = 2.0,
    labels: Tensor | None = None,
    label_share: float = 0.5,
    stop_share: float = 0.0,
    seed: int = 0,
    progress: Progress | None = None,
) -> Distilled:
    """Train the coordinates of a twin towards a target, in float32.

    Args:
        twin: Where to start; it is left as it is.
        inputs: Samples along the first axis; they stay in their type, on their device.
        target: What the twin should answer, one row per sample: the outputs of the group average.
        epochs: Passes over the samples that are not held out; a fraction is fine.
        batch: Samples per step.
        rate: How far an entry moves per step of Adam at most, relative to the root mean square of its parameter as
            it starts: a fitted start is kept, whatever the scale of a layer. It rises over the first 5 % of the steps
            and falls along a cosine.
        loss: "soft" for logits, "squared" for outputs of any other kind (``criterion``).
        temperature: Logits are divided by it before the softmax; "soft" only.
        labels: One class per sample; mixes in the cross entropy.
        label_share: Weight of the cross entropy, between 0 and 1; the distillation has the rest.
        stop_share: Training ends after an epoch with a held-out loss of at most this share of the start's.
        seed: Of the order of the samples.
        progress: Called after every step.

    Returns:
        The twin of the best epoch by the loss on the last twelfth of the samples, never worse there than the start.
        The same seed and threads give the same bits.

    Raises:
        DataMismatch: Inputs, target or labels that do not fit the twin or each other, or "soft" without logits.
        DataTooSmall: Fewer than two samples.
        NonFiniteData: NaN or infinity in inputs or target.
        WrongUse: A number out of its range.
        CannotRewrite: A tied parameter that the twin's module does not hold as it is.
        Diverged: The loss or the trained twin is NaN or infinite.

    Cost:
        A step costs what a step of the dense module costs, or less: gathers of the weights are cheaper than Adam's
        update of all their entries.

    Example:
        A neuron that commutes with the exchange of its inputs, taught the sum:

        >>> from intertwiner.network import trace
        >>> from intertwiner.numerics.monomial import Monomial
        >>> from intertwiner.rewrite.tied import tied, trivial
        >>> net = trace(torch.nn.Linear(2, 1, bias=False), torch.zeros(1, 2))
        >>> ties = {"weight": tied(trivial(1), [Monomial([1, 0])])}
        >>> twin = TwinGraph(net, net.graph, {}, ties)
        >>> x = torch.randn(64, 2, generator=torch.Generator().manual_seed(0))
        >>> out = distil(twin, x, x.sum(1, keepdim=True), loss="squared", epochs=100, batch=8, rate=0.1)
        >>> out.twin.params["weight"].array.round(2)
        array([[1., 1.]])
    """
    _in_range(epochs=epochs, batch=batch, rate=rate, temperature=temperature)
    if not 0 <= label_share <= 1 or not 0 <= stop_share < 1:
        raise WrongUse(
            f"label_share is in [0, 1] and stop_share in [0, 1), got {label_share} and {stop_share}. "
            "Nothing was rewritten."
        )
    student = student_of(twin)
    data = lesson(student, inputs, target, labels)
    goal = criterion(data.target[: data.train], loss, temperature, label_share if labels is not None else 0.0)
    plan = Plan(epochs, min(batch, data.train), rate, stop_share, seed, progress or (lambda *_: None))
    start = time.perf_counter()
    best, losses, steps = _train(student, data, goal, plan)
    seconds = time.perf_counter() - start
    if best is None:
        return Distilled(twin, losses, steps, seconds, False, goal.text)
    trained = student.twin_at(best)
    check = data.held_loss(trained.module(torch.float64), goal, batch, torch.float64)
    if not math.isfinite(check):
        raise Diverged(_diverged("the loss of the trained twin in float64", check, rate))
    return Distilled(trained, losses, steps, seconds, True, goal.text)


@dataclass(frozen=True)
class Plan:
    """How long and how fast."""

    epochs: float
    batch: int
    rate: float
    stop_share: float
    seed: int
    progress: Progress

    def rate_at(self, step: int, total: int) -> float:
        """One rise, one cosine."""
        rise = min(1.0, (step + 1) / max(1.0, WARM * total))
        return self.rate * rise * 0.5 * (1 + math.cos(math.pi * step / total))


def _train(
    student: Student, data: Lesson, goal: Criterion, plan: Plan
) -> tuple[list[Tensor] | None, tuple[float, ...], int]:
    """The best coordinates (None: the start), the held-out losses, and the steps made."""
    per_epoch = data.train // plan.batch
    total = max(1, round(plan.epochs * per_epoch))
    sizes = [max(float(w.detach().square().mean().sqrt()), SMALLEST) for w in student.weights]
    optimiser = torch.optim.Adam([{"params": [c]} for c in student.coordinates], plan.rate)
    student.expand()
    losses = [_held_loss(student, data, goal, plan, 0)]
    best: list[Tensor] | None = None
    usual, step = 0.0, 0
    for step, chosen in enumerate(_batches(data.train, plan, total), 1):
        for group, size in zip(optimiser.param_groups, sizes, strict=True):
            group["lr"] = size * plan.rate_at(step - 1, total)
        with torch.enable_grad():
            x, target, labels = data.rows(chosen, student.device, torch.float32)
            value = goal(answer(student.module, x), target, labels)
            value.backward()
        norm, seen = student.collect(), float(value.detach())
        if not math.isfinite(norm) or not math.isfinite(seen):
            raise Diverged(_diverged(f"the loss or its gradient at step {step} of {total}", seen, plan.rate))
        usual = clip(student, norm, usual)
        optimiser.step()
        student.expand()
        plan.progress(step, total, seen)
        if step % per_epoch == 0 or step == total:
            losses.append(_held_loss(student, data, goal, plan, step))
            if losses[-1] < min(losses[:-1]):
                best = [c.clone() for c in student.coordinates]
            if losses[-1] <= plan.stop_share * losses[0]:
                break
    return best, tuple(losses), step


def _held_loss(student: Student, data: Lesson, goal: Criterion, plan: Plan, step: int) -> float:
    loss = data.held_loss(student.module, goal, plan.batch, torch.float32)
    if not math.isfinite(loss):
        raise Diverged(_diverged(f"the held-out loss after {step} steps", loss, plan.rate))
    return loss


def clip(student: Student, norm: float, usual: float) -> float:
    """Cut a gradient that is long beside the last ones, in place; the new running mean of the norms."""
    most = CLIP * usual if usual > 0 else norm
    if norm > most:
        for c in student.coordinates:
            if c.grad is not None:
                c.grad.mul_(most / norm)
    return 0.95 * usual + 0.05 * min(norm, most) if usual > 0 else norm


def _batches(train: int, plan: Plan, total: int) -> Iterator[Tensor]:
    """Whole batches of shuffled epochs."""
    generator = torch.Generator().manual_seed(plan.seed)
    done, whole = 0, train // plan.batch * plan.batch
    while done < total:
        for chosen in torch.randperm(train, generator=generator)[:whole].split(plan.batch)[: total - done]:
            yield chosen
            done += 1


def _in_range(**numbers: float) -> None:
    for name, value in numbers.items():
        if not (value > 0 and math.isfinite(value)):
            raise WrongUse(f"{name} is positive and finite, got {value}. Nothing was rewritten.")


def _diverged(what: str, value: float, rate: float) -> str:
    return (
        f"{what} is not finite (loss {value}).\n  Usual cause: a rate that is too high (here {rate:g}), or a "
        f"nonlinearity that overflows in float32. Try rate={rate / 4:g}. Nothing was rewritten."
    )
