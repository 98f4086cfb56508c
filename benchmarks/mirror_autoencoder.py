"""The mirror experiment of arXiv 2601.21645, repeated on re-encoded CIFAR-10 images.

Autoencoders that learn the left-right mirror from a soft loss: after tanh, whose latent group is the signed
permutations, the first latent space carries one; after GELU it does not, although that network is the more
equivariant. Trains (or reads from --cache), prints the paper's table beside its own, and draws the filters.
"""

from __future__ import annotations

import multiprocessing
import statistics
import time
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from mirror_training import CHANNELS, PIXELS, SIDE, STEPS, WIDTH, Autoencoder, Run, load_images, mirror, train_or_load
from rich.console import Console
from rich.table import Table

from intertwiner.algebra import cyclic
from intertwiner.audit.fits import TapFit, fit_tap, latent_errors, linear_fit
from intertwiner.audit.measure import measure
from intertwiner.audit.moments import SplitMoments, TapLayout
from intertwiner.audit.stream import Stream, input_specs
from intertwiner.gauge import GaugeGroup
from intertwiner.network import trace
from intertwiner.numerics.monomial import Monomial
from intertwiner.report.figures import Claim, benchmark_arguments, figures
from intertwiner.report.pixels import data_address, picture
from intertwiner.symmetry import BoundSymmetry, Symmetry, same, vector

TAPS = ("act1", "act2", "act3")
PAPER = {"tanh": (0.029, 0.022), "gelu": (0.40, 0.11), "tanh up-down": (0.15, 0.48), "gelu up-down": (0.49, 0.56)}
"""Autoencoder rows of the paper's table: median relative error of the best linear latent map at f1 and f2."""

QUICK_STEPS = 2_000


@dataclass(frozen=True)
class Figures:
    """What is measured on one network: by tap, for the mirror, the up-down control, on images and on noise."""

    run: Run
    seconds: float
    reconstruction: float
    mirror_error: float
    antisymmetric_share: float
    antisymmetric_optimum: float
    linear: dict[str, tuple[float, ...]]
    inside: dict[str, tuple[TapFit, ...]]
    signed_r2: dict[str, tuple[float, ...]]
    classes: tuple[list[int], list[tuple[int, int]], list[int]]
    filters: np.ndarray


def flip_symmetry(axis: int) -> BoundSymmetry:
    """The mirror (axis 2) or the up-down flip (axis 1) of images given as rows, on input and output."""
    index = np.flip(np.arange(PIXELS).reshape(CHANNELS, SIDE, SIDE), axis).reshape(-1)
    symmetry = Symmetry(cyclic(2), on_input=vector(perm=[index]), on_output=same())
    return symmetry.bind([(PIXELS,)], [(PIXELS,)])


def antisymmetric(images: torch.Tensor) -> torch.Tensor:
    """The half of every image that changes its sign under the mirror."""
    return (images - mirror(images)) / 2


def linear_optimum(training: torch.Tensor, images: torch.Tensor, directions: int) -> float:
    """Share of the antisymmetric variance of images that the best linear code of so many numbers gives back."""
    covariance = (part := antisymmetric(training)).T @ part
    basis = torch.linalg.eigh(covariance)[1][:, -directions:] if directions else covariance[:, :0]
    whole = antisymmetric(images)
    return float((whole @ basis).square().sum() / whole.square().sum())


