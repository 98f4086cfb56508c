"""The typer application: every command with its options, and nothing of what they do."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from intertwiner.cli import exits, spellings
from intertwiner.cli.audit import Wish, run_audit
from intertwiner.cli.comparison import run_compare
from intertwiner.cli.demo import run_demo
from intertwiner.cli.identify import Identify, run_identify, run_reduce
from intertwiner.cli.laws import Laws, run_laws
from intertwiner.cli.match import run_match
from intertwiner.cli.options import Data, Example, Json, Model, Outputs, Samples, Scale, Seed, Subgroup, Weights
from intertwiner.cli.rewrite import Wish as RewriteWish
from intertwiner.cli.rewrite import rewrite_epilog, run_rewrite
from intertwiner.cli.selfcheck import run_identify_check, run_laws_check, run_rewrite_check, run_selfcheck
from intertwiner.cli.subject import Words
from intertwiner.cli.taps import run_taps
from intertwiner.cli.variety_command import variety
from intertwiner.errors import WrongUse

app = typer.Typer(
    name="intertwiner",
    help="Find the group action that every hidden layer of a trained network carries.",
    epilog="'intertwiner COMMAND --help' tells more; 'intertwiner audit --help' has the tables of spellings.",
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    add_completion=False,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 80},
)


def _version(asked: bool) -> None:
    if asked:
        from importlib.metadata import version

        print(f"intertwiner {version('intertwiner')}")
        raise typer.Exit(exits.PROVED)


@app.callback(invoke_without_command=True)
def _root(
    context: typer.Context,
    version: Annotated[bool, typer.Option("--version", callback=_version, is_eager=True, help="Print it.")] = False,
) -> None:
    if context.invoked_subcommand is None:
        print(context.get_help(), file=sys.stderr)
        raise typer.Exit(exits.WRONG_USE)


@app.command(epilog=spellings.audit_epilog(), short_help="Audit a network: the action at every layer.")
@exits.guarded
def audit(
    model: Model,
    *,
    group: Annotated[str, typer.Option(metavar="GROUP", help="The group: a name, a Cayley table, or module:callable.")],
    input_: Annotated[
        list[str], typer.Option("--input", metavar="ACTION", help="How it acts on inputs; name=ACTION for several.")
    ],
    output: Annotated[
        list[str], typer.Option("--output", metavar="ACTION", help="How it acts on outputs; name=ACTION for several.")
    ],
    subgroup: Subgroup = None,
    data: Data = None,
    out: Annotated[
        Path | None, typer.Option(metavar="FOLDER", help="Write audit.json and report.html there, both or none.")
    ] = None,
    weights: Weights = None,
    json: Json = False,
    max_defect: Annotated[
        float, typer.Option(min=0.0, metavar="X", help="Exit with 0 up to this worst defect, proved or not.")
    ] = 0.0,
    taps: Annotated[
        list[str] | None,
        typer.Option(metavar="GLOB", help="Taps to report; repeat, or use commas. 'intertwiner taps' lists them."),
    ] = None,
    outputs: Outputs = None,
    max_samples: Samples = None,
    scale: Scale = None,
    example: Example = None,
    seed: Seed = 0,
    nulls: Annotated[bool, typer.Option("--nulls/--no-nulls", help="Measure what the figures stand against.")] = True,
    weights_only: Annotated[
        bool, typer.Option("--weights-only", help="Follow the weights; measure nothing on data.")
    ] = False,
    box: Annotated[float, typer.Option(metavar="X", help="The bound of a proof covers inputs with |x| <= box.")] = 1.0,
) -> int:
    """Audit a network under a symmetry: verdict, defects, the action at every layer."""
    words = Words(model, weights, tuple(data or ()), tuple(example or ()), _split(outputs), scale, max_samples)
    wish = Wish(
        words, group, tuple(input_), tuple(output), out=out, as_json=json, max_defect=max_defect, taps=_split(taps),
        seed=seed, nulls=nulls, data=not weights_only, box=box, subgroup=subgroup,
    )  # fmt: skip
    return run_audit(wish)


@app.command(short_help="Audit the bundled networks.")
@exits.guarded
def demo(
    *,
    out: Annotated[Path, typer.Option(metavar="FOLDER", help="Where the reports go.")] = Path("report"),
) -> int:
    """Audit the bundled networks; writes FOLDER/report.html and a report for each."""
    return run_demo(out)


@app.command(short_help="Does it work on this machine?")
@exits.guarded
def selfcheck(
    *,
    count: Annotated[
        int | None, typer.Option(min=1, metavar="N", help="How many networks to plant.", show_default="600")
    ] = None,
    full: Annotated[bool, typer.Option("--full", help="Plant every kind once instead.")] = False,
    identify: Annotated[
        bool, typer.Option("--identify", help="Plant redundant neurons instead, and reduce. 300 by default.")
    ] = False,
    rewrite: Annotated[
        bool, typer.Option("--rewrite", help="Plant symmetries and rewrite instead. 200 by default.")
    ] = False,
    laws: Annotated[
        bool, typer.Option("--laws", help="Plant conservation laws and near misses instead. 100 by default.")
    ] = False,
    seed: Seed = 0,
    workers: Annotated[
        int | None, typer.Option(min=1, metavar="N", help="Processes.", show_default="one per core")
    ] = None,
    json: Json = False,
) -> int:
    """Plant networks with known actions on this machine, and find them again. Exit code 1 where one is missed."""
    if identify + rewrite + laws > 1:
        raise WrongUse(
            "--identify, --rewrite and --laws are selfchecks of their own; run one after the other. Nothing was done."
        )
    if laws:
        return run_laws_check(count or 100, seed=seed, as_json=json, workers=workers)
    if rewrite:
        return run_rewrite_check(count or 200, seed=seed, as_json=json, workers=workers)
    if identify:
        return run_identify_check(count or 300, seed=seed, as_json=json)
    return run_selfcheck(count or 600, full=full, seed=seed, workers=workers, as_json=json)


@app.command(short_help="What gradient flow of a network conserves.")
@exits.guarded
def laws(
    model: Annotated[str | None, typer.Argument(help="A model, as for audit; or --widths.")] = None,
    *,
    widths: Annotated[
        str | None, typer.Option(metavar="N,N,..", help="Instead: widths of a fully connected network, as in 4,8,8,2.")
    ] = None,
    activation: Annotated[
        str, typer.Option(metavar="NAME", help="Between its layers: relu, linear, t^2, ...")
    ] = "relu",
    bias: Annotated[bool, typer.Option("--bias", help="Its layers have biases.")] = False,
    degree: Annotated[
        int | None, typer.Option(min=1, metavar="D", help="With --widths: also all conserved polynomials up to D.")
    ] = None,
    loss: Annotated[str, typer.Option(metavar="NAME", help="mse, cross_entropy, or any.")] = "mse",
    training: Annotated[
        bool, typer.Option("--training/--evaluation", help="Batch norm with the statistics of the batch, or its own.")
    ] = True,
    count: Annotated[
        bool | None, typer.Option("--count/--no-count", help="How many there are.", show_default="where it is quick")
    ] = None,
    group: Annotated[
        str | None, typer.Option(metavar="GROUP", help="Symmetry of the data; spelt as for audit.")
    ] = None,
    input_: Annotated[
        list[str] | None, typer.Option("--input", metavar="ACTION", help="How it acts on inputs.")
    ] = None,
    output: Annotated[
        list[str] | None, typer.Option("--output", metavar="ACTION", help="How it acts on outputs.")
    ] = None,
    subgroup: Subgroup = None,
    weights: Weights = None,
    data: Data = None,
    example: Example = None,
    out: Annotated[Path | None, typer.Option(metavar="FOLDER", help="Write the report there.")] = None,
    seed: Seed = 0,
    json: Json = False,
) -> int:
    """Conservation laws by structure, with formulas, and how many there are. Exit code 0 where the laws listed are
    proved to be all, or their number is; 2 where it is open.
    """
    words = Words(model or "", weights, tuple(data or ()), tuple(example or ()))
    wish = Laws(
        words, widths, activation, bias, loss, training, count, seed, out, json,
        group=group, on_input=tuple(input_ or ()), on_output=tuple(output or ()), subgroup=subgroup, degree=degree,
    )  # fmt: skip
    return run_laws(wish)


Box = Annotated[
    float | None, typer.Option(metavar="R", help="Inputs with |x| <= R: neurons that never switch there may go.")
]


@app.command(short_help="Which parameters can be told from the function.")
@exits.guarded
def identify(
    model: Model,
    *,
    weights: Weights = None,
    data: Data = None,
    example: Example = None,
    scale: Scale = None,
    max_samples: Samples = None,
    box: Box = None,
    dimension: Annotated[
        bool | None,
        typer.Option("--dimension/--no-dimension", help="Functional dimension.", show_default="up to 5,000 weights"),
    ] = None,
    out: Annotated[Path | None, typer.Option(metavar="FOLDER", help="Write identifiability.json there.")] = None,
    seed: Seed = 0,
    json: Json = False,
) -> int:
    """Gauge, redundant neurons, theorem with its hypotheses, functional dimension. Exit code 0 where a theorem decides,
    2 where none does.
    """
    words = Words(model, weights, tuple(data or ()), tuple(example or ()), (), scale, max_samples)
    return run_identify(Identify(words, box, dimension, seed, out, json))


@app.command(short_help="The same function without redundant neurons.")
@exits.guarded
def reduce(
    model: Model,
    *,
    weights: Weights = None,
    data: Data = None,
    example: Example = None,
    box: Box = None,
    even: Annotated[bool, typer.Option("--even", help="Bring ReLU layers to c |z| + A x, where flips show.")] = False,
    out: Annotated[
        Path | None, typer.Option(metavar="FOLDER", help="Save the reduced model there, with reduction.json.")
    ] = None,
    json: Json = False,
) -> int:
    """Take out dead, constant, equal and opposite neurons; the certificate says how far the function is kept."""
    words = Words(model, weights, tuple(data or ()), tuple(example or ()))
    return run_reduce(words, box, out, even=even, as_json=json)


@app.command(epilog=rewrite_epilog(), short_help="The exactly equivariant twin of a network.")
@exits.guarded
def rewrite(
    model: Model,
    *,
    group: Annotated[str, typer.Option(metavar="GROUP", help="The group, as for audit.")],
    input_: Annotated[list[str], typer.Option("--input", metavar="ACTION", help="How it acts on inputs.")],
    output: Annotated[list[str], typer.Option("--output", metavar="ACTION", help="How it acts on outputs.")],
    subgroup: Subgroup = None,
    data: Data = None,
    budget: Annotated[
        float, typer.Option(metavar="X", help="Largest number of multiply-adds, times those of the original.")
    ] = 1.0,
    curve: Annotated[
        str | None, typer.Option(metavar="X,X,..", help="Twins at these budgets too, as in 0.25,0.5,1,2.")
    ] = None,
    labels: Annotated[
        str | None,
        typer.Option(metavar="NAME", help="One class per sample: an array in the data file, or a file. For accuracy."),
    ] = None,
    finetune: Annotated[float, typer.Option(metavar="EPOCHS", help="Then distil from the group average.")] = 0.0,
    out: Annotated[Path | None, typer.Option(metavar="FOLDER", help="Write the twin and its report there.")] = None,
    weights: Weights = None,
    example: Example = None,
    scale: Scale = None,
    max_samples: Samples = None,
    seed: Seed = 0,
    json: Json = False,
) -> int:
    """Rewrite a network so that every layer is exactly equivariant; original, group average and twin side by side."""
    words = Words(model, weights, tuple(data or ()), tuple(example or ()), (), scale, max_samples)
    wish = RewriteWish(
        words, group, tuple(input_), tuple(output), budget=budget, curve=curve, labels=labels, finetune=finetune,
        seed=seed, out=out, as_json=json, subgroup=subgroup,
    )  # fmt: skip
    return run_rewrite(wish)


@app.command(short_help="Are two networks the same function?")
@exits.guarded
def match(
    first: Annotated[str, typer.Argument(metavar="A", help="A model, as for audit.")],
    second: Annotated[str, typer.Argument(metavar="B", help="Another of the same architecture.")],
    *,
    weights: Annotated[str | None, typer.Option(metavar="FILE", help="state_dict of A, where it is code.")] = None,
    other_weights: Annotated[str | None, typer.Option(metavar="FILE", help="state_dict of B, likewise.")] = None,
    data: Data = None,
    example: Example = None,
    scale: Scale = None,
    max_samples: Samples = None,
    box: Annotated[float, typer.Option(metavar="X", help="The bound of a proof covers inputs with |x| <= box.")] = 1.0,
    align: Annotated[bool, typer.Option("--align/--no-align", help="Align networks that differ.")] = True,
    json: Json = False,
) -> int:
    """PROVED the same function (exit code 0) with the gauge element, REFUTED (1) with an input, or UNDECIDED (2)."""
    words = Words(first, weights, tuple(data or ()), tuple(example or ()), (), scale, max_samples)
    return run_match(words, second, other_weights, box=box, align=align, as_json=json)


@app.command(short_help="Two audits side by side.")
@exits.guarded
def compare(
    first: Annotated[Path, typer.Argument(metavar="A", help="A folder with audit.json, or the file.")],
    second: Annotated[Path, typer.Argument(metavar="B", help="Another.")],
    *,
    json: Json = False,
) -> int:
    """Set two audits side by side: verdict, defects, status and R2 by tap."""
    return run_compare(first, second, as_json=json)


@app.command(short_help="The taps of a network, and their spaces.")
@exits.guarded
def taps(
    model: Model,
    *,
    weights: Weights = None,
    example: Example = None,
    data: Data = None,
    scale: Scale = None,
    outputs: Outputs = None,
    json: Json = False,
) -> int:
    """List the taps of a network, its latent spaces and their gauge groups."""
    words = Words(model, weights, tuple(data or ()), tuple(example or ()), _split(outputs), scale, max_samples=2)
    return run_taps(words, as_json=json)


app.command(short_help="What is proved of the functions of a polynomial network.")(exits.guarded(variety))


def _split(values: list[str] | None) -> tuple[str, ...]:
    """Repeated options and commas alike."""
    return tuple(part.strip() for value in values or () for part in value.split(",") if part.strip())


def main(arguments: list[str] | None = None) -> None:
    """Run the command line and leave with its exit code."""
    try:
        code = exits.run_app(app, arguments)
    except KeyboardInterrupt:
        code = exits.interrupted()
    raise SystemExit(code)
