"""Dimensions of neurovarieties: the reference values, what is proved, and how the time grows.

    python benchmarks/neurovarieties.py --reference FOLDER [--attention] [--large] [--json FILE]

``--reference`` names the folder with neurovariety_dimensions.csv and attention_dimensions.json. Without it a deep
filling network is timed alone. Bounds are on the time on the clock, of a computer that does nothing else; the time of
the processor stands in the note. Run it with OMP_NUM_THREADS=1 for the times of one core.
"""

from __future__ import annotations

import argparse
import csv
import json
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from intertwiner.report.figures import Claim, benchmark_arguments, figures
from intertwiner.variety import Architecture, Attention, Neurovariety, generic_rank, monomial, neurovariety

FILLING = (2, 3, 4, 5, 4, 6, 4, 1)
LARGE = (32, 32, 32, 32)
GROWTH = (8, 12, 16, 24, 32)


@dataclass(frozen=True)
class Took:
    """Seconds on the clock and of the processor."""

    wall: float
    processor: float

    def claim(self, name: str, bound: float, note: str = "") -> Claim:
        """The time on the clock against its bound."""
        used = f"{self.processor:.3g} s of the processor"
        return Claim(name, self.wall, bound, "<=", "s", note=f"{note}; {used}" if note else used)


def timed(run: Callable[[], Any]) -> tuple[Any, Took]:
    """The result, and how long it took."""
    start, used = time.perf_counter(), time.process_time()
    found = run()
    return found, Took(time.perf_counter() - start, time.process_time() - used)


def best(run: Callable[[], Any], repeats: int = 5) -> tuple[Any, Took]:
    """The result, and the least of some times."""
    runs = [timed(run) for _ in range(repeats)]
    return runs[0][0], min((took for _, took in runs), key=lambda took: took.wall)


def reference_claims(file: Path) -> list[Claim]:
    """All rows: by rank and bound as a user gets them, and by six ranks each without any bound."""
    with file.open(encoding="utf-8") as lines:
        rows = list(csv.DictReader(lines))
    nets = [Architecture(tuple(map(int, row["widths"].split())), monomial(int(row["r"]))) for row in rows]
    found, took = timed(lambda: [neurovariety(net) for net in nets])
    draws, plain = timed(lambda: [generic_rank(net, net.parameters, primes=2, draws=3) for net in nets])
    right = sum(v.dimension == int(row["dim"]) for v, row in zip(found, rows, strict=True))
    defects = sum(v.defect == int(row["defect"]) for v, row in zip(found, rows, strict=True))
    filling = sum(v.is_filling == (row["filling"] == "1") for v, row in zip(found, rows, strict=True))
    defective = [v for v in found if v.defect]
    by_rank = sum(
        {d.rank for d in six} == {int(row["dim"])} and len(six) == 6 for six, row in zip(draws, rows, strict=True)
    )
    shown = sum(v.verdict.is_proved for v in defective)
    return [
        Claim("reference rows: dimension", right, len(rows), "==", note=f"{file.name}"),
        Claim("reference rows: defect", defects, len(rows), "=="),
        Claim("reference rows: filling", filling, len(rows), "=="),
        Claim("reference rows: dimension proved", sum(v.verdict.is_proved for v in found), len(rows), "=="),
        Claim("defective rows: defect proved", shown, len(defective), "==", note="by theorems on stretches of layers"),
        Claim("reference rows: the same by six ranks, no bound used", by_rank, len(rows), "=="),
        took.claim("reference rows: time", 5.0, "rank, bound, theorems and fibre"),
        plain.claim("reference rows: time of six ranks each", 5.0, "in all, two primes, three draws"),
    ]


