"""Whether maps of tensors form an action: the relations of the group, checked on random float64 tensors.

For every factor the images of one random tensor under all elements are built along the spanning tree and every
Schreier relation ``s . (g . x) = (s g) . x`` is compared; generators of different factors must commute. Together
these are a presentation [Holt 2005, sec. 2.6]. Random tensors have distinct entries, so a permutation that fails a
relation is caught with certainty; other linear maps with probability one.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import torch

from intertwiner.algebra import Group
from intertwiner.errors import NotAnAction
from intertwiner.numerics.tolerance import tolerance

MAX_ENTRIES = 1 << 24
"""Numbers held at once for the images of one tensor under all elements of a factor (128 MB)."""

SEED = 20260102
"""Seed of the random tensors."""

Map = Callable[[torch.Tensor], torch.Tensor]


def check_group_law(group: Group, maps: Sequence[Map], shape: tuple[int, ...], tensor: str) -> None:
    """Raise unless the maps, one per generator, satisfy the relations of the group to rounding.

    Args:
        group: The group.
        maps: One map of batches of samples per generator.
        shape: Shape of one sample.
        tensor: How the error names the tensor.

    Raises:
        NotAnAction: Names the first relation that fails, with its relative error.

    Cost:
        (order + order x generators) applications per factor; factors too large for memory are checked on the
        orders of generators and of their products only.
    """
    x = torch.randn(1, *shape, generator=torch.Generator().manual_seed(SEED), dtype=torch.float64)
    for factor, places in zip(group.factors, group.factor_generators, strict=True):
        own = [maps[i] for i in places]
        if factor.order * math.prod(shape) <= MAX_ENTRIES:
            _schreier(group, factor, own, x, tensor)
        else:
            _orders(group, factor, own, x, tensor)
    names = group.generator_names
    for i, j in group.commuting_pairs:
        error = _error(maps[i](maps[j](x)), maps[j](maps[i](x)))
        if not error <= tolerance("float64"):
            raise NotAnAction(_message(group, tensor, f"{names[i]} and {names[j]} commute in the group", error))


def check_elements(
    group: Group, generators: Sequence[Map], own: Callable[[int], Map], shape: tuple[int, ...], tensor: str
) -> None:
    """Raise unless a callable of any element agrees with the products of its generators."""
    x = torch.randn(1, *shape, generator=torch.Generator().manual_seed(SEED), dtype=torch.float64)
    moved = group.extend(list(generators), lambda a, b: _after(a, b), lambda y: y)
    for g in range(group.order):
        error = _error(own(g)(x), moved[g](x))
        if not error <= tolerance("float64"):
            name = group.element_name(g)
            raise NotAnAction(_message(group, tensor, f"{name} is a product of generators, and acts otherwise", error))


def _schreier(group: Group, factor: Group, maps: Sequence[Map], x: torch.Tensor, tensor: str) -> None:
    tree = factor.tree
    images = x.expand(factor.order, *x.shape[1:]).clone()
    for level in tree.levels[1:]:
        for place, act in enumerate(maps):
            reached = torch.from_numpy(level[tree.step[level] == place])
            if len(reached):
                images[reached] = act(images[torch.from_numpy(tree.parent[reached.numpy()])])
    for s, act in zip(factor.generators, maps, strict=True):
        products = torch.from_numpy(factor.multiply(s, factor.elements))
        moved, expected = act(images), images[products]
        worst = _errors(moved, expected)
        g = int(worst.argmax())
        if not float(worst[g]) <= tolerance("float64"):
            a, b, c = (factor.element_name(int(e)) for e in (s, g, products[g]))
            raise NotAnAction(_message(group, tensor, f"{a} after {b} is {c} in {factor.name}", float(worst[g])))


def _orders(group: Group, factor: Group, maps: Sequence[Map], x: torch.Tensor, tensor: str) -> None:
    gens = list(zip(factor.generators, maps, strict=True))
    words = [(s, [act]) for s, act in gens]
    words += [(int(factor.multiply(s, t)), [b, a]) for s, a in gens for t, b in gens if s != t]
    for g, word in words:
        y = x
        for _ in range(factor.element_order(g)):
            for act in word:
                y = act(y)
        error = _error(y, x)
        if not error <= tolerance("float64"):
            what = f"{factor.element_name(g)} has order {factor.element_order(g)} in {factor.name}"
            raise NotAnAction(_message(group, tensor, what, error))


def _after(first: Map, second: Map) -> Map:
    return lambda x: first(second(x))


def _errors(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    a, b = a.reshape(len(a), -1), b.reshape(len(b), -1)
    scale = b.abs().amax(1).clamp_min(torch.finfo(torch.float64).tiny)
    return torch.nan_to_num((a - b).abs().amax(1) / scale, nan=math.inf)


def _error(a: torch.Tensor, b: torch.Tensor) -> float:
    return float(_errors(a, b).max())


def _message(group: Group, tensor: str, relation: str, error: float) -> str:
    return (
        f"the maps given for {tensor} are no action of {group.name}: {relation}, but on a random tensor the two sides "
        f"differ by {error:.2g} of its size (allowed {tolerance('float64'):.0e}).\n"
        "  Usual cause: a permutation written in the other direction (point j goes to p[j]), generators in another "
        f"order than {', '.join(group.generator_names)}, or matrices rounded to a few digits."
    )
