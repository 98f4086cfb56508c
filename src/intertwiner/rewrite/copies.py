r"""Twins in copies: |G| moved copies of one smaller network, convolutions reading their own copy only.

The lift is block diagonal: channel (i, g) reads channels (j, g) alone. A twin that keeps this costs ``|G|`` times a
smaller network, where one whose orbits all read each other costs ``|G|^2`` per pair of orbits; near the group average
many orbits with few connections are worth more than few orbits with all of them. Channels stand copy by copy, (g, i),
so that a convolution is one with |G| groups, tied: copy g is copy e with channels kept and the kernel moved by g.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import torch
from torch import Tensor

from intertwiner.algebra import Group
from intertwiner.errors import NonFiniteData
from intertwiner.network import node as ir
from intertwiner.numerics.monomial import Monomial
from intertwiner.rewrite.coordinates import Coordinates
from intertwiner.rewrite.graph_task import GraphTask
from intertwiner.rewrite.lifted import Lifted
from intertwiner.rewrite.moments import Moments
from intertwiner.rewrite.readers import GIVEN, Reader, windows
from intertwiner.rewrite.window_moments import PER_SAMPLE, Sums, drawn_positions

Copies = Callable[[tuple[Tensor, ...], dict[str, Tensor]], Tensor]
"""(batch, order, channels, positions) from inputs and lifted values."""


def copied(task: GraphTask) -> frozenset[str]:
    """The convolutions that may read their own copy only: from one hidden space to another."""
    out = set()
    for r in task.readers:
        plain = isinstance(r.node.op, ir.Conv) and r.node.op.groups == 1 and not r.node.op.transposed
        if plain and r.space in task.hidden and len(r.owners) == 1 and r.owners[0][0] != GIVEN:
            out.add(r.node.name)
    return frozenset(out)


def copy_coordinates(group: Group, channels: Sequence[int]) -> Coordinates:
    """Some original channels, copy by copy: (g, i) stands at ``g * len(channels) + i``.

    Example:
        >>> from intertwiner.algebra import cyclic
        >>> copy_coordinates(cyclic(2), [4, 7]).rho
        (Monomial(4: (0 2)(1 3)),)
    """
    count = len(channels)
    order = np.arange(group.order)
    moves = [group.multiply(s, order)[:, None] * count + np.arange(count) for s in group.generators]
    return Coordinates(
        tuple(Monomial(m.ravel()) for m in moves), np.arange(count), np.asarray(channels), np.ones(count)
    )  # fmt: skip


def copy_moments(
    task: GraphTask, lifted: Lifted, reader: Reader, copies: Copies, shape: tuple[int, ...], *, rows: int, seed: int
) -> Moments:
    """Second moments of what one copy sees with what the original answers, over symmetrised data.

    Copy g at x is copy e at ``g^{-1} x``, its windows turned back: every copy of a sample is a sample of its own.

    Args:
        task: What is rewritten.
        lifted: Values of the original; those of the reader's node are among them.
        reader: Whose windows are drawn.
        copies: What stands in them.
        shape: The positions of that value.
        rows: Windows to draw, at least, all copies counted.
        seed: Of the positions.

    Raises:
        NonFiniteData: A value is NaN or infinite.
    """
    rng, order = np.random.default_rng(seed), task.symmetry.group.order
    places = [m.index for m in task.elements(task.generators_on_places[reader.node.name])]
    sums, count = Sums(), 0
    each = min(reader.positions, PER_SAMPLE)
    for inputs in task.batches():
        values = lifted(*inputs)
        answers = values[reader.node.name]
        answers = answers.reshape(len(answers), -1, order, answers.shape[-1])
        seen = copies(inputs, values)
        chosen = drawn_positions(rng, len(answers), reader.positions, each)
        sample, at = torch.from_numpy(chosen[:, 0]), torch.from_numpy(chosen[:, 1])
        for g, turn in enumerate(places):
            u = windows(reader, seen[:, g], shape, chosen)
            u = u.reshape(len(u), -1, len(turn))[:, :, torch.tensor(turn)].flatten(1)
            sums.add(u, answers[sample, :, g, at])
        count += len(chosen) * order
        if count >= rows:
            break
    if not sums.finite:
        raise NonFiniteData("the network answers with NaN or infinity: no moments were taken")
    return Moments(sums.square / count, sums.cross / count, sums.target / count, count)
