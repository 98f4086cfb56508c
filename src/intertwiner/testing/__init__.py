"""Floor 7: assertions for test suites, networks with a known answer, and the selfcheck. Public."""

from typing import TYPE_CHECKING, Any

from intertwiner.testing.assertions import Defect, assert_equivariant, assert_same_function, replay
from intertwiner.testing.identify_check import IdentifyCheckReport, selfcheck_identify
from intertwiner.testing.laws_trial import LawsReport, laws_selfcheck
from intertwiner.testing.planted import Cell, Planted, planted_network
from intertwiner.testing.selfcheck import SelfcheckReport, selfcheck

if TYPE_CHECKING:
    from intertwiner.testing.strategies import planted_networks

__all__ = [
    "assert_equivariant",
    "assert_same_function",
    "replay",
    "Defect",
    "planted_network",
    "Planted",
    "Cell",
    "planted_networks",
    "selfcheck",
    "SelfcheckReport",
    "selfcheck_identify",
    "IdentifyCheckReport",
    "laws_selfcheck",
    "LawsReport",
]


def __getattr__(name: str) -> Any:
    """``planted_networks`` needs hypothesis, which users of the rest do not."""
    if name == "planted_networks":
        from intertwiner.testing.strategies import planted_networks

        return planted_networks
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
