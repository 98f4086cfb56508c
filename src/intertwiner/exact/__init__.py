"""The graph evaluated exactly: pieces certified in float64, values and Jacobian modulo a prime."""

from intertwiner.exact import rules_linear, rules_nonlinear, rules_shape
from intertwiner.exact.columns import Columns, trainable_names
from intertwiner.exact.evaluate import Certified, Evaluation, certify, check_exact, evaluate
from intertwiner.exact.floats import float_jacobian
from intertwiner.exact.polynomial import PiecewisePolynomial, piecewise
from intertwiner.exact.table import BackwardRun, Rule, register, rule_for
from intertwiner.exact.tangents import directional_derivative
