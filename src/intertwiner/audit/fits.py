r"""From second moments to latent actions: the best affine map, the best element of K_i, and how much each explains.

    R2(M, t) = 1 - E|h(gx) - M g h(x) - t|^2 / E|h(gx) - E h(gx)|^2,

fitted on one half of the samples and judged on the other. The affine fit bounds every element of K_i from above;
it proves no action (theory 6: linear .4 to .98 where no permutation exists), so both stand side by side, with nulls:
the element found for g judged on another g, the best element where the positions are moved by another g, and the same
fit in the same network with shuffled weights. Inside K constants count as errors, unless K has shifts; the share of
variance about the means stands beside it, for K, for plain permutations and for features that stay in place.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from jaxtyping import Float
from numpy import ndarray
from torch import Tensor, fx

from intertwiner.audit.found import Found, found_in
from intertwiner.audit.measure import InputAction
from intertwiner.audit.moments import Inputs, Moments, SplitMoments, TapLayout
from intertwiner.audit.spread import Spread
from intertwiner.errors import EmptyData, WrongUse
from intertwiner.gauge import GaugeElement, GaugeGroup
from intertwiner.gauge.best import best_in, explained, fit_linear

if TYPE_CHECKING:
    from intertwiner.network import Network


def linear_fit(moments: Moments) -> Float[ndarray, "n n"]:
    """The linear map of least squares without a constant: the latent map of [arXiv 2601.21645, sec. 6].

    Example:
        Two neurons that g exchanges:

        >>> swap = np.array([[0.0, 1.0], [1.0, 0.0]])
        >>> linear_fit(Moments(9, np.zeros(2), np.zeros(2), np.eye(2), swap, np.ones(2))).round(9)
        array([[0., 1.],
               [1., 0.]])
    """
    return best_in(GaugeGroup.general_linear(len(moments.mean)), moments).element.dense()


@dataclass(frozen=True, eq=False)
class TapFit:
    """What was found at one tap for one group element, with what it stands against.

    Args:
        linear_r2: Held-out share of variance explained by the best affine map.
        gauge_r2: Held-out share explained by the best element of the gauge group.
        element: The best element, fitted on all samples.
        linear_map: The best affine map, fitted on all samples.
        rows: Samples times positions that were measured.
        linear_r2_fitted: R2 of the affine map on the half it was fitted on.
        gauge_r2_fitted: R2 of the element on the half it was fitted on.
        noise_floor: Share of variance that rounding makes; None where it was not measured.
        null_wrong_element: R2 of the element found for g when judged on another element.
        null_random_network: Held-out R2 of the best element in the same network with shuffled weights, the highest
            of the draws.
        null_wrong_positions: R2 of the best element where positions are moved by another element than the input;
            None where the tap has no positions.
        centred_r2: ``gauge_r2`` up to a constant: fitted and judged on deviations from the means.
        permutation_r2: ``centred_r2`` of the best plain permutation of the features.
        in_place_r2: ``centred_r2`` where no feature moves, only positions, and signs where K has them.
        found: What the best element, up to a constant, does to the features; None where it mixes them.
    """

    linear_r2: float
    gauge_r2: float
    element: GaugeElement
    linear_map: GaugeElement
    rows: int
    linear_r2_fitted: float
    gauge_r2_fitted: float
    noise_floor: float | None = None
    null_wrong_element: float | None = None
    null_random_network: float | None = None
    null_wrong_positions: float | None = None
    centred_r2: float = float("nan")
    permutation_r2: float = float("nan")
    in_place_r2: float = float("nan")
    found: Found | None = None

    @property
    def defect(self) -> float:
        """``|h(gx) - rho h(x)| / |h(gx) - mean|`` with the best rho in the gauge group."""
        return float(np.sqrt(max(0.0, 1 - self.gauge_r2)))

    def to_json(self) -> dict[str, Any]:
        """The record of the audit's schema; what is not known or not finite is None."""
        values = {
            "linear_r2": self.linear_r2,
            "gauge_r2": self.gauge_r2,
            "defect": self.defect,
            "noise_floor": self.noise_floor,
            "null_wrong_element": self.null_wrong_element,
            "null_random_network": self.null_random_network,
            "null_wrong_positions": self.null_wrong_positions,
            "centred_r2": self.centred_r2,
            "permutation_r2": self.permutation_r2,
            "in_place_r2": self.in_place_r2,
        }
        record = {name: v if v is not None and np.isfinite(v) else None for name, v in values.items()}
        return record | {"found": None if self.found is None else self.found.to_json()}


