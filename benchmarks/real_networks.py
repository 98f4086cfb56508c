"""Networks that nobody here trained, audited as a user would: which hidden layers carry an action, and which do not.

    python benchmarks/real_networks.py --models ../shared/models [--data ../shared/data] [--json FILE] [--quick]

A cart-pole policy, a Go network, a Gomoku network and an image denoiser go through ``intertwiner.audit``; the
group-composition networks have a benchmark of their own, which runs here as a part. Readings of the bounds:

* R2 is held out: fitted on one half of the batches, judged on the other.
* "Permutation R2" is the share of variance about the means, so a constant between h(gx) and rho h(x) counts neither
  for nor against it. Beside it stands R2 in K with constants counted as errors, as the table of an audit shows it.
* A hidden layer is what the next layer reads, after the nonlinearity. "rconvN.mid" of the Go network is so what the
  second convolution of block N reads, and its figure the mean over the seven elements other than 1, on data moved by
  random elements. The values before the nonlinearity, where an audit looks by default, stand beside all of them.
* "Wrong g" of the Go network: the best element of K where the positions of h(x) are moved by another element than the
  input. The element found for g, judged on another generator whose positions are moved rightly, is the "wrong element".
  It stays high wherever most channels stay in place, so it tells whether *channels* move: R2 in K counts as above its
  nulls where it exceeds both this and four networks with shuffled weights, for every generator.
* Near 0 a tanh network is almost linear, so -1 explains nearly as much in the cart-pole policy with shuffled weights:
  it is found because the inputs are small, and the null says so.
* End-to-end errors stand beside published ones without a bound: those do not say how a value or a pass was counted.
"""

from __future__ import annotations

import argparse
import importlib.util
import io
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field
from multiprocessing import get_context
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import torch

import intertwiner as iw
from intertwiner.network import Network, PointwiseOp
from intertwiner.report.figures import Claim, benchmark_arguments, figures

MIDS = {"rconv2": 0.58, "rconv4": 0.48, "rconv6": 0.69}
WITHIN = 0.03
WRONG_G = 0.13
NO_ACTION = 0.1
MINUS_ONE = 0.97
MINUTES = 4
DRAWS = 4
SIGMA = 25 / 255
FIGURES = (
    "linear_r2", "gauge_r2", "centred_r2", "permutation_r2", "in_place_r2",
    "null_wrong_element", "null_wrong_positions", "null_random_network", "noise_floor",
)  # fmt: skip
HEADINGS = ("linear", "in K", "K centred", "perm.", "in place", "wrong g", "wrong pos.", "random", "floor")


@dataclass(frozen=True)
class Part:
    """What one network gave."""

    title: str
    claims: list[Claim]
    text: str
    details: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Folders:
    """Where networks and images lie, and how much is to be measured."""

    models: Path
    data: Path
    quick: bool

    def networks(self) -> ModuleType:
        """The file that rebuilds the networks, as a module."""
        spec = importlib.util.spec_from_file_location("third_party_networks", self.models / "networks.py")
        if spec is None or spec.loader is None:
            raise FileNotFoundError(f"{self.models / 'networks.py'} cannot be imported")
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        return module


