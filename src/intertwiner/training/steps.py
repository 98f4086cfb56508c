"""The five steps that a circuit is made of, each with the way back for cotangents.

All are linear or bilinear, so the way back is made of the same operations, and jets run through both. A step gets the
jets of what it reads; ``back`` gets them again with the cotangent of the result, and returns a cotangent for every
input that is ``wanted``, None for the others.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import prod
from typing import Protocol

import numpy as np
from numpy import ndarray

from intertwiner.exact.gather import Gather
from intertwiner.training.jets import Jet, Jets

Back = list[Jet | None]


class Step(Protocol):
    """One register computed from others."""

    @property
    def inputs(self) -> tuple[int, ...]: ...

    def run(self, jets: Jets, read: Sequence[Jet]) -> Jet: ...

    def back(self, jets: Jets, read: Sequence[Jet], g: Jet, wanted: Sequence[bool]) -> Back: ...


@dataclass(frozen=True, eq=False)
class Moved:
    """Entries of some registers, side by side, moved, repeated or left out."""

    inputs: tuple[int, ...]
    gather: Gather

    def run(self, jets: Jets, read: Sequence[Jet]) -> Jet:
        """The moved entries."""
        value = self._together([jet.value for jet in read])
        if all(jet.tangent is None for jet in read):
            return Jet(value)
        zeros = [jet.value[:1, :1] * 0 if jet.tangent is None else jet.tangent for jet in read]
        return Jet(value, self._together(zeros))

    def _together(self, parts: Sequence[ndarray]) -> ndarray:
        orders, copies = (max(x.shape[k] for x in parts) for k in (0, 1))
        if len(parts) == 1:
            flat = parts[0].reshape(orders * copies, -1)
        else:
            flat = np.zeros((orders, copies, self.gather.size))
            start = 0
            for x in parts:
                size = prod(x.shape[2:])
                flat[: len(x), :, start : start + size] = x.reshape(*x.shape[:2], size)
                start += size
            flat = flat.reshape(orders * copies, -1)
        return self.gather.apply(flat).reshape(orders, copies, *self.gather.shape)

    def back(self, jets: Jets, read: Sequence[Jet], g: Jet, wanted: Sequence[bool]) -> Back:
        """The transpose."""

        def turned(x: ndarray) -> ndarray:
            flat = self.gather.transpose(x.reshape(prod(x.shape[:2]), -1))
            return jets.field.reduce(flat).reshape(*x.shape[:2], -1)

        whole, out, start = jets.linear(g, turned), [], 0
        for jet, want in zip(read, wanted, strict=True):
            shape = jet.value.shape[2:]
            part = slice(start, start + prod(shape))
            start = part.stop

            def cut(x: ndarray, part: slice = part, shape: tuple[int, ...] = shape) -> ndarray:
                return x[:, :, part].reshape(*x.shape[:2], *shape)

            out.append(jets.linear(whole, cut) if want else None)
        return out


@dataclass(frozen=True)
class Added:
    """The entrywise sum of two registers, broadcast."""

    inputs: tuple[int, int]

    def run(self, jets: Jets, read: Sequence[Jet]) -> Jet:
        """The sum."""
        return jets.add(read[0], read[1])

    def back(self, jets: Jets, read: Sequence[Jet], g: Jet, wanted: Sequence[bool]) -> Back:
        """The cotangent itself, summed where an entry was repeated."""
        return [
            jets.unbroadcast(g, jet.value.shape[2:]) if want else None for jet, want in zip(read, wanted, strict=True)
        ]


@dataclass(frozen=True)
class Multiplied:
    """The entrywise product of two registers, broadcast."""

    inputs: tuple[int, int]

    def run(self, jets: Jets, read: Sequence[Jet]) -> Jet:
        """The product."""
        return jets.mul(read[0], read[1])

    def back(self, jets: Jets, read: Sequence[Jet], g: Jet, wanted: Sequence[bool]) -> Back:
        """The cotangent times the other factor."""
        return [
            jets.unbroadcast(jets.mul(g, other), jet.value.shape[2:]) if want else None
            for jet, other, want in zip(read, reversed(read), wanted, strict=True)
        ]


@dataclass(frozen=True)
class MatrixProduct:
    """The matrix product of two registers over their last two axes, leading ones broadcast."""

    inputs: tuple[int, int]

    def run(self, jets: Jets, read: Sequence[Jet]) -> Jet:
        """The product."""
        return jets.matmul(read[0], read[1])

    def back(self, jets: Jets, read: Sequence[Jet], g: Jet, wanted: Sequence[bool]) -> Back:
        """``G B^T`` and ``A^T G``."""
        a, b = read
        out: Back = [None, None]
        if wanted[0]:
            out[0] = jets.unbroadcast(jets.matmul(g, _transposed(jets, b)), a.value.shape[2:])
        if wanted[1]:
            out[1] = jets.unbroadcast(jets.matmul(_transposed(jets, a), g), b.value.shape[2:])
        return out


def _transposed(jets: Jets, a: Jet) -> Jet:
    return jets.linear(a, lambda x: x.swapaxes(-1, -2))


@dataclass(frozen=True)
class Summed:
    """The sum over some axes of a register."""

    inputs: tuple[int]
    axes: tuple[int, ...]
    keepdims: bool

    def run(self, jets: Jets, read: Sequence[Jet]) -> Jet:
        """The sum."""
        return jets.sum(read[0], self.axes, self.keepdims)

    def back(self, jets: Jets, read: Sequence[Jet], g: Jet, wanted: Sequence[bool]) -> Back:
        """The cotangent, repeated."""
        shape = read[0].value.shape[2:]
        wide = tuple(1 if k in self.axes else n for k, n in enumerate(shape))

        def repeated(x: ndarray) -> ndarray:
            lead = x.shape[:2]
            return np.broadcast_to(x.reshape(*lead, *wide), (*lead, *shape))

        return [jets.linear(g, repeated)]
