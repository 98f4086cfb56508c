r"""Which published theorem says that a network's parameters can be told from its function, and of which kind.

Only *pointwise, global* statements license the theorem of theory 1 ("an equivariant network whose parameters are
identifiable is layerwise equivariant"): it is used at an equivariant parameter, which is never generic. A *generic*
statement holds for almost every parameter, an *open set* one for some, a *local* one near the given parameter; they are
listed with their hypotheses and license nothing.

Hypotheses are checked one by one on the weights, which are exact numbers: two rows either are equal or are not. The
margin beside every answer says how near the network is to the other answer.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from fractions import Fraction
from itertools import pairwise
from typing import Any

import numpy as np
from jaxtyping import Float
from numpy import ndarray

from intertwiner.identify.chain import Chain, Dense, as_chain
from intertwiner.network import Network
from intertwiner.numerics.tolerance import COMPARED_EXACTLY


class Reach(StrEnum):
    """How far a statement on identifiability goes."""

    POINTWISE = "pointwise, global"
    GENERIC = "generic"
    OPEN_SET = "open set"


@dataclass(frozen=True)
class Hypothesis:
    """One hypothesis of a theorem at the given parameter.

    Args:
        text: What is required.
        holds: Whether it does; None where it cannot be checked.
        seen: The number that decides, or why there is none.
    """

    text: str
    holds: bool | None
    seen: str

    def __str__(self) -> str:
        mark = {True: "holds", False: "fails", None: "not checked"}[self.holds]
        return f"{self.text}: {mark} ({self.seen})"


@dataclass(frozen=True)
class Criterion:
    """A theorem that could speak about a network, with its hypotheses checked.

    Args:
        theorem: Its name and source.
        reach: How far it goes.
        statement: What follows when every hypothesis holds.
        hypotheses: Each with its answer.
        citable: False for a statement that was not read in full: it decides nothing even where all seems to hold.
        of: What is determined: "the parameters", or "the even form" where a bypass hides flips of neurons.
    """

    theorem: str
    reach: Reach
    statement: str
    hypotheses: tuple[Hypothesis, ...]
    citable: bool = True
    of: str = "the parameters"

    @property
    def holds(self) -> bool:
        """Every hypothesis was checked and holds, and the statement may be cited."""
        return self.citable and all(h.holds is True for h in self.hypotheses)

    @property
    def licenses(self) -> bool:
        """It holds and is pointwise and global: the theorem of layerwise equivariance may be used."""
        return self.holds and self.reach is Reach.POINTWISE

    def to_json(self) -> dict[str, Any]:
        return {
            "theorem": self.theorem, "kind": str(self.reach), "of": self.of, "statement": self.statement,
            "holds": self.holds, "citable": self.citable,
            "hypotheses": [{"text": h.text, "holds": h.holds, "seen": h.seen} for h in self.hypotheses],
        }  # fmt: skip

    def __str__(self) -> str:
        head = f"{self.theorem} [{self.reach}]: {'holds' if self.holds else 'does not decide'}"
        return "\n".join([head, *(f"  {h}" for h in self.hypotheses)])


def criteria(network: Network) -> tuple[tuple[Criterion, ...], str]:
    """The theorems whose architecture is that of the network, each with its hypotheses checked.

    Returns:
        The criteria, those that license the theorem first; and, where there is none, why.

    Cost:
        ``O(n^2 m)`` per layer of n neurons that read m values, for the distances between rows.
    """
    chain = as_chain(network)
    if isinstance(chain, str):
        return (), f"no published theorem covers this architecture: {chain}"
    if not chain.hidden:
        return (), "there is no hidden layer: the weights are the function"
    found = [c for theorem in THEOREMS if (c := theorem(chain)) is not None]
    found.sort(key=lambda c: (not c.licenses, not c.holds))
    names = ", ".join(sorted(chain.activations))
    return tuple(found), "" if found else f"no theorem known here speaks about chains with {names}"


# ------------------------------------------------------------------ hypotheses


def _no_zero_column(chain: Chain) -> Hypothesis:
    """Every hidden neuron is read by the next layer."""
    worst, where = np.inf, ""
    for layer, after in zip(chain.hidden, chain.layers[1:], strict=True):
        norms = np.linalg.norm(after.weight, axis=0)
        if norms.min(initial=np.inf) < worst:
            worst, where = float(norms.min()), f"neuron {int(norms.argmin())} of {layer.name}"
    return Hypothesis("no neuron with a zero outgoing column", worst > 0, f"smallest norm {worst:.3g}, {where}")


def _no_zero_row(chain: Chain) -> Hypothesis:
    """No hidden neuron is constant."""
    worst, where = np.inf, ""
    for layer in chain.hidden:
        norms = np.linalg.norm(layer.weight, axis=1)
        if norms.min(initial=np.inf) < worst:
            worst, where = float(norms.min()), f"neuron {int(norms.argmin())} of {layer.name}"
    return Hypothesis("no constant neuron (w = 0)", worst > 0, f"smallest |w| {worst:.3g}, {where}")


def _no_equal_rows(chain: Chain, *, text: str, normalise: bool) -> Hypothesis:
    """No two neurons of a layer with rows equal up to sign (and to scale, where ``normalise``)."""
    worst, where, equal = np.inf, "one neuron a layer", False
    for layer in chain.hidden:
        near, pair, same = nearest_up_to_sign(layer, normalise=normalise)
        equal |= same
        if near < worst:
            worst, where = near, f"neurons {pair[0]} and {pair[1]} of {layer.name}"
    return Hypothesis(text, not equal, f"nearest {worst:.3g} of a row apart, {where}" if np.isfinite(worst) else where)


def nearest_up_to_sign(layer: Dense, *, normalise: bool) -> tuple[float, tuple[int, int], bool]:
    """The two rows ``[w | b]`` of a layer that are nearest up to sign.

    Args:
        layer: The layer.
        normalise: Compare directions: rows are scaled to norm one.

    Returns:
        Their distance relative to the larger row (to about 1e-8), which they are, and whether any two rows of the
        layer are equal exactly, in rational arithmetic.
    """
    rows = layer.rows
    if len(rows) < 2:
        return np.inf, (0, 0), False
    norms = np.linalg.norm(rows, axis=1)
    norms = np.where(norms > 0, norms, 1.0)
    used = rows / norms[:, None] if normalise else rows
    size = np.einsum("ij,ij->i", used, used)
    squared = size[:, None] + size - 2 * np.abs(used @ used.T)
    larger = np.maximum(size[:, None], size)
    relative = np.sqrt(np.maximum(squared, 0.0) / np.where(larger > 0, larger, 1.0))
    i, j = np.triu_indices(len(rows), 1)
    values = relative[i, j]
    place = int(values.argmin())
    close = np.flatnonzero(values <= COMPARED_EXACTLY)
    same = any(_equal(rows[i[k]], rows[j[k]], normalise=normalise) for k in close)
    return float(values[place]), (int(i[place]), int(j[place])), same


def _equal(a: Float[ndarray, " r"], b: Float[ndarray, " r"], *, normalise: bool) -> bool:
    """Equality up to sign, and up to scale by cross multiplication; floats are exact rationals."""
    if not normalise:
        return bool(np.array_equal(a, b) or np.array_equal(a, -b))
    x, y = [Fraction(float(v)) for v in a], [Fraction(float(v)) for v in b]
    pivot = int(np.abs(a).argmax())
    return all(x[k] * y[pivot] == y[k] * x[pivot] for k in range(len(x)))


# ------------------------------------------------------------------ theorems


def sussmann(chain: Chain) -> Criterion | None:
    """One hidden layer of tanh, or of sigmoids, which are tanh up to constants that the output bias absorbs."""
    if len(chain.hidden) != 1 or chain.activations not in ({"tanh"}, {"sigmoid"}):
        return None
    hypotheses = [
        _no_zero_column(chain),
        _no_zero_row(chain),
        _no_equal_rows(chain, text="no two neurons with (w, b) = ±(w', b')", normalise=False),
    ]
    if chain.activations == {"sigmoid"}:
        biased = chain.layers[-1].biased
        hypotheses.append(Hypothesis("sigmoid: the output has a bias", biased, "yes" if biased else "no"))
    return Criterion(
        "Sussmann 1992, uniqueness of the weights of minimal feedforward nets", Reach.POINTWISE,
        "the parameters are determined by the function up to signed permutations of the hidden neurons",
        tuple(hypotheses),
    )  # fmt: skip


def deep_tanh(chain: Chain) -> Criterion | None:
    """Deep tanh networks: expected to hold, but only the abstract was read here."""
    if len(chain.hidden) < 2 or chain.activations != {"tanh"}:
        return None
    return Criterion(
        "Vlačić and Bölcskei, affine symmetries and network identifiability, arXiv 2006.11727", Reach.POINTWISE,
        "the parameters are determined by the function up to signed permutations of the hidden neurons",
        (
            Hypothesis("the theorem's own hypotheses", None, "only its abstract was read for this program"),
            _no_zero_column(chain),
            _no_zero_row(chain),
            _no_equal_rows(chain, text="no two neurons with (w, b) = ±(w', b')", normalise=False),
        ),
        citable=False,
    )  # fmt: skip


def kinks(chain: Chain) -> Criterion | None:
    """One hidden layer of a piecewise linear function: its kinks, with their jumps, and its affine part are seen.

    Written ``e(z) = |z|`` up to a multiple, ``f(x) = sum_i c_i |w_i x + b_i| + A x + a``. Distinct hyperplanes with
    nonzero jumps can be read off f, each with ``c_i |w_i|``, and then A and a [theory 1, the cure of the bypass].
    """
    names = chain.activations
    if len(chain.hidden) != 1 or len(names) != 1:
        return None
    name = next(iter(names))
    if name not in ("relu", "abs") and not name.startswith("leaky_relu"):
        return None
    bypassed = name != "abs"
    return Criterion(
        "kinks of one piecewise linear layer (elementary; theory section 1)", Reach.POINTWISE,
        "hyperplanes, jumps and the affine part are determined by the function"
        + (", up to signed permutations and scalings of |z|; the neurons themselves are not (bypass)" if bypassed
           else ": the parameters, up to signed permutations and scalings"),
        (
            _no_zero_column(chain),
            _no_zero_row(chain),
            _no_equal_rows(chain, text="pairwise distinct hyperplanes w x + b = 0", normalise=True),
        ),
        of="the even form" if bypassed else "the parameters",
    )  # fmt: skip


def monomial(chain: Chain) -> Criterion | None:
    """t^r without biases: finite fibres for almost every parameter."""
    names = [layer.pointwise.name for layer in chain.hidden if layer.pointwise]
    if not names or not all(name.startswith("pow(") for name in names):
        return None
    degrees = [float(name.removeprefix("pow(").removesuffix(")")) for name in names]
    widths, biased = chain.widths, any(layer.biased for layer in chain.layers)
    whole = all(r.is_integer() and r >= 2 for r in degrees)
    falling = all(a >= b for a, b in pairwise(widths[:-1])) and widths[-2] >= 2
    last = degrees[-1] >= 3 or widths[-1] > 1
    large = min(widths[:-1]) >= 2 and all(r >= 2 * d - 1 for r, d in zip(degrees, widths[1:-1], strict=True))
    return Criterion(
        "Usevich, Borsoi, Dérand, Clausel 2025, identifiability of deep polynomial networks", Reach.GENERIC,
        "almost every parameter is determined up to permutations and scalings, with finitely many exceptions per fibre",
        (
            Hypothesis("no biases", not biased, "biased" if biased else "none"),
            Hypothesis("whole degrees of at least 2", whole, ", ".join(f"{r:g}" for r in degrees)),
            Hypothesis(
                "non-increasing widths >= 2 (last degree >= 3 for a scalar output), or widths >= 2 and r >= 2 d - 1",
                (falling and last) or large, "-".join(map(str, widths)),
            ),
        ),
    )  # fmt: skip


def relu_open_set(chain: Chain) -> Criterion | None:
    """ReLU: an open set of parameters is identifiable; whether this one is in it is not said."""
    if chain.activations != {"relu"}:
        return None
    widths = chain.widths[:-1]
    return Criterion(
        "Grillo and Montúfar 2026, arXiv 2605.03601", Reach.OPEN_SET,
        "some open set of parameters is determined up to permutations and positive scalings",
        (
            Hypothesis("input and hidden widths of at least 2", min(widths) >= 2, "-".join(map(str, widths))),
            Hypothesis("this parameter lies in the open set", None, "the theorem does not say which set it is"),
        ),
    )  # fmt: skip


THEOREMS: tuple[Callable[[Chain], Criterion | None], ...] = (sussmann, deep_tanh, kinks, monomial, relu_open_set)
"""Every theorem that is known here; each says None where the architecture is not its own."""
