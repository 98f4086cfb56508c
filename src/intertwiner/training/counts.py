r"""How many independent quantities gradient flow conserves: ``D - dim Lie(V)(theta)``, enclosed modulo p.

Below: the known laws, and those of a thin stretch of linear layers (``thin.py``), are conserved by a theorem, and the
rank of their gradients modulo p never exceeds the true one. Above: the rank modulo p of elements of the Lie algebra of
the gradient fields at a random point never exceeds its dimension at generic parameters. Where both meet, the count is
proved, whatever the random numbers were. A rank that has stopped growing proves nothing by itself. The theorem, by
Frobenius: [Marcotte, Gribonval, Peyre 2023, sec. 3].
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
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
from intertwiner.training.chain import Chain
from intertwiner.training.laws import Law, known_laws, law_gradients, rates
from intertwiner.training.potentials import residues
from intertwiner.training.thin import thin_gradients, thin_stretch
from intertwiner.verdict import Kind, Verdict

MOST_PARAMETERS = 3000
"""Above, matrices of D x D numbers are refused; with 3000 the count takes under a gigabyte."""

IDLE = 2
"""Depths in a row that bring nothing new, after which deeper brackets are given up."""

CURVES = 32
"""Most curves per depth; a curve that brings nothing new is the last one of its depth."""

APART = 1 << 20
"""Keeps the seeds of curves apart from those of points."""

THEOREM = "conserved functions of gradient flow [Marcotte, Gribonval, Peyre 2023, sec. 3]"


@dataclass(frozen=True)
class ConservationCount:
    """The number of independent conserved functions of gradient flow, or bounds on it.

    Args:
        chain: The network.
        known: Independent laws among those that the structure gives.
        least: Number of independent laws that there are for certain, those of a thin stretch included.
        most: Number that cannot be exceeded, ``D - rank``.
        ranks: Rank of the brackets by depth of nesting, one row per prime; depth 0 are the fields themselves.
        primes: The primes that were used, one random draw each.
        seed: By which the draws can be made again.
        verdict: PROVED where the bounds meet.
        seconds: Wall-clock time; not compared.
    """

    chain: Chain
    known: int
    least: int
    most: int
    ranks: tuple[tuple[int, ...], ...]
    primes: tuple[int, ...]
    seed: int
    verdict: Verdict
    seconds: float = field(compare=False)

    @property
    def parameters(self) -> int:
        """Number of parameters D."""
        return self.chain.parameters

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
            "widths": list(self.chain.widths),
            "activation": self.chain.activation,
            "bias": self.chain.bias,
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
        chain = Chain(tuple(fields.pop("widths")), fields.pop("activation"), fields.pop("bias"))
        fields["ranks"] = tuple(tuple(row) for row in fields["ranks"])
        fields["primes"] = tuple(fields["primes"])
        fields["verdict"] = Verdict.from_json(fields["verdict"])
        return cls(chain=chain, **fields)

    def __str__(self) -> str:
        number = str(self.least) if self.laws is not None else f"{self.least} to {self.most}"
        return (
            f"{self.chain}: {number} independent conserved functions of {self.parameters} parameters, "
            f"{self.known} known by structure; {self.verdict.kind}"
        )


def count_laws(
    widths: Sequence[int],
    activation: str = "linear",
    *,
    bias: bool = False,
    depth: int = 8,
    primes: Sequence[int] = PRIMES,
    seed: int = 0,
) -> ConservationCount:
    r"""Count the independent conserved functions of a fully connected network under plain gradient flow.

    The loss is any smooth function of the outputs on a data set without symmetry; parameters are generic. No momentum,
    weight decay or adaptive step sizes.

    Args:
        widths: Input, hidden and output widths.
        activation: ``"linear"`` or ``"relu"``.
        bias: Whether the layers have biases.
        depth: Most brackets nested in one another that are tried.
        primes: Odd primes below 2^26 and above ``depth``; each gets its own point, fields and curve.
        seed: Decides all random numbers.

    Returns:
        The count with its certificate, or both bounds where they do not meet.

    Raises:
        WrongUse: For widths, an activation, a depth, primes or a seed that are no such thing, or more parameters than
            ``MOST_PARAMETERS``.
        Contradiction: A bug in the library: a known law is not conserved, or the bounds cross.

    Cost:
        Per prime, curve and depth n, ``n^2 / 2`` products of D x D matrices, and an elimination in ``D^3``.

    Example:
        >>> print(count_laws((2, 3, 2)))
        linear network (2, 3, 2): 6 independent conserved functions of 12 parameters, 6 known by structure; PROVED
        >>> count_laws((2, 2, 1), "relu", bias=True).laws
        2
    """
    start = perf_counter()
    chain = Chain(tuple(widths), activation, bias)
    _check(chain, depth, primes, seed)
    laws = known_laws(chain)
    known, least, ranks = 0, 0, []
    for k, prime in enumerate(primes):
        modulus, draw = Modulus(prime), seed * len(primes) + k
        point = residues((chain.parameters,), modulus, rng(draw))
        bounds = _certain(chain, laws, point, modulus, seed=draw)
        known, least = max(known, bounds[0]), max(least, bounds[1])
        ranks.append(_bracket_ranks(chain, point, modulus, depth=depth, enough=chain.parameters - least, seed=draw))
    most = chain.parameters - max(row[-1] for row in ranks)
    if least > most:
        raise Contradiction(
            f"{least} laws of the {chain} are certain, and no more than {most} possible. "
            "Please report this. Nothing was counted."
        )
    verdict = _verdict(chain, known, least, most)
    return ConservationCount(
        chain, known, least, most, tuple(ranks), tuple(primes), seed, verdict, perf_counter() - start
    )


def _check(chain: Chain, depth: int, primes: Sequence[int], seed: int) -> None:
    if chain.parameters > MOST_PARAMETERS:
        raise WrongUse(
            f"the {chain} has {chain.parameters} parameters, the bound is {MOST_PARAMETERS}: its matrices would take "
            f"about {10 * 8 * chain.parameters**2 / 1e9:.1f} GB. Next step: count a narrower network of the same "
            "depth; known_laws works at any size. Nothing was computed."
        )
    if seed < 0:
        raise WrongUse(f"a seed is a whole number of at least 0, got {seed}. Nothing was computed.")
    if depth < 0 or not primes or min(primes) <= depth:
        raise WrongUse(
            f"count_laws needs at least one prime and a depth from 0 to below it, got depth {depth} and primes "
            f"{tuple(primes)}: jets divide by the numbers up to the depth. Nothing was computed."
        )


def _certain(
    chain: Chain, laws: Sequence[Law], point: Float[ndarray, " D"], modulus: Modulus, *, seed: int
) -> tuple[int, int]:
    """Rank of the known laws at the point, and of these with the laws of the thin stretch."""
    changing = np.flatnonzero(rates(laws, chain, modulus, seed=seed).any(axis=1))
    if len(changing):
        raise Contradiction(
            f"{laws[changing[0]].formula} is not conserved by the {chain}, modulo {modulus.prime}, seed {seed}. "
            "Please report this. Nothing was counted."
        )
    space = Echelon(chain.parameters, modulus)
    space.add(law_gradients(laws, point, modulus))
    known = space.rank
    space.add(thin_gradients(chain, point, modulus))
    return known, space.rank


def _bracket_ranks(
    chain: Chain, point: Float[ndarray, " D"], modulus: Modulus, *, depth: int, enough: int, seed: int
) -> tuple[int, ...]:
    """Rank after every depth of nesting, until it is enough or has stood still."""
    space, ranks = Echelon(chain.parameters, modulus), []
    for nested in range(depth + 1):
        # The fields at the point need no second draw: there are as many as phi has entries, or as there are dimensions.
        for curve in range(CURVES if nested else 1):
            grown = space.add(brackets(chain, point, modulus, depth=nested, seed=APART * (seed + 1) + curve))
            if not grown or space.rank >= enough:
                break
        ranks.append(space.rank)
        if space.rank >= enough or (len(ranks) > IDLE and ranks[-1] == ranks[-1 - IDLE]):
            break
    return tuple(ranks)


def _verdict(chain: Chain, known: int, least: int, most: int) -> Verdict:
    stretch = thin_stretch(chain)
    further = ""
    if stretch is not None and least > known:
        further = (
            f" and {least - known} more by the layers {stretch[0] + 1} to {stretch[1]}, which move along one curve"
        )
    if least < most:
        return Verdict(
            Kind.UNDECIDED,
            f"the {chain} has at least {least} and at most {most} independent conserved functions",
            f"{known} known laws are independent{further}, and brackets as far as they were taken have rank "
            f"{chain.parameters - most} of {chain.parameters}: a rank that stands still proves nothing",
        )
    return Verdict(
        Kind.PROVED,
        f"the {chain} has exactly {least} independent conserved functions at generic parameters",
        f"{known} known laws are independent{further}, and brackets have rank {chain.parameters - most}: together the "
        f"{chain.parameters} parameters",
        exact=True,
        theorem=THEOREM,
        hypotheses={
            "plain gradient flow, loss and data without symmetry": "assumed",
            "generic parameters, where the dimension of the Lie algebra is locally constant": "assumed",
        },
    )
