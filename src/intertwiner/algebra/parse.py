"""Groups from their names: ``D4``, ``S5xS5``, ``C2^3``, ``Q8``, ``F20``."""

from __future__ import annotations

import re

from intertwiner.algebra.families import alternating, cyclic, dicyclic, dihedral, frobenius, quaternion, symmetric
from intertwiner.algebra.group import Group
from intertwiner.algebra.products import direct_product
from intertwiner.errors import GroupError

_FAMILIES = {"C": cyclic, "Z": cyclic, "D": dihedral, "S": symmetric, "A": alternating, "Dic": dicyclic}


def klein() -> Group:
    """The Klein four-group C2 x C2.

    Example:
        >>> klein().name
        'C2xC2'
    """
    return direct_product(cyclic(2), cyclic(2))


def parse_group(text: str) -> Group:
    """The group of a name.

    Args:
        text: ``Cn``, ``Dn`` (order 2n), ``Sn``, ``An``, ``Dicn``, ``Q8``, ``V4``, ``Fm`` (affine maps of a prime
            field, order m), products with ``x`` and powers with ``^``.

    Raises:
        GroupError: A name that is none of these.
        GroupTooLarge: A factor beyond 5,000 elements.

    Example:
        >>> parse_group("S5xS5").order, parse_group("C2^3").order, parse_group("F20").order
        (14400, 8, 20)
    """
    factors: list[Group] = []
    for word in re.split(r"\s*[x×*]\s*", text.strip()):
        match = re.fullmatch(r"(\w+)\s*(?:\^\s*(\d+))?", word)
        if match is None or match[2] == "0":
            raise _unknown(text)
        factors += [_single(match[1], text)] * int(match[2] or 1)
    return direct_product(*factors)


def _single(word: str, text: str) -> Group:
    if word == "Q8":
        return quaternion()
    if word in ("V4", "K4"):
        return klein()
    match = re.fullmatch(r"(Dic|[A-Z])(\d+)", word)
    if match is None:
        raise _unknown(text)
    letter, n = match[1], int(match[2])
    if letter in _FAMILIES:
        return _FAMILIES[letter](n)
    if letter == "F":
        for p in range(n, 1, -1):
            if n % p == 0 and all(p % q for q in range(2, int(p**0.5) + 1)) and (p - 1) % (n // p) == 0:
                return frobenius(p, n // p)
    raise _unknown(text)


def _unknown(text: str) -> GroupError:
    return GroupError(
        f"'{text}' names no group. Known: C4, D4 (order 8), S5, A5, Q8, Dic3, V4, F20, products 'S5xS5', powers 'C2^3'."
    )
