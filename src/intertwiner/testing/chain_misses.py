"""Near misses of the laws of a fully connected network, functions that can be refuted for certain, modulo a prime."""

from __future__ import annotations

import itertools
from dataclasses import replace

from intertwiner.training.chain import Chain
from intertwiner.training.laws import Law, known_laws


def sign_flipped(chain: Chain) -> list[Law]:
    """One term of a law with the other sign, for every law and every term.

    Example:
        >>> len(sign_flipped(Chain((2, 1, 1), "relu", bias=True)))
        4
    """
    return [
        replace(law, terms=(*law.terms[:k], (p, q, -c), *law.terms[k + 1 :]))
        for law in known_laws(chain)
        for k, (p, q, c) in enumerate(law.terms)
    ]


def bias_left_out(chain: Chain) -> list[Law]:
    """Every law without its bias; none for a network without biases."""
    biases = {int(n) for numbers in chain.matrices for n in numbers[:, -1]} if chain.bias else set()
    return [
        replace(law, terms=tuple(t for t in law.terms if t[0] not in biases)) for law in known_laws(chain) if biases
    ]


def wrong_pair(chain: Chain) -> list[Law]:
    """What goes out of one unit (or pair) against what comes into another of its layer."""
    return [
        _crossed(one, other) for one, other in itertools.permutations(known_laws(chain), 2) if one.layer == other.layer
    ]


def layer_skipped(chain: Chain) -> list[Law]:
    """What goes out of one hidden layer against what comes into the one before."""
    return [
        _crossed(one, other)
        for one, other in itertools.product(known_laws(chain), repeat=2)
        if one.layer == other.layer + 1 and one.units == other.units
    ]


def _crossed(one: Law, other: Law) -> Law:
    return replace(one, terms=(*(t for t in one.terms if t[2] > 0), *(t for t in other.terms if t[2] < 0)))
