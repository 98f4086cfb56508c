"""``intertwiner rewrite``: the exactly equivariant twin of a network, beside it and its group average."""

from __future__ import annotations

import math
import os
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from intertwiner.cli import spellings
from intertwiner.cli.audit import cannot_write, print_json, tolerant_output
from intertwiner.cli.code import code_of, names_code
from intertwiner.cli.exits import ABOVE, PROVED, UNDECIDED, say
from intertwiner.cli.labels import fitting, read_labels
from intertwiner.cli.subject import Opened, Words, open_network, read_symmetry
from intertwiner.cli.terminal import training
from intertwiner.errors import BudgetTooSmall, DataTooSmall, WrongUse

if TYPE_CHECKING:
    from intertwiner.network import Network
    from intertwiner.rewrite import Rewrite

RECORD, PAGE, CURVE = "rewrite.json", "report.html", "curve"

EXITS: spellings.Table = (
    ("0", "the twin is proved equivariant"),
    ("2", "it is not: undecided"),
    ("3", "wrong use, a network that is not covered, or a budget too small: a message on stderr says what, nothing is "
     "written"),
)  # fmt: skip

FOLDER: spellings.Table = (
    ("model.safetensors", "the weights of the twin; with recipe.json all that iw.load needs"),
    ("certificate.json", "what is proved and what was measured"),
    ("report.html", "one page for a browser, and the same as rewrite.json"),
    ("curve/BUDGET/", "with --curve: the twins at the other budgets, each a folder of its own"),
)


@dataclass(frozen=True)
class Wish:
    """What is asked for, as the options of ``intertwiner rewrite`` say it."""

    words: Words
    group: str
    on_input: tuple[str, ...]
    on_output: tuple[str, ...]
    budget: float = 1.0
    curve: str | None = None
    labels: str | None = None
    finetune: float = 0.0
    seed: int = 0
    out: Path | None = None
    as_json: bool = False
    subgroup: str | None = None


@dataclass(frozen=True, eq=False)
class Found:
    """The twins by budget, ascending, and why a budget has none."""

    twins: Mapping[float, Rewrite]
    left_out: Mapping[float, str]


def rewrite_epilog() -> str:
    """What stands below the options of ``intertwiner rewrite --help``."""
    examples = (
        "\b\nExamples:\n"
        "  intertwiner rewrite net.pt2 --group D4 --input image --output invariant \\\n"
        "      --data digits.npz --labels y --out twin/\n"
        "  intertwiner rewrite net.pt2 --group D4 --input image --output invariant \\\n"
        "      --data images.npy --curve 0.25,0.5,1,2 --out twin/"
    )
    return "\n\n".join(
        [
            examples,
            spellings.table("--data:", spellings.DATA),
            spellings.table("The folder of --out, whole or not there:", FOLDER, left=20),
            spellings.table("Exit codes:", EXITS, left=4),
            "'intertwiner audit --help' has the tables of --group, --input and --output.",
        ]
    )


def run_rewrite(wish: Wish) -> int:
    """Rewrite, write the folder, print; the exit code is the verdict on the twin."""
    budgets = _budgets(wish)
    _require_free(wish.out)
    words = wish.words
    with code_of([words.model, wish.group, *wish.on_input, *wish.on_output, *words.data]):
        opened, found = _rewritten(wish, budgets)
    record = _record(wish, opened, found)
    failed = _written(wish, found, record)
    _show(record, wish.as_json)
    if failed is not None:
        raise failed
    verdict = found.twins[wish.budget].certificate.verdict
    return PROVED if verdict.is_proved else ABOVE if verdict.is_refuted else UNDECIDED


