"""What training conserves: laws of gradient flow, known by structure, and how many there are in all."""

from intertwiner.training.attention_counts import AttentionLayer, attention_laws, count_attention_laws
from intertwiner.training.brackets import brackets
from intertwiner.training.chain import Chain
from intertwiner.training.chain_counts import certain_laws, count_laws
from intertwiner.training.circuit import Circuit
from intertwiner.training.conservation import conservation_laws
from intertwiner.training.conservation_record import ConservationLaws
from intertwiner.training.counts import Certain, ConservationCount, count_conserved
from intertwiner.training.data_symmetry import DataSymmetryLaws, data_symmetry_laws
from intertwiner.training.families import Family, Piece
from intertwiner.training.flow import Flow, gradient_flow
from intertwiner.training.laws import Law, independent_laws, known_laws, law_gradients, rates
from intertwiner.training.loss_span import LossSpan, loss_span
from intertwiner.training.lowering import Lowered, lower
from intertwiner.training.monitor import ConservationMonitor
from intertwiner.training.network_counts import count_laws_of
from intertwiner.training.one_layer import IrrepLaws, one_layer_laws
from intertwiner.training.polynomial_chain import PolynomialChain, count_polynomial_laws
from intertwiner.training.polynomial_law import PolynomialLaw
from intertwiner.training.polynomial_laws import PolynomialLaws, polynomial_laws
from intertwiner.training.polynomial_map import PolynomialMap
from intertwiner.training.rank_at import LocalRank, rank_at
from intertwiner.training.ratio_law import RatioLaw, search_ratios
from intertwiner.training.reparametrisation import Drawn, Reparametrisation
from intertwiner.training.separated import Separated, chain_map, linear_on_features, separated
from intertwiner.training.thin import thin_gradients, thin_stretch

__all__ = [
    "AttentionLayer",
    "Certain",
    "Chain",
    "Circuit",
    "ConservationCount",
    "ConservationLaws",
    "ConservationMonitor",
    "DataSymmetryLaws",
    "Drawn",
    "Family",
    "Flow",
    "IrrepLaws",
    "Law",
    "LocalRank",
    "LossSpan",
    "Lowered",
    "Piece",
    "PolynomialChain",
    "PolynomialLaw",
    "PolynomialLaws",
    "PolynomialMap",
    "RatioLaw",
    "Reparametrisation",
    "Separated",
    "attention_laws",
    "brackets",
    "certain_laws",
    "chain_map",
    "conservation_laws",
    "count_attention_laws",
    "count_conserved",
    "count_laws",
    "count_laws_of",
    "count_polynomial_laws",
    "data_symmetry_laws",
    "gradient_flow",
    "independent_laws",
    "known_laws",
    "law_gradients",
    "linear_on_features",
    "loss_span",
    "lower",
    "one_layer_laws",
    "polynomial_laws",
    "rank_at",
    "rates",
    "search_ratios",
    "separated",
    "thin_gradients",
    "thin_stretch",
]
