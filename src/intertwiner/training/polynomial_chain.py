r"""Fully connected networks with a polynomial between the layers, as circuits, and the laws of scaling a neuron.

``f(x; theta) = A(theta) phi(x)`` with phi the monomials in x, so the entries of A are the local reparametrisation and
V is spanned by the gradients of ``<c, f(x; theta)>`` at free x and c. Where the polynomial is ``a (t + s)^r``,
multiplying ``(w, b + s)`` of a hidden neuron by lambda and what goes out of it by ``lambda^-r`` changes nothing; the
generator is symmetric, so ``|w|^2 + (b + s)^2 - r |out|^2`` is constant. Without biases s must be 0. For r = 1 whole
matrices act so: ``W_{l+1}^T W_{l+1} - W_l W_l^T - (b_l + s)(b_l + s)^T`` is constant; without biases ``<A, W_{l+1}^T
W_{l+1} - W_l W_l^T>`` is, for the symmetric A that send the constant vector s to 0. Another constant or linear part
(``t^2 + t = (t + 1/2)^2 - 1/4``) leaves nothing: the next bias would have to follow, and that generator is not
symmetric.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from functools import cached_property
from math import comb

import numpy as np
from jaxtyping import Float
from numpy import ndarray

from intertwiner.errors import WrongUse
from intertwiner.exact.polynomial import Polynomial
from intertwiner.numerics.modular import PRIMES, Modulus
from intertwiner.numerics.polynomial import read_terms
from intertwiner.training.chain import Chain
from intertwiner.training.circuit import Circuit, CircuitFunctions
from intertwiner.training.counts import Certain, ConservationCount, count_conserved
from intertwiner.training.laws import Law, known_laws, law_gradients
from intertwiner.training.network_counts import check_work
from intertwiner.training.recorder import Recorder
from intertwiner.training.thin import one_curve, single_units

HIGHEST = 64
"""Highest degree that is taken."""


def read_polynomial(text: str) -> Polynomial:
    """The coefficients of ``t^2``, ``t^3 + 2t``, ``1/2 t^2 - t``, lowest degree first.

    Raises:
        WrongUse: For a text that is no polynomial in t, a constant, or a degree above ``HIGHEST``.

    Example:
        >>> [str(c) for c in read_polynomial("1/2 t^2 - t")]
        ['0', '-1', '1/2']
    """
    terms = read_terms(text)
    degree = terms[-1][0] if terms else 0
    if not terms or not 1 <= degree <= HIGHEST:
        raise WrongUse(
            f"{text!r} is no polynomial in t of a degree from 1 to {HIGHEST}. Next step: 't^2', 't^3 + 2t', "
            "'1/2 t^2 - t'; linear and relu chains have their own spelling. Nothing was computed."
        )
    known = dict(terms)
    return tuple(known.get(k, Fraction(0)) for k in range(degree + 1))


def shifted_power(piece: Polynomial) -> tuple[int, Fraction] | None:
    """The r and s of ``a (t + s)^r``, or None where the polynomial is none.

    Example:
        >>> shifted_power(read_polynomial("2t^2 + 4t + 2")), shifted_power(read_polynomial("t^2 + t"))
        ((2, Fraction(1, 1)), None)
    """
    r, top = len(piece) - 1, piece[-1]
    s = piece[r - 1] / (r * top)
    whole = all(c == top * comb(r, k) * s ** (r - k) for k, c in enumerate(piece))
    return (r, s) if whole else None


@dataclass(frozen=True)
class PolynomialChain:
    """A fully connected network with a polynomial between its layers; a `Reparametrisation`.

    Args:
        widths: Input, hidden and output widths.
        activation: The polynomial, ``"t^2"``; it stands between the layers, not after the last.
        bias: Whether every layer has one.

    Raises:
        WrongUse: For widths or a polynomial that are no such thing.

    Example:
        >>> PolynomialChain((2, 3, 1), "t^2").parameters
        9
    """

    widths: tuple[int, ...]
    activation: str
    bias: bool = False

    def __post_init__(self) -> None:
        read_polynomial(self.activation)
        object.__setattr__(self, "widths", self.layers.widths)

    @cached_property
    def layers(self) -> Chain:
        """The same layers without the polynomial: they number the parameters."""
        return Chain(tuple(self.widths), "linear", self.bias)

    @property
    def polynomial(self) -> Polynomial:
        """Its coefficients, lowest degree first."""
        return read_polynomial(self.activation)

    @property
    def parameters(self) -> int:
        """Number of parameters D."""
        return self.layers.parameters

    @property
    def dimension(self) -> int:
        """D: as many random functions span V."""
        return self.parameters

    @cached_property
    def circuit(self) -> Circuit:
        """``<c, f(x; theta)>`` at a free input."""
        record = Recorder()
        x = record.free((1, self.widths[0]))
        for layer, numbers in enumerate(self.layers.matrices):
            fan_in, fan_out = self.widths[layer : layer + 2]
            x = record.matmul(x, record.parameter(numbers[:fan_out, :fan_in].T))
            if self.bias:
                x = record.add(x, record.parameter(numbers[:fan_out, fan_in]))
            if layer < self.layers.depth - 1:
                x = record.polynomial(self.polynomial, x)
        return record.circuit(str(self), self.parameters, [record.end(x)])

    def draw(self, count: int, field: Modulus, random: np.random.Generator) -> CircuitFunctions:
        """Random functions ``<c, f(x; theta)>``."""
        return self.circuit.draw(count, field, random)

    def __str__(self) -> str:
        return f"network {self.widths} with {self.activation}{' and biases' if self.bias else ''}"


def scaling_laws(network: PolynomialChain) -> tuple[tuple[Law, ...], Fraction]:
    """The laws of the neurons as quadratic functions of the parameters with s added to the hidden biases, and s.

    Example:
        >>> laws, shift = scaling_laws(PolynomialChain((1, 1, 1), "t^3"))
        >>> laws[0].formula, laws[0].terms
        ('3 |W_2[:, 0]|^2 - |W_1[0, :]|^2', ((1, 1, 3), (0, 0, -1)))
    """
    power = shifted_power(network.polynomial)
    if power is None or (power[0] > 1 and power[1] and not network.bias):
        return (), Fraction(0)
    r, s = power
    pairs = known_laws(network.layers)
    if r == 1:
        return (pairs, s) if network.bias or not s else (_differences(pairs), Fraction(0))
    added = "" if not s else f" {'+' if s > 0 else '-'} {abs(s)}"
    out = []
    for law in (law for law in pairs if law.units[0] == law.units[1]):
        terms = tuple((p, q, r if c > 0 else -1) for p, q, c in law.terms)
        l, i = law.layer, law.units[0]
        bias = (f" - (b_{l}[{i}]{added})^2" if added else f" - b_{l}[{i}]^2") if network.bias else ""
        formula = f"{r} |W_{l + 1}[:, {i}]|^2 - |W_{l}[{i}, :]|^2{bias}"
        out.append(Law(formula, l, law.units, f"scales of hidden layer {l}", law.parameters, terms))
    return tuple(out), s


def _differences(pairs: Sequence[Law]) -> tuple[Law, ...]:
    """``M[i, i] + M[j, j] - 2 M[i, j]`` of the matrices M of laws: what the difference of two unit vectors sees."""
    by_place = {(law.layer, *law.units): law for law in pairs}
    out = []
    for (layer, i, j), law in by_place.items():
        if i == j:
            continue
        terms = [(p, q, w * c) for k, m, w in ((i, i, 1), (j, j, 1), (i, j, -2))
                 for p, q, c in by_place[layer, k, m].terms]  # fmt: skip
        name = law.formula.removesuffix(f"[{i}, {j}]")
        formula = f"{name}[{i}, {i}] + [{j}, {j}] - 2 [{i}, {j}]"
        group = f"matrices that fix the constant vector, of hidden layer {layer}"
        out.append(Law(formula, layer, law.units, group, law.parameters, tuple(terms)))
    return tuple(out)


def certain_of(network: PolynomialChain) -> Certain:
    """What is conserved by the structure of a polynomial network."""
    laws, shift = scaling_laws(network)
    biases = [n[: network.widths[k + 1], -1] for k, n in enumerate(network.layers.matrices[:-1])] if shift else []
    moved = np.concatenate(biases) if biases else np.zeros(0, dtype=np.int64)

    def gradients(theta: Float[ndarray, " D"], field: Modulus) -> Float[ndarray, "laws D"]:
        theta = theta.copy()
        theta[moved] = field.add(theta[moved], np.array(field.fraction(shift)))
        return law_gradients(laws, theta, field)

    power = shifted_power(network.polynomial)
    stretch = single_units(network.widths)
    if network.bias or power is None or power[1] or stretch is None:
        return Certain(gradients, [law.formula for law in laws])
    first, last = stretch
    part = PolynomialChain(network.widths[first : last + 1], network.activation)
    start = int(network.layers.matrices[first].min())
    return Certain(
        gradients,
        [law.formula for law in laws],
        lambda theta, field: one_curve(part, start, theta, field),
        f"by the layers {first + 1} to {last}, which move along one curve",
    )


def count_polynomial_laws(
    widths: Sequence[int],
    activation: str,
    *,
    bias: bool = False,
    depth: int = 8,
    primes: Sequence[int] = PRIMES,
    seed: int = 0,
) -> ConservationCount:
    r"""Count the independent conserved functions of a polynomial network under plain gradient flow.

    Args:
        widths: Input, hidden and output widths.
        activation: A polynomial in t with rational coefficients: ``"t^2"``, ``"t^3 + 2t"``.
        bias: Whether the layers have biases.
        depth: Most brackets nested in one another that are tried.
        primes: Odd primes below 2^26 and above ``depth``.
        seed: Decides all random numbers.

    Returns:
        The count with its certificate, or both bounds where they do not meet.

    Raises:
        WrongUse: For arguments that are no such thing, or a network beyond the bounds.
        Contradiction: A bug in the library.

    Cost:
        As `count_laws_of`.

    Example:
        >>> print(count_polynomial_laws((2, 3, 1), "t^2"))
        network (2, 3, 1) with t^2: 3 independent conserved functions of 9 parameters, 3 known by structure; PROVED
    """
    network = PolynomialChain(tuple(widths), activation, bias)
    check_work(network.circuit, len(primes))
    return count_conserved(network, certain_of(network), depth=depth, primes=primes, seed=seed)
