r"""Actions by exact matrices: entries in Q(zeta), zeta a root of unity, recognised from floats and checked exactly.

Signed permutations and other rational matrices need no root. Turns of the plane have entries ``cos(2 pi k / N) =
(zeta^k + zeta^-k) / 2``. A float that is within rounding of a fraction with a small denominator, or of such a cosine,
is taken for it; the matrices must then satisfy the relations of the group exactly. Modulo a prime ``p = 1 mod N`` the
field has a root of order N too, and sending one to the other is a homomorphism of rings: a rank modulo p never
exceeds the true one.
"""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from functools import cached_property
from math import cos, lcm, pi

import numpy as np
from flint import fmpq, fmpq_poly, fmpz, fmpz_poly
from jaxtyping import Float
from numpy import ndarray

from intertwiner.algebra import Group, Representation
from intertwiner.errors import NotAnAction, WrongUse
from intertwiner.numerics.modular import Modulus
from intertwiner.numerics.tolerance import ROUNDING

LARGEST_DENOMINATOR = 64
"""Fractions with larger denominators are not recognised in floats."""

MOST_ELEMENTS = 1000
"""Largest group whose matrices are all written out."""


@dataclass(frozen=True, eq=False)
class ExactAction:
    """Matrices of the elements of a group over ``Q[z] / Phi_N(z)``.

    Args:
        group: The group.
        order: N, the order of the root of unity; 1 for rational matrices.
        images: One matrix per element, entries polynomials in z of flint, reduced.
        representation: The representation that it is.

    Example:
        >>> from intertwiner.algebra import cyclic
        >>> turn = exact_action(Representation(cyclic(4), (np.array([[0.0, -1.0], [1.0, 0.0]]),)))
        >>> turn.order, turn.orthogonal, turn.residues(Modulus())[1]
        (1, True, array([[ 0., -1.],
                         [ 1.,  0.]]))
    """

    group: Group
    order: int
    images: tuple[ndarray, ...]
    representation: Representation

    @property
    def dimension(self) -> int:
        return len(self.images[0])

    @property
    def rational(self) -> bool:
        """Whether no root of unity is needed."""
        return self.order == 1

    @cached_property
    def orthogonal(self) -> bool:
        """Whether all matrices are orthogonal, exactly."""
        generators = [self.images[s] for s in self.group.generators]
        identity = self.images[0]
        return all(_same(reduced(m @ m.T, self.order), identity) for m in generators)

    def residues(self, field: Modulus) -> Float[ndarray, "n d d"]:
        """The matrices of all elements modulo p.

        Raises:
            WrongUse: If the field has no root of order N.
        """
        return np.stack([to_residues(m, self.order, field) for m in self.images])

    def with_order(self, order: int) -> ExactAction:
        """The same action with a root of unity of a larger order, a multiple of N."""
        step = order // self.order
        images = tuple(_map(m, lambda x: _spread(x, step) % cyclotomic(order)) for m in self.images)
        return ExactAction(self.group, order, images, self.representation)

    def with_trivial(self, count: int) -> ExactAction:
        """The direct sum with coordinates that do not move."""
        if not count:
            return self
        size, zero, one = self.dimension, fmpq_poly([]), fmpq_poly([1])
        images = []
        for matrix in self.images:
            wider = np.empty((size + count, size + count), dtype=object)
            wider.fill(zero)
            wider[:size, :size] = matrix
            for k in range(size, size + count):
                wider[k, k] = one
            images.append(wider)
        wide = self.representation + Representation.trivial(self.group, count)
        return ExactAction(self.group, self.order, tuple(images), wide)


def cyclotomic(order: int) -> fmpq_poly:
    """The minimal polynomial of a root of unity."""
    return fmpq_poly(fmpz_poly.cyclotomic(order))


def exact_action(rho: Representation) -> ExactAction:
    """The exact matrices of a representation that is given by floats.

    Raises:
        WrongUse: More than ``MOST_ELEMENTS`` elements, or entries that are neither fractions with small denominators
            nor cosines of fractions of the circle.
        NotAnAction: The recognised matrices do not satisfy the relations of the group exactly.

    Cost:
        One product of d x d exact matrices per element and generator.

    Example:
        A turn by 45 degrees needs a root of order 8:

        >>> from intertwiner.algebra import cyclic, irrep
        >>> exact_action(irrep(cyclic(8), "E1").representation).order
        8
    """
    group = rho.group
    if group.order > MOST_ELEMENTS:
        raise WrongUse(
            f"{group.name} has {group.order} elements, exact matrices are written out up to {MOST_ELEMENTS}. "
            "Next step: a subgroup. Nothing was computed."
        )
    dense = rho.dense_images()
    order = 1
    recognised = [_recognise(m, order) for m in dense]
    if any(m is None for m in recognised):
        order = lcm(4, group.exponent)
        recognised = [_recognise(m, order) for m in dense]
    images = []
    for found, m in zip(recognised, dense, strict=True):
        if found is None:
            strange = next(v for v in m.ravel() if recognised_number(float(v), order) is None)
            raise WrongUse(
                f"the entry {float(strange)!r} of a matrix of {group.name} is no fraction with a denominator up to "
                f"{LARGEST_DENOMINATOR} and no cosine of a multiple of 1/{order} of the circle: it is not known "
                "exactly. Next step: give the action by permutations, signs or turns, in another basis. "
                "Nothing was computed."
            )
        images.append(found)
    identity = _identity(rho.dimension)

    def compose(a: ndarray, b: ndarray) -> ndarray:
        return reduced(a @ b, order)

    if not group.is_homomorphism(images, compose, identity, _same):
        raise NotAnAction(
            f"the exact matrices recognised in the floats do not satisfy the relations of {group.name}. "
            "Usual cause: entries that are only near to fractions. Next step: matrices in full "
            "float64 precision. Nothing was computed."
        )
    return ExactAction(group, order, tuple(group.extend(images, compose, identity)), rho)


