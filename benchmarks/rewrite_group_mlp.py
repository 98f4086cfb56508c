"""Exactly equivariant twins of group-composition networks under S5 x S5, all 14,400 symmetries at once.

    python benchmarks/rewrite_group_mlp.py --models ../shared/models [--json FILE] [--quick]

The networks map a one-hot pair (x, y) to x * y with one hidden ReLU layer; nobody here trained them. The symmetry is
(x, y) -> (g x, y h^-1), z -> g z h^-1, and the data are all 14,400 pairs, which it maps to themselves. A pair is right
where the largest logit is the product. Distances are to the group average over all 14,400 elements, in float64. The
smallest width is the least total width among all unions of the orbits that the neurons gather into.
"""

from __future__ import annotations

import argparse
import resource
import time
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from intertwiner.algebra import direct_product, from_table
from intertwiner.network import trace
from intertwiner.report.figures import Claim, benchmark_arguments, figures
from intertwiner.rewrite import Rewrite, rewrite
from intertwiner.rewrite.build import Choice, last_layer, offer
from intertwiner.rewrite.forward import before
from intertwiner.rewrite.samples import samples_of
from intertwiner.rewrite.subject import task_of
from intertwiner.symmetry import Symmetry, onehot
from intertwiner.symmetry.onehot import identity_first

BOUNDS = {"S5_MLP_seed37": (54, 0.002), "S5_MLP_seed5": (90, 0.001)}
MEMORY_MB, SECONDS = 300, 60


@dataclass(frozen=True, eq=False)
class Case:
    """A network, what it composes, and its symmetry."""

    name: str
    module: nn.Sequential
    hidden: int
    pairs: torch.Tensor
    products: np.ndarray
    symmetry: Symmetry


def load(folder: Path, name: str) -> Case:
    """The network in two linear layers; the group is the table that it has learned."""
    with np.load(folder / f"{name}.npz", allow_pickle=False) as file:
        w = {key: torch.tensor(file[key]).float() for key in file}
    n, embedding = w["W_x"].shape
    first = torch.cat([w["W_x"] @ w["W"][:embedding], w["W_y"] @ w["W"][embedding:]]).T.contiguous()
    reads, writes = nn.Linear(2 * n, len(first), bias=False), nn.Linear(len(first), n, bias=False)
    module = nn.Sequential(reads, nn.ReLU(), writes).eval()
    with torch.no_grad():
        reads.weight.copy_(first)
        writes.weight.copy_(w["W_U"].T)
        places = torch.cartesian_prod(torch.arange(n), torch.arange(n))
        pairs = torch.cat([nn.functional.one_hot(places[:, k], n) for k in (0, 1)], dim=1).float()
        learned = module(pairs).argmax(1).numpy()
    table, elements = identity_first(learned.reshape(n, n))
    group = from_table(table, name="S5")
    code = {"elements": elements.tolist()}
    symmetry = Symmetry(direct_product(group, group), onehot("x", "y", **code), onehot("z", **code))
    return Case(name, module, len(first), pairs, learned, symmetry)


def twin_claims(case: Case) -> tuple[list[Claim], Rewrite]:
    """The twin within the published width."""
    width, distance = BOUNDS[case.name]
    # With one hidden layer every neuron costs the same, so a share of the width is the same share of the cost.
    twin = rewrite(case.module, case.symmetry, case.pairs, budget=width / case.hidden, labels=case.products)
    found = twin.certificate
    with torch.no_grad():
        right = int((twin.module(case.pairs).argmax(1).numpy() == case.products).sum())
    said = f"{found.verdict.kind}{', bit for bit' if found.verdict.exact else ''}"
    return [
        Claim(f"{case.name}: width of the twin", found.widths[1], width, note=f"of {case.hidden}; {said}"),
        Claim(f"{case.name}: weight relations", said, "PROVED, bit for bit", "=="),
        Claim(f"{case.name}: pairs right, float32", right, len(case.products), "=="),
        Claim(
            f"{case.name}: distance to the group average", found.distance_average, distance,
            note=f"the original is {found.original_distance_average:.3f} away",
        ),
        Claim(f"{case.name}: defect in float64", found.defect_float64, 1e-12),
        Claim(
            f"{case.name}: defect in float32 over the original's noise floor",
            found.defect_float32 / (found.noise_floor or np.inf), 5.0,
        ),
        Claim(
            f"{case.name}: multiply-adds, of the original", found.cost,
            note=f"{found.parameters['free']} free parameters",
        ),
    ], twin  # fmt: skip


def narrowest(case: Case, twin: Rewrite, quick: bool) -> list[Claim]:
    """Every union of orbits by width, until one has all pairs right; how far it is from the twin above is noted."""
    task = task_of(case.module, case.symmetry, case.pairs)
    samples = samples_of(task)
    pairs, bound = case.pairs.double().numpy(), BOUNDS[case.name][0]
    claim = f"{case.name}: smallest width with all pairs right"
    pool = offer(samples, [], task.chain.layers[0].rows, 0, Choice(), 10**6)
    sizes = [c.size for c in pool.found]
    unions = [u for k in range(1, len(sizes) + 1) for u in combinations(range(len(sizes)), k)]
    unions.sort(key=lambda u: (sum(sizes[o] for o in u), u))
    best = 0
    for tried, union in enumerate(unions[: 8 if quick else None], start=1):
        hidden, last, _ = last_layer(samples, pool, union)
        answers = before((hidden, last))(pairs)
        right = int((answers.argmax(1) == case.products).sum())
        best = max(best, right)
        if right == len(case.products):
            with torch.no_grad():
                above = twin.module(case.pairs).double().numpy()
            distance = np.linalg.norm(answers - above) / np.linalg.norm(above - above.mean(0))
            orbits = " + ".join(str(sizes[o]) for o in union)
            note = f"{orbits}; {tried} of {len(unions)} unions tried; {distance:.3f} from the twin above"
            return [Claim(claim, hidden.width, bound, note=note)]
    return [Claim(claim, None, bound, note=f"{len(unions)} unions, at best {best} pairs right")]


def resident() -> int:
    """Largest resident size of this process so far, in bytes."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def main() -> int:
    parser = benchmark_arguments(__doc__ or "")
    parser.add_argument("--models", type=Path, required=True, help="folder that holds group_mlp/")
    parser.add_argument("--threads", type=int, help="threads of torch")
    arguments: argparse.Namespace = parser.parse_args()
    if arguments.threads:
        torch.set_num_threads(arguments.threads)
    claims: list[Claim] = []
    details: dict[str, Any] = {}
    imports = resident()
    # The first trace of a process loads parts of torch, once and for all: they are no cost of the rewrite.
    trace(nn.Sequential(nn.Linear(2, 2), nn.ReLU()).eval(), torch.zeros(2, 2))
    resting, start = resident(), time.perf_counter()
    for name in BOUNDS:
        case = load(arguments.models / "group_mlp", name)
        found, twin = twin_claims(case)
        claims += [*found, *narrowest(case, twin, arguments.quick)]
        details[name] = twin.certificate.to_json()
    seconds, memory = time.perf_counter() - start, (resident() - resting) / 1e6
    claims.append(Claim("seconds, both networks", seconds, SECONDS, unit="s"))
    note = f"resident, above a traced two-neuron network; {(resident() - imports) / 1e6:.0f} MB above the imports"
    claims.append(Claim("peak extra memory", memory, MEMORY_MB, unit="MB", note=note))
    return figures(claims, title="equivariant twins under S5 x S5", arguments=arguments, details=details)


if __name__ == "__main__":
    raise SystemExit(main())
