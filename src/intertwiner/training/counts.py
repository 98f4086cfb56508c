r"""How many independent quantities gradient flow conserves: ``D - dim Lie(V)(theta)``, enclosed modulo p.

Below: laws that are conserved by a theorem; the rank of their gradients modulo p never exceeds the true one. Above: the
rank modulo p of elements of the Lie algebra of the gradient fields at a random point never exceeds its dimension at
generic parameters. Where both meet, the count is proved, whatever the random numbers were. A rank that has stopped
growing proves nothing by itself. The theorem, by Frobenius: [Marcotte, Gribonval, Peyre 2023, sec. 3].
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from time import perf_counter
from typing import Any

import numpy as np
from jaxtyping import Float
from numpy import ndarray

from intertwiner.errors import Contradiction, WrongUse
from intertwiner.numerics.modular import PRIMES, Modulus
from intertwiner.numerics.modular_echelon import Echelon
from intertwiner.numerics.seeds import rng
from intertwiner.training.brackets import brackets
from intertwiner.training.potentials import residues
from intertwiner.training.rank_bar import RankBar
from intertwiner.training.reparametrisation import Reparametrisation
from intertwiner.verdict import Kind, Verdict

MOST_PARAMETERS = 3000
"""Above, matrices of D x D numbers are refused; with 3000 the count takes under a gigabyte."""

DEPTH = 8
"""Most brackets nested in one another that are tried, unless said otherwise."""

IDLE = 2
"""Depths in a row that bring nothing new, after which deeper brackets are given up."""

CURVES = 32
"""Most curves per depth; a curve that brings nothing new is the last one of its depth."""

APART = 1 << 20
"""Keeps the seeds of curves apart from those of points."""

RATES = 8
"""Random fields that every known law is tried on."""

THEOREM = "conserved functions of gradient flow [Marcotte, Gribonval, Peyre 2023, sec. 3]"

Gradients = Callable[[Float[ndarray, " D"], Modulus], Float[ndarray, "laws D"]]
"""Gradients of conserved functions at residues of the parameters, one row per function."""


@dataclass(frozen=True, eq=False)
class Certain:
    """Functions that a theorem says are conserved.

    Args:
        gradients: The gradients of the known laws.
        names: A formula per law, for messages; may be shorter than the laws.
        further: Gradients of further conserved functions that are no known laws, or None.
        because: Why the further ones are conserved, to follow "and n more".
    """

    gradients: Gradients
    names: Sequence[str] = ()
    further: Gradients | None = None
    because: str = ""


@dataclass(frozen=True)
class ConservationCount:
    """The number of independent conserved functions of gradient flow, or bounds on it.

    Args:
        network: What was counted, in words.
        parameters: Number of parameters D.
        known: Independent laws among those that the structure gives.
        least: Number of independent laws that there are for certain, those of a thin stretch included.
        most: Number that cannot be exceeded, ``D - rank``.
        ranks: Rank of the brackets by depth of nesting, one row per prime; depth 0 are the fields themselves.
        primes: The primes that were used, one random draw each.
        seed: By which the draws can be made again.
        verdict: PROVED where the bounds meet.
        seconds: Wall-clock time; not compared.
    """

    network: str
    parameters: int
    known: int
    least: int
    most: int
    ranks: tuple[tuple[int, ...], ...]
    primes: tuple[int, ...]
    seed: int
    verdict: Verdict
    seconds: float = field(compare=False)

    @property
    def bracket_rank(self) -> int:
        """Dimension of the Lie algebra at a generic point, as far as it was found."""
        return max(row[-1] for row in self.ranks)

    @property
    def laws(self) -> int | None:
        """The number of laws where it is proved, otherwise None."""
        return self.least if self.least == self.most else None

    def to_json(self) -> dict[str, Any]:
        """The record as plain values."""
        return {
            "network": self.network,
            "parameters": self.parameters,
            "known": self.known,
            "least": self.least,
            "most": self.most,
            "ranks": [list(row) for row in self.ranks],
            "primes": list(self.primes),
            "seed": self.seed,
            "verdict": self.verdict.to_json(),
            "seconds": self.seconds,
        }

    @classmethod
    def from_json(cls, record: Mapping[str, Any]) -> ConservationCount:
        """The record that ``to_json`` wrote."""
        fields = dict(record)
        fields["ranks"] = tuple(tuple(row) for row in fields["ranks"])
        fields["primes"] = tuple(fields["primes"])
        fields["verdict"] = Verdict.from_json(fields["verdict"])
        return cls(**fields)

    def __str__(self) -> str:
        number = str(self.least) if self.laws is not None else f"{self.least} to {self.most}"
        return (
            f"{self.network}: {number} independent conserved functions of {self.parameters} parameters, "
            f"{self.known} known by structure; {self.verdict.kind}"
        )


def count_conserved(
    phi: Reparametrisation,
    certain: Certain,
    *,
    depth: int = DEPTH,
    primes: Sequence[int] = PRIMES,
    seed: int = 0,
    assumed: Mapping[str, str] | None = None,
) -> ConservationCount:
    r"""Count the independent functions that every gradient flow of ``l(phi(theta))`` conserves, l any smooth function.

    Args:
        phi: The model as its reparametrisation.
        certain: What is conserved by a theorem. That it is conserved is the caller's claim; it is tried on random
            fields, not proved here.
        depth: Most brackets nested in one another that are tried.
        primes: Odd primes below 2^26 and above ``depth``; each gets its own point, fields and curve.
        seed: Decides all random numbers.
        assumed: Hypotheses for the verdict besides plain gradient flow and generic parameters.

    Returns:
        The count with its certificate, or both bounds where they do not meet.

    Raises:
        WrongUse: For a depth, primes or a seed that are no such thing, or more than ``MOST_PARAMETERS``.
        Contradiction: A known law is not conserved, or the bounds cross.

    Cost:
        Per prime, curve and depth n, ``n^2 / 2`` products of D x D matrices, n Hessians, and an elimination in ``D^3``.

    Example:
        Two parameters that enter by their product: ``w_2^2 - w_1^2`` is conserved.

        >>> from intertwiner.training import Chain
        >>> law = Certain(lambda theta, field: field.reduce(np.array([[-theta[0], theta[1]]])))
        >>> count_conserved(Chain((1, 1, 1)), law).laws
        1
    """
    start = perf_counter()
    check_count(phi, depth, primes, seed)
    known, least, ranks = 0, 0, []
    with RankBar("counting laws") as bar:
        for k, prime in enumerate(primes):
            modulus, draw = Modulus(prime), seed * len(primes) + k
            point = residues((phi.parameters,), modulus, rng(draw))
            bounds = certain_ranks(phi, certain, point, modulus, seed=draw)
            known, least = max(known, bounds[0]), max(least, bounds[1])
            enough = phi.parameters - least
            ranks.append(bracket_ranks(phi, point, modulus, depth=depth, enough=enough, seed=draw, watch=bar.show))
    most = phi.parameters - max(row[-1] for row in ranks)
    if least > most:
        raise Contradiction(
            f"{least} laws of the {phi} are certain, and no more than {most} possible. "
            "Please report this. Nothing was counted."
        )
    verdict = _verdict(phi, certain, (known, least, most), assumed or {})
    return ConservationCount(
        str(phi), phi.parameters, known, least, most, tuple(ranks), tuple(primes), seed, verdict, perf_counter() - start
    )


def check_count(phi: Reparametrisation, depth: int, primes: Sequence[int], seed: int) -> None:
    """Refuse what cannot be counted before anything is.

    Raises:
        WrongUse: For a depth, primes or a seed that are no such thing, or more than ``MOST_PARAMETERS``.
    """
    if phi.parameters > MOST_PARAMETERS:
        raise WrongUse(
            f"the {phi} has {phi.parameters} parameters, the bound is {MOST_PARAMETERS}: its matrices would take "
            f"about {10 * 8 * phi.parameters**2 / 1e9:.1f} GB. Next step: count a narrower network of the same "
            "depth; the known laws are there at any size. Nothing was computed."
        )
    if seed < 0:
        raise WrongUse(f"a seed is a whole number of at least 0, got {seed}. Nothing was computed.")
    if depth < 0 or not primes or min(primes) <= depth:
        raise WrongUse(
            f"count_laws needs at least one prime and a depth from 0 to below it, got depth {depth} and primes "
            f"{tuple(primes)}: jets divide by the numbers up to the depth. Nothing was computed."
        )


def certain_ranks(
    phi: Reparametrisation, certain: Certain, point: Float[ndarray, " D"], modulus: Modulus, *, seed: int
) -> tuple[int, int]:
    """Rank of the known laws at the point, and of these with the further ones."""
    rows = certain.gradients(point, modulus)
    if rows.ndim != 2 or rows.shape[1] != phi.parameters:
        raise WrongUse(
            f"gradients of laws of the {phi} are rows of {phi.parameters} numbers, got the shape {rows.shape}. "
            "Usual cause: another order or selection of parameters. Nothing was counted."
        )
    # An offset: the first fields of the brackets are drawn from the seed itself.
    flow = phi.draw(RATES, modulus, rng(APART * (seed + 1) - 1)).gradients(point[None], modulus)[0]
    changing = np.flatnonzero(modulus.matmul(rows, flow.T).any(axis=1))
    if len(changing):
        k = int(changing[0])
        name = certain.names[k] if k < len(certain.names) else f"known law {k}"
        raise Contradiction(
            f"{name} is not conserved by the {phi}, modulo {modulus.prime}, seed {seed}. "
            "Please report this. Nothing was counted."
        )
    space = Echelon(phi.parameters, modulus)
    space.add(rows)
    known = space.rank
    if certain.further is not None:
        space.add(certain.further(point, modulus))
    return known, space.rank


def bracket_ranks(
    phi: Reparametrisation,
    point: Float[ndarray, " D"],
    modulus: Modulus,
    *,
    depth: int,
    enough: int,
    seed: int,
    watch: Callable[[int, int], None] | None = None,
) -> tuple[int, ...]:
    """Rank of the brackets at a point after every depth of nesting, until it is enough or has stood still."""
    space, ranks = Echelon(phi.parameters, modulus), []
    for nested in range(depth + 1):
        # The fields at the point need no second draw: there are as many as phi has entries, or as there are dimensions.
        for curve in range(CURVES if nested else 1):
            grown = space.add(brackets(phi, point, modulus, depth=nested, seed=APART * (seed + 1) + curve))
            if watch is not None:
                watch(space.rank, enough)
            if not grown or space.rank >= enough:
                break
        ranks.append(space.rank)
        if space.rank >= enough or (len(ranks) > IDLE and ranks[-1] == ranks[-1 - IDLE]):
            break
    return tuple(ranks)


def _verdict(
    phi: Reparametrisation, certain: Certain, bounds: tuple[int, int, int], assumed: Mapping[str, str]
) -> Verdict:
    known, least, most = bounds
    further = f" and {least - known} more {certain.because}" if least > known else ""
    if least < most:
        return Verdict(
            Kind.UNDECIDED,
            f"the {phi} has at least {least} and at most {most} independent conserved functions",
            f"{known} known laws are independent{further}, and brackets as far as they were taken have rank "
            f"{phi.parameters - most} of {phi.parameters}: a rank that stands still proves nothing",
        )
    return Verdict(
        Kind.PROVED,
        f"the {phi} has exactly {least} independent conserved functions at generic parameters",
        f"{known} known laws are independent{further}, and brackets have rank {phi.parameters - most}: together the "
        f"{phi.parameters} parameters",
        exact=True,
        theorem=THEOREM,
        hypotheses={
            "plain gradient flow, loss and data without symmetry": "assumed",
            "generic parameters, where the dimension of the Lie algebra is locally constant": "assumed",
            **assumed,
        },
    )
