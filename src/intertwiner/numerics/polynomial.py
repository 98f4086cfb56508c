"""Polynomials in one variable t as people write them: ``t^3 + 2t``, ``1/2 t^2 - t``, ``linear``."""

from __future__ import annotations

import re
from collections.abc import Iterable
from fractions import Fraction

Terms = tuple[tuple[int, Fraction], ...]
"""(exponent, coefficient), exponents ascending, no coefficient zero."""

IDENTITY = ("linear", "identity")
"""Names of t itself."""

_TERM = re.compile(r"([+-]?)(\d+(?:/\d+|\.\d+)?)?\*?(?:(t)(?:(?:\^|\*\*)(\d+))?)?")


def read_terms(text: str) -> Terms | None:
    """The terms that a text spells, like ones added up; None where it is no polynomial in t.

    Example:
        >>> read_terms("1/2 t^2 - t + 2*t"), read_terms("linear"), read_terms("relu")
        (((1, Fraction(1, 1)), (2, Fraction(1, 2))), ((1, Fraction(1, 1)),), None)
    """
    compact = re.sub(r"\s+", "", text)
    if compact in IDENTITY:
        compact = "t"
    sums: dict[int, Fraction] = {}
    place = 0
    while place < len(compact):
        found = _TERM.match(compact, place)
        if found is None or not (found[2] or found[3]) or (place and not found[1]):
            return None
        top, _, bottom = (found[2] or "1").partition("/")
        if bottom and not int(bottom):
            return None
        number = Fraction(top) / int(bottom or 1) * (-1 if found[1] == "-" else 1)
        exponent = int(found[4] or 1) if found[3] else 0
        sums[exponent] = sums.get(exponent, Fraction(0)) + number
        place = found.end()
    return tuple((k, c) for k, c in sorted(sums.items()) if c) if compact else None


def write_terms(terms: Iterable[tuple[int, Fraction]]) -> str:
    """The text of terms, highest exponent first; ``linear`` for t itself.

    Example:
        >>> write_terms(((0, Fraction(-1)), (1, Fraction(1, 2)), (3, Fraction(-1)))), write_terms(((1, Fraction(1)),))
        ('-t^3 + 1/2 t - 1', 'linear')
    """
    terms = sorted(terms, reverse=True)
    if terms == [(1, 1)]:
        return IDENTITY[0]
    out = ""
    for k, c in terms:
        number = "" if abs(c) == 1 and k else f"{abs(c)}"
        power = "" if not k else "t" if k == 1 else f"t^{k}"
        sign = ("-" if c < 0 else "") if not out else (" - " if c < 0 else " + ")
        out += sign + " ".join(filter(None, (number, power)))
    return out