def fit_tap(
    moments: SplitMoments,
    gauge: GaugeGroup,
    *,
    wrong: SplitMoments | None = None,
    random: SplitMoments | Sequence[SplitMoments] = (),
    displaced: SplitMoments | None = None,
    noise_floor: float | None = None,
) -> TapFit:
    """Fit the affine map and the best gauge element on the train half, judge both on the test half.

    Args:
        moments: Of h(x) and h(gx).
        gauge: The group in which the latent action is sought.
        wrong: Moments for another element, on which the element found for g is judged. Without them it is judged
            on the identity, which costs no pass: high where the action hardly moves anything.
        random: Moments for g in the network of ``shuffled``, of one draw or of several; the best of them counts.
        displaced: Moments of h(gx) with h(x) whose positions another element has moved.
        noise_floor: From ``rounding_shares``.
    """
    judged = _heldout(moments)
    inside = best_in(gauge, moments.train, heldout=judged)
    affine = fit_linear(moments.train, heldout=judged)
    other = Moments.at_identity(judged) if wrong is None else _heldout(wrong)
    draws = [random] if isinstance(random, SplitMoments) else random
    nulls = [best_in(gauge, draw.train, heldout=_heldout(draw)).judged_r2 for draw in draws]
    astray = None if displaced is None else best_in(gauge, displaced.train, heldout=_heldout(displaced)).judged_r2
    centred = best_in(gauge, moments.total, centred=True)
    return TapFit(
        linear_r2=affine.judged_r2,
        gauge_r2=inside.judged_r2,
        element=best_in(gauge, moments.total).element,
        linear_map=fit_linear(moments.total).element,
        rows=moments.total.rows,
        linear_r2_fitted=affine.r2,
        gauge_r2_fitted=inside.r2,
        noise_floor=noise_floor,
        null_wrong_element=explained(inside.element, other)[0],
        null_random_network=max(nulls, default=None),
        null_wrong_positions=astray,
        **fit_about_means(moments, gauge),
        found=found_in(centred.element, moments.total.D),
    )


def fit_about_means(moments: SplitMoments, gauge: GaugeGroup) -> dict[str, float]:
    """Held-out shares of variance about the means: of the best element of K, the best permutation, and no move."""
    judged, n = _heldout(moments), gauge.dimension
    groups = {
        "centred_r2": gauge,
        "permutation_r2": GaugeGroup.permutation(n),
        "in_place_r2": GaugeGroup(n, sign=gauge.sign, mixing="none"),
    }
    fits = {group: best_in(group, moments.train, heldout=judged, centred=True).judged_r2 for group in groups.values()}
    return {name: fits[group] for name, group in groups.items()}


def _heldout(moments: SplitMoments) -> Moments:
    """The test half; with a single sample there is only the train half."""
    return moments.test if moments.test.rows else moments.train


def shuffled(network: Network, seed: int) -> Network:
    """The same network with the entries of every weight tensor in random order: the null of a trained network.

    Sizes and distributions of weights stay, structure goes.
    """
    rng = np.random.default_rng(seed)
    root = torch.nn.Module()
    for held, tensor in network.module.named_buffers():
        if tensor.is_floating_point() and tensor.numel() > 1:
            order = torch.from_numpy(rng.permutation(tensor.numel())).to(tensor.device)
            tensor = tensor.detach().reshape(-1)[order].reshape(tensor.shape)
        root.register_buffer(held, tensor)
    graph = fx.Graph()
    graph.output(graph.graph_copy(network.module.graph, {}))
    return replace(network, module=fx.GraphModule(root, graph), _compiled={})


