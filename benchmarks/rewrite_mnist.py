"""Exactly equivariant twins of networks trained on MNIST, beside the original and its group average.

Convolutional (1-32-64-64-10, D4) and fully connected (784-512-512-10, D4 and C2). Costs are multiply-adds of one image
as the twin runs: fully connected layers of wide chains in isotypic blocks, transforms included. Accuracies are over the
10,000 test images; differences come with their paired standard error. Twins by least squares alone see 60,000 training
images and no labels; distillation goes on towards the group average, on images that are not moved.
"""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from mnist_training import SYMMETRIES, images, moves, original
from torch import Tensor, nn

import intertwiner as iw
from intertwiner.errors import CannotRewrite
from intertwiner.report.figures import Claim, benchmark_arguments, figures
from intertwiner.report.words import number
from intertwiner.rewrite.distil import distil
from intertwiner.rewrite.executors import alternating, compiled_alone
from intertwiner.rewrite.twin import TwinGraph
from intertwiner.symmetry import Symmetry

EPOCHS = {"conv": 5.0, "conv at its own cost": 6.0, "mlp": 2.0}
"""Epochs of distillation; at most 10 are allowed."""
COST = {"D4": 0.9, "C2": 0.75}
"""Multiply-adds of the fully connected twins, relative to the original: at most 1 is allowed. The transforms of the
blocks take time beside what they save, so the full cost would eat up time that is to be won."""
SEEDS = (0, 1, 2)


@dataclass
class Case:
    """One original with its symmetry and the answers that twins are compared with.

    Args:
        kind: "conv" or "mlp".
        group: "D4" or "C2".
        data: Images and labels.
        module: The original.
        symmetry: The symmetry of the task.
        memory: What the points of the curve share.
    """

    kind: str
    group: str
    data: dict[str, Tensor]
    module: nn.Module
    symmetry: Symmetry
    memory: dict[Any, Any] = field(default_factory=dict)
    original: Tensor = field(init=False)
    average: Tensor = field(init=False)

    def __post_init__(self) -> None:
        test = self.data["x_test"]
        answers = [answer(self.module, move(test)) for move in moves(self.group)]
        self.original, self.average = answers[0], torch.stack(answers).mean(0)

    @property
    def name(self) -> str:
        return f"{self.kind} {self.group}"

    @property
    def order(self) -> int:
        return len(moves(self.group))

    def right(self, values: Tensor) -> Tensor:
        """By test image, whether the largest output is the label."""
        return (values.argmax(1) == self.data["y_test"]).double()

    def behind(self, values: Tensor, other: Tensor) -> tuple[float, float]:
        """By how many points a twin is behind other answers, and the paired standard error of that."""
        gap = self.right(other) - self.right(values)
        return 100 * float(gap.mean()), 100 * float(gap.std()) / math.sqrt(len(gap))

    def distance(self, values: Tensor) -> float:
        spread = (self.average - self.average.mean(0)).norm()
        return float((values - self.average).norm() / spread)


@torch.no_grad()
def answer(module: nn.Module, x: Tensor) -> Tensor:
    return torch.cat([module(part) for part in x.split(500)])


@dataclass
class Point:
    """A twin on the curve.

    Args:
        budget: What was asked for, relative to the original.
        epochs: Of distillation.
        twin: The twin.
        values: Its answers on the test images.
        seconds: What it took to make.
    """

    budget: float
    epochs: float
    twin: iw.Rewrite
    values: Tensor
    seconds: float

    @property
    def cost(self) -> float:
        return self.twin.certificate.cost

    def line(self, case: Case) -> str:
        gap, error = case.behind(self.values, case.average)
        accuracy = 100 * float(case.right(self.values).mean())
        widths = "-".join(map(str, self.twin.certificate.widths))
        return (
            f"{case.name}: {number(self.cost)} x, {widths}, {self.epochs:g} epochs: accuracy {accuracy:.2f}, "
            f"{gap:.2f} +- {error:.2f} behind the average, distance {case.distance(self.values):.3f}, "
            f"{self.seconds:.0f} s"
        )


