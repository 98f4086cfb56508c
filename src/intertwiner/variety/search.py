r"""Search among architectures: those that fill their space, those with a defect, those with finite generic fibres.

Every architecture is one job, its dimension as ``neurovariety`` finds it, and one line of a journal; jobs run in this
process or wherever an executor runs them. Filling is monotone: with more neurons in a layer more functions are reached,
and neurons beyond the dimension of the space of ``sigma`` of the layer before bring none. So the minimal filling widths
lie in a box, and they are found together with the maximal widths that do not fill, which certify that none is missing.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass
from os import PathLike
from typing import Any

from intertwiner.errors import WrongUse
from intertwiner.variety.activation import Activation, activation, monomial
from intertwiner.variety.architecture import Architecture, monomials, output_degrees
from intertwiner.variety.journal import Journal
from intertwiner.variety.minimal import Vector, minimal_vectors
from intertwiner.variety.neurovariety import MOST_PARAMETERS, neurovariety
from intertwiner.variety.progress import counted
from intertwiner.verdict import Kind, Verdict

WANTED = ("filling", "defective", "identifiable")

AHEAD = 64
"""Jobs handed to an executor before the first of them is waited for."""

Progress = Callable[[int], None]
Path = str | PathLike[str]


@dataclass(frozen=True)
class Found:
    """What is known about one architecture.

    Args:
        widths: Input, hidden and output widths.
        parameters: Number of parameters.
        dimension: Dimension of its functions, or the largest rank that was found.
        expected: What parameters and gauge let expect.
        ambient: Dimension of the space.
        bound: A proved upper bound.
        gauge: Dimension of the gauge.
        chance: Probability, at most, that the dimension is larger; 0 where it is proved.
    """

    widths: Vector
    parameters: int
    dimension: int
    expected: int
    ambient: int
    bound: int
    gauge: int
    chance: float

    @property
    def is_proved(self) -> bool:
        return self.dimension == self.bound

    @property
    def filling(self) -> bool:
        """Whether the functions fill their space; True is always proved."""
        return self.dimension == self.ambient

    @property
    def never_filling(self) -> bool:
        """Whether it is proved that they do not."""
        return self.bound < self.ambient

    @property
    def defective(self) -> bool:
        """Whether the dimension is below what is expected."""
        return self.dimension < self.expected

    @property
    def identifiable(self) -> bool:
        """Whether generic parameters are determined up to the gauge and finitely many choices."""
        return self.dimension == self.parameters - self.gauge

    def to_json(self) -> dict[str, Any]:
        flags = {name: getattr(self, name) for name in WANTED}
        return {**vars(self), "widths": list(self.widths), **flags, "proved": self.is_proved}

    @classmethod
    def from_json(cls, record: Mapping[str, Any]) -> Found:
        fields = {name: record[name] for name in cls.__dataclass_fields__}
        return cls(**{**fields, "widths": tuple(record["widths"])})


@dataclass(frozen=True)
class FillingSearch:
    """The minimal filling widths of one input, output, activation and depth.

    Args:
        inputs: Input width.
        outputs: Output width.
        activation: The monomial.
        ambient: Dimension of the space that is filled.
        most: Largest hidden widths that were looked at; wider layers bring nothing, unless they were limited.
        limited: Whether they were.
        minimal: Every hidden width vector that fills while none below it does.
        maximal: Every hidden width vector within ``most`` that does not fill while all above it do.
        examined: Of how many architectures ranks were taken; bounds rule out others.
        seed: Of everything random.
        verdict: Whether the list is complete.
    """

    inputs: int
    outputs: int
    activation: Activation
    ambient: int
    most: Vector
    limited: bool
    minimal: tuple[Vector, ...]
    maximal: tuple[Vector, ...]
    examined: int
    seed: int
    verdict: Verdict

    def architectures(self) -> list[Architecture]:
        """The minimal filling architectures, those with the fewest parameters first."""
        all_ = [Architecture((self.inputs, *hidden, self.outputs), self.activation) for hidden in self.minimal]
        return sorted(all_, key=lambda net: (net.parameters, net.widths))

    def to_json(self) -> dict[str, Any]:
        return {
            **vars(self),
            "activation": self.activation.to_json(),
            "most": list(self.most),
            "minimal": [list(v) for v in self.minimal],
            "maximal": [list(v) for v in self.maximal],
            "verdict": self.verdict.to_json(),
        }

    @classmethod
    def from_json(cls, record: Mapping[str, Any]) -> FillingSearch:
        fields = dict(record)
        fields["activation"] = Activation.from_json(record["activation"])
        fields["most"] = tuple(record["most"])
        for name in ("minimal", "maximal"):
            fields[name] = tuple(tuple(v) for v in record[name])
        fields["verdict"] = Verdict.from_json(record["verdict"])
        return cls(**fields)

    def __str__(self) -> str:
        lines = [f"{self.verdict.kind}: {self.verdict.claim}", f"  {self.verdict.reason}"]
        lines.append(f"  ranks of {self.examined} architectures; the space has dimension {self.ambient}")
        lines += [
            f"  {'-'.join(map(str, net.widths)):<24} {net.parameters:>5} parameters" for net in self.architectures()
        ]
        return "\n".join(lines)


def filling_architectures(
    d_in: int = 2,
    d_out: int = 1,
    degree: int = 2,
    depth: int = 6,
    *,
    most: int | None = None,
    executor: Executor | None = None,
    out: Path | None = None,
    seed: int = 0,
    progress: Progress | None = None,
) -> FillingSearch:
    """All minimal hidden widths with which networks of ``t^degree`` fill the forms of degree ``degree^(depth - 1)``.

    Args:
        d_in: Input width.
        d_out: Output width.
        degree: Degree of the monomial activation.
        depth: Number of layers of weights.
        most: Largest hidden width; by default the largest that can matter.
        executor: Where to examine architectures; this process by default.
        out: A journal that is appended to, and from which a search goes on.
        seed: Decides the random points of every architecture.
        progress: Called with the number of examined architectures; a bar after two seconds by default.

    Returns:
        Minimal filling widths, maximal widths that do not fill, and the verdict on completeness.

    Raises:
        WrongUse: For numbers that are no such thing, too large networks, or the journal of another search.
        CorruptFile: For a journal that cannot be read.

    Cost:
        A few ``neurovariety`` per minimal width vector, and one per maximal one that bounds do not rule out.

    Example:
        Binary quadratic forms are sums of two squares; two layers of squares need two neurons each.

        >>> [net.widths for net in filling_architectures(depth=3).architectures()]
        [(2, 2, 2, 1)]
    """
    for name, value, least in (("d_in", d_in, 1), ("d_out", d_out, 1), ("depth", depth, 2), ("degree", degree, 1)):
        _whole(name, value, least)
    _whole("most", 1 if most is None else most, 1)
    sigma = monomial(degree)
    widest = tuple(monomials(d_in, output_degrees(sigma, layer + 1, bias=False)) for layer in range(1, depth))
    top = widest if most is None else tuple(min(w, most) for w in widest)
    _refuse_size(Architecture((d_in, *top, d_out), sigma))
    heading = {"search": "filling", "widths": [d_in, d_out], "activation": str(sigma), "depth": depth, "seed": seed}
    known: dict[Vector, Found] = {}
    with Journal(out, heading) as journal, counted("architectures", progress) as tick:
        known |= {f.widths: f for f in map(Found.from_json, journal.records)}

        def fills(vectors: Sequence[Vector]) -> list[bool]:
            asked = [(d_in, *v, d_out) for v in vectors]
            left = [w for w in asked if w not in known and not _cannot_be("filling", Architecture(w, sigma))]
            for found in examine(left, sigma, executor=executor, seed=seed):
                known[found.widths] = found
                journal.add(found.to_json())
                tick(len(known))
            return [w in known and known[w].filling for w in asked]

        minimal, maximal = minimal_vectors(top, fills)
        failing = [known.get((d_in, *v, d_out)) for v in maximal]
    verdict = _verdict(minimal, failing, sigma, depth, most if top != widest else None)
    ambient = Architecture((d_in, *top, d_out), sigma).ambient_dimension
    return FillingSearch(
        d_in, d_out, sigma, ambient, top, top != widest, tuple(minimal), tuple(maximal), len(known), seed, verdict
    )


def _verdict(
    minimal: Sequence[Vector], failing: Sequence[Found | None], sigma: Activation, depth: int, limit: int | None
) -> Verdict:
    within = "" if limit is None else f" among hidden widths up to {limit}"
    number = "1 minimal filling architecture" if len(minimal) == 1 else f"{len(minimal)} minimal filling architectures"
    claim = f"{number} of {depth} layers with {sigma}{within}: none is missing"
    open_ = [f for f in failing if f is not None and not f.never_filling]
    filled = "that they fill is proved by a rank modulo a prime"
    if not open_:
        return Verdict(
            Kind.PROVED, claim, f"{filled}, that the {len(failing)} maximal other widths do not by bounds", exact=True
        )
    chance = min(1.0, sum(f.chance for f in open_))
    reason = (
        f"{filled}; of the {len(failing)} maximal others {len(open_)} have too low a rank at random points only, by "
        f"accident with probability below {chance:.0e}"
    )
    return Verdict(Kind.UNDECIDED, claim, reason)


def search(
    wanted: str,
    widths: Iterable[Sequence[int]],
    sigma: Activation | str,
    *,
    executor: Executor | None = None,
    out: Path | None = None,
    seed: int = 0,
    progress: Progress | None = None,
) -> list[Found]:
    """Those of many architectures that fill their space, have a defect, or have finite generic fibres.

    Args:
        wanted: "filling", "defective" or "identifiable".
        widths: Width vectors, e.g. ``all_widths(3, 1, depth=2, most=4)``.
        sigma: The activation.
        executor: Where to examine them; this process by default.
        out: A journal that is appended to, and from which a search goes on.
        seed: Decides the random points of every architecture.
        progress: Called with the number of finished architectures; a bar after two seconds by default.

    Returns:
        The wanted ones in the order of ``widths``.

    Raises:
        WrongUse: For a word that is none of these, widths that are none, or the journal of another search.
        CorruptFile: For a journal that cannot be read.

    Cost:
        One ``neurovariety`` each, except where a bound decides.

    Example:
        >>> [f.widths for f in search("defective", all_widths(3, 1, depth=2, most=4), "t^2")]
        [(3, 2, 1)]
    """
    if wanted not in WANTED:
        raise WrongUse(f"a search is for one of {', '.join(WANTED)}, got {wanted!r}. Nothing was computed.")
    sigma = activation(sigma)
    vectors = list(dict.fromkeys(Architecture(tuple(w), sigma).widths for w in widths))
    out_of_reach = {w for w in vectors if _cannot_be(wanted, Architecture(w, sigma))}
    heading = {"search": "architectures", "activation": str(sigma), "seed": seed}
    with Journal(out, heading) as journal, counted("architectures", progress) as tick:
        known = {f.widths: f for f in map(Found.from_json, journal.records)}
        for found in examine(
            [w for w in vectors if w not in known and w not in out_of_reach], sigma, executor=executor, seed=seed
        ):
            known[found.widths] = found
            journal.add(found.to_json())
            tick(len(known))
    return [known[w] for w in vectors if w in known and getattr(known[w], wanted)]


def _cannot_be(wanted: str, net: Architecture) -> bool:
    """Whether a bound says without a rank that an architecture is not of the wanted kind."""
    bound = net.bound()
    gauge = sum(part.dimension for part in bound.parts if part.kind == "gauge")
    return {
        "filling": bound.value < net.ambient_dimension,
        "identifiable": bound.value < net.parameters - gauge,
        "defective": False,
    }[wanted]


def all_widths(d_in: int, d_out: int, *, depth: int, most: int) -> Iterator[Vector]:
    """All widths with so many layers of weights and hidden widths up to ``most``, narrow ones first.

    Example:
        >>> list(all_widths(3, 1, depth=2, most=2))
        [(3, 1, 1), (3, 2, 1)]
    """
    hidden = itertools.product(range(1, most + 1), repeat=depth - 1)
    return ((d_in, *h, d_out) for h in sorted(hidden, key=lambda h: (sum(h), h)))


def examine(
    widths: Sequence[Vector], sigma: Activation, *, executor: Executor | None = None, seed: int = 0
) -> Iterator[Found]:
    """The dimensions of several architectures, in their order, as they come."""
    if executor is None:
        yield from (_examined(w, sigma, seed) for w in widths)
        return
    waiting = []
    for w in widths:
        waiting.append(executor.submit(_examined, w, sigma, seed))
        if len(waiting) >= AHEAD:
            yield waiting.pop(0).result()
    for future in waiting:
        yield future.result()


def _examined(widths: Vector, sigma: Activation, seed: int) -> Found:
    net = Architecture(widths, sigma)
    bound = net.bound()
    gauge = sum(part.dimension for part in bound.parts if part.kind == "gauge")
    found = neurovariety(net, seed=seed)
    return Found(
        net.widths,
        net.parameters,
        found.dimension,
        found.expected_dimension,
        net.ambient_dimension,
        bound.value,
        gauge,
        found.chance,
    )


def _refuse_size(net: Architecture) -> None:
    if net.parameters > MOST_PARAMETERS:
        raise WrongUse(
            f"{net} is among the networks to examine and has {net.parameters:,} parameters, the bound is "
            f"{MOST_PARAMETERS:,}. Next step: limit the hidden widths, most=8. Nothing was computed."
        )


def _whole(name: str, value: Any, least: int) -> None:
    if isinstance(value, bool) or not isinstance(value, int) or value < least:
        raise WrongUse(f"{name} is a whole number of at least {least}, got {value!r}. Nothing was computed.")
