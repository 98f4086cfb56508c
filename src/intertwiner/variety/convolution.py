r"""One-dimensional convolutional networks with polynomial activations, read at a single output position.

``z_l[c, i] = sum_{e, k} w_l[c, e, k] a_{l-1}[e, s_l i + k] + b_l[c]``. All positions of the last layer compute the same
function of shifted inputs, so one position shows all of it: its receptive field is the input. Parameters are flat,
``w_1`` in the order (channel out, channel in, tap), ``b_1``, and so on. One channel, monomials of degree r > 1: the
filters are determined up to scales, dimension ``sum k_l - (L - 1)`` [Shahverdi, Marchetti, Kohn 2025].
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import Float, Int
from numpy import ndarray

from intertwiner.errors import WrongUse
from intertwiner.numerics.modular import Modulus
from intertwiner.variety.activation import LINEAR, Activation, activation
from intertwiner.variety.architecture import (
    hidden_permutations,
    is_affine,
    monomials,
    output_degrees,
    polynomial_size,
    whole_numbers,
)
from intertwiner.variety.family import Bound, Finite, Size, draw
from intertwiner.variety.gauge import Directions, gauge_bound


@dataclass(frozen=True)
class Convolution:
    """Filter sizes, strides, channels, activation and whether there are biases.

    Args:
        filters: Taps per layer.
        strides: Per layer; all 1 where empty.
        channels: Input, hidden and output channels, one more than layers; all 1 where empty.
        activation: A polynomial between the layers, or its text.
        bias: Whether every channel has a bias.

    Raises:
        WrongUse: For numbers or an activation that are no such thing, or of different lengths.

    Example:
        >>> net = Convolution((3, 2), activation="t^2")
        >>> str(net), net.parameters, net.inputs, net.bound().value
        ('convolution 3-2, t^2', 5, 4, 4)
    """

    filters: tuple[int, ...]
    strides: tuple[int, ...] = ()
    channels: tuple[int, ...] = ()
    activation: Activation = LINEAR
    bias: bool = False

    if TYPE_CHECKING:  # texts are taken too, and stored as what they spell

        def __init__(
            self,
            filters: Sequence[int],
            strides: Sequence[int] = (),
            channels: Sequence[int] = (),
            activation: Activation | str = LINEAR,
            bias: bool = False,
        ) -> None: ...

    def __post_init__(self) -> None:
        filters = whole_numbers(self.filters, "filter sizes", 1)
        strides = whole_numbers(self.strides, "strides", 1) if len(self.strides) else (1,) * len(filters)
        channels = whole_numbers(self.channels, "channels") if len(self.channels) else (1,) * (len(filters) + 1)
        if len(strides) != len(filters) or len(channels) != len(filters) + 1:
            raise WrongUse(
                f"{len(filters)} filters need as many strides and one more number of channels, got {len(strides)} and "
                f"{len(channels)}. Next step: leave them out for 1 everywhere. Nothing was computed."
            )
        object.__setattr__(self, "filters", filters)
        object.__setattr__(self, "strides", strides)
        object.__setattr__(self, "channels", channels)
        object.__setattr__(self, "activation", activation(self.activation))
        object.__setattr__(self, "bias", bool(self.bias))

    @property
    def depth(self) -> int:
        return len(self.filters)

    @property
    def lengths(self) -> tuple[int, ...]:
        """Positions of every layer of units that the one output sees, the input first."""
        out = [1]
        for taps, stride in zip(reversed(self.filters), reversed(self.strides)):
            out.append((out[-1] - 1) * stride + taps)
        return tuple(reversed(out))

    @property
    def inputs(self) -> int:
        return self.channels[0] * self.lengths[0]

    @property
    def outputs(self) -> int:
        return self.channels[-1]

    @property
    def shapes(self) -> tuple[tuple[int, int, int], ...]:
        return tuple(zip(self.channels[1:], self.channels, self.filters))

    @property
    def parameters(self) -> int:
        """Number of parameters P."""
        return sum(a * b * k for a, b, k in self.shapes) + self.bias * sum(self.channels[1:])

    @property
    def ambient_dimension(self) -> int:
        """Number of coefficients of the outputs as polynomials in the receptive field."""
        return self.outputs * monomials(self.inputs, output_degrees(self.activation, self.depth, self.bias))

    def places(self) -> list[tuple[Int[ndarray, "out in k"], Int[ndarray, " out"] | None]]:
        """Where the filters and biases of every layer are among the parameters."""
        out, start = [], 0
        for shape in self.shapes:
            size = int(np.prod(shape))
            w = np.arange(start, start + size).reshape(shape)
            b = np.arange(start + size, start + size + shape[0]) if self.bias else None
            start += size + shape[0] * self.bias
            out.append((w, b))
        return out

    def draw_theta(self, field: Modulus, random: np.random.Generator) -> Float[ndarray, " P"]:
        """Random parameters."""
        return draw((self.parameters,), field, random)

    def draw_inputs(self, count: int, field: Modulus, random: np.random.Generator) -> Float[ndarray, "n d"]:
        """Random receptive fields."""
        return draw((count, self.inputs), field, random)

    def jacobian(self, theta: ndarray, x: ndarray, field: Any) -> Float[ndarray, "rows P"]:
        """Rows (input, output channel), columns parameters, by going backwards through the layers."""
        windows, z, layers = [], [], []
        a = x.reshape(len(x), self.channels[0], self.lengths[0])
        for l, (w_at, b_at) in enumerate(self.places()):
            if l:
                a = self.activation.value(z[-1], field)
            at = self.strides[l] * np.arange(self.lengths[l + 1])[:, None] + np.arange(self.filters[l])
            window = a[:, :, at].transpose(0, 2, 1, 3).reshape(len(x), len(at), -1)  # (input, position, channel tap)
            w = theta[w_at].reshape(len(w_at), -1)
            out = field.matmul(window, np.ascontiguousarray(w.T))
            out = out if b_at is None else field.add(out, theta[b_at])
            windows.append(window)
            layers.append((w, at))
            z.append(np.ascontiguousarray(out.transpose(0, 2, 1)))
        n, o = len(x), self.outputs
        G = np.zeros((n, o, o, 1), dtype=theta.dtype)
        G[:, np.arange(o), np.arange(o)] = field.fraction(Fraction(1))
        parts: list[ndarray] = []
        for l in reversed(range(self.depth)):
            if self.bias:
                parts.append(field.reduce(G.sum(axis=3)))
            parts.append(field.matmul(G, windows[l][:, None]).reshape(n, o, -1))
            if l:
                w, at = layers[l]
                back = field.matmul(np.ascontiguousarray(G.transpose(0, 1, 3, 2)), w)
                back = back.reshape(n, o, len(at), self.channels[l], -1)
                G = np.zeros((n, o, self.channels[l], self.lengths[l]), dtype=theta.dtype)
                for i, row in enumerate(at):  # a layer has few positions
                    G[..., row] += back[:, :, i]
                G = field.mul(field.reduce(G), self.activation.slope(z[l - 1], field)[:, None])
        return np.concatenate(parts[::-1], axis=2).reshape(n * o, -1)

    def size(self) -> Size:
        """Degrees and size of the entries of the Jacobian, denominators cleared."""
        return polynomial_size([b * k for _, b, k in self.shapes], self.activation, self.bias)

    def bound(self) -> Bound:
        """Parameters less the gauge of the hidden channels, or the ambient dimension."""
        return gauge_bound(self)

    def gauge(self, theta: Float[ndarray, " P"], field: Modulus) -> list[Directions]:
        """Directions in which the gauge groups of the hidden channels move the parameters."""
        sigma = self.activation
        affine = is_affine(sigma, self.bias)
        centre = sigma.centre() if self.bias else (0, 0) if sigma.is_monomial else None
        if centre is None:
            return []
        return [self._hidden(l, theta, field, centre, affine=affine) for l in range(1, self.depth)]

    def _hidden(self, l: int, theta: ndarray, field: Modulus, centre: Any, *, affine: bool) -> Directions:
        (w, b), (w2, b2) = self.places()[l - 1 : l + 1]
        width, r = len(w), self.activation.degree
        shift, constant = (field.fraction(c) if c else 0.0 for c in centre)
        pairs = [(i, j) for i in range(width) for j in (range(width) if affine else (i,))]
        rows = np.zeros((len(pairs) + (width if affine and b is not None else 0), len(theta)))
        # z_i changes by (z_j + shift), so sigma - constant by r times itself (monomials), or along with z (linear).
        for row, (i, j) in zip(rows, pairs):
            row[w[i]] = theta[w[j]]
            row[w2[:, j]] -= r * theta[w2[:, i]]
            if b is not None and b2 is not None:
                row[b[i]] = theta[b[j]] + shift
                total = field.reduce(theta[w2[:, i]].sum(axis=1))
                row[b2] += r * constant * total
        if affine and b is not None:
            slope = field.fraction(self.activation.terms[-1][1])
            for row, i in zip(rows[len(pairs) :], range(width)):
                row[b[i]] = 1.0
                row[b2] = -field.mul(field.reduce(theta[w2[:, i]].sum(axis=1)), slope)
        group = "linear maps" if affine else "scales"
        return Directions(f"{group} of {width} channels", f"hidden layer {l}", field.reduce(rows))

    def finite(self) -> tuple[Finite, ...]:
        """Permutations of hidden channels, with signs as for fully connected networks."""
        return hidden_permutations(self.channels[1:-1], self.activation, self.bias, "channels")

    def to_json(self) -> dict[str, Any]:
        return {
            "kind": "convolution",
            "filters": list(self.filters),
            "strides": list(self.strides),
            "channels": list(self.channels),
            "activation": self.activation.to_json(),
            "bias": self.bias,
        }

    @classmethod
    def from_json(cls, record: Mapping[str, Any]) -> Convolution:
        sigma = Activation.from_json(record["activation"])
        filters, strides, channels = (tuple(record[name]) for name in ("filters", "strides", "channels"))
        return cls(filters, strides, channels, sigma, record["bias"])

    def __str__(self) -> str:
        strides = f", strides {'-'.join(map(str, self.strides))}" if set(self.strides) != {1} else ""
        channels = f", channels {'-'.join(map(str, self.channels))}" if set(self.channels) != {1} else ""
        bias = ", biases" if self.bias else ""
        return f"convolution {'-'.join(map(str, self.filters))}{strides}{channels}, {self.activation}{bias}"
