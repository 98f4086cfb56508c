"""Functions timed in turn on this machine, and the compiled form of a module that counts its own recompilations.

Fewer multiply-adds are no promise of time (theory section 7), so what is fastest is measured.
"""

from __future__ import annotations

import itertools
import time
import types
from collections.abc import Callable, Mapping

import torch
from torch import Tensor, nn

LEAST_SECONDS = 1e-2
"""A round calls a layer as often as fits in about this time, at least once."""

Run = Callable[[Tensor], Tensor]
Clock = Callable[[], float]
CLOCK: Clock = time.perf_counter
_NUMBERS = itertools.count()


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