def _budgets(wish: Wish) -> list[float]:
    """The budget of the twin first, then those of the curve, ascending.

    Raises:
        WrongUse: One that is no positive number.
    """
    parts = [part.strip() for part in (wish.curve or "").split(",") if part.strip()]
    if wish.curve is not None and not parts:
        raise WrongUse("--curve is empty; expected budgets, as in 0.25,0.5,1,2. Nothing was rewritten.")
    try:
        # As many digits as the name of a folder has, so that two budgets are never one folder.
        curve = {float(f"{float(part):g}") for part in parts}
    except ValueError:
        raise WrongUse(f"--curve {wish.curve}: expected numbers, as in 0.25,0.5,1,2. Nothing was rewritten.") from None
    for option, budget in (("--budget", wish.budget), *(("--curve", b) for b in sorted(curve))):
        if not (math.isfinite(budget) and budget > 0):
            raise WrongUse(
                f"{option}: a budget is a positive multiple of the original's multiply-adds, got {budget:g}. "
                "Nothing was rewritten."
            )
    if not (math.isfinite(wish.finetune) and wish.finetune >= 0):
        raise WrongUse(f"--finetune: expected a number of epochs, got {wish.finetune:g}. Nothing was rewritten.")
    return [wish.budget, *sorted(curve - {wish.budget})]


def _require_free(out: Path | None) -> None:
    """Refuse a folder that exists or cannot be made, before minutes are spent on its content."""
    if out is None:
        return
    if out.exists() or out.is_symlink():
        raise WrongUse(
            f"--out {out} exists already; a twin is written whole, into a folder of its own.\n"
            "  Choose another folder, or remove this one. Nothing was rewritten."
        )
    place = _ancestor(out)
    if not place.is_dir():
        raise WrongUse(f"--out {out}: {place} is a file, not a folder. Nothing was rewritten.")
    if not os.access(place, os.W_OK | os.X_OK):
        raise WrongUse(f"--out {out}: {place} cannot be written to. Nothing was rewritten.")


def _ancestor(out: Path) -> Path:
    """The nearest folder above that exists."""
    place = out.absolute().parent
    while not place.exists() and place != place.parent:
        place = place.parent
    return place


def _rewritten(wish: Wish, budgets: list[float]) -> tuple[Opened, Found]:
    symmetry = read_symmetry(wish.group, wish.on_input, wish.on_output, wish.subgroup)
    words, more = wish.words, {"max_samples": wish.words.max_samples, "seed": wish.seed}
    labels = None
    if wish.labels is not None:
        # All samples are read: only then a label too many or too few is seen.
        labels, words = read_labels(wish.labels, replace(words, max_samples=None))
    opened = open_network(words)
    if wish.labels is not None and labels is not None:
        known = None if any(map(names_code, words.data)) else opened.data
        more["labels"] = fitting(wish.labels, labels, _outputs(opened), known, wish.words.max_samples)
    if wish.finetune:
        more["distil"] = wish.finetune
    return opened, _by_budget(opened, symmetry, budgets, more)


def _outputs(opened: Opened) -> int:
    """How many numbers the network answers to one sample."""
    network = opened.network
    return math.prod(math.prod(network.node(name).sample_shape) for name in network.nodes[-1].inputs)


def _by_budget(opened: Opened, symmetry: Any, budgets: list[float], more: Mapping[str, Any]) -> Found:
    """A twin per budget. The first has to succeed; what is said of each stands on the error stream."""
    from intertwiner.rewrite import rewrite

    more = {**more, "memory": {}}
    twins: dict[float, Rewrite] = {}
    left_out: dict[float, str] = {}
    for budget in budgets:
        try:
            with _watched(more, f"distil, budget {budget:g}") as watched:
                twin = rewrite(opened.network, symmetry, opened.data, budget, **watched)
        except (BudgetTooSmall, DataTooSmall) as error:
            if not twins:
                raise
            left_out[budget] = str(error).split("\n")[0].removesuffix(" Nothing was rewritten.")
            continue
        twins[budget] = _named(twin, opened)
        if len(budgets) > 1:
            found = twin.certificate
            widths = "-".join(map(str, found.widths))
            far = found.distance_average
            said = "an unknown distance" if math.isnan(far) else f"{far:.3g}"
            say(f"budget {budget:g}: {widths}, {found.cost:.2f} x, {said} from the group average")
    return Found(dict(sorted(twins.items())), left_out)


