"""Gauge groups of latent spaces: elements, what nonlinearities make of them, matching of rows, best fits.

Convention: an element is ``z -> M z + t``, ``g @ h`` applies h first, permutations act on the left.
"""

from intertwiner.gauge.activations import POINTWISE, pointwise
from intertwiner.gauge.best import Fit, PairMoments, SecondMoments, best_between, best_in, explained, fit_linear
from intertwiner.gauge.element import GaugeElement, random_element
from intertwiner.gauge.group import GaugeGroup
from intertwiner.gauge.normal import NormalForm, normal_form
from intertwiner.gauge.pointwise import Pointwise
from intertwiner.gauge.rows import RowClasses, RowMatch, match_rows, row_classes

__all__ = [
    "GaugeGroup",
    "GaugeElement",
    "random_element",
    "Pointwise",
    "POINTWISE",
    "pointwise",
    "NormalForm",
    "normal_form",
    "match_rows",
    "RowMatch",
    "row_classes",
    "RowClasses",
    "best_in",
    "best_between",
    "fit_linear",
    "explained",
    "Fit",
    "PairMoments",
    "SecondMoments",
]
