"""Builds ``planted-tanh-d4``, ``planted-conv-d4`` and ``planted-relu-s3``: exactly equivariant, then hidden.

Nothing is trained. The latent spaces are disjoint unions of orbits G/H, with a sign character where the activation is
odd. A weight entry is one random number per orbit of G on pairs of neurons (and kernel pixels), so equal entries are
equal to the bit. The network is then hidden by a random element of its gauge, which leaves the function alone:
permutations, signs for tanh, powers of two for the convolution (no rounding, so the symmetry stays exact) and any
positive scales for the last one (rounded to float32, so the symmetry holds within rounding only).
"""

from __future__ import annotations

import sys
from collections.abc import Sequence

import numpy as np
import torch
from common import save, start
from torch import nn

from intertwiner.algebra import Group, dihedral, subgroup_generated, symmetric
from intertwiner.bundled import symmetry_of
from intertwiner.bundled.modules import MLP, ConvNet
from intertwiner.numerics.monomial import Monomial

Action = list[Monomial]


def orbit(group: Group, stabiliser: Sequence[int], kernel: Sequence[int] | None = None) -> Action:
    """G on the cosets of H, one monomial matrix per element; with signs if H has a kernel K of index 2."""
    elements = np.arange(group.order)
    coset = np.array([group.multiply(g, np.asarray(stabiliser)).min() for g in elements])
    points = np.unique(coset)
    place = np.searchsorted(points, coset)
    inside = np.asarray(stabiliser if kernel is None else kernel)
    action = []
    for g in elements:
        moved = group.multiply(g, points)
        # g t = t' h, and the sign of h is +1 on the kernel.
        h = group.multiply(group.inverse(coset[moved]), moved)
        action.append(Monomial(place[moved], np.where(np.isin(h, inside), 1.0, -1.0)))
    return action


def union(*actions: Action) -> Action:
    return [Monomial.direct_sum(parts) for parts in zip(*actions, strict=True)]


def subgroup(group: Group, *generators: str) -> list[int]:
    return [int(g) for g in subgroup_generated(group, [group.element(name) for name in generators]).elements]


def tied(axes: Sequence[Action], rng: np.random.Generator) -> np.ndarray:
    """A random array that is invariant when every g acts on all its axes at once, variance one over the fan-in."""
    shape = tuple(action[0].dimension for action in axes)
    flat = np.arange(int(np.prod(shape)))
    images, signs = [], []
    for matrices in zip(*axes, strict=True):
        whole = matrices[0]
        for m in matrices[1:]:
            whole = whole.kron(m)
        images.append(whole.index)
        signs.append(whole.factor)
    images, signs = np.stack(images), np.stack(signs)
    first = images.argmin(axis=0)
    label = images[first, flat]
    # An entry that some g sends to minus itself is zero.
    free = ~np.any((images == flat) & (signs < 0), axis=0)
    fan_in = max(1, int(np.prod(shape[1:])))
    numbers = rng.normal(0.0, fan_in**-0.5, size=len(flat)).astype(np.float32).astype(np.float64)
    return np.where(free, signs[first, flat] * numbers[label], 0.0).reshape(shape)


def fill(layer: nn.Module, weight: np.ndarray, bias: np.ndarray) -> None:
    with torch.no_grad():
        layer.weight.copy_(torch.from_numpy(weight))  # type: ignore[union-attr, operator, arg-type]
        layer.bias.copy_(torch.from_numpy(bias))  # type: ignore[union-attr, operator, arg-type]


def hide(weights: list[np.ndarray], biases: list[np.ndarray], gauges: Sequence[Monomial]) -> None:
    """``W_l -> k_l W_l k_{l-1}^{-1}`` and ``b_l -> k_l b_l``: another network with the same function."""
    for layer, k in enumerate(gauges):
        weights[layer], biases[layer] = k.apply(weights[layer]), k.apply(biases[layer])
        following = np.moveaxis(weights[layer + 1], 1, -1)
        weights[layer + 1] = np.moveaxis(k.inverse().apply_right(following), -1, 1)


def build(module: nn.Module, names: Sequence[str], spaces: Sequence[Action], gauges: Sequence[Monomial], *,
          rng: np.random.Generator, grid: Action | None = None) -> nn.Module:  # fmt: skip
    """Draws tied weights for layers between ``spaces``, hides them, and writes them into the module."""
    weights, biases = [], []
    for name, source, target in zip(names, spaces[:-1], spaces[1:], strict=True):
        is_conv = isinstance(module.get_submodule(name), nn.Conv2d)
        weight = tied([target, source, *([grid] if is_conv and grid is not None else [])], rng)
        weights.append(1.5 * weight.reshape(*weight.shape[:2], 3, 3) if is_conv else 1.5 * weight)
        biases.append(0.3 * tied([target], rng))
    hide(weights, biases, gauges)
    for name, weight, bias in zip(names, weights, biases, strict=True):
        fill(module.get_submodule(name), weight, bias)
    return module.eval()


