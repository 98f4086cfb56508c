r"""Complex characters of a finite group, exact up to one rounding.

A random class function c with ``c(g^-1) = conj(c(g))`` is a central element of the group algebra; in the basis of
class sums, scaled by ``sqrt|C|``, it is a Hermitian k x k matrix whose eigenvectors are the irreducible
characters ``sqrt|C| chi(C)`` [Dixon 1967, in floating point; theory.md section 7]. The values are then made
exact: ``chi(g)`` is a sum of roots of unity, and their multiplicities, integers, are the discrete Fourier
transform of ``chi(g^j)``. A value that all its Galois conjugates ``chi(g^j)``, gcd(j, o) = 1, equal is rational,
hence an integer, and is stored as one.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from jaxtyping import Complex, Float, Int
from numpy import ndarray

from intertwiner.algebra.group import Group
from intertwiner.errors import GroupError
from intertwiner.numerics.seeds import rng
from intertwiner.numerics.tolerance import ROUNDED_MULTIPLICITY, TOLERANCE

SEEDS = range(8)
"""Random class functions to try: one is discarded when two of its eigenvalues happen to lie too close."""


@lru_cache(maxsize=256)
def complex_characters(group: Group) -> Complex[ndarray, "k k"]:
    """The complex character table: irreps by dimension, then by their values; columns are ``conjugacy_classes``.

    Cost:
        O(n k + k^3); cyclic and dihedral groups by formula; products from their factors.

    Example:
        >>> from intertwiner.algebra.families import symmetric
        >>> complex_characters(symmetric(3)).real.astype(int).tolist()
        [[1, 1, 1], [1, -1, 1], [2, 0, -1]]
    """
    if group.parts:
        table = np.ones((1, 1), dtype=np.complex128)
        for factor in group.parts:
            table = np.kron(table, complex_characters(factor))
    elif group.family == "cyclic":
        table = _cyclic(group)
    elif group.family == "dihedral":
        table = _dihedral(group)
    else:
        table = characters_by_class_algebra(group)
    table.setflags(write=False)
    return table


def characters_by_class_algebra(group: Group) -> Complex[ndarray, "k k"]:
    """The character table of any group, from its class algebra alone.

    Raises:
        GroupError: The numbers do not round to a character table: the Cayley table is not that of a group.
    """
    for seed in SEEDS:
        table = _exact(group, _approximate(group, seed))
        if table is not None and _is_orthogonal(group, table):
            return _sorted(table)
    raise GroupError(f"{group.name}: no character table came out of {len(SEEDS)} tries; check the Cayley table")


def power_classes(group: Group, c: int) -> Int[ndarray, " order"]:
    """The classes of ``g^0, g^1, ...`` for g in class c, up to the order of g."""
    g = int(group.class_representatives[c])
    powers = [0]
    for _ in range(group.element_order(g) - 1):
        powers.append(int(group.multiply(g, powers[-1])))
    return group.class_of[np.array(powers)]


def inverse_classes(group: Group) -> Int[ndarray, " k"]:
    """The class of the inverses of every class."""
    return group.class_of[group.inverses[group.class_representatives]]


def frobenius_schur(group: Group) -> Int[ndarray, " k"]:
    """Frobenius-Schur indicator ``mean of chi(g^2)`` per complex irrep: 1 real, 0 complex, -1 quaternionic.

    Example:
        >>> from intertwiner.algebra.families import quaternion
        >>> frobenius_schur(quaternion()).tolist()
        [1, 1, 1, 1, -1]
    """
    squares = group.class_of[group.power(group.class_representatives, 2)]
    mean = (complex_characters(group)[:, squares] * group.class_sizes).sum(axis=1) / group.order
    return np.rint(mean.real).astype(np.int64)


def _approximate(group: Group, seed: int) -> Complex[ndarray, "k k"]:
    k, random = group.class_count, rng(seed)
    c = random.standard_normal(k) + 1j * random.standard_normal(k)
    c = c + np.conj(c[inverse_classes(group)])
    weights, inverses = c[group.class_of], group.inverses
    algebra = np.empty((k, k), dtype=np.complex128)
    for column, z in enumerate(group.class_representatives):
        target = group.class_of[group.multiply(inverses, int(z))]
        algebra[:, column] = np.bincount(target, weights.real, k) + 1j * np.bincount(target, weights.imag, k)
    root = np.sqrt(group.class_sizes)
    hermitian = algebra * root[None, :] / root[:, None]
    vectors = np.linalg.eigh((hermitian + hermitian.conj().T) / 2)[1]
    first = vectors[0]
    # A vector with no weight on the identity is no character: two eigenvalues met. The caller tries again.
    first = np.where(np.abs(first) > TOLERANCE["float64"], first, 1.0)
    return (np.abs(first) * np.sqrt(group.order) / first * (vectors / root[:, None])).T


def _exact(group: Group, approximate: Complex[ndarray, "k k"]) -> Complex[ndarray, "k k"] | None:
    table = np.empty_like(approximate)
    for c in range(group.class_count):
        classes = power_classes(group, c)
        order = len(classes)
        multiplicities = np.fft.fft(approximate[:, classes], axis=1) / order
        rounded = np.rint(multiplicities.real)
        if np.abs(multiplicities - rounded).max() > ROUNDED_MULTIPLICITY or rounded.min() < 0:
            return None
        table[:, c] = rounded @ np.exp(2j * np.pi * np.arange(order) / order)
    return _snap(group, table)


def _snap(group: Group, table: Complex[ndarray, "k k"]) -> Complex[ndarray, "k k"]:
    """Integers where the value is rational, real numbers where the class is that of the inverses."""
    out = table.copy()
    for c in range(group.class_count):
        classes = power_classes(group, c)
        units = [j for j in range(1, len(classes) + 1) if np.gcd(j, len(classes)) == 1]
        conjugates = table[:, classes[np.array(units) % len(classes)]]
        rational = np.abs(conjugates - table[:, c][:, None]).max(axis=1) < TOLERANCE["float64"]
        out[rational, c] = np.rint(np.real(table[rational, c]))
        real = np.abs(np.imag(table[:, c])) < TOLERANCE["float64"]
        out[real, c] = np.real(out[real, c])
    return out


def _is_orthogonal(group: Group, table: Complex[ndarray, "k k"]) -> bool:
    gram = (table * group.class_sizes) @ table.conj().T / group.order
    return bool(np.abs(gram - np.eye(len(table))).max() < TOLERANCE["float64"])


def _sorted(table: Complex[ndarray, "k k"]) -> Complex[ndarray, "k k"]:
    # Rounded before sorting, so that the last bits of an eigenvector never decide the order of irreps.
    digits = np.round(np.stack([np.real(table), np.imag(table)], axis=-1).reshape(len(table), -1), 6) + 0.0
    keys = [(row[0], *(-row[2:]).tolist()) for row in digits]
    return table[sorted(range(len(table)), key=lambda i: keys[i])]


def _cyclic(group: Group) -> Complex[ndarray, "n n"]:
    # Irreps 0, 1, n-1, 2, n-2, ...: conjugate pairs side by side.
    n = group.order
    frequencies = np.array(sorted(range(n), key=lambda k: (min(k, n - k), k)))
    turns = frequencies[:, None] * group.class_representatives[None, :] % n
    return _snap(group, np.exp(2j * np.pi * turns / n))


def _dihedral(group: Group) -> Complex[ndarray, "k k"]:
    n = group.order // 2
    turn, mirrored = group.class_representatives % n, group.class_representatives >= n
    sign = np.where(mirrored, -1.0, 1.0)
    rows: list[Float[ndarray, " k"]] = [np.ones(len(turn)), sign]
    if n % 2 == 0:
        alternating = np.where(turn % 2, -1.0, 1.0)
        rows += [alternating, alternating * sign]
    rows += [np.where(mirrored, 0.0, 2 * np.cos(2 * np.pi * (turn * j % n) / n)) for j in range(1, (n + 1) // 2)]
    return _snap(group, np.array(rows, dtype=np.complex128))
