r"""Attention layers as families of functions: lightning (no softmax), softmax, and softmax with rotary positions.

``Y[:, i] = sum_h V_h sum_j x_j p_h[j, i]`` with scores ``s_h[j, i] = (K_h x_j) . (Q_h x_i)``; ``p = s`` for lightning,
``p[:, i] = softmax(s[:, i])`` otherwise. Rotary positions turn ``Q x_i`` and ``K x_i`` in planes by angles ``i phi_b``.
V_h is one matrix, or ``O_h V_h`` of inner width v. Parameters are flat, by layer and head: Q, K (rank x width), then V,
or O and V.

**Softmax modulo p.** The numbers ``exp(s[j, i] - s[1, i])`` are algebraically independent over the field of the
parameters, the inputs and what is computed from them, as soon as the exponents are linearly independent over Q modulo
constants and the variables [Ax 1971, applied layer by layer]. So the p[j, i] with j > 1 may be replaced by independent
variables, and their derivative is ``dp[j, i] = p[j, i] (ds[j, i] - sum_k p[k, i] ds[k, i])``: rational functions again.
``score_independence`` checks the hypothesis. Cosines and sines of generic angles are points of a circle likewise.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise
from math import comb, log2
from typing import Any

import numpy as np
from jaxtyping import Float
from numpy import ndarray

from intertwiner.errors import WrongUse
from intertwiner.numerics.modular import Modulus
from intertwiner.numerics.modular_echelon import rank_of_residues
from intertwiner.variety.architecture import whole_numbers
from intertwiner.variety.family import Bound, Finite, Part, Size, draw, permutations
from intertwiner.variety.gauge import Directions, gauge_parts

KINDS = ("lightning", "softmax", "rotary")


@dataclass(frozen=True)
class Attention:
    """Layers of attention without biases, masks or residual streams.

    Args:
        kind: "lightning", "softmax" or "rotary".
        width: Width d of a token.
        rank: Rows a of Q and K per head.
        outputs_per_token: Width of an output token.
        tokens: Number of tokens.
        heads: Heads per layer.
        inner: Inner width v of the value matrices; None for one full matrix per head.
        layers: Number of layers; all but the last write tokens of width d.

    Raises:
        WrongUse: For an unknown kind, numbers that are no positive whole ones, or an odd rank with rotary positions.

    Example:
        >>> net = Attention("lightning", width=3, rank=2, outputs_per_token=3, tokens=3)
        >>> net.parameters, net.bound().value
        (21, 16)
    """

    kind: str
    width: int
    rank: int
    outputs_per_token: int
    tokens: int
    heads: int = 1
    inner: int | None = None
    layers: int = 1

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise WrongUse(
                f"attention of kind {self.kind!r} is not known, only {', '.join(KINDS)}. Usual cause: masks, biases "
                "and linear attention with feature maps have other functions. Nothing was computed."
            )
        numbers = (self.width, self.rank, self.outputs_per_token, self.tokens, self.heads, self.layers)
        numbers += () if self.inner is None else (self.inner,)
        whole_numbers(numbers, "width, rank, outputs, tokens, heads, layers and inner width")
        if self.kind == "rotary" and self.rank % 2:
            raise WrongUse(
                f"rotary positions turn planes, so the rank must be even, got {self.rank}. Next step: an even rank, or "
                "kind='softmax'. Nothing was computed."
            )

    @property
    def outputs(self) -> int:
        return self.outputs_per_token * self.tokens

    @property
    def ends(self) -> tuple[int, ...]:
        """Widths of the tokens, layer by layer."""
        return (*(self.width,) * self.layers, self.outputs_per_token)

    @property
    def parameters(self) -> int:
        """Number of parameters P."""
        return sum(m.size for layer in self.places() for head in layer for m in head)

    @property
    def ambient_dimension(self) -> int | None:
        """For one lightning layer: forms of degree 3 that are quadratic in the token attended to, per output.

        For a single token under softmax: linear maps, because its weight is one.
        """
        if self.kind != "lightning" and self.tokens == 1:
            return self.outputs_per_token * self.width
        if self.kind != "lightning" or self.layers > 1:
            return None
        d = self.width
        each = comb(d + 2, 3) if self.tokens == 1 else d * comb(d + 1, 2)
        return self.outputs_per_token * each

    def places(self) -> list[list[list[ndarray]]]:
        """Where the matrices of every layer and head are among the parameters."""
        start, out = 0, []
        for read, write in pairwise(self.ends):
            value = [(write, read)] if self.inner is None else [(write, self.inner), (self.inner, read)]
            heads = []
            for _ in range(self.heads):
                shapes = [(self.rank, read), (self.rank, read), *value]
                head = []
                for rows, columns in shapes:
                    head.append(np.arange(start, start + rows * columns).reshape(rows, columns))
                    start += rows * columns
                heads.append(head)
            out.append(heads)
        return out

    def draw_theta(self, field: Modulus, random: np.random.Generator) -> Float[ndarray, " q"]:
        """Random parameters, and behind them the tangents of half the angles, which are no parameters."""
        angles = self.rank // 2 if self.kind == "rotary" else 0
        return draw((self.parameters + angles,), field, random)

    def draw_inputs(self, count: int, field: Modulus, random: np.random.Generator) -> Float[ndarray, "n d"]:
        """Random tokens, and behind them the free weights of the softmax, layer by layer and head by head."""
        free = 0 if self.kind == "lightning" else self.layers * self.heads * (self.tokens - 1) * self.tokens
        return draw((count, self.width * self.tokens + free), field, random)

    def jacobian(self, theta: ndarray, x: ndarray, field: Modulus) -> Float[ndarray, "rows P"]:
        """Rows (input, output, token), columns parameters, by going backwards through the layers."""
        from intertwiner.variety.attention_jacobian import attention_jacobian

        return attention_jacobian(self, theta, x, field)

    def size(self) -> Size:
        """Bounds for degrees and size of the entries of the Jacobian; generous."""
        theta, inputs, bits = 0, 1, log2(self.width)
        value = self.inner or 1
        for _ in range(self.layers):
            # One layer: V x (K x)(Q x), with softmax up to five factors p of tokens terms each in the derivative.
            terms = self.heads * self.tokens**6 * self.width**3 * self.rank * value * max(1, self.outputs_per_token)
            theta, inputs = 3 * theta + 4, 3 * inputs + 5
            bits = 3 * bits + log2(4 * terms)
        return Size(theta, inputs, bits + log2(theta))

    def bound(self) -> Bound:
        """Parameters less the gauge, or what one token or the ambient space leaves."""
        parts = gauge_parts(self)
        value = self.parameters - sum(part.dimension for part in parts)
        ambient = self.ambient_dimension
        if self.kind == "lightning" and self.tokens == 1 and self.layers == 1:
            # x^T M x sees M + M^T only, of rank at most r: r d - r (r - 1) / 2 dimensions for a (2 d - a) of a head.
            d, a = self.width, min(self.rank, self.width)
            r = min(2 * a, d)
            lost = self.heads * (a * (2 * d - a) - (r * d - r * (r - 1) // 2))
            if lost > 0:
                parts.append(Part("one token sees only the symmetric part of the scores", "layer 1", lost, "theorem"))
                value -= lost
        mixed = self._mixed()
        if mixed is not None and mixed < value:
            parts.append(
                Part(f"linear maps of {self.heads} heads among each other", "layer 1", value - mixed, "theorem")
            )
            value = mixed
        if ambient is not None and ambient < value:
            name = f"parameters beyond the {ambient} coefficients of the outputs"
            parts.append(Part(name, "all layers", value - ambient, "theorem"))
            value = ambient
        return Bound(value, tuple(parts))

    def _mixed(self) -> int | None:
        """One lightning layer is ``sum_h V_h (x) M_h``, a matrix of rank at most the number of heads."""
        if self.kind != "lightning" or self.layers > 1 or self.heads == 1:
            return None
        values, forms = self.outputs_per_token * self.width, self.width**2
        rank = min(self.heads, values, forms)
        return rank * (values + forms - rank)

    def gauge(self, theta: Float[ndarray, " q"], field: Modulus) -> list[Directions]:
        """Directions in which the gauge groups move the parameters: scores, values, scales, hidden tokens."""
        from intertwiner.variety.attention_gauge import attention_gauge

        return attention_gauge(self, theta, field)

    def finite(self) -> tuple[Finite, ...]:
        """Permutations of the heads of every layer."""
        layers = range(1, self.layers + 1) if self.heads > 1 else ()
        return tuple(permutations(self.heads, f"layer {l}", what="heads") for l in layers)

    def to_json(self) -> dict[str, Any]:
        names = ("width", "rank", "outputs_per_token", "tokens", "heads", "inner", "layers")
        return {"kind": "attention", "attention": self.kind, **{name: getattr(self, name) for name in names}}

    @classmethod
    def from_json(cls, record: Mapping[str, Any]) -> Attention:
        fields = {k: v for k, v in record.items() if k not in ("kind", "attention")}
        return cls(record["attention"], **fields)

    def __str__(self) -> str:
        heads = f", {self.heads} heads" if self.heads > 1 else ""
        inner = f", inner width {self.inner}" if self.inner is not None else ""
        layers = f", {self.layers} layers" if self.layers > 1 else ""
        return (
            f"{self.kind} attention {self.width} to {self.outputs_per_token}, rank {self.rank}, {self.tokens} tokens"
            f"{heads}{inner}{layers}"
        )


def score_independence(attention: Attention, field: Modulus, random: np.random.Generator) -> bool:
    """Whether the exponents of one sample are linearly independent modulo constants and variables, as far as p tells.

    True is a proof, for all samples together: with all samples but one at zero the scores of the others vanish.

    Example:
        >>> from intertwiner.numerics.seeds import rng
        >>> score_independence(Attention("softmax", 2, 1, 2, 3), Modulus(), rng(0))
        True
    """
    from intertwiner.variety.attention_jacobian import scores

    t = attention.tokens
    columns = 1 + attention.width * t + attention.layers * attention.heads * (t - 1) * t
    points = []
    angles = attention.draw_theta(field, random)[attention.parameters :]
    for _ in range(columns + 4):
        theta = np.concatenate([attention.draw_theta(field, random)[: attention.parameters], angles])
        x = attention.draw_inputs(1, field, random)
        found = [field.reduce(s[0, 1:] - s[0, :1]).ravel() for s in scores(attention, theta, x, field)]
        points.append(np.concatenate([[1.0], x[0, : attention.width * t], *found]))
    return rank_of_residues(np.array(points), field) == columns
