"""Direct products, never as a table: an element is the mixed-radix number of its components."""

from __future__ import annotations

from intertwiner.algebra.construct import product_generators
from intertwiner.algebra.families import cyclic
from intertwiner.algebra.group import Group


def direct_product(*groups: Group, name: str = "") -> Group:
    """The direct product; factors that are products themselves are flattened.

    Args:
        groups: The factors, the first one with the largest stride.
        name: The names of the factors joined by ``x`` by default.

    Example:
        >>> from intertwiner.algebra.families import symmetric
        >>> G = direct_product(symmetric(5), symmetric(5))
        >>> G.name, G.order, G.class_count
        ('S5xS5', 14400, 49)
    """
    parts = tuple(f for g in groups for f in g.factors)
    if not parts:
        return cyclic(1)
    if len(parts) == 1:
        return parts[0]
    return Group(name or "x".join(p.name for p in parts), product_generators(parts), None, parts)
