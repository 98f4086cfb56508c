"""``intertwiner identify`` and ``intertwiner reduce``: what the function says about the parameters."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from intertwiner.cli.audit import cannot_write, print_json, require_folder, tolerant_output
from intertwiner.cli.code import code_of
from intertwiner.cli.exits import PROVED, UNDECIDED, printable, say
from intertwiner.cli.subject import Words, open_network
from intertwiner.cli.terminal import counting

if TYPE_CHECKING:
    from intertwiner.network import Network

SAMPLES = 4096
"""Samples of a data set on which the functional dimension is taken."""


@dataclass(frozen=True)
class Identify:
    """What is asked, as the options of ``intertwiner identify`` say it."""

    words: Words
    box: float | None = None
    dimension: bool | None = None
    seed: int = 0
    out: Path | None = None
    as_json: bool = False


def run_identify(wish: Identify) -> int:
    """Print what is known about the parameters; 0 where a theorem decides, 2 where none does."""
    from intertwiner.identify import identify
    from intertwiner.report import write_files

    require_folder(wish.out)
    words = wish.words
    with code_of([words.model, *words.data]):
        opened = open_network(words)
        data = samples(opened.network, opened.data, words.max_samples or SAMPLES)
        with counting("functional dimension", opened.network.parameters) as progress:
            found = identify(
                opened.network, data, box=wish.box, dimension=wish.dimension, seed=wish.seed, progress=progress
            )
    record = found.to_json()
    if wish.out is not None:
        text = json.dumps(record, indent=1, ensure_ascii=False, allow_nan=False) + "\n"
        try:
            write_files({wish.out / "identifiability.json": text})
        except OSError as error:
            raise cannot_write(wish.out, error) from error
        say(f"written: {wish.out / 'identifiability.json'}")
    show(record, str(found), wish.as_json)
    return PROVED if found.verdict.is_proved else UNDECIDED


def run_reduce(words: Words, box: float | None, out: Path | None, *, even: bool, as_json: bool) -> int:
    """Take the redundant neurons out; the folder is read by every command that takes a MODEL."""
    from intertwiner.identify import reduce
    from intertwiner.network import save_model, trace

    with code_of([words.model, *words.data]):
        network = open_network(words).network
        found = reduce(network, box=box, even=even)
    record = found.to_json()
    if out is not None:
        text = json.dumps(record, indent=1, ensure_ascii=False, allow_nan=False) + "\n"
        try:
            save_model(trace(found.module, network.example, name=network.name), out, beside={"reduction.json": text})
        except OSError as error:
            raise cannot_write(out, error) from error
        say(f"written: {out}")
    show(record, str(found), as_json)
    return PROVED


def samples(network: Network, data: Any, limit: int) -> tuple[Any, ...] | None:
    """At most ``limit`` samples of any data, one tensor per input; None where there are no data."""
    if data is None:
        return None
    import torch

    from intertwiner.audit.stream import Stream, input_specs

    batches = list(Stream(data, input_specs(network), SAMPLES, limit))
    return tuple(torch.cat(parts) for parts in zip(*batches, strict=True))


def show(record: Mapping[str, Any], text: str, as_json: bool) -> None:
    """The record as JSON, or the text."""
    if as_json:
        print_json(json.dumps(record, indent=1, ensure_ascii=False, allow_nan=False) + "\n")
        return
    tolerant_output()
    print(printable(text))
