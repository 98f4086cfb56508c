"""Time of equivariant hidden layers in isotypic blocks, beside the compiled dense layer that computes the same.

A layer takes (batch, width) to ReLU(W x + b) between regular representations of D4 or C2, neurons grouped by orbit
type; transforms to the isotypic basis and back, bias and ReLU are inside both times. Both layers are compiled with the
same settings; times alternate in one run, and the ratio is the median over rounds. The outputs are compared in the
same run, relative to the largest output. Theory allows 16/3 (D4) and 2 (C2) by multiply-adds.

Whole networks: an exactly equivariant twin of 784-512-512-10 on images of 28 x 28, hidden layers in regular orbits, as
``rewrite.compile`` makes it, beside the plain network and beside averaging that over the group, all compiled. The
average is one pass over all moved copies of the batch at once. Weights are random: they do not matter for time.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import torch
from torch import nn

from intertwiner.algebra import Group, GSet, Orbit, Representation, cyclic, dihedral, trivial_subgroup
from intertwiner.network import node as ir
from intertwiner.network import trace
from intertwiner.numerics.monomial import Monomial
from intertwiner.numerics.tolerance import BLOCKS_WIN
from intertwiner.report.figures import Claim, benchmark_arguments, figures
from intertwiner.report.words import number
from intertwiner.rewrite.compile import compiled
from intertwiner.rewrite.cost import twin_multiply_adds
from intertwiner.rewrite.executors import Run, alternating, compiled_alone
from intertwiner.rewrite.fastest_twin import block_choices
from intertwiner.rewrite.isotypic import IsotypicLinear
from intertwiner.rewrite.isotypic_orbits import grouped_form
from intertwiner.rewrite.tied import tied, trivial
from intertwiner.rewrite.twin import TwinGraph

BOUNDS = {("D4", 1024): 3.0, ("C2", 1024): 1.6, ("D4", 4096): 4.5, ("C2", 4096): 1.6}
WIDTHS = (1024, 4096, 64, 128, 256, 512)
ORIGINAL = (784, 512, 512, 10)
NETWORKS = (
    ("D4", 1440, "about the multiply-adds of the original", 5.0),
    ("D4", 960, "about half of them", 8.0),
    ("C2", 700, "about 0.8 of them", 1.7),
)
"""Group, hidden width, what it costs, and how many times faster than averaging it must be."""
SAME = 1e-5
NEVER_SLOWER = 1.05

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


class Average(nn.Module):
    """The group average of a network on square images with invariant outputs, all moved batches in one pass."""

    def __init__(self, network: nn.Module, group: Group, side: int) -> None:
        super().__init__()
        self.network, self.side, self.full = network, side, group.order == 8

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        image = x.reshape(-1, self.side, self.side)
        moved = [image, image.flip(1, 2)]
        if self.full:
            turned = image.transpose(1, 2)
            moved += [turned, turned.flip(1, 2), *(i.flip(k) for i in (image, turned) for k in (1, 2))]
        answers = self.network(torch.cat(moved).reshape(-1, self.side**2))
        return answers.reshape(len(moved), -1, answers.shape[1]).mean(0)


def perceptron(widths: Sequence[int]) -> nn.Sequential:
    layers: list[nn.Module] = []
    for a, b in pairwise(widths):
        layers += [nn.Linear(a, b), nn.ReLU()]
    return nn.Sequential(*layers[:-1]).eval()


def random_twin(group: Group, width: int) -> TwinGraph:
    """Regular orbits in both hidden layers, coordinates in the order of the pixels and of ``GSet``."""
    side = round(ORIGINAL[0] ** 0.5)
    pixels = np.arange(side**2).reshape(side, side)
    turn = np.rot90(pixels, 2 if group.order == 2 else 1)
    moves = [turn] if group.order == 2 else [turn, pixels[:, ::-1]]
    pixel = tuple(Monomial(m.ravel()) for m in moves)
    hidden = tuple(m for m in regular(group, width).images if isinstance(m, Monomial))
    out = trivial(len(pixel), ORIGINAL[-1])
    network = trace(perceptron([ORIGINAL[0], width, width, ORIGINAL[-1]]), torch.zeros(2, ORIGINAL[0]))
    actions, ties, arrays = {}, {}, {}
    for name, node in network.graph.items():
        actions[name] = {ORIGINAL[0]: pixel, width: hidden, ORIGINAL[-1]: out}.get((0, *node.shape)[-1], out)
        if isinstance(node.op, ir.Linear) and node.op.bias is not None:
            read = actions[node.inputs[0]]
            for param, columns in ((node.op.weight, read), (node.op.bias, trivial(len(pixel)))):
                ties[param.name], arrays[param.name] = tied(actions[name], columns), param.array
    return TwinGraph(network, network.graph, actions, ties).with_arrays(arrays)


def network_claims(batch: int, series: Series) -> list[Claim]:
    """Twins beside the original and its group average."""
    original, claims = perceptron(ORIGINAL), []
    example = torch.randn(batch, ORIGINAL[0], generator=torch.Generator().manual_seed(1))
    cost = sum(a * b for a, b in pairwise(ORIGINAL))
    for name, width, words, bound in NETWORKS:
        group = {"D4": dihedral(4), "C2": cyclic(2)}[name]
        twin = random_twin(group, width)
        layers = block_choices(twin)["blocks"]
        share = twin_multiply_adds(twin, layers) / cost
        average = Average(original, group, round(ORIGINAL[0] ** 0.5))
        modules = {"twin": compiled(twin, layers), "original": original, "average": average, "dense": twin.module()}
        runs = {key: compiled_alone(module) for key, module in modules.items()}
        with torch.no_grad():
            expected = modules["dense"](example)
            difference = float((runs["twin"](example) - expected).abs().max() / expected.abs().max())
            times = series(runs, example)
        ratio, beside = (quotient(times[key], times["twin"]) for key in ("average", "original"))
        note = (
            f"{words}, {number(share)} x; {number(1e3 * statistics.median(times['twin']))} ms against "
            f"{number(1e3 * statistics.median(times['average']))} ms; {number(1 / beside)} x the original's time, "
            f"{number(quotient(times['dense'], times['twin']))} times faster than the twin without blocks"
        )
        title = f"twin of {'-'.join(map(str, ORIGINAL))}, {name}, width {width}"
        claims.append(Claim(f"{title}: times faster than averaging", ratio, bound, ">=", note=note))
        claims.append(
            Claim(f"{title}: difference from the dense twin", difference, SAME, note="over the largest output")
        )
    return claims


def quotient(above: list[float], below: list[float]) -> float:
    """Median over rounds."""
    return statistics.median(a / b for a, b in zip(above, below, strict=True))


def main() -> int:
    parser = benchmark_arguments(__doc__ or "")
    parser.add_argument("--rounds", type=int, default=15, help="alternating rounds of each ratio, at least 5")
    parser.add_argument("--batch", type=int, default=256, help="rows per call; the bounds are for 256")
    parser.add_argument("--threads", type=int, help="threads of torch; all cores by default")
    parser.add_argument("--widths", type=int, nargs="*", default=WIDTHS, help="of single layers, multiples of 8")
    parser.add_argument("--cpu-time", action="store_true", help="one thread, processor time: beside other work")
    arguments = parser.parse_args()
    if arguments.threads or arguments.cpu_time:
        torch.set_num_threads(1 if arguments.cpu_time else arguments.threads)
    widths = [w for w in arguments.widths if w < 4096] if arguments.quick else arguments.widths
    rounds = 5 if arguments.quick else max(5, arguments.rounds)
    clock = time.process_time if arguments.cpu_time else time.perf_counter

    def series(runs: Mapping[str, Run], example: torch.Tensor) -> dict[str, list[float]]:
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
    claims += [] if arguments.quick else network_claims(arguments.batch, series)
    claims.append(Claim("largest difference from the dense layer", worst, SAME, note="over the largest output"))
    note = f"blocks chosen where they take at most {BLOCKS_WIN} of the time; judged on rounds of its own"
    claims.append(Claim("chosen layer over dense layer, worst width", slowest, NEVER_SLOWER, note=note))
    note = "least over the layers; far below 1 the times are those of a busy machine, see --cpu-time"
    claims.append(Claim("share of the processors while timing", share, note=note))
    return figures(claims, title=f"isotypic layers, float32, batch {arguments.batch}", arguments=arguments)


if __name__ == "__main__":
    raise SystemExit(main())
