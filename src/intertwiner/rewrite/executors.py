"""Several ways to run one equivariant layer, and the choice among them by measuring on this machine.

``blocks`` multiplies one block per irrep between two small transforms, ``dense`` one dense weight; each runs eagerly or
under ``torch.compile``. Fewer multiply-adds are no promise of time (theory section 7): the dense layer stays unless
blocks take at most ``BLOCKS_WIN`` of its time in the same rounds.
"""

from __future__ import annotations

import itertools
import statistics
import time
import types
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from intertwiner.errors import WrongUse
from intertwiner.numerics.tolerance import BLOCKS_WIN
from intertwiner.report.words import number
from intertwiner.rewrite.isotypic import FrozenIsotypicLinear, IsotypicLinear

LEAST_SECONDS = 1e-2
"""A round calls a layer as often as fits in about this time, at least once."""

Run = Callable[[Tensor], Tensor]
Clock = Callable[[], float]
CLOCK: Clock = time.perf_counter
_NUMBERS = itertools.count()


@dataclass(frozen=True, eq=False)
class Executor:
    """One way to run a layer.

    Args:
        name: ``blocks``, ``dense``, ``blocks, compiled`` or ``dense, compiled``.
        module: The plain module: it exports, saves and compiles.
        run: What was timed: the module or its compiled form.
    """

    name: str
    module: nn.Module
    run: Run

    @property
    def is_dense(self) -> bool:
        return self.name.startswith("dense")

    @property
    def compiled(self) -> bool:
        return self.run is not self.module


@dataclass(frozen=True, eq=False)
class Fastest:
    """The executor that won, and what it was chosen by.

    Args:
        chosen: The executor.
        dense: The best dense executor, chosen or not.
        seconds: Median seconds per call, by name of executor.
        ratio: Median over rounds of the time of the best dense executor over that of the best blocks.
        difference: Largest difference of an executor from the eager dense layer on the example, over the largest.
        rounds: Alternating rounds.
        threads: Threads of torch while measuring.
        skipped: What was not measured, with the reason.
    """

    chosen: Executor
    dense: Executor
    seconds: Mapping[str, float]
    ratio: float
    difference: float
    rounds: int
    threads: int
    skipped: Mapping[str, str]

    def __str__(self) -> str:
        times = ", ".join(f"{name} {number(1e3 * value)} ms" for name, value in self.seconds.items())
        return f"{self.chosen.name} ({times}; blocks {number(self.ratio)} x as fast as dense, {self.rounds} rounds)"


def fastest(
    layer: IsotypicLinear | FrozenIsotypicLinear,
    example: Tensor,
    *,
    rounds: int = 7,
    compiled: bool = True,
    dense: nn.Module | None = None,
) -> Fastest:
    """Measure the executors of a layer on an example and choose one.

    Times alternate in one run, without gradients. Among blocks and among dense executors the one of least median
    counts; blocks are chosen where the median over rounds of their time over the dense one is at most ``BLOCKS_WIN``.

    Args:
        layer: The layer; nothing of it changes.
        example: An input of the batch that matters: the choice depends on it.
        rounds: Alternating rounds, at least 5.
        compiled: Whether to try ``torch.compile`` too; where it fails the reason is recorded.
        dense: The dense equivalent, where it is known already.

    Raises:
        WrongUse: Fewer than 5 rounds.

    Cost:
        Two compilations (about ten seconds each) and ``rounds`` times a few calls.
    """
    if isinstance(layer, IsotypicLinear):
        dense = layer.dense() if dense is None else dense
        layer = layer.frozen()
    elif dense is None:
        raise WrongUse("a frozen layer has no dense equivalent of its own: pass dense=")
    return choose((("blocks", layer.eval()), ("dense", dense.eval())), example, rounds=rounds, compiled=compiled)


def choose(
    pair: tuple[tuple[str, nn.Module], tuple[str, nn.Module]], example: Tensor, *, rounds: int, compiled: bool
) -> Fastest:
    """``fastest`` for any two modules of one function, each with its name: the first in blocks, the second dense.

    Raises:
        WrongUse: Fewer than 5 rounds.
    """
    if rounds < 5:
        raise WrongUse(f"{rounds} rounds: medians of fewer than 5 say little")
    with torch.no_grad():
        executors, skipped = _executors(pair, example, compiled)
        reference = pair[1][1](example)
        scale = float(reference.abs().max()) or 1.0
        difference = max(float((e.run(example) - reference).abs().max()) for e in executors) / scale
        times = alternating({e.name: e.run for e in executors}, example, rounds)
    medians = {name: statistics.median(values) for name, values in times.items()}
    blocks, dense = (
        min((e for e in executors if e.is_dense is kind), key=lambda e: medians[e.name]) for kind in (False, True)
    )
    ratio = statistics.median(d / b for d, b in zip(times[dense.name], times[blocks.name], strict=True))
    chosen = blocks if ratio * BLOCKS_WIN >= 1 else dense
    return Fastest(chosen, dense, medians, ratio, difference, rounds, torch.get_num_threads(), skipped)


def alternating(
    runs: Mapping[str, Run], example: Tensor, rounds: int, clock: Clock | None = None
) -> dict[str, list[float]]:
    """Seconds per call of several functions in turn, round after round; a first round warms up and is dropped.

    Args:
        runs: The functions.
        example: What they are called on.
        rounds: How many rounds are kept.
        clock: Wall time by default; ``time.process_time``, with one thread only, beside other work.

    Cost:
        ``rounds + 1`` times max(one call, ``LEAST_SECONDS``) of each.
    """
    clock = CLOCK if clock is None else clock
    repeats = {
        name: max(1, int(LEAST_SECONDS / max(_seconds(run, example, 1, clock), 1e-9))) for name, run in runs.items()
    }
    out: dict[str, list[float]] = {name: [] for name in runs}
    for turn in range(rounds + 1):
        for name, run in runs.items():
            seconds = _seconds(run, example, repeats[name], clock)
            if turn:
                out[name].append(seconds)
    return out


def compiled_alone(module: nn.Module) -> Run:
    """``torch.compile`` of a module, with a recompilation limit of its own.

    torch counts recompilations per line of source, over all modules of a class, and runs eagerly and in silence beyond
    eight: the ninth layer of a network that is compiled layer by layer would not be compiled. A copy of the code of
    ``forward`` under a name of its own is counted alone.
    """
    method = type(module).forward
    code = method.__code__.replace(co_name=f"forward_{next(_NUMBERS)}")
    function = types.FunctionType(code, method.__globals__, code.co_name, method.__defaults__, method.__closure__)
    return torch.compile(types.MethodType(function, module))


def _seconds(run: Run, example: Tensor, repeats: int, clock: Clock) -> float:
    _wait(example)
    start = clock()
    for _ in range(repeats):
        run(example)
    _wait(example)
    return (clock() - start) / repeats


def _wait(example: Tensor) -> None:
    if example.is_cuda:
        torch.cuda.synchronize(example.device)


def _executors(
    pair: tuple[tuple[str, nn.Module], ...], example: Tensor, compiled: bool
) -> tuple[list[Executor], dict[str, str]]:
    out, skipped = [], {}
    for name, module in pair:
        out.append(Executor(name, module, module))
        if not compiled:
            skipped[f"{name}, compiled"] = "not asked for"
            continue
        run = compiled_alone(module)
        try:
            run(example)
        except (RuntimeError, OSError) as error:
            skipped[f"{name}, compiled"] = f"torch.compile failed: {str(error).strip().splitlines()[0]}"
        else:
            out.append(Executor(f"{name}, compiled", module, run))
    return out, skipped
