"""The named families: cyclic, dihedral, symmetric, alternating, quaternion and dicyclic, Frobenius.

Elements are numbered so that formulae stay short: ``r^k s^f`` of a dihedral group is ``k + n f``; permutations
stand in lexicographic order.
"""

from __future__ import annotations

from functools import lru_cache
from math import factorial

import numpy as np

from intertwiner.algebra.construct import from_permutations
from intertwiner.algebra.group import MAX_TABLE, Group
from intertwiner.errors import GroupError, GroupTooLarge


def _require(condition: bool, name: str, order: int, need: str) -> None:
    if not condition:
        raise GroupError(f"{name}: expected {need}")
    if order > MAX_TABLE:
        raise GroupTooLarge(
            f"{name} has {order} elements; a Cayley table is built up to {MAX_TABLE}. Nothing was built."
        )


def _power_name(letter: str, k: int) -> str:
    return "" if k == 0 else letter if k == 1 else f"{letter}{k}"


@lru_cache
def cyclic(n: int) -> Group:
    """The cyclic group: element k is ``r^k``, a turn of the plane by 2 pi k / n counterclockwise.

    Raises:
        GroupError: n < 1.
        GroupTooLarge: n > 5,000.

    Example:
        >>> cyclic(4).element_names
        ('e', 'r', 'r2', 'r3')
    """
    _require(n >= 1, f"C{n}", n, "n >= 1")
    k = np.arange(n)
    turns = (k[:, None] + k[None, :]) % n
    labels = tuple(_power_name("r", int(i)) or "e" for i in k)
    return Group(f"C{n}", (1,) if n > 1 else (), turns.astype(np.int16), (), "cyclic", labels, turns, _turns(n))


