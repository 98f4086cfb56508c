"""A twin under a budget by choosing orbits: the layouts that the network allows, and the better of them on data.

Channels may stand in orbits of any stabiliser that all read each other, or copy by copy (``copies``). Which is nearer
to the group average at a cost cannot be told beforehand: both are built, and compared on the data.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch

from intertwiner.errors import CannotRewrite
from intertwiner.network import node as ir
from intertwiner.rewrite.build import Choice
from intertwiner.rewrite.copies import copied
from intertwiner.rewrite.cost import block_multiply_adds, can_be_blocks, twin_multiply_adds
from intertwiner.rewrite.graph_build import GraphBuilt, build_graph
from intertwiner.rewrite.graph_task import GraphTask
from intertwiner.rewrite.measure import Distance, first_tensor
from intertwiner.rewrite.shares import Curve, Price, bought, widths_within
from intertwiner.rewrite.survey import Survey
from intertwiner.rewrite.teacher import average_outputs
from intertwiner.rewrite.twin import TwinGraph

WIDE = 256
"""Least hidden width at which isotypic blocks were ever seen to beat dense layers."""
STEP = 0.98
"""By what a share shrinks where orbits with stabilisers make blocks dearer than regular ones."""
JUDGED = 1024
"""Samples on which layouts are compared."""
AHEAD = 2.0
"""Widths up to so many times those of a budget are looked at before it is spent."""


@dataclass(frozen=True, eq=False)
class Selected:
    """A twin under a budget.

    Args:
        built: The twin and how it came about.
        blocks: Layers that run in isotypic blocks.
        distance: From the group average on some samples; None where there was nothing to compare with.
    """

    built: GraphBuilt
    blocks: tuple[str, ...]
    distance: float | None = None


def selected(task: GraphTask, most: float, choice: Choice) -> Selected:
    """The best twin of at most so many multiply-adds.

    Args:
        task: What is rewritten.
        most: Multiply-adds of one sample.
        choice: How orbits are chosen and layers run.

    Raises:
        BudgetTooSmall: No orbit fits.
        DataTooSmall: The data do not determine a refit.
        CannotRewrite: No layout can be chosen from; the message is that of the first.
    """
    apart = copied(task)
    if not apart:
        return _of_layout(task, most, choice, frozenset())
    found: list[Selected] = []
    failed: CannotRewrite | None = None
    for copies in (apart, frozenset()):
        try:
            one = _of_layout(task, most, choice, copies)
        except CannotRewrite as error:
            failed = failed or error
            continue
        found.append(replace(one, distance=_distance(task, one.built.twin)))
    if not found:
        raise failed or CannotRewrite("no layout of channels fits. Nothing was rewritten.")
    return min(found, key=lambda one: one.distance or 0.0)


def _of_layout(task: GraphTask, most: float, choice: Choice, copies: frozenset[str]) -> Selected:
    """Shares of the widths first; then the same budget spent orbit by orbit, where all orbits read each other."""
    in_blocks = wants_blocks(task, choice)
    price, allowed = Price(task, in_blocks, copies), most
    # Moments do not depend on the budget.
    survey = task.memory.setdefault(("survey", choice.cosine, bool(copies)), Survey(task, choice.cosine, bool(copies)))
    while True:
        widths = widths_within(price, allowed)
        if not copies and not in_blocks:
            order = task.symmetry.group.order
            wide = {n: min(int(AHEAD * w), order * task.hidden[n]) for n, w in widths.items()}
            offers = survey.offers(wide)
            curves = {
                n: Curve(o.chosen.width, tuple(1 - e for e in o.chosen.explained)) for n, o in offers.items()
            }  # fmt: skip
            if price.of({n: c.width[0] for n, c in curves.items()}) <= allowed:
                widths = bought(price, curves, allowed)
        built = build_graph(task, survey.offers(widths), choice.cosine)
        blocks = _blocks(built.twin) if in_blocks else ()
        cost = twin_multiply_adds(built.twin, blocks)
        if cost <= most:
            return Selected(built, blocks)
        allowed *= min(STEP, most / cost)


def wants_blocks(task: GraphTask, choice: Choice) -> bool:
    """Whether fully connected layers are to run in isotypic blocks, and to be counted so."""
    if choice.blocks != "auto":
        return choice.blocks == "always"
    dense = all(isinstance(r.node.op, ir.Linear) for r in task.readers)
    return dense and min(task.hidden.values(), default=0) >= WIDE


def _blocks(twin: TwinGraph) -> tuple[str, ...]:
    """The layers that cost less in blocks."""
    out = []
    for name, node in twin.graph.items():
        if isinstance(node.op, (ir.Linear, ir.Conv)) and can_be_blocks(twin, name) is None:
            rows, columns = node.op.weight.shape[:2]
            if block_multiply_adds(twin.actions[node.inputs[0]], twin.actions[name]) < rows * columns:
                out.append(name)
    return tuple(out)


def _distance(task: GraphTask, twin: TwinGraph) -> float:
    """From the group average, on some samples."""
    module, found, seen = twin.module(), Distance(), 0
    for (x,) in task.batches():
        with torch.no_grad():
            ours = first_tensor(module(x.to(task.network.dtype)))
        mean = average_outputs(task.network, task.symmetry, x)
        found.add(ours.double().flatten(1).cpu().numpy(), mean.flatten(1).cpu().numpy())
        seen += len(x)
        if seen >= JUDGED:
            break
    return found.value
