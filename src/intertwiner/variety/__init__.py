"""Polynomial networks as varieties: the dimension of their functions, what proves it, and the generic fibre."""

from intertwiner.variety.activation import Activation, monomial, polynomial
from intertwiner.variety.architecture import Architecture
from intertwiner.variety.attention import Attention
from intertwiner.variety.bounds import naive_count, upper_bound
from intertwiner.variety.convolution import Convolution
from intertwiner.variety.degeneracy import Degeneracy, degeneracy
from intertwiner.variety.equations import Equation, Equations, equations
from intertwiner.variety.family import Bound, Family, Finite, Part
from intertwiner.variety.fibre import Fibre
from intertwiner.variety.jacobian import Rationals, jacobian, residues
from intertwiner.variety.neurovariety import Neurovariety, neurovariety
from intertwiner.variety.rank import Draw, generic_rank, rank_at
from intertwiner.variety.search import FillingSearch, Found, all_widths, filling_architectures, search
from intertwiner.variety.smoothness import Smoothness, smoothness
from intertwiner.variety.theorems import Criterion, criteria

__all__ = [
    "Activation",
    "Architecture",
    "Attention",
    "Bound",
    "Convolution",
    "Criterion",
    "Degeneracy",
    "Draw",
    "Equation",
    "Equations",
    "Family",
    "Fibre",
    "FillingSearch",
    "Finite",
    "Found",
    "Neurovariety",
    "Part",
    "Rationals",
    "Smoothness",
    "all_widths",
    "criteria",
    "degeneracy",
    "equations",
    "filling_architectures",
    "generic_rank",
    "jacobian",
    "monomial",
    "naive_count",
    "neurovariety",
    "polynomial",
    "rank_at",
    "residues",
    "search",
    "smoothness",
    "upper_bound",
]
