"""A hypothesis strategy of planted networks. Needs hypothesis, which the package itself does not."""

from __future__ import annotations

from collections.abc import Sequence
from importlib import import_module

from intertwiner.errors import WrongUse
from intertwiner.testing.cells import all_cells
from intertwiner.testing.planted import Cell, planted_network


def planted_networks(cells: Sequence[Cell] | None = None):
    """Planted networks of any cell, or of some.

    Args:
        cells: What to plant; every cell by default.

    Raises:
        WrongUse: hypothesis is not installed.

    Example:
        >>> planted_networks([Cell("C2", "tanh", "mlp", 1, "float64")]).map(lambda p: p.cell.group)
        builds(...).map(...)
    """
    try:
        st = import_module("hypothesis.strategies")
    except ImportError as error:
        raise WrongUse("planted_networks needs hypothesis: pip install hypothesis") from error
    return st.builds(planted_network, st.sampled_from(tuple(cells or all_cells())), st.integers(0, 2**16))