def point(case: Case, budget: float, epochs: float = 0.0) -> Point:
    """One twin; its certificate looks at 2,000 test images."""
    start = time.perf_counter()
    x, y = case.data["x_train"], case.data["y_train"]
    twin = iw.rewrite(
        case.module, case.symmetry, x, budget, labels=y if epochs else None, distil=epochs, memory=case.memory
    )
    made = Point(budget, epochs, twin, answer(twin.module, case.data["x_test"]), time.perf_counter() - start)
    print(made.line(case), flush=True)
    return made


def accuracy_claims(case: Case, found: Point, bound: float, what: str, other: Tensor | None = None) -> list[Claim]:
    """Points behind the average (or the original), the exactness of the twin, and what it was made in."""
    gap, error = case.behind(found.values, case.average if other is None else other)
    verdict = found.twin.certificate.verdict
    moved = answer(found.twin.module, moves(case.group)[1](case.data["x_test"][:2000]))
    defect = float((moved - found.values[:2000]).abs().max() / found.values.abs().max())
    note = f"+- {error:.2f} (paired); {number(found.cost)} x the original's multiply-adds; {found.seconds:.0f} s"
    exact = f"{verdict.kind}{' exactly' if verdict.exact else ''}; largest defect on test images {defect:.1e}"
    return [
        Claim(f"{case.name}: points behind {what}", round(gap, 3), bound, note=note),
        Claim(f"{case.name}: twin behind that figure is proved, exactly", int(verdict.exact), 1, ">=", note=exact),
    ]


def conv_claims(case: Case, quick: bool) -> tuple[list[Claim], list[Point]]:
    """Budgets relative to the original; the average costs |G| of it."""
    accuracy = 100 * float(case.right(case.original).mean())
    claims = [Claim(f"{case.name}: accuracy of the original", accuracy, 95.0, ">=", note=average_note(case))]
    plan = [(0.75 * case.order, 0.0), (0.5 * case.order, EPOCHS["conv"]), (1.0, EPOCHS["conv at its own cost"])]
    points = [point(case, budget, epochs) for budget, epochs in (plan[:1] if quick else plan)]
    claims += accuracy_claims(case, points[0], 0.2, "the average, 75 % of its cost, least squares")
    if not quick:
        what = f"the average, 50 % of its cost, {EPOCHS['conv']:g} epochs"
        claims += accuracy_claims(case, points[1], 0.2, what)
        what = f"the original, its own cost, {EPOCHS['conv at its own cost']:g} epochs"
        claims += accuracy_claims(case, points[2], 1.0, what, case.original)
    return claims, points


def average_note(case: Case) -> str:
    average = 100 * float(case.right(case.average).mean())
    return f"its average {average:.2f} at {case.order} x; distance {case.distance(case.original):.3f}"


def mlp_claims(case: Case, quick: bool) -> tuple[list[Claim], list[Point]]:
    """Least squares, distillation, and wall times of the compiled networks."""
    accuracy = 100 * float(case.right(case.original).mean())
    claims = [Claim(f"{case.name}: accuracy of the original", accuracy, note=average_note(case))]
    cost = COST[case.group]
    points = [point(case, cost)]
    claims += accuracy_claims(case, points[0], 0.4, "the average, at most the original's cost, least squares")
    if not quick:
        points.append(point(case, cost, EPOCHS["mlp"]))
        claims += accuracy_claims(case, points[1], 0.2, f"the average, same cost, {EPOCHS['mlp']:g} epochs")
    claims.append(timing_claim(case, points[0], {"D4": 5.0, "C2": 1.7}[case.group]))
    if case.group == "D4":
        points.append(point(case, 0.5))
        claims.append(timing_claim(case, points[-1], 8.0))
    return claims, points


class Average(nn.Module):
    """The group average of a network with invariant answers: all moved copies of a batch in one pass."""

    def __init__(self, module: nn.Module, group: str) -> None:
        super().__init__()
        self.module, self.group = module, group

    def forward(self, x: Tensor) -> Tensor:
        copies = torch.cat([move(x) for move in moves(self.group)])
        return self.module(copies).unflatten(0, (-1, len(x))).mean(0)


