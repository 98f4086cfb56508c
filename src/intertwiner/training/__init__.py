"""What training conserves: laws of gradient flow, known by structure, and how many there are in all."""

from intertwiner.training.brackets import brackets
from intertwiner.training.chain import Chain
from intertwiner.training.counts import ConservationCount, count_laws
from intertwiner.training.laws import Law, independent_laws, known_laws, law_gradients, rates
from intertwiner.training.thin import thin_gradients, thin_stretch

__all__ = [
    "Chain",
    "ConservationCount",
    "Law",
    "brackets",
    "count_laws",
    "independent_laws",
    "known_laws",
    "law_gradients",
    "rates",
    "thin_gradients",
    "thin_stretch",
]
