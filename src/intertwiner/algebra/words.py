"""Words in the generators: a spanning tree of the Cayley graph, and maps carried from generators to elements.

An element is reached as ``generators[step] @ parent``. A map given on generators is a homomorphism iff
``rho(s @ g) = rho(s) rho(g)`` for all generators s and elements g (the Schreier relations); for a product it
suffices to ask that of every factor, and that generators of different factors commute.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
from jaxtyping import Int
from numpy import ndarray
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from intertwiner.errors import GroupError

if TYPE_CHECKING:
    from intertwiner.algebra.group import Group

T = TypeVar("T")


@dataclass(frozen=True)
class SpanningTree:
    """Breadth-first tree of the Cayley graph: element g is ``generators[step[g]] @ parent[g]``.

    Args:
        parent: The element before g; -1 at the identity.
        step: Place among ``Group.generators`` of the one that leads from the parent to g; -1 at the identity.
        levels: The elements by distance from the identity.
    """

    parent: Int[ndarray, " n"]
    step: Int[ndarray, " n"]
    levels: tuple[Int[ndarray, " k"], ...]

    def word(self, g: int) -> tuple[int, ...]:
        """Places of the generators whose product, the last one applied first, is g."""
        out = []
        while self.parent[g] >= 0:
            out.append(int(self.step[g]))
            g = int(self.parent[g])
        return tuple(out)


def spanning_tree(group: Group) -> SpanningTree:
    """The breadth-first tree; ties go to the smaller parent, then to the earlier generator.

    Example:
        >>> from intertwiner.algebra.families import cyclic
        >>> cyclic(4).tree.word(3)
        (0, 0, 0)
    """
    parent, step = np.full(group.order, -1), np.full(group.order, -1)
    seen = np.zeros(group.order, dtype=bool)
    seen[0] = True
    levels = [np.zeros(1, dtype=np.int64)]
    gens = np.array(group.generators, dtype=np.int64)
    while len(levels[-1]) and len(gens):
        frontier = levels[-1]
        reached = group.multiply(gens[None, :], frontier[:, None]).ravel()
        fresh, first = np.unique(reached, return_index=True)
        keep = ~seen[fresh]
        fresh, first = fresh[keep], first[keep]
        parent[fresh], step[fresh] = frontier[first // len(gens)], first % len(gens)
        seen[fresh] = True
        levels.append(fresh)
    return SpanningTree(parent, step, tuple(level for level in levels if len(level)))


def require_images(group: Group, images: Sequence[Any]) -> None:
    """Refuse a list that is not one image per generator."""
    if len(images) != len(group.generators):
        names = ", ".join(group.generator_names)
        raise GroupError(f"{group.name} has {len(group.generators)} generators ({names}), got {len(images)} images")


def extend(group: Group, images: Sequence[T], compose: Callable[[T, T], T], identity: T) -> list[T]:
    """From one image per generator to one per element, along the spanning tree.

    Args:
        images: One value per generator.
        compose: ``compose(a, b)`` is the image of ``g @ h`` (h first).
        identity: The image of the identity.

    Cost:
        One composition per element.

    Example:
        >>> from intertwiner.algebra.families import cyclic
        >>> cyclic(4).extend([3], lambda a, b: (a + b) % 12, 0)
        [0, 3, 6, 9]
    """
    require_images(group, images)
    out: list[T] = [identity] * group.order
    tree = group.tree
    for level in tree.levels[1:]:
        for g in level.tolist():
            out[g] = compose(images[int(tree.step[g])], out[int(tree.parent[g])])
    return out


def is_homomorphism(
    group: Group, images: Sequence[T], compose: Callable[[T, T], T], identity: T, equal: Callable[[T, T], bool]
) -> bool:
    """Whether images of the generators extend to a homomorphism, by the Schreier relations of the factors.

    Cost:
        (sum of the orders of the factors) x generators compositions.

    Example:
        >>> from intertwiner.algebra.families import cyclic
        >>> cyclic(4).is_homomorphism([2], lambda a, b: (a + b) % 12, 0, int.__eq__)
        False
    """
    require_images(group, images)
    for factor, places in zip(group.factors, group.factor_generators, strict=True):
        own = [images[i] for i in places]
        extended = extend(factor, own, compose, identity)
        for s, image in zip(factor.generators, own, strict=True):
            products = factor.multiply(s, factor.elements)
            if not all(equal(compose(image, extended[g]), extended[int(products[g])]) for g in range(factor.order)):
                return False
    return all(equal(compose(images[i], images[j]), compose(images[j], images[i])) for i, j in group.commuting_pairs)


def orbit_labels(n: int, moves: Sequence[Int[ndarray, " n"]]) -> Int[ndarray, " n"]:
    """Orbits of ``0..n-1`` under permutations, numbered by their smallest point.

    Example:
        >>> orbit_labels(4, [np.array([0, 3, 2, 1])]).tolist()
        [0, 1, 2, 1]
    """
    if not len(moves):
        return np.arange(n)
    points = np.tile(np.arange(n), len(moves))
    graph = coo_array((np.ones(len(points), dtype=np.int8), (points, np.concatenate(moves))), shape=(n, n))
    labels = connected_components(graph, directed=False)[1]
    # Renumber by first occurrence: the order in which scipy visits components is no promise.
    first, inverse = np.unique(labels, return_index=True, return_inverse=True)[1:]
    place = np.empty(len(first), dtype=np.int64)
    place[np.argsort(first)] = np.arange(len(first))
    return place[inverse]