def timing_claim(case: Case, found: Point, bound: float) -> Claim:
    """How many times faster than averaging, both compiled, alternating, batch 256."""
    x = case.data["x_test"][:256]
    runs = {
        "twin": compiled_alone(found.twin.module),
        "average": compiled_alone(Average(case.module, case.group)),
        "original": compiled_alone(case.module),
    }
    with torch.no_grad():
        for run in runs.values():
            run(x)
        times = alternating(runs, x, 15)
    ratios = sorted(a / t for a, t in zip(times["average"], times["twin"], strict=True))
    middle = {name: sorted(values)[len(values) // 2] for name, values in times.items()}
    note = ", ".join(f"{name} {number(1e3 * s)} ms" for name, s in middle.items()) + "; median of 15, batch 256"
    name = f"{case.name}: times faster than averaging at {number(found.cost)} x"
    return Claim(name, ratios[len(ratios) // 2], bound, ">=", note=note)


def scratch_claim(case: Case, found: Point, seeds: Sequence[int]) -> Claim:
    """The twin beside the same tied network trained on labels from random weights, as many steps."""
    x, y, accuracies = case.data["x_train"], case.data["y_train"], []
    if found.twin.twin is None:
        raise CannotRewrite("a twin that was just made has its records")
    for seed in seeds:
        start = reinitialised(found.twin.twin, seed)
        # Cross entropy alone: the target that distillation would have is not looked at.
        trained = distil(start, x, answer(case.module, x), epochs=found.epochs, labels=y, label_share=1.0, seed=seed)
        accuracies.append(100 * float(case.right(answer(trained.twin.module(), case.data["x_test"])).mean()))
        print(f"{case.name} at {number(found.cost)} x from scratch, seed {seed}: {accuracies[-1]:.2f}", flush=True)
    mine = 100 * float(case.right(found.values).mean())
    mean = sum(accuracies) / len(accuracies)
    note = f"twin {mine:.2f}, from scratch {', '.join(f'{a:.2f}' for a in accuracies)}, {trained.steps} steps each"
    name = f"{case.name}: points ahead of training from scratch at {number(found.cost)} x"
    return Claim(name, round(mine - mean, 3), 0.0, ">=", note=note)


def reinitialised(twin: TwinGraph, seed: int) -> TwinGraph:
    """The twin with random intertwiners, entries as large as He's initialisation has them, and no biases."""
    rng, arrays = np.random.default_rng(seed), {}
    for name, param in twin.params.items():
        tie, fan = twin.ties[name], param.array[0].size
        coordinates = rng.normal(0, (2 / fan) ** 0.5, tie.count) if param.array.ndim > 1 else np.zeros(tie.count)
        arrays[name] = tie.matrix(coordinates)
    return twin.with_arrays(arrays)


def main() -> int:
    parser = benchmark_arguments(__doc__ or "")
    parser.add_argument("--data", type=Path, required=True, help="folder with mnist.npz")
    parser.add_argument("--originals", type=Path, help="folder to keep trained originals in, and to read them from")
    parser.add_argument("--cases", nargs="+", default=["conv-D4", "mlp-D4", "mlp-C2"])
    parser.add_argument("--from-scratch", action="store_true", help="train the same tied networks from scratch too")
    parser.add_argument("--scratch-up-to", type=float, default=8.0, help="dearest twin that is trained from scratch")
    arguments = parser.parse_args()
    data, claims = images(arguments.data), []
    for name in arguments.cases:
        kind, group = name.split("-")
        module = original(kind, group, data, arguments.originals, epochs=2 if arguments.quick else None)
        case = Case(kind, group, data, module, SYMMETRIES[group]()[1])
        found, points = (conv_claims if kind == "conv" else mlp_claims)(case, arguments.quick)
        claims += found
        if arguments.from_scratch:
            claims += [scratch_claim(case, p, SEEDS) for p in points if p.epochs and p.cost <= arguments.scratch_up_to]
    return figures(claims, title="twins of networks trained on MNIST", arguments=arguments)


if __name__ == "__main__":
    raise SystemExit(main())
