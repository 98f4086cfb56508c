r"""What symmetric data can show to squared error: the second moments S and the mixed moments B that full orbits have.

For ``f = A phi(x)`` the loss ``1/2 mean |A phi(x) - y|^2`` is ``1/2 <A S, A> - <B, A>`` and a constant, with ``S = mean
phi(x) phi(x)^T`` and ``B = mean y phi(x)^T``. On data that consist of full orbits of equal weight these are sums of

    S(x) = mean_g phi(g x) phi(g x)^T,    B(x, y) = mean_g (g y) phi(g x)^T.

As x and y vary, S(x) spans the coefficients of its monomials in x, and B(x, y) those of its monomials in x times the
entries of y: exact matrices, by averaging monomials over the group. For linear networks with orthogonal actions the
first span is the symmetric matrices that commute with G, the second ``Hom_G(F, Y)``; for polynomial ones it is
smaller than that, because ``phi phi^T`` has equal entries wherever two monomials have the same product. In a basis of
features in which F is not orthogonal, B intertwines the inverse transposes of F with Y.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from functools import cached_property
from math import comb, lcm
from typing import Any

import numpy as np
from flint import Ordering, fmpq, fmpq_mpoly_ctx, fmpq_poly
from jaxtyping import Float, Int
from numpy import ndarray

from intertwiner.errors import GroupError, ShapeMismatch, WrongUse
from intertwiner.numerics.modular import Modulus
from intertwiner.numerics.rational import lifted, reduced_rows
from intertwiner.training.exact_action import ExactAction, cyclotomic, primes_for, to_residues

MOST_AVERAGED = 1_000_000
"""Elements times monomials times terms of each, above which averages are not written out."""

Key = tuple[int, ...]


@dataclass(frozen=True, eq=False)
class Span:
    """A space of matrices, spanned by exact ones over ``Q(zeta_N)``.

    Args:
        order: N.
        rows: The matrices, flat, entries polynomials in z of flint.
        shape: Their shape.
    """

    order: int
    rows: ndarray
    shape: tuple[int, int]

    def residues(self, field: Modulus) -> Float[ndarray, "k rows columns"]:
        """A basis modulo p, in reduced echelon form."""
        return self._echelon(field.prime)[0].reshape(-1, *self.shape)

    def _echelon(self, prime: int) -> tuple[Float[ndarray, "k entries"], list[int]]:
        """The basis, flat, with its pivots; kept, because random potentials are drawn from it again and again."""
        if prime not in self._kept:
            rows, pivots = reduced_rows(to_residues(self.rows, self.order, Modulus(prime)), prime)
            rows.setflags(write=False)
            self._kept[prime] = rows, pivots
        return self._kept[prime]

    @cached_property
    def _kept(self) -> dict[int, tuple[Float[ndarray, "k entries"], list[int]]]:
        return {}

    @cached_property
    def dimension(self) -> int:
        """Its dimension where it has a rational basis; at least so many otherwise."""
        return max(len(self._echelon(p)[0]) for p in primes_for(self.order))

    @cached_property
    def rational(self) -> tuple[tuple[tuple[Fraction, ...], ...], ...] | None:
        """A basis of rational matrices, checked exactly, or None where none was found."""
        primes = primes_for(self.order)
        found = [self._echelon(p) for p in primes]
        if found[0][1] != found[1][1]:
            return None
        basis = lifted([rows for rows, _ in found], primes)
        if basis is None or not self._spanned_by(basis, found[0][1]):
            return None
        columns = self.shape[1]
        return tuple(tuple(tuple(row[i : i + columns]) for i in range(0, len(row), columns)) for row in basis)

    def _spanned_by(self, basis: Sequence[Sequence[Fraction]], pivots: Sequence[int]) -> bool:
        """Whether every matrix is the combination that its entries at the pivots tell: no division, so exact."""
        modulus = cyclotomic(self.order)
        exact = [{k: fmpq(v.numerator, v.denominator) for k, v in enumerate(row) if v} for row in basis]
        for row in self.rows:
            rest = dict(enumerate(row))
            for pivot, vector in zip(pivots, exact, strict=True):
                for k, value in vector.items():
                    rest[k] = rest[k] - row[pivot] * value
            if any(x % modulus for x in rest.values()):
                return False
        return True


@dataclass(frozen=True, eq=False)
class DataSpan:
    """Both spans.

    Args:
        second: Second moments of the features, ``f x f``.
        mixed: Mixed moments of outputs and features, ``d_out x f``.
    """

    second: Span
    mixed: Span

    @property
    def order(self) -> int:
        return self.second.order

    @property
    def dimension(self) -> int:
        """Dimension of both together: of the fields that data can show, before they are evaluated at a point."""
        return self.second.dimension + self.mixed.dimension


def data_span(features: Int[ndarray, "f d_in"], rho_in: ExactAction, rho_out: ExactAction) -> DataSpan:
    """The moments that symmetric data can have.

    Args:
        features: The exponents of every monomial of phi.
        rho_in: The action on the inputs.
        rho_out: The action of the same group on the outputs.

    Raises:
        GroupError: Actions of different groups.
        ShapeMismatch: Features of another number of inputs.
        WrongUse: Averages that would be too large to write out.

    Cost:
        Per element of the group, one product of linear forms per monomial of ``phi phi^T``.

    Example:
        Quadratic features on the plane: quartic monomials, and those that turns by 90 degrees leave invariant.

        >>> from intertwiner.algebra import Representation, cyclic
        >>> from intertwiner.training.exact_action import exact_action
        >>> from intertwiner.training.separated import monomials
        >>> quadratic = np.array(monomials(2, 2))
        >>> def dimension(n, turn):
        ...     group = cyclic(n)
        ...     return data_span(
        ...         quadratic,
        ...         exact_action(Representation(group, (np.array(turn),) * len(group.generators), dimension=2)),
        ...         exact_action(Representation.trivial(group)),
        ...     ).second.dimension
        >>> dimension(1, np.eye(2)), dimension(4, [[0.0, -1.0], [1.0, 0.0]])
        (5, 3)
    """
    features = np.asarray(features, dtype=np.int64)
    if rho_in.group != rho_out.group:
        raise GroupError(f"actions of {rho_in.group.name} and {rho_out.group.name}. Nothing was computed.")
    if features.ndim != 2 or features.shape[1] != rho_in.dimension:
        raise ShapeMismatch(
            f"features are monomials in {rho_in.dimension} inputs, got exponents of shape {features.shape}. "
            "Nothing was computed."
        )
    order = lcm(rho_in.order, rho_out.order)
    rho_in, rho_out = rho_in.with_order(order), rho_out.with_order(order)
    sums = features[:, None, :] + features[None, :, :]
    products, place = np.unique(sums.reshape(-1, features.shape[1]), axis=0, return_inverse=True)
    size, degree = features.shape[1], int(sums.sum(axis=2).max(initial=0))
    work = rho_in.group.order * len(products) * comb(size + degree - 1, degree)
    if work > MOST_AVERAGED and not _monomial(rho_in):
        raise WrongUse(
            f"averages of {len(products)} monomials of degree up to {degree} in {size} inputs over "
            f"{rho_in.group.order} elements have up to {work} terms, the bound is {MOST_AVERAGED}. Next step: fewer "
            "features, a subgroup, or a basis in which the group permutes coordinates. Nothing was computed."
        )
    count = len(features)
    averaged = _averages(products, rho_in, order)
    second = _rows(averaged, place.ravel().tolist())
    moved = _mixed_averages(features, rho_in, rho_out, order)
    mixed = _rows(moved, range(rho_out.dimension * count))
    return DataSpan(Span(order, second, (count, count)), Span(order, mixed, (rho_out.dimension, count)))


def _monomial(action: ExactAction) -> bool:
    return all(np.count_nonzero(m != 0) == len(m) for m in action.images)


class _Forms:
    """Monomials of ``g x`` as polynomials in x, and in z where there is one."""

    def __init__(self, size: int, order: int) -> None:
        self.size, self.order = size, order
        names = [f"x{k}" for k in range(size)] + (["z"] if order > 1 else [])
        self.context = fmpq_mpoly_ctx.get(names, Ordering.degrevlex)
        self.generators = self.context.gens()

    def number(self, value: fmpq_poly) -> Any:
        out = self.context.constant(0)
        for k, c in enumerate(value.coeffs()):
            if c:
                out += c * (self.generators[-1] ** k if k else self.context.constant(1))
        return out

    def moved(self, matrix: ndarray, exponents: Int[ndarray, "m d"]) -> list[Any]:
        """The monomials at ``matrix x``."""
        zero, one = self.context.constant(0), self.context.constant(1)
        forms = [
            sum((self.number(entry) * self.generators[j] for j, entry in enumerate(row) if entry), zero)
            for row in matrix
        ]
        powers = [[one] for _ in forms]
        for form, listed, top in zip(forms, powers, exponents.max(axis=0, initial=0), strict=True):
            for _ in range(int(top)):
                listed.append(listed[-1] * form)
        out = []
        for row in exponents:
            value = one
            for listed, power in zip(powers, row, strict=True):
                value = value * listed[power] if power else value
            out.append(value)
        return out

    def collected(self, value: Any) -> dict[Key, fmpq_poly]:
        """The coefficients of the monomials in x, reduced."""
        found: dict[Key, dict[int, Any]] = {}
        for exponents, c in value.to_dict().items():
            power = int(exponents[self.size]) if self.order > 1 else 0
            found.setdefault(tuple(exponents[: self.size]), {})[power] = c
        modulus = cyclotomic(self.order)
        out = {}
        for key, terms in found.items():
            reduced = fmpq_poly([terms.get(k, 0) for k in range(max(terms) + 1)]) % modulus
            if reduced:
                out[key] = reduced
        return out


def _averages(exponents: Int[ndarray, "m d"], rho: ExactAction, order: int) -> list[dict[Key, fmpq_poly]]:
    """The mean over the group of every monomial at ``g x``."""
    forms = _Forms(rho.dimension, order)
    totals = [forms.context.constant(0)] * len(exponents)
    for matrix in rho.images:
        totals = [t + m for t, m in zip(totals, forms.moved(matrix, exponents), strict=True)]
    return [forms.collected(t / fmpq(rho.group.order)) for t in totals]


def _mixed_averages(
    features: Int[ndarray, "f d"], rho_in: ExactAction, rho_out: ExactAction, order: int
) -> list[dict[Key, fmpq_poly]]:
    """The mean of ``(g y)_o phi_a(g x)`` for all o and a: keys are a monomial in x and the entry of y."""
    forms = _Forms(rho_in.dimension, order)
    zero = forms.context.constant(0)
    size = rho_out.dimension
    totals = np.empty((size, len(features), size), dtype=object)
    totals.fill(zero)
    for matrix, out in zip(rho_in.images, rho_out.images, strict=True):
        moved = forms.moved(matrix, features)
        for (o, j), number in np.ndenumerate(out):
            if number:
                factor = forms.number(number)
                for a, value in enumerate(moved):
                    totals[o, a, j] = totals[o, a, j] + factor * value
    result = []
    for o, a in np.ndindex(size, len(features)):
        entry: dict[Key, fmpq_poly] = {}
        for j in range(size):
            for key, value in forms.collected(totals[o, a, j] / fmpq(rho_in.group.order)).items():
                entry[(*key, j)] = value
        result.append(entry)
    return result


def _rows(values: Sequence[Mapping[Key, fmpq_poly]], places: Sequence[int]) -> ndarray:
    """One flat matrix per key: its coefficient in the value that stands at every place."""
    keys = sorted({key for value in values for key in value})
    zero = fmpq_poly([])
    out = np.empty((len(keys), len(places)), dtype=object)
    out.fill(zero)
    number = {key: k for k, key in enumerate(keys)}
    for column, n in enumerate(places):
        for key, value in values[n].items():
            out[number[key], column] = value
    return out