@contextmanager
def _watched(more: Mapping[str, Any], title: str) -> Iterator[Mapping[str, Any]]:
    """The arguments of a rewrite, with a bar where it is going to train."""
    if "distil" not in more:
        yield more
        return
    with training(title) as stepped:
        yield {**more, "progress": stepped}


def _named(twin: Rewrite, opened: Opened) -> Rewrite:
    """The certificate with the data called by their file: the library knows no more of them than their type."""
    found = twin.certificate
    named = found.data.replace(f" of {type(opened.data).__name__}, ", f" of {opened.source}, ", 1)
    return replace(twin, certificate=replace(found, data=named)) if opened.source else twin


def _record(wish: Wish, opened: Opened, found: Found) -> dict[str, Any]:
    """The rewrite record, as ``report.rewrite_fields`` describes it."""
    from intertwiner.report.rewrite_fields import SCHEMA

    points = {
        budget: {"budget": budget, "folder": _folder(wish, budget), "certificate": twin.certificate.to_json()}
        for budget, twin in found.twins.items()
    }
    return {
        "schema": SCHEMA,
        "network": {
            "name": opened.network.name,
            "dtype": str(opened.network.dtype).removeprefix("torch."),
            "layers": layer_names(opened.network),
        },
        "symmetry": {
            "input": "|".join(wish.on_input),
            "output": "|".join(wish.on_output),
            **({"subgroup": wish.subgroup} if wish.subgroup is not None else {}),
        },
        "data": {"source": opened.source, "labels": wish.labels, "note": opened.note},
        "finetune": wish.finetune,
        "twin": points[wish.budget],
        "curve": list(points.values()) if wish.curve is not None else [],
        "left_out": [{"budget": budget, "reason": reason} for budget, reason in sorted(found.left_out.items())],
        "environment": environment(),
    }


def layer_names(network: Network) -> list[str]:
    """The linear maps and convolutions by the name that the user gave them."""
    from intertwiner.network import node as ir

    wanted = (node for node in network.nodes if isinstance(node.op, (ir.Linear, ir.Conv)))
    return [(node.tap or node.name).removesuffix(":out") for node in wanted]


def environment() -> dict[str, str]:
    """Versions, for records."""
    import platform
    from importlib.metadata import version

    return {"python": platform.python_version(), **{name: version(name) for name in ("torch", "intertwiner")}}


def _folder(wish: Wish, budget: float) -> str | None:
    if wish.out is None:
        return None
    return str(wish.out if budget == wish.budget else wish.out / CURVE / f"{budget:g}")


def _written(wish: Wish, found: Found, record: Mapping[str, Any]) -> WrongUse | None:
    """Write the folder; a failure is handed back, so that the table is shown all the same."""
    if wish.out is None:
        return None
    from intertwiner.report.rewrite_fields import rewrite_json
    from intertwiner.report.rewrite_page import to_rewrite_html

    texts = {RECORD: rewrite_json(record), PAGE: to_rewrite_html(record)}
    try:
        _write_folder(wish.out, found, wish.budget, texts)
    except OSError as error:
        return cannot_write(wish.out, error)
    say(f"written: {wish.out}; open {wish.out / PAGE} in a browser")
    return None


def _write_folder(out: Path, found: Found, chosen: float, texts: Mapping[str, str]) -> None:
    """Everything under a hidden name in a folder above, then one rename: the folder is whole or not there."""
    from intertwiner.report import write_files

    with tempfile.TemporaryDirectory(prefix=f".{out.name}.", dir=_ancestor(out)) as hidden:
        inside = Path(hidden) / "twin"
        found.twins[chosen].save(inside)
        for budget, twin in found.twins.items():
            if budget != chosen:
                twin.save(inside / CURVE / f"{budget:g}")
        write_files({inside / name: text for name, text in texts.items()})
        out.parent.mkdir(parents=True, exist_ok=True)
        inside.rename(out)


def _show(record: Mapping[str, Any], as_json: bool) -> None:
    from intertwiner.report.rewrite_fields import rewrite_json
    from intertwiner.report.rewrite_text import print_rewrite

    if as_json:
        print_json(rewrite_json(record))
    else:
        tolerant_output()
        print_rewrite(record)
