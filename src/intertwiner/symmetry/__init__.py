"""Floor 2: group actions on the inputs and outputs of a network, and on the grids between its layers."""

from intertwiner.symmetry.custom import custom
from intertwiner.symmetry.grid import InducedGrid, induced_adaptive, induced_grid
from intertwiner.symmetry.images import image, shift
from intertwiner.symmetry.onehot import identity_first, onehot
from intertwiner.symmetry.opaque import Action, OpaqueAction
from intertwiner.symmetry.parse import SPELLINGS, parse_action
from intertwiner.symmetry.spec import ActionSpec
from intertwiner.symmetry.specs import invariant, rows, same, several, tokens, vector
from intertwiner.symmetry.symmetry import BoundSymmetry, ElementActions, Symmetry
from intertwiner.symmetry.tensor_action import AxisFactor, TensorAction

__all__ = [
    "SPELLINGS",
    "Action",
    "ActionSpec",
    "AxisFactor",
    "BoundSymmetry",
    "ElementActions",
    "InducedGrid",
    "OpaqueAction",
    "Symmetry",
    "TensorAction",
    "custom",
    "identity_first",
    "image",
    "induced_adaptive",
    "induced_grid",
    "invariant",
    "onehot",
    "parse_action",
    "rows",
    "same",
    "several",
    "shift",
    "tokens",
    "vector",
]
