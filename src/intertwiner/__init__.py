"""intertwiner: the group action that every hidden layer of a trained network carries."""

from intertwiner import bundled
from intertwiner.algebra import (
    Group,
    GSet,
    Representation,
    alternating,
    cyclic,
    dihedral,
    direct_product,
    from_matrices,
    from_permutations,
    from_table,
    parse_group,
    symmetric,
)
from intertwiner.audit import Audit, Effort, LatentAction, audit
from intertwiner.network import Network, register_rule, trace
from intertwiner.symmetry import (
    Symmetry,
    custom,
    image,
    invariant,
    onehot,
    rows,
    same,
    several,
    shift,
    tokens,
    vector,
)
from intertwiner.verdict import Verdict, Witness

__version__ = "0.1.0"

__all__ = [
    "Audit",
    "Effort",
    "GSet",
    "Group",
    "LatentAction",
    "Network",
    "Representation",
    "Symmetry",
    "Verdict",
    "Witness",
    "alternating",
    "audit",
    "bundled",
    "custom",
    "cyclic",
    "dihedral",
    "direct_product",
    "from_matrices",
    "from_permutations",
    "from_table",
    "image",
    "invariant",
    "onehot",
    "parse_group",
    "register_rule",
    "rows",
    "same",
    "several",
    "shift",
    "symmetric",
    "tokens",
    "trace",
    "vector",
]
