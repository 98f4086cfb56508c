"""Benchmark figures beside their bounds: one table, the same as JSON, and the exit code.

Every claim is a measured value, a relation and a bound. A figure without a bound is information. A claim that was
not measured counts as missed, unless it is listed as skipped with a reason.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from intertwiner.errors import WrongUse
from intertwiner.report.schema import plain
from intertwiner.report.words import NOTHING, number
from intertwiner.report.write import write_text

_HOLDS = {
    "<=": lambda value, bound: value <= bound,
    ">=": lambda value, bound: value >= bound,
    "==": lambda value, bound: value == bound,
    "<": lambda value, bound: value < bound,
    ">": lambda value, bound: value > bound,
}


@dataclass(frozen=True)
class Claim:
    """A measured value beside its bound.

    Args:
        name: What was measured, in words.
        value: The measurement; None where it could not be taken, which misses the bound.
        bound: What it must reach; None for a figure that is only shown.
        relation: "<=", ">=", "==", "<" or ">": ``value relation bound`` must hold.
        unit: Shown behind both numbers.
        note: A few words shown beside it, e.g. "median of 7".

    Example:
        >>> Claim("weight path", 31.0, 50.0, "<=", "ms").holds
        True
        >>> Claim("recovered", 599, 600, "==").holds
        False
        >>> Claim("peer", 12.0).holds is None
        True
    """

    name: str
    value: float | int | str | None
    bound: float | int | str | None = None
    relation: str = "<="
    unit: str = ""
    note: str = ""

    def __post_init__(self) -> None:
        if self.relation not in _HOLDS:
            raise WrongUse(f"claim {self.name!r}: relation {self.relation!r}, expected one of {', '.join(_HOLDS)}")
        if isinstance(self.value, str) != isinstance(self.bound, str) and None not in (self.value, self.bound):
            raise WrongUse(f"claim {self.name!r}: {self.value!r} cannot be compared with {self.bound!r}")

    @property
    def holds(self) -> bool | None:
        """Whether the bound is reached; None where there is no bound."""
        if self.bound is None:
            return None
        # NaN compares false with everything, so a failed measurement misses.
        return self.value is not None and bool(_HOLDS[self.relation](self.value, self.bound))

    @property
    def outcome(self) -> str:
        return {True: "pass", False: "MISS", None: ""}[self.holds]

    def to_json(self) -> dict[str, Any]:
        return {
            "name": self.name,
            "value": self.value,
            "relation": self.relation if self.bound is not None else None,
            "bound": self.bound,
            "unit": self.unit,
            "note": self.note,
            "pass": self.holds,
        }


def benchmark_arguments(description: str) -> argparse.ArgumentParser:
    """A parser with the options that every benchmark takes; a benchmark adds its own."""
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures as JSON")
    parser.add_argument("--quick", action="store_true", help="a smaller run, for a first look; said in the output")
    return parser


def figures(
    claims: Sequence[Claim],
    *,
    title: str,
    arguments: argparse.Namespace | None = None,
    skipped: Mapping[str, str] | None = None,
    details: Mapping[str, Any] | None = None,
) -> int:
    """Print the figures beside their bounds, write the JSON, and give the exit code.

    Args:
        claims: The figures, in the order they are printed.
        title: The name of the benchmark.
        arguments: What ``benchmark_arguments(...).parse_args()`` gave: ``json`` and ``quick`` are read.
        skipped: What was left out by name, each with the reason ("rebasin": "not installed").
        details: Anything else for the JSON, plain values.

    Returns:
        0 where every bound is reached, else 1. Use as ``raise SystemExit(figures(...))``.
    """
    record = figures_record(claims, title=title, arguments=arguments, skipped=skipped, details=details)
    print_figures(claims, record)
    target = getattr(arguments, "json", None)
    if target is not None:
        write_text(target, json.dumps(record, indent=1, ensure_ascii=False, allow_nan=False) + "\n")
        print(f"written: {target}")
    return 0 if record["pass"] else 1


def figures_record(
    claims: Sequence[Claim],
    *,
    title: str,
    arguments: argparse.Namespace | None = None,
    skipped: Mapping[str, str] | None = None,
    details: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """The figures as one plain record, ``intertwiner.figures/1``."""
    return plain(
        {
            "schema": "intertwiner.figures/1",
            "title": title,
            "pass": all(claim.holds is not False for claim in claims),
            "quick": bool(getattr(arguments, "quick", False)),
            "claims": [claim.to_json() for claim in claims],
            "skipped": dict(skipped or {}),
            "details": dict(details or {}),
            "machine": machine(),
            "time": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        }
    )


def print_figures(claims: Sequence[Claim], record: Mapping[str, Any]) -> None:
    """The table of ``figures``."""
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    console = Console()
    quick = " (quick: a smaller run)" if record["quick"] else ""
    console.print(Text(f"{record['title']}{quick}", style="bold"))
    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column("figure", overflow="fold")
    table.add_column("measured", justify="right", no_wrap=True)
    table.add_column("bound", justify="right", no_wrap=True)
    table.add_column("", no_wrap=True)
    table.add_column("note", style="dim", overflow="fold")
    for claim in claims:
        bound = "" if claim.bound is None else f"{claim.relation} {_value(claim.bound, claim.unit)}"
        style = {"pass": "green", "MISS": "bold red"}.get(claim.outcome, "")
        table.add_row(
            Text(claim.name),
            Text(_value(claim.value, claim.unit)),
            bound,
            Text(claim.outcome, style=style),
            Text(claim.note),
        )
    console.print(table)
    for name, reason in record["skipped"].items():
        console.print(Text(f"skipped: {name}: {reason}", style="yellow"))
    missed = [claim.name for claim in claims if claim.holds is False]
    judged = sum(claim.holds is not None for claim in claims)
    if missed:
        console.print(Text(f"{len(missed)} of {judged} bounds missed: {', '.join(missed)}", style="bold red"))
    else:
        console.print(Text(f"all {judged} bounds reached", style="green"))
    console.print(Text(", ".join(f"{k} {v}" for k, v in record["machine"].items()), style="dim"))


def _value(value: float | int | str | None, unit: str) -> str:
    if value is None:
        return NOTHING
    text = value if isinstance(value, str) else number(value)
    return f"{text} {unit}" if unit else text


def machine() -> dict[str, str]:
    """Where the figures were taken: processor, cores, and the versions that matter. Imports nothing for it."""
    out = {
        "processor": _processor(),
        "cores": str(_cores()),
        "system": f"{platform.system()} {platform.release()}",
        "python": platform.python_version(),
    }
    for module in ("numpy", "scipy", "torch"):
        if module in sys.modules:
            out[module] = str(getattr(sys.modules[module], "__version__", "unknown"))
    torch = sys.modules.get("torch")
    if torch is not None:
        out["threads"] = str(torch.get_num_threads())
        if torch.cuda.is_available():
            out["gpu"] = torch.cuda.get_device_name(0)
    return out


def _cores() -> int:
    try:
        return len(os.sched_getaffinity(0))
    except AttributeError:  # macOS and Windows have no affinity
        return os.cpu_count() or 1


def _processor() -> str:
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        for line in cpuinfo.read_text(encoding="utf-8", errors="replace").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()