def gauge(dimension: int, rng: np.random.Generator, kind: str) -> Monomial:
    factor = {
        "sign": rng.choice([-1.0, 1.0], size=dimension),
        "power of two": 2.0 ** rng.integers(-2, 3, size=dimension),
        "scale": np.exp(rng.normal(0.0, 0.5, size=dimension)),
    }[kind]
    return Monomial(rng.permutation(dimension), factor)


def given(name: str, group: Group, shapes: tuple[tuple[int, ...], tuple[int, ...]]) -> tuple[Action, Action]:
    """The actions on input and output, as matrices on the flattened tensors."""
    bound = symmetry_of(name).bind(*shapes)
    elements = range(group.order)
    return [bound.input_action(g)[0].flat() for g in elements], [bound.output_action(g)[0].flat() for g in elements]


def defect(name: str, group: Group, module: nn.Module, shapes: tuple[tuple[int, ...], tuple[int, ...]]) -> str:
    """Largest |f(gx) - g f(x)| over |f(x) - mean f| in float64."""
    bound, double = symmetry_of(name).bind(*shapes), module.double()
    x = torch.randn(256, *shapes[0], dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        f = double(x)
        spread = (f - f.mean(0)).norm()
        worst = max(
            float((double(bound.act_on_input(g, (x,))[0]) - bound.act_on_output(g, (f,))[0]).norm() / spread)
            for g in range(group.order)
        )
    module.float()
    return f"defect {worst:.1e}"


def tanh_d4(seed: int) -> None:
    name, group, shapes = "planted-tanh-d4", dihedral(4), ((1, 5, 5), (2,))
    rng = np.random.default_rng(seed)
    mirror, free, half = subgroup(group, "s"), [group.identity], subgroup(group, "r2")
    plain, signed = orbit(group, mirror), orbit(group, mirror, free)
    ends = given(name, group, shapes)
    first = union(orbit(group, free), plain, signed, orbit(group, half), orbit(group, range(group.order)))
    second = union(orbit(group, free), plain, signed)
    gauges = [gauge(space[0].dimension, rng, "sign") for space in (first, second)]
    module = MLP([25, first[0].dimension, second[0].dimension, 2], nn.Tanh)
    build(module, ["fc1", "fc2", "fc3"], [ends[0], first, second, ends[1]], gauges, rng=rng)
    save(name, module, seed, defect(name, group, module, shapes))


def conv_d4(seed: int) -> None:
    name, group, shapes = "planted-conv-d4", dihedral(4), ((1, 9, 9), (3,))
    rng = np.random.default_rng(seed)
    mirror, diagonal = subgroup(group, "s"), [group.identity, group.multiply(group.element("r"), group.element("s"))]
    first = union(orbit(group, [group.identity]), orbit(group, mirror), orbit(group, range(group.order)))
    second = union(orbit(group, [group.identity]), orbit(group, diagonal), orbit(group, subgroup(group, "r")))
    fixed, outputs = orbit(group, range(group.order)), union(*[orbit(group, range(group.order))] * 3)
    bound = symmetry_of(name).bind((1, 3, 3), (3,))
    kernel = [bound.input_action(g)[0].flat() for g in range(group.order)]
    gauges = [gauge(space[0].dimension, rng, "power of two") for space in (first, second)]
    module = ConvNet(1, (first[0].dimension, second[0].dimension), 3)
    build(module, ["conv1", "conv2", "head"], [fixed, first, second, outputs], gauges, rng=rng, grid=kernel)
    save(name, module, seed, defect(name, group, module, shapes))


def relu_s3(seed: int) -> None:
    name, group, shapes = "planted-relu-s3", symmetric(3), ((3, 4), (3,))
    rng = np.random.default_rng(seed)
    fixes_last = [g for g in range(group.order) if group.permutations[g][2] == 2]  # type: ignore[index]
    free, points, fixed = orbit(group, [group.identity]), orbit(group, fixes_last), orbit(group, range(group.order))
    ends = given(name, group, shapes)
    first, second = union(free, free, points, points, fixed), union(free, points, points, fixed)
    gauges = [gauge(space[0].dimension, rng, "scale") for space in (first, second)]
    module = MLP([12, first[0].dimension, second[0].dimension, 3], nn.ReLU)
    build(module, ["fc1", "fc2", "fc3"], [ends[0], first, second, ends[1]], gauges, rng=rng)
    save(name, module, seed, defect(name, group, module, shapes))


def main(seed: int = 7) -> None:
    start(seed)
    tanh_d4(seed)
    conv_d4(seed)
    relu_s3(seed)


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
