"""Counts of conservation laws against reference values and a formula, and what they cost.

``--reference FOLDER`` reaches every row of both tables of ``conservation_laws.json`` and the formula for two linear
layers. ``--grid`` counts a hundred networks of the sizes of the notebook of Marcotte, Gribonval and Peyre (2023).
``--scale`` proves counts at 400 and 2,000 parameters and prints how the time grows. ``--monitor`` measures what a
``ConservationMonitor`` adds to a training step of a network of a million parameters. Without options a small part of
``--scale``. Every count must be PROVED; the bounds are for one core.
"""

from __future__ import annotations

import itertools
import json
import statistics
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from data_symmetry_rows import claims as symmetry_claims
from monitor_cost import claims as monitor_claims

from intertwiner.numerics.seeds import rng
from intertwiner.report.figures import Claim, benchmark_arguments, figures
from intertwiner.training import ConservationCount, count_laws

NOTEBOOK = {"linear": 41.0, "relu": 136.0}
"""Seconds per network of the notebook in SageMath on 64 cores."""

GRID = {"linear": (2, 5), "relu": (2, 9)}
"""Smallest and largest width of the notebook's networks; their depths are 2 to 4."""

LARGEST = 6
"""Of n, m and r in the formula for two layers."""

SIZES = (5, 7, 10, 14, 18, 22)
"""Widths of the networks, four layers each, over which the growth is fitted."""

SYMMETRY_TABLE = "with_data_symmetry_mse_linear"


def dashed(widths: Sequence[int]) -> str:
    return "-".join(map(str, widths))


def proved(count: ConservationCount) -> int | None:
    """The number where it is proved; None misses every bound."""
    return count.laws if count.verdict.is_proved else None


def two_layers(n: int, m: int, r: int) -> int:
    """Laws of U V^T, U of shape n x r and V of shape m x r [Marcotte, Gribonval, Peyre 2023]."""
    s = n + m
    return r * (r + 1) // 2 if s >= r else s * r - s * (s - 1) // 2


def table_claims(table: dict[str, Any]) -> tuple[list[Claim], list[float]]:
    """Every row of the table without symmetry, and the seconds of each."""
    claims, seconds = [], []
    for activation in ("linear", "relu"):
        for row in table[activation]:
            bias = row.get("bias", False)
            count = count_laws(row["widths"], activation, bias=bias)
            name = f"{activation} {dashed(row['widths'])}{' with biases' if bias else ''}"
            claims.append(Claim(name, proved(count), row["laws"], "==", note=f"{count.verdict.kind}"))
            seconds.append(count.seconds)
    return claims, seconds


def formula_claim() -> tuple[Claim, list[float]]:
    """Two linear layers for all n, m, r."""
    cases = list(itertools.product(range(1, LARGEST + 1), repeat=3))
    counts = [count_laws((m, r, n)) for n, m, r in cases]
    equal = sum(proved(count) == two_layers(*case) for count, case in zip(counts, cases, strict=True))
    name = f"two linear layers, n, m, r up to {LARGEST}: equal to the formula"
    return Claim(name, equal, len(cases), "==", note="PROVED"), [count.seconds for count in counts]


def reference_claims(folder: Path, skipped: dict[str, str]) -> list[Claim]:
    """Both tables and the formula."""
    claims: list[Claim] = []
    formula, seconds = formula_claim()
    file = folder / "conservation_laws.json"
    if file.is_file():
        tables = json.loads(file.read_text(encoding="utf-8"))
        rows, more = table_claims(tables["architecture_only"])
        claims, seconds = rows, seconds + more
        claims += symmetry_claims(tables[SYMMETRY_TABLE])
    else:
        skipped[file.name] = "not in the folder of reference files"
    note = f"median of {len(seconds)} networks, largest {max(seconds):.3f} s"
    return [*claims, formula, Claim("time per network", statistics.median(seconds), 0.1, "<=", "s", note=note)]