def analyse(run: Run, network: Autoencoder, data: tuple[torch.Tensor, torch.Tensor], seconds: float) -> Figures:
    """All figures of one network, on held-out images and on white noise of their size."""
    training, images = data
    traced = trace(network, (images[:2],))
    noise = torch.randn(images.shape, generator=torch.Generator().manual_seed(run.seed))
    mirrored, updown = flip_symmetry(2), flip_symmetry(1)
    linear, inside, signed = {}, {}, {}
    random_filters = GaugeGroup.signed(WIDTH)
    first: dict[int, SplitMoments] = {}
    for name, data, symmetry in (
        ("mirror", images, mirrored),
        ("up-down", images, updown),
        ("mirror, noise", noise, mirrored),
        ("up-down, noise", noise, updown),
    ):
        gauges = [GaugeGroup.signed(WIDTH) if run.first == "tanh" else GaugeGroup.permutation(WIDTH)]
        gauges += [GaugeGroup.permutation(WIDTH)] * 2
        layouts = [TapLayout(tap, gauge=gauge) for tap, gauge in zip(TAPS, gauges, strict=True)]
        stream = Stream(data, input_specs(traced), batch_size=250)
        moments = measure(traced, symmetry, layouts, stream, [1])
        maps = {tap: linear_fit(moments[tap][1].total) for tap in TAPS}
        errors = latent_errors(traced, symmetry, layouts, stream, maps, element=1)
        linear[name] = tuple(float(np.median(errors[tap])) for tap in TAPS)
        inside[name] = tuple(fit_tap(moments[tap][1], g) for tap, g in zip(TAPS, gauges, strict=True))
        signed[name] = tuple(fit_tap(moments[tap][1], random_filters).gauge_r2 for tap in TAPS)
        first = first or moments["act1"]
    with torch.no_grad():
        out, out_mirrored = network(images), network(mirror(images))
    part, found = antisymmetric(images), antisymmetric(out)
    size = float(part.square().sum())
    kinds = classes(fit_tap(first[1], random_filters).element.matrix)
    return Figures(
        run,
        seconds,
        float((out - images).square().mean()),
        float((out_mirrored - mirror(out)).square().mean()),
        1 - float((part - found).square().sum()) / size,
        linear_optimum(training, images, len(kinds[1]) // 2 + len(kinds[2])),
        linear,
        inside,
        signed,
        kinds,
        network.fc1.weight.detach().numpy().reshape(WIDTH, CHANNELS, SIDE, SIDE),
    )


def classes(action: Monomial | np.ndarray) -> tuple[list[int], list[tuple[int, int]], list[int]]:
    """Filters that the action fixes, those that it sends to another one, and those that it negates."""
    if not isinstance(action, Monomial):
        raise TypeError("a signed permutation was fitted")
    own = action.index == np.arange(action.dimension)
    kept, negated = np.flatnonzero(own & (action.factor > 0)), np.flatnonzero(own & (action.factor < 0))
    moved = [(int(i), int(action.index[i])) for i in np.flatnonzero(~own)]
    # The two of an exchanged pair stand side by side in the picture.
    moved.sort(key=lambda pair: (min(pair), max(pair), pair))
    return kept.tolist(), moved, negated.tolist()


def draw(all_figures: list[Figures], target: Path) -> None:
    """The filters of every network, grouped by what the mirror makes of them, as one HTML file."""
    parts = ["<!doctype html><meta charset='utf-8'><title>mirror filters</title>"]
    parts.append(
        "<style>body{font:14px sans-serif;margin:2em}img{width:64px;margin:2px;image-rendering:pixelated}</style>"
    )
    for f in all_figures:
        kept, moved, negated = f.classes
        parts.append(f"<h2>{f.run}</h2>")
        groups = (("self-symmetric", kept), ("in pairs", [i for i, _ in moved]), ("negated", negated))
        for name, members in groups:
            parts.append(f"<h3>{name}: {len(members)}</h3>")
            for i in members:
                tile = data_address(picture(f.filters[i], float(np.abs(f.filters[i]).max())))
                parts.append(f"<img src='{tile}' alt='filter {i}' title='filter {i}'>")
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_text("\n".join(parts), encoding="utf-8")
    print(f"written: {target}")


def table(all_figures: list[Figures]) -> None:
    """The paper's table beside ours, the linear fit beside the fit inside K_i."""
    console = Console(width=140)
    view = Table(
        title="best linear latent map: median relative error f1 / f2 / f3 | R2 of the fits, held out", box=None
    )
    for column in (
        "network",
        "inputs, action",
        "paper f1 / f2",
        "here f1 / f2 / f3",
        "linear R2",
        "R2 in K_i",
        "signed R2",
    ):
        view.add_column(column)
    for f in all_figures:
        for name, errors in f.linear.items():
            paper = PAPER.get(f.run.first + name.removeprefix("mirror").replace("up-down", " up-down"), ())
            view.add_row(
                str(f.run),
                name if "noise" in name else f"{name}, images",
                " / ".join(f"{v:.3f}" for v in paper),
                " / ".join(f"{v:.3f}" for v in errors),
                " / ".join(f"{fit.linear_r2:.3f}" for fit in f.inside[name]),
                " / ".join(f"{fit.gauge_r2:.3f}" for fit in f.inside[name]),
                " / ".join(f"{v:.3f}" for v in f.signed_r2[name]),
            )
    console.print(view)


def claims_of(all_figures: list[Figures], seconds: float, *, judged: bool) -> list[Claim]:
    """The figures beside their bounds; without bounds where the training was cut short."""

    def claim(name: str, value: float, bound: float | None = None, relation: str = "<=", note: str = "") -> Claim:
        return Claim(name, value, bound if judged else None, relation, note=note)

    claims, tanh = [], [f for f in all_figures if f.run.first == "tanh" and f.run.learns_mirror]
    (free,) = (f for f in all_figures if not f.run.learns_mirror)
    for f in all_figures:
        where, on_tanh = str(f.run), f in tanh
        counts = " / ".join(str(len(group)) for group in f.classes)
        claims.append(
            claim(f"{where}: reconstruction", f.reconstruction, note=f"squared; trained in {f.seconds:.0f} s")
        )
        claims.append(claim(f"{where}: mirror error", f.mirror_error, note="squared"))
        claims.append(claim(f"{where}: f1 linear latent map", f.linear["mirror"][0], 0.08 if on_tanh else None))
        r2 = f.signed_r2["mirror"][0]
        claims.append(
            claim(f"{where}: f1 signed permutation R2", r2, 0.95 if on_tanh else 0.7, ">=" if on_tanh else "<=")
        )
        pairs = len(f.classes[1])
        note = f"self-symmetric / in pairs / negated {counts}"
        claims.append(claim(f"{where}: filters in pairs", pairs, 4 if on_tanh else None, ">=", note))
        note = f"best linear code of as many antisymmetric directions {f.antisymmetric_optimum:.3f}"
        claims.append(claim(f"{where}: antisymmetric variance reconstructed", f.antisymmetric_share, note=note))
        if on_tanh:
            kept = f.antisymmetric_share / free.antisymmetric_share
            claims.append(claim(f"{where}: the same, over that without mirror loss", kept, 0.5, ">="))
            control = f.linear["up-down"][0] / f.linear["mirror"][0]
            claims.append(claim(f"{where}: up-down control over the mirror", control, 2.5, ">="))
    middle = statistics.median(len(f.classes[1]) for f in tanh)
    claims.append(claim("tanh: filters in pairs, median", middle, 10, ">="))
    worst = max(f.linear["mirror"][0] for f in tanh)
    gelu = min(f.linear["mirror"][0] for f in all_figures if f.run.first == "gelu")
    claims.append(claim("GELU f1 over the largest tanh f1", gelu / worst, 3.0, ">="))
    claims.append(claim("seconds in all", seconds, 600.0))
    return claims


def one(run: Run, data: Path, cache: Path | None) -> Figures:
    """Train and analyse one network in a process of its own."""
    torch.set_num_threads(1)
    images = load_images(data)
    network, seconds = train_or_load(run, images[0], cache)
    return analyse(run, network, images, seconds)


def main() -> int:
    parser = benchmark_arguments(__doc__ or "")
    parser.add_argument("--data", type=Path, required=True, help="the folder of cifar10_12k.npz")
    parser.add_argument("--cache", type=Path, help="keep trained networks here, and read them from here")
    parser.add_argument("--picture", type=Path, default=Path("report/mirror_filters.html"), help="where the filters go")
    arguments = parser.parse_args()
    steps = QUICK_STEPS if arguments.quick else STEPS
    runs = [Run("tanh", 0, steps), Run("gelu", 0, steps), Run("tanh", 0, steps, mirror_weight=0.0)]
    if not arguments.quick:
        runs += [Run("tanh", 1, steps), Run("tanh", 2, steps)]
    start = time.perf_counter()
    # One thread and one process per network: the matrices are too small for two threads.
    with ProcessPoolExecutor(2, mp_context=multiprocessing.get_context("spawn")) as pool:
        jobs = [pool.submit(one, run, arguments.data, arguments.cache) for run in runs]
        done = [job.result() for job in jobs]
    seconds = time.perf_counter() - start
    table(done)
    draw(done, arguments.picture)
    claims = claims_of(done, seconds, judged=not arguments.quick)
    return figures(claims, title="mirror autoencoders", arguments=arguments)


if __name__ == "__main__":
    raise SystemExit(main())
