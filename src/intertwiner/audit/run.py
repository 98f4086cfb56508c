"""The main verb: audit a network."""

from __future__ import annotations

import platform
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import islice
from typing import Any

import torch
from torch import nn
from torch.export import ExportedProgram

from intertwiner.algebra import Group, parse_group
from intertwiner.audit.describe import describe_place
from intertwiner.audit.identifiability import carry_again, identifiability_record
from intertwiner.audit.judge import WitnessSearch, judge
from intertwiner.audit.measured import Measured, measure_places
from intertwiner.audit.places import Mask, find_places
from intertwiner.audit.record import Audit, LatentAction
from intertwiner.audit.subject import Subject, prepare
from intertwiner.audit.weights import weight_action
from intertwiner.errors import IntertwinerError
from intertwiner.identify import Identifiability, identify
from intertwiner.network import Network
from intertwiner.numerics.tolerance import tolerance
from intertwiner.report import SCHEMA
from intertwiner.symmetry import Symmetry
from intertwiner.transport import Carried, carry, layouts

WITNESS_BATCHES = 4


@dataclass(frozen=True)
class Effort:
    """What an audit does beside following the weights.

    Args:
        data: Measure taps on data; without it only the weights are followed and a witness is looked for.
        nulls: Measure what the figures stand against: wrong elements, a network with shuffled weights, rounding.
        draws: Networks with shuffled weights that are measured; the highest R2 among them is the null.
        orbits: Look for orbits of neurons where the weights alone do not give them.
        identify: Take redundant neurons out where the weights carry no action, and say which theorem applies.
        box: Inputs with |x| <= box are covered by the bound of a proof.
        max_samples: Read at most this many samples per pass.
        seed: Of everything random.
    """

    data: bool = True
    nulls: bool = True
    draws: int = 1
    orbits: bool = True
    identify: bool = True
    box: float = 1.0
    max_samples: int | None = None
    seed: int = 0


@dataclass
class _Clock:
    seconds: dict[str, float] = field(default_factory=dict)

    @contextmanager
    def __call__(self, part: str) -> Iterator[None]:
        start = time.perf_counter()
        try:
            yield
        finally:
            self.seconds[part] = round(time.perf_counter() - start, 4)


def audit(
    model: nn.Module | ExportedProgram | Network,
    symmetry: Symmetry,
    data: Any = None,
    *,
    example: Any = None,
    kwargs: Mapping[str, Any] | None = None,
    outputs: Sequence[str] | None = None,
    taps: Sequence[str] | None = None,
    mask: Mask | None = None,
    effort: Effort | None = None,
    source: str = "",
) -> Audit:
    """Find the group action that every hidden layer of a trained network carries.

    The weights are followed from the known input action to the output, layer by layer: what holds is proved. Beside
    that every tap is measured on data: the best linear latent map, the best element of its gauge group, nulls and
    noise floors. Nothing seen on data is called proved.

    Args:
        model: Any module in evaluation mode, an exported program, or a traced network.
        symmetry: The group and how it acts on inputs and outputs.
        data: Any iterable of batches (labels are left alone), a tensor, or None for noise.
        example: One batch of inputs, where there are no data.
        kwargs: Keyword arguments of the network's call.
        outputs: Which of several outputs to audit.
        taps: Names or globs of taps to report, instead of one per latent space.
        mask: Which grid positions count: from the inputs to 0/1 of shape (batch, *grid).
        effort: What to do beside following the weights; everything by default.
        source: What reports call the data.

    Returns:
        The audit: verdict, defects, and the latent action at every place.

    Raises:
        NotAnAction: The symmetry is no action on these shapes.
        ModelInTrainingMode, ModelNotDeterministic, NonFiniteWeights: The network is not one function.
        EmptyData, DataMismatch, NonFiniteData: The data cannot be used.

    Cost:
        A sort of the weights per generator; on data two forwards per generator, three times that with nulls, and one
        forward per element for groups up to 64 elements.

    Example:
        An odd network of two neurons that the sign of the input exchanges, up to sign:

        >>> from intertwiner.algebra import cyclic
        >>> from intertwiner.symmetry import vector
        >>> net = nn.Sequential(nn.Linear(1, 2), nn.Tanh(), nn.Linear(2, 1)).eval()
        >>> for layer, w, b in ((net[0], [[1.0], [1.0]], [0.5, -0.5]), (net[2], [[1.0, 1.0]], [0.0])):
        ...     layer.weight.data, layer.bias.data = torch.tensor(w), torch.tensor(b)
        >>> odd = Symmetry(cyclic(2), on_input=vector(sign=[-1]), on_output=vector(sign=[-1]))
        >>> found = audit(net, odd, example=torch.zeros(2, 1))
        >>> print(found.verdict.kind, found["0"].representation)
        PROVED C2: A + B
    """
    effort, clock = effort or Effort(), _Clock()
    with clock("trace"):
        subject = prepare(
            model, symmetry, data, example=example, kwargs=kwargs, outputs=outputs,
            max_samples=effort.max_samples, seed=effort.seed, progress="audit",
        )  # fmt: skip
    network, bound = subject.network, subject.symmetry
    with clock("weights"):
        carried = carry(network, bound, tolerance=tolerance(network.dtype), box=effort.box)
        places = find_places(network, bound, *layouts(network, bound), taps=taps, mask=mask)
        weights = {place.name: weight_action(bound.group, carried, place.node.name) for place in places}
    with clock("identifiability"):
        found, unknown = _identified(network) if effort.identify else (None, "")
        again, refuting = None, None
        if found is not None and not carried.closes:
            limit = tolerance(network.dtype)
            again, refuting = carry_again(found, network, bound, carried, tolerance=limit, box=effort.box)
    with clock("data"):
        measured = (
            measure_places(subject, places, carried, weights, effort, mask) if effort.data else Measured.nothing()
        )
    with clock("verdict"):
        witness = None if carried.closes or again is not None else _witness(subject)
        verdict = judge(network, bound, carried, box=effort.box, witness=witness, again=again, refuting=refuting)
    actions = []
    for place in places:
        record = describe_place(subject, place, carried, weights[place.name], measured)
        actions.append(LatentAction(record, bound.group, weights[place.name], measured.orbits.get(place.name)))
    record = _record(subject, carried, measured, actions, source) | {
        "verdict": verdict.to_json(),
        "identifiability": None if found is None else identifiability_record(found, again, bound),
        "missing": {"identifiability": unknown} if unknown else {},
        "seed": effort.seed,
        "seconds": clock.seconds,
    }
    aliases = {alias: place.name for place in places for alias in place.aliases}
    return Audit(record, tuple(actions), verdict, aliases)


