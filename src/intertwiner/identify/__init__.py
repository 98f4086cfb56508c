"""Floor 4: which parameters can be told from the function."""

from intertwiner.identify.barrier import Barrier
from intertwiner.identify.canonical import canonical_form
from intertwiner.identify.certificate import Certificate
from intertwiner.identify.criteria import Criterion, criteria
from intertwiner.identify.dimension import FunctionalDimension, functional_dimension
from intertwiner.identify.fingerprint import fingerprint
from intertwiner.identify.identify import Identifiability, identify
from intertwiner.identify.match import Match, match
from intertwiner.identify.move import move
from intertwiner.identify.reduce import even_form, reduce
from intertwiner.identify.reduction import Reduction, Removed
from intertwiner.identify.witness import difference

__all__ = [
    "Barrier",
    "canonical_form",
    "Certificate",
    "criteria",
    "Criterion",
    "difference",
    "even_form",
    "fingerprint",
    "functional_dimension",
    "FunctionalDimension",
    "Identifiability",
    "identify",
    "match",
    "Match",
    "move",
    "reduce",
    "Reduction",
    "Removed",
]
