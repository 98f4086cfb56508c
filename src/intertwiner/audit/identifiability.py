"""Reduce first: redundant neurons and bypasses hide actions, and the theorem speaks about what remains.

Where the weights of a network carry no action to the output, its redundant neurons are taken out and the action is
carried again; where that fails too, ReLU layers are brought to their even form ``c |z| + A x``, in which flips that a
bypass hides are signs [theory 1].
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from intertwiner.audit.weights import weight_action
from intertwiner.errors import CannotEmit
from intertwiner.identify import Criterion, Identifiability, even_form, reduce
from intertwiner.identify.reducing.reduction import KINDS
from intertwiner.network import Network, PointwiseOp, trace
from intertwiner.numerics.tolerance import KEPT_FUNCTION
from intertwiner.symmetry import BoundSymmetry
from intertwiner.transport import Carried, carry

CHECKED = 16
"""Inputs on which a rewritten network that carries the action is compared with the original."""

REDUCED, EVEN = "redundant neurons taken out", "ReLU layers in their even form c |z| + A x"


@dataclass(frozen=True, eq=False)
class Rewritten:
    """The network in other parameters with the same function, and what its weights say.

    Args:
        how: What was done, in words.
        network: The rewritten network.
        carried: The action carried through it.
        exact: The rewriting itself rounded nothing.
    """

    how: str
    network: Network
    carried: Carried
    exact: bool


def carry_again(
    found: Identifiability, network: Network, symmetry: BoundSymmetry, carried: Carried, *, tolerance: float, box: float
) -> tuple[Rewritten | None, Criterion | None]:
    """Look for the action of a network whose weights carry none, in other parameters with the same function.

    Args:
        found: What is known about its parameters.
        network: The network.
        symmetry: The symmetry of its task.
        carried: What its own weights say.
        tolerance: As for ``carry``.
        box: As for ``carry``.

    Returns:
        The first rewriting whose weights carry the action to the output; or else the theorem by which the network
        cannot be equivariant: one that says that the parameters that were searched in vain are identifiable.
    """
    searched = {"the parameters": carried}
    for how, what, other, exact in _candidates(found, network):
        again = carry(other, symmetry, tolerance=tolerance, box=box)
        if again.closes and _same_function(network, how == EVEN):
            return Rewritten(how, other, again, exact), None
        searched[what] = again
    licence = found.licence
    if licence is None or licence.of not in searched or searched[licence.of].opaque:
        return None, None
    return None, licence


def _same_function(network: Network, even: bool) -> bool:
    """A check on the program that rewrote the network, before its word is taken."""
    return reduce(network, even=even, samples=CHECKED).certificate.relative <= KEPT_FUNCTION


def _candidates(found: Identifiability, network: Network) -> Iterator[tuple[str, str, Network, bool]]:
    """How, what kind of parameters, the network, and whether nothing was rounded."""
    if found.reduced is not network and found.reduction is not None:
        unread = all(r.kind == "unread" for r in found.reduction.removed)
        yield REDUCED, "the parameters", found.reduced, unread and not found.reduction.even
    if any(isinstance(n.op, PointwiseOp) and n.op.pointwise.bypass for n in network.nodes):
        try:
            even = even_form(network, samples=0)
        except CannotEmit:
            return
        if any(not why for why in even.even.values()):
            yield EVEN, "the even form", trace(even.module, network.example, name=network.name), False


def identifiability_record(found: Identifiability, again: Rewritten | None, symmetry: BoundSymmetry) -> dict[str, Any]:
    """The part of the audit record; see docs/audit-schema.md."""
    reduction, group = found.reduction, symmetry.group
    counts = Counter((r.place, r.kind) for r in reduction.removed) if reduction else Counter()
    representations = {}
    if again is not None:
        for name in again.carried.relations:
            action = weight_action(group, again.carried, name).representation
            if action is not None:
                representations[again.network.node(name).tap or name] = str(action)
    return {
        "applies": found.licence is not None,
        "verdict": {
            "kind": str(found.verdict.kind), "claim": found.verdict.claim, "reason": found.verdict.reason,
        },
        "neurons": list(reduction.neurons) if reduction else None,
        "removed": [
            {"tap": place, "kind": KINDS[kind], "count": count} for (place, kind), count in counts.items()
        ],
        "gauge": [
            {"space": s.name, "dimension": s.dimension, "group": s.opaque or s.group, "parameters": s.parameters}
            for s in found.spaces
        ],
        "theorems": [
            {
                "theorem": c.theorem, "reach": str(c.reach), "statement": c.statement, "holds": c.holds,
                "hypotheses": {h.text: str(h).removeprefix(f"{h.text}: ") for h in c.hypotheses},
            }
            for c in found.criteria
        ],
        "rewritten": again.how if again is not None else "",
        "representations": representations,
        "note": "; ".join(part for part in (found.unreduced, found.uncovered) if part),
    }  # fmt: skip
