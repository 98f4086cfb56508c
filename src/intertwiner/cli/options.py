"""Options that several commands share."""

from __future__ import annotations

from typing import Annotated

import typer

Model = Annotated[str, typer.Argument(help="A .pt2 file, a saved folder, or module:callable.")]
Subgroup = Annotated[
    str | None,
    typer.Option(metavar="H", help="Only a subgroup: generators by name, as in 'r2;s', or its name, as in C4."),
]
Weights = Annotated[
    str | None,
    typer.Option(metavar="FILE", help="state_dict for module:callable: .safetensors, or .pt with weights_only=True."),
]
Data = Annotated[
    list[str] | None, typer.Option(metavar="DATA", help="Samples; see the table below. Repeat for several inputs.")
]
Example = Annotated[
    list[str] | None,
    typer.Option(metavar="SHAPE", help="Shape of one sample, as in 1x28x28, where there are no data: noise is used."),
]
Outputs = Annotated[
    list[str] | None, typer.Option(metavar="NAME", help="Which of several outputs to keep. Repeat, or use commas.")
]
Scale = Annotated[
    str | None, typer.Option(metavar="FACTOR", help="Times this, to the network's float type; for bytes, 1/255.")
]
Samples = Annotated[int | None, typer.Option(min=1, metavar="N", help="Read at most N samples.")]
Json = Annotated[bool, typer.Option("--json", help="Print JSON, and nothing else, on stdout.")]
Seed = Annotated[int, typer.Option(min=0, metavar="N", help="Of everything random.")]
