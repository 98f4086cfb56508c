r"""The generic rank of a parameter Jacobian, from evaluations at random points modulo random primes.

The rank at one point modulo one prime never exceeds the generic rank, so a rank that meets an upper bound is proved, at
the first draw. Rows come from random inputs, in batches: while the derivatives are not all in the row space, an input
fails to add a row with probability at most ``D / p``, D the degree in the inputs, so a batch of random inputs without a
new row says that the rows are complete. How likely a rank is too small after all: ``failure`` [Schwartz 1980, Zippel
1979], for a prime drawn among N of at least 2^25 and n points modulo each,

    bad primes / N + ((rank + 1) degree / p)^n,   multiplied over the primes.

A prime is bad when it divides all coefficients of all minors of size rank + 1; one coefficient of B bits has at most
B / 25 such prime divisors.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import ceil, prod
from typing import Any

from intertwiner.numerics.modular import Modulus
from intertwiner.numerics.modular_echelon import Echelon
from intertwiner.numerics.seeds import rng
from intertwiner.variety.family import Family, Size
from intertwiner.variety.primes import COUNT, random_primes

ENTRIES = 1 << 21
"""Numbers of the Jacobian that are made at a time."""

SPARE = 2
"""Inputs beyond the number that could suffice, in the first batch and at least in every later one."""


@dataclass(frozen=True)
class Draw:
    """One random point modulo one prime.

    Args:
        prime: The modulus.
        rank: Rank of the Jacobian there.
        inputs: How many inputs gave rows.
        batches: In how many batches.
    """

    prime: int
    rank: int
    inputs: int
    batches: int = 1

    def to_json(self) -> dict[str, Any]:
        return {"prime": self.prime, "rank": self.rank, "inputs": self.inputs, "batches": self.batches}


def rank_at(
    family: Family,
    theta: Any,
    field: Modulus,
    *,
    bound: int | None = None,
    seed: int = 0,
    progress: Callable[[int, int], None] | None = None,
) -> Draw:
    """The rank of the Jacobian at given parameters modulo a prime, inputs drawn until nothing is added.

    Args:
        family: An architecture.
        theta: Residues of the parameters.
        field: The modulus.
        bound: Where to stop at the latest; the number of parameters by default.
        seed: Decides the inputs.
        progress: Called with (inputs, rank) after every addition of rows.

    Cost: ``2/3 r^2 P`` multiply-adds twice for rank r and P parameters, in matrix products; ``P^2 / 4`` numbers.

    Example:
        >>> import numpy as np
        >>> from intertwiner.variety.architecture import Architecture
        >>> net = Architecture((3, 2, 1), "t^2")
        >>> rank_at(net, np.array([1.0, 2, 3, 1, 2, 3, 1, 1]), Modulus()).rank  # a repeated neuron
        3
    """
    random = rng(seed)
    bound = family.parameters if bound is None else min(bound, family.parameters)
    space = Echelon(family.parameters, field)
    most = max(1, ENTRIES // (family.parameters * family.outputs))
    left, used, batches, grown = ceil(bound / family.outputs) + SPARE, 0, 0, False
    while space.rank < bound:
        count = min(left, most)
        x = family.draw_inputs(count, field, random)
        grown = bool(space.add(family.jacobian(theta, x, field))) or grown
        used, left = used + count, left - count
        if progress is not None:
            progress(used, space.rank)
        if left:
            continue
        batches += 1
        if not grown:
            break
        grown, left = False, ceil((bound - space.rank) / family.outputs) + SPARE
    return Draw(field.prime, space.rank, used, max(1, batches))


def generic_rank(
    family: Family,
    bound: int,
    *,
    primes: int = 2,
    draws: int = 3,
    seed: int = 0,
    progress: Callable[[int, int], None] | None = None,
) -> tuple[Draw, ...]:
    """Ranks at random points modulo random primes, until one meets the bound.

    Args:
        family: An architecture.
        bound: A proved upper bound.
        primes: How many primes.
        draws: Points per prime.
        seed: Decides primes, points and inputs.
        progress: Called with (inputs, rank) while a draw goes on.
    """
    out: list[Draw] = []
    for k, prime in enumerate(random_primes(primes, seed)):
        field = Modulus(prime)
        for n in range(draws):
            number = (seed * primes + k) * draws + n
            theta = family.draw_theta(field, rng(2 * number))
            out.append(rank_at(family, theta, field, bound=bound, seed=2 * number + 1, progress=progress))
            if out[-1].rank >= bound:
                return tuple(out)
    return tuple(out)


def failure(draws: Sequence[Draw], size: Size) -> float:
    """How likely it is, at most, that the true rank is above the largest one drawn.

    Example:
        >>> failure([Draw(67108859, 5, 7)], Size(theta=2, inputs=2, bits=10.0))
        1.47...e-06
    """
    minor = max(d.rank for d in draws) + 1
    bad = minor * size.bits / 25 / COUNT
    by_prime: dict[int, list[float]] = {}
    for d in draws:
        degree = minor * size.theta + d.batches * size.inputs
        by_prime.setdefault(d.prime, []).append(degree / d.prime if degree < d.prime else 1.0)
    return prod(min(1.0, bad + prod(points)) for points in by_prime.values())
