"""By which method a twin is made: the lift where it fits the budget, else orbits selected and refitted.

Any graph is lifted and selected from as long as every element of G can be applied to the data. For larger groups only
chains are covered: there generators and factors suffice (``build``), S5 x S5 included.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import torch

from intertwiner.audit.neuron_orbits import ALL_ELEMENTS
from intertwiner.audit.subject import Subject
from intertwiner.errors import BudgetTooSmall, CannotRewrite
from intertwiner.identify.chain import as_chain
from intertwiner.network import Network
from intertwiner.network import node as ir
from intertwiner.numerics.tolerance import tolerance
from intertwiner.rewrite.assemble import rule_of
from intertwiner.rewrite.budget import least_cost
from intertwiner.rewrite.build import Choice, LayerReport, build
from intertwiner.rewrite.chain_graph import chain_graph
from intertwiner.rewrite.copies import copied
from intertwiner.rewrite.cost import multiply_adds
from intertwiner.rewrite.fastest_twin import fastest_twin
from intertwiner.rewrite.fold import folded
from intertwiner.rewrite.graph_build import GraphBuilt
from intertwiner.rewrite.graph_lift import lift_graph
from intertwiner.rewrite.graph_task import GraphTask
from intertwiner.rewrite.layers import TwinChain
from intertwiner.rewrite.lift import lift
from intertwiner.rewrite.samples import Samples, samples_of
from intertwiner.rewrite.selected import Selected, selected, wants_blocks
from intertwiner.rewrite.shares import Price
from intertwiner.rewrite.subgroups import require_positions
from intertwiner.rewrite.subject import task_from
from intertwiner.rewrite.twin import TwinGraph

TIMED = 256
"""Rows of the batch on which blocks and dense layers are timed."""


@dataclass(frozen=True, eq=False)
class Made:
    """A twin before it is certified.

    Args:
        twin: The twin in float64.
        method: "lift" or "selected".
        layers: How the hidden layers came about.
        blocks: Layers that run in isotypic blocks.
        samples: For a chain, the symmetrised data.
        chain: For a chain, the twin's layers.
    """

    twin: TwinGraph
    method: str
    layers: tuple[Mapping[str, Any], ...]
    blocks: tuple[str, ...] = ()
    samples: Samples | None = None
    chain: TwinChain | None = None


@dataclass(frozen=True, eq=False)
class Plan:
    """What a twin is to be.

    Args:
        budget: Largest number of multiply-adds, relative to the original.
        choice: How orbits are selected and layers run.
        has_data: Whether the data are the user's; nothing is selected on noise.
        seed: Of everything random.
        memory: What plans that differ in the budget only share.
    """

    budget: float
    choice: Choice
    has_data: bool
    seed: int = 0
    memory: dict[Any, Any] = field(default_factory=dict)


def made(subject: Subject, plan: Plan) -> Made:
    """The twin of a network under a budget.

    Args:
        subject: The network with its symmetry and data.
        plan: What it is to be.

    Raises:
        CannotRewrite: A network or symmetry that is not covered, or selection would be needed and there are no data.
        BudgetTooSmall: No orbit fits the budget; the message names the least.
        DataTooSmall: The data do not determine the refit.
    """
    network = folded(subject.network)
    _one_tensor(network)
    chain = as_chain(subject.network)
    # A chain is lifted by its layers, which need no positions; so is one that the graph does not cover.
    if not isinstance(chain, str):
        return _chain(subject, plan)
    return _graph(subject, network, plan)


def _one_tensor(network: Network) -> None:
    count = len(network.inputs), len(network.outputs)
    if count != (1, 1):
        raise CannotRewrite(
            f"{network.name} takes {count[0]} tensors and returns {count[1]}: only networks from one tensor to one "
            "are rewritten.\n  Wrap it so that it does. Nothing was rewritten."
        )


def _chain(subject: Subject, plan: Plan) -> Made:
    task = task_from(subject)
    network, original = subject.network, multiply_adds(subject.network.graph)
    most = plan.budget * original
    _affordable(least_cost(task.chain.widths), most, original)
    samples = samples_of(task, plan.seed)
    try:
        lifted = lift(
            task.chain, task.rho_in, task.rho_out, tolerance=tolerance(network.dtype), width_limit=int(most),
            cost_limit=most,
        )  # fmt: skip
        if lifted.chain.multiply_adds <= most:
            notes = [
                {"name": layer.name, "live": live, "joined": joined}
                for layer, live, joined in zip(task.chain.hidden, lifted.live, lifted.joined, strict=True)
            ]
            return Made(chain_graph(network, lifted.chain), "lift", tuple(notes), (), samples, lifted.chain)
        reason = f"the group average costs {lifted.chain.multiply_adds} multiply-adds, the budget allows {most:.0f}"
    except CannotRewrite as error:
        reason = _first_line(error)
    _require_data(plan.has_data, reason)
    if subject.symmetry.group.order <= ALL_ELEMENTS:
        return _selected(subject, folded(network), plan)
    built = build(samples, plan.budget, plan.choice)
    notes = tuple(_layer_note(r) for r in built.reports)
    return Made(chain_graph(network, built.chain), "selected", notes, (), samples, built.chain)


def _graph(subject: Subject, network: Network, plan: Plan) -> Made:
    for node in network.nodes[:-1]:
        rule_of(node)
    original = multiply_adds(subject.network.graph)
    most = plan.budget * original
    try:
        twin = lift_graph(
            network, subject.symmetry, tolerance=tolerance(network.dtype), growth=max(2.0, 2 * plan.budget)
        )
        cost = multiply_adds(twin.graph)
        if cost <= most:
            return Made(twin, "lift", tuple(_widths_note(network, twin)))
        reason = f"the group average costs {cost} multiply-adds, the budget allows {most:.0f}"
    except CannotRewrite as error:
        # Too wide, or no network of this form: a matter of budget. Anything else stops the selection as well.
        require_positions(network, subject.symmetry)
        reason = _first_line(error)
    _require_data(plan.has_data, reason)
    return _selected(subject, network, plan)


def _selected(subject: Subject, network: Network, plan: Plan) -> Made:
    group, choice, original = subject.symmetry.group, plan.choice, multiply_adds(subject.network.graph)
    most = plan.budget * original
    if group.order > ALL_ELEMENTS:
        raise CannotRewrite(
            f"{group.name} has {group.order} elements: orbits of channels are selected for at most {ALL_ELEMENTS}, "
            "beyond that only in chains of linear layers.\n  Give a subgroup. Nothing was rewritten."
        )
    # A sorted data set must not be read from one end.
    stream = replace(subject.stream, shuffle=plan.seed)
    task = GraphTask(network, subject.symmetry, lambda: iter(stream), plan.seed, plan.memory)
    price = Price(task, wants_blocks(task, choice), copied(task))
    _affordable(price.of(dict.fromkeys(task.hidden, 1)), most, original)
    found = selected(task, most, choice)
    if found.blocks and choice.blocks == "auto" and not _blocks_win(subject, found):
        found = selected(task, most, replace(choice, blocks="never"))
    return Made(found.built.twin, "selected", tuple(_space_notes(task, found.built)), found.blocks)


def _blocks_win(subject: Subject, found: Selected) -> bool:
    """Whether the twin runs faster in blocks than dense on this machine, as modules are called, uncompiled."""
    (x,) = next(iter(subject.stream))
    copies = -(-TIMED // len(x))
    batch = torch.cat([x] * copies)[:TIMED].to(subject.network.dtype)
    group = subject.symmetry.group
    timed = fastest_twin(found.built.twin, batch, choices={"blocks": found.blocks}, compile=False, group=group)
    return bool(timed.blocks)


def _affordable(least: float, most: float, original: int) -> None:
    if least > most:
        raise BudgetTooSmall(
            f"a budget of {most / original:g} is {most:.0f} multiply-adds; with one channel in every hidden layer the "
            f"network needs {least:.0f}: the least budget is {least / original:.3g}. Nothing was rewritten."
        )


def _require_data(has_data: bool, reason: str) -> None:
    if not has_data:
        raise CannotRewrite(
            f"{reason}.\n  Selecting orbits needs data: give data=, in the form that the network sees. "
            "Nothing was rewritten."
        )


def _first_line(error: Exception) -> str:
    return str(error).split("\n")[0].removesuffix("Nothing was rewritten.").rstrip(" .")


def _layer_note(report: LayerReport) -> dict[str, Any]:
    return {
        "name": report.name,
        "orbits_offered": list(report.offered),
        "orbits_chosen": list(report.chosen),
        "explained": list(report.explained),
        "refit_rank": report.fit.rank,
        "refit_condition": report.fit.condition,
        "refit_error": report.fit.error,
    }


def _space_notes(task: GraphTask, built: GraphBuilt) -> list[dict[str, Any]]:
    out = []
    for space, offer in built.offers.items():
        fits = [built.fits[r.node.name] for r in task.readers if any(n == space for n, _, _ in r.owners)]
        out.append({
            "name": space,
            "orbits_offered": offer.sizes.tolist(),
            "orbits_chosen": [int(offer.sizes[o]) for o in offer.chosen.orbits],
            "explained": list(offer.chosen.explained),
            "refit_rank": min(f.rank for f in fits),
            "refit_condition": max(f.condition for f in fits),
            "refit_error": max(f.error for f in fits),
        })  # fmt: skip
    return out


def _widths_note(network: Network, twin: TwinGraph) -> list[dict[str, Any]]:
    out = []
    for name, node in network.graph.items():
        if isinstance(node.op, (ir.Linear, ir.Conv)):
            rows = twin.graph[name].op.weight.shape[0]  # type: ignore[attr-defined]
            out.append({"name": (node.tap or name).removesuffix(":out"), "width": rows})
    return out
