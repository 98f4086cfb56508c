"""A layer on its way through a nonlinearity: neurons as multiples of coordinates, with bounds on what is left."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import scipy.sparse as sp
from numpy import ndarray

from intertwiner.gauge import Pointwise
from intertwiner.network import Embedding, Node
from intertwiner.numerics.monomial import Monomial
from intertwiner.numerics.tolerance import ROUNDING
from intertwiner.transport.picture import Block, Picture, Source, fresh, with_constant
from intertwiner.transport.side import Side, spectral
from intertwiner.transport.solve import Rows, monomial_of

SAME = Monomial.identity


@dataclass(frozen=True, eq=False)
class Parents:
    """For every live neuron, the coordinate it is a multiple of.

    Args:
        rows: Row of the neuron that the coordinate stands for.
        constant: Its constant.
        column: Number of the coordinate.
        width: How many coordinates there are.
    """

    rows: ndarray
    constant: ndarray
    column: ndarray
    width: int


@dataclass(frozen=True, eq=False)
class Layer:
    """A pointwise layer on its way through."""

    picture: Picture
    rows: Rows
    pointwise: Pointwise
    name: str

    def block(self, parents: Parents, ratio: ndarray) -> tuple[Block, tuple[ndarray, ndarray]]:
        """The rows over the coordinates; and the shifts before and the constants after the operator."""
        live = self.rows.live
        lifted = self.pointwise.lift(Monomial.diagonal(ratio), self.rows.constant[live], parents.constant)
        after = self.pointwise.phi(lifted)
        shape = (len(self.rows.all), parents.width)
        block = sp.csr_array((monomial_of(after).factor, (live, parents.column)), shape=shape)
        return block, (lifted.constant, after.constant)

    def deviation(self, parents: Parents, ratio: ndarray, shift: tuple[ndarray, ndarray]) -> ndarray:
        """``z / ratio - z_parent`` over the coordinates: what is not as it should be."""
        gap = self.rows.all[self.rows.live] / ratio[:, None] - parents.rows
        if np.any(shift[0]):
            gap[:, -1] -= shift[0] / ratio
        return gap

    def source(self, parents: Parents, gap: ndarray, size: ndarray) -> Source:
        """The coordinates after the operator: bounded over the box, and how far the neurons may be from them."""
        widest = np.zeros(parents.width)
        np.maximum.at(widest, parents.column, gap)
        with np.errstate(invalid="ignore", over="ignore"):
            error = np.where(widest > 0, self.pointwise.lipschitz(size + widest) * widest, 0.0)
        return Source(self.name, (SAME(parents.width),), self.pointwise.magnitude(size), error)

    def together(
        self, source: Source, side: Side, gaps: tuple[ndarray, ndarray], parents: Parents, size: ndarray
    ) -> Source:
        """The source with its bounds as a whole: a layer of n neurons spreads errors by its norm, not by n."""
        chosen = np.unique(parents.column, return_index=True)[1]
        rows = parents.rows[chosen]
        apart, norm = float(np.linalg.norm(gaps[0])), spectral(rows)
        # Several neurons may share a coordinate: then the rows of the second network are more than those of the first.
        own = norm + apart if len(rows) == len(gaps[1]) else spectral(gaps[1])
        slack = apart * side.magnitude.all + own * side.second_error.all
        slack += norm * max(side.first_error.all, side.second_error.all if len(rows) < len(gaps[1]) else 0.0)
        steepest = float(self.pointwise.lipschitz(size + slack).max(initial=0.0))
        zero = abs(float(self.pointwise.apply(np.zeros(()))))
        length = steepest * norm * side.magnitude.all + zero * parents.width**0.5
        return replace(source, length=length, slack=steepest * slack)

    def after(self, block: Block, shift: tuple[ndarray, ndarray], source: Source, exact: bool) -> Picture:
        constant = np.zeros(len(self.rows.all))
        constant[self.rows.live] = shift[1]
        fixed = np.setdiff1d(np.arange(len(constant)), self.rows.live)
        if len(fixed):
            constant[fixed] = self.pointwise.apply(self.rows.constant[fixed])
        out = fresh(self.picture, source, block=block, constant=constant)
        return replace(out, rounded=self.picture.rounded or not exact or len(fixed) > 0)


def snapped(rows: ndarray, parents: ndarray, ratio: ndarray) -> tuple[ndarray, bool]:
    """Ratios that are powers of two up to rounding made so; and whether the rows are these multiples bit for bit."""
    exact = powers_of_two(ratio)
    near = np.all(np.frexp(np.abs(exact))[0] == 0.5)
    return exact, bool(near) and bool(np.array_equal(rows, parents * exact[:, None]))


def powers_of_two(ratio: ndarray) -> ndarray:
    """Ratios that rounding alone keeps from a power of two made that power: products with it are exact.

    >>> powers_of_two(np.array([4.000000000000001, -0.5, 3.0]))
    array([ 4. , -0.5,  3. ])
    """
    power = np.copysign(np.exp2(np.rint(np.log2(np.abs(ratio)))), ratio)
    return np.where(np.abs(ratio / power - 1) <= ROUNDING, power, ratio)


def embedded(picture: Picture, op: Embedding, node: Node) -> Picture:
    """Looked-up vectors over the indicators of the tokens, which two networks share whatever their tables hold.

    The indicators add up to one, so the mean of the table is moved into the constant: the picture is unique then.
    """
    weight = op.weight.array
    tokens = len(weight)
    name = f"{'+'.join(picture.names)}={tokens}"
    source = Source(name, (SAME(tokens),) * picture.generators, np.ones(tokens), np.zeros(tokens))
    shape = tuple(node.sample_shape)
    grids = tuple(type(grid)(shape, grid.factors) for grid in picture.grids)
    mean = weight.mean(0)
    out = Picture(shape, (len(shape) - 1,), {name: (weight - mean).T}, {name: source}, grids, bool(np.any(mean)))
    return with_constant(out, mean)
