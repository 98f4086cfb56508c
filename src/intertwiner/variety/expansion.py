r"""The outputs of a polynomial network as polynomials of the input: their coefficients, modulo p and as symbols.

The coefficients of the outputs are the coordinates of the ambient space. Modulo p they are found by evaluation: at as
many random inputs as there are monomials the matrix of all monomials at all inputs is invertible, and a product with
its inverse turns outputs into coefficients, for many parameters at once. Symbols are polynomials over the integers in
the parameters [flint]; they serve to prove an identity.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from functools import cached_property
from math import comb, lcm
from typing import Any

import numpy as np
from jaxtyping import Float, Int
from numpy import ndarray

from intertwiner.errors import WrongUse
from intertwiner.numerics.modular import Modulus
from intertwiner.numerics.seeds import rng
from intertwiner.variety.architecture import Architecture
from intertwiner.variety.family import draw

Exponents = tuple[int, ...]

ATTEMPTS = 8
"""Inputs at which the monomials are dependent are drawn again so many times; about one draw in p is."""


@dataclass(frozen=True)
class Coordinates:
    """The coordinates of the ambient space: one per output and monomial in the input.

    Args:
        inputs: Number of inputs.
        outputs: Number of outputs.
        degrees: Degrees in the input that occur, ascending.

    Example:
        >>> space = Coordinates(2, 1, (2,))
        >>> space.exponents, space.names
        (((2, 0), (1, 1), (0, 2)), ('c[20]', 'c[11]', 'c[02]'))
    """

    inputs: int
    outputs: int
    degrees: tuple[int, ...]

    @classmethod
    def of(cls, architecture: Architecture) -> Coordinates:
        """Those of an architecture; of all degrees up to the largest, where that is what is known."""
        known = architecture.degrees
        return cls(
            architecture.inputs,
            architecture.outputs,
            tuple(range(known + 1) if isinstance(known, int) else sorted(known)),
        )

    @property
    def per_output(self) -> int:
        """Monomials in the input."""
        return sum(comb(self.inputs + d - 1, d) for d in self.degrees)

    @property
    def dimension(self) -> int:
        """Dimension of the ambient space."""
        return self.outputs * self.per_output

    @cached_property
    def exponents(self) -> tuple[Exponents, ...]:
        """The monomials in the input, by degree and then with the first input first."""
        out = []
        for degree in self.degrees:
            for chosen in itertools.combinations_with_replacement(range(self.inputs), degree):
                out.append(tuple(chosen.count(i) for i in range(self.inputs)))
        return tuple(out)

    @cached_property
    def names(self) -> tuple[str, ...]:
        """How each coordinate is written: ``c[20]`` is the coefficient of ``x_1^2``, ``c2[11]`` one of output 2."""
        between = "," if max(self.degrees, default=0) > 9 else ""
        inside = [between.join(map(str, e)) for e in self.exponents]
        heads = [f"c{j + 1}" for j in range(self.outputs)] if self.outputs > 1 else ["c"]
        return tuple(f"{head}[{text}]" for head in heads for text in inside)

    @cached_property
    def table(self) -> Int[ndarray, "m inputs"]:
        """The exponents as an array."""
        return np.array(self.exponents, dtype=np.int64).reshape(-1, self.inputs)


def coefficients(
    architecture: Architecture, theta: Float[ndarray, "b p"], field: Modulus, *, seed: int = 0
) -> Float[ndarray, "b dimension"]:
    """The coordinates of the functions at several parameters, modulo p.

    Args:
        architecture: The network.
        theta: Residues, one row of flat parameters per network.
        field: The modulus, its prime above the degree of the outputs.
        seed: Decides the inputs of the evaluation; the result does not depend on it.

    Raises:
        WrongUse: If the prime is too small for the degree.

    Cost:
        One inverse of size n, the number of monomials, and one evaluation of every network at n inputs.

    Example:
        ``3 (x + 2 y)^2``:

        >>> coefficients(Architecture((2, 1, 1), "t^2"), np.array([[1.0, 2.0, 3.0]]), Modulus())
        array([[ 3., 12., 12.]])
    """
    x, inverse = _unisolvent(Coordinates.of(architecture), field, seed)
    value = outputs(architecture, theta, x, field)
    return field.matmul(value, np.ascontiguousarray(inverse.T)).reshape(len(theta), -1)


def outputs(
    architecture: Architecture, theta: Float[ndarray, "b p"], x: Float[ndarray, "n inputs"], field: Modulus
) -> Float[ndarray, "b outputs n"]:
    """The outputs of several networks at the same inputs, modulo p.

    Example:
        >>> outputs(Architecture((2, 1, 1), "t^2"), np.array([[1.0, 2.0, 3.0]]), np.ones((1, 2)), Modulus())
        array([[[27.]]])
    """
    value = np.broadcast_to(x.T, (len(theta), *x.T.shape))
    for l, (weight, bias) in enumerate(_layers(architecture, theta)):
        value = field.matmul(weight, architecture.activation.value(value, field) if l else value)
        value = value if bias is None else field.add(value, bias[:, :, None])
    return value


def _layers(architecture: Architecture, theta: ndarray) -> list[tuple[ndarray, ndarray | None]]:
    """``(W_l, b_l)`` by layer, for all rows at once."""
    places = architecture.unflatten(np.arange(architecture.parameters))
    return [(theta[:, W], None if b is None else theta[:, b]) for W, b in places]


def _unisolvent(
    space: Coordinates, field: Modulus, seed: int
) -> tuple[Float[ndarray, "n inputs"], Float[ndarray, "n n"]]:
    """Inputs at which the monomials are independent, and the inverse of their matrix ``V[input, monomial]``."""
    size = space.per_output
    for attempt in range(ATTEMPTS):
        x = draw((size, space.inputs), field, rng(seed * ATTEMPTS + attempt))
        powers = [np.ones_like(x)]
        for _ in range(max(space.degrees)):
            powers.append(field.mul(powers[-1], x))
        stacked = np.stack(powers)
        matrix = np.ones((size, size))
        for i in range(space.inputs):
            matrix = field.mul(matrix, stacked[space.table[:, i], :, i].T)
        try:
            return x, field.invert(matrix)
        except WrongUse:
            continue
    raise WrongUse(
        f"no {size} inputs were found at which {size} monomials are independent modulo {field.prime}. "
        "Usual cause: a prime that is not above the degree of the outputs. Next step: a larger prime. "
        "Nothing was computed."
    )


def symbols(architecture: Architecture) -> list[Any]:
    """The coordinates as polynomials over the integers in the parameters, on a dense set of them.

    For a monomial activation without biases every hidden unit is scaled so that the first weight of its row is 1: every
    function with nonzero first weights has such parameters, and these are dense. An activation with fractions is
    multiplied by their common denominator, which the next layer absorbs.

    Returns:
        One ``fmpz_mpoly`` per coordinate.

    Cost:
        Grows with the number of terms, which ``terms`` bounds.

    Example:
        >>> [str(c) for c in symbols(Architecture((2, 1, 1), "t^2"))]
        ['t2', '2*t1*t2', 't1^2*t2']
    """
    from flint import Ordering, fmpz_mpoly_ctx

    space, count = Coordinates.of(architecture), architecture.parameters
    names = [f"t{k}" for k in range(count)] + [f"x{i}" for i in range(space.inputs)]
    ring = fmpz_mpoly_ctx.get(names, Ordering.lex)
    theta = np.empty(count, dtype=object)
    for k, symbol in enumerate(ring.gens()[:count]):  # numpy takes a polynomial for a sequence
        theta[k] = symbol
    layers = architecture.unflatten(theta)
    if not architecture.bias and architecture.activation.is_monomial:
        for W, _ in layers[:-1]:
            W[:, 0] = 1
    common = lcm(*(c.denominator for _, c in architecture.activation.terms))
    sigma = [(k, int(c * common)) for k, c in architecture.activation.terms]
    out = []
    for z in _polynomials(layers, ring.gens()[count:], sigma, ring.constant(0)):
        parts: dict[Exponents, dict[tuple[int, ...], Any]] = {e: {} for e in space.exponents}
        for powers, c in z.to_dict().items():
            parts[tuple(powers[count:])][(*powers[:count], *([0] * space.inputs))] = c
        out += [ring.from_dict(parts[e]) for e in space.exponents]
    return out


def exact_coordinates(architecture: Architecture, theta: Sequence[Fraction] | ndarray) -> list[Fraction]:
    """The coordinates of one function, exactly.

    Args:
        architecture: The network.
        theta: Its parameters as fractions.

    Cost:
        Products of polynomials in the input, of as many terms as there are coordinates.

    Example:
        >>> exact_coordinates(Architecture((2, 1, 1), "t^2"), [Fraction(1), Fraction(2), Fraction(1, 2)])
        [Fraction(1, 2), Fraction(2, 1), Fraction(2, 1)]
    """
    from flint import Ordering, fmpq, fmpq_mpoly_ctx

    space = Coordinates.of(architecture)
    ring = fmpq_mpoly_ctx.get([f"x{i}" for i in range(space.inputs)], Ordering.lex)
    numbers = np.empty(len(theta), dtype=object)
    numbers[:] = [fmpq(Fraction(t).numerator, Fraction(t).denominator) for t in theta]
    sigma = [(k, fmpq(c.numerator, c.denominator)) for k, c in architecture.activation.terms]
    out = []
    for z in _polynomials(architecture.unflatten(numbers), ring.gens(), sigma, ring.constant(0)):
        found = z.to_dict()
        for e in space.exponents:
            c = found.get(e, fmpq(0))
            out.append(Fraction(int(c.p), int(c.q)))
    return out


def _polynomials(
    layers: Sequence[Any], inputs: Sequence[Any], sigma: Sequence[tuple[int, Any]], zero: Any
) -> list[Any]:
    """The outputs, with weights and inputs in one polynomial ring."""
    value = list(inputs)
    for l, (W, b) in enumerate(layers):
        if l:
            value = [sum((c * z**k for k, c in sigma), zero) for z in value]
        value = [sum((w * z for w, z in zip(row, value, strict=True)), zero) for row in W]
        if b is not None:
            value = [z + shift for z, shift in zip(value, b, strict=True)]
    return value


def parameter_degree(architecture: Architecture) -> int:
    """Degree of the coordinates in the parameters.

    Example:
        >>> parameter_degree(Architecture((2, 2, 2, 1), "t^2"))
        7
    """
    degree = 1
    for _ in architecture.hidden:
        degree = 1 + architecture.activation.degree * degree
    return degree


def terms(architecture: Architecture) -> int:
    """A bound on the number of terms of all coordinates together, as polynomials in the parameters.

    Example:
        >>> terms(Architecture((3, 2, 1), "t^2"))
        12
    """
    bias = int(architecture.bias)
    count = architecture.inputs + bias
    for width in architecture.hidden:
        powers = sum(comb(count + k - 1, k) for k in architecture.activation.exponents)
        count = width * powers + bias
    return architecture.outputs * count