def _turns(n: int) -> np.ndarray:
    angle = 2 * np.pi * np.arange(n) / n
    c, s = np.cos(angle), np.sin(angle)
    if n % 4 == 0 or n <= 2:
        # Quarter and half turns are exact, so that grids can be recognised bit for bit.
        for quarter, (x, y) in enumerate(((1.0, 0.0), (0.0, 1.0), (-1.0, 0.0), (0.0, -1.0))):
            if quarter * n % 4 == 0:
                c[quarter * n // 4], s[quarter * n // 4] = x, y
    return np.stack([np.stack([c, -s], axis=-1), np.stack([s, c], axis=-1)], axis=-2)


@lru_cache
def dihedral(n: int) -> Group:
    """The dihedral group of order 2n: element ``k + n f`` is ``r^k s^f``, with ``s r s = r^-1``.

    ``r`` is a turn by 2 pi / n counterclockwise, ``s`` the reflection x -> -x (left-right); the permutations are
    those of the corners of a regular polygon with corner 0 at the top (for n >= 3).

    Raises:
        GroupError: n < 1.
        GroupTooLarge: n > 2,500.

    Example:
        >>> G = dihedral(4)
        >>> G.element_names
        ('e', 'r', 'r2', 'r3', 's', 'rs', 'r2s', 'r3s')
        >>> G.permutations[G.element("s")].tolist()
        [0, 3, 2, 1]
    """
    _require(n >= 1, f"D{n}", 2 * n, "n >= 1")
    k, f = np.tile(np.arange(n), 2), np.repeat([0, 1], n)
    turned = (k[:, None] + np.where(f[:, None] == 1, -1, 1) * k[None, :]) % n
    table = turned + n * (f[:, None] ^ f[None, :])
    labels = tuple((_power_name("r", int(a)) + "s" * int(b)) or "e" for a, b in zip(k, f, strict=True))
    corners = np.arange(n)[None, :]
    permutations = (k[:, None] + np.where(f[:, None] == 1, -1, 1) * corners) % n if n >= 3 else None
    mirror = np.diag([-1.0, 1.0])
    matrices = np.concatenate([_turns(n), _turns(n) @ mirror])
    generators = (1, n) if n > 1 else (1,)
    return Group(f"D{n}", generators, table.astype(np.int16), (), "dihedral", labels, permutations, matrices)


@lru_cache
def symmetric(n: int) -> Group:
    """All permutations of ``0..n-1``, in lexicographic order; generators: the swap ``(0 1)`` and the full cycle.

    Raises:
        GroupError: n < 1.
        GroupTooLarge: n > 6.

    Example:
        >>> symmetric(3).element_names
        ('e', '(1 2)', '(0 1)', '(0 1 2)', '(0 2 1)', '(0 2)')
    """
    _require(n >= 1, f"S{n}", factorial(max(n, 0)), "n >= 1")
    if n == 1:
        return Group("S1", (), np.zeros((1, 1), dtype=np.int16), (), "symmetric", ("e",), np.zeros((1, 1), dtype=int))
    swap, cycle = [1, 0, *range(2, n)], [*range(1, n), 0]
    return from_permutations([swap] if n == 2 else [swap, cycle], name=f"S{n}", family="symmetric")


@lru_cache
def alternating(n: int) -> Group:
    """The even permutations of ``0..n-1``, in lexicographic order.

    Raises:
        GroupError: n < 1.
        GroupTooLarge: n > 7.

    Example:
        >>> alternating(5).order
        60
    """
    _require(n >= 1, f"A{n}", factorial(max(n, 0)) // 2, "n >= 1")
    if n < 3:
        points = np.arange(n)[None, :]
        return Group(f"A{n}", (), np.zeros((1, 1), dtype=np.int16), (), "alternating", ("e",), points)
    three = [1, 2, 0, *range(3, n)]
    long = [*range(1, n), 0] if n % 2 else [0, *range(2, n), 1]
    return from_permutations([three] if n == 3 else [three, long], name=f"A{n}", family="alternating")


@lru_cache
def dicyclic(n: int) -> Group:
    """The dicyclic group of order 4n: element ``k + 2n f`` is ``a^k b^f``, with ``b^2 = a^n`` and ``b a b^-1 = a^-1``.

    Example:
        >>> dicyclic(3).element_order(dicyclic(3).element("b"))
        4
    """
    _require(n >= 1, f"Dic{n}", 4 * n, "n >= 1")
    m = 2 * n
    k, f = np.tile(np.arange(m), 2), np.repeat([0, 1], m)
    both = f[:, None] & f[None, :]
    turned = (k[:, None] + np.where(f[:, None] == 1, -1, 1) * k[None, :] + n * both) % m
    table = turned + m * (f[:, None] ^ f[None, :])
    labels = tuple((_power_name("a", int(x)) + "b" * int(y)) or "e" for x, y in zip(k, f, strict=True))
    return Group(f"Dic{n}", (1, m), table.astype(np.int16), labels=labels)


@lru_cache
def quaternion() -> Group:
    """The quaternion group of order 8, generated by i and j.

    Example:
        >>> Q = quaternion()
        >>> Q.element_names[int(Q.multiply(Q.element("i"), Q.element("j")))]
        'k'
    """
    labels = ("e", "i", "-e", "-i", "j", "k", "-j", "-k")
    return Group("Q8", (1, 4), dicyclic(2).cayley, labels=labels)


@lru_cache
def frobenius(p: int, k: int) -> Group:
    """The maps ``x -> a x + b`` of Z/p with ``a^k = 1``: order p k, e.g. F20 on five points.

    Args:
        p: A prime.
        k: A divisor of p - 1.

    Raises:
        GroupError: p is no prime or k does not divide p - 1.
        GroupTooLarge: p k > 5,000.

    Example:
        >>> frobenius(5, 4).name, frobenius(5, 4).order
        ('F20', 20)
    """
    prime = p >= 2 and all(p % q for q in range(2, int(p**0.5) + 1))
    _require(prime and k >= 1 and (p - 1) % k == 0, f"F{p * k}", p * k, "a prime p and a divisor k of p - 1")
    factor = next(a for a in range(1, p) if _multiplicative_order(a, p) == k)
    shift, scale = [(x + 1) % p for x in range(p)], [factor * x % p for x in range(p)]
    return from_permutations([shift, scale] if k > 1 else [shift], name=f"F{p * k}")


def _multiplicative_order(a: int, p: int) -> int:
    power, order = a % p, 1
    while power != 1:
        power, order = power * a % p, order + 1
    return order


__all__ = ["alternating", "cyclic", "dicyclic", "dihedral", "frobenius", "quaternion", "symmetric"]
