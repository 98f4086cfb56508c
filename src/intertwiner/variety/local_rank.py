r"""The rank of the parameter Jacobian at one given parameter, beside the generic rank.

Below: the rank modulo a prime never exceeds the rank over the rationals. Above, for small networks: the inputs of the
principal lattice, whole numbers that add up to the degree (or to at most the degree, where several degrees occur),
determine every polynomial of that degree, so the rank of the exact Jacobian there is the rank [Nicolaides 1972].
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from dataclasses import dataclass
from fractions import Fraction
from math import comb, lcm
from typing import Any

import numpy as np
from numpy import ndarray

from intertwiner.numerics.modular import Modulus
from intertwiner.variety.exact_rows import fractions, rank_of_fractions, rank_of_whole
from intertwiner.variety.jacobian import Rationals, jacobian
from intertwiner.variety.primes import random_primes
from intertwiner.variety.rank import generic_rank, rank_at
from intertwiner.variety.subject import Subject

MOST_ENTRIES = 6_000
"""Entries of the exact Jacobian: above, the rank is known modulo primes only."""

MOST_BITS = 4_000
"""Bits of an entry of the exact Jacobian, about."""

PRIMES = 2


@dataclass(frozen=True)
class LocalRank:
    """The rank at a parameter, and what it is elsewhere.

    Args:
        rank: The rank of the Jacobian at the parameter.
        exact: Whether it is proved; otherwise it is the rank modulo primes, which is never too large.
        generic: The largest rank that was found at random parameters; the true one is never below.
        bound: A proved upper bound of the generic rank.
    """

    rank: int
    exact: bool
    generic: int
    bound: int

    @property
    def drop(self) -> int:
        """By how much the rank is below the generic one."""
        return self.generic - self.rank

    @property
    def drop_proved(self) -> bool:
        """Whether it is certain that the rank is lower here than elsewhere."""
        return self.exact and self.drop > 0

    @property
    def regular_proved(self) -> bool:
        """Whether it is certain that the rank is the generic one."""
        return self.rank == self.bound

    def to_json(self) -> dict[str, Any]:
        return dict(vars(self))

    @classmethod
    def from_json(cls, record: Mapping[str, Any]) -> LocalRank:
        return cls(**record)

    def __str__(self) -> str:
        how = "" if self.exact else " modulo primes"
        most = "" if self.generic == self.bound else f", at most {self.bound}"
        return f"rank {self.rank}{how} at this parameter, {self.generic} at random ones{most}"


def local_rank(given: Subject, *, seed: int = 0) -> LocalRank:
    """The rank at a parameter and the generic rank.

    Args:
        given: Architecture and parameter.
        seed: Decides primes, inputs and random parameters.

    Cost:
        A few eliminations modulo primes; for small networks one over the rationals.

    Example:
        A repeated neuron:

        >>> from intertwiner.variety.architecture import Architecture
        >>> from intertwiner.variety.subject import subject
        >>> net = Architecture((3, 2, 1), "t^2")
        >>> print(local_rank(subject(net, [1.0, 2, 3, 1, 2, 3, 1, 1])))
        rank 3 at this parameter, 5 at random ones
    """
    architecture, bound = given.architecture, given.architecture.bound().value
    found = 0
    for k, prime in enumerate(random_primes(PRIMES, seed)):
        field = Modulus(prime)
        draw = rank_at(architecture, field.of(given.theta), field, bound=bound, seed=seed * PRIMES + k)
        found = max(found, draw.rank)
        if found == bound:
            return LocalRank(found, True, found, bound)
    generic = max(d.rank for d in generic_rank(architecture, bound, seed=seed + 1))
    exact = _exact(given)
    return LocalRank(found if exact is None else exact, exact is not None, max(generic, found), bound)


def _exact(given: Subject) -> int | None:
    """The rank over the rationals, where it is cheap."""
    net, degrees = given.architecture, given.architecture.degrees
    if isinstance(degrees, int):
        return None
    top = max(degrees)
    points = comb(net.inputs + top - (len(degrees) == 1), top)
    if points * net.outputs * net.parameters > MOST_ENTRIES or 64 * top * net.depth > MOST_BITS:
        return None
    x = lattice(net.inputs, top, homogeneous=len(degrees) == 1)
    theta = fractions(given.theta)
    if net.bias or not net.activation.is_monomial or net.activation.terms[0][1].denominator > 1:
        return rank_of_fractions(jacobian(net, theta, Rationals().array(x), Rationals()))
    # A factor per layer is a factor per block of columns: the rank stays, and nothing but whole numbers is left.
    for W, _ in net.unflatten(theta):  # views of theta
        W[:] = np.vectorize(int, otypes=[object])(W * lcm(*(w.denominator for w in W.ravel())))
    return rank_of_whole(jacobian(net, theta, x, Whole()))


class Whole(Rationals):
    """Whole numbers in object arrays, where the coefficients of the activation are whole."""

    def fraction(self, value: Fraction) -> Any:
        return int(value)


def lattice(variables: int, degree: int, *, homogeneous: bool) -> ndarray:
    """The principal lattice: whole numbers from 0 that add up to the degree, or to at most the degree.

    Example:
        >>> lattice(2, 2, homogeneous=True).tolist()
        [[2, 0], [1, 1], [0, 2]]
    """
    size = variables + (not homogeneous)
    rows = [
        [chosen.count(i) for i in range(variables)]
        for chosen in itertools.combinations_with_replacement(range(size), degree)
    ]
    return np.array(rows, dtype=object).reshape(-1, variables)