def rounding_shares(
    network: Network, taps: Sequence[str], stream: Iterable[Inputs], *, batches: int = 4
) -> dict[str, float]:
    """Share of each tap's variance that rounding makes: the network against its copy in the other precision.

    A float64 network is compared with its float32 copy, and the share scaled by the squared ratio of roundoffs.

    Args:
        network: The traced network.
        taps: Names of taps.
        stream: Batches of inputs.
        batches: How many of them are enough.
    """
    other = torch.float32 if network.dtype == torch.float64 else torch.float64
    scale = (torch.finfo(torch.float64).eps / torch.finfo(torch.float32).eps) ** 2 if other == torch.float32 else 1.0
    forward, exact = network.function(list(taps)), network.to(other).function(list(taps))
    errors, spreads = dict.fromkeys(taps, 0.0), {name: Spread() for name in taps}
    seen = 0
    for inputs in stream:
        _, values = forward(inputs)
        _, truth = exact(tuple(x.to(other) if x.is_floating_point() else x for x in inputs))
        for name in taps:
            h = truth[name].to(torch.float64)
            errors[name] += scale * float((values[name].to(torch.float64) - h).square().sum())
            spreads[name].add(h)
        seen += 1
        if seen == batches:
            break
    if not seen:
        raise EmptyData("no sample to measure rounding on")
    return {name: errors[name] / total if (total := spreads[name].total) > 0 else float("nan") for name in taps}


def latent_errors(
    network: Network,
    symmetry: InputAction,
    layouts: Sequence[TapLayout],
    stream: Iterable[Inputs],
    maps: Mapping[str, Float[ndarray, "n n"] | GaugeElement],
    *,
    element: int,
) -> dict[str, Float[ndarray, " samples"]]:
    """Relative error ``|M h(x) - h(gx)| / |h(gx)|`` of each sample: a second pass, with the maps of the first.

    The median over samples, with ``linear_fit``, is the figure of [arXiv 2601.21645, sec. 6].

    Args:
        network: The traced network.
        symmetry: The bound symmetry.
        layouts: One per tap; only taps with a map are measured.
        stream: Batches of inputs.
        maps: By tap, a matrix or a gauge element acting on channels.
        element: The group element g.

    Returns:
        By tap, one number per sample (8 bytes each).
    """
    chosen = [layout for layout in layouts if layout.name in maps]
    if not chosen:
        raise WrongUse(f"no layout for the taps {sorted(maps)}")
    forward = network.function([layout.name for layout in chosen])
    errors: dict[str, list[ndarray]] = {layout.name: [] for layout in chosen}
    for inputs in stream:
        _, base = forward(inputs)
        _, moved = forward(symmetry.act_on_input(element, inputs))
        for layout in chosen:
            errors[layout.name].append(_relative(layout, base[layout.name], moved[layout.name], maps, element))
    return {name: np.concatenate(parts) for name, parts in errors.items()}


def _relative(layout: TapLayout, h: Tensor, moved: Tensor, maps: Mapping[str, Any], g: int) -> ndarray:
    action = layout.grid_action(g)
    h, moved = h.movedim(layout.batch_axis, 0), moved.movedim(layout.batch_axis, 0)
    if action is not None and not action.is_identity:
        h = action.apply(h)
    axis = 1 + layout.channel_axis
    x, gx = (
        v.movedim(axis, -1).reshape(len(v), -1, v.shape[axis]).cpu().numpy().astype(np.float64) for v in (h, moved)
    )
    chosen = maps[layout.name]
    predicted = chosen.apply(x, axis=-1) if isinstance(chosen, GaugeElement) else x @ np.asarray(chosen).T
    norm = np.sqrt(np.einsum("spc,spc->s", gx, gx))
    error = np.sqrt(np.einsum("spc,spc->s", predicted - gx, predicted - gx))
    return np.divide(error, norm, out=np.full(len(norm), np.nan), where=norm > 0)
