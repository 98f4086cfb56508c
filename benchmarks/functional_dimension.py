"""Functional dimensions against reference values, and what the exact rank costs.

``--reference FOLDER`` reads the reference files and reaches every row: the maximum over draws for ReLU networks, never
above P - hidden, and the generic rank per activation. ``--scale`` measures the exact rank at 4,330 and 20,240
parameters and prints how it grows. ``--naive`` adds the Jacobian by automatic differentiation with a singular value
decomposition at 4,330 parameters (minutes). Without options a small part of ``--scale``.
"""

from __future__ import annotations

import itertools
import json
import os
import resource
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from intertwiner.identify.dimension.functional import FunctionalDimension, functional_dimension
from intertwiner.numerics.seeds import rng
from intertwiner.report.figures import Claim, benchmark_arguments, figures

DRAWS = 40
ATTAINING = Path(__file__).resolve().parent.parent / "tests" / "identify" / "attaining_parameters.json"
MIDDLE = (30, 48, 48, 10)
LARGE = (60, 100, 100, 40)


class Function(nn.Module):
    """A function of one number as a module."""

    def __init__(self, function: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.function = function

    def forward(self, x: Tensor) -> Tensor:
        return self.function(x)


ACTIVATIONS: dict[str, Callable[[Tensor], Tensor]] = {
    "tanh": torch.tanh, "sigmoid": torch.sigmoid, "silu": nn.functional.silu, "gelu": nn.functional.gelu,
    "softplus": nn.functional.softplus, "sin": torch.sin, "cos": torch.cos, "exp": torch.exp, "linear": lambda x: x,
    "square": lambda x: x**2, "cube": lambda x: x**3, "z3_plus_z2_plus_z": lambda x: x * x * x + x * x + x,
}  # fmt: skip


def chain(widths: Sequence[int], *, bias: bool = True, act: Callable[[], nn.Module] = nn.ReLU) -> nn.Sequential:
    layers: list[nn.Module] = []
    for a, b in itertools.pairwise(widths):
        layers += [nn.Linear(a, b, bias=bias), act()]
    return nn.Sequential(*layers[:-1]).eval()


def balanced(widths: Sequence[int], seed: int) -> nn.Sequential:
    """Normal weights in sixteenths; every bias minus a quantile of what its neuron sees near the origin.

    So every neuron bends inside many regions of the layers before it; with the usual biases most deep neurons do not.
    """
    random, model = rng(seed), chain(widths)
    a = random.normal(size=(2000, widths[0])) * 2
    linear = [m for m in model if isinstance(m, nn.Linear)]
    for layer in linear:
        weight = np.rint(random.normal(size=tuple(layer.weight.shape)) * 16) / 16
        z = a @ weight.T
        share = random.uniform(0.25, 0.75, len(weight))
        bias = -np.array([np.quantile(z[:, j], share[j]) for j in range(len(weight))])
        with torch.no_grad():
            layer.weight.copy_(torch.tensor(weight))
            layer.bias.copy_(torch.tensor(np.rint(bias * 16) / 16))
        a = np.maximum(z + layer.bias.detach().double().numpy(), 0)
    return model


def attaining() -> list[tuple[list[int], int, nn.Sequential]]:
    """The kept parameters that attain P - hidden."""
    out = []
    for row in json.loads(ATTAINING.read_text(encoding="utf-8"))["rows"]:
        model = chain(row["widths"])
        for layer, given in zip((m for m in model if isinstance(m, nn.Linear)), row["layers"], strict=True):
            with torch.no_grad():
                layer.weight.copy_(torch.tensor(given["weight"]) / 16)
                layer.bias.copy_(torch.tensor(given["bias"]) / 16)
        out.append((row["widths"], row["dimension"], model))
    return out


def dashed(widths: Sequence[int]) -> str:
    return "-".join(map(str, widths))


class Relu:
    """The rows of the ReLU file; remembers the largest rank above P - hidden."""

    def __init__(self) -> None:
        self.excess = -(10**9)
        self.ranks = 0

    def dimension(self, model: nn.Module, most: int) -> FunctionalDimension:
        found = functional_dimension(model)
        self.ranks += 1
        self.excess = max(self.excess, found.dimension - most)
        return found

    def maximum(self, widths: Sequence[int], most: int, draw: Callable[[int], nn.Module]) -> tuple[int, str]:
        """The largest rank over the draws, up to the first that meets ``most``."""
        best = 0
        for seed in range(DRAWS):
            found = self.dimension(draw(seed), most)
            best = max(best, found.dimension)
            if best == most and found.verdict.is_proved:
                return best, f"PROVED at draw {seed + 1}"
        return best, f"maximum over {DRAWS} draws"

    def claims(self, record: dict[str, Any]) -> list[Claim]:
        out = []
        for row in record["rows"]:
            widths, most = row["widths"], row["P"] - row["hidden"]
            value, note = self.maximum(widths, most, lambda seed, w=widths: balanced(w, seed))
            out.append(Claim(f"ReLU {dashed(widths)}", value, most, "==", note=f"{note}; {row['max_found']} before"))
        for widths, most, model in attaining():
            found = self.dimension(model, most)
            value = found.dimension if found.verdict.is_proved else None
            out.append(Claim(f"ReLU {dashed(widths)}, kept parameters", value, most, "==", note="PROVED"))
        for row in record["outside_the_theorem"]:
            widths, most = row["widths"], row["P"] - row["hidden"]
            value, note = self.maximum(widths, most, lambda seed, w=widths: balanced(w, seed))
            out.append(Claim(f"ReLU {dashed(widths)}, outside the theorem", value, row["max_found"], ">=", note=note))
        for row in record["without_biases"]:
            widths = row["widths"]
            most = sum(a * b for a, b in itertools.pairwise(widths)) - sum(widths[1:-1])
            value = max(self.dimension(_seeded(widths, s, bias=False), most).dimension for s in range(DRAWS))
            note = f"maximum over {DRAWS} draws"
            out.append(Claim(f"ReLU {dashed(widths)} without biases", value, row["dimension"], "==", note=note))
        note = f"{self.ranks} exact ranks"
        out.append(Claim("largest rank above P - hidden", max(0, self.excess), 0, "==", note=note))
        return out


def _seeded(widths: Sequence[int], seed: int, **kwargs: Any) -> nn.Sequential:
    torch.manual_seed(seed)
    return chain(widths, **kwargs)


def activation_claims(record: dict[str, Any]) -> list[Claim]:
    """Every row of the file of generic ranks, with and without biases."""
    full = record["full_rank_P"]
    rows: dict[str, Any] = {k: v for k, v in record.items() if k not in ("what", "full_rank_P")}
    for name in full["activations"]:
        rows[name] = full["widths"]
    out = []
    for name, by_widths in rows.items():
        function = ACTIVATIONS[name]
        for spelt, values in by_widths.items():
            if spelt == "note":
                continue
            widths = list(map(int, spelt.split("-")))
            for bias, bound in zip((True, False), values, strict=True):
                model = _seeded(widths, 1, bias=bias, act=lambda f=function: Function(f))
                for p in model.parameters():
                    nn.init.normal_(p)
                found = functional_dimension(model)
                how = f"exact, {found.verdict.kind}" if found.exact else f"gap {found.gap:.0e}"
                label = f"{name} {spelt}{'' if bias else ' without biases'}"
                out.append(Claim(label, found.dimension, bound, "==", note=how))
    return out


def scale_claims(quick: bool, threads: int) -> list[Claim]:
    """Time and memory of one proof, each size in a process of its own with so many threads of BLAS."""
    out = []
    for widths, seconds in ((MIDDLE, 10.0), *(() if quick else ((LARGE, 600.0),))):
        variables = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), str(threads))
        command = [sys.executable, __file__, "--scale-of", dashed(widths)]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=os.environ | variables) as process:
            lines = []
            for line in process.stdout or ():
                lines.append(line)
                if not line.startswith("{"):
                    print(line, end="", flush=True)
        if process.returncode:
            raise RuntimeError(f"the proof for {dashed(widths)} ended with exit code {process.returncode}")
        found = json.loads(lines[-1])
        name, total = f"ReLU {dashed(widths)}", found["parameters"]
        note = f"of {total}"
        out.append(Claim(f"{name}: dimension proved", found["proved"], total - sum(widths[1:-1]), "==", note=note))
        note = f"{found['processor_seconds']:.0f} s of processor time; {found['inputs']} inputs, one prime"
        note = f"{note}; threads of BLAS: {threads}" if len(found["primes"]) == 1 else f"{note} was not enough"
        out.append(Claim(f"{name}: time", found["seconds"], seconds, "<=", "s", note=note))
        out.append(Claim(f"{name}: peak memory of the process", found["gigabytes"], 12.0, "<=", "GiB"))
    return out


