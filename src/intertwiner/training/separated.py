r"""Networks in which parameters and inputs separate: ``f(x) = A(theta) phi(x)``, written out as polynomials.

phi are monomials in x, with the constant 1 among them where there are biases; A has polynomials in the parameters as
entries. Linear networks (``phi = x`` or ``(x, 1)``) and networks with polynomial activations are of this kind; theirs
are called tensorizable in [Galley, Shahverdi, Flinth 2026]. The entries of A are the local reparametrisation.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from functools import cached_property
from itertools import combinations_with_replacement
from math import comb
from typing import Any

import numpy as np
from flint import Ordering, fmpq, fmpq_mpoly_ctx
from jaxtyping import Float, Int
from numpy import ndarray

from intertwiner.errors import WrongUse
from intertwiner.training.chain import ONE, Chain
from intertwiner.training.polynomial_chain import PolynomialChain
from intertwiner.training.polynomial_map import MOST_TERMS, PolynomialMap, ring


@dataclass(frozen=True, eq=False)
class Separated:
    """``f(x) = A(theta) phi(x)``.

    Args:
        matrix: The entries of A, polynomials of ``ring(names)``, row by row.
        features: The exponents of every monomial of phi, one row each; a row of zeros is the constant 1.
        names: Name of every parameter.
        title: What it is, in words.

    Example:
        >>> network = separated(Chain((2, 1), bias=True))
        >>> network.names, network.features.tolist()
        (('W1[0,0]', 'W1[0,1]', 'b1[0]'), [[1, 0], [0, 1], [0, 0]])
    """

    matrix: tuple[tuple[Any, ...], ...]
    features: Int[ndarray, "f d_in"]
    names: tuple[str, ...]
    title: str

    @property
    def inputs(self) -> int:
        return self.features.shape[1]

    @property
    def outputs(self) -> int:
        return len(self.matrix)

    @property
    def phi(self) -> PolynomialMap:
        """The entries of A, without those that are zero."""
        entries = tuple(entry for row in self.matrix for entry in row if entry)
        return PolynomialMap(entries, self.names, self.title)

    @cached_property
    def entries(self) -> PolynomialMap:
        """All entries of A, row by row."""
        return PolynomialMap(tuple(entry for row in self.matrix for entry in row), self.names, self.title)

    def derivatives(
        self, theta: Float[ndarray, " D"], x: Float[ndarray, "n d_in"]
    ) -> tuple[Float[ndarray, "n d_out"], Float[ndarray, "n d_out D"]]:
        """Outputs and their derivatives by the parameters, in float64.

        Example:
            >>> network = separated(PolynomialChain((1, 1, 1), "t^2"))
            >>> outputs, slopes = network.derivatives(np.array([2.0, 3.0]), np.array([[1.0]]))
            >>> outputs.tolist(), slopes.tolist()
            ([[12.0]], [[[12.0, 4.0]]])
        """
        phi = np.prod(np.asarray(x, dtype=np.float64)[:, None, :] ** self.features, axis=2)
        shape = (self.outputs, len(self.features))
        matrix = self.entries.zeroth.real(theta).reshape(shape)
        slopes = self.entries.first.real(theta).reshape(*shape, len(self.names))
        return phi @ matrix.T, np.einsum("nf,ofd->nod", phi, slopes)


def chain_names(chain: Chain) -> tuple[str, ...]:
    """``W1[0,0]``, ``b1[0]``: layers count from 1, rows and columns from 0.

    Example:
        >>> chain_names(Chain((1, 1, 1), bias=True))
        ('W1[0,0]', 'b1[0]', 'W2[0,0]', 'b2[0]')
    """
    names = [""] * chain.parameters
    for layer, numbers in enumerate(chain.matrices, start=1):
        for (i, j), n in np.ndenumerate(numbers):
            if n >= 0:
                bias = chain.bias and j == numbers.shape[1] - 1
                names[n] = f"b{layer}[{i}]" if bias else f"W{layer}[{i},{j}]"
    return tuple(names)


def _matrices(chain: Chain) -> list[ndarray]:
    """The matrices of a chain with polynomials as entries."""
    context = ring(chain_names(chain))
    generators = context.gens()
    fixed = {True: context.constant(1), False: context.constant(0)}
    out = []
    for numbers in chain.matrices:
        entries = np.empty(numbers.shape, dtype=object)
        for place, n in np.ndenumerate(numbers):
            entries[place] = generators[n] if n >= 0 else fixed[bool(n == ONE)]
        out.append(entries)
    return out


def separated(network: Chain | PolynomialChain) -> Separated:
    """A linear chain as ``A(theta) x`` or ``A(theta) (x, 1)``, a polynomial one as ``A(theta)`` times monomials.

    Raises:
        WrongUse: For a ReLU chain, whose inputs do not separate from its parameters, or more than ``MOST_TERMS`` terms.

    Cost:
        Linear: one term per path from an input or a bias to an output. Polynomial of degree r and depth L: monomials
        of degree ``r^(L-1)`` in x, and far more terms.

    Example:
        >>> network = separated(PolynomialChain((2, 1, 1), "t^2"))
        >>> network.features.tolist(), [str(entry) for entry in network.matrix[0]]
        ([[2, 0], [1, 1], [0, 2]], ['t0^2*t2', '2*t0*t1*t2', 't1^2*t2'])
    """
    if isinstance(network, PolynomialChain):
        return _multiplied_out(network)
    chain = network
    if chain.activation != "linear":
        raise WrongUse(
            f"in a {chain} inputs and parameters do not separate. Next step: chain_map for its laws without symmetry; "
            "for a given data set, loss_span. Nothing was computed."
        )
    _check_terms(str(chain), path_count(chain))
    *first, last = reversed(_matrices(chain))
    product = last
    for matrix in reversed(first):
        product = matrix @ product
    return Separated(tuple(map(tuple, product)), linear_features(chain), chain_names(chain), str(chain))


def path_count(chain: Chain) -> int:
    """Number of paths from an input or a bias to an output: the terms of phi, written out.

    Example:
        >>> path_count(Chain((2, 3, 1), bias=True))
        10
    """
    return Chain(chain.widths, "relu", chain.bias).dimension


def linear_features(chain: Chain) -> Int[ndarray, "f d_in"]:
    """The exponents of ``x``, and of the constant 1 where there are biases."""
    size = chain.widths[0]
    return np.vstack([np.eye(size, dtype=np.int64), np.zeros((int(chain.bias), size), dtype=np.int64)])


def _check_terms(title: str, size: int) -> None:
    if size > MOST_TERMS:
        raise WrongUse(
            f"the {title} has up to {size} terms written out, the bound is {MOST_TERMS}. Next step: a narrower network "
            "of the same depth; count_laws works at any size. Nothing was computed."
        )


def chain_map(chain: Chain) -> PolynomialMap:
    """The local reparametrisation of a chain, written out: entries of the product, or products along the paths (ReLU).

    Example:
        >>> [str(entry) for entry in chain_map(Chain((1, 2, 1), "relu")).entries]
        ['t0*t2', 't1*t3']
    """
    if chain.activation == "linear":
        return separated(chain).phi
    _check_terms(str(chain), path_count(chain))
    matrices = _matrices(chain)
    paths: list[tuple[int, Any]] = [(i, ring(chain_names(chain)).constant(1)) for i in range(matrices[0].shape[1])]
    for matrix in matrices:
        paths = [(o, matrix[o, i] * value) for i, value in paths for o in range(len(matrix)) if matrix[o, i]]
    # The lower rows carry the constant 1 and do not end in an output.
    entries = tuple(value for o, value in paths if o < chain.widths[-1])
    return PolynomialMap(entries, chain_names(chain), str(chain))


def _multiplied_out(network: PolynomialChain) -> Separated:
    """A network with a polynomial between its layers: all monomials in the inputs and their coefficients."""
    chain, coefficients = network.layers, network.polynomial
    _check_terms(str(network), _expanded(chain, len(coefficients) - 1))
    size, inputs = chain.parameters, chain.widths[0]
    names = [f"t{k}" for k in range(size)] + [f"x{k}" for k in range(inputs)]
    context = fmpq_mpoly_ctx.get(names, Ordering.degrevlex)
    generators, zero, one = context.gens(), context.constant(0), context.constant(1)
    values = [*generators[size:], *([one] if chain.bias else [])]
    for layer, numbers in enumerate(chain.matrices):
        rows = numbers[: chain.widths[layer + 1]]
        sums = [sum((generators[n] * v for n, v in zip(row, values, strict=True)), zero) for row in rows]
        if layer < chain.depth - 1:
            sums = [_apply(coefficients, z, context) for z in sums] + ([one] if chain.bias else [])
        values = sums
    return _collected(values, chain_names(chain), inputs, str(network))


def _expanded(chain: Chain, degree: int) -> int:
    """A bound for the number of terms of the outputs: what every layer's sum can have after taking the power."""
    terms = 1
    for layer, width in enumerate(chain.widths[:-1]):
        terms *= width + chain.bias
        if layer < chain.depth - 1:
            terms = comb(terms + degree, degree) if terms < 10**6 else terms**degree
    return terms * chain.widths[-1]


