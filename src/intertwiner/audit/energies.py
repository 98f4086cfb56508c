r"""How the energy of every neuron is shared among the real irreps of the group.

The central idempotent of a real irrep with character chi and dimension d is ``d / (<chi, chi> |G|) sum_g chi(g) g``,
so the energy of neuron i in it is

    ``d / (<chi, chi> |G|)  sum_g chi(g) <g . w_i, w_i>``:

one product of the table of self inner products with the table of characters, from weights or from moments alike, and
for products of groups factor by factor. How an irrep is called may depend on how the group was given; for S_n, n != 6,
it need not: the transpositions are the one class of n(n-1)/2 involutions outside the kernel of the sign, and dimension
and value on a transposition single out a partition for n <= 5. So `standard` (n - 3 on a transposition) is told from
`standard x sign` (3 - n) by the table alone, whatever its elements are called; S_6 has an outer automorphism that
exchanges transpositions with triple transpositions, and there the names cannot be had.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import comb, factorial
from typing import Any

import numpy as np
from jaxtyping import Float
from numpy import ndarray

from intertwiner.algebra import Group, irreps
from intertwiner.algebra.irrep_names import partition_name
from intertwiner.algebra.partitions import Partition, partitions, symmetric_character
from intertwiner.audit.images import NeuronImages


@dataclass(frozen=True, eq=False)
class IrrepEnergies:
    """Energy of the neurons of one layer by irrep, over the coordinates that one group moves.

    Args:
        names: Names of the real irreps.
        dimensions: Their dimensions.
        trivial: The place of the trivial irrep among them.
        energy: Squared norm of each neuron in each irrep.
    """

    names: tuple[str, ...]
    dimensions: tuple[int, ...]
    trivial: int
    energy: Float[ndarray, "n irreps"]

    def shares(self, *, invariant: bool = True) -> dict[str, float]:
        """Share of the layer's energy by irrep.

        Args:
            invariant: False leaves the trivial irrep out: the shift of a one-hot block is no part of the function.
        """
        energy = self.energy.sum(0)
        if not invariant:
            energy[self.trivial] = 0.0
        total = energy.sum()
        kept = [k for k in range(len(energy)) if invariant or k != self.trivial]
        return {self.names[k]: float(energy[k] / total) if total > 0 else 0.0 for k in kept}

    def to_json(self) -> list[dict[str, Any]]:
        shares = self.shares().values()
        return [
            {"name": name, "dimension": d, "share": share}
            for name, d, share in zip(self.names, self.dimensions, shares, strict=True)
        ]


def irrep_energies(images: NeuronImages, part: int = 0, *, names: tuple[str, ...] | None = None) -> IrrepEnergies:
    """Energy of every neuron in every real irrep, over one block of coordinates.

    Args:
        images: The neurons; scaled to norm one if the gauge allows scales, so pass unscaled ones for energies of
            the weights themselves.
        part: Which block.
        names: Names of the irreps, in the order of ``irreps(group)``; the group's own by default.

    Example:
        A neuron that reads one point of three spreads over the invariant part (1/3) and the plane (2/3):

        >>> from intertwiner.algebra import symmetric
        >>> from intertwiner.audit.image_parts import WeightPart
        >>> from intertwiner.audit.images import first_layer
        >>> S3 = symmetric(3)
        >>> images = first_layer(S3, [WeightPart.by_permutations(S3, np.eye(3)[:1], S3.permutations)])
        >>> {name: round(share, 3) for name, share in irrep_energies(images).shares().items()}
        {'trivial': 0.333, 'sign': 0.0, 'standard': 0.667}
    """
    group = images.parts[part].group
    kinds = irreps(group)
    characters = np.array([kind.character for kind in kinds])
    dimensions = tuple(round(float(row[0])) for row in characters)
    scale = np.array(dimensions) / (characters**2).sum(1)
    energy = np.maximum(images.self_parts[part] @ (scale[:, None] * characters).T, 0.0)
    trivial = int(np.argmax((characters == 1).all(1) | (np.abs(characters - 1).max(1) < 1e-6)))
    return IrrepEnergies(names or tuple(kind.name for kind in kinds), dimensions, trivial, energy)


def symmetric_names(group: Group) -> tuple[str, ...] | None:
    """Names of the irreps of a group that is S_n, in the order of ``irreps(group)``, from its table alone.

    Returns:
        "trivial", "sign", "standard", "standard x sign" and partitions; None where the group is no S_n, or where a
        dimension and a value on transpositions do not single out a partition (n = 6, and n = 7 where two agree).

    Example:
        >>> from intertwiner.algebra import from_table, symmetric
        >>> sorted(symmetric_names(from_table(symmetric(4).table)))
        ['(2,2)', 'sign', 'standard', 'standard x sign', 'trivial']
    """
    n = next((n for n in range(2, 8) if factorial(n) == group.order), 0)
    swap = _transposition(group, n) if n and n != 6 else None
    if swap is None:
        return None
    table: dict[tuple[int, int], list[Partition]] = {}
    for shape in partitions(n):
        values = symmetric_character(shape, (1,) * n), symmetric_character(shape, (2, *(1,) * (n - 2)))
        table.setdefault(values, []).append(shape)
    keys = [(round(float(k.character[0])), round(float(k.character[swap]))) for k in irreps(group)]
    if any(len(table.get(key, ())) != 1 for key in keys) or len(set(keys)) != len(keys):
        return None
    return tuple(partition_name(table[key][0], n) for key in keys)


def _transposition(group: Group, n: int) -> int | None:
    """An element of the class of transpositions: n(n-1)/2 involutions, outside the even half where n > 2."""
    involutions = np.flatnonzero(group.element_orders == 2)
    sizes = group.class_sizes[group.class_of[involutions]]
    found = involutions[sizes == comb(n, 2)]
    if n == 2 or not len(found):
        return int(found[0]) if len(found) else None
    signs = [k.character for k in irreps(group) if round(float(k.character[0])) == 1]
    odd = [int(g) for g in found if any(sign[g] < 0 for sign in signs)]
    classes = {int(group.class_of[g]) for g in odd}
    return odd[0] if len(classes) == 1 else None