def _identified(network: Network) -> tuple[Identifiability | None, str]:
    """What is known about the parameters, or why nothing is: an audit does not fail for it."""
    try:
        return identify(network, dimension=False, samples=0), ""
    except (IntertwinerError, RuntimeError) as error:
        return None, f"{type(error).__name__}: {str(error).splitlines()[0]}"


def _witness(subject: Subject):
    """The worst of the first batches of data, and of noise where data show nothing."""
    search = WitnessSearch(subject.network, subject.symmetry, subject.seed)
    batches = islice(iter(subject.stream), WITNESS_BATCHES)
    try:
        return search.best(batches) or search.best(subject.noise())
    except IntertwinerError:
        raise
    except RuntimeError:  # an operator that does not run in float64: then there is no witness, only no proof
        return None


def _record(
    subject: Subject, carried: Carried, measured: Measured, actions: Sequence[LatentAction], source: str
) -> dict[str, Any]:
    network, bound = subject.network, subject.symmetry
    last = network.nodes[-1]
    breaks = [
        {"tap": a.name, "reason": reason, "size": a.record["weights"]["residual"]}
        for a in actions
        for reason in a.record["breaks"]
    ]
    opaque = [
        {"tap": network.node(name).tap or name, "operator": network.node(name).op.kind, "reason": reason}
        for name, reason in carried.opaque.items()
    ]
    return {
        "schema": SCHEMA,
        "network": {
            "name": network.name,
            "dtype": str(network.dtype).removeprefix("torch."),
            "parameters": network.parameters,
            "inputs": [list(spec.shape) for spec in network.inputs],
            "outputs": {n: list(network.node(v).shape) for n, v in zip(network.outputs, last.inputs, strict=True)},
            "operators_without_rule": opaque,
        },
        "group": _group_facts(bound.group),
        "symmetry": {"input": str(bound.symmetry.on_input), "output": str(bound.symmetry.on_output)},
        "data": {
            "source": source or subject.source,
            "samples": measured.samples,
            "batches": measured.batches,
            "note": subject.note,
        },
        "defect": measured.defect_record(bound.group),
        "taps": [dict(a.record) for a in actions],
        "breaks": sorted(breaks, key=lambda b: -(b["size"] or 0.0)),
        "notes": list(measured.notes),
        "environment": _environment(),
    }


def _group_facts(group: Group) -> dict[str, Any]:
    names = [group.element_name(g) for g in group.generators]
    try:
        known = parse_group(group.name) == group
    except IntertwinerError:
        known = False
    return {
        "name": group.name,
        "order": group.order,
        "generators": names,
        "definition": None if known else group.to_json(),
    }


def _environment() -> dict[str, str]:
    from importlib.metadata import version

    return {
        "intertwiner": version("intertwiner"),
        "torch": torch.__version__,
        "python": platform.python_version(),
        "machine": f"{platform.machine()}, {torch.get_num_threads()} threads",
    }
