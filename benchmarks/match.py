"""Matching two networks: random gauge moves are proved, one moved weight is refuted, beside git re-basin.

* Moves: fully connected, convolutional and residual networks, widths to 1024 and depth to 8, both dtypes, in random
  coordinates of all their latent spaces: the verdict must be PROVED, exactly or within TOLERANCE with its bound, and
  the gauge element must be the one that was applied.
* Changes: the same in float64 with one weight of the moved network changed by 1e-4 of its row norm, where its reader
  and writer are active on some probe: the verdict must be REFUTED, and the witness must show the difference again.
* Nothing changed: a weight that reads a neuron which is zero on every input, or one that leaves a neuron that nobody
  reads, moved by as much: PROVED.
* The peer: ``rebasin`` on hidden permutations of a ReLU network, its own best case.
"""

from __future__ import annotations

import argparse
import copy
import importlib.util
import logging
import statistics
import time
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from torch import Tensor, nn

from intertwiner.gauge import GaugeElement, GaugeGroup, random_element
from intertwiner.identify import Match, canonical_form, difference, fingerprint, match, move
from intertwiner.network import Network, trace
from intertwiner.report.figures import Claim, benchmark_arguments, figures
from intertwiner.testing.modules import FAMILIES, Chain

PAIRS = 300
QUICK_PAIRS = 30
MOST_PEER_PAIRS = 10
STEP = 1e-4
ACTIVATIONS = ("relu", "tanh", "gelu", "leaky_relu", "sin", "t^3")
WIDEST = {"mlp": 1024, "conv": 256, "residual": 512}
INPUTS, OUTPUTS, GRID = 12, 7, 8


@dataclass(frozen=True)
class Case:
    """A network with an input to trace it on."""

    label: str
    module: nn.Module
    example: Tensor

    @cached_property
    def network(self) -> Network:
        return trace(self.module, self.example)


