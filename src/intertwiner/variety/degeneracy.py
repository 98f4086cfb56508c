r"""Is a parameter full? Inactive and repeated neurons, rank-deficient layers, and what they do to the Jacobian.

A parameter is *full* when every layer has full rank and no hidden neuron is inactive or repeated [Graziani 2026,
arXiv:2606.18440, for the first two]. A neuron is inactive when nothing comes into it or nothing goes out of it; two are
repeated when their rows ``[w | b]`` agree up to the gauge of the activation: a factor for ``t^r``, a sign for odd and
even polynomials, equality otherwise. All of this is decided exactly, on the floats as they are.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import numpy as np
from jaxtyping import Float, Int
from numpy import ndarray

from intertwiner.variety.architecture import Architecture
from intertwiner.variety.exact_rows import Scale, exact_rank, row_labels
from intertwiner.variety.local_rank import LocalRank, local_rank
from intertwiner.variety.subject import Subject, subject
from intertwiner.verdict import Kind, Verdict

SMALL = 2_000
"""Parameters up to which ranks of the Jacobian are taken without being asked for."""

KINDS = ("zero incoming", "constant", "zero outgoing", "repeated", "rank-deficient")


@dataclass(frozen=True)
class Fault:
    """One reason why a parameter is not full.

    Args:
        kind: One of ``KINDS``.
        layer: The hidden layer, 1 the first; for a rank the layer of weights, 1 the first.
        neurons: Neurons of that layer, from 0; the first of a repeated class stands first. Empty for a rank.
        text: In words.
    """

    kind: str
    layer: int
    neurons: tuple[int, ...]
    text: str

    def to_json(self) -> dict[str, Any]:
        return {"kind": self.kind, "layer": self.layer, "neurons": list(self.neurons), "text": self.text}

    @classmethod
    def from_json(cls, record: Mapping[str, Any]) -> Fault:
        return cls(record["kind"], record["layer"], tuple(record["neurons"]), record["text"])


@dataclass(frozen=True)
class Degeneracy:
    """Whether a parameter is full, and the rank of the Jacobian there.

    Args:
        architecture: The network.
        layer_ranks: Exact rank of every weight matrix.
        faults: Why it is not full; empty where it is.
        local: The rank of the Jacobian at the parameter beside the generic one; None where it was not taken.
        seed: Of everything random.
        verdict: PROVED either way: that the parameter is full, or that it is not.
    """

    architecture: Architecture
    layer_ranks: tuple[int, ...]
    faults: tuple[Fault, ...]
    local: LocalRank | None
    seed: int
    verdict: Verdict

    @property
    def is_full(self) -> bool:
        return not self.faults

    def of_kind(self, kind: str) -> tuple[Fault, ...]:
        """The faults of one kind."""
        return tuple(f for f in self.faults if f.kind == kind)

    @property
    def inactive(self) -> tuple[Fault, ...]:
        """Neurons without input or without output."""
        return tuple(f for f in self.faults if f.kind in ("zero incoming", "constant", "zero outgoing"))

    def to_json(self) -> dict[str, Any]:
        return {
            "architecture": self.architecture.to_json(),
            "layer_ranks": list(self.layer_ranks),
            "faults": [f.to_json() for f in self.faults],
            "jacobian": self.local.to_json() if self.local else None,
            "seed": self.seed,
            "verdict": self.verdict.to_json(),
        }

    @classmethod
    def from_json(cls, record: Mapping[str, Any]) -> Degeneracy:
        return cls(
            Architecture.from_json(record["architecture"]),
            tuple(record["layer_ranks"]),
            tuple(Fault.from_json(f) for f in record["faults"]),
            LocalRank.from_json(record["jacobian"]) if record["jacobian"] else None,
            record["seed"],
            Verdict.from_json(record["verdict"]),
        )

    def __str__(self) -> str:
        lines = [f"{self.verdict.kind}: {self.verdict.claim}"]
        lines += [f"  {f.text}" for f in self.faults] or [f"  {self.verdict.reason}"]
        lines.append(f"  Jacobian: {self.local or 'not asked for'}")
        return "\n".join(lines)


def degeneracy(
    model: Any, parameters: Any = None, *, example: Any = None, jacobian: bool | None = None, seed: int = 0
) -> Degeneracy:
    """Decide exactly whether a parameter of a polynomial network is full.

    Args:
        model: A module or traced network, a chain of linear layers with one polynomial activation between them; or an
            ``Architecture``.
        parameters: With an architecture: flat numbers, or one array per weight and bias.
        example: With a module: one batch of inputs.
        jacobian: Whether to take ranks of the Jacobian; by default up to ``SMALL`` parameters.
        seed: Decides the primes and random parameters of these ranks.

    Returns:
        The faults, the ranks of the layers, the rank of the Jacobian here and elsewhere, and the verdict.

    Raises:
        WrongUse: For a model that is no polynomial chain, or parameters that do not fit.
        NonFiniteWeights: NaN or infinity among the parameters.

    Cost:
        A sort of the rows of every layer, and a few eliminations of the Jacobian.

    Example:
        >>> net = Architecture((3, 2, 1), "t^2")
        >>> print(degeneracy(net, [[[1.0, 2.0, 3.0], [-2.0, -4.0, -6.0]], [[1.0, 1.0]]]))
        PROVED: this parameter of 3-2-1, t^2 is not full
          layer 1 of weights has rank 1 of 2
          neurons 0, 1 of hidden layer 1 are repeated: their rows are proportional
          Jacobian: rank 3 at this parameter, 5 at random ones
    """
    given = subject(model, parameters, example=example)
    ranks = tuple(exact_rank(W) for W, _ in given.layers)
    faults = (*_deficient(given, ranks), *_neurons(given))
    wanted = given.architecture.parameters <= SMALL if jacobian is None else jacobian
    local = local_rank(given, seed=seed) if wanted else None
    return Degeneracy(given.architecture, ranks, faults, local, seed, _verdict(given, faults))


def row_gauge(architecture: Architecture) -> tuple[Scale, Fraction]:
    """Up to what two rows count as repeated, and the shift of the bias before they are compared.

    Two neurons are repeated when one is a multiple of the other, plus a constant where the next layer has a bias.

    Example:
        >>> [row_gauge(Architecture((1, 1, 1), t))[0].value for t in ("t^3", "t^3 + t", "t^2 + t", "t^2 + 1")]
        ['proportional', 'equal up to sign', 'equal', 'equal up to sign']
    """
    sigma, bias = architecture.activation, architecture.bias
    centre = sigma.centre() if bias else None
    if centre is not None:
        return Scale.NONZERO, centre[0]
    seen = [k for k in sigma.exponents if k or not bias]
    if len(seen) == 1:
        return Scale.NONZERO, Fraction(0)
    return (Scale.SIGN if all((k - seen[0]) % 2 == 0 for k in seen) else Scale.NONE), Fraction(0)


def _deficient(given: Subject, ranks: tuple[int, ...]) -> list[Fault]:
    out = []
    for l, ((W, _), rank) in enumerate(zip(given.layers, ranks, strict=True), start=1):
        if rank < min(W.shape):
            out.append(Fault("rank-deficient", l, (), f"layer {l} of weights has rank {rank} of {min(W.shape)}"))
    return out


def _neurons(given: Subject) -> list[Fault]:
    scale, shift = row_gauge(given.architecture)
    layers, out = given.layers, []
    for l, (W, b) in enumerate(layers[:-1], start=1):
        following = layers[l][0]
        labels, silent = _labels(W, b, scale, shift)
        no_output = np.logical_not(following.any(axis=0))
        for kind, mask, what in (
            ("zero incoming", silent & ~W.any(axis=1), "no weights come into"),
            ("zero outgoing", no_output, "no weights go out of"),
        ):
            biased = kind == "zero incoming" and b is not None
            for i in np.flatnonzero(mask):
                constant = "constant" if biased else kind
                out.append(Fault(constant, l, (int(i),), f"{what} neuron {i} of hidden layer {l}"))
        # A neuron without input or output is not called repeated as well.
        labels = np.where(no_output, -1, labels)
        for first in np.unique(labels[labels >= 0]):
            members = tuple(map(int, np.flatnonzero(labels == first)))
            if len(members) > 1:
                text = (
                    f"neurons {', '.join(map(str, members))} of hidden layer {l} are repeated: their rows are {scale}"
                )
                out.append(Fault("repeated", l, members, text))
    return out


def _labels(
    W: Float[ndarray, "n m"], b: Float[ndarray, " n"] | None, scale: Scale, shift: Fraction
) -> tuple[Int[ndarray, " n"], ndarray]:
    """Classes of neurons, -1 for those without weights; and which those are."""
    silent = np.logical_not(W.any(axis=1))
    if b is None:
        return row_labels(W, scale), silent
    return np.where(silent, -1, row_labels(np.column_stack([W, b]), scale, shift=shift)), silent


def _verdict(given: Subject, faults: tuple[Fault, ...]) -> Verdict:
    name = f"this parameter of {given.architecture}"
    if faults:
        return Verdict(Kind.PROVED, f"{name} is not full", "; ".join(f.text for f in faults), exact=True)
    reason = (
        "every layer has full rank, no hidden neuron is inactive, and no two are repeated: on the floats as they are"
    )
    return Verdict(Kind.PROVED, f"{name} is full", reason, exact=True)