def _recognise(matrix: Float[ndarray, "d d"], order: int) -> ndarray | None:
    out = np.empty(matrix.shape, dtype=object)
    for place, value in np.ndenumerate(matrix):
        found = recognised_number(float(value), order)
        if found is None:
            return None
        out[place] = found
    return out


def recognised_number(value: float, order: int) -> fmpq_poly | None:
    """The exact number that a float within rounding stands for: a fraction first, a cosine otherwise."""
    near = Fraction(value).limit_denominator(LARGEST_DENOMINATOR)
    if abs(float(near) - value) <= ROUNDING * max(1.0, abs(value)):
        return fmpq_poly([fmpq(near.numerator, near.denominator)])
    for k in range(order if order > 1 else 0):
        if abs(cos(2 * pi * k / order) - value) <= ROUNDING:
            power = [0] * order
            power[k] += 1
            power[-k % order] += 1
            return fmpq_poly(power) / 2 % cyclotomic(order)
    return None


def _identity(size: int) -> ndarray:
    out = np.empty((size, size), dtype=object)
    for i, j in np.ndindex(size, size):
        out[i, j] = fmpq_poly([int(i == j)])
    return out


def _map(matrix: ndarray, function) -> ndarray:
    out = np.empty(matrix.shape, dtype=object)
    for place, value in np.ndenumerate(matrix):
        out[place] = function(value)
    return out


def reduced(matrix: ndarray, order: int) -> ndarray:
    """Entries modulo the cyclotomic polynomial."""
    modulus = cyclotomic(order)
    return _map(matrix, lambda x: x % modulus)


def _same(a: ndarray, b: ndarray) -> bool:
    return bool(np.all(a == b))


def _spread(x: fmpq_poly, step: int) -> fmpq_poly:
    """``x(z^step)``."""
    out = [fmpq(0)] * (step * max(len(x.coeffs()), 1))
    out[::step] = x.coeffs() or [fmpq(0)]
    return fmpq_poly(out)


def to_residues(matrix: ndarray, order: int, field: Modulus) -> Float[ndarray, "..."]:
    """Exact numbers modulo p, by evaluation at a root of order N."""
    root = root_of_unity(order, field)
    powers = [pow(root, k, field.prime) for k in range(order)]
    out = np.zeros(matrix.shape)
    for place, value in np.ndenumerate(matrix):
        if not value:
            continue
        coefficients = [field.fraction(Fraction(int(c.p), int(c.q))) for c in value.coeffs()]
        total = sum(int(c) * powers[k] for k, c in enumerate(coefficients)) % field.prime
        out[place] = total - field.prime if 2 * total > field.prime else total
    return out


def root_of_unity(order: int, field: Modulus) -> int:
    """The root of order N modulo p that is a power of the least base that gives one.

    Raises:
        WrongUse: If N does not divide p - 1.

    Example:
        >>> root_of_unity(3, Modulus(7))
        4
    """
    p = field.prime
    if (p - 1) % order:
        raise WrongUse(
            f"modulo {p} there is no root of unity of order {order}. Next step: primes_for. Nothing was computed."
        )
    factors = [int(q) for q, _ in fmpz(order).factor()] if order > 1 else []
    for base in range(1, p):
        root = pow(base, (p - 1) // order, p)
        if all(pow(root, order // q, p) != 1 for q in factors):
            return root
    raise WrongUse(f"{p} is no prime. Nothing was computed.")


def primes_for(order: int, count: int = 2) -> tuple[int, ...]:
    """The largest primes below 2^26 that are 1 modulo N.

    Example:
        >>> primes_for(1), [p % 8 for p in primes_for(8)]
        ((67108859, 67108837), [1, 1])
    """
    out: list[int] = []
    candidate = ((1 << 26) - 1) // order * order + 1
    while len(out) < count:
        if candidate < 1 << 26 and candidate % 2 and fmpz(candidate).is_prime():
            out.append(candidate)
        candidate -= order
    return tuple(out)
