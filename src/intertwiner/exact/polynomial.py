"""Nonlinearities that are polynomials on pieces: what can be evaluated without rounding.

A piece is a polynomial with rational coefficients, lowest degree first; a breakpoint belongs to the piece below it, as
torch has it for ReLU (slope 0 at 0). Smooth functions such as tanh have no row here.
"""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction

from intertwiner.gauge import Pointwise

Polynomial = tuple[Fraction, ...]


@dataclass(frozen=True)
class PiecewisePolynomial:
    """``pieces[i]`` between ``breaks[i - 1]`` and ``breaks[i]``.

    Args:
        breaks: Where the piece changes, ascending; every one is a float.
        pieces: One polynomial more than there are breaks.

    Example:
        >>> from intertwiner.gauge import pointwise
        >>> piecewise(pointwise("relu"))
        PiecewisePolynomial(breaks=(Fraction(0, 1),), pieces=((), (Fraction(0, 1), Fraction(1, 1))))
    """

    breaks: tuple[Fraction, ...]
    pieces: tuple[Polynomial, ...]

    @property
    def degree(self) -> int:
        return max(len(piece) - 1 for piece in self.pieces)

    def derivative(self) -> PiecewisePolynomial:
        """The derivative on every piece."""
        return PiecewisePolynomial(self.breaks, tuple(_derivative(p) for p in self.pieces))


def _derivative(piece: Polynomial) -> Polynomial:
    return tuple(k * c for k, c in enumerate(piece) if k)


ZERO: Polynomial = ()
IDENTITY: Polynomial = (Fraction(0), Fraction(1))


def line(slope: float | Fraction, constant: float | Fraction = 0) -> Polynomial:
    return (Fraction(constant), Fraction(slope))


def piecewise(function: Pointwise) -> PiecewisePolynomial | None:
    """The nonlinearity as a piecewise polynomial, or None where it is none. Floats are taken as they are.

    Example:
        >>> from intertwiner.gauge import pointwise
        >>> piecewise(pointwise("pow", 3)).pieces[0] == (0, 0, 0, 1), piecewise(pointwise("tanh"))
        (True, None)
    """
    name, _, inside = function.name.partition("(")
    numbers = [word.strip() for word in inside.rstrip(")").split(",") if word.strip()]
    sixth = Fraction(1, 6)
    match name:
        case "identity":
            return PiecewisePolynomial((), (IDENTITY,))
        case "relu":
            return PiecewisePolynomial((Fraction(0),), (ZERO, IDENTITY))
        case "abs":
            return PiecewisePolynomial((Fraction(0),), (line(-1), IDENTITY))
        case "leaky_relu":
            return PiecewisePolynomial((Fraction(0),), (line(float(numbers[0])), IDENTITY))
        case "relu6":
            return _clamp(0.0, 6.0)
        case "hardtanh":
            return _clamp(float(numbers[0]), float(numbers[1]))
        case "hardsigmoid":
            return PiecewisePolynomial((Fraction(-3), Fraction(3)), (ZERO, line(sixth, Fraction(1, 2)), (Fraction(1),)))
        case "hardswish":
            return PiecewisePolynomial(
                (Fraction(-3), Fraction(3)), (ZERO, (Fraction(0), Fraction(1, 2), sixth), IDENTITY)
            )
        case "softshrink":
            width = Fraction(float(numbers[0]))
            return PiecewisePolynomial((-width, width), (line(1, width), ZERO, line(1, -width)))
        case "pow" if float(numbers[0]) > 0 and float(numbers[0]).is_integer():
            return PiecewisePolynomial((), ((Fraction(0),) * int(float(numbers[0])) + (Fraction(1),),))
    return None


def _clamp(low: float, high: float) -> PiecewisePolynomial:
    a, b = Fraction(low), Fraction(high)
    return PiecewisePolynomial((a, b), ((a,) if a else ZERO, IDENTITY, (b,)))