def drawn(activation: str, count: int) -> list[tuple[int, ...]]:
    """Random widths of the notebook's sizes."""
    random = rng(len(activation))
    low, high = GRID[activation]
    return [tuple(map(int, random.integers(low, high + 1, size=random.integers(3, 6)))) for _ in range(count)]


def grid_claims(quick: bool) -> list[Claim]:
    """A hundred networks: all proved, and in how many seconds."""
    claims, total = [], 0.0
    per_kind = 10 if quick else 50
    for activation in GRID:
        counts = [count_laws(widths, activation) for widths in drawn(activation, per_kind)]
        took = [count.seconds for count in counts]
        total += sum(took)
        low, high = GRID[activation]
        name = f"{activation}, widths {low} to {high}, 2 to 4 layers"
        claims.append(Claim(f"{name}: proved", sum(c.verdict.is_proved for c in counts), per_kind, "=="))
        note = f"the notebook takes {NOTEBOOK[activation]:.0f} s on 64 cores; largest here {max(took):.2f} s"
        claims.append(Claim(f"{name}: time per network", statistics.mean(took), unit="s", note=note))
    claims.append(Claim(f"{2 * per_kind} networks: time", total, 60.0, "<=", "s"))
    return claims


def exponent(sizes: Iterable[float], seconds: Iterable[float]) -> float:
    """The slope of log seconds over log size."""
    return float(np.polyfit(np.log(list(sizes)), np.log(list(seconds)), 1)[0])


def scale_claims(quick: bool) -> list[Claim]:
    """Counts at 400 and 2,000 parameters, and the growth."""
    claims = []
    large = () if quick else (((20, 50, 20), 1220, 300.0), ((22, 22, 22, 22, 22), 759, 300.0))
    for widths, laws, bound in (((10, 20, 10), 210, 15.0), ((10, 10, 10, 10, 10), 165, 15.0), *large):
        count = count_laws(widths)
        name = f"linear {dashed(widths)}, {count.parameters} parameters"
        claims.append(Claim(f"{name}: laws", proved(count), laws, "==", note=f"{count.verdict.kind}"))
        claims.append(Claim(f"{name}: time", count.seconds, bound, "<=", "s"))
    if not quick:
        for activation in GRID:
            counts = [count_laws((width,) * 5, activation) for width in SIZES]
            for count in counts:
                print(f"  {count.seconds:8.3f} s: {count}", flush=True)
            slope = exponent((c.parameters for c in counts), (c.seconds for c in counts))
            note = f"fitted over {counts[0].parameters} to {counts[-1].parameters} parameters, four layers"
            claims.append(Claim(f"{activation}: time grows like D to the power", slope, note=note))
            unproved = sum(not count.verdict.is_proved for count in counts)
            claims.append(Claim(f"{activation}: not proved", unproved, 0, "=="))
    return claims


def main() -> int:
    parser = benchmark_arguments(__doc__ or "")
    parser.add_argument("--reference", type=Path, metavar="FOLDER", help="folder of the reference files")
    parser.add_argument("--grid", action="store_true", help="a hundred networks of the notebook's sizes")
    parser.add_argument("--scale", action="store_true", help="400 and 2,000 parameters, and the growth")
    parser.add_argument("--monitor", action="store_true", help="what the monitor adds to a training step")
    arguments = parser.parse_args()
    count_laws((2, 2, 2))  # imports and the first call of the BLAS belong to no network
    claims: list[Claim] = []
    skipped: dict[str, str] = {}
    if arguments.reference:
        claims += reference_claims(arguments.reference, skipped)
    if arguments.grid:
        claims += grid_claims(arguments.quick)
    if arguments.monitor:
        claims += monitor_claims(arguments.quick)
    if arguments.scale or not claims:
        claims += scale_claims(arguments.quick or not arguments.scale)
    return figures(claims, title="conservation laws", arguments=arguments, skipped=skipped)


if __name__ == "__main__":
    raise SystemExit(main())
