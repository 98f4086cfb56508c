r"""One linear layer, squared error, symmetric data: the laws irrep by irrep, in closed form.

``f = A F`` with F an orthogonal representation, ``F = sum_l V_l (x) K_l^m_l``, K_l = R, C or H. A splits into A_l in
``Hom(V_l, Y) (x) K^m``, and modulo the intertwiners, which B moves freely, into a matrix U_l over K with m columns
and ``n / k`` rows, ``n = dim Hom(V_l, Y) - dim Hom_G(V_l, Y)`` over the reals, ``k = dim K``. S acts on it from the
right by Hermitian m x m matrices. For m = 1 that are real numbers: U moves on a ray. For larger m their brackets
generate all matrices over K, for K = C those of real trace. So the laws are the entries of ``U_2 U_1^-1``, U_1 the
first m rows, and for K = C
the phase of ``det U_1``:

    m = 1: max(0, n - 1);   K = R, H: m max(0, n - k m);   K = C: m max(0, n - 2 m) + [n >= 2 m].

Derived here; every count is compared with brackets when it is used. The biases are a trivial part of F.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from fractions import Fraction
from math import lcm
from typing import Any

import numpy as np
from flint import fmpq_poly
from jaxtyping import Float, Int
from numpy import ndarray

from intertwiner.algebra import Irrep, Representation, irreps
from intertwiner.errors import WrongUse
from intertwiner.numerics.modular import Modulus
from intertwiner.numerics.rational import lifted, reduced_rows
from intertwiner.training.exact_action import ExactAction, primes_for, recognised_number, to_residues
from intertwiner.training.polynomial_law import law_of
from intertwiner.training.ratio_law import RatioLaw


@dataclass(frozen=True)
class IrrepLaws:
    """What one irrep of the inputs contributes.

    Args:
        irrep: Its name.
        kind: ``real``, ``complex`` or ``quaternionic``.
        multiplicity: How often it occurs among the inputs, m.
        coordinates: Real dimension of ``Hom(V, Y)`` modulo intertwiners, n.
        laws: Number of independent laws.
        formula: The laws in words.
    """

    irrep: str
    kind: str
    multiplicity: int
    coordinates: int
    laws: int
    formula: str

    def to_json(self) -> dict[str, Any]:
        """The record as plain values."""
        return dict(self.__dict__)

    @classmethod
    def from_json(cls, record: Mapping[str, Any]) -> IrrepLaws:
        """The record that ``to_json`` wrote."""
        return cls(**record)


def one_layer_laws(rho_features: Representation, rho_out: Representation) -> tuple[IrrepLaws, ...]:
    """The laws of one linear layer under squared error on symmetric data, irrep by irrep.

    Args:
        rho_features: The action on the features, orthogonal: the inputs, and a trivial part for the bias.
        rho_out: The action on the outputs.

    Raises:
        WrongUse: Representations of different groups.

    Example:
        Turns of the plane by 90 degrees, a number as output: the direction of the weights is conserved.

        >>> from intertwiner.algebra import cyclic
        >>> turn = Representation(cyclic(4), (np.array([[0.0, -1.0], [1.0, 0.0]]),))
        >>> [(part.irrep, part.laws) for part in one_layer_laws(turn, Representation.trivial(cyclic(4)))]
        [('E', 1)]
    """
    if rho_features.group != rho_out.group:
        raise WrongUse(
            f"representations of {rho_features.group.name} and {rho_out.group.name}: both must be of the symmetry of "
            "the data. Nothing was computed."
        )
    out = rho_out.isotypic()
    found = []
    for irrep, m in rho_features.isotypic().items():
        k = irrep.commutant_dimension
        n = irrep.dimension * rho_out.dimension - k * out[irrep.name]
        found.append(IrrepLaws(irrep.name, str(irrep.type), m, n, _count(m, n, k), _words(irrep, m, n)))
    return tuple(found)


def _count(m: int, n: int, k: int) -> int:
    if m == 1:
        return max(0, n - 1)
    return m * max(0, n - k * m) + int(k == 2 and n >= 2 * m)


def _words(irrep: Irrep, m: int, n: int) -> str:
    k = irrep.commutant_dimension
    if not _count(m, n, k):
        return "none"
    if m == 1:
        ratios = "u_1/u_0" if n == 2 else f"u_1/u_0, ..., u_{n - 1}/u_0"
        return f"{ratios}, u the {n} coordinates on {irrep.name} modulo intertwiners"
    where = {1: "", 2: " over the complex numbers", 4: " over the quaternions"}[k]
    parts = [
        f"the entries of U_2 U_1^-1, U the {n // k} x {m} coordinates on {irrep.name}{where}, U_1 its first {m} rows"
    ]
    if n == k * m:
        parts = []
    if k == 2:
        parts.append(f"the phase of det U_1, U_1 the first {m} rows of the coordinates on {irrep.name}{where}")
    return " and ".join(parts)


def ratio_laws(
    actions: tuple[ExactAction, ExactAction],
    parts: tuple[IrrepLaws, ...],
    places: Int[ndarray, "out f"],
    names: tuple[str, ...],
) -> tuple[RatioLaw, ...]:
    """The laws ``u_i / u_0`` of the irreps that occur once, with rational coordinates u where there are such.

    Args:
        actions: On the features, orthogonal, and on the outputs.
        parts: What ``one_layer_laws`` says.
        places: The parameter that stands at every entry of A.
        names: Name of every parameter.

    Returns:
        Candidates; ``is_ratio_conserved`` confirms them.
    """
    out = []
    for part in parts:
        if part.multiplicity == 1 and part.laws:
            forms = _coordinates(*actions, part.irrep)
            laws = [law_of(_sparse(form, places.ravel()), names) for form in forms or []]
            out += [RatioLaw(law, laws[0]) for law in laws[1:]]
    return tuple(out)


def working_order(rho: ExactAction) -> int:
    """The order of a root of unity that entries and characters of an action can be written with."""
    return lcm(4, rho.group.exponent, rho.order)


def isotypic_projector(rho: ExactAction, name: str, field: Modulus, order: int) -> Float[ndarray, "f f"] | None:
    """The projector to the part of one irrep modulo p, or None where its character is not known exactly.

    Args:
        rho: The action.
        name: The irrep.
        field: The modulus, its prime 1 modulo ``order``.
        order: A multiple of ``working_order(rho)``.

    Example:
        >>> from intertwiner.algebra import cyclic
        >>> from intertwiner.numerics.monomial import Monomial
        >>> from intertwiner.training.exact_action import exact_action
        >>> swap = exact_action(Representation(cyclic(2), (Monomial([1, 0]),)))
        >>> field = Modulus(primes_for(4)[0])
        >>> field.mul(isotypic_projector(swap, "B", field, 4), 2.0)
        array([[ 1., -1.],
               [-1.,  1.]])
    """
    irrep = next(i for i in irreps(rho.group) if i.name == name)
    character = np.empty(rho.group.order, dtype=object)
    for g, value in enumerate(irrep.character):
        half = recognised_number(float(value) / 2, order)
        if half is None:
            return None
        character[g] = fmpq_poly([2]) * half
    chi, matrices = to_residues(character, order, field), rho.with_order(order).residues(field)
    scale = field.fraction(Fraction(irrep.dimension, irrep.commutant_dimension * rho.group.order))
    return field.mul(field.reduce(field.mul(matrices, chi[:, None, None]).sum(axis=0)), scale)


def _sparse(form: list[Fraction], places: Int[ndarray, " n"]) -> dict[tuple[int, ...], Fraction]:
    return {tuple(int(j == k) for k in range(len(form))): c for j, c in zip(places, form, strict=True) if c}


def _coordinates(rho_features: ExactAction, rho_out: ExactAction, name: str) -> list[list[Fraction]] | None:
    """Rational linear forms in the entries of A: its part on one irrep, less its average over the group."""
    group = rho_features.group
    order = lcm(working_order(rho_features), rho_out.order)
    primes = primes_for(order)
    found = []
    for prime in primes:
        field = Modulus(prime)
        projector = isotypic_projector(rho_features, name, field, order)
        if projector is None:
            return None
        share = field.fraction(Fraction(1, group.order))
        features, outputs = (rho.with_order(order).residues(field) for rho in (rho_features, rho_out))
        kron = field.mul(outputs[:, :, None, :, None], features[:, None, :, None, :]).sum(axis=0)
        size = outputs.shape[1] * features.shape[1]
        average = field.mul(field.reduce(kron).reshape(size, size), share)
        part = np.kron(np.eye(outputs.shape[1]), projector.T)
        rest = field.reduce(np.eye(size) - average)
        found.append(reduced_rows(field.matmul(rest, part), prime)[0])
    return lifted(found, primes)
