r"""Laws as formulas in the names of parameters: ``|fc1.weight[i]|^2 + fc1.bias[i]^2 - |fc2.weight[:, i]|^2``.

i and j count the coordinates of the space, h its blocks (heads).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from fractions import Fraction
from math import prod

from intertwiner.training.families import MATRIX, SHIFT, Piece
from intertwiner.training.views import View


def spell(kind: str, pieces: Sequence[Piece], shapes: Mapping[str, tuple[int, ...]], block: int = 0) -> str:
    """The formula of a family.

    Args:
        kind: As in ``Family``.
        pieces: Its pieces.
        shapes: Shape of every parameter.
        block: Coordinates per block where there are several blocks, otherwise 0.

    Example:
        >>> table = Piece("table.weight", View(4, 0, 1, (3,), (4,)), Fraction(1), 1)
        >>> spell("shift", [table], {"table.weight": (9, 4)})
        'sum table.weight[0:3, i]'
        >>> law = [Piece("fc1.weight", View(4, 0, 3, (3,), (1,)), Fraction(1)),
        ...        Piece("fc2.weight", View(4, 0, 1, (2,), (4,)), Fraction(-2))]
        >>> spell("balance", law, {"fc1.weight": (4, 3), "fc2.weight": (2, 4)})
        '|fc1.weight[i]|^2 - 2 |fc2.weight[:, i]|^2'
    """
    out = ""
    for p in pieces:
        shape = shapes.get(p.param, ())
        centre = " - mean" if p.centre else ""
        first = p.param + _index(p.view, shape, "i", block) + centre
        if p.centre:
            first = f"({first})"
        if p.degree == 1 or kind == SHIFT:
            term = first if p.view.width == 1 else f"sum {first}"
        elif kind == MATRIX:
            second = p.param + _index(p.view, shape, "j", block) + centre
            term = f"{first} {second}" if p.view.width == 1 else f"<{first}, {second}>"
        else:
            term = f"{first}^2" if p.view.width == 1 else f"|{first}|^2"
        out += _signed(p.coefficient, term, not out)
    return out


def _signed(c: Fraction, term: str, first: bool) -> str:
    size = "" if abs(c) == 1 else f"{abs(c)} "
    if first:
        return ("-" if c < 0 else "") + size + term
    return (" - " if c < 0 else " + ") + size + term


def _index(view: View, shape: Sequence[int], letter: str, block: int) -> str:
    """Which entries the row of coordinate i is."""
    size = prod(shape)
    if view.rows == 1:
        return "" if view.width == size else f"[{_slice(view, shape)}]"
    if view.starts:
        return f"[row {letter}]"
    strides = [prod(shape[a + 1 :]) for a in range(len(shape))]
    axis = next((a for a, s in enumerate(strides) if shape[a] > 1 and view.step % s == 0 and view.step // s), None)
    if axis is None:
        return f"[row {letter}]"
    times, first = view.step // strides[axis], view.start // strides[axis] % shape[axis]
    at = f"h*{block}+{letter}" if block else letter
    if times == 1:
        text = f"{first}+{at}" if first else at
    else:
        at = f"({at})" if block else at
        low, high = (f"{first + k}+{times}*{at}" if first + k else f"{times}*{at}" for k in (0, times))
        text = f"{low}:{high}"
    before = [_range(view, strides[a], shape[a]) for a in range(axis)]
    return "[" + ", ".join([*before, text]) + "]"


def _range(view: View, stride: int, size: int) -> str:
    """Which entries along an axis a row takes."""
    inside = dict(zip(view.strides, view.shape, strict=True)).get(stride, size)
    first = view.start // stride % size
    return ":" if inside >= size else f"{first}:{first + inside}"


def _slice(view: View, shape: Sequence[int]) -> str:
    """A single row that is a part of a parameter, by the range along its first axis where it is one."""
    inner = prod(shape[1:])
    if inner and view.width % inner == 0 and view.start % inner == 0 and view.shape[-1:] == (view.width,):
        return f"{view.start // inner}:{(view.start + view.width) // inner}"
    return "part"