def measure_scale(widths: Sequence[int]) -> None:
    """One proof: growth while it runs, the result as JSON on the last line."""
    torch.manual_seed(0)
    model = chain(widths)
    print(f"{dashed(widths)}, {sum(p.numel() for p in model.parameters())} parameters", flush=True)
    start, busy = time.perf_counter(), time.process_time()
    last = [0.0]

    def growth(inputs: int, rank: int) -> None:
        now = time.perf_counter() - start
        if now - last[0] > 5:
            last[0] = now
            print(f"  {now:6.1f} s: {inputs} inputs, rank {rank}", flush=True)

    found = functional_dimension(model, progress=growth)
    took, busy = time.perf_counter() - start, time.process_time() - busy
    print(f"  growth: {', '.join(f'{i}: {r}' for i, r in found.growth[:: max(1, len(found.growth) // 12)])}")
    print("  " + str(found).replace("\n", "\n  "))
    record = {
        "seconds": took,
        "processor_seconds": busy,
        "proved": found.dimension if found.verdict.is_proved else None,
        "parameters": found.parameters,
        "inputs": found.inputs,
        "primes": found.primes,
        "gigabytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20,
    }
    print(json.dumps(record))


def naive_claim() -> Claim:
    """One backward pass per row and one decomposition, as one would write it down."""
    widths = MIDDLE
    torch.manual_seed(0)
    model = chain(widths).double()
    parameters = list(model.parameters())
    total = sum(p.numel() for p in parameters)
    x = torch.randn(2 * total // widths[-1], widths[0], dtype=torch.float64)
    start = time.perf_counter()
    rows = [
        torch.cat([g.reshape(-1) for g in torch.autograd.grad(y, parameters, retain_graph=True)])
        for sample in x
        for y in model(sample)
    ]
    values = torch.linalg.svdvals(torch.stack(rows))
    took = time.perf_counter() - start
    rank = int((values > values[0] * 1e-12).sum())
    return Claim("naive Jacobian and SVD, 30-48-48-10", took, unit="s", note=f"rank {rank} at a threshold of 1e-12")


def main() -> int:
    parser = benchmark_arguments(__doc__ or "")
    parser.add_argument("--reference", type=Path, metavar="FOLDER", help="folder of the reference files")
    parser.add_argument("--scale", action="store_true", help="time and memory at 4,330 and 20,240 parameters")
    parser.add_argument("--naive", action="store_true", help="also the naive way at 4,330 parameters")
    parser.add_argument("--threads", type=int, default=1, help="threads of BLAS; more only help on an idle machine")
    parser.add_argument("--scale-of", metavar="WIDTHS", help="internal: one proof, its result as JSON")
    arguments = parser.parse_args()
    if arguments.scale_of:
        measure_scale([int(width) for width in arguments.scale_of.split("-")])
        return 0
    claims: list[Claim] = []
    skipped: dict[str, str] = {}
    if arguments.reference:
        for name, make in (
            ("relu_functional_dimension.json", Relu().claims),
            ("mlp_local_dimension.json", activation_claims),
        ):
            file = arguments.reference / name
            if file.exists():
                claims += make(json.loads(file.read_text(encoding="utf-8")))
            else:
                skipped[name] = "not in the folder of reference files"
    if arguments.scale or not arguments.reference:
        claims += scale_claims(arguments.quick or not arguments.scale, arguments.threads)
    if arguments.naive:
        claims.append(naive_claim())
    return figures(claims, title="functional dimension", arguments=arguments, skipped=skipped)


if __name__ == "__main__":
    raise SystemExit(main())
