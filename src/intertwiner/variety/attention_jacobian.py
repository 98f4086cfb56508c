r"""Scores and parameter Jacobians of attention layers modulo a prime.

Backwards, per head: with ``G = d f / d Y``, ``d f / d V = sum_i G[:, i] (X p)[:, i]^T``, ``d f / d p = X^T V^T G``,
then through the softmax or not to the scores, and ``d f / d q = k d f / d s``, ``d f / d k = q (d f / d s)^T``.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Float
from numpy import ndarray

from intertwiner.numerics.modular import Modulus

if TYPE_CHECKING:
    from intertwiner.variety.attention import Attention


@dataclass(frozen=True, eq=False)
class _Head:
    """What one head computed: queries, keys (turned), scores and weights; axes (input, row, token)."""

    q: ndarray
    k: ndarray
    s: ndarray
    p: ndarray


def attention_jacobian(
    attention: Attention, theta: Float[ndarray, " q"], x: Float[ndarray, "n d"], field: Modulus
) -> Float[ndarray, "rows P"]:
    """The derivative of every output of every token at every input after every parameter."""
    tokens, heads = _forward(attention, theta, x, field)
    turns = rotations(attention, theta, field)
    n, o = len(x), attention.outputs
    write, t = attention.outputs_per_token, attention.tokens
    J = np.zeros((n, o, attention.parameters))
    G = np.broadcast_to(np.eye(o).reshape(1, o, write, t), (n, o, write, t))
    for l in reversed(range(attention.layers)):
        X = tokens[l][:, None]
        below = np.zeros((n, o, X.shape[2], t))
        for places, head in zip(attention.places()[l], heads[l]):
            Q, K, *value = (theta[m] for m in places)
            p = head.p[:, None]
            Z = field.matmul(X, p)
            if len(value) == 1:
                J[:, :, places[2].ravel()] = _flat(field.matmul(G, _T(Z)))
                GZ = field.matmul(_T(value[0]), G)
            else:
                O, V = value
                J[:, :, places[2].ravel()] = _flat(field.matmul(G, _T(field.matmul(V, Z))))
                inner = field.matmul(_T(O), G)
                J[:, :, places[3].ravel()] = _flat(field.matmul(inner, _T(Z)))
                GZ = field.matmul(_T(V), inner)
            ds = field.matmul(_T(X), GZ)
            if attention.kind != "lightning":
                mean = field.reduce(field.mul(ds, p).sum(axis=2, keepdims=True))
                ds = field.mul(p, field.reduce(ds - mean))
            dq = turn(field.matmul(head.k[:, None], ds), turns, field, back=True)
            dk = turn(field.matmul(head.q[:, None], _T(ds)), turns, field, back=True)
            J[:, :, places[0].ravel()] = _flat(field.matmul(dq, _T(X)))
            J[:, :, places[1].ravel()] = _flat(field.matmul(dk, _T(X)))
            if l:
                below += field.matmul(GZ, _T(p)) + field.matmul(_T(Q), dq) + field.matmul(_T(K), dk)
        G = field.reduce(below)
    return J.reshape(n * o, -1)


def scores(
    attention: Attention, theta: Float[ndarray, " q"], x: Float[ndarray, "n d"], field: Modulus
) -> list[Float[ndarray, "n t t"]]:
    """The scores ``s[j, i]`` of token j for token i, layer by layer and head by head."""
    return [head.s for layer in _forward(attention, theta, x, field)[1] for head in layer]


def _forward(
    attention: Attention, theta: ndarray, x: ndarray, field: Modulus
) -> tuple[list[ndarray], list[list[_Head]]]:
    n, d, t = len(x), attention.width, attention.tokens
    free = x[:, d * t :].reshape(n, attention.layers, attention.heads, -1) if attention.kind != "lightning" else None
    turns = rotations(attention, theta, field)
    tokens, heads = [x[:, : d * t].reshape(n, d, t)], []
    for l, layer in enumerate(attention.places()):
        X, found, Y = tokens[-1], [], 0.0
        for h, places in enumerate(layer):
            Q, K, *value = (theta[m] for m in places)
            q, k = (turn(field.matmul(m, X), turns, field) for m in (Q, K))
            s = field.matmul(_T(k), q)
            p = s if free is None else _weights(free[:, l, h].reshape(n, t - 1, t), field)
            Z = field.matmul(X, p)
            for matrix in reversed(value):
                Z = field.matmul(matrix, Z)
            Y = Y + Z
            found.append(_Head(q, k, s, p))
        tokens.append(field.reduce(np.asarray(Y)))
        heads.append(found)
    return tokens, heads


def _weights(free: Float[ndarray, "n s t"], field: Modulus) -> Float[ndarray, "n t t"]:
    """Weights that add up to one: the first makes up for the free ones."""
    first = field.reduce(1.0 - free.sum(axis=1, keepdims=True))
    return np.concatenate([first, free], axis=1)


def rotations(attention: Attention, theta: ndarray, field: Modulus) -> tuple[ndarray, ndarray] | None:
    """Cosines and sines by plane and token, from the tangents u of half the angles; None without positions."""
    if attention.kind != "rotary":
        return None
    u = theta[attention.parameters :]
    square = field.mul(u, u)
    below = np.array([field.inverse(v) if v else 1.0 for v in field.reduce(1.0 + square)])
    c1, s1 = field.mul(field.reduce(1.0 - square), below), field.mul(2.0 * u, below)
    c, s = [np.ones_like(u)], [np.zeros_like(u)]
    for _ in range(attention.tokens - 1):
        c.append(field.reduce(field.mul(c[-1], c1) - field.mul(s[-1], s1)))
        s.append(field.reduce(field.mul(c[-2], s1) + field.mul(s[-1], c1)))
    return np.stack(c, axis=1), np.stack(s, axis=1)


def turn(
    a: Float[ndarray, "... a t"], turns: tuple[ndarray, ndarray] | None, field: Modulus, *, back: bool = False
) -> Float[ndarray, "... a t"]:
    """Queries or keys turned by their positions, or back; rows 2 b and 2 b + 1 are plane b."""
    if turns is None:
        return a
    c, s = turns
    s = -s if back else s
    even, odd = a[..., 0::2, :], a[..., 1::2, :]
    out = np.empty_like(a)
    out[..., 0::2, :] = field.reduce(field.mul(c, even) - field.mul(s, odd))
    out[..., 1::2, :] = field.reduce(field.mul(s, even) + field.mul(c, odd))
    return out


def _T(a: ndarray) -> ndarray:
    return np.ascontiguousarray(np.swapaxes(a, -1, -2))


def _flat(a: ndarray) -> ndarray:
    return a.reshape(*a.shape[:2], -1)
