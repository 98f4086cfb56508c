"""The verdict on the whole network: PROVED from weight relations, REFUTED by an input, UNDECIDED with the reason.

A witness is looked for in float64, where the network is the exact function of its stored weights up to 1e-15. What
stands against it is the noise floor: how far the outputs move when every weight is changed by one rounding of its
own type, or what arithmetic alone changes. A defect inside that floor refutes nothing, however the relations came out.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor, fx

from intertwiner.audit.identifiability import Rewritten
from intertwiner.identify import Criterion
from intertwiner.network import Network
from intertwiner.numerics.tolerance import ABOVE_NOISE, LEAST_FLOOR
from intertwiner.symmetry import BoundSymmetry
from intertwiner.transport import Carried
from intertwiner.verdict import Kind, Verdict, Witness

Inputs = tuple[Tensor, ...]


def judge(
    network: Network,
    symmetry: BoundSymmetry,
    carried: Carried,
    *,
    box: float,
    witness: Witness | None,
    again: Rewritten | None = None,
    refuting: Criterion | None = None,
) -> Verdict:
    """Decide what may be said.

    Args:
        network: The traced network.
        symmetry: The symmetry of its task.
        carried: What the weights say.
        box: The input box of the bound.
        witness: An input at which the claim fails, if one was found.
        again: The network rewritten so that its weights carry the action, where its own do not.
        refuting: The theorem by which a network whose weights carry no action is not equivariant.
    """
    group = symmetry.group.name
    claim = f"f(g x) = g f(x) for every g in {group}, and every layer is equivariant for an action on its latent space"
    if carried.closes:
        return _proved(claim, carried, box)
    if again is not None:
        proved = _proved(claim.replace("every layer", f"with {again.how} every layer"), again.carried, box)
        if again.exact:
            return proved
        reason = f"{proved.reason}; the rewritten network is the same function by relations between weights, rounded"
        return replace(proved, reason=reason, exact=False, bound=None, box="")
    why = _why_not(network, carried)
    hypotheses = {h.text: h.seen for h in refuting.hypotheses} if refuting is not None else {}
    theorem = refuting.theorem if refuting is not None else ""
    if refuting is not None:
        why += f"; {refuting.of} being identifiable, an equivariant network would carry one"
    if witness is not None:
        reason = (
            f"an input changes the answer by {witness.defect:.2g} under {witness.element}, "
            f"rounding explains {witness.noise_floor:.2g}"
        )
        return Verdict(
            Kind.REFUTED, f"f(g x) = g f(x) for every g in {group}", f"{reason}; {why}", witness=witness,
            theorem=theorem, hypotheses=hypotheses,
        )  # fmt: skip
    nothing = "; no input was found at which it fails beyond rounding"
    return Verdict(Kind.UNDECIDED, claim, why + nothing, theorem=theorem, hypotheses=hypotheses)


def _proved(claim: str, carried: Carried, box: float) -> Verdict:
    if carried.exact:
        reason = "every relation between the weights holds bit for bit, from the input to the output"
        return Verdict(Kind.PROVED, claim, reason, exact=True, bound=0.0, box=f"|x| <= {box:g}")
    residual = max([r.residual for r in carried.relations.values()] + [o.residual for o in carried.outputs.values()])
    reason = (
        f"every relation between the weights holds within rounding (largest relative residual {residual:.2g}): "
        "the network is this close to an exactly equivariant one"
    )
    bound = carried.bound if np.isfinite(carried.bound) else None
    return Verdict(Kind.PROVED, claim, reason, bound=bound, box=f"|x| <= {box:g}")


def _why_not(network: Network, carried: Carried) -> str:
    if carried.opaque:
        name, reason = next(iter(carried.opaque.items()))
        return f"the weights cannot be followed through {network.node(name).tap or name}: {reason}"
    broken = [r for r in carried.relations.values() if not r.complete]
    if broken:
        tap = network.node(broken[0].name).tap
        missing = max(len(f) for f in broken[0].failed)
        return (
            f"the weights carry no action at {tap}: {missing} neurons have no partner, largest relative residual "
            f"{broken[0].residual:.2g}"
        )
    open_ends = [o for o in carried.outputs.values() if not o.closes]
    if open_ends:
        return f"the last layer does not close at {open_ends[0].name}: relative residual {open_ends[0].residual:.2g}"
    return "the weights carry no action to the output"


@dataclass(frozen=True)
class WitnessSearch:
    """Looks for an input at which a network is not equivariant, in float64.

    Args:
        network: The traced network.
        symmetry: The symmetry of its task.
        seed: Of the perturbation that measures the noise floor.
    """

    network: Network
    symmetry: BoundSymmetry
    seed: int = 0

    def best(self, batches: Iterable[Inputs]) -> Witness | None:
        """The sample of some batches that stands highest above the noise under a generator, if it does.

        The defect of a sample is the largest difference of an output entry, relative to the largest entry of that
        output on the batch.
        """
        exact, nudged = self.network.to(torch.float64).function(), _nudged(self.network, self.seed).function()
        group, worst = self.symmetry.group, None
        for inputs in batches:
            wide = tuple(x.to(torch.float64) if x.is_floating_point() else x for x in inputs)
            here, _ = exact(wide)
            floor = max(float(_sizes(nudged(wide)[0], here).max()), LEAST_FLOOR)
            for g in group.generators:
                there, _ = exact(self.symmetry.act_on_input(g, wide))
                gap = _sizes(there, self.symmetry.act_on_output(g, here))
                place = int(gap.argmax())
                if worst is None or float(gap[place]) / floor > worst.defect / worst.noise_floor:
                    sample = {
                        spec.name: x[place : place + 1].cpu().numpy()
                        for spec, x in zip(self.network.inputs, inputs, strict=True)
                    }
                    worst = Witness(sample, group.element_name(g), float(gap[place]), floor)
        return worst if worst is not None and worst.defect > ABOVE_NOISE * worst.noise_floor else None


def _sizes(values: Sequence[Tensor], others: Sequence[Tensor]) -> Tensor:
    """Per sample, the largest difference over the outputs, each relative to its own largest entry."""
    worst = []
    for value, other in zip(values, others, strict=True):
        scale = other.abs().max().clamp_min(torch.finfo(torch.float64).tiny)
        worst.append((value - other).abs().reshape(len(value), -1).amax(1) / scale)
    return torch.stack(worst).amax(0)


def _nudged(network: Network, seed: int) -> Network:
    """The float64 copy with every weight changed by up to one rounding of the network's own type."""
    wide = network.to(torch.float64)
    eps = torch.finfo(network.dtype).eps
    generator = torch.Generator().manual_seed(seed)
    root = torch.nn.Module()
    for held, tensor in wide.module.named_buffers():
        if tensor.is_floating_point():
            noise = 2 * torch.rand(tensor.shape, generator=generator, dtype=torch.float64) - 1
            tensor = tensor * (1 + eps * noise.to(tensor.device))
        root.register_buffer(held, tensor)
    graph = fx.Graph()
    graph.output(graph.graph_copy(wide.module.graph, {}))
    return replace(wide, module=fx.GraphModule(root, graph), _compiled={})
