r"""The dimension of Lie(V) at given weights, beside the one at generic weights.

``D - dim Lie(V)(theta)`` counts the conserved functions only near a theta where the dimension does not change. It can
drop at special weights (a zero neuron, two equal ones): then fewer directions are open there, and a run that starts
there keeps more than the count says. Floats are dyadic rationals, so residues of the weights are exact, and the rank
modulo p of brackets at them never exceeds the true one. The dimension is lower semicontinuous: where it is as large as
anywhere, it is locally constant.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float
from numpy import ndarray

from intertwiner.errors import NonFiniteWeights, ShapeMismatch, WrongUse
from intertwiner.network import Network
from intertwiner.numerics.modular import PRIMES, Modulus
from intertwiner.numerics.seeds import rng
from intertwiner.training.counts import Certain, Gradients, bracket_ranks, certain_ranks, check_count
from intertwiner.training.lowering import Lowered, lower
from intertwiner.training.network_counts import check_work, no_laws
from intertwiner.training.potentials import residues
from intertwiner.training.reparametrisation import Reparametrisation
from intertwiner.verdict import Kind, Verdict

Ranks = tuple[tuple[int, ...], ...]


@dataclass(frozen=True)
class LocalRank:
    """Ranks of brackets at given and at random weights, lower bounds for the dimension of Lie(V) there.

    Args:
        network: What was looked at, in words.
        parameters: Number of parameters D.
        generic: The rank at random weights, the largest over the primes.
        here: The rank at the given weights, the largest over the primes.
        generic_ranks: Ranks at random weights by depth of nesting, one row per prime.
        here_ranks: The same at the given weights.
        primes: The primes.
        seed: By which the draws can be made again.
        verdict: PROVED where the dimension is locally constant at the given weights.
    """

    network: str
    parameters: int
    generic: int
    here: int
    generic_ranks: Ranks
    here_ranks: Ranks
    primes: tuple[int, ...]
    seed: int
    verdict: Verdict

    def to_json(self) -> dict[str, Any]:
        """The record as plain values."""
        return {
            "network": self.network,
            "parameters": self.parameters,
            "generic": self.generic,
            "here": self.here,
            "generic_ranks": [list(row) for row in self.generic_ranks],
            "here_ranks": [list(row) for row in self.here_ranks],
            "primes": list(self.primes),
            "seed": self.seed,
            "verdict": self.verdict.to_json(),
        }

    @classmethod
    def from_json(cls, record: Mapping[str, Any]) -> LocalRank:
        """The record that ``to_json`` wrote."""
        fields = dict(record)
        for name in ("generic_ranks", "here_ranks"):
            fields[name] = tuple(tuple(row) for row in fields[name])
        fields["primes"] = tuple(fields["primes"])
        fields["verdict"] = Verdict.from_json(fields["verdict"])
        return cls(**fields)

    @property
    def words(self) -> str:
        """Both ranks, and what that means."""
        if self.here < self.generic:
            return f"not locally constant: generic {self.generic}, here {self.here}"
        return f"{self.here} here and generically; {self.verdict.kind}"

    def __str__(self) -> str:
        return f"{self.network}: {self.words}"


def rank_at(
    subject: Network | Lowered | Reparametrisation,
    theta: Float[ndarray, " D"] | None = None,
    known: Gradients | Certain | None = None,
    *,
    depth: int = 8,
    primes: Sequence[int] = PRIMES,
    seed: int = 0,
) -> LocalRank:
    """The dimension of Lie(V) at given weights beside the generic one, as far as brackets were taken.

    Args:
        subject: A traced network, what `lower` made of it, or any reparametrisation.
        theta: The weights, in the order of the parameters; a network's own by default.
        known: Functions that a theorem says are conserved, as for ``count_laws_of``: they bound the dimension from
            above, and without them nothing is called proved but the full D.
        depth: Most brackets nested in one another.
        primes: Odd primes below 2^26 and above ``depth``.
        seed: Decides all random numbers.

    Returns:
        Both ranks. PROVED where the one at theta meets the largest that is possible anywhere.

    Raises:
        WrongUse: For arguments that are no such thing, or a network beyond the bounds.
        ShapeMismatch: For another number of weights.
        NonFiniteWeights: NaN or infinity among them.
        Contradiction: A known law is not conserved.

    Cost:
        Twice that of the count.

    Example:
        A ReLU neuron without incoming weights opens fewer directions:

        >>> from intertwiner.training import Chain, certain_laws
        >>> chain = Chain((2, 2, 1), "relu")
        >>> print(rank_at(chain, np.array([1.0, 2.0, 0.0, 0.0, 3.0, 0.0]), certain_laws(chain)))
        relu network (2, 2, 1): not locally constant: generic 4, here 2
        >>> print(rank_at(chain, np.array([1.0, 2.0, 0.5, 0.25, 3.0, 1.5]), certain_laws(chain)))
        relu network (2, 2, 1): 4 here and generically; PROVED
    """
    if isinstance(subject, Network):
        subject = lower(subject)
    if isinstance(subject, Lowered):
        theta = subject.theta if theta is None else theta
        check_work(subject.circuit, 2 * len(primes))
        subject = subject.circuit
    check_count(subject, depth, primes, seed)
    weights = _checked(subject, theta)
    certain = known if isinstance(known, Certain) else Certain(known or no_laws)
    generic, here, least = [], [], 0
    for k, prime in enumerate(primes):
        modulus, draw = Modulus(prime), seed * len(primes) + k
        point = residues((subject.parameters,), modulus, rng(draw))
        least = max(least, certain_ranks(subject, certain, point, modulus, seed=draw)[1])
        for at, rows in ((point, generic), (modulus.of(weights), here)):
            enough = subject.parameters - least
            rows.append(bracket_ranks(subject, at, modulus, depth=depth, enough=enough, seed=draw))
    ranks = max(row[-1] for row in generic), max(row[-1] for row in here)
    verdict = _verdict(subject, ranks, subject.parameters - least)
    return LocalRank(
        str(subject), subject.parameters, *ranks, tuple(generic), tuple(here), tuple(primes), seed, verdict
    )


def _checked(subject: Reparametrisation, theta: ndarray | None) -> Float[ndarray, " D"]:
    if theta is None:
        raise WrongUse(f"the {subject} has no weights of its own: rank_at needs theta. Nothing was computed.")
    weights = np.asarray(theta, dtype=np.float64)
    if weights.shape != (subject.parameters,):
        raise ShapeMismatch(
            f"the {subject} takes {subject.parameters} weights in one row, got shape {weights.shape}. Usual cause: "
            "another network, or weights that were not flattened. Nothing was computed."
        )
    if not np.isfinite(weights).all():
        raise NonFiniteWeights(
            f"{int((~np.isfinite(weights)).sum())} of {weights.size} weights are NaN or infinite: no rank there. "
            "Usual cause: training diverged. Nothing was computed."
        )
    return weights


def _verdict(subject: Reparametrisation, ranks: tuple[int, int], most: int) -> Verdict:
    generic, here = ranks
    claim = f"the dimension of the Lie algebra of the {subject} is locally constant at these weights"
    if here == most:
        reason = f"brackets at the weights have rank {here}, and the known laws leave no more anywhere"
        return Verdict(Kind.PROVED, claim, reason, exact=True)
    if here < generic:
        reason = (
            f"not locally constant: generic {generic}, here {here}, as far as brackets were taken. Both are lower "
            "bounds: deeper brackets may open more directions here"
        )
    else:
        reason = f"brackets have rank {here} here and {generic} at random weights, and {most} is not excluded"
    return Verdict(Kind.UNDECIDED, claim, reason)
