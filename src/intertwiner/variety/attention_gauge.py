r"""The gauge groups of attention layers, as directions of parameters at a point.

* Scores of a head: ``Q -> A Q, K -> A^{-T} K``, A in GL(a); with rotary positions A commutes with the rotations, so for
  distinct angles it is a rotation and a scale in every plane.
* Values of a head of inner width v: ``O -> O B^{-1}, V -> B V``, B in GL(v).
* Inner values beyond the rank: V may change by what O does not see, O by what V does not reach.
* Lightning: ``K -> c K, V -> V / c`` by head, because the weights are the scores.
* Hidden tokens: ``C`` in GL(d) on what a layer writes, its inverse on what the next one reads.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Float
from numpy import ndarray

from intertwiner.numerics.modular import Modulus
from intertwiner.numerics.modular_echelon import Echelon
from intertwiner.variety.gauge import Directions

if TYPE_CHECKING:
    from intertwiner.variety.attention import Attention


def attention_gauge(attention: Attention, theta: Float[ndarray, " q"], field: Modulus) -> list[Directions]:
    """Directions of all gauge groups, layer by layer."""
    groups: list[Directions] = []
    for l, layer in enumerate(attention.places()):
        for h, places in enumerate(layer):
            place = f"layer {l + 1}" + (f", head {h + 1}" if attention.heads > 1 else "")
            groups.append(_scores(attention, theta, places, place))
            if attention.inner is not None:
                O, V = places[2], places[3]
                rows = _pairs(theta, V, O.T, _units(len(V)))
                groups.append(Directions(f"linear maps of {len(V)} values", place, rows))
                groups.append(
                    Directions("inner values that are not read or not written", place, _unread(theta, O, V, field))
                )
            if attention.kind == "lightning":
                row = np.zeros((1, attention.parameters))
                row[0, places[1]] = theta[places[1]]
                row[0, places[2]] = -theta[places[2]]
                groups.append(Directions("scale between scores and values", place, row))
        if l:
            groups.append(_tokens(attention, theta, l))
    return [Directions(g.name, g.place, field.reduce(g.rows[:, : attention.parameters])) for g in groups]


def _units(size: int) -> ndarray:
    """All matrices with a single one."""
    return np.eye(size * size).reshape(-1, size, size)


def _scores(attention: Attention, theta: ndarray, places: list[ndarray], place: str) -> Directions:
    a = attention.rank
    if attention.kind != "rotary":
        return Directions(f"linear maps of {a} queries and keys", place, _pairs(theta, places[0], places[1], _units(a)))
    maps = np.zeros((a, a, a))
    for b in range(0, a, 2):
        maps[b, b, b] = maps[b, b + 1, b + 1] = 1.0
        maps[b + 1, b, b + 1], maps[b + 1, b + 1, b] = -1.0, 1.0
    rows = _pairs(theta, places[0], places[1], maps)
    return Directions(f"rotations and scales in {a // 2} planes of queries and keys", place, rows)


def _pairs(theta: ndarray, left: ndarray, right: ndarray, maps: Float[ndarray, "k a a"]) -> Float[ndarray, "k q"]:
    """``L -> L + A L, R -> R - A^T R`` for every A: the product ``R^T L`` stays."""
    rows = np.zeros((len(maps), len(theta)))
    rows[:, left.ravel()] = (maps @ theta[left]).reshape(len(maps), -1)
    rows[:, right.ravel()] = -(maps.transpose(0, 2, 1) @ theta[right]).reshape(len(maps), -1)
    return rows


def _unread(theta: ndarray, O: ndarray, V: ndarray, field: Modulus) -> Float[ndarray, "k q"]:
    """``V -> V + N Y`` with O N = 0, and ``O -> O + Y N^T`` with N^T V = 0, for a basis N and all single entries."""
    rows = []
    for fixed, moved in ((theta[O], V), (np.ascontiguousarray(theta[V].T), O.T)):
        space = Echelon(fixed.shape[1], field)
        space.add(fixed)
        for vector in space.null_space().T:
            block = np.zeros((moved.shape[1], len(theta)))
            block[np.arange(len(block))[:, None], moved.T] = vector
            rows.append(block)
    return np.concatenate(rows) if rows else np.zeros((0, len(theta)))


def _tokens(attention: Attention, theta: ndarray, l: int) -> Directions:
    """What layer l - 1 writes is mapped, what layer l reads is mapped back."""
    layers, maps = attention.places(), _units(attention.width)
    rows = np.zeros((len(maps), len(theta)))
    for places in layers[l - 1]:
        writes = places[2]
        rows[:, writes.ravel()] += (maps @ theta[writes]).reshape(len(maps), -1)
    for places in layers[l]:
        for reads in (places[0], places[1], places[-1]):
            rows[:, reads.ravel()] -= (theta[reads] @ maps).reshape(len(maps), -1)
    return Directions(f"linear maps of {attention.width} features", f"tokens between layers {l} and {l + 1}", rows)
