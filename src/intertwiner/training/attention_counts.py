r"""The count for one layer of attention: softmax, where only products of matrices are seen, and lightning, a cubic map.

Head h has Q, K of size ``d_qk x d``, V of size ``d_v x d``, O of size ``d x d_v``, with biases the columns q, k, v and
one for all heads behind O. Softmax attention depends on the scores ``x_i^T Q^T K x_j`` up to what is the same for all
j, and mixes values with weights that sum to one: phi has the entries of ``(Q q)^T K`` and of ``O V`` per head, and of
the sum of all ``O v`` with the last bias; k is invisible. GL(d_qk) and GL(d_v) act, so ``Q Q^T + q q^T - K K^T`` and
``V V^T + v v^T - O^T O`` are constant per head, and so is k. Lightning attention, ``sum_h O V X (K X)^T (Q X)``
without a softmax, sees k and couples the two sides: a number may move from one to the other, so ``|O|^2 - |Q|^2 -
|q|^2`` is constant as well, per head. Softmax: [Marcotte, Gribonval, Peyre 2023]; for lightning the scale of a head is
our remark.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property, reduce

import numpy as np
from jaxtyping import Float, Int
from numpy import ndarray

from intertwiner.errors import WrongUse
from intertwiner.numerics.modular import PRIMES, Modulus
from intertwiner.training.circuit import Circuit, CircuitFunctions
from intertwiner.training.counts import Certain, ConservationCount, check_count, count_conserved
from intertwiner.training.laws import Law, law_gradients
from intertwiner.training.network_counts import check_work
from intertwiner.training.recorder import Recorder, Register
from intertwiner.training.thin import one_curve

KINDS = ("softmax", "lightning")


@dataclass(frozen=True)
class Head:
    """The numbers of the parameters of one head: matrices, and biases that are empty where there are none."""

    Q: Int[ndarray, "d_qk d"]
    K: Int[ndarray, "d_qk d"]
    V: Int[ndarray, "d_v d"]
    O: Int[ndarray, "d d_v"]
    q: Int[ndarray, " d_qk"]
    k: Int[ndarray, " d_qk"]
    v: Int[ndarray, " d_v"]


@dataclass(frozen=True)
class AttentionLayer:
    """One layer of attention; a `Reparametrisation`. Parameters head by head: Q, K, V, O, q, k, v, then the last bias.

    Args:
        d: Features of a token.
        heads: Number of heads.
        d_qk: Rows of Q and K.
        d_v: Rows of V.
        bias: Whether there are biases.
        kind: ``"softmax"`` or ``"lightning"``.

    Raises:
        WrongUse: For sizes that are no whole numbers of at least 1, or another kind.

    Example:
        >>> AttentionLayer(4, 2, 2, 2).parameters, AttentionLayer(4, 2, 2, 2, bias=True).parameters
        (64, 80)
    """

    d: int
    heads: int
    d_qk: int
    d_v: int
    bias: bool = False
    kind: str = "softmax"

    def __post_init__(self) -> None:
        sizes = (self.d, self.heads, self.d_qk, self.d_v)
        if not all(isinstance(n, int | np.integer) and not isinstance(n, bool) and n >= 1 for n in sizes):
            raise WrongUse(f"attention needs four whole numbers of at least 1, got {sizes}. Nothing was computed.")
        if self.kind not in KINDS:
            raise WrongUse(f"attention is {' or '.join(map(repr, KINDS))}, got {self.kind!r}. Nothing was computed.")

    @property
    def _head(self) -> int:
        return 2 * (self.d_qk + self.d_v) * self.d + self.bias * (2 * self.d_qk + self.d_v)

    @property
    def parameters(self) -> int:
        """Number of parameters D."""
        return self.heads * self._head + self.bias * self.d

    @property
    def dimension(self) -> int:
        """D: as many random functions span V."""
        return self.parameters

    @cached_property
    def numbers(self) -> tuple[Head, ...]:
        """The numbers of the parameters, head by head."""
        wide, tall = (self.d_qk, self.d), (self.d_v, self.d)
        qk, v = (self.d_qk if self.bias else 0,), (self.d_v if self.bias else 0,)
        shapes = (wide, wide, tall, tall[::-1], qk, qk, v)
        out = []
        for head in range(self.heads):
            start, parts = head * self._head, []
            for shape in shapes:
                size = int(np.prod(shape))
                parts.append(np.arange(start, start + size).reshape(shape))
                start += size
            out.append(Head(*parts))
        return tuple(out)

    @property
    def last(self) -> Int[ndarray, " d"]:
        """The numbers of the bias behind O; none without biases."""
        return np.arange(self.parameters - self.bias * self.d, self.parameters)

    @cached_property
    def circuit(self) -> Circuit:
        """Random functions of phi, or of what the layer computes on d + 1 free tokens."""
        record = Recorder()
        ends = _products(record, self) if self.kind == "softmax" else [_cubic(record, self)]
        return record.circuit(str(self), self.parameters, [record.end(x) for x in ends])

    def draw(self, count: int, field: Modulus, random: np.random.Generator) -> CircuitFunctions:
        """Random functions ``<c, phi>``."""
        return self.circuit.draw(count, field, random)

    def __str__(self) -> str:
        heads = "1 head" if self.heads == 1 else f"{self.heads} heads"
        sizes = f"d = {self.d}, d_qk = {self.d_qk}, d_v = {self.d_v}"
        return f"{self.kind} attention ({heads}, {sizes}{', with biases' if self.bias else ''})"


def _with_column(matrix: ndarray, column: ndarray) -> ndarray:
    """The bias as a last column, where there is one."""
    return np.hstack([matrix, column[:, None]]) if len(column) else matrix


def _products(record: Recorder, layer: AttentionLayer) -> list[Register]:
    """``(Q q)^T K`` and ``O V`` of every head, and the sum of all ``O v`` with the last bias."""
    ends, constants = [], []
    for head in layer.numbers:
        ends.append(record.matmul(record.parameter(_with_column(head.Q, head.q).T), record.parameter(head.K)))
        out = record.parameter(head.O)
        ends.append(record.matmul(out, record.parameter(head.V)))
        if layer.bias:
            constants.append(record.matmul(out, record.parameter(head.v[:, None])))
    if layer.bias:
        ends.append(reduce(record.add, constants, record.parameter(layer.last[:, None])))
    return ends


def _cubic(record: Recorder, layer: AttentionLayer) -> Register:
    """``sum_h O V X (K X)^T (Q X)`` with one token per column of X."""
    tokens = record.free((layer.d, layer.d + 1))

    def projected(matrix: ndarray, bias: ndarray) -> Register:
        out = record.matmul(record.parameter(matrix), tokens)
        return record.add(out, record.parameter(bias[:, None])) if layer.bias else out

    parts = []
    for head in layer.numbers:
        keys = record.move([projected(head.K, head.k)], np.transpose)
        mixed = record.matmul(record.matmul(projected(head.V, head.v), keys), projected(head.Q, head.q))
        parts.append(record.matmul(record.parameter(head.O), mixed))
    if layer.bias:
        parts.append(record.parameter(layer.last[:, None]))
    return reduce(record.add, parts)


def attention_laws(layer: AttentionLayer) -> tuple[Law, ...]:
    """The quadratic laws of a layer by its structure, head by head.

    Example:
        >>> [law.formula for law in attention_laws(AttentionLayer(2, 1, 1, 1))]
        ['(Q Q^T - K K^T)[0, 0] of head 0', '(V V^T - O^T O)[0, 0] of head 0']
        >>> attention_laws(AttentionLayer(2, 1, 1, 1, kind="lightning"))[-1].formula
        '|O|^2 - |Q|^2 of head 0'
    """
    out: list[Law] = []
    seen = layer.kind == "lightning"  # the bias of the keys is
    for h, head in enumerate(layer.numbers):
        keys = _with_column(head.K, head.k) if seen else head.K
        key_bias = " - k k^T" if layer.bias and seen else ""
        q, v = (" + q q^T", " + v v^T") if layer.bias else ("", "")
        words = (f"(Q Q^T{q} - K K^T{key_bias})", f"(V V^T{v} - O^T O)")
        queries, values = _with_column(head.Q, head.q), _with_column(head.V, head.v)
        for name, group, above, below in (
            (words[0], f"GL({layer.d_qk})", queries, keys),
            (words[1], f"GL({layer.d_v})", values, head.O.T),
        ):
            for i in range(len(above)):
                for j in range(i, len(above)):
                    terms = [(int(p), int(q), 1) for p, q in zip(above[i], above[j], strict=True)]
                    terms += [(int(p), int(q), -1) for p, q in zip(below[i], below[j], strict=True)]
                    formula = f"{name}[{i}, {j}] of head {h}"
                    out.append(Law(formula, h, (i, j), f"{group} of head {h}", layer.parameters, tuple(terms)))
        if seen:
            terms = [(int(p), int(p), 1) for p in head.O.ravel()] + [(int(p), int(p), -1) for p in queries.ravel()]
            formula = f"|O|^2 - |Q|^2{' - |q|^2' if layer.bias else ''} of head {h}"
            out.append(Law(formula, h, (0, 0), f"scales of head {h}", layer.parameters, tuple(terms)))
    return tuple(out)


def certain_of(layer: AttentionLayer) -> Certain:
    """What is conserved by the structure: the quadratic laws, and the invisible biases of the keys."""
    laws = attention_laws(layer)
    still = np.concatenate([head.k for head in layer.numbers]) if layer.kind == "softmax" else np.zeros(0, dtype=int)

    def gradients(theta: Float[ndarray, " D"], field: Modulus) -> Float[ndarray, "laws D"]:
        return np.concatenate([law_gradients(laws, theta, field), np.eye(len(theta))[still]])

    names = [law.formula for law in laws] + [f"bias of the keys, entry {n}" for n in still]
    if layer.kind == "softmax" or layer.bias or layer.d > 1:
        return Certain(gradients, names)
    # Tokens of one feature: the layer is a number times a cubic form.
    further = "because the layer is one number, so it moves along one curve"
    return Certain(gradients, names, lambda theta, field: one_curve(layer, 0, theta, field), further)


def count_attention_laws(
    d: int,
    heads: int,
    d_qk: int,
    d_v: int,
    *,
    bias: bool = False,
    kind: str = "softmax",
    depth: int = 8,
    primes: Sequence[int] = PRIMES,
    seed: int = 0,
) -> ConservationCount:
    r"""Count the independent conserved functions of one layer of attention under plain gradient flow.

    Args:
        d: Features of a token.
        heads: Number of heads.
        d_qk: Rows of Q and K.
        d_v: Rows of V.
        bias: Whether there are biases.
        kind: ``"softmax"`` or ``"lightning"``.
        depth: Most brackets nested in one another that are tried.
        primes: Odd primes below 2^26 and above ``depth``.
        seed: Decides all random numbers.

    Returns:
        The count with its certificate, or both bounds where they do not meet.

    Raises:
        WrongUse: For arguments that are no such thing, or a layer beyond the bounds.
        Contradiction: A bug in the library.

    Cost:
        As `count_laws_of`.

    Example:
        >>> count_attention_laws(3, 1, 2, 2).laws, count_attention_laws(3, 1, 2, 2, kind="lightning").laws
        (6, 7)
    """
    layer = AttentionLayer(d, heads, d_qk, d_v, bias, kind)
    check_count(layer, depth, primes, seed)
    check_work(layer.circuit, len(primes))
    return count_conserved(layer, certain_of(layer), depth=depth, primes=primes, seed=seed)