def cases(count: int, seed: int, dtypes: tuple[torch.dtype, ...]) -> Iterator[Case]:
    """Networks of all families, activations and sizes; the first ones of each family are the largest."""
    rng = np.random.default_rng(seed)
    for k in range(count):
        family = ("mlp", "conv", "residual")[k % 3]
        activation = ACTIVATIONS[(k // 3) % len(ACTIVATIONS)]
        dtype = dtypes[(k // 18) % len(dtypes)]
        most = WIDEST[family]
        widest, depth = (
            (most, 8) if k < 3 else (int(np.exp(rng.uniform(np.log(8), np.log(160)))), int(rng.integers(1, 9)))
        )
        if activation == "t^3":
            depth = min(depth, 2)
        if family == "conv":
            widest, depth = (widest, 3) if k < 3 else (min(widest, 64), min(depth, 6))
        yield Case(
            f"{family} {activation} {widest} x {depth} {dtype}",
            *_network(family, activation, widest, depth, dtype, seed + k),
        )


def _network(
    family: str, activation: str, widest: int, depth: int, dtype: torch.dtype, seed: int
) -> tuple[nn.Module, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    widths = [widest, *torch.randint(max(4, widest // 2), widest + 1, (depth - 1,), generator=generator).tolist()]
    stream = [max(4, widest // 2)] if family == "residual" else []
    module = FAMILIES[family]([INPUTS, *stream, *widths, OUTPUTS], activation).to(torch.float64).eval()
    with torch.no_grad():
        for name, p in module.named_parameters():
            fan = p[0].numel() if p.ndim > 1 else 1
            size = (2 / fan) ** 0.5 if p.ndim > 1 else 0.1
            size *= 0.3 if name.startswith("write") else 0.5 if activation == "t^3" else 1.0
            p.copy_(size * torch.randn(p.shape, generator=generator, dtype=torch.float64))
    shape = (2, INPUTS, GRID, GRID) if family == "conv" else (2, INPUTS)
    return module.to(dtype), torch.zeros(shape, dtype=dtype)


def moved(case: Case, seed: int, network: Network | None = None) -> tuple[Network, dict[str, GaugeElement]]:
    """A network of the case, by default its own, in random coordinates of all its latent spaces."""
    rng = np.random.default_rng(seed)
    elements = {
        space.name: random_element(space.gauge, rng)
        for space in case.network.latent_spaces
        if space.gauge != GaugeGroup.trivial(space.dimension)
    }
    return trace(move(network or case.network, elements), case.example), elements


def same_elements(found: Match, planted: dict[str, GaugeElement], dtype: torch.dtype) -> bool:
    room = 64 * torch.finfo(dtype).eps
    for name, element in planted.items():
        other = found.elements.get(name)
        if other is None or other.distance(element) > room * max(1.0, float(np.abs(element.dense()).max())):
            return False
    return True


@dataclass
class Tally:
    """What was counted over the moves."""

    proved: int = 0
    exact: int = 0
    bounded: int = 0
    elements: int = 0
    fingerprints: int = 0
    canonical: int = 0
    worst_bound: float = 0.0


def proofs(count: int) -> tuple[Tally, list[str]]:
    tally, missed = Tally(), []
    for k, case in enumerate(cases(count, 1, (torch.float64, torch.float32))):
        other, planted = moved(case, 1000 + k)
        found = match(case.network, other, align=False)
        verdict = found.verdict
        tally.proved += verdict.is_proved
        tally.exact += verdict.is_proved and verdict.exact
        tally.bounded += verdict.is_proved and not verdict.exact and verdict.bound is not None
        right = same_elements(found, planted, case.example.dtype)
        tally.elements += right
        if not verdict.is_proved or not right:
            missed.append(f"{case.label}: {verdict}")
        if case.example.dtype == torch.float64 and "t^3" not in case.label:
            tally.worst_bound = max(tally.worst_bound, verdict.bound or 0.0)
        tally.fingerprints += fingerprint(case.network) == fingerprint(other)
    return tally, missed


def canonical_forms(count: int) -> tuple[int, int]:
    """How many moved networks have the canonical form of the original, and how many forms are their own form."""
    equal = idempotent = 0
    for k, case in enumerate(cases(count, 5000, (torch.float64,))):
        other, _ = moved(case, 6000 + k)
        one, two = (canonical_form(m, example=case.example) for m in (case.network, other))
        again = canonical_form(one, example=case.example)
        pairs = list(zip(one.buffers(), two.buffers(), again.buffers(), strict=True))
        equal += all(torch.allclose(a, b, rtol=1e-9, atol=1e-9 * float(a.abs().max())) for a, b, _ in pairs)
        idempotent += all(torch.equal(a, c) for a, _, c in pairs)
    return equal, idempotent


def changed(case: Case, module: nn.Module, rng: np.random.Generator) -> str | None:
    """Change one weight, in place, by 1e-4 of its row norm, where reader and writer are active on some probe."""
    probe = torch.randn((64, *case.example.shape[1:]), dtype=torch.float64, generator=torch.Generator().manual_seed(7))
    layers = [(name, m) for name, m in module.named_modules() if isinstance(m, (nn.Linear, nn.Conv2d))]
    seen: dict[str, tuple[Tensor, Tensor]] = {}
    hooks = [
        m.register_forward_hook(lambda m, x, y, name=name: seen.__setitem__(name, (x[0].detach(), y.detach())))
        for name, m in layers
    ]
    with torch.no_grad():
        module(probe)
    for hook in hooks:
        hook.remove()
    name, layer = layers[int(rng.integers(len(layers)))]
    read, written = seen[name]
    relu = isinstance(getattr(module, "act", None), nn.ReLU) and layer is not layers[-1][1]
    active_in = read.movedim(1, -1).abs().amax(tuple(range(read.ndim - 1))) > 0
    active_out = written.movedim(1, -1).amax(tuple(range(written.ndim - 1))) > (0 if relu else -np.inf)
    rows, columns = torch.nonzero(active_out).ravel(), torch.nonzero(active_in).ravel()
    if not len(rows) or not len(columns):
        return None
    i, j = int(rows[rng.integers(len(rows))]), int(columns[rng.integers(len(columns))])
    weight = layer.weight.data
    place = (i, j, *(int(rng.integers(n)) for n in weight.shape[2:]))
    weight[place] += STEP * weight[i].norm()
    return f"{name}.weight{list(place)}"


def refutations(count: int) -> tuple[int, int, list[str]]:
    refuted = replayed = 0
    missed = []
    for k, case in enumerate(cases(count, 2, (torch.float64,))):
        copied, rng, where = copy.deepcopy(case.module), np.random.default_rng(3000 + k), None
        while where is None:
            where = changed(case, copied, rng)
        other, _ = moved(case, 2000 + k, trace(copied, case.example))
        verdict = match(case.network, other, align=False).verdict
        refuted += verdict.is_refuted
        if verdict.witness is not None:
            gap, floor = difference(verdict, case.network, other)
            replayed += gap > 10 * floor and abs(gap - verdict.witness.defect) <= 1e-6 * gap
        if not verdict.is_refuted:
            missed.append(f"{case.label}, {where}: {verdict}")
    return refuted, replayed, missed


def nothing_changed(count: int) -> int:
    """A neuron that nobody reads gets other weights: the function is provably the same."""
    proved = 0
    for k, case in enumerate(cases(count, 4, (torch.float64,))):
        layers = [m for m in case.module.modules() if isinstance(m, (nn.Linear, nn.Conv2d))]
        if "residual" in case.label:
            writer, reader = case.module.read[0], case.module.write[0]
        else:
            writer, reader = layers[0], layers[1]
        with torch.no_grad():
            reader.weight[:, 0] = 0.0
        copied = copy.deepcopy(case.module)
        with torch.no_grad():
            writer.weight[0] += STEP * writer.weight[0].norm()
        other, _ = moved(case, 4000 + k, trace(copied, case.example))
        proved += match(case.network, other, align=False).verdict.is_proved
    return proved


def permuted(width: int, depth: int, seed: int) -> tuple[Chain, Chain]:
    """A ReLU network and itself with its hidden neurons in another order: the problem that the peer solves."""
    module, example = _network("mlp", "relu", width, depth, torch.float32, seed)
    rng = np.random.default_rng(seed)
    spaces = [s for s in trace(module, example).latent_spaces if not s.given]
    orders = {s.name: random_element(GaugeGroup.permutation(s.dimension), rng) for s in spaces}
    other = move(module, orders, example=example)
    return module, other  # type: ignore[return-value]


def distance(a: nn.Module, b: nn.Module) -> float:
    return max(float((p - q).detach().abs().max()) for p, q in zip(a.parameters(), b.parameters(), strict=True))


def against_the_peer(pairs: int, width: int) -> list[Claim]:
    from rebasin import PermutationCoordinateDescent

    ours, traced, theirs, ours_left, theirs_left = [], [], [], [], []
    for seed in range(pairs):
        a, b = permuted(width, 5, 8000 + seed)
        example = torch.zeros(2, INPUTS)
        start = time.perf_counter()
        found = match(a, b, example=example)
        ours.append(time.perf_counter() - start)
        ours_left.append(distance(a, found.aligned()))
        networks = trace(a, example), trace(b, example)
        start = time.perf_counter()
        match(*networks)
        traced.append(time.perf_counter() - start)
        copied = copy.deepcopy(b)
        start = time.perf_counter()
        PermutationCoordinateDescent(a, copied, torch.randn(2, INPUTS), logging_level=logging.ERROR).rebasin()
        theirs.append(time.perf_counter() - start)
        theirs_left.append(distance(a, copied))
    us, peer = statistics.median(ours), statistics.median(theirs)
    return [
        Claim("match, one pair, tracing included", 1e3 * us, None, "<=", "ms", f"median of {pairs}, width {width}"),
        Claim("rebasin, one pair", 1e3 * peer, None, "<=", "ms", f"median of {pairs}"),
        Claim("rebasin over us, both of our traces included", peer / us, None, ">", "x"),
        Claim("pairs on which rebasin is faster", sum(t < o for t, o in zip(theirs, ours, strict=True))),
        Claim("match, networks traced before", 1e3 * statistics.median(traced), None, "<=", "ms", f"median of {pairs}"),
        Claim("rebasin over us, networks traced before", peer / statistics.median(traced), 1.0, ">", "x"),
        Claim("largest weight difference left by us", max(ours_left), 0.0, "=="),
        Claim("largest weight difference left by rebasin", max(theirs_left)),
    ]


def main() -> int:
    parser: argparse.ArgumentParser = benchmark_arguments(__doc__ or "")
    parser.add_argument("--width", type=int, default=480, help="widest layer of the networks that the peer gets")
    arguments = parser.parse_args()
    count = QUICK_PAIRS if arguments.quick else PAIRS
    few = max(6, count // 25)
    start = time.perf_counter()
    tally, unproved = proofs(count)
    refuted, replayed, unrefuted = refutations(count)
    same = nothing_changed(few)
    equal, idempotent = canonical_forms(few)
    claims = [
        Claim("random gauge moves: PROVED same", tally.proved, count, "=="),
        Claim("of these bit for bit", tally.exact, None),
        Claim("the others with a bound", tally.bounded, tally.proved - tally.exact, "=="),
        Claim("largest bound on the outputs, float64", tally.worst_bound, None, note="|x| <= 1, without t^3"),
        Claim("the planted gauge element is found", tally.elements, count, "=="),
        Claim("equal fingerprints", tally.fingerprints, None, note=f"of {count}; see fingerprint for its failures"),
        Claim("one weight moved: REFUTED", refuted, count, "==", note="1e-4 of the row norm, float64"),
        Claim("the witness shows it again", replayed, refuted, "=="),
        Claim("a weight moved that nobody reads: PROVED", same, few, "=="),
        Claim("equal canonical forms after a move", equal, few, "==", note="float64"),
        Claim("canonical forms that are their own, bit for bit", idempotent, few, "=="),
    ]
    skipped = {}
    if importlib.util.find_spec("rebasin"):
        claims += against_the_peer(2 if arguments.quick else MOST_PEER_PAIRS, arguments.width)
    else:
        skipped["rebasin"] = "not installed; pip install -e .[bench]"
    claims.append(Claim("seconds in all", time.perf_counter() - start, None, "<=", "s"))
    details = {"unproved": unproved, "unrefuted": unrefuted}
    for line in (*unproved, *unrefuted):
        print(line)
    return figures(claims, title="matching two networks", arguments=arguments, skipped=skipped, details=details)


if __name__ == "__main__":
    raise SystemExit(main())
