"""Floor 4: which parameters can be told from the function."""

from intertwiner.identify.criteria import Criterion, criteria
from intertwiner.identify.dimension.functional import FunctionalDimension, functional_dimension
from intertwiner.identify.identify import Identifiability, identify
from intertwiner.identify.matching.barrier import Barrier
from intertwiner.identify.matching.canonical import canonical_form
from intertwiner.identify.matching.fingerprint import fingerprint
from intertwiner.identify.matching.match import Match, match
from intertwiner.identify.matching.move import move
from intertwiner.identify.matching.witness import difference
from intertwiner.identify.reducing.certificate import Certificate
from intertwiner.identify.reducing.reduce import even_form, reduce
from intertwiner.identify.reducing.reduction import Reduction, Removed

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
