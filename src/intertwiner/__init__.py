"""intertwiner: the group action that every hidden layer of a trained network carries.

The public verbs and nothing else. Each is imported when it is first used, so that ``intertwiner --help`` does not
wait for torch.
"""

import sys
from importlib import import_module
from types import ModuleType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
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
    from intertwiner.audit import Audit, Comparison, Effort, LatentAction, audit, compare
    from intertwiner.identify import (
        FunctionalDimension,
        Identifiability,
        Match,
        Reduction,
        canonical_form,
        criteria,
        even_form,
        fingerprint,
        functional_dimension,
        identify,
        match,
        move,
        reduce,
    )
    from intertwiner.network import Network, register_rule, trace
    from intertwiner.rewrite import Rewrite, load, rewrite, tradeoff
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
    from intertwiner.training import ConservationLaws, ConservationMonitor, conservation_laws
    from intertwiner.variety import (
        Neurovariety,
        degeneracy,
        filling_architectures,
        monomial,
        neurovariety,
        polynomial,
        smoothness,
    )
    from intertwiner.verdict import Verdict, Witness

__version__ = "0.1.0"

_ROOMS = {
    "algebra": (
        "Group", "GSet", "Representation", "alternating", "cyclic", "dihedral", "direct_product", "from_matrices",
        "from_permutations", "from_table", "parse_group", "symmetric",
    ),
    "audit": ("Audit", "Comparison", "Effort", "LatentAction", "audit", "compare"),
    "identify": (
        "FunctionalDimension", "Identifiability", "Match", "Reduction", "canonical_form", "criteria", "even_form",
        "fingerprint", "functional_dimension", "identify", "match", "move", "reduce",
    ),
    "network": ("Network", "register_rule", "trace"),
    "rewrite": ("Rewrite", "load", "rewrite", "tradeoff"),
    "symmetry": (
        "Symmetry", "custom", "image", "invariant", "onehot", "rows", "same", "several", "shift", "tokens", "vector",
    ),
    "training": ("ConservationLaws", "ConservationMonitor", "conservation_laws"),
    "variety": (
        "Neurovariety", "degeneracy", "filling_architectures", "monomial", "neurovariety", "polynomial", "smoothness",
    ),
    "verdict": ("Verdict", "Witness"),
}  # fmt: skip
_HOME = {name: room for room, names in _ROOMS.items() for name in names}

__all__ = [*_HOME, "bundled"]  # pyright: ignore[reportUnsupportedDunderAll]


class _Package(ModuleType):
    """The package, in which a verb hides the room of the same name: ``iw.audit`` is the function."""

    def __setattr__(self, name: str, value: Any) -> None:
        if not (name in _HOME and isinstance(value, ModuleType)):  # python binds every imported room here
            super().__setattr__(name, value)


def __getattr__(name: str) -> Any:
    if name == "bundled":
        return import_module("intertwiner.bundled")
    if name not in _HOME:
        raise AttributeError(f"module 'intertwiner' has no attribute {name!r}")
    value = getattr(import_module(f"intertwiner.{_HOME[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})


sys.modules[__name__].__class__ = _Package
