"""``intertwiner match``: are two networks the same function, and if not, how are they aligned?"""

from __future__ import annotations

from dataclasses import replace

from intertwiner.cli.code import code_of
from intertwiner.cli.exits import ABOVE, PROVED, UNDECIDED
from intertwiner.cli.identify import samples, show
from intertwiner.cli.subject import Words, open_network

SAMPLES = 1024
"""Samples of a data set on which two networks are aligned."""


def run_match(words: Words, other: str, other_weights: str | None, *, box: float, align: bool, as_json: bool) -> int:
    """0 where they are proved to be the same function, 1 where an input tells them apart, 2 where neither is known."""
    from intertwiner.identify import match

    with code_of([words.model, other, *words.data]):
        first = open_network(words)
        second = open_network(replace(words, model=other, weights=other_weights))
        data = samples(first.network, first.data, words.max_samples or SAMPLES)
        found = match(first.network, second.network, data, box=box, align=align)
    show(found.to_json(), str(found), as_json)
    return PROVED if found.verdict.is_proved else ABOVE if found.verdict.is_refuted else UNDECIDED
