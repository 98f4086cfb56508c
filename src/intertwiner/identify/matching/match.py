r"""Are two networks of one architecture the same function? And if only nearly, how are they aligned?

PROVED: followed side by side from the input, the weights agree up to changes of coordinates that the architecture
cannot see, bit for bit or within ``TOLERANCE[dtype]`` of the row norm, with the bound on the outputs that follows.
REFUTED: an input at which they differ by more than rounding. UNDECIDED: neither, e.g. because a bypass activation can
hide flipped neurons (theory 1), or because an operator has no rule.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from itertools import islice
from typing import Any

import numpy as np
from torch import Tensor, nn

from intertwiner.errors import EmptyData, NotInGauge, WrongUse
from intertwiner.gauge import GaugeElement
from intertwiner.identify.matching.architecture import check_same_architecture
from intertwiner.identify.matching.barrier import Barrier, Batches, barrier
from intertwiner.identify.matching.elements import elements_of
from intertwiner.identify.matching.move import moved
from intertwiner.identify.matching.nearly import Alignment, by_data, by_weights
from intertwiner.identify.matching.probes import probes
from intertwiner.identify.matching.witness import Search
from intertwiner.network import Network, trace
from intertwiner.numerics.tolerance import tolerance as tolerance_of
from intertwiner.transport.pair import Paired, pair
from intertwiner.verdict import Kind, Verdict, Witness

CLAIM = "f_a(x) = f_b(x) for every input x"

MOST_BATCHES = 32
"""Batches that are read of an iterable of data."""

PROBES = 256
"""Random inputs where there are no data."""


@dataclass(frozen=True, eq=False)
class Match:
    """Two networks compared.

    Args:
        verdict: Whether they are the same function.
        elements: By latent space, the gauge element from the first network to the second: writers get ``M W``. Proved
            ones where ``how`` is "proof", otherwise the nearest that were found.
        how: "proof", "weights", "data", or "" where nothing was aligned.
        residuals: By tap, how far the second network is from the moved first one: the largest distance of a row from
            its partner relative to the row for "proof", its root mean square for "weights", the share of variance that
            is left for "data".
        barrier: The loss on the straight line between the first network and ``aligned()``; None where it was not asked
            for, or where the networks are proved to be the same.
        notes: What is not unique or could not be aligned.
    """

    verdict: Verdict
    elements: Mapping[str, GaugeElement]
    how: str
    residuals: Mapping[str, float]
    barrier: Barrier | None = None
    notes: tuple[str, ...] = ()
    _second: nn.Module | Network | None = field(default=None, repr=False)
    _networks: tuple[Network, Network] | None = field(default=None, repr=False)

    def aligned(self) -> nn.Module:
        """The second network in the coordinates of the first: a deep copy with the same state_dict keys.

        Raises:
            NotInGauge: An element leaves a constant that no bias takes up.
            WrongUse: The record was read from a file and holds no networks.
        """
        if self._second is None or self._networks is None:
            raise WrongUse("this record holds no networks, so there is nothing to move")
        first, second = self._networks
        # The modules may have other names in the second network: spaces correspond by their order.
        names = {a.name: b.name for a, b in zip(first.latent_spaces, second.latent_spaces, strict=True)}
        back = {names[name]: element.inverse() for name, element in self.elements.items()}
        return moved(self._second, second, back)

    def to_json(self) -> dict[str, Any]:
        return {
            "verdict": self.verdict.to_json(),
            "how": self.how,
            "elements": {name: element.to_json() for name, element in self.elements.items()},
            "residuals": dict(self.residuals),
            "barrier": self.barrier.to_json() if self.barrier else None,
            "notes": list(self.notes),
        }

    @classmethod
    def from_json(cls, record: Mapping[str, Any]) -> Match:
        line = record["barrier"]
        return cls(
            Verdict.from_json(record["verdict"]),
            {name: GaugeElement.from_json(element) for name, element in record["elements"].items()},
            record["how"],
            dict(record["residuals"]),
            line and Barrier(line["height"], tuple(line["losses"]), tuple(line["points"]), line["measure"],
                             line["samples"]),
            tuple(record["notes"]),
        )  # fmt: skip

    def __str__(self) -> str:
        lines = [str(self.verdict)]
        if self.verdict.bound is not None:
            lines.append(f"outputs differ by at most {self.verdict.bound:.3g} for {self.verdict.box}")
        if self.how:
            lines.append(f"aligned by {self.how}:" if self.how != "proof" else "gauge element from a to b:")
        width = max((len(name) for name in (*self.elements, *self.residuals)), default=0)
        for name, element in self.elements.items():
            lines.append(f"  {name:<{width}}  {element}")
        if self.residuals:
            lines.append("residual by tap:")
        lines += [f"  {name:<{width}}  {value:.3g}" for name, value in self.residuals.items()]
        if self.barrier is not None:
            b = self.barrier
            lines.append(
                f"barrier on the straight line: {b.height:.3g} ({b.measure} {b.losses[0]:.3g} and {b.losses[-1]:.3g} "
                f"at the ends, {b.samples} samples)"
            )
        return "\n".join([*lines, *(f"note: {note}" for note in self.notes)])


def match(
    a: nn.Module | Network,
    b: nn.Module | Network,
    data: Any = None,
    *,
    example: Any = None,
    loss: Callable[[Any, Any], Tensor] | None = None,
    box: float = 1.0,
    tolerance: float | None = None,
    align: bool = True,
    seed: int = 0,
) -> Match:
    """Compare two networks of one architecture.

    Args:
        a: A module in evaluation mode, or a traced network.
        b: Another one of the same architecture.
        data: A tensor, a tuple of tensors (one per input), or an iterable of such batches, of which 32 are read. With
            ``loss`` the last tensor of a batch is the target.
        example: What ``trace`` needs; a batch of the data by default.
        loss: ``loss(outputs, target)``, a mean over the batch, for the barrier.
        box: The bound of a proof covers inputs with ``|x| <= box``.
        tolerance: Largest residual of a row, relative to the row, that counts as rounding; by dtype if left out.
        align: Whether networks that are not proved to be the same are aligned, and the barrier measured.
        seed: Of drawn inputs and of the nudge that measures the noise floor.

    Returns:
        The verdict, the gauge element by latent space, the residual by tap, and the barrier.

    Raises:
        ArchitectureMismatch: The networks have different operators or shapes; the message says where.
        NonFiniteWeights: NaN or infinity among the weights.
        ModelInTrainingMode: Dropout or batch norm in training mode.

    Cost:
        Two traces and one sort of the weights per layer where the networks are the same; a search for a witness in
        float64 where they are not, and one assignment per latent space, ``O(n^3)``, for the alignment.

    Example:
        >>> import torch
        >>> a = nn.Sequential(nn.Linear(1, 2), nn.Tanh(), nn.Linear(2, 1)).double()
        >>> b = nn.Sequential(nn.Linear(1, 2), nn.Tanh(), nn.Linear(2, 1)).double()
        >>> with torch.no_grad():
        ...     _ = b[0].weight.copy_(-a[0].weight.flip(0)), b[0].bias.copy_(-a[0].bias.flip(0))
        ...     _ = b[2].weight.copy_(-a[2].weight.flip(1)), b[2].bias.copy_(a[2].bias)
        >>> same = match(a, b, example=torch.zeros(2, 1, dtype=torch.float64))
        >>> same.verdict.is_proved, same.verdict.exact, same.elements["0"].matrix
        (True, True, Monomial(2: (0 1), signed))
    """
    batches = batches_of(data, labelled=loss is not None)
    if example is None and batches:
        example = batches[0][0]
    first, second = (m if isinstance(m, Network) else trace(m, example) for m in (a, b))
    check_same_architecture(first, second)
    allowed = max(tolerance_of(first.dtype), tolerance_of(second.dtype)) if tolerance is None else tolerance
    paired = pair(first, second, tolerance=allowed, box=box)
    if paired.closes:
        return _proved((first, second), b, paired, box=box, tolerance=allowed)
    witness = Search(first, second, seed).find([inputs for inputs, _ in batches])
    verdict = _not_proved(first, paired, witness)
    if not align:
        return Match(verdict, {}, "", _residuals(first, paired), _second=b, _networks=(first, second))
    return _aligned(a, b, (first, second), verdict, batches, loss=loss, tolerance=allowed, seed=seed)


def _proved(
    networks: tuple[Network, Network], b: nn.Module | Network, paired: Paired, *, box: float, tolerance: float
) -> Match:
    first = networks[0]
    worst = max(
        [r.worst for r in paired.relations.values() if r.complete] + [o.residual for o in paired.outputs.values()]
    )
    inside = f"|x| <= {box:g}"
    if paired.exact:
        reason = "every relation between the weights of the two holds bit for bit, from the input to the output"
        verdict = Verdict(Kind.PROVED, CLAIM, reason, exact=True, bound=0.0, box=inside)
    else:
        reason = (
            f"every relation between the weights of the two holds within rounding (largest relative residual "
            f"{worst:.2g}, tolerance {tolerance:g}): b is this close to a network that is the same function as a"
        )
        bound = paired.bound if np.isfinite(paired.bound) else None
        verdict = Verdict(Kind.PROVED, CLAIM, reason, bound=bound, box=inside)
    found = elements_of(first, paired.pictures, paired.relations, tolerance)
    elements = {name: part.element for name, part in found.items() if part.element is not None}
    notes = [f"{name}: {part.note}" for name, part in found.items() if part.note]
    notes += [
        f"{first.node(name).tap or name}: neurons are equal up to the gauge or constant; partners are not unique"
        for name, relation in paired.relations.items()
        if relation.joined
    ]
    return Match(verdict, elements, "proof", _residuals(first, paired), None, tuple(notes), b, networks)


def _residuals(first: Network, paired: Paired) -> dict[str, float]:
    out = {first.node(name).tap or name: relation.worst for name, relation in paired.relations.items()}
    return out | {name: relation.residual for name, relation in paired.outputs.items()}


def _not_proved(first: Network, paired: Paired, witness: Witness | None) -> Verdict:
    why, bypass = _why_not(first, paired)
    if witness is not None:
        reason = (
            f"an input changes the answer by {witness.defect:.2g} of its largest entry, rounding explains "
            f"{witness.noise_floor:.2g}; {why}"
        )
        return Verdict(Kind.REFUTED, CLAIM, reason, witness=witness)
    if bypass:
        why += "; a bypass activation can hide flipped neurons, so this refutes nothing"
    return Verdict(Kind.UNDECIDED, CLAIM, f"{why}; no input was found at which they differ beyond rounding")


def _why_not(first: Network, paired: Paired) -> tuple[str, bool]:
    """Where the weights stop agreeing, and whether a bypass activation is there or before."""
    bypass = any(r.bypass for r in paired.relations.values() if not r.complete)
    if paired.opaque:
        name, reason = next(iter(paired.opaque.items()))
        return f"the weights cannot be followed through {first.node(name).tap or name}: {reason}", bypass
    for name, relation in paired.relations.items():
        if not relation.complete:
            count, tap = max(len(relation.unmatched), len(relation.unused)), first.node(name).tap or name
            return f"{count} neurons at {tap} have no partner (largest relative residual {relation.worst:.2g})", bypass
    for label, relation in paired.outputs.items():
        if not relation.closes:
            return f"the rows of {label} differ (relative residual {relation.residual:.2g})", bypass
    reason = next((text for text in paired.lost.values() if text), "the weights could not be followed to the output")
    return reason, bypass


def _aligned(
    a: nn.Module | Network,
    b: nn.Module | Network,
    networks: tuple[Network, Network],
    verdict: Verdict,
    batches: Batches,
    *,
    loss: Callable[[Any, Any], Tensor] | None,
    tolerance: float,
    seed: int,
) -> Match:
    """The alignment with the lower barrier: by weights, or by data where there are any."""
    first, second = networks
    attempts: list[Alignment] = [by_weights(first, second, tolerance)]
    if batches:
        attempts.append(by_data(first, second, [inputs for inputs, _ in batches]))
        measured: Batches = batches
    else:
        drawn = probes(first, PROBES if first.batch_size is None else first.batch_size, seed)
        measured = [(tuple(x.to(s.dtype) for x, s in zip(drawn, first.inputs, strict=True)), None)]
    here = a if isinstance(a, nn.Module) else a.module
    best: Match | None = None
    for attempt in attempts:
        found = Match(verdict, attempt.elements, attempt.how, attempt.residuals, None, attempt.notes, b, networks)
        try:
            line = barrier(here, found.aligned(), measured, loss=loss)
        except NotInGauge as error:
            found = replace(found, notes=(*found.notes, str(error)))
            best = best or found
            continue
        if best is None or best.barrier is None or line.height < best.barrier.height:
            best = replace(found, barrier=line)
    return best if best is not None else Match(verdict, {}, "", {}, _second=b, _networks=networks)


def batches_of(data: Any, *, labelled: bool) -> Batches:
    """Data as a list of (inputs, target).

    Raises:
        EmptyData: There is no sample.
        WrongUse: A batch is no tensor and no tuple of tensors, or has no target where one is needed.
    """
    if data is None:
        return []
    if isinstance(data, Tensor) or (isinstance(data, tuple) and data and all(isinstance(x, Tensor) for x in data)):
        raw: Iterable[Any] = [data]
    elif isinstance(data, Iterable):
        raw = data
    else:
        raise WrongUse(f"data of type {type(data).__name__}: expected a tensor, a tuple of tensors or batches of them")
    out = []
    for batch in islice(raw, MOST_BATCHES):
        parts = (batch,) if isinstance(batch, Tensor) else tuple(batch)
        if not parts or not all(isinstance(x, Tensor) for x in parts) or (labelled and len(parts) < 2):
            what = "tensors with a target at the end" if labelled else "a tensor or a tuple of tensors"
            raise WrongUse(f"a batch of type {type(batch).__name__} with {len(parts)} parts: expected {what}")
        if len(parts[0]):
            out.append((parts[:-1], parts[-1]) if labelled else (parts, None))
    if not out:
        raise EmptyData("no sample in the data: nothing was compared")
    return out
