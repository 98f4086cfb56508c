r"""The conservation laws that the structure gives: one quadratic function per pair of hidden units, or per ReLU neuron.

Linear layers: ``W_{l+1}^T W_{l+1} - W_l W_l^T - b_l b_l^T`` is constant under gradient flow, a symmetric matrix per
hidden layer: the gradients of its entries are the symmetric generators of the gauge group GL(h), and moving along a
gauge never changes the loss. ReLU layers: only the diagonal, because only scales are gauges there [Du, Hu, Lee 2018;
Marcotte, Gribonval, Peyre 2023]. Without the bias neither is conserved.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float
from numpy import ndarray

from intertwiner.errors import NonFiniteWeights, ShapeMismatch
from intertwiner.numerics.modular import Modulus
from intertwiner.numerics.modular_echelon import rank_of_residues
from intertwiner.numerics.seeds import rng
from intertwiner.training.chain import Chain
from intertwiner.training.potentials import residues


@dataclass(frozen=True)
class Law:
    """A quadratic function of the parameters, ``sum of c theta_p theta_q`` over its terms.

    Args:
        formula: In words of the layers, ``W_1`` the first; rows and columns count from 0.
        layer: The hidden layer, 1 the first.
        units: The pair of hidden units, equal for a single one.
        group: The gauge group it comes from.
        parameters: Number of parameters D.
        terms: ``(p, q, c)``, at most one per pair.

    Example:
        >>> (law,) = known_laws(Chain((1, 1, 1), "relu"))
        >>> law.formula, law.value(np.array([1.0, 3.0])), law.gradient(np.array([1.0, 3.0]))
        ('|W_2[:, 0]|^2 - |W_1[0, :]|^2', 8.0, array([-2.,  6.]))
    """

    formula: str
    layer: int
    units: tuple[int, int]
    group: str
    parameters: int
    terms: tuple[tuple[int, int, int], ...]

    def value(self, theta: Float[ndarray, " D"]) -> float:
        """Its value at flat parameters.

        Raises:
            ShapeMismatch: If there are not D.
            NonFiniteWeights: NaN or infinity among them.
        """
        theta = self._checked(theta)
        p, q, c = self._arrays()
        return float(np.sum(c * theta[p] * theta[q]))

    def gradient(self, theta: Float[ndarray, " D"]) -> Float[ndarray, " D"]:
        """Its gradient at flat parameters; raises as ``value`` does."""
        theta = self._checked(theta)
        p, q, c = self._arrays()
        out = np.zeros(self.parameters)
        np.add.at(out, p, c * theta[q])
        np.add.at(out, q, c * theta[p])
        return out

    def _arrays(self) -> tuple[ndarray, ndarray, ndarray]:
        table = np.array(self.terms, dtype=np.int64).reshape(-1, 3)
        return table[:, 0], table[:, 1], table[:, 2]

    def _checked(self, theta: ndarray) -> Float[ndarray, " D"]:
        theta = np.asarray(theta, dtype=np.float64)
        if theta.shape != (self.parameters,):
            raise ShapeMismatch(
                f"the law {self.formula} takes {self.parameters} parameters in one row, got shape {theta.shape}. "
                "Usual cause: another network, or weights that were not flattened. Nothing was computed."
            )
        if not np.isfinite(theta).all():
            raise NonFiniteWeights(
                f"{int((~np.isfinite(theta)).sum())} of {theta.size} parameters are NaN or infinite: the law "
                f"{self.formula} has no value there. Usual cause: training diverged. Nothing was computed."
            )
        return theta


def known_laws(chain: Chain) -> tuple[Law, ...]:
    """The laws of a chain by its structure, hidden layer by hidden layer; they need not be independent.

    Args:
        chain: The network.

    Returns:
        ``h (h + 1) / 2`` per linear hidden layer of h units, h per ReLU layer.

    Cost:
        Proportional to the number of terms, at most ``h^2`` times the fan-in and fan-out of a layer.

    Example:
        >>> for law in known_laws(Chain((3, 2, 1), "linear", bias=True)):
        ...     print(law.formula)
        (W_2^T W_2 - W_1 W_1^T - b_1 b_1^T)[0, 0]
        (W_2^T W_2 - W_1 W_1^T - b_1 b_1^T)[0, 1]
        (W_2^T W_2 - W_1 W_1^T - b_1 b_1^T)[1, 1]
    """
    out = []
    for layer in range(1, chain.depth):
        incoming, outgoing = chain.matrices[layer - 1], chain.matrices[layer]
        for i in range(chain.widths[layer]):
            for j in range(i, chain.widths[layer] if chain.activation == "linear" else i + 1):
                terms = [(int(p), int(q), 1) for p, q in zip(outgoing[:, i], outgoing[:, j], strict=True) if p >= 0]
                terms += [(int(p), int(q), -1) for p, q in zip(incoming[i], incoming[j], strict=True) if p >= 0]
                formula, group = _words(chain, layer, (i, j))
                out.append(Law(formula, layer, (i, j), group, chain.parameters, tuple(terms)))
    return tuple(out)


def _words(chain: Chain, layer: int, units: tuple[int, int]) -> tuple[str, str]:
    i, j = units
    if chain.activation == "relu":
        bias = f" - b_{layer}[{i}]^2" if chain.bias else ""
        return f"|W_{layer + 1}[:, {i}]|^2 - |W_{layer}[{i}, :]|^2{bias}", f"scales of hidden layer {layer}"
    bias = f" - b_{layer} b_{layer}^T" if chain.bias else ""
    product = f"(W_{layer + 1}^T W_{layer + 1} - W_{layer} W_{layer}^T{bias})[{i}, {j}]"
    return product, f"GL({chain.widths[layer]}) of hidden layer {layer}"


def law_gradients(laws: Sequence[Law], theta: Float[ndarray, " D"], field: Modulus) -> Float[ndarray, "laws D"]:
    """Gradients of several laws at a point modulo p, one row per law."""
    out = np.zeros((len(laws), len(theta)))
    if not laws:
        return out
    rows = np.repeat(np.arange(len(laws)), [len(law.terms) for law in laws])
    p, q, c = np.array([term for law in laws for term in law.terms], dtype=np.int64).reshape(-1, 3).T
    np.add.at(out, (rows, p), c * theta[q])
    np.add.at(out, (rows, q), c * theta[p])
    return field.reduce(out)


def independent_laws(laws: Sequence[Law], chain: Chain, field: Modulus, *, seed: int = 0) -> int:
    """Rank of the gradients at a random point modulo p: at least so many laws are independent.

    Example:
        Fewer inputs and outputs together than hidden units: the balances are dependent.

        >>> chain = Chain((1, 3, 1))
        >>> len(known_laws(chain)), independent_laws(known_laws(chain), chain, Modulus())
        (6, 5)
    """
    theta = residues((chain.parameters,), field, rng(seed))
    return rank_of_residues(law_gradients(laws, theta, field), field)


def rates(
    laws: Sequence[Law], chain: Chain, field: Modulus, *, fields: int = 8, seed: int = 0
) -> Float[ndarray, "laws fields"]:
    """How fast the laws change along random gradient fields at a random point, modulo p.

    A number other than zero refutes a law for certain. Zeros everywhere leave a wrong law of a network of depth L with
    probability at most ``2 L / p`` [Schwartz 1980, Zippel 1979].

    Args:
        laws: Functions that may be conserved.
        chain: The network.
        field: The modulus.
        fields: Number of random fields.
        seed: Decides the point and the fields.

    Example:
        >>> chain = Chain((2, 2, 2), "relu")
        >>> rates(known_laws(chain), chain, Modulus()).any().item()
        False
    """
    random = rng(seed)
    theta = residues((chain.parameters,), field, random)
    flow = chain.draw(fields, field, random).gradients(theta[None], field)[0]
    return field.matmul(law_gradients(laws, theta, field), flow.T)
