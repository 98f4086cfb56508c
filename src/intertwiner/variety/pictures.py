r"""Pictures of neurovarieties as plain records: dimension against width, and a plane of parameters with its image.

A plane ``theta_0 + s u + t v`` of real parameters is sent to functions, seen in three of their coefficients. On the
plane lie the curves where a square layer has determinant zero, a neuron goes out with weight zero, or two neurons that
read two values are repeated: the degeneracy locus. The shade is the least singular value of the Jacobian that is not
zero everywhere, relative to the largest one, on a logarithmic scale: it fades where the rank drops.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Any

import numpy as np
from jaxtyping import Float
from numpy import ndarray

from intertwiner.errors import WrongUse
from intertwiner.numerics.seeds import rng
from intertwiner.report.dimension_curve import dimension_curve
from intertwiner.report.surface import surface_picture
from intertwiner.report.svg import Picture
from intertwiner.variety.activation import Activation, activation
from intertwiner.variety.architecture import Architecture
from intertwiner.variety.expansion import Coordinates
from intertwiner.variety.jacobian import Rationals, jacobian
from intertwiner.variety.neurovariety import neurovariety
from intertwiner.variety.subject import subject

FADED = 6.0
"""Powers of ten below the largest at which a singular value is drawn as zero."""

DOTS = 4
"""Points of the grid that are marked for one neuron."""

MOST_COORDINATES = 200
"""Coefficients of the outputs above which no plane is drawn."""

SMALL, WIDEST = 300, 8
"""Parameters up to which the first hidden layer is let grow, and its least largest width."""

FEW = 60
"""Parameters up to which a plane is drawn without being asked for."""


class Plain(Rationals):
    """Float64 in the place of residues, without torch: the plain operations of ``Rationals``."""

    def fraction(self, value: Any) -> Any:
        return float(value)


def dimension_by_width(
    widths: Sequence[int], sigma: Activation | str, *, layer: int = 1, most: int = 8, seed: int = 0
) -> list[dict[str, Any]]:
    """Dimensions while one hidden layer grows, one row per width.

    Args:
        widths: The architecture; the entry at ``layer`` is replaced by 1, 2, ....
        sigma: The activation.
        layer: The hidden layer, 1 the first.
        most: Its largest width.
        seed: Of everything random.

    Raises:
        WrongUse: For a layer that is not hidden, or widths that are none.

    Cost:
        One ``neurovariety`` per width.

    Example:
        >>> [row["dimension"] for row in dimension_by_width((3, 1, 1), "t^2", most=4)]
        [3, 5, 6, 6]
    """
    if not 0 < layer < len(widths) - 1:
        raise WrongUse(
            f"layer {layer} of widths {tuple(widths)} is not hidden: hidden are 1 to {len(widths) - 2}. "
            "Nothing was computed."
        )
    rows = []
    for width in range(1, most + 1):
        grown = (*widths[:layer], width, *widths[layer + 1 :])
        found = neurovariety(grown, sigma, seed=seed)
        rows.append(
            {
                "width": width,
                "widths": list(grown),
                "parameters": found.family.parameters,
                "dimension": found.dimension,
                "expected": found.expected_dimension,
                "ambient": found.ambient_dimension,
                "proved": found.verdict.is_proved,
            }
        )
    return rows


def dimension_picture(
    families: Sequence[Sequence[int]], sigma: Activation | str, *, layer: int = 1, most: int = 8, seed: int = 0
) -> Picture | None:
    """Dimension against the width of one hidden layer, for several architectures.

    Example:
        >>> dimension_picture([(2, 1, 1)], "t^2", most=3).markup.count("<circle")
        3
    """
    named = {}
    for widths in families:
        shown = ["w" if k == layer else str(w) for k, w in enumerate(widths)]
        name = f"{'-'.join(shown)}, {activation(sigma)}"
        named[name] = dimension_by_width(widths, sigma, layer=layer, most=most, seed=seed)
    return dimension_curve(named, across=f"width w of hidden layer {layer}")


def parameter_plane(
    net: Architecture,
    centre: Any,
    first: Any,
    second: Any,
    *,
    reach: float = 1.5,
    steps: int = 40,
    axes: Sequence[str] | None = None,
) -> dict[str, Any]:
    """A plane of parameters, its image in three coefficients, and the degeneracy locus on both.

    Args:
        net: The network.
        centre: Parameters at s = t = 0, flat or one array per weight and bias.
        first: Direction of s.
        second: Direction of t.
        reach: s and t run from minus to plus this.
        steps: Cells along each side.
        axes: Names of three coefficients, as in ``Coordinates.names``; those that vary most by default.

    Returns:
        The record that ``report.surface.surface_picture`` draws.

    Raises:
        WrongUse: For parameters or axes that do not fit, too few coefficients, or too many.

    Cost:
        One evaluation and one singular value decomposition of the Jacobian per point.

    Example:
        >>> one, other = np.zeros(6), np.zeros(6)
        >>> one[1] = other[2] = 1.0
        >>> record = parameter_plane(Architecture((2, 2, 1), "t^2"), [1, 0, 0, 1, 1, -1], one, other, steps=8)
        >>> record["axes"], [curve["label"] for curve in record["curves"]]
        (['c[20]', 'c[11]', 'c[02]'], ['det W_1 = 0'])
    """
    space = Coordinates.of(net)
    if not 3 <= space.dimension <= MOST_COORDINATES:
        raise WrongUse(
            f"{net} has {space.dimension} coefficients; a picture takes from 3 to {MOST_COORDINATES}. "
            "Nothing was computed."
        )
    base, u, v = (subject(net, part).theta for part in (centre, first, second))
    ticks = np.linspace(-reach, reach, steps + 1)
    t, s = np.meshgrid(ticks, ticks, indexing="ij")
    theta = base + s[..., None] * u + t[..., None] * v
    expand = _Expansion(net, space)
    values = expand.coordinates(theta.reshape(-1, net.parameters)).reshape(steps + 1, steps + 1, -1)
    chosen = _axes(space, values, axes)
    curves = []
    for label, number in _locus(net, theta):
        segments = _zero_segments(number, ticks)
        if not segments:
            continue
        ends = np.array(segments, dtype=float).reshape(-1, 2)
        lifted = expand.coordinates(base + ends[:, :1] * u + ends[:, 1:] * v)[:, chosen]
        curves.append({"label": label, "segments": segments, "lifted": lifted.reshape(-1, 2, 3).tolist()})
    return {
        "axes": [space.names[i] for i in chosen],
        "plane": ["s", "t"],
        "reach": float(reach),
        "points": values[..., chosen].tolist(),
        "shade": _shade(net, theta, expand.x).tolist(),
        "curves": curves,
        "dots": [
            {"label": label, "at": [float(ticks[j]), float(ticks[i])], "lifted": values[i, j, chosen].tolist()}
            for label, i, j in _dead(net, theta)
        ],
    }


def plane_picture(net: Architecture, centre: Any, first: Any, second: Any, **options: Any) -> Picture:
    """The picture of ``parameter_plane``."""
    return surface_picture(parameter_plane(net, centre, first, second, **options))


def pictures(net: Architecture, theta: Any = None, *, seed: int = 0) -> dict[str, Picture]:
    """The pictures of an architecture by file name, as far as it is small: dimension by width, and a plane.

    Args:
        net: The network.
        theta: Parameters in the middle of the plane, random ones by default; its directions are random.
        seed: Of everything random.

    Example:
        >>> sorted(pictures(Architecture((2, 2, 1), "t^2"))), pictures(Architecture((2, 1), "t^2"))
        (['dimension.svg', 'plane.svg'], {})
    """
    out: dict[str, Picture] = {}
    if net.depth < 2:
        return out
    most = max(WIDEST, net.widths[1] + 2)
    if net.parameters * most <= SMALL * WIDEST and not net.bias:
        curve = dimension_picture([net.widths], net.activation, most=most, seed=seed)
        out |= {"dimension.svg": curve} if curve else {}
    if net.parameters <= FEW and 3 <= net.ambient_dimension <= MOST_COORDINATES:
        random = rng(seed)
        centre = random.standard_normal(net.parameters) if theta is None else theta
        frame = np.linalg.qr(random.standard_normal((net.parameters, 2)))[0]
        out["plane.svg"] = plane_picture(net, centre, *frame.T)
    return out


class _Expansion:
    """Coefficients in float64, by evaluation at points where the monomials are well conditioned."""

    def __init__(self, net: Architecture, space: Coordinates) -> None:
        self.net = net
        self.x = rng(0).standard_normal((2 * space.per_output + 2, space.inputs))
        self.x /= np.linalg.norm(self.x, axis=1, keepdims=True) if len(space.degrees) == 1 else 1.0
        powers = np.prod(self.x[:, None, :] ** space.table, axis=2)
        self.inverse = np.linalg.pinv(powers)

    def coordinates(self, theta: Float[ndarray, "b p"]) -> Float[ndarray, "b dimension"]:
        places = self.net.unflatten(np.arange(self.net.parameters))
        value = np.broadcast_to(self.x.T, (len(theta), *self.x.T.shape))
        for l, (W, b) in enumerate(places):
            value = theta[:, W] @ (self.net.activation.value(value, Plain()) if l else value)
            value = value if b is None else value + theta[:, b][:, :, None]
        return (value @ self.inverse.T).reshape(len(theta), -1)


def _axes(space: Coordinates, values: ndarray, axes: Sequence[str] | None) -> list[int]:
    if axes is None:
        spread = values.reshape(-1, space.dimension).std(axis=0)
        return sorted(np.argsort(-spread, kind="stable")[:3].tolist())
    missing = [name for name in axes if name not in space.names]
    if len(axes) != 3 or missing:
        raise WrongUse(
            f"axes are three of {', '.join(space.names[:12])}{', ...' if space.dimension > 12 else ''}, got "
            f"{tuple(axes)}. Nothing was computed."
        )
    return [space.names.index(name) for name in axes]


def _locus(net: Architecture, theta: Float[ndarray, "n m p"]) -> list[tuple[str, Float[ndarray, "n m"]]]:
    """Functions on the grid that vanish where a parameter is degenerate and change their sign there."""
    out = []
    places = net.unflatten(np.arange(net.parameters))
    for l, (P, _) in enumerate(places, start=1):
        W = theta[..., P]
        fan_out, fan_in = P.shape
        if fan_out == fan_in > 1:
            out.append((f"det W_{l} = 0", np.linalg.det(W)))
        elif fan_in == 2 and not net.bias and l < len(places):
            for i, j in itertools.combinations(range(fan_out), 2):
                out.append((f"rows {i}, {j} of W_{l} repeated", np.linalg.det(W[..., [i, j], :])))
        if fan_out == 1 and l > 1:
            out += [(f"W_{l}[0, {i}] = 0", W[..., 0, i]) for i in range(fan_in)]
        if fan_in == 1 and l < len(places):
            out += [(f"W_{l}[{i}, 0] = 0", W[..., i, 0]) for i in range(fan_out)]
    return out


def _dead(net: Architecture, theta: Float[ndarray, "n m p"]) -> list[tuple[str, int, int]]:
    """Points of the grid at which all weights into a neuron, or all out of it, are zero; no curve shows those."""
    out = []
    places = net.unflatten(np.arange(net.parameters))
    for l, (P, _) in enumerate(places, start=1):
        rows = [(f"row {i} of W_{l} = 0", P[i]) for i in range(len(P))] if l < len(places) else []
        columns = [(f"column {j} of W_{l} = 0", P[:, j]) for j in range(P.shape[1])] if l > 1 else []
        for label, entries in rows + columns:
            found = np.argwhere(~theta[..., entries].any(axis=-1)) if len(entries) > 1 else []
            out += [(label, int(i), int(j)) for i, j in found[:DOTS]]
    return out


def _zero_segments(value: Float[ndarray, "n m"], ticks: Float[ndarray, " n"]) -> list[list[list[float]]]:
    """Where a function on the grid is zero, as segments between edges of the cells [marching squares]."""
    out: list[list[list[float]]] = []
    positive = value > 0
    mixed = positive[:-1, :-1].astype(int) + positive[1:, :-1] + positive[:-1, 1:] + positive[1:, 1:]
    for i, j in np.argwhere((mixed > 0) & (mixed < 4)):
        corners = [(i, j), (i, j + 1), (i + 1, j + 1), (i + 1, j)]
        crossings = []
        for (a, b), (c, d) in zip(corners, [*corners[1:], corners[0]], strict=True):
            if positive[a, b] != positive[c, d]:
                share = value[a, b] / (value[a, b] - value[c, d])
                s = ticks[b] + share * (ticks[d] - ticks[b])
                t = ticks[a] + share * (ticks[c] - ticks[a])
                crossings.append([float(s), float(t)])
        out += [crossings[k : k + 2] for k in range(0, len(crossings), 2)]
    return out


def _shade(net: Architecture, theta: Float[ndarray, "n m p"], x: Float[ndarray, "k d"]) -> Float[ndarray, "n m"]:
    """From 0, where the rank of the Jacobian drops, to 1."""
    flat = theta.reshape(-1, net.parameters)
    singular = np.array([np.linalg.svd(jacobian(net, row, x, Plain()), compute_uv=False) for row in flat])
    top = singular.max()
    rank = int((singular.max(axis=0) > top * 10.0**-FADED).sum())
    least = singular[:, rank - 1] / np.maximum(singular[:, 0], np.finfo(float).tiny)
    shade = 1 + np.log10(np.maximum(least, 10.0**-FADED)) / FADED
    return np.round(shade, 4).reshape(theta.shape[:2])
