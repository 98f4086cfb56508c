"""The action of a group seen by a subgroup: the same maps, for fewer elements.

A subgroup becomes a group of its own, its elements in the order of the larger group and with their names, so that the
action of an element is the composition of the generators of the larger group along a word: exact, whatever the spec.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from intertwiner.algebra import Group, Subgroup, subgroup_classes, subgroup_generated
from intertwiner.algebra.group import MAX_TABLE
from intertwiner.errors import GroupError, GroupTooLarge, WrongUse
from intertwiner.symmetry.elements import ElementActions
from intertwiner.symmetry.opaque import Action
from intertwiner.symmetry.spec import ActionSpec
from intertwiner.symmetry.specs import Invariant, Same, Several


@dataclass(frozen=True, eq=False, repr=False)
class Restricted(ActionSpec):
    """What a subgroup does where a larger group acts. Made by ``Symmetry.restricted``.

    Args:
        whole: How the larger group acts.
        parent: That group.
        subgroup: Elements of it that generate the subgroup.
    """

    whole: ActionSpec
    parent: Group
    subgroup: tuple[int, ...]

    def on(self, group: Group, shape: tuple[int, ...]) -> tuple[Action, ...]:
        if len(group.generators) != len(self.subgroup):
            raise WrongUse(f"{group.name} is not the subgroup of {self.parent.name} that this action was restricted to")
        actions = ElementActions(self.parent, self.whole.on(self.parent, shape), shape)
        return tuple(actions[g] for g in self.subgroup)

    @property
    def text(self) -> str:
        names = ";".join(self.parent.element_name(g) for g in self.subgroup or (0,))
        return f"under:{self.parent.name}:{names}:{self.whole}"


def subgroup_of(group: Group, wanted: Subgroup | str | Sequence[int | str]) -> Subgroup:
    """A subgroup from generators, ``r2;s`` or a list, or from the name of a class of subgroups, ``C2v``.

    Generators are looked for first; a name stands for the first subgroup of its class.

    Raises:
        GroupError: No element and no subgroup of this name; the message lists the subgroups. A subgroup of another
            group.

    Example:
        >>> from intertwiner.algebra import dihedral
        >>> [subgroup_of(dihedral(4), w).name for w in ("r", "r2;s", "Cs'", ["rs"])]
        ['C4', 'C2v', "Cs'", "Cs'"]
    """
    if isinstance(wanted, Subgroup):
        if wanted.group != group:
            raise GroupError(f"a subgroup of {wanted.group.name} was given for {group.name}. Nothing was restricted.")
        return wanted
    parts = [p.strip() for p in wanted.split(";") if p.strip()] if isinstance(wanted, str) else list(wanted)
    if not parts:
        raise GroupError("no generators were given: the subgroup of the identity alone is 'e'. Nothing was restricted.")
    try:
        return subgroup_generated(group, [group.element(p) if isinstance(p, str) else _inside(group, p) for p in parts])
    except GroupError as error:
        if not isinstance(wanted, str) or len(parts) > 1:
            raise
        try:
            classes = subgroup_classes(group)
        except GroupTooLarge:
            raise error from None
        found = next((h for h in classes if h.name == parts[0]), None)
        if found is None:
            names = ", ".join(h.name for h in classes[:20])
            raise GroupError(f"{error}\n  Its subgroups are {names}. Nothing was restricted.") from None
        return found


def _inside(group: Group, g: int) -> int:
    if not 0 <= int(g) < group.order:
        raise GroupError(f"{group.name} has elements 0..{group.order - 1}, not {g}. Nothing was restricted.")
    return int(g)


def as_group(subgroup: Subgroup) -> Group:
    """The subgroup as a group of its own, its elements in order and with their names.

    Raises:
        GroupTooLarge: More than 5,000 elements.

    Cost:
        One table of ``order x order``.

    Example:
        >>> from intertwiner.algebra import dihedral
        >>> H = as_group(subgroup_of(dihedral(4), "r2;s"))
        >>> H.name, H.element_names, H.generator_names
        ('C2v', ('e', 'r2', 's', 'r2s'), ('r2', 's'))
    """
    group, elements = subgroup.group, subgroup.elements
    if subgroup.order == group.order:
        return group
    if subgroup.order > MAX_TABLE:
        raise GroupTooLarge(
            f"{subgroup.name} in {group.name} has {subgroup.order} elements; a Cayley table is built up to "
            f"{MAX_TABLE}. Nothing was restricted."
        )
    place = np.full(group.order, -1, dtype=np.int64)
    place[elements] = np.arange(subgroup.order)
    table = place[group.multiply(elements[:, None], elements[None, :])].astype(np.int16)
    permutations, matrices = group.permutations, group.matrices
    return Group(
        subgroup.name,
        tuple(int(place[g]) for g in subgroup.generators),
        table,
        labels=tuple(group.element_name(int(g)) for g in elements),
        natural_permutations=None if permutations is None else permutations[elements],
        natural_matrices=None if matrices is None else matrices[elements],
    )


def restrict(spec: ActionSpec, subgroup: Subgroup) -> ActionSpec:
    """What the subgroup does to a tensor that the group acts on as the spec says."""
    if subgroup.order == subgroup.group.order or isinstance(spec, (Invariant, Same)):
        return spec
    if isinstance(spec, Several):
        return Several(spec.names, tuple(restrict(s, subgroup) for s in spec.specs))
    return Restricted(spec, subgroup.group, subgroup.generators)


def restriction(*specs: ActionSpec) -> tuple[Group, tuple[int, ...]] | None:
    """The larger group and the generators in it, where one of some specs is restricted."""
    for spec in specs:
        if isinstance(spec, Restricted):
            return spec.parent, spec.subgroup
        found = restriction(*spec.specs) if isinstance(spec, Several) else None
        if found is not None:
            return found
    return None


def unrestricted(spec: ActionSpec) -> ActionSpec:
    """What the larger group does."""
    if isinstance(spec, Several):
        return Several(spec.names, tuple(unrestricted(s) for s in spec.specs))
    return spec.whole if isinstance(spec, Restricted) else spec