def cart_pole(at: Folders) -> Part:
    """s -> -s exchanges the two actions of a tanh policy: every hidden layer changes its sign."""
    group = iw.cyclic(2)
    states = 0.3 * torch.randn(4000, 4, generator=torch.Generator().manual_seed(0))
    symmetry = iw.Symmetry(group, on_input=iw.vector(sign=[-1] * 4), on_output=iw.vector(perm=[1, 0]))
    taps = ["net.0:out", "net.1:out", "net.2:out", "net.3:out"]
    model = at.networks().PolicyMLP("sb3/ppo_CartPole-v1.npz").eval()
    audit = iw.audit(model, symmetry, states, taps=taps, effort=iw.Effort(draws=DRAWS), source=".3 times normal noise")
    claims = []
    for action in audit:
        row = rows(action)["r"]
        found = row["found"]
        random = f"{row['gauge_r2']:.3f}, in shuffled networks {row['null_random_network']:.3f}"
        note = f"{found['text']}; constants as errors {random}"
        name = f"cart-pole {action.name}"
        claims += [
            Claim(f"{name}: best signed permutation, R2", row["centred_r2"], MINUS_ONE, ">=", note=note),
            Claim(f"{name}: -1 in place, R2", row["in_place_r2"], MINUS_ONE, ">="),
            Claim(f"{name}: neurons with -1", found["flipped"], found["features"] // 2 + 1, ">="),
            Claim(f"{name}: plain permutation, R2", row["permutation_r2"], row["in_place_r2"], "<"),
        ]
    return part("PPO cart-pole, C2", audit, claims, "theory: .2 to .5")


def katago(at: Folders) -> Part:
    """Channels are permuted inside the residual blocks, and stay in place in the trunk."""
    networks, group = at.networks(), iw.dihedral(4)
    games = networks.load("katago_b6c96/positions_9x9.npz")
    planes, scalars = (games[key][: 384 if at.quick else None] for key in ("planes", "globals"))
    network = iw.trace(networks.KataGo().eval(), (planes[:4], scalars[:4]))
    before = {block: before_relu(network, f"p.{block}_w1:out") for block in MIDS}
    after = {block: network.node(network.tap(tap).users[0]).tap for block, tap in before.items()}
    trunk = [n.tap for n in network.nodes if n.op.kind == "add" and tuple(n.shape[1:]) == (96, 9, 9)]
    board, still = iw.image(group), iw.invariant()
    outputs = {"policy": board, "pass": still, "value": still, "ownership": board}
    symmetry = iw.Symmetry(group, on_input=iw.several(board, still), on_output=iw.several(**outputs))
    batches = list(zip(planes.split(64), scalars.split(64), strict=True))
    taps = [*trunk, *before.values(), *after.values()]
    audit = iw.audit(network, symmetry, data=batches, taps=taps, source="9 x 9 positions")
    claims = []
    for block, published in MIDS.items():
        claims += mid(block, audit[before[block]], audit[after[block]], published)
    *inner, last = [audit[tap] for tap in trunk]
    moved = max(row["found"]["moved"] for row in rows(last).values())
    claims.append(Claim(f"katago {last.name}, end of the trunk: channels that move", moved, 0, "=="))
    every = last.record["data"]["elements"].values()
    gain = max(row["permutation_r2"] - row["in_place_r2"] for row in every)
    claims.append(Claim("katago, end of the trunk: gain of any permutation, all g", gain, 0.001, "<="))
    for action in inner:
        worst = max((row["found"] for row in rows(action).values()), key=lambda f: f["moved_variance"])
        stay = 1 - worst["moved_variance"]
        note = f"{worst['moved']} of {worst['features']} move"
        claims.append(Claim(f"katago {action.name}, trunk: variance that stays in place", stay, 0.85, ">=", note=note))
    return part("KataGo b6c96, D4", audit, claims, "theory: policy .20, ownership .11")


def mid(block: str, before: iw.LatentAction, after: iw.LatentAction, published: float) -> list[Claim]:
    """The figures of one residual block, before and after its inner ReLU."""
    claims = []
    for action, words in ((after, "after the ReLU"), (before, "before it")):
        every = list(action.record["data"]["elements"].values())
        mean, scaled = (float(np.mean([row[key] for row in every])) for key in ("permutation_r2", "centred_r2"))
        wrong = max(row["null_wrong_positions"] for row in rows(action).values())
        name = f"katago {block}.mid {words} ({action.name})"
        note = f"published {published}; with scales {scaled:.3f}"
        claims += [
            Claim(f"{name}: permutation R2", mean, round(published - WITHIN, 2), ">=", note=note),
            Claim(f"{name}: wrong g", wrong, WRONG_G, "<"),
            Claim(f"{name}: R2 in K above its nulls", str(above_nulls(action)), "True", "=="),
        ]
    return claims


def gomoku(at: Folders) -> Part:
    """No permutation of channels, although the network was trained with all eight boards."""
    networks, group = at.networks(), iw.dihedral(4)
    boards = networks.load("gomoku/positions_8x8.npz")["x"][: 500 if at.quick else None]
    symmetry = iw.Symmetry(group, on_input=iw.image(group), on_output=iw.several(iw.image(group), iw.invariant()))
    model = networks.Gomoku().eval()
    network = iw.trace(model, boards[:4])
    data, taps = list(boards.split(100)), around_activations(network)
    audit = iw.audit(
        network, symmetry, data, taps=taps, mask=empty_points, effort=iw.Effort(draws=DRAWS), source="8 x 8 positions"
    )
    claims = no_action("gomoku", audit)
    return part("Gomoku, D4, empty points", audit, claims, "theory: .06 to .45 (output.0 policy, output.1 value)")


def empty_points(inputs: tuple[torch.Tensor, ...]) -> torch.Tensor:
    """The legal moves: neither player has a stone there."""
    return (inputs[0][:, 0] + inputs[0][:, 1] == 0).float()


def denoiser(at: Folders) -> Part:
    """No permutation of channels in an image denoiser trained with flips."""
    group = iw.dihedral(4)
    with np.load(at.data / "cifar10_12k.npz", allow_pickle=False) as file:
        colour = file["x_test"][: 32 if at.quick else 64].astype(np.float32) / 255
    grey = torch.from_numpy(colour @ np.array([0.299, 0.587, 0.114], dtype=np.float32))[:, None]
    noisy = grey + SIGMA * torch.randn(grey.shape, generator=torch.Generator().manual_seed(0))
    symmetry = iw.Symmetry(group, on_input=iw.image(group), on_output=iw.image(group))
    source = "grey CIFAR-10 test images, 32 x 32 in [0, 1], with noise of 25/255"
    network = iw.trace(at.networks().DnCNN(), noisy[:4])
    data, taps = list(noisy.split(8)), around_activations(network)
    audit = iw.audit(network, symmetry, data, taps=taps, effort=iw.Effort(draws=DRAWS), source=source)
    return part("DnCNN, D4", audit, no_action("dncnn", audit), "theory: .06 to .45")


def around_activations(network: Network) -> list[str]:
    """The taps after every nonlinearity and before it."""
    acts = [node for node in network.nodes if isinstance(node.op, PointwiseOp)]
    return [tap for node in acts for tap in (network.node(node.inputs[0]).tap, node.tap)]


def no_action(name: str, audit: iw.Audit) -> list[Claim]:
    """R2 in K small, or not above its null, at every hidden tap; the linear fit beside it."""
    measured = [action for action in audit if action.record["data"] and action.record["dimension"] > 1]
    after = [action for action in measured if action.record["operator"] == "pointwise"]
    before = [action for action in measured if action.record["operator"] != "pointwise"]
    high, higher = ([a for a in taps if above_nulls(a) and worst_r2(a) > NO_ACTION] for taps in (after, before))
    linear = [min(row["linear_r2"] for row in rows(a).values()) for a in after]
    acting = [a.name for a in measured if a.record["orbits"] and a.record["orbits"]["decision"] != "none"]
    largest = max(after, key=worst_r2)
    return [
        Claim(f"{name}: hidden taps with R2 in K > .1 and above its nulls", len(high), 0, "==", note=listed(high)),
        Claim(f"{name}: the same before the nonlinearity", len(higher), note=listed(higher)),
        Claim(f"{name}: taps where orbits show an action", len(acting), 0, "==", note=", ".join(acting)),
        Claim(f"{name}: hidden taps", len(after), note=f"linear R2 {min(linear):.3f} to {max(linear):.3f}"),
        Claim(f"{name}: the largest R2 in K", worst_r2(largest), note=listed([largest])),
    ]


def listed(actions: list[iw.LatentAction]) -> str:
    """Each with its R2 and the nulls of the generator where it is lowest."""
    words = []
    for action in actions:
        row = min(rows(action).values(), key=lambda r: r["gauge_r2"])
        nulls = f"wrong g {row['null_wrong_element']:.3f}, random {row['null_random_network']:.3f}"
        words.append(f"{action.name} {row['gauge_r2']:.3f} beside {nulls}")
    return "; ".join(words)


def group_networks(at: Folders) -> Part | None:
    """The other benchmark, in a process of its own because it measures its memory."""
    script = Path(__file__).with_name("group_networks.py")
    if not script.exists():
        return None
    with tempfile.TemporaryDirectory() as folder:
        record = Path(folder) / "figures.json"
        command = [sys.executable, str(script), "--models", str(at.models), "--json", str(record)]
        done = subprocess.run(command + ["--quick"] * at.quick, capture_output=True, text=True, check=False)
        checks = json.loads(record.read_text())["checks"] if record.exists() else []
    missed = [row["claim"] for row in checks if not row["ok"]]
    reached = len(checks) - len(missed)
    name = "group networks: bounds of group_networks.py reached"
    claim = Claim(name, reached if checks else None, len(checks) or 1, "==", note="; ".join(missed))
    ended = Claim("group networks: exit code", done.returncode, 0, "==")
    return Part("group networks", [claim, ended], done.stdout + done.stderr, {"checks": checks})


def rows(action: iw.LatentAction) -> Mapping[str, Any]:
    """The figures of a tap, by generator."""
    return action.record["data"]["generators"]


def worst_r2(action: iw.LatentAction) -> float:
    return min(row["gauge_r2"] for row in rows(action).values())


def above_nulls(action: iw.LatentAction) -> bool:
    """Whether R2 in K exceeds the wrong element and the shuffled network, for every generator."""
    nulls = ("null_wrong_element", "null_random_network")
    return all(row["gauge_r2"] > max(row[null] for null in nulls) for row in rows(action).values())


def before_relu(network: Network, tap: str) -> str:
    """The tap that a nonlinearity reads, on the way down from ``tap``."""
    node = network.tap(tap)
    while True:
        following = network.node(node.users[0])
        if isinstance(following.op, PointwiseOp):
            return node.tap
        node = following


def part(title: str, audit: iw.Audit, claims: list[Claim], theory: str) -> Part:
    """The end-to-end defects and every figure of every tap, as a table."""
    from rich.console import Console
    from rich.table import Table

    out = io.StringIO()
    console = Console(file=out, width=200, color_system=None)
    data = audit.record["data"]
    console.print(f"{title}: {data['source']}, {data['samples']} samples", highlight=False)
    for g, row in audit.record["defect"]["generators"].items():
        each = ", ".join(f"{n} {v:.3f}" for n, v in row["outputs"].items() if v is not None)
        beside = f"noise floor {row['noise_floor']:.1e}, shuffled weights {row['null']:.2f}; {theory}"
        console.print(f"  |f(gx) - g f(x)| / |f(x) - mean|, {g}: {each}   ({beside})", highlight=False, markup=False)
    table = Table("tap", "g", *HEADINGS, "best element of K", "orbits", box=None, pad_edge=False)
    for action in audit:
        orbits = (action.record["orbits"] or {}).get("decision", "")
        for g, row in (action.record["data"] or {"generators": {}})["generators"].items():
            numbers = ["" if row[key] is None else f"{row[key]:.3f}" for key in FIGURES[:-1]]
            floor = "" if row["noise_floor"] is None else f"{row['noise_floor']:.0e}"
            table.add_row(action.name, g, *numbers, floor, (row["found"] or {}).get("text", ""), orbits)
    console.print(table)
    details = {"seconds": audit.record["seconds"], "defect": audit.record["defect"], "taps": []}
    for action in audit:
        details["taps"].append({"name": action.name, "data": action.record["data"]})
    return Part(title, claims, out.getvalue(), details)


PARTS: dict[str, Callable[[Folders], Part | None]] = {
    "katago_b6c96": katago,
    "dncnn": denoiser,
    "group_mlp": group_networks,
    "gomoku": gomoku,
    "sb3": cart_pole,
}


def run_part(name: str, at: Folders) -> tuple[Part | None, float]:
    """One part in a worker process, which keeps to one core."""
    torch.set_num_threads(1)
    start = time.perf_counter()
    return PARTS[name](at), time.perf_counter() - start


def absent(name: str, at: Folders) -> str:
    """Why a part cannot run; empty where it can."""
    if not (at.models / name).is_dir():
        return f"no folder {name} in {at.models}"
    if name == "dncnn" and not (at.data / "cifar10_12k.npz").is_file():
        return f"no cifar10_12k.npz in {at.data}"
    return ""


def run(at: Folders, arguments: argparse.Namespace | None = None) -> int:
    """All parts, two at a time; prints them in order and gives the exit code."""
    start = time.perf_counter()
    skipped = {name: reason for name in PARTS if (reason := absent(name, at))}
    claims: list[Claim] = []
    details: dict[str, Any] = {}
    with ProcessPoolExecutor(2, mp_context=get_context("spawn")) as pool:
        running = {name: pool.submit(run_part, name, at) for name in PARTS if name not in skipped}
        for name, future in running.items():
            found, seconds = future.result()
            if found is None:
                skipped[name] = "benchmarks/group_networks.py is not there"
                continue
            print(found.text)
            claims += found.claims
            claims.append(Claim(f"{found.title}: time", round(seconds, 1), unit="s"))
            details[name] = found.details
    claims.append(Claim("everything", (time.perf_counter() - start) / 60, MINUTES, "<=", "min", note="two processes"))
    return figures(claims, title="real networks", arguments=arguments, skipped=skipped, details=details)


def main() -> int:
    parser = benchmark_arguments(__doc__ or "")
    parser.add_argument("--models", type=Path, required=True, help="folder with networks.py and the weights")
    parser.add_argument("--data", type=Path, help="folder with cifar10_12k.npz; data beside the models by default")
    arguments = parser.parse_args()
    models = arguments.models.resolve()
    return run(Folders(models, arguments.data or models.parent / "data", arguments.quick), arguments)


if __name__ == "__main__":
    sys.exit(main())
