r"""Which parameters can be told from the function: gauge, redundant neurons, theorem, functional dimension, verdict.

The network is reduced first. What is then decided is whether the parameters that remain are the only ones with this
function, up to the gauge of every hidden layer. A theorem that is pointwise and global decides it; a full rank of the
Jacobian says it near the given parameter only, and licenses nothing [theory 1, 3].
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn

from intertwiner.errors import CannotEmit, EmptyData, NoRule, RankUndecided
from intertwiner.identify.criteria import Criterion, criteria
from intertwiner.identify.dimension.functional import FunctionalDimension, functional_dimension
from intertwiner.identify.reducing.interval import Box
from intertwiner.identify.reducing.reduce import reduce
from intertwiner.identify.reducing.reduction import Reduction
from intertwiner.network import Network, trace
from intertwiner.verdict import Kind, Verdict

Progress = Callable[[int, int], None]

SCHEMA = "intertwiner.identifiability/1"

SMALL = 5_000
"""Parameters up to which the functional dimension is computed without being asked for."""


@dataclass(frozen=True)
class SpaceGauge:
    """The gauge of one hidden space.

    Args:
        name: The latent space.
        dimension: Its coordinates.
        group: What the architecture cannot see, in words.
        parameters: Dimension of that group: what it takes from the functional dimension.
        opaque: Why nothing is known; empty where it is.
    """

    name: str
    dimension: int
    group: str
    parameters: int
    opaque: str = ""


@dataclass(frozen=True, eq=False)
class Identifiability:
    """What is known about the parameters of a network, given its function.

    Args:
        name: What the network is called.
        parameters: Its weights.
        spaces: The gauge of every hidden space.
        reduction: The network without redundant neurons; None where it cannot be written.
        unreduced: Why not.
        criteria: Theorems that speak about the reduced network, those that decide first.
        uncovered: Why there is none.
        dimension: The functional dimension; None where it was not computed.
        undimensioned: Why not.
        verdict: Whether the reduced parameters are determined by the function up to the gauge.
        reduced: The network that the verdict is about: the reduced one, traced, or the given one.
    """

    name: str
    parameters: int
    spaces: tuple[SpaceGauge, ...]
    reduction: Reduction | None
    unreduced: str
    criteria: tuple[Criterion, ...]
    uncovered: str
    dimension: FunctionalDimension | None
    undimensioned: str
    verdict: Verdict
    reduced: Network

    @property
    def licence(self) -> Criterion | None:
        """The theorem that licenses "equivariant, so layerwise equivariant" for the reduced network, if one does."""
        return next((c for c in self.criteria if c.licenses), None)

    @property
    def redundant(self) -> int:
        """Neurons that the function does not need."""
        return len(self.reduction.removed) if self.reduction else 0

    def to_json(self) -> dict[str, Any]:
        return {
            "schema": SCHEMA,
            "network": {"name": self.name, "parameters": self.parameters},
            "gauge": [dict(vars(space)) for space in self.spaces],
            "reduction": self.reduction.to_json() if self.reduction else None,
            "criteria": [c.to_json() for c in self.criteria],
            "functional_dimension": self.dimension.to_json() if self.dimension else None,
            "verdict": self.verdict.to_json(),
            "missing": {
                name: reason
                for name, reason in (
                    ("reduction", self.unreduced),
                    ("criteria", self.uncovered),
                    ("functional_dimension", self.undimensioned),
                )
                if reason
            },
        }

    def __str__(self) -> str:
        verdict = self.verdict
        lines = [f"{verdict.kind}: {verdict.claim}", f"  {verdict.reason}"]
        lines += [f"  {self.name}, {self.parameters:,} weights"]
        lines += ["", "gauge of the hidden spaces"]
        width = max((len(s.name) for s in self.spaces), default=0)
        for s in self.spaces:
            what = s.opaque or (s.group + (f", {s.parameters} parameters" if s.parameters else ""))
            lines.append(f"  {s.name:<{width}}  {s.dimension:>5}  {what}")
        lines += ["", "redundant neurons"]
        lines += [f"  {line}" for line in (str(self.reduction) if self.reduction else self.unreduced).splitlines()]
        lines += ["", "theorems"]
        lines += [f"  {line}" for c in self.criteria for line in str(c).splitlines()] or [f"  {self.uncovered}"]
        lines.append("")
        lines += (str(self.dimension) if self.dimension else f"functional dimension: {self.undimensioned}").splitlines()
        return "\n".join(lines)


def identify(
    model: nn.Module | Network,
    data: Tensor | Sequence[Tensor] | None = None,
    *,
    example: Any = None,
    box: Box | None = None,
    dimension: bool | None = None,
    samples: int = 256,
    seed: int = 0,
    progress: Progress | None = None,
) -> Identifiability:
    """Decide which parameters of a network can be told from its function.

    Args:
        model: A module in evaluation mode, or a traced network.
        data: Inputs, one tensor per input, for the functional dimension; drawn by default.
        example: One batch of inputs, where there are no data.
        box: Bounds of the inputs on which ReLUs that never switch may be taken out; see ``reduce``.
        dimension: Whether to compute the functional dimension; by default up to 5,000 parameters.
        samples: Random inputs of the certificate of the reduction; 0 for none.
        seed: Of everything random.
        progress: Called with (inputs, rank) while the functional dimension grows.

    Returns:
        Gauge, redundant neurons, theorems with their hypotheses, functional dimension, and the verdict.

    Raises:
        NonFiniteWeights, ModelInTrainingMode, CannotTrace: As for ``trace``.
        BoxMismatch: The box does not fit the inputs.

    Cost:
        A few sorts of the weights; the functional dimension as said there.

    Example:
        >>> import torch
        >>> net = nn.Sequential(nn.Linear(2, 3), nn.Tanh(), nn.Linear(3, 1)).double().eval()
        >>> found = identify(net, example=torch.zeros(2, 2, dtype=torch.float64))
        >>> found.verdict.kind, found.licence.theorem[:13], found.dimension.dimension
        (<Kind.PROVED: 'PROVED'>, 'Sussmann 1992', 13)
    """
    network = model if isinstance(model, Network) else trace(model, data if example is None else example)
    reduction, unreduced = _reduced(network, box, samples, seed)
    remaining = network
    if reduction is not None and reduction.changed:
        remaining = trace(reduction.module, network.example, name=network.name)
    found, uncovered = criteria(remaining)
    rank, undimensioned = _dimension(network, data, dimension, seed, progress)
    verdict = _verdict(network.name, reduction, found, uncovered, rank)
    spaces = tuple(
        SpaceGauge(s.name, s.dimension, str(s.gauge), s.gauge.parameters, s.opaque)
        for s in network.latent_spaces
        if not s.given
    )
    return Identifiability(
        network.name, network.parameters, spaces, reduction, unreduced, found, uncovered, rank, undimensioned, verdict,
        remaining,
    )  # fmt: skip


def _reduced(network: Network, box: Box | None, samples: int, seed: int) -> tuple[Reduction | None, str]:
    try:
        return reduce(network, box=box, samples=samples, seed=seed), ""
    except CannotEmit as error:
        return None, f"not reduced: {error}"


def _dimension(
    network: Network, data: Any, wanted: bool | None, seed: int, progress: Progress | None
) -> tuple[FunctionalDimension | None, str]:
    if not network.parameters:
        return None, "there are no parameters"
    if wanted is False:
        return None, "not asked for"
    if wanted is None and network.parameters > SMALL:
        return None, f"{network.parameters:,} parameters: computed up to {SMALL:,} unless asked for (dimension=True)"
    try:
        return functional_dimension(network, data, seed=seed, progress=progress), ""
    except (EmptyData, NoRule, RankUndecided) as error:
        return None, str(error)


def _verdict(
    name: str,
    reduction: Reduction | None,
    found: Sequence[Criterion],
    uncovered: str,
    rank: FunctionalDimension | None,
) -> Verdict:
    licence = next((c for c in found if c.licenses), None)
    what = "the parameters" if licence is None else licence.of
    reduced = f"{name}, reduced," if reduction is not None and reduction.changed else name
    claim = f"{what} of {reduced} are determined by the function up to the gauge of every hidden layer"
    if what != "the parameters":
        claim = f"{what} of {reduced} is determined by the function up to signed permutations and scalings"
    if reduction is not None and reduction.flips and what == "the parameters":
        flip = reduction.flips[0]
        reason = (
            f"flipping neurons {list(flip.neurons)} of {flip.place} together changes nothing: the parameters are not "
            "unique, and no theorem can say so"
        )
        return Verdict(Kind.UNDECIDED, claim, reason)
    if licence is not None:
        hypotheses = {h.text: h.seen for h in licence.hypotheses}
        reason = f"{licence.theorem}: every hypothesis holds; {licence.statement}"
        return Verdict(Kind.PROVED, claim, reason, exact=True, theorem=licence.theorem, hypotheses=hypotheses)
    return Verdict(Kind.UNDECIDED, claim, "; ".join([*_open(found, uncovered), *_locally(rank)]))


def _open(found: Sequence[Criterion], uncovered: str) -> list[str]:
    """Why no theorem decides."""
    if not found:
        return [uncovered]
    out = []
    for c in found:
        wrong = [f"{h.text}: {'fails' if h.holds is False else 'not checked'} ({h.seen})"
                 for h in c.hypotheses if h.holds is not True]  # fmt: skip
        out.append(f"{c.theorem} [{c.reach}]" + (f": {'; '.join(wrong)}" if wrong else " licenses nothing"))
    return out


def _locally(rank: FunctionalDimension | None) -> list[str]:
    if rank is None:
        return []
    if rank.verdict.is_proved and rank.dimension == rank.parameters - rank.gauge:
        count = f"{rank.dimension} = {rank.parameters} - {rank.gauge}"
        return [f"locally they are: exact rank {count}, which licenses nothing"]
    return [f"functional dimension {rank.dimension} of {rank.parameters}, gauge {rank.gauge}"]
