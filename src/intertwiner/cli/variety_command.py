"""The options of ``intertwiner variety``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from intertwiner.cli.options import Example, Json, Seed, Weights
from intertwiner.cli.subject import Words
from intertwiner.cli.variety import Shape, Variety, run_variety
from intertwiner.errors import WrongUse


def variety(
    model: Annotated[
        str | None, typer.Argument(help="A .pt2 file, a saved folder, or module:callable; or one of the shapes below.")
    ] = None,
    *,
    widths: Annotated[
        str | None, typer.Option(metavar="N,N,..", help="Input, hidden and output widths, as in 2,3,3,1.")
    ] = None,
    activation: Annotated[
        str | None, typer.Option(metavar="POLY", help="Between the layers: t^2, 't^3 + 2t', linear.")
    ] = None,
    bias: Annotated[bool, typer.Option("--bias", help="All layers have biases.")] = False,
    filters: Annotated[
        str | None, typer.Option(metavar="K,K,..", help="Instead of widths: filter sizes of 1-D convolutions.")
    ] = None,
    strides: Annotated[str | None, typer.Option(metavar="S,S,..", help="One per filter.")] = None,
    channels: Annotated[str | None, typer.Option(metavar="C,C,..", help="Input, hidden and output channels.")] = None,
    attention: Annotated[
        str | None,
        typer.Option(
            metavar="KIND:..",
            help="Instead: lightning, softmax or rotary, as in softmax:width=3,rank=1,outputs=3,tokens=3; "
            "heads=, inner=, layers= may follow.",
        ),
    ] = None,
    filling: Annotated[
        str | None,
        typer.Option(metavar="IN,OUT", help="Instead: all minimal hidden widths that fill the space of functions."),
    ] = None,
    depth: Annotated[int | None, typer.Option(min=2, metavar="L", help="Layers of weights, with --filling.")] = None,
    most: Annotated[int | None, typer.Option(min=1, metavar="N", help="Widest hidden layer, with --filling.")] = None,
    journal: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Append what --filling finds, and go on from there next time.")
    ] = None,
    equations: Annotated[
        int | None, typer.Option(min=1, metavar="DEGREE", help="Also the equations of the functions up to this degree.")
    ] = None,
    weights: Weights = None,
    example: Example = None,
    primes: Annotated[int, typer.Option(min=1, metavar="N", help="Random primes, at most.")] = 2,
    draws: Annotated[int, typer.Option(min=1, metavar="N", help="Random points per prime, at most.")] = 3,
    out: Annotated[
        Path | None, typer.Option(metavar="FOLDER", help="Write the record and its pictures there, all or none.")
    ] = None,
    seed: Seed = 0,
    json: Json = False,
) -> int:
    """Dimension, defect, what proves it, and the generic fibre. For a MODEL also whether its own parameters are
    degenerate and its function is a smooth point. Exit code 0 where all of it is proved, 2 where a part is probable or
    undecided.
    """
    words = None if model is None else Words(model, weights, (), tuple(example or ()))
    if words is None and (weights or example):
        raise WrongUse("--weights and --example belong to a MODEL. Nothing was computed.")
    shape = Shape(widths, filters, attention, filling, activation, bias, strides, channels, depth, most, journal)
    return run_variety(Variety(words, shape, equations, primes=primes, draws=draws, seed=seed, out=out, as_json=json))
