"""Neurons to isotypic coordinates and back, one small matrix per orbit type, in two spellings.

``analyse`` takes rows of neurons ``(batch, n)`` to one array per irrep, ``(batch * d / e, e M)``: the pairs (i, r) of
``division_basis`` give the row and the slow column, the M copies the fast column, so that a map that commutes with the
group is one product per irrep. Eagerly and in exported graphs a type is one batched product with its p x p matrix.

Under ``torch.compile`` neurons are pieces, one array per point of every orbit type, and the matrix is written out as
p^2 multiply-adds of them; the compiler fuses these with bias and activation into one pass over memory. A piece is
``(batch, orbits)``, or ``(orbits, batch)`` where the neurons are turned: then a gather moves whole rows and no orbit
number is cut by the width of a vector register. Pieces may go from one layer to the next: the compiler then goes from
coordinates to the coordinates of the next layer without writing the neurons down.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Self

import numpy as np
import torch
from jaxtyping import Float
from numpy import ndarray
from torch import Tensor, nn

from intertwiner.algebra import Irrep
from intertwiner.rewrite.isotypic_orbits import OrbitLayout

WRITTEN_OUT = 16
"""Largest orbit whose matrix is written out under ``torch.compile``; beyond it p^2 terms cost more than a product."""

NO_TERM = 1e-15
"""Entries of an orthogonal matrix below this are rounding of zero and are not written out."""

Pointwise = Callable[[Tensor], Tensor]


@dataclass(frozen=True)
class IrrepShape:
    """Sizes of one irrep on one side.

    Args:
        components: ``d / e``: the arrays that share one block.
        units: e, the dimension of End_G.
        copies: M, the copies of the irrep.
    """

    components: int
    units: int
    copies: int

    @property
    def width(self) -> int:
        """Columns of the block: ``e M``."""
        return self.units * self.copies


@dataclass(frozen=True)
class _Type:
    """One orbit type: its place among the grouped neurons, its matrix by rows, and where the rows go.

    ``rows[k]`` belongs to irrep ``slots[k][0]``, starts at column ``slots[k][1]`` of its flattened array, and the
    numbers of the rows of one irrep are ``spans``.
    """

    start: int
    points: int
    copies: int
    rows: tuple[tuple[float, ...], ...]
    slots: tuple[tuple[int, int], ...]
    spans: tuple[tuple[int, int], ...]


class ExactBuffers(nn.Module):
    """A module whose constants are known in float64 and are rounded anew whenever its precision changes.

    They do not stand in the state dict: that holds parameters only, and the representations rebuild the constants.
    """

    def __init__(self) -> None:
        super().__init__()
        self._exact: dict[str, ndarray] = {}

    def keep(self, name: str, value: ndarray, dtype: torch.dtype) -> None:
        """Register a constant; integers stay integers."""
        self._exact[name] = value
        self.register_buffer(name, _tensor(value, dtype), persistent=False)

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> Self:
        super()._apply(fn, recurse)
        for name, value in self._exact.items():
            old = getattr(self, name)
            if old.is_floating_point() and old.device.type != "meta":
                setattr(self, name, _tensor(value, old.dtype).to(old.device))
        return self


class IsotypicTransform(ExactBuffers):
    """The change of basis of one representation, restricted to some irreps.

    Args:
        layout: The orbits of the representation.
        irreps: The irreps to keep; vectors of others are dropped by ``analyse`` and never made by ``synthesise``.
        dtype: Precision of the coefficients.
    """

    order: Tensor
    back: Tensor
    signs: Tensor

    def __init__(self, layout: OrbitLayout, irreps: Sequence[Irrep], dtype: torch.dtype = torch.float32) -> None:
        super().__init__()
        self.dimension = layout.representation.dimension
        self.shapes = tuple(
            IrrepShape(i.dimension // i.commutant_dimension, i.commutant_dimension, layout.multiplicity(i))
            for i in irreps
        )
        self.types = _types(layout, irreps, self.shapes)
        self.written_out = all(t.points <= WRITTEN_OUT for t in self.types)
        for k, t in enumerate(self.types):
            self.keep(f"matrix{k}", np.array(t.rows).reshape(-1, t.points), dtype)
        self.gathered = not np.array_equal(layout.order, np.arange(self.dimension))
        self.signed = not np.all(layout.signs == 1)
        if self.gathered:
            self.keep("order", layout.order, dtype)
            self.keep("back", np.argsort(layout.order), dtype)
        if self.signed:
            self.keep("signs", layout.signs, dtype)

    @property
    def multiply_adds(self) -> int:
        """Products per sample: rows x points x orbits, over the types."""
        return sum(len(t.rows) * t.points * t.copies for t in self.types)

    def analyse(self, x: Float[Tensor, "batch n"]) -> list[Tensor]:
        """The isotypic coordinates, one array ``(batch * d / e, e M)`` per irrep."""
        if self.gathered:
            x = x.index_select(1, self.order)
        if self.signed:
            x = x * self.signs
        return self._apply_products(x)

    def synthesise(self, parts: Sequence[Tensor], x: Tensor, bias: Tensor | None, then: Pointwise | None) -> Tensor:
        """The neurons of isotypic coordinates, plus a bias in grouped order, through a pointwise function.

        Args:
            parts: As ``analyse`` gives them.
            x: Any tensor with the rows of the batch, dtype and device.
            bias: One number per neuron, grouped.
            then: A pointwise function of the neurons.
        """
        columns = self._neurons_products(parts, x)
        widths = [c.shape[1] for c in columns]
        if bias is not None:
            columns = [c + b for c, b in zip(columns, bias.split(widths), strict=True)]
        if self.signed:
            columns = [c * s for c, s in zip(columns, self.signs.split(widths), strict=True)]
        if then is not None:
            columns = [then(c) for c in columns]
        y = joined(columns, 1)
        return y.index_select(1, self.back) if self.gathered else y

    def pieces(self, x: Float[Tensor, "batch n"], turned: bool) -> list[Tensor]:
        """The neurons by orbit type and point."""
        axis = _axis(turned)
        # Turned once and written down: else every reader would read against the grain.
        x = x.t().contiguous() if turned else x
        if self.gathered:
            x = x.index_select(axis, self.order)
        if self.signed:
            x = x * _along(self.signs, turned)
        return list(x.split([t.copies for t in self.types for _ in range(t.points)], dim=axis))

    def rows(self, pieces: Sequence[Tensor], turned: bool) -> Float[Tensor, "batch n"]:
        """The neurons in their own order, of pieces as ``synthesise_pieces`` gives them."""
        axis = _axis(turned)
        y = joined(pieces, axis)
        y = y.index_select(axis, self.back) if self.gathered else y
        return y.t() if turned else y

    def analyse_pieces(self, pieces: Sequence[Tensor], turned: bool) -> list[list[Tensor]]:
        """The isotypic coordinates, per irrep: as ``analyse``, or turned ``d / e`` arrays ``(e M, batch)``."""
        chunks: list[dict[int, Tensor]] = [{} for _ in self.shapes]
        first = 0
        for t in self.types:
            points = pieces[first : first + t.points]
            first += t.points
            for row, (irrep, at) in zip(t.rows, t.slots, strict=True):
                chunks[irrep][at] = _combined(row, points)
        if turned:
            return [
                [joined([c[at] for at in sorted(c) if at // s.width == i], 0) for i in range(s.components)]
                for c, s in zip(chunks, self.shapes, strict=True)
            ]
        # One flat concatenation, so that one product meets all components: a nested one would be copied.
        return [
            [joined([c[at] for at in sorted(c)], 1).reshape(-1, s.width)]
            for c, s in zip(chunks, self.shapes, strict=True)
        ]

    def synthesise_pieces(
        self, parts: Sequence[Sequence[Tensor]], like: Tensor, bias: Tensor | None, then: Pointwise | None, turned: bool
    ) -> list[Tensor]:
        """As ``synthesise``, of what ``analyse_pieces`` gives; ``like`` is any piece of the same batch."""
        out: list[Tensor] = []
        if not turned:
            parts = [[p.reshape(-1, s.components * s.width)] for (p,), s in zip(parts, self.shapes, strict=True)]
        for t in self.types:
            if turned:
                places = [(irrep, *divmod(at, self.shapes[irrep].width)) for irrep, at in t.slots]
                chunks = [parts[irrep][i][at : at + t.copies] for irrep, i, at in places]
            else:
                chunks = [parts[irrep][0][:, at : at + t.copies] for irrep, at in t.slots]
            for point in range(t.points):
                coefficients = [row[point] for row in t.rows]
                if any(abs(a) > NO_TERM for a in coefficients):
                    value = _combined(coefficients, chunks)
                else:
                    size = (t.copies, like.shape[1]) if turned else (like.shape[0], t.copies)
                    value = like.new_zeros(size)
                part = slice(t.start + point * t.copies, t.start + (point + 1) * t.copies)
                if bias is not None:
                    value = value + _along(bias[part], turned)
                if self.signed:
                    value = value * _along(self.signs[part], turned)
                # Before any concatenation: the compiler fuses into its pieces, not behind it.
                out.append(value if then is None else then(value))
        return out

    def _compiling(self) -> bool:
        return self.written_out and torch.compiler.is_compiling() and not torch.compiler.is_exporting()

    def _apply_products(self, x: Tensor) -> list[Tensor]:
        pieces: list[list[Tensor]] = [[] for _ in self.shapes]
        for k, t in enumerate(self.types):
            orbits = x[:, t.start : t.start + t.points * t.copies].reshape(-1, t.points, t.copies)
            moved = torch.matmul(getattr(self, f"matrix{k}"), orbits)
            for piece, shape, (first, last) in zip(pieces, self.shapes, t.spans, strict=True):
                if last > first:
                    width = (last - first) // (shape.components * shape.units) * t.copies
                    piece.append(moved[:, first:last].reshape(-1, shape.units, width))
        return [joined(p, 2).reshape(-1, s.width) for p, s in zip(pieces, self.shapes, strict=True)]

    def _neurons_products(self, parts: Sequence[Tensor], x: Tensor) -> list[Tensor]:
        out = []
        views = [p.reshape(-1, s.components, s.units, s.copies) for p, s in zip(parts, self.shapes, strict=True)]
        used = [0] * len(self.shapes)
        for k, t in enumerate(self.types):
            rows = []
            for n, (view, shape, (first, last)) in enumerate(zip(views, self.shapes, t.spans, strict=True)):
                width = (last - first) // (shape.components * shape.units) * t.copies
                if width:
                    rows.append(view[..., used[n] : used[n] + width].reshape(-1, last - first, t.copies))
                    used[n] += width
            if rows:
                matrix = getattr(self, f"matrix{k}")
                out.append(torch.matmul(matrix.t(), joined(rows, 1)).reshape(-1, t.points * t.copies))
            else:
                out.append(x.new_zeros(x.shape[0], t.points * t.copies))
        return out


def _types(layout: OrbitLayout, irreps: Sequence[Irrep], shapes: Sequence[IrrepShape]) -> tuple[_Type, ...]:
    start, used, out = 0, [0] * len(shapes), []
    for block in layout.blocks:
        rows: list[tuple[float, ...]] = []
        slots: list[tuple[int, int]] = []
        spans: list[tuple[int, int]] = []
        for n, (irrep, shape) in enumerate(zip(irreps, shapes, strict=True)):
            first, found = len(rows), block.isometries.get(irrep)
            if found is not None:
                # Rows in the order (i, r, k); the column of row (i, r, k) is (i e + r) M + (copies before) + k c.
                for pair in range(irrep.dimension):
                    for k, u in enumerate(found):
                        rows.append(tuple(float(v) for v in u[:, pair]))
                        slots.append((n, pair * shape.copies + used[n] + k * block.copies))
                used[n] += len(found) * block.copies
            spans.append((first, len(rows)))
        out.append(_Type(start, block.points, block.copies, tuple(rows), tuple(slots), tuple(spans)))
        start += block.points * block.copies
    return tuple(out)


def _combined(coefficients: Sequence[float], columns: Sequence[Tensor]) -> Tensor:
    """``sum a c``; an isometry has a nonzero entry in every row."""
    terms = [(a, c) for a, c in zip(coefficients, columns, strict=True) if abs(a) > NO_TERM]
    out = terms[0][1] * terms[0][0]
    for a, c in terms[1:]:
        out = out + c * a
    return out


def _axis(turned: bool) -> int:
    return 0 if turned else 1


def _along(values: Tensor, turned: bool) -> Tensor:
    """One number per neuron, to be broadcast over the batch."""
    return values[:, None] if turned else values


def joined(pieces: Sequence[Tensor], axis: int) -> Tensor:
    """The concatenation; one piece alone is not copied."""
    return pieces[0] if len(pieces) == 1 else torch.cat(list(pieces), dim=axis)


def _tensor(value: ndarray, dtype: torch.dtype) -> Tensor:
    # A copy: nothing here may share memory with a cached array.
    return torch.tensor(value, dtype=dtype if value.dtype.kind == "f" else torch.int64)
