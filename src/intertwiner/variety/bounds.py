r"""Proved upper bounds of the dimension of a fully connected network, from its stretches of layers.

A network of layers i+1..j has functions U(i, j) dimensions at most. It is glued from two stretches at a hidden layer k
of monomials, where d_k scales act on pairs of functions without changing what they compose to [Kileel, Trager,
Bruna 2019]:

    U(i, j) <= U(i, k) + U(k, j) - d_k          (without "- d_k" for other activations).

One layer has its parameters. A stretch of several layers also has at most its ambient dimension; and its outputs are
combinations of the last hidden units, so as a matrix of d_j rows and N monomials it has rank at most m = d_{j-1}:
``m (d_j + N - m)``. Two layers of monomials are sums of m powers of linear forms, with known exceptions
(``powers.py``). A single output ``sum_i c_i f_i^2`` stays the same under the orthogonal group of that form.
The stretches that reach the minimum name where dimensions go.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

from intertwiner.variety.architecture import Architecture, is_affine, is_scaled, monomials, output_degrees
from intertwiner.variety.family import Bound, Part
from intertwiner.variety.powers import power_sums

GLUING = "stretches of layers glued at a layer [Kileel, Trager, Bruna 2019]"


@dataclass(frozen=True)
class Stretch:
    """Layers first+1 to last with the bound that is used for them as a whole.

    Args:
        first: Number of the layer of units that it reads, 0 the input.
        last: Number of the layer of units that it writes.
        value: Its bound.
        reason: Why; "" for the number of parameters of one layer.
        source: The theorem, where there is one.
    """

    first: int
    last: int
    value: int
    reason: str = ""
    source: str = ""


def naive_count(architecture: Architecture) -> int:
    """Parameters less the dimensions of the gauge of all hidden layers; the expected dimension where space allows.

    Example:
        >>> naive_count(Architecture((2, 3, 1), "t^2")), naive_count(Architecture((2, 3, 1), "t^2 + t"))
        (6, 9)
    """
    if is_affine(architecture.activation, architecture.bias):
        return _linear_bound(architecture)
    return architecture.parameters - sum(scales(architecture))


def scales(architecture: Architecture) -> tuple[int, ...]:
    """Dimension of the scale gauge of every hidden layer: its width for monomials, in disguise too; else nothing."""
    scaled = is_scaled(architecture.activation, architecture.bias)
    return tuple(width if scaled else 0 for width in architecture.hidden)


def upper_bound(architecture: Architecture) -> Bound:
    """The least upper bound that the stretches give.

    Cost: ``L^3`` small steps for L layers.

    Example:
        Sums of squares of two forms in three variables: a quadratic form of rank 2, one dimension less than counted.

        >>> found = upper_bound(Architecture((3, 2, 1), "t^2"))
        >>> found.value, [(part.dimension, part.name) for part in found.parts]
        (5, [(2, 'scales of 2 units'), (1, 'quadratic forms of rank at most 2')])
    """
    if is_affine(architecture.activation, architecture.bias):
        value = _linear_bound(architecture)
        part = Part("linear maps of the hidden layers", "all layers", architecture.parameters - value, "gauge")
        return Bound(value, (part,) if part.dimension else (), ("linear maps of bounded rank",))
    cuts = (0, *scales(architecture), 0)
    stretches = _best(architecture, cuts)
    parts = [Part(f"scales of {cut} units", f"hidden layer {k}", cut, "gauge") for k, cut in enumerate(cuts) if cut]
    for stretch in stretches:
        lost = _count(architecture, cuts, stretch.first, stretch.last) - stretch.value
        if lost:
            first, last = stretch.first + 1, stretch.last
            place = f"layers {first} to {last}" if first < last else f"layer {last}"
            parts.append(Part(stretch.reason, place, lost, "theorem"))
    value = architecture.parameters - sum(part.dimension for part in parts)
    whole = len(stretches) == 1 and len(architecture.widths) > 2
    sources = tuple(dict.fromkeys(filter(None, (() if whole else (GLUING,)) + tuple(s.source for s in stretches))))
    return Bound(value, tuple(parts), sources if any(p.kind == "theorem" for p in parts) else ())


def _linear_bound(architecture: Architecture) -> int:
    rank = min(architecture.widths)
    inputs, outputs = architecture.inputs, architecture.outputs
    return rank * (inputs + outputs - rank) + outputs * architecture.bias


def _count(architecture: Architecture, cuts: tuple[int, ...], first: int, last: int) -> int:
    widths = architecture.widths[first : last + 1]
    return sum(b * (a + architecture.bias) for a, b in pairwise(widths)) - sum(cuts[first + 1 : last])


def _best(architecture: Architecture, cuts: tuple[int, ...]) -> list[Stretch]:
    """The stretches whose bounds add up to the least, by lengths."""
    best: dict[tuple[int, int], tuple[int, list[Stretch]]] = {}
    for length in range(1, architecture.depth + 1):
        for first in range(architecture.depth - length + 1):
            last = first + length
            one = _stretch(architecture, first, last)
            found = (one.value, [one]) if one is not None else None
            for k in range(first + 1, last):
                left, right = best[first, k], best[k, last]
                value = left[0] + right[0] - cuts[k]
                # Where a stretch as a whole says no more than its parts, the parts say where.
                if found is None or value <= found[0]:
                    found = (value, left[1] + right[1])
            squares = _squares(architecture, cuts, first, last)
            if squares is not None:
                value = best[first, last - 1][0] + squares.value - cuts[last - 1]
                if found is None or value < found[0]:
                    found = (value, [*best[first, last - 1][1], squares])
            if found is not None:
                best[first, last] = found
    return best[0, architecture.depth][1]


def _stretch(architecture: Architecture, first: int, last: int) -> Stretch | None:
    """The bound for a stretch as a whole."""
    n, k = architecture.widths[first], architecture.widths[last]
    bias, sigma, m = architecture.bias, architecture.activation, architecture.widths[last - 1]
    if last == first + 1:
        return Stretch(first, last, k * (n + bias))
    each = monomials(n, output_degrees(sigma, last - first, bias))
    value, reason, source = k * each, f"parameters beyond the {k * each} coefficients of the outputs", ""
    if m < min(k, each - bias):
        value = m * (k + each - bias - m) + k * bias
        reason = f"parameters beyond {k} combinations of {m} functions"
    if last == first + 2 and scales(architecture):
        known = power_sums(n + bias, m, k, sigma.degree) if scales(architecture)[first] else None
        if known is not None and known.value + k * bias < value:
            value, reason, source = known.value + k * bias, known.reason, known.source
    return Stretch(first, last, value, reason, source)


def _squares(architecture: Architecture, cuts: tuple[int, ...], first: int, last: int) -> Stretch | None:
    r"""The last layer of a stretch with one output ``sum_i c_i sigma(f_i)``, sigma quadratic, below its count.

    The functions f are ``F g`` for s independent g, and every F can be had. The output depends on F and c only through
    ``Q = F^T C F``, ``l = F^T c`` where sigma has a linear term, and ``sum c_i`` where it has a constant one (which is
    ``l^T Q^{-1} l`` for square F), so (F, c) moves in as many dimensions as it has more: concave in s, so least at the
    ends of what s may be. It is at most m, and at least the least width below, as powers of generic combinations of s
    independent f span the ``f_1^{r-1} f_j``.
    """
    m, widths, sigma = architecture.widths[last - 1], architecture.widths, architecture.activation
    if widths[last] > 1 or last < first + 2 or sigma.degree != 2:
        return None
    linear, constant = (0, 0) if cuts[last - 1] else (1 in sigma.exponents, 0 in sigma.exponents)
    ranks = min(m, *widths[first : last - 1]), m
    seen = [s * (s + 1) // 2 + s * linear + (constant and not (linear and s == m)) for s in ranks]
    lost = min(m * s + m - n for s, n in zip(ranks, seen, strict=True)) - cuts[last - 1]
    reason = f"orthogonal maps of the {m} functions whose squares are summed"
    return Stretch(last - 1, last, m + architecture.bias - lost, reason) if lost > 0 else None
