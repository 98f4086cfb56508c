"""What became of every layer of a rewritten network, and how its latent spaces came about: two tables of rows.

A space is written by one layer of a chain, by several of a residual network, so layers and spaces are told apart.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from intertwiner.report.rewrite_rows import orbits


@dataclass(frozen=True)
class LayerRow:
    """A linear map or convolution.

    Args:
        name: Module path, as the original has it.
        before: Neurons or channels that it writes in the original.
        after: The same in the twin.
        runs: "dense" or "blocks"; empty where it is not known.
    """

    name: str
    before: int
    after: int
    runs: str


@dataclass(frozen=True)
class SpaceRow:
    """How the neurons of one latent space were found.

    Args:
        note: What the certificate says about it.
        chosen: How many of the orbits that were offered.
        sizes: The chosen ones by size.
        explained: Share of the variance that is explained with all of them.
    """

    note: Mapping[str, Any]
    chosen: str
    sizes: str
    explained: float | None


def layer_rows(record: Mapping[str, Any]) -> list[LayerRow]:
    """One row per layer of the twin; none where the widths are not known.

    Args:
        record: A checked rewrite record.
    """
    certificate = record["twin"]["certificate"]
    before, after = certificate["original_widths"], certificate["widths"]
    if not after or len(before) != len(after):
        return []
    executors = certificate["executors"]
    runs = list(executors.values()) if len(executors) == len(after) - 1 else [""] * (len(after) - 1)
    names = _names(record, len(after) - 1)
    return [LayerRow(*row) for row in zip(names, before[1:], after[1:], runs, strict=True)]


def _names(record: Mapping[str, Any], count: int) -> Sequence[str]:
    """The modules of the original; the notes where they are one per hidden layer; the nodes of the twin."""
    certificate = record["twin"]["certificate"]
    notes = [layer["name"] for layer in certificate["layers"]]
    for names in (record["network"]["layers"], [*notes, "output"], list(certificate["executors"])):
        if len(names) == count:
            return [name.removesuffix(":out") for name in names]
    return [f"layer {n + 1}" for n in range(count)]


def space_rows(certificate: Mapping[str, Any]) -> list[SpaceRow]:
    """One row per space of which more is known than its width."""
    return [
        SpaceRow(
            layer,
            f"{len(layer['orbits_chosen'])} of {len(layer['orbits_offered'])}" if layer["orbits_offered"] else "",
            orbits(layer["orbits_chosen"]),
            layer["explained"][-1] if layer["explained"] else None,
        )
        for layer in certificate["layers"]
        if layer["orbits_offered"] or layer["live"] is not None
    ]


def in_blocks(certificate: Mapping[str, Any]) -> str:
    """How many layers run in isotypic blocks; empty where none does.

    >>> in_blocks({"executors": {"a": "dense", "b": "blocks"}}), in_blocks({"executors": {"a": "dense"}})
    ('1 of 2 layers in isotypic blocks', '')
    """
    runs = list(certificate["executors"].values())
    found = sum(r != "dense" for r in runs)
    return f"{found} of {len(runs)} layers in isotypic blocks" if found else ""