def _apply(coefficients: Sequence[Fraction], z: Any, context: Any) -> Any:
    out = context.constant(0)
    for c in reversed(coefficients):
        out = out * z + fmpq(c.numerator, c.denominator)
    return out


def _collected(outputs: Sequence[Any], names: tuple[str, ...], inputs: int, title: str) -> Separated:
    """Outputs in parameters and inputs, collected by the monomials of the inputs."""
    context, size = ring(names), len(names)
    rows: list[dict[tuple[int, ...], dict[tuple[int, ...], Any]]] = []
    for output in outputs:
        row: dict[tuple[int, ...], dict[tuple[int, ...], Any]] = {}
        for exponents, c in output.to_dict().items():
            row.setdefault(tuple(exponents[size:]), {})[tuple(exponents[:size])] = c
        rows.append(row)
    features = sorted({x for row in rows for x in row}, key=lambda x: (-sum(x), tuple(-a for a in x)))
    matrix = tuple(tuple(context.from_dict(row.get(x, {})) for x in features) for row in rows)
    exponents = np.array(features, dtype=np.int64).reshape(len(features), inputs)
    return Separated(matrix, exponents, names, title)


def linear_on_features(features: Sequence[Sequence[int]], outputs: int, *, title: str = "") -> Separated:
    """One linear layer on monomials of the inputs: ``A`` itself is the parameter, row by row.

    Args:
        features: The exponents of every monomial.
        outputs: Number of outputs.
        title: What to call it.

    Example:
        >>> network = linear_on_features(monomials(2, 2), 1)
        >>> network.title, network.names
        ('linear layer on 3 monomials', ('A[0,0]', 'A[0,1]', 'A[0,2]'))
    """
    exponents = np.array(features, dtype=np.int64)
    names = tuple(f"A[{o},{f}]" for o in range(outputs) for f in range(len(exponents)))
    generators, f = ring(names).gens(), len(exponents)
    matrix = tuple(tuple(generators[o * f : (o + 1) * f]) for o in range(outputs))
    return Separated(matrix, exponents, names, title or f"linear layer on {f} monomials")


def monomials(variables: int, degree: int) -> list[list[int]]:
    """The exponents of all monomials of one degree.

    Example:
        >>> monomials(2, 2)
        [[2, 0], [1, 1], [0, 2]]
    """
    out = []
    for chosen in combinations_with_replacement(range(variables), degree):
        out.append(np.bincount(chosen, minlength=variables).tolist() if degree else [0] * variables)
    return out
