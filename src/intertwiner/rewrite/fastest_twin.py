"""Which layers of a twin run in blocks: whole networks measured beside the dense twin on this machine.

Layers are not chosen one by one: what the compiler fuses between two of them belongs to neither. A handful of choices,
by what they save in multiply-adds, alternate in one run with the dense twin; that stays unless the best of them takes
at most ``BLOCKS_WIN`` of its time.
"""

from __future__ import annotations

import statistics
from collections.abc import Collection, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from intertwiner.algebra import Group
from intertwiner.errors import GroupTooLarge, WrongUse
from intertwiner.numerics.tolerance import BLOCKS_WIN
from intertwiner.report.words import number
from intertwiner.rewrite.compile import compiled
from intertwiner.rewrite.cost import block_multiply_adds, can_be_blocks, node_multiply_adds, positions
from intertwiner.rewrite.executors import Clock, Run, alternating, compiled_alone
from intertwiner.rewrite.twin import TwinGraph

DENSE = "dense"
LARGE = 0.1
"""A layer is large if it makes at least this share of all that blocks save."""


@dataclass(frozen=True, eq=False)
class FastestTwin:
    """The choice that won, and what it was chosen by.

    Args:
        module: The plain module: it exports, saves and compiles.
        run: What was timed: the module or its compiled form.
        blocks: The layers that run in blocks; ``compiled(twin, blocks)`` makes the module again.
        executors: ``blocks`` or ``dense`` for every layer that could run in blocks.
        seconds: Median seconds per call by choice.
        choices: The layers in blocks by choice.
        ratio: Median over rounds of the time of the dense twin over that of the best choice with blocks.
        difference: Largest difference of a choice from the dense twin on the example, over the largest output.
        batch: Rows of the example.
        rounds: Alternating rounds.
        threads: Threads of torch while measuring.
        skipped: What was not measured, with the reason.
    """

    module: nn.Module
    run: Run
    blocks: tuple[str, ...]
    executors: Mapping[str, str]
    seconds: Mapping[str, float]
    choices: Mapping[str, tuple[str, ...]]
    ratio: float
    difference: float
    batch: int
    rounds: int
    threads: int
    skipped: Mapping[str, str]

    @property
    def is_compiled(self) -> bool:
        return self.run is not self.module

    def __str__(self) -> str:
        times = ", ".join(f"{name} {number(1e3 * value)} ms" for name, value in self.seconds.items())
        where = ", ".join(f"{name}: {how}" for name, how in self.executors.items())
        how = "compiled" if self.is_compiled else "not compiled"
        return f"{where} ({times}; batch {self.batch}, {how}, {self.rounds} rounds)"


def fastest_twin(
    twin: TwinGraph,
    example: Tensor,
    *,
    choices: Mapping[str, Collection[str]] | None = None,
    rounds: int = 7,
    compile: bool = True,
    dtype: torch.dtype | None = None,
    group: Group | None = None,
    clock: Clock | None = None,
) -> FastestTwin:
    """Measure a twin with some layers in blocks beside the dense twin and choose.

    Args:
        twin: The twin.
        example: An input of the batch that matters: the choice depends on it.
        choices: Layers in blocks by name of choice; ``block_choices`` by default. The dense twin is always measured.
        rounds: Alternating rounds, at least 5.
        compile: Whether to run everything under ``torch.compile``; where that fails all run as they are.
        dtype: Type of the weights; that of the example by default.
        group: See ``compiled``.
        clock: See ``alternating``.

    Raises:
        WrongUse: Fewer than 5 rounds, or a choice of the name ``dense``.
        CannotRewrite: A choice with a layer that cannot run in blocks.

    Cost:
        One compilation per choice (about ten seconds each) and ``rounds`` times a few calls.
    """
    if rounds < 5:
        raise WrongUse(f"{rounds} rounds: medians of fewer than 5 say little. Nothing was measured.")
    skipped: dict[str, str] = {}
    choices = block_choices(twin, skipped) if choices is None else choices
    if DENSE in choices:
        raise WrongUse(f"the choice {DENSE!r} is measured anyway, give yours another name. Nothing was measured.")
    dtype = example.dtype if dtype is None and example.is_floating_point() else dtype
    modules: dict[str, nn.Module] = {DENSE: twin.module(dtype)}
    for name, blocks in choices.items():
        try:
            modules[name] = compiled(twin, blocks, dtype, group=group)
        except GroupTooLarge as error:
            skipped[name] = str(error)
    with torch.no_grad():
        runs = _runs(modules, example, compile, skipped)
        reference = modules[DENSE](example)
        scale = float(reference.abs().max()) or 1.0
        difference = max(float((run(example) - reference).abs().max()) for run in runs.values()) / scale
        times = alternating(runs, example, rounds, clock)
    medians = {name: statistics.median(values) for name, values in times.items()}
    best = min((name for name in runs if name != DENSE), key=medians.__getitem__, default=DENSE)
    ratio = statistics.median(d / b for d, b in zip(times[DENSE], times[best], strict=True))
    chosen = best if ratio * BLOCKS_WIN >= 1 else DENSE
    tried = {DENSE: (), **{name: tuple(blocks) for name, blocks in choices.items()}}
    able = [name for name in twin.graph if can_be_blocks(twin, name) is None]
    return FastestTwin(
        module=modules[chosen],
        run=runs[chosen],
        blocks=tried[chosen],
        executors={name: "blocks" if name in tried[chosen] else DENSE for name in able},
        seconds=medians,
        choices=tried,
        ratio=ratio,
        difference=difference,
        batch=example.shape[0],
        rounds=rounds,
        threads=torch.get_num_threads(),
        skipped=skipped,
    )


def block_choices(twin: TwinGraph, skipped: dict[str, str] | None = None) -> dict[str, tuple[str, ...]]:
    """Layers that may be worth running in blocks: all that save multiply-adds, the large ones, the largest one.

    Args:
        twin: The twin.
        skipped: Where the reason goes if none can run in blocks.

    Cost:
        The orbits of every space.
    """
    saved: dict[str, int] = {}
    for name, node in twin.graph.items():
        if can_be_blocks(twin, name) is not None:
            continue
        try:
            each = block_multiply_adds(twin.actions[node.inputs[0]], twin.actions[name])
        except GroupTooLarge as error:
            if skipped is not None:
                skipped[name] = str(error)
            continue
        saved[name] = node_multiply_adds(node, twin.graph) - each * positions(node, node.op)
    worth = {name: value for name, value in saved.items() if value > 0}
    total = sum(worth.values())
    out = {
        "blocks": tuple(worth),
        "large layers in blocks": tuple(name for name, value in worth.items() if value >= LARGE * total),
        "largest layer in blocks": tuple(sorted(worth, key=worth.__getitem__)[-1:]),
    }
    distinct: dict[str, tuple[str, ...]] = {}
    for name, blocks in out.items():
        if blocks and blocks not in distinct.values():
            distinct[name] = blocks
    return distinct


def _runs(modules: Mapping[str, nn.Module], example: Tensor, compile: bool, skipped: dict[str, str]) -> dict[str, Run]:
    """Compiled forms, or all modules as they are: a mixture would not compare blocks with dense."""
    plain: dict[str, Run] = dict(modules)
    if not compile:
        return plain
    runs: dict[str, Run] = {}
    for name, module in modules.items():
        runs[name] = compiled_alone(module)
        try:
            runs[name](example)
        except (RuntimeError, OSError) as error:
            skipped["torch.compile"] = f"it failed on {name!r}: {str(error).strip().splitlines()[0]}"
            return plain
    return runs
