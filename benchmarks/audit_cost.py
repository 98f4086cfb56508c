"""What the data path costs: one pass of second moments over the bare forward passes of x and gx.

Times alternate in one run; the ratio is the median over rounds. Accuracy of the float32 products is measured against
float64 throughout, and peak memory in processes of their own with 10 and with 100 batches.
"""

from __future__ import annotations

import itertools
import json
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from torch import nn

from intertwiner.algebra import cyclic
from intertwiner.audit.measure import measure
from intertwiner.audit.moments import TapLayout
from intertwiner.network import Network, trace
from intertwiner.numerics.monomial import Monomial
from intertwiner.report.figures import Claim, benchmark_arguments, figures
from intertwiner.symmetry import BoundSymmetry, Symmetry, TensorAction, image, invariant, vector

PATCH, CHANNELS, CONVOLUTIONS = 40, 64, 17
MEMORY_SLACK = 1.05


@dataclass(frozen=True)
class Case:
    """A network, one batch of inputs, its symmetry and its taps."""

    name: str
    network: Network
    x: torch.Tensor
    symmetry: BoundSymmetry
    layouts: tuple[TapLayout, ...]
    batches: int


def convolutions(batch: int, seed: int = 0) -> Case:
    """17 convolutions of 64 channels and an output, on patches of 40 x 40; taps before every nonlinearity."""
    torch.manual_seed(seed)
    layers: list[nn.Module] = []
    for k in range(CONVOLUTIONS):
        layers += [nn.Conv2d(1 if k == 0 else CHANNELS, CHANNELS, 3, padding=1), nn.ReLU()]
    module = nn.Sequential(*layers, nn.Conv2d(CHANNELS, 1, 3, padding=1)).eval()
    for layer in module:
        if isinstance(layer, nn.Conv2d):
            nn.init.kaiming_normal_(layer.weight)
    x = torch.randn(batch, 1, PATCH, PATCH)
    symmetry = Symmetry(cyclic(2), on_input=image(flip="left-right"), on_output=image(flip="left-right"))
    shape = (1, PATCH, PATCH)
    grid = TensorAction.of((CHANNELS, PATCH, PATCH), {(2,): Monomial(np.arange(PATCH)[::-1])})
    names = [str(2 * k) for k in range(CONVOLUTIONS)]
    layouts = tuple(TapLayout(name, 0, (1, 2), grid_action=lambda g: grid) for name in names)
    return Case(f"17 convolutions, batch {batch}", trace(module, (x,)), x, symmetry.bind([shape], [shape]), layouts, 3)


def dense(seed: int = 0) -> Case:
    """784-512-512-10 with ReLU, batch 256; taps before every nonlinearity and at the output."""
    torch.manual_seed(seed)
    widths = (784, 512, 512, 10)
    layers: list[nn.Module] = []
    for a, b in itertools.pairwise(widths):
        layers += [nn.Linear(a, b), nn.ReLU()]
    module = nn.Sequential(*layers[:-1]).eval()
    x = torch.randn(256, 784)
    symmetry = Symmetry(cyclic(2), on_input=vector(perm=[np.arange(784)[::-1]]), on_output=invariant())
    layouts = tuple(TapLayout(name) for name in ("0", "2", "4"))
    return Case("784-512-512-10, batch 256", trace(module, (x,)), x, symmetry.bind([(784,)], [(10,)]), layouts, 20)


def ratio(case: Case, rounds: int) -> tuple[float, float, float]:
    """Medians over rounds of the ratio, the seconds of the pass and of the bare forwards, per batch."""
    forward = case.network.function(())
    passes, bares = [], []
    for turn in range(rounds + 1):
        start = time.perf_counter()
        for _ in range(case.batches):
            forward((case.x,))
            forward(case.symmetry.act_on_input(1, (case.x,)))
        bare = time.perf_counter() - start
        start = time.perf_counter()
        measure(case.network, case.symmetry, case.layouts, [(case.x,)] * case.batches, [1])
        if turn:  # the first round warms up
            bares.append(bare / case.batches)
            passes.append((time.perf_counter() - start) / case.batches)
    quotient = statistics.median(p / b for p, b in zip(passes, bares, strict=True))
    return quotient, statistics.median(passes), statistics.median(bares)


def accuracy(case: Case) -> float:
    """Largest error of a covariance, relative to the variances, against the same network's latents in float64."""
    batches = [(torch.randn_like(case.x),) for _ in range(4)]
    found = measure(case.network, case.symmetry, case.layouts, batches, [1])
    forward = case.network.function([layout.name for layout in case.layouts])
    worst = 0.0
    for layout in case.layouts:
        rows, moved = [], []
        for inputs in batches:
            h, other = forward(inputs)[1][layout.name], forward(case.symmetry.act_on_input(1, inputs))[1][layout.name]
            action = layout.grid_action(1)
            h = h if action is None else action.apply(h)
            rows.append(h.double().movedim(1, -1).reshape(-1, h.shape[1]).numpy())
            moved.append(other.double().movedim(1, -1).reshape(-1, h.shape[1]).numpy())
        a, b = np.concatenate(rows), np.concatenate(moved)
        a, b = a - a.mean(0), b - b.mean(0)
        m = found[layout.name][1].total
        scale = np.sqrt(np.outer(a.var(0), a.var(0)))
        worst = max(worst, np.abs(m.C - a.T @ a / len(a)).max() / scale.max())
        worst = max(worst, np.abs(m.X - b.T @ a / len(a)).max() / scale.max())
    return float(worst)


def peak(batches: int) -> int:
    """Peak resident bytes of a process that measures that many batches, made one at a time."""
    command = [sys.executable, __file__, "--peak-of", str(batches)]
    return json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout)


def measure_peak(batches: int) -> None:
    case = dense()

    def stream() -> Iterator[tuple[torch.Tensor]]:
        for seed in range(batches):
            yield (torch.randn(case.x.shape, generator=torch.Generator().manual_seed(seed)),)

    measure(case.network, case.symmetry, case.layouts, stream(), [1])
    print(json.dumps(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024))


def main() -> int:
    parser = benchmark_arguments(__doc__ or "")
    parser.add_argument("--rounds", type=int, default=7, help="rounds of each ratio, at least 5")
    parser.add_argument("--peak-of", type=int, help="internal: print the peak memory of so many batches")
    parser.add_argument("--threads", type=int, help="threads of torch; on a machine with other work, 1 is fair")
    arguments = parser.parse_args()
    if arguments.threads:
        torch.set_num_threads(arguments.threads)
    if arguments.peak_of:
        measure_peak(arguments.peak_of)
        return 0
    claims = []
    cases = [(convolutions(16), 1.5), (dense(), 3.0)]
    if not arguments.quick:
        cases.insert(1, (convolutions(64), 1.5))
    for case, bound in cases:
        rounds = 5 if arguments.quick else max(5, arguments.rounds)
        quotient, seconds, bare = ratio(case, rounds)
        note = f"{len(case.layouts)} taps, median of {rounds}; {1e3 * seconds:.0f} ms over {1e3 * bare:.0f} ms a batch"
        claims.append(Claim(f"{case.name}: pass over bare forwards", quotient, bound, note=note))
    error = accuracy(dense())
    claims.append(
        Claim("largest error of a covariance, relative to the variance", error, 3e-6, note="float32 products")
    )
    few, many = peak(10), peak(100)
    claims.append(Claim("peak memory, 100 over 10 batches", many / few, MEMORY_SLACK, note=f"{many / 2**20:.0f} MiB"))
    return figures(claims, title="cost of the data path", arguments=arguments)


if __name__ == "__main__":
    raise SystemExit(main())