def attention_nets(record: dict[str, Any]) -> Iterable[tuple[Attention, int, int | None]]:
    """Every row of the file, with its dimension and number of parameters."""
    for row in record["lightning_single_layer"]["rows"]:
        yield Attention("lightning", row["d"], row["a"], row["d_out"], row["tokens"]), row["dim"], row["params"]
    for row in record["lightning_deep_width_d"]["rows"]:
        net = Attention("lightning", row["d"], row["a"], row["d"], row["tokens"], layers=row["layers"])
        yield net, row["dim"], row["params"]
    for row in record["softmax"]["multi_head_rows"]:
        net = Attention("softmax", row["d"], row["a"], row["d"], 3, heads=row["heads"], inner=row["v"])
        yield net, row["dim"], row["params"]
    for row in record["rope_single_head"]["rows"]:
        yield Attention("rotary", row["d"], row["a"], row["d"], 3), row["dim"], row["params"]
    for layers in (1, 2, 3):  # the formula of the file for deep softmax with one head: L a (2 d - a) + d d_out
        for d, a, out in ((3, 1, 3), (3, 2, 2), (4, 2, 4)):
            net = Attention("softmax", d, a, out, 3, layers=layers)
            yield net, layers * a * (2 * d - a) + d * out, None


def attention_claims(file: Path) -> list[Claim]:
    claims, wall, processor = [], 0.0, 0.0
    for net, dimension, parameters in attention_nets(json.loads(file.read_text(encoding="utf-8"))):
        found, took = timed(lambda net=net: neurovariety(net))
        wall, processor = wall + took.wall, processor + took.processor
        fits = parameters in (None, net.parameters)
        value = found.dimension if found.verdict.is_proved and fits else None
        claims.append(Claim(str(net), value, dimension, "==", note=f"{found.verdict.kind}, of {net.parameters}"))
    return [*claims, Took(wall, processor).claim("attention: time", 5.0)]


def large_claims() -> list[Claim]:
    """One large architecture, and how the time grows with the width."""
    found, took = timed(lambda: neurovariety(LARGE, monomial(2)))
    name = "-".join(map(str, LARGE))
    value = found.dimension if found.verdict.is_proved else None
    ambient = f"ambient {found.ambient_dimension:,}"
    claims = [
        Claim(f"{name}, t^2: dimension proved", value, 3008, "==", note=f"of {found.family.parameters:,}, {ambient}"),
        took.claim(f"{name}, t^2: time", 60.0),
    ]
    return claims + growth_claims()


def growth_claims() -> list[Claim]:
    out: list[Claim] = []
    for n in GROWTH:
        found, took = timed(lambda n=n: neurovariety((n,) * 4, monomial(2)))
        note = f"rank {found.dimension:,} of {found.family.parameters:,}; {took.processor:.3g} s of the processor"
        out.append(Claim(f"{n}-{n}-{n}-{n}, t^2", took.wall, unit="s", note=note))
    return out


def filling_claims() -> list[Claim]:
    found: Neurovariety
    found, took = best(lambda: neurovariety(FILLING, monomial(2)))
    name = "-".join(map(str, FILLING))
    value = found.dimension if found.verdict.is_proved and found.is_filling else None
    return [
        Claim(f"{name}, t^2: filling, proved", value, 65, "=="),
        took.claim(f"{name}, t^2: time", 0.5, "best of 5"),
    ]


def main() -> int:
    parser = benchmark_arguments(__doc__ or "")
    parser.add_argument("--reference", type=Path, metavar="FOLDER", help="folder of the reference files")
    parser.add_argument("--attention", action="store_true", help="also the attention layers of the reference")
    parser.add_argument("--large", action="store_true", help="also 3,072 parameters, and growth with the width")
    arguments: argparse.Namespace = parser.parse_args()
    claims, skipped = filling_claims(), {}
    jobs = [("neurovariety_dimensions.csv", reference_claims, arguments.reference is not None)]
    jobs.append(("attention_dimensions.json", attention_claims, arguments.attention))
    for name, make, wanted in jobs:
        if not wanted:
            continue
        if arguments.reference is None or not (arguments.reference / name).exists():
            skipped[name] = "no folder of reference files with it; --reference names one"
        else:
            claims += make(arguments.reference / name)
    if arguments.large:
        claims += large_claims()
    return figures(claims, title="dimensions of neurovarieties", arguments=arguments, skipped=skipped)


if __name__ == "__main__":
    raise SystemExit(main())
