"""Finite groups, their subgroups, G-sets, representations, characters, irreps and intertwiners. numpy only.

``g @ h`` means h first; permutations act on the left (point j goes to p[j]); arrays are row-major; cosets are
left cosets. Products of groups are used through their factors and never build a table.
"""

from intertwiner.algebra.actions import require_action, trace_points
from intertwiner.algebra.adapted import HomByIsotypic, adapted_basis, commutant_basis, hom_by_isotypic, orthogonal_form
from intertwiner.algebra.averaging import Averaged, average_to_representation
from intertwiner.algebra.characters import complex_characters, frobenius_schur
from intertwiner.algebra.construct import from_matrices, from_permutations, from_table, group_from_json
from intertwiner.algebra.families import alternating, cyclic, dicyclic, dihedral, frobenius, quaternion, symmetric
from intertwiner.algebra.group import Group
from intertwiner.algebra.gset import GSet, Orbit, point_stabilisers
from intertwiner.algebra.hom import Hom, HomByOrbits, hom, hom_by_orbits
from intertwiner.algebra.irreps import Irrep, irrep, irreps
from intertwiner.algebra.isotypic import isotypic_energy, isotypic_projections
from intertwiner.algebra.lattice import subgroup_classes
from intertwiner.algebra.names import sign_kernels
from intertwiner.algebra.parse import klein, parse_group
from intertwiner.algebra.products import direct_product
from intertwiner.algebra.representation import Isotypic, Representation, parse_multiplicities
from intertwiner.algebra.split import average_between, average_over_group
from intertwiner.algebra.subgroups import (
    Subgroup,
    intersection,
    product_subgroup,
    subgroup,
    subgroup_generated,
    trivial_subgroup,
    whole_group,
)
from intertwiner.algebra.words import orbit_labels

__all__ = [
    "Averaged",
    "GSet",
    "Group",
    "Hom",
    "HomByIsotypic",
    "HomByOrbits",
    "Irrep",
    "Isotypic",
    "Orbit",
    "Representation",
    "Subgroup",
    "adapted_basis",
    "alternating",
    "average_between",
    "average_over_group",
    "average_to_representation",
    "commutant_basis",
    "complex_characters",
    "cyclic",
    "dicyclic",
    "dihedral",
    "direct_product",
    "frobenius",
    "frobenius_schur",
    "from_matrices",
    "from_permutations",
    "from_table",
    "group_from_json",
    "hom",
    "hom_by_isotypic",
    "hom_by_orbits",
    "intersection",
    "irrep",
    "irreps",
    "isotypic_energy",
    "isotypic_projections",
    "klein",
    "orbit_labels",
    "orthogonal_form",
    "parse_group",
    "parse_multiplicities",
    "point_stabilisers",
    "product_subgroup",
    "quaternion",
    "require_action",
    "sign_kernels",
    "subgroup",
    "subgroup_classes",
    "subgroup_generated",
    "symmetric",
    "trace_points",
    "trivial_subgroup",
    "whole_group",
]
