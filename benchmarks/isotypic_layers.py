"""Time of equivariant hidden layers in isotypic blocks, beside the compiled dense layer that computes the same.

A layer takes (batch, width) to ReLU(W x + b) between regular representations of D4 or C2, neurons grouped by orbit
type; transforms to the isotypic basis and back, bias and ReLU are inside both times. Both layers are compiled with the
same settings; times alternate in one run, and the ratio is the median over rounds. The outputs are compared in the
same run, relative to the largest output. Theory allows 16/3 (D4) and 2 (C2) by multiply-adds.
"""

from __future__ import annotations

import resource
import statistics
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
from torch import nn

from intertwiner.algebra import Group, GSet, Orbit, Representation, cyclic, dihedral, trivial_subgroup
from intertwiner.numerics.tolerance import BLOCKS_WIN
from intertwiner.report.figures import Claim, benchmark_arguments, figures
from intertwiner.report.words import number
from intertwiner.rewrite.executors import Run, alternating, compiled_alone
from intertwiner.rewrite.isotypic import IsotypicLinear
from intertwiner.rewrite.isotypic_orbits import grouped_form

BOUNDS = {("D4", 1024): 3.0, ("C2", 1024): 1.6, ("D4", 4096): 4.5, ("C2", 4096): 1.6}
WIDTHS = (1024, 4096, 64, 128, 256, 512)
SAME = 1e-5
NEVER_SLOWER = 1.05
ATTEMPTS = 10

Series = Callable[[Mapping[str, Run], torch.Tensor], dict[str, list[float]]]


@dataclass(frozen=True)
class Measured:
    """One layer.

    Args:
        ratio: How many times faster blocks are than the dense layer, median over rounds.
        blocks: Median seconds of the blocks.
        dense: Median seconds of the dense layer.
        difference: Largest difference of the outputs, over the largest output.
        slowdown: The layer that the ratio chooses over the dense one, median over rounds of their own.
        share: Processor time over wall time and threads, while timing: well below 1 beside other work.
    """

    ratio: float
    blocks: float
    dense: float
    difference: float
    slowdown: float
    share: float


def regular(group: Group, width: int) -> Representation:
    """Regular orbits, neurons grouped: the points of an orbit slow, the orbits fast."""
    orbits = [Orbit(trivial_subgroup(group), multiplicity=width // group.order)]
    return grouped_form(GSet.of(group, orbits).representation())[0]


def layer_of(group: Group, width: int, seed: int) -> IsotypicLinear:
    rho = regular(group, width)
    return IsotypicLinear(rho, rho, activation=nn.ReLU(), seed=seed)


def undisturbed(runs: Mapping[str, Run], example: torch.Tensor, rounds: int) -> dict[str, list[float]]:
    """As ``alternating``, keeping the rounds of one call each in which the system took no processor from us.

    Where fewer than five such rounds come in ``ATTEMPTS`` times as many tries, all rounds count.
    """
    kept: dict[str, list[float]] = {name: [] for name in runs}
    every: dict[str, list[float]] = {name: [] for name in runs}
    for _ in range(ATTEMPTS * rounds):
        before, seconds = preempted(), {}
        for name, run in runs.items():
            run(example)
            start = time.perf_counter()
            run(example)
            seconds[name] = time.perf_counter() - start
        for times in (every, kept) if preempted() == before else (every,):
            for name, value in seconds.items():
                times[name].append(value)
        if len(kept["dense"]) == rounds:
            break
        time.sleep(0.002)
    return kept if len(kept["dense"]) >= 5 else every


def preempted() -> int:
    """How often a thread of this process lost its processor to another process."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_nivcsw


def measure(layer: IsotypicLinear, batch: int, series: Series) -> Measured:
    """The compiled blocks beside the compiled dense layer."""
    example = torch.randn(batch, layer.in_features, generator=torch.Generator().manual_seed(1))
    runs = {"blocks": compiled_alone(layer.frozen()), "dense": compiled_alone(layer.dense())}
    with torch.no_grad():
        found, expected = runs["blocks"](example), runs["dense"](example)
        wall, own = time.perf_counter(), time.process_time()
        times = series(runs, example)
        share = (time.process_time() - own) / (time.perf_counter() - wall) / torch.get_num_threads()
        ratio = quotient(times["dense"], times["blocks"])
        chosen = "blocks" if ratio * BLOCKS_WIN >= 1 else "dense"
        again = series(runs, example)
    return Measured(
        ratio=ratio,
        blocks=statistics.median(times["blocks"]),
        dense=statistics.median(times["dense"]),
        difference=float((found - expected).abs().max() / expected.abs().max()),
        slowdown=quotient(again[chosen], again["dense"]),
        share=share,
    )


def quotient(above: list[float], below: list[float]) -> float:
    """Median over rounds."""
    return statistics.median(a / b for a, b in zip(above, below, strict=True))


def main() -> int:
    parser = benchmark_arguments(__doc__ or "")
    parser.add_argument("--rounds", type=int, default=15, help="alternating rounds of each ratio, at least 5")
    parser.add_argument("--batch", type=int, default=256, help="rows per call; the bounds are for 256")
    parser.add_argument("--threads", type=int, help="threads of torch; all cores by default")
    parser.add_argument("--widths", type=int, nargs="+", default=WIDTHS, help="multiples of 8")
    parser.add_argument("--cpu-time", action="store_true", help="one thread, processor time: beside other work")
    parser.add_argument("--undisturbed", action="store_true", help="only rounds in which no thread was preempted")
    arguments = parser.parse_args()
    if arguments.threads or arguments.cpu_time:
        torch.set_num_threads(1 if arguments.cpu_time else arguments.threads)
    widths = [w for w in arguments.widths if w < 4096] if arguments.quick else arguments.widths
    rounds = 5 if arguments.quick else max(5, arguments.rounds)
    clock = time.process_time if arguments.cpu_time else time.perf_counter

    def series(runs: Mapping[str, Run], example: torch.Tensor) -> dict[str, list[float]]:
        if arguments.undisturbed:
            return undisturbed(runs, example, rounds)
        return alternating(runs, example, rounds, clock)

    claims, worst, slowest, share = [], 0.0, 0.0, 1.0
    for width in widths:
        for group in (dihedral(4), cyclic(2)):
            layer = layer_of(group, width, seed=width)
            found = measure(layer, arguments.batch, series)
            worst, slowest = max(worst, found.difference), max(slowest, found.slowdown)
            share = min(share, found.share)
            theory = width**2 / layer.multiply_adds
            note = (
                f"median of {rounds}; {number(1e3 * found.blocks)} ms against {number(1e3 * found.dense)} ms; "
                f"multiply-adds {number(theory)} x fewer, transforms included"
            )
            bound = BOUNDS.get((group.name, width))
            claims.append(Claim(f"{group.name}, width {width}: times faster", found.ratio, bound, ">=", note=note))
    claims.append(Claim("largest difference from the dense layer", worst, SAME, note="over the largest output"))
    note = f"blocks chosen where they take at most {BLOCKS_WIN} of the time; judged on rounds of its own"
    claims.append(Claim("chosen layer over dense layer, worst width", slowest, NEVER_SLOWER, note=note))
    note = "least over the layers; far below 1 the times are those of a busy machine, see --undisturbed and --cpu-time"
    claims.append(Claim("share of the processors while timing", share, note=note))
    return figures(claims, title=f"isotypic layers, float32, batch {arguments.batch}", arguments=arguments)


if __name__ == "__main__":
    raise SystemExit(main())
