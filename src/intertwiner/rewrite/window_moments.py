r"""Second moments of what a reader sees with what it should answer, over windows drawn from symmetrised data.

Columns are (channel, place) and a constant. G moves columns by signed permutations ``P_k`` and targets by ``Q_k``, so
the moments on the whole orbit of a window are ``mean over k of P_k M P_k^T`` and ``Q_k C P_k^T``: the network runs on
every sample once per element, and nothing else is multiplied by the order of G. Products are taken in the network's
type, sums in float64.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Int
from numpy import ndarray
from torch import Tensor

from intertwiner.errors import NonFiniteData
from intertwiner.numerics.monomial import Monomial
from intertwiner.rewrite.lifted import Lifted
from intertwiner.rewrite.moments import Moments
from intertwiner.rewrite.readers import Reader, windows

PER_SAMPLE = 8
"""Windows drawn from one sample: more of them are less independent than those of other samples."""

Batches = Callable[[], Iterator[tuple[Tensor, ...]]]
Features = Callable[[tuple[Tensor, ...], dict[str, Tensor]], Tensor]


@dataclass(frozen=True, eq=False)
class Seen:
    """How columns are computed and moved.

    Args:
        features: (batch, channels, positions) of the value that is read, from inputs and lifted values.
        shape: Its positions.
        elements: Per element of G how the columns, without the constant, move.
    """

    features: Features
    shape: tuple[int, ...]
    elements: Sequence[Monomial]


def window_moments(
    batches: Batches,
    lifted: Lifted,
    reader: Reader,
    seen: Seen,
    *,
    given: Sequence[Monomial] | None,
    rows: int,
    seed: int,
) -> Moments:
    """Stream the data until enough windows were seen.

    Args:
        batches: The data, from the start.
        lifted: Values of the original; those of the reader's node are among them.
        reader: Whose windows are drawn.
        seen: What stands in them.
        given: Where the reader writes an output, how every element moves its channels; the target is the group average
            then. Otherwise targets are the original's channels.
        rows: Windows to draw, at least.
        seed: Of the positions.

    Raises:
        NonFiniteData: A value is NaN or infinite.
    """
    rng, order = np.random.default_rng(seed), lifted.symmetry.group.order
    sums, count = Sums(), 0
    each = min(reader.positions, PER_SAMPLE)
    for inputs in batches():
        values = lifted(*inputs)
        size = len(values[reader.node.name])
        chosen = drawn_positions(rng, size, reader.positions, each)
        u = windows(reader, seen.features(inputs, values), seen.shape, chosen)
        t = values[reader.node.name][torch.from_numpy(chosen[:, 0]), :, torch.from_numpy(chosen[:, 1])]
        if given is not None:
            t = _averaged(t, given)
        sums.add(u, t)
        count += len(chosen)
        if count >= rows:
            break
    if not sums.finite:
        raise NonFiniteData("the network answers with NaN or infinity: no moments were taken")
    square, cross, target = sums.square / count, sums.cross / count, sums.target / count
    if given is None:
        # At the window of kx that x's window is moved to, target (j, e) is what target (j, k^{-1}) is at x.
        inverse = lifted.symmetry.group.inverse(np.arange(order))
        per, target = cross.reshape(-1, order, cross.shape[1])[:, inverse], target.reshape(-1, order).mean(1)
        moved = [per[:, k] for k in range(order)]
    else:
        moved = [m.apply(cross, axis=0) for m in given]
        target = np.mean([target[m.sources] for m in given], axis=0)
    return Moments(*_symmetrised(square, moved, seen.elements), target, count)


def drawn_positions(rng: np.random.Generator, size: int, positions: int, each: int) -> Int[ndarray, "n 2"]:
    """(sample, position): so many positions of every sample."""
    rows = np.repeat(np.arange(size), each)
    at = rng.integers(positions, size=len(rows)) if positions > 1 else np.zeros(len(rows), dtype=np.int64)
    return np.column_stack([rows, at])


def _averaged(t: Tensor, given: Sequence[Monomial]) -> Tensor:
    """The group average of lifted outputs: channel ``j * order + g`` moved by g and summed."""
    per = t.reshape(len(t), -1, len(given))
    out = torch.zeros(per.shape[:2], dtype=t.dtype)
    for g, m in enumerate(given):
        moved = per[:, torch.from_numpy(m.sources), g]
        out += moved * torch.from_numpy(m.factor[m.sources]).to(t.dtype)
    return out / len(given)


class Sums:
    """Running sums of products with a constant column at the end."""

    def __init__(self) -> None:
        self.square = self.cross = self.target = np.zeros(0)

    def add(self, u: Tensor, t: Tensor) -> None:
        u = torch.cat([u, torch.ones(len(u), 1, dtype=u.dtype)], 1)
        square, cross = (u.T @ u).double().numpy(), (t.T @ u).double().numpy()
        target = (t.double() ** 2).sum(0).numpy()
        if not self.square.size:
            self.square, self.cross, self.target = square, cross, target
        else:
            self.square += square
            self.cross += cross
            self.target += target

    @property
    def finite(self) -> bool:
        return bool(np.isfinite(self.square).all() and np.isfinite(self.cross).all())


def _symmetrised(
    square: Float[ndarray, "n1 n1"], moved: Sequence[Float[ndarray, "q n1"]], elements: Sequence[Monomial]
) -> tuple[Float[ndarray, "n1 n1"], Float[ndarray, "q n1"]]:
    """Means over G, from the moments of the data and, per element, those with the moved targets."""
    total, crossed = np.zeros_like(square), np.zeros_like(moved[0])
    for m, cross in zip(elements, moved, strict=True):
        whole = Monomial.direct_sum([m, Monomial.identity(1)])
        total += whole.apply(whole.apply(square, axis=0), axis=1)
        crossed += whole.apply(cross, axis=1)
    return total / len(elements), crossed / len(elements)
