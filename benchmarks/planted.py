"""Speed of the weight path on a planted network, beside weight matching as git re-basin does it.

A fully connected ReLU network of width 480 with five hidden layers carries regular orbits of D4, hidden by random
permutations. For a generator g the network with g moved into its first and last layer is a hidden copy of itself: both
tools are asked for the permutations between the two, a plain permutation problem, the peer's own best case. Its
matching is that of ``rebasin`` (coordinate descent over layers), ours starts from the known input action.
"""

from __future__ import annotations

import copy
import importlib.util
import logging
import statistics
import time
from dataclasses import dataclass

import numpy as np
import torch

from intertwiner.algebra import GSet, Orbit, Representation, dihedral, subgroup_classes
from intertwiner.network import Network, trace
from intertwiner.numerics.monomial import Monomial
from intertwiner.numerics.tolerance import tolerance
from intertwiner.report.figures import Claim, benchmark_arguments, figures
from intertwiner.symmetry import BoundSymmetry, Symmetry, vector
from intertwiner.testing.modules import Chain
from intertwiner.testing.tied import tied
from intertwiner.transport import Carried, carry

HIDDEN = 5
BOUND_MS = 50.0
MOST_PAIRS = 10


@dataclass(frozen=True)
class Case:
    """A planted network and the answer."""

    module: Chain
    network: Network
    symmetry: BoundSymmetry
    ends: Representation


def planted(width: int, seed: int) -> Case:
    """Regular orbits of D4 in every hidden layer, weights tied along orbits, neurons in random order."""
    group, rng = dihedral(4), np.random.default_rng(seed)
    free = subgroup_classes(group)[0]
    hidden = GSet.of(group, [Orbit(free, multiplicity=width // 8)]).representation()
    ends = GSet.of(group, [Orbit(free, multiplicity=8)]).representation()
    spaces = [ends, *([hidden] * HIDDEN), ends]
    module = Chain([s.dimension for s in spaces], "relu").eval()
    orders = [np.arange(64), *(rng.permutation(width) for _ in range(HIDDEN)), np.arange(64)]
    with torch.no_grad():
        for k, layer in enumerate(module.layers):
            out, into = spaces[k + 1], spaces[k]
            moves = [[out.images[g].index, into.images[g].index] for g in range(2)]
            weight, _ = tied(moves, rng, (2 / into.dimension) ** 0.5)
            bias, _ = tied([m[:1] for m in moves], rng, 0.1)
            layer.weight.copy_(torch.from_numpy(weight[np.ix_(orders[k + 1], orders[k])]))
            layer.bias.copy_(torch.from_numpy(bias[orders[k + 1]]))
    move = vector(perm=[m.index.tolist() for m in ends.images])
    network = trace(module, torch.randn(4, 64))
    return Case(module, network, Symmetry(group, on_input=move, on_output=move).bind((64,), (64,)), ends)


def follow(case: Case) -> Carried:
    return carry(case.network, case.symmetry, tolerance=tolerance("float32"))


def moved_copy(case: Case, generator: int) -> Chain:
    """The network with g moved into its first and last layer: ``g^{-1} f(g x)``."""
    copied, move = copy.deepcopy(case.module), case.ends.images[generator].dense()
    first, last = copied.layers[0], copied.layers[-1]
    with torch.no_grad():
        first.weight.copy_(first.weight @ torch.from_numpy(move).float())
        last.weight.copy_(torch.from_numpy(move.T).float() @ last.weight)
        last.bias.copy_(torch.from_numpy(move.T).float() @ last.bias)
    return copied


def distance(a: Chain, b: Chain) -> float:
    """Largest difference of two weights."""
    pairs = zip(a.state_dict().values(), b.state_dict().values(), strict=True)
    return max(float((p - q).abs().max()) for p, q in pairs)


def aligned_by_us(case: Case, carried: Carried, generator: int) -> Chain:
    """The moved copy with its hidden neurons put back by the permutations that were found."""
    copied = moved_copy(case, generator)
    previous = Monomial.identity(64)
    for layer, relation in zip(copied.layers, [*carried.relations.values(), None], strict=True):
        back = relation.actions[generator].inverse() if relation else Monomial.identity(64)
        with torch.no_grad():
            weight = back.apply(previous.apply_right(layer.weight.double().numpy()))
            layer.weight.copy_(torch.from_numpy(weight))
            layer.bias.copy_(torch.from_numpy(back.apply(layer.bias.double().numpy())))
        previous = relation.actions[generator] if relation else previous
    return copied


def by_rebasin(case: Case, generator: int) -> tuple[float, float]:
    """Seconds and largest remaining difference of weights."""
    from rebasin import PermutationCoordinateDescent

    copied = moved_copy(case, generator)
    start = time.perf_counter()
    PermutationCoordinateDescent(case.module, copied, torch.randn(2, 64), logging_level=logging.ERROR).rebasin()
    return time.perf_counter() - start, distance(case.module, copied)


def main() -> int:
    parser = benchmark_arguments(__doc__ or "")
    parser.add_argument("--width", type=int, default=480, help="neurons per hidden layer, a multiple of 8")
    arguments = parser.parse_args()
    rounds, pairs = (5, 1) if arguments.quick else (15, MOST_PAIRS)
    skipped = {} if importlib.util.find_spec("rebasin") else {"rebasin": "not installed; pip install -e .[bench]"}
    ours, ours_left, theirs, theirs_left = [], [], [], []
    cases = [planted(arguments.width, seed) for seed in range((pairs + 1) // 2)]
    for case in cases:
        follow(case)
    for k in range(max(rounds, pairs)):
        case = cases[k % len(cases)]
        start = time.perf_counter()
        carried = follow(case)
        ours.append(time.perf_counter() - start)
        if k < pairs:
            case, generator = cases[k // 2], k % 2
            carried = follow(case)
            ours_left.append(distance(case.module, aligned_by_us(case, carried, generator)))
            if not skipped:
                seconds, left = by_rebasin(case, generator)
                theirs.append(seconds)
                theirs_left.append(left)
    exact = all(follow(case).exact for case in cases)
    ms = 1e3 * statistics.median(ours)
    claims = [
        Claim("weight path, two generators", ms, BOUND_MS, "<=", "ms", f"median of {len(ours)}"),
        Claim("every relation holds bit for bit", int(exact), 1, "=="),
        Claim("largest weight difference left by us", max(ours_left), 0.0, "==", "", f"{len(ours_left)} pairs"),
    ]
    if theirs:
        peer = 1e3 * statistics.median(theirs)
        worse = sum(a > b for a, b in zip(ours_left, theirs_left, strict=True))
        claims += [
            Claim("rebasin, one pair", peer, None, "<=", "ms", f"median of {len(theirs)}"),
            Claim("rebasin over us, per generator", peer / (ms / 2), 1.0, ">", "x"),
            Claim("largest weight difference left by rebasin", max(theirs_left)),
            Claim("pairs on which we are less exact", worse, 0, "=="),
        ]
    return figures(claims, title="weight path on a planted network", arguments=arguments, skipped=skipped)


if __name__ == "__main__":
    raise SystemExit(main())
